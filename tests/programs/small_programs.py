"""The small programs that the guards compile for GPUs and TPUs that are not here, each once in a process."""

import functools
import json
import os
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax

import gan_jax
from gan_jax.config import Config, override
from gan_jax.config.build import batch_spec, make_gan
from recipe_facts import recipe, spec

# No channel count in the programs is a multiple of 5, so a dimension that is one counts samples.
BATCH = 40
TABLE = Path(__file__).parent / "table.json"
MISSING = next((name for name in ("jax_cuda12_plugin", "libtpu") if find_spec(name) is None), "")


class Small(NamedTuple):
    """A recipe at a small size.

    Attributes:
        recipe: the name of the recipe.
        overrides: what makes it small; precision and batch come on top.
        target: the name of the target, such as "h200" or "v5e:2x2".
        mode: "jit", "shard" or "pmap".
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    target: str = "h200"
    mode: str = "jit"

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
}


class Program(NamedTuple):
    """What was compiled: the text of the compiler, and the bytes of temporaries on a device."""

    text: str
    temporaries: int


_FLAGS = {"xla_gpu_autotune_level": "0", "xla_gpu_enable_triton_gemm": False}


@functools.cache
def program(name: str) -> Program:
    """Compiles one of `PROGRAMS`."""
    from jax.experimental import topologies
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding, PartitionSpec as P

    small = PROGRAMS[name]
    config, facts = small.config, spec(small.recipe)
    gan = make_gan(config, facts)
    batch = batch_spec(config, gan, facts)
    os.environ.update(TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
    kind, _, count = small.target.partition(":")
    n = int(count or 1) if kind == "h200" else 4
    if kind == "h200":
        topology = topologies.get_topology_desc(
            platform="cuda", topology_name=f"1x1x{n}", topology=f"1x1x{n}", target_config=_H200
        )
    else:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=small.target)
    if n == 1:
        replicated = split = SingleDeviceSharding(topology.devices[0])
    else:
        mesh = Mesh(np.array(topology.devices), ("data",))
        replicated, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    def place(tree, sharding):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    state = place(jax.eval_shape(lambda key: gan_jax.init(gan, key, batch), jax.random.key(0)), replicated)
    step = gan_jax.make_train_step(gan, axis_name="data" if small.mode == "pmap" else None)
    if small.mode == "jit":
        step = jax.jit(step, donate_argnums=0)
    elif small.mode == "shard":
        step = gan_jax.shard_step(step, mesh)
    else:
        step = gan_jax.pmap_step(step, "data", topology.devices)
    compiled = step.lower(state, place(batch, split)).compile(compiler_options=_FLAGS if kind == "h200" else None)
    return Program(compiled.as_text(), compiled.memory_analysis().temp_size_in_bytes)


_H200 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 4800000000000 l2_cache_size: 62914560
clock_rate_ghz: 1.98 device_memory_size: 150000000000 shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536
registers_per_block_limit: 65536 } platform_name: "CUDA" dnn_version_info { major: 9 minor: 28 } runtime_version { major: 12 minor: 9 patch: 0 } device_description_str: "NVIDIA H200" """  # noqa
