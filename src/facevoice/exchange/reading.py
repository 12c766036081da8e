"""An annotation by hand, of whatever tool: its ending tells which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from facevoice.errors import AnnotationError
from facevoice.exchange.elan import read_eaf
from facevoice.exchange.events import read_table
from facevoice.exchange.textgrid import read_textgrid
from facevoice.exchange.tiers import Document

_READERS: Final[dict[str, Callable[[Path], Document]]] = {
    ".eaf": read_eaf,
    ".textgrid": read_textgrid,
    ".csv": read_table,
    ".tsv": read_table,
    ".txt": read_table,
}
ANNOTATION_ENDINGS: Final = tuple(_READERS)


def read_annotation(path: str | Path) -> Document:
    """The tiers of an ELAN file, a Praat TextGrid or a table.

    Raises:
        AnnotationError: it can't be read; names the file and what helps.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(ANNOTATION_ENDINGS)
        raise AnnotationError(
            path,
            f"ends in {path.suffix or 'nothing'!r}, which tells no known kind of annotation.",
            f"Name a file that ends in {known}.",
        )
    return reader(path)
