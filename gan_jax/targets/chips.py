"""`Chip`: what a vendor publishes about an accelerator, and `Target`: which chips a program is compiled for."""

import contextlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import UserError
from ..types import Device

INSTALL = {"cuda": "pip install 'gan_jax[target-gpu]'", "tpu": "pip install 'gan_jax[target-tpu]'"}


Options = Mapping[str, str | bool | int]
"""Options of the compiler."""

EFFORT = "optimization_level"  # JAX's name of the option for a compiler's effort
EFFORTS = {"O0": 9, "O1": 19, "O2": 29, "O3": 39}  # XLA's numbers of JAX's levels


@dataclass(frozen=True)
class Chip:
    """What a vendor publishes about one accelerator. Rates are peaks: no program reaches them.

    Attributes:
        name: as the vendor writes it.
        memory: bytes of main memory.
        bandwidth: of main memory, in bytes a second.
        rates: FLOP/s of dense matrix products by the type of their operands: "bf16", "tf32" (float32 in the
            platform's fast mode) and "float32" (in full precision).
        source: where these figures are published.
    """

    name: str
    memory: float
    bandwidth: float
    rates: Mapping[str, float]
    source: str

    def rate(self, dtype: str, precise: bool) -> float:
        """Returns the peak rate of a product of operands of a type, such as "bf16" or "f32"."""
        if dtype in ("bf16", "f16"):
            return self.rates["bf16"]
        return self.rates["float32" if precise or dtype == "f64" else "tf32"]


@dataclass(frozen=True)
class Target:
    """Chips that a program is compiled for, which need not be here.

    Attributes:
        name: as the user gives it, such as "h200:8" or "v5e:2x4".
        platform: of XLA.
        chip: the published figures; those of one device, where a chip is several devices.
        devices: of the compiler. They hold no arrays and run nothing.
        options: of the compiler.
        fallback: options to try where it refuses a program.
        less_effort: options with which it takes less time, and makes a program that reads and writes more.
    """

    name: str
    platform: Literal["cuda", "tpu"]
    chip: Chip
    devices: Sequence[Device] = field(repr=False)
    options: Options
    fallback: Options | None = None
    less_effort: Options = field(default_factory=dict)

    def quick(self) -> "Target":
        """Returns this target with the compiler's options of `less_effort`."""
        fallback = None if self.fallback is None else {**self.fallback, **self.less_effort}
        return replace(self, options={**self.options, **self.less_effort}, fallback=fallback)


def installed(*modules: str) -> bool:
    """Returns whether one of these modules is installed. None is imported, but for the package around it."""
    with contextlib.suppress(ModuleNotFoundError):  # of that package
        return any(importlib.util.find_spec(module) is not None for module in modules)
    return False


def missing(platform: Literal["cuda", "tpu"], name: str) -> UserError:
    """Returns the error for a compiler that is not installed."""
    what = {"cuda": "the GPU's compiler (jax[cuda12])", "tpu": "the TPU's compiler (libtpu)"}[platform]
    return UserError(f"target {name} needs {what}, which is not installed: {INSTALL[platform]}")


def topology(platform: str, name: str, **options: object) -> Sequence[Device]:
    """Returns the devices of a topology, those of one process together."""
    from jax.experimental import topologies

    described = topologies.get_topology_desc(platform=platform, topology_name=name, **options)
    return sorted(described.devices, key=lambda device: (device.process_index, device.id))
