"""Everything that facevoice raises on purpose.

FacevoiceError
├── MediaError                a file can't be read as video or audio
│   ├── MediaNotFoundError        no such file
│   ├── EmptyMediaError           zero bytes
│   ├── UnreadableMediaError      not a media file, or damaged beyond its header
│   └── NoStreamError             neither a video nor an audio stream inside
├── ConfigError               a setting is out of range or unknown
├── WeightsError              weights are missing, damaged or not the ones named
├── MissingExtraError         a feature needs an optional dependency
├── CorpusError               a corpus or manifest breaks its own rules
└── EvaluationError           a metric is not defined on the data given
"""

from __future__ import annotations

from pathlib import Path


class FacevoiceError(Exception):
    """Root of all errors raised on purpose; `str()` gives the cause and the remedy."""

    @property
    def kind(self) -> str:
        """Name for reports, in snake case: `EmptyMediaError` → `empty_media`."""
        name = type(self).__name__.removesuffix("Error")
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class MediaError(FacevoiceError):
    """A file can't be read as video or audio."""

    def __init__(self, path: Path | str, problem: str, remedy: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{path}: {problem}" + (f" {remedy}" if remedy else ""))


class MediaNotFoundError(MediaError):
    """No such file or folder."""


class EmptyMediaError(MediaError):
    """The file has zero bytes."""


class UnreadableMediaError(MediaError):
    """The file is no media file, or too damaged to decode."""


class NoStreamError(MediaError):
    """The container holds neither a video nor an audio stream."""


class ConfigError(FacevoiceError):
    """A setting is out of range or unknown; the message names the setting and what is allowed."""


class WeightsError(FacevoiceError):
    """Weights are missing, damaged, or not the ones that their card names."""


class MissingExtraError(FacevoiceError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{feature} needs an optional part: pip install 'facevoice[{extra}]'")


class CorpusError(FacevoiceError):
    """A corpus, manifest or split breaks its own rules; the message names file and line."""


class EvaluationError(FacevoiceError):
    """A metric is not defined on the data given (for example AUROC on one class)."""
