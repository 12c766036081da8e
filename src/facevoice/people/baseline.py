"""What is usual for a person, and in a setting: what embeddings are compared with.

Who somebody is, and how they were recorded, sways an embedding more than what they express. So a
window is judged against what is usual for this person, in this setting, in the world, in that
order, each shrunk towards the next one by how much is known of it; `models.heads` does the sum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from facevoice.errors import WeightsError
from facevoice.records import NUM_EMOTIONS, DoubleArray, FloatArray, Modality, WindowView

# Times of windows that touch may differ by rounding.
_EPSILON_S: Final = 1e-6
# No window counts for so little; what is left by rounding does.
_NO_WINDOWS: Final = 1e-6


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


def _pooled(parts: Sequence[Usual]) -> Usual:
    if len(parts) == 1:  # To the last digit.
        return parts[0]
    sums = _Sums(parts[0].mean.size)
    if {part.mean.size for part in parts} != {parts[0].mean.size}:
        raise WeightsError("the profiles are of different networks: make them again with one")
    for part in parts:
        sums.add(part.num_windows, part.mean, part.probs)
    return sums.usual()


def without(whole: Baseline, part: Baseline) -> Baseline:
    """What is left of a baseline without one that is pooled in it."""
    left = {modality: _less(usual, part.get(modality)) for modality, usual in whole.items()}
    return {modality: usual for modality, usual in left.items() if usual is not None}


def _less(whole: Usual, part: Usual | None) -> Usual | None:
    if part is None:
        return whole
    num_left = whole.num_windows - part.num_windows
    if num_left < _NO_WINDOWS:
        return None
    share = part.num_windows / num_left
    probs = np.maximum(whole.probs + share * (whole.probs - part.probs), 0)
    mean = whole.mean + share * (whole.mean - part.mean)
    return Usual(num_left, mean, probs / probs.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Others:
    """What files are compared with from elsewhere.

    profile: of their person.
    told: by the SHA-256 of their contents, what recordings tell, which may be files to compare too:
        what a file tells itself is left out, as its own windows inform each other anyhow.
    """

    profile: Baseline = field(default_factory=dict)
    told: Mapping[str, Known] = field(default_factory=dict)
    _whole: Known = field(init=False)

    def __post_init__(self) -> None:
        person = pool([self.profile, *(known.person for known in self.told.values())])
        whole = Known(person, pool(known.setting for known in self.told.values()))
        object.__setattr__(self, "_whole", whole)

    def known_to(self, sha256: str | None) -> Known:
        """What the file of this content is compared with."""
        own = self.told.get(sha256 or "", NOTHING)
        whole = self._whole
        return Known(without(whole.person, own.person), without(whole.setting, own.setting))


NOBODY = Others()

# Windows of one file inform each other: those that don't overlap.

Told = Mapping[Modality, tuple[FloatArray, DoubleArray]]
"""Of a window, by channel with enough evidence: its embedding (D,), and the probabilities (8,)
that it has while nothing is known but what is given."""


def owner(view: WindowView, modality: Modality) -> int | None:
    """Whose channel a window shows: the person whose face is judged, or whose voice is heard."""
    return view.person if modality is Modality.VIDEO else view.speaker


class Acquaintance:
    """What a stream has told so far of each of its people, and of the setting.

    given: what is known from elsewhere, taken to be of everybody who is seen and heard.
    """

    def __init__(self, given: Known = NOTHING) -> None:
        self._given = given
        self._people: dict[int | None, _Past] = {}
        self._setting = _Past()
        self._longest_s = 0.0

    def known(self, view: WindowView) -> Known:
        """What the next window is compared with: all before it that end before it starts."""
        person = {
            modality: usual
            for modality in Modality
            for usual in [self._past(view, modality).before(view.start_s).get(modality)]
            if usual is not None
        }
        return _add(self._given, person, self._setting.before(view.start_s))

    def add(self, view: WindowView, told: Told) -> None:
        """Take a window; they come in order of time, none longer than the first."""
        self._longest_s = max(self._longest_s, view.duration_s)
        for modality, one in told.items():
            self._past(view, modality).add(view, {modality: one}, self._longest_s)
        self._setting.add(view, told, self._longest_s)

    def _past(self, view: WindowView, modality: Modality) -> _Past:
        return self._people.setdefault(owner(view, modality), _Past())


def know_each(
    views: Sequence[WindowView], told: Sequence[Told], given: Known = NOTHING
) -> Iterator[Known]:
    """What each window of a file is compared with: all windows that don't overlap it.

    Args:
        views: all windows, in order of time.
        told: of each.
        given: see `Acquaintance`.
    """
    past = Acquaintance(given)
    windows = list(zip(views, told, strict=True))
    longest_s = max((view.duration_s for view in views), default=0.0)
    people = {
        person: _Future(of_person(windows, person), longest_s)
        for person in {owner(view, modality) for view in views for modality in Modality}
    }
    setting = _Future(windows, longest_s)
    for view, channels in windows:
        later = {
            modality: usual
            for modality in Modality
            for usual in [people[owner(view, modality)].after(view.end_s).get(modality)]
            if usual is not None
        }
        yield _add(past.known(view), later, setting.after(view.end_s))
        past.add(view, channels)


def of_person(
    windows: Sequence[tuple[WindowView, Told]], person: int | None
) -> list[tuple[WindowView, Told]]:
    """With the channels that are a person's."""
    return [
        (view, {m: one for m, one in told.items() if owner(view, m) == person})
        for view, told in windows
        if any(owner(view, modality) == person for modality in told)
    ]


