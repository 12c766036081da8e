"""Who is trained on and who is tested on: never the same speaker."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from facevoice.corpora.manifest import Clip, clips_by_id, require_speaker
from facevoice.errors import CorpusError
from facevoice.files import write_atomically
from facevoice.plain import parse_json, read_bounded

PROTOCOLS: Final[dict[str, str]] = {
    "ravdess6": "the six folds of published work on RAVDESS",
    "leave-one-out": "each speaker once",
    "speakers": "folds of speakers, the sexes spread evenly (5: CREMA-D's)",
    "published": "the corpus' own split, if it shares no speaker",
}
"""Names of protocols, with what is tested."""
DEFAULT_FOLDS: Final = 5

_FORMAT: Final = "facevoice-splits-1"
_MAX_BYTES: Final = 1 << 30
# First of these that a corpus has; what comes after it in line validates.
_TEST_PARTS: Final = ("private_test", "test", "public_test")
_VALIDATION_PARTS: Final = ("validation", "dev", "val", "public_test")


@dataclass(frozen=True, slots=True)
class Split:
    """Ids of the clips of each part, sorted. `name` tells what is tested."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def parts(self) -> dict[str, tuple[str, ...]]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True, slots=True)
class SplitSet:
    """Splits of a manifest, and how they were made.

    num_folds, num_sentence_folds: None where the protocol has no such number;
    manifest_sha256: over what splits depend on: ids, speakers, sentences; not paths, not the order.
    """

    protocol: str
    num_folds: int | None
    num_sentence_folds: int | None
    with_validation: bool
    seed: int
    manifest_sha256: str
    splits: tuple[Split, ...]


