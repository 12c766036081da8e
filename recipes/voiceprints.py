"""The voice print's network: Resemblyzer's voice encoder, its weights as int8 codes.

    pip download --no-deps resemblyzer==0.1.4
    python -m recipes.voiceprints --wheel Resemblyzer-0.1.4-*.whl

Three layers of LSTM and a linear one (Wan et al. 2018, "Generalized end-to-end loss for speaker
verification", arXiv 1710.10467), trained by CorentinJ and resemble.ai on LibriSpeech and VoxCeleb
(Apache-2.0). Only the weights are taken: the graph is built anew, our own onnxruntime runs it, and
its arithmetic stays float32. It has heard none of the corpora that it is scored on.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from recipes.weight_codes import encode_weights
from recipes.weights_index import store_weights

MEMBER = "resemblyzer/pretrained.pt"
SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
NUM_LAYERS, WIDTH, NUM_MELS = 3, 256, 40
OPSET = 17
# torch keeps the gates as input, forget, cell, output; ONNX as input, output, forget, cell.
_GATES = (0, 3, 1, 2)


def read_state(wheel: Path) -> dict[str, np.ndarray]:
    """The encoder's weights by torch's names; SystemExit if the wheel holds others."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{wheel}: {MEMBER} is not that of Resemblyzer 0.1.4 (SHA-256 {found})")
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)["model_state"]
    return {name: tensor.numpy() for name, tensor in state.items()}


def build_graph(state: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """mel float32 (B, T, 40) → print (B, 256), unit vectors."""
    nodes = [helper.make_node("Transpose", ["mel"], ["steps0"], perm=[1, 0, 2])]
    tensors = []

    def add(name: str, array: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for layer in range(NUM_LAYERS):
        weights = [add(f"W{layer}", _gates(state[f"lstm.weight_ih_l{layer}"])[None])]
        weights.append(add(f"R{layer}", _gates(state[f"lstm.weight_hh_l{layer}"])[None]))
        biases = [_gates(state[f"lstm.bias_{kind}_l{layer}"]) for kind in ("ih", "hh")]
        weights.append(add(f"B{layer}", np.concatenate(biases)[None]))
        nodes.append(
            helper.make_node(
                "LSTM",
                [f"steps{layer}", *weights],
                [f"all{layer}", f"last{layer}"],
                hidden_size=WIDTH,
            )
        )
        if layer < NUM_LAYERS - 1:
            axis = add(f"axis{layer}", np.array([1], np.int64))
            nodes.append(helper.make_node("Squeeze", [f"all{layer}", axis], [f"steps{layer + 1}"]))
    axis = add("axis", np.array([0], np.int64))
    nodes += [
        helper.make_node("Squeeze", [f"last{NUM_LAYERS - 1}", axis], ["hidden"]),
        helper.make_node(
            "Gemm",
            ["hidden", add("L", state["linear.weight"]), add("b", state["linear.bias"])],
            ["linear"],
            transB=1,
        ),
        helper.make_node("Relu", ["linear"], ["positive"]),
        helper.make_node("LpNormalization", ["positive"], ["print"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "voiceprint",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", "frames", NUM_MELS])],
        [helper.make_tensor_value_info("print", TensorProto.FLOAT, ["batch", WIDTH])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    return model


def _gates(array: np.ndarray) -> np.ndarray:
    return np.concatenate([np.split(array, 4)[gate] for gate in _GATES])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, required=True)
    model = encode_weights(build_graph(read_state(parser.parse_args().wheel)))
    store_weights(
        "voiceprint",
        "voiceprint.onnx",
        model.SerializeToString(deterministic=True),
        license="Apache-2.0 (Resemblyzer)",
        card="voiceprint.md",
    )


if __name__ == "__main__":
    main()
