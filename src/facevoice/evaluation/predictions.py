"""A run: predictions written once to a folder, so that scoring reads files and never a model.

RUN/
├── run.json            what the run is about: `RunInfo`
├── emotions.parquet    one row a clip, `EMOTION_COLUMNS`; may be absent
├── conflicts.parquet   one row a pair of face and voice, `CONFLICT_COLUMNS`; may be absent
└── audits.json         audits that must fail: `AuditResult`s; may be absent

Both tables are pandas DataFrames with these columns, in this order. Text and emotions are str or
None, numbers float64 or NaN, flags boolean or NA. What is read may come from anybody: each message
names the file, the row and column, and the remedy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from facevoice.backbones.spec import UNKNOWN_CORPORA
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import Pair, PairBin, PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.metrics import import_extra
from facevoice.files import whole_folder
from facevoice.plain import parse_json, read_bounded
from facevoice.records import EMOTIONS, NUM_EMOTIONS, VERSION, BoolArray, DoubleArray

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT: Final = "facevoice-run/1"
"""Written into every `run.json`; a reader refuses what it does not know."""
INFO_FILE: Final = "run.json"
EMOTIONS_FILE: Final = "emotions.parquet"
CONFLICTS_FILE: Final = "conflicts.parquet"
AUDITS_FILE: Final = "audits.json"
_T = TypeVar("_T")
_SUM_TOLERANCE: Final = 1e-2
"""Posteriors may miss the sum of 1 by this much (half precision); they are scaled when scored."""
_OLDEST: Final = 130
_OWN_PREFIX: Final = "x_"
"""Columns of this prefix are a user's own and are passed over."""


class Channel(StrEnum):
    """Which part of a model speaks: the face alone, the voice alone, or both together."""

    FACE = "face"
    VOICE = "voice"
    FUSED = "fused"


class Target(StrEnum):
    """What is to be predicted; `in_words` says what each is.

    Targets are different questions; their figures are never mixed.
    """

    INTENDED = "intended"
    PERCEIVED_FACE = "perceived_face"
    PERCEIVED_VOICE = "perceived_voice"
    PERCEIVED_BOTH = "perceived_both"
    CONSTRUCTED_CONFLICT = "constructed_conflict"
    PERCEIVED_CONFLICT = "perceived_conflict"
    GRADED_CONFLICT = "graded_conflict"

    @property
    def is_conflict(self) -> bool:
        """Whether face against voice is asked for, not an emotion."""
        return self.value.endswith("_conflict")

    @property
    def in_words(self) -> str:
        """In words, for pages."""
        return _TITLES[self]


_TITLES: Final[dict[Target, str]] = {
    Target.INTENDED: "intended emotion",
    Target.PERCEIVED_FACE: "emotion perceived in the face",
    Target.PERCEIVED_VOICE: "emotion perceived in the voice",
    Target.PERCEIVED_BOTH: "emotion perceived in face and voice together",
    Target.CONSTRUCTED_CONFLICT: "constructed conflict (re-paired clips)",
    Target.PERCEIVED_CONFLICT: "perceived conflict (people's judgements differ)",
    Target.GRADED_CONFLICT: "graded conflict (made stimuli)",
}
TRUTH_COLUMNS: Final[dict[Target, str]] = {
    Target.INTENDED: "truth_intended",
    Target.PERCEIVED_FACE: "truth_face",
    Target.PERCEIVED_VOICE: "truth_voice",
    Target.PERCEIVED_BOTH: "truth_both",
}
"""The column that holds the truth of each emotion target."""
GROUP_COLUMNS: Final[dict[str, str]] = {
    "sex": "text",
    "age": "years",
    **dict.fromkeys(("race", "ethnicity", "language", "intensity"), "text"),
}
"""Whom a row is about; age in years."""
EMOTION_COLUMNS: Final[dict[str, str]] = {
    **dict.fromkeys(("clip_id", "corpus", "speaker", "fold"), "text"),
    **dict.fromkeys(TRUTH_COLUMNS.values(), "emotion"),
    **{f"{channel}_{emotion}": "number" for channel in Channel for emotion in EMOTIONS},
    **GROUP_COLUMNS,
}
"""Columns of `emotions.parquet` and their kinds; posteriors are NaN where there is no answer."""
CONFLICT_COLUMNS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("item_id", "corpus", "face_clip_id", "voice_clip_id", "speaker", "fold"), "text"
    ),
    "kind": "kind",
    "bin": "bin",
    **dict.fromkeys(("face_emotion", "voice_emotion"), "emotion"),
    "score": "number",
    "baseline_differs": "flag",
    "threshold": "number",
    "clarity": "number",
    **GROUP_COLUMNS,
}
"""Columns of `conflicts.parquet` and their kinds; see docs/evaluation.md."""
_NEEDED: Final = ("clip_id", "item_id", "corpus", "kind", "score")
"""Columns without which a row says nothing; `speaker` must be there, but may be empty."""
_KINDS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "text": (lambda value: isinstance(value, str), "is not a text; convert it"),
    "number": (
        lambda value: type(value) in (int, float) and math.isfinite(value),
        "is not a finite number; write one, or nothing",
    ),
    "years": (
        lambda value: type(value) in (int, float) and 0 < value <= _OLDEST,
        "is no age; give years, or nothing",
    ),
    "flag": (lambda value: value in (0, 1), "is not true or false"),
    "kind": (lambda value: value in [*PairKind], f"is not one of {', '.join(PairKind)}"),
    "bin": (lambda value: value in [*PairBin], f"is not one of {', '.join(PairBin)}"),
    "emotion": (
        lambda value: value in EMOTIONS,
        f"is not one of {', '.join(EMOTIONS)}; map your labels to these, and leave out what fits "
        "none",
    ),
}
"""Whether a value is of a kind, and what to say if not."""


