"""Columns of prediction tables, and the checks that name the row and the remedy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from facevoice.backbones.spec import UNKNOWN_CORPORA
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import Pair, PairBin, PairKind
from facevoice.errors import EvaluationError, MissingExtraError
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.bootstrap import Interval
from facevoice.evaluation.metrics import IntArray
from facevoice.files import whole_folder
from facevoice.records import EMOTIONS, NUM_EMOTIONS, VERSION, BoolArray, DoubleArray, Emotion

TextArray = npt.NDArray[np.object_]
UNKNOWN: Final = -1
"""Stands for an emotion, or a yes or no, that is not known."""
SUM_TOLERANCE: Final = 1e-2
"""Posteriors may miss the sum of 1 by this much (half precision); they are scaled when scored."""


def text_array(values: Iterable[str | None]) -> TextArray:
    """Texts (n,) with None where not known."""
    items = list(values)
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def emotion_array(values: Iterable[Emotion | None]) -> IntArray:
    """Positions (n,) of emotions, −1 where not known."""
    positions = [UNKNOWN if value is None else value.position for value in values]
    return np.asarray(positions, dtype=np.int64)


def check_keys(name: str, keys: TextArray, corpora: TextArray, speakers: TextArray) -> None:
    """Every row has an id of its own and a corpus; a speaker is named within the corpus.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    first: dict[str, int] = {}
    rows = zip(keys, corpora, speakers, strict=True)
    for row, (key, corpus, speaker) in enumerate(rows, start=1):
        if not key:
            raise EvaluationError(f"row {row}: {name} is empty; give each row an id")
        if key in first:
            raise EvaluationError(
                f"row {row}: {name} {key!r} is already in row {first[key]}; keep one of them"
            )
        if not corpus:
            raise EvaluationError(f"row {row}: corpus is empty; name where {key!r} is from")
        if speaker is not None and not (
            speaker.startswith(f"{corpus}/") and speaker[len(corpus) + 1 :]
        ):
            raise EvaluationError(
                f"row {row}: speaker {speaker!r} must be named as '{corpus}/NAME', since equal "
                "names in two corpora are two people"
            )
        first[key] = row


def check_posteriors(name: str, values: DoubleArray) -> None:
    """Each row (n, 8) is a posterior, or NaN throughout.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    if values.ndim != 2 or values.shape[1] != NUM_EMOTIONS:
        raise EvaluationError(f"{name}: posteriors must be (n, {NUM_EMOTIONS}), got {values.shape}")
    missing = np.isnan(values).all(axis=1)
    with np.errstate(invalid="ignore"):
        fine = (values >= 0).all(axis=1) & (values <= 1 + SUM_TOLERANCE).all(axis=1)
        fine &= np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE
    bad = ~(missing | fine)
    if bad.any():
        row = int(np.argmax(bad))
        raise EvaluationError(
            f"row {row + 1}: {name}_* = {values[row].round(4).tolist()} is no posterior: eight "
            "numbers of at least 0 that sum to 1 (0 for an emotion that the model does not know), "
            "or all empty where the channel is missing"
        )


def check_emotions(name: str, values: IntArray) -> None:
    """Positions of emotions, or −1.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    wrong = (values < UNKNOWN) | (values >= NUM_EMOTIONS)
    refuse_rows(wrong, name, values, "give the place of an emotion, or -1")


def check_words(name: str, values: TextArray, known: Sequence[str], *, needed: bool) -> None:
    """Every value is one of `known`; None is fine unless `needed`.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    allowed = set(known) if needed else {*known, None}
    wrong = np.asarray([value not in allowed for value in values], dtype=bool)
    refuse_rows(wrong, name, values, f"write one of {', '.join(known)}")


def refuse_rows(wrong: BoolArray, name: str, values: npt.NDArray[Any], remedy: str) -> None:
    """Name the first row that is wrong.

    Raises:
        EvaluationError: there is one.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row].item() if hasattr(values[row], "item") else values[row]
        more = f" (and {int(wrong.sum()) - 1} more rows)" if wrong.sum() > 1 else ""
        raise EvaluationError(f"row {row + 1}: {name} = {value!r}{more}: {remedy}")


