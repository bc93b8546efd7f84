"""A tokenizer with everything that a paired GAN may have, in every mode: jit, a mesh, pmap, fused, a split state.

Its generator gets a field of the batch and returns aux; its discriminators are an ensemble with features, and read
frozen variables; both adversarial losses start late; the generator's has an adaptive weight.
"""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
import published
from devices import run_json
from gan_jax import Term, losses, networks, penalties
from modes import FIRST_GRADIENT, MODES, TOLERANCE, difference, make_step, on_host, play, relative

B, STEPS = 16, 8
FROZEN = {"perceptual": published.layers(20, one=(1, 3)), "scale": jnp.linspace(0.5, 1.5, 4)}


def tokenizer(variables, edges):
    image, z, code = published.tokenize(variables["params"], edges)
    return image, {"encoded": z, "codes": code}


def member(seed, inputs):
    """Returns a discriminator with features, which reads frozen variables."""

    def apply(variables, image, *, frozen):
        params = variables["params"]
        x = jnp.tanh(published.dense(params["hidden"], image.reshape(len(image), -1))) * frozen["scale"]
        return losses.LogitsAndFeatures(published.dense(params["out"], x), [x])

    params = published.layers(seed, hidden=(inputs, 4), out=(4, 1))
    return networks.from_functions(lambda key, x: {"params": jax.tree.map(jnp.copy, params)}, apply)


def towards_edges(state, generate, inputs, real, keys, *, batch, frozen):
    return jnp.mean(jnp.abs(generate(inputs)[0] - frozen["scale"][0] * batch["edges"])), state


def maps(frozen, image):
    return [jnp.tanh(published.dense(frozen["one"], image))]


def either():
    """Returns SGD with momentum; its state keeps the last gradients."""
    keep = optax.GradientTransformation(lambda params: params, lambda grads, state, params=None: (grads, grads))
    return optax.chain(keep, gan_jax.optimizers.sgd(0.02, momentum=0.9))


def make(update="alternating", **keywords):
    params = published.tokenizer_params()
    half = networks.after(lambda image: image[:, ::2, ::2], member(22, 4))
    return gan_jax.GAN(
        networks.from_functions(lambda key, x: {"params": jax.tree.map(jnp.copy, params)}, tokenizer),
        networks.ensemble({"full": member(21, 16), "half": half}),
        losses.over_members(losses.hinge()), either(), either(), inputs=lambda row, key: row["edges"],
        update=update, adaptive_weight=gan_jax.AdaptiveWeight(lambda params: params["decode"]["kernel"]),
        discriminator_weight=lambda images: jnp.where(images >= 2 * B, 1.0, 0.0),
        generator_weight=lambda images: jnp.where(images >= 3 * B, 0.5, 0.0),
        generator_terms=(
            Term(1.0, penalties.reconstruction("l2")),
            Term(0.5, penalties.commitment()),
            Term(0.5, penalties.feature_matching()),
            Term(0.5, penalties.perceptual(maps)),
            Term(0.5, gan_jax.Penalty("edges", lambda: (), towards_edges)),
        ),
        discriminator_terms=(Term(0.1, penalties.lecam(0.9)), Term(0.1, penalties.r1(), 2)),
        **keywords,
    )  # fmt: skip


def batches(gan):
    rows = () if gan.batches_per_step == 1 else (gan.batches_per_step,)
    noise = np.random.default_rng(0).normal(size=(2, STEPS, *rows, B, *published.IMAGE))
    return dict(zip(("image", "edges"), np.tanh(noise).astype(np.float32), strict=True))


def split_step(gan, state):
    """Returns a step whose parameters, moments and moving average are split over the devices, and the state."""
    mesh = gan_jax.make_mesh()
    places = gan_jax.state_shardings(state, mesh, 1)
    return gan_jax.shard_step(gan_jax.make_train_step(gan), mesh, places), jax.device_put(state, places)


def main(**keywords):
    """Prints how far each mode ends from jit: the states, and the gradients of the last step."""
    warnings.simplefilter("error")  # a mesh that falls back to the compiler's splitting says so
    gan = make(**keywords)
    data, found = batches(gan), {}
    start = gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], data), FROZEN)

    def end(mode):
        if mode == "split":
            step, state = split_step(gan, start)
            return on_host(play(step, "jit", state, data, FROZEN))
        return on_host(play(make_step(gan, mode), mode, start, data, FROZEN))

    def gradients(state):
        return [player.opt_state[0] for player in (state.discriminator, state.generator)]

    wanted = end("jit")
    for mode in (*MODES[1:], "split"):
        state = end(mode)
        found[mode] = [difference(state, wanted), relative(gradients(state), gradients(wanted))]
    players = [(state.generator.params, state.discriminator.params) for state in (wanted, on_host(start))]
    found["moved"] = list(map(difference, *players))
    print(json.dumps(found))


CASES = [
    ({"update": "generator_first"}, 4),
    ({"update": "generator_first"}, 1),
    ({"update": "alternating"}, 4),
    ({"update": "simultaneous"}, 4),
    ({"disc_steps": 2, "share_latents": False, "microbatches": 2}, 4),
]


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("keywords", "devices"),
    CASES,
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_a_tokenizer_in_every_mode(keywords, devices):
    source = f"""
import jax, test_modes_paired
jax.config.update("jax_disable_most_optimizations", True)
test_modes_paired.main(**{keywords!r})
"""
    found = run_json(source, devices=devices, timeout=270)
    assert min(found.pop("moved")) > 1e-2
    assert set(found) == {*MODES[1:], "split"}
    for mode, (end, gradient) in found.items():
        assert end <= TOLERANCE, (mode, found)
        assert gradient <= FIRST_GRADIENT, (mode, found)
