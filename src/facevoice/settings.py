"""Settings as frozen dataclasses, from TOML tables and back; names and types are checked."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from facevoice.errors import ConfigError

Settings = TypeVar("Settings")


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Check one setting.

    Raises:
        ConfigError: `condition` does not hold; names the setting and what is allowed.
    """
    if not condition:
        raise ConfigError(f"setting {name} = {value!r} is not allowed: {allowed}")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is absent or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML ({error})") from error


def build_settings(kind: type[Settings], values: object, where: str = "settings") -> Settings:
    """A settings dataclass from nested plain values; what is left out keeps its default.

    Fields may be bool, int, float, str, a str enumeration, a tuple of these, or settings again.

    Raises:
        ConfigError: a name is unknown, a value has the wrong type or is out of range.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a table of settings, got {values!r}")
    hints = typing.get_type_hints(kind)
    unknown = [name for name in values if name not in hints]
    if unknown:
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(hints)}")
    arguments = {
        name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()
    }
    return kind(**arguments)


def plain_settings(settings: Any) -> dict[str, Any]:
    """As nested plain dictionaries, for TOML and JSON; unset optional values are left out."""
    plain = {
        field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)
    }
    return {name: value for name, value in plain.items() if value is not None}


def format_toml(values: Mapping[str, Any]) -> str:
    """Plain values, and tables of them to any depth, as TOML; single values come first."""
    return "\n".join(_table_lines(values, ())).strip() + "\n"


def set_value(values: dict[str, Any], assignment: str) -> None:
    """Change nested values by one `section.name=value`; the value is read as TOML, else as text.

    Raises:
        ConfigError: it is no assignment.
    """
    name, equals, text = assignment.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {assignment!r}: write SECTION.NAME=VALUE")
    table = values
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {assignment!r}: {key} is no section")
    table[keys[-1]] = _read_value(text.strip())


def _read_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _convert(wanted: Any, value: Any, where: str) -> Any:
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        wanted = next(kind for kind in typing.get_args(wanted) if kind is not type(None))
    if typing.get_origin(wanted) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{where} = {value!r} is not a list")
        return tuple(_convert(typing.get_args(wanted)[0], item, where) for item in value)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return build_settings(wanted, value, where)
    if issubclass(wanted, Enum):
        try:
            return wanted(value)
        except ValueError as error:
            known = ", ".join(str(member.value) for member in wanted)
            raise ConfigError(f"{where} = {value!r} is not known: {known}") from error
    return _scalar(wanted, value, where)


def _scalar(wanted: type, value: Any, where: str) -> Any:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    is_bool = isinstance(value, bool)
    if wanted is float and isinstance(value, int | float) and not is_bool:
        return float(value)
    if isinstance(value, wanted) and is_bool == (wanted is bool):
        return value
    raise ConfigError(f"{where} = {value!r} is not {words.get(wanted, wanted.__name__)}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return plain_settings(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _table_lines(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"[{'.'.join(path)}]"] if path else []
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines += [f"{name} = {_text(value)}" for name, value in values.items() if name not in tables]
    lines.append("")
    for name, table in tables.items():
        lines += _table_lines(table, (*path, name))
    return lines


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return repr(value)


# All settings, checked when they are built, readable from and writable to TOML.


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"setting {name} = {value!r} is not allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class FacesConfig:
    """How faces are sampled, found, followed and cropped."""

    detector: str = "mtcnn"
    """Name in the detector registry."""
    sample_rate_hz: float = 5.0
    """Frames per second of media time in which faces are followed and cropped."""
    exact_frames: bool = False
    """Take the very frame on display at each sampled time. Otherwise one at most half a sampling
    period away will do, if the decoder can then leave out a frame on which no other depends."""
    detect_rate_hz: float = 0.625
    """Full detections per second; in the sampled frames between, known faces are followed."""
    max_side_px: int = 640
    """Frames are scaled down until their longer side is at most this."""
    min_face_px: int = 40
    """Smallest face looked for, in pixels of the scaled frame."""
    min_score: float = 0.9
    """Detections below this are dropped."""
    crop_px: int = 120
    """Side of the aligned square crops handed to backbones."""

    def __post_init__(self) -> None:
        _require(0.2 <= self.sample_rate_hz <= 60, "sample_rate_hz", self.sample_rate_hz, "0.2–60")
        _require(
            0 < self.detect_rate_hz <= self.sample_rate_hz,
            "detect_rate_hz",
            self.detect_rate_hz,
            "above 0, at most sample_rate_hz",
        )
        _require(64 <= self.max_side_px <= 8192, "max_side_px", self.max_side_px, "64–8192")
        _require(12 <= self.min_face_px <= 1024, "min_face_px", self.min_face_px, "12–1024")
        _require(0 < self.min_score < 1, "min_score", self.min_score, "between 0 and 1")
        _require(32 <= self.crop_px <= 512, "crop_px", self.crop_px, "32–512")


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How speech is told from other sound."""

    threshold: float = 0.5
    """A 32-ms chunk counts as speech from this voice-activity probability on."""

    def __post_init__(self) -> None:
        _require(0 < self.threshold < 1, "threshold", self.threshold, "between 0 and 1")


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """How a file is cut into windows."""

    length_s: float = 4.0
    """Length of a window; a shorter file is one window."""
    hop_s: float = 2.0
    """Distance between the starts of neighbouring windows."""

    def __post_init__(self) -> None:
        _require(0.5 <= self.length_s <= 10, "length_s", self.length_s, "0.5–10 seconds")
        _require(0.1 <= self.hop_s <= self.length_s, "hop_s", self.hop_s, "0.1 s to length_s")


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    """How much evidence a channel must give before it is scored."""

    min_face_coverage: float = 0.25
    """Share of the sampled frames that must show the leading face."""
    min_speech_s: float = 0.4
    """Seconds of speech that a window must hold."""
    min_window_s: float = 0.4
    """Windows shorter than this are not scored."""

    def __post_init__(self) -> None:
        _require(
            0 < self.min_face_coverage <= 1, "min_face_coverage", self.min_face_coverage, "0–1"
        )
        _require(self.min_speech_s > 0, "min_speech_s", self.min_speech_s, "above 0")
        _require(self.min_window_s > 0, "min_window_s", self.min_window_s, "above 0")


