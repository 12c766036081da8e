"""ONNX export of the voice network: int8 weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from recipes.voice_net import VoiceNet

from facevoice.backbones.export import constants_to_initializers

OPSET = 17


def export(net: VoiceNet, target: Path) -> None:
    """Write the int8 graph: mel (B, 80, T), num_frames int64 (B,) → embedding (B, 3072)."""
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        export_float(net, plain)
        quantize(plain, target)


def export_float(net: VoiceNet, path: Path) -> None:
    """Write the float32 graph."""
    torch.onnx.export(
        net.eval(),
        (torch.randn(2, 80, 211), torch.tensor([211, 120])),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=["mel", "num_frames"],
        output_names=["embedding"],
        dynamic_axes={
            "mel": {0: "batch", 2: "frames"},
            "num_frames": {0: "batch"},
            "embedding": {0: "batch"},
        },
    )


def quantize(source: Path, target: Path) -> None:
    """Dynamic int8, weights per channel and unsigned: no 16-bit overflow on CPUs without VNNI.

    The first layer (1 % of the weights) stays float32: it sees raw mel.
    """
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        onnx.save(constants_to_initializers(onnx.load(source)), prepared)
        quant_pre_process(prepared, prepared, skip_symbolic_shape=True, external_data=False)
        model = constants_to_initializers(onnx.load(prepared))
        onnx.save(model, prepared)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        first_layer = [
            node.name
            for node in model.graph.node
            if node.op_type in ("MatMul", "Gemm")
            and any(240 in shapes.get(name, ()) for name in node.input)
        ]
        quantize_dynamic(
            prepared,
            target,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            nodes_to_exclude=first_layer,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
