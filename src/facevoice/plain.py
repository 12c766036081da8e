"""Plain values out of files that anybody may have written: read within bounds, parsed strictly.

Python's parsers raise what nobody expects of them (`RecursionError` where lists lie too deep,
`ValueError` of digits), and take what no other reader does: NaN, infinities, halves of characters.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, BinaryIO, Final

MAX_DOCUMENT_BYTES: Final = 64 << 20
"""Of settings, indices and the like; a report of a day is smaller, too."""
# Of a key such as a.b.c.d, Python's parser keeps every beginning: a long one fills the memory.
_DEEP_KEY: Final = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}"""
)
_MAX_DIGITS: Final = 18  # fewer than any 64-bit number has
_WITHOUT_WAITING: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# Halves of characters are written so, and whole ones in two of them.
_ESCAPED_HALF: Final = "\\ud"


def read_bounded(path: Path, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
    """The bytes of a file, which is a regular one and not larger than that.

    Raises:
        OSError: it is another kind of file, too large, or can't be read.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            problem = f"it is larger than {max_bytes >> 20} MiB, which no such file is"
            raise OSError(errno.EINVAL, problem, str(path))
        return file.read()


def open_regular(path: Path) -> BinaryIO:
    """A regular file, to be read; nothing is waited for, as who opens a pipe waits for its writer.

    Raises:
        OSError: it is another kind of file, or can't be read.
    """
    descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def parse_json(content: str | bytes) -> Any:
    """The values of a JSON document in UTF-8; of a name given twice, the last counts.

    Raises:
        ValueError: it is none, is nested too deep, or holds a number that is not finite or has more
            than 18 digits before its point, or half a character.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        values = json.loads(
            text, parse_constant=_no_number, parse_int=_whole_number, parse_float=_finite_number
        )
        if _ESCAPED_HALF in text or _ESCAPED_HALF.upper() in text.upper():
            json.dumps(values, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("its values are nested too deep") from error
    return values


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML document.

    Raises:
        ValueError: it is none, is nested too deep, or holds a number of thousands of digits.
    """
    text = content.decode("utf-8-sig")
    if _DEEP_KEY.search(text):
        raise ValueError("its values are nested too deep")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its values are nested too deep") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _whole_number(text: str) -> int:
    if len(text) > _MAX_DIGITS + text.startswith("-"):
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value
