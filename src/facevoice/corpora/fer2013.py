"""FER2013: 48×48 grey pictures of faces found on the web, 7 emotions, nobody named.

FER+ asked ten people about each of them; its votes may take the place of FER2013's own label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from facevoice.corpora.corpus import (
    PICTURE_EXTENSIONS,
    CorpusInfo,
    StemReader,
    emotion_codes,
    read_table,
)
from facevoice.corpora.manifest import Clip, Labels
from facevoice.errors import CorpusError
from facevoice.records import BoolArray, DoubleArray, IntArray

_EMOTIONS: Final = emotion_codes("angry disgust fear=fearful happy neutral sad surprise=surprised")
_SPLITS: Final = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}


class Fer2013(StemReader):
    """Reader. `split` is train, public_test or private_test; labels are what people saw.

    Some names occur in two emotion folders, so the folder is part of the id.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="fer2013",
        title="FER2013",
        language=None,
        license="research use",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://www.kaggle.com/datasets/msambare/fer2013",),
        citation="Goodfellow et al. (2013), Challenges in representation learning, ICONIP",
    )
    pattern: ClassVar[str] = "train/angry/Training_10118481.jpg"
    # train/angry/Training_10118481.jpg, test/angry/PublicTest_10116449.jpg
    name: ClassVar[re.Pattern[str]] = re.compile(r"(?P<split>Training|PublicTest|PrivateTest)_\d+")
    extensions: ClassVar[frozenset[str]] = PICTURE_EXTENSIONS

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """The folder is the emotion, the first part of the name the published split."""
        word = path.parent.name.lower()
        if word not in _EMOTIONS:
            return f"the path does not end like {self.pattern}"
        return self.clip(
            f"{word}/{path.stem}",
            labels=Labels(face=_EMOTIONS[word]),
            corpus_label=word,
            split=_SPLITS[match["split"]],
        )


FERPLUS_TABLE: Final = Path("ferplus.csv")
"""Where an archive of FER+ votes keeps them."""
_FERPLUS_EMOTIONS: Final = emotion_codes(
    "neutral happiness=happy sadness=sad anger=angry fear=fearful disgust surprise=surprised"
)
_FERPLUS_OTHERS: Final = ("contempt", "unknown", "NF")
VOTE_EMOTIONS: Final = tuple(_FERPLUS_EMOTIONS.values())
"""Order of the columns of votes: the seven of FER2013, as the face network gives them."""


