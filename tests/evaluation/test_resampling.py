"""Resampling by sums gives the very numbers that resampling items gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.bootstrap import (
    Figure,
    Gap,
    Refused,
    Resampler,
    auroc_statistic,
    balanced_accuracy_statistic,
    cluster_bootstrap,
    figure_with_interval,
    gap,
    macro_f1_statistic,
    mean_statistic,
    paired_bootstrap,
    percentile_interval,
    uar_statistic,
)


def draw(seed: int, num_speakers: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    size = 160
    truth = rng.choice([0, 1, 3], size)
    positive = rng.random(size) < 0.4
    return {
        "truth": truth,
        "said": np.where(rng.random(size) < 0.5, truth, rng.integers(0, 5, size)),
        "positive": positive,
        "called": rng.random(size) < 0.4 + 0.2 * positive,
        "scores": (positive + rng.normal(0, 1, size)).round(1),
        "speakers": np.array([f"s{i}" for i in rng.integers(0, num_speakers, size)], dtype=object),
    }


def by_sums(compute: Any, statistic: Any, speakers: np.ndarray, count: int = 200) -> Any:
    return figure_with_interval(compute, Resampler.of(speakers, count), statistic)


CASES: dict[str, tuple[Callable[..., float], tuple[str, str], Callable[..., Any]]] = {
    "uar": (metrics.uar, ("truth", "said"), uar_statistic),
    "macro_f1": (metrics.macro_f1, ("truth", "said"), macro_f1_statistic),
    "auroc": (metrics.auroc, ("positive", "scores"), auroc_statistic),
    "balanced": (
        lambda truth, called: metrics.balanced_accuracy_at(truth, called, 0.5),
        ("positive", "called"),
        balanced_accuracy_statistic,
    ),
    "war": (
        metrics.war,
        ("truth", "said"),
        lambda truth, said, index, size: mean_statistic(truth == said, index, size),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_resampled_items(name: str, seed: int) -> None:
    metric, (first, second), statistic = CASES[name]
    data = draw(seed)
    a, b = data[first], data[second]
    slow = cluster_bootstrap(metric, (a, b), data["speakers"], num_resamples=200)
    fast = by_sums(
        lambda: metric(a, b),
        lambda r: statistic(a, b, r.index, r.num_clusters),
        data["speakers"],
    )
    assert isinstance(fast, Figure)
    assert (fast.value, fast.low, fast.high) == pytest.approx(
        (slow.estimate, slow.low, slow.high), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_gaps_are_those_of_resampled_items(seed: int) -> None:
    data, other = draw(seed), draw(seed + 100)
    positive, speakers = data["positive"], data["speakers"]
    slow = paired_bootstrap(
        metrics.auroc,
        (positive, data["scores"]),
        (positive, other["scores"]),
        speakers,
        num_resamples=200,
    )
    drawn = Resampler.of(speakers, 200)
    fast = gap(
        *(
            auroc_statistic(positive, scores, drawn.index, drawn.num_clusters)
            for scores in (data["scores"], other["scores"])
        ),
        drawn.weights,
    )
    assert isinstance(fast, Gap)
    assert (fast.value, fast.low, fast.high, fast.p_value) == pytest.approx(
        (slow.interval.estimate, slow.interval.low, slow.interval.high, slow.p_value), abs=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4), st.integers(0, 3)),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_weights_are_copies(items: list[tuple[bool, int, int, int]], copies: list[int]) -> None:
    """A speaker of weight 2 is there twice; what is not defined on the copies is NaN."""
    positive = np.array([item[0] for item in items])
    scores = np.array([item[1] for item in items], dtype=float)
    index = np.array([item[2] for item in items])
    said = np.array([item[3] for item in items])
    rows = np.repeat(np.arange(len(items)), np.array(copies)[index])
    weights = np.array([copies], dtype=float)
    pairs = [
        (auroc_statistic, metrics.auroc, scores),
        (uar_statistic, metrics.uar, said),
        (macro_f1_statistic, metrics.macro_f1, said),
    ]
    for statistic, metric, answer in pairs:
        truth = positive if statistic is auroc_statistic else positive.astype(int)
        got = statistic(truth, answer, index, 5)(weights)[0]
        try:
            assert got == pytest.approx(metric(truth[rows], answer[rows]), abs=1e-12)
        except EvaluationError:
            assert np.isnan(got)


def test_a_figure_stands_where_only_its_interval_is_not_defined() -> None:
    data = draw(0)
    positive, scores = data["positive"], data["scores"]
    one = Figure(metrics.auroc(positive, scores))
    alone = np.full(len(scores), "s0", dtype=object)
    with pytest.raises(EvaluationError, match=r"all items are of one speaker \(s0\)"):
        Resampler.of(alone, 10)
    nobody = alone.copy()
    nobody[3] = None
    with pytest.raises(EvaluationError, match="1 of 160 items name no speaker"):
        Resampler.of(nobody, 10)
    shown = figure_with_interval(
        lambda: metrics.auroc(positive, scores), Refused("one speaker"), lambda _: _never
    )
    assert shown == Figure(one.value, note="one speaker")
    # Each class belongs to one of two speakers: half of the resamples have one class only.
    owners = np.where(positive, "a", "b").astype(object)
    shown = by_sums(
        lambda: metrics.auroc(positive, scores),
        lambda r: auroc_statistic(positive, scores, r.index, r.num_clusters),
        owners,
    )
    assert isinstance(shown, Figure) and shown.low is None
    assert "not defined on" in shown.note
    refused = by_sums(
        lambda: metrics.auroc(positive[positive], scores[positive]), lambda _: _never, owners
    )
    assert (
        isinstance(refused, Refused)
        and f"all {positive.sum()} items are positive" in refused.reason
    )


def test_too_many_undefined_resamples_give_no_interval() -> None:
    drawn = np.array([0.5] * 80 + [np.nan] * 20)
    with pytest.raises(EvaluationError, match="20 of 100 resamples"):
        percentile_interval(0.5, drawn, 4)


def _never(_: Any) -> Any:
    raise AssertionError("not to be asked")
