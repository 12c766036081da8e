"""Embeddings of whole clips in memory, one table a run: from feature files or from a store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from facevoice.data.clips import Clip, clips_by_id
from facevoice.data.corpus import StemReader
from facevoice.data.registry import corpus_names, create_corpus
from facevoice.errors import CorpusError
from facevoice.labels import Modality

FILE_COLUMNS: Final[Mapping[Modality, str]] = {
    Modality.VIDEO: "video_768",
    Modality.AUDIO: "audio_1024",
}


@dataclass(frozen=True, slots=True, eq=False)
class TokenArray:
    """Tokens float16 or float32 (n, T, D) of n clips; lengths (n,): how many are there, 0 if none.

    backbone: id@revision of what made them;
    training_corpora: the corpora that it saw, None where that is not known.
    """

    tokens: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    backbone: str
    training_corpora: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shape = self.tokens.shape
        fits = len(shape) == 3 and self.lengths.shape == shape[:1] and shape[1] > 0
        if not fits or self.tokens.dtype not in (np.float16, np.float32):
            raise CorpusError(
                f"{self.backbone}: tokens must be float16 or float32 (n, T, D) with lengths (n,), "
                f"got {self.tokens.dtype} {shape} and {self.lengths.shape}"
            )
        if len(self.lengths) and not 0 <= self.lengths.min() <= self.lengths.max() <= shape[1]:
            raise CorpusError(f"{self.backbone}: lengths must be 0 to {shape[1]}")

    @property
    def dim(self) -> int:
        """Width D."""
        return int(self.tokens.shape[2])

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which tokens are there, (n, T)."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]

    def take(self, rows: npt.NDArray[np.int64]) -> TokenArray:
        """The clips of `rows`."""
        return replace(self, tokens=self.tokens[rows], lengths=self.lengths[rows])


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """Clips and, row by row, what the backbones said of them.

    skipped: ids of the file that name no clip of a corpus, with the reason.
    """

    clips: tuple[Clip, ...]
    arrays: Mapping[Modality, TokenArray]
    skipped: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        clips_by_id(self.clips)
        for modality, array in self.arrays.items():
            if len(array.lengths) != len(self.clips):
                raise CorpusError(
                    f"{modality}: {len(array.lengths)} rows for {len(self.clips)} clips"
                )

    def __len__(self) -> int:
        return len(self.clips)

    def rows(self, clip_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each clip.

        Raises:
            CorpusError: a clip is not in the table.
        """
        places = {clip.clip_id: row for row, clip in enumerate(self.clips)}
        unknown = [key for key in clip_ids if key not in places]
        if unknown:
            raise CorpusError(f"clip {unknown[0]!r} has no features ({len(unknown)} have none)")
        return np.array([places[key] for key in clip_ids], dtype=np.int64)

    def take(self, clip_ids: Sequence[str]) -> FeatureTable:
        """The table of these clips only.

        Raises:
            CorpusError: a clip is not in the table.
        """
        rows = self.rows(clip_ids)
        clips = tuple(self.clips[row] for row in rows)
        return FeatureTable(clips, {m: a.take(rows) for m, a in self.arrays.items()})

    def digest(self) -> str:
        """SHA-256 over clip ids, labels, tokens and lengths: the data that a run depends on."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(f"{clip.clip_id} {clip.labels}\n".encode())
        for modality in sorted(self.arrays):
            array = self.arrays[modality]
            digest.update(f"{modality} {array.backbone} {array.tokens.dtype}".encode())
            digest.update(np.ascontiguousarray(array.tokens).data)
            digest.update(np.ascontiguousarray(array.lengths).data)
        return digest.hexdigest()


def stack_tokens(
    embeddings: Sequence[npt.NDArray[Any] | None], dim: int, backbone: str
) -> TokenArray:
    """One array of embeddings (D,) or (T, D) of any T; None where a clip has none.

    Raises:
        CorpusError: an embedding has another width.
    """
    rows = [None if e is None else np.atleast_2d(e) for e in embeddings]
    for row in rows:
        if row is not None and (row.ndim != 2 or row.shape[1] != dim):
            raise CorpusError(f"{backbone}: an embedding has shape {row.shape}, not (T, {dim})")
    lengths = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    half = all(row is None or row.dtype == np.float16 for row in rows)
    shape = (len(rows), max(1, int(lengths.max(initial=0))), dim)
    tokens = np.zeros(shape, dtype=np.float16 if half else np.float32)
    for place, row in enumerate(rows):
        if row is not None:
            tokens[place, : len(row)] = row
    return TokenArray(tokens, lengths, backbone)


def read_feature_file(path: Path, columns: Mapping[Modality, str] = FILE_COLUMNS) -> FeatureTable:
    """Read an npz of `clip_id` (n,) and one array (n, D) or (n, T, D) a modality.

    Ids are file names of corpora that are known here, with or without the corpus in front
    (`03-01-06-01-02-01-12`, `1001_DFA_ANG_XX`, `cremad/1001_DFA_ANG_XX`): labels come from them.
    Ids that a corpus leaves out are skipped, and listed.

    Raises:
        CorpusError: the file is absent, damaged, or has other columns; an id is of no corpus.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            ids = [str(key) for key in file["clip_id"]]
            found = {m: file[name] for m, name in columns.items() if name in file.files}
            names = file.files
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise CorpusError(f"{path}: is no feature file with clip_id ({error})") from error
    if not found:
        wanted = " or ".join(columns.values())
        raise CorpusError(f"{path}: has no column {wanted}; there are {', '.join(names)}")
    clips: list[Clip] = []
    rows: list[int] = []
    skipped: list[tuple[str, str]] = []
    for row, key in enumerate(ids):
        clip = parse_clip_id(key)
        if isinstance(clip, str):
            skipped.append((key, clip))
        else:
            clips.append(clip)
            rows.append(row)
    if not clips:
        raise CorpusError(f"{path}: none of its {len(ids)} clip ids is of a known corpus")
    kept = np.array(rows, dtype=np.int64)
    arrays = {m: _file_array(path, columns[m], a, ids, kept) for m, a in found.items()}
    return FeatureTable(tuple(clips), arrays, tuple(skipped))


