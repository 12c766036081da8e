"""Every figure against scikit-learn, or another way to compute it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics

SEEDS = range(8)


def draw_classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some classes are never true, or never predicted."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 4, 7], 60)
    noise = rng.choice([0, 1, 3, 4, 7], 60)
    return truth, np.where(rng.random(60) < 0.5, truth, noise)


def draw_scores(seed: int, tied: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(200) < 0.3
    scores = truth + rng.normal(0, 1.2, 200)
    return truth, scores.round(0 if tied else 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_classes(seed: int) -> None:
    truth, said = draw_classes(seed)
    assert metrics.uar(truth, said) == pytest.approx(
        oracle.recall_score(truth, said, labels=np.unique(truth), average="macro")
    )
    assert metrics.war(truth, said) == pytest.approx(oracle.accuracy_score(truth, said))
    assert metrics.macro_f1(truth, said) == pytest.approx(
        oracle.f1_score(truth, said, average="macro")
    )
    assert metrics.weighted_f1(truth, said) == pytest.approx(
        oracle.f1_score(truth, said, average="weighted")
    )
    np.testing.assert_array_equal(
        metrics.confusion_matrix(truth, said, 8),
        oracle.confusion_matrix(truth, said, labels=range(8)),
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_scores(seed: int, tied: bool) -> None:
    truth, scores = draw_scores(seed, tied)
    assert metrics.auroc(truth, scores) == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert metrics.average_precision(truth, scores) == pytest.approx(
        oracle.average_precision_score(truth, scores)
    )
    curve = metrics.roc_curve(truth, scores)
    fpr, tpr, thresholds = oracle.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rates, fpr)
    np.testing.assert_allclose(curve.true_positive_rates, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    expected = brentq(lambda x: x - 1 + np.interp(x, fpr, tpr), 0, 1)
    if not tied:
        assert metrics.eer(truth, scores) == pytest.approx(expected, abs=1 / 140)
    area = oracle.auc(curve.false_positive_rates, curve.true_positive_rates)
    assert metrics.auroc(truth, scores) == pytest.approx(area)


def test_eer_by_hand() -> None:
    assert metrics.eer([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0]) == 0.0
    assert metrics.eer([1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0]) == 1.0
    assert metrics.eer([0, 1, 0, 1], [1.0, 1.0, 1.0, 1.0]) == 0.5
    # Thresholds 3 and 2: (FPR, miss) goes from (0, 1/2) to (1/2, 0); equal in the middle.
    assert metrics.eer([0, 0, 1, 1], [1.0, 2.0, 2.0, 3.0]) == 0.25
    # One of three negatives above one of two positives.
    assert metrics.eer([0, 0, 0, 1, 1], [1.0, 2.0, 4.0, 3.0, 5.0]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("prevalence", [0.05, 0.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_at_a_prevalence(seed: int, prevalence: float) -> None:
    truth, scores = draw_scores(seed)
    weights = np.where(truth, prevalence / truth.mean(), (1 - prevalence) / (1 - truth.mean()))
    expected = oracle.average_precision_score(truth, scores, sample_weight=weights)
    assert metrics.average_precision(truth, scores, prevalence) == pytest.approx(expected)
    own = metrics.average_precision(truth, scores, float(truth.mean()))
    assert own == pytest.approx(metrics.average_precision(truth, scores))


@pytest.mark.parametrize("seed", SEEDS)
def test_at_a_threshold(seed: int) -> None:
    truth, scores = draw_scores(seed)
    for threshold in (-1.0, 0.5, 9.0):
        called = scores >= threshold
        assert metrics.balanced_accuracy_at(truth, scores, threshold) == pytest.approx(
            oracle.balanced_accuracy_score(truth, called)
        )
        assert metrics.false_positive_rate_at(truth, scores, threshold) == pytest.approx(
            1 - oracle.recall_score(~truth, ~called)
        )
    best = metrics.best_threshold(truth, scores)
    highest = max(metrics.balanced_accuracy_at(truth, scores, t) for t in [*scores, np.inf])
    assert metrics.balanced_accuracy_at(truth, scores, best) == pytest.approx(highest)


def test_best_threshold_lies_between_scores() -> None:
    assert metrics.best_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.8]) == pytest.approx(0.4)
    backwards = metrics.best_threshold([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.8])
    assert metrics.balanced_accuracy_at([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.8], backwards) == 0.5


@pytest.mark.parametrize(("bins", "strategy"), [("width", "uniform"), ("mass", "quantile")])
@pytest.mark.parametrize("seed", SEEDS)
def test_reliability_and_ece(seed: int, bins: str, strategy: str) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.beta(2, 2, 300)
    correct = rng.random(300) < confidence**1.5
    curve = metrics.reliability_curve(confidence, correct, 10, bins)
    accuracies, confidences = calibration_curve(correct, confidence, n_bins=10, strategy=strategy)
    np.testing.assert_allclose(curve.accuracies, accuracies)
    np.testing.assert_allclose(curve.confidences, confidences)
    assert curve.counts.sum() == 300
    if bins == "mass":
        assert curve.counts.min() == curve.counts.max() == 30
        assert metrics.ece(confidence, correct, 10, bins) == pytest.approx(
            np.abs(accuracies - confidences).mean()
        )
    else:
        counts, _ = np.histogram(confidence, np.linspace(0, 1, 11))
        gaps = np.abs(accuracies - confidences)
        expected = (gaps * counts[counts > 0]).sum() / 300
        assert metrics.ece(confidence, correct, 10, bins) == pytest.approx(expected)


def test_tied_confidences_share_a_bin_of_equal_mass() -> None:
    confidence = [0.5] * 50 + [0.9] * 50
    correct = [1, 0] * 25 + [1] * 50
    for order in (np.arange(100), np.arange(100)[::-1]):
        curve = metrics.reliability_curve(
            np.array(confidence)[order], np.array(correct)[order], 15, "mass"
        )
        assert curve.counts.tolist() == [50, 50]
        assert curve.accuracies.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_brier_and_nll(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prob, yes = rng.random(100), rng.random(100) < 0.4
    assert metrics.brier(yes, prob) == pytest.approx(oracle.brier_score_loss(yes, prob))
    assert metrics.nll(yes, prob) == pytest.approx(oracle.log_loss(yes, prob))
    probs, truth = rng.dirichlet(np.ones(8), 100), rng.integers(8, size=100)
    assert metrics.nll(truth, probs) == pytest.approx(
        oracle.log_loss(truth, probs, labels=range(8))
    )
    expected = ((probs - np.eye(8)[truth]) ** 2).sum(axis=1).mean()
    assert metrics.brier(truth, probs) == pytest.approx(expected)
    assert metrics.brier(truth, probs) == pytest.approx(
        oracle.brier_score_loss(truth, probs, labels=list(range(8)), scale_by_half=False)
    )


def test_a_sure_mistake_costs_much_but_not_infinitely() -> None:
    assert metrics.nll([1], [0.0]) == pytest.approx(-np.log(1e-15))


def test_risk_coverage_by_hand() -> None:
    curve = metrics.risk_coverage([0.9, 0.6, 0.8, 0.7], [1, 1, 0, 1])
    assert curve.coverages.tolist() == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(curve.risks, [0, 1 / 2, 1 / 3, 1 / 4])
    assert metrics.aurc([0.9, 0.6, 0.8, 0.7], [1, 1, 0, 1]) == pytest.approx(13 / 48)


def test_risk_coverage_of_ties_is_the_mean_over_all_orders() -> None:
    confidence, correct = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([1, 0, 1, 1, 0])
    risks = []
    for middle in itertools.permutations([1, 2, 3]):
        order = [0, *middle, 4]
        risks.append(np.cumsum(1 - correct[order]) / np.arange(1, 6))
    np.testing.assert_allclose(
        metrics.risk_coverage(confidence, correct).risks, np.mean(risks, axis=0)
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=30).filter(
        lambda items: 0 < sum(truth for truth, _ in items) < len(items)
    )
)
def test_auroc_counts_pairs(items: list[tuple[bool, int]]) -> None:
    positives = [score for truth, score in items if truth]
    negatives = [score for truth, score in items if not truth]
    wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    truth, scores = zip(*items, strict=True)
    assert metrics.auroc(truth, scores) == pytest.approx(np.mean(wins))
    assert metrics.auroc(truth, [-s for s in scores]) == pytest.approx(1 - np.mean(wins))


@pytest.mark.parametrize("truth", [[1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize(
    "metric",
    [
        metrics.auroc,
        metrics.roc_curve,
        metrics.average_precision,
        metrics.eer,
        metrics.best_threshold,
        lambda truth, scores: metrics.balanced_accuracy_at(truth, scores, 0.5),
        lambda truth, scores: metrics.false_positive_rate_at(truth, scores, 0.5),
    ],
)
def test_one_class_is_refused_with_the_reason(metric: object, truth: list[int]) -> None:
    with pytest.raises(EvaluationError, match=r"all 3 items are (positive|negative)"):
        metric(truth, [0.1, 0.2, 0.3])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.uar([], []), "no items"),
        (lambda: metrics.uar([1, 2], [1]), "one length"),
        (lambda: metrics.uar([0.5], [1]), "whole numbers"),
        (lambda: metrics.uar([-1], [1]), "whole numbers"),
        (lambda: metrics.confusion_matrix([0], [8], 8), "0 to 7"),
        (lambda: metrics.auroc([0, 1], [0.1, np.nan]), "finite"),
        (lambda: metrics.auroc([0, 2], [0.1, 0.2]), "0 or 1"),
        (lambda: metrics.auroc(["a", "b"], [0.1, 0.2]), "finite"),
        (lambda: metrics.average_precision([0, 1], [0.1, 0.2], 1.0), "prevalence"),
        (lambda: metrics.ece([0.5, 1.5], [0, 1]), "not 0 to 1"),
        (lambda: metrics.brier([2], [0.5]), "0 or 1"),
        (lambda: metrics.nll([0, 1], [[0.5, 0.4], [0.5, 0.5]]), "sum to 1"),
        (lambda: metrics.nll([0, 2], [[0.5, 0.5], [0.5, 0.5]]), "no probability"),
        (lambda: metrics.nll([0], np.ones((1, 1, 1))), r"\(n, K\)"),
    ],
)
def test_nonsense_is_refused(call: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        call()  # type: ignore[operator]
