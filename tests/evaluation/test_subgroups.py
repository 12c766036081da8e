"""Groups: their figures, gaps to the rest, and why some have none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

from facevoice.evaluation.bootstrap import Figure, Gap, Refused
from facevoice.evaluation.predictions import EmotionPredictions, Groups, Run
from facevoice.evaluation.score import GroupScores, Scorable, score_groups, score_run
from run_builders import make_conflicts, make_emotions, make_info


def groups_of(table: EmotionPredictions) -> dict[tuple[str, str], GroupScores]:
    scores = score_run(Run(make_info(), table), num_resamples=200)
    figures = next(c for c in scores.emotions if c.channel == "fused").figures
    assert not isinstance(figures, Refused)
    return {(g.attribute, g.group): g for g in figures.groups}


def test_groups_and_their_order() -> None:
    found = groups_of(make_emotions(12))
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
    assert found["sex", "female"].num_speakers == 6
    assert found["sex", "female"].num_items == 108


def test_gap_is_group_minus_rest() -> None:
    table = make_emotions(12)
    found = groups_of(table)["race", "A"]
    probs = table.fused.copy()
    probs[:, 0] += probs[:, 1]
    probs[:, [1, 7]] = 0
    said = probs.argmax(axis=1)
    inside = table.groups.race == "A"
    expected = [
        oracle.balanced_accuracy_score(table.truth_intended[rows], said[rows])
        for rows in (inside, ~inside)
    ]
    assert isinstance(found.figure, Figure) and isinstance(found.gap, Gap)
    assert found.figure.value == pytest.approx(expected[0])
    assert found.gap.value == pytest.approx(expected[0] - expected[1])
    assert found.gap.low <= found.gap.value <= found.gap.high
    assert 0 < found.gap.p_value <= 1


def test_small_groups_are_refused_with_the_reason() -> None:
    table = make_emotions(12)
    table.groups.sex[:] = "female"
    table.groups.sex[table.speaker == "cremad/03"] = "male"
    found = groups_of(table)
    male = found["sex", "male"]
    assert isinstance(male.figure, Refused) and isinstance(male.gap, Refused)
    assert "18 items of 1 speakers; at least 20 of 2 are needed" in male.figure.reason
    female = found["sex", "female"]
    assert isinstance(female.figure, Figure) and isinstance(female.gap, Refused)
    assert female.gap.reason.startswith("the rest: 18 items of 1 speakers")
    language = found["language", "en"].gap
    assert isinstance(language, Refused) and "everybody" in language.reason


def test_groups_without_a_class_have_no_gap() -> None:
    table = make_emotions(12)
    keep = (table.groups.sex == "male") | (table.truth_intended != 3)
    found = groups_of(table.take(keep))["sex", "female"]
    assert isinstance(found.figure, Figure)
    assert isinstance(found.gap, Refused) and "same classes" in found.gap.reason


def test_groups_that_share_speakers_are_drawn_together() -> None:
    """Intensity varies within a speaker: a difference that all speakers share has a small interval.

    Speakers differ widely; drawn apart, the interval would be as wide as they differ.
    """
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"c/{i}" for i in range(20)], 40).astype(object)
    strong = np.tile([True, False], 400)
    level = np.repeat(rng.uniform(0.2, 0.8, 20), 40)
    right = rng.random(800) < level + 0.15 * strong
    groups = Groups.unknown(800)
    groups = Groups(
        groups.sex,
        groups.age,
        groups.race,
        groups.ethnicity,
        groups.language,
        np.where(strong, "strong", "normal").astype(object),
    )
    from facevoice.evaluation.bootstrap import mean_statistic

    def scorable(names: np.ndarray) -> Scorable:
        return Scorable(
            groups=groups,
            speakers=names,
            classes=np.zeros(800, dtype=np.int64),
            compute=lambda rows: float(right[rows].mean()),
            statistic=lambda rows, index, size: mean_statistic(right[rows], index[rows], size),
        )

    apart = np.array([f"{s}{'s' if b else 'n'}" for s, b in zip(speakers, strong, strict=True)])
    widths = []
    for names in (speakers, apart.astype(object)):
        gap = score_groups(scorable(names), 500)[1].gap
        assert isinstance(gap, Gap)
        assert gap.value == pytest.approx(right[strong].mean() - right[~strong].mean())
        widths.append(gap.high - gap.low)
    assert widths[0] < 0.8 * widths[1]


def test_conflicts_have_groups_too() -> None:
    scores = score_run(
        Run(make_info(emotion_target=None), conflicts=make_conflicts(12)), num_resamples=200
    )
    found = {(g.attribute, g.group): g for g in scores.conflicts[0].groups}
    table = make_conflicts(12)
    rows = table.take((table.kind != "original") & (table.groups.sex == "male"))
    figure = found["sex", "male"].figure
    assert isinstance(figure, Figure)
    assert figure.value == pytest.approx(oracle.roc_auc_score(rows.is_conflict, rows.score))
