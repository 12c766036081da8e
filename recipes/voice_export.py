"""ONNX export of the voice network: int8 weights, parity with torch, cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from recipes.voice_data import CLASSES, Samples, cut_windows
from recipes.voice_net import EMBEDDING_DIM, VoiceNet
from recipes.voice_train import ClipScores

from facevoice.features.mel import SAMPLE_RATE_HZ, voice_mel_batch

OPSET = 17
INPUTS = ["mel", "num_frames"]
OUTPUTS = ["embedding", "logits"]


def export_float(net: VoiceNet, path: Path) -> None:
    """Write the float32 graph: mel (B, 80, T), num_frames int64 (B,) → embedding, logits."""
    mel, num_frames = torch.randn(2, 80, 211), torch.tensor([211, 120])
    torch.onnx.export(
        net.eval(),
        (mel, num_frames),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_axes={
            "mel": {0: "batch", 2: "frames"},
            "num_frames": {0: "batch"},
            "embedding": {0: "batch"},
            "logits": {0: "batch"},
        },
    )


def constants_to_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn Constant nodes into initialisers; the quantiser leaves the former alone."""
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


def quantize(source: Path, target: Path) -> None:
    """Dynamic int8, weights per channel and unsigned: no 16-bit overflow on CPUs without VNNI.

    The first layer (1 % of the weights) and the head stay float32: the one sees raw mel, the
    other decides.
    """
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        onnx.save(constants_to_initializers(onnx.load(source)), prepared)
        quant_pre_process(prepared, prepared, skip_symbolic_shape=True, external_data=False)
        model = constants_to_initializers(onnx.load(prepared))
        onnx.save(model, prepared)
        shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        small = [
            node.name
            for node in model.graph.node
            if node.op_type in ("MatMul", "Gemm")
            and any(_stays_float(shapes.get(name, ())) for name in node.input)
        ]
        quantize_dynamic(
            prepared,
            target,
            weight_type=QuantType.QUInt8,
            per_channel=True,
            nodes_to_exclude=small,
            op_types_to_quantize=["MatMul", "Gemm"],
        )


def _stays_float(shape: tuple[int, ...]) -> bool:
    return 240 in shape or set(shape) == {EMBEDDING_DIM, len(CLASSES)}


def open_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def score_onnx(path: Path, sounds: Sequence[Samples]) -> tuple[ClipScores, float]:
    """As ``voice_train.score_clips``, one window at a time, with onnxruntime on one thread.

    Also returns the CPU milliseconds per second of sound, mel included.
    """
    session = open_session(path)
    embeddings, log_probs, seconds, began = [], [], 0.0, time.process_time()
    for sound in sounds:
        rows, probs = [], []
        for window in cut_windows(sound):
            mel, num_frames = voice_mel_batch([window])
            embedding, logits = session.run(OUTPUTS, {"mel": mel, "num_frames": num_frames})
            odds = np.exp(logits[0] - logits[0].max())
            rows.append(embedding[0])
            probs.append(odds / odds.sum())
            seconds += window.size / SAMPLE_RATE_HZ
        embeddings.append(np.mean(rows, axis=0))
        log_probs.append(np.log(np.mean(probs, axis=0) + 1e-12))
    cost_ms = 1000.0 * (time.process_time() - began) / seconds
    return ClipScores(np.stack(embeddings), np.stack(log_probs)), cost_ms
