"""ONNX export of the voice network: int8 weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from recipes.voice_net import VoiceNet
from recipes.weight_codes import SMALLEST

from facevoice.backbones.export import constants_to_initializers

OPSET = 17


def export(net: VoiceNet, target: Path) -> None:
    """Write the int8 graph: mel (B, 80, T), num_frames int64 (B,) → embedding (B, 3072)."""
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        export_float(net, plain)
        quantize(plain, target)
    onnx.save(packed(onnx.load(target)), target)


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


def packed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, to the last bit, in fewer bytes; onnxruntime unfolds it as it opens it.

    Codes are kept less their zero points, so that most are near nought and a wheel packs them
    tighter; what Whisper published as float16 is kept as such; its positions, plain waves, are
    computed.
    """
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    unfolding = [*_waves(kept), *_centred(kept), *_halves(kept)]
    nodes = [*unfolding, *model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in sorted(kept.items())
    )
    onnx.checker.check_model(model)
    return model


def _waves(kept: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Whisper's positions: sines, then cosines, of 256 frequencies.

    In float64, since float32's differ from processor to processor; the few that were published with
    another last bit of their float16 are put right.
    """
    published = kept.pop("positions")
    length, width = published.shape
    turns = np.tile(np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2)), 2)
    times = np.arange(length, dtype=np.float64)[:, None]
    begin = np.repeat([0, np.pi / 2], width // 2)
    waves = np.sin(times * turns + begin).astype(np.float32).astype(np.float16)
    wrong = np.argwhere(waves != published)
    right = published[tuple(wrong.T)]
    kept |= {
        f"positions_{name}": array
        for name, array in {
            "times": times,
            "turns": turns,
            "begin": begin,
            "wrong": wrong,
            "right": right,
        }.items()
    }
    steps: list[tuple[str, list[str], str, dict[str, int]]] = [
        ("Mul", ["times", "turns"], "turned", {}),
        ("Add", ["turned", "begin"], "angles", {}),
        ("Sin", ["angles"], "waves", {}),
        ("Cast", ["waves"], "single", {"to": TensorProto.FLOAT}),
        ("Cast", ["single"], "half", {"to": TensorProto.FLOAT16}),
        ("Cast", ["half"], "computed", {"to": TensorProto.FLOAT}),
    ]
    nodes = [
        helper.make_node(kind, [f"positions_{i}" for i in inputs], [f"positions_{output}"], **more)
        for kind, inputs, output, more in steps
    ]
    corrected = ["positions_computed", "positions_wrong", "positions_right"]
    return [*nodes, helper.make_node("ScatterND", corrected, ["positions"])]


def _centred(kept: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    nodes = []
    for name in [name for name, array in kept.items() if array.ndim == 2]:
        if not name.endswith("_quantized"):
            continue
        zero = name.removesuffix("quantized") + "zero_point"
        kept[f"{name}_less"] = kept.pop(name) - kept[zero]  # uint8, which goes round
        parts = [f"{name}_{part}" for part in ("a", "b", "c", "d")]
        kept["whole_turn"] = np.array(256, np.int32)
        nodes += [
            helper.make_node("Cast", [f"{name}_less"], parts[:1], to=TensorProto.INT32),
            helper.make_node("Cast", [zero], parts[1:2], to=TensorProto.INT32),
            helper.make_node("Add", parts[:2], parts[2:3]),
            helper.make_node("Mod", [parts[2], "whole_turn"], parts[3:]),
            helper.make_node("Cast", parts[3:], [name], to=TensorProto.UINT8),
        ]
    return nodes


def _halves(kept: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    nodes = []
    for name in [name for name, array in kept.items() if array.dtype == np.float32]:
        half = kept[name].astype(np.float16)
        if half.size > SMALLEST and (half == kept[name]).all():
            kept[f"{name}_half"] = half
            del kept[name]
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    return nodes
