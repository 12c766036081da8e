"""One validated table of clips, as JSON Lines (no extra needed) or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from facevoice.data.clips import Clip, Labels, clips_by_id
from facevoice.errors import CorpusError, MissingExtraError
from facevoice.labels import Emotion, Outcome

_LABEL_TYPES: Final[dict[str, type[Emotion] | type[Outcome]]] = {
    "intended": Emotion,
    "face": Emotion,
    "voice": Emotion,
    "congruence": Outcome,
    "both": Emotion,
}
_PATHS: Final = ("video_path", "audio_path")
_PLAIN: Final[dict[str, type]] = {
    "clip_id": str,
    "corpus": str,
    "speaker": str,
    "sentence": str,
    "take": int,
    "language": str,
    "video_path": str,
    "audio_path": str,
    "duration_s": float,
    "video_start_s": float,
    "corpus_label": str,
    "intensity": str,
    "sex": str,
    "age": int,
    "race": str,
    "ethnicity": str,
    "split": str,
}
_REQUIRED: Final = ("clip_id", "corpus")

COLUMNS: Final[tuple[str, ...]] = (*_PLAIN, *_LABEL_TYPES)
"""Names of the table's columns, in order."""


def write_manifest(clips: Iterable[Clip], path: Path, root: Path | None = None) -> int:
    """Write clips to `path` (.jsonl or .parquet), whole or not at all; returns their number.

    Paths below `root` are written relative to it, so that the table can move with its corpora.

    Raises:
        CorpusError: a clip id occurs twice, or the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """
    rows = [_to_row(clip, root) for clip in clips_by_id(list(clips)).values()]
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        with part.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
        schema = arrow.schema([(name, kinds[_PLAIN.get(name, str)]) for name in COLUMNS])
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), part)
    else:
        raise CorpusError(f"{path}: a manifest ends in .jsonl or .parquet")
    part.replace(path)
    return len(rows)


def read_manifest(path: Path, root: Path | None = None) -> tuple[Clip, ...]:
    """Read and validate a manifest.

    Args:
        path: a .parquet file, or JSON Lines.
        root: relative paths are taken from here; by default from the manifest's own folder.

    Raises:
        CorpusError: the file is absent or damaged, or a row is wrong; names file and line (row).
        MissingExtraError: the file is Parquet and pyarrow is not installed.
    """
    root = path.parent if root is None else root
    clips: list[Clip] = []
    first_line: dict[str, int] = {}
    for line, row in _read_rows(path):
        try:
            clip = _from_row(row, root)
        except CorpusError as error:
            raise CorpusError(f"{path}:{line}: {error}") from error
        if clip.clip_id in first_line:
            raise CorpusError(
                f"{path}:{line}: clip {clip.clip_id!r} occurs already in line "
                f"{first_line[clip.clip_id]}"
            )
        first_line[clip.clip_id] = line
        clips.append(clip)
    return tuple(clips)


def check_files(clips: Iterable[Clip]) -> None:
    """Make sure that every clip's files exist.

    Raises:
        CorpusError: one does not, or a clip has none; named.
    """
    for clip in clips:
        paths = [path for path in (clip.video_path, clip.audio_path) if path is not None]
        if not paths:
            raise CorpusError(f"clip {clip.clip_id!r} has neither picture nor sound")
        for path in paths:
            if not path.is_file():
                raise CorpusError(f"clip {clip.clip_id!r}: {path} does not exist")


def _read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".parquet":
        _, parquet = _import_parquet()
        try:
            rows = parquet.read_table(path).to_pylist()
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path}: is no readable Parquet file ({error})") from error
        yield from enumerate(rows, start=1)
        return
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise CorpusError(f"{path}:{number}: expected an object, got {line.strip()!r}")
                yield number, row
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}:{number}: is not JSON ({error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: can't be read ({error})") from error


def _to_row(clip: Clip, root: Path | None) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(clip, name) for name in _PLAIN}
    for name in _PATHS:
        file: Path | None = row[name]
        if file is not None:
            inside = root is not None and file.is_relative_to(root)
            row[name] = (file.relative_to(root) if root and inside else file).as_posix()
    for name in _LABEL_TYPES:
        label = getattr(clip.labels, name)
        row[name] = None if label is None else str(label)
    return row


def _from_row(row: Mapping[str, Any], root: Path) -> Clip:
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise CorpusError(f"unknown column {unknown[0]!r}; known: {', '.join(COLUMNS)}")
    values: dict[str, Any] = {}
    for name, kind in _PLAIN.items():
        value: Any = row.get(name)
        if value is None:
            if name in _REQUIRED:
                raise CorpusError(f"{name} is missing")
            continue
        if not _is_of(value, kind):
            raise CorpusError(f"{name} = {value!r} is not of type {kind.__name__}")
        values[name] = root / str(value) if name in _PATHS else kind(value)
    return Clip(**{"speaker": None, **values}, labels=_labels(row))


def _is_of(value: object, kind: type) -> bool:
    # bool is an int to isinstance, and whole seconds come as int from JSON.
    return type(value) is kind or (kind is float and type(value) is int)


def _labels(row: Mapping[str, Any]) -> Labels:
    labels: dict[str, Emotion | Outcome] = {}
    for name, kind in _LABEL_TYPES.items():
        value = row.get(name)
        if value is None:
            continue
        try:
            labels[name] = kind(value)
        except ValueError as error:
            raise CorpusError(f"{name} = {value!r} is not one of {', '.join(kind)}") from error
    return Labels(**labels)  # type: ignore[arg-type]


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading and writing Parquet", "data") from error
    return pyarrow, pyarrow.parquet
