"""Prediction tables as Parquet files, for pandas, DuckDB and whoever brings a system of their own.

What is read may come from anybody: each message names the file, the row and column, and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.errors import EvaluationError, MissingExtraError
from facevoice.evaluation.columns import UNKNOWN, TextArray, text_array
from facevoice.evaluation.run_info import Channel
from facevoice.evaluation.tables import (
    TRUTH_COLUMNS,
    ConflictPredictions,
    EmotionPredictions,
    Groups,
)
from facevoice.labels import EMOTIONS, Emotion
from facevoice.types import DoubleArray

IntArray = np.ndarray[Any, np.dtype[np.int64]]

OWN_PREFIX: Final = "x_"
"""Columns of this prefix are a user's own and are passed over."""
_GROUP_TEXTS: Final = ("sex", "race", "ethnicity", "language", "intensity")
_GROUPS: Final[dict[str, str]] = {
    "sex": "text",
    "age": "number",
    **dict.fromkeys(("race", "ethnicity", "language", "intensity"), "text"),
}
EMOTION_COLUMNS: Final[dict[str, str]] = {
    **dict.fromkeys(("clip_id", "corpus", "speaker", "fold"), "text"),
    **dict.fromkeys(TRUTH_COLUMNS.values(), "emotion"),
    **{f"{channel}_{emotion}": "number" for channel in Channel for emotion in EMOTIONS},
    **_GROUPS,
}
"""Columns of `emotions.parquet` and their kinds, in order."""
CONFLICT_COLUMNS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("item_id", "corpus", "face_clip_id", "voice_clip_id", "speaker", "fold", "kind", "bin"),
        "text",
    ),
    **dict.fromkeys(("face_emotion", "voice_emotion"), "emotion"),
    "score": "number",
    "baseline_differs": "flag",
    "threshold": "number",
    "clarity": "number",
    **_GROUPS,
}
"""Columns of `conflicts.parquet` and their kinds, in order."""
EMOTIONS_NEEDED: Final = ("clip_id", "corpus", "speaker")
CONFLICTS_NEEDED: Final = ("item_id", "corpus", "speaker", "kind", "score")


def write_emotions(table: EmotionPredictions, path: Path) -> None:
    """Write `emotions.parquet`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    columns: dict[str, Sequence[Any]] = {}
    for name in EMOTION_COLUMNS:
        channel, _, emotion = name.partition("_")
        if channel in [*Channel]:
            place = Emotion(emotion).position
            columns[name] = table.posteriors(Channel(channel))[:, place].tolist()
        else:
            columns[name] = _shown(getattr(_owner(table, name), name), EMOTION_COLUMNS[name])
    _write(columns, EMOTION_COLUMNS, path)


def write_conflicts(table: ConflictPredictions, path: Path) -> None:
    """Write `conflicts.parquet`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    columns = {
        name: _shown(getattr(_owner(table, name), name), kind)
        for name, kind in CONFLICT_COLUMNS.items()
    }
    _write(columns, CONFLICT_COLUMNS, path)


def read_emotions(path: Path) -> EmotionPredictions:
    """Read `emotions.parquet`; columns that are not there count as unknown.

    Raises:
        EvaluationError: the file is absent or damaged, or a column or row is wrong.
        MissingExtraError: pyarrow is not installed.
    """
    size, raw = _read(path, EMOTION_COLUMNS, EMOTIONS_NEEDED)
    try:
        values = {name: _parsed(name, EMOTION_COLUMNS[name], raw, size) for name in EMOTION_COLUMNS}
        posteriors = {}
        for channel in Channel:
            names = [f"{channel}_{emotion}" for emotion in EMOTIONS]
            absent = [name for name in names if name not in raw]
            if 0 < len(absent) < len(names):
                raise EvaluationError(
                    f"column {absent[0]} is missing, though others of the {channel} are there; "
                    "fill it with 0 if the model does not know this emotion"
                )
            posteriors[channel.value] = np.stack([values.pop(name) for name in names], axis=1)
        return EmotionPredictions(**posteriors, groups=_groups(values), **values)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def read_conflicts(path: Path) -> ConflictPredictions:
    """Read `conflicts.parquet`; columns that are not there count as unknown.

    Raises:
        EvaluationError: the file is absent or damaged, or a column or row is wrong.
        MissingExtraError: pyarrow is not installed.
    """
    size, raw = _read(path, CONFLICT_COLUMNS, CONFLICTS_NEEDED)
    try:
        values = {name: _parsed(name, kind, raw, size) for name, kind in CONFLICT_COLUMNS.items()}
        return ConflictPredictions(groups=_groups(values), **values)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


