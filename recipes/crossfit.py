"""Heads and posteriors by leaving people out: what is scored is never what was fitted.

The face and voice networks never saw or heard any of these corpora. For each tested speaker heads,
their doubt, fusion and conflict are fitted without that speaker; fusion and conflict see posteriors
that were themselves made leaving one of the other speakers out. How sure a voice may be is learnt
from corpora that were left out whole, and never from the tested speaker's own one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from recipes.compact_data import AV_CORPUS, CompactData
from recipes.fitting import (
    FACE,
    VOICE,
    Acquaintances,
    Doubt,
    HeadRecipe,
    Samples,
    doubt_head,
    fit_conflict,
    fit_doubt,
    fit_fusion,
    fit_head,
    usual,
)

from facevoice.corpora.pairs import Pair
from facevoice.evaluation.metrics import best_threshold
from facevoice.models.heads import (
    ChannelHead,
    ConflictHead,
    LateFusion,
    head_arrays,
    read_head,
)
from facevoice.records import DoubleArray

CONFLICT_PENALTY: Final = 0.02
NUM_DRAWS: Final = 4
"""How often each clip's posteriors are drawn, with others known, to fit what joins them."""
LIMIT_SHARE: Final = 0.99
"""Of what left-out corpora hold, this much is familiar enough."""

ByClip = dict[str, DoubleArray]
KnownRows = tuple[np.ndarray, np.ndarray]
"""Rows known of the person, and of the setting."""
Knowing = Callable[[int], KnownRows]
"""From a row to what is known when it is judged."""


def nobody(_: int) -> KnownRows:
    """Nothing is known."""
    nothing = np.zeros(0, dtype=np.int64)
    return nothing, nothing


@dataclass(slots=True, eq=False)
class Channel:
    """Samples of one modality, and heads fitted on all speakers but some, each fitted once.

    spoilt: further samples to learn from; groups: sets of speakers; each is told by a head without
    it to learn how sure a head may be; folder: where fitted heads are kept.
    """

    samples: Samples
    recipe: HeadRecipe
    groups: Sequence[frozenset[str]]
    spoilt: Samples | None = None
    folder: Path | None = None
    _heads: dict[frozenset[str], ChannelHead] = field(default_factory=dict)
    _doubts: dict[frozenset[str], Doubt] = field(default_factory=dict)

    def speakers_of(self, corpus: str) -> frozenset[str]:
        rows = self.samples.corpora == corpus
        return frozenset(str(s) for s in np.unique(self.samples.speakers[rows]))

    def head(self, without: frozenset[str]) -> ChannelHead:
        """The head fitted on everybody but `without`, as sure as likelihood made it."""
        if without not in self._heads:
            self._heads[without] = self._read(without) or self._fit(without)
        return self._heads[without]

    def sure_head(
        self, without: frozenset[str], apart: frozenset[str] | None = None
    ) -> ChannelHead:
        """The same, as sure as it may be; how sure is learnt without `apart`, else `without`."""
        return doubt_head(self.head(without), self.doubt(without if apart is None else apart))

    def doubt(self, apart: frozenset[str]) -> Doubt:
        """How sure heads may be: by what heads say of each group without it and `apart`."""
        if apart not in self._doubts:
            told = [self._told(group, apart) for group in self.groups if not group <= apart]
            logits, far, rows = (np.concatenate(parts) for parts in zip(*told, strict=True))
            samples = self.samples.where(rows)
            self._doubts[apart] = fit_doubt(logits, far, samples, LIMIT_SHARE)
        return self._doubts[apart]

    def _told(
        self, group: frozenset[str], apart: frozenset[str]
    ) -> tuple[DoubleArray, DoubleArray, np.ndarray]:
        rows = np.flatnonzero(
            np.isin(self.samples.speakers, sorted(group))
            & ~np.isin(self.samples.speakers, sorted(apart))
        )
        head = self.head(group | apart)
        rng = np.random.default_rng(1)
        known = Acquaintances(self.samples)
        left = self._left(head, rows, lambda row: known.draw(row, rng))
        far = head.familiarity((left - head.linear.mean) / head.linear.scale)
        return head.linear.logits(left), far, rows

    def posteriors(self, head: ChannelHead, rows: np.ndarray, knowing: Knowing) -> DoubleArray:
        """Probabilities (n, 8) of rows, each compared with what is known."""
        return self.judged(head, rows, knowing)[0]

    def judged(
        self, head: ChannelHead, rows: np.ndarray, knowing: Knowing
    ) -> tuple[DoubleArray, DoubleArray]:
        """Probabilities (n, 8) and unfamiliarity (n,) of rows."""
        return head(self._left(head, rows, knowing))

    def _left(self, head: ChannelHead, rows: np.ndarray, knowing: Knowing) -> DoubleArray:
        """Embeddings of rows less what is usual."""
        told = [knowing(int(row)) for row in rows]
        needed = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(s for _, s in told)]))
        probs = np.zeros((len(self.samples.labels), 8))
        if len(needed):
            probs[needed] = head(self.samples.embeddings[needed])[0]
        left = self.samples.embeddings[rows].astype(np.float64)
        for place, (person, setting) in enumerate(told):
            if len(setting):
                left[place] -= head.offset(
                    usual(self.samples.embeddings, probs, person),
                    usual(self.samples.embeddings, probs, setting),
                )
        return left

    def _fit(self, without: frozenset[str]) -> ChannelHead:
        kept = self.samples.without(without)
        if self.spoilt is not None:
            kept = kept.joined(self.spoilt.without(without))
        head = fit_head(kept, self.recipe)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            np.savez(self._path(without), **head_arrays(head, ""))
        return head

    def _read(self, without: frozenset[str]) -> ChannelHead | None:
        if self.folder is None or not self._path(without).exists():
            return None
        with np.load(self._path(without), allow_pickle=False) as arrays:
            return read_head(arrays, "")

    def _path(self, without: frozenset[str]) -> Path:
        text = f"{self.recipe} {sorted(without)} {self._digest()}"
        return Path(str(self.folder)) / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"

    def _digest(self) -> str:
        parts = [self.samples] if self.spoilt is None else [self.samples, self.spoilt]
        sums = [
            (part.embeddings.shape, float(part.embeddings.sum(dtype=np.float64))) for part in parts
        ]
        return str(sums)


