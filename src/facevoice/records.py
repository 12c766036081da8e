"""What the stages hand on, and the words facevoice answers in.

Frozen records; shapes are checked when one is built. T frames, N samples, D embedding width,
S crop side in pixels. All times are media time in seconds: 0 is where the file starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.settings import AnalyzerConfig
from facevoice.texts import shown
from facevoice.transcript import Transcript

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from pandas import DataFrame

    from facevoice.review import Review


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
    FACE_TOO_SMALL = "face_too_small"
    FACE_TILTED = "face_tilted"
    """A face is seen, but not which way up it is."""
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
    """Whose voice it is was not asked: the leading face was taken."""
    VOICE_OFF_SCREEN = "voice_off_screen"
    """Nobody who is seen makes the voice."""
    SPEAKER_UNCLEAR = "speaker_unclear"
    """Several people are seen, and it can't be told whose voice it is."""
    OTHER_SPEAKS = "other_speaks"
    """Somebody else speaks, who is looked at by themselves or passed over."""
    UNFAMILIAR_FACE = "unfamiliar_face"
    """Unlike all that the model has learnt from: it doesn't know what this face shows."""
    UNFAMILIAR_VOICE = "unfamiliar_voice"
    SPEECH_OVERLAPS = "speech_overlaps"
    """Somebody else speaks at the same time, so the voice counts for less."""
    NOISY = "noisy"
    """Music or noise is heard with the voice, so it counts for less."""
    MODEL_WITHOUT_CONFLICT = "model_without_conflict"

    def __str__(self) -> str:
        """In words, as in "no face"; the value stands in JSON and tables."""
        return self.value.replace("_", " ")

    def __repr__(self) -> str:
        return f"<{self}>"


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
    """What the container says of the video stream that is read, the first one with moving pictures.

    Times are media time, 0 = file start; track: its number among the video streams, from 1 on.
    """

    width_px: int
    height_px: int
    frame_rate_hz: float
    start_s: float
    rotation_deg: int
    codec: str
    track: int = 1


class SoundRole(StrEnum):
    """What a sound track is for, by its flags and its title."""

    MAIN = "main"
    DUB = "dub"
    HEARING_IMPAIRED = "hearing_impaired"
    MUSIC = "music"
    """Karaoke, music and effects: without the voice."""
    COMMENTARY = "commentary"
    DESCRIPTION = "description"
    """What is seen, told for those who don't see it."""
    UNPLAYABLE = "unplayable"


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """A sound track of a file; number: from 1 on, as players count.

    language: ISO 639-2 code ("eng"), title: None where the file doesn't say.
    """

    number: int
    codec: str
    num_channels: int
    language: str | None = None
    title: str | None = None
    role: SoundRole = SoundRole.MAIN


class TrackChoice(StrEnum):
    """Why a sound track is the one that is heard."""

    ONLY = "only"
    ASKED = "asked"
    DEFAULT = "default"
    ORIGINAL = "original"
    FIRST = "first"
    SOUNDING = "sounding"
    """Those that go before it are silent."""
    SPOKEN = "spoken"
    """Those that go before it hold no speech."""


class ChannelChoice(StrEnum):
    """Why one channel of a track is heard in place of the mean of all."""

    OTHERS_SILENT = "others_silent"
    INVERTED = "inverted"
    """The mean would cancel out."""
    DELAYED = "delayed"
    """The others hold the same a little later."""
    CLEAREST = "clearest"
    """Speech is much clearer there."""
    CENTRE = "centre"
    """Where films have their speech."""


