"""The words facevoice answers in: emotions, outcomes, modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    """What a window says about congruence; four outcomes, never two."""

    MATCH = "match"
    CONFLICT = "conflict"
    FLAT = "flat"
    INSUFFICIENT = "insufficient"


class Modality(StrEnum):
    """The two channels."""

    VIDEO = "video"
    AUDIO = "audio"


class Reason(StrEnum):
    """Why a window is flat or insufficient, or what to bear in mind when reading it."""

    NO_VIDEO_STREAM = "no_video_stream"
    NO_AUDIO_STREAM = "no_audio_stream"
    NO_FACE = "no_face"
    FACE_TOO_SELDOM = "face_too_seldom"
    NO_SPEECH = "no_speech"
    SPEECH_TOO_SHORT = "speech_too_short"
    TOO_SHORT = "too_short"
    FACE_FLAT = "face_flat"
    VOICE_FLAT = "voice_flat"
    UNDECIDED = "undecided"
    SEVERAL_FACES = "several_faces"
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


# The frozen records that every stage hands to the next. Shapes are checked when one is built.
#
# T frames, N samples, D embedding width, S crop side in pixels.

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
class TrackMemory:
    """What the tracker remembers of one person.

    box (4,) x0 y0 x1 y1 px, looks (4, 4, 3) grey levels, velocity (2,) px/s of the box's centre.
    """

    track_id: int
    box: FloatArray
    looks: FloatArray
    seen_s: float
    confirmed_s: float
    velocity: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FaceMemory:
    """All that the tracker remembers between two frames, so that it can go on another time.

    tracks: people known; next_id: the identity that a new one gets; thumbnail: of the last picture
    float32 (9, 16, 3), None before the first; last_s: its time; next_detect_s, alert_until_s: when
    a full search is due, and until when every frame is searched for missing faces.
    """

    tracks: tuple[TrackMemory, ...]
    next_id: int
    thumbnail: FloatArray | None
    last_s: float
    next_detect_s: float
    alert_until_s: float


@dataclass(frozen=True, slots=True, eq=False)
class FrameFaces:
    """All faces of one sampled frame (possibly none), as the tracker knows them.

    Boxes are in pixels of the picture as it was handed in, `width_px` × `height_px`; `memory` is
    the tracker's before this frame.
    """

    timestamp_s: float
    width_px: int
    height_px: int
    sightings: tuple[FaceSighting, ...]
    memory: FaceMemory | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SpeechBlock:
    """Audio `samples` (N,) with its voice activity `probs` (ceil(N / 512),), one per 512 samples.

    Only the last block of a file may end inside such a chunk.
    """

    start_s: float
    samples: FloatArray
    probs: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """The faces of one person in one window.

    timestamps_s (T,), boxes_xyxy (T, 4), scores (T,), crops uint8 (T, S, S, 3).
    """

    track_id: int
    timestamps_s: DoubleArray
    boxes_xyxy: FloatArray
    scores: FloatArray
    crops: ByteArray


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The only thing a backbone ever sees, in training and in inference.

    faces: uint8 (T, S, S, 3) aligned crops of the leading face, or None;
    samples: float32 (N,) mono 16 kHz, or None;
    face_coverage: share of the sampled frames that show the leading face, in [0, 1];
    speech_coverage: share of the window's length that is speech, in [0, 1];
    num_tracks: how many people's faces were seen;
    face_timestamps_s (T,), boxes (T, 4) as fractions of picture width and height, track_id:
    of the leading face, None without faces;
    speech_spans_s (n, 2): from when to when speech is heard, in media time, None without sound;
    face_memory: the face tracker's before the window's first frame, None without frames.
    """

    start_s: float
    end_s: float
    faces: ByteArray | None
    samples: FloatArray | None
    face_coverage: float
    speech_coverage: float
    num_tracks: int = 0
    face_timestamps_s: DoubleArray | None = None
    boxes_xyxy_rel: FloatArray | None = None
    track_id: int | None = None
    face_memory: FaceMemory | None = None
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
class FeatureSet:
    """Embeddings of one window: {modality: float32 (D,)}, and logits where a backbone has them."""

    start_s: float
    end_s: float
    embeddings: Mapping[Modality, FloatArray]
    backbones: Mapping[Modality, str]


