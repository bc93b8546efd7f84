"""What this machine is: its processor and how much of it this process may use."""

import os
import platform


def cpu_model() -> str:
    """The processor's name, where the system tells: other instructions are other sums."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def cpu_threads() -> int:
    """Processors this process may use: XLA splits its sums by their number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
