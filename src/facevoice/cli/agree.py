"""`facevoice agree`: how far reports and people agree."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich import box
from rich.table import Table

from facevoice.agreement import (
    LEVEL,
    Agreement,
    Case,
    Comparison,
    Mapping,
    check_agreement_target,
    compare,
    describe,
    figure_words,
    pair_up,
    to_agreement_json,
    to_agreement_page,
)
from facevoice.cli.options import Quiet, argument, flag, option, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError
from facevoice.exchange import read_annotation
from facevoice.files import write_atomically
from facevoice.report import read_report
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
            "columns start and end, and face, voice, fused or outcome; or a folder of them, called "
            "as the reports. Several: one for each annotator.",
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
    quiet: Quiet = False,
    verbose: Annotated[bool, flag("Show who says what, too.", "--verbose", "-v")] = False,
) -> None:
    """Tell how far people agree with reports, and with each other: kappa, alpha, confusions.

    Nothing is analysed again.
    """
    screen = Screen(quiet=quiet, verbose=verbose, data_on_stdout=as_json)
    mapping = Mapping(_split("--tier", tiers), _split("--label", labels, may_be_empty=True))
    if html is not None:
        check_agreement_target(html)
    cases = [
        Case(
            path.stem,
            read_report(path),
            tuple(None if one is None else read_annotation(one) for one in own),
        )
        for path, own in pair_up(report, annotations)
    ]
    found = compare(cases, _names(annotations), mapping)
    if as_json:
        sys.stdout.write(to_agreement_json(found))
    if len(cases) > 1:
        screen.say(f"{len(cases)} recordings")
    _show(screen, found)
    if html is not None:
        write_atomically(html, to_agreement_page(found, report.stem or report.resolve().name))
        screen.say(f"Written to {shown(str(html))}")


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
    for heading in ("compared", "same", "kappa", "range", "alpha"):
        table.add_column(heading, justify="right", no_wrap=True)
    before = found.comparisons[0].channel if found.comparisons else ""
    for one in found.comparisons:
        if one.channel != before:
            table.add_section()
            before = one.channel
        table.add_row(*_cells(one, several=several))
    screen.say(table, "")
    for one in found.comparisons:
        if one.unit == "window":
            by = f" ({shown(one.annotator)})" if several else ""
            screen.say(f"{one.channel}{by}: {describe(one)}{_left_out(one)}")
            if screen.verbose and one.num_units:
                screen.say("", _confusion(one), "")
    for group in found.among:
        pairs = "; ".join(
            f"{shown(a)} and {shown(b)} kappa {figure_words(kappa)}" for a, b, kappa in group.kappas
        )
        screen.say(
            f"People among themselves, {group.channel}: alpha {figure_words(group.alpha)} over "
            f"{group.num_units:,} windows, {figure_words(group.alpha_with_report)} with facevoice "
            f"as one more; {pairs}."
        )
    for remark in found.remarks:
        screen.say(remark, style="dim")
    screen.say(
        "Kappa and alpha: 1 is full agreement, 0 what chance gives. The range holds kappa in the "
        f"middle {LEVEL:.0%} of draws of the stretches that people marked.",
        style="dim",
    )


def _cells(one: Comparison, *, several: bool) -> list[str]:
    limits = "" if one.low is None or one.high is None else f"{one.low:.2f}–{one.high:.2f}"
    return [
        one.channel,
        *([shown(one.annotator)] if several else []),
        one.unit,
        f"{one.num_units:,}",
        "–" if one.agreed is None else f"{one.agreed:.0%}",
        figure_words(one.kappa),
        limits,
        figure_words(one.alpha),
    ]


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
