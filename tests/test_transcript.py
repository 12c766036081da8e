"""Transcripts: every form in and out, found beside files, shown at their moments."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from rich.console import Console

from conftest import ClipMaker
from facevoice.cli.screen import Screen
from facevoice.cli.transcript import choose_words
from facevoice.errors import ConfigError, MissingExtraError, TranscriptError, WeightsError
from facevoice.records import Report
from facevoice.report import build_moments, from_json, to_csv, to_html, to_json, to_jsonl, to_view
from facevoice.report.table import moment_rows
from facevoice.transcribe import Transcriber
from facevoice.transcript import (
    Line,
    Sidecars,
    Transcript,
    read_transcript,
    to_srt,
    without_sidecars,
)
from made_reports import CONFLICT, FLAT, MATCH, decided, in_a_row

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> {\\an8}there

2
00:01:03,250 --> 00:01:04,000 X1:40 X2:600
- Who?
- "Me" & you: 1 --> 2
"""
VTT = """WEBVTT - a title

NOTE Words --
of nobody

STYLE
::cue { color: red }

first
00:01.000 --> 00:02.500 align:start position:0%
<v.loud Anna>Hello &amp; <b>welcome</b></v>
<v Bob>Thanks<00:00:02.000>

NOTE more

01:00:00.000 --> 01:00:01.000
[SPEAKER_00]: 2 &lt; 3
"""
# As yt-dlp gets them: each line comes twice, and flashes in between.
ROLLING = r"""WEBVTT
Kind: captions

00:00:00.160 --> 00:00:02.389 align:start
\N
hello<00:00:00.480><c> there</c>

00:00:02.389 --> 00:00:02.399 align:start
hello there
\N

00:00:02.399 --> 00:00:04.000 align:start
hello there
new<00:00:03.000><c> words</c>
""".replace(r"\N", " ")
FORMS: dict[str, tuple[str, list[Line]]] = {
    "a.srt": (
        SRT,
        [
            Line(1.0, 2.5, "Hello there"),
            Line(63.25, 64.0, '- Who? - "Me" & you: 1 --> 2'),
        ],
    ),
    "overlapping.srt": (
        "2\n00:00:03,000 --> 00:00:09,000\nB\n\n1\n00:00:01,000 --> 00:00:05,000\nA\n",
        [Line(1.0, 5.0, "A"), Line(3.0, 9.0, "B")],
    ),
    "torn.srt": (
        "1\n00:00:01,000 --> 00:00:02,000\none\n\nstill one\n\n2\n00:00:03.5 --> 00:00:04\n42",
        [Line(1.0, 2.0, "one still one"), Line(3.5, 4.0, "42")],
    ),
    "b.vtt": (
        VTT,
        [
            Line(1.0, 2.5, "Hello & welcome", "Anna"),
            Line(1.0, 2.5, "Thanks", "Bob"),
            Line(3600.0, 3601.0, "2 < 3", "SPEAKER_00"),
        ],
    ),
    "rolling.vtt": (
        ROLLING,
        [Line(0.16, 2.389, "hello there"), Line(2.399, 4.0, "new words")],
    ),
    "whisper.txt": (
        "[00:00.000 --> 00:04.000]  Hello\n[00:04.000 --> 00:05.500]  World\n",
        [Line(0.0, 4.0, "Hello"), Line(4.0, 5.5, "World")],
    ),
    "stamps.txt": (
        "0:01 Anna: Hello\nand more\n0:05 – Bob: Bye\n",
        [Line(1.0, 5.0, "Anna: Hello and more"), Line(5.0, 15.0, "Bob: Bye")],
    ),
    "named wrongly.txt": (SRT, [Line(1.0, 2.5, "Hello there")]),
}


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", FORMS)
def test_reads_every_form(tmp_path: Path, name: str) -> None:
    text, lines = FORMS[name]
    path = write(tmp_path, name, text)
    read = read_transcript(path)
    assert list(read.lines[: len(lines)]) == lines
    assert (read.source, read.text, read.remarks) == (str(path), "", ())


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_reads_odd_encodings(tmp_path: Path, encoding: str, line_break: str) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nGrüße, Zoë – à bientôt\n".replace("\n", line_break)
    read = read_transcript(write(tmp_path, "a.srt", text.encode(encoding)))
    assert read.lines == (Line(1.0, 2.0, "Grüße, Zoë – à bientôt"),)
    assert ["Windows-1252" in remark for remark in read.remarks] == [True] * (encoding == "cp1252")


