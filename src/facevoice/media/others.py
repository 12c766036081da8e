"""Files that are no recordings, by how they begin, and what to do with them instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from facevoice.errors import UnreadableMediaError

HEAD_BYTES: Final = 512
"""So many bytes tell."""

_PICTURES: Final = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II\*\0|MM\0\*",
    "HEIC": rb".{4}ftyp(heic|heix|heim|heis|mif1)",
    "AVIF": rb".{4}ftypavif",
    "JPEG 2000": rb"\0\0\0\x0cjP  ",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "icon": rb"\0\0\x01\0",
    "Photoshop": rb"8BPS",
}
# FFmpeg would read these as films of one picture.
_STILL_BOXES: Final = ("HEIC", "AVIF")
_PLAYLIST: Final = (
    rb"\s*(#EXTM3U|ffconcat|\[playlist\]|v=0\r?\no=|<\?xml[^>]*>\s*(<!--.*?-->\s*)?<MPD|<MPD|<smil)"
)
_DOCUMENTS: Final = {
    "a PDF document": rb"%PDF-",
    "an SVG drawing": rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg",
    "a web page": rb"\s*(<!doctype html|<html)",
    "a ZIP archive": rb"PK\x03\x04",
    "a gzip archive": rb"\x1f\x8b",
    "a 7z archive": rb"7z\xbc\xaf",
    "a RAR archive": rb"Rar!",
}
_TEXT: Final = re.compile(r"[\s\x20-\x7e\xa0-\U0010ffff]+")


def check_still_box(path: Path, head: bytes) -> None:
    """Raise an error for a picture in the boxes of an MP4."""
    if any(_begins(head, _PICTURES[kind]) for kind in _STILL_BOXES):
        raise picture_error(path)


def picture_error(path: Path) -> UnreadableMediaError:
    """The error for a still picture."""
    return UnreadableMediaError(
        path,
        "is a picture, not a video.",
        "Give a video, in which the face is seen for a second or longer.",
    )


def other_error(path: Path, head: bytes) -> UnreadableMediaError | None:
    """The error for a file that begins as no recording does; None if that is not known."""
    if any(_begins(head, pattern) for pattern in _PICTURES.values()):
        return picture_error(path)
    if _begins(head, _PLAYLIST):
        problem = "is a playlist, which names other files or addresses; those are not opened."
        return UnreadableMediaError(path, problem, "Give the recording that it names.")
    for kind, pattern in _DOCUMENTS.items():
        if _begins(head, pattern):
            remedy = "Unpack it, and give what is inside." if "archive" in kind else ""
            return _no_recording(path, kind, remedy)
    return _no_recording(path, "text") if _is_text(head) else None


def _no_recording(path: Path, kind: str, remedy: str = "") -> UnreadableMediaError:
    problem = f"is not a video or audio file, but {kind}."
    return UnreadableMediaError(
        path, problem, remedy or "Check that it plays, and give the recording itself."
    )


def _begins(head: bytes, pattern: bytes) -> bool:
    return re.match(pattern, head, re.DOTALL | re.IGNORECASE) is not None


def _is_text(head: bytes) -> bool:
    try:
        text = head[: HEAD_BYTES - 4].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _TEXT.fullmatch(text) is not None
