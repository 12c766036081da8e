"""What annotation tools share: named tiers of stretches of time with a label each."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from facevoice.errors import AnnotationError
from facevoice.plain import MAX_DOCUMENT_BYTES, read_bounded

# Longer than any file; also what keeps milliseconds whole numbers everywhere.
_MAX_TIME_S: Final = 1e8
_MAX_TIERS: Final = 10_000
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of media time, in seconds, and what it is called."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Spans of one kind, in order of time.

    person: whom they are about, None where that is not said;
    labels: the words that are allowed (a controlled vocabulary), () where any are;
    about: name of the tier whose spans these tell more of, one to one, or None;
    annotator: who says so, None where that is not said.
    """

    name: str
    spans: tuple[Span, ...]
    person: str | None = None
    labels: tuple[str, ...] = ()
    about: str | None = None
    annotator: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """All tiers of a file.

    source: where they are from; duration_s: of the recording, at least to the last end;
    media: path or address of the recording, None where it isn't known;
    remarks: what people should know of the reading.
    """

    tiers: tuple[Tier, ...]
    source: str = ""
    duration_s: float = 0.0
    media: str | None = None
    remarks: tuple[str, ...] = ()


def in_milliseconds(spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    """Spans by whole milliseconds; those that have no length then are left out."""
    rounded = ((round(s.start_s * 1000), round(s.end_s * 1000), s.label) for s in spans)
    return [one for one in rounded if one[1] > one[0]]


def without_overlap(tier: Tier) -> list[Tier]:
    """The tier, and as many more ("words 2") as it takes for no two spans of one to overlap."""
    lanes: list[list[Span]] = []
    for span in sorted(tier.spans, key=lambda span: (span.start_s, span.end_s)):
        free = next((lane for lane in lanes if lane[-1].end_s <= span.start_s), None)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    names = [tier.name, *(f"{tier.name} {number}" for number in range(2, len(lanes) + 1))]
    return [
        replace(tier, name=name, spans=tuple(lane))
        for name, lane in zip(names, lanes or [[]], strict=True)
    ]


def checked(document: Document, path: Path, num_dropped: int = 0) -> Document:
    """What was read of a file, spans in order; says what is odd about it.

    Args:
        document: as it stands in the file.
        path: of the file, for messages.
        num_dropped: spans without a length or a label's place in time, already left out.

    Raises:
        AnnotationError: a time is no time of a recording, or there are more tiers than that.
    """
    if len(document.tiers) > _MAX_TIERS:
        raise AnnotationError(path, f"has {len(document.tiers):,} tiers, which no annotation has.")
    tiers, remarks = [], list(document.remarks)
    for tier in document.tiers:
        kept = []
        for span in tier.spans:
            # Negated, so that NaN is refused too.
            if not (abs(span.start_s) <= _MAX_TIME_S and abs(span.end_s) <= _MAX_TIME_S):
                raise AnnotationError(
                    path,
                    f"tier {tier.name!r} has an interval from {span.start_s:g} to {span.end_s:g} s,"
                    " which is no time of a recording.",
                    "Times are in seconds from the beginning of the file.",
                )
            if span.end_s > span.start_s:
                kept.append(span)
            else:
                num_dropped += 1
        kept.sort(key=lambda span: (span.start_s, span.end_s))
        num_over = sum(b.start_s < a.end_s - 1e-9 for a, b in pairwise(kept))
        if num_over:
            begin = "interval begins" if num_over == 1 else "intervals begin"
            remarks.append(
                f"tier {tier.name!r}: {num_over:,} {begin} before the one before ends; the label "
                "that covers more counts"
            )
        tiers.append(replace(tier, spans=tuple(kept)))
    if num_dropped == 1:
        remarks.append("1 interval that ends no later than it begins is left out")
    elif num_dropped:
        remarks.append(f"{num_dropped:,} intervals that end no later than they begin are left out")
    return replace(document, tiers=tuple(tiers), remarks=tuple(remarks))


def read_text(path: Path, remarks: list[str]) -> str:
    """The text of an annotation, whatever its encoding; what was guessed is told in `remarks`.

    Raises:
        AnnotationError: it can't be read, is too large or no text.
    """
    data = read_bytes(path)
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            text = data.removeprefix(bom).decode(encoding, "replace")
            break
    else:
        text = _decode(data, remarks)
    if "\0" in text:
        raise AnnotationError(path, "is no text.", "Name an .eaf, .TextGrid, .csv or .tsv file.")
    return text


def read_bytes(path: Path) -> bytes:
    """What is in an annotation.

    Raises:
        AnnotationError: it can't be read, is empty or too large.
    """
    try:
        data = read_bounded(path)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = ""
        if "larger" in reason:
            remedy = f"Cut it into files of at most {MAX_DOCUMENT_BYTES >> 20} MiB."
        raise AnnotationError(path, f"can't be read ({reason}).", remedy) from error
    if not data.strip(b"\0\t\r\n \xef\xbb\xbf"):
        raise AnnotationError(path, "is empty.", "Save the annotation again.")
    return data


def _decode(data: bytes, remarks: list[str]) -> str:
    # Praat writes UTF-16 where a label needs it, at times without saying so.
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if data[first::2].count(0) > len(data) / 8 and not data[1 - first :: 2].count(0):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        remarks.append(
            "isn't UTF-8, so it is read as Windows-1252; if letters are wrong, save it as UTF-8"
        )
        return data.decode("cp1252", "replace")
