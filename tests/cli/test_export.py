"""`facevoice export`, and `analyze` and `evaluate` with what it and training write."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("torch")

from facevoice.backbones.compact import CompactVoice
from facevoice.cli.app import app
from facevoice.cli.evaluate import choose_clips
from facevoice.errors import ConfigError
from facevoice.evaluation.model import load_tested
from facevoice.evaluation.predictions import read_run
from facevoice.models.checkpoint import PartRecord
from facevoice.models.model import read_model_info
from full_models import write_compact_model

SAMPLES = Path(__file__).parents[2] / "examples"
SAMPLE = SAMPLES / "smile_glad_voice.mp4"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "100"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on speaker 01 of javanese, as it says; chosen on 09."""
    folder = tmp_path_factory.mktemp("trained") / "small"
    data = read_model_info(write_compact_model(folder)).data
    parts = {
        "train": PartRecord(9, 9, ("javanese/01",)),
        "validation": PartRecord(9, 9, ("javanese/09",)),
        "test": PartRecord(9, 9, ("javanese/02",)),
    }
    return write_compact_model(folder, data=replace(data, **parts))


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    out = checkpoint.with_name("exported")
    done = run("export", checkpoint, "--out", out, "--clips", SAMPLE)
    assert done.exit_code == 0, done.output
    assert "smile_glad_voice.mp4" in done.output
    assert "fp32" in done.output
    assert "Written" in done.output
    return out


def test_an_export_can_be_checked_and_replaced(checkpoint: Path, exported: Path) -> None:
    checked = run("export", checkpoint, "--out", exported, "--check")
    assert checked.exit_code == 0, checked.output
    assert "Checked" in checked.output
    assert "synthesised" in checked.output
    taken = run("export", checkpoint, "--out", exported, "--quiet")
    assert taken.exit_code == 2
    assert "holds an export already" in " ".join(taken.output.split())
    again = run("export", checkpoint, "--out", exported, "--quiet", "--overwrite")
    assert again.exit_code == 0
    assert again.output == ""


def test_checkpoint_and_export_are_analysed_alike(checkpoint: Path, exported: Path) -> None:
    found = []
    for folder in (checkpoint, exported):
        words = ("--window", "10", "--format", "json", "--no-progress")
        done = run("analyze", SAMPLE, "--checkpoint", folder, *words)
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout))
    torch, onnx = found
    assert torch["settings"]["model"] == "small"
    assert onnx["settings"]["model"] == "exported"
    assert torch["models"]["heads"]["name"] == "small"
    assert torch["models"]["heads"]["sha256"] != onnx["models"]["heads"]["sha256"]
    assert torch["models"]["face"] == onnx["models"]["face"]
    for ours, theirs in zip(onnx["windows"], torch["windows"], strict=True):
        for channel in ("face", "voice", "fused"):
            assert ours[channel]["probs"] == pytest.approx(theirs[channel]["probs"], abs=1e-4)
        assert ours["conflict"] == pytest.approx(theirs["conflict"], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("analyze", SAMPLE, "--checkpoint", "nowhere"), 1, "nowhere: no such folder"),
        (("analyze", SAMPLE, "--backbone", "compact-face"), 2, "for a checkpoint only"),
        (("export", "nowhere", "--out", "x"), 1, "nowhere: no such folder"),
        (("export", "nowhere", "--out", "x", "--clips", "no.mp4"), 1, "no.mp4"),
        (("evaluate", ".", "--checkpoint", "x"), 2, "run on a table of clips"),
    ],
)
def test_wrong_usage_is_explained(words: tuple[object, ...], code: int, message: str) -> None:
    done = run(*words)
    assert done.exit_code == code, done.output
    assert message in " ".join(done.output.split())


