"""What a run of predictions is about: the target, the data, the backbones, the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from facevoice.errors import EvaluationError
from facevoice.features.backbone import UNKNOWN_CORPORA
from facevoice.version import VERSION

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
        return _texts(name, value)
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
                else _texts(f"{name}.training_corpora", entry["training_corpora"]),
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


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise EvaluationError(f"{name} = {value!r} is not a list of texts")
    return tuple(_text(name, entry) for entry in value)


def _objects(name: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise EvaluationError(f"{name} = {value!r} is not a list of objects")
    return value
