"""What the web app allows and shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from facevoice.config import WindowConfig
from facevoice.errors import ConfigError


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Limits of the page; a limit that is met says so in words that people understand."""

    samples: Path | None = None
    """Folder of clips to choose from."""
    max_size_mb: int = 500
    """Largest upload."""
    max_length_s: float = 3600.0
    """Longest clip that is analysed."""
    keep_s: float = 3600.0
    """Uploads and results are deleted when their user leaves, at the latest after this time."""
    num_at_once: int = 1
    """Clips analysed at the same time; each uses all processors, so more are slower each."""
    max_waiting: int = 20
    """Users who may wait for their turn; more are sent away."""
    max_live: int = 2
    """Live sessions at the same time; 0 leaves the live mode out."""
    max_live_s: float = 600.0
    """Longest live session."""
    live_windows: WindowConfig = field(default_factory=lambda: WindowConfig(4.0, 0.5))
    """Windows of the live mode."""

    def __post_init__(self) -> None:
        for name in ("max_size_mb", "max_length_s", "keep_s", "num_at_once", "max_waiting"):
            value = getattr(self, name)
            if value <= 0:
                raise ConfigError(f"{name} = {value!r} is not allowed: must be above 0")
        if self.max_live < 0:
            raise ConfigError(f"max_live = {self.max_live!r} is not allowed: must not be below 0")
        if self.samples is not None and not self.samples.is_dir():
            raise ConfigError(f"samples: {self.samples} is no folder; name one with clips in it")