def make_channels(data: CompactData, work: Path | None = None) -> tuple[Channel, Channel]:
    """Faces and voices; fitted heads are kept below WORK."""
    folder = None if work is None else work / "heads"
    people = [frozenset({str(s)}) for s in np.unique(data.faces.speakers)]
    corpora = [
        frozenset(str(s) for s in np.unique(data.voices.speakers[data.voices.corpora == corpus]))
        for corpus in np.unique(data.voices.corpora)
    ]
    return (
        Channel(data.faces, FACE, people, None, folder),
        Channel(data.voices, VOICE, corpora, data.spoilt, folder),
    )


def mean_by_clip(clip_ids: np.ndarray, probs: DoubleArray) -> ByClip:
    """Windows of one clip averaged, as a report's summary does."""
    names, inverse = np.unique(clip_ids, return_inverse=True)
    total = np.zeros((len(names), probs.shape[1]))
    np.add.at(total, inverse, probs)
    total /= total.sum(axis=1, keepdims=True)
    return dict(zip([str(n) for n in names], total, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What joins the channels; threshold: of the best balanced accuracy where it was fitted."""

    fusion: LateFusion
    conflict: ConflictHead
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """What judges the clips of people it has never met."""

    face: ChannelHead
    voice: ChannelHead
    joint: Joint


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """The channels, and pairs of the audio-visual corpus that fusion and conflict learn from."""

    faces: Channel
    voices: Channel
    pairs: Sequence[Pair]

    @property
    def speakers(self) -> list[str]:
        """Of the audio-visual corpus."""
        return sorted(self.faces.speakers_of(AV_CORPUS))

    def judge(self, speaker: str) -> Judge:
        """All fitted without one speaker of the audio-visual corpus."""
        out = frozenset({speaker})
        corpus = self.voices.speakers_of(AV_CORPUS)
        joint = self.fit_joint(out, corpus)
        return Judge(self.faces.sure_head(out), self.voices.sure_head(out, corpus), joint)

    def fit_joint(self, out: frozenset[str], apart: frozenset[str]) -> Joint:
        """Fusion on the pairs that match, conflict on all, but for those of `out`.

        apart: whose voices teach nothing of how sure a voice may be.
        """
        faces: list[DoubleArray] = []
        voices: list[DoubleArray] = []
        pairs: list[Pair] = []
        for speaker in self.speakers:
            if speaker in out:
                continue
            without = out | {speaker}
            face = self.faces.sure_head(without, out)
            voice = self.voices.sure_head(without, apart)
            own = [pair for pair in self.pairs if pair.speaker == speaker]
            for draw in range(NUM_DRAWS):
                seen = self._drawn(self.faces, face, speaker, draw)
                heard = self._drawn(self.voices, voice, speaker, draw)
                f, v = pair_posteriors(own, seen, heard)
                faces.append(f)
                voices.append(v)
                pairs += own
        f, v = np.concatenate(faces), np.concatenate(voices)
        is_conflict = np.array([pair.is_conflict for pair in pairs])
        labels = np.array([pair.face_emotion.position for pair in pairs])
        match = ~is_conflict
        emotions = self.faces.samples.emotions[self.faces.samples.corpora == AV_CORPUS][:1]
        emotions = np.repeat(emotions, match.sum(), axis=0)
        fusion = fit_fusion(f[match], v[match], labels[match], emotions)
        conflict = fit_conflict(f, v, is_conflict, CONFLICT_PENALTY)
        return Joint(fusion, conflict, best_threshold(is_conflict, conflict(f, v)))

    def _drawn(self, channel: Channel, head: ChannelHead, speaker: str, seed: int) -> ByClip:
        known, rng = Acquaintances(channel.samples), np.random.default_rng(seed)
        return clip_posteriors(channel, head, speaker, lambda row: known.draw(row, rng))


def everything(channel: Channel) -> Knowing:
    """All other clips of the person are known, and no others of the setting."""
    known = Acquaintances(channel.samples)

    def rows(row: int) -> KnownRows:
        others = known.of_person(row)
        return others, others

    return rows


def clip_posteriors(
    channel: Channel, head: ChannelHead, speaker: str, knowing: Knowing = nobody
) -> ByClip:
    """Those of all clips of one speaker."""
    rows = np.flatnonzero(channel.samples.speakers == speaker)
    probs = channel.posteriors(head, rows, knowing)
    return mean_by_clip(channel.samples.clips[rows], probs)


def pair_posteriors(
    pairs: Sequence[Pair], face: ByClip, voice: ByClip
) -> tuple[DoubleArray, DoubleArray]:
    """Posteriors (n, 8) of each pair's face, and of its voice."""
    return (
        np.array([face[p.face_clip_id] for p in pairs]),
        np.array([voice[p.voice_clip_id] for p in pairs]),
    )
