"""`facevoice agree`: how far reports and people agree."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from facevoice.agreement import (
    FIGURES,
    MEANING,
    Agreement,
    Case,
    Comparison,
    Mapping,
    compare,
    describe,
    describe_among,
    figure_cells,
    pair_up,
    read_by_hand,
    to_agreement_json,
    to_agreement_page,
)
from facevoice.cli.options import EXIT_FAILED, Quiet, argument, flag, option, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import AnnotationError, ConfigError, ReportError, ReviewError
from facevoice.report import check_page_target, count_noun, read_report, write_page
from facevoice.texts import shown


@tells_errors("agree", interrupted="Nothing is written.")
def agree(
    report: Annotated[
        Path,
        argument("REPORT", "A report that `analyze` wrote as JSON, or a folder of them."),
    ],
    annotations: Annotated[
        list[Path],
        argument(
            "ANNOTATION",
            "What people say of it: an ELAN file, a TextGrid, or a table (.csv, .tsv) with the "
            "columns start and end, and face, voice, fused or outcome, or a review; or a folder of "
            "them, called as the reports. Several: one for each annotator.",
        ),
    ],
    *,
    tiers: Annotated[
        list[str] | None,
        option(
            "NAME=CHANNEL",
            "The tier or column NAME is face, voice, fused or outcome, or face@Anna of one of "
            "several people; may be given again.",
            "--tier",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        option(
            "LABEL=WORD",
            "LABEL means this emotion or outcome, such as zornig=angry; calm=neutral takes both "
            "for one, also of the report; unclear= leaves it out. May be given again.",
            "--label",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        option("FILE.html", "Write a page with both on one timeline, and who says what."),
    ] = None,
    as_json: Annotated[
        bool, flag("Print all figures as JSON on standard output.", "--json")
    ] = False,
    overwrite: Annotated[
        bool, flag("Replace --html even if it is no page that facevoice made.", "--overwrite")
    ] = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, flag("Show who says what, too.", "--verbose", "-v")] = False,
) -> None:
    """Tell how far people agree with reports, and with each other: kappa, alpha, confusions.

    Nothing is analysed again.
    """
    screen = Screen(quiet=quiet, verbose=verbose, data_on_stdout=as_json)
    mapping = Mapping(_split("--tier", tiers), _split("--label", labels, may_be_empty=True))
    if html is not None:
        check_page_target(html, overwrite=overwrite)
    cases, num_failed = _read_all(pair_up(report, annotations), screen)
    found = compare(cases, _names(annotations), mapping)
    if as_json:
        sys.stdout.write(to_agreement_json(found))
    if len(cases) + num_failed > 1:
        failed = f", {num_failed} failed" if num_failed else ""
        screen.say(f"{count_noun(len(cases), 'recording')}{failed}")
    _show(screen, found)
    if html is not None:
        page = to_agreement_page(found, report.stem or report.resolve().name)
        write_page(page, html, overwrite=overwrite)
        screen.say(f"Written to {shown(str(html))}")
    if num_failed:
        raise typer.Exit(EXIT_FAILED)


def _read_all(
    pairs: Sequence[tuple[Path, Sequence[Path | None]]], screen: Screen
) -> tuple[list[Case], int]:
    """The recordings, and how many can't be read, which are told unless there is no other."""
    cases: list[Case] = []
    for place, (path, own) in enumerate(pairs, start=1):
        try:
            cases.append(_read(path, own))
        except (AnnotationError, ReportError, ReviewError) as error:
            if place == len(pairs) and not cases:
                raise
            screen.complain(str(error))
    return cases, len(pairs) - len(cases)


def _read(path: Path, annotations: Sequence[Path | None]) -> Case:
    report = read_report(path)
    read = (None if one is None else read_by_hand(one, report) for one in annotations)
    return Case(path.stem, report, tuple(read))


def _split(name: str, pairs: Sequence[str] | None, *, may_be_empty: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in pairs or ():
        left, equals, right = (part.strip() for part in text.rpartition("="))
        if not equals or not left or not (right or may_be_empty):
            form = "LABEL=WORD, such as zornig=angry" if may_be_empty else "NAME=face"
            raise ConfigError(f"{name} {shown(text)!r}: write {form}")
        found[left] = right
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """What annotators are called: their files, with the folders where that isn't enough."""
    short = [path.name or path.resolve().name for path in paths]
    return [
        name if short.count(name) == 1 else str(path)
        for name, path in zip(short, paths, strict=True)
    ]


def _show(screen: Screen, found: Agreement) -> None:
    several = len(found.annotators) > 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("channel", *(["by"] if several else []), "per"):
        table.add_column(heading)
    for heading in FIGURES:
        table.add_column(heading, justify="right", no_wrap=True)
    before = found.comparisons[0].channel if found.comparisons else ""
    for one in found.comparisons:
        if one.channel != before:
            table.add_section()
            before = one.channel
        by = [shown(one.annotator)] if several else []
        table.add_row(one.channel, *by, one.unit, *figure_cells(one))
    screen.say(table, "")
    for one in found.comparisons:
        if one.unit == "window":
            whose = f" ({shown(one.annotator)})" if several else ""
            screen.say(f"{one.channel}{whose}: {describe(one)}{_left_out(one)}")
            if screen.verbose and one.num_units:
                screen.say("", _confusion(one), "")
    for group in found.among:
        screen.say(f"People among themselves, {group.channel}: {describe_among(group)}")
    for remark in found.remarks:
        screen.say(remark, style="dim")
    screen.say(MEANING, style="dim")


def _left_out(one: Comparison) -> str:
    parts = []
    if one.num_unread:
        parts.append(f"{one.num_unread:,} marked but not read")
    if one.num_unmarked:
        parts.append(f"{one.num_unmarked:,} read but not marked")
    return f" Left out: {', '.join(parts)}." if parts else ""


def _confusion(one: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("people \\ facevoice")
    for label in one.labels:
        table.add_column(label, justify="right")
    for label, row in zip(one.labels, one.counts, strict=True):
        table.add_row(label, *(f"{n:,}" for n in row))
    return table
