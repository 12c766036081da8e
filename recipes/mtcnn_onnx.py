"""The three MTCNN networks as ONNX, from the arrays that the `mtcnn` wheel carries.

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks",
IEEE Signal Processing Letters 23(10), 2016. Weights: Kaipeng Zhang (MIT), as converted to plain
arrays in Keras layout by Iván de Paz Centeno's `mtcnn` 1.0.0 (MIT).

    pip install --no-deps mtcnn==1.0.0 && pip install joblib lz4 onnx
    python -m recipes.mtcnn_onnx

Each graph takes pictures as they come, uint8 (B, H, W, 3) RGB; the normalisation (x - 127.5) / 128
is folded into the first convolution, which is exact because no convolution pads. The two-way
softmax is written as the sigmoid of the difference of its two logits. PReLU becomes elementwise
operators, which onnxruntime runs several times faster than its PRelu.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from recipes.weights_index import store_weights

# joblib unpickles, so nothing but these very files is ever opened.
SOURCE_SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
# Per network: (pool kernel after each convolution or 0, ceiling mode); stride is always 2.
POOLS = {
    "pnet": [(2, True), (0, False), (0, False)],
    "rnet": [(3, True), (3, False), (0, False)],
    "onet": [(3, True), (3, False), (2, True), (0, False)],
}
INPUT_SIDE = {"pnet": None, "rnet": 24, "onet": 48}
LAST_MAP_SIDE = {"rnet": 3, "onet": 3}

Array = npt.NDArray[np.float32]


class Graph:
    """Nodes and weights of a graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, array: npt.NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def read_arrays(name: str) -> list[Array]:
    """Load one network's arrays without importing the `mtcnn` package."""
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or spec.origin is None:
        raise SystemExit("the mtcnn wheel is not installed: pip install --no-deps mtcnn==1.0.0")
    path = Path(spec.origin).parent / "assets" / "weights" / f"{name}.lz4"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256[name]:
        raise SystemExit(f"{path}: SHA-256 {digest} is not that of mtcnn 1.0.0")
    arrays: list[Array] = joblib.load(path)
    return arrays


def add_prelu(graph: Graph, value: str, slope: Array, name: str) -> str:
    """x for x ≥ 0, slope·x below; max(x, slope·x) is the same where no slope exceeds 1."""
    scaled = graph.node("Mul", [value, graph.weight(f"{name}.slope", slope)], f"{name}_scaled")
    if slope.max() <= 1:
        return graph.node("Max", [value, scaled], name)
    positive = graph.node("Relu", [value], f"{name}_positive")
    rest = graph.weight(f"{name}.rest", np.float32(1) - slope)
    positive = graph.node("Mul", [positive, rest], f"{name}_rest")
    return graph.node("Add", [scaled, positive], name)


def add_trunk(graph: Graph, arrays: list[Array], pools: list[tuple[int, bool]]) -> str:
    """Convolutions, PReLUs and poolings; takes their arrays off the front of `arrays`."""
    graph.node("Cast", ["pictures"], "as_float", to=TensorProto.FLOAT)
    value = graph.node("Transpose", ["as_float"], "nchw", perm=[0, 3, 1, 2])
    for i, (pool, ceil) in enumerate(pools):
        kernel, bias, slope = arrays.pop(0), arrays.pop(0), arrays.pop(0)
        if i == 0:
            bias = bias - kernel.sum(axis=(0, 1, 2)) * (127.5 / 128)
            kernel = kernel / 128
        names = [
            graph.weight(f"conv{i}.weight", kernel.transpose(3, 2, 0, 1).astype(np.float32)),
            graph.weight(f"conv{i}.bias", bias.astype(np.float32)),
        ]
        value = graph.node("Conv", [value, *names], f"conv{i}")
        value = add_prelu(graph, value, slope.reshape(-1, 1, 1), f"prelu{i}")
        if pool:
            value = graph.node(
                "MaxPool",
                [value],
                f"pool{i}",
                kernel_shape=[pool, pool],
                strides=[2, 2],
                ceil_mode=int(ceil),
            )
    return value


def face_logit(kernel: Array, bias: Array) -> tuple[Array, Array]:
    """Two-way softmax → sigmoid: the difference of the face and the no-face logit."""
    return kernel[..., 1:] - kernel[..., :1], bias[1:] - bias[:1]


def build_pnet(graph: Graph, arrays: list[Array]) -> dict[str, list[Any]]:
    value = add_trunk(graph, arrays, POOLS["pnet"])
    box_kernel, box_bias, class_kernel, class_bias = arrays
    heads = {"offsets": (box_kernel, box_bias), "logit": face_logit(class_kernel, class_bias)}
    for name, (kernel, bias) in heads.items():
        inputs = [
            value,
            graph.weight(f"{name}.weight", kernel.transpose(3, 2, 0, 1)),
            graph.weight(f"{name}.bias", bias),
        ]
        graph.node("Conv", inputs, name)
    graph.node("Sigmoid", ["logit"], "scores")
    return {"scores": ["B", 1, "rows", "columns"], "offsets": ["B", 4, "rows", "columns"]}


def build_refiner(graph: Graph, arrays: list[Array], name: str) -> dict[str, list[Any]]:
    value = add_trunk(graph, arrays, POOLS[name])
    kernel, bias, slope = arrays[:3]
    # The Keras net flattens (W, H, C); ours (C, H, W).
    side = LAST_MAP_SIDE[name]
    rows = kernel.reshape(side, side, -1, kernel.shape[1]).transpose(2, 1, 0, 3)
    value = graph.node("Flatten", [value], "flat", axis=1)
    inputs = [
        value,
        graph.weight("dense.weight", rows.reshape(kernel.shape)),
        graph.weight("dense.bias", bias),
    ]
    value = graph.node("Gemm", inputs, "dense")
    value = add_prelu(graph, value, slope, "dense_prelu")
    heads = {"offsets": (arrays[3], arrays[4]), "logit": face_logit(arrays[-2], arrays[-1])}
    if name == "onet":
        heads["landmarks"] = (arrays[5], arrays[6])
    for head, (weight, head_bias) in heads.items():
        names = [graph.weight(f"{head}.weight", weight), graph.weight(f"{head}.bias", head_bias)]
        graph.node("Gemm", [value, *names], head)
    graph.node("Sigmoid", ["logit"], "scores")
    outputs: dict[str, list[Any]] = {"scores": ["B", 1], "offsets": ["B", 4]}
    if name == "onet":
        outputs["landmarks"] = ["B", 10]
    return outputs


def build(name: str) -> onnx.ModelProto:
    """One network, checked by `onnx`."""
    graph = Graph()
    arrays = list(read_arrays(name))
    is_first = name == "pnet"
    outputs = build_pnet(graph, arrays) if is_first else build_refiner(graph, arrays, name)
    side = INPUT_SIDE[name]
    shape = ["B", side or "H", side or "W", 3]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"mtcnn_{name}",
            [helper.make_tensor_value_info("pictures", TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
        producer_name="facevoice",
        doc_string="MTCNN, (c) 2016 Kaipeng Zhang, MIT; arrays from mtcnn 1.0.0, MIT",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name in SOURCE_SHA256:
        content = build(name).SerializeToString(deterministic=True)
        store_weights(
            f"mtcnn_{name}", f"mtcnn_{name}.onnx", content, license="MIT", card="mtcnn.md"
        )


if __name__ == "__main__":
    main()
