"""What training of the backbones needs from disk: their weights, and the windows of the clips."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facevoice.data.clips import Clip
from facevoice.data.feature_table import FeatureTable
from facevoice.data.window_cache import ClipWindows
from facevoice.errors import ConfigError
from facevoice.features.backbone import Backbone, backbone_names, create_backbone
from facevoice.features.pretrained import HUB_PREFIX
from facevoice.features.stacked import split_name
from facevoice.labels import Modality
from facevoice.training.config import TrainConfig
from facevoice.workbench.stored_features import facts_path
from facevoice.workbench.window_cache import cache_windows

if TYPE_CHECKING:
    from facevoice.training.finetune import Tuning

_LOG = logging.getLogger(__name__)
_FOLDER: Final = "folder:"
_STORED: Final = re.compile(r"@[0-9a-f]{12}$")
_TOLD_EVERY: Final = 100


def stored_name(name: str) -> str:
    """The name under which a store has the embeddings of a backbone that `create_backbone` takes.

    A folder is stored by its name, a repository of the hub without its revision. What a store
    lists (NAME@12 digits) stays as it is.
    """
    plain, rows = split_name(name)
    if _STORED.search(name) or plain in backbone_names():
        return name
    if Path(plain).is_dir():
        plain = f"{_FOLDER}{Path(plain).resolve().name}"
    elif plain.startswith(HUB_PREFIX):
        plain = plain.partition("@")[0]
    return plain if rows is None else f"{plain}+{rows}"


def open_tuning(
    config: TrainConfig,
    table: FeatureTable,
    store: Path,
    names: Sequence[str] = (),
    *,
    folder: Path | None = None,
    jobs: int = 1,
    checkpointing: bool = False,
) -> Tuning:
    """Load the backbones that are to be trained; their windows are cut when training asks.

    Args:
        config: of the run.
        table: of the store: says which backbones made its embeddings.
        store: hashes of files are remembered beside it.
        names: backbones as they were named, folders and revisions among them.
        folder: takes the windows; by default `windows` beside the store.
        jobs: processes that cut windows.
        checkpointing: see `Tuning`.

    Raises:
        ConfigError: a backbone lies in a folder that was not named, or the settings don't fit.
        WeightsError, MissingExtraError: a backbone can't be loaded.
    """
    from facevoice.training.finetune import Tuning, tuned_modalities

    sources = {stored_name(n): split_name(n)[0] for n in names if not _STORED.search(n)}
    backbones: dict[Modality, Backbone] = {}
    for modality in tuned_modalities(config):
        if modality not in table.arrays:
            continue  # training says so
        stored = table.arrays[modality].backbone.rpartition("@")[0]
        source = sources.get(stored, split_name(stored)[0])
        if source.startswith(_FOLDER):
            raise ConfigError(
                f"the {modality} embeddings are of {stored}, which lies in a folder; to train it, "
                "name that folder by --backbone DIR"
            )
        backbones[modality] = create_backbone(source, device="cpu")

    def cut_windows(clips: Mapping[Modality, Sequence[Clip]]) -> ClipWindows:
        return cache_windows(
            clips,
            folder or store.with_name("windows"),
            facts_path=facts_path(store),
            jobs=jobs,
            on_progress=_tell,
        )

    return Tuning(backbones, cut_windows, checkpointing)


def _tell(num_done: int, num_all: int, clip_id: str) -> None:
    if num_done % _TOLD_EVERY == 0 or num_done == num_all:
        _LOG.info("windows of %d of %d clips are cut, the latest: %s", num_done, num_all, clip_id)
