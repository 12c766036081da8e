"""`facevoice evaluate` and `compare`: runs of predictions into figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from rich.table import Table
from rich.text import Text

from facevoice.cli.data import Corpora, read_table, show_problems
from facevoice.cli.options import (
    Backbones,
    Checkpoint,
    Overwrite,
    Quiet,
    Store,
    argument,
    channels_of,
    flag,
    option,
    tells_errors,
    typed_command,
)
from facevoice.cli.screen import Screen, steps
from facevoice.corpora.manifest import Clip
from facevoice.corpora.splits import read_splits
from facevoice.errors import ConfigError
from facevoice.records import Modality

if TYPE_CHECKING:
    from facevoice.evaluation.page import Page
    from facevoice.evaluation.page import Table as PageTable

_TABLE_SUFFIXES: Final = (".parquet", ".jsonl")
_Resamples = Annotated[int, option("N", "Resamples of speakers for each interval.", min=100)]


@tells_errors("evaluate")
def evaluate(
    source: Annotated[
        Path,
        argument(
            "RUN",
            "A run folder (run.json with its predictions), or a table made by `data prepare` "
            "on which a model is run first.",
        ),
    ],
    out: Annotated[
        Path | None,
        option("DIR", "Where the results go. Default: the run's folder; a table needs it."),
    ] = None,
    model_type: Annotated[
        str,
        option("TYPE", "Channels that the model may read: multimodal, video, audio. For a table."),
    ] = "multimodal",
    checkpoint: Checkpoint = None,
    backbones: Backbones = None,
    store: Store = None,
    corpora: Corpora = None,
    split: Annotated[
        Path | None, option("FILE", "Only the test clips of these splits of the table.")
    ] = None,
    fold: Annotated[
        int | None, option("N", "Only this one of the splits, as in split.fold.", min=0)
    ] = None,
    held_out: Annotated[
        bool,
        flag(
            "Only clips of speakers that the checkpoint was neither trained nor chosen on.",
            "--held-out",
        ),
    ] = False,
    jobs: Annotated[int, option("N", "Processes that read the clips.", min=1, max=256)] = 1,
    overwrite: Overwrite = False,
    strict: Annotated[
        bool, flag("Fail if a backbone was trained on a corpus of the run.", "--strict")
    ] = False,
    resamples: _Resamples = 2000,
    quiet: Quiet = False,
) -> None:
    """Score predictions: scores.json, scores.md, and index.html with all curves.

    Of a table, clips are read where the store lacks them, predictions are written once to --out,
    and scored from there. Scoring reads files only, never a model. A figure that the data do not
    define is refused, with the reason; figures of a corpus that a backbone was trained on are
    marked as contaminated.
    """
    from facevoice.evaluation import page as pages
    from facevoice.evaluation.model import EvaluationProtocol, evaluate_model, load_tested

    screen = Screen(quiet=quiet)
    folder = out or source
    if source.suffix not in _TABLE_SUFFIXES or source.is_dir():
        if checkpoint is not None:
            raise ConfigError("--checkpoint is run on a table of clips; a run has been predicted")
        scores = pages.evaluate(source, folder, num_resamples=resamples, strict=strict)
        _show_page(screen, pages.score_page(scores), folder / pages.PAGE)
        return
    if out is None:
        raise ConfigError("--out DIR is needed for a table: the run is written there")
    channels = frozenset(map(Modality, channels_of(model_type)))
    if checkpoint is None and backbones:
        raise ConfigError("--backbone is for a --checkpoint")
    if held_out:
        clips, words = _held_out_clips(source, corpora, split, checkpoint)
    else:
        clips, words = choose_clips(source, corpora, split, fold)
    tested = load_tested(checkpoint, clips, channels, backbones or ())
    words += f"; {tested.words}" if tested.words else ""
    with screen.bar() as show:
        step = steps(show)
        done = evaluate_model(
            clips,
            source,
            tested,
            store or source.with_name("features.db"),
            out,
            EvaluationProtocol(out.name, words, typed_command()),
            jobs=jobs,
            num_resamples=resamples,
            strict=strict,
            overwrite=overwrite,
            on_progress=lambda at: step(at.num_done, at.num_all, f"{at.stage} {at.name}"),
        )
    show_problems(screen, done.problems, "Could not be read, so they are not scored")
    _show_page(screen, pages.score_page(done.scores), folder / pages.PAGE)


def choose_clips(
    manifest: Path, corpora: list[str] | None, split: Path | None, fold: int | None
) -> tuple[Sequence[Clip], str]:
    """The clips to run on, and in words how they were chosen."""
    clips = read_table(manifest, corpora)
    if split is None:
        if fold is not None:
            raise ConfigError("--fold says which of the splits in --split FILE is meant")
        return clips, "all clips of the table; nothing is fitted on them here"
    splits = read_splits(split, read_table(manifest, None))
    chosen_splits, words = splits.splits, f"{splits.protocol} ({split.name})"
    if fold is not None:
        if not 0 <= fold < len(splits.splits):
            raise ConfigError(f"--fold {fold}: {split} has 0–{len(splits.splits) - 1}")
        chosen_splits = (splits.splits[fold],)
        words += f", fold {fold}: {chosen_splits[0].name}"
    tested = {key for one in chosen_splits for key in one.test}
    chosen = [clip for clip in clips if clip.clip_id in tested]
    if not chosen:
        raise ConfigError(f"--split {split}: none of its test clips is among the clips")
    return chosen, f"test clips of {words}; nothing is fitted here"


def _held_out_clips(
    manifest: Path, corpora: list[str] | None, split: Path | None, checkpoint: Path | None
) -> tuple[Sequence[Clip], str]:
    from facevoice.evaluation.model import held_out_clips
    from facevoice.models.model import read_model_info

    if checkpoint is None or split is not None:
        raise ConfigError("--held-out asks a --checkpoint whom it was trained on; leave --split")
    chosen = held_out_clips(read_model_info(checkpoint).data, read_table(manifest, corpora))
    if not chosen:
        raise ConfigError(f"--held-out: {checkpoint} was trained or chosen on all speakers")
    return chosen, "clips of speakers that the checkpoint's record does not name"


@tells_errors("compare")
def compare(
    runs: Annotated[list[Path], argument("RUN", "Two or more run folders; the first leads.")],
    out: Annotated[
        Path | None, option("DIR", "Write comparison.json, comparison.md and index.html there.")
    ] = None,
    resamples: _Resamples = 2000,
    quiet: Quiet = False,
) -> None:
    """Put runs side by side: each run's difference to the first, on the items that all have.

    Intervals and p-values come from a paired bootstrap over speakers, p-values of several runs
    after Holm's correction. Runs with different targets can't be compared.
    """
    from facevoice.evaluation import page as pages

    if len(runs) < 2:
        raise ConfigError("name at least two runs")
    screen = Screen(quiet=quiet)
    page = pages.compare_page(pages.compare(runs, out, num_resamples=resamples))
    _show_page(screen, page, None if out is None else out / pages.PAGE)


def _show_page(screen: Screen, page: Page, written: Path | None) -> None:
    """The figures that lead a page, and, also when quiet, what speaks against them."""
    for alert in page.alerts:
        screen.complain(f"CONTAMINATED: {alert}")
    if page.headlines.columns:
        _show_table(screen, page.headlines)
    else:
        for section in page.sections[:-1]:
            screen.say(Text(f"\n{section.title}", style="bold", overflow="fold"))
            screen.say(section.lead, style="dim")
            for table in section.tables:
                _show_table(screen, table)
    if written is not None:
        screen.say(f"Written to {written}")


def _show_table(screen: Screen, table: PageTable) -> None:
    shown = Table(box=None, pad_edge=False)
    for name in table.columns:
        shown.add_column(Text(name), overflow="fold")
    for row in table.rows:
        texts = [f"{c.text} ({c.detail})" if c.detail else c.text for c in row]
        marks = [" contaminated" if c.kind == "contaminated" else "" for c in row]
        notes = [f" [{c.note}]" if c.note else "" for c in row]
        shown.add_row(*(Text("".join(cell)) for cell in zip(texts, marks, notes, strict=True)))
    screen.say(shown)
    for number, note in enumerate(table.notes, start=1):
        screen.say(f"[{number}] {note}", style="dim")
