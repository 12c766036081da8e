"""Maps by gradients of a checkpoint that torch runs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice import Analyzer
from facevoice.errors import ConfigError
from facevoice.explain.gradients import check_gradients, face_gradients, voice_gradients
from facevoice.explain.hiding import Asker
from facevoice.interpret import Question
from facevoice.models.model import assemble
from facevoice.records import Emotion, Modality, WindowView
from facevoice.settings import DecisionConfig
from full_models import write_full_model
from tiny_checkpoints import window


def test_effects_add_up_to_the_change_of_the_answer(tmp_path: Path) -> None:
    made = write_full_model(tmp_path, audio="+layers")
    video, audio = made.names
    assembly = assemble(made.checkpoint, [video, f"{audio}+layers"])
    seen = window(seconds=2.0)
    question = Question(
        WindowView(seen.start_s, seen.end_s), {}, None, False, assembly.model, DecisionConfig()
    )
    ways = {Modality.VIDEO: face_gradients, Modality.AUDIO: voice_gradients}
    for modality, way in ways.items():
        asker = Asker(question, assembly.backbones[modality], modality, Emotion.SAD)
        found = way(asker, seen)
        assert found.total == pytest.approx(found.wanted, abs=0.05 + 0.1 * abs(found.wanted))
        assert found.heat.sum() == pytest.approx(found.total, abs=1e-3 + 0.02 * abs(found.total))
        assert np.abs(found.heat).max() > 0
        # The way's end is the answer that reports give.
        (answer,) = asker.ask([seen])
        assert found.answer == pytest.approx(answer.emotion, abs=1e-4)


def test_the_networks_of_the_package_have_none() -> None:
    with pytest.raises(ConfigError, match="explained by hiding parts"):
        check_gradients(Analyzer().assembly.model)
