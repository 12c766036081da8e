"""Splits by protocol, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.data.clips import Clip
from facevoice.data.splits import (
    Split,
    check_split,
    leave_one_speaker_out,
    published_split,
    ravdess_folds,
    sentence_disjoint,
    sentence_folds,
    speaker_folds,
)
from facevoice.errors import CorpusError

PROTOCOLS: Final[dict[str, str]] = {
    "ravdess6": "the six folds of published work on RAVDESS",
    "leave-one-out": "each speaker once",
    "speakers": "folds of speakers, the sexes spread evenly (5: CREMA-D's)",
    "published": "the corpus' own split, if it shares no speaker",
}
"""Names of protocols, with what is tested."""

DEFAULT_FOLDS: Final = 5
_FORMAT: Final = "facevoice-splits-1"
# First of these that a corpus has; what comes after it in line validates.
_TEST_PARTS: Final = ("private_test", "test", "public_test")
_VALIDATION_PARTS: Final = ("validation", "dev", "val", "public_test")


@dataclass(frozen=True, slots=True)
class SplitSet:
    """Splits of a manifest, and how they were made.

    num_folds, num_sentence_folds: None where the protocol has no such number;
    manifest_sha256: `manifest_digest` of the clips that were split.
    """

    protocol: str
    num_folds: int | None
    num_sentence_folds: int | None
    with_validation: bool
    seed: int
    manifest_sha256: str
    splits: tuple[Split, ...]

    @property
    def is_sentence_disjoint(self) -> bool:
        """Whether no tested sentence is trained on."""
        return self.num_sentence_folds is not None


def make_splits(
    clips: Sequence[Clip],
    protocol: str,
    *,
    num_folds: int = DEFAULT_FOLDS,
    num_sentence_folds: int | None = None,
    seed: int = 0,
    with_validation: bool = True,
) -> SplitSet:
    """Split clips by a protocol; every split is checked.

    Args:
        clips: what to split; "ravdess6" takes those of RAVDESS.
        protocol: one of `PROTOCOLS`.
        num_folds: for "speakers".
        num_sentence_folds: also cut the sentences in so many groups; each split is made once per
            group, which is tested and never trained or validated on.
        seed: deals speakers and sentences.
        with_validation: keep speakers for validation; a published split says itself.

    Raises:
        CorpusError: an unknown protocol, no way to split these clips so, or speakers would cross.
    """
    if protocol == "ravdess6":
        clips = [clip for clip in clips if clip.corpus == "ravdess"]
        splits = ravdess_folds(clips, with_validation)
    elif protocol == "leave-one-out":
        splits = leave_one_speaker_out(clips, with_validation)
    elif protocol == "speakers":
        splits = speaker_folds(clips, num_folds, seed, with_validation)
    elif protocol == "published":
        splits = (_published(clips),)
    else:
        raise CorpusError(f"no protocol is called {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if num_sentence_folds is not None:
        groups = sentence_folds(clips, num_sentence_folds, seed)
        splits = tuple(
            sentence_disjoint(split, clips, group) for split in splits for group in groups
        )
    for split in splits:
        check_split(split, clips, sentences=num_sentence_folds is not None)
    return SplitSet(
        protocol=protocol,
        num_folds=num_folds if protocol == "speakers" else None,
        num_sentence_folds=num_sentence_folds,
        with_validation=any(split.validation for split in splits),
        seed=seed,
        manifest_sha256=manifest_digest(clips),
        splits=splits,
    )


def manifest_digest(clips: Sequence[Clip]) -> str:
    """SHA-256 over what splits depend on: ids, speakers, sentences; not paths, not the order."""
    rows = sorted((clip.clip_id, clip.speaker_key or "", clip.sentence or "") for clip in clips)
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def write_splits(splits: SplitSet, path: Path) -> None:
    """Write splits as JSON, whole or not at all."""
    values: dict[str, Any] = {"format": _FORMAT, **asdict(splits)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def read_splits(path: Path, clips: Sequence[Clip] | None = None) -> SplitSet:
    """Read splits, and check them against a manifest.

    A manifest with more clips than were split is fine: they belong to no part.

    Args:
        path: a file of `write_splits`.
        clips: of the manifest; None to read without a check.

    Raises:
        CorpusError: the file is absent or damaged; a clip is unknown to the manifest, or a
            speaker (or a tested sentence) crosses.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise CorpusError(f"{path}: is not JSON ({error})") from error
    splits = _from_json(path, values)
    if clips is not None:
        for split in splits.splits:
            try:
                check_split(split, clips, sentences=splits.is_sentence_disjoint)
            except CorpusError as error:
                raise CorpusError(
                    f"{path}: {error}. Read it with the manifest that it was made from, or split "
                    "again"
                ) from error
    return splits


def _from_json(path: Path, values: object) -> SplitSet:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise CorpusError(f"{path}: is no file of splits ({_FORMAT!r} is expected as its format)")
    try:
        splits = tuple(_split_from_json(row) for row in values["splits"])
        fields = {key: value for key, value in values.items() if key not in ("format", "splits")}
        return SplitSet(**fields, splits=splits)
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"{path}: is damaged ({error!r})") from error


def _split_from_json(row: dict[str, Any]) -> Split:
    parts: dict[str, tuple[str, ...]] = {}
    for name in ("train", "validation", "test"):
        if not isinstance(row[name], list) or not all(isinstance(i, str) for i in row[name]):
            raise ValueError(f"{name} is no list of clip ids")
        parts[name] = tuple(row[name])
    return Split(name=str(row["name"]), **parts)


def _published(clips: Sequence[Clip]) -> Split:
    known = {clip.split for clip in clips} - {None}
    if not known:
        raise CorpusError("these corpora publish no split; take --protocol speakers")
    test = next((name for name in _TEST_PARTS if name in known), "test")
    validation = next((name for name in _VALIDATION_PARTS if name in known and name != test), None)
    return published_split(clips, "train", validation, test)
