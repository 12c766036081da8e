"""`facevoice analyze`: from paths and options to reports on the screen and on disk."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from facevoice.batch import (
    BACKENDS,
    AnalyzerSetup,
    BatchPlan,
    FileResult,
    analyze_files,
)
from facevoice.cli.folder import Folder
from facevoice.cli.options import (
    EXIT_FAILED,
    Jobs,
    Quiet,
    argument,
    flag,
    formats_of,
    gone,
    option,
    takes_analyzer,
    tells_errors,
)
from facevoice.cli.person import Neutral, Person, get_to_know, name_person
from facevoice.cli.review import add_review
from facevoice.cli.screen import Screen, media
from facevoice.cli.stdin import spooled
from facevoice.cli.transcript import (
    NoTranscript,
    Transcribe,
    TranscribeModel,
    TranscriptFile,
    Words,
    choose_words,
)
from facevoice.errors import ConfigError
from facevoice.finding import FoundFile, find_files
from facevoice.records import Outcome, Prediction, Report, Status
from facevoice.report import (
    FORMATS,
    INDEX_NAME,
    OUTCOME_STYLES,
    Tally,
    build_moments,
    build_table,
    describe_point,
    describe_sound,
    summarize_in_words,
    to_csv,
    to_json,
    window_to_jsonl,
)
from facevoice.texts import shown
from facevoice.transcript import join_lines, without_sidecars

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer

STORE_NAME: Final = ".facevoice.db"
"""The store of perceptions below --out."""

# Of more files than this, each is shown in a line; of more moments, only the first.
_MAX_TABLES: Final = 8
_MAX_ROWS: Final = 20
_MAX_TEXT: Final = 600


@tells_errors("analyze")
@takes_analyzer
def analyze(
    paths: Annotated[
        list[str],
        argument(
            "PATH",
            "Video or audio files, folders of them, addresses (https://…, s3://…), or - for "
            "standard input.",
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        option(
            "DIR",
            "Write NAME.json and NAME.csv per file, windows.csv and moments.csv over all. What is "
            "done there already is not done again, and what was interrupted goes on.",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        option(
            "LIST",
            f"Of {', '.join(FORMATS)}, joined by commas or given again. With --out: what to write, "
            "by default json,csv; html is a page per file, parquet one dataset over all, eaf for "
            "ELAN, textgrid for Praat, vtt and srt captions, events BIDS tables, rttm who speaks, "
            "audformat a database (docs/exchange.md). Without: print json, csv or jsonl to "
            "standard output (json: a report a line; jsonl: each window as soon as it is done, "
            "compared with those before it only).",
            "--format",
        ),
    ] = None,
    setup: AnalyzerSetup,
    person: Annotated[
        list[str] | None,
        option(
            "PATH",
            "Compare with this person's usual face and voice: recordings of the same person in any "
            "mood, folders of them, or a profile made by `profile`; may be given again.",
        ),
    ] = None,
    neutral: Neutral = None,
    same_person: Annotated[
        bool,
        flag("All files given show one person, and inform each other.", "--same-person"),
    ] = False,
    same_setting: Annotated[
        bool,
        flag(
            "All files given share room, microphone, camera and language, and inform each other.",
            "--same-setting",
        ),
    ] = False,
    transcript: TranscriptFile = None,
    no_transcript: NoTranscript = False,
    transcribe: Transcribe = False,
    transcribe_model: TranscribeModel = None,
    jobs: Jobs = None,
    store: Annotated[
        Path | None,
        option(
            "FILE",
            "Keep here what was perceived of each file, by content and settings, and take it "
            f"from there. Many runs may share it. Default: {STORE_NAME} below --out.",
        ),
    ] = None,
    cache: Annotated[
        str | None, gone("--cache", "give --store FILE, which keeps everything in one file")
    ] = None,
    again: Annotated[bool, flag("Read known files again, from the start.", "--again")] = False,
    backend: Annotated[
        str, option("NAME", "local: this machine; ray: a Ray cluster (needs the extra ray).")
    ] = BACKENDS[0],
    address: Annotated[
        str | None,
        option(
            "ADDRESS",
            "Of the Ray cluster, such as HOST:6379 or ray://HOST:10001. Default: RAY_ADDRESS, "
            "or a cluster that runs on this machine, or a new one.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, flag("Show every window, and all messages.", "--verbose", "-v")
    ] = False,
    progress: Annotated[
        bool, flag("Show a progress bar on a terminal.", "--progress/--no-progress")
    ] = True,
) -> None:
    """Analyse videos: face, voice, and whether they match.

    Run again on the same --out or --store, it reads no file twice: another --sensitivity is
    tried within moments.

    Exit codes: 0 all done, 1 some files failed, 2 wrong usage, 130 interrupted.
    """
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose exclude each other")
    wanted = formats_of(formats or (), out)
    screen = Screen(
        quiet=quiet,
        verbose=verbose,
        progress=progress,
        data_on_stdout=bool(wanted) and out is None,
    )
    plan = BatchPlan(
        analyzer=setup,
        store=store or (None if out is None else out / STORE_NAME),
        again=again,
        jobs=jobs,
        backend=backend,
        address=address,
        streams=out is None and wanted == ("jsonl",),
        same_person=same_person,
        same_setting=same_setting,
    )
    if setup.isolated and (transcribe or transcribe_model is not None):
        raise ConfigError(
            "--transcribe reads sound outside of --isolated: transcribe the file elsewhere, and "
            "name its words with --transcript"
        )
    known = name_person(person or (), neutral or (), "--person")
    with spooled(paths) as (given, names):
        found = find_files(without_sidecars(given))
        if transcript is not None and len(found.files) > 1:
            raise ConfigError(
                "--transcript names the words of one file; of several, put each beside its file"
            )
        words = choose_words(
            screen,
            named=transcript,
            without=no_transcript,
            transcribe=transcribe,
            model=transcribe_model,
            num_threads=setup.num_threads,
            out=out,
        )
        if passed_over := found.describe_passed_over():
            screen.say(passed_over, style="dim")
        output = _Output(screen, out, wanted, len(found.files), words)
        _analyze(found.files, replace(plan, names=names), output, known)
    output.say_all()
    if output.tally.num_failed or not (output.folder is None or output.folder.is_whole):
        raise typer.Exit(EXIT_FAILED)


def _analyze(files: Sequence[FoundFile], plan: BatchPlan, output: _Output, known: Person) -> None:
    try:
        analyzer = None
        if known or plan.same_person or plan.same_setting:
            analyzer = plan.analyzer.build()
            analyzer.check_compares()
            plan = _get_to_know(known, plan, analyzer, output.screen)
        _run(files, plan, output, analyzer)
    except KeyboardInterrupt as error:
        kept = f"{output.tally.num_files} of {len(files)} files are done and kept."
        go_on = "" if plan.store is None else " Run again to go on."
        raise KeyboardInterrupt(kept + go_on) from error


def _get_to_know(person: Person, plan: BatchPlan, analyzer: Analyzer, screen: Screen) -> BatchPlan:
    others, _ = get_to_know(person, plan, analyzer, screen)
    if person and not others.known_to(None).person:
        screen.complain("Nothing is known of the person; the files are read without.")
    return replace(plan, others=others)


def _run(
    files: Sequence[FoundFile], plan: BatchPlan, output: _Output, analyzer: Analyzer | None
) -> None:
    with ExitStack() as stack:
        if output.out is not None:
            folder = Folder(output.out, output.formats, output.screen)
            output.folder = stack.enter_context(folder)
        show = stack.enter_context(output.screen.bar())
        results = analyze_files(
            [file.path for file in files],
            plan,
            on_progress=media(show),
            # Each window is printed as soon as it is done.
            on_window=output.stream if plan.streams else None,
            analyzer=analyzer,
        )
        stack.enter_context(closing(results))
        for file, result in zip(files, results, strict=True):
            output.take(file, result)


@dataclass(slots=True)
class _Output:
    """Where results go: to the screen, and into a folder (None: to standard output)."""

    screen: Screen
    out: Path | None
    formats: tuple[str, ...]
    num_files: int
    words: Words
    tally: Tally = field(default_factory=Tally)
    folder: Folder | None = None
    point: str | None = None
    """What the calls of these files are worth, in words."""

    @property
    def has_lines(self) -> bool:
        """Whether each file is shown in a line."""
        return self.num_files > _MAX_TABLES and not self.screen.verbose

    def stream(self, path: str, window: Prediction) -> None:
        """Print a window."""
        _print(window_to_jsonl(path, window, self.words.of(path)))

    def take(self, file: FoundFile, result: FileResult) -> None:
        """Write, print and count a result."""
        report = self.words.add_to(result.report, file.name)
        if self.out is not None:
            report = add_review(self.screen, report, self.out / f"{file.name}.json")
        is_written = self.folder is None or self.folder.write(report, file.name)
        if self.folder is None and self.formats == ("json",):
            _print(to_json(report, indent=None) + "\n")
        elif self.folder is None and self.formats == ("csv",):
            _print(to_csv([report], header=self.tally.num_files == 0))
        elif self.folder is None and self.formats and not result.was_streamed:
            for window in result.stream:
                self.stream(report.path, window)
        self.tally.add(report, known=result.known, is_written=is_written)
        if report.windows and (self.point is None or report.status is Status.OK):
            self.point = describe_point(report)
        if report.status is Status.FAILED:
            self.screen.complain(summarize_in_words(report))
        elif self.has_lines:
            self._show_line(report)
        else:
            self._show(report)

    def say_all(self) -> None:
        """What is to be said when all is done."""
        if self.point is not None:
            self.screen.say(*([""] if self.has_lines else []), self.point)
        if self.num_files > 1:
            self.screen.say("", self.tally.line(), "", self.tally.table())
        if self.out is not None:
            self.screen.say(f"Written to {shown(str(self.out))}")
            if "html" in self.formats and self.num_files > 1:
                self.screen.say(f"All pages: {shown(str(self.out / INDEX_NAME))}")

    def _show(self, report: Report) -> None:
        screen = self.screen
        screen.say(shown(report.path), style="bold")
        if report.status is not Status.FAILED:
            screen.say(summarize_in_words(report), style=_style(report))
            if heard := describe_sound(report.media):
                screen.say(heard, style="dim")
        if report.summary is None and report.moments:
            screen.say("", build_moments(report, max_moments=None if screen.verbose else _MAX_ROWS))
        if screen.verbose and report.windows:
            screen.say("", build_table(report))
        if words := _words(report, whole=screen.verbose):
            screen.say(words)
        screen.say("")

    def _show_line(self, report: Report) -> None:
        """The outcome of a short file, and how often a long one has each."""
        if report.summary is None:
            counts = Counter(moment.outcome for moment in report.moments)
            told = [(o, f"{o.value} {counts[o]:,}×") for o in Outcome if counts[o]]
        else:
            told = [(report.summary.outcome, report.summary.outcome.value)]
        line = Text(f"{shown(report.path)}  ", overflow="fold")
        for place, (outcome, words) in enumerate(told):
            line.append(", " if place else "")
            line.append(words, style=OUTCOME_STYLES[outcome])
        self.screen.say(line if told else line.append(summarize_in_words(report)))


def _words(report: Report, *, whole: bool) -> str:
    """Where the words are from, and what they are where no table of moments tells it."""
    said = report.transcript
    if said is None:
        return ""
    source = (
        f"Words{' without times' if said.text else ''} from {shown(PurePath(said.source).name)}"
    )
    if report.summary is None and not said.text:
        return f"{source}."
    text = said.text or join_lines(said.lines)
    if not whole and len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT].rstrip()}… (-v shows all)"
    return f"{source}: {text}"


def _style(report: Report) -> str:
    """The colour of a short file's answer; what is dim in a table is not in a sentence."""
    if report.summary is None:
        return ""
    return OUTCOME_STYLES[report.summary.outcome].replace("dim", "")


def _print(text: str) -> None:
    """Data: UTF-8 and bare line feeds, whatever the terminal can print."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise
