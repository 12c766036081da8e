"""Settings as frozen dataclasses, from TOML tables and back; names and types are checked."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
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
