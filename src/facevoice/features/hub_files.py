"""Files of a published checkpoint: fetched from a hub or found in a folder, and checked.

Only JSON, the card and safetensors are ever fetched or opened; nothing is unpickled. Needs
`huggingface_hub` and `safetensors` (extra `full`), which are imported where they are used.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.errors import MissingExtraError, WeightsError

PATTERNS: Final[tuple[str, ...]] = (
    "config.json",
    "preprocessor_config.json",
    "README.md",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)
FEATURE: Final[str] = "a pretrained backbone"
EXTRA: Final[str] = "full"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PICKLES: Final[tuple[str, ...]] = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_CONVERT: Final[str] = (
    "Pickled weights are never opened. Name a revision that has model.safetensors (the hub's "
    "converter leaves one in a pull request: …@refs/pr/N), or convert them once, where you trust "
    "them, with save_pretrained, and name that folder."
)


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checkpoint on this disk, whose weights are whole and are those that were named.

    origin: for messages and records, `owner/name@commit` or the folder's name;
    commit: None for a folder; sha256: of the weights file, of the list of sums where there
    are several.
    """

    folder: Path
    origin: str
    commit: str | None
    weights: tuple[Path, ...]
    sha256: str

    def read_json(self, name: str) -> dict[str, Any]:
        """Content of a JSON file of the checkpoint.

        Raises:
            WeightsError: it is absent or no JSON object.
        """
        path = self.folder / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WeightsError(
                f"{self.origin}: {name} is missing. Put the one of the model that this checkpoint "
                "was made from beside the weights."
            ) from error
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path}: can't be read ({error}). {_again(path)}") from error
        if not isinstance(values, dict):
            raise WeightsError(f"{path}: holds no JSON object. {_again(path)}")
        return values

    def license(self) -> str:
        """The licence that the card names, "unknown" where it names none."""
        from huggingface_hub.repocard import metadata_load

        card = self.folder / "README.md"
        if not card.is_file():
            return "unknown"
        try:
            metadata = metadata_load(card) or {}
        except ValueError:
            return "unknown"
        named = metadata.get("license")
        if named == "other":
            named = metadata.get("license_name", named)
        return str(named) if named else "unknown"


def fetch(
    hub_id: str,
    revision: str,
    *,
    weights_sha256: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> CheckpointFiles:
    """Fetch a checkpoint from the hub, or take it from the cache.

    A commit that is cached whole is not asked for again; a branch is asked for its commit, and
    the cached one serves where the hub can't be reached (`HF_HUB_OFFLINE=1` forbids to try).

    Args:
        hub_id: `owner/name`.
        revision: commit, branch, tag, or `refs/pr/N`.
        weights_sha256: that the weights must have.
        endpoint: address of the hub; by default `HF_ENDPOINT`.
        cache_dir: by default the cache of `huggingface_hub` (`HF_HOME`).

    Raises:
        WeightsError: not found, no access, not reachable and not cached, no safetensors, or the
            weights are not whole.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    name = f"{hub_id}@{revision}"
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(PATTERNS),
            endpoint=endpoint,
            cache_dir=cache_dir,
        )
    except errors.HFValidationError as error:
        raise WeightsError(f"{name}: no name of a repository ({error}).") from error
    except (errors.EntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise WeightsError(f"{name}: {_why_not(error)}") from error
    return _checked(Path(folder), hub_id, weights_sha256)


def open_folder(folder: Path, *, weights_sha256: str | None = None) -> CheckpointFiles:
    """Take a checkpoint from a folder, as `save_pretrained` writes it.

    Raises:
        WeightsError: no safetensors in it, or the weights are not whole.
    """
    return _checked(folder, None, weights_sha256)


def _checked(folder: Path, hub_id: str | None, weights_sha256: str | None) -> CheckpointFiles:
    # A snapshot's folder is named by its commit.
    commit = folder.name if hub_id is not None and _COMMIT.fullmatch(folder.name) else None
    origin = f"{hub_id}@{commit}" if hub_id is not None else folder.resolve().name
    weights = _weights_files(folder, origin)
    sums = [_checked_sha256(path) for path in weights]
    if len(sums) == 1:
        sha256 = sums[0]
    else:
        lines = "".join(f"{s}  {p.name}\n" for s, p in zip(sums, weights, strict=True))
        sha256 = hashlib.sha256(lines.encode()).hexdigest()
    if weights_sha256 is not None and sha256 != weights_sha256:
        raise WeightsError(
            f"{weights[0]}: SHA-256 is {sha256}, expected {weights_sha256}. {_again(weights[0])}"
        )
    return CheckpointFiles(folder, origin, commit, weights, sha256)


def _weights_files(folder: Path, origin: str) -> tuple[Path, ...]:
    single = folder / "model.safetensors"
    if single.is_file():
        return (single,)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise WeightsError(f"{index}: can't be read ({error}). {_again(index)}") from error
        missing = [n for n in names if Path(n).name != n or not (folder / n).is_file()]
        if missing or not names:
            raise WeightsError(
                f"{origin}: of its weights {', '.join(missing) or 'all'} are missing."
            )
        return tuple(folder / name for name in names)
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{origin}: neither config.json nor model.safetensors; no checkpoint.")
    pickled = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    found = f", only {', '.join(pickled)}" if pickled else ""
    raise WeightsError(f"{origin}: no model.safetensors{found}. {_CONVERT}")


def _checked_sha256(path: Path) -> str:
    """SHA-256 of a safetensors file whose header and, in a hub's cache, sum were checked."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        # The cache names the file of a link by the SHA-256 that the hub gave.
        expected = path.resolve().name if path.is_symlink() else ""
        if _SHA256.fullmatch(expected) and found != expected:
            raise WeightsError(
                f"{path}: damaged (SHA-256 is {found}, expected {expected}). {_again(path)}"
            )
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: no whole safetensors file ({error}). {_again(path)}"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error}). {_again(path)}") from error
    return found


def _again(path: Path) -> str:
    if path.is_symlink():
        return f"Delete {path.resolve()} and run again: it is fetched anew."
    return "Fetch or save the checkpoint again."


def _why_not(error: Exception) -> str:
    """What to tell of an error of huggingface_hub."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "access must be granted. Ask for it on the model's page, then log in (hf auth login)."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision. Name a commit, branch, tag or refs/pr/N of this repository."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "no such repository, or it is private. Check the name; for a private one log in "
            "(hf auth login)."
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "not in the cache, or not whole, and the hub can't be reached. Run once with a "
            "connection (and without HF_HUB_OFFLINE), or name a folder that holds the checkpoint."
        )
    return f"could not be fetched ({error}). Run again: what has arrived is kept."
