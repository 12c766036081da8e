"""Annotations by strangers: what is read, and what is refused with a reason and a remedy."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import parselmouth
import praatio.textgrid
import pympi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevoice.errors import AnnotationError
from facevoice.exchange import Document, Span, Tier, read_annotation, to_eaf, to_textgrid
from facevoice.texts import shown

EAF = """<?xml version="1.0" encoding="{encoding}"?>
{doctype}<ANNOTATION_DOCUMENT AUTHOR="x" DATE="2026-01-01T00:00:00+00:00" VERSION="2.7">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/><TIME_ORDER>{slots}</TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="face" PARTICIPANT="Jürgen">{annotations}</TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="t" TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>
"""
SLOT = '<TIME_SLOT TIME_SLOT_ID="{}" TIME_VALUE="{}"/>'
ANNOTATION = (
    '<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{}" TIME_SLOT_REF1="{}" '
    'TIME_SLOT_REF2="{}"><ANNOTATION_VALUE>{}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
)


def eaf(
    *spans: tuple[str, str, str], slots: str = "", encoding: str = "UTF-8", doctype: str = ""
) -> str:
    made = "".join(ANNOTATION.format(f"a{k}", a, b, value) for k, (a, b, value) in enumerate(spans))
    return EAF.format(slots=slots, annotations=made, encoding=encoding, doctype=doctype)


def read(path: Path, content: str | bytes) -> Document:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_annotation(path)


def spans(document: Document) -> dict[str, list[tuple[float, float, str]]]:
    return {t.name: [(s.start_s, s.end_s, s.label) for s in t.spans] for t in document.tiers}


def test_what_pympi_writes_is_read(tmp_path: Path) -> None:
    made = pympi.Eaf(author="anna")
    made.add_tier("Gesicht")
    made.add_linguistic_type("assoc", "Symbolic_Association", timealignable=False)
    made.add_tier("Notiz", "assoc", "Gesicht")
    made.add_annotation("Gesicht", 500, 1750, "zornig")
    made.add_annotation("Gesicht", 100, 400, "froh")
    made.add_ref_annotation("Notiz", "Gesicht", 600, "grüßt <laut> & lange")
    made.to_file(str(tmp_path / "a.eaf"))
    found = spans(read_annotation(tmp_path / "a.eaf"))
    assert found["Gesicht"] == [(0.1, 0.4, "froh"), (0.5, 1.75, "zornig")]
    assert found["Notiz"] == [(0.5, 1.75, "grüßt <laut> & lange")]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1"])
def test_elan_slots_without_a_time_lie_between_their_neighbours(
    tmp_path: Path, encoding: str
) -> None:
    slots = SLOT.format("t1", 1000) + '<TIME_SLOT TIME_SLOT_ID="t2"/>' + SLOT.format("t3", 4000)
    text = eaf(("t1", "t2", "sad"), ("t2", "t3", "müde"), slots=slots, encoding=encoding)
    document = read(tmp_path / "a.eaf", text.encode(encoding))
    assert spans(document)["face"] == [(1.0, 2.5, "sad"), (2.5, 4.0, "müde")]
    assert document.tiers[0].person == "Jürgen"


@pytest.mark.parametrize("output", ["long_textgrid", "short_textgrid"])
def test_what_praatio_writes_is_read_in_both_forms(tmp_path: Path, output: str) -> None:
    path = tmp_path / "a.TextGrid"
    grid = praatio.textgrid.Textgrid()
    entries = [(0.5, 1.25, 'so "genannt"'), (2.0, 3.0, "sad")]
    grid.addTier(praatio.textgrid.IntervalTier("face", entries, 0, 5))
    grid.addTier(praatio.textgrid.PointTier("marks", [(1.0, "here")], 0, 5))
    grid.save(str(path), output, includeBlankSpaces=True)
    document = read_annotation(path)
    assert spans(document) == {"face": entries}
    assert "holds points" in document.remarks[0]


def test_what_praat_writes_is_read_in_utf16(tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    grid = parselmouth.praat.call("Create TextGrid", 0, 5, "face voice", "")
    parselmouth.praat.call(grid, "Insert boundary", 1, 2.5)
    parselmouth.praat.call(grid, "Set interval text", 1, 1, "悲 sad")
    parselmouth.praat.call(grid, "Save as short text file", str(path))
    text = path.read_bytes()
    decoded = text.decode("utf-16" if text[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8")
    for content in (decoded.encode("utf-16"), decoded.encode("utf-16-le"), decoded.encode()):
        assert spans(read(path, content)) == {"face": [(0.0, 2.5, "悲 sad")], "voice": []}


ELAN_EXPORT = """Tier\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\tEnd Time - hh:mm:ss.ms\t\
End Time - ss.msec\tDuration - hh:mm:ss.ms\tDuration - ss.msec\tAnnotation
face\t00:00:00.000\t0.0\t00:00:01.500\t1.5\t00:00:01.500\t1.5\tsad
face\t00:00:01.500\t1.5\t00:00:03.000\t3.0\t00:00:01.500\t1.5\thappy
voice\t00:00:01.500\t1.5\t00:00:03.000\t3.0\t00:00:01.500\t1.5\tangry
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "start,end,face,voice\n0,1.5,sad,\n1.5,3,happy,angry\n"),
        ("a.csv", "Beginn_ignored;end;start;Face;voice\n;1,5;0;sad;\n;3;1,5;happy;angry\n"),
        ("a.tsv", "onset\tduration\tface\tvoice\n0\t1.5\tsad\tn/a\n\n0:01.5\t1.5\thappy\tangry\n"),
        ("a.csv", "tier,start,end,label\nface,0,1.5,sad\nvoice,1.5,3,angry\nface,1.5,3,happy\n"),
        ("a.txt", "\ufeffstart\tend\tface\tvoice\r\n1.5\t3\thappy\tangry\r\n0\t1.5\tsad\t\r\n"),
        ("a.txt", ELAN_EXPORT),
        (
            "a.txt",
            "Begin Time - ss.msec\tEnd Time - hh:mm:ss.ms\tDuration - msec\tface\tvoice\n"
            "0.0\t00:00:01.500\t1500\tsad\t\n1.5\t00:00:03.000\t1500\thappy\tangry\n",
        ),
        (
            "a.csv",
            "Begin Time - msec;End Time - msec;face;voice\n0;1500;sad;\n1500;3000;happy;angry\n",
        ),
        (
            "a.csv",
            "Begin Time - hh:mm:ss.ms,Duration - msec,face,voice\n"
            "00:00:00.000,1500,sad,\n00:00:01.500,1500,happy,angry\n",
        ),
    ],
    ids=[
        *("wide", "semicolons and decimal commas", "onsets and clocks", "long", "unordered"),
        *("ELAN's export", "ELAN's export by tiers", "ELAN's milliseconds", "ELAN's lengths"),
    ],
)
def test_tables_of_all_kinds(tmp_path: Path, name: str, text: str) -> None:
    found = {key.casefold(): value for key, value in spans(read(tmp_path / name, text)).items()}
    assert found == {"face": [(0, 1.5, "sad"), (1.5, 3, "happy")], "voice": [(1.5, 3, "angry")]}