def parse_clip_id(key: str) -> Clip | str:
    """The clip that an id or file name stands for (without paths), or why it stands for none."""
    named, slash, stem = key.rpartition("/")
    reasons: list[str] = []
    for name in [named] if slash and named in corpus_names() else corpus_names():
        reader = create_corpus(name)
        if not isinstance(reader, StemReader):
            continue
        # Ids of RAVDESS leave the first of the seven numbers out.
        for full in (stem, f"03-{stem}") if name == "ravdess" else (stem,):
            parsed = reader.parse(Path(f"{full}.mp4"))
            if isinstance(parsed, Clip):
                return parsed
            reasons.append(parsed)
    telling = [reason for reason in reasons if "the name is not like" not in reason]
    return telling[0] if telling else "is of no corpus that is known here"


def _file_array(
    path: Path, name: str, array: npt.NDArray[Any], ids: list[str], kept: npt.NDArray[np.int64]
) -> TokenArray:
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or len(array) != len(ids) or array.dtype.kind != "f":
        raise CorpusError(
            f"{path}: {name} is {array.dtype} {array.shape}, not floats (n, D) or (n, T, D) for "
            f"{len(ids)} clips"
        )
    if array.dtype not in (np.float16, np.float32):
        array = array.astype(np.float32)
    array = array[kept]
    # A row of NaN alone says that the clip has no such channel.
    present = ~np.isnan(array).all(axis=(1, 2))
    sound = np.isfinite(array).all(axis=(1, 2)) | ~present
    if not sound.all():
        key = ids[int(kept[np.argmin(sound)])]
        raise CorpusError(f"{path}: {name} of {key!r} has numbers that are not finite")
    array = np.where(present[:, None, None], array, array.dtype.type(0))
    lengths = np.where(present, array.shape[1], 0).astype(np.int64)
    return TokenArray(array, lengths, f"{path.stem}:{name}@file")
