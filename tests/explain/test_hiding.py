"""Explanations of networks whose truth is known: what the answer hangs on is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facevoice.backbones.compact import FACE_CLASSES, CompactFace, CompactVoice
from facevoice.explain.face import explain_face
from facevoice.explain.hiding import Asker
from facevoice.explain.voice import Mute, explain_voice
from facevoice.interpret import Question
from facevoice.models.heads import Embeddings, Posteriors
from facevoice.records import (
    SAMPLE_RATE_HZ,
    Emotion,
    FloatArray,
    Modality,
    ModelId,
    Window,
    WindowView,
)
from facevoice.settings import DecisionConfig

SIDE_PX = 48
MOUTH = (slice(32, 42), slice(14, 34))  # of the network's 48 × 48 pixels


class Told:
    """A model that says what the embedding's last numbers are: log-odds of happy."""

    name, heads, curve, adapts = "told", ModelId("told", ""), None, False

    def __init__(self) -> None:
        self.backbones = {Modality.VIDEO: "toy", Modality.AUDIO: "toy"}

    def predict(
        self, windows: Sequence[Embeddings], known: object = None, unclear: object = None
    ) -> list[Posteriors]:
        return [self._say(window) for window in windows]

    def _say(self, window: Embeddings) -> Posteriors:
        def probs(odds: float) -> np.ndarray:
            happy = 1 / (1 + np.exp(-odds))
            told = np.full(8, (1 - happy) / 7)
            told[Emotion.HAPPY.position] = happy
            return told

        face = window.get(Modality.VIDEO)
        voice = window.get(Modality.AUDIO)
        happy = FACE_CLASSES.index(Emotion.HAPPY) - len(FACE_CLASSES)
        return Posteriors(
            None if face is None else probs(float(face[happy]) + 2),
            None if voice is None else probs(float(voice[0])),
            None,
            None,
        )


class Loudness:
    """A voice network that hears one second only, and there one band: its log power."""

    spec = CompactVoice.spec
    model = ModelId("loudness", "")

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        return np.array([[self._hear(w.samples)] for w in windows], np.float32)

    @staticmethod
    def _hear(samples: FloatArray | None) -> float:
        assert samples is not None
        part = samples[round(1.2 * SAMPLE_RATE_HZ) : round(1.6 * SAMPLE_RATE_HZ)]
        power = np.abs(np.fft.rfft(part)) ** 2
        hertz = np.fft.rfftfreq(len(part), 1 / SAMPLE_RATE_HZ)
        return float(np.log10(power[(hertz > 1400) & (hertz < 2500)].mean()))


def ask_of(modality: Modality, backbone: object) -> Asker:
    view = WindowView(0.0, 4.0)
    question = Question(view, {}, None, False, Told(), DecisionConfig())
    return Asker(question, backbone, modality, Emotion.HAPPY)  # type: ignore[arg-type]


def make_mouth_network(path: Path) -> Path:
    """An ONNX network like the face's, whose "happy" is the brightness of the mouth."""
    weights = np.zeros((SIDE_PX, SIDE_PX, len(FACE_CLASSES)), np.float32)
    weights[*MOUTH, FACE_CLASSES.index(Emotion.HAPPY)] = 1 / (255 * weights[*MOUTH, 0].size) * 8
    nodes = [
        helper.make_node("Flatten", ["grey"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("MatMul", ["flat", "nothing"], ["embedding"]),
    ]
    grey = helper.make_tensor_value_info("grey", TensorProto.FLOAT, ["n", 1, SIDE_PX, SIDE_PX])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("embedding", 256), ("logits", len(FACE_CLASSES)))
    ]
    constants = [
        numpy_helper.from_array(weights.reshape(-1, len(FACE_CLASSES)), "w"),
        numpy_helper.from_array(np.zeros((SIDE_PX**2, 256), np.float32), "nothing"),
    ]
    graph = helper.make_graph(nodes, "mouth", [grey], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def bright_mouths() -> np.ndarray:
    """Crops (3, 120, 120, 3), dark but for mouth and forehead."""
    crop = np.full((120, 120, 3), 40, np.uint8)
    crop[80:94, 44:76] = 250
    crop[16:30, 40:80] = 250
    return np.stack([crop] * 3)


def test_the_part_that_the_answer_hangs_on_is_found(tmp_path: Path) -> None:
    network = CompactFace(network=make_mouth_network(tmp_path / "mouth.onnx"))
    window = Window(0.0, 4.0, bright_mouths(), None, 1.0, 0.0)
    found = explain_face(ask_of(Modality.VIDEO, network), window)
    first, *others = found.parts
    assert (first.name, first.stands_out) == ("mouth", True)
    assert first.effect > 3 * max(abs(part.effect) for part in others)
    assert first.without.emotion < found.before.emotion - 0.05
    y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 72 <= y <= 100 and 36 <= x <= 84
    assert abs(found.heat[16:30, 40:80]).max() < 0.1 * found.heat.max()


def test_a_face_that_nothing_hangs_on_has_no_part_that_stands_out() -> None:
    still = SimpleNamespace(embed=lambda windows: np.zeros((len(windows), 519), np.float32))
    window = Window(0.0, 4.0, bright_mouths(), None, 1.0, 0.0)
    found = explain_face(ask_of(Modality.VIDEO, still), window)
    assert not any(part.stands_out for part in found.parts)
    assert not found.heat.any()


def test_the_stretch_and_the_band_that_the_answer_hangs_on_are_found() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLE_RATE_HZ).astype(np.float32)
    samples[: SAMPLE_RATE_HZ // 2] *= 0.01  # a pause, as low as the background
    window = Window(10.0, 14.0, None, samples, 0.0, 1.0)
    found = explain_voice(ask_of(Modality.AUDIO, Loudness()), window)
    firsts = {part.kind: part for part in reversed(found.parts)}
    assert firsts["stretch"].name == "11.2 to 11.6 s"
    assert firsts["band"].name == "1400 to 2500 Hz"
    assert firsts["stretch"].stands_out and firsts["band"].stands_out
    assert np.unravel_index(found.heat.argmax(), found.heat.shape) == (3, 3)
    again = explain_voice(
        ask_of(Modality.AUDIO, Loudness()), replace(window, start_s=9.0, end_s=13.0)
    )
    assert np.array_equal(again.heat, found.heat)  # the same cells, wherever the window lies


def test_nothing_hidden_leaves_the_sound_as_it_was() -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, 12_345).astype(np.float32)
    mute = Mute(samples)
    assert mute(mute.cells([])) == pytest.approx(samples, abs=1e-6)
