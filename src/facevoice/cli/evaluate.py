"""`facevoice evaluate MANIFEST`: which model to run on which clips, before anything is scored."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facevoice.cli.options import (
    BackbonesOption,
    CheckpointOption,
    complain,
    read_table,
    show_problems,
    step_bar,
)
from facevoice.corpora.manifest import Clip
from facevoice.corpora.splits import read_splits
from facevoice.errors import ConfigError, FacevoiceError
from facevoice.records import Modality

if TYPE_CHECKING:
    from facevoice.evaluation.model import TestedModel
    from facevoice.evaluation.page import Page
    from facevoice.evaluation.page import Table as PageTable
    from facevoice.evaluation.score import Scores


TABLE_SUFFIXES: Final = (".parquet", ".jsonl")
MODEL_TYPES: Final[dict[str, frozenset[Modality]]] = {
    "multimodal": frozenset(Modality),
    "video": frozenset({Modality.VIDEO}),
    "audio": frozenset({Modality.AUDIO}),
}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What the command was asked to run: see its options."""

    manifest: Path
    out: Path | None
    model_type: str
    store: Path | None
    corpora: list[str] | None
    split: Path | None
    jobs: int
    checkpoint: Path | None = None
    backbones: tuple[str, ...] = ()
    fold: int | None = None
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How the predictions are scored, and whether an older run is replaced."""

    num_resamples: int
    strict: bool
    overwrite: bool


def command_of(asked: ModelRequest) -> str:
    """The command that asks for this, for the run's record."""
    named: list[tuple[str, object]] = [
        ("--out", asked.out),
        ("--model-type", asked.model_type),
        ("--store", asked.store),
        ("--split", asked.split),
        ("--fold", asked.fold),
        ("--checkpoint", asked.checkpoint),
        *(("--corpus", name) for name in asked.corpora or ()),
        *(("--backbone", name) for name in asked.backbones),
    ]
    words = ["facevoice", "evaluate", str(asked.manifest)]
    words += [str(word) for pair in named if pair[1] is not None for word in pair]
    if asked.held_out:
        words.append("--held-out")
    return shlex.join(words)


def evaluate_table(
    asked: ModelRequest, options: ScoringOptions, console: Console, quiet: bool
) -> Scores:
    """Run a model on a table of clips and score it.

    Raises:
        ConfigError: the request contradicts itself.
        FacevoiceError: see `workbench.evaluate_model.evaluate_model`.
    """
    from facevoice.evaluation.model import EvaluationProtocol, evaluate_model

    if asked.out is None:
        raise ConfigError("--out DIR is needed for a table: the run is written there")
    clips, words = choose_clips(asked)
    tested = load_model(asked, clips)
    seen = f"; {tested.words}" if tested.words else ""
    with step_bar(console, quiet) as step:
        done = evaluate_model(
            clips,
            asked.manifest,
            tested,
            asked.store or asked.manifest.with_name("features.db"),
            asked.out,
            EvaluationProtocol(asked.out.name, f"{words}{seen}", command_of(asked)),
            jobs=asked.jobs,
            num_resamples=options.num_resamples,
            strict=options.strict,
            overwrite=options.overwrite,
            on_progress=lambda at: step(at.num_done, at.num_all, f"{at.stage} {at.name}"),
        )
    show_problems(done.problems, "Could not be read, so they are not scored")
    return done.scores


def load_model(asked: ModelRequest, clips: Sequence[Clip]) -> TestedModel:
    """The model to run.

    Raises:
        ConfigError: no such type, or backbones are named without a checkpoint.
        WeightsError: weights are missing or damaged, or backbones are not the checkpoint's.
        MissingExtraError: the checkpoint needs torch.
    """
    if asked.model_type not in MODEL_TYPES:
        raise ConfigError(f"--model-type {asked.model_type!r}: known are {', '.join(MODEL_TYPES)}")
    if asked.checkpoint is None and asked.backbones:
        raise ConfigError("--backbone is for a --checkpoint")
    from facevoice.evaluation.model import load_tested

    return load_tested(asked.checkpoint, clips, MODEL_TYPES[asked.model_type], asked.backbones)


def choose_clips(asked: ModelRequest) -> tuple[Sequence[Clip], str]:
    """The clips to run on, and in words how they were chosen.

    Raises:
        CorpusError: the table or the splits are wrong.
        ConfigError: a corpus is not in the table.
    """
    clips = read_table(asked.manifest, asked.corpora)
    if asked.held_out:
        return _choose_held_out(asked, clips)
    if asked.split is None:
        if asked.fold is not None:
            raise ConfigError("--fold says which of the splits in --split FILE is meant")
        return clips, "all clips of the table; nothing is fitted on them here"
    splits = read_splits(asked.split, read_table(asked.manifest, None))
    chosen_splits, words = splits.splits, f"{splits.protocol} ({asked.split.name})"
    if asked.fold is not None:
        if not 0 <= asked.fold < len(splits.splits):
            raise ConfigError(f"--fold {asked.fold}: {asked.split} has 0–{len(splits.splits) - 1}")
        chosen_splits = (splits.splits[asked.fold],)
        words += f", fold {asked.fold}: {chosen_splits[0].name}"
    tested = {key for split in chosen_splits for key in split.test}
    chosen = [clip for clip in clips if clip.clip_id in tested]
    if not chosen:
        raise ConfigError(f"--split {asked.split}: none of its test clips is among the clips")
    return chosen, f"test clips of {words}; nothing is fitted here"


def _choose_held_out(asked: ModelRequest, clips: Sequence[Clip]) -> tuple[Sequence[Clip], str]:
    from facevoice.evaluation.model import held_out_clips
    from facevoice.models.model import read_model_info

    if asked.checkpoint is None or asked.split is not None:
        raise ConfigError("--held-out asks a --checkpoint whom it was trained on; leave --split")
    chosen = held_out_clips(read_model_info(asked.checkpoint).data, clips)
    if not chosen:
        raise ConfigError(f"--held-out: {asked.checkpoint} was trained or chosen on all speakers")
    return chosen, "clips of speakers that the checkpoint's record does not name"


# The commands that turn runs of predictions into figures: evaluate, compare.

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
    from facevoice.evaluation.page import PAGE, score_page
    from facevoice.evaluation.page import evaluate as score_folder

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
        _show(page.headlines, console)
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
    from facevoice.evaluation.page import PAGE, compare_page
    from facevoice.evaluation.page import compare as compare_folders

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
            _show(table, console)
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


def _show(table: PageTable, console: Console) -> None:
    shown = Table(box=None, pad_edge=False)
    for name in table.columns:
        shown.add_column(Text(name), overflow="fold")
    for row in table.rows:
        texts = [f"{c.text} ({c.detail})" if c.detail else c.text for c in row]
        marks = [" contaminated" if c.kind == "contaminated" else "" for c in row]
        notes = [f" [{c.note}]" if c.note else "" for c in row]
        shown.add_row(*(Text("".join(cell)) for cell in zip(texts, marks, notes, strict=True)))
    console.print(shown)
    for number, note in enumerate(table.notes, start=1):
        console.print(Text(f"[{number}] {note}", style="dim", overflow="fold"))
