"""A step under `pmap` whose new state would differ between devices is refused, and no other step is.

Whether a value differs is also measured: `jax.pmap` returns each device's value (`main`, four virtual devices).
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import lax

import gan_jax
from devices import run_json
from gan_jax.models import mlp
from gan_jax.parallel.replicated import may_differ

AXIS = "data"


def loop(body, axis_reduced):
    def run(x, s):
        return lax.scan(lambda c, _: (body(c, x), c), s, None, length=3)

    return (lambda x, s: run(lax.pmean(x, AXIS), s)) if axis_reduced else run


def chain(x, s):
    """The batch reaches the second value in the first turn, and the third one in the second turn."""
    return lax.fori_loop(0, 3, lambda _, c: (c[0], c[1] + c[0], c[2] + c[1]), (x, s, s))[2]


def by_custom_jvp(x):
    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    f.defjvp(lambda primals, tangents: (f(*primals), jnp.cos(primals[0]) * tangents[0]))
    return jax.grad(f)(x)


def by_custom_vjp(x):
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
    return f(x) + jax.grad(f)(x)


# Functions of a device's number x and of a number s that all devices share.
CASES = {
    "the batch": lambda x, s: x + s,
    "the state": lambda x, s: s * 2,
    "a mean": lambda x, s: lax.pmean(x, AXIS),
    "a sum": lambda x, s: lax.psum(x, AXIS) + s,
    "a maximum": lambda x, s: lax.pmax(x, AXIS),
    "a minimum": lambda x, s: lax.pmin(x, AXIS),
    "gathered": lambda x, s: lax.all_gather(x, AXIS).sum(),
    "a row of what was gathered": lambda x, s: lax.all_gather(x, AXIS)[lax.axis_index(AXIS)],
    "the number of the device": lambda x, s: lax.axis_index(AXIS) + s,
    "the number of devices": lambda x, s: lax.axis_size(AXIS) + s,
    "from a neighbour": lambda x, s: lax.ppermute(x, AXIS, [(i, (i + 1) % 4) for i in range(4)]),
    "scattered": lambda x, s: lax.psum_scatter(jnp.arange(4.0) * s, AXIS),
    "a sum of pairs": lambda x, s: lax.psum(x, AXIS, axis_index_groups=[[0, 1], [2, 3]]),
    "shape only": lambda x, s: jnp.zeros_like(x) + s,
    "jit": lambda x, s: jax.jit(lambda x: lax.pmean(x, AXIS))(x),
    "jit, local": lambda x, s: jax.jit(lambda x: x + 1)(x),
    "remat": lambda x, s: jax.grad(jax.checkpoint(lambda s: jnp.sin(lax.pmean(x, AXIS) * s)))(s),
    "remat, local": lambda x, s: jax.grad(jax.checkpoint(lambda s: jnp.sin(x * s)))(s),
    "custom jvp": lambda x, s: by_custom_jvp(lax.pmean(x, AXIS)),
    "custom jvp, local": lambda x, s: by_custom_jvp(x),
    "custom vjp": lambda x, s: by_custom_vjp(lax.pmean(x, AXIS)),
    "custom vjp, local": lambda x, s: by_custom_vjp(x),
    "scan": lambda x, s: loop(lambda c, x: c + x, axis_reduced=True)(x, s)[0],
    "scan, local": lambda x, s: loop(lambda c, x: c + x, axis_reduced=False)(x, s)[0],
    "scan, reduced inside": lambda x, s: loop(lambda c, x: c + lax.pmean(x, AXIS), axis_reduced=False)(x, s)[0],
    "scan, stacked": lambda x, s: loop(lambda c, x: c + x, axis_reduced=False)(x, s)[1].sum(),
    "loop, through two turns": chain,
    "loop, its end": lambda x, s: lax.while_loop(lambda c: c < x, lambda c: c + 1, s),
    "loop, its end reduced": lambda x, s: lax.while_loop(lambda c: c < lax.pmax(x, AXIS), lambda c: c + 1, s),
    "cond, its choice": lambda x, s: lax.cond(x > 1, lambda: s, lambda: -s),
    "cond, a branch": lambda x, s: lax.cond(s > 1, lambda: s, lambda: x),
    "cond, reduced": lambda x, s: lax.cond(lax.pmean(x, AXIS) > 1, lambda: s, lambda: -s),
}


def main():
    """Prints, for each case, whether the walk says that it may differ, and whether it does."""

    def every(x, s):
        return [function(x, s) for function in CASES.values()]

    x = jnp.asarray([0.5, 1.5, 2.5, 3.5])
    traced = jax.make_jaxpr(every, axis_env=[(AXIS, 4)])(x[0], 0.25)
    said = may_differ(traced, [True, False], AXIS)
    differ = [bool(np.ptp(values) > 0) for values in jax.pmap(every, AXIS, in_axes=(0, None))(x, 0.25)]
    print(json.dumps(dict(zip(CASES, zip(said, differ, strict=True), strict=True))))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_it_says_what_is_measured():
    found = run_json("import test_replicated; test_replicated.main()", devices=4)
    assert found.keys() == CASES.keys()
    assert {name: said for name, (said, _) in found.items()} == {name: is_so for name, (_, is_so) in found.items()}
    assert len({is_so for _, is_so in found.values()}) == 2


# A GAN's step, traced for one device.


class Normed(nn.Module):
    """A discriminator with a batch norm, over all devices or over one."""

    local: bool

    @nn.compact
    def __call__(self, image, *, train=True, axis_name=None):
        x = nn.Dense(4)(image)
        x = nn.BatchNorm(use_running_average=not train, axis_name=None if self.local else axis_name)(x)
        return nn.Dense(1)(x)


def local_mean(*, reduced):
    """Returns a penalty that keeps the mean of the images, of one device or of all."""

    def apply(state, critic, real, fake, key, *, axis_name=None):
        mean = jnp.mean(real.image)
        return jnp.zeros(()), lax.pmean(mean, axis_name) if reduced and axis_name else mean

    return gan_jax.Penalty("mean", lambda: jnp.zeros(()), apply)


def trace(local=False, terms=(), augment=None, **keywords):
    batch = {"image": jnp.zeros((4, 3))}
    gan = gan_jax.GAN(
        generator=mlp.Generator(shape=(3,), width=4), discriminator=Normed(local),
        loss=gan_jax.losses.non_saturating(), latent=gan_jax.latents.normal(2),
        generator_tx=optax.adam(1e-3), discriminator_tx=optax.adam(1e-3),
        discriminator_terms=terms, augment=augment or gan_jax.augment.identity(), **keywords,
    )  # fmt: skip
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    step = gan_jax.make_train_step(gan, axis_name=AXIS)
    return gan_jax.pmap_step(step, AXIS, jax.devices()[:1]).trace(state, batch)


def test_a_local_batch_norm_is_refused():
    words = (
        "discriminator/model_state/batch_stats/BatchNorm_0/mean .and 1 more. would differ between "
        r"devices.*nn\.BatchNorm\(axis_name=axis_name\).*or use shard_step"
    )
    with pytest.raises(ValueError, match=words):
        trace(local=True)
    trace(local=False)


def test_a_local_state_of_a_penalty_is_refused():
    with pytest.raises(ValueError, match="discriminator/penalties/0 would differ"):
        trace(terms=(gan_jax.Term(1.0, local_mean(reduced=False), 2),))
    trace(terms=(gan_jax.Term(1.0, local_mean(reduced=True), 2),))


def test_a_local_metric_is_refused():
    def step(state, batch):
        return state + 1, {"mean": jnp.mean(batch)}

    with pytest.raises(ValueError, match="mean would differ"):
        gan_jax.pmap_step(gan_jax.Step(step, axis_name=AXIS), AXIS, jax.devices()[:1])(jnp.zeros(()), jnp.ones(4))


def test_shared_data_and_fused_steps():
    """A row of the shared data, chosen by the batch, differs; the data itself does not."""

    def step(state, batch, data, *, rows):
        return state + lax.pmean(data[batch].sum(), AXIS), data[batch].sum() if rows else data.sum()

    arguments = jnp.zeros(()), jnp.zeros((2, 4), jnp.int32), jnp.ones(8)
    for rows in (False, True):
        one = gan_jax.Step(lambda *a, rows=rows: step(*a, rows=rows), axis_name=AXIS)
        fused = gan_jax.pmap_step(gan_jax.fuse_steps(one, 2), AXIS, jax.devices()[:1])
        if rows:
            with pytest.raises(ValueError, match="value would differ"):
                fused(*arguments)
        else:
            assert fused(*arguments)[0] == 8
