"""Gets published checkpoints: fetched once, pinned to a commit, checked, never unpickled."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facevoice.config import AnalyzerConfig
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.hub.commit import check_hub_id
from facevoice.hub.problems import EXTRA, FEATURE, explain_download, http_error_type
from facevoice.models.checkpoint_folder import (
    CARD_FILE,
    HASHED_FILES,
    INDEX_FILE,
    WEIGHTS_FILE,
    read_files,
    read_info,
)
from facevoice.models.checkpoint_info import CheckpointInfo
from facevoice.whole_folder import whole_folder

if TYPE_CHECKING:
    from facevoice.pipeline import Analyzer

PATTERNS: Final = (INDEX_FILE, CARD_FILE, *HASHED_FILES)
"""Nothing else of a repository is ever fetched."""
ORIGIN_FILE: Final = "origin.json"
"""In a folder that was pulled: repository and commit."""
DEFAULT_REVISION: Final = "main"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PulledCheckpoint:
    """A published checkpoint on this disk, all hashes checked.

    folder: in the hub's cache, or the one that was asked for; commit: 40 hex digits.
    """

    folder: Path
    hub_id: str
    commit: str
    info: CheckpointInfo

    @property
    def origin(self) -> str:
        """`owner/name@commit`: names these bytes for good."""
        return f"{self.hub_id}@{self.commit}"


def pull_checkpoint(
    hub_id: str,
    *,
    revision: str = DEFAULT_REVISION,
    out: Path | None = None,
    overwrite: bool = False,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> PulledCheckpoint:
    """Fetch a checkpoint from the hub, or take it from the cache.

    A commit that is cached whole is not asked for again; a branch is asked for its commit, and the
    cached one serves where the hub can't be reached. A file that is damaged in the cache is
    fetched anew, once.

    Args:
        hub_id: `owner/name`.
        revision: commit, branch, tag, or `refs/pr/N`.
        out: also written there, with `origin.json`; whole or not at all.
        overwrite: replace another checkpoint in `out`.
        endpoint: address of the hub; by default `HF_ENDPOINT`.
        cache_dir: by default the cache of huggingface_hub (`HF_HOME`).

    Raises:
        WeightsError: not found, no access, not reachable and not cached, no checkpoint of
            facevoice, or not the bytes that its hashes name.
        ConfigError: no such name.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_hub_id(hub_id)
    if out is not None:
        _check_target(out, overwrite)
    places = {"endpoint": endpoint, "cache_dir": cache_dir}
    folder = _fetch(hub_id, revision, places, anew=False)
    try:
        info = check_folder(folder)
    except WeightsError as error:
        _LOG.warning("%s; it is fetched anew", error)
        folder = _fetch(hub_id, folder.name, places, anew=True)
        info = check_folder(folder)
    if revision != folder.name:
        _LOG.info("%s@%s is commit %s", hub_id, revision, folder.name)
    if out is not None:
        _write_copy(folder, out, {"repository": hub_id, "commit": folder.name})
    return PulledCheckpoint(out or folder, hub_id, folder.name, info)


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    config: AnalyzerConfig | None = None,
    backbones: Sequence[str] = (),
    num_threads: int = 1,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> Analyzer:
    """An analyzer that runs a model of the hub or of a folder.

    Args:
        name: `owner/name` of a published checkpoint, or a folder of `facevoice train` or
            `facevoice export`.
        revision: commit, branch or tag of the hub; name a commit to always get the same.
        config, backbones, num_threads: as for `Analyzer`.
        endpoint, cache_dir: as for `pull_checkpoint`.

    Raises:
        WeightsError, ConfigError, MissingExtraError: as `pull_checkpoint` and `Analyzer`.
    """
    from facevoice.pipeline import Analyzer

    if Path(name).is_dir():
        if revision is not None:
            raise ConfigError(f"{name} is a folder: it has no revision {revision!r}")
        folder = Path(name)
    else:
        _check_no_folder(name)
        folder = pull_checkpoint(
            str(name),
            revision=revision or DEFAULT_REVISION,
            endpoint=endpoint,
            cache_dir=cache_dir,
        ).folder
    return Analyzer(config, checkpoint=folder, backbones=backbones, num_threads=num_threads)


def check_folder(folder: Path) -> CheckpointInfo:
    """Check a checkpoint by its own hashes, and that its weights are safetensors; needs no torch.

    Raises:
        WeightsError: something is absent, damaged or another thing.
        MissingExtraError: safetensors is not installed.
    """
    info = read_info(folder)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{folder / WEIGHTS_FILE}: is no safetensors file ({error})") from error
    return info


def _fetch(hub_id: str, revision: str, places: dict[str, Any], *, anew: bool) -> Path:
    """The snapshot's folder, named by its commit."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    name = f"{hub_id}@{revision}"
    try:
        found = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(PATTERNS),
            force_download=anew,
            library_name="facevoice",
            **places,
        )
    except (errors.EntryNotFoundError, http_error_type(), OSError, ValueError) as error:
        raise WeightsError(explain_download(error, name)) from error
    folder = Path(found)
    if not _COMMIT.fullmatch(folder.name):
        raise WeightsError(f"{name}: the hub named no commit for it, so it can't be pinned.")
    return folder


def _check_no_folder(name: str | Path) -> None:
    text = str(name)
    if isinstance(name, Path) or text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise ConfigError(f"{text}: no such folder, and no OWNER/NAME of the hub")


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / INDEX_FILE).is_file()):
        raise ConfigError(f"--out {out}: holds something else than a checkpoint; name another")
    if any(out.iterdir()) and not overwrite:
        raise ConfigError(f"--out {out}: holds a checkpoint already; name another, or --overwrite")


def _write_copy(folder: Path, out: Path, origin: dict[str, str]) -> None:
    contents = read_files(folder)
    contents |= {
        n: (folder / n).read_bytes() for n in (INDEX_FILE, CARD_FILE) if (folder / n).is_file()
    }
    contents[ORIGIN_FILE] = f"{json.dumps(origin, indent=2)}\n".encode()
    with whole_folder(out) as part:
        for name, content in contents.items():
            (part / name).write_bytes(content)