MEAN: Final = "mean"
"""Of all channels."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the container says of the sound track that is heard, and what of it is.

    Times are media time, 0 = file start; track: its number among the sound tracks, from 1 on;
    language, title, role: see `SoundTrack`; chosen: why it is the one; others: the other tracks,
    those first that would be heard in its place;
    channel: "mean" of all, or the one that is heard ("left", "centre", "channel 3"), and why.
    """

    sample_rate_hz: int
    num_channels: int
    start_s: float
    codec: str
    track: int = 1
    language: str | None = None
    title: str | None = None
    role: SoundRole = SoundRole.MAIN
    chosen: TrackChoice = TrackChoice.ONLY
    others: tuple[SoundTrack, ...] = ()
    channel: str = MEAN
    channel_chosen: ChannelChoice | None = None


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

    Landmark order: eye at the image's left, eye at its right, nose tip, mouth corner left, right;
    so if the face is upright. missed: why faces were left out, where none is given.
    """

    boxes_xyxy: FloatArray
    landmarks_px: FloatArray
    scores: FloatArray
    missed: tuple[Reason, ...] = ()

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
    """One face in one sampled frame: its track, place, score and aligned crop uint8 (S, S, 3).

    landmarks_px: (5, 2), as in `Detections`;
    quality: how well it shows who this is, in [0, 1];
    portrait: uint8 (112, 112, 3), cut for `people.identity`, of a track's first sighting and of
    those clearly better than all before; the last one given is the track's best. None else.
    """

    track_id: int
    timestamp_s: float
    box_xyxy: FloatArray
    score: float
    crop: ByteArray
    landmarks_px: FloatArray
    quality: float = 0.0
    portrait: ByteArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameFaces:
    """All faces of one sampled frame (possibly none), as the tracker knows them.

    Boxes are in pixels of the picture as it was handed in, `width_px` × `height_px`; `detected_s`
    is the time of the last full search up to this frame, and detected (n, 7) whom it found: number,
    box x0 y0 x1 y1 px, velocity px/s; missed: why a face that is there is not among them.
    """

    timestamp_s: float
    width_px: int
    height_px: int
    sightings: tuple[FaceSighting, ...]
    detected_s: float = 0.0
    detected: FloatArray | None = None
    missed: Reason | None = None


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
    landmarks_rel (T, 5, 2): of the leading face, as fractions of width and height;
    clearness: of the leading face, as in `FaceView`;
    portrait (P, P, 3), portrait_quality: the last that `FaceSighting` gives of it;
    others: the same window, with each further face in place of the leading one;
    detected_s, detected: the last full search for faces up to the window's first frame, as in
    `FrameFaces`; None without frames;
    missed: why a face that is there is not seen in some frames.
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
    landmarks_rel: FloatArray | None = None
    portrait: ByteArray | None = None
    portrait_quality: float = 0.0
    others: tuple[Window, ...] = ()
    missed: Reason | None = None
    clearness: FloatArray | None = None

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
class FaceView:
    """One face in one window.

    person: who it is: in a perception, the number of its track; `people.cast` makes people of them;
    coverage: share of the sampled frames that show it, in [0, 1];
    embedding (D,): float32, None where no backbone was asked;
    times_s (T,), boxes_xyxy_rel (T, 4): when and where it was seen;
    portrait, identity (128,), quality: its best picture so far, a JPEG, with who is seen, see
    `people.identity`, and how well, in [0, 1]; in the few windows that bring a better one. Of the
    file's first track the portrait must do, since most files show nobody else;
    moving: how much the mouth moves while there is speech; speaking: log-odds that it makes the
    sound, asked where several faces are seen; see `people.speaker`. None where nothing is told;
    clearness (2,): how clearly it is seen, see `people.clearness`; None where nobody looked.
    """

    person: int
    coverage: float
    embedding: FloatArray | None = None
    times_s: DoubleArray | None = None
    boxes_xyxy_rel: FloatArray | None = None
    portrait: bytes | None = None
    identity: FloatArray | None = None
    quality: float = 0.0
    moving: float | None = None
    speaking: float | None = None
    clearness: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WindowView:
    """What one pass found in one window, all that `interpret`, pages and videos need of it.

    faces: those seen, the one that is judged first: in a perception, the leading one;
    voice: embedding (D,) float32, None where there is no speech or no backbone was asked;
    voice_print (256,): whose voice it is, see `people.voices`, where that was asked;
    speech_coverage: as in `Window`; num_faces: the most faces seen at once;
    speech_spans_s (n, 2); peaks (m,): largest magnitude of the sound in each 1 / PEAKS_HZ s, in
    [0, 1];
    detected_s, detected: the last full search for faces up to the first frame, as in `FrameFaces`,
    for going on from here; missed: the reason why a face that is there is not seen somewhere;
    speaker: whose voice it is, a person or, below 0, one that no face is seen to make; None in a
    perception, where nobody has asked yet.
    """

    start_s: float
    end_s: float
    faces: tuple[FaceView, ...] = ()
    voice: FloatArray | None = None
    speech_coverage: float = 0.0
    num_faces: int = 0
    voice_print: FloatArray | None = None
    speech_spans_s: DoubleArray | None = None
    peaks: FloatArray | None = None
    detected_s: float | None = None
    detected: FloatArray | None = None
    speaker: int | None = None
    missed: str | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s

    @property
    def face(self) -> FloatArray | None:
        """The embedding of the judged face."""
        return self.faces[0].embedding if self.faces else None

    @property
    def face_coverage(self) -> float:
        """Share of the sampled frames that show the judged face."""
        return self.faces[0].coverage if self.faces else 0.0

    @property
    def person(self) -> int | None:
        """Whose face is judged; None without a face."""
        return self.faces[0].person if self.faces else None

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
SCHEMA_VERSION: Final[int] = 4

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
    coverages: share of sampled frames with the judged face, share of the sound that is speech;
    person: whose face is judged, by its number in `Report.people`; None where nobody is seen.
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
    person: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Neighbouring windows of one outcome and one person.

    start_s, end_s: the stretch that its windows stand for; moments don't overlap;
    first, last: places of its windows in the report;
    face, voice: what it shows for most of its time, None where nothing is read;
    conflict: mean probability of conflict, None where the two can't be compared;
    strength: mean probability of what its outcome says, None for `insufficient` and where a channel
    is unfamiliar: of conflict or match, of no emotion in the flat channel, of the side that an
    undecided one leans to;
    reasons: those of most of its time; person: as of its windows.
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
    person: int | None = None


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
class Person:
    """Somebody who is seen in a file.

    number: from 1, in order of appearance; name: what to call them; tracks: whose faces in the
    perception are theirs; seen_s, speaking_s: how long they are seen, and how long the speech is
    theirs; portrait: a JPEG of their face; is_left_out: whether they were asked to be passed over;
    windows: what they say in each window where they are seen, if all people were asked for.
    """

    number: int
    name: str
    tracks: tuple[int, ...]
    seen_s: float
    speaking_s: float
    portrait: bytes | None = None
    is_left_out: bool = False
    windows: tuple[Prediction, ...] = ()


@dataclass(frozen=True, slots=True)
class PeopleEdits:
    """What a user knows better about who is who; numbers as in `Report.people`.

    names: what to call people; merged: who is really somebody else, {number: whose};
    left_out: who must not be judged.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, int] = field(default_factory=dict)
    left_out: frozenset[int] = frozenset()


