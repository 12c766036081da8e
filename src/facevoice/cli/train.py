"""What the training commands read, and how they tell people of progress and errors."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from facevoice.cli.options import complain
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError

if TYPE_CHECKING:
    from facevoice.models.checkpoint import CheckpointInfo
    from facevoice.training.config import TrainConfig
    from facevoice.training.data import FeatureTable
    from facevoice.training.run import Source


EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_CHANNELS: Final = {"multimodal": ["video", "audio"], "video": ["video"], "audio": ["audio"]}


def channels_of(model_type: str) -> list[str]:
    """network.modalities by the name of a kind of model; ends the command on a wrong one."""
    if model_type not in _CHANNELS:
        complain(f"--model-type {model_type}: choose one of {', '.join(_CHANNELS)}")
        raise typer.Exit(EXIT_USAGE)
    return _CHANNELS[model_type]


def read_inputs(
    manifest: Path | None,
    features: Path | None,
    store: Path | None,
    backbones: list[str] | None,
    settings: TrainConfig,
) -> tuple[FeatureTable, Source]:
    """Embeddings from a feature file, or of a table from its store.

    Raises:
        ConfigError: neither or both are named, or there is no such table.
        CorpusError, StoreError: what is named is damaged, or lacks a channel.
    """
    from facevoice.training.data import read_feature_file, read_table
    from facevoice.training.run import Source

    if (manifest is None) == (features is None):
        raise ConfigError("name either a table (MANIFEST, --data-dir) or --features, not both")
    command = shlex.join(["facevoice", *sys.argv[1:]])
    if features is not None:
        return read_feature_file(features), Source.of(features, command)
    if manifest is None or not manifest.is_file():
        raise ConfigError(f"{manifest}: no such table; make one with `facevoice data prepare`")
    path = store or manifest.with_name("features.db")
    table = read_table(manifest, path, settings.network, backbones or [])
    return table, Source.of(manifest, command)


def fit_widths(settings: TrainConfig, table: FeatureTable, texts: list[str]) -> TrainConfig:
    """Take the widths of the embeddings, unless the command says them."""
    named = {text.partition("=")[0].strip() for text in texts}
    network = settings.network
    for modality, array in table.arrays.items():
        if f"network.{modality}_dim" not in named:
            network = network.with_dim(modality, array.dim)
    return replace(settings, network=network)


@contextmanager
def told_errors() -> Iterator[None]:
    """End the command with a message and an exit code instead of a traceback."""
    try:
        yield
    except (ConfigError, MissingExtraError) as error:
        complain(str(error))
        raise typer.Exit(EXIT_USAGE) from error
    except FacevoiceError as error:
        complain(str(error))
        raise typer.Exit(EXIT_FAILED) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "safetensors", "accelerate"):
            raise
        complain(str(MissingExtraError("training", "train")))
        raise typer.Exit(EXIT_USAGE) from error
    except KeyboardInterrupt as error:
        complain("Interrupted. Run the same command again to go on.")
        raise typer.Exit(EXIT_INTERRUPTED) from error


@contextmanager
def told_progress(quiet: bool) -> Iterator[None]:
    """What the trainer logs, on the screen while the command runs."""
    logger = logging.getLogger("facevoice")
    handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


# The commands that train the full model's network and run it over features: train, predict.

_Features = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Embeddings in an npz: clip_id, video_768, audio_1024. In place of a table.",
    ),
]
_Store = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Feature store. Default: features.db beside the table."),
]
_Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Backbone (or NAME@REVISION, or its folder) whose embeddings to read from the store; "
        "once a channel. Default: the only one of the channel that is there.",
    ),
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]


def add_training_commands(app: typer.Typer) -> None:
    """Register `train` and `predict`."""
    app.command()(train)
    app.command()(predict)


def train(
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="A table made by `data prepare`.")
    ] = None,
    features: _Features = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder with manifest.jsonl and features.db, in place of both."
        ),
    ] = None,
    store: _Store = None,
    backbones: _Backbones = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "--checkpoint-dir",
            metavar="DIR",
            help="Takes the checkpoint, the predictions and the state to go on from.",
        ),
    ] = Path("checkpoints/multimodal"),
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings as TOML; see configs/train-concat.toml."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.NAME=VALUE",
            help="Change one setting, such as train.learning_rate=5e-5; may be given again.",
        ),
    ] = None,
    model_type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="multimodal, video or audio: network.modalities."),
    ] = None,
    num_epochs: Annotated[
        int | None, typer.Option(metavar="N", help="train.num_epochs.", min=1)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="train.batch_size.", min=1)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="train.learning_rate.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="run.seed.", min=0)] = None,
    votes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CREMA-D's tabulatedVotes.csv, for targets that people perceived."
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Splits by `data split`; split.fold says which."),
    ] = None,
    windows: Annotated[Path | None, typer.Option(hidden=True)] = None,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Processes that cut the windows that [finetune] trains backbones on.",
            min=1,
        ),
    ] = 1,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Compute the backbones' layers twice in [finetune], to save memory.",
        ),
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Compute on the CPU, GPU or not.")] = False,
    small: Annotated[
        bool, typer.Option("--small", help="A few clips and 2 epochs, to see that it runs.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; don't go on from a saved state.")
    ] = False,
    quiet: _Quiet = False,
) -> None:
    """Train fusion and heads on embeddings that were extracted before; with --set
    finetune.video_layers=2 or finetune.lora_rank=8, part of the backbones too.

    Run the same command again after a kill: it goes on where it stopped, and ends in the same
    weights. With `accelerate launch -m facevoice train ...` it runs on several GPUs or machines,
    with `torchrun --nproc_per_node 2 -m facevoice train ... --cpu` in several processes of a CPU.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    if windows is not None:
        complain("--windows is gone: windows are kept in the store (--store FILE); leave it out")
        raise typer.Exit(EXIT_USAGE)
    given = _given(num_epochs, batch_size, learning_rate, seed, small)
    if model_type is not None:
        given["network.modalities"] = channels_of(model_type)
    with told_errors(), told_progress(quiet):
        from facevoice.training.config import TrainConfig

        texts = [*(assignments or []), *(f"{name}={value}" for name, value in given.items())]
        settings = TrainConfig.load(config, texts)
        if data_dir is not None:
            manifest, store = data_dir / "manifest.jsonl", store or data_dir / "features.db"
        table, source = read_inputs(manifest, features, store, backbones, settings)
        settings = fit_widths(settings, table, texts)
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
        info = _train(
            settings,
            table,
            source,
            out,
            votes=votes,
            split=split,
            tuning=tuning,
            cpu=cpu,
            fresh=fresh,
            keep=tuple(text.partition("=")[0].strip() for text in texts),
        )
    if not quiet:
        _show(info, out)


