"""The processor of this machine, and how many of its threads this process may use."""

import os
import platform


def cpu_model() -> str:
    """Returns the processor's name, or "" where the system does not tell. Sums differ between processors."""
    lines = cpu_lines("model name")
    return platform.processor() if lines is None else next((line.partition(":")[2].strip() for line in lines), "")


def cpu_lines(*fields: str) -> list[str] | None:
    """Returns lines of /proc/cpuinfo about the first processor, by how they start; None without that file."""
    try:
        with open("/proc/cpuinfo") as file:
            return [line for line in file.read().partition("\n\n")[0].splitlines() if line.startswith(fields)]
    except OSError:
        return None


def cpu_threads() -> int:
    """Returns how many processors this process may use. XLA splits its sums by this number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
