"""What the stages hand on, and the words facevoice answers in.

Frozen records; shapes are checked when one is built. T frames, N samples, D embedding width,
S crop side in pixels. All times are media time in seconds: 0 is where the file starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame


class Emotion(StrEnum):
    """The eight emotions, in the order of every probability vector in facevoice."""

    NEUTRAL = "neutral"
    CALM = "calm"
    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    FEARFUL = "fearful"
    DISGUST = "disgust"
    SURPRISED = "surprised"

    @property
    def position(self) -> int:
        """Place in probability vectors, 0–7."""
        return EMOTIONS.index(self)

    @property
    def valence(self) -> float:
        """Pleasantness in [-1, 1]: place on the circumplex (Russell 1980)."""
        return _CIRCUMPLEX[self][0]

    @property
    def arousal(self) -> float:
        """Activation in [-1, 1]: place on the circumplex (Russell 1980)."""
        return _CIRCUMPLEX[self][1]

    @property
    def is_flat(self) -> bool:
        """Whether this label says that no clear emotion is expressed (neutral, calm)."""
        return self in (Emotion.NEUTRAL, Emotion.CALM)


EMOTIONS: Final[tuple[Emotion, ...]] = tuple(Emotion)
NUM_EMOTIONS: Final[int] = len(EMOTIONS)

# Sign and rough size follow the circumplex; surprise has no valence of its own.
_CIRCUMPLEX: Final[dict[Emotion, tuple[float, float]]] = {
    Emotion.NEUTRAL: (0.0, 0.0),
    Emotion.CALM: (0.3, -0.6),
    Emotion.HAPPY: (0.8, 0.5),
    Emotion.SAD: (-0.7, -0.5),
    Emotion.ANGRY: (-0.6, 0.7),
    Emotion.FEARFUL: (-0.6, 0.6),
    Emotion.DISGUST: (-0.7, 0.3),
    Emotion.SURPRISED: (0.0, 0.8),
}


class Outcome(StrEnum):
    """What a window says about congruence; five outcomes, never two."""

    MATCH = "match"
    CONFLICT = "conflict"
    UNDECIDED = "undecided"
    """Both show an emotion, but the probability of conflict lies between the thresholds."""
    FLAT = "flat"
    """A channel is likelier to show no emotion than to show one."""
    INSUFFICIENT = "insufficient"
    """A channel is missing, and nothing else."""


class Modality(StrEnum):
    """The two channels."""

    VIDEO = "video"
    AUDIO = "audio"


class Reason(StrEnum):
    """Why a window is no match or conflict, or what to bear in mind when reading it."""

    NO_VIDEO_STREAM = "no_video_stream"
    NO_AUDIO_STREAM = "no_audio_stream"
    NO_FACE = "no_face"
    FACE_TOO_SELDOM = "face_too_seldom"
    NO_SPEECH = "no_speech"
    SPEECH_TOO_SHORT = "speech_too_short"
    TOO_SHORT = "too_short"
    FACE_FLAT = "face_flat"
    VOICE_FLAT = "voice_flat"
    EMOTIONS_DIFFER = "emotions_differ"
    """A match by its probability, but the likeliest emotions don't go together."""
    EMOTIONS_AGREE = "emotions_agree"
    """A conflict by its probability, but the likeliest emotions are equal, or neutral and calm."""
    SEVERAL_FACES = "several_faces"
    UNFAMILIAR_FACE = "unfamiliar_face"
    """Unlike all that the model has learnt from: it doesn't know what this face shows."""
    UNFAMILIAR_VOICE = "unfamiliar_voice"
    SPEECH_OVERLAPS = "speech_overlaps"
    """Somebody else speaks at the same time, so the voice counts for less."""
    NOISY = "noisy"
    """Music or noise is heard with the voice, so it counts for less."""
    MODEL_WITHOUT_CONFLICT = "model_without_conflict"


class Status(StrEnum):
    """What became of a whole file."""

    OK = "ok"
    NO_FACE = "no_face"
    NO_SPEECH = "no_speech"
    NO_FACE_NO_SPEECH = "no_face_no_speech"
    AUDIO_ONLY = "audio_only"
    VIDEO_ONLY = "video_only"
    TRUNCATED = "truncated"
    FAILED = "failed"


FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