@dataclass(frozen=True, slots=True, eq=False)
class ChannelPosterior:
    """Calibrated probabilities over the eight emotions, float64 (8,), in the order of EMOTIONS."""

    probs: DoubleArray
    coverage: float = field(default=1.0)

    def __post_init__(self) -> None:
        _check(
            self.probs.shape == (NUM_EMOTIONS,) and abs(float(self.probs.sum()) - 1.0) < 1e-6,
            f"ChannelPosterior.probs must be ({NUM_EMOTIONS},) and sum to 1: {self.probs}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class ResumePoint:
    """Where to go on in a file so that everything from there on comes out as it would have.

    window: number of the first window to read; face_memory: the tracker's before its first frame,
    None where the file has no video.
    """

    window: int
    face_memory: FaceMemory | None


# What an analysis says: predictions per window, and the report of one file.

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
        from facevoice.report.table import to_pandas

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
        from facevoice.report.page import to_fragment

        return to_fragment(self)


def top_emotion(posterior: ChannelPosterior) -> tuple[Emotion, float]:
    """The likeliest emotion and its probability."""
    index = int(posterior.probs.argmax())
    return EMOTIONS[index], float(posterior.probs[index])


# The version, in a place that every layer may read.

VERSION: Final[str] = "0.1.0"


# What an analysis saw and heard, kept for pictures of it: face boxes, the waveform, speech.

PEAKS_HZ: Final = 20
"""Peaks of the waveform per second."""

_SAMPLES_PER_PEAK: Final = SAMPLE_RATE_HZ // PEAKS_HZ


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


class TraceRecorder:
    """Gathers a trace from the windows of a file, in order; they may overlap.

    Where two windows show the same moment, the earlier one tells whose face leads.
    """

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._boxes: list[FloatArray] = []
        self._track_ids: list[int] = []
        self._peaks: list[FloatArray] = []
        self._rest = np.zeros(0, np.float32)
        self._heard = 0
        self._spans_s: list[list[float]] = []

    def add(self, window: Window) -> None:
        """Take what `window` shows beyond the windows before it."""
        self._add_faces(window)
        self._add_speech(window)
        if window.samples is not None:
            self._add_samples(window.samples, round(window.start_s * SAMPLE_RATE_HZ))

    def finish(self) -> Trace:
        """The trace of all windows so far."""
        rest = [] if not len(self._rest) else [np.abs(self._rest).max(keepdims=True)]
        peaks = np.concatenate([np.zeros(0, np.float32), *self._peaks, *rest])
        return Trace(
            face_times_s=np.array(self._times_s, np.float64),
            boxes_xyxy_rel=np.array(self._boxes, np.float32).reshape(-1, 4),
            track_ids=np.array(self._track_ids, np.int64),
            peaks=np.minimum(peaks, 1).astype(np.float32),
            speech_spans_s=np.array(self._spans_s, np.float64).reshape(-1, 2),
        )

    def _add_faces(self, window: Window) -> None:
        times_s, boxes = window.face_timestamps_s, window.boxes_xyxy_rel
        if times_s is None or boxes is None or window.track_id is None:
            return
        for time_s, box in zip(times_s.tolist(), boxes, strict=True):
            if not self._times_s or time_s > self._times_s[-1]:
                self._times_s.append(time_s)
                self._boxes.append(box)
                self._track_ids.append(window.track_id)

    def _add_speech(self, window: Window) -> None:
        for start_s, end_s in () if window.speech_spans_s is None else window.speech_spans_s:
            if self._spans_s and start_s <= self._spans_s[-1][1]:
                self._spans_s[-1][1] = max(self._spans_s[-1][1], float(end_s))
            else:
                self._spans_s.append([float(start_s), float(end_s)])

    def _add_samples(self, samples: FloatArray, start: int) -> None:
        known = self._heard - start
        if known < 0:  # windows that were skipped: nothing is known of the sound between
            self._peaks.append(np.zeros((start - self._heard) // _SAMPLES_PER_PEAK, np.float32))
            self._rest, known = np.zeros(0, np.float32), 0
        fresh = np.concatenate([self._rest, samples[known:]])
        num_peaks = len(fresh) // _SAMPLES_PER_PEAK
        whole = fresh[: num_peaks * _SAMPLES_PER_PEAK].reshape(num_peaks, _SAMPLES_PER_PEAK)
        self._peaks.append(np.abs(whole).max(axis=1) if num_peaks else np.zeros(0, np.float32))
        self._rest = fresh[num_peaks * _SAMPLES_PER_PEAK :].copy()
        self._heard = max(self._heard, start + len(samples))
