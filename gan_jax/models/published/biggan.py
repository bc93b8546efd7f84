"""The layouts of BigGAN: PyTorch-StudioGAN's (see `studiogan`), and BigGAN-PyTorch's, ajbrock/BigGAN-PyTorch.

BigGAN-PyTorch's files are `G_ema.pth`, `G.pth` and `D.pth` of a run with `--G_shared --hier`, as those for
ImageNet. A layer with spectral norm has `weight`, `u0`, the left singular vector, and `sv0`, which is a note. Each
pass there makes one power iteration from `u0`; here u and v are those of this iteration, so the weights are the
same.
"""

from . import studiogan
from .tables import DENSE, KERNEL, From, Layout, Network, Shapes, Table, numbers

_ATTENTION = {"query": "theta", "key": "phi", "value": "g", "out": "o"}


def _with_labels(network: Network, attention: tuple[int, ...], chunk: int, inputs: int, table: tuple) -> Network:
    """Returns the generator with what its first layer, its norms and its table of labels say."""
    classes, embedding = table
    if chunk + embedding != inputs:
        raise ValueError(
            f"has norms of {inputs} inputs, but a label's {embedding} numbers and {chunk} latents are "
            f"{embedding + chunk}: our blocks get a chunk of the latents each (--hier)"
        )
    blocks = len(network.keywords["widths"]) - 1  # type: ignore[arg-type]
    more = {"embedding": embedding, "attention": attention, "spectral_vectors": "uv"}
    opposite = {**(network.opposite or {}), "attention": (1,) if attention else ()}
    return network._replace(
        keywords={**network.keywords, **more}, classes=classes, latents=chunk * (blocks + 1), opposite=opposite
    )


def _studiogan(shapes: Shapes) -> Network:
    if "blocks.0.0.bn1.gain.weight_orig" not in shapes:
        raise ValueError("has blocks without labels, but ours get them with their chunk of the latents")
    network, attention = studiogan.generator(shapes, spectral=True)
    network.table["params/embed/kernel"] = From("shared.weight")
    chunk, inputs = shapes["linear0.weight_orig"][1], shapes["blocks.0.0.bn1.gain.weight_orig"][1]
    return _with_labels(network, attention, chunk, inputs, shapes["shared.weight"])


def _studiogan_discriminator(shapes: Shapes) -> Network:
    network, attention = studiogan.discriminator(shapes)
    return network._replace(keywords={**network.keywords, "attention": attention})


# -- BigGAN-PyTorch


def _layer(ours: str, theirs: str, changes: tuple[str, ...], *, bias: bool = True, taps: bool = False) -> Table:
    table = {
        f"params/{ours}/kernel": From(f"{theirs}.weight", changes),
        f"spectral/{ours}/u": From(f"{theirs}.u0", ("iterated_u",)),
        f"spectral/{ours}/v": From(f"{theirs}.u0", ("iterated_v", *(("taps",) if taps else ()))),
    }
    return table | ({f"params/{ours}/bias": From(f"{theirs}.bias")} if bias else {})


def _norm(ours: str, theirs: str) -> Table:
    return {
        f"batch_stats/{ours}/mean": From(f"{theirs}.stored_mean"),
        f"batch_stats/{ours}/var": From(f"{theirs}.stored_var"),
    }


def _attention(shapes: Shapes, blocks: list[int]) -> tuple[Table, tuple[int, ...]]:
    """Returns the entries of self-attention, and the blocks before it."""
    table: Table = {}
    found = tuple(index + 1 for index in blocks if f"blocks.{index}.1.gamma" in shapes)
    for number in found:
        theirs = f"blocks.{number - 1}.1"
        table[f"params/attention_{number}/gamma"] = From(f"{theirs}.gamma", ("scalar",))
        for mine, other in _ATTENTION.items():
            table |= _layer(f"attention_{number}/{mine}", f"{theirs}.{other}", KERNEL, bias=False)
    return table, found


