"""Where the processes of members run: all see everything, or each sees one GPU, or some cores."""

import glob
import os
import re
import shutil
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UserError
from ..runtime.machine import cpu_threads


class Place(NamedTuple):
    """Where one process runs.

    Attributes:
        environment: variables that it gets.
        before: words in front of its command.
    """

    environment: Mapping[str, str] = {}
    before: tuple[str, ...] = ()


def anywhere(jobs: int | None) -> list[Place]:
    """Returns `jobs` places that see the whole machine; None: one, so members train one after another.

    A process there is what `gan-jax train` alone would be, so it computes the same bits.
    """
    return [Place()] * (jobs or 1)


def devices(jobs: int | None) -> list[Place]:
    """Returns a place for each GPU; on a machine without any, `jobs` places with as many cores each.

    Raises:
        UserError: there are fewer GPUs or cores than `jobs`, or the cores cannot be divided.
    """
    if found := gpus():
        if jobs is not None and jobs > len(found):
            raise UserError(
                f"--jobs {jobs}, but there are {len(found)} GPUs: lower it, or use --members processes"
            )
        return [Place({"CUDA_VISIBLE_DEVICES": gpu}) for gpu in found[:jobs]]
    if os.environ.get("JAX_PLATFORMS", "cpu") != "cpu":
        raise UserError(
            "--members devices gives a GPU of NVIDIA to each member, and there is none: use --members processes"
        )
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    jobs = jobs or cpu_threads()
    if shutil.which("taskset") is None or jobs > len(cores):
        raise UserError(
            f"--members devices needs a core for each of {jobs} processes, and the program taskset; there are "
            f"{len(cores)} cores: lower --jobs, or use --members processes"
        )
    each = len(cores) // jobs
    return [
        Place(before=("taskset", "--cpu-list", ",".join(map(str, cores[i * each : (i + 1) * each]))))
        for i in range(jobs)
    ]


def gpus() -> list[str]:
    """Returns what CUDA_VISIBLE_DEVICES calls each GPU of NVIDIA that this process may use.

    JAX is not asked: it would take most of the memory of the GPUs, which the members need.
    """
    if os.environ.get("JAX_PLATFORMS", "cuda").split(",")[0] not in ("cuda", "gpu", ""):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip()]
    found = [re.fullmatch(r"/dev/nvidia(\d+)", path) for path in glob.glob("/dev/nvidia*")]
    return [name for _, name in sorted((int(match[1]), match[1]) for match in found if match)]
