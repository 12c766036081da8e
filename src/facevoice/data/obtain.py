"""Files of a plan: fetch in parallel, unpack, and write a receipt for each that is sound."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Final

from facevoice.data.archive import MARKER_NAME, unpack
from facevoice.data.download import fetch
from facevoice.data.http import CancelledError, HttpClient
from facevoice.data.ledger import Ledger, Receipt, list_members
from facevoice.data.remote import (
    Phase,
    Progress,
    ProgressCallback,
    RemoteFile,
    compute_digests,
    mismatch,
)
from facevoice.errors import (
    ChecksumError,
    CorpusError,
    DiskSpaceError,
    DownloadError,
    FacevoiceError,
)

MAX_FAILED_FILES: Final = 5
"""After so many files that can't be had, the rest is not tried any more."""


@dataclass(frozen=True, slots=True)
class Obtainer:
    """Brings files to one corpus folder and into its ledger."""

    client: HttpClient
    folder: Path
    ledger: Ledger
    jobs: int
    keep_archives: bool
    progress: ProgressCallback

    def obtain_all(self, missing: list[RemoteFile]) -> list[Receipt]:
        """Fetch what is missing, in parallel; one file's failure does not stop the others.

        Raises:
            FacevoiceError: the first failure, once all others are done or too many failed.
        """
        receipts: list[Receipt] = []
        failures: list[FacevoiceError] = []
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="download") as pool:
            try:
                futures = [pool.submit(self._obtain, file) for file in missing]
                for future in as_completed(futures):
                    self._collect(future, receipts, failures)
            except BaseException:
                # Also on Ctrl-C: what is under way stops at once and goes on next time.
                self.client.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        if failures:
            raise _sum_up(failures, len(missing) - len(receipts))
        return receipts

    def _collect(
        self, future: Future[Receipt], receipts: list[Receipt], failures: list[FacevoiceError]
    ) -> None:
        try:
            receipts.append(future.result())
        except CancelledError:
            return
        except FacevoiceError as error:
            failures.append(error)
            if len(failures) >= MAX_FAILED_FILES or isinstance(error, DiskSpaceError):
                self.client.stop.set()

    def _obtain(self, file: RemoteFile) -> Receipt:
        if self.client.stop.is_set():
            raise CancelledError
        try:
            sha256 = (
                self._adopt(file) or fetch(self.client, file, self.folder, self.progress)["sha256"]
            )
            receipt = self._finish(file, sha256)
        except OSError as error:
            kind = DiskSpaceError if error.errno == ENOSPC else DownloadError
            raise kind(file.name, file.url, f"can't be written ({error}).") from error
        self.progress(Progress(file.name, Phase.DONE, receipt.size_bytes, receipt.size_bytes))
        return receipt

    def _adopt(self, file: RemoteFile) -> str | None:
        """The sha256 of a file that lies there whole, though a kill came before its receipt."""
        path = self.folder / file.name
        if file.checksum is None or not path.is_file():
            return None
        digests = compute_digests(path, file.checksum)
        return digests["sha256"] if mismatch(file, path.stat().st_size, digests) is None else None

    def _finish(self, file: RemoteFile, sha256: str) -> Receipt:
        if file.unpack_into is None:
            return self.ledger.record(file, sha256)
        archive = self.folder / file.name
        self.progress(Progress(file.name, Phase.UNPACKING, 0, None))
        members = self._unpack(file, archive, self.folder / file.unpack_into)
        receipt = self.ledger.record(file, sha256, members)
        if not self.keep_archives:
            archive.unlink()
        return receipt

    def _unpack(self, file: RemoteFile, archive: Path, into: Path) -> dict[str, list[int]]:
        if (into / MARKER_NAME).exists():
            # Ours, but with something amiss, or from an older archive.
            shutil.rmtree(into)
        # What a kill in the middle of unpacking left; nobody else is at it, we hold the lock.
        for rest in into.parent.glob(f".{into.name}.*.part"):
            shutil.rmtree(rest, ignore_errors=True)
        try:
            unpack(archive, into)
            return list_members(archive, str(file.unpack_into))
        except CorpusError as error:
            if file.checksum is not None:
                raise
            # Nothing but the archive itself could tell that it is damaged.
            archive.unlink(missing_ok=True)
            raise ChecksumError(
                file.name, file.url, f"{error}.", "Nothing of it was kept; run the command again."
            ) from error


def _sum_up(failures: list[FacevoiceError], num_missing: int) -> FacevoiceError:
    """The first failure, which says how many more files are missing."""
    first = failures[0]
    if num_missing > 1:
        first.add_note(f"{num_missing} files are missing in all.")
    return first
