"""Maps by gradients of a checkpoint that torch runs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from facevoice import Analyzer
from facevoice.cli import app as cli
from facevoice.errors import ConfigError
from facevoice.explain.gradients import check_gradients, face_gradients, voice_gradients
from facevoice.explain.hiding import Asker
from facevoice.interpret import Question
from facevoice.models.model import assemble
from facevoice.records import Emotion, Modality, WindowView
from facevoice.settings import DecisionConfig
from full_models import FullModel, write_full_model
from tiny_checkpoints import window

EXAMPLE = Path(__file__).parents[2] / "examples" / "smile_frightened_voice.mp4"


def test_effects_add_up_and_the_command_draws_them(tmp_path: Path) -> None:
    made = write_full_model(tmp_path, audio="+layers")
    check_sums(made)
    out = tmp_path / "why"
    asked = ["explain", str(EXAMPLE), "--at", "0:01", "--window", "0.6", "--hop", "0.6"]
    asked += ["--checkpoint", str(made.checkpoint), "--gradients", "--json", "--out", str(out)]
    for name in (made.names[0], f"{made.names[1]}+layers"):
        asked += ["--backbone", name]
    result = CliRunner().invoke(cli.app, asked)
    assert result.exit_code == 0, (result.output, result.exception)
    said = json.loads(result.stdout)
    face, voice = said["face"], said["voice"]
    heat = np.array(face["heat"])
    assert heat.shape[0] == heat.shape[1] > 100 and np.abs(heat).max() > 0
    # Gradients go by time alone, and don't tell conflict; parts are hidden as ever.
    assert len(voice["heat"]) == 1 and len(voice["edges_hz"]) == 2
    assert face["conflict_heat"] is None and voice["conflict_heat"] is None
    assert {part["kind"] for part in voice["parts"]} == {"stretch", "band"}
    assert (out / "voice.png").is_file() and "data:image" in (out / "explain.html").read_text()


def check_sums(made: FullModel) -> None:
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
