"""A checkpoint or an exported model as evaluation uses it, on stored embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facevoice.assembly import assemble, find_checkpoint
from facevoice.data.clips import Clip
from facevoice.errors import ConfigError
from facevoice.evaluation.predictions import UsedBackbone
from facevoice.features.backbone import UNKNOWN_CORPORA, Backbone
from facevoice.features.extract import backbone_id
from facevoice.labels import NUM_EMOTIONS, Modality
from facevoice.models.checkpoint_folder import INDEX_FILE
from facevoice.models.checkpoint_info import UsedEmbeddings
from facevoice.models.compact import Posteriors
from facevoice.models.export_folder import is_export
from facevoice.models.tuned import TunedBackbone, read_tuned
from facevoice.types import BoolArray, DoubleArray, FeatureSet, FloatArray
from facevoice.workbench.predict import WindowPosteriors
from facevoice.workbench.seen_speakers import find_seen_speakers

_COLUMNS = {Modality.VIDEO: 0, Modality.AUDIO: 1}


class CheckpointScorer:
    """A trained model; see `workbench.predict.Scorer`.

    Args:
        checkpoint: a checkpoint folder, or an exported one.
        clips: those that it is tested on: whose speakers were trained on decides what is void.
        modalities: channels that may be read, of those that the model has.
        backbones: see `facevoice.assembly.assemble`.

    Raises:
        ConfigError: the model reads none of `modalities`.
        WeightsError, MissingExtraError: see `assemble`.
    """

    def __init__(
        self,
        checkpoint: Path,
        clips: Sequence[Clip],
        modalities: frozenset[Modality] = frozenset(Modality),
        backbones: Sequence[str] = (),
    ) -> None:
        parts = assemble(checkpoint, backbones)
        if parts.info is None or not parts.modalities & modalities:
            raise ConfigError(f"{checkpoint}: reads {', '.join(sorted(parts.modalities))} only")
        self._model = parts.model
        used = {m: b for m, b in parts.backbones.items() if m in modalities}
        self.name = f"{parts.model.name}, {parts.info.network.fusion} fusion"
        self.sources: Mapping[Modality, str] = {m: parts.sources[m] for m in used}
        # Only ids are kept: whoever extracts loads the networks.
        self.backbones: Mapping[Modality, str] = {m: backbone_id(b) for m, b in used.items()}
        found = find_seen_speakers(parts.info.data, clips)
        heads = f"heads {parts.model.name}@{parts.model.heads.sha256[:12]}"
        if found.held_out:
            heads += f" (trained on other speakers of {', '.join(found.held_out)})"
        self.words = found.words
        tuned = _tuned(checkpoint)
        self.trained_on = (
            *(
                _tuned_history(b, tuned[m], found.training_corpora)
                if m in tuned
                else _history(b, parts.info.backbones[m])
                for m, b in used.items()
            ),
            UsedBackbone(heads, found.training_corpora),
        )
        thresholds = parts.model.thresholds
        self.threshold: float | None = None if thresholds is None else thresholds.conflict_above

    def score(
        self, face: FloatArray | None, voice: FloatArray | None, present: BoolArray
    ) -> WindowPosteriors:
        """Posteriors of n windows: face (n, D), voice (n, D), present (n, 2)."""
        given = {Modality.VIDEO: face, Modality.AUDIO: voice}
        rows = {m: given[m] for m in self.backbones}
        windows = []
        for place in range(len(present)):
            there = {
                m: found[place]
                for m, found in rows.items()
                if found is not None and present[place, _COLUMNS[m]]
            }
            windows.append(FeatureSet(0.0, 1.0, there, {}))
        said = self._model.predict(windows)
        return WindowPosteriors(
            _stack([row.face for row in said]),
            _stack([row.voice for row in said]),
            _stack([row.fused for row in said]),
            _conflicts(said),
        )


def _history(backbone: Backbone, used: UsedEmbeddings) -> UsedBackbone:
    """What a backbone was trained on, by its spec, or else by the checkpoint."""
    corpora = backbone.spec.training_corpora
    if corpora == UNKNOWN_CORPORA:
        return UsedBackbone(
            backbone_id(backbone), used.training_corpora if used.corpora_known else None
        )
    return UsedBackbone(
        backbone_id(backbone), tuple(dict.fromkeys((*corpora, *used.training_corpora)))
    )


def _tuned(checkpoint: Path) -> Mapping[Modality, TunedBackbone]:
    folder = find_checkpoint(checkpoint)
    return {} if is_export(folder) else read_tuned(folder, INDEX_FILE)


def _tuned_history(
    backbone: Backbone, tuned: TunedBackbone, corpora: tuple[str, ...]
) -> UsedBackbone:
    """What its base saw, and `corpora` of whose tested speakers it was tuned along with the heads.

    With a base of unknown history the heads alone tell of the tuning.
    """
    known = tuned.base_corpora
    return UsedBackbone(
        backbone_id(backbone), None if known is None else tuple(dict.fromkeys((*known, *corpora)))
    )


def _stack(rows: Sequence[DoubleArray | None]) -> DoubleArray | None:
    """(n, 8) with NaN where nothing is said; None if nothing is said of any window."""
    if all(row is None for row in rows):
        return None
    empty = np.full(NUM_EMOTIONS, np.nan)
    return np.stack([empty if row is None else row for row in rows])


def _conflicts(rows: Sequence[Posteriors]) -> DoubleArray | None:
    if all(row.conflict is None for row in rows):
        return None
    return np.array([np.nan if row.conflict is None else row.conflict for row in rows])
