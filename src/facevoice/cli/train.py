"""`facevoice train` and `predict`: fusion and heads on embeddings that were extracted before."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from rich.table import Table

from facevoice.cli.options import (
    Quiet,
    Store,
    argument,
    channels_of,
    flag,
    gone,
    option,
    tells_errors,
    typed_command,
)
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError

if TYPE_CHECKING:
    from facevoice.corpora.splits import Split
    from facevoice.training.config import TrainConfig
    from facevoice.training.data import FeatureTable
    from facevoice.training.run import Source

_AGAIN: Final = "Run the same command again to go on."

_Features = Annotated[
    Path | None,
    option("FILE", "Embeddings in an npz: clip_id, video_768, audio_1024. In place of a table."),
]
_Backbones = Annotated[
    list[str] | None,
    option(
        "NAME",
        "Backbone (or NAME@REVISION, or its folder) whose embeddings to read from the store; "
        "once per channel. Default: the only one of the channel that is there.",
        "--backbone",
    ),
]
_Manifest = Annotated[Path | None, argument("MANIFEST", "A table made by `data prepare`.")]


@tells_errors("train", _AGAIN)
def train(
    manifest: _Manifest = None,
    features: _Features = None,
    data_dir: Annotated[
        Path | None, option("DIR", "Folder with manifest.jsonl and features.db, in place of both.")
    ] = None,
    store: Store = None,
    backbones: _Backbones = None,
    out: Annotated[
        Path,
        option(
            "DIR",
            "Takes the checkpoint, the predictions and the state to go on from.",
            "--out",
            "--checkpoint-dir",
        ),
    ] = Path("checkpoints/multimodal"),
    config: Annotated[
        Path | None, option("FILE", "Settings as TOML; see configs/train-concat.toml.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        option(
            "SECTION.NAME=VALUE",
            "Change one setting, such as train.learning_rate=5e-5; may be given again.",
            "--set",
        ),
    ] = None,
    model_type: Annotated[
        str | None, option("TYPE", "multimodal, video or audio: network.modalities.")
    ] = None,
    num_epochs: Annotated[int | None, option("N", "train.num_epochs.", min=1)] = None,
    batch_size: Annotated[int | None, option("N", "train.batch_size.", min=1)] = None,
    learning_rate: Annotated[float | None, option("RATE", "train.learning_rate.")] = None,
    seed: Annotated[int | None, option("N", "run.seed.", min=0)] = None,
    votes: Annotated[
        Path | None,
        option("FILE", "CREMA-D's tabulatedVotes.csv, for targets that people perceived."),
    ] = None,
    split: Annotated[
        Path | None, option("FILE", "Splits by `data split`; split.fold says which.")
    ] = None,
    windows: Annotated[
        str | None, gone("--windows", "windows are kept in the store (--store FILE); leave it out")
    ] = None,
    jobs: Annotated[
        int,
        option("N", "Processes that cut the windows that [finetune] trains backbones on.", min=1),
    ] = 1,
    gradient_checkpointing: Annotated[
        bool,
        flag(
            "Compute the backbones' layers twice in [finetune], to save memory.",
            "--gradient-checkpointing",
        ),
    ] = False,
    cpu: Annotated[bool, flag("Compute on the CPU, GPU or not.", "--cpu")] = False,
    small: Annotated[
        bool, flag("A few clips and 2 epochs, to see that it runs.", "--small")
    ] = False,
    fresh: Annotated[bool, flag("Start over; don't go on from a saved state.", "--fresh")] = False,
    quiet: Quiet = False,
) -> None:
    """Train fusion and heads on embeddings that were extracted before; with --set
    finetune.video_layers=2 or finetune.lora_rank=8, part of the backbones too.

    Run the same command again after a kill: it goes on where it stopped, and ends in the same
    weights. With `accelerate launch -m facevoice train ...` it runs on several GPUs or machines,
    with `torchrun --nproc_per_node 2 -m facevoice train ... --cpu` in several processes of a CPU.
    """
    screen = Screen(quiet=quiet, log_level=logging.INFO)
    from facevoice.training.config import TrainConfig

    given = {
        "train.num_epochs": num_epochs,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "run.seed": seed,
        "run.size": "small" if small else None,
        "network.modalities": None if model_type is None else channels_of(model_type),
    }
    texts = [
        *(assignments or []),
        *(f"{n}={value}" for n, value in given.items() if value is not None),
    ]
    settings = TrainConfig.load(config, texts)
    if data_dir is not None:
        manifest, store = data_dir / "manifest.jsonl", store or data_dir / "features.db"
    table, source = _read_inputs(manifest, features, store, backbones or [], settings)
    named = tuple(text.partition("=")[0].strip() for text in texts)
    settings = _fit_widths(settings, table, named)
    tuning = None
    if settings.finetune.is_on and manifest is not None:
        from facevoice.training.finetune import open_tuning

        tuning = open_tuning(
            settings,
            table,
            store or manifest.with_name("features.db"),
            backbones or [],
            jobs=jobs,
            checkpointing=gradient_checkpointing,
        )
    from facevoice.corpora.cremad import add_votes, read_votes
    from facevoice.training.run import train as train_run

    counts = None if votes is None else read_votes(votes)
    if counts is not None:
        table = replace(table, clips=add_votes(table.clips, counts))
    info = train_run(
        settings,
        table,
        out,
        source,
        votes=counts,
        split=_read_split(split, settings.split.fold),
        tuning=tuning,
        cpu=cpu,
        fresh=fresh,
        keep=named,
    )
    trained = info.training
    shown = Table("part", "corpus", "figure", "value", box=None, pad_edge=False)
    for figure in trained.figures:
        shown.add_row(figure.part, figure.corpus, figure.name, f"{figure.value:.3f}")
    told = f"{trained.num_parameters:,} parameters, {trained.num_steps} steps, epoch "
    screen.say(shown, f"{told}{trained.best_epoch} kept: {out / 'checkpoint'}")


@tells_errors("predict", _AGAIN)
def predict(
    checkpoint: Annotated[Path, argument("CHECKPOINT", "A checkpoint folder made by `train`.")],
    manifest: _Manifest = None,
    features: _Features = None,
    store: Store = None,
    out: Annotated[Path, option("RUN", "The run folder, for `evaluate`.")] = Path("predictions"),
    quiet: Quiet = False,
) -> None:
    """Run a trained network over embeddings and write its predictions for `evaluate`.

    Clips of speakers that it was trained or chosen on are left out.
    """
    screen = Screen(quiet=quiet, log_level=logging.INFO)
    from facevoice.models.model import CheckpointModel, find_checkpoint
    from facevoice.settings import build_settings
    from facevoice.training.config import TrainConfig
    from facevoice.training.run import predict_table

    model = CheckpointModel.load(find_checkpoint(checkpoint))
    settings = build_settings(TrainConfig, model.info.settings)
    names = list(model.backbones.values())
    table, source = _read_inputs(manifest, features, store, names, settings)
    num_clips, num_pairs = predict_table(model, table, out, source)
    screen.say(f"{num_clips} clips, {num_pairs} pairs: {out}")


def _read_inputs(
    manifest: Path | None,
    features: Path | None,
    store: Path | None,
    backbones: list[str],
    settings: TrainConfig,
) -> tuple[FeatureTable, Source]:
    """Embeddings from a feature file, or of a table from its store."""
    from facevoice.training.data import read_feature_file, read_table
    from facevoice.training.run import Source

    if (manifest is None) == (features is None):
        raise ConfigError("name either a table (MANIFEST, --data-dir) or --features, not both")
    if features is not None:
        return read_feature_file(features), Source.of(features, typed_command())
    if manifest is None or not manifest.is_file():
        raise ConfigError(f"{manifest}: no such table; make one with `facevoice data prepare`")
    path = store or manifest.with_name("features.db")
    table = read_table(manifest, path, settings.network, backbones)
    return table, Source.of(manifest, typed_command())


def _fit_widths(settings: TrainConfig, table: FeatureTable, named: tuple[str, ...]) -> TrainConfig:
    """Take the widths of the embeddings, unless the command says them."""
    network = settings.network
    for modality, array in table.arrays.items():
        if f"network.{modality}_dim" not in named:
            network = network.with_dim(modality, array.dim)
    return replace(settings, network=network)


def _read_split(path: Path | None, fold: int) -> Split | None:
    from facevoice.corpora.splits import read_splits

    if path is None:
        return None
    splits = read_splits(path).splits
    if not 0 <= fold < len(splits):
        raise ConfigError(f"{path}: has splits 0 to {len(splits) - 1}; set split.fold so")
    return splits[fold]
