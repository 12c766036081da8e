"""`facevoice convert`: reports that are there already, in the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from facevoice.cli.folder import reason, remedy
from facevoice.cli.options import EXIT_FAILED, Quiet, argument, flag, option, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError, ReportError, ReviewError
from facevoice.records import Status
from facevoice.report import (
    BLANK_FORMATS,
    FILE_FORMATS,
    convert_report,
    count_noun,
    find_reports,
    summarize_in_words,
)
from facevoice.texts import shown

_TOLD: Final = ", ".join(FILE_FORMATS)


@tells_errors("convert", interrupted="What was written stays.")
def convert(
    paths: Annotated[
        list[str],
        argument("PATH", "Reports that `analyze` wrote as JSON, or folders of them."),
    ],
    *,
    formats: Annotated[
        list[str],
        option(
            "LIST",
            f"What to write: {_TOLD}; joined by commas or given again.",
            "--to",
        ),
    ],
    out: Annotated[Path | None, option("DIR", "Write there. Default: beside each report.")] = None,
    overwrite: Annotated[
        bool, flag("Replace files that are there and say something else.", "--overwrite")
    ] = False,
    blank: Annotated[
        bool,
        flag(
            "Leave out what facevoice says, for people who shall annotate unprimed: only tiers, "
            "vocabularies, words and the film. For eaf and textgrid.",
            "--blank",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write reports for ELAN, Praat, video players, BIDS or audformat, without analysing again."""
    wanted = _parse(formats)
    if blank and (full := [name for name in wanted if name not in BLANK_FORMATS]):
        raise ConfigError(f"--blank is for {' and '.join(BLANK_FORMATS)}, not for {full[0]}")
    screen = Screen(quiet=quiet)
    num_done = num_failed = 0
    for given in paths:
        root = Path(given)
        found = list(find_reports(root)) if root.is_dir() else [root]
        if not found:
            raise ConfigError(
                f"{shown(given)}: holds no reports; make them with "
                "`facevoice analyze PATH --out DIR --format json`"
            )
        for path in found:
            below = path.relative_to(root) if root.is_dir() else Path(path.name)
            base = (path if out is None else out / below).with_suffix("")
            try:
                report, written = convert_report(
                    path, base, wanted, out=out, overwrite=overwrite, blank=blank
                )
            except (ReportError, ReviewError, OSError) as error:
                screen.complain(_explain(path, error, overwrite=overwrite))
                num_failed += 1
                continue
            if report.status is Status.FAILED:
                screen.say(f"{shown(str(path))}: {summarize_in_words(report)}")
            num_done += 1
            for one in written:
                screen.say(f"Written to {shown(str(one))}")
    if num_done + num_failed > 1:
        failed = f", {num_failed} failed" if num_failed else ""
        screen.say(f"{count_noun(num_done, 'report')} converted{failed}")
    if num_failed:
        raise typer.Exit(EXIT_FAILED)


def _parse(formats: list[str]) -> tuple[str, ...]:
    parts = [part.strip().lower().lstrip(".") for text in formats for part in text.split(",")]
    wanted = tuple(dict.fromkeys(parts))
    for name in wanted:
        if name not in FILE_FORMATS:
            raise ConfigError(f"--to: unknown {shown(name)!r}; known: {_TOLD}")
    return wanted


def _explain(path: Path, error: ReportError | ReviewError | OSError, *, overwrite: bool) -> str:
    if isinstance(error, FileExistsError):
        ways = "Move it away, choose another --out, or replace it with --overwrite."
        if overwrite:
            ways = "Move it away or choose another --out."
        return f"{shown(str(error.filename))}: {error.strerror}. {ways}"
    if isinstance(error, OSError):
        where = shown(str(error.filename or path))
        return f"{where}: can't be written ({reason(error)}). {remedy(error)}."
    return shown(str(error))
