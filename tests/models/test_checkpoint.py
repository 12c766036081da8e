"""A checkpoint is whole and sound, or it is refused with the reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from facevoice.errors import ConfigError, WeightsError  # noqa: E402
from facevoice.models.checkpoint import (  # noqa: E402
    Calibration,
    Checkpoint,
    CheckpointInfo,
    load_checkpoint,
    read_info,
    save_checkpoint,
)
from facevoice.models.fusion import FusionNetwork  # noqa: E402
from facevoice.models.heads import Embeddings, Posteriors, softmax  # noqa: E402
from facevoice.models.model import CheckpointModel  # noqa: E402
from facevoice.models.network import FUSIONS, NetworkConfig  # noqa: E402
from facevoice.records import DecisionCurve, Modality  # noqa: E402
from tiny_models import FACE, VOICE  # noqa: E402

DIMS = {Modality.VIDEO: FACE.dim, Modality.AUDIO: VOICE.dim}
CALIBRATION = Calibration(1.5, 0.5, 2.0, 3.0)


def make_info(**changes: Any) -> CheckpointInfo:
    """What a network of random weights says of itself; `changes` to its settings."""
    network = NetworkConfig(
        video_dim=FACE.dim, audio_dim=VOICE.dim, fused_dim=16, head_dim=8, interaction_dim=4,
        attention_dim=8, attention_heads=2, **changes,
    )  # fmt: skip
    unknown = replace(VOICE, corpora_known=False)
    backbones = {Modality.VIDEO: FACE, Modality.AUDIO: unknown}
    notes = ("Trained for a test.",)
    return tiny_models.make_info(
        network=network, backbones=backbones, calibration=CALIBRATION, notes=notes
    )


def make_checkpoint(folder: Path, **changes: Any) -> Path:
    return tiny_models.write_model(folder, make_info(**changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


def make_windows(num: int, *, tokens: int = 1) -> list[Embeddings]:
    rng = np.random.default_rng(0)
    return [
        {m: rng.normal(size=tokens * dim).astype(np.float32) for m, dim in DIMS.items()}
        for _ in range(num)
    ]


def without(window: Embeddings, *modalities: Modality) -> Embeddings:
    return {m: e for m, e in window.items() if m not in modalities}


def predict(loaded: Checkpoint, windows: Sequence[Embeddings]) -> list[Posteriors]:
    return CheckpointModel("model", loaded).predict(windows)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Change a file and its hash, as somebody who edits a checkpoint by hand would."""
    (folder / name).write_bytes(content)
    index = json.loads((folder / "checkpoint.json").read_text())
    index["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps(index))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_was_saved_is_loaded(fusion: str, tmp_path: Path) -> None:
    info = make_info(fusion=fusion)
    weights = FusionNetwork(info.network).state_dict()
    save_checkpoint(tmp_path / "c", weights, info)
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded.info == replace(info, settings=loaded.info.settings)
    found = loaded.network.state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert not loaded.network.training
    assert (
        loaded.sha256 == hashlib.sha256((tmp_path / "c/model.safetensors").read_bytes()).hexdigest()
    )


def test_the_card_tells_data_figures_and_limits_and_may_be_edited(folder: Path) -> None:
    suffixes = {path.suffix for path in folder.iterdir()}
    assert suffixes == {".json", ".toml", ".safetensors", ".md"}  # nothing is pickled
    card = (folder / "README.md").read_text()
    for words in (
        "| test | ravdess | emotion_uar | 0.630 |",
        f"`{VOICE.backbone}`",
        "fer2013",
        "AI Act",
        "Trained for a test.",
        "not known which corpora",
    ):
        assert words in card, words
    (folder / "README.md").write_text("My own words.")
    load_checkpoint(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.toml", "calibration.json", "thresholds.json", "data.json",
             "backbones.json", "metrics.json"],
)  # fmt: skip
def test_a_file_that_changed_or_is_gone_is_refused(name: str, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        WeightsError, match=rf"{name}: SHA-256 is .*, expected .* Get the checkpoint"
    ):
        load_checkpoint(folder)
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=rf"{name}: can't be read"):
        load_checkpoint(folder)


