"""The memory of this host, and files that unpack to more than real data do."""

import os
from pathlib import Path

MOST_UNPACKED, _SMALL = 100, 2**28
"""Images and labels unpack to ten times their bytes, a bomb to a thousand times; small files may be all zero."""


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


def is_bomb(packed: int, unpacked: int) -> bool:
    """Returns whether a file of `packed` bytes unpacks to more than `MOST_UNPACKED` times as many, and to many."""
    return unpacked > max(_SMALL, MOST_UNPACKED * packed)
