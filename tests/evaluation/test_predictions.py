"""Runs are written whole, read back as they were, and refused with row, column and remedy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import audit_scores
from facevoice.evaluation.predictions import (
    CONFLICT_COLUMNS,
    EMOTION_COLUMNS,
    Groups,
    RunInfo,
    Target,
    emotion_predictions,
    read_run,
    write_run,
)
from run_builders import make_clips, make_conflicts, make_emotions, make_info


def columns_of(table: Any) -> dict[str, Any]:
    parts = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    if "groups" in parts:
        parts.update(columns_of(parts.pop("groups")))
    return parts


def assert_equal(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    others = columns_of(second)
    for name, values in columns_of(first).items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", make_info(), make_emotions(3), make_conflicts(3))
    return tmp_path / "run"


def rewrite(path: Path, **columns: Any) -> None:
    """Change columns of a Parquet file; None takes one away."""
    table = pq.read_table(path)
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, pa.array(values))
    pq.write_table(table, path)


def column(path: Path, name: str) -> list[Any]:
    return pq.read_table(path).column(name).to_pylist()


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    emotions, conflicts = make_emotions(), make_conflicts()
    audit = audit_scores(
        "length", [0, 1] * 6, np.arange(12.0), [f"s{i // 4}" for i in range(12)], num_resamples=20
    )
    write_run(tmp_path / "run", make_info(), emotions, conflicts, [audit])
    run = read_run(tmp_path / "run")
    assert run.info == make_info()
    assert run.emotions is not None and run.conflicts is not None
    assert_equal(run.emotions, emotions)
    assert_equal(run.conflicts, conflicts)
    assert run.audits == (audit,)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "audits.json",
        "conflicts.parquet",
        "emotions.parquet",
        "run.json",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_columns_are_those_documented_and_pandas_reads_them(run_folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(run_folder / "emotions.parquet")
    assert tuple(frame.columns) == tuple(EMOTION_COLUMNS)
    assert frame["truth_intended"].iloc[0] == "neutral"
    assert frame["voice_happy"].isna().sum() == frame["voice_calm"].isna().sum() > 0
    pairs = pandas.read_parquet(run_folder / "conflicts.parquet")
    assert tuple(pairs.columns) == tuple(CONFLICT_COLUMNS)
    assert set(pairs["kind"]) == {"match", "conflict", "original"}


def test_pandas_writes_a_run_of_another_system(tmp_path: Path) -> None:
    """Only what is needed, with pandas' own types: categories, NaN for nothing, numbered folds."""
    pandas = pytest.importorskip("pandas")
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    frame = pandas.DataFrame(
        {
            "clip_id": ["a", "b", "c"],
            "corpus": pandas.Categorical(["mine"] * 3),
            "speaker": ["mine/1", "mine/1", "mine/2"],
            "fold": [1, 1, 2],
            "truth_intended": ["happy", "sad", "sad"],
            "age": [31.0, 31.0, np.nan],
            "x_batch": [7, 7, 7],
            **{f"fused_{e}": np.float32([0.125] * 2 + [np.nan]) for e in emotions},
        }
    )
    (tmp_path / "run").mkdir()
    frame.iloc[::-1].to_parquet(tmp_path / "run" / "emotions.parquet")
    info = {
        "format": "facevoice-run/1",
        "name": "mine",
        "title": "Mine",
        "model": "a table",
        "corpora": ["mine"],
        "protocol": "none",
        "command": "python mine.py",
        "emotion_target": "intended",
    }
    (tmp_path / "run" / "run.json").write_text(json.dumps(info), encoding="utf-8")
    run = read_run(tmp_path / "run")
    assert run.emotions is not None and run.conflicts is None
    assert run.emotions.fold.tolist() == ["2", "1", "1"]
    assert run.emotions.groups.sex.tolist() == [None] * 3
    assert run.emotions.targets == (Target.INTENDED,)
    assert np.isnan(run.emotions.fused[0]).all() and np.isnan(run.emotions.face).all()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("clip_id", lambda v: [v[1], *v[1:]], r"row 2: clip_id .* is already in row 1"),
        ("clip_id", None, "column 'clip_id' is missing"),
        (
            "speaker",
            lambda v: ["07", *v[1:]],
            r"row 1: speaker '07' must be named as 'cremad/NAME'",
        ),
        ("truth_face", lambda v: [*v[:-1], "joy"], r"row 54: truth_face = 'joy' is not one of"),
        ("face_happy", lambda v: [None, *v[1:]], r"row 1: face_\* = .* is no posterior"),
        ("fused_sad", lambda v: [*v[:4], 1.5, *v[5:]], r"row 5: fused_\* = .* is no posterior"),
        ("fused_sad", None, r"column fused_sad is missing, though others of the fused"),
        ("fused_sad", lambda v: ["x"] * len(v), r"row 1: fused_sad = 'x' is not a number"),
        ("age", lambda v: [300, *v[1:]], r"row 1: age = 300.0: give years"),
        ("truth_intendet", lambda v: [None] * 54, "unknown column 'truth_intendet'"),
        ("corpus", lambda v: ["x", *v[1:]], r"row 1: speaker .* must be named as 'x/NAME'"),
    ],
)
def test_wrong_emotions_are_named(run_folder: Path, name: str, values: Any, message: str) -> None:
    path = run_folder / "emotions.parquet"
    old = column(path, name) if name in EMOTION_COLUMNS else []
    rewrite(path, **{name: None if values is None else values(old)})
    with pytest.raises(EvaluationError, match=message) as caught:
        read_run(run_folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("kind", lambda v: ["fake", *v[1:]], "row 1: kind = 'fake': write one of conflict, match"),
        ("score", lambda v: [None, *v[1:]], "row 1: score = nan: leave such items out"),
        ("score", lambda v: [7.0, *v[1:]], "scores go from .* to 7, so they are no probabilities"),
        ("bin", lambda v: ["easy", *v[1:]], "row 1: bin = 'easy': write one of"),
        ("baseline_differs", lambda v: [3, *v[1:]], "baseline_differs = 3 is not true or false"),
        ("threshold", lambda v: [np.inf] * len(v), r"threshold = inf \(and 161 more rows\)"),
    ],
)
def test_wrong_conflicts_are_named(run_folder: Path, name: str, values: Any, message: str) -> None:
    path = run_folder / "conflicts.parquet"
    new = values(column(path, name))
    rewrite(path, **{name: [int(v) for v in new] if name == "baseline_differs" else new})
    with pytest.raises(EvaluationError, match=message) as caught:
        read_run(run_folder)
    assert str(run_folder) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format = 'other' is not known"),
        ({"tilte": "x"}, "unknown field 'tilte'"),
        ({"emotion_target": "intendet"}, "emotion_target = 'intendet' is not one of intended"),
        ({"emotion_target": "graded_conflict"}, "is no emotion"),
        ({"emotion_target": None}, "name the emotion_target"),
        ({"corpora": "ravdess"}, "corpora = 'ravdess' is not a list"),
        ({"corpora": ["ravdess"]}, "corpus 'cremad' is in a table, but not among"),
        ({"command": " "}, "command of a run is empty"),
        ({"backbones": ["x"]}, "backbones = .* is not a list of objects"),
        ({"score_is_probability": "no"}, "is not true or false"),
    ],
)
def test_wrong_info_is_named(run_folder: Path, changes: dict[str, Any], message: str) -> None:
    path = run_folder / "run.json"
    raw = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(EvaluationError, match=message) as caught:
        read_run(run_folder)
    assert str(run_folder) in str(caught.value)


