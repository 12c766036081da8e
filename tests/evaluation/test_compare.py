"""Runs side by side: on common items only, paired over speakers, refused where it can't be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.bootstrap import Figure, Gap, Refused, paired_bootstrap
from facevoice.evaluation.compare import ComparedCell, ComparedFigure, adjust_holm, compare_runs
from facevoice.evaluation.predictions import Channel, Run, Target, UsedBackbone
from run_builders import make_conflicts, make_emotions, make_info

FEW = 100


def run(name: str, seed: int = 0, skill: float = 1.5, **info: Any) -> Run:
    return Run(
        make_info(name=name, **info),
        make_emotions(6, skill=skill, seed=seed),
        make_conflicts(6, skill=skill, seed=seed),
    )


def cell(cells: tuple[ComparedCell, ...], channel: Channel | None) -> ComparedCell:
    return next(c for c in cells if c.channel == channel)


def figure(found: ComparedCell, name: str) -> ComparedFigure:
    return next(f for f in found.figures if f.name == name)


def test_differences_are_those_of_resampled_items() -> None:
    first, second = run("a"), run("b", seed=3, skill=2.5)
    found = figure(cell(compare_runs([first, second], num_resamples=FEW).cells, None), "AUROC")
    pairs = [
        r.conflicts.take(r.conflicts.kind != "original")
        for r in (first, second)
        if r.conflicts is not None
    ]
    order = [np.argsort(table.item_id.astype(str)) for table in pairs]
    a, b = (table.take(rows) for table, rows in zip(pairs, order, strict=True))
    expected = paired_bootstrap(
        metrics.auroc,
        (b.is_conflict, b.score),
        (a.is_conflict, a.score),
        a.speaker.astype(str),
        num_resamples=FEW,
    )
    got = found.differences[0]
    assert isinstance(got, Gap)
    assert (got.value, got.low, got.high, got.p_value) == pytest.approx(
        (
            expected.interval.estimate,
            expected.interval.low,
            expected.interval.high,
            expected.p_value,
        ),
        abs=1e-12,
    )
    assert found.adjusted_p == (got.p_value,)


def test_only_common_items_count() -> None:
    first, second = run("a"), run("b", seed=3)
    assert second.emotions is not None
    rng = np.random.default_rng(0)
    keep = rng.permutation(len(second.emotions))[:70]
    less = Run(second.info, second.emotions.take(keep), second.conflicts)
    found = cell(compare_runs([first, less], num_resamples=FEW).cells, Channel.FACE)
    assert (found.num_common, found.num_items) == (70, (108, 70))
    assert first.emotions is not None
    ids = set(less.emotions.clip_id) if less.emotions is not None else set()
    rows = first.emotions.take(np.array([name in ids for name in first.emotions.clip_id]))
    probs = rows.face.copy()
    probs[:, 0] += probs[:, 1]
    probs[:, [1, 7]] = 0
    uar = figure(found, "UAR").values[0]
    assert isinstance(uar, Figure)
    assert uar.value == pytest.approx(
        oracle.balanced_accuracy_score(rows.truth_intended, probs.argmax(axis=1))
    )


def test_cells_are_those_that_all_runs_have() -> None:
    cells = compare_runs([run("a"), run("b", 1)], num_resamples=FEW).cells
    assert {(c.channel, c.target) for c in cells[:3]} == {
        (channel, Target.INTENDED) for channel in Channel
    }
    assert cells[-1].target is Target.CONSTRUCTED_CONFLICT
    assert [f.name for f in cells[-1].figures] == ["AUROC", "balanced accuracy", "Brier score"]
    voice = cell(cells, Channel.VOICE)
    assert voice.num_common == 97  # every tenth voice is missing


def test_a_run_does_not_differ_from_itself() -> None:
    found = compare_runs([run("a"), run("a"), run("a")], num_resamples=FEW)
    for each in found.cells:
        for compared in each.figures:
            for gap in compared.differences:
                assert isinstance(gap, Gap)
                assert (gap.value, gap.low, gap.high, gap.p_value) == (0, 0, 0, 1)
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
    halves = [
        Run(make_info(name=str(sex)), table.take(table.groups.sex == sex))
        for sex in ("female", "male")
    ]
    with pytest.raises(EvaluationError, match="nothing in common"):
        compare_runs(halves, num_resamples=FEW)
    emotions = Run(make_info(name="e", conflict_target=None), make_emotions(4))
    conflicts = Run(make_info(name="c", emotion_target=None), conflicts=make_conflicts(4))
    with pytest.raises(EvaluationError, match="nothing in common"):
        compare_runs([emotions, conflicts], num_resamples=FEW)
    with pytest.raises(EvaluationError, match="at least two"):
        compare_runs([emotions], num_resamples=FEW)


def test_runs_that_contradict_each_other_are_refused() -> None:
    second = run("b")
    assert second.emotions is not None
    second.emotions.truth_intended[5] = 6 - second.emotions.truth_intended[5]
    with pytest.raises(EvaluationError, match=r"a and b contradict each other: the truth of"):
        compare_runs([run("a"), second], num_resamples=FEW)


def test_contamination_and_missing_thresholds_are_kept_in_sight() -> None:
    dirty = run("b", seed=2, backbones=(UsedBackbone("big@1", ("cremad",)),))
    assert dirty.conflicts is not None
    dirty.conflicts.threshold[0] = np.nan
    dirty.conflicts.threshold[1] = np.nan
    found = compare_runs([run("a"), dirty], num_resamples=FEW)
    assert {c.contaminated for c in found.cells} == {((), ("big@1",))}
    balanced = figure(cell(found.cells, None), "balanced accuracy")
    assert isinstance(balanced.differences[0], Refused)
    assert balanced.adjusted_p == (None,)
    assert "have no threshold" in balanced.differences[0].reason


def test_holm_by_hand() -> None:
    # Wikipedia's and R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert adjust_holm([None, 0.5, 0.9]) == (None, 1.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_never_falls_below(p_values: list[float]) -> None:
    adjusted = adjust_holm(p_values)
    pairs = sorted(zip(p_values, adjusted, strict=True), key=lambda pair: (pair[0], pair[1] or 0))
    known = [after for _, after in pairs if after is not None]
    assert known == sorted(known)
    assert all(p <= (after or 0) <= min(1, len(p_values) * p) + 1e-15 for p, after in pairs)
