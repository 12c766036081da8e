"""Exported backbones, run by onnxruntime: same input, same output, no torch.

A folder that `facevoice.backbones.export.export_backbone` wrote holds the networks (`model.onnx`
in float32, `model.int8.onnx` with weights in eight bits) and `spec.json`, which says what they are
and which SHA-256 each has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

from facevoice.backbones.huggingface import FaceInput, VoiceInput, pool_tokens
from facevoice.backbones.spec import BackboneSpec
from facevoice.errors import WeightsError
from facevoice.records import FloatArray, Modality, ModelId, Window

SPEC_FILE: Final[str] = "spec.json"
FP32_FILE: Final[str] = "model.onnx"
INT8_FILE: Final[str] = "model.int8.onnx"
INPUT_NAME: Final[str] = "inputs"
STEPS_OUTPUT: Final[str] = "steps"
LAYERS_OUTPUT: Final[str] = "layers"
FORMAT: Final[int] = 1
_REMEDY: Final[str] = "Export the backbone again."


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What `spec.json` says.

    spec: of the backbone that was exported; source: its weights;
    preparation: how windows become its input;
    steps_per_token: steps of the network that make up one token;
    num_layers: rows of `embed_layers`;
    sha256s: of the ONNX files, by name; precisions: of their weights, by name.
    """

    spec: BackboneSpec
    source: ModelId
    preparation: FaceInput | VoiceInput
    steps_per_token: int
    num_layers: int
    sha256s: Mapping[str, str]
    precisions: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write `spec.json`."""
        files = {
            name: {"sha256": sha256, "precision": self.precisions[name]}
            for name, sha256 in self.sha256s.items()
        }
        document = {
            "format": FORMAT,
            "spec": asdict(self.spec),
            "source": asdict(self.source),
            "preparation": asdict(self.preparation),
            "steps_per_token": self.steps_per_token,
            "num_layers": self.num_layers,
            "files": files,
        }
        text = json.dumps(document, indent=2) + "\n"
        (folder / SPEC_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> ExportRecord:
        """Read `spec.json`.

        Raises:
            WeightsError: it is absent, damaged, or of another format.
        """
        path = folder / SPEC_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise WeightsError(
                    f"{path}: format {document['format']!r}; this facevoice reads {FORMAT}. "
                    f"{_REMEDY}"
                )
            return _parsed(document)
        except OSError as error:
            raise WeightsError(f"{path}: can't be read ({error.strerror}). {_REMEDY}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path}: is damaged ({error!r}). {_REMEDY}") from error


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
        if file.name not in record.sha256s:
            known = ", ".join(record.sha256s) or "none"
            raise WeightsError(f"{file}: is not named in {SPEC_FILE}; named there: {known}.")
        _check_sha256(file, record.sha256s[file.name])
        self.record = record
        self.spec = replace(record.spec, precision=record.precisions[file.name])
        self.model = ModelId(f"{record.source.name}/{file.name}", record.sha256s[file.name])
        self._session = _open(file, num_threads)

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        return self.record.num_layers

    @property
    def num_tokens(self) -> int | None:
        """Rows of `embed_tokens`; None where they grow with the window's length."""
        preparation = self.record.preparation
        if isinstance(preparation, VoiceInput):
            return None
        return preparation.num_frames // self.record.steps_per_token

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows that all have this backbone's modality.

        Returns:
            float32 (B, D).

        Raises:
            ValueError: a window lacks the modality.
        """
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for row, window in enumerate(windows):
            embeddings[row] = self.embed_layers(window)[-1]
        return embeddings

    def embed_tokens(self, window: Window) -> FloatArray:
        """The last layer over time: float32 (T, D), see `spec.token_form`."""
        steps = self._run(STEPS_OUTPUT, window)
        if isinstance(self.record.preparation, FaceInput):
            return steps
        return pool_tokens(steps, self.record.steps_per_token)

    def embed_layers(self, window: Window) -> FloatArray:
        """Means over time of every layer: float32 (L, D); the last row is the embedding."""
        return self._run(LAYERS_OUTPUT, window)

    def _run(self, output: str, window: Window) -> FloatArray:
        inputs = self.record.preparation.prepare(window)[np.newaxis]
        found: FloatArray = self._session.run([output], {INPUT_NAME: inputs})[0][0]
        return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces.

    Raises:
        WeightsError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}). {_REMEDY}") from error


def _check_sha256(path: Path, expected: str) -> None:
    found = file_sha256(path)
    if found != expected:
        raise WeightsError(f"{path}: SHA-256 is {found}, expected {expected}. {_REMEDY}")


def _open(path: Path, num_threads: int) -> InferenceSession:
    """By path: a large network is then not held twice."""
    options = SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Spinning threads would eat the core that decoding needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise WeightsError(f"{path}: onnxruntime can't open it ({error}).") from error


def _parsed(document: Mapping[str, Any]) -> ExportRecord:
    values = {**document["spec"]}
    unknown = {*values} - {field.name for field in fields(BackboneSpec)}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    values["modality"] = Modality(values["modality"])
    values["training_corpora"] = tuple(values["training_corpora"])
    spec = BackboneSpec(**values)
    preparation = dict(document["preparation"])
    how: FaceInput | VoiceInput
    if spec.modality is Modality.VIDEO:
        for colours in ("mean", "std"):
            preparation[colours] = tuple(preparation[colours])
        how = FaceInput(**preparation)
    else:
        how = VoiceInput(**preparation)
    return ExportRecord(
        spec=spec,
        source=ModelId(**document["source"]),
        preparation=how,
        steps_per_token=int(document["steps_per_token"]),
        num_layers=int(document["num_layers"]),
        sha256s={name: entry["sha256"] for name, entry in document["files"].items()},
        precisions={name: entry["precision"] for name, entry in document["files"].items()},
    )
