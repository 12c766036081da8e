"""A face with a voice: conflict pairs, and match controls that are re-paired just as they are.

A pair joins the face of one clip with the voice of another of the same speaker. Were only the
conflicts re-paired, a model could learn the splice (synchrony, codec, loudness, silence) instead of
the emotion; so the matches are spliced too: same emotion, *another take*.

Both classes come from one rule. Faces and voices are put into cells (speaker, sentence, take,
intensity). A face cell meets a voice cell of another take (a block); within the block every face is
matched with a voice of its emotion, and **the conflicts are the same faces and the same voices,
dealt out anew** so that no emotion meets itself. Every face and every voice thus occurs in exactly
as many conflicts as matches, and whatever looks at one channel alone scores AUROC 0.50.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from facevoice.corpora.manifest import Clip, require_duration_s, require_speaker, write_rows
from facevoice.corpora.prepare import ProgressCallback, thread_map
from facevoice.corpora.splits import Split
from facevoice.errors import ConfigError, CorpusError
from facevoice.media.sound import read_sound, sounding_span_s
from facevoice.records import SAMPLE_RATE_HZ, Emotion


class PairKind(StrEnum):
    """How face and voice came together."""

    CONFLICT = "conflict"
    MATCH = "match"
    ORIGINAL = "original"


class PairBin(StrEnum):
    """How far apart the two emotions of a pair are.

    neutral_vs_x: exactly one of them is flat (neutral or calm);
    opposite_valence: one is pleasant, the other unpleasant;
    same_valence: all other differences. Surprise has no valence of its own (it goes with either),
    so that its conflicts with emotions are here, among the hard ones, never with the opposites;
    same_emotion: matches and originals.
    """

    NEUTRAL_VS_X = "neutral_vs_x"
    SAME_VALENCE = "same_valence"
    OPPOSITE_VALENCE = "opposite_valence"
    SAME_EMOTION = "same_emotion"


@dataclass(frozen=True, slots=True)
class Pair:
    """The face of one clip with the voice of another (or, as original, of the same).

    speaker: name over all corpora, `corpus/speaker`;
    sentence: what the face says; the voice says the same unless the plan allows another sentence.

    Raises:
        CorpusError: the kind contradicts the emotions or the clips.
    """

    face_clip_id: str
    voice_clip_id: str
    kind: PairKind
    speaker: str
    sentence: str
    face_emotion: Emotion
    voice_emotion: Emotion

    def __post_init__(self) -> None:
        if self.is_conflict == (self.face_emotion == self.voice_emotion):
            raise CorpusError(
                f"kind = {self.kind}, but face and voice are {self.face_emotion} and "
                f"{self.voice_emotion}"
            )
        if (self.kind is PairKind.ORIGINAL) != (self.face_clip_id == self.voice_clip_id):
            raise CorpusError(
                f"kind = {self.kind}, but the clips are {self.face_clip_id} and "
                f"{self.voice_clip_id}"
            )

    @property
    def is_conflict(self) -> bool:
        """Whether face and voice were intended to differ."""
        return self.kind is PairKind.CONFLICT

    @property
    def pair_id(self) -> str:
        """Unique name: kind and the two clips."""
        return f"{self.kind}:{self.face_clip_id}+{self.voice_clip_id}"

    @property
    def bin(self) -> PairBin:
        """How far apart the two emotions are."""
        face, voice = self.face_emotion, self.voice_emotion
        if face == voice:
            return PairBin.SAME_EMOTION
        if face.is_flat != voice.is_flat:
            return PairBin.NEUTRAL_VS_X
        if face.valence * voice.valence < 0:
            return PairBin.OPPOSITE_VALENCE
        return PairBin.SAME_VALENCE


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Which faces meet which voices; one rule for matches and conflicts.

    face_takes, voice_takes: the takes to draw from, None for all;
    same_sentence: face and voice say the same, in different takes; else they say different things
    (for corpora with one take a sentence, and for scores that don't look at lips);
    same_intensity: face and voice were acted with the same intensity;
    voices_per_face: number of voice cells that each face meets in matches (and again in
    conflicts), None for all;
    need_files: only clips that have the picture, or the sound, on disk.
    """

    face_takes: frozenset[int] | None = None
    voice_takes: frozenset[int] | None = None
    same_sentence: bool = True
    same_intensity: bool = True
    voices_per_face: int | None = None
    need_files: bool = True


PAIR_PLANS: Final[Mapping[str, PairPlan]] = {
    # Only take 1 has a picture; its own sound is never used, so no pair is in its original splice.
    "javanese": PairPlan(face_takes=frozenset({1}), voice_takes=frozenset(range(2, 8))),
    "ravdess": PairPlan(),
    # One take of nearly every sentence and emotion: control takes must say something else.
    "cremad": PairPlan(same_sentence=False, same_intensity=False, voices_per_face=2),
}
"""The plan that fits each corpus."""


