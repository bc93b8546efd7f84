"""Matrix products and convolutions of a flat program in ONNX, which has the channels before the pixels."""

from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

from .onnx_graph import Graph, Tensor, product


def dot_general(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    """Adds a product of matrices, after the axes are in the order batch, rows, sum and batch, sum, columns."""
    (sum_a, sum_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    a, b = (graph.whole(tensor) for tensor in given)
    rows = [axis for axis in range(len(a.shape)) if axis not in (*sum_a, *batch_a)]
    columns = [axis for axis in range(len(b.shape)) if axis not in (*sum_b, *batch_b)]
    a, b = graph.transpose(a, [*batch_a, *rows, *sum_a]), graph.transpose(b, [*batch_b, *sum_b, *columns])
    batch = a.shape[: len(batch_a)]
    lead, tail = a.shape[len(batch) : len(batch) + len(rows)], b.shape[len(batch) + len(sum_b) :]
    depth = product(a.shape[len(batch) + len(rows) :])
    a = graph.reshape(a, (*batch, product(lead), depth))
    b = graph.reshape(b, (*batch, depth, product(tail)))
    shape = (*batch, product(lead), product(tail))
    out = Tensor(graph.node("MatMul", graph.name(a), graph.name(b)), shape, shape, a.dtype)
    return graph.reshape(out, (*batch, *lead, *tail))


def convolution(graph: Graph, equation: JaxprEqn, given: list[Tensor]) -> Tensor:
    """Adds a convolution, or a transposed one where there are gaps between the pixels of the map."""
    p = equation.params
    if p["batch_group_count"] != 1:
        raise NotImplementedError("a convolution in groups of the batch")
    numbers = p["dimension_numbers"]
    x = graph.transpose(graph.whole(given[0]), numbers.lhs_spec)  # [B, C, *S]
    kernel = graph.transpose(graph.whole(given[1]), numbers.rhs_spec)  # [O, I / groups, *k]
    back = np.argsort(numbers.out_spec).tolist()
    out: Any = equation.outvars[0].aval
    shape = tuple(out.shape[axis] for axis in numbers.out_spec)
    dense = not any(gap != 1 for gap in p["lhs_dilation"])
    plain = all(step == 1 for step in (*p["window_strides"], *p["rhs_dilation"]))
    add = _transposed if plain and not dense else _forward
    return graph.transpose(add(graph, x, kernel, p, shape), back)


def _forward(graph: Graph, x: Tensor, kernel: Tensor, p: dict[str, Any], shape: tuple) -> Tensor:
    edges = [(min(0, low), min(0, high), gap - 1) for (low, high), gap in zip(p["padding"], p["lhs_dilation"])]
    if any(map(any, edges)):  # what ONNX's operation does not have
        sizes = ((n - 1) * (e[2] + 1) + 1 + e[0] + e[1] for n, e in zip(x.shape[2:], edges))
        x = graph.pad(x, [(0, 0, 0), (0, 0, 0), *edges], 0, (*x.shape[:2], *sizes))
    lows, highs = zip(*p["padding"])
    pads = [max(0, pad) for pad in (*lows, *highs)]
    source = graph.node(
        "Conv", graph.name(x), graph.name(kernel), strides=list(p["window_strides"]), pads=pads,
        dilations=list(p["rhs_dilation"]), group=p["feature_group_count"],
    )  # fmt: skip
    return Tensor(source, shape, shape, x.dtype)


def _transposed(graph: Graph, x: Tensor, kernel: Tensor, p: dict[str, Any], shape: tuple) -> Tensor:
    """Adds the transposed convolution that equals a convolution of pixels with gaps.

    ONNX's kernel is [I, O / groups, *k], and turned around in each axis. Its padding is what it cuts from the sum
    of all windows: k - 1 - the padding of the convolution. Where that is negative, zeros are added behind.
    """
    groups, axes = p["feature_group_count"], range(2, len(kernel.shape))
    o, i, *size = kernel.shape
    turned = graph.flip(graph.whole(kernel), list(axes))
    split = graph.reshape(turned, (groups, o // groups, i, *size))
    swapped = graph.transpose(split, [0, 2, 1, *(axis + 1 for axis in axes)])
    turned = graph.reshape(swapped, (groups * i, o // groups, *size))
    cuts = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(size, p["padding"])]
    lows, highs = zip(*cuts)
    source = graph.node(
        "ConvTranspose", graph.name(x), graph.name(turned), strides=list(p["lhs_dilation"]),
        pads=[max(0, cut) for cut in (*lows, *highs)], group=groups,
    )  # fmt: skip
    added = [(max(0, -low), max(0, -high), 0) for low, high in cuts]
    inner = tuple(n - low - high for n, (low, high, _) in zip(shape[2:], added))
    out = Tensor(source, (*shape[:2], *inner), (*shape[:2], *inner), x.dtype)
    return graph.pad(out, [(0, 0, 0), (0, 0, 0), *added], 0, shape) if any(map(any, added)) else out
