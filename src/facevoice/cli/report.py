"""`facevoice report`: one file's answer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import (
    ExpectedConflicts,
    LeftOut,
    Merges,
    Names,
    Quiet,
    Sensitivity,
    argument,
    decide_by,
    edits_of,
    flag,
    option,
    takes_analyzer,
    tells_errors,
)
from facevoice.cli.review import add_review
from facevoice.cli.screen import Screen, passes
from facevoice.cli.stdin import refuse_stdin
from facevoice.cli.transcript import NoTranscript, TranscriptFile, Words, choose_words
from facevoice.errors import ConfigError
from facevoice.explain import explain_strongest, to_section
from facevoice.finding import output_name
from facevoice.interpret import decide_again, edit_people
from facevoice.media import probe
from facevoice.media.open import is_remote
from facevoice.media.remote import public_address
from facevoice.records import NO_EDITS, PeopleEdits, Report, Status, Trace
from facevoice.report import check_page_target, read_report, summarize_in_words, write_report_page
from facevoice.review import describe, summarize
from facevoice.settings import AnalyzerConfig, DecisionConfig
from facevoice.texts import shown


@tells_errors("report", interrupted="Nothing is written.")
@takes_analyzer
def report(
    file: Annotated[
        str,
        argument(
            "FILE",
            "A video or audio file, or a report that `analyze` wrote as JSON (its page has no "
            "waveform and no face boxes).",
        ),
    ],
    *,
    out: Annotated[
        Path | None, option("FILE.html", "The page. Default: NAME.html in the current folder.")
    ] = None,
    setup: AnalyzerSetup,
    transcript: TranscriptFile = None,
    no_transcript: NoTranscript = False,
    sensitivity: Sensitivity = None,
    expected_conflicts: ExpectedConflicts = None,
    names: Names = None,
    merges: Merges = None,
    left_out: LeftOut = None,
    review: Annotated[
        Path | None,
        option(
            "FILE",
            "What was said of the report: a review saved by its page. Default: NAME.review.json "
            "beside FILE, if there is one.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, flag("Replace --out even if it is no page that facevoice made.", "--overwrite")
    ] = False,
    explain: Annotated[
        bool,
        flag(
            "Below, show what in face and voice moved the answer at the strongest moments; takes "
            "some seconds more. See `facevoice explain`.",
            "--explain",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Show what a video says as one page: timeline, details, and the video to watch along.

    The page is one file that opens in any browser and loads nothing from elsewhere.
    """
    if is_remote(file):
        raise ConfigError(f"{public_address(file)}: fetch the file first, then name it")
    refuse_stdin(file, "report")
    screen = Screen(quiet=quiet)
    path = Path(file)
    target = Path(f"{output_name(path)}.html") if out is None else out
    check_page_target(target, overwrite=overwrite)
    edits = edits_of(names, merges, left_out)
    words = choose_words(screen, named=transcript, without=no_transcript)
    trace: Trace | None = None
    more = ""
    if path.suffix.lower() == ".json":
        asked = decide_by(DecisionConfig(), sensitivity, expected_conflicts)
        if setup != AnalyzerSetup(AnalyzerConfig(decision=asked)):
            raise ConfigError(
                "of a report, only --sensitivity and --expected-conflicts can be changed; other "
                "options of the analysis are for videos"
            )
        if explain:
            raise ConfigError("--explain asks the networks again: name the video, not its report")
        if edits.left_out:
            raise ConfigError("--leave-out judges anew: name the video, not its report")
        made = read_report(path)
        decision = decide_by(made.config.decision, sensitivity, expected_conflicts)
        if decision != made.config.decision:
            made = decide_again(made, decision)
        if edits != NO_EDITS:
            made = edit_people(made, edits)
        if transcript is not None:
            made = words.add_to(made)
    else:
        made, trace, more = _analyze(setup, path, screen, edits, words, explain=explain)
    made = add_review(screen, made, path, named=review)
    write_report_page(made, target, trace, name=path.stem, overwrite=overwrite, more=more)
    tell = screen.complain if made.status is Status.FAILED else screen.say
    tell(summarize_in_words(made))
    if made.review is not None:
        screen.say(describe(summarize(made)))
    screen.say(f"Written to {shown(str(target))}")


def _analyze(
    setup: AnalyzerSetup,
    path: Path,
    screen: Screen,
    edits: PeopleEdits,
    words: Words,
    *,
    explain: bool,
) -> tuple[Report, Trace, str]:
    """The report, what was seen and heard, and what stands below the report on its page."""
    # At once, since loading networks takes a while; in isolation, a child does it.
    info = None if setup.isolated else probe(path)
    analyzer = setup.build()
    info = info or analyzer.perceiver.probe(path)
    with screen.bar() as show:
        (reading,) = passes(show, (path.name,), info.duration_s)
        perception = analyzer.perceive(path, on_view=lambda view: reading(view.end_s))
    made = words.add_to(analyzer.interpret(perception, edits=edits))
    told = explain_strongest(analyzer, path, perception, made, edits) if explain else ()
    return made, perception.trace, "".join(map(to_section, told))
