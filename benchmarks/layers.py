"""The convolutions and resamplings of the built-in models, as the recipes call them."""

import contextlib
import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from unittest import mock

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax import ops
from gan_jax.config import load
from gan_jax.config.build import SampleSpec, batch_spec, make_gan
from gan_jax.ops.fir import Filter
from gan_jax.ops.geometry import Geometry

RECIPES: dict[str, SampleSpec] = {
    "cifar10_r3gan": SampleSpec((32, 32, 3), "uint8", 10),
    "cifar10_stylegan2_ada": SampleSpec((32, 32, 3), "uint8", 10),
    "cifar10_dcgan": SampleSpec((32, 32, 3), "uint8", 10),
    "ffhq64_r3gan": SampleSpec((64, 64, 3), "uint8", None),
    "cifar10_biggan": SampleSpec((32, 32, 3), "uint8", 10),
    "cifar10_sngan": SampleSpec((32, 32, 3), "uint8", 10),
    "cifar10_dcgan_studiogan": SampleSpec((32, 32, 3), "uint8", None),
    "imagenet64_r3gan": SampleSpec((64, 64, 3), "uint8", 1000),
    "ffhq256_r3gan": SampleSpec((256, 256, 3), "uint8", None),
}
"""The recipes whose models use a GPU well, the most wanted first, with the shape and classes of their data."""

CONVOLUTIONS = ("conv", "grouped_conv", "conv_transpose")
RESAMPLINGS = ("upsample", "downsample", "filter2d")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of an operation in `gan_jax.ops`.

    Attributes:
        kind: the name of the operation.
        x: shape of its input, `(N, H, W, C)`.
        kernel: shape of the kernel; of a resampling, `(number of taps,)`.
        settings: the other arguments, such as the stride and the groups, as sorted pairs.
    """

    kind: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    settings: tuple[tuple[str, object], ...] = ()

    @property
    def arguments(self) -> dict:
        return dict(self.settings)

    @property
    def groups(self) -> int:
        return self.arguments.get("groups", 1)

    def call(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """Calls the operation; a resampling has constant taps and ignores `kernel`."""
        if self.kind in RESAMPLINGS:
            return getattr(ops, self.kind)(x, **self.arguments)
        return getattr(ops, self.kind)(x, kernel, **self.arguments)

    @functools.cached_property
    def y(self) -> tuple[int, ...]:
        """The shape of the output."""
        x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (self.x, self.kernel))
        return jax.eval_shape(self.call, x, kernel).shape

    @functools.cached_property
    def primitive(self) -> tuple[str, Geometry | Filter] | None:
        """The name of the JAX primitive that it calls, and its geometry or filter; None: a matrix product."""
        x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (self.x, self.kernel))
        for equation in jax.make_jaxpr(self.call)(x, kernel).eqns:
            for name in ("geometry", "filter"):
                if name in equation.params:
                    return equation.primitive.name, equation.params[name]
        return None

    @property
    def flops(self) -> float | None:
        """FLOPs of each direction of a convolution; None for a resampling, which is limited by memory."""
        if self.kind in RESAMPLINGS:
            return None
        kh, kw, i, o = self.kernel
        small = self.x if self.kind == "conv_transpose" else self.y
        return 2.0 * small[0] * small[1] * small[2] * kh * kw * i * o

    def __str__(self) -> str:
        settings = " ".join(f"{name}={value}" for name, value in self.settings if value != 1 or name == "stride")
        return f"{self.kind} {'x'.join(map(str, self.x))} by {'x'.join(map(str, self.kernel))} {settings}"


def layers(recipes: Iterable[str], batch: int) -> dict[Layer, list[str]]:
    """Returns each different layer of the recipes' networks at a batch size, with the recipes that have it.

    Convolutions of 1 x 1, or of the whole map, are matrix products and are left out.
    """
    found: dict[Layer, list[str]] = {}
    for name in recipes:
        for layer in _calls(name, batch):
            names = found.setdefault(layer, [])
            if name not in names:
                names.append(name)
    return found


def _calls(recipe: str, batch: int) -> Iterator[Layer]:
    """Yields the layers in the order of their first call, as the initialisation of both networks calls them."""
    config = load(recipe)
    gan = make_gan(config, RECIPES[recipe])
    shapes = batch_spec(config, gan, RECIPES[recipe])
    calls: list[Layer] = []
    with _recorded(calls):
        jax.eval_shape(lambda key: gan_jax.init(gan, key, shapes), jax.random.key(0))
    sized = (dataclasses.replace(call, x=(batch, *call.x[1:])) for call in calls)
    return (layer for layer in dict.fromkeys(sized) if layer.primitive is not None)


@contextlib.contextmanager
def _recorded(calls: list[Layer]) -> Iterator[None]:
    """Notes each call of an operation of `gan_jax.ops` by the models."""
    with contextlib.ExitStack() as stack:
        for name in (*CONVOLUTIONS, *RESAMPLINGS):
            original = getattr(ops, name)
            recorder = _recorder(name, original, calls)
            for module in list(sys.modules.values()):
                of_models = module.__name__.startswith(("gan_jax.models", "gan_jax.ops.modulated"))
                if of_models and getattr(module, name, None) is original:
                    stack.enter_context(mock.patch.object(module, name, recorder))
        yield


def _recorder(name: str, original: Callable[..., jax.Array], calls: list[Layer]) -> Callable[..., jax.Array]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def recorder(*positional, **keywords):
        bound = signature.bind(*positional, **keywords)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        x = arguments.pop(next(iter(arguments)))
        if name in CONVOLUTIONS:
            kernel = tuple(arguments.pop("kernel").shape)
        else:
            arguments["taps"] = tuple(float(tap) for tap in arguments["taps"])
            kernel = (len(arguments["taps"]),)
        calls.append(Layer(name, tuple(x.shape), kernel, tuple(sorted(arguments.items()))))
        return original(*positional, **keywords)

    return recorder
