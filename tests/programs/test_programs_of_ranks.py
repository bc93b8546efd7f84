"""Guards convolutions in one and three dimensions that are compiled for a GPU: each is a fast call of cuDNN."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from gan_jax.ops import conv, conv_transpose
from gan_jax.targets import find, hlo
from gan_jax.targets.kernels import kernels
from small_programs import MISSING

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} is not installed: `.ci/run programs` installs it"),
    pytest.mark.timeout(300),
]

# (size of x, kernel, stride, padding): signals, volumes, videos, some with few frames or few pixels.
CASES = {
    "signal, k3s1": ((64,), (3,), 1, 1),
    "signal, k4s2": ((64,), (4,), 2, 1),
    "signal, k4s2 to 4": ((8,), (4,), 2, 1),
    "volume, k3s1": ((8, 8, 8), (3, 3, 3), 1, 1),
    "volume, k4s2": ((16, 16, 16), (4, 4, 4), 2, 1),
    "volume, k4s2 to 4": ((8, 8, 8), (4, 4, 4), 2, 1),
    "volume, k3s1 on 2": ((2, 2, 2), (3, 3, 3), 1, 1),
    "video": ((8, 16, 16), (3, 4, 4), (1, 2, 2), 1),
    "video, 2 frames": ((2, 16, 16), (3, 3, 3), 1, 1),
    "video, 4 frames to 2": ((4, 16, 16), (4, 4, 4), 2, 1),
}
DERIVATIVES = {"convBackwardInput", "convBackwardFilter"}


def products(function, *shapes):
    """Returns the products in the program of a function, its gradients, and the gradients of a penalty."""
    target = find("h200")
    sharding = SingleDeviceSharding(target.devices[0])
    arguments = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=sharding) for shape in shapes]

    def everything(a, b):
        total = lambda a, b: jnp.sum(jnp.tanh(function(a, b)).astype(jnp.float32))  # noqa: E731
        gradients = jax.grad(total, (0, 1))
        penalty = lambda a, b: sum(jnp.sum(jnp.square(g.astype(jnp.float32))) for g in gradients(a, b))  # noqa: E731
        return total(a, b), gradients(a, b), jax.grad(penalty, (0, 1))(a, b)

    compiled = jax.jit(everything, compiler_options=target.options).lower(*arguments).compile()
    return [product for kernel in kernels(hlo.parse(compiled.as_text())) for product in kernel.products]


@pytest.mark.parametrize("function", [conv, conv_transpose], ids=["conv", "conv_transpose"])
@pytest.mark.parametrize("case", CASES)
def test_no_convolution_is_slow(case, function):
    """A derivative that cuDNN gets as a forward convolution over a map is slow; see `targets.products`."""
    size, k, stride, padding = CASES[case]
    i, o = 8, 16
    x, w = (4, *size, i), (*k, i, o)
    bound = functools.partial(function, stride=stride, padding=padding)
    y = jax.eval_shape(functools.partial(conv, stride=stride, padding=padding), jnp.zeros(x), jnp.zeros(w)).shape
    found = products(bound, x if function is conv else y, w)
    assert [f"{p.shapes} {p.op_name}" for p in found if p.slow] == []
    assert [p.call for p in found if p.kind == "convolution" and not p.call.startswith("conv")] == []
    calls = Counter(p.call for p in found)
    assert "convolution" not in calls, "a convolution that cuDNN does not get"
    # A map as small as its kernel has matrix products in place of some calls. All others have each call thrice; a
    # volume of few frames that becomes images has one transpose for each of the two phases of a stride.
    derivatives = sum(calls[call] for call in DERIVATIVES)
    forward = calls["convForward"] + calls["convBiasActivationForward"]
    if not calls["dot"] + calls["cublas$gemm"] + calls["cublas$lt$matmul"]:
        assert (forward, derivatives) == (3, 9 if case == "video, 4 frames to 2" else 6)
