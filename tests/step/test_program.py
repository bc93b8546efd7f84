"""What is in the compiled program of a step, by its FLOPs: work that is done once, and work that is not done."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

import gan_jax
from gan_jax.models import dcgan
from gan_jax.ops import compiler_options

BATCH = {"image": jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.uint8)}
GENERATOR = dcgan.Generator((16, 16, 3), width=32, base=4, norm="none")


class Constant(nn.Module):
    """A generator that does next to nothing: its part of a step's FLOPs is none."""

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        image = self.param("image", nn.initializers.normal(), (16, 16, 3))
        return jnp.broadcast_to(image, (latents.shape[0], 16, 16, 3))


def flops(function: Any, *arguments: Any) -> float:
    return (
        jax.jit(function, compiler_options=compiler_options()).lower(*arguments).compile().cost_analysis()["flops"]
    )


@functools.cache
def of_step(generator: Any = GENERATOR, penalties: tuple = (), **keywords: Any) -> float:
    sgd = gan_jax.optimizers.sgd()
    gan = gan_jax.GAN(
        generator, dcgan.Discriminator(width=32, base=4, norm="none"), gan_jax.losses.non_saturating(), sgd, sgd,
        gan_jax.latents.normal(8), **keywords,
        discriminator_terms=tuple(gan_jax.Term(1.0, p()) for p in penalties),
    )  # fmt: skip
    rows = [] if gan.batches_per_step == 1 else [gan.batches_per_step]
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*rows, *x.shape), x.dtype), BATCH)
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    return flops(gan_jax.make_train_step(gan), state, batch)


@functools.cache
def of_generator() -> tuple[float, float]:
    """FLOPs of one forward pass of the generator, and of one with its pullback to the parameters."""
    latents = jax.ShapeDtypeStruct((4, 8), jnp.float32)
    variables = jax.eval_shape(lambda: GENERATOR.init(jax.random.key(0), jnp.zeros((4, 8)), train=True))

    def forward(variables: Any, latents: jax.Array) -> jax.Array:
        return GENERATOR.apply(variables, latents, train=True)

    def backward(variables: Any, latents: jax.Array, image: jax.Array) -> Any:
        made, pullback = jax.vjp(lambda v: forward(v, latents), variables)
        return made, pullback(image)

    image = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
    return flops(forward, variables, latents), flops(backward, variables, latents, image)


def forwards(step: float) -> float:
    """How often the generator runs forward in a step of so many FLOPs."""
    once, both = of_generator()
    return 1 + (step - of_step(Constant()) - both) / once


def test_the_generator_runs_once_a_step():
    assert forwards(of_step()) == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_with_latents_of_its_own_the_generator_runs_twice():
    """So the count can tell."""
    assert forwards(of_step(share_latents=False)) == pytest.approx(2, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("penalty", "passes"),
    [("r1", 3), ("r2", 3), ("r1_r2", 6)],
)
def test_penalties_share_what_the_loss_computed(penalty, passes):
    """A gradient penalty adds three passes to the loss's own: back to the image, and two through that gradient.

    Were its forward pass made again, it would be four. R1 and R2 in one pullback add what the two add alone.
    """
    a_pass = (of_step(Constant()) - of_step(Constant(), update="one_stage")) / 2
    added = of_step(penalties=(getattr(gan_jax.penalties, penalty),)) - of_step()
    assert added / a_pass == pytest.approx(passes, abs=0.4 * passes / 3)


@pytest.mark.slow
@pytest.mark.parametrize(("update", "share"), [("simultaneous", 0.91), ("one_stage", 0.82)])
def test_joint_updates_do_less(update, share):
    """In passes of equal cost: alternating 11, simultaneous 10 (no second forward of D), one-stage 9."""
    assert of_step(update=update) / of_step() == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(("axis_name", "waits_for"), [(None, "norm"), ("devices", "gradients")])
def test_what_the_generators_pass_waits_for(axis_name, waits_for):
    """On one device the norm: XLA then needs less memory. On several the gradients before their exchange."""
    sgd = gan_jax.optimizers.sgd()
    gan = gan_jax.GAN(
        GENERATOR, dcgan.Discriminator(width=32, base=4, norm="none"), gan_jax.losses.non_saturating(), sgd, sgd,
        gan_jax.latents.normal(8), share_latents=False,
    )  # fmt: skip
    batch = {"image": jax.ShapeDtypeStruct((2, *BATCH["image"].shape), jnp.uint8)}  # for two updates
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    step = gan_jax.make_train_step(gan, axis_name=axis_name).function
    axes = [] if axis_name is None else [(axis_name, 2)]
    traced = jax.make_jaxpr(step, axis_env=axes)(state, batch)
    barriers = [eqn for eqn in traced.eqns if eqn.primitive.name == "optimization_barrier"]
    (waiting,) = (eqn for eqn in barriers if eqn.invars[0].aval.shape == (4, 8))
    gradients = [leaf.shape for leaf in jax.tree.leaves(state.discriminator.params)]
    found = [operand.aval.shape for operand in waiting.invars[1:]]
    assert found == {"norm": [()], "gradients": gradients}[waits_for]