# What a run of predictions is about: the target, the data, the backbones, the command.

FORMAT: Final = "facevoice-run/1"
"""Written into every `run.json`; a reader refuses what it does not know."""


class Channel(StrEnum):
    """Which part of a model speaks: the face alone, the voice alone, or both together."""

    FACE = "face"
    VOICE = "voice"
    FUSED = "fused"


class Target(StrEnum):
    """What is to be predicted. Targets are different questions; their figures are never mixed.

    intended: the emotion that the speaker was asked to express;
    perceived_face, perceived_voice: what people saw in the silent picture, heard in the sound;
    perceived_both: what people perceived in picture and sound together;
    constructed_conflict: face and voice of different clips, re-paired, by intended emotion;
    perceived_conflict: people's judgements of face and of voice differ;
    graded_conflict: stimuli made to differ by degrees.
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
EMOTION_TARGETS: Final = tuple(target for target in Target if not target.is_conflict)
CONFLICT_TARGETS: Final = tuple(target for target in Target if target.is_conflict)


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
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("name", "title", "model", "protocol", "command"):
            if not getattr(self, name).strip():
                raise EvaluationError(f"{name} of a run is empty: {_REMEDIES[name]}")
        if not self.corpora:
            raise EvaluationError("a run names at least one corpus")
        if self.emotion_target is not None and self.emotion_target.is_conflict:
            raise EvaluationError(f"emotion_target {self.emotion_target!r} is no emotion")
        if self.conflict_target is not None and not self.conflict_target.is_conflict:
            raise EvaluationError(f"conflict_target {self.conflict_target!r} is no conflict")


_REMEDIES: Final[dict[str, str]] = {
    "name": "give it a short one, as in file names",
    "title": "say what the run is, for people",
    "model": "say what was run",
    "protocol": "say how speakers were split",
    "command": "say what made the run",
}


def info_to_dict(info: RunInfo) -> dict[str, Any]:
    """For `run.json`."""
    return {"format": FORMAT, **asdict(info)}


def info_from_dict(raw: Any) -> RunInfo:
    """Read what `run.json` holds.

    Raises:
        EvaluationError: a field is missing, unknown or of another kind; named.
    """
    if not isinstance(raw, Mapping):
        raise EvaluationError("expected an object with the fields of a run")
    values = dict(raw)
    if values.pop("format", None) != FORMAT:
        raise EvaluationError(f"format = {raw.get('format')!r} is not known here; write {FORMAT!r}")
    known = RunInfo.__dataclass_fields__
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise EvaluationError(f"unknown field {unknown[0]!r}; known: {', '.join(known)}")
    for name in ("name", "title", "model", "corpora", "protocol", "command"):
        if name not in values:
            raise EvaluationError(f"field {name!r} is missing")
    return RunInfo(**{name: _field(name, value) for name, value in values.items()})


def _field(name: str, value: Any) -> Any:
    if name in ("emotion_target", "conflict_target"):
        return None if value is None else _target(name, value)
    if name in ("corpora", "notes"):
        return _texts_run_info(name, value)
    if name == "score_is_probability":
        if not isinstance(value, bool):
            raise EvaluationError(f"{name} = {value!r} is not true or false")
        return value
    if name == "backbones":
        return tuple(
            UsedBackbone(
                _text(f"{name}.name", entry.get("name")),
                None
                if entry.get("training_corpora") is None
                else _texts_run_info(f"{name}.training_corpora", entry["training_corpora"]),
            )
            for entry in _objects(name, value)
        )
    if name == "data":
        return tuple(
            DataFile(
                _text(f"{name}.name", entry.get("name")),
                _text(f"{name}.sha256", entry.get("sha256")),
            )
            for entry in _objects(name, value)
        )
    return _text(name, value)


def _target(name: str, value: Any) -> Target:
    try:
        return Target(value)
    except ValueError as error:
        raise EvaluationError(f"{name} = {value!r} is not one of {', '.join(Target)}") from error


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise EvaluationError(f"{name} = {value!r} is not a text")
    return value


def _texts_run_info(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise EvaluationError(f"{name} = {value!r} is not a list of texts")
    return tuple(_text(name, entry) for entry in value)


def _objects(name: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise EvaluationError(f"{name} = {value!r} is not a list of objects")
    return value


# Whether a figure is void because a backbone has seen the clips that it is scored on.


@dataclass(frozen=True, slots=True)
class Contamination:
    """What the run's backbones were trained on, held against the corpus that is scored.

    backbones: those that saw the corpus; unknown: those that nobody has published it of.
    """

    corpus: str
    backbones: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def is_contaminated(self) -> bool:
        """Whether figures of this corpus say nothing of new data."""
        return bool(self.backbones)


def find_contamination(info: RunInfo, corpus: str) -> Contamination:
    """Hold the run's backbones against `corpus`; CREMA-D, crema_d and cremad are the same."""
    seen, unknown = [], []
    for backbone in info.backbones:
        if backbone.known_corpora is None:
            unknown.append(backbone.name)
        elif _plain(corpus) in map(_plain, backbone.known_corpora):
            seen.append(backbone.name)
    return Contamination(corpus, tuple(seen), tuple(unknown))