def _owner(table: EmotionPredictions | ConflictPredictions, name: str) -> Any:
    return table.groups if name in _GROUPS else table


def _groups(values: dict[str, Any]) -> Groups:
    return Groups(**{name: values.pop(name) for name in _GROUPS})


def _shown(values: Any, kind: str) -> list[Any]:
    if kind == "emotion":
        return [None if place == UNKNOWN else EMOTIONS[place].value for place in values]
    if kind == "flag":
        return [None if value == UNKNOWN else bool(value) for value in values]
    if kind == "number":
        return [None if np.isnan(value) else float(value) for value in values]
    return list(values)


def _write(columns: Mapping[str, Sequence[Any]], kinds: dict[str, str], path: Path) -> None:
    arrow, parquet = _import_parquet()
    types = {
        "text": arrow.string(),
        "emotion": arrow.string(),
        "number": arrow.float64(),
        "flag": arrow.bool_(),
    }
    arrays = [
        arrow.array(columns[name], type=types[kind], from_pandas=True)
        for name, kind in kinds.items()
    ]
    parquet.write_table(arrow.table(arrays, names=list(kinds)), path, compression="zstd")


def _read(path: Path, known: dict[str, str], needed: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Number of rows, and the known columns as lists."""
    _, parquet = _import_parquet()
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{path}: is no readable Parquet file ({error}); write it again"
        ) from error
    names = table.column_names
    # pandas keeps an index in a column of this name where it is not a plain count.
    unknown = [n for n in names if n not in known and not n.startswith((OWN_PREFIX, "__index"))]
    if unknown:
        raise EvaluationError(
            f"{path}: unknown column {unknown[0]!r}; known: {', '.join(known)}. Begin the name of "
            f"a column of your own with {OWN_PREFIX!r}"
        )
    absent = [name for name in needed if name not in names]
    if absent:
        raise EvaluationError(
            f"{path}: column {absent[0]!r} is missing; needed: {', '.join(needed)}"
        )
    if table.num_rows == 0:
        raise EvaluationError(f"{path}: has no rows; leave the file out if there is nothing in it")
    return table.num_rows, {n: table.column(n).to_pylist() for n in names if n in known}


def _parsed(name: str, kind: str, raw: dict[str, Any], size: int) -> Any:
    values = raw.get(name)
    if values is None:
        values = [None] * size
    if kind == "number":
        return _numbers(name, values)
    if kind == "text":
        return _texts(name, values)
    if kind == "flag":
        return _flags(name, values)
    return _emotions(name, values)


def _numbers(name: str, values: list[Any]) -> DoubleArray:
    for row, value in enumerate(values, start=1):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise EvaluationError(f"row {row}: {name} = {value!r} is not a number")
    return np.asarray([np.nan if v is None else v for v in values], dtype=np.float64)


def _texts(name: str, values: list[Any]) -> TextArray:
    # A fold or a speaker may well be numbered.
    whole = name in ("fold", "clip_id", "item_id")
    texts: list[str | None] = []
    for row, value in enumerate(values, start=1):
        if whole and isinstance(value, int) and not isinstance(value, bool):
            texts.append(str(value))
        elif value is None or isinstance(value, str):
            texts.append(value or None)
        else:
            raise EvaluationError(f"row {row}: {name} = {value!r} is not a text; convert it")
    return text_array(texts)


def _flags(name: str, values: list[Any]) -> IntArray:
    for row, value in enumerate(values, start=1):
        if value is not None and value not in (0, 1):
            raise EvaluationError(f"row {row}: {name} = {value!r} is not true or false")
    return np.asarray([UNKNOWN if value is None else int(value) for value in values])


def _emotions(name: str, values: list[Any]) -> IntArray:
    places = []
    for row, value in enumerate(values, start=1):
        try:
            places.append(UNKNOWN if value is None else Emotion(value).position)
        except ValueError as error:
            raise EvaluationError(
                f"row {row}: {name} = {value!r} is not one of {', '.join(EMOTIONS)}; map your "
                "labels to these, and leave out what fits none"
            ) from error
    return np.asarray(places, dtype=np.int64)


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading and writing predictions", "data") from error
    return pyarrow, pyarrow.parquet
