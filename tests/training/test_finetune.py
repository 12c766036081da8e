"""Backbones trained along: only what is wanted changes, and what is saved is what was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from facevoice.backbones.differentiable import add_adapters, encoder_layers, merged_weights, tunable
from facevoice.backbones.spec import create_backbone, split_name
from facevoice.corpora.manifest import Clip
from facevoice.errors import ConfigError, CorpusError, StoreError, WeightsError
from facevoice.evaluation.model import CheckpointScorer
from facevoice.hub import plan_push
from facevoice.models.checkpoint import load_checkpoint, read_info
from facevoice.models.fusion import FusionNetwork
from facevoice.models.model import assemble
from facevoice.records import Modality, Window
from facevoice.store import backbone_id
from facevoice.training import loop
from facevoice.training.config import TrainConfig
from facevoice.training.data import (
    ClipWindows,
    FeatureDataset,
    FeatureTable,
    WindowCache,
    WindowDataset,
    WindowsKey,
    stack_tokens,
)
from facevoice.training.finetune import FinetuneNetwork, Tuning, build_finetune
from facevoice.training.run import RunOptions, TrainedRun, train
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
IDS = [f"03-01-{e:02d}-01-01-{t:02d}-{s:02d}" for s in (1, 2) for e in (3, 4, 5) for t in (1, 2)]
NORMS = {Modality.VIDEO: "layernorm_before", Modality.AUDIO: "layer_norm"}
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
        self.folder = folder
        kinds = {**KINDS, Modality.AUDIO: kind or KINDS[Modality.AUDIO]}
        ends = {Modality.VIDEO: video, Modality.AUDIO: audio}
        self.paths = {m: write_checkpoint(kinds[m], folder / f"tiny-{m}") for m in Modality}
        self.clips = make_clips(IDS)
        self.windows = {
            clip.clip_id: make_windows(clip, row) for row, clip in enumerate(self.clips)
        }
        cache, keys, arrays = WindowCache(folder / "windows"), {}, {}
        for modality in Modality:
            backbone = create_backbone(f"{self.paths[modality]}{ends[modality]}", device="cpu")
            embedded: list[np.ndarray | None] = []
            for row, clip in enumerate(self.clips):
                windows = self.windows[clip.clip_id]
                if row == 0 and modality is Modality.AUDIO:
                    embedded.append(None)  # a silent clip
                    continue
                spans = [(w.start_s, w.end_s) for w in windows]
                key = WindowsKey.at(f"{row:064x}", modality, spans, "made")
                cache.write(key, windows)
                keys[clip.clip_id, modality] = key
                rows = backbone.embed(windows).reshape(len(windows), -1, backbone.spec.row_dim)
                is_video = modality is Modality.VIDEO
                cover = [w.face_coverage if is_video else w.speech_coverage for w in windows]
                weights = np.array(cover) * [w.duration_s for w in windows]
                joined = rows.reshape(-1, rows.shape[2])
                if not ends[modality].endswith("tokens"):
                    joined = np.average(rows, axis=0, weights=weights)
                embedded.append(joined.astype(np.float32))
            arrays[modality] = replace(
                stack_tokens(embedded, backbone.spec.row_dim, backbone_id(backbone)),
                training_corpora=("kinetics-400",),
            )
        self.table = FeatureTable(self.clips, arrays)
        self.index = ClipWindows(cache, keys)

    def tuning(self, *, checkpointing: bool = False) -> Tuning:
        backbones = {m: create_backbone(str(path), device="cpu") for m, path in self.paths.items()}
        return Tuning(backbones, self.cut, checkpointing)

    def cut(self, clips: Mapping[Modality, Sequence[Clip]]) -> ClipWindows:
        assert all(clips.values())
        return self.index

    def network(self, settings: TrainConfig, **options: Any) -> FinetuneNetwork:
        torch.manual_seed(0)
        fusion = FusionNetwork(settings.network)
        return build_finetune(settings, self.table, fusion, self.tuning(**options))

    def inputs(self, network: FinetuneNetwork, modalities: tuple[Modality, ...]) -> WindowDataset:
        prepare = {m: backbone.input.prepare for m, backbone in network.tuned.items()}
        return WindowDataset(self.table, modalities, prepare, self.index, torch.device("cpu"))

    def train(self, settings: TrainConfig, out: Path, **options: Any) -> TrainedRun:
        chosen = RunOptions(cpu=True)
        return train(
            settings, self.table, out, SOURCE, options=chosen, tuning=self.tuning(**options)
        )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"))


def logits_of(network: Any, data: Any, dropped: Any = None) -> list[torch.Tensor]:
    """Faces of all clips with the voices of others."""
    rows = np.arange(len(IDS))
    batch = data.gather(rows, np.roll(rows, 1), dropped)
    network.eval()
    with torch.no_grad():
        return [head for head in network(*batch.inputs(), **batch.options()) if head is not None]


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
    network = corpus.network(settings)
    stored = FeatureDataset(corpus.table, settings.network.modalities, torch.device("cpu"))
    inputs = corpus.inputs(network, settings.network.modalities)
    drops = np.arange(len(IDS)) % 3 == 0
    dropped = {Modality.VIDEO: drops, Modality.AUDIO: ~drops}
    for drop in (None, dropped):
        for ours, theirs in zip(
            logits_of(network, inputs, drop), logits_of(network.fusion, stored, drop), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert set(before) == set(after)
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_only_the_last_layers_change(corpus: Corpus, tmp_path: Path) -> None:
    done = corpus.train(config(*LAYERS, "train.patience=0"), tmp_path)
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
        network = tunable(create_backbone(str(corpus.paths[modality]), device="cpu")).network
        after = load_file(done.checkpoint / "backbones" / modality / "model.safetensors")
        names = changed(network.state_dict(), after)
        assert names
        assert all(name.startswith(starts) for name in names)
        for start in starts:
            assert any(name.startswith(start) for name in names)
        # A key's bias shifts all scores of a row alike, so nothing can come of it.
        idle = {n for n in after if n.startswith(starts)} - names
        assert all("k_proj.bias" in name for name in idle)


def test_adapters_change_alone_and_merge_into_what_they_did(corpus: Corpus, tmp_path: Path) -> None:
    settings = config(*ADAPTERS, "train.patience=0", "train.ema=0")
    network = corpus.network(settings)
    trained = [n for n, p in network.named_parameters() if p.requires_grad and "backbones" in n]
    # Two projections of each layer of each channel, two matrices each.
    assert len(trained) == 2 * 2 * NUM_LAYERS * 2
    assert all("lora_" in name for name in trained)
    done = corpus.train(settings, tmp_path)
    state = load_file(tmp_path / "training-state.safetensors")
    kept = [n for n in state if n.startswith("weights/backbones.")]
    assert kept
    assert all("lora_" in name for name in kept)
    weights = {n.removeprefix("weights/"): t for n, t in state.items() if n.startswith("weights/")}
    network.load_state_dict(weights, strict=False)
    inputs = corpus.inputs(network, settings.network.modalities)
    rows = np.arange(1, len(IDS))
    batch = inputs.gather(rows, rows)
    loaded = assemble(done.checkpoint)
    for modality, channel in zip(Modality, batch.inputs(), strict=True):
        base = tunable(create_backbone(str(corpus.paths[modality]), device="cpu"))
        path = done.checkpoint / "backbones" / modality
        names = changed(base.network.state_dict(), load_file(path / "model.safetensors"))
        assert len(names) == 2 * NUM_LAYERS
        assert all(n.endswith(("query.weight", "value.weight", "q_proj.weight", "v_proj.weight"))
                   for n in names)  # fmt: skip
        with torch.no_grad():
            ours = network.runs[modality](channel.inputs)[:, 0].numpy()
        windows = [w for row in rows for w in corpus.windows[corpus.clips[row].clip_id]]
        merged = loaded.backbones[modality].embed(windows)
        assert np.abs(merged - ours).max() < 1e-5
        assert np.abs(merged - base.embed(windows)).max() > 1e-3


def test_merging_leaves_the_network_as_it_is(corpus: Corpus) -> None:
    backbone = tunable(create_backbone(str(corpus.paths[Modality.AUDIO]), device="cpu"))
    before = {name: t.clone() for name, t in backbone.network.state_dict().items()}
    add_adapters(backbone, 2, 4.0)
    # Adapters that nobody trained add nothing.
    assert changed(before, merged_weights(backbone)) == set()
    with torch.no_grad():
        for name, parameter in backbone.network.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    held = {name: t.clone() for name, t in backbone.network.state_dict().items()}
    assert changed(before, merged_weights(backbone)) != set()
    assert changed(held, backbone.network.state_dict()) == set()


def final_loss(done: TrainedRun, out: Path) -> list[float]:
    import json

    from safetensors import safe_open

    with safe_open(out / "training-state.safetensors", framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
    return [epoch["loss"] for epoch in progress["history"]]


@pytest.mark.parametrize("part", [("finetune.video_layers=2",), ADAPTERS])
def test_the_backbone_alone_can_learn(part: tuple[str, ...], corpus: Corpus) -> None:
    """What reads the embeddings stands still: whatever is learnt is learnt by the backbone."""
    settings = config(*part)
    network = corpus.network(settings)
    inputs = corpus.inputs(network, settings.network.modalities)
    rows = np.arange(1, len(IDS))
    emotions = [corpus.clips[row].labels.intended for row in rows]
    target = torch.tensor([emotion.position for emotion in emotions if emotion is not None])
    head = torch.randn(DIM, 8, generator=torch.Generator().manual_seed(0))
    free = [p for p in network.backbones["video"].parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=0.02)
    losses = []
    for _ in range(30):
        tokens, _ = network.tokens(Modality.VIDEO, inputs.gather(rows, rows).inputs()[0])
        loss = torch.nn.functional.cross_entropy(tokens[:, 0] @ head, target)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in free)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_trainer_learns(corpus: Corpus, tmp_path: Path) -> None:
    done = corpus.train(
        config(*LAYERS, "train.num_epochs=10", "train.learning_rate=0.01", "network.dropout=0"),
        tmp_path,
    )
    losses = final_loss(done, tmp_path)
    assert min(losses) < 0.8 * losses[0]


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("part", [LAYERS, ADAPTERS])
def test_a_killed_run_ends_in_the_same_weights(
    part: tuple[str, ...], corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(*part, "run.save_every_steps=1", "train.accumulate=2", "train.ema=0.9")
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
    again = corpus.train(settings, tmp_path / "killed")
    files = ["model.safetensors", *(f"backbones/{m}/model.safetensors" for m in Modality)]
    for name in files:
        first, second = (load_file(done.checkpoint / name) for done in (whole, again))
        assert changed(first, second) == set()
    states = [load_file(tmp_path / n / "training-state.safetensors") for n in ("whole", "killed")]
    assert changed(*states) == set()
    assert whole.figures == again.figures


def test_layers_that_are_computed_twice_have_the_same_gradients(corpus: Corpus) -> None:
    gradients = []
    for checkpointing in (False, True):
        settings = config(*ADAPTERS)
        network = corpus.network(settings, checkpointing=checkpointing)
        network.fusion.eval()
        inputs = corpus.inputs(network, settings.network.modalities)
        rows = np.arange(4)
        calls: list[nn.Module] = []
        for backbone in network.tuned.values():
            norm = encoder_layers(backbone.network)[0].get_submodule(NORMS[backbone.spec.modality])
            norm.register_forward_hook(lambda module, *_, calls=calls: calls.append(module))
        batch = inputs.gather(rows, rows)
        network(*batch.inputs()).emotion.square().sum().backward()
        grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        gradients.append((grads, len(calls)))
    (plain, few), (twice, many) = gradients
    assert (few, many) == (2, 4)
    assert set(plain) == set(twice)
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, twice[name])


def test_a_channel_that_nobody_shows_still_has_gradients(corpus: Corpus) -> None:
    settings = config(*LAYERS)
    network = corpus.network(settings)
    inputs = corpus.inputs(network, settings.network.modalities)
    rows = np.zeros(2, dtype=np.int64)  # the silent clip
    network(*inputs.gather(rows, rows).inputs()).emotion.sum().backward()
    free = [p for n, p in network.named_parameters() if p.requires_grad and "backbones.audio" in n]
    assert free
    assert all(p.grad is not None and not bool(p.grad.any()) for p in free)


def test_one_channel_is_tuned_and_the_other_read(corpus: Corpus, tmp_path: Path) -> None:
    done = corpus.train(config("finetune.audio_layers=1", "train.num_epochs=1"), tmp_path)
    info = load_checkpoint(done.checkpoint).info
    face, voice = (info.backbones[m] for m in Modality)
    assert face.backbone == corpus.table.arrays[Modality.VIDEO].backbone
    assert face.training_corpora == ("kinetics-400",)
    assert voice.backbone.startswith("folder:audio@")
    # Nobody knows what a folder's weights had seen, but it is known what they were tuned on.
    assert voice.training_corpora == ("ravdess",)
    assert not voice.corpora_known
    assert [path.name for path in (done.checkpoint / "backbones").iterdir()] == ["audio"]
    folder = str(corpus.paths[Modality.VIDEO])
    assert set(assemble(done.checkpoint, [folder]).backbones) == set(Modality)


def test_damage_and_publishing_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    done = corpus.train(config("finetune.video_layers=1", "train.num_epochs=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match="do not carry"):
        plan_push(done.checkpoint, "owner/name")
    voice = str(corpus.paths[Modality.AUDIO])
    path = done.checkpoint / "backbones" / "video" / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.485", "0.385"))
    with pytest.raises(WeightsError, match="is not the file that was written"):
        assemble(done.checkpoint, [voice])
    path.unlink()
    with pytest.raises(WeightsError, match="copy the whole folder"):
        read_info(done.checkpoint)


def test_settings_that_cannot_be_met_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    for changes, words in (
        (("finetune.video_layers=9",), "has 3 layers"),
        (("finetune.audio_layers=1", "network.modalities=['video']"), "has no audio"),
    ):
        with pytest.raises(ConfigError, match=words):
            corpus.train(config(*changes), tmp_path / "out")
    with pytest.raises(ConfigError, match="name a table of clips"):
        train(config(*LAYERS), corpus.table, tmp_path / "out", SOURCE)
    wavlm = create_backbone(str(write_checkpoint("wavlm-large", tmp_path / "wavlm")), device="cpu")
    with pytest.raises(ConfigError, match="past any adapter"):
        add_adapters(tunable(wavlm), 2, 4.0)
    with pytest.raises(ConfigError, match="can't be trained along"):
        tunable(create_backbone("compact-face"))
    other = Tuning({**corpus.tuning().backbones, Modality.AUDIO: wavlm}, corpus.cut)
    with pytest.raises(ConfigError, match="name the right one"):
        build_finetune(config(*LAYERS), corpus.table, FusionNetwork(config().network), other)
    assert split_name(corpus.table.arrays[Modality.AUDIO].backbone)[1] is None


def test_windows_come_back_as_they_were(corpus: Corpus, tmp_path: Path) -> None:
    cache = WindowCache(tmp_path)
    windows = corpus.windows[corpus.clips[1].clip_id]
    unseen = replace(windows[0], start_s=5.0, end_s=5.5, faces=None, speech_coverage=0.0)
    given = [*windows, unseen]
    for modality in Modality:
        key = WindowsKey.at("a" * 64, modality, [(w.start_s, w.end_s) for w in given], "made")
        assert not cache.has(key)
        cache.write(key, given)
        found = cache.read(key)
        assert [(w.start_s, w.end_s) for w in found] == [(w.start_s, w.end_s) for w in windows]
        for ours, theirs in zip(found, windows, strict=True):
            if modality is Modality.VIDEO:
                assert ours.faces is not None
                assert ours.samples is None
                assert np.array_equal(ours.faces, theirs.faces)
                assert np.array_equal(ours.face_timestamps_s, theirs.face_timestamps_s)
                assert ours.face_coverage == theirs.face_coverage
            else:
                assert ours.samples is not None
                assert ours.faces is None
                assert np.array_equal(ours.samples, theirs.samples)
                assert ours.speech_coverage == theirs.speech_coverage
        path = cache.path(key)
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(StoreError, match=key.name):
            cache.read(key)
    with pytest.raises(CorpusError, match="no window that shows it"):
        ClipWindows(cache, {}).read("x", Modality.VIDEO)


def test_a_tuned_backbone_is_judged_by_the_speakers_that_are_tested(
    corpus: Corpus, tmp_path: Path
) -> None:
    tuning = corpus.tuning()
    for backbone in tuning.backbones.values():
        known = tunable(backbone)
        known.spec = replace(known.spec, training_corpora=("kinetics-400",))
    settings = config("finetune.video_layers=1", "finetune.audio_layers=1", "train.num_epochs=1")
    done = train(
        settings,
        corpus.table,
        tmp_path,
        SOURCE,
        options=RunOptions(cpu=True),
        tuning=tuning,
    )
    for used in read_info(done.checkpoint).backbones.values():
        assert used.training_corpora == ("kinetics-400", "ravdess")
        assert used.corpora_known
    others = [replace(c, clip_id=f"{c.clip_id}x", speaker="20") for c in corpus.clips]
    for clips, corpora in (
        (corpus.clips, ("kinetics-400", "ravdess")),
        (others, ("kinetics-400",)),
    ):
        face, voice, _ = CheckpointScorer(done.checkpoint, clips).trained_on
        assert face.known_corpora == voice.known_corpora == corpora