def shorten(source: Path, target: Path, end_s: float = 2.0) -> Path:
    """Copy the beginning of a film without re-encoding."""
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        copies = {s.index: written.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.dts is not None and packet.dts * packet.time_base < end_s:
                packet.stream = copies[packet.stream.index]
                written.mux(packet)
    return target


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, two emotions, two takes; names as in javanese."""
    folder = tmp_path_factory.mktemp("corpora")
    names = ("smile_frightened_voice.mp4", SAMPLE.name)
    short = {name: shorten(SAMPLES / name, folder / name) for name in names}
    films = folder / "javanese"
    films.mkdir()
    for speaker in ("01", "02"):
        for emotion, sample in zip(("02", "03"), names, strict=True):
            for take in ("01", "02"):
                shutil.copy(short[sample], films / f"{speaker}-01-{emotion}_{take}.mp4")
    path = folder / "manifest.jsonl"
    made = run("data", "prepare", f"javanese={films}", "--out", path, "--quiet")
    assert made.exit_code == 0, made.output
    return path


def test_speakers_that_it_was_trained_on_make_figures_void(table: Path, exported: Path) -> None:
    out = table.with_name("all")
    words = ("--out", out, "--resamples", 100, "--model-type", "audio")
    done = run("evaluate", table, "--checkpoint", exported, *words)
    assert done.exit_code == 0, done.output
    assert "CONTAMINATED" in done.output
    info = read_run(out).info
    assert "javanese: trained or chosen on 1 of 2 tested speakers" in info.protocol
    assert "javanese" in (info.backbones[-1].training_corpora or ())
    assert len(read_run(out).emotions) == 8


def test_a_backbone_that_has_heard_the_corpus_is_never_fair(
    table: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = replace(CompactVoice.spec, training_corpora=("javanese",))
    monkeypatch.setattr(CompactVoice, "spec", heard)
    out = table.with_name("heard")
    words = ("--held-out", "--out", out, "--resamples", 100)
    done = run("evaluate", table, "--checkpoint", checkpoint, *words)
    assert done.exit_code == 0, done.output
    assert re.search(r"CONTAMINATED: compact-voice@\w+ was itself trained on javanese", done.output)


def test_speakers_held_out_of_training_are_fair(table: Path, checkpoint: Path) -> None:
    out = table.with_name("held")
    words = ("--held-out", "--out", out, "--resamples", 100)
    done = run("evaluate", table, "--checkpoint", checkpoint, *words)
    assert done.exit_code == 0, done.output
    assert "CONTAMINATED" not in done.output
    found = read_run(out)
    assert "javanese: speakers held out of training (1 tested)" in found.info.protocol
    assert len(found.emotions) == 4
    assert found.conflicts is not None


def test_the_fold_that_was_tested_is_fair_and_the_other_is_not(
    table: Path, checkpoint: Path
) -> None:
    splits = table.with_name("splits.json")
    folds = ("--protocol", "leave-one-out", "--no-validation")
    assert run("data", "split", table, *folds, "--out", splits).exit_code == 0
    said = {}
    for fold in (None, 0, 1):
        clips, words = choose_clips(table, None, splits, fold)
        tested = load_tested(checkpoint, clips)
        speakers = tuple(sorted({str(clip.speaker) for clip in clips}))
        said[speakers] = (tested.words, tested.trained_on[-1].training_corpora)
        assert fold is None or f"fold {fold}" in words
    void = ("javanese",)
    assert said == {
        ("01", "02"): ("javanese: trained or chosen on 1 of 2 tested speakers", void),
        ("01",): ("javanese: trained or chosen on 1 of 1 tested speakers", void),
        ("02",): ("javanese: speakers held out of training (1 tested)", ()),
    }
    with pytest.raises(ConfigError, match=r"--fold 2: .* has 0–1"):
        choose_clips(table, None, splits, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--held-out",), "--held-out asks a --checkpoint"),
        (("--fold", "1"), "--fold says which of the splits"),
        (("--backbone", "compact-face"), "--backbone is for a --checkpoint"),
    ],
)
def test_wrong_evaluation_is_explained(table: Path, words: tuple[str, ...], message: str) -> None:
    done = run("evaluate", table, "--out", table.with_name("x"), *words)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
