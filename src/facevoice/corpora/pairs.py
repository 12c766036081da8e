"""What a pair of a face and a voice is, and which faces may meet which voices."""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.corpora.manifest import Clip, clips_by_id, require_speaker
from facevoice.corpora.splits import Split
from facevoice.errors import CorpusError, MissingExtraError
from facevoice.records import Emotion


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

    sentence: what the face says; the voice says the same unless the plan allows another sentence.
    speaker: name over all corpora, `corpus/speaker`.
    """

    face_clip_id: str
    voice_clip_id: str
    kind: PairKind
    bin: PairBin
    speaker: str
    sentence: str
    face_emotion: Emotion
    voice_emotion: Emotion

    @property
    def is_conflict(self) -> bool:
        """Whether face and voice were intended to differ."""
        return self.kind is PairKind.CONFLICT

    @property
    def pair_id(self) -> str:
        """Unique name: kind and the two clips."""
        return f"{self.kind}:{self.face_clip_id}+{self.voice_clip_id}"


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

    def __post_init__(self) -> None:
        if self.voices_per_face is not None and self.voices_per_face < 1:
            raise CorpusError(f"voices_per_face = {self.voices_per_face}: must be at least 1")


PAIR_PLANS: Final[Mapping[str, PairPlan]] = {
    # Only take 1 has a picture; its own sound is never used, so no pair is in its original splice.
    "javanese": PairPlan(face_takes=frozenset({1}), voice_takes=frozenset(range(2, 8))),
    "ravdess": PairPlan(),
    # One take of nearly every sentence and emotion: control takes must say something else.
    "cremad": PairPlan(same_sentence=False, same_intensity=False, voices_per_face=2),
}
"""The plan that fits each corpus."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a face or a voice was recorded; everything about it but the emotion."""

    speaker: str
    sentence: str
    take: int
    intensity: str | None


def pair_bin(face: Emotion, voice: Emotion) -> PairBin:
    """How far apart two emotions are; see `PairBin`."""
    if face == voice:
        return PairBin.SAME_EMOTION
    if face.is_flat != voice.is_flat:
        return PairBin.NEUTRAL_VS_X
    if face.valence * voice.valence < 0:
        return PairBin.OPPOSITE_VALENCE
    return PairBin.SAME_VALENCE


def cell_of(clip: Clip) -> Cell:
    """The clip's cell.

    Raises:
        CorpusError: it names no speaker.
    """
    return Cell(require_speaker(clip), clip.sentence or "", clip.take or 0, clip.intensity)


def cell_key(cell: Cell) -> tuple[str, str, int, str]:
    """For sorting cells."""
    return (cell.speaker, cell.sentence, cell.take, cell.intensity or "")


def may_meet(face: Cell, voice: Cell, plan: PairPlan) -> bool:
    """Whether the plan lets these cells meet; knows nothing of emotion, hence nothing of class."""
    if plan.same_intensity and face.intensity != voice.intensity:
        return False
    if plan.same_sentence:
        return face.sentence == voice.sentence and face.take != voice.take
    return face.sentence != voice.sentence


# Conflict pairs, and match controls that are re-paired just as they are.
#
# A pair joins the face of one clip with the voice of another of the same speaker. Were only the
# conflicts re-paired, a model could learn the splice (synchrony, codec, loudness, silence) instead of
# the emotion; so the matches are spliced too: same emotion, *another take*.
#
# How both classes come from one rule. Faces and voices are put into cells (speaker, sentence, take,
# intensity). A face cell meets a voice cell of another take (a block); within the block every face is
# matched with a voice of its emotion, and **the conflicts are the same faces and the same voices,
# dealt out anew** so that no emotion meets itself. Every face and every voice thus occurs in exactly
# as many conflicts as matches, and whatever looks at one channel alone scores AUROC 0.50.


