"""Backbones from torch to ONNX: float32, and int8 weights with ranges found while running.

Needs torch and transformers (extra `full`) and `onnx` (extra `train`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from facevoice.backbones.huggingface import LayerTap, VideoMae, Wav2Vec2
from facevoice.backbones.onnx import (
    FP32_FILE,
    INPUT_NAME,
    INT8_FILE,
    LAYERS_OUTPUT,
    SPEC_FILE,
    STEPS_OUTPUT,
    ExportRecord,
    OnnxBackbone,
    file_sha256,
)
from facevoice.backbones.spec import Backbone
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.records import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import onnx
    import torch


OPSET: Final[int] = 17
MAX_BYTES: Final[int] = 2_000_000_000
"""An ONNX file is one protobuf message, which ends at 2 GiB."""


def export_backbone(backbone: Backbone, folder: Path, *, int8: bool = True) -> ExportRecord:
    """Write a pretrained backbone as ONNX, to be run by `OnnxBackbone`.

    The network's weights stay as they are. Files in `folder` are replaced; `spec.json` is written
    last, so that a folder with one is whole.

    Args:
        backbone: one that `create_backbone` loaded with torch.
        folder: made if need be.
        int8: also write `model.int8.onnx`: weights of the linear layers as unsigned bytes per
            channel, activations quantised while running, convolutions and the rest in float32.

    Raises:
        ConfigError: it is no backbone of that kind.
        WeightsError: the network is too large for one ONNX file.
        MissingExtraError: torch or onnx is not installed.
    """
    if not isinstance(backbone, VideoMae | Wav2Vec2):
        raise ConfigError(
            f"backbone {backbone.spec.name!r} can't be exported: only those that torch runs, "
            "without +layers and +tokens (an export tells both)"
        )
    num_bytes = sum(p.numel() * p.element_size() for p in backbone.network.parameters())
    if num_bytes > MAX_BYTES:
        raise WeightsError(
            f"{backbone.model.name}: {num_bytes / 1e9:.1f} GB of weights do not fit into one ONNX "
            "file (2 GB). Choose a smaller backbone."
        )
    if find_spec("onnx") is None:
        raise MissingExtraError("ONNX export", "train")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).unlink(missing_ok=True)
    _export_float(backbone, folder / FP32_FILE)
    precisions = {FP32_FILE: "fp32"}
    if int8:
        quantize(folder / FP32_FILE, folder / INT8_FILE)
        precisions[INT8_FILE] = "int8"
    steps_per_token = (
        backbone.input.num_frames // backbone.num_tokens
        if isinstance(backbone, VideoMae)
        else backbone.frames_per_token
    )
    record = ExportRecord(
        spec=backbone.spec,
        source=backbone.model,
        preparation=backbone.input,
        steps_per_token=steps_per_token,
        num_layers=backbone.num_layers,
        sha256s={name: file_sha256(folder / name) for name in precisions},
        precisions=precisions,
    )
    record.write(folder)
    return record


def quantize(source: Path, target: Path) -> None:
    """Quantise the linear layers of an ONNX file dynamically.

    Unsigned weights per channel: no 16-bit overflow on processors without VNNI. Needs onnx.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory(dir=target.parent) as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        onnx.save(constants_to_initializers(onnx.load(source)), prepared)
        quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
        onnx.save(constants_to_initializers(onnx.load(prepared)), prepared)
        quantize_dynamic(
            prepared,
            target,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )


def constants_to_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn Constant nodes into initialisers, in place; the quantiser leaves the former alone."""
    import onnx

    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def load_export(folder: Path, *, int8: bool = False, num_threads: int = 1) -> OnnxBackbone:
    """Load what `export_backbone` wrote.

    Raises:
        WeightsError: files are missing or damaged.
    """
    return OnnxBackbone(folder / (INT8_FILE if int8 else FP32_FILE), num_threads=num_threads)


def _export_float(backbone: VideoMae | Wav2Vec2, path: Path) -> None:
    import torch

    with _on_cpu(backbone.network):
        if isinstance(backbone, VideoMae):
            face = backbone.input
            example = torch.zeros(1, face.num_frames, 3, face.side_px, face.side_px)
            axes: dict[str, dict[int, str]] = {}
            module = _steps_and_layers(backbone.tap, backbone.num_tokens)
        else:
            # Noise: silence would make some normalisations divide by nothing while tracing.
            generator = torch.Generator().manual_seed(0)
            example = torch.randn(1, SAMPLE_RATE_HZ, generator=generator)
            axes = {INPUT_NAME: {1: "samples"}, STEPS_OUTPUT: {1: "frames"}}
            module = _steps_and_layers(backbone.tap, None)
        with warnings.catch_warnings(), torch.inference_mode():
            # The tracing exporter is the one that needs nothing beside torch.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                (example,),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[STEPS_OUTPUT, LAYERS_OUTPUT],
                dynamic_axes=axes,
            )


def _steps_and_layers(tap: LayerTap, num_steps: int | None) -> torch.nn.Module:
    """Network whose outputs are the last layer over time and the means of all layers.

    num_steps: time steps into which patch tokens are averaged; None keeps every token.
    """
    import torch

    class StepsAndLayers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = tap.network

        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            layers = tap(inputs)
            steps = layers[-1]
            if num_steps is not None:
                steps = steps.reshape(1, num_steps, -1, steps.shape[-1]).mean(dim=2)
            return steps, torch.stack([layer.mean(dim=1) for layer in layers], dim=1)

    return StepsAndLayers()


@contextmanager
def _on_cpu(network: Any) -> Iterator[None]:
    device = next(network.parameters()).device
    try:
        network.cpu()
        yield
    finally:
        network.to(device)
