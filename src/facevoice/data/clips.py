"""What is known of one clip of a corpus: who, what, where, and the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facevoice.errors import CorpusError
from facevoice.labels import Emotion, Outcome

FEMALE: Final[str] = "female"
MALE: Final[str] = "male"


@dataclass(frozen=True, slots=True)
class Labels:
    """What a clip is labelled with. The targets are kept apart, since they are not the same thing.

    intended: what the speaker was asked to express (acted corpora);
    face, voice: what people saw in the silent picture, or heard in the sound alone;
    both: what people perceived in picture and sound together;
    congruence: whether face and voice match, where that was judged or constructed.
    """

    intended: Emotion | None = None
    face: Emotion | None = None
    voice: Emotion | None = None
    congruence: Outcome | None = None
    both: Emotion | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One item of a corpus: an utterance with its picture, its sound, or both.

    clip_id: `corpus/stem`, unique over all corpora;
    speaker: the corpus' own name of the person, None where it names nobody;
    sentence: what is said, as a key that is equal for equal words, None for free speech;
    take: counts repetitions of the same speaker, sentence, emotion and intensity, from 1;
    language: ISO 639-1 code, None for pictures without speech;
    video_path: the film (or, for picture corpora, the still image);
    audio_path: the file to read the sound from: a separate sound file where the corpus has one,
    else the film itself; None where there is no sound;
    video_start_s: where the clip begins inside `video_path`, for corpora that ship whole dialogues;
    duration_s: None until somebody has probed the file, or the corpus says it;
    corpus_label: the corpus' own word or code for the emotion, also where it is none of the eight;
    intensity: the corpus' own word for how strongly the emotion was to be acted;
    split: the part of the corpus' published split that the clip belongs to.
    """

    clip_id: str
    corpus: str
    speaker: str | None
    sentence: str | None = None
    take: int | None = None
    language: str | None = None
    video_path: Path | None = None
    audio_path: Path | None = None
    duration_s: float | None = None
    labels: Labels = field(default_factory=Labels)
    video_start_s: float = 0.0
    corpus_label: str | None = None
    intensity: str | None = None
    sex: str | None = None
    age: int | None = None
    race: str | None = None
    ethnicity: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if not self.clip_id.startswith(f"{self.corpus}/"):
            raise CorpusError(
                f"clip {self.clip_id!r}: the id must begin with the corpus, '{self.corpus}/'"
            )
        if self.sex not in (None, FEMALE, MALE):
            raise CorpusError(f"clip {self.clip_id!r}: sex {self.sex!r} is not female or male")
        if self.duration_s is not None and not self.duration_s > 0:
            raise CorpusError(
                f"clip {self.clip_id!r}: duration {self.duration_s} s is not positive"
            )

    @property
    def speaker_key(self) -> str | None:
        """The speaker's name over all corpora, `corpus/speaker`; None where nobody is named."""
        return None if self.speaker is None else f"{self.corpus}/{self.speaker}"


def require_speaker(clip: Clip) -> str:
    """The clip's speaker over all corpora.

    Raises:
        CorpusError: the corpus does not say who is in the clip.
    """
    key = clip.speaker_key
    if key is None:
        raise CorpusError(
            f"clip {clip.clip_id!r} names no speaker, so nothing can be split by speaker; "
            f"use the published split of {clip.corpus}"
        )
    return key


def clips_by_id(clips: tuple[Clip, ...] | list[Clip]) -> dict[str, Clip]:
    """Index clips by their id.

    Raises:
        CorpusError: an id occurs twice.
    """
    index: dict[str, Clip] = {}
    for clip in clips:
        if clip.clip_id in index:
            raise CorpusError(f"clip id {clip.clip_id!r} occurs twice")
        index[clip.clip_id] = clip
    return index
