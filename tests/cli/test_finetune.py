"""From films to a checkpoint that brings its own backbones, and from that to a report."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from typer.testing import CliRunner

from conftest import ClipMaker
from facevoice.cli.app import app
from facevoice.corpora.extract import extract_clips
from facevoice.corpora.manifest import Clip, write_manifest
from facevoice.media import probe
from facevoice.media.sound import read_audio
from facevoice.models.checkpoint import load_checkpoint
from facevoice.records import SAMPLE_RATE_HZ, Modality
from facevoice.store import Store
from facevoice.training.data import stored_name
from portraits import make_portrait
from tiny_checkpoints import DIM, write_checkpoint
from training_builders import make_clips

EXAMPLE = Path(__file__).parents[2] / "examples" / "smile_frightened_voice.mp4"
KINDS = {Modality.VIDEO: "videomae", Modality.AUDIO: "wav2vec2-large"}
SETTINGS = (
    "network.fused_dim=16",
    "network.head_dim=8",
    "network.channel_dim=8",
    "network.interaction_dim=4",
    "run.trackers=[]",
    "run.size=full",
    "train.num_epochs=1",
    "train.batch_size=8",
)


class Films:
    """A table of short films of two speakers, a store, and the folders of tiny backbones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        portrait = make_portrait()
        make = ClipMaker(folder)
        parts = product((1, 2), (3, 5), (1, 2))
        ids = [f"03-01-{emotion:02d}-01-01-{take:02d}-{who:02d}" for who, emotion, take in parts]
        sound = np.concatenate([block.samples for block in read_audio(EXAMPLE)])
        clips: list[Clip] = []
        for place, clip in enumerate(make_clips(ids)):
            film = make(
                f"{place}.mp4",
                width=300,
                height=300,
                fps=8,
                duration_s=1.0,
                samples=sound[1600 * place + 8000 : 1600 * place + 24_000],
                sample_rate_hz=SAMPLE_RATE_HZ,
                paint=lambda *_, place=place: portrait // (1 + place % 3),
            )
            clips.append(
                Clip(
                    clip_id=clip.clip_id,
                    corpus=clip.corpus,
                    speaker=clip.speaker,
                    sentence=clip.sentence,
                    take=clip.take,
                    labels=clip.labels,
                    video_path=film,
                    audio_path=film,
                    duration_s=probe(film).duration_s,
                )
            )
        self.film = clips[0].video_path
        self.manifest = folder / "manifest.jsonl"
        write_manifest(clips, self.manifest)
        self.backbones = [str(write_checkpoint(k, folder / f"tiny-{m}")) for m, k in KINDS.items()]
        report = extract_clips(clips, folder / "features.db", backbones=self.backbones)
        assert report.problems == ()

    def train(self, out: Path, *options: str) -> str:
        settings = [part for text in SETTINGS for part in ("--set", text)]
        named = [part for name in self.backbones for part in ("--backbone", name)]
        words = ["train", str(self.manifest), "--out", str(out), "--cpu", *settings, *named]
        result = CliRunner().invoke(app, [*words, *options])
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    return Films(tmp_path_factory.mktemp("films"))


@pytest.mark.parametrize(
    "part", [("finetune.video_layers=1", "finetune.audio_layers=1"), ("finetune.lora_rank=2",)]
)
def test_from_films_to_a_report(part: tuple[str, ...], films: Films, tmp_path: Path) -> None:
    out = tmp_path / "run"
    films.train(out, *(word for text in part for word in ("--set", text)))
    with Store(films.folder / "features.db") as store:
        assert {"crops", "samples"} <= {row["name"] for row in store.backbones().values()}
    info = load_checkpoint(out / "checkpoint").info
    for modality, used in info.backbones.items():
        assert used.backbone.startswith(f"folder:{modality}@")
        assert used.dim == DIM
        assert "ravdess" in used.training_corpora
    words = ["analyze", str(films.film), "--checkpoint", str(out), "--out", str(tmp_path / "said")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "said" / "0.json").read_text())
    assert report["windows"]
    models = report["models"]
    for modality, role in ((Modality.VIDEO, "face"), (Modality.AUDIO, "voice")):
        revision = info.backbones[modality].backbone.rpartition("@")[2]
        assert models[role]["sha256"].startswith(revision)


def test_a_folder_that_is_not_named_is_asked_for(films: Films, tmp_path: Path) -> None:
    words = ["train", str(films.manifest), "--out", str(tmp_path), "--cpu", "--set"]
    result = CliRunner().invoke(app, [*words, "finetune.video_layers=1"])
    assert result.exit_code == 2
    assert "--backbone DIR" in " ".join(result.output.split())
    result = CliRunner().invoke(app, ["train", str(films.manifest), "--windows", str(tmp_path)])
    assert result.exit_code == 2
    assert "--store FILE" in " ".join(result.output.split())


def test_stores_know_backbones_by_these_names(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert stored_name(f"{folder}+layers") == "folder:mine+layers"
    assert stored_name("hub:owner/name@0123abc") == "hub:owner/name"
    for name in ("videomae-base", "hub:owner/name@0123456789ab", "wav2vec2-base+tokens"):
        assert stored_name(name) == name
