"""The compact family as evaluation uses it: the heads of the package on stored embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from facevoice.assembly import load_compact_model
from facevoice.evaluation.predictions import UsedBackbone
from facevoice.features.backbone import create_backbone
from facevoice.features.extract import backbone_id
from facevoice.labels import NUM_EMOTIONS, Modality
from facevoice.sessions import weights_entry
from facevoice.types import BoolArray, DoubleArray, FloatArray
from facevoice.workbench.predict import WindowPosteriors


class CompactScorer:
    """The shipped heads; see `workbench.predict.Scorer`.

    Args:
        modalities: channels that may be read; fused posteriors and conflict need both.

    Raises:
        WeightsError: weights are missing or damaged.
    """

    def __init__(self, modalities: frozenset[Modality] = frozenset(Modality)) -> None:
        self._model, heads = load_compact_model()
        names = {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
        networks = {m: create_backbone(name) for m, name in names.items() if m in modalities}
        self.name = "compact family, the weights of the package"
        self.sources: Mapping[Modality, str] = {m: names[m] for m in networks}
        self.backbones: Mapping[Modality, str] = {m: backbone_id(b) for m, b in networks.items()}
        learnt = weights_entry("heads").training_corpora
        self.trained_on = (
            *(UsedBackbone(backbone_id(b), b.spec.training_corpora) for b in networks.values()),
            UsedBackbone(f"{heads.name}@{heads.sha256[:12]}", learnt),
        )
        self.threshold: float | None = self._model.thresholds.conflict_above

    def score(
        self, face: FloatArray | None, voice: FloatArray | None, present: BoolArray
    ) -> WindowPosteriors:
        """Posteriors of n windows: face (n, D), voice (n, D), present (n, 2)."""
        faces = self._channel(Modality.VIDEO, face, present[:, 0])
        voices = self._channel(Modality.AUDIO, voice, present[:, 1])
        if faces is None or voices is None:
            return WindowPosteriors(faces, voices, faces if voices is None else voices, None)
        both = present.all(axis=1)
        fused = np.where(present[:, :1], faces, voices)
        fused[both] = self._model.fusion(faces[both], voices[both])
        conflict = np.full(len(present), np.nan)
        conflict[both] = self._model.conflict(faces[both], voices[both])
        return WindowPosteriors(faces, voices, fused, conflict)

    def _channel(
        self, modality: Modality, embeddings: FloatArray | None, present: BoolArray
    ) -> DoubleArray | None:
        if embeddings is None or modality not in self.backbones:
            return None
        probs = np.full((len(embeddings), NUM_EMOTIONS), np.nan)
        if present.any():
            probs[present] = self._model.heads[modality](embeddings[present])
        return probs
