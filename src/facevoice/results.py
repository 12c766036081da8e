"""What an analysis says: predictions per window, and the report of one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from facevoice.config import AnalyzerConfig
from facevoice.labels import EMOTIONS, Emotion, Outcome, Reason, Status
from facevoice.types import ChannelPosterior, MediaInfo

SCHEMA_VERSION: Final[int] = 1

NOTICE: Final[str] = (
    "Estimates of expressed emotion, not of what a person feels or means; wrong for many people "
    "and situations. For research and review by people, never for decisions about a person. "
    "Inferring emotions at work or in education is prohibited in the EU "
    "(AI Act, Art. 5(1)(f)) save for medical or safety reasons."
)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What one window (or, summed up, a whole file) says.

    face, voice, fused: None where the channel gives too little evidence;
    conflict: calibrated probability that face and voice differ, None where one is missing;
    coverages: share of sampled frames with the leading face, share of the sound that is speech.
    """

    start_s: float
    end_s: float
    face: ChannelPosterior | None
    voice: ChannelPosterior | None
    fused: ChannelPosterior | None
    conflict: float | None
    outcome: Outcome
    reasons: tuple[Reason, ...]
    face_coverage: float
    speech_coverage: float


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where outcomes change, chosen on validation speakers.

    conflict_above, match_below: on the conflict probability, between them undecided;
    flat_above: share of neutral and calm from which a channel counts as flat;
    clear_above: probability of the likeliest other emotion below which it counts as flat too.
    """

    conflict_above: float
    match_below: float
    flat_above: float
    clear_above: float


@dataclass(frozen=True, slots=True)
class ModelId:
    """A model that took part: its name and the SHA-256 of its weights file."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileError:
    """Why a file could not be analysed: `kind` as in `FacevoiceError.kind`, and the message."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that is said of one file."""

    path: str
    sha256: str | None
    media: MediaInfo | None
    status: Status
    error: FileError | None
    windows: tuple[Prediction, ...]
    summary: Prediction | None
    outcome_counts: Mapping[Outcome, int]
    models: Mapping[str, ModelId]
    config: AnalyzerConfig
    facevoice_version: str
    thresholds: Thresholds | None = None


def top_emotion(posterior: ChannelPosterior) -> tuple[Emotion, float]:
    """The likeliest emotion and its probability."""
    index = int(posterior.probs.argmax())
    return EMOTIONS[index], float(posterior.probs[index])