@dataclass(frozen=True, slots=True)
class SplitPairs:
    """Pairs whose two clips are in the same part of a split."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]


_Deal = list[tuple[Clip, Clip]]


def make_pairs(clips: Sequence[Clip], plan: PairPlan, seed: int = 0) -> tuple[Pair, ...]:
    """As many conflicts as matches, every face and every voice equally often in both.

    Neutral and calm are never set against each other: neither shows a clear emotion. The result
    is the same on every machine, and a speaker's pairs don't depend on who else is in `clips`.

    Raises:
        CorpusError: a clip names no speaker, or no pair can be made.
    """
    faces = _cells(clips, plan.face_takes, plan.need_files, want_face=True)
    voices = _cells(clips, plan.voice_takes, plan.need_files, want_face=False)
    voices_of: dict[str, list[Cell]] = defaultdict(list)
    for cell in sorted(voices, key=cell_key):
        voices_of[cell.speaker].append(cell)
    pairs: list[Pair] = []
    for face_cell in sorted(faces, key=cell_key):
        rng = np.random.default_rng([seed, zlib.crc32(repr(cell_key(face_cell)).encode())])
        candidates = [
            cell for cell in voices_of[face_cell.speaker] if may_meet(face_cell, cell, plan)
        ]
        blocks = [_match_block(faces[face_cell], voices[cell]) for cell in candidates]
        blocks = [block for block in blocks if block]
        chosen = rng.permutation(len(blocks))[: plan.voices_per_face]
        emotion_order = list(rng.permutation(len(Emotion)))
        first_shift = int(rng.integers(1 << 16))
        for place, index in enumerate(chosen):
            ordered = sorted(blocks[index], key=lambda deal: _class_rank(deal[0], emotion_order))
            pairs += _pairs_of_block(ordered, first_shift + place)
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
    faces = _cells(clips, plan.face_takes, plan.need_files, want_face=True)
    pairs = [
        _pair(clip, clip, PairKind.ORIGINAL)
        for cell in sorted(faces, key=cell_key)
        for clip in faces[cell]
        if clip.audio_path is not None or not plan.need_files
    ]
    if not pairs:
        raise CorpusError("no clip of the plan's face takes has both picture and sound")
    return tuple(pairs)


def pairs_in_split(
    clips: Sequence[Clip], split: Split, plan: PairPlan, seed: int = 0
) -> SplitPairs:
    """Pairs of each part of a split, none of them across parts; a part may be empty.

    Raises:
        CorpusError: a clip is unknown or names no speaker, or a part allows no pair.
    """
    index = clips_by_id(list(clips))

    def part(name: str, ids: Iterable[str]) -> tuple[Pair, ...]:
        members = [index[key] for key in ids if key in index]
        try:
            return make_pairs(members, plan, seed) if members else ()
        except CorpusError as error:
            raise CorpusError(f"split {split.name!r}, {name}: {error}") from error

    return SplitPairs(**{name: part(name, ids) for name, ids in split.parts().items()})


def common_lengths(clips: Sequence[Clip], plan: PairPlan) -> dict[str, float]:
    """Seconds to which face and voice of each clip are cut, so that lengths say nothing.

    Emotions differ in tempo: a voice of the same emotion lasts about as long as the face, one of
    another does not, and the difference alone tells conflicts from matches. So whatever may meet
    is cut to one length: the shortest clip of the speaker's sentence (of the speaker, if the plan
    pairs different sentences). By clip id.

    Raises:
        CorpusError: a clip names no speaker, or its duration is not known.
    """

    def group(clip: Clip) -> tuple[str, str | None]:
        return (require_speaker(clip), clip.sentence if plan.same_sentence else None)

    shortest: dict[tuple[str, str | None], float] = {}
    for clip in clips:
        if clip.duration_s is None:
            raise CorpusError(f"clip {clip.clip_id!r}: the duration is not known; probe it first")
        shortest[group(clip)] = min(clip.duration_s, shortest.get(group(clip), clip.duration_s))
    return {clip.clip_id: shortest[group(clip)] for clip in clips}


def check_pairs(pairs: Sequence[Pair], clips: Sequence[Clip], plan: PairPlan) -> None:
    """Make sure that matches and conflicts keep the plan's one rule and nothing tells them apart.

    Raises:
        CorpusError: naming the pair that crosses speakers, repeats a take, breaks the sentence or
            intensity rule, or is labelled wrongly; or the channel whose use differs by class.
    """
    index = clips_by_id(list(clips))
    for pair in pairs:
        try:
            face, voice = index[pair.face_clip_id], index[pair.voice_clip_id]
        except KeyError as error:
            raise CorpusError(f"pair {pair.pair_id}: clip {error} is unknown") from error
        problem = _problem(pair, face, voice, plan)
        if problem is not None:
            raise CorpusError(f"pair {pair.pair_id}: {problem}")
    for channel in ("face_clip_id", "voice_clip_id"):
        counts = {
            kind: Counter(getattr(pair, channel) for pair in pairs if pair.kind is kind)
            for kind in (PairKind.MATCH, PairKind.CONFLICT)
        }
        if counts[PairKind.MATCH] != counts[PairKind.CONFLICT]:
            raise CorpusError(f"{channel}: not used equally often in matches and in conflicts")


def _problem(pair: Pair, face: Clip, voice: Clip, plan: PairPlan) -> str | None:
    emotions = (face.labels.intended, voice.labels.intended)
    checks = {
        "crosses speakers": face.speaker_key == voice.speaker_key == pair.speaker,
        "labels are not those of the clips": emotions == (pair.face_emotion, pair.voice_emotion),
        "kind and emotions contradict": pair.is_conflict == (emotions[0] != emotions[1]),
        "bin is wrong": pair.bin is pair_bin(pair.face_emotion, pair.voice_emotion),
    }
    if pair.kind is PairKind.ORIGINAL:
        checks["is no original"] = face == voice
    else:
        checks["breaks the plan"] = may_meet(cell_of(face), cell_of(voice), plan)
    return next((problem for problem, fine in checks.items() if not fine), None)


def _cells(
    clips: Sequence[Clip], takes: frozenset[int] | None, need_files: bool, *, want_face: bool
) -> dict[Cell, list[Clip]]:
    """Usable clips by cell, each list in order of the id."""
    cells: dict[Cell, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        path = clip.video_path if want_face else clip.audio_path
        if None in (clip.labels.intended, clip.sentence, clip.take):
            continue
        if (takes is None or clip.take in takes) and (path is not None or not need_files):
            cells[cell_of(clip)].append(clip)
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
    emotions = (_intended(face), _intended(voice))
    return Pair(
        face_clip_id=face.clip_id,
        voice_clip_id=voice.clip_id,
        kind=kind,
        bin=pair_bin(*emotions),
        speaker=require_speaker(face),
        sentence=face.sentence or "",
        face_emotion=emotions[0],
        voice_emotion=emotions[1],
    )


def _intended(clip: Clip) -> Emotion:
    if clip.labels.intended is None:
        raise CorpusError(f"clip {clip.clip_id!r} has no intended emotion")
    return clip.labels.intended


def _conflict_class(clip: Clip) -> Emotion:
    """Emotions of one class are never set against each other: calm counts as neutral."""
    emotion = _intended(clip)
    return Emotion.NEUTRAL if emotion.is_flat else emotion


def _class_rank(clip: Clip, emotion_order: Sequence[int]) -> tuple[int, int, str]:
    emotion = _conflict_class(clip)
    return (emotion_order[emotion.position], _intended(clip).position, clip.clip_id)


# A table of pairs, each with the length that it is cut to, as JSON Lines or Parquet.

PARTS: Final = ("train", "validation", "test")
"""The parts of a split."""

_TYPES: Final[dict[str, type]] = {
    "pair_id": str,
    "kind": PairKind,
    "bin": PairBin,
    "face_clip_id": str,
    "voice_clip_id": str,
    "speaker": str,
    "sentence": str,
    "face_emotion": Emotion,
    "voice_emotion": Emotion,
    "length_s": float,
    "part": str,
}
_OPTIONAL: Final = "part"

PAIR_COLUMNS: Final[tuple[str, ...]] = tuple(_TYPES)
"""Names of the table's columns, in order."""