def change_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "other")
    rewrite(folder, "model.safetensors", (folder / "other").read_bytes())
    (folder / "other").unlink()


def test_missing_unexpected_and_misshapen_weights_are_listed(folder: Path) -> None:
    def change(weights: dict[str, Any]) -> None:
        del weights["emotion_head.1.bias"]
        weights["surprise"] = torch.zeros(2)
        weights["conflict_head.mlp.1.bias"] = torch.zeros(3)
        weights["standardize.video.mean"] = torch.zeros(12, dtype=torch.float16)

    change_weights(folder, change)
    with pytest.raises(WeightsError) as error:
        load_checkpoint(folder)
    for words in (
        "missing: emotion_head.1.bias",
        "unexpected: surprise",
        "conflict_head.mlp.1.bias (3,) torch.float32 instead of (2,)",
        "standardize.video.mean (12,) torch.float16",
    ):
        assert words in str(error.value)


def test_weights_that_are_not_finite_are_refused(folder: Path, tmp_path: Path) -> None:
    change_weights(folder, lambda weights: weights["fusion.mlp.0.0.bias"].fill_(float("nan")))
    with pytest.raises(WeightsError, match=r"not finite: fusion\.mlp\.0\.0\.bias"):
        load_checkpoint(folder)
    rewrite(folder, "model.safetensors", b"a pickle")
    with pytest.raises(WeightsError, match="is damaged"):
        load_checkpoint(folder)
    weights = FusionNetwork(make_info().network).state_dict()
    weights["fusion.mlp.0.0.bias"][0] = float("inf")
    with pytest.raises(WeightsError, match="not finite"):
        save_checkpoint(tmp_path / "new", weights, make_info())
    assert not (tmp_path / "new").exists()


def test_thresholds_of_earlier_versions_are_read_as_not_measured(folder: Path) -> None:
    earlier = {"conflict_above": 0.81, "match_below": 0.2, "flat_above": 0.31, "clear_above": 0.3}
    rewrite(folder, "thresholds.json", json.dumps(earlier).encode())
    loaded = load_checkpoint(folder)
    assert loaded.info.curve == DecisionCurve()
    assert predict(loaded, make_windows(1))[0].conflict is not None
    rewrite(folder, "thresholds.json", b"{}")
    loaded = load_checkpoint(folder)
    assert loaded.info.curve is None
    assert predict(loaded, make_windows(1))[0].conflict is None


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("calibration.json", '"face"', '"nose"', "missing face|unknown setting 'nose'"),
        ("calibration.json", "0.5", "-0.5", "temperature of face"),
        ("calibration.json", "0.5", "5e-324", "temperature of face"),
        ("data.json", '"split_sha256"', '"split_md5"', "missing split_sha256"),
        ("metrics.json", '"num_steps": 90', '"num_steps": "many"', "num_steps"),
        ("thresholds.json", '"match_hits"', '"match"', "missing match_hits"),
        ("thresholds.json", "0.97,", "", "different lengths"),
        ("thresholds.json", "0.3,", "1.5,", "must increase"),
        ("backbones.json", '"video"', '"smell"', "smell"),
        ("backbones.json", '"dim": 12', '"dim": 7', "width 7"),
        ("config.toml", 'fusion = "concat"', 'fusion = "magic"', "fusion = 'magic'"),
        ("config.toml", "fused_dim = 16", "fused_dim = 9", "instead of"),
        ("config.toml", "head_dim = 8", "heads_dim = 8", "unknown setting 'heads_dim'"),
    ],
)
def test_what_it_says_of_itself_is_checked(
    name: str, old: str, new: str, message: str, folder: Path
) -> None:
    text = (folder / name).read_text()
    assert old in text
    rewrite(folder, name, text.replace(old, new).encode())
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(folder)


