"""ELAN's .eaf: XML with tiers, vocabularies and linked media (EAF 3.0).

Written from ELAN's own description of the format. pympi reads such files too, but resolves the
entities of strangers' XML, knows nothing of unaligned time slots and writes the time of the day
into every file; what is needed of the format is this one page.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree
from xml.parsers import expat

from facevoice.errors import AnnotationError
from facevoice.exchange.tiers import (
    Document,
    Span,
    Tier,
    checked,
    in_milliseconds,
    read_bytes,
    without_overlap,
)
from facevoice.texts import shown

# The same report gives the same bytes; ELAN writes the true time when it saves.
_DATE: Final = "1970-01-01T00:00:00+00:00"
_SCHEMA: Final = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_ANY_LANGUAGE: Final = {
    "LANG_ID": "und",
    "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001",
    "LANG_LABEL": "undetermined (und)",
}
_CONSTRAINTS: Final = {
    "Time_Subdivision": (
        "Time subdivision of parent annotation's time interval, no time gaps allowed within this "
        "interval"
    ),
    "Symbolic_Subdivision": (
        "Symbolic subdivision of a parent annotation. Annotations refering to the same parent are "
        "ordered"
    ),
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": (
        "Time alignable annotations within the parent annotation's time interval, gaps are allowed"
    ),
}
_FREE, _ABOUT = "free text", "said of it"
_NO_CHARACTERS: Final = dict.fromkeys((0xFFFE, 0xFFFF), "\ufffd")
_MAX_DEPTH: Final = 32
_MAX_ANNOTATIONS: Final = 2_000_000


def to_eaf(document: Document, target: Path | None = None) -> str:
    """The document as XML text; `target`: where it will lie, so that it names the media from there.

    Spans of a tier that overlap, which ELAN doesn't allow, go into further tiers.
    """
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "facevoice",
            "DATE": _DATE,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _XSI,
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    tiers = [lane for tier in document.tiers for lane in without_overlap(tier)]
    vocabularies = _vocabularies(tiers)
    body = _Body(vocabularies)
    made = [body.tier(tier) for tier in tiers]
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if document.media is not None:
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", _media(document.media, target))
    last = ElementTree.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(body.num_annotations)
    order = ElementTree.SubElement(root, "TIME_ORDER")
    for name, time_ms in body.slots():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time_ms))
    root.extend(made)
    root.extend(_types(tiers, vocabularies))
    ElementTree.SubElement(root, "LANGUAGE", _ANY_LANGUAGE)
    for stereotype, words in _CONSTRAINTS.items():
        ElementTree.SubElement(root, "CONSTRAINT", STEREOTYPE=stereotype, DESCRIPTION=words)
    for labels, name in vocabularies.items():
        root.append(_vocabulary(name, labels))
    ElementTree.indent(root, "    ")
    text: str = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


class _Body:
    """Tiers as elements, and the time slots that their annotations refer to."""

    def __init__(self, vocabularies: Mapping[tuple[str, ...], str]) -> None:
        self._vocabularies = vocabularies
        self._times: list[tuple[int, int, ElementTree.Element, str]] = []
        self._ids: dict[tuple[str, int, int], str] = {}
        self.num_annotations = 0

    def tier(self, tier: Tier) -> ElementTree.Element:
        kind = _type_of(tier, self._vocabularies)
        about = {"TIER_ID": _sound(tier.name), "LINGUISTIC_TYPE_REF": kind}
        if tier.person is not None:
            about["PARTICIPANT"] = _sound(tier.person)
        if tier.about is not None:
            about["PARENT_REF"] = _sound(tier.about)
        made = ElementTree.Element("TIER", about)
        for start_ms, end_ms, label in in_milliseconds(tier.spans):
            parent = None
            if tier.about is not None:
                parent = self._ids.get((tier.about, start_ms, end_ms))
                if parent is None:
                    continue
            self.num_annotations += 1
            name = f"a{self.num_annotations}"
            self._ids[tier.name, start_ms, end_ms] = name
            holder = ElementTree.SubElement(made, "ANNOTATION")
            if parent is None:
                one = ElementTree.SubElement(holder, "ALIGNABLE_ANNOTATION", ANNOTATION_ID=name)
                self._times.append((start_ms, 1, one, "TIME_SLOT_REF1"))
                self._times.append((end_ms, 0, one, "TIME_SLOT_REF2"))
            else:
                more = {"ANNOTATION_ID": name, "ANNOTATION_REF": parent}
                one = ElementTree.SubElement(holder, "REF_ANNOTATION", more)
            if tier.labels and label in tier.labels:
                one.set("CVE_REF", _entry_id(self._vocabularies[tier.labels], label))
            ElementTree.SubElement(one, "ANNOTATION_VALUE").text = _sound(label)
        return made

    def slots(self) -> Iterator[tuple[str, int]]:
        """Names and times of the slots, in order of time; gives each annotation its two."""
        ordered = sorted(self._times, key=lambda one: one[:2])
        for number, (time_ms, _, annotation, attribute) in enumerate(ordered, start=1):
            annotation.set(attribute, f"ts{number}")
            yield f"ts{number}", time_ms


def _vocabularies(tiers: list[Tier]) -> dict[tuple[str, ...], str]:
    """Each set of allowed words, and what it is called: as the first tier that has it."""
    named: dict[tuple[str, ...], str] = {}
    for tier in tiers:
        if tier.labels:
            kind = tier.name.partition("@")[0]
            named.setdefault(tier.labels, "emotions" if kind != "outcome" else "outcomes")
    return named


def _type_of(tier: Tier, vocabularies: Mapping[tuple[str, ...], str]) -> str:
    if tier.about is not None:
        return _ABOUT
    return vocabularies.get(tier.labels, _FREE)


def _types(
    tiers: list[Tier], vocabularies: Mapping[tuple[str, ...], str]
) -> Iterator[ElementTree.Element]:
    kinds = dict.fromkeys(_type_of(tier, vocabularies) for tier in tiers)
    for kind in kinds:
        about = {
            "LINGUISTIC_TYPE_ID": kind,
            "TIME_ALIGNABLE": "false" if kind == _ABOUT else "true",
            "GRAPHIC_REFERENCES": "false",
        }
        if kind == _ABOUT:
            about["CONSTRAINTS"] = "Symbolic_Association"
        elif kind in vocabularies.values():
            about["CONTROLLED_VOCABULARY_REF"] = kind
        yield ElementTree.Element("LINGUISTIC_TYPE", about)


def _vocabulary(name: str, labels: tuple[str, ...]) -> ElementTree.Element:
    made = ElementTree.Element("CONTROLLED_VOCABULARY", CV_ID=name)
    ElementTree.SubElement(made, "DESCRIPTION", LANG_REF="und")
    for label in labels:
        entry = ElementTree.SubElement(made, "CV_ENTRY_ML", CVE_ID=_entry_id(name, label))
        ElementTree.SubElement(entry, "CVE_VALUE", LANG_REF="und").text = label
    return made


def _entry_id(vocabulary: str, label: str) -> str:
    return f"cveid_{vocabulary}_{label}"


def _media(media: str, target: Path | None) -> dict[str, str]:
    """How ELAN finds the recording: by where it is, or by where it is from the .eaf file."""
    kind, _ = mimetypes.MimeTypes().guess_type(media)
    about = {"MIME_TYPE": kind or "unknown"}
    if "://" in media:
        return {"MEDIA_URL": quote(shown(media), safe=":/?&=%#"), **about}
    path = Path(os.path.abspath(media))  # noqa: PTH100 - resolves no links
    near = f"./{path.name}"
    if target is not None and os.path.exists(media):  # noqa: PTH110 - a name may be long
        with suppress(ValueError):  # On Windows, another drive.
            near = os.path.relpath(path, target.absolute().parent).replace(os.sep, "/")
        near = near if near.startswith(".") else f"./{near}"
    # A relative path says nothing of where this machine keeps its files, and goes on holding when
    # the folder moves; ELAN looks there if it finds nothing at the first address.
    url = path.as_uri() if PurePath(media).is_absolute() else f"file:///{_url(path.name)}"
    return {"MEDIA_URL": url, "RELATIVE_MEDIA_URL": _url(near), **about}


def _sound(text: str) -> str:
    """As XML can hold it: two characters that are none are left, beside what nobody shows."""
    return shown(text).translate(_NO_CHARACTERS)


def _url(path: str) -> str:
    return quote(os.fsencode(path))


def read_eaf(path: Path) -> Document:
    """The tiers of an ELAN file, of any version.

    Annotations without times of their own have those of the one that they refer to; slots without
    a time lie evenly between their neighbours, as ELAN shows them.

    Raises:
        AnnotationError: it can't be read, is no such file, or refers to what it doesn't hold.
    """
    parsed = _Parsed(path)
    parsed.feed(read_bytes(path))
    return parsed.document()


class _Parsed:
    """What expat finds in an .eaf file, without anything that a file may ask it to fetch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._depth = 0
        self._root = ""
        self._slots: dict[str, int | None] = {}
        self._tiers: list[tuple[str, str | None]] = []
        self._annotations: list[dict[str, str]] = []
        self._media: str | None = None
        self._text: list[str] | None = None

    def feed(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.buffer_text = True
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise AnnotationError(
                self._path,
                f"is no sound XML ({error}).",
                "Open it in ELAN and save it again.",
            ) from error
        if self._root != "ANNOTATION_DOCUMENT":
            raise AnnotationError(
                self._path, "is XML, but no ELAN annotation.", "Name an .eaf file of ELAN."
            )

    def _refuse(self, *_: Any) -> None:
        raise AnnotationError(
            self._path,
            "declares a document type of its own (DOCTYPE), which no ELAN file needs and which "
            "could be a trap.",
            "Open it in ELAN and save it again.",
        )

    def _start(self, name: str, about: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise AnnotationError(self._path, "is nested deeper than any ELAN file.")
        if self._depth == 1:
            self._root = name
        if name == "TIME_SLOT":
            value = about.get("TIME_VALUE")
            self._slots[about.get("TIME_SLOT_ID", "")] = self._number(value)
        elif name == "MEDIA_DESCRIPTOR" and self._media is None:
            self._media = about.get("MEDIA_URL")
        elif name == "TIER":
            self._tiers.append((about.get("TIER_ID", ""), about.get("PARTICIPANT") or None))
        elif name in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
            if len(self._annotations) >= _MAX_ANNOTATIONS:
                raise AnnotationError(self._path, f"has over {_MAX_ANNOTATIONS:,} annotations.")
            self._annotations.append({**about, "tier": str(len(self._tiers) - 1), "label": ""})
        elif name == "ANNOTATION_VALUE":
            self._text = []

    def _number(self, value: str | None) -> int | None:
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) < 15):
            raise AnnotationError(
                self._path,
                f"has a time slot at {shown(value)[:40]!r}, which is no number of milliseconds.",
                "Open it in ELAN and save it again.",
            )
        return int(value)

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "ANNOTATION_VALUE":
            if self._annotations:
                self._annotations[-1]["label"] = "".join(self._text or ())
            self._text = None

    def document(self) -> Document:
        times_ms = _filled(self._slots)
        spans: dict[int, list[Span]] = {}
        known = {one.get("ANNOTATION_ID", ""): one for one in self._annotations}
        for one in self._annotations:
            start_ms, end_ms = self._times(one, known, times_ms)
            label = shown(one["label"]).strip()
            place = int(one["tier"])
            spans.setdefault(place, []).append(Span(start_ms / 1000, end_ms / 1000, label))
        tiers = tuple(
            Tier(shown(name), tuple(spans.get(place, ())), person and shown(person))
            for place, (name, person) in enumerate(self._tiers)
        )
        last_s = max((s.end_s for tier in tiers for s in tier.spans), default=0.0)
        return checked(Document(tiers, str(self._path), last_s, self._media), self._path)

    def _times(
        self,
        annotation: dict[str, str],
        known: Mapping[str, dict[str, str]],
        times_ms: Mapping[str, float],
    ) -> tuple[float, float]:
        one = annotation
        for _ in range(_MAX_DEPTH):
            if "ANNOTATION_REF" not in one:
                break
            referred = known.get(one["ANNOTATION_REF"])
            if referred is None:
                raise self._broken(annotation, f"annotation {one['ANNOTATION_REF']!r}")
            one = referred
        slots = [one.get(name, "") for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        for slot in slots:
            if slot not in times_ms:
                raise self._broken(annotation, f"time slot {slot!r}")
        return times_ms[slots[0]], times_ms[slots[1]]

    def _broken(self, annotation: dict[str, str], what: str) -> AnnotationError:
        name = annotation.get("ANNOTATION_ID", "?")
        return AnnotationError(
            self._path,
            f"annotation {shown(name)[:40]!r} refers to {shown(what)[:80]}, which isn't there.",
            "Open it in ELAN and save it again.",
        )


def _filled(slots: Mapping[str, int | None]) -> dict[str, float]:
    """Times of all slots, in ms; those without one lie evenly between their neighbours."""
    names, times = list(slots), list(slots.values())
    filled: dict[str, float] = {}
    place, before = 0, 0.0
    while place < len(names):
        end = place
        while end < len(names) and times[end] is None:
            end += 1
        after = float(times[end] or 0) if end < len(names) else before
        for k in range(place, end):
            filled[names[k]] = before + (after - before) * (k - place + 1) / (end - place + 1)
        if end < len(names):
            filled[names[end]] = before = after
        place = end + 1
    return filled
