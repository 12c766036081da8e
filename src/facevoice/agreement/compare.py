"""A report beside annotations by hand: which labels belong together, and how far they agree."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.agreement.figures import (
    cohen_kappa,
    confusion,
    kappa_interval,
    krippendorff_alpha,
)
from facevoice.errors import AnnotationError, ConfigError, ReportError
from facevoice.exchange import ANNOTATION_ENDINGS, Document, Span, Tier
from facevoice.interpret import summarize
from facevoice.records import EMOTIONS, IntArray, Moment, Outcome, Report
from facevoice.report import (
    called,
    end_of,
    find_reports,
    label_of,
    moment_rows,
    runs,
    stretches_by_person,
    to_document,
    window_rows,
)
from facevoice.review import SUFFIX
from facevoice.texts import shown

CHANNELS: Final = ("face", "voice", "fused", "outcome")
_EMOTION_LABELS: Final = tuple(emotion.value for emotion in EMOTIONS)
_OUTCOME_LABELS: Final = tuple(outcome.value for outcome in Outcome)
LABELS: Final = {
    **dict.fromkeys(CHANNELS[:3], _EMOTION_LABELS),
    "outcome": _OUTCOME_LABELS,
}
"""What each channel may be called."""

UNITS: Final = ("window", "moment", "interval")
"""What is compared: the stretch that a window stands for, a moment, or a stretch that people
marked."""

# What people call them, besides; of each, one word of ours.
_SYNONYMS: Final = {
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "afraid": "fearful",
    "disgusted": "disgust",
    "surprise": "surprised",
    "mismatch": "conflict",
    "congruent": "match",
    "incongruent": "conflict",
}
# BIDS calls what happens so.
_TIER_SYNONYMS: Final = {"trial_type": "outcome", "both": "fused"}
_NOTHING_READ: Final = Outcome.INSUFFICIENT.value
_LEAST_COVERED: Final = 0.5
# Annotation tools keep whole milliseconds.
_ROUNDING_S: Final = 0.002
_MAX_TOLD: Final = 12
# Where several are of one name, the first counts: a table beside a review is mostly our own.
_ENDINGS: Final = (SUFFIX, *ANNOTATION_ENDINGS)


@dataclass(frozen=True, slots=True)
class Mapping:
    """What people's names mean here.

    tiers: {name of a tier: "face", or "face@Anna" of one of several people}; of a channel that one
    is named for, no other tier is taken;
    labels: {label: a word of `LABELS`, or "" to leave it out}, of people and of the report alike.
    """

    tiers: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what names no channel or no word.

        Raises:
            ConfigError: see above.
        """
        known = {*_EMOTION_LABELS, *_OUTCOME_LABELS, ""}
        for name, channel in self.tiers.items():
            if channel.partition("@")[0] not in CHANNELS:
                raise ConfigError(
                    f"--tier {shown(name)}={shown(channel)}: choose one of {', '.join(CHANNELS)}"
                )
        for label, word in self.labels.items():
            if word not in known:
                raise ConfigError(
                    f"--label {shown(label)}={shown(word)}: choose one of "
                    f"{', '.join((*_EMOTION_LABELS, *_OUTCOME_LABELS))}, or nothing to leave it out"
                )

    def word(self, label: str) -> str:
        """The word for a label of people's."""
        plain = _fold(label)
        own = {_fold(name): word for name, word in self.labels.items()}
        if plain in own:
            return own[plain]
        word = _SYNONYMS.get(plain, plain)
        return own.get(word, word)


