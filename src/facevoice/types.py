"""The frozen records that every stage hands to the next. Shapes are checked when one is built.

T frames, N samples, D embedding width, S crop side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facevoice.labels import NUM_EMOTIONS, Modality

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