NO_EDITS: Final = PeopleEdits()


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that is said of one file.

    summary: one answer for a file of few windows and one person, None for any other, of which the
    moments and the counts tell; moments: in order of time; people: who is seen, in order of
    appearance; curve, point: how outcomes were decided, None where the model doesn't compare face
    and voice; transcript: what is said, None where nothing tells; review: what a person says of
    these answers, None where nobody has looked.
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
    people: tuple[Person, ...] = ()
    transcript: Transcript | None = None
    review: Review | None = None

    def __repr__(self) -> str:
        """One line: the file, what became of it, its length, and its windows by outcome."""
        told = [self.status.value.replace("_", " ")]
        if self.error is not None:
            told.append(self.error.kind.replace("_", " "))
        if self.media is not None:
            told.append(f"{self.media.duration_s:.1f} s")
        if self.windows:
            counts = [f"{n} {outcome.value}" for outcome, n in self.outcome_counts.items() if n]
            noun = "window" if len(self.windows) == 1 else "windows"
            told.append(f"{len(self.windows)} {noun}: {', '.join(counts)}")
        return f"<Report of {shown(Path(self.path).name)}: {'; '.join(told)}>"

    def rename(self, number: int, name: str) -> Report:
        """With another name for a person.

        Raises:
            ConfigError: there is no such person.
        """
        renamed: Report = _interpretation().edit_people(self, PeopleEdits(names={number: name}))
        return renamed

    def merge(self, number: int, into: int) -> Report:
        """With two people told to be one, who keeps the second's number and name.

        What was judged stays as it was. To have both's windows inform each other as one person's,
        interpret the perception again: `analyzer.interpret(perception, edits=PeopleEdits(...))`.

        Raises:
            ConfigError: there is no such person, or both were seen at once.
        """
        merged: Report = _interpretation().edit_people(self, PeopleEdits(merged={number: into}))
        return merged

    def with_transcript(self, transcript: Transcript | None) -> Report:
        """The same report with the words that `facevoice.transcript.read_transcript` read.

        Where lines lie behind the end of the file, a remark says so: they may be another one's.
        """
        end_s = math.inf if self.media is None else self.media.duration_s
        if transcript is not None:
            num_late = sum(line.start_s >= end_s for line in transcript.lines)
            told = f"{num_late} of {len(transcript.lines)} lines begin after the file has ended"
            remark = f"{told}, so they may be another file's"
            if num_late and remark not in transcript.remarks:
                transcript = replace(transcript, remarks=(*transcript.remarks, remark))
        return replace(self, transcript=transcript)

    def with_review(self, review: Review | None) -> Report:
        """The same report with the review that `facevoice.review.read_review` read."""
        return replace(self, review=review)

    def words_between(self, start_s: float, end_s: float) -> str | None:
        """The words of a stretch of time; None where nothing tells what is said when."""
        if self.transcript is None or self.transcript.text:
            return None
        return self.transcript.words_between(start_s, end_s)

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


