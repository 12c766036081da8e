"""Two reports side by side: where they say the same, where not, and what is different about them.

Both are laid on one clock, cut where a moment of either begins or ends. Times count, not windows,
so that reports of windows of different lengths can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.agreement.figures import cohen_kappa
from facevoice.errors import ReportError
from facevoice.records import EMOTIONS, NOTICE, VERSION, Moment, Outcome, Report, Trace
from facevoice.report.page import PAGE_SCRIPTS, fill_page, script_of, to_view, write_page
from facevoice.report.words import (
    describe_known,
    describe_moment,
    duration_words,
    names_of,
    summarize_in_words,
)
from facevoice.review import ANSWERED
from facevoice.texts import clock, shown

_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "outcome": tuple(Outcome),
    "face": EMOTIONS,
    "voice": EMOTIONS,
}
# Ends of files differ by less where one is only recoded.
_LEAST_S: Final = 0.05
_MOST_TOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One of two reports: what to call it, and what was seen and heard, if that is known."""

    name: str
    report: Report
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A stretch in which the outcomes differ, and what each says of it."""

    start_s: float
    end_s: float
    outcomes: tuple[Outcome, Outcome]
    words: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ChannelAgreement:
    """How far both agree on "outcome", "face" or "voice", over the time in which both say one.

    same: share of that time, kappa: Cohen's, weighted by time; None where nothing is compared, or
    all is one.
    """

    channel: str
    seconds: float
    same: float | None
    kappa: float | None


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two reports, how far they agree, where outcomes differ, and what else does, in sentences."""

    sides: tuple[Side, Side]
    channels: tuple[ChannelAgreement, ...]
    differences: tuple[Difference, ...]
    remarks: tuple[str, ...]


def lay_side_by_side(first: Side, second: Side) -> SideBySide:
    """Lay two reports on one clock.

    Raises:
        ReportError: one of them says nothing, as its file could not be analysed.
    """
    for side in (first, second):
        if not side.report.moments:
            raise ReportError(f"{side.name}: {summarize_in_words(side.report)}")
    stretches = list(_stretches(first.report, second.report))
    return SideBySide(
        (first, second),
        tuple(_agreement(channel, stretches) for channel in ANSWERED),
        tuple(_differences(first.report, second.report, stretches)),
        tuple(_remarks(first, second)),
    )


def describe_side_by_side(found: SideBySide) -> str:
    """What a comparison says, in plain words.

    "The outcomes are the same for 82% of 1 min 50 s (kappa 0.71). They differ in 3 places, …"
    """
    told = [_channel_words(one) for one in found.channels]
    places = len(found.differences)
    if places:
        times = "once" if places == 1 else f"in {places:,} places"
        longest = sorted(found.differences, key=lambda one: one.start_s - one.end_s)[:_MOST_TOLD]
        listed = "; ".join(
            f"{_span(one)} {one.outcomes[0].value} against {one.outcomes[1].value}"
            for one in sorted(longest, key=lambda one: one.start_s)
        )
        longer = "the longest: " if places > _MOST_TOLD else ""
        told.append(f"The outcomes differ {times}, {longer}{listed}.")
    return " ".join(told)


def to_values(found: SideBySide) -> dict[str, Any]:
    """A comparison as plain values."""
    return {
        "reports": [side.name for side in found.sides],
        "sentence": describe_side_by_side(found),
        "agreement": [
            {
                "channel": one.channel,
                "seconds": round(one.seconds, 3),
                "same": None if one.same is None else round(one.same, 6),
                "kappa": None if one.kappa is None else round(one.kappa, 6),
            }
            for one in found.channels
        ],
        "differences": [
            {
                "start_s": round(one.start_s, 6),
                "end_s": round(one.end_s, 6),
                "outcomes": [outcome.value for outcome in one.outcomes],
            }
            for one in found.differences
        ],
        "remarks": list(found.remarks),
    }


def to_side_by_side_page(found: SideBySide) -> str:
    """Both timelines on one clock, what differs, and both answers to any time, as one page."""
    first, second = (shown(side.name) for side in found.sides)
    view = {
        "title": f"{first} beside {second}",
        "version": VERSION,
        "notice": NOTICE,
        "sentence": describe_side_by_side(found),
        **{key: value for key, value in to_values(found).items() if key != "sentence"},
        "differences": [
            {
                "from": round(one.start_s, 3),
                "to": round(one.end_s, 3),
                "outcomes": [list(Outcome).index(outcome) for outcome in one.outcomes],
                "words": list(one.words),
            }
            for one in found.differences
        ],
        "sides": [
            {
                "name": shown(side.name),
                "sentence": summarize_in_words(side.report),
                "view": to_view(side.report, side.trace),
            }
            for side in found.sides
        ],
    }
    scripts = (*PAGE_SCRIPTS, "compare.js")
    return fill_page(view, "mountComparison", script_of(scripts), ("compare.css",))


