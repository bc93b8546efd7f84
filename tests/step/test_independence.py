"""Which operations keep the samples of a batch apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gan_jax.step.independence import mixing_primitive
from test_independence_networks import B, first_mixing


def over_samples(x):
    return jax.lax.scan(lambda total, row: (total + row, total), jnp.zeros(3), x)[1]


def through_a_loop(x):
    """The third pass reads what the second has mixed."""
    carry = (x, x, x)
    return jax.lax.fori_loop(0, 3, lambda i, c: (c[1], c[2], c[0][::-1]), carry)[0]


def in_a_branch(x):
    return jax.lax.cond(jnp.ones(()) > 0, lambda x: x, lambda x: x - x.mean(axis=0), x)


@jax.custom_vjp
def with_own_derivative(x):
    return jnp.cumsum(x, axis=0)


with_own_derivative.defvjp(lambda x: (x, None), lambda _, g: (g,))

MIXTURES = {
    "mean": (lambda x: x - x.mean(axis=0), "reduce_sum"),
    "softmax": (lambda x: jax.nn.softmax(x, axis=0), "reduce_max"),
    "normalised by the largest": (lambda x: x / jnp.abs(x).max(), "reduce_max"),
    "reversed": (lambda x: x[::-1], "rev"),
    "rolled": (lambda x: jnp.roll(x, 1, axis=0), "slice"),
    "every second": (lambda x: jnp.repeat(x[::2], 2, axis=0), "slice"),
    "indexed": (lambda x: x[jnp.array([0, 0, 1, 2, 3, 4])], "gather"),
    "sorted": (lambda x: jnp.sort(x, axis=0), "sort"),
    "median": (lambda x: x - jnp.median(x, axis=0), "reduce_or"),
    "cumulative": (lambda x: jnp.cumsum(x, axis=0), "cumsum"),
    "padded": (lambda x: jnp.pad(x, ((1, 0), (0, 0)))[:-1], "pad"),
    "joined": (lambda x: jnp.concatenate([x[:, :1], x[:, 1:2]])[:B], "concatenate"),
    "attention between samples": (lambda x: jax.nn.softmax(x @ x.T) @ x, "dot_general"),
    "written": (lambda x: x.at[0].set(0.0), "scatter"),
    "matrix over the batch": (lambda x: jnp.ones((B, B)) @ x, "dot_general"),
    "transposed": (lambda x: jnp.sum(x.T, axis=1), "reduce_sum"),
    "samples last": (lambda x: x.T, "output"),
    "rows of a sample": (lambda x: x.reshape(-1), "output"),
    "numbers of rows": (lambda x: (x, jnp.arange(B)), "output"),
    "merged behind": (lambda x: x.T.reshape(-1), "reshape"),
    "groups": (lambda x: x.reshape(2, B // 2, 3), "reshape"),
    "merged, then over rows": (lambda x: x.reshape(-1, 1) - x.reshape(-1, 1).mean(axis=0), "reduce_sum"),
    "window over the batch": (lambda x: nn.avg_pool(x[None], (2,), padding="SAME")[0], "reduce_window_sum"),
    "positions": (lambda x: x + jnp.arange(B)[:, None], "add"),
    "noise of the batch": (lambda x: x + jax.random.normal(jax.random.key(0), x.shape), "add"),
    "constants of rows": (lambda x: x * np.linspace(0, 1, B, dtype=np.float32)[:, None], "mul"),
    "scan over samples": (over_samples, "scan"),
    "in a loop": (through_a_loop, "rev"),
    "in a branch": (in_a_branch, "reduce_sum"),
    "own derivative": (with_own_derivative, "cumsum"),
    "remat": (jax.checkpoint(lambda x: x - x.mean(axis=0)), "reduce_sum"),
    "unknown": (lambda x: jax.pure_callback(lambda x: x, x, x), "pure_callback"),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_operations_that_mix_samples(name):
    function, primitive = MIXTURES[name]
    assert first_mixing(function, jnp.ones((B, 3))) == primitive


@pytest.mark.parametrize("groups", [1, 2])
def test_a_collective_mixes_samples(groups):
    traced = jax.make_jaxpr(lambda x: x - jax.lax.pmean(x, "devices"), axis_env=[("devices", groups)])(
        jnp.ones((B, 3))
    )
    assert mixing_primitive(traced, [0]) is not None


APART = {
    "ranks": lambda x: jnp.argsort(x, axis=1) + jnp.argmax(x, axis=1)[:, None],
    "reversed": lambda x: jnp.roll(x[:, ::-1], 1, axis=1),
    "take_along_axis": lambda x: jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1),
    "written": lambda x: x.at[:, 1].set(0.0),
    "one hot": lambda x: jax.nn.one_hot(jnp.argmax(x, axis=1), 3),
    "outer product": lambda x: jnp.einsum("bi,bj->bij", x, x),
    "factors": jax.vmap(lambda row: jnp.linalg.cholesky(jnp.eye(3) + jnp.outer(row, row))),
    "spectrum": lambda x: jnp.abs(jnp.fft.rfft(x, axis=1)),
    "merged and split": lambda x: jnp.tanh(x.reshape(-1, 1) @ jnp.ones((1, 2))).reshape(B, 3, 2).sum(axis=1),
    "over time": lambda x: jnp.moveaxis(jax.lax.scan(lambda c, t: (c + t, c * t), jnp.zeros(B), x.T)[1], 0, 1),
    "own kernels": jax.vmap(lambda row: jnp.convolve(row, row)),
    "in a branch": lambda x: jax.lax.cond(x.ndim > 1, lambda x: x, jnp.zeros_like, x),
    "mapped": lambda x: jax.lax.map(lambda i: x * i, jnp.arange(3)).sum(axis=0),
    "a constant": lambda x: jnp.where(x > 0, jnp.full((B, 1), 2.0), 0.0),
    "gradient": jax.vmap(jax.grad(lambda row: jnp.sum(jax.nn.softmax(row) ** 2))),
}


@pytest.mark.parametrize("name", APART)
def test_operations_that_keep_samples_apart(name):
    assert first_mixing(APART[name], jnp.ones((B, 3))) is None


def test_wrong_axes_are_refused():
    traced = jax.make_jaxpr(jnp.add)(jnp.ones((4, 3)), jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="2 inputs, but 1 axes"):
        mixing_primitive(traced, [0])
    with pytest.raises(ValueError, match="same number of samples"):
        mixing_primitive(traced, [0, 1])
    assert mixing_primitive(traced, [None, None]) is None


def test_top_k_along_the_samples():
    traced = jax.make_jaxpr(lambda x: jax.lax.top_k(x.T, 2)[0])(jnp.ones((4, 3)))
    assert mixing_primitive(traced, [0]) is not None
    traced = jax.make_jaxpr(lambda x: jax.lax.top_k(x, 2)[0])(jnp.ones((4, 3)))
    assert mixing_primitive(traced, [0]) is None
