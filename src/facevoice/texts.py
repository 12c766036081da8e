"""Texts by the hand of others (names of files and tracks, words), safe to show and to store.

A name may hold what a terminal obeys, what turns the order of letters round, what a spreadsheet
takes for a formula, and bytes that are no text at all. And times, as people read them.
"""

from __future__ import annotations

import re
from typing import Final

# Line ends, escapes and other controls; overrides of the direction of writing; halves of
# characters, by which Python stands for bytes of a name that are no UTF-8.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# JSON escapes line ends and the controls before the space by itself.
_UNSAFE_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_BYTES: Final = range(0xDC80, 0xDD00)
# With these, and with their wide forms of East Asia, spreadsheets begin a formula. Also behind a
# `'` of the text's own, or that could not be told from ours.
_FORMULA: Final = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


def shown(text: str) -> str:
    """The text in one line of characters that only show themselves, others as `\\x1b`, `\\u202e`.

    A byte of a name that isn't UTF-8 is shown as `\\xff`. What is shown once stays as it is.
    """
    return _UNSAFE.sub(lambda match: _escape(match[0]), text)


def shown_lines(text: str) -> str:
    """The same, but lines stay lines."""
    return "\n".join(map(shown, text.split("\n")))


def safe_json(text: str) -> str:
    """JSON text as UTF-8 can hold it and terminals may print it; it means the same.

    But for halves of characters, which are no text: they are shown as by `shown`.
    """
    return _UNSAFE_IN_JSON.sub(lambda match: _escape_in_json(match[0]), text)


def safe_cell(text: str) -> str:
    """The text for a table that spreadsheets open: shown, with `'` before what begins a formula."""
    cell = shown(text)
    return f"'{cell}" if _FORMULA.match(cell) else cell


def cell_text(cell: str) -> str:
    """The text, shown, that `safe_cell` made a cell of."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def clock(seconds: float) -> str:
    """`0:12`, `1:02:03`, in whole seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _escape(character: str) -> str:
    code = ord(character)
    if code in _BYTES:
        code -= _BYTES.start - 0x80
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _escape_in_json(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return f"\\{_escape(character)}"
    return f"\\u{ord(character):04x}"
