"""Names of files: whatever a file system takes, alone or side by side."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.case import Bench, Case, Expect, Run, run_here
from faults.film import Sound
from faults.studio import VOICE_HZ, Studio

HEARD = Expect(("audio_only",), face=False, outcomes=("insufficient",))
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
MARKUP = ("<img src=x onerror=alert(1)>", "<script>alert(1)")


def _short_sound(studio: Studio) -> bytes:
    """One second of the voice, so that only the name costs time."""
    samples = studio.glad[VOICE_HZ // 2 : VOICE_HZ * 3 // 2]
    sound = Sound(samples, VOICE_HZ, codec="pcm_s16le", bits=None)
    return studio.once("short.wav", lambda path: studio.write(path, sound))


def _called(*names: str | bytes) -> Any:
    """Files of these names in a folder, analysed into another with a page each."""

    def make(studio: Studio, folder: Path) -> list[str]:
        for name in names:
            with (folder / os.fsdecode(name)).open("xb") as file:
                file.write(_short_sound(studio))
        return [str(folder), "--out", str(folder.parent / "out"), "--format", "json,csv,html"]

    return make


def _outright(name: str) -> Any:
    """A file of this name in the working folder, named as people type it."""

    def make(studio: Studio, folder: Path) -> list[str]:
        (folder / name).write_bytes(_short_sound(studio))
        return ["--out", str(folder.parent / "out"), "--", name]

    return make


def into_folder(bench: Bench, words: list[str]) -> Run:
    """Run, and look for what a name does to the screen, tables and pages."""
    run = run_here(bench, words)
    out = Path(words[words.index("--out") + 1])
    return replace(run, wrong=tuple(_amiss(run, out)))


def _in_the_folder(bench: Bench, words: list[str]) -> Run:
    before = Path.cwd()
    os.chdir(Path(words[1]).parent / "in")
    try:
        return into_folder(bench, words)
    finally:
        os.chdir(before)


def _amiss(run: Run, out: Path) -> Iterator[str]:
    shown = (run.stdout + run.stderr).replace("\n", "")
    if controls := {char for char in shown if unicodedata.category(char) in ("Cc", "Cs")}:
        yield f"the screen shows {controls}"
    for path in out.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                if row and row[0].startswith(FORMULA_STARTS):
                    yield f"{path.name}: a cell begins like a formula: {row[0]!r}"
    for path in out.rglob("*.html"):
        if any(markup in path.read_text("utf-8") for markup in MARKUP):
            yield f"{path.name}: the name is markup of the page"


def _alone(
    case: str, told: str, *names: str | bytes, seen_in: str = "", is_quick: bool = False
) -> Case:
    expects = replace(HEARD, reports=len(names))
    return Case(case, told, _called(*names), expects, into_folder, seen_in, is_quick)


def _deep(studio: Studio, folder: Path) -> list[str]:
    """A file twenty folders down, each with a name of 120 bytes."""
    place = folder.joinpath(*(f"{number:03}" + "d" * 117 for number in range(20)))
    place.mkdir(parents=True)
    (place / "clip.wav").write_bytes(_short_sound(studio))
    return [str(folder), "--out", str(folder.parent / "out")]


CASES = (
    _alone("umlauts", "letters with marks", "Grüße à l'été.wav"),
    _alone("chinese", "Chinese", "访谈录音.wav"),
    _alone("arabic", "written from right to left", "مقابلة.wav"),
    _alone("emoji", "an emoji of several code points", "👩‍👧 😀.wav"),
    _alone(
        "right-to-left-override",
        "a mark that turns the reading round, as malware does",
        "clip\u202evaw.exe.wav",
    ),
    _alone(
        "two-normal-forms",
        "é as one code point and as two, in one folder",
        "caf\u00e9.wav",
        "cafe\u0301.wav",
    ),
    _alone(
        "case-twins", "two names that differ in case only", "Clip.wav", "clip.wav", is_quick=False
    ),
    _alone(
        "ending-twins",
        "two names that differ in the ending only",
        "clip.wav",
        "clip.wave.wav",
        "clip.WAV",
    ),
    _alone(
        "not-utf-8",
        "bytes that are no UTF-8",
        b"\xff\xfe.wav",
        seen_in="freedomofpress/dangerzone#768",
        is_quick=True,
    ),
    _alone("latin-1", "é as one byte, as of an old archive", b"caf\xe9.wav"),
    _alone(
        "255-bytes",
        "a name of 255 bytes",
        "n" * 251 + ".wav",
        seen_in="gradio-app/gradio#2681, gradio-app/gradio#9912",
        is_quick=True,
    ),
    _alone(
        "255-bytes-chinese",
        "85 Chinese letters, 255 bytes",
        "访" * 83 + "ab.wav",
        seen_in="gradio-app/gradio#2681",
    ),
    _alone(
        "two-long",
        "two names of 255 bytes that differ at their end",
        "n" * 250 + "1.wav",
        "n" * 250 + "2.wav",
    ),
    Case("deep", "twenty folders down, 2,400 bytes of path", _deep, HEARD, into_folder),
    _alone("spaces", "spaces around", " clip .wav"),
    _alone("trailing-dot", "a dot before the ending", "clip..wav"),
    _alone("newline", "a line break", "two\nlines.wav"),
    _alone("carriage-return", "a return that overwrites the line", "bad\rgood.wav"),
    _alone("tab", "a tab", "a\tb.wav"),
    _alone(
        "ansi",
        "an escape sequence that clears the screen",
        "\x1b[2J\x1b[31mred.wav",
        seen_in="schollz/croc#595, sharkdp/bat#3691",
        is_quick=True,
    ),
    _alone("osc", "an escape sequence that sets the window's title", "\x1b]0;owned\x07.wav"),
    _alone("c1-control", "a control character of one byte in Latin-1", "\u009b31mred.wav"),
    _alone("markup", "markup of HTML", f"{MARKUP[0]}.wav"),
    _alone("script", "a script that ends the page's own", f"{MARKUP[1]}<!--.wav"),
    _alone("entity", "an entity of HTML", "a&lt;b&amp;c.wav"),
    Case(
        "formula",
        "a formula of spreadsheets",
        _outright("=1+1.wav"),
        HEARD,
        _in_the_folder,
        "hhurz/tableExport.jquery.plugin#230",
        is_quick=True,
    ),
    Case("formula-at", "another formula", _outright("@SUM(1,1).wav"), HEARD, _in_the_folder),
    Case("formula-plus", "another formula", _outright("+1-1.wav"), HEARD, _in_the_folder),
    _alone("rich-markup", "markup of the terminal's library", "[red]a[bold][link=x].wav"),
    _alone("quotes", "quotes of all kinds", "a'b\"c`d.wav"),
    _alone("shell", "a command of the shell", "$(touch owned);&|.wav"),
    _alone("backslash", "backslashes", "a\\b\\..\\c.wav"),
    _alone("colon", "a colon, as of addresses", "data:x.wav"),
    _alone("drive", "a colon, as of drives", "C:clip.wav"),
    _alone(
        "percent",
        "a pattern of picture sequences",
        "take %03d.wav",
        seen_in="opencv/opencv#15778",
        is_quick=True,
    ),
    _alone("percent-escape", "an escape of addresses", "a%20b%2Fc.wav"),
    _alone("glob", "a pattern of file names", "[1-3]*?.wav"),
    _alone("hash", "signs that addresses give a meaning", "a#b?c=d&e.wav"),
    _alone("windows-device", "a name of Windows' devices", "CON.wav"),
    _alone(
        "like-the-table",
        "a name like that of the table over all files",
        "windows.wav",
        "moments.wav",
    ),
    _alone("many-dots", "dots inside", "a...b.mp4.wav"),
    _alone("digits", "a number", "0001.wav", seen_in="opencv/opencv#26457"),
    Case("dash", "begins with a dash", _outright("-v.wav"), HEARD, _in_the_folder, is_quick=True),
    Case("option", "is like an option", _outright("--help.wav"), HEARD, _in_the_folder),
    Case(
        "hidden",
        "begins with a dot, and is named outright",
        _outright(".hidden.wav"),
        HEARD,
        _in_the_folder,
    ),
    Case(
        "like-an-address",
        "is like an address, and is a folder's",
        _outright("s3:clip.wav"),
        HEARD,
        _in_the_folder,
    ),
    Case("like-a-command", "is like a command", _outright("report"), HEARD, _in_the_folder),
)