SAMPLE_RATE_HZ = 16_000


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the container says of its first video stream. Times are media time, 0 = file start."""

    width_px: int
    height_px: int
    frame_rate_hz: float
    start_s: float
    rotation_deg: int
    codec: str


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the container says of its first audio stream. Times are media time, 0 = file start."""

    sample_rate_hz: int
    num_channels: int
    start_s: float
    codec: str


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A probed file. `duration_s` counts from media time 0 to the end of the longer stream."""

    path: Path
    duration_s: float
    video: VideoInfo | None
    audio: AudioInfo | None

    @property
    def has_video(self) -> bool:
        """Whether a video stream (not a cover picture) is present."""
        return self.video is not None

    @property
    def has_audio(self) -> bool:
        """Whether an audio stream is present."""
        return self.audio is not None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One upright picture: `rgb` uint8 (H, W, 3) at `timestamp_s` of media time."""

    timestamp_s: float
    rgb: ByteArray

    def __post_init__(self) -> None:
        _check(
            self.rgb.ndim == 3 and self.rgb.shape[2] == 3 and self.rgb.dtype == np.uint8,
            f"Frame.rgb must be uint8 (H, W, 3), got {self.rgb.dtype} {self.rgb.shape}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """Mono float32 samples at 16 kHz; `samples[0]` sounds at `start_s` of media time."""

    start_s: float
    samples: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Faces in one picture: boxes (n, 4) x0 y0 x1 y1 px, landmarks (n, 5, 2) px, scores (n,).

    Landmark order: eye at the image's left, eye at its right, nose tip, mouth corner left, right.
    """

    boxes_xyxy: FloatArray
    landmarks_px: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        n = len(self.scores)
        _check(
            self.boxes_xyxy.shape == (n, 4) and self.landmarks_px.shape == (n, 5, 2),
            f"Detections: {self.boxes_xyxy.shape} boxes and {self.landmarks_px.shape} landmarks "
            f"for {n} scores",
        )

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSighting:
    """One face in one sampled frame: its track, place, score and aligned crop uint8 (S, S, 3)."""

    track_id: int
    timestamp_s: float
    box_xyxy: FloatArray
    score: float
    crop: ByteArray


@dataclass(frozen=True, slots=True, eq=False)
class FrameFaces:
    """All faces of one sampled frame (possibly none), as the tracker knows them.

    Boxes are in pixels of the picture as it was handed in, `width_px` × `height_px`; `detected_s`
    is the time of the last full search up to this frame, and detected (n, 7) whom it found: number,
    box x0 y0 x1 y1 px, velocity px/s.
    """

    timestamp_s: float
    width_px: int
    height_px: int
    sightings: tuple[FaceSighting, ...]
    detected_s: float = 0.0
    detected: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SpeechBlock:
    """Audio `samples` (N,) with its voice activity `probs` (ceil(N / 512),), one per 512 samples.

    Only the last block of a file may end inside such a chunk.
    """

    start_s: float
    samples: FloatArray
    probs: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The only thing a backbone ever sees, in training and in inference.

    faces: uint8 (T, S, S, 3) aligned crops of the leading face, or None;
    samples: float32 (N,) mono 16 kHz, or None;
    face_coverage: share of the sampled frames that show the leading face, in [0, 1];
    speech_coverage: share of the window's length that is speech, in [0, 1];
    num_faces: the most faces seen at once in two of its frames, at least 1 if any face is;
    face_timestamps_s (T,), boxes (T, 4) as fractions of picture width and height, track_id:
    of the leading face, None without faces;
    speech_spans_s (n, 2): from when to when speech is heard, None without sound;
    detected_s, detected: the last full search for faces up to the window's first frame, as in
    `FrameFaces`; None without frames.
    """

    start_s: float
    end_s: float
    faces: ByteArray | None
    samples: FloatArray | None
    face_coverage: float
    speech_coverage: float
    num_faces: int = 0
    face_timestamps_s: DoubleArray | None = None
    boxes_xyxy_rel: FloatArray | None = None
    track_id: int | None = None
    detected_s: float | None = None
    detected: FloatArray | None = None
    speech_spans_s: DoubleArray | None = None

    def __post_init__(self) -> None:
        _check(self.end_s > self.start_s, f"Window: end {self.end_s} ≤ start {self.start_s}")
        if self.faces is not None:
            _check(
                self.faces.ndim == 4 and self.faces.shape[3] == 3 and len(self.faces) > 0,
                f"Window.faces must be (T, S, S, 3), got {self.faces.shape}",
            )
        if self.samples is not None:
            _check(self.samples.ndim == 1, f"Window.samples must be (N,): {self.samples.shape}")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True, eq=False)
class ChannelPosterior:
    """Calibrated probabilities over the eight emotions, float64 (8,), in the order of EMOTIONS.

    num_known: how many other windows of this person it was compared with, overlaps counted once;
    None where nothing is compared;
    unfamiliarity: how far it is from what the model has learnt from, 1 where it is so far that
    nothing should be made of it; None where the model doesn't tell.
    """

    probs: DoubleArray
    coverage: float = field(default=1.0)
    num_known: float | None = None
    unfamiliarity: float | None = None

    def __post_init__(self) -> None:
        # Built a million times, so the message is made only when it is needed.
        if self.probs.shape != (NUM_EMOTIONS,) or not abs(float(self.probs.sum()) - 1.0) < 1e-6:
            raise ValueError(f"ChannelPosterior.probs must be (8,) and sum to 1: {self.probs}")


@dataclass(frozen=True, slots=True, eq=False)
class WindowView:
    """What one pass found in one window, all that `interpret`, pages and videos need of it.

    face, voice: embeddings (D,) float32, None where the window lacks the channel, or its backbone
    was not asked for; coverages as in `Window`; num_faces: the most faces seen at once;
    person: the leading one's track, None without a face;
    face_times_s (T,), boxes_xyxy_rel (T, 4): of the leading face; speech_spans_s (n, 2);
    peaks (m,): largest magnitude of the sound in each 1 / PEAKS_HZ s, in [0, 1];
    detected_s, detected: the last full search for faces up to the first frame, as in `FrameFaces`,
    for going on from here.
    """

    start_s: float
    end_s: float
    face: FloatArray | None
    voice: FloatArray | None
    face_coverage: float
    speech_coverage: float
    num_faces: int = 0
    person: int | None = None
    face_times_s: DoubleArray | None = None
    boxes_xyxy_rel: FloatArray | None = None
    speech_spans_s: DoubleArray | None = None
    peaks: FloatArray | None = None
    detected_s: float | None = None
    detected: FloatArray | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    def channel(self, modality: Modality) -> FloatArray | None:
        """The embedding of a channel."""
        return self.face if modality is Modality.VIDEO else self.voice


@dataclass(frozen=True, slots=True, eq=False)
class Perception:
    """Everything that one pass over a file found; `interpret` says what it means.

    models: by role (detector, speech, face, voice), what looked and listened;
    damage: what the decoders complained of.
    """

    media: MediaInfo
    sha256: str | None
    settings: AnalyzerConfig
    models: Mapping[str, ModelId]
    windows: tuple[WindowView, ...]
    damage: tuple[str, ...] = ()

    @property
    def trace(self) -> Trace:
        """What pages and videos draw of it."""
        return _trace(self.windows)


VERSION: Final[str] = "0.1.0"
SCHEMA_VERSION: Final[int] = 3

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
class Moment:
    """Neighbouring windows of one outcome.

    start_s, end_s: the stretch that its windows stand for; moments don't overlap;
    first, last: places of its windows in the report;
    face, voice: what it shows for most of its time, None where nothing is read;
    conflict: mean probability of conflict, None where the two can't be compared;
    strength: mean probability of what its outcome says, None for `insufficient` and where a channel
    is unfamiliar: of conflict or match, of no emotion in the flat channel, of the side that an
    undecided one leans to;
    reasons: those of most of its time.
    """

    start_s: float
    end_s: float
    first: int
    last: int
    outcome: Outcome
    face: Emotion | None
    voice: Emotion | None
    conflict: float | None
    strength: float | None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """How often conflicts and matches are called so, at each threshold on P(conflict).

    Measured on speakers that nothing was fitted to, by the rule that users run. All (k,), empty
    where nothing was measured: thresholds are then the wanted precision itself, which suits any
    calibrated probability and decides little.

    probs: thresholds, increasing; conflict_hits, conflict_alarms: shares of conflicts and of
    matches that are called conflict from there on; match_hits, match_alarms: shares of matches and
    of conflicts that are called match up to there.
    """

    probs: tuple[float, ...] = ()
    conflict_hits: tuple[float, ...] = ()
    conflict_alarms: tuple[float, ...] = ()
    match_hits: tuple[float, ...] = ()
    match_alarms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        columns = self.probs, self.conflict_hits, self.conflict_alarms
        sizes = {len(c) for c in (*columns, self.match_hits, self.match_alarms)}
        _check(len(sizes) == 1, f"DecisionCurve: columns of different lengths {sorted(sizes)}")
        rises = all(a < b for a, b in pairwise(self.probs))
        _check(rises and len(self.probs) != 1, "DecisionCurve: probs must increase, at least two")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where outcomes change: on the probability of conflict as it is reported.

    conflict_precision, match_precision: the share of calls that are right at equal numbers of
    conflicts and matches, as measured; None where it wasn't, or nothing is called.
    """

    conflict_above: float
    match_below: float
    conflict_precision: float | None
    match_precision: float | None


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
    """Everything that is said of one file.

    summary: one answer for a file of few windows, None for a longer one, of which the moments and
    the counts tell; moments: in order of time; curve, point: how outcomes were decided, None where
    the model doesn't compare face and voice.
    """

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
    moments: tuple[Moment, ...] = ()
    curve: DecisionCurve | None = None
    point: OperatingPoint | None = None

    def to_pandas(self) -> DataFrame:
        """One row per window, with the columns of the CSV; see `facevoice.report.to_pandas`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        table: DataFrame = _report_package().to_pandas(self)
        return table

    def plot(self, figure: Figure | SubFigure | None = None) -> Figure:
        """The timeline as a matplotlib figure; see `facevoice.report.plot_report`.

        Args:
            figure: where to draw; None for a new figure that no window shows.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        drawn: Figure = _report_package().plot_report(self, figure)
        return drawn

    def _repr_html_(self) -> str:
        """What a notebook shows in place of the text."""
        return str(_report_package().to_notebook(self))


def _report_package() -> Any:
    # Found by name when a method needs it: all of `facevoice.report` builds on these records.
    return import_module("facevoice.report")


def top_emotion(posterior: ChannelPosterior) -> tuple[Emotion, float]:
    """The likeliest emotion and its probability."""
    index = int(posterior.probs.argmax())
    return EMOTIONS[index], float(posterior.probs[index])


PEAKS_HZ: Final = 20
"""Peaks of the waveform per second."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The leading face and the sound of a file, thinned out.

    face_times_s (n,), increasing; boxes_xyxy_rel (n, 4) as fractions of the picture's width and
    height; track_ids (n,): who is seen; peaks (m,): largest magnitude of the samples, in [0, 1],
    in each 1 / PEAKS_HZ s; speech_spans_s (k, 2): from when to when speech is heard. All
    times are media time.
    """

    face_times_s: DoubleArray
    boxes_xyxy_rel: FloatArray
    track_ids: IntArray
    peaks: FloatArray
    speech_spans_s: DoubleArray


def _trace(views: Sequence[WindowView]) -> Trace:
    """Windows overlap: where two show the same moment, the earlier one tells whose face leads."""
    times: list[float] = []
    boxes: list[FloatArray] = []
    people: list[int] = []
    spans: list[list[float]] = []
    peaks = np.zeros(max((_peak_end(view) for view in views), default=0), np.float32)
    for view in views:
        if view.face_times_s is not None and view.boxes_xyxy_rel is not None:
            for time_s, box in zip(view.face_times_s.tolist(), view.boxes_xyxy_rel, strict=True):
                if not times or time_s > times[-1]:
                    times.append(time_s)
                    boxes.append(box)
                    people.append(-1 if view.person is None else view.person)
        for start_s, end_s in () if view.speech_spans_s is None else view.speech_spans_s.tolist():
            if spans and start_s <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], end_s)
            else:
                spans.append([start_s, end_s])
        if view.peaks is not None:
            place = slice(_peak_end(view) - len(view.peaks), _peak_end(view))
            peaks[place] = np.maximum(peaks[place], view.peaks)
    return Trace(
        face_times_s=np.array(times, np.float64),
        boxes_xyxy_rel=np.array(boxes, np.float32).reshape(-1, 4),
        track_ids=np.array(people, np.int64),
        peaks=peaks,
        speech_spans_s=np.array(spans, np.float64).reshape(-1, 2),
    )


def _peak_end(view: WindowView) -> int:
    return 0 if view.peaks is None else round(view.start_s * PEAKS_HZ) + len(view.peaks)


def envelope(samples: FloatArray) -> FloatArray:
    """Largest magnitude of mono 16-kHz samples (N,) in each 1 / PEAKS_HZ s: (m,) in [0, 1]."""
    size = SAMPLE_RATE_HZ // PEAKS_HZ
    padded = np.pad(np.abs(samples), (0, -len(samples) % size)).reshape(-1, size)
    return np.asarray(np.minimum(padded.max(axis=1), 1), np.float32)
