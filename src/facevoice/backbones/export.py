"""Backbones from torch to ONNX: float32, and int8 weights with ranges found while running.

Needs torch and transformers (extra `full`) and `onnx` (extra `train`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from facevoice.backbones.huggingface import VideoMae, Wav2Vec2
from facevoice.backbones.onnx import (
    FP32_FILE,
    INPUT_NAME,
    INT8_FILE,
    LAYERS_OUTPUT,
    SPEC_FILE,
    STEPS_OUTPUT,
    ExportRecord,
)
from facevoice.backbones.spec import Backbone
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.files import file_sha256
from facevoice.records import SAMPLE_RATE_HZ
from facevoice.sessions import frozen_run

if TYPE_CHECKING:
    import onnx
    import torch

_OPSET: Final = 17
MAX_BYTES: Final = 2_000_000_000
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
    _write_float(backbone, folder / FP32_FILE)
    precisions = {FP32_FILE: "fp32"}
    if int8:
        _quantize(folder / FP32_FILE, folder / INT8_FILE)
        precisions[INT8_FILE] = "int8"
    record = ExportRecord(
        spec=backbone.spec,
        source=backbone.model,
        preparation=backbone.input,
        steps_per_token=backbone.input.num_frames // backbone.num_tokens
        if isinstance(backbone, VideoMae)
        else backbone.frames_per_token,
        num_layers=backbone.num_layers,
        files={
            name: {"sha256": file_sha256(folder / name), "precision": precision}
            for name, precision in precisions.items()
        },
    )
    record.write(folder)
    return record


def _write_float(backbone: VideoMae | Wav2Vec2, path: Path) -> None:
    import torch

    network, tap = backbone.network, backbone.tap
    device = next(network.parameters()).device
    axes = {INPUT_NAME: {1: "samples"}, STEPS_OUTPUT: {1: "frames"}}
    if isinstance(backbone, VideoMae):
        face = backbone.input
        example = torch.zeros(1, face.num_frames, 3, face.side_px, face.side_px)
        axes = {}
    else:
        # Noise: silence would make some normalisations divide by nothing while tracing.
        example = torch.randn(1, SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))

    def steps_and_layers(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer over time, patches averaged, and the means of all layers."""
        layers = tap(inputs)
        steps: Any = layers[-1]
        if isinstance(backbone, VideoMae):
            steps = steps.reshape(1, backbone.num_tokens, -1, steps.shape[-1]).mean(dim=2)
        return steps, torch.stack([layer.mean(dim=1) for layer in layers], dim=1)

    network.cpu()
    try:
        names = (STEPS_OUTPUT, LAYERS_OUTPUT)
        write_onnx(network, steps_and_layers, {INPUT_NAME: example}, names, axes, path)
    finally:
        network.to(device)


def write_onnx(
    network: torch.nn.Module,
    run: Callable[..., tuple[torch.Tensor, ...]],
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Trace `run`, which runs the network, on named examples; `axes` may have any length."""
    import torch

    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return run(*values)

    with frozen_run(torch.get_num_threads()), warnings.catch_warnings():
        # The newer exporter needs one more package and gives the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Traced().eval(),
            tuple(inputs.values()),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )


def _quantize(source: Path, target: Path) -> None:
    """Quantise the linear layers of an ONNX file dynamically.

    Unsigned weights per channel: no 16-bit overflow on processors without VNNI.
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
