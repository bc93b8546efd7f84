"""Every optimizer of Optax trains a GAN, or is refused with the reason, and none is forgotten here."""

import inspect
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import gan_jax

pytestmark = pytest.mark.usefixtures("quick_compile")

RATE = 0.05
PLAIN = (
    "adabelief adadelta adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion novograd "
    "optimistic_adam_v2 optimistic_gradient_descent radam rmsprop rprop sgd sign_sgd signum sm3 yogi"
)
PLAIN_CONTRIB = "acprop ademamix adopt galore madgrad muon simplified_ademamix"
OPTIMIZERS = {
    **{name: lambda name=name: getattr(optax, name)(RATE) for name in PLAIN.split()},
    **{name: lambda name=name: getattr(optax.contrib, name)(RATE) for name in PLAIN_CONTRIB.split()},
    "adafactor": lambda: optax.adafactor(RATE, min_dim_size_to_factor=2),
    "lbfgs": lambda: optax.lbfgs(RATE, linesearch=None),
    "noisy_sgd": lambda: optax.noisy_sgd(RATE, key=0),
    "polyak_sgd": optax.polyak_sgd,
    "cocob": optax.contrib.cocob,
    "dadapt_adamw": optax.contrib.dadapt_adamw,
    "dog": optax.contrib.dog,
    "dowg": optax.contrib.dowg,
    "mechanize": lambda: optax.contrib.mechanize(optax.sgd(RATE), s_init=1e-2),
    "momo": optax.contrib.momo,
    "momo_adam": optax.contrib.momo_adam,
    "prodigy": lambda: optax.contrib.prodigy(1.0),
    "reduce_on_plateau": lambda: optax.chain(optax.sgd(RATE), optax.contrib.reduce_on_plateau()),
    "sam": lambda: optax.contrib.sam(optax.sgd(RATE), optax.sgd(RATE)),
    "schedule_free": lambda: optax.contrib.schedule_free(optax.sgd(RATE), RATE),
    "schedule_free_adamw": lambda: optax.contrib.schedule_free_adamw(RATE),
    "schedule_free_sgd": lambda: optax.contrib.schedule_free_sgd(RATE),
    # What is put around an optimizer.
    "apply_if_finite": lambda: optax.apply_if_finite(optax.sgd(RATE), 3),
    "chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.add_decayed_weights(1e-2), optax.sgd(RATE)),
    "flatten": lambda: optax.flatten(optax.adam(RATE)),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
    "masked": lambda: optax.masked(optax.sgd(RATE), {"kernel": True, "bias": False}),
    "multi_transform": lambda: optax.multi_transform(
        {"fast": optax.sgd(RATE), "slow": optax.adam(RATE)}, {"kernel": "fast", "bias": "slow"}
    ),
    "MultiSteps": lambda: optax.MultiSteps(optax.sgd(RATE), 2).gradient_transformation(),
}
REFUSED = {  # and the reason
    "lbfgs with its line search": (
        optax.lbfgs,
        "missing 2 required keyword-only arguments: 'grad' and 'value_fn'",
    ),
    "sophia": (lambda: optax.contrib.sophia(RATE), "obj_fn must be provided"),
    "dpsgd": (lambda: optax.contrib.dpsgd(RATE, 1.0, 0.1, 0), "expects `grads` to have a batch dimension"),
    "lookahead": (lambda: optax.lookahead(optax.sgd(RATE), 5, 0.5), "no attribute 'fast'"),
}
PARTS = (  # what optimizers are made of, and the old name of another one
    "optimistic_adam "
    "adaptive_grad_clip add_decayed_weights add_noise apply_every centralize clip clip_by_block_rms "
    "clip_by_global_norm conditionally_mask conditionally_transform ema freeze identity "
    "inject_stateful_hyperparams keep_params_nonnegative measure_with_ema monitor named_chain "
    "normalize_by_update_norm partition scale selective_transform set_to_zero snapshot stateless "
    "stateless_with_tree_map trace with_extra_args_support zero_nans per_example_global_norm_clip "
    "per_example_layer_norm_clip differentially_private_aggregate hutchinson_estimator_diag_hessian normalize "
    "split_real_and_imaginary"
)


class Linear:
    """A network with one product, small so that it compiles fast."""

    def __init__(self, features):
        self.features = features

    def init(self, key, x):
        kernel = 0.3 * jax.random.normal(key, (x.shape[-1], self.features))
        return {"params": {"kernel": kernel, "bias": jnp.full((self.features,), 0.1)}}

    def apply(self, variables, x):
        return x @ variables["params"]["kernel"] + variables["params"]["bias"]


BATCH = {"image": np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)}


def make(tx):
    return gan_jax.GAN(
        generator=Linear(3), discriminator=Linear(1), loss=gan_jax.losses.non_saturating(),
        generator_tx=tx, discriminator_tx=tx, latent=gan_jax.latents.normal(2),
    )  # fmt: skip


QUICK = {"sam", "prodigy"}  # their states alias the parameters
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in OPTIMIZERS]


@pytest.mark.parametrize("name", CASES)
def test_an_optimizer_trains(name):
    """Jitted steps, with the state donated, change the parameters of both players and keep them finite."""
    gan = make(OPTIMIZERS[name]())
    state = gan_jax.init(gan, jax.random.key(0), BATCH)
    before = jax.device_get([player.params for player in (state.generator, state.discriminator)])
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    for _ in range(4):
        state, metrics = step(state, BATCH)
        assert metrics["nonfinite"] == 0
    after = jax.device_get([player.params for player in (state.generator, state.discriminator)])
    for old, new in zip(before, after, strict=True):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
        assert not np.array_equal(old["kernel"], new["kernel"])


@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_needs_more_is_refused(name):
    tx, reason = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        gan = make(tx())
    with pytest.raises(ValueError, match="generator_tx is an optimizer that a step cannot serve") as error:
        gan_jax.init(gan, jax.random.key(0), BATCH)
    assert reason in str(error.value)


@pytest.mark.parametrize("module", [optax, optax.contrib])
def test_no_optimizer_is_forgotten(module):
    known = {*OPTIMIZERS, *PARTS.split(), *(name.split()[0] for name in REFUSED)}
    found = {name for name, value in vars(module).items() if makes_transformation(value)}
    assert {name for name in found if not name.startswith(("scale_by_", "_"))} - known == set()


def makes_transformation(value):
    if not isinstance(value, types.FunctionType):
        return False
    return "GradientTransformation" in str(inspect.signature(value).return_annotation)


def test_an_optimizer_gets_the_loss():
    """The step of Polyak's rule is `(value - f_min) / |gradient|^2`, and the value is the loss of the player."""
    gan = make(optax.polyak_sgd(max_learning_rate=1e9, eps=0.0))
    state = gan_jax.init(gan, jax.random.key(0), BATCH)
    after, metrics = jax.jit(gan_jax.make_train_step(gan).function)(state, BATCH)
    for name in ("generator", "discriminator"):
        old, new = getattr(state, name).params, getattr(after, name).params
        moved = float(optax.tree.norm(jax.tree.map(jnp.subtract, new, old)))
        expected = metrics[f"loss/{name}"] / metrics[f"grad_norm/{name}"]
        np.testing.assert_allclose(moved, expected, rtol=1e-4)