def find_plan(corpus: str, name: str | None = None) -> PairPlan:
    """The plan called `name`; without a name, the corpus' own, or the default one if it has none.

    The plan "default" wants the same sentence and the same intensity, and nothing else.

    Raises:
        ConfigError: no plan is called so.
    """
    if name is None:
        return PAIR_PLANS.get(corpus, PairPlan())
    plans = {**PAIR_PLANS, "default": PairPlan()}
    if name not in plans:
        raise ConfigError(f"no plan of pairs is called {name!r}; known: {', '.join(plans)}")
    return plans[name]


class _Cell(NamedTuple):
    """Where a face or a voice was recorded; everything about it but the emotion."""

    speaker: str
    sentence: str
    take: int
    intensity: str

    def may_meet(self, voice: _Cell, plan: PairPlan) -> bool:
        """Whether the plan lets the cells meet; knows nothing of emotion, hence none of class."""
        if plan.same_intensity and self.intensity != voice.intensity:
            return False
        if plan.same_sentence:
            return self.sentence == voice.sentence and self.take != voice.take
        return self.sentence != voice.sentence


_Deal = list[tuple[Clip, Clip]]


def make_pairs(clips: Sequence[Clip], plan: PairPlan, seed: int = 0) -> tuple[Pair, ...]:
    """As many conflicts as matches, every face and every voice equally often in both.

    Neutral and calm are never set against each other: neither shows a clear emotion. The result
    is the same on every machine, and a speaker's pairs don't depend on who else is in `clips`.

    Raises:
        CorpusError: a clip names no speaker, or no pair can be made.
    """
    faces = _cells(clips, plan.face_takes, plan.need_files, "video_path")
    voices = _cells(clips, plan.voice_takes, plan.need_files, "audio_path")
    voices_of: dict[str, list[_Cell]] = defaultdict(list)
    for cell in sorted(voices):
        voices_of[cell.speaker].append(cell)
    pairs: list[Pair] = []
    for face_cell in sorted(faces):
        rng = np.random.default_rng([seed, zlib.crc32(repr(tuple(face_cell)).encode())])
        candidates = [c for c in voices_of[face_cell.speaker] if face_cell.may_meet(c, plan)]
        blocks = [_match_block(faces[face_cell], voices[cell]) for cell in candidates]
        blocks = [block for block in blocks if block]
        chosen = rng.permutation(len(blocks))[: plan.voices_per_face]
        order = list(rng.permutation(len(Emotion)))
        first_shift = int(rng.integers(1 << 16))
        for place, index in enumerate(chosen):
            grouped = sorted(blocks[index], key=lambda match: _class_rank(match[0], order))
            pairs += _pairs_of_block(grouped, first_shift + place)
    if not pairs:
        raise CorpusError(
            "no pair can be made: needs speakers with at least two emotions, and for each another "
            f"take that the plan allows; the plan is {plan}"
        )
    return tuple(pairs)


def original_pairs(clips: Sequence[Clip], plan: PairPlan) -> tuple[Pair, ...]:
    """Each face that `plan` uses with its own sound.

    Compared with matches, they tell what the splice itself gives away.

    Raises:
        CorpusError: a clip names no speaker, or no clip has both picture and sound.
    """
    faces = _cells(clips, plan.face_takes, plan.need_files, "video_path")
    pairs = [
        _pair(clip, clip, PairKind.ORIGINAL)
        for cell in sorted(faces)
        for clip in faces[cell]
        if clip.audio_path is not None or not plan.need_files
    ]
    if not pairs:
        raise CorpusError("no clip of the plan's face takes has both picture and sound")
    return tuple(pairs)


