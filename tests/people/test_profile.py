"""A person's profile on disk: it comes back as it was, or says why not."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facevoice.errors import ProfileError
from facevoice.people.baseline import Baseline, Usual
from facevoice.people.profile import is_profile, load_profile, save_profile
from facevoice.records import Modality, ModelId
from perceptions import HAPPY, SAD

MODELS = {
    "detector": ModelId("finder", "0" * 64),
    "speech": ModelId("vad", "1" * 64),
    "face": ModelId("f", "2" * 64),
    "voice": ModelId("v", "3" * 64),
    "heads": ModelId("heads", "4" * 64),
}


def baseline() -> Baseline:
    rng = np.random.default_rng(0)
    return {
        Modality.VIDEO: Usual(12.5, rng.normal(size=5), HAPPY),
        Modality.AUDIO: Usual(3.0, 1e-6 * rng.normal(size=7), SAD),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_profile(baseline(), tmp_path / "anna.json", MODELS)
    return tmp_path / "anna.json"


def test_a_profile_comes_back_as_it_was(path: Path) -> None:
    found = load_profile(path, MODELS)
    assert set(found) == set(Modality)
    for modality, usual in baseline().items():
        assert found[modality].num_windows == usual.num_windows
        np.testing.assert_allclose(found[modality].mean, usual.mean, rtol=1e-6)
        np.testing.assert_allclose(found[modality].probs, usual.probs, atol=1e-6)
    assert is_profile(path)


def test_a_profile_is_private_and_names_nobody(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = json.loads(path.read_text())
    assert set(values) == {"schema", "schema_version", "notice", "channels"}
    assert "personal data" in values["notice"]
    for channel in values["channels"].values():
        assert set(channel) == {"models", "num_windows", "probs", "mean"}


@pytest.mark.parametrize("role", ["detector", "face", "voice"])
def test_statistics_of_other_networks_are_refused(path: Path, role: str) -> None:
    with pytest.raises(ProfileError, match=r"anna\.json: its .* other networks.*Make it again"):
        load_profile(path, {**MODELS, role: ModelId("new", "9" * 64)})


def test_other_heads_read_the_same_embeddings(path: Path) -> None:
    found = load_profile(path, {**MODELS, "heads": ModelId("new", "9" * 64)})
    assert {modality: usual.num_windows for modality, usual in found.items()} == {
        Modality.VIDEO: 12.5,
        Modality.AUDIO: 3.0,
    }


def change(path: Path, *keys: str, to: Any) -> None:
    values = json.loads(path.read_text())
    place = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("schema",), "other", "is no profile"),
        (("schema_version",), 99, "has version 99; this facevoice reads 1"),
        (("channels",), {}, "is damaged"),
        (("channels",), [], "is damaged"),
        (("channels", "smell"), {}, "is damaged"),
        (("channels", "video", "num_windows"), -1, "is damaged"),
        (("channels", "video", "mean"), [float("nan")], "damaged"),
        (("channels", "video", "mean"), "x", "is damaged"),
        (("channels", "video", "mean"), [[1.0]], "is damaged"),
        (("channels", "video", "probs", "happy"), 2.0, "is damaged"),
        (("channels", "video", "probs"), {}, "is damaged"),
    ],
)
def test_a_damaged_profile_says_so(
    path: Path, keys: tuple[str, ...], value: object, words: str
) -> None:
    change(path, *keys, to=value)
    with pytest.raises(ProfileError, match=rf"anna\.json: .*{words}"):
        load_profile(path, MODELS)


def test_files_that_are_no_profile_say_so(path: Path, tmp_path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])
    for wrong in (path, tmp_path / "gone.json", tmp_path):
        with pytest.raises(ProfileError, match=wrong.name):
            load_profile(wrong, MODELS)
        assert not is_profile(wrong)


def test_nothing_is_written_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="nothing is known"):
        save_profile({}, tmp_path / "nobody.json", MODELS)
    with pytest.raises(ProfileError, match="can't be written"):
        save_profile(baseline(), tmp_path / "no" / "anna.json", MODELS)
    assert list(tmp_path.iterdir()) == []
