"""Who is trained on and who is tested on: never the same speaker."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.corpora.manifest import Clip, clips_by_id, require_speaker
from facevoice.errors import CorpusError

RAVDESS_GROUPS: Final[tuple[tuple[str, ...], ...]] = tuple(
    tuple(f"{speaker:02d}" for speaker in range(first, first + 4)) for first in range(1, 25, 4)
)
"""The six folds of published work: speakers 01–04, 05–08, … 21–24."""


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


def ravdess_folds(clips: Sequence[Clip], with_validation: bool = True) -> tuple[Split, ...]:
    """The six folds of published work on RAVDESS: four speakers are tested at a time.

    With validation, the next four speakers (cyclically) are kept from training for it; published
    figures often have none. Folds none of whose speakers are in `clips` are left out.

    Raises:
        CorpusError: a clip is not of RAVDESS, or fewer groups are there than parts wanted.
    """
    for clip in clips:
        if clip.corpus != "ravdess":
            raise CorpusError(f"clip {clip.clip_id!r} is not of RAVDESS")
    present = {clip.speaker for clip in clips}
    groups = [[f"ravdess/{s}" for s in group if s in present] for group in RAVDESS_GROUPS]
    return _fold_groups(clips, [group for group in groups if group], with_validation)


def leave_one_speaker_out(clips: Sequence[Clip], with_validation: bool = True) -> tuple[Split, ...]:
    """One split a speaker; with validation, the next speaker (cyclically) is kept for it.

    Raises:
        CorpusError: a clip names no speaker, or there are fewer speakers than parts wanted.
    """
    speakers = sorted({require_speaker(clip) for clip in clips})
    return _fold_groups(clips, [[speaker] for speaker in speakers], with_validation)


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
    return _fold_groups(clips, groups, with_validation)


def sentence_folds(
    clips: Sequence[Clip], num_folds: int, seed: int = 0
) -> tuple[frozenset[str], ...]:
    """The corpus' sentences in `num_folds` groups of nearly equal size, for `sentence_disjoint`.

    Raises:
        CorpusError: there are fewer sentences than folds.
    """
    sentences = sorted({clip.sentence for clip in clips if clip.sentence is not None})
    if not 2 <= num_folds <= len(sentences):
        raise CorpusError(f"{num_folds} folds of {len(sentences)} sentences")
    order = np.random.default_rng(seed).permutation(len(sentences))
    return tuple(
        frozenset(sentences[index] for index in order[fold::num_folds]) for fold in range(num_folds)
    )


def sentence_disjoint(split: Split, clips: Sequence[Clip], test_sentences: Iterable[str]) -> Split:
    """Narrow a split: only `test_sentences` are tested, and never trained or validated on.

    Raises:
        CorpusError: a clip is unknown, says nothing in particular, or a part comes out empty.
    """
    index = clips_by_id(list(clips))
    wanted = frozenset(test_sentences)

    def keep(ids: tuple[str, ...], tested: bool) -> tuple[str, ...]:
        return tuple(key for key in ids if (_sentence(index, key) in wanted) == tested)

    narrowed = Split(
        name=f"{split.name}, sentences {'+'.join(sorted(wanted))}",
        train=keep(split.train, False),
        validation=keep(split.validation, False),
        test=keep(split.test, True),
    )
    for name, part in narrowed.parts().items():
        if not part and split.parts()[name]:
            raise CorpusError(f"split {narrowed.name!r}: nothing is left in {name}")
    return narrowed


def published_split(
    clips: Sequence[Clip],
    train: str = "train",
    validation: str | None = None,
    test: str = "test",
) -> Split:
    """The split that a corpus publishes (`Clip.split`). It may share speakers: see `check_split`.

    Raises:
        CorpusError: no clip belongs to a part that was asked for.
    """

    def part(name: str | None) -> tuple[str, ...]:
        if name is None:
            return ()
        ids = tuple(sorted(clip.clip_id for clip in clips if clip.split == name))
        if not ids:
            known = sorted({clip.split for clip in clips if clip.split is not None})
            raise CorpusError(f"no clip of the published part {name!r}; there are {known}")
        return ids

    return Split("published", part(train), part(validation), part(test))


def check_split(split: Split, clips: Sequence[Clip], *, sentences: bool = False) -> None:
    """Make sure that no clip and no speaker crosses; with `sentences`, no tested sentence either.

    Clips of corpora that name nobody are checked by their id only.

    Raises:
        CorpusError: something crosses, a clip is unknown, or train or test is empty; named.
    """
    index = clips_by_id(list(clips))
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


def _sentence(index: dict[str, Clip], key: str) -> str:
    clip = index.get(key)
    if clip is None or clip.sentence is None:
        raise CorpusError(f"clip {key!r} is unknown, or has no sentence to split by")
    return f"{clip.sentence}"


def _fold_groups(
    clips: Sequence[Clip], groups: Sequence[Sequence[str]], with_validation: bool
) -> tuple[Split, ...]:
    """One split a group of speaker keys; the next group is kept for validation."""
    needed = 3 if with_validation else 2
    if len(groups) < needed:
        raise CorpusError(f"{len(groups)} groups of speakers, but {needed} parts are wanted")
    group_of = {speaker: place for place, group in enumerate(groups) for speaker in group}
    ids: list[list[str]] = [[] for _ in groups]
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        speaker = require_speaker(clip)
        if speaker not in group_of:
            raise CorpusError(f"clip {clip.clip_id!r}: speaker {speaker} is in no fold")
        ids[group_of[speaker]].append(clip.clip_id)
    splits: list[Split] = []
    for fold, group in enumerate(groups):
        held = (fold + 1) % len(groups) if with_validation else fold
        train = [key for place, part in enumerate(ids) if place not in (fold, held) for key in part]
        splits.append(
            Split(
                name=f"test {', '.join(group)}",
                train=tuple(sorted(train)),
                validation=tuple(ids[held]) if with_validation else (),
                test=tuple(ids[fold]),
            )
        )
    return tuple(splits)


# Splits by protocol, and the file that keeps them.

PROTOCOLS: Final[dict[str, str]] = {
    "ravdess6": "the six folds of published work on RAVDESS",
    "leave-one-out": "each speaker once",
    "speakers": "folds of speakers, the sexes spread evenly (5: CREMA-D's)",
    "published": "the corpus' own split, if it shares no speaker",
}
"""Names of protocols, with what is tested."""

DEFAULT_FOLDS: Final = 5
_FORMAT: Final = "facevoice-splits-1"
# First of these that a corpus has; what comes after it in line validates.
_TEST_PARTS: Final = ("private_test", "test", "public_test")
_VALIDATION_PARTS: Final = ("validation", "dev", "val", "public_test")


@dataclass(frozen=True, slots=True)
class SplitSet:
    """Splits of a manifest, and how they were made.

    num_folds, num_sentence_folds: None where the protocol has no such number;
    manifest_sha256: `manifest_digest` of the clips that were split.
    """

    protocol: str
    num_folds: int | None
    num_sentence_folds: int | None
    with_validation: bool
    seed: int
    manifest_sha256: str
    splits: tuple[Split, ...]

    @property
    def is_sentence_disjoint(self) -> bool:
        """Whether no tested sentence is trained on."""
        return self.num_sentence_folds is not None


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
        clips: what to split; "ravdess6" takes those of RAVDESS.
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
        splits = ravdess_folds(clips, with_validation)
    elif protocol == "leave-one-out":
        splits = leave_one_speaker_out(clips, with_validation)
    elif protocol == "speakers":
        splits = speaker_folds(clips, num_folds, seed, with_validation)
    elif protocol == "published":
        splits = (_published(clips),)
    else:
        raise CorpusError(f"no protocol is called {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if num_sentence_folds is not None:
        groups = sentence_folds(clips, num_sentence_folds, seed)
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
        manifest_sha256=manifest_digest(clips),
        splits=splits,
    )


def manifest_digest(clips: Sequence[Clip]) -> str:
    """SHA-256 over what splits depend on: ids, speakers, sentences; not paths, not the order."""
    rows = sorted((clip.clip_id, clip.speaker_key or "", clip.sentence or "") for clip in clips)
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def write_splits(splits: SplitSet, path: Path) -> None:
    """Write splits as JSON, whole or not at all."""
    values: dict[str, Any] = {"format": _FORMAT, **asdict(splits)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def read_splits(path: Path, clips: Sequence[Clip] | None = None) -> SplitSet:
    """Read splits, and check them against a manifest.

    A manifest with more clips than were split is fine: they belong to no part.

    Args:
        path: a file of `write_splits`.
        clips: of the manifest; None to read without a check.

    Raises:
        CorpusError: the file is absent or damaged; a clip is unknown to the manifest, or a
            speaker (or a tested sentence) crosses.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise CorpusError(f"{path}: is not JSON ({error})") from error
    splits = _from_json(path, values)
    if clips is not None:
        for split in splits.splits:
            try:
                check_split(split, clips, sentences=splits.is_sentence_disjoint)
            except CorpusError as error:
                raise CorpusError(
                    f"{path}: {error}. Read it with the manifest that it was made from, or split "
                    "again"
                ) from error
    return splits


def _from_json(path: Path, values: object) -> SplitSet:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise CorpusError(f"{path}: is no file of splits ({_FORMAT!r} is expected as its format)")
    try:
        splits = tuple(_split_from_json(row) for row in values["splits"])
        fields = {key: value for key, value in values.items() if key not in ("format", "splits")}
        return SplitSet(**fields, splits=splits)
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"{path}: is damaged ({error!r})") from error


def _split_from_json(row: dict[str, Any]) -> Split:
    parts: dict[str, tuple[str, ...]] = {}
    for name in ("train", "validation", "test"):
        if not isinstance(row[name], list) or not all(isinstance(i, str) for i in row[name]):
            raise ValueError(f"{name} is no list of clip ids")
        parts[name] = tuple(row[name])
    return Split(name=str(row["name"]), **parts)


def _published(clips: Sequence[Clip]) -> Split:
    known = {clip.split for clip in clips} - {None}
    if not known:
        raise CorpusError("these corpora publish no split; take --protocol speakers")
    test = next((name for name in _TEST_PARTS if name in known), "test")
    validation = next((name for name in _VALIDATION_PARTS if name in known and name != test), None)
    return published_split(clips, "train", validation, test)
