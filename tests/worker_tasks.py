"""Work for the processes of `test_workers`: must be importable by name in a fresh process."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path


def build_square(setup: int) -> Callable[[int | Path], int]:
    """Squares numbers times `setup`; dies on -1, and on a path that does not exist yet."""
    if setup == 0:
        raise ValueError("nothing to multiply by")

    def work(task: int | Path) -> int:
        if isinstance(task, Path):
            if not task.exists():
                task.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return 7
        if task == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task * setup

    return work


def build_log_level(_: None) -> Callable[[int], int]:
    """Tells from which level on the process logs."""
    return lambda _: logging.getLogger("facevoice").getEffectiveLevel()
