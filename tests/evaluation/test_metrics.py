"""Figures by hand, or by another way; tests of scores hold the others against scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn import metrics as oracle

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics

SEEDS = range(4)


def test_uar_is_over_classes_that_occur() -> None:
    truth, said = np.array([0, 0, 2, 2, 2, 7]), np.array([0, 1, 2, 2, 3, 8])
    assert metrics.uar(truth, said) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert metrics.confusion_matrix(truth, said, 9)[2].tolist() == [0, 0, 2, 1, 0, 0, 0, 0, 0]


def test_eer_by_hand() -> None:
    assert metrics.eer([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0]) == 0.0
    assert metrics.eer([1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0]) == 1.0
    assert metrics.eer([0, 1, 0, 1], [1.0, 1.0, 1.0, 1.0]) == 0.5
    # Thresholds 3 and 2: (FPR, miss) goes from (0, 1/2) to (1/2, 0); equal in the middle.
    assert metrics.eer([0, 0, 1, 1], [1.0, 2.0, 2.0, 3.0]) == 0.25
    # One of three negatives above one of two positives.
    assert metrics.eer([0, 0, 0, 1, 1], [1.0, 2.0, 4.0, 3.0, 5.0]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_at_a_prevalence(seed: int) -> None:
    """As if negatives were copied until a twentieth of the items is positive."""
    rng = np.random.default_rng(seed)
    truth = np.arange(40) < 10
    scores = (truth + rng.normal(0, 1, 40)).round(1)
    copies = np.repeat(np.arange(40), np.where(truth, 3, 19))
    assert metrics.average_precision(truth, scores, 0.05) == pytest.approx(
        oracle.average_precision_score(truth[copies], scores[copies])
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_no_threshold_is_better_than_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(200) < 0.3
    scores = (truth + rng.normal(0, 1.2, 200)).round(1)

    def balanced(threshold: float) -> float:
        return float(oracle.balanced_accuracy_score(truth, scores >= threshold))

    best = metrics.best_threshold(truth, scores)
    assert balanced(best) == pytest.approx(max(balanced(t) for t in [*scores, np.inf]))


def test_best_threshold_lies_between_scores() -> None:
    assert metrics.best_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.8]) == pytest.approx(0.4)
    assert metrics.best_threshold([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.8]) > 0.8


def test_risk_coverage_is_the_mean_over_all_orders_of_ties() -> None:
    confidence, correct = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([1, 0, 1, 1, 0]) > 0
    risks = [
        np.cumsum(~correct[[0, *middle, 4]]) / np.arange(1, 6)
        for middle in itertools.permutations([1, 2, 3])
    ]
    coverages, found = metrics.risk_coverage(confidence, correct)
    np.testing.assert_allclose(found, np.mean(risks, axis=0))
    assert coverages.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("truth", [[1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize("metric", [metrics.auroc, metrics.eer, metrics.best_threshold])
def test_one_class_is_refused_with_the_reason(metric: object, truth: list[int]) -> None:
    with pytest.raises(EvaluationError, match=r"all 3 items are (positive|negative)"):
        metric(truth, [0.1, 0.2, 0.3])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.uar([], []), "no items"),
        (lambda: metrics.uar([1, 2], [1]), "one length"),
        (lambda: metrics.uar([0.5], [1]), "whole numbers"),
        (lambda: metrics.auroc([0, 1], [0.1, np.nan]), "finite"),
        (lambda: metrics.auroc([0, 2], [0.1, 0.2]), "0 or 1"),
        (lambda: metrics.auroc(["a", "b"], [0.1, 0.2]), "finite"),
    ],
)
def test_nonsense_is_refused(call: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()  # type: ignore[operator]