# What a run is about


@dataclass(frozen=True, slots=True)
class UsedBackbone:
    """A frozen network behind a run.

    name: `id@revision`;
    training_corpora: every corpus whose clips it saw; None, or `UNKNOWN_CORPORA`, where that is
    not known.
    """

    name: str
    training_corpora: tuple[str, ...] | None

    @property
    def known_corpora(self) -> tuple[str, ...] | None:
        """`training_corpora`, None where they are not known."""
        return None if self.training_corpora == UNKNOWN_CORPORA else self.training_corpora


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that the run was made from, for example a manifest."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What must stand beside every figure of a run.

    name: short, as in file names; title: for people; model: what was run, in a sentence;
    corpora: those that the clips come from;
    protocol: how speakers were split, and where thresholds come from;
    command: what made the run;
    emotion_target: the truth that the headline emotion figures are held against;
    conflict_target: what "conflict" means in the conflict table;
    score_is_probability: whether conflict scores are probabilities, or any real numbers.
    """

    name: str
    title: str
    model: str
    corpora: tuple[str, ...]
    protocol: str
    command: str
    emotion_target: Target | None = None
    conflict_target: Target | None = None
    score_is_probability: bool = False
    backbones: tuple[UsedBackbone, ...] = ()
    data: tuple[DataFile, ...] = ()
    facevoice_version: str = VERSION
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("name", "title", "model", "protocol", "command"):
            if not getattr(self, name).strip():
                raise EvaluationError(f"{name} of a run is empty; say it for the reader")
        if not self.corpora:
            raise EvaluationError("a run names at least one corpus")
        if self.emotion_target is not None and self.emotion_target.is_conflict:
            raise EvaluationError(f"emotion_target {self.emotion_target!r} is no emotion")
        if self.conflict_target is not None and not self.conflict_target.is_conflict:
            raise EvaluationError(f"conflict_target {self.conflict_target!r} is no conflict")

    def seen_by(self, corpus: str) -> tuple[str, ...]:
        """Backbones that were trained on `corpus`; CREMA-D, crema_d and cremad are the same."""
        return tuple(
            backbone.name
            for backbone in self.backbones
            if _letters(corpus) in map(_letters, backbone.known_corpora or ())
        )


def _letters(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


# The folder


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Everything that scoring knows of a run.

    emotions, conflicts: tables as `emotion_predictions`, `conflict_predictions` or `read_run` give
    them, or None.
    """

    info: RunInfo
    emotions: DataFrame | None = None
    conflicts: DataFrame | None = None
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
            found = targets_of(self.emotions)
            if info.emotion_target not in found:
                raise EvaluationError(
                    f"emotion_target is {info.emotion_target}, but no clip has its truth; the "
                    f"table has {', '.join(found)}"
                )
        if self.conflicts is not None:
            if info.conflict_target is None:
                raise EvaluationError("conflicts are given: name the conflict_target of the run")
            lowest, highest = self.conflicts["score"].min(), self.conflicts["score"].max()
            if info.score_is_probability and not 0 <= lowest <= highest <= 1:
                raise EvaluationError(
                    f"scores go from {lowest:g} to {highest:g}, so they are no probabilities; set "
                    "score_is_probability to false"
                )
        for table in (self.emotions, self.conflicts):
            others = set() if table is None else set(table["corpus"]) - set(info.corpora)
            if others:
                raise EvaluationError(
                    f"corpus {min(others)!r} is in a table, but not among the run's corpora "
                    f"({', '.join(info.corpora)})"
                )


