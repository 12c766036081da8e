"""A figure for each group of people, and how far it lies from that of everybody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.errors import EvaluationError
from facevoice.evaluation.checks import IntArray
from facevoice.evaluation.columns import TextArray
from facevoice.evaluation.figures import (
    Figure,
    Gap,
    Refused,
    figure_with_interval,
    gap,
    make_resampler,
)
from facevoice.evaluation.resampling import Statistic, draw_weights, number_clusters
from facevoice.evaluation.tables import Groups
from facevoice.types import BoolArray, DoubleArray

LEAST_SPEAKERS: Final = 2
LEAST_ITEMS: Final = 20
AGE_BANDS: Final[tuple[tuple[str, float, float], ...]] = (
    ("under 30", 0, 30),
    ("30–44", 30, 45),
    ("45–59", 45, 60),
    ("60 and over", 60, np.inf),
)
"""Name, from, below; years."""


@dataclass(frozen=True, slots=True, eq=False)
class Scorable:
    """A figure that can be taken over any of n rows.

    compute(rows) gives it; statistic(rows, index, num_clusters) gives it on resamples, where index
    (of all n rows) numbers the speakers; classes (n,): the figure is only alike between groups that
    have the same ones.
    """

    groups: Groups
    speakers: TextArray
    classes: IntArray
    compute: Callable[[BoolArray], float]
    statistic: Callable[[BoolArray, IntArray, int], Statistic]


@dataclass(frozen=True, slots=True)
class GroupScores:
    """A group, its figure (UAR or AUROC), and the gap: figure of the group − figure of the rest.

    The rest are all others of whom the attribute is known.
    """

    attribute: str
    group: str
    num_items: int
    num_speakers: int
    figure: Figure | Refused
    gap: Gap | Refused


def score_groups(scorable: Scorable, num_resamples: int) -> tuple[GroupScores, ...]:
    """Every group that occurs: sex, age band, race, ethnicity, language, intensity."""
    return tuple(
        _score_group(scorable, attribute, name, members, rest, num_resamples)
        for attribute, name, members, rest in _split(scorable.groups)
    )


def _split(groups: Groups) -> Iterator[tuple[str, str, BoolArray, BoolArray]]:
    """Attribute, group, its rows, and the rows of all others that are known."""
    columns: dict[str, TextArray] = {
        "sex": groups.sex,
        "age": _age_bands(groups.age),
        "race": groups.race,
        "ethnicity": groups.ethnicity,
        "language": groups.language,
        "intensity": groups.intensity,
    }
    order = {name: place for place, (name, _, _) in enumerate(AGE_BANDS)}
    for attribute, values in columns.items():
        known = np.asarray([value is not None for value in values], dtype=bool)
        names = {str(value) for value in values[known]}
        for name in sorted(names, key=lambda name: (order.get(name, 0), name)):
            members = np.asarray(values == name, dtype=bool)
            yield attribute, name, members, known & ~members


def _age_bands(ages: DoubleArray) -> TextArray:
    bands = np.full(len(ages), None, dtype=object)
    for name, low, high in AGE_BANDS:
        bands[(ages >= low) & (ages < high)] = name
    return bands


def _score_group(
    scorable: Scorable,
    attribute: str,
    name: str,
    members: BoolArray,
    rest: BoolArray,
    num_resamples: int,
) -> GroupScores:
    speakers = _names(scorable.speakers[members])
    too_few = _too_few(int(members.sum()), len(speakers), "the group")
    result: Figure | Refused = Refused(too_few)
    difference: Gap | Refused = Refused(too_few)
    if not too_few:
        result = _figure(scorable, members, num_resamples)
        difference = _gap(scorable, members, rest, num_resamples)
    return GroupScores(attribute, name, int(members.sum()), len(speakers), result, difference)


def _too_few(num_items: int, num_speakers: int, whose: str) -> str:
    if num_speakers < LEAST_SPEAKERS or num_items < LEAST_ITEMS:
        return (
            f"{whose}: {num_items} items of {num_speakers} speakers; at least {LEAST_ITEMS} of "
            f"{LEAST_SPEAKERS} are needed"
        )
    return ""


def _figure(scorable: Scorable, rows: BoolArray, num_resamples: int) -> Figure | Refused:
    resampler = make_resampler(scorable.speakers[rows], num_resamples)
    index = np.zeros(len(rows), dtype=np.int64)
    if not isinstance(resampler, Refused):
        index[rows] = resampler.index
    return figure_with_interval(
        lambda: scorable.compute(rows),
        resampler,
        lambda drawn: scorable.statistic(rows, index, drawn.num_clusters),
    )


def _gap(
    scorable: Scorable, members: BoolArray, rest: BoolArray, num_resamples: int
) -> Gap | Refused:
    if not rest.any():
        return Refused("everybody of whom it is known is of this group")
    others = _names(scorable.speakers[rest])
    too_few = _too_few(int(rest.sum()), len(others), "the rest")
    if too_few:
        return Refused(too_few)
    if set(scorable.classes[members]) != set(scorable.classes[rest]):
        return Refused("the group and the rest do not have the same classes")
    rows = members | rest
    try:
        numbers, size = number_clusters(scorable.speakers[rows])
    except EvaluationError as error:
        return Refused(str(error))
    index = np.zeros(len(rows), dtype=np.int64)
    index[rows] = numbers
    weights = _gap_weights(index[members], index[rest], size, num_resamples)
    return gap(
        scorable.statistic(members, index, size), scorable.statistic(rest, index, size), weights
    )


def _gap_weights(members: IntArray, rest: IntArray, size: int, num_resamples: int) -> DoubleArray:
    """Resamples (R, S): each side drawn from its own speakers; all at once if some are on both."""
    inside, outside = np.unique(members), np.unique(rest)
    if np.isin(inside, outside).any():
        return draw_weights(size, num_resamples, seed=0)
    weights = np.zeros((num_resamples, size))
    # In one order whichever side is the group: of two groups, each gap mirrors the other.
    for seed, side in enumerate(sorted((inside, outside), key=lambda numbers: int(numbers[0]))):
        weights[:, side] = draw_weights(len(side), num_resamples, seed)
    return weights


def _names(speakers: TextArray) -> set[str]:
    return {str(name) for name in speakers if name is not None}