@dataclass(frozen=True, slots=True, eq=False)
class FerPlusVotes:
    """What about ten people each saw in the pictures `clip_ids` (n,), ids as of the reader's clips.

    splits: the published part of each picture, `train` or `public_test`;
    counts: votes on VOTE_EMOTIONS, (n, 7);
    others: votes on contempt, on "unknown", and on "not a face", (n, 3). None of the three is one
    of the eight emotions; these votes are in no label, and where they lead, the picture is left
    out. Barsoum et al. (2016), Training deep networks for facial expression recognition with
    crowd-sourced label distribution, ICMI.
    """

    clip_ids: tuple[str, ...]
    splits: tuple[str, ...]
    counts: IntArray
    others: IntArray

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def soft_labels(self) -> DoubleArray:
        """Share of each emotion among the votes on the seven, (n, 7); zeros where there is none."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1))

    @property
    def is_left_out(self) -> BoolArray:
        """Whether contempt, unknown or not-a-face has as many votes as any emotion, (n,)."""
        return np.asarray(self.others.max(axis=1) >= self.counts.max(axis=1))

    @property
    def majority(self) -> IntArray:
        """Place in VOTE_EMOTIONS of what most people saw, (n,); -1 for ties and the left out."""
        is_tied = (self.counts == self.counts.max(axis=1, keepdims=True)).sum(axis=1) > 1
        best = self.counts.argmax(axis=1).astype(np.int64)
        return np.where(is_tied | self.is_left_out, -1, best)

    @property
    def is_clear(self) -> BoolArray:
        """Whether one emotion has more than half of all votes, single ones not counted, (n,).

        The pictures that figures on "FER+ majority" are commonly told of, less those of contempt.
        """
        counted = np.hstack([self.counts, self.others])
        counted[counted == 1] = 0
        return np.asarray(2 * counted[:, : len(VOTE_EMOTIONS)].max(axis=1) > counted.sum(axis=1))

    def take(self, clip_ids: Sequence[str]) -> FerPlusVotes:
        """The votes on these pictures, in their order.

        Raises:
            CorpusError: nobody voted on one of them.
        """
        row_of = {key: row for row, key in enumerate(self.clip_ids)}
        unknown = [key for key in clip_ids if key not in row_of]
        if unknown:
            raise CorpusError(
                f"picture {unknown[0]!r} has no FER+ votes ({len(unknown)} have none)"
            )
        rows = np.array([row_of[key] for key in clip_ids], dtype=np.int64)
        splits = tuple(self.splits[row] for row in rows)
        return FerPlusVotes(tuple(clip_ids), splits, self.counts[rows], self.others[rows])


def read_ferplus(table: Path) -> FerPlusVotes:
    """Read ferplus.csv: FER+'s published counts, each beside the picture's path in FER2013.

    Raises:
        CorpusError: the file is absent, empty, damaged (names the line), or has a picture twice.
    """

    def build(row: Mapping[str, str]) -> tuple[str, str, list[int], list[int]]:
        # zip_path,fer2013_row,usage,neutral,…: test/angry/PublicTest_101.jpg,31937,PublicTest,8,…
        clip = Fer2013().parse(Path(row["zip_path"]))
        if isinstance(clip, str) or clip.split != _SPLITS[row["usage"]]:
            raise ValueError("the picture's path and its part do not fit")
        counts = [int(row[name]) for name in _FERPLUS_EMOTIONS]
        others = [int(row[name]) for name in _FERPLUS_OTHERS]
        if min(counts + others) < 0:
            raise ValueError("fewer than no votes")
        return clip.clip_id, clip.split, counts, others

    expected = f"zip_path like {Fer2013.pattern}, its usage, and counts of votes"
    rows = {}
    for key, split, counts, others in read_table(table, build, expected):
        if key in rows:
            raise CorpusError(f"{table}: picture {key!r} occurs twice")
        rows[key] = (split, counts, others)
    if not rows:
        raise CorpusError(f"{table}: holds no votes")
    splits, counted, aside = zip(*rows.values(), strict=True)
    return FerPlusVotes(tuple(rows), splits, np.array(counted), np.array(aside))


def complete_fer2013(
    clips: tuple[Clip, ...], roots: Iterable[Path]
) -> tuple[tuple[Clip, ...], list[str]]:
    """Clips labelled by FER+ where its table lies in any of `roots`; what was done.

    The label of the face is then the majority, or none (see `FerPlusVotes.majority`); FER2013's own
    word stays as `corpus_label`. Clips without votes come back as they were.

    Raises:
        CorpusError: the table is damaged (names the line), or there is no picture.
    """
    table = next((root / FERPLUS_TABLE for root in roots if (root / FERPLUS_TABLE).is_file()), None)
    if table is None:
        return clips, []
    if not clips:
        raise CorpusError(f"{table}: holds votes only; give the pictures of FER2013 too")
    votes = read_ferplus(table)
    seen = {
        key: VOTE_EMOTIONS[place] if place >= 0 else None
        for key, place in zip(votes.clip_ids, votes.majority, strict=True)
    }
    voted = [clip for clip in clips if clip.clip_id in seen]
    num_unlabelled = sum(seen[clip.clip_id] is None for clip in voted)
    note = (
        f"FER2013: the votes in {table.name} label {len(voted)} of {len(clips)} pictures; of these "
        f"{num_unlabelled} have no label (a tie, contempt, unknown or not a face)."
    )

    def relabel(clip: Clip) -> Clip:
        face = seen.get(clip.clip_id, clip.labels.face)
        return replace(clip, labels=replace(clip.labels, face=face))

    return tuple(map(relabel, clips)), [note]
