"""Intervals over speakers from sums are those that drawing the speakers' items anew gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import (
    Figure,
    Gap,
    Refused,
    auroc_measure,
    balanced_accuracy_measure,
    false_positive_rate_measure,
    figure,
    interval,
    macro_f1_measure,
    mean_measure,
    paired_gap,
    uar_measure,
    weighted_f1_measure,
)

RESAMPLES = 200


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


def uar(truth: np.ndarray, said: np.ndarray) -> float:
    return oracle.recall_score(truth, said, labels=np.unique(truth), average="macro")


def fpr(positive: np.ndarray, called: np.ndarray) -> float:
    return called[~positive].mean()


CASES: dict[str, tuple[Callable[..., float], tuple[str, str], Callable[..., Any]]] = {
    "uar": (uar, ("truth", "said"), uar_measure),
    "macro_f1": (
        lambda truth, said: oracle.f1_score(truth, said, average="macro"),
        ("truth", "said"),
        macro_f1_measure,
    ),
    "weighted_f1": (
        lambda truth, said: oracle.f1_score(truth, said, average="weighted"),
        ("truth", "said"),
        weighted_f1_measure,
    ),
    "war": (
        oracle.accuracy_score,
        ("truth", "said"),
        lambda truth, said: mean_measure(truth == said),
    ),
    "auroc": (oracle.roc_auc_score, ("positive", "scores"), auroc_measure),
    "balanced": (oracle.balanced_accuracy_score, ("positive", "called"), balanced_accuracy_measure),
    "fpr": (fpr, ("positive", "called"), false_positive_rate_measure),
}


def resampled(speakers: np.ndarray) -> list[np.ndarray]:
    """Items of each resample, by a plain loop."""
    names = np.unique(speakers.astype(str))
    draws = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    return [
        np.concatenate([np.flatnonzero(speakers == names[place]) for place in chosen])
        for chosen in draws
    ]


@pytest.mark.parametrize("name", CASES)
def test_intervals_are_those_of_resampled_items(name: str) -> None:
    metric, keys, measure = CASES[name]
    data = draw(1)
    a, b = (data[key] for key in keys)
    slow = [metric(a[rows], b[rows]) for rows in resampled(data["speakers"])]
    found = figure(measure(a, b), data["speakers"], RESAMPLES)
    assert isinstance(found, Figure)
    expected = (metric(a, b), *np.quantile(slow, [0.025, 0.975]))
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_gaps_are_those_of_the_same_resampled_items() -> None:
    data, other = draw(0), draw(100)
    positive, speakers = data["positive"], data["speakers"]
    auroc = oracle.roc_auc_score
    slow = np.array(
        [
            auroc(positive[rows], data["scores"][rows])
            - auroc(positive[rows], other["scores"][rows])
            for rows in resampled(speakers)
        ]
    )
    first, second = (auroc_measure(positive, each["scores"]) for each in (data, other))
    gap = paired_gap(first, second, speakers, RESAMPLES)
    assert isinstance(gap, Gap)
    assert gap.value == pytest.approx(
        auroc(positive, data["scores"]) - auroc(positive, other["scores"])
    )
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    tail = 2 * min((slow <= 0).mean(), (slow >= 0).mean())
    assert gap.p_value == pytest.approx(max(tail, 1 / RESAMPLES))
    same = paired_gap(first, first, speakers, RESAMPLES)
    assert same == Gap(0, 0, 0, 1)


def test_width_is_that_of_speakers_not_of_items() -> None:
    """Items that depend on their speaker: variance 1 between speakers, 1 within."""
    rng = np.random.default_rng(0)
    values = (rng.normal(0, 1, (40, 1)) + rng.normal(0, 1, (40, 25))).ravel()
    speakers = np.repeat([f"s{k}" for k in range(40)], 25)
    found = interval(mean_measure(values), speakers)
    by_speaker = values.reshape(40, 25).mean(axis=1)
    expected = 2 * 1.96 * by_speaker.std() / np.sqrt(40)
    assert found.high - found.low == pytest.approx(expected, rel=0.08)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.num_clusters, found.num_resamples, found.num_undefined) == (40, 2000, 0)


def test_a_figure_stands_where_only_its_interval_is_not_defined() -> None:
    data = draw(0)
    positive, scores = data["positive"], data["scores"]
    measure = auroc_measure(positive, scores)
    value = oracle.roc_auc_score(positive, scores)
    alone = np.full(len(scores), "s0", dtype=object)
    nobody = alone.copy()
    nobody[3] = None
    # Each class belongs to one of two speakers: half of the resamples have one class only.
    owners = np.where(positive, "a", "b").astype(object)
    for speakers, note in (
        (alone, "all items are of one speaker (s0)"),
        (nobody, "1 of 160 items name no speaker"),
        (owners, "not defined on"),
    ):
        shown = figure(measure, speakers, RESAMPLES)
        assert isinstance(shown, Figure) and shown.low is None
        assert shown.value == pytest.approx(value)
        assert note in shown.note
        with pytest.raises(EvaluationError):
            interval(measure, speakers)
    refused = figure(auroc_measure(positive[positive], scores[positive]), owners, RESAMPLES)
    assert isinstance(refused, Refused)
    assert f"all {positive.sum()} items are positive" in refused.reason