def write_run(
    folder: str | Path,
    info: RunInfo,
    emotions: DataFrame | None = None,
    conflicts: DataFrame | None = None,
    audits: Sequence[AuditResult] = (),
    *,
    overwrite: bool = False,
) -> Run:
    """Write a run to `folder`, whole or not at all; returns what was written.

    An empty folder is taken; with `overwrite` also one that holds a run, which is then replaced
    with all that is in it.

    Raises:
        EvaluationError: the run is not complete, or the folder is taken.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    folder = Path(folder)
    run = Run(info, emotions, conflicts, tuple(audits))
    _check_folder(folder, overwrite)
    with whole_folder(folder) as part:
        _write_json({"format": FORMAT, **asdict(info)}, part / INFO_FILE)
        if emotions is not None:
            _write_table(emotions, EMOTION_COLUMNS, part / EMOTIONS_FILE)
        if conflicts is not None:
            _write_table(conflicts, CONFLICT_COLUMNS, part / CONFLICTS_FILE)
        if audits:
            _write_json([asdict(audit) for audit in audits], part / AUDITS_FILE)
    return run


def read_run(folder: str | Path) -> Run:
    """Read and check a run.

    Raises:
        EvaluationError: something is absent, damaged or wrong; names file, row, column, remedy.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    folder = Path(folder)
    if not (folder / INFO_FILE).is_file():
        raise EvaluationError(
            f"{folder}: holds no {INFO_FILE}, so it is no run; docs/evaluation.md says what is in "
            "one"
        )
    readers: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "info": (INFO_FILE, _read_info),
        "emotions": (EMOTIONS_FILE, lambda path: _read_table(path, EMOTION_COLUMNS)),
        "conflicts": (CONFLICTS_FILE, lambda path: _read_table(path, CONFLICT_COLUMNS)),
        "audits": (AUDITS_FILE, lambda path: _convert(_json(path), tuple[AuditResult, ...])),
    }
    parts: dict[str, Any] = {}
    path = folder
    try:
        for name, (file, read) in readers.items():
            path = folder / file
            if path.is_file():
                parts[name] = read(path)
        path = folder
        return Run(**parts)
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from error


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


def _write_json(value: Any, path: Path) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _json(path: Path) -> Any:
    try:
        return parse_json(read_bounded(path))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"is no readable JSON ({error})") from error


def _read_info(path: Path) -> RunInfo:
    raw = _convert(_json(path), dict[str, Any])
    if raw.pop("format", None) != FORMAT:
        raise EvaluationError(f"format is not known here; write {FORMAT!r}")
    known = RunInfo.__dataclass_fields__
    for name in raw:
        if name not in known:
            raise EvaluationError(f"unknown field {name!r}; known: {', '.join(known)}")
    return _convert(raw, RunInfo)


