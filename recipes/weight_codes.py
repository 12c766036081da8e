"""Weights of an ONNX graph as int8 codes: a quarter of the file; all arithmetic stays float32.

onnxruntime folds codes and scales into plain float32 weights when it opens the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

SMALLEST = 1000  # elements; below, nothing is gained
LARGEST_CODE = 127


def encode_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put codes in place of large weights of `Conv`, `Gemm`, `LSTM`, one scale per output."""
    used = {name for node in model.graph.node for name in _weights_of(node)}
    recurrent = {n for node in model.graph.node if node.op_type == "LSTM" for n in node.input[1:3]}
    decoding = []
    for tensor in list(model.graph.initializer):
        weight = numpy_helper.to_array(tensor)
        if tensor.name not in used or weight.size < SMALLEST:
            continue
        # Those of an LSTM are (directions, outputs, inputs).
        outer = tuple(range(1, weight.ndim)) if tensor.name not in recurrent else (2,)
        scale = np.abs(weight).max(axis=outer, keepdims=True) / LARGEST_CODE
        codes = np.rint(weight / np.maximum(scale, 1e-12)).astype(np.int8)
        names = f"{tensor.name}_codes", f"{tensor.name}_scale", f"{tensor.name}_plain"
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(codes, names[0]),
                numpy_helper.from_array(scale.astype(np.float32), names[1]),
            ]
        )
        decoding += [
            helper.make_node("Cast", [names[0]], [names[2]], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [names[2], names[1]], [tensor.name]),
        ]
    nodes = [*decoding, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


def _weights_of(node: onnx.NodeProto) -> list[str]:
    if node.op_type == "LSTM":
        return list(node.input[1:3])
    is_coded = node.op_type == "Conv" or (node.op_type == "Gemm" and _is_transposed(node))
    return [node.input[1]] if is_coded else []


def _is_transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i == 1 for a in node.attribute)
