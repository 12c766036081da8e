"""Who may use the service: keys, of which only digests are kept; how often each may ask.

Keys are random and long, so that one round of SHA-256 protects them: nobody can try them all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from facevoice.errors import ConfigError
from facevoice.plain import read_bounded
from facevoice.service.limits import KeyLimits
from facevoice.service.refusals import InvalidKeyError, TooManyRequestsError

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_FILE_BYTES: Final = 1 << 20
_KEY_BYTES: Final = 32
_PREFIX: Final = "fv_"
_VARIABLE: Final = "FACEVOICE_SERVICE_KEYS"
_BURST_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class User:
    """Whom a key stands for, and what that one may do."""

    name: str
    limits: KeyLimits


def new_key(name: str) -> tuple[str, str]:
    """A fresh key, and the lines for the file of keys that let it in.

    Raises:
        ConfigError: the name has other characters than letters, digits and `_.-`.
    """
    _check_name(name)
    key = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    return key, f'[{_quoted(name)}]\nsha256 = "{_digest(key)}"\n'


class Keyring:
    """The known keys, by the digest of each.

    Args:
        users: by digest; none for a service that asks for no key.
        anybody: whom a request without key stands for, where there are no keys.
    """

    def __init__(self, users: Mapping[str, User], anybody: KeyLimits) -> None:
        self._users = dict(users)
        self._anybody = User("local", anybody)

    @property
    def is_open(self) -> bool:
        """Whether it asks for no key."""
        return not self._users

    def limits_of(self, name: str) -> KeyLimits:
        """Those of a user; of one whose key is gone, the usual ones."""
        found = [user.limits for user in self._users.values() if user.name == name]
        return found[0] if found else self._anybody.limits

    def find(self, key: str | None) -> User:
        """Whom a key stands for.

        Raises:
            InvalidKeyError: no key, or one that is not known.
        """
        if self.is_open:
            return self._anybody
        if not key:
            remedy = "Send the header 'Authorization: Bearer KEY'."
            raise InvalidKeyError("This service asks for a key.", remedy)
        digest = _digest(key)
        # All are compared, each in constant time: how long it takes tells nothing of any.
        found = [user for known, user in self._users.items() if hmac.compare_digest(known, digest)]
        if not found:
            raise InvalidKeyError("The key is not known.", "Ask who runs the service for one.")
        return found[0]


def load_keys(path: Path | None, environment: str | None, limits: KeyLimits) -> Keyring:
    """Keys of a file and of the environment; with neither, a ring that asks for none.

    Args:
        path: TOML: `[NAME]` with `sha256 = "…"`, and limits of its own by the names of
            `KeyLimits`; None for none.
        environment: NAME:SHA256, separated by spaces; None for none.
        limits: of those who have none of their own.

    Raises:
        ConfigError: something is written otherwise, or no key is there; the message repeats no
            digest.
        OSError: the file can't be read.
    """
    users: dict[str, User] = {}
    for name, table in ({} if path is None else _read(path)).items():
        where = f"{path}: [{name}]"
        if not isinstance(table, dict) or not _SHA256.fullmatch(str(table.get("sha256"))):
            raise ConfigError(f'{where}: give sha256 = "…", made by facevoice serve --new-key NAME')
        _add(users, str(table["sha256"]), User(name, _limits(where, table, limits)))
    for text in (environment or "").split():
        name, _, digest = text.partition(":")
        if not _SHA256.fullmatch(digest):
            raise ConfigError(f"{_VARIABLE}: give NAME:SHA256, separated by spaces")
        _add(users, digest, User(name, limits))
    named = [str(path)] * (path is not None) + [_VARIABLE] * (environment is not None)
    if named and not users:  # Who names keys doesn't want a service that is open to all.
        raise ConfigError(
            f"{' and '.join(named)}: holds no key; make one by facevoice serve --new-key NAME, or "
            "leave it out for a service without keys"
        )
    return Keyring(users, limits)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bounded(path, _MAX_FILE_BYTES).decode())
    except ValueError as error:  # also of bytes that are no text
        raise ConfigError(
            f"{path}: no valid file of keys ({error}); see docs/service.md"
        ) from error


def _limits(where: str, table: Mapping[str, Any], limits: KeyLimits) -> KeyLimits:
    own = {name: value for name, value in table.items() if name != "sha256"}
    kinds = {one.name: type(getattr(limits, one.name)) for one in fields(limits)}
    for name, value in own.items():
        if name not in kinds:
            raise ConfigError(f"{where}: unknown {name!r}; known: sha256, {', '.join(kinds)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_right = is_number if kinds[name] is float else type(value) is kinds[name]
        if not is_right:
            raise ConfigError(f"{where}: {name} = {value!r} is not of the right kind")
    try:
        return replace(limits, **own)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _add(users: dict[str, User], digest: str, user: User) -> None:
    _check_name(user.name)
    if digest in users:
        raise ConfigError(f"the key of {user.name} is also that of {users[digest].name}")
    users[digest] = user


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a key called {name!r}: use letters, digits and _ . - only")


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


class Pace:
    """Lets each user ask so often a minute: a bucket that fills evenly, and holds a burst."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, user: User) -> None:
        """Count a request.

        Raises:
            TooManyRequestsError: that is one too many.
        """
        per_s = user.limits.requests_per_minute / 60
        most = max(1.0, per_s * _BURST_S)
        now_s = time.monotonic()
        with self._lock:
            left, then_s = self._left.get(user.name, (most, now_s))
            left = min(most, left + (now_s - then_s) * per_s)
            self._left[user.name] = (max(0.0, left - 1), now_s) if left >= 1 else (left, now_s)
        if left < 1:
            told = f"{user.limits.requests_per_minute:g} requests a minute are allowed."
            raise TooManyRequestsError(told, "Wait a little.", (1 - left) / per_s)
