"""A table of pairs, each with the length that it is cut to, as JSON Lines or Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.data.pair_plan import Pair, PairBin, PairKind, pair_bin
from facevoice.errors import CorpusError, MissingExtraError
from facevoice.labels import Emotion

PARTS: Final = ("train", "validation", "test")
"""The parts of a split."""

_TYPES: Final[dict[str, type]] = {
    "pair_id": str,
    "kind": PairKind,
    "bin": PairBin,
    "face_clip_id": str,
    "voice_clip_id": str,
    "speaker": str,
    "sentence": str,
    "face_emotion": Emotion,
    "voice_emotion": Emotion,
    "length_s": float,
    "part": str,
}
_OPTIONAL: Final = "part"

PAIR_COLUMNS: Final[tuple[str, ...]] = tuple(_TYPES)
"""Names of the table's columns, in order."""


@dataclass(frozen=True, slots=True)
class TimedPair:
    """A pair, and the seconds from their starts to which its face and its voice are both cut.

    part: of the split that the pair was made in, None without one.
    """

    pair: Pair
    length_s: float
    part: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.length_s < math.inf:
            raise CorpusError(f"length_s = {self.length_s} is not positive")
        if self.part is not None and self.part not in PARTS:
            raise CorpusError(f"part = {self.part!r} is not one of {', '.join(PARTS)}")


def write_pairs(pairs: Iterable[TimedPair], path: Path) -> int:
    """Write pairs to `path` (.jsonl or .parquet), whole or not at all; returns their number.

    Raises:
        CorpusError: a pair occurs twice, or the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """
    rows = [pair_row(pair) for pair in pairs]
    _check_once((place, row["pair_id"]) for place, row in enumerate(rows, start=1))
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        with part.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        kinds = {
            name: arrow.float64() if kind is float else arrow.string()
            for name, kind in _TYPES.items()
        }
        schema = arrow.schema(list(kinds.items()))
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), part)
    else:
        raise CorpusError(f"{path}: a table of pairs ends in .jsonl or .parquet")
    part.replace(path)
    return len(rows)


def read_pairs(path: Path) -> tuple[TimedPair, ...]:
    """Read and validate a table of pairs.

    Raises:
        CorpusError: the file is absent or damaged, or a row is wrong; names file and line (row).
        MissingExtraError: the file is Parquet and pyarrow is not installed.
    """
    pairs: list[TimedPair] = []
    places: list[tuple[int, str]] = []
    for line, row in _read_rows(path):
        try:
            pairs.append(_from_row(row))
        except CorpusError as error:
            raise CorpusError(f"{path}:{line}: {error}") from error
        places.append((line, pairs[-1].pair.pair_id))
    try:
        _check_once(places)
    except CorpusError as error:
        raise CorpusError(f"{path}:{error}") from error
    return tuple(pairs)


def lengths_by_clip(pairs: Iterable[TimedPair]) -> dict[str, float]:
    """Seconds to which each clip of the pairs is cut, by clip id.

    Raises:
        CorpusError: a clip is cut to different lengths.
    """
    lengths: dict[str, float] = {}
    for timed in pairs:
        for clip_id in (timed.pair.face_clip_id, timed.pair.voice_clip_id):
            if lengths.setdefault(clip_id, timed.length_s) != timed.length_s:
                raise CorpusError(
                    f"clip {clip_id!r} is cut to {lengths[clip_id]} s and to {timed.length_s} s"
                )
    return lengths


def pair_row(timed: TimedPair) -> dict[str, str | float | None]:
    """The table's row."""
    values = {name: getattr(timed.pair, name, None) for name in _TYPES}
    values |= {"length_s": timed.length_s, "part": timed.part}
    return {
        name: str(values[name]) if isinstance(values[name], str) else values[name]
        for name in _TYPES
    }


def _from_row(row: Mapping[str, Any]) -> TimedPair:
    unknown = sorted(set(row) - set(_TYPES))
    if unknown:
        raise CorpusError(f"unknown column {unknown[0]!r}; known: {', '.join(_TYPES)}")
    values = {name: _value(name, row.get(name)) for name in _TYPES}
    pair_id, length_s, part = (values.pop(name) for name in ("pair_id", "length_s", "part"))
    pair = Pair(**values)
    if pair.pair_id != pair_id:
        raise CorpusError(f"pair_id = {pair_id!r}, but kind and clips make {pair.pair_id!r}")
    if pair.is_conflict == (pair.face_emotion == pair.voice_emotion):
        raise CorpusError(
            f"kind = {pair.kind}, but face and voice are {pair.face_emotion} and "
            f"{pair.voice_emotion}"
        )
    if (pair.kind is PairKind.ORIGINAL) != (pair.face_clip_id == pair.voice_clip_id):
        raise CorpusError(f"kind = {pair.kind}, but the clips are {pair_id.partition(':')[2]}")
    if pair.bin is not pair_bin(pair.face_emotion, pair.voice_emotion):
        raise CorpusError(f"bin = {pair.bin} is not that of the two emotions")
    return TimedPair(pair, length_s, part)


def _value(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    if value is None:
        if name == _OPTIONAL:
            return None
        raise CorpusError(f"{name} is missing")
    if kind is float:
        # Whole seconds come as int from JSON; bool is an int to isinstance.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CorpusError(f"{name} = {value!r} is not a number")
        return float(value)
    if not isinstance(value, str):
        raise CorpusError(f"{name} = {value!r} is not text")
    try:
        return kind(value)
    except ValueError as error:
        choices = ", ".join(iter(kind))  # type: ignore[call-overload]
        raise CorpusError(f"{name} = {value!r} is not one of {choices}") from error


def _check_once(places: Iterable[tuple[int, Any]]) -> None:
    first: dict[Any, int] = {}
    for line, pair_id in places:
        if first.setdefault(pair_id, line) != line:
            raise CorpusError(f"{line}: pair {pair_id} occurs already in line {first[pair_id]}")


def _read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".jsonl":
        yield from _read_lines(path)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        try:
            rows = parquet.read_table(path).to_pylist()
        except (OSError, arrow.ArrowException) as error:
            raise CorpusError(f"{path}: can't be read ({error}); make the pairs again") from error
        yield from enumerate(rows, start=1)
    else:
        raise CorpusError(f"{path}: a table of pairs ends in .jsonl or .parquet")


def _read_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: can't be read ({error}); make the pairs again") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{path}:{number}: is not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise CorpusError(f"{path}:{number}: is not a row of columns")
        yield number, row


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading and writing Parquet", "data") from error
    return pyarrow, pyarrow.parquet