def make_splits(
    clips: Sequence[Clip],
    protocol: str,
    *,
    num_folds: int = DEFAULT_FOLDS,
    num_sentence_folds: int | None = None,
    seed: int = 0,
    with_validation: bool = True,
) -> SplitSet:
    """Split clips by a protocol; every split is checked.

    Args:
        clips: "ravdess6" takes those of RAVDESS.
        protocol: one of `PROTOCOLS`.
        num_folds: for "speakers".
        num_sentence_folds: also cut the sentences in so many groups; each split is made once per
            group, which is tested and never trained or validated on.
        seed: deals speakers and sentences.
        with_validation: keep speakers for validation; a published split says itself.

    Raises:
        CorpusError: an unknown protocol, no way to split these clips so, or speakers would cross.
    """
    if protocol == "ravdess6":
        clips = [clip for clip in clips if clip.corpus == "ravdess"]
        splits = _ravdess_folds(clips, with_validation)
    elif protocol == "leave-one-out":
        splits = leave_one_speaker_out(clips, with_validation)
    elif protocol == "speakers":
        splits = speaker_folds(clips, num_folds, seed, with_validation)
    elif protocol == "published":
        splits = (_published_split(clips),)
    else:
        raise CorpusError(f"no protocol is called {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if num_sentence_folds is not None:
        groups = _sentence_folds(clips, num_sentence_folds, seed)
        splits = tuple(
            sentence_disjoint(split, clips, group) for split in splits for group in groups
        )
    for split in splits:
        check_split(split, clips, sentences=num_sentence_folds is not None)
    return SplitSet(
        protocol=protocol,
        num_folds=num_folds if protocol == "speakers" else None,
        num_sentence_folds=num_sentence_folds,
        with_validation=any(split.validation for split in splits),
        seed=seed,
        manifest_sha256=_digest(clips),
        splits=splits,
    )


def leave_one_speaker_out(clips: Sequence[Clip], with_validation: bool = True) -> tuple[Split, ...]:
    """One split a speaker; with validation, the next speaker (cyclically) is kept for it.

    Raises:
        CorpusError: a clip names no speaker, or there are fewer speakers than parts wanted.
    """
    speakers = sorted({require_speaker(clip) for clip in clips})
    return _folds(clips, [[speaker] for speaker in speakers], with_validation)


def speaker_folds(
    clips: Sequence[Clip], num_folds: int, seed: int = 0, with_validation: bool = True
) -> tuple[Split, ...]:
    """`num_folds` folds of speakers, each sex spread evenly over them.

    Speakers are ordered by a hash of name and seed and dealt out one by one, sex after sex, so
    fold sizes differ by one speaker at most, and so does each sex. The same on every machine.

    Raises:
        CorpusError: a clip names no speaker, or there are fewer speakers than folds.
    """
    sex_of = {require_speaker(clip): clip.sex or "" for clip in clips}
    if not 2 <= num_folds <= len(sex_of):
        raise CorpusError(f"{num_folds} folds of {len(sex_of)} speakers: need 2 to {len(sex_of)}")
    order = sorted(
        sex_of, key=lambda speaker: (sex_of[speaker], zlib.crc32(f"{seed}:{speaker}".encode()))
    )
    groups = [sorted(order[fold::num_folds]) for fold in range(num_folds)]
    return _folds(clips, groups, with_validation)


def _ravdess_folds(clips: Sequence[Clip], with_validation: bool) -> tuple[Split, ...]:
    """The six folds of published work: speakers 01–04, 05–08, …; those who are not there left out.

    With validation, the next four speakers (cyclically) are kept for it; published figures often
    have none.
    """
    speakers = sorted({clip.speaker for clip in clips if clip.speaker is not None})
    groups: dict[int, list[str]] = {}
    for speaker in speakers:
        groups.setdefault((int(speaker) - 1) // 4, []).append(f"ravdess/{speaker}")
    return _folds(clips, list(groups.values()), with_validation)


def _folds(
    clips: Sequence[Clip], groups: Sequence[Sequence[str]], with_validation: bool
) -> tuple[Split, ...]:
    """One split a group of speaker keys; the next group is kept for validation."""
    needed = 3 if with_validation else 2
    if len(groups) < needed:
        raise CorpusError(f"{len(groups)} groups of speakers, but {needed} parts are wanted")
    group_of = {speaker: place for place, group in enumerate(groups) for speaker in group}
    ids: list[list[str]] = [[] for _ in groups]
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        ids[group_of[require_speaker(clip)]].append(clip.clip_id)
    splits: list[Split] = []
    for fold, group in enumerate(groups):
        held = (fold + 1) % len(groups) if with_validation else fold
        train = [key for place, part in enumerate(ids) if place not in (fold, held) for key in part]
        validation = tuple(ids[held]) if with_validation else ()
        name = f"test {', '.join(group)}"
        splits.append(Split(name, tuple(sorted(train)), validation, tuple(ids[fold])))
    return tuple(splits)


def _published_split(clips: Sequence[Clip]) -> Split:
    """The split that a corpus publishes (`Clip.split`); it may share speakers."""
    parts: dict[str, list[str]] = {}
    for clip in clips:
        if clip.split is not None:
            parts.setdefault(clip.split, []).append(clip.clip_id)
    if not parts:
        raise CorpusError("these corpora publish no split; take --protocol speakers")
    test = next((name for name in _TEST_PARTS if name in parts), "test")
    validation = next((name for name in _VALIDATION_PARTS if name in parts and name != test), "")
    for name in ("train", test):
        if name not in parts:
            raise CorpusError(f"no clip of the published part {name!r}; there are {sorted(parts)}")
    train_ids, validation_ids, test_ids = (
        tuple(sorted(parts.get(name, ()))) for name in ("train", validation, test)
    )
    return Split("published", train_ids, validation_ids, test_ids)


def _sentence_folds(clips: Sequence[Clip], num_folds: int, seed: int) -> list[list[str]]:
    """The corpus' sentences in `num_folds` groups of nearly equal size."""
    sentences = sorted({clip.sentence for clip in clips if clip.sentence is not None})
    if not 2 <= num_folds <= len(sentences):
        raise CorpusError(f"{num_folds} folds of {len(sentences)} sentences")
    order = np.random.default_rng(seed).permutation(len(sentences))
    return [[sentences[index] for index in order[fold::num_folds]] for fold in range(num_folds)]


def sentence_disjoint(split: Split, clips: Sequence[Clip], test_sentences: Iterable[str]) -> Split:
    """Narrow a split: only `test_sentences` are tested, and never trained or validated on.

    Raises:
        CorpusError: a clip is unknown, says nothing in particular, or a part comes out empty.
    """
    index = clips_by_id(clips)
    wanted = frozenset(test_sentences)
    parts = {
        name: tuple(key for key in ids if (_sentence(index, key) in wanted) == (name == "test"))
        for name, ids in split.parts().items()
    }
    narrowed = Split(f"{split.name}, sentences {'+'.join(sorted(wanted))}", **parts)
    for name, part in parts.items():
        if not part and split.parts()[name]:
            raise CorpusError(f"split {narrowed.name!r}: nothing is left in {name}")
    return narrowed


def check_split(split: Split, clips: Sequence[Clip], *, sentences: bool = False) -> None:
    """Make sure that no clip and no speaker crosses; with `sentences`, no tested sentence either.

    Clips of corpora that name nobody are checked by their id only.

    Raises:
        CorpusError: something crosses, a clip is unknown, or train or test is empty; named.
    """
    index = clips_by_id(clips)
    for name in ("train", "test"):
        if not split.parts()[name]:
            raise CorpusError(f"split {split.name!r}: {name} is empty")
    seen: dict[str, tuple[str, str]] = {}
    for part, ids in split.parts().items():
        for key in ids:
            if key not in index:
                raise CorpusError(f"split {split.name!r}: clip {key!r} in {part} is unknown")
            speaker = index[key].speaker_key
            for what in {f"clip {key}", f"clip {key}" if speaker is None else f"speaker {speaker}"}:
                other, other_clip = seen.setdefault(what, (part, key))
                if other != part:
                    raise CorpusError(
                        f"split {split.name!r}: {what} is in both {other} ({other_clip}) and "
                        f"{part} ({key})"
                    )
    if sentences:
        tested = {_sentence(index, key) for key in split.test}
        for key in split.train + split.validation:
            if _sentence(index, key) in tested:
                raise CorpusError(
                    f"split {split.name!r}: sentence {_sentence(index, key)!r} of clip {key!r} is "
                    "also tested"
                )


def _sentence(index: Mapping[str, Clip], key: str) -> str:
    clip = index.get(key)
    if clip is None or clip.sentence is None:
        raise CorpusError(f"clip {key!r} is unknown, or has no sentence to split by")
    return clip.sentence


def _digest(clips: Collection[Clip]) -> str:
    rows = sorted((clip.clip_id, clip.speaker_key or "", clip.sentence or "") for clip in clips)
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def write_splits(splits: SplitSet, path: Path) -> None:
    """Write splits as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"format": _FORMAT, **asdict(splits)}
    write_atomically(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def read_splits(path: Path, clips: Sequence[Clip] | None = None) -> SplitSet:
    """Read splits, and check them against a manifest.

    A manifest with more clips than were split is fine: they belong to no part. Without `clips`,
    nothing is checked.

    Raises:
        CorpusError: the file is absent or damaged; a clip is unknown to the manifest, or a
            speaker (or a tested sentence) crosses.
    """
    try:
        values = parse_json(read_bounded(path, _MAX_BYTES))
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise CorpusError(f"{path}: is not JSON ({error})") from error
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        raise CorpusError(f"{path}: is no file of splits ({_FORMAT!r} is expected as its format)")
    try:
        splits = msgspec.convert(values, SplitSet)
    except msgspec.ValidationError as error:
        raise CorpusError(f"{path}: is damaged ({error})") from error
    for split in splits.splits if clips is not None else ():
        try:
            check_split(split, clips or (), sentences=splits.num_sentence_folds is not None)
        except CorpusError as error:
            raise CorpusError(
                f"{path}: {error}. Read it with the manifest that it was made from, or split again"
            ) from error
    return splits
