"""A run: predictions written once to a folder, so that scoring reads files and never a model.

RUN/
├── run.json            what the run is about: `RunInfo`
├── emotions.parquet    one row a clip: `EmotionPredictions`; may be absent
├── conflicts.parquet   one row a pair: `ConflictPredictions`; may be absent
└── audits.json         audits that must fail: `AuditResult`s; may be absent
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.bootstrap import Interval
from facevoice.evaluation.fill import conflict_predictions, emotion_predictions
from facevoice.evaluation.parquet import (
    read_conflicts,
    read_emotions,
    write_conflicts,
    write_emotions,
)
from facevoice.evaluation.run_info import (
    Channel,
    DataFile,
    RunInfo,
    Target,
    UsedBackbone,
    info_from_dict,
    info_to_dict,
)
from facevoice.evaluation.tables import ConflictPredictions, EmotionPredictions, Groups
from facevoice.whole_folder import whole_folder

__all__ = [
    "Channel",
    "ConflictPredictions",
    "DataFile",
    "EmotionPredictions",
    "Groups",
    "Run",
    "RunInfo",
    "Target",
    "UsedBackbone",
    "conflict_predictions",
    "emotion_predictions",
    "read_run",
    "write_run",
]

INFO_FILE: Final = "run.json"
EMOTIONS_FILE: Final = "emotions.parquet"
CONFLICTS_FILE: Final = "conflicts.parquet"
AUDITS_FILE: Final = "audits.json"


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Everything that scoring knows of a run."""

    info: RunInfo
    emotions: EmotionPredictions | None = None
    conflicts: ConflictPredictions | None = None
    audits: tuple[AuditResult, ...] = ()

    def __post_init__(self) -> None:
        info = self.info
        if self.emotions is None and self.conflicts is None:
            raise EvaluationError(
                f"run {info.name!r} has no predictions: neither {EMOTIONS_FILE} nor "
                f"{CONFLICTS_FILE}"
            )
        if self.emotions is not None:
            if info.emotion_target is None:
                raise EvaluationError("emotions are given: name the emotion_target of the run")
            if info.emotion_target not in self.emotions.targets:
                raise EvaluationError(
                    f"emotion_target is {info.emotion_target}, but no clip has its truth; the "
                    f"table has {', '.join(self.emotions.targets)}"
                )
        if self.conflicts is not None:
            if info.conflict_target is None:
                raise EvaluationError("conflicts are given: name the conflict_target of the run")
            _check_scores(self.conflicts, info)
        for table in (self.emotions, self.conflicts):
            others = set() if table is None else set(table.corpus) - set(info.corpora)
            if others:
                raise EvaluationError(
                    f"corpus {min(others)!r} is in a table, but not among the run's corpora "
                    f"({', '.join(info.corpora)})"
                )


def write_run(
    folder: Path,
    info: RunInfo,
    emotions: EmotionPredictions | None = None,
    conflicts: ConflictPredictions | None = None,
    audits: Sequence[AuditResult] | None = None,
    *,
    overwrite: bool = False,
) -> Run:
    """Write a run to `folder`, whole or not at all; returns what was written.

    An empty folder is taken; with `overwrite` also one that holds a run, which is then replaced
    with all that is in it.

    Raises:
        EvaluationError: the run is not complete, or the folder is taken.
        MissingExtraError: pyarrow is not installed.
    """
    run = Run(info, emotions, conflicts, tuple(audits or ()))
    _check_folder(folder, overwrite)
    with whole_folder(folder) as part:
        _write_files(run, part)
    return run


def read_run(folder: Path) -> Run:
    """Read and check a run.

    Raises:
        EvaluationError: something is absent, damaged or wrong; names file, row, column, remedy.
        MissingExtraError: pyarrow is not installed.
    """
    if not (folder / INFO_FILE).is_file():
        raise EvaluationError(
            f"{folder}: holds no {INFO_FILE}, so it is no run; docs/evaluation.md says what is in "
            "one"
        )
    info = info_from_file(folder / INFO_FILE)
    emotions, conflicts = folder / EMOTIONS_FILE, folder / CONFLICTS_FILE
    tables: dict[str, Any] = {
        "emotions": read_emotions(emotions) if emotions.is_file() else None,
        "conflicts": read_conflicts(conflicts) if conflicts.is_file() else None,
        "audits": _read_audits(folder / AUDITS_FILE),
    }
    try:
        return Run(info, **tables)
    except EvaluationError as error:
        raise EvaluationError(f"{folder}: {error}") from error


def info_from_file(path: Path) -> RunInfo:
    """Read `run.json`.

    Raises:
        EvaluationError: it is absent, no JSON, or a field is wrong.
    """
    try:
        return info_from_dict(_read_json(path))
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def _check_scores(conflicts: ConflictPredictions, info: RunInfo) -> None:
    lowest, highest = float(conflicts.score.min()), float(conflicts.score.max())
    if info.score_is_probability and not 0 <= lowest <= highest <= 1:
        raise EvaluationError(
            f"scores go from {lowest:g} to {highest:g}, so they are no probabilities; set "
            "score_is_probability to false"
        )


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: is a file; name a folder for the run")
    taken = any(folder.iterdir())
    if taken and not (folder / INFO_FILE).is_file():
        raise EvaluationError(f"{folder}: holds something else than a run; name another folder")
    if taken and not overwrite:
        raise EvaluationError(
            f"{folder}: holds a run already; name another folder, or overwrite it"
        )


def _write_files(run: Run, folder: Path) -> None:
    _write_json(info_to_dict(run.info), folder / INFO_FILE)
    if run.emotions is not None:
        write_emotions(run.emotions, folder / EMOTIONS_FILE)
    if run.conflicts is not None:
        write_conflicts(run.conflicts, folder / CONFLICTS_FILE)
    if run.audits:
        _write_json([asdict(audit) for audit in run.audits], folder / AUDITS_FILE)


def _write_json(value: Any, path: Path) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"is no readable JSON ({error})") from error


def _read_audits(path: Path) -> tuple[AuditResult, ...]:
    if not path.is_file():
        return ()
    try:
        return tuple(_audit(entry) for entry in _read_json(path))
    except (EvaluationError, TypeError, KeyError) as error:
        raise EvaluationError(f"{path}: is no list of audits ({error})") from error


def _audit(entry: Mapping[str, Any]) -> AuditResult:
    rest = {name: value for name, value in entry.items() if name != "auroc"}
    return AuditResult(auroc=Interval(**entry["auroc"]), **rest)
