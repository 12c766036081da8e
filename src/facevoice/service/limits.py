"""What the service allows: in all, and to each key."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from facevoice.errors import ConfigError

LOCAL_HOSTS: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may ask for; a limit that is met is told by an error of its own."""

    max_size_mb: float = 500.0
    """Largest file, in millions of bytes."""
    max_minutes: float = 60.0
    """Longest file."""
    max_jobs: int = 50
    """Jobs that wait or run at the same time."""
    max_kept: int = 10_000
    """Jobs in all, until they are deleted."""
    requests_per_minute: float = 600.0
    """Of any kind; a third of them may come at once."""
    max_streams: int = 8
    """Streams of windows that are open at the same time."""
    may_fetch: bool = True
    """Whether addresses may be named, and not files only."""
    may_read_metrics: bool = False
    """Whether it may read `/metrics`, which counts for all keys."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, bool) and value <= 0:
                raise ConfigError(f"{one.name} = {value!r} is not allowed: must be above 0")

    @property
    def max_bytes(self) -> int:
        """Of a file."""
        return int(self.max_size_mb * 1e6)

    @property
    def max_length_s(self) -> float:
        """Of a file."""
        return 60.0 * self.max_minutes


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """How a service works."""

    folder: Path
    """Uploads, and by default the jobs; for this user alone."""
    database: str | None = None
    """postgresql://… where several processes share the jobs; None for SQLite in the folder."""
    limits: KeyLimits = field(default_factory=KeyLimits)
    """Of keys that name no others, and of a service without keys."""
    num_at_once: int = 1
    """Files that are worked on at the same time."""
    keep_s: float = 24 * 3600.0
    """Jobs and their reports are deleted so long after they are done."""
    fetch_s: float = 600.0
    """For how long a file may be fetched."""
    private_addresses: bool = False
    """Whether addresses of private networks are fetched too."""

    def __post_init__(self) -> None:
        for name in ("num_at_once", "keep_s", "fetch_s"):
            value = getattr(self, name)
            if value <= 0:
                raise ConfigError(f"{name} = {value!r} is not allowed: must be above 0")
