"""Reports in any form that `--format` knows: the files that the command would write."""

from __future__ import annotations

import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from facevoice.records import Report
from facevoice.report import ReportFolder, to_report_eaf

MEDIA_TYPES: Final = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
    ".srt": "application/x-subrip",
    ".eaf": "application/xml",
    ".TextGrid": "text/plain; charset=utf-8",
    ".rttm": "text/plain; charset=utf-8",
    ".zip": "application/zip",
}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_STEM: Final = 80


@dataclass(frozen=True, slots=True)
class Form:
    """A report as a file."""

    name: str
    """Of the film, with another ending; any characters but slashes."""
    media_type: str
    content: bytes


def write_form(report: Report, form: str) -> Form:
    """A report in one form; several files, and folders, come as a zip.

    Raises:
        ValueError: the form is not in `facevoice.report.FORMATS`.
        MissingExtraError: it needs an extra that is not installed.
    """
    stem = _stem(report.path)
    if form == "eaf":
        # Without where it lies: that is nothing to ELAN, and nobody's business.
        return Form(
            f"{_title(report.path)}.eaf", MEDIA_TYPES[".eaf"], to_report_eaf(report).encode()
        )
    with tempfile.TemporaryDirectory(prefix="facevoice-") as place:
        root = Path(place, "out")
        with ReportFolder(root, [form]) as folder:
            written = folder.write(report, PurePath(stem))
        if len(written) == 1 and written[0].is_file():
            path = written[0]
        else:
            path = Path(place, f"{stem}.zip")
            _zip(written or [root], root, path)
        kind = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
        name = f"{_title(report.path)}{path.name.removeprefix(stem)}"
        return Form(name, kind, path.read_bytes())


def plain_name(name: str) -> str:
    """With `_` for all but letters, digits and `_.-`."""
    return _UNSAFE.sub("_", name)


def _title(name: str) -> str:
    return PurePath(name).stem[:_MAX_STEM].strip(".") or "report"


def _stem(name: str) -> str:
    stem = plain_name(_title(name))
    return stem if stem not in ("windows", "moments", "dataset") else "report"


def _zip(paths: list[Path], root: Path, target: Path) -> None:
    """Files below the folders, but hidden ones."""
    files = [path for one in paths for path in ([one] if one.is_file() else one.rglob("*"))]
    with zipfile.ZipFile(target, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            inner = path.relative_to(root)
            if path.is_file() and not any(name.startswith(".") for name in inner.parts):
                archive.write(path, inner)