def predict(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint folder made by `train`.")
    ],
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="A table made by `data prepare`.")
    ] = None,
    features: _Features = None,
    store: _Store = None,
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="The run folder, for `evaluate`.")
    ] = Path("predictions"),
    quiet: _Quiet = False,
) -> None:
    """Run a trained network over embeddings and write its predictions for `evaluate`.

    Clips of speakers that it was trained or chosen on are left out.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    with told_errors(), told_progress(quiet):
        from facevoice.models.model import CheckpointModel, find_checkpoint
        from facevoice.settings import build_settings
        from facevoice.training.config import TrainConfig
        from facevoice.training.run import predict_table

        model = CheckpointModel.load(find_checkpoint(checkpoint))
        settings = build_settings(TrainConfig, model.info.settings)
        names = list(model.backbones.values())
        table, source = read_inputs(manifest, features, store, names, settings)
        num_clips, num_pairs = predict_table(model, table, out, source)
    if not quiet:
        Console(highlight=False).print(
            Text(f"{num_clips} clips, {num_pairs} pairs: {out}", overflow="fold")
        )


def _given(
    num_epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
    small: bool,
) -> dict[str, Any]:
    options = {
        "train.num_epochs": num_epochs,
        "train.batch_size": batch_size,
        "train.learning_rate": learning_rate,
        "run.seed": seed,
        "run.size": "small" if small else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _train(
    settings: TrainConfig,
    table: FeatureTable,
    source: Source,
    out: Path,
    *,
    votes: Path | None,
    split: Path | None,
    **options: Any,
) -> CheckpointInfo:
    from facevoice.corpora.cremad import add_votes, read_votes
    from facevoice.corpora.splits import read_splits
    from facevoice.training.run import train as train_run

    counts = None if votes is None else read_votes(votes)
    if counts is not None:
        table = replace(table, clips=add_votes(table.clips, counts))
    chosen = None
    if split is not None:
        splits = read_splits(split).splits
        if not 0 <= settings.split.fold < len(splits):
            raise ConfigError(f"{split}: has splits 0 to {len(splits) - 1}; set split.fold so")
        chosen = splits[settings.split.fold]
    return train_run(settings, table, out, source, votes=counts, split=chosen, **options)


def _show(info: CheckpointInfo, out: Path) -> None:
    console = Console(highlight=False)
    table = Table("part", "corpus", "figure", "value", box=None, pad_edge=False)
    for figure in info.training.figures:
        table.add_row(figure.part, figure.corpus, figure.name, f"{figure.value:.3f}")
    console.print(table)
    console.print(
        Text(
            f"{info.training.num_parameters:,} parameters, {info.training.num_steps} steps, epoch "
            f"{info.training.best_epoch} kept: {out / 'checkpoint'}",
            overflow="fold",
        )
    )
