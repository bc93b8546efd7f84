"""The table of rules: where each JAX primitive leaves the samples.

A rule gets an equation of a jaxpr, the `Place` of each operand and the number of samples. It returns the place of
each output. It raises `Mixing` where a row of an output depends on other samples, or on the number of the row. To
add an operation, write a rule and enter it in `RULES`.
"""

from typing import Any

from .indexing import gather, scatter
from .layout import (
    along,
    bitcast,
    broadcast,
    each_operand,
    elementwise,
    iota,
    pad,
    removes,
    reshape,
    slicing,
    split,
    stack,
    tile,
    transpose,
    unstack,
    update_slice,
)
from .place import INSIDE_KEY, Mixing, Place, Rule, shape_of
from .products import convolution, dot_general, last_axes, window, with_samples_in_front


def top_k(equation: Any, places: list[Place], size: int) -> list[Place]:
    rule = along("axis") if "axis" in equation.params else last_axes(lambda equation: 1)  # an old JAX has no axis
    return rule(equation, places, size)


def random_wrap(equation: Any, places: list[Place], size: int) -> list[Place]:
    axis, rank = places[0].axis, len(shape_of(equation.outvars[0]))
    if axis is None or axis < rank:
        return [Place(axis)]
    implementation = equation.params["impl"]
    if axis == rank and str(getattr(implementation, "name", "")).startswith("gan_jax_"):
        return [Place(INSIDE_KEY)]
    raise Mixing


def random_draw(equation: Any, places: list[Place], size: int) -> list[Place]:
    """`random_bits`, `random_split`, `random_unwrap`: each key makes an array, whose axes come behind."""
    axis = places[0].axis
    if axis == INSIDE_KEY and equation.primitive.name != "random_split":
        axis = len(shape_of(equation.invars[0]))
    return [Place(axis)]


_NAMES = (
    "abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp "
    "clz complex conj convert_element_type copy copy_p cos cosh digamma div eq eq_to erf erf_inv erfc "
    "exp exp2 expm1 floor ge gt igamma igammac igamma_grad_a imag integer_pow is_finite le le_to lgamma "
    "log log1p logistic lt lt_to max min mul mul_add ne neg nextafter not or polygamma population_count "
    "pow random_clone random_fold_in real reduce_precision regularized_incomplete_beta rem round rsqrt "
    "select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square "
    "stop_gradient sub tan tanh threefry2x32 to_edtype from_edtype xor zeta "
)
ELEMENTWISE = frozenset(_NAMES.split())
"""The names of primitives whose results depend on the numbers at the same place alone."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(("optimization_barrier", "pvary", "pcast", "sharding_constraint"), each_operand),
    **{f"reduce_{name}": removes("axes") for name in ("sum", "max", "min", "prod", "and", "or", "xor")},
    **dict.fromkeys(("argmax", "argmin"), removes("axes")),
    "reduce": removes("dimensions"),
    "squeeze": removes("dimensions"),
    **{name: along("axis") for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")},
    "sort": along("dimension"),
    "concatenate": along("dimension"),
    "rev": along("dimensions"),
    **dict.fromkeys(("slice", "dynamic_slice"), slicing),
    **{name: window for name in ("reduce_window", "reduce_window_sum", "reduce_window_max", "reduce_window_min")},
    **dict.fromkeys(("select_and_scatter_add", "select_and_gather_add"), window),
    **dict.fromkeys(("scatter", "scatter-add", "scatter_add", "scatter-mul", "scatter_mul"), scatter),
    **dict.fromkeys(("scatter_min", "scatter_max", "scatter-min", "scatter-max"), scatter),
    **dict.fromkeys(("random_bits", "random_split", "random_unwrap"), random_draw),
    **dict.fromkeys(("cholesky", "triangular_solve", "lu", "eigh", "qr", "svd"), last_axes(lambda equation: 2)),
    "fft": last_axes(lambda equation: len(equation.params["fft_lengths"])),
    "top_k": top_k,
    "bitcast_convert_type": bitcast,
    "broadcast_in_dim": broadcast,
    "reshape": reshape,
    "transpose": transpose,
    "stack": stack,
    "unstack": unstack,
    "split": split,
    "tile": tile,
    "iota": iota,
    "dot_general": dot_general,
    "conv_general_dilated": convolution,
    # The convolutions of `ops`, over maps [B, H, W, C] and one kernel. A kernel's gradient is a sum over samples.
    "conv_forward": with_samples_in_front(0),
    "conv_transpose": with_samples_in_front(0),
    "resample": with_samples_in_front(0),
    "sample_images": with_samples_in_front(0, 1),
    "dynamic_update_slice": update_slice,
    "pad": pad,
    "gather": gather,
    "random_wrap": random_wrap,
}  # fmt: skip
"""The rule of each known operation, by the name of its primitive."""