def _convert(raw: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise EvaluationError(f"{error}; docs/evaluation.md says what is needed") from error


# The tables


def emotion_predictions(
    clips: Sequence[Clip],
    *,
    fold: Sequence[str | None] | None = None,
    face: npt.ArrayLike | None = None,
    voice: npt.ArrayLike | None = None,
    fused: npt.ArrayLike | None = None,
) -> DataFrame:
    """The table for these clips, with what the corpus says of them.

    face, voice, fused: (n, 8) posteriors, NaN rows where missing; None: the model has no such part.

    Raises:
        EvaluationError: lengths differ, or a row is no posterior.
    """
    columns: dict[str, Any] = {
        "clip_id": [clip.clip_id for clip in clips],
        "fold": fold,
        **_groups(clips),
        **{
            column: [getattr(clip.labels, column.removeprefix("truth_")) for clip in clips]
            for column in TRUTH_COLUMNS.values()
        },
    }
    for channel, given in zip(Channel, (face, voice, fused), strict=True):
        if given is not None:
            values = np.asarray(given, dtype=np.float64)
            if values.shape != (len(clips), NUM_EMOTIONS):
                raise EvaluationError(
                    f"{channel}: posteriors must be (n, {NUM_EMOTIONS}) for the {len(clips)} "
                    f"clips, got {values.shape}"
                )
            columns |= {f"{channel}_{name}": values[:, name.position] for name in EMOTIONS}
    return _table(columns, EMOTION_COLUMNS)


def conflict_predictions(
    pairs: Sequence[Pair],
    clips: Mapping[str, Clip],
    scores: npt.ArrayLike,
    *,
    fold: Sequence[str | None] | None = None,
    baseline_differs: npt.ArrayLike | None = None,
    threshold: npt.ArrayLike | None = None,
    clarity: npt.ArrayLike | None = None,
) -> DataFrame:
    """The table for these pairs; groups are those of the face's clip, by id in `clips`.

    scores (n,); baseline_differs (n,) bool; threshold, clarity (n,) or None.

    Raises:
        EvaluationError: lengths differ, a score is not finite, or a face's clip is not in `clips`.
    """
    absent = [pair.face_clip_id for pair in pairs if pair.face_clip_id not in clips]
    if absent:
        raise EvaluationError(f"clip {absent[0]!r} of a pair is not among the clips")
    names = ("face_clip_id", "voice_clip_id", "kind", "bin", "face_emotion", "voice_emotion")
    columns: dict[str, Any] = {
        **_groups([clips[pair.face_clip_id] for pair in pairs]),
        "item_id": [pair.pair_id for pair in pairs],
        "speaker": [pair.speaker for pair in pairs],
        **{name: [getattr(pair, name) for pair in pairs] for name in names},
        "fold": fold,
        "score": np.asarray(scores, dtype=np.float64),
        "baseline_differs": baseline_differs,
        "threshold": threshold,
        "clarity": clarity,
    }
    return _table(columns, CONFLICT_COLUMNS)


def targets_of(emotions: DataFrame) -> tuple[Target, ...]:
    """Targets of which at least one clip has the truth."""
    return tuple(target for target, name in TRUTH_COLUMNS.items() if emotions[name].notna().any())


def posteriors_of(emotions: DataFrame, channel: Channel) -> DoubleArray:
    """(n, 8) in the order of `Emotion`, rows of NaN where there is no answer."""
    names = [f"{channel}_{emotion}" for emotion in EMOTIONS]
    values: DoubleArray = emotions[names].to_numpy(dtype=np.float64, copy=True)
    return values


def has_answer(emotions: DataFrame, channel: Channel) -> BoolArray:
    """(n,) whether the channel has an answer."""
    missing = np.asarray(np.isnan(posteriors_of(emotions, channel)).all(axis=1), dtype=np.bool_)
    return ~missing


def is_conflict(conflicts: DataFrame) -> BoolArray:
    """(n,) whether the row is a conflict."""
    found: BoolArray = (conflicts["kind"] == PairKind.CONFLICT.value).to_numpy(dtype=bool)
    return found


def _groups(clips: Sequence[Clip]) -> dict[str, list[Any]]:
    """What the corpus says of each clip and its speaker."""
    return {
        "corpus": [clip.corpus for clip in clips],
        "speaker": [clip.speaker_key for clip in clips],
        **{name: [getattr(clip, name) for clip in clips] for name in GROUP_COLUMNS},
    }


def _read_table(path: Path, known: Mapping[str, str]) -> DataFrame:
    try:
        table = import_extra("pyarrow.parquet").read_table(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"is no readable Parquet file ({error}); write it again") from error
    names = table.column_names
    # pandas keeps an index in a column of this name where it is not a plain count.
    unknown = [n for n in names if n not in known and not n.startswith((_OWN_PREFIX, "__index"))]
    if unknown:
        raise EvaluationError(
            f"unknown column {unknown[0]!r}; known: {', '.join(known)}. Begin the name of a column "
            f"of your own with {_OWN_PREFIX!r}"
        )
    needed = [name for name in known if name in (*_NEEDED, "speaker")]
    absent = [name for name in needed if name not in names]
    if absent:
        raise EvaluationError(f"column {absent[0]!r} is missing; needed: {', '.join(needed)}")
    if table.num_rows == 0:
        raise EvaluationError("has no rows; leave the file out if there is nothing in it")
    for channel in Channel:
        parts = [name for e in EMOTIONS if (name := f"{channel}_{e}") in known]
        absent = [name for name in parts if name not in names]
        if 0 < len(absent) < len(parts):
            raise EvaluationError(
                f"column {absent[0]} is missing, though others of the {channel} are there; fill it "
                "with 0 if the model does not know this emotion"
            )
    return _table({n: table.column(n).to_pylist() for n in names if n in known}, known)


def _write_table(table: DataFrame, columns: Mapping[str, str], path: Path) -> None:
    arrow = import_extra("pyarrow")
    types = {"number": arrow.float64(), "years": arrow.float64(), "flag": arrow.bool_()}
    schema = arrow.schema([(n, types.get(kind, arrow.string())) for n, kind in columns.items()])
    made = arrow.Table.from_pandas(table, schema=schema, preserve_index=False)
    import_extra("pyarrow.parquet").write_table(made, path, compression="zstd")


def _table(values: Mapping[str, Any], columns: Mapping[str, str]) -> DataFrame:
    """The table of these columns, checked; a column that is None or not there is unknown.

    Raises:
        EvaluationError: a value is wrong; names column and row (counted from 1), and the remedy.
    """
    pd = import_extra("pandas")
    key = next(iter(columns))
    dtypes = {"number": "float64", "years": "float64", "flag": "boolean"}
    parts = {}
    for name, kind in columns.items():
        given = values.get(name)
        cells = _cells(name, kind, [None] * len(values[key]) if given is None else given)
        if len(cells) != len(values[key]):
            raise EvaluationError(
                f"column {name} has {len(cells)} rows, column {key} has {len(values[key])}"
            )
        parts[name] = pd.Series(cells, dtype=dtypes.get(kind, object))
    table: DataFrame = pd.DataFrame(parts)
    _check_keys(key, table)
    if key == "clip_id":
        _check_emotions(table)
    return table


def _cells(name: str, kind: str, values: Any) -> list[Any]:
    fits, remedy = _KINDS[kind]
    is_text = kind not in ("number", "years", "flag")
    cells: list[Any] = []
    for row, value in enumerate(np.asarray(values, dtype=object), start=1):
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            if name in _NEEDED:
                raise EvaluationError(
                    f"row {row}: {name} is empty; fill it, or leave such rows out and say so"
                )
            cells.append(None)
            continue
        # A fold or a clip may well be numbered.
        numbered = name in ("fold", "clip_id", "item_id") and type(value) is int
        if not (numbered or fits(value)):
            raise EvaluationError(f"row {row}: {name} = {value!r} {remedy}")
        cells.append(str(value) if is_text else value)
    return cells


def _check_keys(name: str, table: DataFrame) -> None:
    """Every row has an id of its own; a speaker is named within the corpus."""
    first: dict[str, int] = {}
    rows = zip(table[name], table["corpus"], table["speaker"], strict=True)
    for row, (key, corpus, speaker) in enumerate(rows, start=1):
        if key in first:
            raise EvaluationError(
                f"row {row}: {name} {key!r} is already in row {first[key]}; keep one of them"
            )
        if speaker is not None and speaker.removeprefix(f"{corpus}/") in ("", speaker):
            raise EvaluationError(
                f"row {row}: speaker {speaker!r} must be named as '{corpus}/NAME', since equal "
                "names in two corpora are two people"
            )
        first[key] = row


def _check_emotions(table: DataFrame) -> None:
    if not targets_of(table):
        names = ", ".join(TRUTH_COLUMNS.values())
        raise EvaluationError(f"no truth is given; fill at least one of {names}")
    if not any(has_answer(table, channel).any() for channel in Channel):
        raise EvaluationError("no channel has posteriors; fill face_*, voice_* or fused_*")
    for channel in Channel:
        values = posteriors_of(table, channel)
        with np.errstate(invalid="ignore"):
            fine = ((values >= 0) & (values <= 1 + _SUM_TOLERANCE)).all(axis=1)
            fine &= np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE
        bad = has_answer(table, channel) & ~fine
        if bad.any():
            row = int(np.argmax(bad))
            raise EvaluationError(
                f"row {row + 1}: {channel}_* = {values[row].round(4).tolist()} is no posterior: "
                "eight numbers of at least 0 that sum to 1 (0 for an emotion that the model does "
                "not know), or all empty where the channel is missing"
            )