def write_side_by_side_page(found: SideBySide, out: Path, *, overwrite: bool = False) -> None:
    """Write the page, all of it or nothing.

    Raises:
        ConfigError: another file, which no facevoice wrote, is there, or it can't be written.
    """
    write_page(to_side_by_side_page(found), out, overwrite=overwrite)


_Stretch = tuple[float, float, Moment, Moment]


def _stretches(first: Report, second: Report) -> Iterator[_Stretch]:
    """The time that both cover, cut wherever a moment of either begins or ends."""
    mine, theirs = iter(first.moments), iter(second.moments)
    one, other = next(mine, None), next(theirs, None)
    while one is not None and other is not None:
        start_s, end_s = max(one.start_s, other.start_s), min(one.end_s, other.end_s)
        if end_s - start_s > 1e-9:
            yield start_s, end_s, one, other
        if one.end_s <= other.end_s:
            one = next(mine, None)
        else:
            other = next(theirs, None)


def _agreement(channel: str, stretches: list[_Stretch]) -> ChannelAgreement:
    labels = _LABELS[channel]
    seconds = np.zeros((len(labels), len(labels)))
    for start_s, end_s, *moments in stretches:
        said = [getattr(moment, channel) for moment in moments]
        if None not in said:
            seconds[labels.index(said[0]), labels.index(said[1])] += end_s - start_s
    total = float(seconds.sum())
    same = float(np.trace(seconds)) / total if total else None
    return ChannelAgreement(channel, total, same, cohen_kappa(seconds))


def _differences(first: Report, second: Report, stretches: list[_Stretch]) -> Iterator[Difference]:
    """Stretches whose outcomes differ, joined where they follow each other."""
    names = names_of(first), names_of(second)
    open_one: Difference | None = None
    for start_s, end_s, one, other in stretches:
        outcomes = one.outcome, other.outcome
        if one.outcome is other.outcome or end_s - start_s < _LEAST_S:
            continue
        is_next = open_one is not None and abs(open_one.end_s - start_s) < _LEAST_S
        if open_one is not None and is_next and open_one.outcomes == outcomes:
            open_one = Difference(open_one.start_s, end_s, outcomes, open_one.words)
            continue
        if open_one is not None:
            yield open_one
        words = describe_moment(one, names[0]), describe_moment(other, names[1])
        open_one = Difference(start_s, end_s, outcomes, words)
    if open_one is not None:
        yield open_one


def _span(one: Difference) -> str:
    start, end = clock(one.start_s), clock(one.end_s)
    return f"{start}–{end}" if start != end else f"{one.start_s:.1f}–{one.end_s:.1f} s"


def _channel_words(one: ChannelAgreement) -> str:
    name = {"outcome": "outcomes are", "face": "face is", "voice": "voice is"}[one.channel]
    if one.same is None:
        return f"The {name} never told by both."
    kappa = "" if one.kappa is None else f" (kappa {one.kappa:.2f})"
    share = f"{round(100 * one.same)}% of {duration_words(one.seconds)}"
    return f"The {name} the same for {share}{kappa}."


def _remarks(first: Side, second: Side) -> Iterator[str]:
    """What is different about the reports themselves, in sentences."""
    one, other = first.report, second.report
    if None not in (one.sha256, other.sha256) and one.sha256 != other.sha256:
        yield "They are of different files: the same time may show something else."
    lengths = [0.0 if r.media is None else r.media.duration_s for r in (one, other)]
    lasting = [duration_words(length) for length in lengths]
    if lasting[0] != lasting[1]:
        yield f"They last {lasting[0]} and {lasting[1]}; only the time of both is compared."
    for role in sorted({*one.models, *other.models}):
        models = [report.models.get(role) for report in (one, other)]
        if models[0] != models[1]:
            told = " against ".join("none" if m is None else shown(m.name) for m in models)
            same_name = " of other weights" if len({m and m.name for m in models}) == 1 else ""
            yield f"Another model is used for {role}: {told}{same_name}."
    yield from _setting_remarks(one, other)
    known = [describe_known(report.windows) for report in (one, other)]
    if known[0] != known[1]:
        told = " ".join(
            f"{shown(side.name)}: {words or 'nothing is compared.'}"
            for side, words in zip((first, second), known, strict=True)
        )
        yield f"Not as much is known of the person. {told}"
    if one.facevoice_version != other.facevoice_version:
        versions = f"{shown(one.facevoice_version)} and {shown(other.facevoice_version)}"
        yield f"They were made by facevoice {versions}."


def _setting_remarks(one: Report, other: Report) -> Iterator[str]:
    flat = [dict(_flat(report.config.to_dict())) for report in (one, other)]
    for name in sorted({*flat[0], *flat[1]}):
        values = [settings.get(name, "default") for settings in flat]
        if values[0] != values[1]:
            yield f"They differ in the setting {name}: {values[0]} against {values[1]}."


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