def _cells(
    clips: Sequence[Clip], takes: frozenset[int] | None, need_files: bool, path: str
) -> dict[_Cell, list[Clip]]:
    """Usable clips by cell, each list in order of the id."""
    cells: dict[_Cell, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        if None in (clip.labels.intended, clip.sentence, clip.take):
            continue
        if takes is not None and clip.take not in takes:
            continue
        if getattr(clip, path) is not None or not need_files:
            words = (clip.sentence or "", clip.take or 0, clip.intensity or "")
            cells[_Cell(require_speaker(clip), *words)].append(clip)
    return cells


def _match_block(faces: Sequence[Clip], voices: Sequence[Clip]) -> _Deal:
    """Faces with voices of the same emotion, as many as the rarer side has.

    No class of emotions may be more frequent than all others together, else the conflicts could not
    be dealt; what is too much is left out.
    """
    voices_of: dict[Emotion, list[Clip]] = defaultdict(list)
    for voice in voices:
        voices_of[_intended(voice)].append(voice)
    deal: _Deal = []
    for face in faces:
        if voices_of[_intended(face)]:
            deal.append((face, voices_of[_intended(face)].pop(0)))
    while deal:
        counts = Counter(_conflict_class(face) for face, _ in deal)
        largest, count = counts.most_common(1)[0]
        if 2 * count <= len(deal):
            break
        last = max(i for i, (face, _) in enumerate(deal) if _conflict_class(face) == largest)
        del deal[last]
    return deal


def _pairs_of_block(matches: _Deal, turn: int) -> list[Pair]:
    """Matches, and conflicts with the voices shifted along; `matches` is grouped by class.

    Groups are contiguous and none longer than `longest`; a shift of at least `longest`, and at most
    n − `longest`, carries every voice out of its group.
    """
    n = len(matches)
    longest = max(Counter(_conflict_class(face) for face, _ in matches).values())
    shift = longest + turn % (n - 2 * longest + 1)
    pairs = [_pair(face, voice, PairKind.MATCH) for face, voice in matches]
    for place, (face, _) in enumerate(matches):
        pairs.append(_pair(face, matches[(place + shift) % n][1], PairKind.CONFLICT))
    return pairs


def _pair(face: Clip, voice: Clip, kind: PairKind) -> Pair:
    return Pair(
        face_clip_id=face.clip_id,
        voice_clip_id=voice.clip_id,
        kind=kind,
        speaker=require_speaker(face),
        sentence=face.sentence or "",
        face_emotion=_intended(face),
        voice_emotion=_intended(voice),
    )


def _intended(clip: Clip) -> Emotion:
    if clip.labels.intended is None:
        raise CorpusError(f"clip {clip.clip_id!r} has no intended emotion")
    return clip.labels.intended


def _conflict_class(clip: Clip) -> Emotion:
    """Emotions of one class are never set against each other: calm counts as neutral."""
    emotion = _intended(clip)
    return Emotion.NEUTRAL if emotion.is_flat else emotion


def _class_rank(face: Clip, order: Sequence[int]) -> tuple[int, int, str]:
    return order[_conflict_class(face).position], _intended(face).position, face.clip_id


def common_lengths(
    clips: Sequence[Clip], plan: PairPlan, ends_s: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Seconds to which face and voice of each clip are cut, so that lengths say nothing.

    Emotions differ in tempo: a voice of the same emotion lasts about as long as the face, one of
    another does not, and the difference alone tells conflicts from matches. So whatever may meet
    is cut to one length: the shortest clip of the speaker's sentence (of the speaker, if the plan
    pairs different sentences). By clip id.

    `ends_s`, ends of speech by clip id, are where a clip ends for this, if they are known.

    Raises:
        CorpusError: a clip names no speaker, or its duration is not known.
    """
    shortest: dict[tuple[str, str | None], float] = {}
    groups: dict[str, tuple[str, str | None]] = {}
    for clip in clips:
        group = (require_speaker(clip), clip.sentence if plan.same_sentence else None)
        groups[clip.clip_id] = group
        length_s = min(require_duration_s(clip), (ends_s or {}).get(clip.clip_id, math.inf))
        shortest[group] = min(length_s, shortest.get(group, math.inf))
    return {clip_id: shortest[group] for clip_id, group in groups.items()}


def spoken_lengths(clips: Sequence[Clip], plan: PairPlan, jobs: int = 1) -> dict[str, float]:
    """`common_lengths`, but short enough that nobody has finished speaking.

    Cut to the shortest clip, a sentence that was spoken fast would end in silence where a slow one
    still goes on, and silences of like length would give the matches away. So everything ends
    before the earliest end of speech among all that may meet. By clip id.

    Raises:
        CorpusError: a clip names no speaker, or its duration is not known.
        MediaError: a sound can't be read; named.
    """
    return common_lengths(clips, plan, _spoken_ends(clips, jobs))


def _spoken_ends(
    clips: Sequence[Clip], jobs: int, on_progress: ProgressCallback | None = None
) -> dict[str, float]:
    """Seconds from each clip's start to the end of its last sound; silent ones are left out."""

    def find_span(clip: Clip) -> tuple[float, float] | None:
        if clip.audio_path is None:
            return None
        start_s = clip.video_start_s if clip.audio_path == clip.video_path else 0.0
        length_s = math.inf if clip.duration_s is None else clip.duration_s
        return sounding_span_s(read_sound(clip.audio_path, start_s, length_s), SAMPLE_RATE_HZ)

    heard = [clip for clip in clips if clip.audio_path is not None]
    spans_s = thread_map(find_span, heard, jobs, on_progress)
    return {clip.clip_id: span[1] for clip, span in zip(heard, spans_s, strict=True) if span}


@dataclass(frozen=True, slots=True)
class TimedPair:
    """A pair, and the seconds from their starts to which its face and its voice are both cut.

    part: of the split that the pair was made in, None without one.
    """

    pair: Pair
    length_s: float
    part: str | None = None


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs with their lengths; `notes` tells of corpora that allow none."""

    pairs: tuple[TimedPair, ...]
    notes: tuple[str, ...]


def pair_manifest(
    clips: Sequence[Clip],
    *,
    plan_name: str | None = None,
    split: Split | None = None,
    seed: int = 0,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> PairSet:
    """Matches, conflicts and originals of every corpus, each with its length.

    Args:
        clips: with durations.
        plan_name: see `find_plan`; one for all corpora.
        split: pairs are made within its parts only.
        seed: deals the conflicts.
        jobs: sounds read at once.
        on_progress: called with the number of sounds read and of all.

    Raises:
        ConfigError: no plan is called so.
        CorpusError: a duration is unknown, or no corpus allows pairs.
        MediaError: a sound can't be read; named.
    """
    made: list[tuple[list[Clip], PairPlan, list[tuple[Pair, str | None]]]] = []
    notes: list[str] = []
    for corpus in sorted({clip.corpus for clip in clips}):
        plan = find_plan(corpus, plan_name)
        # Where nobody is named, nobody can be paired with himself.
        own = [clip for clip in clips if clip.corpus == corpus and clip.speaker is not None]
        try:
            made.append((own, plan, pair_clips(own, plan, split, seed)))
        except CorpusError as error:
            notes.append(f"{corpus}: {error}")
    if not any(pairs for _, _, pairs in made):
        raise CorpusError("; ".join(notes) or "the table holds no clips that the split knows")
    ends_s = _spoken_ends([clip for own, _, _ in made for clip in own], jobs, on_progress)
    timed: list[TimedPair] = []
    for own, plan, pairs in made:
        lengths_s = common_lengths(own, plan, ends_s)
        timed += [TimedPair(pair, lengths_s[pair.face_clip_id], part) for pair, part in pairs]
    return PairSet(tuple(timed), tuple(notes))


def pair_clips(
    clips: Sequence[Clip], plan: PairPlan, split: Split | None = None, seed: int = 0
) -> list[tuple[Pair, str | None]]:
    """Matches, conflicts and originals, each with the part of the split that it is in.

    Raises:
        CorpusError: a clip names no speaker, or a part that has clips allows no pair.
    """
    parts: dict[str | None, Sequence[Clip]] = {None: clips}
    if split is not None:
        ids = {name: frozenset(part) for name, part in split.parts().items()}
        parts = {name: [c for c in clips if c.clip_id in ids[name]] for name in ids}
    found: list[tuple[Pair, str | None]] = []
    for part, members in parts.items():
        try:
            pairs = make_pairs(members, plan, seed) if members or split is None else ()
        except CorpusError as error:
            where = "" if split is None else f"split {split.name!r}, {part}: "
            raise CorpusError(f"{where}{error}") from error
        # A clip without its own sound is no original, though its picture may be in other pairs.
        whole = [clip for clip in members if clip.video_path and clip.audio_path]
        originals = original_pairs(whole, plan) if pairs and whole else ()
        found += [(pair, part) for pair in (*pairs, *originals)]
    return found


def lengths_by_clip(pairs: Iterable[TimedPair]) -> dict[str, float]:
    """Seconds to which each clip of the pairs is cut, by clip id.

    Raises:
        CorpusError: a clip is cut to different lengths.
    """
    lengths: dict[str, float] = {}
    for timed in pairs:
        for clip_id in (timed.pair.face_clip_id, timed.pair.voice_clip_id):
            if lengths.setdefault(clip_id, timed.length_s) != timed.length_s:
                raise CorpusError(
                    f"clip {clip_id!r} is cut to {lengths[clip_id]} s and to {timed.length_s} s"
                )
    return lengths


PAIR_COLUMNS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("pair_id", "kind", "bin", "face_clip_id", "voice_clip_id"), str),
    **dict.fromkeys(("speaker", "sentence", "face_emotion", "voice_emotion"), str),
    "length_s": float,
    "part": str,
}
"""The table's columns, in order, and their types."""


def pair_row(timed: TimedPair) -> dict[str, Any]:
    """The table's row."""
    own = {"length_s": timed.length_s, "part": timed.part}
    return {name: own[name] if name in own else getattr(timed.pair, name) for name in PAIR_COLUMNS}


def write_pairs(pairs: Sequence[TimedPair], path: Path) -> int:
    """Write pairs to `path` (.jsonl or .parquet), whole or not at all; returns their number.

    Raises:
        CorpusError: the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """
    write_rows(map(pair_row, pairs), path, PAIR_COLUMNS)
    return len(pairs)
