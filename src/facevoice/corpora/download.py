"""Get a corpus: list what is published, fetch what is missing, check it, unpack it, note it.

Bytes go to `NAME.KEY.part` and take their name only after size and checksum were compared with the
published ones, so a file under its own name is whole. `.facevoice/receipt.json` says what of the
folder was found sound. Killed at any moment, the next run goes on: parts continue with HTTP Range,
whole files are known by the receipt or by their checksum, and a finished wish needs no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from errno import ENOSPC
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from facevoice.corpora import sources
from facevoice.corpora.archive import read_members, unpack
from facevoice.errors import (
    ChecksumError,
    ConfigError,
    CorpusError,
    DiskSpaceError,
    DownloadError,
    FacevoiceError,
    ManualDownloadError,
    MissingExtraError,
    shown_address,
)
from facevoice.files import write_atomically
from facevoice.records import VERSION

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

FOLDER: Final = ".facevoice"
SAVE_EVERY_S: Final = 5.0
SPARE_BYTES: Final = 64 << 20
UNPACKED_RATIO: Final = 1.3  # roughly: films 1.1, sound up to 3; `unpack` knows it exactly
TIMEOUTS_S: Final = (20.0, 60.0)  # to connect; silent for so long counts as dropped
MAX_FAILED: Final = 5  # files that can't be had; then the rest is not tried any more
MAX_RETRIES: Final = 5  # failures of a file in a row that brought nothing new
MAX_WAIT_S: Final = 900.0  # if a server asks for more, we give up and say when to come back
RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
AGAIN: Final = "Run the same command again: it goes on where it stopped."
KAGGLE_REMEDY: Final = (
    "Create an API token in Kaggle's settings and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY; check that this account may see the data set; then run the same command again."
)

# Source: the Git LFS specification. A pointer file is smaller than 1024 bytes and looks like
# version https://git-lfs.github.com/spec/v1 | oid sha256:18b0…6879 | size 73567
_POINTER: Final = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(?:ext-\d-.+\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\n?"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file is, or all together (`file` is empty). None: not known, or as before."""

    file: str
    note: str = ""
    done_bytes: int | None = None
    total_bytes: int | None = None
    is_finished: bool = False


