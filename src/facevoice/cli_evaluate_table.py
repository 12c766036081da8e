"""`facevoice evaluate MANIFEST`: which model to run on which clips, before anything is scored."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from facevoice.cli_corpus.console import read_table, show_problems, step_bar
from facevoice.data.clips import Clip
from facevoice.data.split_file import read_splits
from facevoice.errors import ConfigError
from facevoice.labels import Modality

if TYPE_CHECKING:
    from facevoice.evaluation.score import Scores
    from facevoice.workbench.predict import Scorer

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


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How the predictions are scored, and whether an older run is replaced."""

    num_resamples: int
    strict: bool
    overwrite: bool


def evaluate_table(
    asked: ModelRequest, options: ScoringOptions, console: Console, quiet: bool
) -> Scores:
    """Run a model on a table of clips and score it.

    Raises:
        ConfigError: the request contradicts itself.
        FacevoiceError: see `workbench.evaluate_model.evaluate_model`.
    """
    from facevoice.workbench.evaluate_model import Protocol, evaluate_model

    if asked.out is None:
        raise ConfigError("--out DIR is needed for a table: the run is written there")
    scorer = create_scorer(asked.model_type)
    clips, words = choose_clips(asked)
    with step_bar(console, quiet) as step:
        done = evaluate_model(
            clips,
            asked.manifest,
            scorer,
            asked.store or asked.manifest.with_name("features.db"),
            asked.out,
            Protocol(asked.out.name, words, " ".join(["facevoice", *sys.argv[1:]])),
            jobs=asked.jobs,
            num_resamples=options.num_resamples,
            strict=options.strict,
            overwrite=options.overwrite,
            on_progress=lambda at: step(at.num_done, at.num_all, f"{at.stage} {at.name}"),
        )
    show_problems(done.problems, "Could not be read, so they are not scored")
    return done.scores


def create_scorer(model_type: str) -> Scorer:
    """The model to run.

    Raises:
        ConfigError: no such type.
        WeightsError: its weights are missing or damaged.
    """
    from facevoice.workbench.compact_scorer import CompactScorer

    if model_type not in MODEL_TYPES:
        raise ConfigError(f"--model-type {model_type!r}: known are {', '.join(MODEL_TYPES)}")
    return CompactScorer(MODEL_TYPES[model_type])


def choose_clips(asked: ModelRequest) -> tuple[Sequence[Clip], str]:
    """The clips to run on, and in words how they were chosen.

    Raises:
        CorpusError: the table or the splits are wrong.
        ConfigError: a corpus is not in the table.
    """
    clips = read_table(asked.manifest, asked.corpora)
    if asked.split is None:
        return clips, "all clips of the table; nothing is fitted on them here"
    splits = read_splits(asked.split, read_table(asked.manifest, None))
    tested = {key for split in splits.splits for key in split.test}
    chosen = [clip for clip in clips if clip.clip_id in tested]
    if not chosen:
        raise ConfigError(f"--split {asked.split}: none of its test clips is among the clips")
    return chosen, f"test clips of {splits.protocol} ({asked.split.name}); nothing is fitted here"
