"""What is known of one clip of a corpus, and the table of many: JSON Lines or Parquet."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from facevoice.errors import CorpusError, MissingExtraError
from facevoice.files import write_atomically
from facevoice.plain import parse_json, read_bounded
from facevoice.records import Emotion, Outcome

FEMALE: Final = "female"
MALE: Final = "male"


@dataclass(frozen=True, slots=True)
class Labels:
    """What a clip is labelled with. The targets are kept apart, since they are not the same thing.

    intended: what the speaker was asked to express (acted corpora);
    face, voice: what people saw in the silent picture, or heard in the sound alone;
    both: what people perceived in picture and sound together;
    congruence: whether face and voice match, where that was judged or constructed.
    """

    intended: Emotion | None = None
    face: Emotion | None = None
    voice: Emotion | None = None
    congruence: Outcome | None = None
    both: Emotion | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One item of a corpus: an utterance with its picture, its sound, or both.

    clip_id: `corpus/stem`, unique over all corpora;
    speaker: the corpus' own name of the person, None where it names nobody;
    sentence: what is said, as a key that is equal for equal words, None for free speech;
    take: counts repetitions of the same speaker, sentence, emotion and intensity, from 1;
    language: ISO 639-1 code, None for pictures without speech;
    video_path: the film (or, for picture corpora, the still image);
    audio_path: the file to read the sound from: a separate sound file where the corpus has one,
    else the film itself; None where there is no sound;
    video_start_s: where the clip begins inside `video_path`, for corpora that ship whole dialogues;
    duration_s: None until somebody has probed the file, or the corpus says it;
    corpus_label: the corpus' own word or code for the emotion, also where it is none of the eight;
    intensity: the corpus' own word for how strongly the emotion was to be acted;
    split: the part of the corpus' published split that the clip belongs to.
    """

    clip_id: str
    corpus: str
    speaker: str | None
    sentence: str | None = None
    take: int | None = None
    language: str | None = None
    video_path: Path | None = None
    audio_path: Path | None = None
    duration_s: float | None = None
    labels: Labels = field(default_factory=Labels)
    video_start_s: float = 0.0
    corpus_label: str | None = None
    intensity: str | None = None
    sex: str | None = None
    age: int | None = None
    race: str | None = None
    ethnicity: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if not self.clip_id.startswith(f"{self.corpus}/"):
            raise CorpusError(
                f"clip {self.clip_id!r}: the id must begin with the corpus, '{self.corpus}/'"
            )
        if self.sex not in (None, FEMALE, MALE):
            raise CorpusError(f"clip {self.clip_id!r}: sex {self.sex!r} is not female or male")
        if not 0 <= self.video_start_s < math.inf:
            raise CorpusError(
                f"clip {self.clip_id!r}: video_start_s {self.video_start_s} is no time"
            )
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise CorpusError(
                f"clip {self.clip_id!r}: duration {self.duration_s} s is not positive"
            )

    @property
    def speaker_key(self) -> str | None:
        """The speaker's name over all corpora, `corpus/speaker`; None where nobody is named."""
        return None if self.speaker is None else f"{self.corpus}/{self.speaker}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The clip's files, each once: its picture, then its sound."""
        return tuple(dict.fromkeys(p for p in (self.video_path, self.audio_path) if p is not None))


def require_speaker(clip: Clip) -> str:
    """The clip's speaker over all corpora.

    Raises:
        CorpusError: the corpus does not say who is in the clip.
    """
    key = clip.speaker_key
    if key is None:
        raise CorpusError(
            f"clip {clip.clip_id!r} names no speaker, so nothing can be split by speaker; "
            f"use the published split of {clip.corpus}"
        )
    return key


def require_duration_s(clip: Clip) -> float:
    """The clip's duration.

    Raises:
        CorpusError: it is not known.
    """
    if clip.duration_s is None:
        raise CorpusError(
            f"clip {clip.clip_id!r}: the duration is not known; probe it first "
            "(`facevoice data prepare` without --no-probe)"
        )
    return clip.duration_s


def clips_by_id(clips: Iterable[Clip]) -> dict[str, Clip]:
    """Index clips by their id.

    Raises:
        CorpusError: an id occurs twice.
    """
    index: dict[str, Clip] = {}
    for clip in clips:
        if clip.clip_id in index:
            raise CorpusError(f"clip id {clip.clip_id!r} occurs twice")
        index[clip.clip_id] = clip
    return index


