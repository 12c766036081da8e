"""What people say of a report: right or wrong, what it really is, and notes; kept beside it.

A review never changes an answer. It lies beside the report as `NAME.review.json`, is bound to the
analysis that was looked at by a fingerprint, and stands beside the answers wherever they are shown.
Verdicts belong to stretches of time: at another sensitivity, those whose moment is still there
stay, and the others are told, not lost.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, Final

import msgspec

from facevoice.codec import MAX_DURATION_S, MAX_NUMBER, require_that
from facevoice.errors import ReviewError
from facevoice.files import write_atomically
from facevoice.plain import parse_json, read_bounded
from facevoice.records import VERSION, Emotion, Moment, Outcome, Report, top_emotion
from facevoice.texts import clock, safe_json, shown

SUFFIX: Final = ".review.json"
"""Ends the name of every review: talk.review.json lies beside talk.json or talk.mp4."""
SCHEMA: Final = "facevoice.review"
SCHEMA_VERSION: Final = 1
# Pages tell times in thousandths.
_SAME_S: Final = 0.002
_DIGITS: Final = 6
_MAX_VERDICTS: Final = 100_000
_MAX_NOTE: Final = 10_000
_MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a moment, by facevoice or by a person; None where nothing is."""

    outcome: Outcome | None = None
    face: Emotion | None = None
    voice: Emotion | None = None


NO_ANSWER: Final = Answer()
ANSWERED: Final = tuple(one.name for one in fields(Answer))
"""What an answer tells of: outcome, face and voice."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person says of one moment.

    start_s, end_s, person: which moment, as in `Moment`; said: what facevoice said of it then;
    is_right: None where there is only a note, or nothing any more; corrected: what it really is,
    as far as the person tells, of a moment that is wrong; reviewer: their name; when: time in ISO
    8601, with its zone.
    """

    start_s: float
    end_s: float
    person: int | None
    said: Answer
    is_right: bool | None
    corrected: Answer = NO_ANSWER
    note: str = ""
    reviewer: str = ""
    when: str = ""

    @property
    def reviewed(self) -> Answer:
        """The person's word: what facevoice said if it is right, else the corrections."""
        return self.said if self.is_right else self.corrected

    @property
    def is_taken_back(self) -> bool:
        """Whether nothing is said any more; it stays, so that no older file brings it back."""
        return self.is_right is None and not self.note

    def is_of(self, moment: Moment) -> bool:
        """Whether the moment is the one that was judged, by its time and its person."""
        starts_alike = abs(self.start_s - moment.start_s) <= _SAME_S
        ends_alike = abs(self.end_s - moment.end_s) <= _SAME_S
        return starts_alike and ends_alike and self.person == moment.person

    def is_outdated(self, moment: Moment) -> bool:
        """Whether facevoice now says something else of the moment than what was judged."""
        return self.said != said_of(moment)


