"""The words facevoice answers in: emotions, outcomes, modalities."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


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
