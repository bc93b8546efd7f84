"""What a step is made of, timed apart: each player's turn, convolutions, dispatch, the way in for images."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

from .cases import Case, init
from .runners import Runner, placed, wrapped

BATCH = 64


def program(function: Callable[..., Any], *arguments: Any) -> Runner:
    """A jitted function on arguments that stay where they are."""
    compiled = jax.jit(function, compiler_options=compiler_options()).lower(*arguments).compile()

    def run(n: int) -> None:
        out = None
        for _ in range(n):
            out = compiled(*arguments)
        jax.block_until_ready(out)

    return Runner(run, flops=(compiled.cost_analysis() or {}).get("flops")).begin()


def turns(case: Case) -> dict[str, Runner]:
    """Each player's turn by itself, and the discriminator's without its penalty where it has one."""

    def turn(gan: gan_jax.GAN, player: str) -> Runner:
        updates = Updates(gan, None)

        def run(state: gan_jax.GANState, image: jax.Array) -> Any:
            index = global_index(case.batch, None)
            draws = draw(gan, state.key, state.step, 0, None, index)
            inputs = UpdateInputs(to_float(image), None, draws)
            if player == "discriminator":
                return updates.discriminator(state, inputs, None)[0]
            return updates.generator(state, inputs, None)[0]

        return program(run, init(case, gan), jax.device_put(case.images(case.batch)))

    gan = case.gan()
    found = {"discriminator": turn(gan, "discriminator"), "generator": turn(gan, "generator")}
    if case.gamma:
        found["discriminator, no penalty"] = turn(case.gan(discriminator_terms=()), "discriminator")
    return found


def convolutions() -> dict[str, Runner]:
    """Forward and gradients of a strided convolution, 64 to 128 channels on 32 pixels, and of its transpose."""
    draw = np.random.default_rng(0)
    image, small = (draw.normal(size=s).astype(np.float32) for s in ((64, 32, 32, 64), (64, 16, 16, 128)))
    kernel = draw.normal(size=(4, 4, 64, 128)).astype(np.float32)

    def trained(function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.grad(lambda x, w: jnp.sum(jnp.square(function(x, w, stride=2, padding=1))), argnums=(0, 1))

    return {
        "conv": program(trained(conv), image, kernel),
        "conv_transpose": program(trained(conv_transpose), small, kernel),
    }


def operators(kernel: int, stride: int, size: int, i: int, o: int) -> dict[str, dict[str, Runner]]:
    """Forward and both gradients of a convolution with padding 1, `{implementation: {part: runner}}`."""
    draw = np.random.default_rng(0)
    shapes = (BATCH, size, size, i), (kernel, kernel, i, o), (BATCH, size // stride, size // stride, o)
    x, w, y = (draw.normal(size=shape).astype(np.float32) for shape in shapes)

    def strided(x: jax.Array, w: jax.Array) -> jax.Array:
        return conv(x, w, stride=stride, padding=1)

    found = {
        "gan_jax": {
            "forward": program(strided, x, w),
            "input gradient": program(
                lambda y, w: jax.vjp(lambda x: strided(x, w), jnp.zeros(x.shape))[1](y), y, w
            ),
            "kernel gradient": program(
                lambda x, y: jax.vjp(lambda w: strided(x, w), jnp.zeros(w.shape))[1](y), x, y
            ),
        }
    }
    if importlib.util.find_spec("torch"):
        from .peers import torch_parts

        device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        found["torch_tuned"] = {
            name: Runner(run).begin() for name, run in torch_parts.convolution(x, w, y, stride, device).items()
        }
    for runner in (r for group in found.values() for r in group.values()):
        runner.flops = 2.0 * y.size * kernel**2 * i
    return found


def tiny(mode: str = "jit", fuse: int = 1) -> Runner:
    """A game of 32 units, whose steps cost little but their dispatch."""
    generator: Any = mlp.Generator((2,), width=32, layers=1, tanh=False)
    discriminator: Any = mlp.Discriminator(width=32, layers=1)
    adam = gan_jax.optimizers.adam()
    loss, latent = gan_jax.losses.non_saturating(), gan_jax.latents.normal(2)
    gan = gan_jax.GAN(generator, discriminator, loss, adam, adam, latent)
    batch: Any = {"image": np.zeros((16, 2), np.float32)}
    state: Any = jax.jit(lambda key: gan_jax.init(gan, key, batch))(jax.random.key(0))
    step, mesh = wrapped(gan, mode, fuse)
    batch = jax.tree.map(lambda x: np.stack([x] * fuse), batch) if fuse > 1 else batch
    state, batch = placed(step, mesh, state, batch)
    box = [state]

    def run(n: int) -> None:
        for _ in range(n):
            box[0], _ = step(box[0], batch)
        jax.block_until_ready(box[0])

    return Runner(run, fuse).begin()


def gather(case: Case, rows: int = 20_000) -> Runner:
    """A batch of a resident set, gathered and normalised on the device."""
    images = jax.device_put(case.images(rows))
    index = jax.device_put(np.random.default_rng(1).integers(0, rows, case.batch).astype(np.int32))
    return program(lambda images, index: to_float(jnp.take(images, index, axis=0)), images, index)


def streamed(case: Case, workers: int = 2, files: int = 512) -> tuple[Runner, Any]:
    """Steps fed from JPEG files, 1.5 times as large as the samples, decoded by threads while the step runs.

    And the loader, to be closed; while it lives, its threads work ahead.
    """
    from PIL import Image

    from gan_jax.data.folder import folder
    from gan_jax.data.loader import Loader

    kept = tempfile.TemporaryDirectory(prefix="gan_jax-benchmark-")
    side = case.shape[0] * 3 // 2
    draw = np.random.default_rng(0)
    for i in range(files):
        low = Image.fromarray(draw.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        low.resize((side, side), Image.Resampling.BICUBIC).save(Path(kept.name) / f"{i:04d}.jpg", quality=90)
    source = folder(kept.name, size=case.shape[0], check="header")
    loader = Loader(source, seed=0, batch=case.batch, resident=False, workers=workers)
    gan = case.gan()
    step, box = gan_jax.jit_step(gan_jax.make_train_step(gan)), [init(case, gan)]

    def run(n: int, held: Any = kept) -> None:  # the folder lives as long as its runner
        for _ in range(n):
            box[0], _ = step(box[0], jax.device_put(next(loader)))
        jax.block_until_ready(box[0])

    return Runner(run).begin(), loader
