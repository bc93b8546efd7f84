"""One small GAN in every network library, with batch norm and two layers of dropout."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import gan_jax
import small_gan
from gan_jax import networks
from small_gan import LATENT, SHAPE, WIDTH

MOMENTUM, EPSILON = 0.9, 1e-5


def finish(x: Any, generator: bool) -> Any:
    """Turns the last layer's output into images or logits: of a batch, or of one sample."""
    if generator:
        return jnp.tanh(x).reshape(*x.shape[:-1], *SHAPE)
    return x[..., 0]


class Linen(nn.Module):
    generator: bool
    rate: float

    @nn.compact
    def __call__(self, x, train, axis_name):
        x = nn.Dense(WIDTH)(x.reshape(len(x), -1))
        x = nn.BatchNorm(not train, momentum=MOMENTUM, epsilon=EPSILON, axis_name=axis_name)(x)
        for _ in range(2):
            x = nn.Dropout(self.rate, deterministic=not train)(jnp.tanh(x))
        return finish(nn.Dense(4 if self.generator else 1, use_bias=False)(x), self.generator)


class NNX(nnx.Module):
    def __init__(self, generator, rate, rngs):
        self.generator = generator
        self.hidden = nnx.Linear(LATENT if generator else 4, WIDTH, rngs=rngs)
        self.norm = nnx.BatchNorm(WIDTH, momentum=MOMENTUM, epsilon=EPSILON, rngs=rngs)
        self.first, self.second = nnx.Dropout(rate, rngs=rngs), nnx.Dropout(rate, rngs=rngs)
        self.out = nnx.Linear(WIDTH, 4 if generator else 1, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.hidden(x.reshape(len(x), -1)))
        x = self.second(jnp.tanh(self.first(jnp.tanh(x))))
        return finish(self.out(x), self.generator)


class Equinox(eqx.Module):
    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear
    generator: bool

    def __init__(self, generator, rate, key):
        first, second = jax.random.split(key)
        self.hidden = eqx.nn.Linear(LATENT if generator else 4, WIDTH, key=first)
        self.norm = eqx.nn.BatchNorm(WIDTH, "batch", momentum=MOMENTUM, eps=EPSILON, mode="batch")
        self.dropout = eqx.nn.Dropout(rate)
        self.out = eqx.nn.Linear(WIDTH, 4 if generator else 1, use_bias=False, key=second)
        self.generator = generator

    def __call__(self, x, state, key):
        x, state = self.norm(self.hidden(x.reshape(-1)), state)
        for i in range(2):
            one = None if key is None else jax.random.fold_in(key, i)
            x = self.dropout(jnp.tanh(x), key=one)
        return finish(self.out(x), self.generator), state


def haiku(generator: bool, rate: float) -> Callable:
    import haiku as hk

    def forward(x, is_training):
        x = hk.Linear(WIDTH)(x.reshape(len(x), -1))
        x = hk.BatchNorm(True, True, MOMENTUM, EPSILON)(x, is_training)
        for _ in range(2):
            x = jnp.tanh(x)
            if is_training and rate:
                x = hk.dropout(hk.next_rng_key(), rate, x)
        return finish(hk.Linear(4 if generator else 1, with_bias=False)(x), generator)

    return forward


def functions(generator: bool, rate: float) -> Any:
    """By hand, with statistics in a collection of another name."""
    inputs, outputs = (LATENT, 4) if generator else (4, 1)

    def init(key, x):
        params = small_gan.draw(key, (inputs, WIDTH), (WIDTH,), (WIDTH, outputs))
        params |= {"scale": jnp.ones(WIDTH), "shift": jnp.zeros(WIDTH)}
        return {"params": params, "averages": {"mean": jnp.zeros(WIDTH), "var": jnp.ones(WIDTH)}}

    def apply(variables, x, train, axis_name, keys, mutable=None):
        params, averages = variables["params"], variables["averages"]
        x = x.reshape(len(x), -1) @ params["kernel"] + params["bias"]
        if train:
            mean, square = jnp.mean(x, 0), jnp.mean(x**2, 0)
            if axis_name is not None:
                mean, square = jax.lax.pmean((mean, square), axis_name)
            new = {"mean": mean, "var": square - mean**2}
            averages = jax.tree.map(lambda a, b: MOMENTUM * a + (1 - MOMENTUM) * b, averages, new)
        else:
            new = averages
        x = (x - new["mean"]) * jax.lax.rsqrt(new["var"] + EPSILON) * params["scale"] + params["shift"]
        for i in range(2):
            x = jnp.tanh(x)
            if train and rate:
                one = jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys)
                mask = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, (WIDTH,)))(one)
                x = jnp.where(mask, x / (1 - rate), 0)
        output = finish(x @ params["out"], generator)
        return (output, {"averages": averages}) if mutable else output

    return networks.from_functions(init, apply, statistics=("averages",))


class Kind(NamedTuple):
    make: Callable[[bool, float], Any]
    paths: dict[str, tuple[str, ...]]  # where each of the parameters lies
    transposed: bool = False


_FLAX = {"kernel": ("hidden", "kernel"), "bias": ("hidden", "bias"), "out": ("out", "kernel")}
_FLAX |= {"scale": ("norm", "scale"), "shift": ("norm", "bias")}
_LINEN = {"hidden": "Dense_0", "norm": "BatchNorm_0", "out": "Dense_1"}
KINDS = {
    "functions": Kind(functions, {name: (name,) for name in _FLAX}),
    "linen": Kind(Linen, {name: (_LINEN[module], leaf) for name, (module, leaf) in _FLAX.items()}),
    "nnx": Kind(lambda generator, rate: networks.from_nnx(lambda rngs: NNX(generator, rate, rngs)), _FLAX),
    "to_linen": Kind(lambda generator, rate: nnx.bridge.to_linen(NNX, generator, rate), _FLAX),
    "equinox": Kind(
        lambda generator, rate: networks.from_equinox(lambda key: Equinox(generator, rate, key)),
        {name: (module, leaf.replace("kernel", "weight").replace("scale", "weight"))
         for name, (module, leaf) in _FLAX.items()},
        transposed=True,
    ),
    "haiku": Kind(
        lambda generator, rate: networks.from_haiku(haiku(generator, rate)),
        {"kernel": ("linear", "w"), "bias": ("linear", "b"), "out": ("linear_1", "w"),
         "scale": ("batch_norm", "scale"), "shift": ("batch_norm", "offset")},
    ),
}  # fmt: skip


def make(kind: str, rate: float, **keywords: Any) -> gan_jax.GAN:
    build = KINDS[kind].make
    return small_gan.make(generator=build(True, rate), discriminator=build(False, rate), **keywords)


def read(kind: str, params: Any) -> dict[str, Any]:
    """Returns the parameters of a player under the names that all kinds share."""
    _, paths, transposed = KINDS[kind]
    result = {}
    for name, path in paths.items():
        value = functools.reduce(lambda folder, part: folder[part], path, params)
        value = value.T if transposed else value
        result[name] = value.reshape(-1) if value.ndim > 1 and name in ("scale", "shift") else value
    return result


def load(kind: str, params: Any, weights: dict[str, Any]) -> Any:
    """Returns `params` with copies of `weights`, which `read` made of the same player of another kind."""
    _, paths, transposed = KINDS[kind]
    params = jax.tree.map(jnp.copy, params)
    for name, (*above, last) in paths.items():
        folder = params[above[0]] if above else params
        value = weights[name].T if transposed else weights[name]
        folder[last] = jnp.copy(value.reshape(folder[last].shape))
    return params