_MAX_BYTES: Final = 1 << 30
_MAX_ROWS: Final = 5_000_000
_LABELS: Final[dict[str, type]] = {
    item.name: Outcome if item.name == "congruence" else Emotion for item in fields(Labels)
}
_KINDS: Final[dict[str, type]] = {
    **dict.fromkeys(("take", "age"), int),
    **dict.fromkeys(("video_path", "audio_path"), Path),
    **dict.fromkeys(("duration_s", "video_start_s"), float),
}
_SCHEMA: Final[dict[str, type]] = {
    item.name: _KINDS.get(item.name, str) for item in fields(Clip) if item.name != "labels"
} | _LABELS

COLUMNS: Final[tuple[str, ...]] = tuple(_SCHEMA)
"""Names of the manifest's columns, in order."""


def write_manifest(clips: Iterable[Clip], path: Path, root: Path | None = None) -> int:
    """Write clips to `path` (.jsonl or .parquet), whole or not at all; returns their number.

    Paths below `root` are written relative to it, so that the table can move with its corpora.

    Raises:
        CorpusError: a clip id occurs twice, or the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """

    def row(clip: Clip) -> dict[str, Any]:
        values = {name: getattr(clip.labels if name in _LABELS else clip, name) for name in _SCHEMA}
        for name in ("video_path", "audio_path"):
            file: Path | None = values[name]
            if file is not None and root is not None and file.is_relative_to(root):
                values[name] = file.relative_to(root)
        return values

    rows = [row(clip) for clip in clips_by_id(clips).values()]
    write_rows(rows, path, _SCHEMA)
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
    folder = path.parent if root is None else root
    clips: list[Clip] = []
    first_line: dict[str, int] = {}
    for line, row in _raw_rows(path):
        try:
            clip = _build(row, folder)
        except CorpusError as error:
            raise CorpusError(f"{path}:{line}: {error}") from error
        first = first_line.setdefault(clip.clip_id, line)
        if first != line:
            raise CorpusError(
                f"{path}:{line}: clip {clip.clip_id!r} occurs already in line {first}"
            )
        clips.append(clip)
    return tuple(clips)


def _build(row: Mapping[str, Any], folder: Path) -> Clip:
    unknown = sorted(row.keys() - _SCHEMA.keys())
    if unknown:
        raise CorpusError(f"unknown column {unknown[0]!r}; known: {', '.join(_SCHEMA)}")
    for name in ("clip_id", "corpus"):
        if row.get(name) is None:
            raise CorpusError(f"{name} is missing")
    values = {n: _checked(n, v, _SCHEMA[n]) for n, v in row.items() if v is not None}
    labels = Labels(**{name: values.pop(name) for name in _LABELS if name in values})
    for name in ("video_path", "audio_path"):
        if name in values:
            if "\0" in str(values[name]):
                raise CorpusError(f"{name} = {str(values[name])!r} is no path")
            values[name] = folder / values[name]
    return Clip(**{"speaker": None, **values}, labels=labels)


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path, schema: Mapping[str, type]) -> None:
    """Write a table with the columns of `schema` as .jsonl or .parquet, whole or not at all.

    Raises:
        CorpusError: the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """
    plain = [{name: _plain(row[name]) for name in schema} for row in rows]
    content: str | bytes
    if path.suffix == ".jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plain)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        kinds = {int: arrow.int64(), float: arrow.float64()}
        columns = [(name, kinds.get(kind, arrow.string())) for name, kind in schema.items()]
        file = io.BytesIO()
        parquet.write_table(arrow.Table.from_pylist(plain, schema=arrow.schema(columns)), file)
        content = file.getvalue()
    else:
        raise CorpusError(f"{path}: a table ends in .jsonl or .parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _raw_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        try:
            file = parquet.ParquetFile(path)
            if file.metadata.num_rows > _MAX_ROWS:
                raise ValueError(f"{file.metadata.num_rows} rows, more than {_MAX_ROWS}")
            rows = file.read().to_pylist()
        except (OSError, ValueError, arrow.ArrowException) as error:
            raise CorpusError(f"{path}: is no readable Parquet file ({error})") from error
        yield from enumerate(rows, start=1)
        return
    try:
        lines = read_bounded(path, _MAX_BYTES).decode("utf-8-sig").split("\n")
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: is no text in UTF-8 ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise CorpusError(f"{path}:{number}: is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{path}:{number}: expected an object, got {line.strip()!r}")
        yield number, row


def _checked(name: str, value: Any, kind: Any) -> Any:
    if issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError as error:
            raise CorpusError(f"{name} = {value!r} is not one of {', '.join(kind)}") from error
    wanted = str if kind is Path else kind
    # bool is an int to isinstance, and whole seconds come as int from JSON.
    if type(value) is wanted or (kind is float and type(value) is int):
        return kind(value)
    raise CorpusError(f"{name} = {value!r} is not of type {wanted.__name__}")


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return value.as_posix()
    return str(value) if isinstance(value, str) else value


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading and writing Parquet", "data") from error
    return pyarrow, pyarrow.parquet