def _add(known: Known, person: Baseline, setting: Baseline) -> Known:
    return Known(pool((known.person, person)), pool((known.setting, setting)))


def lead(people: Collection[int | None]) -> int | None:
    """Who leads in most windows, by their numbers; None where nobody is ever seen."""
    seen = [person for person in people if person is not None]
    return max(sorted(set(seen)), key=seen.count, default=None)


def usual_of(windows: Iterable[tuple[WindowView, Told]]) -> Baseline:
    """What is usual in windows of a file, in order of time."""
    chosen = list(windows)
    past, longest_s = _Past(), max((view.duration_s for view, _ in chosen), default=0.0)
    for view, told in chosen:
        past.add(view, told, longest_s)
    return past.before(np.inf)


class _Cover:
    """How many seconds of each window in turn none before it covers."""

    def __init__(self) -> None:
        self._end_s = -np.inf

    def add(self, start_s: float, end_s: float) -> float:
        """Of the next window; they come in order of their ends."""
        new_s = max(end_s - max(start_s, self._end_s), 0.0)
        self._end_s = max(self._end_s, end_s)
        return new_s


class _Sums:
    """Of one channel: Σ weight, Σ weight · embedding, Σ weight · probabilities."""

    def __init__(self, dim: int) -> None:
        self._weight = 0.0
        self._mean = np.zeros(dim)
        self._probs = np.zeros(NUM_EMOTIONS)

    def add(self, weight: float, mean: FloatArray | DoubleArray, probs: DoubleArray) -> None:
        self._weight += weight
        self._mean += weight * mean.astype(np.float64)
        self._probs += weight * probs

    def usual(self) -> Usual:
        return Usual(self._weight, self._mean / self._weight, self._probs / self._weight)


@dataclass(slots=True, eq=False)
class _Part:
    """A channel of a window, and how many windows it counts for."""

    start_s: float
    end_s: float
    weight: float
    embedding: FloatArray
    probs: DoubleArray


class _Past:
    """Windows as they come: what is usual in those that end before a time."""

    def __init__(self) -> None:
        self._covers: dict[Modality, _Cover] = {}
        self._sums: dict[Modality, _Sums] = {}
        self._waiting: dict[Modality, deque[_Part]] = {}

    def add(self, view: WindowView, told: Told, longest_s: float) -> None:
        for modality, (embedding, probs) in told.items():
            new_s = self._covers.setdefault(modality, _Cover()).add(view.start_s, view.end_s)
            if new_s > 0:
                weight = new_s / longest_s
                part = _Part(view.start_s, view.end_s, weight, embedding, probs)
                self._waiting.setdefault(modality, deque()).append(part)

    def before(self, time_s: float) -> Baseline:
        for modality, parts in self._waiting.items():
            while parts and parts[0].end_s <= time_s + _EPSILON_S:
                part = parts.popleft()
                sums = self._sums.setdefault(modality, _Sums(part.embedding.size))
                sums.add(part.weight, part.embedding, part.probs)
        return {modality: sums.usual() for modality, sums in self._sums.items()}


class _Future:
    """All windows of a file: what is usual in those that start after a time, which only grows.

    They count from the end on, as they would if there were none before.
    """

    def __init__(self, windows: Sequence[tuple[WindowView, Told]], longest_s: float) -> None:
        self._sums: dict[Modality, _Sums] = {}
        self._parts: dict[Modality, list[_Part]] = {}  # the next one last
        covers: dict[Modality, _Cover] = {}
        for view, told in reversed(windows):
            for modality, (embedding, probs) in told.items():
                new_s = covers.setdefault(modality, _Cover()).add(-view.end_s, -view.start_s)
                if new_s > 0:
                    weight = new_s / longest_s
                    part = _Part(view.start_s, view.end_s, weight, embedding, probs)
                    self._parts.setdefault(modality, []).append(part)
                    sums = self._sums.setdefault(modality, _Sums(embedding.size))
                    sums.add(weight, embedding, probs)

    def after(self, time_s: float) -> Baseline:
        for modality, parts in self._parts.items():
            while parts and parts[-1].start_s < time_s - _EPSILON_S:
                part = parts.pop()
                self._sums[modality].add(-part.weight, part.embedding, part.probs)
        return {m: self._sums[m].usual() for m, parts in self._parts.items() if parts}
