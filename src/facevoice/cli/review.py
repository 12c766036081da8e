"""`facevoice review`: what people said of reports, and the reports with their word beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Final

import typer

from facevoice.cli.folder import Folder
from facevoice.cli.options import (
    EXIT_FAILED,
    Quiet,
    argument,
    flag,
    formats_of,
    option,
    tells_errors,
)
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError, ReportError, ReviewError
from facevoice.finding import identity
from facevoice.records import Report
from facevoice.report import count_noun, find_reports, read_report
from facevoice.review import (
    SUFFIX,
    Review,
    ReviewSummary,
    describe,
    find_review,
    join,
    read_review,
    remarks,
    review_path,
    summarize,
    unite,
    write_review,
)
from facevoice.texts import safe_json, shown

_REPORT: Final = ".json"


@dataclass(frozen=True, slots=True)
class _Found:
    """A report, and the relative path without ending of what is written of it."""

    path: Path
    name: PurePath


@tells_errors("review")
def review(
    paths: Annotated[
        list[Path],
        argument(
            "PATH",
            "Reports that `analyze` wrote as JSON, or folders of them; the review of NAME.json "
            "lies beside it as NAME.review.json.",
        ),
    ],
    *,
    taken: Annotated[
        Path | None,
        option(
            "DIR",
            "First put the reviews that lie there, such as your downloads, beside their reports; "
            "of several on one moment, the latest verdict counts.",
            "--from",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "DIR",
            "Write the reports anew with what people said of them: the machine's answers stay as "
            "they are, the person's stand beside them (reviewed_outcome, …).",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        option("LIST", "What to write to --out, as of `analyze`. Default: json,csv.", "--format"),
    ] = None,
    as_json: Annotated[
        bool, flag("Print counts and corrections as JSON to standard output.", "--json")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Sum up what people said of reports: how much is right, and what was corrected.

    Moments are marked right or wrong on the page of a report, which saves NAME.review.json.
    """
    if formats and out is None:
        raise ConfigError("--format needs --out DIR")
    wanted = formats_of(formats or (), out)
    screen = Screen(quiet=quiet, data_on_stdout=as_json)
    found = _find_all(paths)
    if out is not None:
        _check_names(found)
    summaries: dict[str, ReviewSummary] = {}
    num_failed = 0
    if taken is not None:
        _take_reviews(taken, found, screen)
    with ExitStack() as stack:
        folder = None if out is None else stack.enter_context(Folder(out, wanted, screen))
        for one in found:
            try:
                report = add_review(screen, read_report(one.path), one.path, is_strict=True)
            except (ReportError, ReviewError) as error:
                screen.complain(str(error))
                num_failed += 1
                continue
            if report.review is not None:
                summaries[str(one.path)] = summarize(report)
                words = describe(summaries[str(one.path)])
                screen.say(f"{shown(str(one.path))}: {words}")
            if folder is not None:
                folder.write(report, one.name)
    _tell_all(screen, summaries, len(found) - num_failed, num_failed, as_json=as_json)
    if out is not None:
        screen.say(f"Written to {shown(str(out))}")
    if num_failed or (folder is not None and not folder.is_whole):
        raise typer.Exit(EXIT_FAILED)


def add_review(
    screen: Screen,
    report: Report,
    path: Path,
    *,
    named: Path | None = None,
    is_strict: bool = False,
) -> Report:
    """A report with its review, the one beside `path` or the named one; says what to know of it.

    One beside that can't be read costs no report, but is told; unless `is_strict`.

    Raises:
        ReviewError: it can't be read, or is one of another file.
    """
    if not report.windows:
        return report
    if named is not None:
        report = report.with_review(read_review(named, report))
    else:
        try:
            beside = find_review(path, report)
        except ReviewError as error:
            if is_strict:
                raise
            screen.complain(f"{error} The report is without it.")
            return report.with_review(None)
        report = report if beside is None else report.with_review(beside)
    _say_remarks(screen, report)
    return report


