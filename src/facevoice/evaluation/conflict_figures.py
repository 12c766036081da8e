"""How well conflict scores rank, call, are calibrated, and know when not to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.columns import UNKNOWN
from facevoice.evaluation.figures import (
    Curve,
    Figure,
    Gap,
    Refused,
    Reliability,
    figure,
    figure_with_interval,
    gap,
    make_resampler,
)
from facevoice.evaluation.resampling import (
    Resampler,
    auroc_statistic,
    balanced_accuracy_statistic,
    mean_statistic,
)
from facevoice.evaluation.tables import ConflictPredictions
from facevoice.types import BoolArray, DoubleArray

COVERAGE: Final = 0.8
_EVEN: Final = 0.5
_MOST_POINTS: Final = 200


@dataclass(frozen=True, slots=True)
class Ranking:
    """Conflicts against matches, whatever the threshold.

    average_precision_5, _50: as if 5 or 50 % of the pairs were conflicts.
    """

    auroc: Figure | Refused
    average_precision_5: Figure | Refused
    average_precision_50: Figure | Refused
    eer: Figure | Refused
    roc: Curve | Refused


@dataclass(frozen=True, slots=True)
class Calls:
    """Conflict or match, by the threshold column or by comparing labels.

    label_accuracy: balanced accuracy of calling a conflict where the two likeliest labels differ;
    gain_over_labels: balanced_accuracy − label_accuracy, on the same pairs.
    """

    balanced_accuracy: Figure | Refused
    false_positive_rate: Figure | Refused
    label_accuracy: Figure | Refused
    gain_over_labels: Gap | Refused


@dataclass(frozen=True, slots=True)
class Calibration:
    """The score as a probability, at the share of conflicts that the table has."""

    ece: Figure | Refused
    brier: Figure | Refused
    reliability: Reliability | Refused


@dataclass(frozen=True, slots=True)
class Selective:
    """Share of wrong calls when only the surest are answered: those farthest from the threshold.

    aurc: over all coverages; risk_80: at 80 % coverage; risk_full: when all are answered.
    """

    aurc: Figure | Refused
    risk_80: Figure | Refused
    risk_full: Figure | Refused
    curve: Curve | Refused


def auroc_figure(pairs: ConflictPredictions, num_resamples: int) -> Figure | Refused:
    """AUROC of conflicts against all else in `pairs`, with its interval over speakers."""
    conflict, score = pairs.is_conflict, pairs.score
    return figure_with_interval(
        lambda: metrics.auroc(conflict, score),
        make_resampler(pairs.speaker, num_resamples),
        lambda r: auroc_statistic(conflict, score, r.index, r.num_clusters),
    )


def ranking_of(pairs: ConflictPredictions, num_resamples: int) -> Ranking:
    """How well the score ranks conflicts above matches."""
    conflict, score = pairs.is_conflict, pairs.score
    return Ranking(
        auroc=auroc_figure(pairs, num_resamples),
        average_precision_5=figure(lambda: metrics.average_precision(conflict, score, 0.05)),
        average_precision_50=figure(lambda: metrics.average_precision(conflict, score, 0.5)),
        eer=figure(lambda: metrics.eer(conflict, score)),
        roc=_roc(conflict, score),
    )


def calls_of(pairs: ConflictPredictions, num_resamples: int) -> Calls:
    """How well the calls at the threshold do, and those from comparing labels."""
    drawn = make_resampler(pairs.speaker, num_resamples)
    conflict = pairs.is_conflict
    called, labelled = threshold_calls(pairs), label_calls(pairs)

    def rate(calls: BoolArray, drawn: Resampler | Refused) -> Figure | Refused:
        return figure_with_interval(
            lambda: metrics.false_positive_rate_at(conflict, calls, _EVEN),
            drawn,
            lambda r: mean_statistic(calls[~conflict], r.index[~conflict], r.num_clusters),
        )

    return Calls(
        balanced_accuracy=_accuracy(conflict, called, drawn),
        false_positive_rate=called if isinstance(called, Refused) else rate(called, drawn),
        label_accuracy=_accuracy(conflict, labelled, drawn),
        gain_over_labels=_gain(conflict, called, labelled, drawn),
    )


def calibration_of(pairs: ConflictPredictions, *, is_probability: bool) -> Calibration:
    """How far the scores can be taken as probabilities of a conflict."""
    if not is_probability:
        refused = Refused("the scores are no probabilities (score_is_probability is false)")
        return Calibration(refused, refused, refused)
    conflict, score = pairs.is_conflict, pairs.score
    try:
        # A reliability curve of one class is no error to the metric, but says nothing here.
        metrics.auroc(conflict, score)
        curve = metrics.reliability_curve(score, conflict)
    except EvaluationError as error:
        refused = Refused(str(error).replace("AUROC", "calibration"))
        return Calibration(refused, refused, refused)
    return Calibration(
        ece=figure(lambda: metrics.ece(score, conflict)),
        brier=figure(lambda: metrics.brier(conflict, score)),
        reliability=Reliability(
            tuple(curve.confidences.tolist()),
            tuple(curve.accuracies.tolist()),
            tuple(curve.counts.tolist()),
        ),
    )


def selective_of(pairs: ConflictPredictions, *, is_probability: bool) -> Selective:
    """What is gained by not answering where the score is near the threshold.

    Without a threshold column, a probability is held against 0.5.
    """
    called: BoolArray | Refused = threshold_calls(pairs)
    threshold = pairs.threshold
    if isinstance(called, Refused) and is_probability and np.isnan(threshold).all():
        threshold = np.full(len(pairs), _EVEN)
        called = pairs.score >= threshold
    if isinstance(called, Refused):
        return Selective(called, called, called, called)
    try:
        metrics.auroc(pairs.is_conflict, pairs.score)
    except EvaluationError as error:
        refused = Refused(str(error).replace("AUROC", "a risk–coverage curve"))
        return Selective(refused, refused, refused, refused)
    right = called == pairs.is_conflict
    curve = metrics.risk_coverage(np.abs(pairs.score - threshold), right)
    at = int(np.ceil(COVERAGE * len(right))) - 1
    places = _thin(curve.coverages)
    return Selective(
        aurc=Figure(float(curve.risks.mean())),
        risk_80=Figure(float(curve.risks[at])),
        risk_full=Figure(float(curve.risks[-1])),
        curve=Curve(tuple(curve.coverages[places].tolist()), tuple(curve.risks[places].tolist())),
    )


def threshold_calls(pairs: ConflictPredictions) -> BoolArray | Refused:
    """(n,) whether the score is at or above the row's threshold."""
    num_without = int(np.isnan(pairs.threshold).sum())
    if num_without:
        return Refused(
            f"{num_without} of {len(pairs)} pairs have no threshold; fix one on the validation "
            "part of each fold and write it to the column"
        )
    return np.asarray(pairs.score >= pairs.threshold, dtype=np.bool_)


