"""Intervals over speakers."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import cluster_bootstrap, paired_bootstrap
from facevoice.evaluation.metrics import auroc, uar, war


def mean(values: np.ndarray) -> float:
    return float(values.mean())


def draw(seed: int, num_speakers: int = 40, num_items: int = 25) -> tuple[np.ndarray, list[str]]:
    """Items that depend on their speaker: variance 1 between speakers, 1 within."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (num_speakers, 1)) + rng.normal(0, 1, (num_speakers, num_items))
    names = [f"s{k}" for k in range(num_speakers) for _ in range(num_items)]
    order = rng.permutation(len(names))
    return values.ravel()[order], [names[k] for k in order]


def test_width_is_that_of_speakers_not_of_items() -> None:
    values, speakers = draw(0)
    interval = cluster_bootstrap(mean, (values,), speakers)
    by_speaker = [values[np.array(speakers) == name].mean() for name in set(speakers)]
    expected = 2 * 1.96 * np.std(by_speaker) / np.sqrt(len(by_speaker))
    assert interval.high - interval.low == pytest.approx(expected, rel=0.08)
    naive = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert interval.high - interval.low > 2.5 * naive
    assert interval.estimate == pytest.approx(values.mean())
    assert (interval.num_clusters, interval.num_resamples, interval.num_undefined) == (40, 2000, 0)


def test_intervals_hold_what_they_promise() -> None:
    inside = 0
    for seed in range(1000, 1120):
        values, speakers = draw(seed, num_items=4)
        interval = cluster_bootstrap(mean, (values,), speakers, num_resamples=200, level=0.9)
        inside += interval.low <= 0 <= interval.high
    assert 0.80 <= inside / 120 <= 0.95


def test_every_cluster_comes_whole() -> None:
    values = np.array([1.0, 1.0, 1.0, 2.0])
    seen: set[tuple[float, ...]] = set()

    def record(drawn: np.ndarray) -> float:
        seen.add(tuple(sorted(drawn)))
        return float(drawn.mean())

    cluster_bootstrap(record, (values,), ["a", "a", "a", "b"], num_resamples=200)
    assert seen == {(1.0,) * 6, (2.0, 2.0), (1.0, 1.0, 1.0, 2.0)}


def test_the_same_seed_gives_the_same_interval() -> None:
    values, speakers = draw(1)
    first = cluster_bootstrap(mean, (values,), speakers, num_resamples=50, seed=3)
    assert cluster_bootstrap(mean, (values,), speakers, num_resamples=50, seed=3) == first
    assert cluster_bootstrap(mean, (values,), speakers, num_resamples=50, seed=4) != first


def test_paired_differences_use_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(24), 30)
    truth = rng.integers(8, size=len(speakers))
    hard = rng.random(24)[speakers]  # some speakers are hard for both runs
    said_b = np.where(rng.random(len(truth)) < hard, truth, (truth + 1) % 8)
    said_a = np.where(rng.random(len(truth)) < 0.08, truth, said_b)
    difference = paired_bootstrap(war, (truth, said_a), (truth, said_b), speakers)
    assert difference.interval.estimate == pytest.approx(war(truth, said_a) - war(truth, said_b))
    assert difference.interval.low > 0
    assert difference.p_value == pytest.approx(1 / 2000)
    alone = cluster_bootstrap(war, (truth, said_a), speakers)
    assert difference.interval.high - difference.interval.low < (alone.high - alone.low) / 2
    same = paired_bootstrap(uar, (truth, said_a), (truth, said_a), speakers, num_resamples=50)
    assert (same.interval.low, same.interval.high, same.p_value) == (0.0, 0.0, 1.0)


def test_resamples_without_the_figure_are_counted_or_refused() -> None:
    speakers = np.repeat(np.arange(12), 2)
    scores = np.arange(24.0)
    truth = speakers >= 6  # a resample of one kind of speaker only has no AUROC
    interval = cluster_bootstrap(auroc, (truth, scores), speakers)
    assert interval.num_undefined < 20
    assert interval.low == interval.high == 1.0
    rare = speakers == 0
    with pytest.raises(EvaluationError, match="not defined on"):
        cluster_bootstrap(auroc, (rare, scores), speakers)
    with pytest.raises(EvaluationError, match="all 24 items are positive"):
        cluster_bootstrap(auroc, (speakers >= 0, scores), speakers)


def test_what_can_not_be_resampled_is_refused() -> None:
    with pytest.raises(EvaluationError, match="one speaker"):
        cluster_bootstrap(mean, (np.ones(3),), ["a", "a", "a"])
    with pytest.raises(EvaluationError, match="one entry for each of the 2"):
        cluster_bootstrap(mean, (np.ones(3),), ["a", "b"])
    with pytest.raises(EvaluationError, match="no interval"):
        cluster_bootstrap(mean, (np.ones(2),), ["a", "b"], level=1.0)
