"""What an analysis says: predictions per window, and the report of one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from facevoice.config import AnalyzerConfig
from facevoice.labels import EMOTIONS, Emotion, Outcome, Reason, Status
from facevoice.types import ChannelPosterior, MediaInfo

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

    from facevoice.trace import Trace

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

    # For convenience; imported in the methods, since all of `facevoice.report` builds on this.

    def to_pandas(self) -> DataFrame:
        """One row per window, with the columns of the CSV; see `facevoice.report.to_pandas`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from facevoice.report.frame import to_pandas

        return to_pandas(self)

    def plot(
        self, figure: Figure | SubFigure | None = None, *, trace: Trace | None = None
    ) -> Figure:
        """The timeline as a matplotlib figure; see `facevoice.report.plot_report`.

        Args:
            figure: where to draw; None for a new figure that no window shows.
            trace: what was seen and heard, for the waveform.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from facevoice.report.plot import plot_report

        return plot_report(self, figure, trace=trace)

    def _repr_html_(self) -> str:
        """What a notebook shows in place of the text."""
        from facevoice.report.notebook import to_fragment

        return to_fragment(self)


def top_emotion(posterior: ChannelPosterior) -> tuple[Emotion, float]:
    """The likeliest emotion and its probability."""
    index = int(posterior.probs.argmax())
    return EMOTIONS[index], float(posterior.probs[index])
