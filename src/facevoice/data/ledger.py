"""What was fetched and found sound, per corpus folder: a log of receipts and completion markers.

`.facevoice/receipts.jsonl` grows by one line for every file that was verified (and unpacked);
`.facevoice/complete-KEY.json` says that everything asked for by KEY was there, with checksums.
Both survive a kill at any moment: a torn last line is passed over, a marker is written whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.data.download import write_atomically
from facevoice.data.remote import RemoteFile, compute_digests
from facevoice.errors import shown_address

FOLDER: Final = ".facevoice"


class JsonLog:
    """A file of JSON objects, one a line, that only ever grows; safe to append from threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def read(self) -> Iterator[dict[str, Any]]:
        """The objects in order; lines that a kill left unfinished are passed over."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    item = json.loads(line)
                except ValueError:
                    continue
                if isinstance(item, dict):
                    yield item

    def append(self, items: Iterable[dict[str, Any]]) -> None:
        """Add lines and wait until the disk has them."""
        # The newline in front parts a torn line, left by a kill, from what follows.
        text = "\n" + "".join(json.dumps(item, sort_keys=True) + "\n" for item in items)
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())


@dataclass(frozen=True, slots=True)
class Receipt:
    """A file that was whole and sound when this was written.

    `members`: of an unpacked archive, {path below the corpus folder: [bytes, CRC-32]}.
    """

    file: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    checksum: str | None
    address: str
    members: dict[str, list[int]] | None = None


class Ledger:
    """The receipts and markers of one corpus folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = JsonLog(folder / FOLDER / "receipts.jsonl")
        self._receipts: dict[str, Receipt] = {}
        for item in self._log.read():
            try:
                receipt = Receipt(**item)
            except TypeError:
                continue
            self._receipts[receipt.file] = receipt

    def receipt_of(self, file: RemoteFile, thorough: bool = False) -> Receipt | None:
        """The receipt for what is published as `file` now, if its content is still in place."""
        receipt = self._receipts.get(file.name)
        if receipt is None or (file.checksum and receipt.checksum != file.checksum):
            return None
        if file.size_bytes is not None and receipt.size_bytes != file.size_bytes:
            return None
        return receipt if self.is_in_place(receipt, thorough) else None

    def is_in_place(self, receipt: Receipt, thorough: bool = False) -> bool:
        """Whether the file, or all that was unpacked from it, lies there unchanged.

        By size and time of change; `thorough` reads everything again.
        """
        if receipt.members is None:
            return self._is_unchanged(receipt, thorough)
        for name, (size_bytes, crc) in receipt.members.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size_bytes:
                return False
            if thorough and _crc32(path) != crc:
                return False
        return True

    def _is_unchanged(self, receipt: Receipt, thorough: bool) -> bool:
        path = self.folder / receipt.file
        if not path.is_file():
            return False
        status = path.stat()
        if status.st_size != receipt.size_bytes:
            return False
        if thorough or status.st_mtime_ns != receipt.mtime_ns:
            return compute_digests(path)["sha256"] == receipt.sha256
        return True

    def record(
        self, file: RemoteFile, sha256: str, members: dict[str, list[int]] | None = None
    ) -> Receipt:
        """Write down that `file` is sound (and unpacked to `members`)."""
        status = (self.folder / file.name).stat()
        receipt = Receipt(
            file=file.name,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            sha256=sha256,
            checksum=file.checksum,
            address=shown_address(file.url),
            members=members,
        )
        self._log.append([dataclasses.asdict(receipt)])
        self._receipts[file.name] = receipt
        return receipt

    def mark_complete(self, key: str, corpus: str, names: Iterable[str]) -> Path:
        """Write the completion marker of `key` over the files `names`."""
        files = [
            {
                "file": name,
                "size_bytes": self._receipts[name].size_bytes,
                "sha256": self._receipts[name].sha256,
                "published_checksum": self._receipts[name].checksum,
                "address": self._receipts[name].address,
            }
            for name in sorted(names)
        ]
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        marker = {"corpus": corpus, "request": key, "finished_utc": finished, "files": files}
        path = self._marker(key)
        write_atomically(path, json.dumps(marker, indent=1) + "\n")
        return path

    def complete_receipts(self, key: str, thorough: bool = False) -> list[Receipt] | None:
        """The receipts under the marker of `key`; None where it is absent or anything is amiss."""
        try:
            marker = json.loads(self._marker(key).read_text(encoding="utf-8"))
            receipts = [self._receipts[item["file"]] for item in marker["files"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not all(self.is_in_place(receipt, thorough) for receipt in receipts):
            return None
        return receipts

    def _marker(self, key: str) -> Path:
        return self.folder / FOLDER / f"complete-{key}.json"


def list_members(archive: Path, into: str) -> dict[str, list[int]]:
    """The files that `archive` unpacks to, below `into`: {path: [bytes, CRC-32]}."""
    with zipfile.ZipFile(archive) as opened:
        return {
            f"{into}/{member.filename}": [member.file_size, member.CRC]
            for member in opened.infolist()
            if not member.is_dir()
        }


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
