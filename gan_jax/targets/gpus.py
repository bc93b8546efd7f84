"""The GPUs that a program can be compiled for, and what is published about them."""

import re

from ..errors import UserError, first_line
from .chips import Chip, Options, Target, installed, missing, topology

_DENSE = "dense rates: half of those that the data sheet gives with sparsity"

CHIPS = {
    "h200": Chip(
        "NVIDIA H200 SXM, 141 GB", 141e9, 4.8e12, {"bf16": 989.5e12, "tf32": 494.5e12, "float32": 67e12},
        f"https://www.nvidia.com/en-us/data-center/h200/ ({_DENSE})",
    ),
    "h100": Chip(
        "NVIDIA H100 SXM, 80 GB", 80e9, 3.35e12, {"bf16": 989.5e12, "tf32": 494.5e12, "float32": 67e12},
        f"https://www.nvidia.com/en-us/data-center/h100/ ({_DENSE})",
    ),
    "a100": Chip(
        "NVIDIA A100 SXM, 80 GB", 80e9, 2.039e12, {"bf16": 312e12, "tf32": 156e12, "float32": 19.5e12},
        "https://www.nvidia.com/en-us/data-center/a100/ (dense rates)",
    ),
    "l40s": Chip(
        "NVIDIA L40S, 48 GB", 48e9, 0.864e12, {"bf16": 362.05e12, "tf32": 183e12, "float32": 91.6e12},
        "https://www.nvidia.com/en-us/data-center/l40s/ (dense rates)",
    ),
    "rtx4090": Chip(
        "NVIDIA GeForce RTX 4090, 24 GB", 24e9, 1.008e12, {"bf16": 165.2e12, "tf32": 82.6e12, "float32": 82.6e12},
        "NVIDIA Ada GPU architecture white paper, appendix A (dense rates, float32 accumulation)",
    ),
}  # fmt: skip
"""The cards, by the names that the user gives."""

# What the compiler asks of a card: name, streaming multiprocessors, float32 units of each, clock in GHz, shared
# memory of each and of a block in KiB, threads of each, cache in MiB, compute capability. From the data sheets,
# the architectures' white papers and the CUDA programming guide (technical specifications per compute capability).
_SPECS = {
    "h200": ("NVIDIA H200", 132, 128, 1.98, 228, 227, 2048, 60, (9, 0)),
    "h100": ("NVIDIA H100 80GB HBM3", 132, 128, 1.98, 228, 227, 2048, 50, (9, 0)),
    "a100": ("NVIDIA A100-SXM4-80GB", 108, 64, 1.41, 164, 163, 2048, 40, (8, 0)),
    "l40s": ("NVIDIA L40S", 142, 128, 2.52, 100, 99, 1536, 96, (8, 9)),
    "rtx4090": ("NVIDIA GeForce RTX 4090", 128, 128, 2.52, 100, 99, 1536, 72, (8, 9)),
}

_PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
_NAME = re.compile(r"(\w+)(?::(\d+))?$")


def find(name: str) -> Target | None:
    """Returns the target "CARD" or "CARD:N" (N cards in one host), or None if `name` is no GPU.

    Raises:
        UserError: the compiler for GPUs is not installed, or N is 0.
    """
    found = _NAME.match(name)
    if found is None or found[1] not in CHIPS:
        return None
    count = int(found[2] or 1)
    if not 1 <= count <= 1024:
        raise UserError(f"target {name} has {count} cards: give from 1 to 1024, such as {found[1]}:8")
    if not installed(*_PLUGINS):
        raise missing("cuda", name)
    shape = f"1x1x{count}"  # slices x processes x devices
    try:
        devices = topology("cuda", shape, topology=shape, target_config=config(found[1]))
    except NotImplementedError as error:  # JAX looked for a card, found none, and dropped the plugin
        raise UserError(
            f"target {name} needs JAX_PLATFORMS=cpu before JAX starts, where there is no GPU"
        ) from error
    except Exception as error:  # of the plugin: the types differ between versions
        raise UserError(f"target {name}: the GPU's compiler does not start: {first_line(error)}") from error
    # There is no card to time kernels on. Without timings some products in float32 find no kernel of Triton's.
    options: Options = {"xla_gpu_autotune_level": "0"}
    return Target(
        name, "cuda", CHIPS[found[1]], devices, options, {**options, "xla_gpu_enable_triton_gemm": False}
    )


def config(card: str) -> str:
    """Returns the description of a card that XLA reads (`stream_executor.GpuTargetConfigProto`, as text)."""
    name, cores, units, clock, shared, block, threads, cache, (major, minor) = _SPECS[card]
    chip = CHIPS[card]
    return (
        "gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 "
        f"shared_memory_per_core: {shared * 1024} threads_per_core_limit: {threads} core_count: {cores} "
        f"fpus_per_core: {units} block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 "
        f"memory_bandwidth: {chip.bandwidth:.0f} l2_cache_size: {cache * 2**20} clock_rate_ghz: {clock} "
        f"device_memory_size: {chip.memory:.0f} shared_memory_per_block_optin: {block * 1024} "
        f"cuda_compute_capability {{ major: {major} minor: {minor} }} registers_per_core_limit: 65536 "
        'registers_per_block_limit: 65536 } platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } '
        f'runtime_version {{ major: 12 minor: 9 patch: 0 }} device_description_str: "{name}"'
    )