@dataclass(frozen=True, slots=True)
class TimedPair:
    """A pair, and the seconds from their starts to which its face and its voice are both cut.

    part: of the split that the pair was made in, None without one.
    """

    pair: Pair
    length_s: float
    part: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.length_s < math.inf:
            raise CorpusError(f"length_s = {self.length_s} is not positive")
        if self.part is not None and self.part not in PARTS:
            raise CorpusError(f"part = {self.part!r} is not one of {', '.join(PARTS)}")


def write_pairs(pairs: Iterable[TimedPair], path: Path) -> int:
    """Write pairs to `path` (.jsonl or .parquet), whole or not at all; returns their number.

    Raises:
        CorpusError: a pair occurs twice, or the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """
    rows = [pair_row(pair) for pair in pairs]
    _check_once((place, row["pair_id"]) for place, row in enumerate(rows, start=1))
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        with part.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        kinds = {
            name: arrow.float64() if kind is float else arrow.string()
            for name, kind in _TYPES.items()
        }
        schema = arrow.schema(list(kinds.items()))
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), part)
    else:
        raise CorpusError(f"{path}: a table of pairs ends in .jsonl or .parquet")
    part.replace(path)
    return len(rows)


def read_pairs(path: Path) -> tuple[TimedPair, ...]:
    """Read and validate a table of pairs.

    Raises:
        CorpusError: the file is absent or damaged, or a row is wrong; names file and line (row).
        MissingExtraError: the file is Parquet and pyarrow is not installed.
    """
    pairs: list[TimedPair] = []
    places: list[tuple[int, str]] = []
    for line, row in _read_rows(path):
        try:
            pairs.append(_from_row(row))
        except CorpusError as error:
            raise CorpusError(f"{path}:{line}: {error}") from error
        places.append((line, pairs[-1].pair.pair_id))
    try:
        _check_once(places)
    except CorpusError as error:
        raise CorpusError(f"{path}:{error}") from error
    return tuple(pairs)


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


