"""`facevoice evaluate MANIFEST`: which model to run on which clips, before anything is scored."""

from __future__ import annotations

import shlex
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
    from facevoice.workbench.evaluate_model import Protocol, evaluate_model

    if asked.out is None:
        raise ConfigError("--out DIR is needed for a table: the run is written there")
    clips, words = choose_clips(asked)
    scorer, seen = create_scorer(asked, clips)
    with step_bar(console, quiet) as step:
        done = evaluate_model(
            clips,
            asked.manifest,
            scorer,
            asked.store or asked.manifest.with_name("features.db"),
            asked.out,
            Protocol(asked.out.name, f"{words}{seen}", command_of(asked)),
            jobs=asked.jobs,
            num_resamples=options.num_resamples,
            strict=options.strict,
            overwrite=options.overwrite,
            on_progress=lambda at: step(at.num_done, at.num_all, f"{at.stage} {at.name}"),
        )
    show_problems(done.problems, "Could not be read, so they are not scored")
    return done.scores


def create_scorer(asked: ModelRequest, clips: Sequence[Clip]) -> tuple[Scorer, str]:
    """The model to run, and what its training has to do with these clips, for the protocol.

    Raises:
        ConfigError: no such type, or backbones are named without a checkpoint.
        WeightsError: weights are missing or damaged, or backbones are not the checkpoint's.
        MissingExtraError: the checkpoint needs torch.
    """
    if asked.model_type not in MODEL_TYPES:
        raise ConfigError(f"--model-type {asked.model_type!r}: known are {', '.join(MODEL_TYPES)}")
    modalities = MODEL_TYPES[asked.model_type]
    if asked.checkpoint is None:
        from facevoice.workbench.compact_scorer import CompactScorer

        if asked.backbones:
            raise ConfigError("--backbone is for a --checkpoint")
        return CompactScorer(modalities), ""
    from facevoice.workbench.checkpoint_scorer import CheckpointScorer

    scorer = CheckpointScorer(asked.checkpoint, clips, modalities, asked.backbones)
    return scorer, f"; {scorer.words}" if scorer.words else ""


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
    from facevoice.assembly import read_model_info
    from facevoice.workbench.seen_speakers import held_out_clips

    if asked.checkpoint is None or asked.split is not None:
        raise ConfigError("--held-out asks a --checkpoint whom it was trained on; leave --split")
    chosen = held_out_clips(read_model_info(asked.checkpoint).data, clips)
    if not chosen:
        raise ConfigError(f"--held-out: {asked.checkpoint} was trained or chosen on all speakers")
    return chosen, "clips of speakers that the checkpoint's record does not name"
