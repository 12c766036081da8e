"""What each step of each epoch presents: a pure function of settings, seed, epoch and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from facevoice.data.targets import (
    UNKNOWN,
    ClipTargets,
    IntArray,
    Items,
    balanced_weights,
    join_items,
)
from facevoice.labels import Modality
from facevoice.training.config import LossSettings
from facevoice.training.losses import BatchTargets
from facevoice.types import BoolArray, FloatArray

ORDER, PAIRS, DROPS = 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """The items of an epoch in order, and which of them (m,) lose a channel."""

    items: Items
    dropped: Mapping[Modality, BoolArray]

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def whole(cls, items: Items) -> Epoch:
        """Items in their order, none of which loses a channel."""
        keeps = np.zeros(len(items), dtype=np.bool_)
        return cls(items, dict.fromkeys(Modality, keeps))

    def num_steps(self, batch_size: int) -> int:
        """Steps of `batch_size` items; the last may have fewer."""
        return -(-len(self) // batch_size)

    def step(self, number: int, batch_size: int) -> Epoch:
        """The items of one step."""
        places = np.arange(number * batch_size, min((number + 1) * batch_size, len(self)))
        return self.take(places)

    def take(self, places: IntArray) -> Epoch:
        """The items at these places."""
        dropped = {modality: drops[places] for modality, drops in self.dropped.items()}
        return Epoch(self.items.take(places), dropped)


def plan_epoch(
    originals: Items,
    pairs: Sequence[Items],
    *,
    ratio: float,
    modality_dropout: float,
    modalities: Sequence[Modality],
    seed: int,
    epoch: int,
) -> Epoch:
    """All originals and, of each corpus' pairs, `ratio` times as many as it has originals.

    Args:
        originals: clips as they are.
        pairs: of each corpus; each epoch draws others, going through all before any comes twice.
        ratio: pairs an original; the number is shared out by the corpora's numbers of pairs.
        modality_dropout: share of items that lose one channel; none where only one is looked at.
        modalities: what the network looks at.
        seed: of the run.
        epoch: from 0.
    """
    items = originals
    total = sum(len(part) for part in pairs)
    wanted = min(round(ratio * len(originals)), total)
    for place, part in enumerate(pairs):
        count = round(wanted * len(part) / total)
        items = join_items(items, part.take(_rotate(len(part), count, (seed, PAIRS, place), epoch)))
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(items))
    draws = np.random.default_rng([seed, DROPS, epoch]).random(len(items))
    share = modality_dropout if len(modalities) > 1 else 0.0
    dropped = {Modality.VIDEO: draws < share / 2, Modality.AUDIO: draws > 1 - share / 2}
    return Epoch(items.take(order), dropped)


def some(items: Items, count: int) -> Items:
    """At most `count` of the items, always the same: enough to validate on after each epoch."""
    if len(items) <= count:
        return items
    places = np.random.default_rng([len(items), count]).permutation(len(items))[:count]
    return items.take(np.sort(places))


def _rotate(size: int, count: int, seed: tuple[int, ...], epoch: int) -> IntArray:
    """`count` of `size` places: the next ones of an endless row of permutations."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    first = epoch * count
    rounds = range(first // size, (first + count - 1) // size + 1)
    row = np.concatenate([np.random.default_rng([*seed, r]).permutation(size) for r in rounds])
    start = first - rounds[0] * size
    return np.asarray(row[start : start + count], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class TargetTable:
    """Targets and weights of all clips, from which a step's are gathered.

    present: which clips have the channel (n,).
    """

    targets: ClipTargets
    weights: Mapping[str, FloatArray]
    present: Mapping[Modality, BoolArray]

    @classmethod
    def build(
        cls,
        targets: ClipTargets,
        train_rows: IntArray,
        present: Mapping[Modality, BoolArray],
        settings: LossSettings,
    ) -> TargetTable:
        """Weights are balanced over the training clips only; others get those of their class."""
        weights = {
            head: _weights(getattr(targets, head), targets, train_rows, settings)
            for head in ("emotion", "face", "voice")
        }
        return cls(targets, weights, present)

    def gather(self, epoch: Epoch) -> BatchTargets:
        """Targets of these items; a head is asked only of what the item shows and labels say."""
        items, targets = epoch.items, self.targets
        face, voice = items.face_rows, items.voice_rows
        seen = self.present[Modality.VIDEO][face] & ~epoch.dropped[Modality.VIDEO]
        heard = self.present[Modality.AUDIO][voice] & ~epoch.dropped[Modality.AUDIO]
        shares = {
            "emotion": targets.emotion[face],
            "face": targets.face[face],
            "voice": targets.voice[voice],
        }
        asked = {"emotion": items.same_emotion & (seen | heard), "face": seen, "voice": heard}
        rows = {"emotion": face, "face": face, "voice": voice}
        weights = {
            head: (shares[head] * self.weights[head][rows[head]]).sum(axis=1) * asked[head]
            for head in shares
        }
        conflict_weight = seen & heard & (items.conflict != UNKNOWN)
        return BatchTargets(
            **{head: torch.from_numpy(values) for head, values in shares.items()},
            conflict=torch.from_numpy(items.conflict),
            emotion_weight=torch.from_numpy(weights["emotion"]),
            face_weight=torch.from_numpy(weights["face"]),
            voice_weight=torch.from_numpy(weights["voice"]),
            conflict_weight=torch.from_numpy(conflict_weight.astype(np.float32)),
            face_emotions=torch.from_numpy(targets.emotions[face]),
            voice_emotions=torch.from_numpy(targets.emotions[voice]),
        )


def _weights(
    shares: FloatArray, targets: ClipTargets, rows: IntArray, settings: LossSettings
) -> FloatArray:
    """Weight (n, 8) of each emotion in each clip's corpus, from the training rows."""
    part = ClipTargets(*(getattr(targets, name)[rows] for name in ClipTargets.__slots__))
    trained = balanced_weights(
        shares[rows],
        part,
        classes=settings.class_weights == "balanced",
        corpus_power=settings.corpus_power,
    )
    weights = np.ones(shares.shape, dtype=np.float32)
    for corpus in np.unique(part.corpora):
        first = int(np.flatnonzero(part.corpora == corpus)[0])
        weights[targets.corpora == corpus] = trained[first]
    return weights


def rank_rows(num_items: int, part: int, num_parts: int) -> tuple[IntArray, BoolArray]:
    """Places of a step's items that one of `num_parts` computes, all parts alike long.

    Returns:
        places (k,), and whether they count (k,): where the items don't divide, some parts compute
        an item once more, without weight, so that all take part in every exchange of gradients.
    """
    size = -(-num_items // num_parts)
    places = np.arange(part * size, (part + 1) * size)
    return np.minimum(places, num_items - 1), places < num_items
