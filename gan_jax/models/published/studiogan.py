"""What SNGAN and BigGAN have in common in the layout of PyTorch-StudioGAN.

It is the layout of its `models/resnet.py`, `models/big_resnet.py` and `utils/ops.py`. The list `blocks` has the
residual blocks and, as members of their own, the layers of self-attention. A layer with spectral norm has
`weight_orig`, `weight_u` and `weight_v`, as `torch.nn.utils.spectral_norm` names them.
"""

from .tables import DENSE, KERNEL, TAPS, From, Network, Shapes, Table, numbers

UNUSED = (r".*\.num_batches_tracked",)
_ATTENTION = {"query": "conv1x1_theta", "key": "conv1x1_phi", "value": "conv1x1_g", "out": "conv1x1_attn"}


def layer(
    ours: str, theirs: str, changes: tuple[str, ...], *, spectral: bool, bias: bool = True, taps: bool = False
) -> Table:
    """Returns the entries of a layer; `taps`: its kernel is 3 x 3."""
    table = {f"params/{ours}/kernel": From(f"{theirs}.weight{'_orig' if spectral else ''}", changes)}
    if bias:
        table[f"params/{ours}/bias"] = From(f"{theirs}.bias")
    if spectral:
        table[f"spectral/{ours}/u"] = From(f"{theirs}.weight_u")
        table[f"spectral/{ours}/v"] = From(f"{theirs}.weight_v", TAPS if taps else ())
    return table


def norm(ours: str, theirs: str, affine: bool = True) -> Table:
    """Returns the entries of plain batch norm."""
    table = {
        f"batch_stats/{ours}/mean": From(f"{theirs}.running_mean"),
        f"batch_stats/{ours}/var": From(f"{theirs}.running_var"),
    }
    if affine:
        table |= {f"params/{ours}/scale": From(f"{theirs}.weight"), f"params/{ours}/bias": From(f"{theirs}.bias")}
    return table


def _norm(shapes: Shapes, ours: str, theirs: str, spectral: bool) -> Table:
    """Returns the entries of a block's batch norm, which may be conditional."""
    if f"{theirs}.running_mean" in shapes:
        return norm(f"{ours}/batch/norm", theirs)
    table = norm(f"{ours}/batch/norm", f"{theirs}.bn", affine=False)
    for name, member in {"gain": "embed0", "bias": "embed1"}.items():
        if f"{theirs}.{member}.weight" in shapes:  # a table with a row per class, in the first versions
            table[f"params/{ours}/{name}/kernel"] = From(f"{theirs}.{member}.weight")
        else:
            table |= layer(f"{ours}/{name}", f"{theirs}.{name}", DENSE, spectral=spectral, bias=False)
    return table


def members(shapes: Shapes) -> tuple[list[str], dict[int, str]]:
    """Returns the names of the residual blocks, and those of self-attention by the number of the block before."""
    blocks: list[str] = []
    attention = {}
    for index in numbers(shapes, r"blocks\.(\d{1,4})\..*"):
        if f"blocks.{index}.0.sigma" in shapes:
            attention[len(blocks)] = f"blocks.{index}.0"
        else:
            blocks.append(f"blocks.{index}.0")
    return blocks, attention


def _attention(ours: str, theirs: str) -> Table:
    table = {f"params/{ours}/gamma": From(f"{theirs}.sigma", ("scalar",))}
    for mine, other in _ATTENTION.items():
        table |= layer(f"{ours}/{mine}", f"{theirs}.{other}", KERNEL, spectral=True, bias=False)
    return table


def generator(shapes: Shapes, spectral: bool) -> tuple[Network, tuple[int, ...]]:
    """Returns the generator without its labels and its number of latents, and the blocks before self-attention."""
    blocks, attention = members(shapes)
    weight = "weight_orig" if spectral else "weight"
    widths = [shapes[f"{blocks[0]}.conv2d1.{weight}"][1]]
    table = layer("project", "linear0", ("rows_to_map", *DENSE), spectral=spectral)
    table["params/project/bias"] = From("linear0.bias", ("rows_to_map",))
    if spectral:
        table["spectral/project/u"] = From("linear0.weight_u", ("rows_to_map",))
    for number, block in enumerate(blocks, 1):
        path = f"block_{number}"
        widths.append(shapes[f"{block}.conv2d1.{weight}"][0])
        for name, (other, taps) in {"skip": ("0", False), "conv_0": ("1", True), "conv_1": ("2", True)}.items():
            table |= layer(f"{path}/{name}", f"{block}.conv2d{other}", KERNEL, spectral=spectral, taps=taps)
        for i in (0, 1):
            table |= _norm(shapes, f"{path}/norm_{i}", f"{block}.bn{i + 1}", spectral)
    for number, other in attention.items():
        table |= _attention(f"attention_{number}", other)
    table |= norm("norm/norm", "bn4")
    table |= layer("image", "conv2d5", KERNEL, spectral=spectral, taps=True)
    if shapes[f"linear0.{weight}"][0] != 16 * widths[0]:
        raise ValueError("has a first map of another size than 4 x 4 pixels")
    side = 4 * 2 ** len(blocks)
    shape = (side, side, shapes[f"conv2d5.{weight}"][0])
    keywords = {"widths": tuple(widths), "running_variance": "unbiased"}
    opposite = {"widths": tuple(widths[::-1]), "halvings": len(blocks), "spectral_vectors": "uv"}
    return Network(keywords, table, shape=shape, opposite=opposite), tuple(attention)


def discriminator(shapes: Shapes) -> tuple[Network, tuple[int, ...]]:
    """Returns the discriminator, and the blocks before self-attention."""
    if "linear2.weight" in shapes or "linear2.weight_orig" in shapes:
        raise ValueError("classifies labels in its discriminator, but ours compares them by projection")
    blocks, attention = members(shapes)
    table = layer("logit", "linear1", DENSE, spectral=True)
    widths, halvings = [], len(blocks)
    for number, block in enumerate(blocks, 1):
        path = f"block_{number}"
        widths.append(shapes[f"{block}.conv2d2.weight_orig"][0])
        for name, other in {"conv_0": "1", "conv_1": "2"}.items():
            table |= layer(f"{path}/{name}", f"{block}.conv2d{other}", KERNEL, spectral=True, taps=True)
        if f"{block}.conv2d0.weight_orig" in shapes:
            table |= layer(f"{path}/skip", f"{block}.conv2d0", KERNEL, spectral=True)
        else:  # neither the width nor the size of the map changes
            halvings = min(halvings, number - 1)
    for number, other in attention.items():
        table |= _attention(f"attention_{number}", other)
    classes = None
    if "embedding.weight_orig" in shapes:
        classes = shapes["embedding.weight_orig"][0]
        table["params/embed/kernel"] = From("embedding.weight_orig")
        # Their iteration begins at the vector with an entry per class, ours at the one with an entry per feature.
        table["spectral/embed/u"], table["spectral/embed/v"] = (
            From("embedding.weight_v"),
            From("embedding.weight_u"),
        )
    halvings = min(halvings, len(blocks) - 1)  # the last block never halves
    keywords = {"widths": tuple(widths), "halvings": halvings, "skip": "rectified", "spectral_vectors": "uv"}
    return Network(keywords, table, classes), tuple(attention)
