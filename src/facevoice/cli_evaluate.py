"""The commands that turn runs of predictions into figures: evaluate, compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facevoice.cli_checkpoint import BackbonesOption, CheckpointOption
from facevoice.cli_evaluate_table import (
    TABLE_SUFFIXES,
    ModelRequest,
    ScoringOptions,
    evaluate_table,
)
from facevoice.errors import ConfigError, FacevoiceError
from facevoice.screen import complain

if TYPE_CHECKING:
    from facevoice.evaluation.parts import Page

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
RESAMPLES: Final = 2000
_Resamples = Annotated[
    int, typer.Option(metavar="N", min=100, help="Resamples of speakers for each interval.")
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]


def add_evaluation_commands(app: typer.Typer) -> None:
    """Register `evaluate` and `compare`."""
    app.command()(evaluate)
    app.command()(compare)


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|MANIFEST",
            help="A run folder (run.json with its predictions), or a table made by `data prepare` "
            "on which a model is run first.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the results go. Default: the run's folder; a table needs it.",
        ),
    ] = None,
    model_type: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="Channels that the model may read: multimodal, video, audio. For a table.",
        ),
    ] = "multimodal",
    checkpoint: CheckpointOption = None,
    backbones: BackbonesOption = None,
    store: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Feature store. Default: features.db beside the table."),
    ] = None,
    corpora: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus", metavar="NAME", help="Only this corpus of the table; may be given again."
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Only the test clips of these splits of the table."),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Only this one of the splits, as in split.fold."),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Only clips of speakers that the checkpoint was neither trained nor chosen on.",
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Processes that extract features.")
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that lies in --out.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail if a backbone was trained on a corpus of the run."),
    ] = False,
    resamples: _Resamples = RESAMPLES,
    quiet: _Quiet = False,
) -> None:
    """Score predictions: scores.json, scores.md, and index.html with all curves.

    Of a table, features are extracted where the store lacks them, predictions are written once to
    --out, and scored from there. Scoring reads files only, never a model. A figure that the data
    do not define is refused, with the reason; figures of a corpus that a backbone was trained on
    are marked as contaminated.

    Exit codes: 0 done, 1 the run can't be read or scored (or is contaminated, with --strict), 2
    wrong usage.
    """
    from facevoice.evaluation.publish import PAGE
    from facevoice.evaluation.publish import evaluate as score_folder
    from facevoice.evaluation.score_page import score_page

    folder = out or source
    if source.suffix in TABLE_SUFFIXES and not source.is_dir():
        asked = ModelRequest(
            source,
            out,
            model_type,
            store,
            corpora,
            split,
            jobs,
            checkpoint=checkpoint,
            backbones=(*(backbones or ()),),
            fold=fold,
            held_out=held_out,
        )
        options = ScoringOptions(resamples, strict, overwrite)
        scores = _or_stop(lambda: evaluate_table(asked, options, Console(highlight=False), quiet))
    elif checkpoint is not None:
        complain("Error: --checkpoint is run on a table of clips; a run folder has been predicted")
        raise typer.Exit(EXIT_USAGE)
    else:
        scores = _or_stop(
            lambda: score_folder(source, folder, num_resamples=resamples, strict=strict)
        )
    page = score_page(scores)
    _warn(page)
    if not quiet:
        console = Console(highlight=False)
        console.print(_headlines(page))
        console.print(Text(f"Written to {folder / PAGE}", overflow="fold"))


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Two or more run folders; the first leads.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write comparison.json, comparison.md and index.html there."
        ),
    ] = None,
    resamples: _Resamples = RESAMPLES,
    quiet: _Quiet = False,
) -> None:
    """Put runs side by side: each run's difference to the first, on the items that all have.

    Intervals and p-values come from a paired bootstrap over speakers, p-values of several runs
    after Holm's correction. Runs with different targets can't be compared.

    Exit codes: 0 done, 1 the runs can't be read or compared, 2 fewer than two runs.
    """
    from facevoice.evaluation.compare_page import compare_page
    from facevoice.evaluation.publish import PAGE
    from facevoice.evaluation.publish import compare as compare_folders

    if len(runs) < 2:
        complain("Error: name at least two runs\nTry 'facevoice compare --help'.")
        raise typer.Exit(EXIT_USAGE)
    comparison = _or_stop(lambda: compare_folders(runs, out, num_resamples=resamples))
    page = compare_page(comparison)
    _warn(page)
    if quiet:
        return
    console = Console(highlight=False)
    for section in page.sections[:-1]:
        console.print(Text(f"\n{section.title}", style="bold", overflow="fold"))
        console.print(Text(section.lead, style="dim", overflow="fold"))
        for table in section.tables:
            console.print(_shown(table))
    if out is not None:
        console.print(Text(f"Written to {out / PAGE}", overflow="fold"))


def _or_stop(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except ConfigError as error:
        complain(f"Error: {error}")
        raise typer.Exit(EXIT_USAGE) from error
    except FacevoiceError as error:
        complain(str(error))
        raise typer.Exit(EXIT_FAILED) from error


def _warn(page: Page) -> None:
    """What speaks against the figures, also when quiet."""
    for alert in page.alerts:
        complain(f"CONTAMINATED: {alert}")


def _headlines(page: Page) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("figure", "value", "", "target, channel, corpus"):
        table.add_column(name, overflow="fold")
    for each in page.headlines:
        value = f"{each.value} contaminated" if each.void else each.value
        table.add_row(*(Text(text) for text in (each.name, value, each.interval, each.about)))
    return table


def _shown(table: Any) -> Table:
    shown = Table(box=None, pad_edge=False)
    for name in table.columns:
        shown.add_column(Text(name), overflow="fold")
    for row in table.rows:
        cells = [f"{c.text} ({c.detail})" if c.detail else c.text for c in row]
        marks = ["" if c.kind != "contaminated" else " contaminated" for c in row]
        shown.add_row(*(Text(a + b) for a, b in zip(cells, marks, strict=True)))
    return shown
