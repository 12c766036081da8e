"""Whose files are whose: uploads and results go when their user goes."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from threading import Lock


class SessionFiles:
    """Files of each session. Equal uploads share a file: the last session to leave deletes it.

    Args:
        root: folder in which results are kept; None for that of temporary files.
        samples: clips of the server. Gradio hands out copies of them, which are nobody's upload.
    """

    def __init__(self, root: Path | None = None, samples: Iterable[Path] = ()) -> None:
        self._root = root
        self._samples = {(path.name, path.stat().st_size) for path in samples}
        self._lock = Lock()
        self._uploads: dict[str, set[Path]] = defaultdict(set)
        self._folders: dict[str, list[Path]] = defaultdict(list)

    def keep_upload(self, session: str, path: Path) -> None:
        """Note that `session` uses an upload; its other uploads are released."""
        ours = not path.is_file() or (path.name, path.stat().st_size) in self._samples
        with self._lock:
            others = self._uploads.pop(session, set()) - {path}
            if not ours:
                self._uploads[session] = {path}
            self._delete_unused(others)

    def new_folder(self, session: str) -> Path:
        """An empty folder for the session's results; its earlier ones are deleted."""
        with self._lock:
            self._remove_folders(session)
            if self._root is not None:
                self._root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="facevoice-", dir=self._root))
            self._folders[session].append(folder)
            return folder

    def folder(self, session: str) -> Path:
        """The session's newest folder, made if there is none."""
        with self._lock:
            if self._folders[session]:
                return self._folders[session][-1]
        return self.new_folder(session)

    def release(self, session: str) -> None:
        """Delete what only this session used."""
        with self._lock:
            self._remove_folders(session)
            self._delete_unused(self._uploads.pop(session, set()))

    def _remove_folders(self, session: str) -> None:
        for folder in self._folders.pop(session, []):
            shutil.rmtree(folder, ignore_errors=True)

    def _delete_unused(self, paths: set[Path]) -> None:
        used: set[Path] = set().union(*self._uploads.values())
        for path in paths - used:
            path.unlink(missing_ok=True)
