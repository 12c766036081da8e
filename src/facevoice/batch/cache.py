"""Reports that are done, by what a file holds and by what made them; shared by any number of runs.

A folder of small files: `reports/` (whole reports, all digits), `partial/` (journals of files that
are being analysed, or were when something stopped), `locks/`, and `sources/` (which content an
address held when it was last fetched). Files appear whole or not at all, and a content is worked on
by one process at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from facevoice.config import AnalyzerConfig
from facevoice.errors import ConfigError, ReportError
from facevoice.report.folder import write_atomically
from facevoice.report.json import read_report, to_json
from facevoice.results import ModelId, Report
from facevoice.version import VERSION

_LOG = logging.getLogger(__name__)


def recipe_id(config: AnalyzerConfig, models: dict[str, ModelId]) -> str:
    """Sixteen hexadecimal digits that stand for settings, weights and version."""
    recipe = {
        "version": VERSION,
        "settings": config.to_dict(),
        "models": {role: model.sha256 for role, model in sorted(models.items())},
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


class ReportCache:
    """Reports made by one recipe, in a folder.

    Args:
        folder: made where it is missing.
        recipe: from `recipe_id`.

    Raises:
        ConfigError: the folder can't be made.
    """

    def __init__(self, folder: Path, recipe: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cache {folder}: can't be made ({error.strerror})") from error
        self._folder = folder
        self._recipe = recipe

    def get(self, sha256: str, path: str) -> Report | None:
        """The report of a content, as that of the file `path`; None if there is none."""
        file = self._file("reports", sha256, "json")
        if not file.is_file():
            return None
        try:
            report = read_report(file)
        except ReportError as error:
            _LOG.warning("%s; the file is analysed again", error)
            return None
        return _renamed(report, path)

    def put(self, sha256: str, report: Report) -> None:
        """Keep a report; what can't be written is not remembered, but not lost either."""
        self._write(self._file("reports", sha256, "json"), to_json(report, exact=True))

    def journal_path(self, sha256: str) -> Path:
        """Where what has come of a content so far is kept."""
        return self._file("partial", sha256, "jsonl")

    @contextmanager
    def locked(self, sha256: str) -> Iterator[None]:
        """Wait until no other process works on a content, and keep others from it.

        Raises:
            OSError: the lock file can't be made.
        """
        file = self._file("locks", sha256, "lock")
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file):
            yield

    def recall(self, source: str) -> str | None:
        """SHA-256 of the content that an address, with its fingerprint, held; None if unknown."""
        file = self._file("sources", hashlib.sha256(source.encode()).hexdigest(), "txt")
        try:
            return file.read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def remember(self, source: str, sha256: str) -> None:
        """Note what an address held, if it can be written."""
        digest = hashlib.sha256(source.encode()).hexdigest()
        self._write(self._file("sources", digest, "txt"), sha256 + "\n")

    def _file(self, kind: str, digest: str, ending: str) -> Path:
        return self._folder / kind / digest[:2] / f"{digest}-{self._recipe}.{ending}"

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError as error:
            _LOG.warning("%s: can't be written, so this is not remembered (%s)", path, error)


def _renamed(report: Report, path: str) -> Report:
    """The same report for another file of the same content."""
    media = None if report.media is None else replace(report.media, path=Path(path))
    error = report.error
    if error is not None:
        error = replace(error, message=error.message.replace(report.path, path))
    return replace(report, path=path, media=media, error=error)