def _interpretation() -> Any:
    return import_module("facevoice.interpret")


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
    """The faces and the sound of a file, thinned out.

    face_times_s (n,); boxes_xyxy_rel (n, 4) as fractions of the picture's width and height;
    track_ids (n,): who is seen; one track behind the other, each in order of time; peaks (m,):
    largest magnitude of the samples, in [0, 1], in each 1 / PEAKS_HZ s; speech_spans_s (k, 2): from
    when to when speech is heard. All times are media time.
    """

    face_times_s: DoubleArray
    boxes_xyxy_rel: FloatArray
    track_ids: IntArray
    peaks: FloatArray
    speech_spans_s: DoubleArray


def _trace(views: Sequence[WindowView]) -> Trace:
    """Windows overlap: each sighting counts once."""
    tracks: dict[int, dict[float, FloatArray]] = {}
    spans: list[list[float]] = []
    peaks = np.zeros(max((_peak_end(view) for view in views), default=0), np.float32)
    for view in views:
        for face in view.faces:
            if face.times_s is not None and face.boxes_xyxy_rel is not None:
                sightings = zip(face.times_s.tolist(), face.boxes_xyxy_rel, strict=True)
                tracks.setdefault(face.person, {}).update(sightings)
        for start_s, end_s in () if view.speech_spans_s is None else view.speech_spans_s.tolist():
            if spans and start_s <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], end_s)
            else:
                spans.append([start_s, end_s])
        if view.peaks is not None:
            place = slice(_peak_end(view) - len(view.peaks), _peak_end(view))
            peaks[place] = np.maximum(peaks[place], view.peaks)
    seen = [
        (who, *one) for who, found in tracks.items() for one in sorted(found.items(), key=_time)
    ]
    return Trace(
        face_times_s=np.array([time_s for _, time_s, _ in seen], np.float64),
        boxes_xyxy_rel=np.array([box for _, _, box in seen], np.float32).reshape(-1, 4),
        track_ids=np.array([who for who, _, _ in seen], np.int64),
        peaks=peaks,
        speech_spans_s=np.array(spans, np.float64).reshape(-1, 2),
    )


def _time(sighting: tuple[float, FloatArray]) -> float:
    return sighting[0]


def _peak_end(view: WindowView) -> int:
    return 0 if view.peaks is None else round(view.start_s * PEAKS_HZ) + len(view.peaks)


def envelope(samples: FloatArray) -> FloatArray:
    """Largest magnitude of mono 16-kHz samples (N,) in each 1 / PEAKS_HZ s: (m,) in [0, 1]."""
    size = SAMPLE_RATE_HZ // PEAKS_HZ
    padded = np.pad(np.abs(samples), (0, -len(samples) % size)).reshape(-1, size)
    return np.asarray(np.minimum(padded.max(axis=1), 1), np.float32)