def test_broken_cues_are_left_out_and_told_by_their_lines(tmp_path: Path) -> None:
    text = SRT + "\n3\n00:00:0x,000 --> 00:00:09,000\nlost\n\n4\n00:00:09,0 --> 00:00:08,0\nlost\n"
    read = read_transcript(write(tmp_path, "a.srt", text))
    assert [line.text for line in read.lines] == ["Hello there", '- Who? - "Me" & you: 1 --> 2']
    first, second = read.remarks
    assert first.startswith("line 11: no times that can be read in '00:00:0x,000")
    assert second.startswith("line 15: it ends before it begins")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.srt", b"", "holds no cue"),
        ("a.srt", b"1\n00:00:05,000 --> 00:00:04,000\nHello\n", "line 2: it ends before"),
        ("a.txt", b" \n", "holds no words"),
        ("a.txt", b"\0\1\2\xff\0\0", "is no text"),
        ("folder", None, "can't be read"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TranscriptError, match=told) as caught:
        read_transcript(path)
    assert str(caught.value).startswith(str(path))


def test_a_heading_before_the_first_time_is_told(tmp_path: Path) -> None:
    read = read_transcript(write(tmp_path, "a.txt", "My talk\n\n[0:12] Hello\n"))
    assert read.lines == (Line(12.0, 22.0, "Hello"),)
    assert read.remarks == ("'My talk' stands before the first time and is left out",)


def test_text_without_times_stays_whole(tmp_path: Path) -> None:
    text = "We met at 10:30.\n10:30 is early.\n\n\n\nShe smiled."
    read = read_transcript(write(tmp_path, "a.txt", text))
    assert (read.lines, read.text) == ((), "We met at 10:30.\n10:30 is early.\n\nShe smiled.")
    assert read.remarks == ("has no times, so nothing tells which words belong to which moment",)
    report = decided(MATCH).with_transcript(read)
    assert report.words_between(0, 4) is None


def test_words_obey_no_terminal(tmp_path: Path) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n\x1b[2Jgone\x07\u009b\n"
    (line,) = read_transcript(write(tmp_path, "a.srt", text)).lines
    assert line.text == "[2Jgone"


WORDS = st.text(st.characters(categories=["L", "N"], include_characters=" .,!?'’-"), min_size=1)
WORDS = WORDS.map(lambda text: " ".join(text.split()).replace("-->", "")).filter(bool)
# Nobody says anything in less; of captions that roll, such are repeats.
SPANS = st.tuples(st.integers(0, 10**8), st.integers(60, 10**6))
LINES = st.builds(
    lambda span, text, speaker: Line(
        span[0] / 1000, (span[0] + span[1]) / 1000, text, speaker or None
    ),
    *(SPANS, WORDS, st.none() | WORDS.filter(lambda name: len(name) <= 60)),
)


def in_order(lines: list[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: (line.start_s, line.end_s)))


@given(st.lists(LINES, min_size=1, max_size=8).map(in_order))
def test_written_and_read_again_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, lines: tuple[Line, ...]
) -> None:
    path = tmp_path_factory.mktemp("words") / "a.srt"
    path.write_text(to_srt(Transcript(lines, "x")), encoding="utf-8")
    assert read_transcript(path).lines == lines


@given(st.lists(LINES, max_size=8).map(in_order), st.lists(st.integers(1, 10**6), max_size=9))
def test_every_line_belongs_to_some_stretch(lines: tuple[Line, ...], steps: list[int]) -> None:
    words = Transcript(lines, "x")
    edges = np.concatenate([[0], np.cumsum(steps) + 2.0, [10**6]])
    found = [words.places_between(*edges[k : k + 2]) for k in range(len(edges) - 1)]
    assert {place for places in found for place in places} == set(range(len(lines)))


def test_finds_what_lies_beside_a_file(tmp_path: Path) -> None:
    names = ["talk.de.srt", "talk.en-US.sdh.vtt", "talk.txt", "talk.VTT", "talk.forced.srt"]
    for name in [*names, "talk.en.txt", "talk.part two.srt", "other.srt", ".talk.srt", "talk.mp4"]:
        write(tmp_path, name, SRT)
    found = Sidecars().beside(tmp_path / "talk.mp4")
    assert [path.name for path in found] == [
        *("talk.VTT", "talk.de.srt", "talk.en-US.sdh.vtt", "talk.txt")
    ]
    assert Sidecars().beside(tmp_path / "none" / "talk.mp4") == []
    # A shell gives them all for "*"; one that is beside nothing is left to be complained of.
    listed = [str(tmp_path / name) for name in ("other.srt", "talk.mp4", "talk.txt", "talk.VTT")]
    assert without_sidecars(listed) == listed[:2]