def refuse_contaminated(info: RunInfo) -> None:
    """Make sure that no backbone has seen a corpus of the run.

    Raises:
        EvaluationError: one has; names backbone and corpus.
    """
    for corpus in info.corpora:
        found = find_contamination(info, corpus)
        if found.is_contaminated:
            raise EvaluationError(
                f"run {info.name!r}: {', '.join(found.backbones)} was trained on {corpus}, so that "
                f"every figure on {corpus} is contaminated; use another backbone or another corpus"
            )


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


# A run: predictions written once to a folder, so that scoring reads files and never a model.
#
# RUN/
# ├── run.json            what the run is about: `RunInfo`
# ├── emotions.parquet    one row a clip: `EmotionPredictions`; may be absent
# ├── conflicts.parquet   one row a pair: `ConflictPredictions`; may be absent
# └── audits.json         audits that must fail: `AuditResult`s; may be absent

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


# Prediction tables from clips and pairs, so that whoever predicts only adds numbers.


def emotion_predictions(
    clips: Sequence[Clip],
    *,
    fold: Sequence[str | None] | None = None,
    face: npt.ArrayLike | None = None,
    voice: npt.ArrayLike | None = None,
    fused: npt.ArrayLike | None = None,
) -> EmotionPredictions:
    """The table for these clips, with what the corpus says of them.

    face, voice, fused: (n, 8) posteriors, NaN rows where missing; None: the model has no such part.

    Raises:
        EvaluationError: lengths differ, or a row is no posterior.
    """
    size = len(clips)

    def posteriors(values: npt.ArrayLike | None) -> DoubleArray:
        if values is None:
            return np.full((size, NUM_EMOTIONS), np.nan)
        return np.asarray(values, dtype=np.float64)

    return EmotionPredictions(
        clip_id=text_array(clip.clip_id for clip in clips),
        corpus=text_array(clip.corpus for clip in clips),
        speaker=text_array(clip.speaker_key for clip in clips),
        fold=text_array([None] * size if fold is None else fold),
        truth_intended=emotion_array(clip.labels.intended for clip in clips),
        truth_face=emotion_array(clip.labels.face for clip in clips),
        truth_voice=emotion_array(clip.labels.voice for clip in clips),
        truth_both=emotion_array(clip.labels.both for clip in clips),
        face=posteriors(face),
        voice=posteriors(voice),
        fused=posteriors(fused),
        groups=Groups.of(clips),
    )