def label_calls(pairs: ConflictPredictions) -> BoolArray | Refused:
    """(n,) whether the likeliest labels of face and voice differ."""
    num_without = int((pairs.baseline_differs == UNKNOWN).sum())
    if num_without:
        return Refused(f"{num_without} of {len(pairs)} pairs do not say whether the labels differ")
    return np.asarray(pairs.baseline_differs == 1, dtype=np.bool_)


def _accuracy(
    conflict: BoolArray, called: BoolArray | Refused, drawn: Resampler | Refused
) -> Figure | Refused:
    if isinstance(called, Refused):
        return called
    return figure_with_interval(
        lambda: metrics.balanced_accuracy_at(conflict, called, _EVEN),
        drawn,
        lambda r: balanced_accuracy_statistic(conflict, called, r.index, r.num_clusters),
    )


def _gain(
    conflict: BoolArray,
    called: BoolArray | Refused,
    labelled: BoolArray | Refused,
    drawn: Resampler | Refused,
) -> Gap | Refused:
    if isinstance(called, Refused):
        return called
    if isinstance(labelled, Refused):
        return labelled
    if isinstance(drawn, Refused):
        return drawn
    soft, hard = (
        balanced_accuracy_statistic(conflict, calls, drawn.index, drawn.num_clusters)
        for calls in (called, labelled)
    )
    return gap(soft, hard, drawn.weights)


def _roc(conflict: BoolArray, score: DoubleArray) -> Curve | Refused:
    try:
        curve = metrics.roc_curve(conflict, score)
    except EvaluationError as error:
        return Refused(str(error))
    x, y = curve.false_positive_rates, curve.true_positive_rates
    places = _thin(x + y)
    return Curve(tuple(x[places].tolist()), tuple(y[places].tolist()))


def _thin(along: DoubleArray) -> list[int]:
    """Places of points that are spread evenly over rising `along`, first and last included."""
    if len(along) <= _MOST_POINTS:
        return list(range(len(along)))
    wanted = np.linspace(along[0], along[-1], _MOST_POINTS)
    places = np.minimum(np.searchsorted(along, wanted), len(along) - 1)
    return sorted({0, len(along) - 1, *(int(place) for place in places)})
