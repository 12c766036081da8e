"""Conflict pairs, and match controls that are re-paired just as they are.

A pair joins the face of one clip with the voice of another of the same speaker. Were only the
conflicts re-paired, a model could learn the splice (synchrony, codec, loudness, silence) instead of
the emotion; so the matches are spliced too: same emotion, *another take*.

How both classes come from one rule. Faces and voices are put into cells (speaker, sentence, take,
intensity). A face cell meets a voice cell of another take (a block); within the block every face is
matched with a voice of its emotion, and **the conflicts are the same faces and the same voices,
dealt out anew** so that no emotion meets itself. Every face and every voice thus occurs in exactly
as many conflicts as matches, and whatever looks at one channel alone scores AUROC 0.50.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from facevoice.data.clips import Clip, clips_by_id, require_speaker
from facevoice.data.pair_plan import (
    PAIR_PLANS,
    Cell,
    Pair,
    PairBin,
    PairKind,
    PairPlan,
    cell_key,
    cell_of,
    may_meet,
    pair_bin,
)
from facevoice.data.splits import Split
from facevoice.errors import CorpusError
from facevoice.labels import Emotion

__all__ = [
    "PAIR_PLANS",
    "Pair",
    "PairBin",
    "PairKind",
    "PairPlan",
    "SplitPairs",
    "check_pairs",
    "common_lengths",
    "make_pairs",
    "original_pairs",
    "pair_bin",
    "pairs_in_split",
]


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