def conflict_predictions(
    pairs: Sequence[Pair],
    clips: Mapping[str, Clip],
    scores: npt.ArrayLike,
    *,
    fold: Sequence[str | None] | None = None,
    baseline_differs: npt.ArrayLike | None = None,
    threshold: npt.ArrayLike | None = None,
    clarity: npt.ArrayLike | None = None,
) -> ConflictPredictions:
    """The table for these pairs; groups are those of the face's clip, by id in `clips`.

    scores (n,); baseline_differs (n,) bool; threshold, clarity (n,) or None.

    Raises:
        EvaluationError: lengths differ, a score is not finite, or a face's clip is not in `clips`.
    """
    absent = [pair.face_clip_id for pair in pairs if pair.face_clip_id not in clips]
    if absent:
        raise EvaluationError(f"clip {absent[0]!r} of a pair is not among the clips")
    faces = [clips[pair.face_clip_id] for pair in pairs]
    nan = np.full(len(pairs), np.nan)
    unknown = np.full(len(pairs), UNKNOWN)
    return ConflictPredictions(
        item_id=text_array(pair.pair_id for pair in pairs),
        corpus=text_array(clip.corpus for clip in faces),
        face_clip_id=text_array(pair.face_clip_id for pair in pairs),
        voice_clip_id=text_array(pair.voice_clip_id for pair in pairs),
        speaker=text_array(pair.speaker for pair in pairs),
        fold=text_array([None] * len(pairs) if fold is None else fold),
        kind=text_array(pair.kind.value for pair in pairs),
        bin=text_array(pair.bin.value for pair in pairs),
        face_emotion=emotion_array(pair.face_emotion for pair in pairs),
        voice_emotion=emotion_array(pair.voice_emotion for pair in pairs),
        score=np.asarray(scores, dtype=np.float64),
        baseline_differs=np.asarray(
            unknown if baseline_differs is None else baseline_differs, dtype=np.int64
        ),
        threshold=np.asarray(nan if threshold is None else threshold, dtype=np.float64),
        clarity=np.asarray(nan if clarity is None else clarity, dtype=np.float64),
        groups=Groups.of(faces),
    )


