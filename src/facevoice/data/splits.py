"""Who is trained on and who is tested on: never the same speaker."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.data.clips import Clip, clips_by_id, require_speaker
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
