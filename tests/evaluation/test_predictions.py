"""Runs are written whole, read back as they were, and refused with row, column and remedy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import audit_scores
from facevoice.evaluation.predictions import (
    CONFLICT_COLUMNS,
    EMOTION_COLUMNS,
    Channel,
    Target,
    emotion_predictions,
    has_answer,
    read_run,
    targets_of,
    write_run,
)
from run_builders import make_clips, make_conflicts, make_emotions, make_info


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", make_info(), make_emotions(3), make_conflicts(3))
    return tmp_path / "run"


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    emotions, conflicts = make_emotions(), make_conflicts()
    audit = audit_scores(
        "length", [0, 1] * 6, np.arange(12.0), [f"s{i // 4}" for i in range(12)], num_resamples=20
    )
    write_run(tmp_path / "run", make_info(), emotions, conflicts, [audit])
    run = read_run(tmp_path / "run")
    assert run.info == make_info()
    pd.testing.assert_frame_equal(run.emotions, emotions)
    pd.testing.assert_frame_equal(run.conflicts, conflicts)
    assert run.audits == (audit,)
    files = ["audits.json", "conflicts.parquet", "emotions.parquet", "run.json"]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == files
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_columns_are_those_documented_and_of_plain_types(run_folder: Path) -> None:
    emotions = pq.read_schema(run_folder / "emotions.parquet")
    assert emotions.names == [*EMOTION_COLUMNS]
    types = {str(emotions.field(name).type) for name in ("clip_id", "truth_intended", "sex")}
    assert types == {"string"}
    assert emotions.field("face_happy").type == emotions.field("age").type == pa.float64()
    pairs = pq.read_schema(run_folder / "conflicts.parquet")
    assert pairs.names == [*CONFLICT_COLUMNS]
    assert pairs.field("baseline_differs").type == pa.bool_()
    voice = pq.read_table(run_folder / "emotions.parquet").column("voice_happy")
    assert voice.null_count == 6  # empty, not NaN, where the channel is missing


def test_pandas_writes_a_run_of_another_system(tmp_path: Path) -> None:
    """Only what is needed, with pandas' own types: categories, NaN for nothing, numbered folds."""
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    frame = pd.DataFrame(
        {
            "clip_id": ["a", "b", "c"],
            "corpus": pd.Categorical(["mine"] * 3),
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
    assert run.emotions["fold"].tolist() == ["2", "1", "1"]
    assert run.emotions["sex"].tolist() == [None] * 3
    assert targets_of(run.emotions) == (Target.INTENDED,)
    assert has_answer(run.emotions, Channel.FUSED).tolist() == [False, True, True]
    assert not has_answer(run.emotions, Channel.FACE).any()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("clip_id", lambda v: [v[1], *v[1:]], r"row 2: clip_id .* is already in row 1"),
        ("clip_id", lambda v: ["", *v[1:]], "row 1: clip_id is empty"),
        ("clip_id", None, "column 'clip_id' is missing"),
        ("speaker", lambda v: ["07", *v[1:]], "row 1: .*'07' must be named as 'cremad/NAME'"),
        ("speaker", lambda v: [7] * len(v), "row 1: speaker = 7 is not a text"),
        ("corpus", lambda v: ["x", *v[1:]], "row 1: speaker .* must be named as 'x/NAME'"),
        ("truth_face", lambda v: [*v[:-1], "joy"], "row 54: truth_face = 'joy' is not one of"),
        ("face_happy", lambda v: [None, *v[1:]], r"row 1: face_\* = .* is no posterior"),
        ("fused_sad", lambda v: [*v[:4], 1.5, *v[5:]], r"row 5: fused_\* = .* is no posterior"),
        ("fused_sad", None, "column fused_sad is missing, though others of the fused"),
        ("fused_sad", lambda v: ["x"] * len(v), "row 1: fused_sad = 'x' is not a finite number"),
        ("age", lambda v: [300, *v[1:]], "row 1: age = 300.* is no age; give years"),
        ("truth_intendet", lambda v: [None] * 54, "unknown column 'truth_intendet'"),
        ("kind", lambda v: ["fake", *v[1:]], "row 1: kind = 'fake' is not one of conflict"),
        ("score", lambda v: [None, *v[1:]], "row 1: score is empty; fill it, or leave"),
        ("score", lambda v: [7.0, *v[1:]], "scores go from .* to 7, so they are no probabilities"),
        ("bin", lambda v: ["easy", *v[1:]], "row 1: bin = 'easy' is not one of"),
        ("baseline_differs", lambda v: [3] * len(v), "row 1: .* = 3 is not true or false"),
        ("threshold", lambda v: [np.inf] * len(v), "row 1: threshold = inf is not a finite"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(
    run_folder: Path, name: str, values: Any, message: str
) -> None:
    only_pairs = name in CONFLICT_COLUMNS and name not in EMOTION_COLUMNS
    path = run_folder / f"{'conflicts' if only_pairs else 'emotions'}.parquet"
    table = pq.read_table(path)
    old = []
    if name in table.column_names:
        old = table.column(name).to_pylist()
        table = table.drop_columns([name])
    if values is not None:
        table = table.append_column(name, pa.array(values(old)))
    pq.write_table(table, path)
    with pytest.raises(EvaluationError, match=message) as caught:
        read_run(run_folder)
    assert str(run_folder) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "format is not known here; write 'facevoice-run/1'"),
        ({"tilte": "x"}, "unknown field 'tilte'"),
        ({"emotion_target": "intendet"}, r"'intendet' - at `\$.emotion_target`"),
        ({"emotion_target": "graded_conflict"}, "is no emotion"),
        ({"emotion_target": None}, "name the emotion_target"),
        ({"corpora": "ravdess"}, r"`str` - at `\$.corpora`"),
        ({"corpora": ["ravdess"]}, "corpus 'cremad' is in a table, but not among"),
        ({"command": " "}, "command of a run is empty"),
        ({"backbones": ["x"]}, r"at `\$.backbones"),
        ({"score_is_probability": "no"}, r"at `\$.score_is_probability`"),
        ({"title": None}, r"at `\$.title`"),
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
    (run_folder / "audits.json").write_text('[{"name": "x"}]', encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"audits.json: .*missing required field"):
        read_run(run_folder)
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
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_run(tmp_path / "run", make_info(), make_emotions(3))
    assert list(tmp_path.iterdir()) == []


def test_a_run_needs_predictions_truth_and_a_channel() -> None:
    clips = make_clips(2)
    with pytest.raises(EvaluationError, match="no channel has posteriors"):
        emotion_predictions(clips)
    with pytest.raises(EvaluationError, match=r"must be \(n, 8\) for the 36 clips, got \(3, 8\)"):
        emotion_predictions(clips, face=np.full((3, 8), 0.125))
    with pytest.raises(EvaluationError, match="column fold has 1 rows"):
        emotion_predictions(clips, fold=["1"], face=np.full((36, 8), 0.125))
    unlabelled = [dataclasses.replace(clip, labels=type(clip.labels)()) for clip in clips]
    with pytest.raises(EvaluationError, match="no truth is given"):
        emotion_predictions(unlabelled, face=np.full((len(clips), 8), 0.125))
    with pytest.raises(EvaluationError, match="has no predictions"):
        write_run(Path("nowhere"), make_info())