@dataclass(frozen=True, slots=True)
class Review:
    """The verdicts on one report, in order of time, at most one a moment.

    name, sha256, duration_s: of the file; fingerprint: of the analysis, see `fingerprint_of`.
    """

    name: str
    sha256: str | None
    duration_s: float | None
    fingerprint: str
    verdicts: tuple[Verdict, ...] = ()

    @property
    def standing(self) -> tuple[Verdict, ...]:
        """The verdicts that weren't taken back."""
        return tuple(verdict for verdict in self.verdicts if not verdict.is_taken_back)

    def placed(self, report: Report) -> tuple[Verdict | None, ...]:
        """The verdict on each moment of a report, None where there is none."""
        by_start: dict[int, list[Verdict]] = {}
        for verdict in self.standing:
            by_start.setdefault(round(verdict.start_s), []).append(verdict)

        def of(moment: Moment) -> Verdict | None:
            second = round(moment.start_s)
            near = (v for k in (second, second - 1, second + 1) for v in by_start.get(k, ()))
            return next((verdict for verdict in near if verdict.is_of(moment)), None)

        return tuple(of(moment) for moment in report.moments)

    def strays(self, report: Report) -> tuple[Verdict, ...]:
        """Verdicts on moments that the report doesn't have."""
        placed = set(map(id, self.placed(report)))
        return tuple(verdict for verdict in self.standing if id(verdict) not in placed)

    def is_of(self, report: Report) -> bool:
        """Whether the very analysis was looked at, if perhaps at another sensitivity."""
        return self.fingerprint == fingerprint_of(report)


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """What reviews come to, of one report or of many.

    num_outdated: verdicts on answers that are others now, which count as neither right nor wrong;
    num_strays: verdicts on moments that are gone; corrections: {"outcome", "face" or "voice":
    {(said, corrected): how often}}, None where nothing was said.
    """

    num_reports: int = 0
    num_moments: int = 0
    num_judged: int = 0
    num_right: int = 0
    num_wrong: int = 0
    num_notes: int = 0
    num_outdated: int = 0
    num_strays: int = 0
    reviewers: tuple[str, ...] = ()
    corrections: Mapping[str, Mapping[tuple[str | None, str], int]] = field(default_factory=dict)

    @property
    def agreement(self) -> float | None:
        """The share that is right of the moments judged right or wrong; None of none."""
        judged = self.num_right + self.num_wrong
        return self.num_right / judged if judged else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values; corrections: {channel: [{said, corrected, count}]}."""
        values = asdict(replace(self, corrections={}))
        values["agreement"] = None if (share := self.agreement) is None else round(share, _DIGITS)
        values["reviewers"] = list(self.reviewers)
        values["corrections"] = {
            channel: [
                {"said": said, "corrected": corrected, "count": count}
                for (said, corrected), count in _most_first(found)
            ]
            for channel, found in self.corrections.items()
        }
        return values


def said_of(moment: Moment) -> Answer:
    """What facevoice says of a moment."""
    return Answer(moment.outcome, moment.face, moment.voice)


def fingerprint_of(report: Report) -> str:
    """32 hexadecimal digits: of the file, the models, and what was read in each window.

    The same at every sensitivity, and of a report that was written and read back.
    """
    windows = [
        [
            round(window.start_s, _DIGITS),
            round(window.end_s, _DIGITS),
            *(None if c is None else top_emotion(c)[0].value for c in (window.face, window.voice)),
        ]
        for window in report.windows
    ]
    models = {role: model.sha256 for role, model in sorted(report.models.items())}
    told = json.dumps([report.sha256 or _name(report), models, windows])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def empty_review(report: Report) -> Review:
    """A review of the report that says nothing yet."""
    duration_s = None if report.media is None else round(report.media.duration_s, _DIGITS)
    return Review(_name(report), report.sha256, duration_s, fingerprint_of(report))


def review_path(path: Path) -> Path:
    """Where the review of a report or a media file lies: beside it."""
    return path.with_name(f"{path.stem}{SUFFIX}")


def find_review(path: Path, report: Report) -> Review | None:
    """The review beside a report or media file; None where there is none.

    Raises:
        ReviewError: see `read_review`.
    """
    beside = review_path(path)
    return read_review(beside, report) if beside.is_file() else None


def read_review(path: str | Path, report: Report) -> Review:
    """Read a review of this report.

    Of another analysis of the same file it is read too: `Review.is_of` tells, and `Review.strays`
    what doesn't fit.

    Raises:
        ReviewError: the file can't be read, is no review, or is one of another file.
    """
    path = Path(path)
    try:
        return from_json(read_bounded(path), report)
    except OSError as error:
        raise ReviewError(path, f"can't be read ({error.strerror}).") from error
    except ValueError as error:
        raise ReviewError(path, f"{error}.", "See docs/review.md.") from error


def write_review(path: str | Path, review: Review) -> None:
    """Write a review, all of it or nothing; another one at its place is replaced.

    Raises:
        ReviewError: it can't be written, or another kind of file is there.
    """
    path = Path(path)
    try:
        if path.exists() and f'"{SCHEMA}"'.encode() not in read_bounded(path)[:1024]:
            raise ReviewError(path, "there is another file of that name, which is no review.")
        write_atomically(path, to_json(review) + "\n")
    except OSError as error:
        raise ReviewError(path, f"can't be written ({error.strerror}).") from error


def unite(reviews: Sequence[Review]) -> Review:
    """Reviews of one report as one: on each moment the latest verdict, one without a time first.

    Args:
        reviews: at least one.
    """
    latest: dict[tuple[float, float, int | None], Verdict] = {}
    every = (verdict for review in reviews for verdict in review.verdicts)
    for verdict in sorted(every, key=lambda one: _said_at_s(one.when)):
        start_s, end_s = round(verdict.start_s, 2), round(verdict.end_s, 2)
        latest[start_s, end_s, verdict.person] = verdict
    verdicts = sorted(latest.values(), key=lambda v: (v.start_s, v.end_s, v.person or 0))
    return replace(reviews[-1], verdicts=tuple(verdicts))


def _said_at_s(when: str) -> float:
    """Seconds since 1970, whatever the zone; before all others where no time is told."""
    return datetime.fromisoformat(when).timestamp() if when else -math.inf


def to_json(review: Review) -> str:
    """The review as JSON text without a closing line break."""
    return safe_json(json.dumps(to_values(review), ensure_ascii=False, indent=2))


def to_values(review: Review) -> dict[str, Any]:
    """The review as plain values: the document that lies beside the report."""
    file = {"name": review.name, "sha256": review.sha256, "duration_s": review.duration_s}
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "facevoice_version": VERSION,
        "file": file,
        "fingerprint": review.fingerprint,
        "verdicts": [asdict(verdict) for verdict in review.verdicts],
    }


def from_json(text: str | bytes, report: Report) -> Review:
    """Read a review of a report from JSON text.

    Raises:
        ValueError: it is none, or one of another file; says which.
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"is no review: no valid JSON ({error})") from error
    review = from_values(values)
    if None in (review.sha256, report.sha256):
        is_other = review.name != _name(report) and not review.is_of(report)
    else:
        is_other = review.sha256 != report.sha256
    if is_other:
        name = shown(review.name)
        other = "another file of that name" if name == _name(report) else name
        raise ValueError(f"is a review of {other}, not of this {_name(report)}")
    return review