def test_overlaps_and_empty_intervals_are_told(tmp_path: Path) -> None:
    document = read(tmp_path / "a.csv", "start,end,face\n2,1,sad\n0,3,sad\n2,4,happy\n3,3,happy\n")
    assert spans(document) == {"face": [(0, 3, "sad"), (2, 4, "happy")]}
    assert "1 interval begins before" in document.remarks[0]
    assert "2 intervals that end no later than they begin are left out" in document.remarks[1]


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY f SYSTEM "file:///etc/passwd">]>\n'
)
TWO = SLOT.format("t1", 0) + SLOT.format("t2", 1000)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.eaf", eaf(("t1", "t2", "&c;&f;"), slots=TWO, doctype=BOMB), "DOCTYPE"),
        ("a.eaf", eaf(("t1", "t9", "sad"), slots=TWO), "refers to time slot 't9'"),
        ("a.eaf", eaf(slots=SLOT.format("t1", "later")), "no number of milliseconds"),
        ("a.eaf", eaf(("t1", "t2", "sad"), slots=TWO)[:-90], "no sound XML"),
        ("a.eaf", b"\xff\xfe\x00nonsense", "no sound XML"),
        ("a.eaf", "<html><body/></html>", "no ELAN annotation"),
        ("a.eaf", "<a>" * 50 + "</a>" * 50, "nested deeper"),
        ("a.eaf", "", "is empty"),
        ("a.TextGrid", "ooBinaryFile\x00\x08TextGrid\x00", "is no text"),
        ("a.TextGrid", 'File type = "ooTextFile"\nObject class = "Pitch 1"', "Save as text file"),
        ("a.TextGrid", '"ooTextFile" "TextGrid" 0 5 <exists> 1 "IntervalTier" "f" 0 5 9 0 1 "a"',
         "no sound TextGrid"),
        ("a.TextGrid", '"ooTextFile" "TextGrid" 0 5 <exists> 999999999', "no sound TextGrid"),
        ("a.csv", "from,to,face\n0,1,sad\n", "Call them start and end"),
        ("a.csv", "start,end,face\n0,soon,sad\n", "row 2: 'soon' is no time"),
        ("a.csv", "\nstart,end,face\n\n,,\n0,soon,sad\n", "row 5: 'soon' is no time"),
        ("a.csv", "start,end,face\n0,1e99,sad\n", "no time of a recording"),
        ("a.csv", "file,start,end,face\na.mp4,0,1,sad\nb.mp4,0,1,sad\n", "rows of 2 files"),
        ("a.csv", "  \n".encode("utf-16"), "is empty"),
        ("a.mp4", b"\x00" * 64, "no known kind of annotation"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why_and_what_helps(
    tmp_path: Path, name: str, content: str | bytes, told: str
) -> None:
    with pytest.raises(AnnotationError, match=rf"^\S*{name}: ") as caught:
        read(tmp_path / name, content)
    assert told in str(caught.value)


def test_a_label_of_megabytes_takes_no_more_than_some_of_it(tmp_path: Path) -> None:
    label = 'x""' * 1_000_000
    text = f'"ooTextFile" "TextGrid" 0 5 <exists> 1 "IntervalTier" "face" 0 5 1 0 5 "{label}"'
    tracemalloc.start()
    try:
        document = read(tmp_path / "a.TextGrid", text)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(document.tiers[0].spans[0].label) == 2_000_000
    assert peak_bytes < 20 * len(text)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(AnnotationError, match="larger than 64 MiB") as caught:
        read_annotation(path)
    assert "Cut it" in str(caught.value)
    with pytest.raises(AnnotationError, match="can't be read"):
        read_annotation(tmp_path / "none.eaf")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_damaged_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = {
        "a.eaf": eaf(("t1", "t2", "sad"), slots=TWO),
        "a.TextGrid": '"ooTextFile" "TextGrid" 0 5 <exists> 1 "IntervalTier" "f" 0 5 1 0 5 "a"',
        "a.csv": "start,end,face\n0,1,sad\n1,2,happy\n",
    }
    name = data.draw(st.sampled_from([*whole]))
    content = bytearray(whole[name].encode())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
        content = content or bytearray(b"?")
    try:
        document = read(folder / name, bytes(content))
    except AnnotationError as error:
        assert name in str(error)
    else:
        assert all(s.start_s < s.end_s for tier in document.tiers for s in tier.spans)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=12), st.text(min_size=1, max_size=12))
def test_any_name_and_words_go_into_every_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, words: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    tiers = (Tier(f"face@{name}", (Span(0, 1, words),), name, ("sad",)),)
    eaf_path, grid_path = folder / "any.eaf", folder / "any.TextGrid"
    eaf_path.write_text(to_eaf(Document(tiers)), encoding="utf-8")
    grid_path.write_text(to_textgrid(Document(tiers)), encoding="utf-8")
    for path in (eaf_path, grid_path):
        (tier,) = read_annotation(path).tiers
        kept = [s.label for s in tier.spans]
        wanted = shown(words).strip()
        # Two that no XML may hold.
        wanted = wanted.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
        found = [label.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd") for label in kept]
        assert found == [wanted] or (path is grid_path and not wanted)
    pympi.Eaf(str(eaf_path))
    praatio.textgrid.openTextgrid(str(grid_path), includeEmptyIntervals=True)
