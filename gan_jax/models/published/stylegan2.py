"""The layouts of StyleGAN2: the authors' for PyTorch, stylegan2-ada-pytorch, and rosinality's stylegan2-pytorch.

The authors' files are pickles of whole Python objects. The layout is that of their `G_ema.state_dict()` and
`D.state_dict()`, of which stylegan3's code writes the same for its `stylegan2` configurations. The mapping's
learning rate is 0.01 times that of the rest in all of them, and what is clipped at +-256 there is clipped here.

rosinality's files are dictionaries with `g_ema`, `g`, `d`, and in converted files `latent_avg`; nothing is clipped
there.
"""

from .tables import DENSE, KERNEL, From, Layout, Network, Shapes, Table, channels, numbers, placed

_AFFINE = {"affine/kernel": From("affine.weight", DENSE), "affine/bias": From("affine.bias")}
_STYLED = {
    **_AFFINE, "kernel": From("weight", KERNEL), "bias": From("bias"), "noise_strength": From("noise_strength"),
}  # fmt: skip
_TO_IMAGE = {**_AFFINE, "kernel": From("weight", KERNEL), "bias": From("bias")}
_DENSE = {"kernel": From("weight", DENSE), "bias": From("bias")}
_CONV = {"kernel": From("weight", KERNEL), "bias": From("bias")}


def _mapping(shapes: Shapes, ours: str, theirs: str = "mapping.") -> tuple[Table, int, int, int | None]:
    """Returns the entries of a mapping network, `(layers, size, classes)`."""
    layers = numbers(shapes, theirs.replace(".", r"\.") + r"fc(\d{1,4})\.weight")
    table: Table = {}
    for index in layers:
        table |= placed(_DENSE, f"{ours}/dense_{index}", f"{theirs}fc{index}.")
    size = shapes[f"{theirs}fc{layers[-1]}.weight"][0]
    classes = None
    sizes = {shapes[f"{theirs}fc{index}.weight"][0] for index in layers}
    if f"{theirs}embed.weight" in shapes:
        table |= placed(_DENSE, f"{ours}/embed", f"{theirs}embed.")
        embedded, classes = shapes[f"{theirs}embed.weight"]
        sizes.add(embedded)
    if sizes != {size}:
        raise ValueError(f"has a mapping with layers of {', '.join(map(str, sorted(sizes)))}; ours have one size")
    return table, len(layers), size, classes


def _generator(shapes: Shapes) -> Network:
    table, layers, size, classes = _mapping(shapes, "to_w")
    sides = [2**k for k in range(2, 13) if f"synthesis.b{2**k}.conv1.weight" in shapes]
    last, widths = sides[-1], [shapes[f"synthesis.b{side}.conv1.weight"][0] for side in sides]
    if sides != [4 * 2**i for i in range(len(sides))]:
        raise ValueError("lacks one of the resolutions")
    architecture = "skip" if "synthesis.b4.torgb.weight" in shapes else "resnet"
    if architecture == "resnet" and f"synthesis.b{last}.skip.weight" not in shapes:
        raise ValueError("has the architecture orig, but ours are skip and resnet")
    table["params/to_image/start"] = From("synthesis.b4.const", ("map",))
    table["w_avg/mean"] = From("mapping.w_avg")
    for side in sides:
        theirs = f"synthesis.b{side}."
        for name, other in {"up": "conv0", "conv": "conv1"}.items():
            if f"{theirs}{other}.weight" in shapes:
                ours = f"to_image/{name}_{side}"
                table |= placed(_STYLED, ours, f"{theirs}{other}.")
                table[f"noise_buffers/{ours}/image"] = From(f"{theirs}{other}.noise_const")
        table |= placed(_TO_IMAGE, f"to_image/image_{side}", f"{theirs}torgb.")
        table[f"params/to_image/skip_{side}/kernel"] = From(f"{theirs}skip.weight", KERNEL)
    base, most = channels(widths, sides)
    keywords = {
        "w_size": size, "mapping_layers": layers, "channel_base": base, "channel_max": most,
        "architecture": architecture,
    }  # fmt: skip
    colours = shapes[f"synthesis.b{last}.torgb.weight"][0]
    latents = shapes["mapping.fc0.weight"][1] - (size if classes is not None else 0)
    opposite = {"channel_base": base, "channel_max": most, "minibatch_groups": "strided"}
    return Network(keywords, table, classes, (last, last, colours), latents, opposite)