@pytest.fixture
def report() -> Report:
    """Moments 0–3, 3–5 and 5–8 s, with the words of two people."""
    lines = (
        Line(0.5, 2.5, "I'm <b>fine</b>.", "Anna"),
        Line(2.0, 4.5, "Really?", "Bob"),
        Line(4.9, 8.0, "Yes.", "Bob"),
        Line(20.0, 21.0, "The end."),
    )
    words = Transcript(lines, "clips/talk.en.srt", remarks=("line 7: this cue is left out",))
    return decided(*in_a_row([MATCH, CONFLICT, FLAT])).with_transcript(words)


def test_every_report_tells_the_words(report: Report) -> None:
    said = ["Anna: I'm <b>fine</b>. Bob: Really?", "Bob: Really?", "Bob: Yes."]
    values = json.loads(to_json(report))
    schema = json.loads((Path(__file__).parents[1] / "docs" / "report.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(values)) == []
    assert [moment["text"] for moment in values["moments"]] == said
    assert values["transcript"]["lines"][1] == {
        **{"start_s": 2.0, "end_s": 4.5, "speaker": "Bob", "text": "Really?"}
    }
    assert values["transcript"]["remarks"][1].startswith("1 of 4 lines begin after the file")
    assert to_json(from_json(to_json(report))) == to_json(report)
    assert [row["text"] for row in moment_rows(report)] == said
    rows = list(csv.DictReader(io.StringIO(to_csv([report]))))
    assert [row["text"] for row in rows] == [said[0], f"{said[0]} Yes.", "Bob: Really? Yes."]
    assert json.loads(to_jsonl(report).splitlines()[0])["text"] == said[0]
    screen = io.StringIO()
    Console(width=80, file=screen).print(build_moments(report))
    assert "words" in screen.getvalue()
    assert max(map(len, screen.getvalue().splitlines())) <= 80


def test_reports_from_before_have_no_words(report: Report) -> None:
    values = json.loads(to_json(report))
    del values["transcript"]
    for moment in values["moments"]:
        del moment["text"]
    assert from_json(json.dumps(values)).transcript is None


def test_the_page_holds_the_words_as_text(report: Report) -> None:
    view = to_view(report)
    words = view["transcript"]
    assert words["source"] == "talk.en.srt"
    assert words["lines"][0] == [0.5, 2.5, "Anna", "I'm <b>fine</b>."]
    assert words["windows"] == [[0, 1], [0, 1, 2], [1, 2]]
    assert [moment["lines"] for moment in view["points"][0]["moments"]] == [[0, 1], [1], [2]]
    page = to_html(report)
    assert "I'm <b>fine" not in page
    assert "I'm \\u003cb\\u003efine" in page
    assert to_view(decided(MATCH))["transcript"] is None


class FakeWhisper:
    """Hears the same words in everything; as the real one, times are of the sound."""

    def __init__(self, model: str, **_: object) -> None:
        if model != "small":
            raise ValueError(f"Invalid model size '{model}'")

    def transcribe(self, samples: Any, **_: object) -> tuple[list[Any], None]:
        assert samples.dtype == np.float32
        spoken = [(0.1, 0.4, " Hello."), (0.4, 0.6, " How"), (0.6, 0.9, " are"), (1.8, 2.0, " you")]
        words = [SimpleNamespace(start=a, end=b, word=word) for a, b, word in spoken]
        return [SimpleNamespace(start=0.1, end=2.0, text="", words=words)], None


def test_speech_is_written_down(make_clip: ClipMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = SimpleNamespace(WhisperModel=FakeWhisper)
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper)
    made = Transcriber().transcribe(make_clip("talk.mp4"))
    assert made.source == "faster-whisper small"
    assert made.lines == (
        Line(0.1, 0.4, "Hello."),
        Line(0.4, 0.9, "How are"),
        Line(1.8, 2.0, "you"),
    )
    with pytest.raises(WeightsError, match=r"huge can't be loaded: Invalid.*fetched from the Hug"):
        Transcriber("huge")


def test_speech_recognition_is_a_part_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facevoice\[transcribe\]'"):
        Transcriber()


def test_what_was_written_down_is_kept_beside_the_report(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = SimpleNamespace(WhisperModel=FakeWhisper)
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper)
    clip, name = make_clip("take.1.mp4"), PurePath("sub", "take.1")
    asked: dict[str, Any] = {"named": None, "without": False, "transcribe": True, "out": tmp_path}
    made = choose_words(Screen(quiet=True), **asked).of(str(clip), name)
    kept = tmp_path / "sub" / "take.1.srt"
    assert made is not None
    assert read_transcript(kept).lines == made.lines
    # Corrected by hand, it stays so.
    kept.write_text(kept.read_text().replace("Hello", "Hullo"))
    again = choose_words(Screen(quiet=True), **asked).of(str(clip), name)
    assert again is not None
    assert again.lines[0].text == "Hullo."
    with pytest.raises(ConfigError, match="--transcribe excludes"):
        choose_words(Screen(quiet=True), **{**asked, "without": True})
