"""What a case is: how its input is made, how it is run, and what must come of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from typer.testing import CliRunner

from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup
from facevoice.cli.app import app
from facevoice.settings import AnalyzerConfig
from faults.studio import LENGTH_S, Studio

WIDE = {"COLUMNS": "1000"}
"""So that no message is broken into lines."""


@dataclass(frozen=True)
class Expect:
    """What a user is to get of every file of a case.

    status, outcomes, kinds, reasons: those allowed, by the words of the report, empty for any;
    kinds are of the error, and reasons those that some window must give;
    like_plain: no probability is further than this from the plain clip's, and the outcome is its;
    face, voice: whether some window must have that channel, or no window may;
    length_s, within_s: of the media; says: what error or messages must contain;
    exit_codes: those allowed, empty for the one that goes with the status;
    reports: how many files are reported.
    """

    status: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    like_plain: float | None = None
    face: bool | None = None
    voice: bool | None = None
    length_s: float | None = None
    within_s: float = 0.15
    says: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()
    reports: int = 1


@dataclass(frozen=True)
class Run:
    """What came of one call.

    leaked: what was written to standard error past Python; left_behind: files that nobody asked
    for; wrong: what the runner of the case found amiss by itself.
    """

    exit_code: int
    stdout: str
    stderr: str
    reports: tuple[dict[str, Any], ...]
    leaked: str = ""
    left_behind: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bench:
    """Where cases are made and run: the studio, and one analyzer for all."""

    studio: Studio
    analyzer: Analyzer
    plain: dict[str, Any] = field(default_factory=dict)


OUTPUTS = ("--out", "--store")
UNFINISHED = (".part", ".tmp", ".old")

Make = Callable[[Studio, Path], Path | Sequence[str]]
Act = Callable[[Bench, list[str]], Run]


@dataclass(frozen=True)
class Case:
    """A named fault.

    told: what it is, in one line; expects: what a user is to get; seen_in: a public report of it;
    make: writes the input into an empty folder; gives the file, or the operands and options.
    is_quick: belongs to those that always run.
    """

    name: str
    told: str
    make: Make
    expects: Expect
    run: Act | None = None
    seen_in: str = ""
    is_quick: bool = False


AS_PLAIN = Expect(("ok",), like_plain=0.05, length_s=LENGTH_S)
ENCODED = replace(AS_PLAIN, like_plain=0.08)
"""Where pictures or sound are encoded by other means, which alone moves probabilities."""
SEEN_ONLY = Expect(
    ("video_only",), face=True, voice=False, outcomes=("insufficient",), length_s=LENGTH_S
)
HEARD_ONLY = Expect(
    ("audio_only",), face=False, voice=True, outcomes=("insufficient",), length_s=LENGTH_S
)
REFUSED = Expect(("failed",), kinds=("unreadable_media",))
CUT = Expect(("truncated",), length_s=LENGTH_S * 0.6, within_s=0.6)


def refused(*says: str, kinds: tuple[str, ...] = ("unreadable_media",)) -> Expect:
    """Not analysed; the message names the file, these words and so the remedy."""
    return Expect(("failed",), kinds, says=says)


def run_here(bench: Bench, words: list[str]) -> Run:
    """`facevoice analyze …` in this process, with the bench's analyzer."""
    reports_in = _out_of(words)
    options = [] if reports_in or "--format" in words else ["--format", "json"]
    with _watched_errors() as leaked, mock.patch.object(AnalyzerSetup, "build", _handing(bench)):
        done = CliRunner().invoke(app, ["analyze", *options, *words], env=WIDE)
    errors = done.stderr
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        errors += "".join(traceback.format_exception(done.exception))
    reports = _read_reports(reports_in, done.stdout)
    return Run(done.exit_code, done.stdout, errors, reports, leaked.getvalue())


def _handing(bench: Bench) -> Callable[[AnalyzerSetup], Analyzer]:
    build = AnalyzerSetup.build

    def hand(setup: AnalyzerSetup) -> Analyzer:
        return bench.analyzer if setup.config == AnalyzerConfig() else build(setup)

    return hand


def _out_of(words: Sequence[str]) -> Path | None:
    return Path(words[words.index("--out") + 1]) if "--out" in words else None


def reports_below(folder: Path) -> list[Path]:
    """The reports of a run, also of hidden files; what it keeps for its tables is none."""
    return sorted(path for path in folder.rglob("*.json") if ".tables" not in path.parts)


def _read_reports(folder: Path | None, stdout: str) -> tuple[dict[str, Any], ...]:
    if folder is not None:
        texts = [path.read_text("utf-8") for path in reports_below(folder)]
    else:
        texts = [line for line in stdout.splitlines() if line.startswith('{"schema"')]
    return tuple(json.loads(text) for text in texts)


@contextlib.contextmanager
def _watched_errors() -> Iterator[io.StringIO]:
    """What libraries write to standard error by themselves."""
    text = io.StringIO()
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            text.write(file.read().decode(errors="replace"))


def carry_out(case: Case, bench: Bench, folder: Path) -> Run:
    """Make a case's input below `folder` and run it there, in a place for temporary files."""
    given, place = folder / "in", folder / "tmp"
    given.mkdir()
    place.mkdir()
    made = case.make(bench.studio, given)
    words = [str(made)] if isinstance(made, Path) else [str(word) for word in made]
    before = _files_below(folder)
    with (
        mock.patch.dict(os.environ, TMPDIR=str(place)),
        mock.patch.object(tempfile, "tempdir", None),
    ):
        run = (case.run or run_here)(bench, words)
    asked = tuple(words[place + 1] for place, word in enumerate(words) if word in OUTPUTS)
    new = sorted(_files_below(folder) - before)
    left = [path for path in new if not path.startswith(asked) or path.endswith(UNFINISHED)]
    return replace(run, left_behind=tuple(left))


def _files_below(folder: Path) -> set[str]:
    return {str(Path(root, name)) for root, _, names in os.walk(folder) for name in names}


def environment(**changes: str | None) -> Mapping[str, str]:
    """This process's environment with changes; None takes a name away."""
    kept = {**os.environ, **WIDE, **{k: v for k, v in changes.items() if v is not None}}
    return {name: value for name, value in kept.items() if changes.get(name, "") is not None}
