"""The memory of this host."""

import os
from pathlib import Path


def host_memory_bytes() -> int:
    """Returns the memory of this host, or of this container, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def available_memory_bytes(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the memory of this host, or of this container, that no process uses now, in bytes."""
    free, meminfo = host_memory_bytes(), Path("/proc/meminfo")
    if meminfo.is_file():
        words = meminfo.read_text().split()
        free = min(free, 1024 * int(words[words.index("MemAvailable:") + 1]))
    if (group / "memory.current").is_file():  # of a container: the group of a whole machine has no such file
        words = (group / "memory.stat").read_text().split()
        cached = int(words[words.index("inactive_file") + 1])  # of files; it can be dropped
        free = min(free, host_memory_bytes() - int((group / "memory.current").read_text()) + cached)
    return max(0, free)
