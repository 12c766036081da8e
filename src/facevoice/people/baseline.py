"""What is usual for a person, and in a setting: what embeddings are compared with.

Who somebody is, and how they were recorded, sways an embedding more than what they express. So a
window is judged against what is usual for this person, in this setting, in the world, in that
order, each shrunk towards the next one by how much is known of it; `models.heads` does the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from facevoice.records import NUM_EMOTIONS, DoubleArray, Modality


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """Statistics of one channel over windows of a person, or of a setting.

    num_windows: how many windows, without what they share: two that overlap by half are 1.5.
    mean: of their embeddings (D,).
    probs: the mean of what is said of them while nothing is known (8,); of recordings that are
        known to be neutral, neutral alone.
    """

    num_windows: float
    mean: DoubleArray
    probs: DoubleArray

    def __post_init__(self) -> None:
        if self.num_windows <= 0 or self.mean.ndim != 1 or self.probs.shape != (NUM_EMOTIONS,):
            raise ValueError(
                f"Usual: {self.num_windows} windows, mean {self.mean.shape}, probs "
                f"{self.probs.shape}; expected more than 0, (D,), (8,)"
            )


Baseline = Mapping[Modality, Usual]
"""What is usual, by channel; a channel of which nothing is known is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a window is compared with: this person's baseline, and that of the setting.

    Windows of the person in the setting count in both.
    """

    person: Baseline = field(default_factory=dict)
    setting: Baseline = field(default_factory=dict)


NOTHING = Known()


def pool(baselines: Iterable[Baseline]) -> Baseline:
    """One baseline of several, each weighing as many windows as it has."""
    found: dict[Modality, list[Usual]] = {}
    for baseline in baselines:
        for modality, usual in baseline.items():
            found.setdefault(modality, []).append(usual)
    return {modality: _pooled(parts) for modality, parts in found.items()}


def _pooled(parts: list[Usual]) -> Usual:
    weights = np.array([part.num_windows for part in parts])
    return Usual(
        float(weights.sum()),
        np.average([part.mean for part in parts], axis=0, weights=weights),
        np.average([part.probs for part in parts], axis=0, weights=weights),
    )
