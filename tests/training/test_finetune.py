"""Backbones trained along: only what is wanted changes, and what is saved is what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import backbone_id
from facevoice.corpora.manifest import Clip
from facevoice.errors import ConfigError, CorpusError, WeightsError
from facevoice.evaluation.predictions import Channel, posteriors_of, read_run
from facevoice.hub import plan_push
from facevoice.models.checkpoint import CheckpointInfo, load_checkpoint, read_info
from facevoice.models.fusion import FusionNetwork
from facevoice.models.model import assemble
from facevoice.records import Modality, Window
from facevoice.training import finetune, loop
from facevoice.training.config import TrainConfig
from facevoice.training.data import FeatureTable, Items, TrainingData, prepare_data, stack_tokens
from facevoice.training.finetune import FinetuneNetwork, Tuning, WindowInputs, start_finetune
from facevoice.training.loop import STATE_FILE, FeatureInputs
from facevoice.training.run import train
from tiny_checkpoints import DIM, NUM_LAYERS, write_checkpoint
from training_builders import SOURCE, make_clips

KINDS = {Modality.VIDEO: "videomae", Modality.AUDIO: "wav2vec2-large"}
SMALL = (
    f"network.video_dim={DIM}",
    f"network.audio_dim={DIM}",
    "network.fused_dim=16",
    "network.head_dim=8",
    "network.channel_dim=8",
    "network.interaction_dim=4",
    "network.attention_dim=8",
    "network.attention_heads=2",
    "train.batch_size=8",
    "train.num_epochs=2",
    "run.size=full",
    "run.trackers=[]",
    "train.backbone_learning_rate=0.001",
    "train.weight_decay=0.01",
)
IDS = [f"03-01-{e:02d}-01-01-{t:02d}-{s:02d}" for s in (1, 2, 3) for e in (3, 4) for t in (1, 2)]
NORMS = {
    Modality.VIDEO: "encoder.layer.0.layernorm_before",
    Modality.AUDIO: "encoder.layers.0.layer_norm",
}
LAYERS = ("finetune.video_layers=1", "finetune.audio_layers=2")
ADAPTERS = ("finetune.lora_rank=2",)


def config(*changes: str) -> TrainConfig:
    return TrainConfig.load(None, [*SMALL, *changes])


def make_windows(clip: Clip, row: int) -> list[Window]:
    """Two of different length whose colour and pitch tell the emotion, or only one."""
    rng = np.random.default_rng(row)
    assert clip.labels.intended is not None
    level = clip.labels.intended.position
    windows = []
    for start_s in (0.0, 0.25)[: 1 + row % 2]:
        seconds = 0.5 + start_s
        steps = np.arange(round(16_000 * seconds)) / 16_000
        faces = rng.integers(0, 60, (5, 32, 32, 3)) + 28 * level
        tone = 0.3 * np.sin(2 * np.pi * 150 * (level + 1) * steps)
        windows.append(
            Window(
                start_s=start_s,
                end_s=start_s + seconds,
                faces=faces.clip(0, 255).astype(np.uint8),
                samples=(tone + rng.normal(0, 0.02, len(steps))).astype(np.float32),
                face_coverage=0.9 - start_s,
                speech_coverage=0.6 + start_s,
                face_timestamps_s=start_s + (np.arange(5) + 0.5) * seconds / 5,
            )
        )
    return windows


class Corpus:
    """A table of clips, tiny backbones in folders, and the windows that they embedded."""

    def __init__(self, folder: Path, video: str = "", audio: str = "", kind: str = "") -> None:
        kinds = {**KINDS, Modality.AUDIO: kind or KINDS[Modality.AUDIO]}
        ends = {Modality.VIDEO: video, Modality.AUDIO: audio}
        self.paths = {m: write_checkpoint(kinds[m], folder / f"tiny-{m}") for m in Modality}
        self.clips = make_clips(IDS)
        self.windows = {
            clip.clip_id: make_windows(clip, row) for row, clip in enumerate(self.clips)
        }
        arrays = {}
        for modality in Modality:
            backbone = create_backbone(f"{self.paths[modality]}{ends[modality]}", device="cpu")
            embedded: list[np.ndarray | None] = []
            for clip in self.clips:
                windows = self.windows[clip.clip_id]
                rows = backbone.embed(windows).reshape(len(windows), -1, backbone.spec.row_dim)
                is_video = modality is Modality.VIDEO
                cover = [w.face_coverage if is_video else w.speech_coverage for w in windows]
                weights = np.array(cover) * [w.duration_s for w in windows]
                joined = rows.reshape(-1, rows.shape[2])
                if not ends[modality].endswith("tokens"):
                    joined = np.average(rows, axis=0, weights=weights)
                embedded.append(joined.astype(np.float32))
            if modality is Modality.AUDIO:
                embedded[0] = None  # a silent clip
            arrays[modality] = replace(
                stack_tokens(embedded, backbone.spec.row_dim, backbone_id(backbone)),
                training_corpora=("kinetics-400",),
            )
        self.table = FeatureTable(self.clips, arrays)
        self.sources = {modality: str(path) for modality, path in self.paths.items()}

    def tuning(self, *, checkpointing: bool = False) -> Tuning:
        return Tuning(self.sources, self.open_windows, checkpointing)

    def open_windows(
        self, modality: Modality, clips: Sequence[Clip]
    ) -> Callable[[Clip], list[Window]]:
        assert len(clips) == len(IDS) - (modality is Modality.AUDIO)
        return lambda clip: self.windows[clip.clip_id]

    def start(self, settings: TrainConfig, **options: Any) -> tuple[FinetuneNetwork, WindowInputs]:
        torch.manual_seed(0)
        fusion = FusionNetwork(settings.network)
        tuning = self.tuning(**options)
        return start_finetune(settings, self.data(settings), fusion, tuning, torch.device("cpu"))

    def data(self, settings: TrainConfig) -> TrainingData:
        return prepare_data(self.table, settings)

    def train(self, settings: TrainConfig, out: Path) -> CheckpointInfo:
        return train(settings, self.table, out, SOURCE, cpu=True, tuning=self.tuning())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"))


def items_of(faces: np.ndarray, voices: np.ndarray) -> Items:
    nothing = np.zeros(len(faces))
    return Items.of(faces, voices, nothing == 0, nothing.astype(np.float32))


def logits_of(network: Any, inputs: Any, items: Items) -> list[torch.Tensor]:
    network.eval()
    with torch.no_grad():
        return [head for head in network(**inputs.gather(items)) if head is not None]


@pytest.mark.parametrize(
    ("video", "audio", "kind", "changes"),
    [
        ("", "", "wav2vec2-large", ()),
        ("", "", "wav2vec2-base", ()),
        ("", "", "wavlm-large", ()),
        ("", "+layers", "hubert-large", (f"network.audio_layers={NUM_LAYERS + 1}",)),
        ("+tokens", "+tokens", "wav2vec2-large", ("network.fusion=attention",)),
    ],
)
def test_at_the_start_windows_say_what_stored_embeddings_say(
    video: str, audio: str, kind: str, changes: tuple[str, ...], tmp_path: Path
) -> None:
    corpus = Corpus(tmp_path, video, audio, kind)
    settings = config(*LAYERS, *changes)
    network, inputs = corpus.start(settings)
    stored = FeatureInputs(corpus.table, settings.network.modalities, torch.device("cpu"))
    rows = np.arange(len(IDS))
    items = items_of(rows, np.roll(rows, 1))
    hidden = replace(items, hides_face=rows % 3 == 0, hides_voice=rows % 3 != 0)
    for given in (items, hidden):
        ours, theirs = logits_of(network, inputs, given), logits_of(network.fusion, stored, given)
        for said, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-4)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert set(before) == set(after)
    return {name for name in before if not torch.equal(before[name], after[name])}


def base_weights(corpus: Corpus, modality: Modality) -> dict[str, torch.Tensor]:
    backbone: Any = create_backbone(str(corpus.paths[modality]), device="cpu")
    return dict(backbone.network.state_dict())


def tuned_weights(out: Path, modality: Modality) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "backbones" / modality / "model.safetensors")


def test_only_the_last_layers_change_and_the_loss_falls(corpus: Corpus, tmp_path: Path) -> None:
    quick = ("train.num_epochs=10", "train.learning_rate=0.01", "network.dropout=0")
    corpus.train(config(*LAYERS, *quick, "train.patience=0"), tmp_path)
    with safe_open(tmp_path / STATE_FILE, framework="pt") as file:
        history = json.loads(file.metadata()["progress"])["history"]
    losses = [epoch["loss"] for epoch in history]
    assert min(losses) < 0.8 * losses[0]
    last = NUM_LAYERS - 1
    wanted = {
        Modality.VIDEO: (f"encoder.layer.{last}.", "layernorm."),
        Modality.AUDIO: (
            f"encoder.layers.{last}.",
            f"encoder.layers.{last - 1}.",
            "encoder.layer_norm.",
        ),
    }
    for modality, starts in wanted.items():
        after = tuned_weights(tmp_path, modality)
        names = changed(base_weights(corpus, modality), after)
        assert all(name.startswith(starts) for name in names)
        for start in starts:
            assert any(name.startswith(start) for name in names)
        # A key's bias shifts all scores of a row alike, so nothing can come of it.
        idle = {n for n in after if n.startswith(starts)} - names
        assert all("k_proj.bias" in name for name in idle)


def test_adapters_change_alone_and_predictions_come_from_what_is_written(
    corpus: Corpus, tmp_path: Path
) -> None:
    settings = config(*ADAPTERS, "train.patience=0", "train.ema=0", "split.num_folds=3")
    network, _ = corpus.start(settings)
    trained = [n for n, p in network.named_parameters() if p.requires_grad and "backbones" in n]
    # Two projections of each layer of each channel, two matrices each.
    assert len(trained) == 2 * 2 * NUM_LAYERS * 2
    assert all("lora_" in name for name in trained)
    corpus.train(settings, tmp_path)
    kept = [n for n in load_file(tmp_path / STATE_FILE) if n.startswith("weights/backbones.")]
    assert kept
    assert all("lora_" in name for name in kept)
    loaded = assemble(tmp_path / "checkpoint")
    ends = ("query.weight", "value.weight", "q_proj.weight", "v_proj.weight")
    for modality in Modality:
        names = changed(base_weights(corpus, modality), tuned_weights(tmp_path, modality))
        assert len(names) == 2 * NUM_LAYERS
        assert all(name.endswith(ends) for name in names)
        base = create_backbone(str(corpus.paths[modality]), device="cpu")
        windows = corpus.windows[corpus.clips[1].clip_id]
        assert np.abs(loaded.backbones[modality].embed(windows) - base.embed(windows)).max() > 1e-3
    written = read_run(tmp_path / "predictions").emotions
    single = next(k for k in written["clip_id"] if len(corpus.windows[k]) == 1)
    embeddings = {m: b.embed(corpus.windows[single])[0] for m, b in loaded.backbones.items()}
    (said,) = loaded.model.predict([embeddings])
    place = list(written["clip_id"]).index(single)
    for channel, probs in ((Channel.FACE, said.face), (Channel.FUSED, said.fused)):
        assert np.abs(posteriors_of(written, channel)[place] - probs).max() < 1e-5


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("part", [LAYERS, ADAPTERS])
def test_a_killed_run_ends_in_the_same_weights(
    part: tuple[str, ...], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = ("run.save_every_steps=1", "train.batch_size=3", "train.accumulate=2")
    settings = config(*part, *often, "train.ema=0.9")
    whole = corpus.train(settings, tmp_path / "whole")
    step, left = loop._Trainer.step, [2]

    def dying(trainer: Any, batch: Any) -> Any:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        return step(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "step", dying)
        with pytest.raises(KilledError):
            corpus.train(settings, tmp_path / "killed")
    assert corpus.train(settings, tmp_path / "killed") == whole
    files = ["model.safetensors", *(f"backbones/{m}/model.safetensors" for m in Modality)]
    for name in (STATE_FILE, *(f"checkpoint/{file}" for file in files)):
        first, second = (load_file(tmp_path / run / name) for run in ("whole", "killed"))
        assert changed(first, second) == set()


def test_layers_that_are_computed_twice_have_the_same_gradients(corpus: Corpus) -> None:
    gradients = []
    for checkpointing in (False, True):
        network, inputs = corpus.start(config(*ADAPTERS), checkpointing=checkpointing)
        network.fusion.eval()
        rows = np.arange(4)
        calls: list[nn.Module] = []
        for modality, norm in NORMS.items():
            module = network.backbones[modality].get_submodule(norm)
            module.register_forward_hook(lambda module, *_, calls=calls: calls.append(module))
        given = inputs.gather(items_of(rows, rows))
        network(**given).emotion.square().sum().backward()
        grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        gradients.append((grads, len(calls)))
    (plain, few), (twice, many) = gradients
    assert many == 2 * few > 0
    assert set(plain) == set(twice)
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, twice[name])


def test_a_channel_that_nobody_shows_still_has_gradients(corpus: Corpus) -> None:
    network, inputs = corpus.start(config(*LAYERS))
    rows = np.zeros(2, dtype=np.int64)  # the silent clip
    network(**inputs.gather(items_of(rows, rows))).emotion.sum().backward()
    free = [p for n, p in network.named_parameters() if p.requires_grad and "backbones.audio" in n]
    assert free
    assert all(p.grad is not None and not bool(p.grad.any()) for p in free)


def test_one_channel_is_tuned_and_the_other_read(corpus: Corpus, tmp_path: Path) -> None:
    corpus.train(config("finetune.audio_layers=1", "train.num_epochs=1"), tmp_path)
    info = load_checkpoint(tmp_path / "checkpoint").info
    face, voice = (info.backbones[m] for m in Modality)
    assert face.backbone == corpus.table.arrays[Modality.VIDEO].backbone
    assert face.training_corpora == ("kinetics-400",)
    assert voice.backbone.startswith("folder:audio@")
    # Nobody knows what a folder's weights had seen, but it is known what they were tuned on.
    assert voice.training_corpora == ("ravdess",)
    assert not voice.corpora_known
    assert [path.name for path in (tmp_path / "checkpoint/backbones").iterdir()] == ["audio"]
    folder = str(corpus.paths[Modality.VIDEO])
    assert set(assemble(tmp_path / "checkpoint", [folder]).backbones) == set(Modality)


def test_damage_and_publishing_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    corpus.train(config("finetune.video_layers=1", "train.num_epochs=1"), tmp_path)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(ConfigError, match="do not carry"):
        plan_push(checkpoint, "owner/name")
    voice = str(corpus.paths[Modality.AUDIO])
    path = checkpoint / "backbones" / "video" / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.485", "0.385"))
    with pytest.raises(WeightsError, match="preprocessor_config"):
        assemble(checkpoint, [voice])
    path.unlink()
    with pytest.raises(WeightsError, match="copy the whole folder"):
        read_info(checkpoint)


def test_what_cannot_be_met_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    for changes, words in (
        (("finetune.video_layers=9",), "has 3 layers"),
        (("finetune.audio_layers=1", "network.modalities=['video']"), "has no audio"),
    ):
        with pytest.raises(ConfigError, match=words):
            corpus.train(config(*changes), tmp_path / "out")
    with pytest.raises(ConfigError, match="name a table of clips"):
        train(config(*LAYERS), corpus.table, tmp_path / "out", SOURCE)
    wavlm = write_checkpoint("wavlm-large", tmp_path / "wavlm")
    settings = config(*LAYERS)
    for source, words in ((str(wavlm), "name the right one"), ("compact-voice", "name the right")):
        tuning = replace(corpus.tuning(), sources={**corpus.sources, Modality.AUDIO: source})
        with pytest.raises(ConfigError, match=words):
            train(settings, corpus.table, tmp_path / "out", SOURCE, tuning=tuning)
    other = Corpus(tmp_path / "other", kind="wavlm-large")
    with pytest.raises(ConfigError, match="past any adapter"):
        other.start(config(*ADAPTERS))
    nothing = replace(corpus.tuning(), open_windows=lambda *_: lambda clip: [])
    with pytest.raises(CorpusError, match="no window that shows it"):
        train(settings, corpus.table, tmp_path / "out", SOURCE, tuning=nothing)


def test_a_tuned_backbone_names_the_corpora_that_it_and_its_base_saw(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*given: Any, **options: Any) -> Any:
        backbone: Any = create_backbone(*given, **options)
        backbone.spec = replace(backbone.spec, training_corpora=("kinetics-400",))
        return backbone

    monkeypatch.setattr(finetune, "create_backbone", create)
    corpus.train(config(*LAYERS, "train.num_epochs=1", "split.num_folds=3"), tmp_path)
    for used in read_info(tmp_path / "checkpoint").backbones.values():
        assert used.training_corpora == ("kinetics-400", "ravdess")
        assert used.corpora_known
    # None of the tested speakers was tuned on.
    for seen in read_run(tmp_path / "predictions").info.backbones:
        assert seen.training_corpora == ("kinetics-400",)