def _discriminator(shapes: Shapes) -> Network:
    sides = [2**k for k in range(3, 13) if f"b{2**k}.conv0.weight" in shapes]
    table: Table = {}
    if sides != [8 * 2**i for i in range(len(sides))]:
        raise ValueError("lacks one of the resolutions of the discriminator")
    for side in sides:
        for name, other in {"image": "fromrgb", "conv": "conv0", "down": "conv1"}.items():
            table |= placed(_CONV, f"{name}_{side}", f"b{side}.{other}.")
        table[f"params/skip_{side}/kernel"] = From(f"b{side}.skip.weight", KERNEL)
    table |= placed(_CONV, "image_4", "b4.fromrgb.") | placed(_CONV, "conv_4", "b4.conv.")
    table |= placed({**_DENSE, "kernel": From("weight", ("columns_from_map", *DENSE))}, "dense", "b4.fc.")
    table |= placed(_DENSE, "logit", "b4.out.")
    last = sides[-1]
    architecture = "resnet" if f"b{last}.skip.weight" in shapes else "skip"
    if architecture == "skip" and "b4.fromrgb.weight" not in shapes:
        architecture = "orig"
    wide = shapes["b4.conv.weight"]
    if wide[1] != wide[0] + 1:
        raise ValueError(f"has {wide[1] - wide[0]} channels of minibatch deviation, but ours has one")
    keywords: dict[str, object] = {"architecture": architecture, "minibatch_groups": "strided"}
    classes = None
    if "mapping.embed.weight" in shapes:
        labels, layers, size, classes = _mapping(shapes, "mapping")
        if size != wide[0]:
            raise ValueError(f"compares labels by {size} numbers, but our discriminator by {wide[0]}")
        table, keywords = table | labels, {**keywords, "mapping_layers": layers}
    widths = [wide[0], *(shapes[f"b{side}.conv0.weight"][0] for side in sides)]
    base, most = channels(widths, [4, *sides])
    return Network({**keywords, "channel_base": base, "channel_max": most}, table, classes)


# -- rosinality


_MODULATION = {
    "affine/kernel": From("conv.modulation.weight", DENSE), "affine/bias": From("conv.modulation.bias"),
    "kernel": From("conv.weight", ("first", *KERNEL)),
}  # fmt: skip
_ROSINALITY_STYLED = {
    **_MODULATION, "bias": From("activate.bias"), "noise_strength": From("noise.weight", ("scalar",)),
}  # fmt: skip
_ROSINALITY_TO_IMAGE = {**_MODULATION, "bias": From("bias", ("flat",))}