@dataclass(frozen=True, slots=True)
class Case:
    """A recording: its report, and what each annotator says of it (None: nothing)."""

    name: str
    report: Report
    documents: tuple[Document | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One annotator and the report on one channel.

    unit: of `UNITS`; num_units: compared; num_unread: marked by people, but nothing is read there;
    num_unmarked: read, but not marked for half of their length;
    agreed: share that has the same label; kappa: Cohen's, alpha: Krippendorff's, None where all
    labels are one; low, high: 95 % interval of kappa, None where too few stretches are marked;
    labels: those that occur; counts (K, K): rows people, columns the report.
    """

    annotator: str
    channel: str
    unit: str
    num_units: int
    num_unread: int
    num_unmarked: int
    agreed: float | None
    kappa: float | None
    low: float | None
    high: float | None
    alpha: float | None
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Among:
    """Several annotators on one channel, by window.

    num_units: that at least two people mark; alpha: among the people; alpha_with_report: the report
    as one more of them; kappas: of each two, (first, second, Cohen's kappa).
    """

    channel: str
    num_units: int
    alpha: float | None
    alpha_with_report: float | None
    kappas: tuple[tuple[str, str, float | None], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the timeline: by whom (None: the report), of whom, and what."""

    channel: str
    annotator: str | None
    person: str | None
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Both on one line of time."""

    name: str
    duration_s: float
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people and reports agree."""

    annotators: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    among: tuple[Among, ...]
    timelines: tuple[Timeline, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A stretch to compare; said: by the report, of each channel, in the mapping's words."""

    start_s: float
    end_s: float
    person: str | None
    said: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class _Marked:
    """What an annotator says of a channel, of one person or (None) of whoever is there."""

    channel: str
    person: str | None
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Labels of units that are compared, by each annotator (-1: none) and by the report.

    people (A, n), report (n,): places in `LABELS`; clusters (A, n): which marked stretch, -1.
    """

    people: IntArray
    report: IntArray
    clusters: IntArray


def pair_up(report: Path, annotations: Sequence[Path]) -> list[tuple[Path, list[Path | None]]]:
    """Reports, each with its file of every annotator: files, or files of one name in folders.

    Of the reports' own folder, reviews only: what else lies there is facevoice's own.

    Raises:
        ConfigError: a file and a folder are mixed, or no names are the same.
    """
    if not report.is_dir():
        for path in annotations:
            if path.is_dir():
                raise ConfigError(
                    f"{shown(str(path))}: is a folder, but {shown(str(report))} is one report; "
                    "name the annotation of that report, or the folder of the reports"
                )
        return [(report, [*annotations])]
    for path in annotations:
        if not path.is_dir():
            raise ConfigError(
                f"{shown(str(path))}: is a file, but {shown(str(report))} is a folder of reports; "
                "name a folder with an annotation for each of them"
            )
    by_name = [
        _by_hand_below(path, (SUFFIX,) if path.samefile(report) else _ENDINGS)
        for path in annotations
    ]
    found = []
    for path in find_reports(report):
        name = os.fspath(path.relative_to(report).with_suffix("")).casefold()
        own = [named.get(name) for named in by_name]
        if any(own):
            found.append((path, own))
    if not found:
        raise ConfigError(
            f"no report in {shown(str(report))} is called as an annotation in "
            f"{', '.join(shown(str(path)) for path in annotations)}; "
            "talk.json goes with talk.review.json, talk.eaf, talk.TextGrid, talk.csv or talk.tsv; "
            "of the reports' own folder only with talk.review.json, so keep annotations in another"
        )
    return found


def _by_hand_below(root: Path, endings: Sequence[str]) -> dict[str, Path]:
    found: dict[str, tuple[str, Path]] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            ending = next((one for one in endings if name.lower().endswith(one)), None)
            if ending is None or name.startswith("."):
                continue
            key = os.fspath(path.relative_to(root)).casefold().removesuffix(ending)
            if key not in found or endings.index(ending) < endings.index(found[key][0]):
                found[key] = ending, path
    return {key: path for key, (_, path) in found.items()}


def compare(cases: Sequence[Case], annotators: Sequence[str], mapping: Mapping) -> Agreement:
    """How far each annotator, and all together, agree with the reports.

    Args:
        cases: recordings, with as many documents each as there are annotators.
        annotators: what they are called.
        mapping: what their names of tiers and labels mean.

    Raises:
        AnnotationError: a tier or label means nothing here, or times have nothing in common.
        ReportError: nothing was read of any recording.
        ConfigError: the mapping names a tier that isn't there.
    """
    _check_mapped(cases, mapping)
    unread = [case.name for case in cases if not case.report.windows]
    cases = [case for case in cases if case.report.windows]
    if not cases:
        raise ReportError(f"{shown(unread[0])}: nothing was read, so there is nothing to compare")
    marked = [[_marked(case, one, mapping) for one in case.documents] for case in cases]
    units: dict[str, list[list[_Unit]]] = {
        "window": [_mapped(_windows(case.report), mapping) for case in cases],
        "moment": [_mapped(_moments(case.report), mapping) for case in cases],
    }
    for case, own, windows in zip(cases, marked, units["window"], strict=True):
        _check_overlap(case, own, windows)
    comparisons = _comparisons(annotators, marked, units)
    among = [
        told
        for channel in CHANNELS
        if len(annotators) > 1
        and (told := _among(channel, annotators, _by_unit(units["window"], marked, channel)))
    ]
    remarks = [f"{shown(name)}: nothing was read, so it is left out" for name in unread]
    remarks += [
        f"{shown(Path(one.source).name)}: {remark}"
        for case in cases
        for one in case.documents
        if one is not None
        for remark in (*one.remarks, *_own_words(case, one, mapping))
    ]
    return Agreement(
        tuple(annotators),
        tuple(comparisons),
        tuple(among),
        tuple(_timeline(c, own, annotators) for c, own in zip(cases, marked, strict=True)),
        tuple(remarks),
    )


def _comparisons(
    annotators: Sequence[str],
    marked: Sequence[Sequence[list[_Marked]]],
    units: dict[str, list[list[_Unit]]],
) -> Iterator[Comparison]:
    """Of each channel, with each annotator who marks it, by each unit."""
    for channel in CHANNELS:
        for place, annotator in enumerate(annotators):
            own = [by[place] for by in marked]
            if not any(one.channel == channel for by in own for one in by):
                continue
            for unit in UNITS:
                if unit == "interval":
                    pairs = _by_interval(units["window"], own, channel)
                else:
                    pairs = _by_unit(units[unit], [[by] for by in own], channel)
                yield _compare(annotator, channel, unit, pairs)


def _own_words(case: Case, document: Document, mapping: Mapping) -> Iterator[str]:
    """What is to be said of an annotation that nobody has changed."""
    if document.source.endswith(SUFFIX):
        return  # Who calls everything right has said so.
    theirs = _said(document, mapping)
    if any(_are_same(theirs, own) for own in _own_files(case.report, mapping)):
        yield (
            "says exactly what the report does: it is facevoice's own file, which nobody has "
            "corrected, so this is no agreement with people"
        )


_Said = dict[str, list[tuple[float, float, str]]]
"""Of each channel the stretches and their labels, in order, whoever they are about."""


def _said(document: Document, mapping: Mapping) -> _Said:
    found: _Said = {}
    for tier, channel, _ in _taken(document, mapping):
        own = [(span.start_s, span.end_s, span.label) for span in tier.spans]
        found[channel] = sorted(found.get(channel, []) + own)
    return found


def _own_files(report: Report, mapping: Mapping) -> Iterator[_Said]:
    """What facevoice writes: tiers (eaf, textgrid), windows (csv) and moments (events)."""
    yield _said(to_document(report), mapping)
    for rows in ([*window_rows(report)], [*moment_rows(report)]):
        yield {
            channel: sorted(
                (row["start_s"], row["end_s"], row[channel])
                for row in rows
                if row.get(channel) is not None
            )
            for channel in CHANNELS
        }


def _are_same(theirs: _Said, own: _Said) -> bool:
    """Whether all that is marked is the same; own files may tell of more channels."""
    return bool(theirs) and all(
        len(spans) == len(own.get(channel, ()))
        and all(
            a[2] == b[2] and max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= _ROUNDING_S
            for a, b in zip(spans, own[channel], strict=True)
        )
        for channel, spans in theirs.items()
    )


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _check_mapped(cases: Sequence[Case], mapping: Mapping) -> None:
    there = {
        _fold(tier.name)
        for case in cases
        for one in case.documents
        if one is not None
        for tier in one.tiers
    }
    for name in mapping.tiers:
        if _fold(name) not in there:
            raise ConfigError(
                f"--tier {shown(name)}=…: no annotation has a tier of that name; "
                f"there are {_listed(sorted(there))}"
            )


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(repr(shown(name)) for name in names[:_MAX_TOLD])
    return f"{told}, …" if len(names) > _MAX_TOLD else told or "none"


def _marked(case: Case, document: Document | None, mapping: Mapping) -> list[_Marked]:
    """What a document says of each channel, in our words."""
    if document is None:
        return []
    path, names = Path(document.source), [*called(case.report).values()]
    found: list[_Marked] = []
    unknown: Counter[tuple[str, str]] = Counter()
    for tier, channel, person in _taken(document, mapping):
        if len(names) > 1 and person is not None and person not in names:
            raise AnnotationError(
                path,
                f"tier {tier.name!r} is about {person!r}, but the report knows {_listed(names)}.",
                f"Say who it is: --tier '{tier.name}={channel}@{names[0]}'.",
            )
        spans = []
        for span in tier.spans:
            word = mapping.word(span.label)
            if word == _NOTHING_READ:
                continue
            if word in LABELS[channel]:
                spans.append(Span(span.start_s, span.end_s, word))
            elif word:
                unknown[channel, span.label] += 1
        found.append(_Marked(channel, person, tuple(spans)))
    if unknown:
        raise _unknown_labels(path, unknown)
    if not any(tier.spans for tier in document.tiers):
        raise AnnotationError(
            path,
            f"holds no labels: nothing was marked on {_listed([t.name for t in document.tiers])}.",
            "Annotate it and save it first.",
        )
    if not found:
        raise AnnotationError(
            path,
            f"has no tier or column that is called {', '.join(CHANNELS[:-1])} or outcome and holds "
            f"labels; there are {_listed([tier.name for tier in document.tiers])}.",
            "Say which is which, such as --tier NAME=face.",
        )
    return found if len(names) > 1 else _of_one(path, found)


def _of_one(path: Path, marked: list[_Marked]) -> list[_Marked]:
    """The same, whoever it is about, where the report knows one person or none."""
    for channel in CHANNELS:
        people = sorted({one.person for one in marked if one.channel == channel and one.person})
        if len(people) > 1:
            raise AnnotationError(
                path,
                f"tells of {_listed(people)} on {channel}, but the report knows one person.",
                f"Say which tier to take: --tier NAME={channel}.",
            )
    return [_Marked(one.channel, None, one.spans) for one in marked]


def _taken(document: Document, mapping: Mapping) -> Iterator[tuple[Tier, str, str | None]]:
    """The tiers that are compared, with their channels and whom they are about."""
    own = {_fold(name): channel for name, channel in mapping.tiers.items()}
    there = [tier for tier in document.tiers if tier.spans]
    named = {own[_fold(t.name)].partition("@")[0] for t in there if _fold(t.name) in own}
    for tier in there:
        if _fold(tier.name) in own:
            channel, _, person = own[_fold(tier.name)].partition("@")
            yield tier, channel, person or tier.person
            continue
        name, _, person = tier.name.partition("@")
        channel = _TIER_SYNONYMS.get(_fold(name), _fold(name))
        if channel in CHANNELS and channel not in named:
            yield tier, channel, tier.person or person or None


def _unknown_labels(path: Path, unknown: Counter[tuple[str, str]]) -> AnnotationError:
    told = "; ".join(
        f"{channel}: {shown(label)[:40]!r} ({number}×)"
        for (channel, label), number in unknown.most_common(_MAX_TOLD)
    )
    (channel, label), _ = unknown.most_common(1)[0]
    rest = f"; and {len(unknown) - _MAX_TOLD} more" if len(unknown) > _MAX_TOLD else ""
    return AnnotationError(
        path,
        f"has labels that mean nothing here: {told}{rest}.",
        f"Known are {', '.join(LABELS[channel])}. Say which of them yours means: "
        f"--label '{shown(label)[:40]}=WORD', or leave it out: --label '{shown(label)[:40]}='.",
    )


def _windows(report: Report) -> Iterator[_Unit]:
    for name, own in stretches_by_person(report).items():
        for one in own:
            said = {channel: label_of(one.window, channel) for channel in CHANNELS}
            yield _Unit(one.start_s, one.end_s, name, said)


def _moments(report: Report) -> Iterator[_Unit]:
    names = called(report)
    for moment in report.moments:
        said = {
            "face": None if moment.face is None else moment.face.value,
            "voice": None if moment.voice is None else moment.voice.value,
            "fused": _fused(report, moment),
            "outcome": moment.outcome.value,
        }
        yield _Unit(moment.start_s, moment.end_s, names.get(moment.person or 0), said)


def _fused(report: Report, moment: Moment) -> str | None:
    windows = report.windows[moment.first : moment.last + 1]
    return label_of(summarize(windows, report.point), "fused")


def _mapped(units: Iterable[_Unit], mapping: Mapping) -> list[_Unit]:
    """With the same words that people's labels are given; what can't be read has none."""
    return [
        _Unit(
            one.start_s,
            one.end_s,
            one.person,
            {channel: _mapped_word(label, channel, mapping) for channel, label in one.said.items()},
        )
        for one in units
        if one.end_s > one.start_s
    ]


def _mapped_word(label: str | None, channel: str, mapping: Mapping) -> str | None:
    if label in (None, _NOTHING_READ):
        return None
    word = mapping.word(label)
    # A word that is meant for another channel, such as "flat" for a face, changes nothing here.
    return (word or None) if word in ("", *LABELS[channel]) else label


def _check_overlap(case: Case, marked: Sequence[list[_Marked]], units: Sequence[_Unit]) -> None:
    """Refuse an annotation that lies elsewhere, as one in other units of time does."""
    end_s = max((unit.end_s for unit in units), default=0.0)
    for own, document in zip(marked, case.documents, strict=True):
        spans = [span for one in own for span in one.spans]
        if document is None or not spans:
            continue
        first_s = min(span.start_s for span in spans)
        last_s = max(span.end_s for span in spans)
        if first_s < end_s:
            continue
        raise AnnotationError(
            document.source,
            f"goes from {first_s:g} to {last_s:g} s, but {shown(case.name)} ends at {end_s:g} s.",
            "Is it another recording's, or are its times in milliseconds?",
        )


class _Finder:
    """Finds the label of most of a stretch among spans that may overlap."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans, key=lambda span: span.start_s)
        self._starts = [span.start_s for span in self._spans]
        self._longest_s = max((s.end_s - s.start_s for s in self._spans), default=0.0)

    def find(self, start_s: float, end_s: float) -> tuple[str, int] | None:
        """The label, and the place of the span that holds most; None where half has no label."""
        seconds: dict[str, float] = {}
        best: dict[str, tuple[float, int]] = {}
        first = bisect_left(self._starts, start_s - self._longest_s)
        for place in range(first, bisect_left(self._starts, end_s)):
            span = self._spans[place]
            common_s = min(span.end_s, end_s) - max(span.start_s, start_s)
            if common_s > 0:
                seconds[span.label] = seconds.get(span.label, 0.0) + common_s
                best[span.label] = max(best.get(span.label, (0.0, 0)), (common_s, place))
        if not seconds:
            return None
        if sum(seconds.values()) < _LEAST_COVERED * (end_s - start_s) - _ROUNDING_S:
            return None
        label = max(seconds, key=lambda one: seconds[one])
        return label, best[label][1]


def _finders(marked: Sequence[_Marked], channel: str) -> Callable[[str | None], _Finder | None]:
    """For a person, what is marked of them and of whoever is there."""
    own = [one for one in marked if one.channel == channel]
    made: dict[str | None, _Finder | None] = {}

    def get(person: str | None) -> _Finder | None:
        if person not in made:
            spans = [s for one in own if one.person in (None, person) for s in one.spans]
            made[person] = _Finder(spans) if spans else None
        return made[person]

    return get


def _by_unit(
    units: Sequence[Sequence[_Unit]], marked: Sequence[Sequence[list[_Marked]]], channel: str
) -> _Pairs:
    """Labels of all units of all cases; marked: of each case, by each annotator."""
    places = {label: place for place, label in enumerate(LABELS[channel])}
    report: list[int] = []
    people: list[list[int]] = []
    clusters: list[list[int]] = []
    numbers: dict[tuple[int, str | None, int], int] = {}
    for number, (own, by) in enumerate(zip(units, marked, strict=True)):
        finders = [_finders(one, channel) for one in by]
        for unit in own:
            said = unit.said[channel]
            report.append(-1 if said is None else places[said])
            labels, stretches = [], []
            for finder in finders:
                held = finder(unit.person)
                found = None if held is None else held.find(unit.start_s, unit.end_s)
                labels.append(-1 if found is None else places[found[0]])
                key = None if found is None else (number, unit.person, found[1])
                stretches.append(-1 if key is None else numbers.setdefault(key, len(numbers)))
            people.append(labels)
            clusters.append(stretches)
    return _pairs(people, report, clusters)


def _by_interval(
    units: Sequence[Sequence[_Unit]], marked: Sequence[list[_Marked]], channel: str
) -> _Pairs:
    """The same of the stretches that people marked: what the report says for most of each."""
    places = {label: place for place, label in enumerate(LABELS[channel])}
    report, people = [], []
    for own, by in zip(units, marked, strict=True):
        for one in by:
            if one.channel != channel:
                continue
            finder = _Finder(
                Span(unit.start_s, unit.end_s, unit.said[channel] or "")
                for unit in own
                if unit.said[channel] is not None and one.person in (None, unit.person)
            )
            for span in one.spans:
                found = finder.find(span.start_s, span.end_s)
                report.append(-1 if found is None else places[found[0]])
                people.append([places[span.label]])
    return _pairs(people, report, [[place] for place in range(len(people))])


def _pairs(people: list[list[int]], report: list[int], clusters: list[list[int]]) -> _Pairs:
    width = len(people[0]) if people else 1
    return _Pairs(
        np.array(people, np.int64).reshape(-1, width).T,
        np.array(report, np.int64),
        np.array(clusters, np.int64).reshape(-1, width).T,
    )


def _compare(annotator: str, channel: str, unit: str, pairs: _Pairs) -> Comparison:
    people, report = pairs.people[0], pairs.report
    both = (people >= 0) & (report >= 0)
    num_labels = len(LABELS[channel])
    first, second = people[both], report[both]
    counts = confusion(first, second, num_labels)
    _, clusters = np.unique(pairs.clusters[0][both], return_inverse=True)
    limits = kappa_interval(first, second, clusters.astype(np.int64), num_labels)
    there = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    return Comparison(
        annotator=annotator,
        channel=channel,
        unit=unit,
        num_units=int(both.sum()),
        num_unread=int(((people >= 0) & (report < 0)).sum()),
        num_unmarked=int(((people < 0) & (report >= 0)).sum()),
        agreed=float((first == second).mean()) if len(first) else None,
        kappa=cohen_kappa(counts),
        low=None if limits is None else limits[0],
        high=None if limits is None else limits[1],
        alpha=krippendorff_alpha(np.stack([first, second]), num_labels),
        labels=tuple(LABELS[channel][place] for place in there),
        counts=tuple(tuple(counts[row, there].tolist()) for row in there),
    )


def _among(channel: str, annotators: Sequence[str], pairs: _Pairs) -> Among | None:
    """None where fewer than two mark the channel."""
    num_labels = len(LABELS[channel])
    marking = [place for place in range(len(annotators)) if (pairs.people[place] >= 0).any()]
    if len(marking) < 2:
        return None
    kappas = []
    for a, b in combinations(marking, 2):
        both = (pairs.people[a] >= 0) & (pairs.people[b] >= 0)
        counts = confusion(pairs.people[a][both], pairs.people[b][both], num_labels)
        kappas.append((annotators[a], annotators[b], cohen_kappa(counts)))
    people = pairs.people[marking]
    return Among(
        channel=channel,
        num_units=int(((people >= 0).sum(axis=0) > 1).sum()),
        alpha=krippendorff_alpha(people, num_labels),
        alpha_with_report=krippendorff_alpha(np.vstack([people, pairs.report]), num_labels),
        kappas=tuple(kappas),
    )


def _timeline(case: Case, marked: Sequence[list[_Marked]], annotators: Sequence[str]) -> Timeline:
    rows: list[Row] = []
    there = {one.channel for own in marked for one in own}
    by_person = stretches_by_person(case.report)
    for channel in CHANNELS:
        if channel not in there:
            continue
        for annotator, own in zip(annotators, marked, strict=True):
            rows += [
                Row(channel, annotator, one.person, one.spans)
                for one in own
                if one.channel == channel
            ]
        rows += [
            Row(channel, None, name, tuple(runs(own, channel))) for name, own in by_person.items()
        ]
    ends_s = [span.end_s for row in rows for span in row.spans]
    return Timeline(case.name, max([end_of(case.report), *ends_s]), tuple(rows))
