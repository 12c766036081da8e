"""A folder that a command fills with reports: what can't be written there costs only itself."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final, Self

from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError
from facevoice.records import Report
from facevoice.report import ReportFolder
from facevoice.texts import shown

_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG})


class Folder:
    """Writes reports, says on the screen what can't be written, and ends with the tables over all.

    is_whole: whether all could be written. Use it in a `with` block, which makes the tables at its
    end, also by an error or an interruption.

    Args:
        out: the folder, made where it is missing.
        formats: of `facevoice.report.FORMATS`.
        screen: where to say it.

    Raises:
        ConfigError: nothing at all can be written there.
    """

    def __init__(self, out: Path, formats: Sequence[str], screen: Screen) -> None:
        try:
            self._folder = ReportFolder(out, formats)
        except OSError as error:
            where = f"--out {shown(str(out))}"
            message = f"{where}: can't be written ({reason(error)}). {remedy(error)}."
            raise ConfigError(message) from error
        self._screen = screen
        self.is_whole = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._gather()

    def write(self, report: Report, name: PurePath) -> bool:
        """Write the files of a report; whether that went well."""
        try:
            self._folder.write(report, name)
        except OSError as error:
            path = shown(str(error.filename or name))
            self._screen.complain(
                f"{path}: can't be written ({reason(error)}). {remedy(error)}, then run again."
            )
            self.is_whole = False
            return False
        return True

    def _gather(self) -> None:
        try:
            passed_over = self._folder.gather()
        except OSError as error:
            path = shown(str(error.filename or self._folder.root))
            self._screen.complain(
                f"{path}: the tables over all files can't be written ({reason(error)}). The "
                f"reports of single files are there. {remedy(error)}, then run again."
            )
            self.is_whole = False
            return
        for table, why in passed_over:
            self._screen.complain(
                f"{shown(str(table))}: can't be read ({why}). The tables over all files are "
                "without it."
            )


def reason(error: OSError) -> str:
    """Why a file can't be written."""
    # Not what the writers of tables say, who name their own innards.
    return "the disk is full" if error.errno in _FULL else error.strerror or str(error)


def remedy(error: OSError) -> str:
    """What to do about it."""
    if error.errno in _FULL:
        return "Make room"
    if error.errno == errno.EEXIST:
        return "Move that away or choose another --out"
    return "Check the folder or choose another --out"