def _rosinality(shapes: Shapes) -> Network:
    dense = numbers(shapes, r"style\.(\d{1,4})\.weight")  # the first member of `style` has no weights
    table: Table = {}
    for i, index in enumerate(dense):
        table |= placed(_DENSE, f"to_w/dense_{i}", f"style.{index}.")
    times = (numbers(shapes, r"convs\.(\d{1,4})\.conv\.weight")[-1] + 1) // 2
    names = {"conv_4": "conv1."}
    images = {4: "to_rgb1."}
    for i in range(times):
        side = 8 * 2**i
        names |= {f"up_{side}": f"convs.{2 * i}.", f"conv_{side}": f"convs.{2 * i + 1}."}
        images[side] = f"to_rgbs.{i}."
    table["params/to_image/start"] = From("input.input", ("first", "map"))
    table["w_avg/mean"] = From("latent_avg", ("flat",))
    for number, (ours, theirs) in enumerate(names.items()):
        table |= placed(_ROSINALITY_STYLED, f"to_image/{ours}", theirs)
        table[f"noise_buffers/to_image/{ours}/image"] = From(f"noises.noise_{number}", ("first", "first"))
    for side, theirs in images.items():
        table |= placed(_ROSINALITY_TO_IMAGE, f"to_image/image_{side}", theirs)
    widths = [shapes[f"{names[f'conv_{side}']}conv.weight"][1] for side in images]
    base, most = channels(widths, images)
    size, latents = shapes[f"style.{dense[-1]}.weight"][0], shapes[f"style.{dense[0]}.weight"][1]
    keywords = {
        "w_size": size, "mapping_layers": len(dense), "channel_base": base, "channel_max": most,
        "conv_clamp": None,
    }  # fmt: skip
    side = max(images)
    opposite = {
        "channel_base": base, "channel_max": most, "minibatch_groups": "strided", "conv_clamp": None,
    }  # fmt: skip
    return Network(keywords, table, None, (side, side, shapes["to_rgb1.conv.weight"][1]), latents, opposite)


def _rosinality_discriminator(shapes: Shapes) -> Network:
    blocks = numbers(shapes, r"convs\.(\d{1,4})\.conv1\.0\.weight")
    table: Table = {}
    for index in blocks:
        side = 4 * 2 ** (blocks[-1] - index + 1)
        parts = {f"conv_{side}": ("conv1.0", "conv1.1"), f"down_{side}": ("conv2.1", "conv2.2")}
        for ours, (weight, bias) in parts.items():
            table[f"params/{ours}/kernel"] = From(f"convs.{index}.{weight}.weight", KERNEL)
            table[f"params/{ours}/bias"] = From(f"convs.{index}.{bias}.bias")
        table[f"params/skip_{side}/kernel"] = From(f"convs.{index}.skip.1.weight", KERNEL)
    top = 4 * 2 ** len(blocks)
    table[f"params/image_{top}/kernel"] = From("convs.0.0.weight", KERNEL)
    table[f"params/image_{top}/bias"] = From("convs.0.1.bias")
    table["params/conv_4/kernel"] = From("final_conv.0.weight", KERNEL)
    table["params/conv_4/bias"] = From("final_conv.1.bias")
    table |= placed({**_DENSE, "kernel": From("weight", ("columns_from_map", *DENSE))}, "dense", "final_linear.0.")
    table |= placed(_DENSE, "logit", "final_linear.1.")
    sides = [4 * 2**i for i in range(len(blocks) + 1)]
    widths = [shapes["final_conv.0.weight"][0]]
    widths += [shapes[f"convs.{index}.conv1.0.weight"][0] for index in blocks[::-1]]
    base, most = channels(widths, sides)
    keywords = {
        "channel_base": base, "channel_max": most, "group": 4, "minibatch_groups": "strided", "conv_clamp": None,
    }  # fmt: skip
    return Network(keywords, table)


_UNUSED = (r".*resample_filter",)
_ROSINALITY_UNUSED = (r".*\.kernel",)  # of the filters, which are always [1, 3, 3, 1]

GENERATORS = (
    Layout("stylegan2-ada-pytorch", ("synthesis.b4.const", "mapping.fc0.weight"), _generator, _UNUSED),
    Layout(
        "rosinality", ("input.input", "style.1.weight", "to_rgb1.conv.weight"), _rosinality, _ROSINALITY_UNUSED,
        ("latent_avg",),
    ),
)  # fmt: skip
DISCRIMINATORS = (
    Layout("stylegan2-ada-pytorch", ("b4.fc.weight", "b4.out.weight"), _discriminator, _UNUSED),
    Layout(
        "rosinality", ("final_linear.0.weight", "final_conv.0.weight"), _rosinality_discriminator,
        _ROSINALITY_UNUSED,
    ),
)  # fmt: skip
