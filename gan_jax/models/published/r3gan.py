"""The layout of R3GAN's code, brownvc/R3GAN: names such as `MainLayers.0.Layers.1.LinearLayer1.Layer.weight`.

The published files are pickles of whole Python objects. The layout is that of their `G_ema.state_dict()` and
`D.state_dict()`; there a prefix `Model.` comes before each name.
"""

from .tables import DENSE, KERNEL, From, Layout, Network, Shapes, Table, numbers, placed

_BLOCK = {
    "conv_1/kernel": From("LinearLayer1.Layer.weight", KERNEL),
    "conv_1/bias": From("NonLinearity1.Bias"),
    "conv_2/kernel": From("LinearLayer2.Layer.weight", KERNEL),
    "conv_2/bias": From("NonLinearity2.Bias"),
    "conv_3/kernel": From("LinearLayer3.Layer.weight", KERNEL),
}
_BETWEEN = "LinearLayer.Layer.weight"  # where the width changes


def _networks(shapes: Shapes, lowest_first: bool) -> tuple[dict[str, object], Table, list[int]]:
    """Returns the keywords of both networks, the table of all residual blocks, and the stages from the lowest."""
    stages = numbers(shapes, r"MainLayers\.(\d{1,4})\..*")
    stages = stages if lowest_first else stages[::-1]
    table, widths, groups, counts, expansions = {}, [], [], set(), set()
    for i, stage in enumerate(stages):
        start = f"MainLayers.{stage}.Layers."
        blocks = numbers(shapes, start.replace(".", r"\.") + r"(\d{1,4})\.LinearLayer1\..*")
        for j, block in enumerate(blocks):
            table |= placed(_BLOCK, f"block_{4 * 2**i}_{j}", f"{start}{block}.")
        hidden, width = shapes[f"{start}{blocks[0]}.LinearLayer1.Layer.weight"][:2]
        window = shapes[f"{start}{blocks[0]}.LinearLayer2.Layer.weight"]
        if window[2:] != (3, 3) or hidden % window[1] or hidden % width:
            raise ValueError(f"has grouped kernels of shape {window}, but ours are 3 x 3 in groups of equal size")
        widths.append(width)
        groups.append(hidden // window[1])
        expansions.add(hidden // width)
        counts.add(len(blocks))
    if len(counts) > 1 or len(expansions) > 1:
        raise ValueError("has stages with different numbers of blocks, or expansions; ours have the same")
    keywords: dict[str, object] = {"widths": tuple(widths), "cardinality": tuple(groups)}
    return {**keywords, "blocks": counts.pop(), "expansion": expansions.pop()}, table, stages


def _embedding(shapes: Shapes, table: Table) -> tuple[int, int | None]:
    """Returns `(size of a label's vector, classes)`, and adds the labels' vectors to the table."""
    if "EmbeddingLayer.weight" not in shapes:
        return 0, None
    table["params/embed/embedding"] = From("EmbeddingLayer.weight", DENSE)
    size, classes = shapes["EmbeddingLayer.weight"]
    return size, classes


def _check_first_map(shape: tuple[int, ...]) -> None:
    if shape[-2:] != (4, 4):
        raise ValueError(f"has a first map of {shape[-2]} x {shape[-1]} pixels, but the layout has 4 x 4")


def _generator(shapes: Shapes) -> Network:
    keywords, table, stages = _networks(shapes, lowest_first=True)
    _check_first_map(shapes["MainLayers.0.Layers.0.Basis"])
    table["params/basis"] = From("MainLayers.0.Layers.0.Basis", ("map",))
    table["params/style/kernel"] = From("MainLayers.0.Layers.0.LinearLayer.weight", DENSE)
    table["params/image/kernel"] = From("AggregationLayer.Layer.weight", KERNEL)
    for i, stage in enumerate(stages[1:], 1):
        table[f"params/to_{4 * 2**i}/kernel"] = From(f"MainLayers.{stage}.Layers.0.{_BETWEEN}", KERNEL)
    size, classes = _embedding(shapes, table)
    side, channels = 4 * 2 ** (len(stages) - 1), shapes["AggregationLayer.Layer.weight"][0]
    latents = shapes["MainLayers.0.Layers.0.LinearLayer.weight"][1] - size
    more = {"embedding": size} if size else {}
    return Network({**keywords, **more}, table, classes, (side, side, channels), latents, opposite=keywords)


def _discriminator(shapes: Shapes) -> Network:
    keywords, table, stages = _networks(shapes, lowest_first=False)
    last = f"MainLayers.{stages[0]}.Layers.{keywords['blocks']}."
    _check_first_map(shapes[f"{last}Basis.weight"])
    table["params/pool"] = From(f"{last}Basis.weight", ("depthwise",))
    table["params/logit/kernel"] = From(f"{last}LinearLayer.weight", DENSE)
    table["params/image/kernel"] = From("ExtractionLayer.Layer.weight", KERNEL)
    for i, stage in enumerate(stages[1:]):
        path = f"params/to_{4 * 2**i}/kernel"
        table[path] = From(f"MainLayers.{stage}.Layers.{keywords['blocks']}.{_BETWEEN}", KERNEL)
    size, classes = _embedding(shapes, table)
    width = shapes[f"{last}LinearLayer.weight"][1]
    if classes is not None and size != width:
        raise ValueError(f"compares labels by {size} numbers, but our discriminator by its width of {width}")
    return Network(keywords, table, classes)


_UNUSED = (r".*\.Resampler\.Kernel",)

GENERATORS = (
    Layout("R3GAN", ("MainLayers.0.Layers.0.Basis", "AggregationLayer.Layer.weight"), _generator, _UNUSED),
)
DISCRIMINATORS = (
    Layout(
        "R3GAN",
        ("ExtractionLayer.Layer.weight", "MainLayers.0.Layers.0.NonLinearity1.Bias"),
        _discriminator,
        _UNUSED,
    ),
)
