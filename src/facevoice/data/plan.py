"""From a wish ("CREMA-D, the small set") to the list of files to fetch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from facevoice.data.download import read_small
from facevoice.data.hosts import (
    BlobEntry,
    Hosts,
    list_dataverse,
    list_github,
    list_zenodo,
    raw_file,
    single_file,
)
from facevoice.data.http import HttpClient
from facevoice.data.ledger import FOLDER, JsonLog
from facevoice.data.lfs import MAX_POINTER_BYTES, LfsServer, Pointer, parse_pointer
from facevoice.data.remote import Phase, Progress, ProgressCallback, RemoteFile
from facevoice.data.sources import (
    Archive,
    ByHand,
    CorpusSource,
    DataverseDataset,
    GitHubFolder,
    GitHubRepository,
    KaggleDataset,
    Part,
    PlainArchive,
    ZenodoRecord,
)
from facevoice.errors import DownloadError, ManualDownloadError


@dataclass(frozen=True, slots=True)
class Choice:
    """How much of a corpus is wanted."""

    subset: bool = False
    songs: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to fetch, and the clips left out on purpose."""

    files: tuple[RemoteFile, ...]
    kaggle: tuple[KaggleDataset, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class Planner:
    """Asks the hosts what there is; `folder` keeps what was learnt of LFS pointers."""

    client: HttpClient
    hosts: Hosts
    source: CorpusSource
    choice: Choice
    folder: Path
    jobs: int
    progress: ProgressCallback
    _left_out: set[str] = field(default_factory=set)

    def plan(self, parts: tuple[Part, ...]) -> Plan:
        """The files of all `parts`.

        Raises:
            ManualDownloadError: people must fetch the corpus themselves.
            DownloadError: a host can't be asked, or lists something else than expected.
        """
        files: list[RemoteFile] = []
        kaggle: list[KaggleDataset] = []
        for part in parts:
            match part:
                case ZenodoRecord():
                    files += self._zenodo(part)
                case GitHubRepository():
                    files += self._github(part)
                case DataverseDataset():
                    files += self._dataverse(part)
                case PlainArchive():
                    found = single_file(self.hosts, part.host, part.path, part.archive.name)
                    files.append(_as_archive(found, part.archive.name, part.archive.unpack_ratio))
                case KaggleDataset():
                    kaggle.append(part)
                case ByHand():
                    raise ManualDownloadError(
                        self.source.name, "", part.reason, _by_hand(self, part)
                    )
        names = [file.name for file in files]
        if len(set(names)) != len(names) or not (files or kaggle):
            raise DownloadError(
                self.source.name, "", "the hosts list nothing, or a file twice.", self.source.remedy
            )
        return Plan(tuple(files), tuple(kaggle), tuple(sorted(self._left_out)))

    def _zenodo(self, part: ZenodoRecord) -> list[RemoteFile]:
        listed = {file.name: file for file in list_zenodo(self.client, self.hosts, part.record)}
        wanted = [archive for archive in part.archives if self._is_wanted(archive)]
        missing = [archive.name for archive in wanted if archive.name not in listed]
        if missing:
            raise DownloadError(
                missing[0], self.hosts.base("zenodo"), f"record {part.record} does not list it."
            )
        return [
            _as_archive(listed[archive.name], archive.name, archive.unpack_ratio)
            for archive in wanted
        ]

    def _is_wanted(self, archive: Archive) -> bool:
        if archive.is_song and not self.choice.songs:
            return False
        return archive.in_subset or not self.choice.subset

    def _dataverse(self, part: DataverseDataset) -> list[RemoteFile]:
        # Some datasets list every file in two folders; by name they are the same.
        found: dict[str, RemoteFile] = {}
        for file in list_dataverse(self.client, self.hosts, part.doi):
            name = PurePosixPath(file.name).name
            if part.pattern.fullmatch(name):
                found.setdefault(name, replace(file, name=f"{part.into}/{name}"))
        return list(found.values())

    def _github(self, part: GitHubRepository) -> list[RemoteFile]:
        listing = list_github(
            self.client,
            self.hosts,
            part.repository,
            part.ref,
            tuple(folder.path for folder in part.folders),
        )
        chosen = self._choose(part, listing)
        files: list[RemoteFile] = []
        for folder in part.folders:
            for entry in listing[folder.path]:
                if not folder.pattern.fullmatch(entry.name):
                    continue
                stem = PurePosixPath(entry.name).stem
                if folder.is_clips and stem in self.source.left_out:
                    self._left_out.add(stem)
                elif not folder.is_clips or chosen is None or stem in chosen:
                    files.append(self._blob(part, folder, entry))
        return self._through_lfs(part, files) if part.lfs else files

    def _choose(
        self, part: GitHubRepository, listing: Mapping[str, list[BlobEntry]]
    ) -> frozenset[str] | None:
        """The subset's stems, of those that are in all folders of clips; None: all clips."""
        if not self.choice.subset or self.source.pick is None:
            return None
        stems = [
            {PurePosixPath(one.name).stem for one in listing[folder.path]}
            for folder in part.folders
            if folder.is_clips
        ]
        return frozenset(self.source.pick(set.intersection(*stems) - self.source.left_out))

    def _blob(self, part: GitHubRepository, folder: GitHubFolder, entry: BlobEntry) -> RemoteFile:
        path = "/".join(filter(None, (folder.path, entry.name)))
        name = "/".join(filter(None, (folder.into, entry.name)))
        file = raw_file(self.hosts, part.repository, part.ref, path, entry, name)
        return _as_archive(file, name, folder.unpack_ratio) if folder.unpack_ratio else file

    def _through_lfs(self, part: GitHubRepository, files: list[RemoteFile]) -> list[RemoteFile]:
        """Replace pointer files by the objects that they point to."""
        small = [file for file in files if (file.size_bytes or 0) < MAX_POINTER_BYTES]
        pointers = PointerCache(self.folder).read_all(self.client, small, self.jobs, self.progress)
        repository_url = f"{self.hosts.base('github')}/{part.repository}"
        server = LfsServer(
            self.client, repository_url, pointers.values(), remedy=self.source.remedy
        )
        return [
            server.remote_file(file.name, pointers[file.name]) if file.name in pointers else file
            for file in files
        ]


class PointerCache:
    """Remembers what pointer files say, by their blob's sha1, so that no run asks twice."""

    def __init__(self, folder: Path) -> None:
        self._log = JsonLog(folder / FOLDER / "pointers.jsonl")

    def read_all(
        self, client: HttpClient, files: Iterable[RemoteFile], jobs: int, progress: ProgressCallback
    ) -> dict[str, Pointer]:
        """The pointers among `files`, by file name; those that are files of their own are absent.

        Raises:
            DownloadError: one can't be had.
        """
        known: dict[str, Pointer | None] = {
            str(item["blob"]): Pointer(item["oid"], item["size_bytes"]) if item["oid"] else None
            for item in self._log.read()
            if {"blob", "oid", "size_bytes"} <= item.keys()
        }
        files = list(files)
        unknown = [file for file in files if str(file.checksum) not in known]

        def read(file: RemoteFile) -> Pointer | None:
            content = read_small(client, file)
            progress(Progress(file.name, Phase.LISTED, len(content), len(content)))
            pointer = parse_pointer(content)
            self._log.append(
                [
                    {
                        "blob": file.checksum,
                        "oid": pointer.oid if pointer else "",
                        "size_bytes": pointer.size_bytes if pointer else 0,
                    }
                ]
            )
            return pointer

        with ThreadPoolExecutor(jobs, thread_name_prefix="pointer") as pool:
            try:
                found = list(pool.map(read, unknown))
            except BaseException:
                client.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        known.update(zip((str(file.checksum) for file in unknown), found, strict=True))
        pointers = {file.name: known[str(file.checksum)] for file in files}
        return {name: pointer for name, pointer in pointers.items() if pointer is not None}


def _as_archive(file: RemoteFile, name: str, unpack_ratio: float) -> RemoteFile:
    return replace(file, unpack_into=name.removesuffix(".zip"), unpack_ratio=unpack_ratio)


def _by_hand(planner: Planner, part: ByHand) -> str:
    return (
        f"Get it from {part.where} and unpack it to {planner.folder}, then run "
        f"'facevoice data prepare {planner.source.name}' on that folder."
    )
