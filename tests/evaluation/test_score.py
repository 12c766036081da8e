"""Scores of a run against scikit-learn on the same rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle
from sklearn.metrics import brier_score_loss

from facevoice.corpora.gather import create_corpus
from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import Curve, Figure, Refused
from facevoice.evaluation.predictions import (
    Channel,
    ConflictPredictions,
    EmotionPredictions,
    Run,
    Target,
    UsedBackbone,
    answers_of,
    corpus_classes,
    emotion_predictions,
)
from facevoice.evaluation.score import (
    ConflictScores,
    EmotionFigures,
    EmotionScores,
    Scores,
    score_run,
    scores_to_dict,
)
from facevoice.records import EMOTIONS, Emotion
from run_builders import CLASSES, make_clips, make_conflicts, make_emotions, make_info

FEW = 50


def score(
    emotions: EmotionPredictions | None = None,
    conflicts: ConflictPredictions | None = None,
    **info: Any,
) -> Scores:
    return score_run(Run(make_info(**info), emotions, conflicts), num_resamples=FEW)


def cell(scores: Scores, channel: Channel, target: Target) -> EmotionScores:
    return next(c for c in scores.emotions if (c.channel, c.target) == (channel, target))


def figures(scores: EmotionScores) -> EmotionFigures:
    assert isinstance(scores.figures, EmotionFigures)
    return scores.figures


def value(result: Any) -> float:
    assert isinstance(result, Figure), result
    return result.value


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("seed", range(3))
def test_emotions_equal_scikit_learn(channel: Channel, seed: int) -> None:
    table = make_emotions(6, seed=seed)
    found = cell(score(table), channel, Target.INTENDED)
    answered = ~np.isnan(table.posteriors(channel)[:, 0])
    probs = table.posteriors(channel)[answered].copy()
    probs[:, 0] += probs[:, 1]  # calm counts as neutral: the corpus has none
    probs = probs[:, [e.position for e in CLASSES]]
    probs /= probs.sum(axis=1, keepdims=True)
    order = [e.position for e in CLASSES]
    truth = np.array([order.index(t) for t in table.truth_intended[answered]])
    said = probs.argmax(axis=1)
    got = figures(found)
    assert got.classes == CLASSES
    assert value(got.uar) == pytest.approx(oracle.balanced_accuracy_score(truth, said))
    assert value(got.war) == pytest.approx(oracle.accuracy_score(truth, said))
    assert value(got.macro_f1) == pytest.approx(oracle.f1_score(truth, said, average="macro"))
    assert value(got.weighted_f1) == pytest.approx(oracle.f1_score(truth, said, average="weighted"))
    assert value(got.brier) == pytest.approx(
        brier_score_loss(truth, probs, labels=range(6), scale_by_half=False)
    )
    np.testing.assert_array_equal(got.confusion, oracle.confusion_matrix(truth, said))
    assert found.num_clips == len(table)
    assert found.num_missing == int((~answered).sum())
    assert found.missing_share == pytest.approx(1 - answered.mean())
    assert found.num_speakers == 6
    everything = np.array([order.index(t) for t in table.truth_intended])
    all_said = np.full(len(table), 99)
    all_said[answered] = said
    recalls = [(all_said[everything == k] == k).mean() for k in range(6)]
    assert value(got.uar_all) == pytest.approx(np.mean(recalls))
    edges = np.linspace(0, 1, 16)[1:-1]
    bins = np.digitize(probs.max(axis=1), edges, right=True)
    gaps = [
        abs((said == truth)[bins == b].mean() - probs.max(axis=1)[bins == b].mean())
        * (bins == b).mean()
        for b in np.unique(bins)
    ]
    assert value(got.ece) == pytest.approx(sum(gaps))


def test_each_channel_meets_its_own_targets() -> None:
    found = [(c.channel.value, c.target.value) for c in score(make_emotions(4)).emotions]
    assert sorted(found) == [
        ("face", "intended"),
        ("face", "perceived_both"),
        ("face", "perceived_face"),
        ("fused", "intended"),
        ("fused", "perceived_both"),
        ("voice", "intended"),
        ("voice", "perceived_both"),
        ("voice", "perceived_voice"),
    ]
    first = score(make_emotions(4), emotion_target=Target.PERCEIVED_BOTH).emotions[:3]
    assert {c.target for c in first} == {Target.PERCEIVED_BOTH}


@pytest.mark.parametrize("seed", range(3))
def test_conflicts_equal_scikit_learn(seed: int) -> None:
    table = make_conflicts(8, seed=seed)
    found = score(conflicts=table, emotion_target=None).conflicts[0]
    pairs = table.take(table.kind != "original")
    y, s = pairs.is_conflict, pairs.score
    assert value(found.ranking.auroc) == pytest.approx(oracle.roc_auc_score(y, s))
    share = {0.05: found.ranking.average_precision_5, 0.5: found.ranking.average_precision_50}
    for prevalence, got in share.items():
        weights = np.where(y, prevalence / y.mean(), (1 - prevalence) / (1 - y.mean()))
        expected = oracle.average_precision_score(y, s, sample_weight=weights)
        assert value(got) == pytest.approx(expected)
    called = s >= pairs.threshold
    assert value(found.calls.balanced_accuracy) == pytest.approx(
        oracle.balanced_accuracy_score(y, called)
    )
    assert value(found.calls.false_positive_rate) == pytest.approx(called[~y].mean())
    labelled = pairs.baseline_differs == 1
    assert value(found.calls.label_accuracy) == pytest.approx(
        oracle.balanced_accuracy_score(y, labelled)
    )
    assert not isinstance(found.calls.gain_over_labels, Refused)
    assert found.calls.gain_over_labels.value == pytest.approx(
        oracle.balanced_accuracy_score(y, called) - oracle.balanced_accuracy_score(y, labelled)
    )
    assert value(found.calibration.brier) == pytest.approx(brier_score_loss(y, s))
    right = called == y
    order = np.argsort(-np.abs(s - pairs.threshold))
    assert value(found.selective.risk_full) == pytest.approx(1 - right.mean())
    kept = order[: int(np.ceil(0.8 * len(order)))]
    assert value(found.selective.risk_80) == pytest.approx(1 - right[kept].mean())
    untouched = table.take(table.kind != "match")
    assert value(found.auroc_originals) == pytest.approx(
        oracle.roc_auc_score(untouched.is_conflict, untouched.score)
    )
    assert isinstance(found.ranking.roc, Curve)
    area = oracle.auc(found.ranking.roc.x, found.ranking.roc.y)
    assert area == pytest.approx(oracle.roc_auc_score(y, s), abs=0.01)


def test_parts_of_the_conflicts() -> None:
    table = make_conflicts(8)
    found = score(conflicts=table, emotion_target=None).conflicts[0]
    pairs = table.take(table.kind != "original")
    assert {part.name for part in found.bins} == {
        "neutral_vs_x",
        "same_valence",
        "opposite_valence",
    }
    assert sum(part.num_conflicts for part in found.bins) == found.num_conflicts
    for part in found.bins:
        rows = pairs.take(~pairs.is_conflict | (pairs.bin == part.name))
        assert value(part.auroc) == pytest.approx(
            oracle.roc_auc_score(rows.is_conflict, rows.score)
        )
        assert part.num_matches == found.num_matches
    assert not isinstance(found.clarity, Refused)
    sizes = [part.num_conflicts + part.num_matches for part in found.clarity]
    assert sum(sizes) == len(pairs) and max(sizes) - min(sizes) <= 1
    lowest = pairs.take(np.argsort(pairs.clarity)[: sizes[0]])
    assert value(found.clarity[0].auroc) == pytest.approx(
        oracle.roc_auc_score(lowest.is_conflict, lowest.score)
    )
    assert not isinstance(found.audit_originals, Refused)
    plain = table.take(table.kind != "conflict")
    assert found.audit_originals.auroc.estimate == pytest.approx(
        oracle.roc_auc_score(plain.kind == "match", plain.score)
    )


def test_one_class_is_refused_and_the_rest_still_comes_out() -> None:
    table = make_conflicts(4)
    only = table.take(table.kind != "conflict")
    found = score(make_emotions(4), only)
    conflicts = found.conflicts[0]
    for refused in (
        conflicts.ranking.auroc,
        conflicts.ranking.eer,
        conflicts.ranking.roc,
        conflicts.calls.balanced_accuracy,
        conflicts.calls.gain_over_labels,
        conflicts.calibration.ece,
        conflicts.selective.risk_80,
        conflicts.auroc_originals,
    ):
        assert isinstance(refused, Refused)
        assert refused.reason
    assert isinstance(conflicts.ranking.auroc, Refused)
    assert "all 72 items are negative" in conflicts.ranking.auroc.reason
    assert not isinstance(conflicts.audit_originals, Refused)
    assert value(figures(found.emotions[0]).uar) > 0.3
    shown = scores_to_dict(found)["conflicts"][0]["ranking"]["auroc"]
    assert shown == {"refused": conflicts.ranking.auroc.reason}


def test_one_emotion_is_refused() -> None:
    table = make_emotions(4)
    found = score(table.take(table.truth_intended == Emotion.SAD.position))
    refused = cell(found, Channel.FACE, Target.INTENDED).figures
    assert isinstance(refused, Refused) and "all 12 clips are sad" in refused.reason
    assert isinstance(cell(found, Channel.FACE, Target.PERCEIVED_FACE).figures, EmotionFigures)


def test_what_the_columns_do_not_say_is_refused_with_the_reason() -> None:
    table = make_conflicts(
        4, baseline_differs=None, threshold=[np.nan] * 5 + [0.5] * 211, clarity=None
    )
    found = score(conflicts=table, emotion_target=None, score_is_probability=False).conflicts[0]
    reasons = [
        ("3 of 144 pairs have no threshold", found.calls.balanced_accuracy),
        ("3 of 144 pairs have no threshold", found.calls.gain_over_labels),
        ("3 of 144 pairs have no threshold", found.selective.risk_80),
        ("144 of 144 pairs do not say whether the labels differ", found.calls.label_accuracy),
        ("no probabilities", found.calibration.brier),
        ("no pair says how clear", found.clarity),
    ]
    for reason, refused in reasons:
        assert isinstance(refused, Refused)
        assert reason in refused.reason
    assert isinstance(found.ranking.auroc, Figure)


def test_a_probability_without_thresholds_is_held_against_one_half() -> None:
    table = make_conflicts(4, threshold=None)
    found = score(conflicts=table, emotion_target=None).conflicts[0]
    pairs = table.take(table.kind != "original")
    wrong = (pairs.score >= 0.5) != pairs.is_conflict
    assert value(found.selective.risk_full) == pytest.approx(wrong.mean())
    assert isinstance(found.calls.balanced_accuracy, Refused)


def test_classes_are_those_of_the_corpus() -> None:
    none = np.array([-1])
    assert corpus_classes("cremad", none) == CLASSES
    assert set(corpus_classes("ravdess", none)) == set(EMOTIONS)
    assert set(corpus_classes("javanese", none)) == set(create_corpus("javanese").info.emotions)
    assert corpus_classes("mine", np.array([3, 2, -1, 3])) == (Emotion.HAPPY, Emotion.SAD)


def test_calm_is_neutral_only_where_the_corpus_has_none() -> None:
    clips = make_clips(2)
    calm = np.tile(np.eye(8)[Emotion.CALM.position], (len(clips), 1))
    table = emotion_predictions(clips, face=calm)
    answers = answers_of(table, Channel.FACE, Target.INTENDED)
    assert (answers.said == 0).all() and answers.classes[0] is Emotion.NEUTRAL
    surprised = np.tile(np.eye(8)[Emotion.SURPRISED.position], (len(clips), 1))
    nothing = emotion_predictions(clips, face=surprised)
    with pytest.raises(EvaluationError, match=r"36 posteriors of the face .* have nothing on any"):
        answers_of(nothing, Channel.FACE, Target.INTENDED)
    refused = cell(score(nothing), Channel.FACE, Target.INTENDED).figures
    assert isinstance(refused, Refused) and "have nothing on any class" in refused.reason


def test_a_truth_that_the_corpus_does_not_have_is_refused() -> None:
    table = make_emotions(4)
    table.truth_both[7] = Emotion.SURPRISED.position
    refused = cell(score(table), Channel.FUSED, Target.PERCEIVED_BOTH).figures
    assert isinstance(refused, Refused) and "is surprised by its truth" in refused.reason


@pytest.mark.parametrize("name", ["cremad", "CREMA-D", "crema_d"])
def test_contamination_marks_every_figure(name: str) -> None:
    backbones = (UsedBackbone("big@1", ("voxceleb", name)), UsedBackbone("odd@2", None))
    run = Run(make_info(backbones=backbones), make_emotions(4), make_conflicts(4))
    found = score_run(run, num_resamples=FEW)
    assert {c.contaminated for c in (*found.emotions, *found.conflicts)} == {("big@1",)}
    assert found.contaminated_corpora == ("cremad",)
    assert found.unknown_training == ("odd@2",)
    with pytest.raises(EvaluationError, match=r"big@1 was trained on cremad"):
        score_run(run, num_resamples=FEW, strict=True)


def test_clean_runs_pass_strictly() -> None:
    found = score_run(Run(make_info(), make_emotions(4)), num_resamples=FEW, strict=True)
    assert found.contaminated_corpora == ()
    assert found.unknown_training == ("v@2",)


def test_scores_are_plain_json() -> None:
    found = scores_to_dict(score(make_emotions(4), make_conflicts(4)))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert again["format"] == "facevoice-scores/1"
    assert again["info"]["command"] == make_info().command
    conflicts: ConflictScores = score(conflicts=make_conflicts(4), emotion_target=None).conflicts[0]
    assert again["conflicts"][0]["ranking"]["auroc"]["value"] == value(conflicts.ranking.auroc)


def test_two_corpora_are_scored_apart() -> None:
    import dataclasses

    clips = make_clips(4)
    other = [
        dataclasses.replace(c, corpus="mine", clip_id=c.clip_id.replace("cremad", "mine"))
        for c in clips
    ]
    both = [*clips, *other]
    rng = np.random.default_rng(0)
    table = emotion_predictions(both, face=rng.dirichlet(np.ones(8), len(both)))
    found = score(table, corpora=("cremad", "mine"))
    assert [c.corpus for c in found.emotions] == ["cremad"] * 3 + ["mine"] * 3
    assert {c.num_clips for c in found.emotions} == {72}