def test_other_formats_and_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no checkpoint\.json"):
        load_checkpoint(tmp_path)
    index = json.loads((folder / "checkpoint.json").read_text())
    (folder / "checkpoint.json").write_text(
        json.dumps({**index, "format": "facevoice-checkpoint/9"})
    )
    with pytest.raises(WeightsError, match="facevoice-checkpoint/9"):
        load_checkpoint(folder)
    del index["sha256"]["data.json"]
    (folder / "checkpoint.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"missing files \['data\.json'\]"):
        load_checkpoint(folder)
    (folder / "checkpoint.json").write_text("{")
    with pytest.raises(WeightsError, match="is damaged"):
        load_checkpoint(folder)


def test_only_a_checkpoint_is_ever_replaced(folder: Path, tmp_path: Path) -> None:
    info = make_info(fusion="late")
    weights = FusionNetwork(info.network).state_dict()
    with pytest.raises(ConfigError, match="holds a checkpoint already"):
        save_checkpoint(folder, weights, info)
    save_checkpoint(folder, weights, info, overwrite=True)
    assert read_info(folder).network.fusion == "late"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dog.jpg").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        save_checkpoint(tmp_path / "photos", weights, info, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "photos"]


def test_posteriors_are_the_tempered_logits(folder: Path) -> None:
    loaded, windows = load_checkpoint(folder), make_windows(3)
    there = torch.ones(3, 1, dtype=torch.bool)
    with torch.inference_mode():
        logits = loaded.network(
            torch.from_numpy(np.stack([w[Modality.VIDEO] for w in windows]))[:, None],
            there,
            torch.from_numpy(np.stack([w[Modality.AUDIO] for w in windows]))[:, None],
            there,
        )
    for row, said in enumerate(predict(loaded, windows)):
        assert np.allclose(
            said.fused, softmax(logits.emotion[row].double().numpy() / 1.5), atol=1e-6
        )
        assert np.allclose(said.face, softmax(logits.face[row].double().numpy() / 0.5), atol=1e-6)
        conflict = softmax(logits.conflict[row].double().numpy() / 3.0)[1]
        assert said.conflict == pytest.approx(conflict, abs=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_channel_leaves_no_conflict_and_no_posterior(fusion: str, tmp_path: Path) -> None:
    loaded = load_checkpoint(make_checkpoint(tmp_path / "c", fusion=fusion))
    both = make_windows(1)[0]
    windows = [both, without(both, Modality.AUDIO), without(both, Modality.VIDEO), {}]
    whole, mute, dark, empty = predict(loaded, windows)
    assert whole.conflict is not None
    assert mute.voice is None and mute.conflict is None and mute.fused is not None
    assert np.allclose(mute.face, whole.face, atol=1e-6)
    assert dark.face is None and dark.conflict is None and dark.fused is not None
    assert empty.fused is None and empty.face is None and empty.voice is None


def test_windows_are_told_alone_as_they_are_together(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    rows = make_windows(1, tokens=4)[0]
    flat = {m: e.reshape(4, -1) for m, e in rows.items()}  # stacked rows come flat or not
    windows = [*make_windows(300), rows, flat, without(make_windows(1)[0], Modality.VIDEO)]
    together = predict(loaded, windows)
    for place in (0, 5, 299, 300, 301, 302):
        assert np.allclose(
            predict(loaded, [windows[place]])[0].fused, together[place].fused, atol=1e-6
        )
    assert np.array_equal(together[300].fused, together[301].fused)
    for wrong in (np.zeros(11, np.float32), np.zeros((2, 8), np.float32)):
        with pytest.raises(WeightsError, match=r"the network wants \(T, 16\)"):
            predict(loaded, [{Modality.AUDIO: wrong}])