OnProgress = Callable[[Progress], None]
"""Called from several threads at once."""
Wait = Callable[[float], object]


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a download came to; nothing was left to do where `num_fetched` is 0."""

    corpus: str
    folder: Path
    num_files: int
    num_fetched: int
    total_bytes: int
    note: str


def download_corpus(
    name: str,
    root: Path,
    *,
    subset: bool = False,
    songs: bool = False,
    via: str | None = None,
    jobs: int = 4,
    keep_archives: bool = False,
    verify: bool = False,
    base_urls: Mapping[str, str] | None = None,
    on_progress: OnProgress = lambda _: None,
    wait: Wait | None = None,
) -> DownloadReport:
    """Bring the corpus `name` to `root / name`; does nothing, offline, if that was done.

    Args:
        subset: the small set for a CPU, where the corpus has one.
        songs: sung clips too (RAVDESS).
        via: which of the corpus' ways to take; None: the first.
        jobs: files fetched at once.
        keep_archives: leave archives in place after unpacking.
        verify: read everything again that an earlier run reported done.
        base_urls: mirrors, by the names in `sources.HOSTS`; over FACEVOICE_<NAME>_URL.
        wait: waits so many seconds between tries; None: really.

    Raises:
        ManualDownloadError: people must fetch it themselves; says where.
        DiskSpaceError: too little room.
        ChecksumError: what the server has is not what is published.
        DownloadError: it can't be had, or another run is at it.
        ConfigError: corpus, way, subset or mirror don't exist.
        MissingExtraError: the extra `data` is not installed.
        CorpusError: an archive is unsafe to unpack.
    """
    folder = root / name
    via, parts = _choose(name, folder, via, subset, songs)
    if jobs < 1:
        raise ConfigError(f"jobs = {jobs} is not allowed: 1 or more")
    network = _Network(base_addresses(base_urls or {}), jobs, on_progress, wait)
    request = "-".join(filter(None, (via, "subset" * subset, "songs" * songs)))
    with _disk_errors(str(folder)), _locked(folder):
        receipt = _Receipt(folder, verify)
        names, num_fetched = receipt.complete_files(request), 0
        if names is None:
            run = _Run(name, folder, network, receipt, subset, songs, keep_archives)
            try:
                names, num_fetched = run.get(parts)
                receipt.complete[request] = names
            finally:
                receipt.save()
    total_bytes = sum(receipt.files[file].size_bytes for file in names)
    note = sources.SOURCES[name].note
    return DownloadReport(name, folder, len(names), num_fetched, total_bytes, note)


def base_addresses(explicit: Mapping[str, str]) -> dict[str, str]:
    """The address of each host: `explicit`, else FACEVOICE_<NAME>_URL, else the public one.

    Raises:
        ConfigError: a name is unknown or an address is none.
    """
    bases = {
        name: os.environ.get(f"FACEVOICE_{name.upper()}_URL") or base
        for name, base in sources.HOSTS.items()
    }
    for name, base in {**bases, **explicit}.items():
        if name not in bases:
            raise ConfigError(f"base address {name!r} is unknown; known are {', '.join(bases)}")
        if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
            raise ConfigError(f"base address {name} = {base!r} is no http or https address")
        bases[name] = base.rstrip("/")
    return bases


def _choose(
    name: str, folder: Path, via: str | None, subset: bool, songs: bool
) -> tuple[str, tuple[sources.Part, ...]]:
    if name not in sources.SOURCES:
        raise ConfigError(f"corpus {name!r} is unknown; known are {', '.join(sources.SOURCES)}")
    source = sources.SOURCES[name]
    via = via or next(iter(source.via))
    if via not in source.via:
        raise ConfigError(f"{name} can't be had via {via!r}; it can via {', '.join(source.via)}")
    if subset and (not source.has_subset or via == "kaggle"):
        raise ConfigError(f"{name} via {via} has no small set; leave --subset out")
    if songs and not source.has_songs:
        raise ConfigError(f"{name} has no songs; leave --songs out")
    if isinstance(part := source.via[via][0], sources.ByHand):
        remedy = (
            f"Get it from {part.where} and unpack it to {folder}, then run "
            f"'facevoice data prepare {name}' on that folder."
        )
        raise ManualDownloadError(name, "", part.reason, remedy)
    return via, source.via[via]


@contextmanager
def _disk_errors(file: str, url: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = DiskSpaceError if error.errno == ENOSPC else DownloadError
        raise kind(file, url, f"can't be written ({error}).") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the corpus' lock, which a killed process loses by itself."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / FOLDER / "lock", timeout=0):
            yield
    except Timeout as error:
        raise DownloadError(
            folder.name, "", f"another process is fetching to {folder}.", "Let it finish."
        ) from error


@dataclass(frozen=True, slots=True)
class _File:
    """A published file and what is known of it before it is fetched."""

    name: str  # path below the corpus' folder, with `/`; archives end in .zip
    url: str
    size_bytes: int | None = None
    checksum: str | None = None  # `md5:…`, `sha256:…` or `git-sha1:…` (a Git blob's name)

    @property
    def is_archive(self) -> bool:
        return self.name.endswith(".zip")

    def part_of(self, target: Path) -> Path:
        """Where bytes gather: elsewhere for other content, so that versions are never mixed."""
        key = hashlib.sha256((self.checksum or self.url).encode()).hexdigest()[:8]
        return target.with_name(f"{target.name}.{key}.part")

    def problem(self, path: Path) -> str | None:
        """What is wrong with the bytes at `path`; None where they are the file."""
        size_bytes = path.stat().st_size
        if self.size_bytes not in (None, size_bytes):
            return f"{size_bytes} bytes came, {self.size_bytes} are published"
        if self.checksum is not None:
            found = _checksum_of(path, self.checksum.partition(":")[0])
            if found != self.checksum:
                return f"the checksum is {found}, published is {self.checksum}"
        return None


@dataclass(slots=True)
class _Run:
    """Lists, fetches, checks, unpacks and notes the files of one corpus."""

    corpus: str
    folder: Path
    network: _Network
    receipt: _Receipt
    subset: bool
    songs: bool
    keep_archives: bool

    def get(self, parts: tuple[sources.Part, ...]) -> tuple[list[str], int]:
        """The names of all files, and how many of them were fetched now."""
        self.network.tell(Progress("", "asking for the list of files"))
        try:
            files = [file for part in parts for file in self._list(part)]
            missing = [file for file in files if not self.receipt.has(file)]
            self._check_room(missing)
            missing_bytes = sum(file.size_bytes or 0 for file in missing)
            all_bytes = sum(file.size_bytes or 0 for file in files)
            note = f"{self.corpus}: {len(missing)} of {len(files)} files to fetch"
            self.network.tell(Progress("", note, all_bytes - missing_bytes, all_bytes or None))
            self.network.for_all(self._obtain, missing)
        except DownloadError as error:
            if not isinstance(error, DiskSpaceError):
                error.add_note(sources.SOURCES[self.corpus].remedy)
            raise
        handles = [part.handle for part in parts if isinstance(part, sources.Kaggle)]
        for handle in handles:
            self._obtain_from_kaggle(handle)
        return [file.name for file in files] + handles, len(missing) + len(handles)

    def _list(self, part: sources.Part) -> list[_File]:
        match part:
            case sources.Zenodo():
                return self._list_zenodo(part)
            case sources.GitHub():
                return self._list_github(part)
            case sources.Dataverse():
                return self._list_dataverse(part)
            case sources.WebFile():
                return [_File(part.name, self.network.bases[part.host] + part.path)]
        return []

    def _list_zenodo(self, part: sources.Zenodo) -> list[_File]:
        url = f"{self.network.bases['zenodo']}/api/records/{part.record}"

        def parse(content: bytes) -> dict[str, tuple[int, str]]:
            listed = json.loads(content)["files"]
            return {one["key"]: (int(one["size"]), _published(one["checksum"])) for one in listed}

        listed = self.network.read(f"record {part.record}", url, parse)
        wanted = part.files + (part.songs if self.songs else ())
        names = [name for name in wanted if name in part.subset or not self.subset]
        for name in names:
            if name not in listed:
                raise DownloadError(name, url, f"record {part.record} does not list it.")
        return [_File(name, f"{url}/files/{quote(name)}/content", *listed[name]) for name in names]

    def _list_dataverse(self, part: sources.Dataverse) -> list[_File]:
        base = self.network.bases["dataverse"]
        query = f"versions/:latest-published/files?persistentId={part.doi}"
        url = f"{base}/api/datasets/:persistentId/{query}"

        def parse(content: bytes) -> list[_File]:
            return [
                _File(
                    f"{part.into}/{file['filename']}",
                    f"{base}/api/access/datafile/{int(file['id'])}",
                    int(file["filesize"]),
                    _published(":".join((file["checksum"]["type"], file["checksum"]["value"]))),
                )
                for file in (one["dataFile"] for one in json.loads(content)["data"])
                if re.fullmatch(part.pattern, file["filename"])
            ]

        listed = self.network.read(f"dataset {part.doi}", url, parse)
        if not listed:
            raise DownloadError(f"dataset {part.doi}", url, "the host lists nothing that we know.")
        # Some datasets list every file in two folders; by name they are the same.
        return list({file.name: file for file in reversed(listed)}.values())

    def _list_github(self, part: sources.GitHub) -> list[_File]:
        # Folder by folder, since the recursive listing of a large repository comes cut off.
        root = self._read_tree(part, part.ref)
        trees = []
        for folder in part.folders:
            kind, tree, _ = root.get(folder.path, ("", "", 0))
            if folder.path and kind != "tree":
                subject = f"{part.repository} at {part.ref}"
                raise DownloadError(subject, "", f"has no folder {folder.path!r} any more.")
            listed = self._read_tree(part, tree) if folder.path else root
            trees.append({n: b for n, b in listed.items() if re.fullmatch(folder.pattern, n)})
        pairs = list(zip(part.folders, trees, strict=True))
        clips = [{Path(name).stem for name in tree} for folder, tree in pairs if folder.is_clips]
        chosen = set().union(*clips) - part.left_out
        if self.subset and part.pick:
            chosen = set(part.pick(set.intersection(*clips) - part.left_out))
        raw = f"{self.network.bases['github_raw']}/{part.repository}/{part.ref}"
        files = [
            _File(
                str(PurePosixPath(folder.into, name)),
                f"{raw}/{quote(str(PurePosixPath(folder.path, name)))}",
                size_bytes,
                f"git-sha1:{sha1}",
            )
            for folder, tree in pairs
            for name, (_, sha1, size_bytes) in tree.items()
            if not folder.is_clips or Path(name).stem in chosen
        ]
        return self._resolve_pointers(files) if part.has_lfs else files

    def _read_tree(self, part: sources.GitHub, tree: str) -> dict[str, tuple[str, str, int]]:
        """What lies in a folder of the repository: {name: (kind, sha1, bytes)}."""

        def parse(content: bytes) -> dict[str, tuple[str, str, int]]:
            answer = json.loads(content)
            if answer.get("truncated"):
                raise ValueError("the list of files is cut off")
            listed = answer["tree"]
            return {one["path"]: (one["type"], one["sha"], one.get("size", 0)) for one in listed}

        url = f"{self.network.bases['github_api']}/repos/{part.repository}/git/trees/{quote(tree)}"
        headers = {"Accept": "application/vnd.github+json"}
        if token := os.environ.get("GITHUB_TOKEN"):
            headers["Authorization"] = f"Bearer {token}"
        return self.network.read(f"{part.repository} at {part.ref}", url, parse, **headers)

    def _resolve_pointers(self, files: list[_File]) -> list[_File]:
        """Put the objects of Git LFS where the files in Git only point to them."""
        known = self.receipt.pointers
        raw, media = self.network.bases["github_raw"], self.network.bases["github_media"]

        def read(file: _File) -> None:
            def parse(content: bytes) -> list[Any]:
                blob = b"blob %d\0" % len(content) + content
                sha1 = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
                if file.checksum != f"git-sha1:{sha1}":
                    raise ValueError("the checksum is wrong")
                found = _POINTER.fullmatch(content)
                return [found[1].decode(), int(found[2])] if found else []

            known[str(file.checksum)] = self.network.read(file.name, file.url, parse)
            self.receipt.save(SAVE_EVERY_S)
            self.network.tell(Progress("", f"{self.corpus}: {len(known)} entries listed"))

        small = [file for file in files if (file.size_bytes or 0) < 1024]
        self.network.for_all(read, [file for file in small if file.checksum not in known])
        return [
            _File(file.name, media + file.url.removeprefix(raw), found[1], f"sha256:{found[0]}")
            if (found := known.get(str(file.checksum)))
            else file
            for file in files
        ]

    def _check_room(self, missing: list[_File]) -> None:
        needed_bytes = float(SPARE_BYTES)
        for file in missing:
            target, size_bytes = self.folder / file.name, file.size_bytes or 0
            here = [path for path in (target, file.part_of(target)) if path.is_file()]
            needed_bytes += max(0, size_bytes - sum(path.stat().st_size for path in here))
            needed_bytes += UNPACKED_RATIO * size_bytes * file.is_archive
        free_bytes = shutil.disk_usage(self.folder).free
        if missing and needed_bytes > free_bytes:
            problem = (
                f"needs about {needed_bytes / 1e9:.1f} GB to download and unpack, but "
                f"{self.folder} has {free_bytes / 1e9:.1f} GB free."
            )
            remedy = "Free some space, or choose another folder or, where there is one, --subset."
            raise DiskSpaceError(self.corpus, "", problem, remedy)

    def _obtain(self, file: _File) -> None:
        target = self.folder / file.name
        with _disk_errors(file.name, file.url):
            # A kill may have come between a file's name and its receipt.
            if file.checksum is None or not target.is_file() or file.problem(target):
                _fetch(self.network, file, target)
            size_bytes = target.stat().st_size
            checksum = file.checksum or _checksum_of(target, "sha256")
            members = self._unpack(file, target) if file.is_archive else self._members([target])
            entry = _Entry(size_bytes, checksum, shown_address(file.url), members)
            self.receipt.note(file.name, entry)
            if file.is_archive and not self.keep_archives:
                self.receipt.save()
                target.unlink()
        self.network.tell(Progress(file.name, "", size_bytes, size_bytes, is_finished=True))

    def _members(self, paths: Iterable[Path]) -> dict[str, list[int]]:
        return {
            path.relative_to(self.folder).as_posix(): [path.stat().st_size, _crc32(path)]
            for path in paths
        }

    def _unpack(self, file: _File, archive: Path) -> dict[str, list[int]]:
        self.network.tell(Progress(file.name, "unpacking"))
        into = PurePosixPath(file.name).with_suffix("")
        try:
            unpack(archive, self.folder / into, anew=True)
        except CorpusError as error:
            if file.checksum is not None:
                raise
            # Nothing but the archive itself could tell that it is damaged.
            archive.unlink(missing_ok=True)
            remedy = "Nothing of it was kept; run the command again."
            raise ChecksumError(file.name, file.url, f"{error}.", remedy) from error
        return {
            str(into / member.filename): [member.file_size, member.CRC]
            for member in read_members(archive)
            if not member.is_dir()
        }

    def _obtain_from_kaggle(self, handle: str) -> None:
        """kagglehub resumes, checks and unpacks by itself."""
        try:
            import kagglehub
        except ImportError as error:
            raise MissingExtraError("downloading from Kaggle", "data") from error
        url = f"https://www.kaggle.com/datasets/{handle}"
        self.network.tell(Progress(handle, "kagglehub"))
        try:
            kagglehub.dataset_download(handle, output_dir=str(self.folder / "kaggle"))
        except Exception as error:
            # kagglehub passes on whatever its parts raise; there is no common base.
            problem = f"kagglehub failed ({type(error).__name__}: {error})."
            raise DownloadError(handle, url, problem, KAGGLE_REMEDY) from error
        paths = (path for path in (self.folder / "kaggle").rglob("*") if path.is_file())
        members = self._members(sorted(paths))
        size_bytes = sum(size for size, _ in members.values())
        self.receipt.note(handle, _Entry(size_bytes, "", shown_address(url), members))


def _published(checksum: str) -> str:
    """`md5:…`, however a host spells it."""
    kind, _, digest = checksum.lower().replace("-", "").partition(":")
    if kind not in hashlib.algorithms_guaranteed or len(digest) < 32:
        raise ValueError(f"no checksum: {checksum!r}")
    return f"{kind}:{digest}"


def _checksum_of(path: Path, kind: str) -> str:
    # The name of a Git blob: sha1 over a short header and the content.
    header = b"blob %d\0" % path.stat().st_size if kind == "git-sha1" else b""

    def create() -> Any:
        return hashlib.new(kind.removeprefix("git-"), header, usedforsecurity=False)

    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, create).hexdigest()}"


def _crc32(path: Path) -> int:
    return zlib.crc32(path.read_bytes())  # media files are small; archives are never read here


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file that was whole and sound when this was written, and what it became.

    `members`: {path below the corpus folder: [bytes, CRC-32]}, of an archive what it unpacks to.
    """

    size_bytes: int
    checksum: str
    address: str
    members: dict[str, list[int]]


