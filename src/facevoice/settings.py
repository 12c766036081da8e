"""Settings as frozen dataclasses, from plain values (TOML, JSON) and back; all of them checked."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import tomli_w

from facevoice.errors import ConfigError
from facevoice.plain import parse_toml, read_bounded

Settings = TypeVar("Settings")

_MAX_TOML_BYTES: Final = 1 << 20
_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a table of settings",
    "str": "text",
}


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Check one setting.

    Raises:
        ConfigError: `condition` does not hold; names the setting and what is allowed.
    """
    if not condition:
        raise ConfigError(f"setting {name} = {value!r:.200} is not allowed: {allowed}")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: the file is absent or not TOML.
    """
    try:
        return parse_toml(read_bounded(path, _MAX_TOML_BYTES))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid TOML ({error})") from error


def format_toml(values: Mapping[str, Any]) -> str:
    """Plain values, and tables of them to any depth, as TOML."""
    return tomli_w.dumps(values)


def build_settings(kind: type[Settings], values: object, where: str = "settings") -> Settings:
    """A settings dataclass from nested plain values; what is left out keeps its default.

    Raises:
        ConfigError: a name is unknown, a value has the wrong type or is out of range; begins with
            `where` and names the section.
    """
    _check_names(kind, values, where, "")
    try:
        return msgspec.convert(values, kind)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(str(error), kind, values)}") from error


def plain_settings(settings: Any) -> dict[str, Any]:
    """As nested plain dictionaries, for TOML and JSON; unset optional values are left out."""
    plain: dict[str, Any] = _plain(msgspec.to_builtins(settings))
    return plain


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
    try:
        table[keys[-1]] = parse_toml(f"value = {text.strip()}".encode())["value"]
    except ValueError:
        table[keys[-1]] = text.strip()


def _check_names(kind: Any, values: Any, where: str, section: str) -> None:
    """Look for names that no dataclass in `kind` has; wrong types are left to msgspec."""
    found = next((k for k in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(k)), None)
    for table in values if isinstance(values, list | tuple) else (values,):
        if found is None or not isinstance(table, Mapping):
            continue
        hints = typing.get_type_hints(found)
        for name, value in table.items():
            if name not in hints:
                known = ", ".join(hints)
                raise ConfigError(f"{where}: unknown setting '{section}{name}'; known: {known}")
            _check_names(hints[name], value, where, f"{section}{name}.")


def _explain(message: str, kind: Any, value: Any) -> str:
    """Say msgspec's "Expected `float`, got `str` - at `$.faces.crop_px`" in words of settings."""
    problem, _, place = message.removesuffix("`").partition(" - at `$")
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        value = value[name or int(index)]
        kind = typing.get_type_hints(kind)[name] if name else typing.get_args(kind)[0]
        if type(None) in typing.get_args(kind):
            kind = typing.get_args(kind)[0]
    setting = f"{place.lstrip('.')} = {value!r}".removeprefix(" = ")
    expected = re.match(r"Expected `(\w+)", problem)
    if expected:
        return f"{setting} is not {_WORDS.get(expected[1], expected[1])}"
    if problem.startswith("Invalid enum value"):
        return f"{setting} is not known: {', '.join(str(word.value) for word in kind)}"
    return f"{place.lstrip('.')}: {problem}".removeprefix(": ")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if part is not None}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def require_range(settings: object, section: str, low: float, high: float, *names: str) -> None:
    """Check that settings lie within `low` to `high`; raises like `require`."""
    for name in names:
        value = getattr(settings, name)
        require(low <= value <= high, f"{section}.{name}", value, f"{low:g} to {high:.12g}")


@dataclass(frozen=True, slots=True)
class FacesConfig:
    """How faces are sampled, found, followed and cropped."""

    sample_rate_hz: float = 5.0  # frames per second of media in which faces are followed, cropped
    # Take the very frame on display at each sampled time. Otherwise one at most half a sampling
    # period away will do, if the decoder can then leave out a frame on which no other depends.
    exact_frames: bool = False
    # Searches of whole frames per second; in the frames between, known faces are followed.
    detect_rate_hz: float = 0.625
    max_side_px: int = 640  # frames are scaled down until their longer side is at most this
    min_face_px: int = 24  # longer side of the smallest face, in pixels of the scaled frame
    min_score: float = 0.5  # faces that score less are dropped
    crop_px: int = 120  # side of the aligned square crops handed to backbones

    def __post_init__(self) -> None:
        require_range(self, "faces", 0.2, 60, "sample_rate_hz")
        rate_hz, allowed = self.detect_rate_hz, "above 0, at most faces.sample_rate_hz"
        require(0 < rate_hz <= self.sample_rate_hz, "faces.detect_rate_hz", rate_hz, allowed)
        require_range(self, "faces", 64, 8192, "max_side_px")
        require_range(self, "faces", 12, 1024, "min_face_px")
        require(0 < self.min_score < 1, "faces.min_score", self.min_score, "between 0 and 1")
        require_range(self, "faces", 32, 512, "crop_px")


