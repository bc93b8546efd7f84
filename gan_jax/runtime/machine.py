"""The processor of this machine, and how many of its threads this process may use."""

import os
import platform


def cpu_model() -> str:
    """Returns the processor's name, or "" where the system does not tell. Sums differ between processors."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def cpu_threads() -> int:
    """Returns how many processors this process may use. XLA splits its sums by this number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