def _generator(shapes: Shapes) -> Network:
    blocks = numbers(shapes, r"blocks\.(\d{1,4})\.0\..*")
    table, attention = _attention(shapes, blocks)
    table |= _layer("project", "linear", ("rows_to_map", *DENSE))
    table["params/project/bias"] = From("linear.bias", ("rows_to_map",))
    table["spectral/project/u"] = From("linear.u0", ("iterated_u", "rows_to_map"))
    widths = [shapes["blocks.0.0.conv1.weight"][1]]
    for index in blocks:
        ours, theirs = f"block_{index + 1}", f"blocks.{index}.0"
        widths.append(shapes[f"{theirs}.conv1.weight"][0])
        for name, other in {"skip": "conv_sc", "conv_0": "conv1", "conv_1": "conv2"}.items():
            table |= _layer(f"{ours}/{name}", f"{theirs}.{other}", KERNEL, taps=name != "skip")
        for i in (0, 1):
            table |= _norm(f"{ours}/norm_{i}/batch/norm", f"{theirs}.bn{i + 1}")
            for name in ("gain", "bias"):
                table |= _layer(f"{ours}/norm_{i}/{name}", f"{theirs}.bn{i + 1}.{name}", DENSE, bias=False)
    table |= _norm("norm/norm", "output_layer.0")
    table["params/norm/norm/scale"] = From("output_layer.0.gain")
    table["params/norm/norm/bias"] = From("output_layer.0.bias")
    table |= _layer("image", "output_layer.2", KERNEL, taps=True)
    table["params/embed/kernel"] = From("shared.weight")
    rows, chunk = shapes["linear.weight"]
    if rows != 16 * widths[0]:
        raise ValueError("has a first map of another size than 4 x 4 pixels")
    side = 4 * 2 ** len(blocks)
    keywords = {"widths": tuple(widths), "running_variance": "unbiased", "epsilon": 1e-5}
    opposite = {"widths": tuple(widths[::-1]), "halvings": len(blocks), "spectral_vectors": "uv", "skip": "plain"}
    network = Network(keywords, table, shape=(side, side, shapes["output_layer.2.weight"][0]), opposite=opposite)
    inputs = shapes["blocks.0.0.bn1.gain.weight"][1]
    return _with_labels(network, attention, chunk, inputs, shapes["shared.weight"])


def _discriminator(shapes: Shapes) -> Network:
    blocks = numbers(shapes, r"blocks\.(\d{1,4})\.0\..*")
    table, attention = _attention(shapes, blocks)
    table |= _layer("logit", "linear", DENSE)
    widths, halvings = [], len(blocks) - 1  # the last block never halves
    for index in blocks:
        ours, theirs = f"block_{index + 1}", f"blocks.{index}.0"
        widths.append(shapes[f"{theirs}.conv2.weight"][0])
        for name, other in {"conv_0": "conv1", "conv_1": "conv2"}.items():
            table |= _layer(f"{ours}/{name}", f"{theirs}.{other}", KERNEL, taps=True)
        if f"{theirs}.conv_sc.weight" in shapes:
            table |= _layer(f"{ours}/skip", f"{theirs}.conv_sc", KERNEL)
        else:
            halvings = min(halvings, index)
    classes = None
    if "embed.weight" in shapes:
        classes = shapes["embed.weight"][0]
        table["params/embed/kernel"] = From("embed.weight")
        # Their u has an entry per class, ours an entry per feature.
        table["spectral/embed/u"] = From("embed.u0", ("iterated_v",))
        table["spectral/embed/v"] = From("embed.u0", ("iterated_u",))
    keywords = {
        "widths": tuple(widths), "halvings": halvings, "attention": attention, "skip": "plain",
        "spectral_vectors": "uv",
    }  # fmt: skip
    return Network(keywords, table, classes)


_UNUSED = (r".*\.sv0", r".*\.num_batches_tracked")

GENERATORS = (
    Layout("PyTorch-StudioGAN", ("shared.weight", "linear0.weight_orig"), _studiogan, studiogan.UNUSED),
    Layout("BigGAN-PyTorch", ("shared.weight", "linear.u0", "output_layer.2.weight"), _generator, _UNUSED),
)
DISCRIMINATORS = (
    Layout(
        "PyTorch-StudioGAN", ("linear1.weight_orig", "blocks.0.0.conv2d1.weight_orig"), _studiogan_discriminator,
        studiogan.UNUSED,
    ),
    Layout("BigGAN-PyTorch", ("embed.weight", "linear.u0"), _discriminator, _UNUSED),
)  # fmt: skip