def _say_remarks(screen: Screen, report: Report) -> None:
    if report.review is not None:
        for remark in remarks(report.review, report):
            screen.say(f"{shown(report.path)}: {remark}")


def _take_reviews(folder: Path, found: Sequence[_Found], screen: Screen) -> None:
    """Put reviews from elsewhere beside their reports, together with those that are there."""
    if not folder.is_dir():
        raise ConfigError(f"--from {shown(str(folder))}: there is no such folder")
    # Browsers add numbers: talk.review.json, talk.review (1).json.
    loose: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.review*.json")):
        loose.setdefault(path.name.rpartition(".review")[0], []).append(path)
    num_taken = 0
    for one in found:
        own = [path for path in loose.get(one.path.stem, []) if path != review_path(one.path)]
        if not own:
            continue
        try:
            report = read_report(one.path)
            before = find_review(one.path, report)
        except (ReportError, ReviewError):
            continue  # It is told where the reports are summed up.
        reviews = [r for path in own if (r := _read_own(path, report, screen)) is not None]
        if reviews:
            write_review(review_path(one.path), unite([*([before] if before else []), *reviews]))
            num_taken += len(reviews)
    screen.say(f"{count_noun(num_taken, 'review')} taken from {shown(str(folder))}")


def _read_own(path: Path, report: Report, screen: Screen) -> Review | None:
    try:
        review = read_review(path, report)
    except ReviewError as error:
        screen.complain(f"{error} It is left there.")
        return None
    if not review.is_of(report):
        screen.complain(f"{shown(str(path))}: was made of another analysis. It is left there.")
        return None
    return review


def _find_all(paths: Sequence[Path]) -> list[_Found]:
    """All reports, none twice."""
    found = (one for path in paths for one in _find_reports(path))
    return list({identity(one.path): one for one in found}.values())


def _check_names(found: Sequence[_Found]) -> None:
    taken: dict[PurePath, Path] = {}
    for one in found:
        before = taken.setdefault(one.name, one.path)
        if before != one.path:
            raise ConfigError(
                f"--out: {shown(str(before))} and {shown(str(one.path))} would be written under "
                "one name; name the folder that holds both, or one at a time"
            )


def _find_reports(path: Path) -> Iterator[_Found]:
    """Reports of a folder in their order, or the one that is named, or whose review is."""
    if path.is_dir():
        for file in find_reports(path):
            yield _Found(file, file.relative_to(path).with_suffix(""))
        return
    if path.name.endswith(SUFFIX):
        given, path = path, path.with_name(f"{path.name.removesuffix(SUFFIX)}{_REPORT}")
        if not path.exists():
            raise ConfigError(
                f"{shown(str(given))}: its report isn't beside it; `facevoice analyze FILE --out "
                f"{shown(str(path.parent))} --format json` writes {shown(path.name)}"
            )
    if path.suffix.lower() != _REPORT:
        raise ConfigError(
            f"{shown(str(path))}: is no report; `facevoice analyze … --out DIR` writes NAME.json, "
            "which is what to name here"
        )
    yield _Found(path, PurePath(path.stem))


def _tell_all(
    screen: Screen,
    summaries: dict[str, ReviewSummary],
    num_found: int,
    num_failed: int,
    *,
    as_json: bool,
) -> None:
    whole = join(summaries.values())
    without = num_found - len(summaries)
    if as_json:
        values = {
            "all": whole.to_dict() | {"num_without_review": without},
            "reports": [{"path": path} | one.to_dict() for path, one in summaries.items()],
        }
        typer.echo(safe_json(json.dumps(values, ensure_ascii=False, indent=2)))
    elif not num_found and not num_failed:
        screen.complain("There is no report here that `analyze` wrote as JSON.")
    elif num_found and not summaries:
        screen.say(f"None of {count_noun(num_found, 'report')} has a review beside it.")
    elif num_found > 1:
        rest = f", {without:,} without" if without else ""
        reports = count_noun(len(summaries), "report")
        screen.say("", f"In {reports} with a review{rest}: {describe(whole)}")
