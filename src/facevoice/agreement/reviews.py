"""A review as an annotation: what a person says of the moments that they judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from facevoice.errors import AnnotationError
from facevoice.exchange import Document, Span, Tier, read_annotation
from facevoice.records import Moment, Report
from facevoice.report import called, count_noun, end_of
from facevoice.review import ANSWERED, SUFFIX, Review, Verdict, read_review, remarks


def read_by_hand(path: Path, report: Report) -> Document:
    """What people say of a report: an annotation, or a review of it.

    Raises:
        AnnotationError: it can't be read as an annotation, or says nothing that can be compared.
        ReviewError: it is called as a review, and is none of this report.
    """
    if not path.name.endswith(SUFFIX):
        return read_annotation(path)
    return _of_review(read_review(path, report), report, path)


def _of_review(review: Review, report: Report, path: Path) -> Document:
    """The person's word on each moment that they call right or wrong, as far as they tell it."""
    placed = zip(report.moments, review.placed(report), strict=True)
    judged = [(m, v) for m, v in placed if v is not None and v.is_right is not None]
    if not judged:
        raise AnnotationError(
            path,
            "calls no moment of this report right or wrong.",
            "Judge some on its page; see docs/review.md.",
        )
    names = called(report)
    tiers: list[Tier] = []
    for number in dict.fromkeys(moment.person for moment, _ in judged):
        own = [one for one in judged if one[0].person == number]
        tiers += _tiers(own, names.get(number or 0))
    if not any(tier.spans for tier in tiers):
        raise AnnotationError(
            path,
            f"calls {count_noun(len(judged), 'moment')} wrong without saying what is right; "
            "nothing can be compared.",
            "Correct them on the report's page; see docs/review.md.",
        )
    return Document(
        tuple(tiers),
        str(path),
        end_of(report),
        report.path,
        (*remarks(review, report), *_remarks(judged, report)),
    )


def _tiers(judged: list[tuple[Moment, Verdict]], name: str | None) -> Iterator[Tier]:
    for channel in ANSWERED:
        told = ((moment, getattr(verdict.reviewed, channel)) for moment, verdict in judged)
        yield Tier(
            channel,
            tuple(Span(m.start_s, m.end_s, word.value) for m, word in told if word is not None),
            name,
        )


def _remarks(judged: list[tuple[Moment, Verdict]], report: Report) -> Iterator[str]:
    moments = count_noun(len(report.moments), "moment")
    yield (
        f"judges {len(judged):,} of {moments}; whoever does so has seen facevoice's answer, so the "
        "agreement is flattered"
    )
    untold = sum(v.is_right is False and v.corrected.outcome is None for _, v in judged)
    if untold:
        were = "moment that is called wrong has" if untold == 1 else "moments called wrong have"
        yield (
            f"{untold:,} {were} no corrected outcome; what nobody says can't be compared, which "
            "flatters too"
        )
