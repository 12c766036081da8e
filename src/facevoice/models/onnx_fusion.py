"""An exported model's fusion and heads, run by onnxruntime; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.errors import WeightsError
from facevoice.models.checkpoint_info import CheckpointInfo
from facevoice.models.compact import Posteriors
from facevoice.models.export_folder import FUSION_FILE, ExportIndex, read_export
from facevoice.models.family import as_tokens, checkpoint_name, trained_on, without_doubt
from facevoice.models.posteriors import posterior_rows
from facevoice.models.predict import gather_inputs
from facevoice.sessions import load_session_file
from facevoice.types import FeatureSet, FloatArray

HEADS: Final = ("emotion", "face", "voice", "conflict")
_CHUNK: Final = 256


class OnnxFusion:
    """Fusion and heads out of an export; see `facevoice.models.family.Model`.

    Args:
        path: the ONNX file; sha256: what it must have.
        name: short.
        info: what the checkpoint says of itself.

    Raises:
        WeightsError: the file is missing, damaged, or has no such inputs and outputs.
    """

    def __init__(
        self, path: Path, sha256: str, name: str, info: CheckpointInfo, *, num_threads: int = 1
    ) -> None:
        self._session, self.heads = load_session_file(
            path, name=name, sha256=sha256, num_threads=num_threads
        )
        self._outputs = [output.name for output in self._session.get_outputs()]
        wanted = {
            f"{modality.value}{end}"
            for modality in info.network.modalities
            for end in ("", "_mask")
        }
        found = {given.name for given in self._session.get_inputs()}
        if found != wanted or "emotion" not in self._outputs or not {*HEADS} >= {*self._outputs}:
            raise WeightsError(
                f"{path}: takes {sorted(found)} and gives {self._outputs}, which is no network of "
                f"{' and '.join(info.network.modalities)}; export the checkpoint again"
            )
        self.name = name
        self.info = info
        self.backbones = trained_on(info)
        self.thresholds = info.thresholds

    def predict(self, features: Sequence[FeatureSet]) -> list[Posteriors]:
        """See `Model`."""
        rows: list[Posteriors] = []
        for start in range(0, len(features), _CHUNK):
            chunk = [as_tokens(f, self.info) for f in features[start : start + _CHUNK]]
            inputs, present = gather_inputs(chunk, self.info.network)
            logits = self._run(inputs)
            rows += posterior_rows(logits, present, self.info.calibration)
        return without_doubt(rows, self.thresholds)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, FloatArray | None]:
        found = dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        return {head: found.get(head) for head in HEADS}


def load_fusion(folder: Path, *, num_threads: int = 1) -> tuple[OnnxFusion, ExportIndex]:
    """Load an exported folder's fusion and heads, and what the folder says of its backbones.

    Raises:
        WeightsError: a file is absent, damaged, or not the one that was written.
    """
    index, info = read_export(folder)
    fusion = OnnxFusion(
        folder / FUSION_FILE,
        index.sha256s[FUSION_FILE],
        checkpoint_name(folder),
        info,
        num_threads=num_threads,
    )
    return fusion, index
