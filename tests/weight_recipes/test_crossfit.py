"""What scores a speaker was fitted without that speaker."""

from __future__ import annotations

import numpy as np
import pytest
from recipes import crossfit
from recipes.crossfit import Channel, TunedVoices
from recipes.fitting import Samples, fit_voice_head

from facevoice.models.heads import LinearHead

SPEAKERS = [f"javanese/0{n}" for n in (1, 2, 3)] + [f"ravdess/0{n}" for n in (1, 2, 3)]
FOLDS = {name: int(name[-1]) - 1 for name in SPEAKERS}


def make_samples(seed: int) -> Samples:
    """Twelve windows a speaker, six of the eight classes."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(SPEAKERS, 12)
    labels = np.tile([0, 2, 3, 4, 5, 7], 2 * len(SPEAKERS))
    embeddings = rng.normal(size=(len(labels), 6)) + np.eye(8)[labels][:, :6] * 2
    emotions = np.tile(np.isin(np.arange(8), labels), (len(labels), 1))
    corpora = np.array([name.split("/")[0] for name in speakers])
    return Samples(embeddings, labels, emotions, speakers, corpora)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[set[str]]]:
    """Speakers of whatever heads and sharpness are fitted to."""
    calls: dict[str, list[set[str]]] = {"head": [], "sharpness": []}
    fit_sharpness = crossfit.fit_sharpness

    def head(samples: Samples) -> LinearHead:
        calls["head"].append(set(samples.speakers.tolist()))
        return fit_voice_head(samples)

    def sharpness(probs: np.ndarray, samples: Samples) -> float:
        assert np.isfinite(probs).all()
        calls["sharpness"].append(set(samples.speakers.tolist()))
        return fit_sharpness(probs, samples)

    monkeypatch.setattr(crossfit, "fit_voice_head", head)
    monkeypatch.setattr(crossfit, "fit_sharpness", sharpness)
    return calls


def test_a_tuned_voice_is_scored_without_its_fold(seen: dict[str, list[set[str]]]) -> None:
    by_fold = [make_samples(seed) for seed in range(3)]
    ids = [f"clip{n}" for n in range(len(by_fold[0].labels))]
    folds = np.array([FOLDS[name] for name in by_fold[0].speakers.tolist()])
    voices = TunedVoices(by_fold, ids, folds)
    found = voices.posteriors("javanese/02")
    assert len(found) == 12
    assert all(np.isclose(p.sum(), 1) for p in found.values())
    own_fold = {name for name in SPEAKERS if FOLDS[name] == 1}
    assert seen["head"] == [set(SPEAKERS) - own_fold]
    assert seen["sharpness"] == [own_fold - {"javanese/02"}]


def test_every_clip_is_heard_by_a_network_that_left_it_out(
    seen: dict[str, list[set[str]]],
) -> None:
    by_fold = [make_samples(seed) for seed in range(3)]
    ids = [f"clip{n}" for n in range(len(by_fold[0].labels))]
    folds = np.array([FOLDS[name] for name in by_fold[0].speakers.tolist()])
    voices = TunedVoices(by_fold, ids, folds)
    sharpness = voices.sharpness()
    assert sharpness > 0
    assert set(voices.all_posteriors(sharpness)) == set(ids)
    assert seen["sharpness"] == [set(SPEAKERS)]
    assert len(seen["head"]) == 3
    for fold, fitted in enumerate(seen["head"]):
        assert not fitted & {name for name in SPEAKERS if FOLDS[name] == fold}


def test_a_channel_leaves_out_the_speaker_and_those_named(
    seen: dict[str, list[set[str]]],
) -> None:
    samples = make_samples(0)
    channel = Channel(
        samples, [f"c{n}" for n in range(len(samples.labels))], crossfit.fit_voice_head
    )
    channel.posteriors(frozenset({"javanese/03"}))
    assert [set(SPEAKERS) - fitted for fitted in seen["head"]] == [
        {"javanese/01", "javanese/03"},
        {"javanese/02", "javanese/03"},
        {"javanese/03"},
    ]
    assert seen["sharpness"] == [{"javanese/01", "javanese/02"}]