class _Receipt:
    """What of a corpus folder was found sound; `verify` reads all of it again."""

    def __init__(self, folder: Path, verify: bool) -> None:
        self._folder = folder
        self._verify = verify
        self._path = folder / FOLDER / "receipt.json"
        self._lock = threading.Lock()
        self._saved_s = time.monotonic()
        self.files: dict[str, _Entry] = {}
        self.complete: dict[str, list[str]] = {}  # names of all files of a fulfilled request
        self.pointers: dict[str, list[Any]] = {}  # Git's checksum: [sha256, bytes] in LFS, or []
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            self.files = {name: _Entry(**entry) for name, entry in known["files"].items()}
            self.complete, self.pointers = known["complete"], known["pointers"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # none, or none of ours: start anew

    def complete_files(self, request: str) -> list[str] | None:
        """The files of a fulfilled request; None where anything is amiss."""
        names = self.complete.get(request)
        return names if names and all(self._is_in_place(name) for name in names) else None

    def has(self, file: _File) -> bool:
        """Whether what is published as `file` now lies here, sound."""
        entry = self.files.get(file.name)
        is_same = entry is not None and file.checksum in (None, entry.checksum)
        return is_same and self._is_in_place(file.name)

    def _is_in_place(self, name: str) -> bool:
        for member, (size_bytes, crc) in self.files[name].members.items():
            path = self._folder / member
            is_same = path.is_file() and path.stat().st_size == size_bytes
            if not is_same or (self._verify and _crc32(path) != crc):
                return False
        return True

    def note(self, name: str, entry: _Entry) -> None:
        """Write down that a file is sound."""
        self.files[name] = entry
        self.save(SAVE_EVERY_S)

    def save(self, min_age_s: float = 0.0) -> None:
        """Write the file, if the last time is so long ago."""
        with self._lock:
            if time.monotonic() - self._saved_s < min_age_s:
                return
            files = {name: asdict(entry) for name, entry in self.files.copy().items()}
            known = {"complete": self.complete, "files": files, "pointers": self.pointers.copy()}
            write_atomically(self._path, json.dumps(known, indent=1) + "\n")
            self._saved_s = time.monotonic()


def _fetch(network: _Network, file: _File, target: Path) -> None:
    """Bring `file` to `target`, going on from what an earlier run left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = file.part_of(target)
    for _ in range(2):
        network.retry(file.name, file.url, lambda: _transfer(network, file, part))
        network.tell(Progress(file.name, "checking"))
        problem = file.problem(part)
        if problem is None:
            part.replace(target)
            return
        part.unlink()  # damaged bytes are of no use to another try either
    remedy = "Try another network or a mirror; the publisher may have changed the file."
    raise ChecksumError(file.name, file.url, f"{problem}, twice; nothing of it was kept.", remedy)


def _transfer(network: _Network, file: _File, part: Path) -> None:
    """Fill `part` to the end with one request."""
    done_bytes = part.stat().st_size if part.exists() else 0
    if done_bytes > (file.size_bytes or done_bytes):
        done_bytes = 0
    if done_bytes and done_bytes == file.size_bytes:
        return
    headers = {"Range": f"bytes={done_bytes}-"} if done_bytes else {}
    with network.get(file.name, file.url, **headers) as response:
        place = response.headers.get("Content-Range", "")
        is_rest = response.status_code == 206 and place.startswith(f"bytes {done_bytes}-")
        if response.status_code in (206, 416) and not is_rest:
            part.unlink(missing_ok=True)
            raise _BrokenError("the server has no such part")
        if not is_rest:
            done_bytes = 0
        length = response.headers.get("Content-Length", "")
        total_bytes = file.size_bytes or (done_bytes + int(length) if length.isdigit() else None)
        with part.open("ab") as sink:
            sink.truncate(done_bytes)
            for block in network.blocks(response, done_bytes):
                sink.write(block)
                done_bytes += len(block)
                if total_bytes is not None and done_bytes > total_bytes:
                    sink.truncate(0)
                    raise _BrokenError(f"more than the {total_bytes} bytes announced came")
                network.tell(Progress(file.name, "", done_bytes, total_bytes))
    if total_bytes is not None and done_bytes < total_bytes:
        problem = f"the connection closed after {done_bytes} of {total_bytes} bytes"
        raise _BrokenError(problem, done_bytes)


@dataclass(eq=False)
class _BrokenError(Exception):
    """A try failed in a way that another may not, perhaps after the wait that a server asks for."""

    problem: str
    reached_bytes: int = 0
    wait_s: float | None = None


class _StoppedError(Exception):
    """Another file failed for good, or the user stopped the run."""


class _Network:
    """HTTP for one run, from many threads: waits as servers ask, tries again, can be stopped."""

    def __init__(
        self, bases: Mapping[str, str], jobs: int, tell: OnProgress, wait: Wait | None
    ) -> None:
        try:
            import requests
        except ImportError as error:
            raise MissingExtraError("downloading corpora", "data") from error
        self.bases = bases
        self.tell = tell
        self._jobs = jobs
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._not_before_s = 0.0
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"facevoice/{VERSION}"
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=jobs))

    def for_all(self, work: Callable[[_File], None], files: list[_File]) -> None:
        """Do `work` on all files, some at once; one file's failure does not stop the others."""
        failures: list[FacevoiceError] = []
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="download") as pool:
            try:
                for future in as_completed([pool.submit(work, file) for file in files]):
                    error = future.exception()
                    if error is not None and not isinstance(error, FacevoiceError):
                        raise error
                    failures += [error] if error else []
                    if len(failures) >= MAX_FAILED or isinstance(error, DiskSpaceError):
                        raise failures[0]
            except BaseException:
                # Also on Ctrl-C: what is under way stops at once and goes on next time.
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        if failures:
            failures[0].add_note(f"{len(failures)} of {len(files)} files failed.")
            raise failures[0]

    def retry(self, file: str, url: str, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds, waiting longer after each failure in a row."""
        failures = best_bytes = 0
        problem = "the server is busy"
        while True:
            # What one answer asks for holds for all files.
            self._pause(file, self._not_before_s - time.monotonic(), problem)
            try:
                return attempt()
            except _BrokenError as error:
                # Against the best so far: a server that can't resume must not keep us for ever.
                failures = 1 if error.reached_bytes > best_bytes else failures + 1
                best_bytes = max(best_bytes, error.reached_bytes)
                problem, asked_s = error.problem, error.wait_s
                if failures > MAX_RETRIES or (asked_s or 0.0) > MAX_WAIT_S:
                    times = f"for the {failures}th time in a row"
                    told = f"and asks to wait {asked_s / 60:.0f} minutes" if asked_s else times
                    raise DownloadError(file, url, f"{problem}, {told}.", AGAIN) from error
                if asked_s is None:
                    own_s = min(60.0, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
                    self._pause(file, own_s, problem)
                else:
                    self._not_before_s = max(self._not_before_s, time.monotonic() + asked_s)

    def _pause(self, file: str, wait_s: float, problem: str) -> None:
        if wait_s > 0:
            self.tell(Progress(file, f"{problem}; trying again in {wait_s:.0f} s"))
            self._wait(wait_s)
        if self._stop.is_set():
            raise _StoppedError

    def read(self, subject: str, url: str, parse: Callable[[bytes], T], **headers: str) -> T:
        """What `parse` makes of the small document at `url`; `subject` is for messages."""

        def attempt() -> T:
            with self.get(subject, url, **headers) as response:
                content = b"".join(self.blocks(response))
            try:
                return parse(content)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise _BrokenError(f"the answer is not as documented ({error!r})") from error

        return self.retry(subject, url, attempt)

    def get(self, file: str, url: str, **headers: str) -> requests.Response:
        """Send one GET and read the answer's head; the caller streams and closes it."""
        import requests
        import urllib3

        try:
            response = self._session.get(url, headers=headers, timeout=TIMEOUTS_S, stream=True)
        except requests.RequestException as error:
            raise _BrokenError(f"no answer ({type(error).__name__})") from error
        status = response.status_code
        if response.ok or status == 416:
            return response
        with response:
            try:
                asked_s = urllib3.Retry().get_retry_after(response.raw)
            except urllib3.exceptions.InvalidHeader:
                asked_s = None
            # Some hosts say 403 where they mean "too many requests".
            if status in RETRY_STATUSES or (status == 403 and asked_s is not None):
                raise _BrokenError(f"the server answers HTTP {status}", wait_s=asked_s)
            try:
                detail = f" ({str(response.json()['message'])[:200]})"
            except (OSError, ValueError, KeyError, TypeError):
                detail = ""
        raise DownloadError(file, url, f"the server answers HTTP {status}{detail}.")

    def blocks(self, response: requests.Response, done_bytes: int = 0) -> Iterator[bytes]:
        """The body as it comes; `done_bytes` came before."""
        import urllib3

        while not self._stop.is_set():
            try:
                block: bytes = response.raw.read1(1 << 18)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = f"the transfer broke off ({type(error).__name__})"
                raise _BrokenError(problem, done_bytes) from error
            if not block:
                return
            yield block
            done_bytes += len(block)
        raise _StoppedError
