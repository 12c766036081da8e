"""Get a corpus: plan, check the disk, fetch in parallel, unpack, write down what is sound.

Killed at any moment, the next run goes on: parts of files continue (`download`), whole files are
known by their receipts (`ledger`), and a finished wish is known by its marker, without a network.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facevoice.data.hosts import Hosts
from facevoice.data.http import HttpClient, HttpPolicy
from facevoice.data.kaggle import fetch_kaggle
from facevoice.data.ledger import FOLDER, Ledger, Receipt
from facevoice.data.obtain import Obtainer
from facevoice.data.plan import Choice, Plan, Planner
from facevoice.data.remote import (
    Phase,
    Progress,
    ProgressCallback,
    RemoteFile,
    compute_digests,
)
from facevoice.data.sources import CorpusSource, KaggleDataset, Part, find_source
from facevoice.errors import ConfigError, DiskSpaceError, DownloadError, MissingExtraError

_SPARE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """What to get and how."""

    subset: bool = False
    """The small set for a CPU, where the corpus has one."""
    songs: bool = False
    """Sung clips too (RAVDESS)."""
    via: str | None = None
    """Which of the corpus' ways to take; None: the first."""
    jobs: int = 4
    """Files fetched at once."""
    keep_archives: bool = False
    """Leave archives in place after unpacking."""
    verify: bool = False
    """Read everything again that an earlier run reported done."""
    hosts: Hosts = field(default_factory=Hosts)
    """Base addresses."""


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a download came to."""

    corpus: str
    folder: Path
    num_files: int
    num_fetched: int
    total_bytes: int
    left_out: tuple[str, ...]
    note: str
    was_complete: bool


def download_corpus(
    name: str,
    root: Path,
    options: DownloadOptions | None = None,
    progress: ProgressCallback = lambda _: None,
    policy: HttpPolicy | None = None,
) -> DownloadReport:
    """Bring the corpus `name` to `root / name`; does nothing, offline, if that was done.

    Raises:
        ManualDownloadError: people must fetch it themselves; says where.
        DiskSpaceError: too little room.
        ChecksumError: what the server has is not what is published.
        DownloadError: it can't be had, or another run is at it.
        ConfigError: corpus, way or subset don't exist.
        MissingExtraError: the extra `data` is not installed.
        CorpusError: an archive is unsafe to unpack.
    """
    options = options or DownloadOptions()
    source = find_source(name)
    via, parts = _way(source, options)
    folder = root / name
    with _locked(folder, source):
        client = HttpClient(
            policy, lambda file, note: progress(Progress(file, Phase.WAITING, 0, None, note))
        )
        run = _Run(source, folder, options, progress, client)
        key = "-".join(filter(None, (via, "subset" * options.subset, "songs" * options.songs)))
        known = run.ledger.complete_receipts(key, thorough=options.verify)
        if known is not None:
            whole = any(isinstance(part, KaggleDataset) for part in parts)
            left_out = () if whole else tuple(sorted(source.left_out))
            return run.report(known, 0, left_out, was_complete=True)
        return run.carry_out(key, parts)


def _way(source: CorpusSource, options: DownloadOptions) -> tuple[str, tuple[Part, ...]]:
    via = options.via or next(iter(source.via))
    if via not in source.via:
        raise ConfigError(
            f"{source.name} can't be had via {via!r}; it can via {', '.join(source.via)}"
        )
    parts = source.via[via]
    if options.subset and (not source.subset or isinstance(parts[0], KaggleDataset)):
        raise ConfigError(f"{source.name} via {via} has no small set; leave --subset out")
    if options.songs and source.name != "ravdess":
        raise ConfigError(f"{source.name} has no songs; leave --songs out")
    if options.jobs < 1:
        raise ConfigError(f"jobs = {options.jobs} is not allowed: 1 or more")
    return via, parts


@contextmanager
def _locked(folder: Path, source: CorpusSource) -> Iterator[None]:
    """Hold the corpus' lock, which a killed process loses by itself."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise MissingExtraError("downloading corpora", "data") from error
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(str(folder), "", f"can't be written ({error}).") from error
    lock = FileLock(folder / FOLDER / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DownloadError(
            source.name, "", f"another process is fetching to {folder}.", "Let it finish."
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(slots=True)
class _Run:
    source: CorpusSource
    folder: Path
    options: DownloadOptions
    progress: ProgressCallback
    client: HttpClient
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)

    def carry_out(self, key: str, parts: tuple[Part, ...]) -> DownloadReport:
        plan = Planner(
            client=self.client,
            hosts=self.options.hosts,
            source=self.source,
            choice=Choice(self.options.subset, self.options.songs),
            folder=self.folder,
            jobs=self.options.jobs,
            progress=self.progress,
        ).plan(parts)
        receipts, missing = self._take_stock(plan)
        self._check_disk(missing)
        present_bytes = sum(receipt.size_bytes for receipt in receipts)
        to_come = sum(file.size_bytes or 0 for file in missing)
        self.progress(
            Progress(
                self.source.name,
                Phase.PLANNED,
                present_bytes,
                present_bytes + to_come,
                f"{len(missing)} of {len(plan.files)} files to fetch",
            )
        )
        fetched = Obtainer(
            client=self.client,
            folder=self.folder,
            ledger=self.ledger,
            jobs=self.options.jobs,
            keep_archives=self.options.keep_archives,
            progress=self.progress,
        ).obtain_all(missing)
        receipts += fetched
        for dataset in plan.kaggle:
            fetched += (found := self._kaggle(dataset))
            receipts += found
        self.ledger.mark_complete(key, self.source.name, [one.file for one in receipts])
        return self.report(receipts, len(fetched), plan.left_out, was_complete=False)

    def report(
        self,
        receipts: list[Receipt],
        num_fetched: int,
        left_out: tuple[str, ...],
        was_complete: bool,
    ) -> DownloadReport:
        return DownloadReport(
            corpus=self.source.name,
            folder=self.folder,
            num_files=len(receipts),
            num_fetched=num_fetched,
            total_bytes=sum(receipt.size_bytes for receipt in receipts),
            left_out=left_out,
            note=self.source.note,
            was_complete=was_complete,
        )

    def _take_stock(self, plan: Plan) -> tuple[list[Receipt], list[RemoteFile]]:
        """What earlier runs left whole, and what is still to fetch."""
        receipts: list[Receipt] = []
        missing: list[RemoteFile] = []
        for file in plan.files:
            receipt = self.ledger.receipt_of(file, thorough=self.options.verify)
            if receipt is None:
                missing.append(file)
                continue
            receipts.append(receipt)
            if receipt.members is not None and not self.options.keep_archives:
                (self.folder / file.name).unlink(missing_ok=True)
            self.progress(
                Progress(file.name, Phase.PRESENT, receipt.size_bytes, receipt.size_bytes)
            )
        return receipts, missing

    def _check_disk(self, missing: list[RemoteFile]) -> None:
        download = sum(self._bytes_to_come(file) for file in missing)
        unpacked = sum(int((file.size_bytes or 0) * file.unpack_ratio) for file in missing)
        free = shutil.disk_usage(self.folder).free
        if missing and download + unpacked + _SPARE_BYTES > free:
            raise DiskSpaceError(
                self.source.name,
                "",
                f"needs {_size(download)} to download and about {_size(unpacked)} to unpack, but "
                f"{self.folder} has {_size(free)} free.",
                "Free some space, or choose another folder"
                + (" or the small set (--subset)." if self.source.subset else "."),
            )

    def _bytes_to_come(self, file: RemoteFile) -> int:
        for name in (file.name, f"{file.name}.part"):
            path = self.folder / name
            if path.is_file():
                return max(0, (file.size_bytes or 0) - path.stat().st_size)
        return file.size_bytes or 0

    def _kaggle(self, dataset: KaggleDataset) -> list[Receipt]:
        into = self.folder / dataset.into
        self.progress(Progress(dataset.handle, Phase.RUNNING, 0, None))
        fetch_kaggle(dataset.handle, into)
        receipts = []
        for path in sorted(path for path in into.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder).as_posix()
            file = RemoteFile(name, f"https://www.kaggle.com/datasets/{dataset.handle}")
            receipts.append(self.ledger.record(file, compute_digests(path)["sha256"]))
        return receipts


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.2f} MB"
