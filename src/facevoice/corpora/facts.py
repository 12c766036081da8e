"""Goes when the store of perceptions has replaced it: what files were found to hold."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found; None where nobody has looked yet.

    damage: what probing complained of, None if nothing.
    """

    duration_s: float | None = None
    has_video: bool | None = None
    has_audio: bool | None = None
    damage: str | None = None
    sha256: str | None = None


class FactsFile:
    """Facts by path, in a JSON Lines file that only grows.

    A file counts as unchanged while its size and its times of modification and of change (which
    nobody can set) stay the same. Facts are written as they come, so that a kill costs the last
    line at most; a line that is cut off or damaged is passed over. Where the file can't be
    written, nothing is remembered, and nothing else is lost. For one thread.

    Args:
        path: of the file; None to remember nothing beyond this object.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, tuple[list[int], FileFacts]] = {}
        self._sink: IO[bytes] | None = None
        if path is not None and path.is_file():
            self._load(path.read_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def get(self, file: Path) -> FileFacts:
        """What is known of a file as it is now.

        Raises:
            OSError: there is no such file.
        """
        identity, facts = self._known.get(_name(file), ([], FileFacts()))
        return facts if identity == _identity(file) else FileFacts()

    def add(self, file: Path, facts: FileFacts) -> None:
        """Remember a file, in place of all that was known of it; one that is gone is forgotten."""
        try:
            identity = _identity(file)
        except OSError:
            return
        self._known[_name(file)] = (identity, facts)
        row = {"path": _name(file), "identity": identity, **asdict(facts)}
        self._write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def _load(self, content: bytes) -> None:
        for line in content.splitlines():
            try:
                row = json.loads(line)
                path, identity = str(row.pop("path")), list(row.pop("identity"))
                self._known[path] = (identity, FileFacts(**row))
            except (ValueError, KeyError, TypeError, AttributeError):
                _LOG.debug("%s: a damaged line is passed over", self._path)

    def _write(self, line: bytes) -> None:
        if self._path is None:
            return
        try:
            if self._sink is None:
                self._sink = self._path.open("ab", buffering=0)
                if self._sink.tell():
                    # The last line may be cut off; an empty one does no harm.
                    line = b"\n" + line
            self._sink.write(line)
        except OSError as error:
            _LOG.debug("%s: can't be written (%s)", self._path, error)


def _name(file: Path) -> str:
    return str(file.absolute())


def _identity(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
