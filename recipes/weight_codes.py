"""Weights of an ONNX graph as int8 codes: a quarter of the file; all arithmetic stays float32.

onnxruntime folds codes and scales into plain float32 weights when it opens the graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

SMALLEST = 1000  # elements; below, nothing is gained
LARGEST_CODE = 127

Array = npt.NDArray[np.float32]
Steps = Callable[[str, Array, tuple[int, ...]], Array]
"""From a weight, its name and the axes of one output to the step between codes of each output."""
Rounding = Callable[[Array], Array]
"""From a weight in steps to whole numbers."""


def finest(_: str, weight: Array, outer: tuple[int, ...]) -> Array:
    """Steps that use all codes."""
    return np.abs(weight).max(axis=outer, keepdims=True) / LARGEST_CODE


def spread_over(num_codes: float) -> Steps:
    """Steps of which so many span a standard deviation of an output's weights, or the finest."""

    def steps(name: str, weight: Array, outer: tuple[int, ...]) -> Array:
        spread = weight.std(axis=outer, keepdims=True) / num_codes
        return np.maximum(spread, finest(name, weight, outer))

    return steps


def encode_weights(
    model: onnx.ModelProto, steps: Steps = finest, rounding: Rounding = np.rint
) -> onnx.ModelProto:
    """Put codes in place of large weights of `Conv`, `Gemm`, `LSTM`, one scale per output.

    steps: larger ones make few codes common, which a wheel packs tighter; rounding: of `Gemm`.
    """
    gemms = {node.input[1] for node in model.graph.node if node.op_type == "Gemm"}
    used = {name for node in model.graph.node for name in _weights_of(node)}
    recurrent = {n for node in model.graph.node if node.op_type == "LSTM" for n in node.input[1:3]}
    decoding = []
    for tensor in list(model.graph.initializer):
        weight = numpy_helper.to_array(tensor)
        if tensor.name not in used or weight.size < SMALLEST:
            continue
        # Those of an LSTM are (directions, outputs, inputs).
        outer = tuple(range(1, weight.ndim)) if tensor.name not in recurrent else (2,)
        scale = steps(tensor.name, weight, outer)
        as_whole = rounding if tensor.name in gemms else np.rint
        whole = as_whole(weight / np.maximum(scale, 1e-12))
        codes = np.clip(whole, -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
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
