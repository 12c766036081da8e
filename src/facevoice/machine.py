"""How much of the machine there is for us."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_QUOTA_FILE: Final = Path("/sys/fs/cgroup/cpu.max")


def num_cpus() -> int:
    """Processors that this process may use, at least 1.

    Heeds the process's affinity and, on Linux, the quota of its container (cgroup version 2), which
    `os.cpu_count` doesn't know.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, _quota(_QUOTA_FILE) or allowed or 1))


def _quota(file: Path) -> int | None:
    """Processors that a container may use, rounded down; None where there is no limit."""
    try:
        granted, period = file.read_text(encoding="ascii").split()
        return max(1, int(granted) // int(period))
    except (OSError, ValueError):  # "max", or not such a system
        return None
