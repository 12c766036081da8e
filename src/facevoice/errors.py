"""Everything that facevoice raises on purpose.

FacevoiceError
├── MediaError                a file can't be read as video or audio
│   ├── MediaNotFoundError        no such file
│   ├── EmptyMediaError           zero bytes
│   ├── UnreadableMediaError      not a media file, or damaged beyond its header
│   │   └── FetchFailedError          it did not come whole; it may another time
│   ├── NoStreamError             neither a video nor an audio stream inside
│   ├── PrivateAddressError       a stranger's address leads into this network
│   ├── TooLargeError             more bytes than are taken
│   ├── TooLongError              it lasts longer than is taken
│   ├── DecoderCrashedError       the process that read it in isolation died on it
│   └── OverLimitError            reading it in isolation took more than it may
├── ConfigError               a setting is out of range or unknown
├── WeightsError              weights are missing, damaged or not the ones named
├── MissingExtraError         a feature needs an optional dependency
├── CorpusError               a corpus or manifest breaks its own rules
├── StoreError                a store of perceptions can't be opened, read or written
├── DownloadError             a published file could not be had whole and sound
│   ├── ChecksumError             all bytes came, but they are not the published ones
│   ├── DiskSpaceError            too little room for the files, packed and unpacked
│   └── ManualDownloadError       licence or registration: people must fetch it themselves
├── ProfileError             a person's profile can't be read or written, or fits other networks
├── RenderError              an annotated video can't be written
├── TranscriptError          a file of words can't be read or made
├── AnnotationError          an annotation by hand can't be read, or doesn't fit the report
├── ReportError               a text is no report, or of an unknown schema version
├── ReviewError               a review can't be read or written, or is one of another file
└── EvaluationError           a metric is not defined on the data given, or a run is wrong
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from facevoice.texts import shown

_MAX_HALF: Final = 1000


class FacevoiceError(Exception):
    """Root of all errors raised on purpose; `str()` gives the cause and the remedy."""

    def __str__(self) -> str:
        """In so many words as people read, however much of a file is quoted."""
        text = super().__str__()
        return text if len(text) <= 2 * _MAX_HALF else f"{text[:_MAX_HALF]} … {text[-_MAX_HALF:]}"

    @property
    def kind(self) -> str:
        """Name for reports, in snake case: `EmptyMediaError` → `empty_media`."""
        name = type(self).__name__.removesuffix("Error")
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class _FileError(FacevoiceError):
    """One file is the matter: which, what is wrong with it, and what helps."""

    def __init__(self, path: Path | str, problem: str, remedy: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{shown(str(path))}: {problem}" + (f" {remedy}" if remedy else ""))


class MediaError(_FileError):
    """A file can't be read as video or audio."""


class MediaNotFoundError(MediaError):
    """No such file or folder."""


class EmptyMediaError(MediaError):
    """The file has zero bytes."""


class UnreadableMediaError(MediaError):
    """The file is no media file, or too damaged to decode."""


class FetchFailedError(UnreadableMediaError):
    """It did not come whole from where it lies; it may another time."""


class NoStreamError(MediaError):
    """The container holds neither a video nor an audio stream."""


class PrivateAddressError(MediaError):
    """An address named by a stranger leads to this machine, or into a network that isn't public."""


class TooLargeError(MediaError):
    """More bytes than are taken."""


class TooLongError(MediaError):
    """It lasts longer than is taken."""


class DecoderCrashedError(MediaError):
    """The process that read it in isolation died on it, or failed in a way that nobody foresaw."""


class OverLimitError(MediaError):
    """Reading it in isolation took more memory, processor time or patience than it may."""


class ConfigError(FacevoiceError):
    """A setting is out of range or unknown; the message names the setting and what is allowed."""


class WeightsError(FacevoiceError):
    """Weights are missing, damaged, or not the ones that their card names."""


class MissingExtraError(FacevoiceError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{feature} needs an optional part: {install_command(extra)}")


class StoppedError(Exception):
    """Nobody waits for the result any more; no error, but a way out of the work."""


def install_command(*extras: str) -> str:
    """What to type to install it with optional parts; so too where it runs from a clone."""
    return f"pip install 'facevoice[{','.join(extras)}]'"


class StoreError(_FileError):
    """A store can't be opened, read or written; nothing half-written is ever kept."""


class CorpusError(FacevoiceError):
    """A corpus, manifest or split breaks its own rules; the message names file and line."""


class DownloadError(FacevoiceError):
    """A published file could not be had whole and sound.

    Names the file and the address by host and path only: queries of signed addresses are secret.
    """

    def __init__(self, file: str, url: str, problem: str, remedy: str = "") -> None:
        self.file = file
        self.address = shown_address(url)
        self.problem = problem
        self.remedy = remedy
        origin = f" from {self.address}" if self.address else ""
        super().__init__(f"{file}{origin}: {problem}" + (f" {remedy}" if remedy else ""))


class ChecksumError(DownloadError):
    """All bytes came, but they are not the published ones; nothing of them is kept."""


class DiskSpaceError(DownloadError):
    """The disk has too little room for the files, packed and unpacked."""


class ManualDownloadError(DownloadError):
    """A corpus that people must fetch themselves; says where, and which command reads it then."""


def shown_address(url: str) -> str:
    """Host and path of `url`: the part that may stand in messages and records."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


class ProfileError(_FileError):
    """A person's profile can't be read or written, or is of other networks' embeddings."""


class RenderError(_FileError):
    """An annotated video can't be written; nothing of it is left."""


class TranscriptError(_FileError):
    """A file of words can't be read, or the words of a file not be made."""


class AnnotationError(_FileError):
    """An annotation by hand can't be read, or has nothing to do with the report beside it."""


class ReportError(FacevoiceError):
    """A text is no facevoice report, or one of a schema version that is not known here."""


class ReviewError(_FileError):
    """A review can't be read or written, or is one of another file than its report."""


class EvaluationError(FacevoiceError):
    """A metric is not defined on the data given (for example AUROC on one class)."""
