"""What the hosts of corpora list: Zenodo records, Dataverse datasets, GitHub folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from facevoice.data.http import HttpClient
from facevoice.data.remote import RemoteFile
from facevoice.errors import ConfigError, DownloadError

DEFAULT_HOSTS: Final[Mapping[str, str]] = {
    "zenodo": "https://zenodo.org",
    "github": "https://github.com",
    "github_api": "https://api.github.com",
    "github_raw": "https://raw.githubusercontent.com",
    "dataverse": "https://borealisdata.ca",
    "emodb": "http://emodb.bilderbar.info",
}


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base addresses, for mirrors and tests.

    The default of each is public; FACEVOICE_<NAME>_URL in the environment, or an explicit entry,
    replaces it.
    """

    bases: Mapping[str, str] = field(default_factory=dict)
    github_token: str | None = None

    @classmethod
    def from_environment(cls, explicit: Mapping[str, str] | None = None) -> Hosts:
        """Bases from the environment, under those given; GITHUB_TOKEN raises GitHub's limits.

        Raises:
            ConfigError: a name is unknown or an address is none.
        """
        found = {
            name: os.environ[f"FACEVOICE_{name.upper()}_URL"]
            for name in DEFAULT_HOSTS
            if os.environ.get(f"FACEVOICE_{name.upper()}_URL")
        }
        found.update(explicit or {})
        for name, base in found.items():
            if name not in DEFAULT_HOSTS:
                known = ", ".join(DEFAULT_HOSTS)
                raise ConfigError(f"base address {name!r} is unknown; known are {known}")
            if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
                raise ConfigError(f"base address {name} = {base!r} is no http or https address")
        return cls(found, os.environ.get("GITHUB_TOKEN") or None)

    def base(self, name: str) -> str:
        """The base address, without a slash at the end."""
        return self.bases.get(name, DEFAULT_HOSTS[name]).rstrip("/")

    def rebase(self, name: str, url: str) -> str:
        """`url` as a host gave it, turned to our base where that was replaced by a mirror."""
        if name not in self.bases:
            return url
        base, given = urlsplit(self.base(name)), urlsplit(url)
        if given.netloc == base.netloc:
            return url
        return urlunsplit(
            (base.scheme, base.netloc, base.path.rstrip("/") + given.path, given.query, "")
        )


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A file in a Git tree: its name in its folder, its blob's sha1, its size."""

    name: str
    sha1: str
    size_bytes: int


def list_zenodo(client: HttpClient, hosts: Hosts, record: str) -> list[RemoteFile]:
    """The files of a Zenodo record, with published sizes and md5 sums.

    Raises:
        DownloadError: the record can't be read.
    """
    url = f"{hosts.base('zenodo')}/api/records/{record}"
    answer = client.json(f"record {record}", url)
    with _understood(f"record {record}", url):
        return [
            RemoteFile(
                name=item["key"],
                url=hosts.rebase("zenodo", item["links"]["self"]),
                size_bytes=int(item["size"]),
                checksum=_checked(item["checksum"]),
            )
            for item in answer["files"]
        ]


def list_dataverse(client: HttpClient, hosts: Hosts, doi: str) -> list[RemoteFile]:
    """The files of a Dataverse dataset's latest version, with sizes and checksums.

    Raises:
        DownloadError: the dataset can't be read.
    """
    base = hosts.base("dataverse")
    url = f"{base}/api/datasets/:persistentId/versions/:latest-published/files?persistentId={doi}"
    answer = client.json(f"dataset {doi}", url)
    with _understood(f"dataset {doi}", url):
        return [_dataverse_file(base, item) for item in answer["data"]]


def _dataverse_file(base: str, item: dict[str, Any]) -> RemoteFile:
    file = item["dataFile"]
    algorithm = file["checksum"]["type"].lower().replace("-", "")
    folder = item.get("directoryLabel", "")
    return RemoteFile(
        name=f"{folder}/{file['filename']}" if folder else file["filename"],
        url=f"{base}/api/access/datafile/{int(file['id'])}",
        size_bytes=int(file["filesize"]),
        checksum=_checked(f"{algorithm}:{file['checksum']['value']}"),
    )


def list_github(
    client: HttpClient, hosts: Hosts, repository: str, ref: str, folders: tuple[str, ...]
) -> dict[str, list[BlobEntry]]:
    """The files directly in each of `folders` ("" is the root) of a repository at `ref`.

    Folder by folder, since the recursive listing of a large repository comes cut off.

    Raises:
        DownloadError: a folder is absent, its listing is cut off, or the host refuses.
    """
    subject = f"{repository} at {ref}"
    base = f"{hosts.base('github_api')}/repos/{repository}/git/trees"
    headers = {"Accept": "application/vnd.github+json"}
    if hosts.github_token:
        headers["Authorization"] = f"Bearer {hosts.github_token}"

    def read(tree: str) -> list[dict[str, Any]]:
        url = f"{base}/{quote(tree)}"
        answer = client.json(subject, url, headers)
        with _understood(subject, url):
            if answer.get("truncated"):
                raise DownloadError(subject, url, "the host cuts the list of files off.")
            return list(answer["tree"])

    root = read(ref)
    listing: dict[str, list[BlobEntry]] = {}
    for folder in folders:
        tree = root
        for part in filter(None, folder.split("/")):
            found = [one for one in tree if one.get("path") == part and one.get("type") == "tree"]
            if not found:
                raise DownloadError(subject, base, f"has no folder {folder!r} any more.")
            tree = read(str(found[0]["sha"]))
        with _understood(subject, base):
            listing[folder] = [
                BlobEntry(one["path"], one["sha"], int(one["size"]))
                for one in tree
                if one["type"] == "blob"
            ]
    return listing


def raw_file(
    hosts: Hosts, repository: str, ref: str, path: str, entry: BlobEntry, name: str
) -> RemoteFile:
    """A file as it lies in Git (an LFS file's pointer), checked by its blob's sha1."""
    return RemoteFile(
        name=name,
        url=f"{hosts.base('github_raw')}/{repository}/{ref}/{quote(path)}",
        size_bytes=entry.size_bytes,
        checksum=f"git-sha1:{entry.sha1}",
    )


def single_file(hosts: Hosts, host: str, path: str, name: str) -> RemoteFile:
    """A file of which nothing but the address is published."""
    return RemoteFile(name=name, url=f"{hosts.base(host)}{path}")


def _checked(checksum: str) -> str:
    algorithm, _, digest = checksum.partition(":")
    if not algorithm or len(digest) < 32:
        raise ValueError(f"no checksum: {checksum!r}")
    return checksum


@contextmanager
def _understood(subject: str, url: str) -> Iterator[None]:
    """Turn a document of another shape than documented into a DownloadError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DownloadError(
            subject, url, f"the host's list is not as documented ({error!r})."
        ) from error
