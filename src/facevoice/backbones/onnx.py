"""Exported backbones, run by onnxruntime: same input, same output, no torch.

A folder that `facevoice.backbones.export.export_backbone` wrote holds the networks (`model.onnx`
in float32, `model.int8.onnx` with weights in eight bits) and `spec.json`, which says what they are
and which SHA-256 each has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.backbones.huggingface import FaceInput, VoiceInput, pool_tokens
from facevoice.backbones.spec import BackboneSpec
from facevoice.errors import ConfigError, WeightsError
from facevoice.files import file_sha256
from facevoice.records import FloatArray, Modality, ModelId, Window
from facevoice.sessions import inside, open_session, read_json
from facevoice.settings import build_settings

SPEC_FILE: Final = "spec.json"
FP32_FILE: Final = "model.onnx"
INT8_FILE: Final = "model.int8.onnx"
INPUT_NAME: Final = "inputs"
STEPS_OUTPUT: Final = "steps"
LAYERS_OUTPUT: Final = "layers"
_FORMAT: Final = 1
_REMEDY: Final = "Export the backbone again."


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What `spec.json` says.

    spec: of the backbone that was exported; source: its weights;
    preparation: how windows become its input;
    steps_per_token: steps of the network that make up one token;
    num_layers: rows of `embed_layers`;
    files: by name of the ONNX file, `sha256` and `precision` of its weights.
    """

    spec: BackboneSpec
    source: ModelId
    preparation: FaceInput | VoiceInput
    steps_per_token: int
    num_layers: int
    files: Mapping[str, Mapping[str, str]]

    def write(self, folder: Path) -> None:
        """Write `spec.json`."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n"
        (folder / SPEC_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ExportRecord:
        """Read `spec.json`; WeightsError if it is absent, damaged, or of another format."""
        path = folder / SPEC_FILE
        document = read_json(path, _REMEDY)
        version = document.get("format")
        if version != _FORMAT:
            raise WeightsError(
                f"{path}: format {version!r}; this facevoice reads {_FORMAT}. {_REMEDY}"
            )
        try:
            return cls._parse(document)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise WeightsError(f"{path}: is damaged ({error!r}). {_REMEDY}") from error

    @classmethod
    def _parse(cls, document: Mapping[str, Any]) -> ExportRecord:
        known = {name: value for name, value in document["spec"].items() if value is not None}
        spec = build_settings(BackboneSpec, known, "spec")
        kind: type[Any] = FaceInput if spec.modality is Modality.VIDEO else VoiceInput
        return cls(
            spec=spec,
            source=ModelId(**document["source"]),
            preparation=build_settings(kind, document["preparation"], "preparation"),
            steps_per_token=int(document["steps_per_token"]),
            num_layers=int(document["num_layers"]),
            files={
                name: {key: str(entry[key]) for key in ("sha256", "precision")}
                for name, entry in document["files"].items()
            },
        )


class OnnxBackbone:
    """A backbone out of an export; as good as the one in torch, but for rounding.

    Windows are run one by one: the ranges of int8 layers would depend on a batch's members.

    Args:
        path: a folder that `export_backbone` wrote, for its float32 network; or an ONNX file in it.
        num_threads: threads inside one operator.

    Raises:
        WeightsError: files are missing, damaged, or not those that `spec.json` names.
    """

    def __init__(self, path: Path, *, num_threads: int = 1) -> None:
        file = path if path.suffix == ".onnx" else path / FP32_FILE
        record = ExportRecord.read(file.parent)
        if file.name not in record.files:
            known = ", ".join(record.files) or "none"
            raise WeightsError(f"{file}: is not named in {SPEC_FILE}; named there: {known}.")
        entry = record.files[file.name]
        try:
            found = file_sha256(inside(file.parent, file.name))
        except OSError as error:
            raise WeightsError(f"{file}: can't be read ({error.strerror}). {_REMEDY}") from error
        if found != entry["sha256"]:
            raise WeightsError(f"{file}: SHA-256 is {found}, expected {entry['sha256']}. {_REMEDY}")
        self.record = record
        self.spec = replace(record.spec, precision=entry["precision"])
        self.model = ModelId(f"{record.source.name}/{file.name}", found)
        self.num_layers = record.num_layers
        preparation = record.preparation
        self.num_tokens = (
            preparation.num_frames // record.steps_per_token
            if isinstance(preparation, FaceInput)
            else None
        )
        self._session = open_session(file, str(file), num_threads)

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """See `Backbone`."""
        rows = [self.embed_layers(window)[-1] for window in windows]
        return np.array(rows, dtype=np.float32).reshape(-1, self.spec.dim)

    def embed_tokens(self, window: Window) -> FloatArray:
        """The last layer over time: float32 (T, D), see `spec.token_form`."""
        steps = self._run(STEPS_OUTPUT, window)
        is_face = isinstance(self.record.preparation, FaceInput)
        return steps if is_face else pool_tokens(steps, self.record.steps_per_token)

    def embed_layers(self, window: Window) -> FloatArray:
        """Means over time of every layer: float32 (L, D); the last row is the embedding."""
        return self._run(LAYERS_OUTPUT, window)

    def _run(self, output: str, window: Window) -> FloatArray:
        inputs = self.record.preparation.prepare(window)[np.newaxis]
        found: FloatArray = self._session.run([output], {INPUT_NAME: inputs})[0][0]
        return found