AUTO: Final = "auto"
"""A setting whose value is found by looking at the file."""


@dataclass(frozen=True, slots=True)
class SoundConfig:
    """Which sound of a file is heard."""

    # Of several sound tracks: the number, counted from 1 as players do, or the language ("en",
    # "eng"); by itself the default one with sound, no commentary or description.
    track: int | str = AUTO

    def __post_init__(self) -> None:
        is_named = self.track >= 1 if isinstance(self.track, int) else bool(self.track.strip())
        allowed = f'"{AUTO}", a number from 1 on, or a language such as "en"'
        require(is_named, "sound.track", self.track, allowed)


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How speech is told from other sound."""

    threshold: float = 0.5  # voice-activity probability from which on a 32-ms chunk is speech

    def __post_init__(self) -> None:
        require(0 < self.threshold < 1, "speech.threshold", self.threshold, "between 0 and 1")


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """How a file is cut into windows."""

    length_s: float = 4.0  # length of a window; a shorter file is one window
    hop_s: float = 2.0  # distance between the starts of neighbouring windows

    def __post_init__(self) -> None:
        require_range(self, "windows", 0.5, 10, "length_s")
        fits = 0.1 <= self.hop_s <= self.length_s
        require(fits, "windows.hop_s", self.hop_s, "0.1 to windows.length_s")


PEOPLE: Final = ("speaking", "leading", "all")
"""Whose face is judged: that of who speaks, the most prominent one, or everybody's."""

SENSITIVITIES: Final = {"cautious": 0.8, "balanced": 0.72, "sensitive": 0.65}
"""The share of calls that shall be right at equal numbers of conflicts and matches, by name."""


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    """How much evidence a channel must give before it is scored, and when an outcome is called.

    sensitivity: a name of `SENSITIVITIES`, or the precision that calls shall have at equal numbers
    of conflicts and matches.
    """

    min_face_coverage: float = 0.25  # share of the sampled frames that must show the leading face
    min_speech_s: float = 0.4  # seconds of speech that a window must hold
    min_window_s: float = 0.4  # windows shorter than this are not scored
    sensitivity: float | str = "balanced"  # which precision calls shall have
    expected_conflicts: float = 0.5  # share of windows that conflict where the files come from
    know_person: bool = True  # compare windows with what is usual for their person and setting
    people: str = "speaking"  # whose face is judged: who speaks, the leading face, or all people

    @property
    def precision(self) -> float:
        """The share of calls that shall be right at equal numbers of conflicts and matches."""
        asked = self.sensitivity
        return SENSITIVITIES[asked] if isinstance(asked, str) else asked

    def __post_init__(self) -> None:
        asked = self.sensitivity
        require(
            asked in SENSITIVITIES if isinstance(asked, str) else 0.5 < asked < 1,
            "decision.sensitivity",
            asked,
            f"one of {', '.join(SENSITIVITIES)}, or a precision above 0.5 and below 1",
        )
        people = self.people
        require(people in PEOPLE, "decision.people", people, f"one of {', '.join(PEOPLE)}")
        expected = self.expected_conflicts
        is_told = 0.0001 <= expected <= 0.9999  # beyond, nothing is measured and digits run out
        require(is_told, "decision.expected_conflicts", expected, "between 0.0001 and 0.9999")
        share = self.min_face_coverage
        require(0 < share <= 1, "decision.min_face_coverage", share, "above 0, at most 1")
        for name in ("min_speech_s", "min_window_s"):
            value = getattr(self, name)
            require(value > 0, f"decision.{name}", value, "above 0")


@dataclass(frozen=True, slots=True)
class AnalyzerConfig:
    """Everything that changes what an analysis says; written into every report."""

    model: str = "compact"  # or in a report the name of the checkpoint that was used
    faces: FacesConfig = field(default_factory=FacesConfig)
    sound: SoundConfig = field(default_factory=SoundConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    windows: WindowConfig = field(default_factory=WindowConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)

    def to_dict(self) -> dict[str, Any]:
        """As nested plain dictionaries, for TOML and JSON."""
        return plain_settings(self)

    @classmethod
    def from_dict(cls, values: object, where: str = "settings") -> AnalyzerConfig:
        """Build from nested dictionaries; see `build_settings` for what is raised."""
        return build_settings(cls, values, where)

    @classmethod
    def from_toml(cls, path: str | Path) -> AnalyzerConfig:
        """Read a TOML file such as those in `configs/`; raises as its two halves do."""
        return build_settings(cls, read_toml(Path(path)), str(path))
