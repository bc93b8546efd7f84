"""The small programs that the guards compile for GPUs and TPUs that are not here, each once in a process."""

import functools
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

import gan_jax
from gan_jax.config import Config, override
from gan_jax.config.build import batch_spec, make_gan
from gan_jax.targets import Program, compile_step, find
from gan_jax.types import PyTree
from recipe_facts import recipe, spec

# No number of channels in the programs is a multiple of 5: an axis whose length is one has the samples.
BATCH = 40
TABLE = Path(__file__).parent / "table.json"
MISSING = next((name for name in ("jax_cuda12_plugin", "libtpu") if find_spec(name) is None), "")


class Small(NamedTuple):
    """A recipe at a small size.

    Attributes:
        recipe: the name of the recipe.
        overrides: what makes it small; precision and batch come on top.
        target: the name of the target, such as "h200" or "v5e:2x2".
        mode: "jit", "shard", "pmap" or "split" (`shard` with the parameters and the optimizers' state split).
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    target: str = "h200"
    mode: str = "jit"

    @property
    def devices(self) -> int:
        return {"h200": 1, "h200:8": 8, "v5e:2x2": 4}[self.target]

    @property
    def config(self) -> Config:
        fields = ("precision=bfloat16", f"batch={BATCH}", *self.overrides)
        return override(recipe(self.recipe), list(fields))


def _both(*fields: str) -> tuple[str, ...]:
    return tuple(f"{player}.{field}" for player in ("generator", "discriminator") for field in fields)


_BIGGAN = ("disc_steps=1", *_both("width=32"))
_SNGAN = ("disc_steps=1", "generator.widths=64,64,64,64", "discriminator.widths=64,64,64,64")
_STYLEGAN2 = (*_both("channel_max=64"), "discriminator.group=4", "generator.w_size=64", "latent.size=64")
_R3GAN = _both("widths=128,128,128,64", "cardinality=16,16,16,8", "blocks=1")

PROGRAMS = {
    "digits": Small("digits"),
    "dcgan": Small("cifar10_dcgan"),
    "dcgan_studiogan": Small("cifar10_dcgan_studiogan", ("disc_steps=1",)),
    "sngan": Small("cifar10_sngan", _SNGAN),
    "biggan": Small("cifar10_biggan", _BIGGAN),
    "stylegan2_ada": Small("cifar10_stylegan2_ada", _STYLEGAN2),
    "r3gan": Small("cifar10_r3gan", _R3GAN),
    "r3gan, 8 GPUs, shard": Small("cifar10_r3gan", _R3GAN, "h200:8", "shard"),
    "r3gan, 8 GPUs, pmap": Small("cifar10_r3gan", _R3GAN, "h200:8", "pmap"),
    "stylegan2_ada, 8 GPUs, shard": Small("cifar10_stylegan2_ada", _STYLEGAN2, "h200:8", "shard"),
    "stylegan2_ada, 8 GPUs, pmap": Small("cifar10_stylegan2_ada", _STYLEGAN2, "h200:8", "pmap"),
    "dcgan, 4 TPUs, shard": Small("cifar10_dcgan", (), "v5e:2x2", "shard"),
    "r3gan, 8 GPUs, split": Small("cifar10_r3gan", _R3GAN, "h200:8", "split"),
    "sngan, 4 TPUs, split": Small("cifar10_sngan", _SNGAN, "v5e:2x2", "split"),
}


@functools.cache
def program(name: str) -> Program:
    """Compiles one of `PROGRAMS`."""
    small = PROGRAMS[name]
    target = find(small.target)
    gan, state, batch = shapes(name)
    step = gan_jax.make_train_step(gan, axis_name="data" if small.mode == "pmap" else None)
    if small.mode in ("jit", "shard"):
        return compile_step(step, state, batch, target)
    mesh = gan_jax.make_mesh(target.devices)
    places = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), state)
    if small.mode == "split":
        places = gan_jax.state_shardings(state, mesh)
        step = gan_jax.shard_step(step, mesh, places)
    else:
        step = gan_jax.pmap_step(step, "data", target.devices)

    def placed(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    of_batch = NamedSharding(mesh, PartitionSpec(*[None] * step.batch_axis, *mesh.axis_names))
    batch = jax.tree.map(lambda x: placed(x, of_batch), batch)
    return compile_step(step, jax.tree.map(placed, state, places), batch, target)


def shapes(name: str) -> tuple[gan_jax.GAN, PyTree, PyTree]:
    """Returns the GAN of one of `PROGRAMS`, and the shapes of its state and its batch."""
    small = PROGRAMS[name]
    facts = spec(small.recipe)
    gan = make_gan(small.config, facts)
    batch = batch_spec(small.config, gan, facts)
    return gan, jax.eval_shape(lambda key: gan_jax.init(gan, key, batch), jax.random.key(0)), batch


def figures(name: str) -> dict[str, int]:
    """Returns what `table.json` holds of a program: of one device, and in one step."""
    found = program(name)
    row = {"kernels": sum(kernel.count for kernel in found.kernels), "bytes": found.bytes}
    if PROGRAMS[name].devices > 1:
        row["all_reduces"] = sum(k.count for k in found.kernels if k.call == "all-reduce")
    return row


def versions() -> dict[str, str]:
    """Returns the versions of what writes the programs: those that `tests/oldest.txt` pins, with JAX's extras."""
    return {
        name: ".".join(version(name).split(".")[:3]) for name in ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin")
    }