# Posteriors over a corpus' own classes: restricted to them, with calm counted as neutral.


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a channel says of n clips that have a truth.

    truth (n,): places in `classes`; probs (n, K): sum to 1, NaN rows where there is no answer.
    """

    classes: tuple[Emotion, ...]
    truth: IntArray
    probs: DoubleArray

    @property
    def answered(self) -> BoolArray:
        """(n,) whether there is an answer."""
        missing = np.asarray(np.isnan(self.probs).any(axis=1), dtype=np.bool_)
        return ~missing

    @property
    def said(self) -> IntArray:
        """(n,) likeliest classes; K, which is no class, where there is no answer."""
        best = np.where(self.answered, np.nan_to_num(self.probs).argmax(axis=1), len(self.classes))
        return best.astype(np.int64)


def answers_of(table: EmotionPredictions, channel: Channel, target: Target) -> Answers:
    """Truth and answers of clips that are all of one corpus and all have the truth.

    The classes are those that the corpus is known to have, else those that occur in the truth.

    Raises:
        EvaluationError: a truth is none of the corpus' classes, or a posterior has nothing on them.
    """
    corpus = str(table.corpus[0])
    truth = table.truth(target)
    classes = corpus_classes(corpus, truth)
    places = np.full(len(EMOTIONS), UNKNOWN)
    places[[emotion.position for emotion in classes]] = np.arange(len(classes))
    probs = table.posteriors(channel)[:, [emotion.position for emotion in classes]].copy()
    if _folds_calm(classes):
        calm, neutral = Emotion.CALM.position, places[Emotion.NEUTRAL.position]
        places[calm] = neutral
        probs[:, neutral] += table.posteriors(channel)[:, calm]
    strange = places[truth] == UNKNOWN
    if strange.any():
        row = int(np.argmax(strange))
        raise EvaluationError(
            f"clip {table.clip_id[row]!r} is {EMOTIONS[truth[row]]} by its truth, which {corpus} "
            f"does not have ({', '.join(classes)}); correct it, or name the corpus otherwise"
        )
    sums = probs.sum(axis=1)
    if (sums == 0).any():
        row = int(np.argmax(sums == 0))
        raise EvaluationError(
            f"{int((sums == 0).sum())} posteriors of the {channel} (first: clip "
            f"{table.clip_id[row]!r}) have nothing on any class of {corpus} "
            f"({', '.join(classes)}); give these classes some probability, or leave the answer "
            "empty"
        )
    return Answers(classes, places[truth].astype(np.int64), probs / sums[:, np.newaxis])


def corpus_classes(corpus: str, truth: IntArray) -> tuple[Emotion, ...]:
    """The emotions of a corpus, in the order of `Emotion`; of an unknown one, those that occur."""
    if corpus in corpus_names():
        present = set(create_corpus(corpus).info.emotions)
    else:
        present = {EMOTIONS[place] for place in np.unique(truth[truth != UNKNOWN])}
    return tuple(emotion for emotion in EMOTIONS if emotion in present)


def _folds_calm(classes: tuple[Emotion, ...]) -> bool:
    return Emotion.NEUTRAL in classes and Emotion.CALM not in classes


# The two tables of predictions, column by column, checked when they are built.
#
# Texts are object arrays with None where something is not known; emotions are `Emotion.position`, −1
# where not known; numbers are float64, NaN where not known; yes or no is 1 or 0, −1 where not known.

_OLDEST: Final = 130

TRUTH_COLUMNS: Final[dict[Target, str]] = {
    Target.INTENDED: "truth_intended",
    Target.PERCEIVED_FACE: "truth_face",
    Target.PERCEIVED_VOICE: "truth_voice",
    Target.PERCEIVED_BOTH: "truth_both",
}
"""The column that holds the truth of each emotion target."""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """What both tables share: equal lengths, and rows by index."""

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        for name, length in lengths.items():
            if length != len(self):
                first = fields(self)[0].name
                raise EvaluationError(
                    f"column {name} has {length} rows, column {first} has {len(self)}"
                )

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: IntArray | BoolArray) -> Self:
        """The rows at these places, or where the mask says so."""
        parts = {}
        for member in fields(self):
            value = getattr(self, member.name)
            parts[member.name] = value.take(rows) if isinstance(value, _Table) else value[rows]
        return type(self)(**parts)


@dataclass(frozen=True, slots=True, eq=False)
class Groups(_Table):
    """Whom each row is about. (n,) each; age in years."""

    sex: TextArray
    age: DoubleArray
    race: TextArray
    ethnicity: TextArray
    language: TextArray
    intensity: TextArray

    def __post_init__(self) -> None:
        _Table.__post_init__(self)
        refuse_rows(
            (self.age <= 0) | (self.age > _OLDEST), "age", self.age, "give years, or nothing"
        )

    @classmethod
    def unknown(cls, size: int) -> Groups:
        """Nothing known of any of `size` rows."""
        none = np.full(size, None, dtype=object)
        return cls(none, np.full(size, np.nan), none, none, none, none)

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Groups:
        """What the corpus says of each clip's speaker."""
        ages = [np.nan if clip.age is None else float(clip.age) for clip in clips]
        return cls(
            sex=text_array(clip.sex for clip in clips),
            age=np.asarray(ages, dtype=np.float64),
            race=text_array(clip.race for clip in clips),
            ethnicity=text_array(clip.ethnicity for clip in clips),
            language=text_array(clip.language for clip in clips),
            intensity=text_array(clip.intensity for clip in clips),
        )


