"""What the training commands read, and how they tell people of progress and errors."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.logging import RichHandler

from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.screen import complain

if TYPE_CHECKING:
    from facevoice.data.feature_table import FeatureTable
    from facevoice.training.config import TrainConfig
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
    from facevoice.data.feature_table import read_feature_file
    from facevoice.training.run import Source
    from facevoice.workbench.stored_table import read_store_table
    from facevoice.workbench.tuning import stored_name

    if (manifest is None) == (features is None):
        raise ConfigError("name either a table (MANIFEST, --data-dir) or --features, not both")
    command = shlex.join(["facevoice", *sys.argv[1:]])
    if features is not None:
        table = read_feature_file(features)
        for clip_id, reason in table.skipped:
            logging.getLogger(__name__).warning("%s is left out: %s", clip_id, reason)
        return table, Source.of(features, command)
    if manifest is None or not manifest.is_file():
        raise ConfigError(f"{manifest}: no such table; make one with `facevoice data prepare`")
    path = store or manifest.with_name("features.db")
    names = [stored_name(name) for name in backbones or []]
    table = read_store_table(manifest, path, settings.network, names)
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