def test_damaged_files_are_named(run_folder: Path) -> None:
    (run_folder / "conflicts.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(EvaluationError, match=r"conflicts.parquet: is no readable Parquet"):
        read_run(run_folder)
    (run_folder / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"run.json: is no readable JSON"):
        read_run(run_folder)
    with pytest.raises(EvaluationError, match=r"holds no run.json"):
        read_run(run_folder.parent)


def test_nothing_is_replaced_unless_asked(run_folder: Path) -> None:
    with pytest.raises(EvaluationError, match="holds a run already"):
        write_run(run_folder, make_info(), make_emotions(4))
    (run_folder / "scores.json").write_text("old", encoding="utf-8")
    write_run(run_folder, make_info(conflict_target=None), make_emotions(4), overwrite=True)
    run = read_run(run_folder)
    assert run.conflicts is None and run.emotions is not None and len(run.emotions) == 72
    assert not (run_folder / "scores.json").exists()
    other = run_folder.parent / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(EvaluationError, match="something else than a run"):
        write_run(other, make_info(), make_emotions(3), overwrite=True)
    assert (other / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("facevoice.evaluation.predictions.write_conflicts", fail)
    with pytest.raises(OSError, match="disk full"):
        write_run(tmp_path / "run", make_info(), make_emotions(3), make_conflicts(3))
    assert list(tmp_path.iterdir()) == []


def test_a_run_needs_predictions_truth_and_a_channel() -> None:
    clips = make_clips(2)
    with pytest.raises(EvaluationError, match="no channel has posteriors"):
        emotion_predictions(clips)
    with pytest.raises(EvaluationError, match="column face has 3 rows"):
        emotion_predictions(clips, face=np.full((3, 8), 0.125))
    with pytest.raises(EvaluationError, match=r"must be \(n, 8\)"):
        emotion_predictions(clips, face=np.full((len(clips), 7), 1 / 7))
    unlabelled = [dataclasses.replace(clip, labels=type(clip.labels)()) for clip in clips]
    with pytest.raises(EvaluationError, match="no truth is given"):
        emotion_predictions(unlabelled, face=np.full((len(clips), 8), 0.125))
    with pytest.raises(EvaluationError, match="has no predictions"):
        write_run(Path("nowhere"), make_info())


def test_rows_are_taken_with_their_groups() -> None:
    table = make_emotions(4)
    part = table.take(table.groups.sex == "male")
    assert set(part.speaker) == {"cremad/01", "cremad/03"}
    assert len(part.groups) == len(part) == len(part.fused) == 36
    assert len(Groups.unknown(5)) == 5


def test_info_names_its_version() -> None:
    assert isinstance(make_info(), RunInfo)
    assert make_info().facevoice_version.count(".") == 2
