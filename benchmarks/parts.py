"""Runners for the parts of a step: one player's update, convolutions, dispatch, and feeding of images."""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax.models import mlp
from gan_jax.ops import compiler_options, conv, conv_transpose
from gan_jax.pixels import to_float
from gan_jax.step.draws import draw, global_index
from gan_jax.step.inputs import UpdateInputs
from gan_jax.step.updates import Updates
from gan_jax.types import PyTree

from .cases import Case, init
from .peers import torch_device
from .runners import Runner, make_step, place, repeat

BATCH = 64


def compile_runner(function: Callable[..., PyTree], *arguments: PyTree) -> Runner:
    """Compiles a function and returns a runner that calls it on the same arguments again and again."""
    compiled = jax.jit(function, compiler_options=compiler_options()).lower(*arguments).compile()

    def run(n: int) -> None:
        out = None
        for _ in range(n):
            out = compiled(*arguments)
        jax.block_until_ready(out)

    return Runner(run, flops=(compiled.cost_analysis() or {}).get("flops")).begin()


def player_updates(case: Case) -> dict[str, Runner]:
    """Returns runners of each player's update alone; if D has a penalty, also of its update without it."""

    def update(gan: gan_jax.GAN, player: str) -> Runner:
        updates = Updates(gan, None)

        def run(state: gan_jax.GANState, image: jax.Array) -> PyTree:
            index = global_index(case.batch, None)
            draws = draw(gan, state.key, state.step, 0, {}, index)
            inputs = UpdateInputs(to_float(image), None, draws)
            if player == "discriminator":
                return updates.discriminator(state, inputs, None)[0]
            return updates.generator(state, inputs, None)[0]

        return compile_runner(run, init(case, gan), jax.device_put(case.images(case.batch)))

    gan = case.gan()
    runners = {"discriminator": update(gan, "discriminator"), "generator": update(gan, "generator")}
    if case.gamma:
        runners["discriminator, no penalty"] = update(case.gan(discriminator_terms=()), "discriminator")
    return runners


def convolutions() -> dict[str, Runner]:
    """Returns runners of a convolution and its transpose: forward pass and both gradients.

    Stride 2, 32 x 32 pixels, 64 and 128 channels.
    """
    random = np.random.default_rng(0)
    image, small = (random.normal(size=s).astype(np.float32) for s in ((64, 32, 32, 64), (64, 16, 16, 128)))
    kernel = random.normal(size=(4, 4, 64, 128)).astype(np.float32)

    def gradients(function: Callable[..., jax.Array]) -> Callable[..., PyTree]:
        return jax.grad(lambda x, w: jnp.sum(jnp.square(function(x, w, stride=2, padding=1))), argnums=(0, 1))

    return {
        "conv": compile_runner(gradients(conv), image, kernel),
        "conv_transpose": compile_runner(gradients(conv_transpose), small, kernel),
    }


def operators(kernel: int, stride: int, size: int, i: int, o: int) -> dict[str, dict[str, Runner]]:
    """Returns `{implementation: {part: runner}}` for a convolution with padding 1, from i to o channels.

    The parts are the forward pass, the input gradient and the kernel gradient.
    """
    random = np.random.default_rng(0)
    shapes = (BATCH, size, size, i), (kernel, kernel, i, o), (BATCH, size // stride, size // stride, o)
    x, w, y = (random.normal(size=shape).astype(np.float32) for shape in shapes)

    def strided(x: jax.Array, w: jax.Array) -> jax.Array:
        return conv(x, w, stride=stride, padding=1)

    runners = {
        "gan_jax": {
            "forward": compile_runner(strided, x, w),
            "input gradient": compile_runner(
                lambda y, w: jax.vjp(lambda x: strided(x, w), jnp.zeros(x.shape))[1](y), y, w
            ),
            "kernel gradient": compile_runner(
                lambda x, y: jax.vjp(lambda w: strided(x, w), jnp.zeros(w.shape))[1](y), x, y
            ),
        }
    }
    if importlib.util.find_spec("torch"):
        from .peers import torch_parts

        calls = torch_parts.convolution(x, w, y, stride, torch_device())
        runners["torch_tuned"] = {part: Runner(run).begin() for part, run in calls.items()}
    for runner in (runner for group in runners.values() for runner in group.values()):
        runner.flops = 2.0 * y.size * kernel**2 * i
    return runners


def tiny(mode: str = "jit", fuse: int = 1) -> Runner:
    """Returns a runner of a GAN with 32 hidden units: the time of its step is mostly dispatch."""
    generator: PyTree = mlp.Generator((2,), width=32, layers=1, tanh=False)
    discriminator: PyTree = mlp.Discriminator(width=32, layers=1)
    adam = gan_jax.optimizers.adam()
    loss, latent = gan_jax.losses.non_saturating(), gan_jax.latents.normal(2)
    gan = gan_jax.GAN(generator, discriminator, loss, adam, adam, latent)
    samples = np.zeros((16, 2), np.float32)
    state = jax.jit(lambda key: gan_jax.init(gan, key, {"image": samples}))(jax.random.key(0))
    step, mesh = make_step(gan, mode, fuse)
    samples = np.stack([samples] * fuse) if fuse > 1 else samples
    state, batch = place(step, mesh, state, {"image": samples})
    return Runner(repeat(step, state, lambda: batch), fuse).begin()


def gather(case: Case, size: int = 20_000) -> Runner:
    """Returns a runner that gathers and normalises a batch of `size` images that are on the device."""
    images = jax.device_put(case.images(size))
    index = jax.device_put(np.random.default_rng(1).integers(0, size, case.batch).astype(np.int32))
    return compile_runner(lambda images, index: to_float(jnp.take(images, index, axis=0)), images, index)


@contextmanager
def streamed(case: Case, workers: int = 2, files: int = 512) -> Iterator[Runner]:
    """Gives a runner of steps on JPEG files, which threads decode and resize while the step runs.

    The images in the files are 1.5 times as high and wide as the samples. The threads end with the context.
    """
    from PIL import Image

    from gan_jax.data.folder import folder
    from gan_jax.data.loader import Loader

    side = case.shape[0] * 3 // 2
    random = np.random.default_rng(0)
    gan = case.gan()
    with tempfile.TemporaryDirectory(prefix="gan_jax-benchmark-") as path:
        for i in range(files):
            low = Image.fromarray(random.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
            low.resize((side, side), Image.Resampling.BICUBIC).save(Path(path) / f"{i:04d}.jpg", quality=90)
        source = folder(path, size=case.shape[0], check="header")
        step, state = gan_jax.jit_step(gan_jax.make_train_step(gan)), init(case, gan)
        with Loader(source, seed=0, batch=case.batch, resident=False, workers=workers) as loader:
            yield Runner(repeat(step, state, lambda: jax.device_put(next(loader)))).begin()
