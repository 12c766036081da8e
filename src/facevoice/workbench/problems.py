"""What went wrong with one clip, while the others went on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from facevoice.errors import FacevoiceError

_LOG = logging.getLogger(__name__)

DAMAGED = "damaged"
"""Kind of a problem that costs only a part of a file."""


@dataclass(frozen=True, slots=True)
class ClipProblem:
    """Why a clip's file could not be used: `kind` as in `FacevoiceError.kind`, and the message."""

    clip_id: str
    path: Path | None
    kind: str
    message: str


def describe_problem(clip_id: str, path: Path | None, error: Exception) -> ClipProblem:
    """Put an exception on record; one that nobody foresaw is also logged with its traceback."""
    if isinstance(error, FacevoiceError):
        return ClipProblem(clip_id, path, error.kind, str(error))
    if isinstance(error, OSError):
        return ClipProblem(clip_id, path, "os", f"{path}: can't be read ({error.strerror})")
    _LOG.error("%s: unexpected error", path, exc_info=error)
    message = f"{path}: unexpected {type(error).__name__}: {error}"
    return ClipProblem(clip_id, path, "internal", message)
