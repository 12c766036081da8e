"""Scores of a run against scikit-learn on the same rows; groups of people; contamination."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame
from sklearn import metrics as oracle
from sklearn.metrics import brier_score_loss

from facevoice.corpora.manifest import Clip
from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import Figure, Gap, Refused, mean_measure
from facevoice.evaluation.predictions import (
    Channel,
    Run,
    Target,
    UsedBackbone,
    emotion_predictions,
    is_conflict,
    posteriors_of,
)
from facevoice.evaluation.score import (
    FORMAT,
    Curve,
    EmotionFigures,
    EmotionScores,
    GroupScores,
    Scores,
    score_groups,
    score_run,
    to_dict,
)
from facevoice.records import EMOTIONS, Emotion
from run_builders import CLASSES, make_clips, make_conflicts, make_emotions, make_info

FEW = 50


def score(
    emotions: DataFrame | None = None, conflicts: DataFrame | None = None, **info: Any
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


def truth_and_probs(table: DataFrame, channel: Channel) -> tuple[np.ndarray, np.ndarray]:
    """In the six classes of the corpus; calm counts as neutral."""
    probs = posteriors_of(table, channel)
    probs[:, 0] += probs[:, 1]
    probs = probs[:, [e.position for e in CLASSES]]
    truth = np.array([CLASSES.index(Emotion(t)) for t in table["truth_intended"]])
    return truth, probs / probs.sum(axis=1, keepdims=True)


def clips_of(corpus: str, num_speakers: int) -> list[Clip]:
    return [
        replace(clip, corpus=corpus, clip_id=clip.clip_id.replace("cremad", corpus))
        for clip in make_clips(num_speakers)
    ]


@pytest.mark.parametrize("channel", Channel)
def test_emotions_equal_scikit_learn(channel: Channel) -> None:
    table = make_emotions(6)
    found = cell(score(table), channel, Target.INTENDED)
    everything, probs = truth_and_probs(table, channel)
    answered = ~np.isnan(probs[:, 0])
    truth, probs = everything[answered], probs[answered]
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
    assert (found.num_clips, found.num_speakers) == (len(table), 6)
    assert found.num_missing == int((~answered).sum())
    assert found.missing_share == pytest.approx(1 - answered.mean())
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


def test_conflicts_equal_scikit_learn() -> None:
    table = make_conflicts(8)
    found = score(conflicts=table, emotion_target=None).conflicts[0]
    pairs = table[table["kind"] != "original"]
    y, s = is_conflict(pairs), pairs["score"].to_numpy()
    assert value(found.ranking.auroc) == pytest.approx(oracle.roc_auc_score(y, s))
    share = {0.05: found.ranking.average_precision_5, 0.5: found.ranking.average_precision_50}
    for prevalence, got in share.items():
        weights = np.where(y, prevalence / y.mean(), (1 - prevalence) / (1 - y.mean()))
        expected = oracle.average_precision_score(y, s, sample_weight=weights)
        assert value(got) == pytest.approx(expected)
    called = s >= pairs["threshold"].to_numpy()
    labelled = pairs["baseline_differs"].to_numpy(dtype=bool)
    soft, hard = (oracle.balanced_accuracy_score(y, calls) for calls in (called, labelled))
    assert value(found.calls.balanced_accuracy) == pytest.approx(soft)
    assert value(found.calls.false_positive_rate) == pytest.approx(called[~y].mean())
    assert value(found.calls.label_accuracy) == pytest.approx(hard)
    assert isinstance(found.calls.gain_over_labels, Gap)
    assert found.calls.gain_over_labels.value == pytest.approx(soft - hard)
    assert value(found.calibration.brier) == pytest.approx(brier_score_loss(y, s))
    right = called == y
    order = np.argsort(-np.abs(s - pairs["threshold"].to_numpy()))
    assert value(found.selective.risk_full) == pytest.approx(1 - right.mean())
    kept = order[: int(np.ceil(0.8 * len(order)))]
    assert value(found.selective.risk_80) == pytest.approx(1 - right[kept].mean())
    untouched = table[table["kind"] != "match"]
    assert value(found.auroc_originals) == pytest.approx(
        oracle.roc_auc_score(is_conflict(untouched), untouched["score"])
    )
    assert isinstance(found.ranking.roc, Curve)
    area = oracle.auc(found.ranking.roc.x, found.ranking.roc.y)
    assert area == pytest.approx(oracle.roc_auc_score(y, s), abs=0.01)


def test_parts_of_the_conflicts() -> None:
    table = make_conflicts(8)
    found = score(conflicts=table, emotion_target=None).conflicts[0]
    pairs = table[table["kind"] != "original"]
    names = [part.name for part in found.bins]
    assert names == ["neutral_vs_x", "same_valence", "opposite_valence"]
    assert sum(part.num_conflicts for part in found.bins) == found.num_conflicts
    for part in found.bins:
        rows = pairs[~is_conflict(pairs) | (pairs["bin"] == part.name)]
        expected = oracle.roc_auc_score(is_conflict(rows), rows["score"])
        assert value(part.auroc) == pytest.approx(expected)
        assert part.num_matches == found.num_matches
    assert not isinstance(found.clarity, Refused)
    sizes = [part.num_conflicts + part.num_matches for part in found.clarity]
    assert sum(sizes) == len(pairs) and max(sizes) - min(sizes) <= 1
    lowest = pairs.sort_values("clarity").head(sizes[0])
    expected = oracle.roc_auc_score(is_conflict(lowest), lowest["score"])
    assert value(found.clarity[0].auroc) == pytest.approx(expected)
    assert not isinstance(found.audit_originals, Refused)
    plain = table[table["kind"] != "conflict"]
    expected = oracle.roc_auc_score(plain["kind"] == "match", plain["score"])
    assert found.audit_originals.auroc.estimate == pytest.approx(expected)
    assert found.audit_originals.limit == 0.52


def test_one_class_is_refused_and_the_rest_still_comes_out() -> None:
    table = make_conflicts(4)
    found = score(make_emotions(4), table[table["kind"] != "conflict"])
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
        assert "all 72 items are negative" in refused.reason
    assert not isinstance(conflicts.audit_originals, Refused)
    assert value(figures(found.emotions[0]).uar) > 0.3
    shown = to_dict(FORMAT, found)["conflicts"][0]["ranking"]["auroc"]
    assert isinstance(conflicts.ranking.auroc, Refused)
    assert shown == {"refused": conflicts.ranking.auroc.reason}


def test_one_emotion_is_refused() -> None:
    table = make_emotions(4)
    found = score(table[table["truth_intended"] == "sad"])
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
    pairs = table[table["kind"] != "original"]
    wrong = (pairs["score"] >= 0.5).to_numpy() != is_conflict(pairs)
    assert value(found.selective.risk_full) == pytest.approx(wrong.mean())
    assert isinstance(found.calls.balanced_accuracy, Refused)


@pytest.mark.parametrize(
    ("corpus", "classes"), [("cremad", CLASSES), ("ravdess", EMOTIONS), ("mine", CLASSES)]
)
def test_classes_are_those_of_the_corpus(corpus: str, classes: tuple[Emotion, ...]) -> None:
    """Calm is neutral only where the corpus has none; of an unknown corpus, those that occur."""
    clips = clips_of(corpus, 2)
    calm = np.tile(np.eye(8)[Emotion.CALM.position], (len(clips), 1))
    table = emotion_predictions(clips, face=calm)
    got = figures(cell(score(table, corpora=(corpus,)), Channel.FACE, Target.INTENDED))
    assert got.classes == classes
    assert got.confusion[0][0] == (0 if Emotion.CALM in classes else 6)


def test_answers_and_truths_outside_the_classes_are_refused() -> None:
    clips = make_clips(2)
    surprised = np.tile(np.eye(8)[Emotion.SURPRISED.position], (len(clips), 1))
    nothing = emotion_predictions(clips, face=surprised)
    refused = cell(score(nothing), Channel.FACE, Target.INTENDED).figures
    assert isinstance(refused, Refused)
    assert "36 posteriors of the face" in refused.reason
    assert "have nothing on any class" in refused.reason
    table = make_emotions(4)
    table.loc[7, "truth_both"] = "surprised"
    refused = cell(score(table), Channel.FUSED, Target.PERCEIVED_BOTH).figures
    assert isinstance(refused, Refused) and "is surprised by its truth" in refused.reason


@pytest.mark.parametrize("name", ["cremad", "CREMA-D", "crema_d"])
def test_contamination_marks_every_figure(name: str) -> None:
    backbones = (UsedBackbone("big@1", ("voxceleb", name)), UsedBackbone("odd@2", None))
    run = Run(make_info(backbones=backbones), make_emotions(4), make_conflicts(4))
    found = score_run(run, num_resamples=FEW)
    assert {c.contaminated for c in (*found.emotions, *found.conflicts)} == {("big@1",)}
    assert found.unknown_training == ("odd@2",)
    with pytest.raises(EvaluationError, match=r"big@1 was trained on cremad"):
        score_run(run, num_resamples=FEW, strict=True)
    clean = score_run(Run(make_info(), make_emotions(4)), num_resamples=FEW, strict=True)
    assert {c.contaminated for c in clean.emotions} == {()}


def test_scores_are_plain_json() -> None:
    found = to_dict(FORMAT, score(make_emotions(4), make_conflicts(4)))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    assert again["format"] == "facevoice-scores/1"
    assert again["info"]["command"] == make_info().command


def test_two_corpora_are_scored_apart() -> None:
    clips, other = clips_of("cremad", 4), clips_of("mine", 4)
    rng = np.random.default_rng(0)
    table = emotion_predictions([*clips, *other], face=rng.dirichlet(np.ones(8), 2 * len(clips)))
    found = score(table, corpora=("cremad", "mine"))
    assert [c.corpus for c in found.emotions] == ["cremad"] * 3 + ["mine"] * 3
    assert {c.num_clips for c in found.emotions} == {72}


def groups_of(table: DataFrame) -> dict[tuple[str, str], GroupScores]:
    found = figures(cell(score(table), Channel.FUSED, Target.INTENDED))
    return {(g.attribute, g.group): g for g in found.groups}


def test_groups_their_order_and_the_gap_to_the_rest() -> None:
    table = make_emotions(12)
    found = groups_of(table)
    assert list(found) == [
        ("sex", "female"),
        ("sex", "male"),
        ("age", "under 30"),
        ("age", "30–44"),
        ("age", "45–59"),
        ("age", "60 and over"),
        ("race", "A"),
        ("race", "B"),
        ("ethnicity", "N"),
        ("language", "en"),
    ]
    assert (found["sex", "female"].num_items, found["sex", "female"].num_speakers) == (108, 6)
    truth, probs = truth_and_probs(table, Channel.FUSED)
    inside = (table["race"] == "A").to_numpy()
    expected = [
        oracle.balanced_accuracy_score(truth[rows], probs[rows].argmax(axis=1))
        for rows in (inside, ~inside)
    ]
    group = found["race", "A"]
    assert value(group.figure) == pytest.approx(expected[0])
    assert isinstance(group.gap, Gap)
    assert group.gap.value == pytest.approx(expected[0] - expected[1])
    assert group.gap.low <= group.gap.value <= group.gap.high
    other = found["race", "B"].gap
    assert isinstance(other, Gap) and other.value == pytest.approx(-group.gap.value)
    pairs = make_conflicts(12)
    scores = score(conflicts=pairs, emotion_target=None).conflicts[0]
    male = next(g for g in scores.groups if g.group == "male")
    rows = pairs[(pairs["kind"] != "original") & (pairs["sex"] == "male")]
    assert value(male.figure) == pytest.approx(
        oracle.roc_auc_score(is_conflict(rows), rows["score"])
    )


def test_small_groups_are_refused_with_the_reason() -> None:
    table = make_emotions(12)
    table["sex"] = np.where(table["speaker"] == "cremad/03", "male", "female")
    found = groups_of(table)
    male = found["sex", "male"]
    assert isinstance(male.figure, Refused) and isinstance(male.gap, Refused)
    assert "18 items of 1 speakers; at least 20 of 2 are needed" in male.figure.reason
    female = found["sex", "female"]
    assert isinstance(female.figure, Figure) and isinstance(female.gap, Refused)
    assert female.gap.reason.startswith("the rest: 18 items of 1 speakers")
    language = found["language", "en"].gap
    assert isinstance(language, Refused) and "everybody" in language.reason
    lacking = make_emotions(12)
    lacking = lacking[(lacking["sex"] == "male") | (lacking["truth_intended"] != "sad")]
    gap = groups_of(lacking)["sex", "female"].gap
    assert isinstance(gap, Refused) and "same classes" in gap.reason


def test_groups_that_share_speakers_are_drawn_together() -> None:
    """Intensity varies within a speaker: a difference that all speakers share has a small interval.

    Speakers differ widely; drawn apart, the interval would be as wide as they differ.
    """
    rng = np.random.default_rng(0)
    strong = np.tile([True, False], 400)
    right = rng.random(800) < np.repeat(rng.uniform(0.2, 0.8, 20), 40) + 0.15 * strong
    shared = np.repeat([f"c/{i}" for i in range(20)], 40)
    apart = [f"{s}{'s' if b else 'n'}" for s, b in zip(shared, strong, strict=True)]
    widths = []
    for names in (shared, apart):
        columns = dict.fromkeys(("sex", "age", "race", "ethnicity", "language"))
        intensity = np.where(strong, "strong", "normal")
        table = DataFrame({"speaker": names, **columns, "intensity": intensity}, dtype=object)
        table["age"] = np.nan
        same = np.zeros(800, dtype=np.int64)
        groups = score_groups(table, same, lambda rows: mean_measure(right[rows]), 500)
        gap = groups[1].gap
        assert isinstance(gap, Gap)
        assert gap.value == pytest.approx(right[strong].mean() - right[~strong].mean())
        widths.append(gap.high - gap.low)
    assert widths[0] < 0.8 * widths[1]
