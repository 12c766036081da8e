"""Media from standard input, for `-` in place of a file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from facevoice.errors import ConfigError, MediaError

_STDIN: Final = "-"
_NAME: Final = "stdin"
_MAX_BYTES: Final = 8 << 30
_PIECE_BYTES: Final = 1 << 20


@contextmanager
def spooled(paths: Sequence[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The paths with a temporary file for `-`, and what to call it in reports.

    Who reads media looks at the end of a file before its beginning, which no pipe allows. The file
    is gone afterwards.

    Raises:
        ConfigError: standard input is a terminal.
        MediaError: it holds too much, or there is no room for it.
    """
    if _STDIN not in paths:
        yield list(paths), {}
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError(f"{_STDIN}: pipe a file in, as by: facevoice analyze - < talk.mp4")
    with tempfile.TemporaryDirectory(prefix="facevoice-") as folder:
        path = Path(folder, _NAME)
        try:
            _copy(path)
        except OSError as error:
            problem = f"standard input can't be kept in {folder} ({error.strerror})."
            remedy = "Make room there, or name a folder with more in the variable TMPDIR."
            raise MediaError(_STDIN, problem, remedy) from error
        yield [str(path) if one == _STDIN else one for one in paths], {str(path): _NAME}


def _copy(path: Path) -> None:
    num_bytes = 0
    with path.open("xb") as target:
        while piece := sys.stdin.buffer.read(_PIECE_BYTES):
            num_bytes += target.write(piece)
            if num_bytes > _MAX_BYTES:
                problem = f"standard input holds more than {_MAX_BYTES >> 30} GiB."
                raise MediaError(_STDIN, problem, "Save it as a file and name that.")


def refuse_stdin(path: str | Path, command: str) -> None:
    """Say that a command needs a file.

    Raises:
        ConfigError: the path is `-`.
    """
    if str(path) == _STDIN:
        raise ConfigError(
            f"{_STDIN}: {command} doesn't read standard input, as analyze does; save it as a file "
            "and name that"
        )
