"""From a table of clips and a feature store to what the trainer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facevoice.data.clips import Clip
from facevoice.data.feature_table import FeatureTable, TokenArray, stack_tokens
from facevoice.data.manifest import read_manifest
from facevoice.errors import StoreError
from facevoice.features.backbone import UNKNOWN_CORPORA
from facevoice.features.pretrained import PRETRAINED
from facevoice.features.stacked import split_name
from facevoice.labels import Modality
from facevoice.models.network_config import NetworkConfig
from facevoice.types import FloatArray
from facevoice.workbench.feature_plan import BackboneId
from facevoice.workbench.stored_features import (
    ClipFeatures,
    find_backbone,
    read_features,
    stored_backbones,
)


def read_store_table(
    manifest: Path, store: Path, network: NetworkConfig, names: Sequence[str] = ()
) -> FeatureTable:
    """Clips of a table with what was extracted of them; channels not extracted are masked.

    Embeddings are means over a clip's windows; tokens of its windows follow one another; layers are
    averaged over its windows, layer by layer.

    Args:
        manifest: the table.
        store: the feature store.
        network: whose modalities are read.
        names: backbones, by name or name@revision, at most one a channel; where none is named, the
            only one of that channel that the store has.

    Raises:
        CorpusError: the table is damaged, or durations are not known.
        StoreError: nothing was extracted, or it is not clear which backbone is meant.
    """
    clips = read_manifest(manifest)
    chosen = [find_backbone(store, name) for name in names]
    arrays: dict[Modality, TokenArray] = {}
    for modality in network.modalities:
        named = [backbone for backbone in chosen if backbone.modality is modality]
        backbone = named[0] if named else _only_backbone(store, modality)
        rows = split_name(backbone.name)[1]
        found = read_features(clips, store, backbone=backbone)
        arrays[modality] = _array(clips, found, backbone, rows, network.dim(modality))
    there = np.any([array.lengths > 0 for array in arrays.values()], axis=0)
    if not there.any():
        raise StoreError(store, "holds nothing of these clips.", "facevoice data extract")
    places = np.flatnonzero(there).astype(np.int64)
    return FeatureTable(
        tuple(clips[place] for place in places),
        {modality: array.take(places) for modality, array in arrays.items()},
    )


def _only_backbone(store: Path, modality: Modality) -> BackboneId:
    known = [backbone for backbone in stored_backbones(store) if backbone.modality is modality]
    if len(known) != 1:
        choices = ", ".join(backbone.id for backbone in known) or "none"
        raise StoreError(
            store,
            f"holds embeddings of {len(known)} {modality} backbones ({choices}).",
            "Name one with --backbone" if known else "Extract some first: facevoice data extract",
        )
    return known[0]


def _array(
    clips: Sequence[Clip],
    found: dict[str, ClipFeatures],
    backbone: BackboneId,
    rows: str | None,
    row_dim: int,
) -> TokenArray:
    dim = backbone.dim if rows is None else row_dim
    if backbone.dim % dim:
        raise StoreError(
            Path(backbone.id),
            f"embeddings of {backbone.dim} numbers are no rows of {dim}.",
            "Set network.video_dim or network.audio_dim to the width of one row",
        )
    embeddings = [
        None if clip.clip_id not in found else _clip_rows(found[clip.clip_id], rows, dim)
        for clip in clips
    ]
    return replace(
        stack_tokens(embeddings, dim, backbone.id), training_corpora=training_corpora(backbone.name)
    )


def _clip_rows(features: ClipFeatures, rows: str | None, dim: int) -> FloatArray | None:
    """(T, D) of one clip; None where no window shows the channel."""
    if rows == "tokens":
        tokens = features.embeddings[features.mask].reshape(-1, dim)
        return tokens if len(tokens) else None
    pooled = features.pooled()
    return None if pooled is None else pooled.reshape(-1, dim)


def training_corpora(name: str) -> tuple[str, ...] | None:
    """The corpora that a backbone saw; None where that is not known."""
    plain, _ = split_name(name)
    if plain in PRETRAINED:
        corpora = PRETRAINED[plain].training_corpora
        return None if corpora == UNKNOWN_CORPORA else corpora
    return None
