"""Runs side by side: on common items only, paired over speakers, refused where it can't be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import Figure, Gap, Refused, auroc_measure, paired_gap
from facevoice.evaluation.compare import ComparedCell, ComparedFigure, adjust_holm, compare_runs
from facevoice.evaluation.predictions import (
    Channel,
    Run,
    Target,
    UsedBackbone,
    is_conflict,
    posteriors_of,
)
from run_builders import CLASSES, make_conflicts, make_emotions, make_info

FEW = 100


def run(name: str, seed: int = 0, skill: float = 1.5, **info: Any) -> Run:
    return Run(
        make_info(name=name, **info),
        make_emotions(6, skill=skill, seed=seed),
        make_conflicts(6, skill=skill, seed=seed),
    )


def cell(runs: list[Run], channel: Channel | None) -> ComparedCell:
    cells = compare_runs(runs, num_resamples=FEW).cells
    return next(c for c in cells if c.channel == channel)


def figure(found: ComparedCell, name: str) -> ComparedFigure:
    return next(f for f in found.figures if f.name == name)


def test_differences_are_paired() -> None:
    first, second = run("a"), run("b", seed=3, skill=2.5)
    shuffled = Run(second.info, second.emotions, second.conflicts.sample(frac=1, random_state=0))
    found = figure(cell([first, shuffled], None), "AUROC")
    a, b = (
        each.conflicts[each.conflicts["kind"] != "original"].sort_values("item_id")
        for each in (first, second)
    )
    measures = [auroc_measure(is_conflict(a), each["score"]) for each in (b, a)]
    assert found.differences == (paired_gap(*measures, a["speaker"].to_numpy(), FEW),)
    assert isinstance(found.differences[0], Gap)
    assert found.adjusted_p == (found.differences[0].p_value,)


def test_only_common_items_count() -> None:
    first, second = run("a"), run("b", seed=3)
    kept = second.emotions.sample(70, random_state=0)
    found = cell([first, Run(second.info, kept, second.conflicts)], Channel.FACE)
    assert (found.num_common, found.num_items) == (70, (108, 70))
    rows = first.emotions[first.emotions["clip_id"].isin(kept["clip_id"])]
    probs = posteriors_of(rows, Channel.FACE)
    probs[:, 0] += probs[:, 1]
    said = probs[:, [emotion.position for emotion in CLASSES]].argmax(axis=1)
    truth = [[*CLASSES].index(word) for word in rows["truth_intended"]]
    uar = figure(found, "UAR").values[0]
    assert isinstance(uar, Figure)
    assert uar.value == pytest.approx(oracle.balanced_accuracy_score(truth, said))


def test_cells_are_those_that_all_runs_have() -> None:
    cells = compare_runs([run("a"), run("b", 1)], num_resamples=FEW).cells
    assert {(c.channel, c.target) for c in cells[:3]} == {
        (channel, Target.INTENDED) for channel in Channel
    }
    assert cells[-1].target is Target.CONSTRUCTED_CONFLICT
    assert [f.name for f in cells[-1].figures] == ["AUROC", "balanced accuracy", "Brier score"]
    voice = next(c for c in cells if c.channel is Channel.VOICE)
    assert voice.num_common == 97  # every tenth voice is missing


def test_a_run_does_not_differ_from_itself() -> None:
    found = compare_runs([run("a"), run("a"), run("a")], num_resamples=FEW)
    for each in found.cells:
        for compared in each.figures:
            assert compared.differences == (Gap(0, 0, 0, 1),) * 2
            assert compared.adjusted_p == (1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotion_target": Target.PERCEIVED_FACE}, "emotion_target differs"),
        ({"conflict_target": Target.GRADED_CONFLICT}, "conflict_target differs"),
    ],
)
def test_other_targets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        compare_runs([run("a"), run("b", **changes)], num_resamples=FEW)


def test_nothing_in_common_is_refused() -> None:
    table = make_emotions(6)
    halves = [Run(make_info(name=sex), table[table["sex"] == sex]) for sex in ("female", "male")]
    emotions = Run(make_info(name="e", conflict_target=None), make_emotions(4))
    conflicts = Run(make_info(name="c", emotion_target=None), conflicts=make_conflicts(4))
    for runs in (halves, [emotions, conflicts]):
        with pytest.raises(EvaluationError, match="nothing in common"):
            compare_runs(runs, num_resamples=FEW)
    with pytest.raises(EvaluationError, match="at least two"):
        compare_runs([emotions], num_resamples=FEW)


def test_runs_that_contradict_each_other_are_refused() -> None:
    second = run("b")
    second.emotions.loc[5, "truth_intended"] = "disgust"
    with pytest.raises(EvaluationError, match=r"a and b contradict each other: the truth of"):
        compare_runs([run("a"), second], num_resamples=FEW)


def test_contamination_and_missing_thresholds_are_kept_in_sight() -> None:
    dirty = run("b", seed=2, backbones=(UsedBackbone("big@1", ("cremad",)),))
    dirty.conflicts.loc[:1, "threshold"] = np.nan
    found = cell([run("a"), dirty], None)
    assert found.contaminated == ((), ("big@1",))
    balanced = figure(found, "balanced accuracy")
    assert isinstance(balanced.values[0], Figure)
    assert isinstance(balanced.differences[0], Refused)
    assert balanced.adjusted_p == (None,)
    assert "have no threshold" in balanced.differences[0].reason


def test_answers_outside_the_classes_are_refused_not_raised() -> None:
    second = run("b")
    names = [f"face_{emotion}" for emotion in CLASSES]
    second.emotions[[*names, "face_calm"]] = 0.0
    second.emotions["face_surprised"] = 1.0
    uar = figure(cell([run("a"), second], Channel.FACE), "UAR")
    assert isinstance(uar.values[0], Figure) and isinstance(uar.values[1], Refused)
    assert isinstance(uar.differences[0], Refused)
    assert "nothing on any class" in uar.differences[0].reason


def test_holm_by_hand() -> None:
    # Wikipedia's and R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert adjust_holm([None, 0.5, 0.9]) == (None, 1.0, 1.0)