def from_values(values: object) -> Review:
    """Read a review of plain values.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ValueError(f'is no review: "schema" is not "{SCHEMA}"')
    if values.get("schema_version") != SCHEMA_VERSION:
        version = str(values.get("schema_version"))[:20]
        raise ValueError(f"has schema version {version}, this facevoice reads {SCHEMA_VERSION}")
    try:
        known = msgspec.convert(values, _Document)
        _check(known)
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f"breaks the schema of reviews: {error}") from error
    verdicts = sorted(known.verdicts, key=lambda v: (v.start_s, v.end_s, v.person or 0))
    file = known.file
    return Review(file.name, file.sha256, file.duration_s, known.fingerprint, tuple(verdicts))


def remarks(review: Review, report: Report) -> tuple[str, ...]:
    """What people should know of a review beside this report, in sentences."""
    told = []
    if not review.is_of(report):
        told.append("The review was made of another analysis of this file.")
    strays = review.strays(report)
    if strays:
        verdicts = "1 verdict is" if len(strays) == 1 else f"{len(strays):,} verdicts are"
        told.append(f"{verdicts} on moments that are not in this report: {_spans(strays)}.")
    if outdated := [v for v, m in _pairs(review, report) if v.is_outdated(m)]:
        verdicts = "1 verdict" if len(outdated) == 1 else f"{len(outdated):,} verdicts"
        told.append(f"For {verdicts}, facevoice now says something else: {_spans(outdated)}.")
    return tuple(told)


def summarize(report: Report) -> ReviewSummary:
    """What the review of a report comes to; nothing judged where it has none."""
    review = report.review
    if review is None:
        return ReviewSummary(1, len(report.moments))
    pairs = _pairs(review, report)
    fresh = [verdict for verdict, moment in pairs if not verdict.is_outdated(moment)]
    return ReviewSummary(
        num_reports=1,
        num_moments=len(report.moments),
        num_judged=len(pairs),
        num_right=sum(verdict.is_right is True for verdict in fresh),
        num_wrong=sum(verdict.is_right is False for verdict in fresh),
        num_notes=sum(verdict.note != "" for verdict, _ in pairs),
        num_outdated=len(pairs) - len(fresh),
        num_strays=len(review.standing) - len(pairs),
        reviewers=tuple(sorted({v.reviewer for v in review.standing} - {""})),
        corrections={name: counts for name in ANSWERED if (counts := _corrected(fresh, name))},
    )


def join(summaries: Iterable[ReviewSummary]) -> ReviewSummary:
    """What the reviews of many reports come to."""
    all_of = list(summaries)
    corrections: dict[str, Counter[tuple[str | None, str]]] = {}
    for summary in all_of:
        for name, counts in summary.corrections.items():
            corrections.setdefault(name, Counter()).update(counts)

    def total(count: Callable[[ReviewSummary], int]) -> int:
        return sum(map(count, all_of))

    return ReviewSummary(
        num_reports=total(lambda s: s.num_reports),
        num_moments=total(lambda s: s.num_moments),
        num_judged=total(lambda s: s.num_judged),
        num_right=total(lambda s: s.num_right),
        num_wrong=total(lambda s: s.num_wrong),
        num_notes=total(lambda s: s.num_notes),
        num_outdated=total(lambda s: s.num_outdated),
        num_strays=total(lambda s: s.num_strays),
        reviewers=tuple(sorted({name for s in all_of for name in s.reviewers})),
        corrections={name: corrections[name] for name in ANSWERED if name in corrections},
    )


def describe(summary: ReviewSummary) -> str:
    """A summary in plain words.

    "3 of 11 moments reviewed (by Dr Keller): 2 right, 1 wrong, so 67% agreement. Outcome:
    conflict corrected to match once."
    """
    if not summary.num_judged and not summary.num_strays:
        return "Nothing was reviewed."
    by = f" (by {', '.join(map(shown, summary.reviewers))})" if summary.reviewers else ""
    moments = "moment" if summary.num_moments == 1 else "moments"
    text = f"{summary.num_judged:,} of {summary.num_moments:,} {moments} reviewed{by}"
    counts = [(summary.num_right, "right"), (summary.num_wrong, "wrong")]
    told = [f"{number:,} {word}" for number, word in counts if number]
    if summary.agreement is not None:
        told.append(f"so {round(100 * summary.agreement)}% agreement")
    parts = [f"{text}: {', '.join(told)}." if told else f"{text}."]
    for channel, found in summary.corrections.items():
        listed = [f"{a or 'nothing'} to {b} {_times(n)}" for (a, b), n in _most_first(found)]
        parts.append(f"{channel.capitalize()} corrected: {', '.join(listed)}.")
    if summary.num_notes:
        parts.append(
            "1 has a note." if summary.num_notes == 1 else f"{summary.num_notes:,} have a note."
        )
    return " ".join(parts)


def _corrected(verdicts: Sequence[Verdict], name: str) -> Counter[tuple[str | None, str]]:
    pairs = ((getattr(v.said, name), getattr(v.corrected, name)) for v in verdicts)
    return Counter(
        (None if said is None else said.value, corrected.value)
        for said, corrected in pairs
        if corrected is not None and corrected is not said
    )


def _pairs(review: Review, report: Report) -> list[tuple[Verdict, Moment]]:
    both = zip(review.placed(report), report.moments, strict=True)
    return [(verdict, moment) for verdict, moment in both if verdict is not None]


def _most_first(
    counts: Mapping[tuple[str | None, str], int],
) -> list[tuple[tuple[str | None, str], int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0][0] or "", one[0][1]))


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _spans(verdicts: Sequence[Verdict]) -> str:
    most = 5
    told = [f"{clock(v.start_s)}–{clock(v.end_s)}" for v in verdicts[:most]]
    return ", ".join(told) + (f" and {len(verdicts) - most:,} more" if len(verdicts) > most else "")


def _name(report: Report) -> str:
    return shown(PurePath(report.path).name)


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    sha256: str | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class _Document:
    file: _File
    fingerprint: str
    verdicts: tuple[Verdict, ...]


def _check(known: _Document) -> None:
    """ValueError where a document says what no review says."""
    require_that(len(known.verdicts) <= _MAX_VERDICTS, "verdicts", len(known.verdicts))
    require_that(len(known.fingerprint) <= _MAX_NAME, "fingerprint", known.fingerprint)
    seen: set[tuple[float, float, int | None]] = set()
    for verdict in known.verdicts:
        key = (verdict.start_s, verdict.end_s, verdict.person)
        require_that(key not in seen, "verdicts", f"two on {_spans([verdict])}")
        seen.add(key)
        _check_verdict(verdict)


def _check_verdict(verdict: Verdict) -> None:
    is_span = 0 <= verdict.start_s <= verdict.end_s <= MAX_DURATION_S
    require_that(is_span, "start_s, end_s", (verdict.start_s, verdict.end_s))
    require_that(0 < (verdict.person or 1) < MAX_NUMBER, "person", verdict.person)
    require_that(verdict.said.outcome is not None, "said", "no outcome")
    is_free = verdict.is_right is False or verdict.corrected == NO_ANSWER
    require_that(is_free, "corrected", f"{_spans([verdict])} is not marked as wrong")
    require_that(len(verdict.note) <= _MAX_NOTE, "note", f"{len(verdict.note):,} characters")
    require_that(len(verdict.reviewer) <= _MAX_NAME, "reviewer", verdict.reviewer)
    if verdict.when:
        require_that(datetime.fromisoformat(verdict.when).tzinfo is not None, "when", verdict.when)