@dataclass(frozen=True, slots=True)
class AnalyzerConfig:
    """Everything that changes what an analysis says; written into every report."""

    model: str = "compact"
    """Model: compact, or in a report the name of the checkpoint that was used."""
    faces: FacesConfig = field(default_factory=FacesConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)

    def to_dict(self) -> dict[str, Any]:
        """As nested plain dictionaries, for TOML and JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AnalyzerConfig:
        """Build from nested dictionaries.

        Raises:
            ConfigError: a name is unknown or a value out of range.
        """
        sections = {
            "faces": FacesConfig,
            "speech": SpeechConfig,
            "windows": WindowConfig,
            "decision": DecisionConfig,
        }
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            if name in sections:
                arguments[name] = _build(sections[name], value, f"[{name}]")
            else:
                arguments[name] = value
        config = _build(cls, arguments, "settings")
        if not isinstance(config, cls):
            raise ConfigError("settings do not form an AnalyzerConfig")
        return config

    @classmethod
    def from_toml(cls, path: Path) -> AnalyzerConfig:
        """Read a TOML file; see `configs/` for one with every setting.

        Raises:
            ConfigError: the file is absent, not TOML, or holds an unknown or wrong setting.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: is not valid TOML ({error})") from error
        return cls.from_dict(values)


def _build(kind: type[Any], values: object, where: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected a table of settings, got {values!r}")
    known = {f.name: f for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{where}: unknown setting {name!r}; known: {', '.join(known)}")
        wanted = known[name].type
        if wanted in ("float", "int") and (
            isinstance(value, bool) or not isinstance(value, int | float)
        ):
            raise ConfigError(f"{where}: {name} = {value!r} is not a number")
        if wanted == "int" and not isinstance(value, int):
            raise ConfigError(f"{where}: {name} = {value!r} is not a whole number")
        if wanted == "bool" and not isinstance(value, bool):
            raise ConfigError(f"{where}: {name} = {value!r} is neither true nor false")
        if wanted == "str" and not isinstance(value, str):
            raise ConfigError(f"{where}: {name} = {value!r} is not text")
    return kind(**values)
