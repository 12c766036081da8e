"""Weights as int8 codes: smaller, and nearly the same results."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from recipes.sface import keep_means
from recipes.weight_codes import SMALLEST, encode_weights, spread_over


def make_graph() -> onnx.ModelProto:
    """A convolution and a linear layer of 1,152 and 1,280 weights, and one of 60."""
    rng = np.random.default_rng(0)
    weights = {
        "conv": rng.normal(0, 0.1, (16, 8, 3, 3)),
        "linear": rng.normal(0, 0.1, (10, 128)),
        "small": rng.normal(0, 0.1, (6, 10)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv"], ["a"], strides=[4, 4]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "linear"], ["c"], transB=1),
        helper.make_node("Gemm", ["c", "small"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 15, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_results_stay_and_bytes_go() -> None:
    plain, coded = make_graph(), encode_weights(make_graph())
    assert next(t for t in plain.graph.initializer if t.name == "small") in coded.graph.initializer
    sizes = {t.name: t.data_type for t in coded.graph.initializer}
    assert sizes["conv_codes"] == sizes["linear_codes"] == TensorProto.INT8
    assert "conv" not in sizes
    assert coded.ByteSize() < 0.6 * plain.ByteSize()


def test_each_output_has_its_own_scale() -> None:
    model = make_graph()
    conv = next(t for t in model.graph.initializer if t.name == "conv")
    weight = numpy_helper.to_array(conv).copy()
    weight[3] *= 1000
    conv.CopyFrom(numpy_helper.from_array(weight, "conv"))
    coded = encode_weights(onnx.ModelProto.FromString(model.SerializeToString()))
    found = {t.name: numpy_helper.to_array(t) for t in coded.graph.initializer}
    restored = found["conv_codes"].astype(np.float32) * found["conv_scale"]
    worst = np.abs(restored - weight).max(axis=(1, 2, 3)) / np.abs(weight).max(axis=(1, 2, 3))
    assert weight.size >= SMALLEST
    assert (worst <= 0.5 / 127 + 1e-6).all()
    x = np.random.default_rng(1).normal(size=(1, 8, 15, 9)).astype(np.float32)
    expected = run(model, x)
    assert np.abs(run(coded, x) - expected).max() < 0.02 * np.abs(expected).max()


def test_coarse_codes_leave_an_output_its_mean() -> None:
    rng = np.random.default_rng(2)
    normal = {f"n{kind}": rng.uniform(0.5, 1.5, 40) for kind in ("scale", "shift", "mean", "var")}
    after = {"scale": np.ones(60), "shift": np.zeros(60), "mean": np.zeros(60), "var": np.ones(60)}
    weights = {
        **normal,
        "slope": rng.uniform(0, 0.5, (40, 1, 1)),
        "conv": rng.normal(0, 0.1, (60, 40, 1, 1)),
        **after,
    }
    nodes = [
        helper.make_node("BatchNormalization", ["x", *normal], ["a"]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Conv", ["b", "conv"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *after], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 40, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 60, 1, 1])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    plain, coded, kept = (
        helper.make_model(graph, opset_imports=opsets, ir_version=8) for _ in range(3)
    )
    encode_weights(coded, spread_over(1.0))
    keep_means(encode_weights(kept, spread_over(1.0)), plain)
    x = rng.normal(normal["nmean"], np.sqrt(normal["nvar"]), (5000, 40))[..., None, None]
    means = [run(model, x.astype(np.float32)).mean(axis=0) for model in (plain, coded, kept)]
    drifts = [np.abs(mean - means[0]).mean() for mean in means[1:]]
    assert drifts[1] < 0.05 * drifts[0]