@dataclass(frozen=True, slots=True, eq=False)
class EmotionPredictions(_Table):
    """One row a clip, n rows.

    clip_id: unique; corpus: where it is from; speaker: `corpus/speaker`, None where nobody is
    named; fold: the fold in which it was tested;
    truth_intended, truth_face, truth_voice, truth_both: the truth of each target;
    face, voice, fused: (n, 8) posteriors in the order of `Emotion`, a row of NaN where the channel
    is missing or the model gave no answer.
    """

    clip_id: TextArray
    corpus: TextArray
    speaker: TextArray
    fold: TextArray
    truth_intended: IntArray
    truth_face: IntArray
    truth_voice: IntArray
    truth_both: IntArray
    face: DoubleArray
    voice: DoubleArray
    fused: DoubleArray
    groups: Groups

    def __post_init__(self) -> None:
        _Table.__post_init__(self)
        check_keys("clip_id", self.clip_id, self.corpus, self.speaker)
        for column in TRUTH_COLUMNS.values():
            check_emotions(column, getattr(self, column))
        for channel in Channel:
            check_posteriors(channel, self.posteriors(channel))
        if all(np.isnan(self.posteriors(channel)).all() for channel in Channel):
            raise EvaluationError("no channel has posteriors; fill face_*, voice_* or fused_*")
        if not self.targets:
            names = ", ".join(TRUTH_COLUMNS.values())
            raise EvaluationError(f"no truth is given; fill at least one of {names}")

    def truth(self, target: Target) -> IntArray:
        """Emotions (n,) that the clips have by this target."""
        values: IntArray = getattr(self, TRUTH_COLUMNS[target])
        return values

    def posteriors(self, channel: Channel) -> DoubleArray:
        """(n, 8), NaN where there are none."""
        values: DoubleArray = getattr(self, channel.value)
        return values

    @property
    def targets(self) -> tuple[Target, ...]:
        """Those of which at least one clip has the truth."""
        return tuple(t for t in EMOTION_TARGETS if (self.truth(t) != UNKNOWN).any())


@dataclass(frozen=True, slots=True, eq=False)
class ConflictPredictions(_Table):
    """One row a pair of a face and a voice (or a clip, for perceived conflicts), n rows.

    item_id: unique; face_clip_id, voice_clip_id: equal where a clip keeps its own sound;
    kind: `match`, `conflict` or `original`, see `PairKind`; bin: see `PairBin`, or None;
    face_emotion, voice_emotion: by the run's target;
    score: higher speaks for conflict, a probability if the run says so;
    baseline_differs: whether the likeliest emotion of the face and that of the voice differ;
    threshold: at and above it the score counts as conflict; fixed on this fold's validation part;
    clarity: how clear both channels are, for example the smaller of their highest posteriors.
    """

    item_id: TextArray
    corpus: TextArray
    face_clip_id: TextArray
    voice_clip_id: TextArray
    speaker: TextArray
    fold: TextArray
    kind: TextArray
    bin: TextArray
    face_emotion: IntArray
    voice_emotion: IntArray
    score: DoubleArray
    baseline_differs: IntArray
    threshold: DoubleArray
    clarity: DoubleArray
    groups: Groups

    def __post_init__(self) -> None:
        _Table.__post_init__(self)
        check_keys("item_id", self.item_id, self.corpus, self.speaker)
        for column in ("face_emotion", "voice_emotion"):
            check_emotions(column, getattr(self, column))
        check_words("kind", self.kind, [*PairKind], needed=True)
        check_words("bin", self.bin, [*PairBin], needed=False)
        refuse_rows(
            ~np.isfinite(self.score), "score", self.score, "leave such items out, and say so"
        )
        for column in ("threshold", "clarity"):
            values = getattr(self, column)
            refuse_rows(np.isinf(values), column, values, "give a finite number, or nothing")
        wrong = ~np.isin(self.baseline_differs, (UNKNOWN, 0, 1))
        refuse_rows(
            wrong, "baseline_differs", self.baseline_differs, "give true, false, or nothing"
        )

    def of_kind(self, *kinds: PairKind) -> ConflictPredictions:
        """The rows of these kinds."""
        return self.take(np.isin(self.kind.astype(str), [kind.value for kind in kinds]))

    @property
    def is_conflict(self) -> BoolArray:
        """(n,) whether the row is a conflict."""
        return np.asarray(self.kind.astype(str) == PairKind.CONFLICT.value, dtype=np.bool_)


# Prediction tables as Parquet files, for pandas, DuckDB and whoever brings a system of their own.
#
# What is read may come from anybody: each message names the file, the row and column, and the remedy.


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