def pair_row(timed: TimedPair) -> dict[str, str | float | None]:
    """The table's row."""
    values = {name: getattr(timed.pair, name, None) for name in _TYPES}
    values |= {"length_s": timed.length_s, "part": timed.part}
    return {
        name: str(values[name]) if isinstance(values[name], str) else values[name]
        for name in _TYPES
    }


def _from_row(row: Mapping[str, Any]) -> TimedPair:
    unknown = sorted(set(row) - set(_TYPES))
    if unknown:
        raise CorpusError(f"unknown column {unknown[0]!r}; known: {', '.join(_TYPES)}")
    values = {name: _value(name, row.get(name)) for name in _TYPES}
    pair_id, length_s, part = (values.pop(name) for name in ("pair_id", "length_s", "part"))
    pair = Pair(**values)
    if pair.pair_id != pair_id:
        raise CorpusError(f"pair_id = {pair_id!r}, but kind and clips make {pair.pair_id!r}")
    if pair.is_conflict == (pair.face_emotion == pair.voice_emotion):
        raise CorpusError(
            f"kind = {pair.kind}, but face and voice are {pair.face_emotion} and "
            f"{pair.voice_emotion}"
        )
    if (pair.kind is PairKind.ORIGINAL) != (pair.face_clip_id == pair.voice_clip_id):
        raise CorpusError(f"kind = {pair.kind}, but the clips are {pair_id.partition(':')[2]}")
    if pair.bin is not pair_bin(pair.face_emotion, pair.voice_emotion):
        raise CorpusError(f"bin = {pair.bin} is not that of the two emotions")
    return TimedPair(pair, length_s, part)


def _value(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    if value is None:
        if name == _OPTIONAL:
            return None
        raise CorpusError(f"{name} is missing")
    if kind is float:
        # Whole seconds come as int from JSON; bool is an int to isinstance.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CorpusError(f"{name} = {value!r} is not a number")
        return float(value)
    if not isinstance(value, str):
        raise CorpusError(f"{name} = {value!r} is not text")
    try:
        return kind(value)
    except ValueError as error:
        choices = ", ".join(iter(kind))  # type: ignore[call-overload]
        raise CorpusError(f"{name} = {value!r} is not one of {choices}") from error


def _check_once(places: Iterable[tuple[int, Any]]) -> None:
    first: dict[Any, int] = {}
    for line, pair_id in places:
        if first.setdefault(pair_id, line) != line:
            raise CorpusError(f"{line}: pair {pair_id} occurs already in line {first[pair_id]}")


def _read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".jsonl":
        yield from _read_lines(path)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        try:
            rows = parquet.read_table(path).to_pylist()
        except (OSError, arrow.ArrowException) as error:
            raise CorpusError(f"{path}: can't be read ({error}); make the pairs again") from error
        yield from enumerate(rows, start=1)
    else:
        raise CorpusError(f"{path}: a table of pairs ends in .jsonl or .parquet")


def _read_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: can't be read ({error}); make the pairs again") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{path}:{number}: is not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{path}:{number}: is not a row of columns")
        yield number, row


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading and writing Parquet", "data") from error
    return pyarrow, pyarrow.parquet
