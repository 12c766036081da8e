"""What each head is to say of each clip and pair, as arrays, and what labels leave open."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facevoice.corpora.corpus import StemReader
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import PAIR_PLANS, Pair, PairKind, make_pairs, original_pairs
from facevoice.corpora.sources import SUBSET_SIZE, pick_cremad
from facevoice.corpora.splits import Split, check_split, speaker_folds
from facevoice.corpora.votes import VOTE_EMOTIONS, Votes
from facevoice.errors import CorpusError, MissingExtraError, StoreError
from facevoice.records import (
    NUM_EMOTIONS,
    BoolArray,
    Emotion,
    FloatArray,
    Modality,
    Outcome,
    Window,
)
from facevoice.settings import plain_settings
from facevoice.store import whole_us
from facevoice.training.config import SplitSettings, TrainConfig

IntArray = npt.NDArray[np.int64]

NEUTRAL: Final = Emotion.NEUTRAL.position
CALM: Final = Emotion.CALM.position
UNKNOWN: Final = -1.0
"""A conflict target that nobody knows."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipTargets:
    """Targets of n clips: shares (n, 8) over the emotions, rows of zeros where nothing is known.

    emotion, face, voice: what the three emotion heads are to say;
    conflict (n,): probability that people find face and voice in conflict, −1 where unknown;
    emotions (n, 8) bool: those that the clip's corpus has;
    corpora, speakers (n,): whose clip it is.
    A corpus without calm had its speakers act neutral, which may sound or look calm: there neutral
    means "neutral or calm"; but its other emotions are certainly not calm.
    """

    emotion: FloatArray
    face: FloatArray
    voice: FloatArray
    conflict: FloatArray
    emotions: BoolArray
    corpora: np.ndarray
    speakers: np.ndarray

    @property
    def possible(self) -> BoolArray:
        """The emotions that a clip may turn out to have (n, 8); elsewhere nothing is learnt."""
        possible = self.emotions.copy()
        possible[:, CALM] |= possible[:, NEUTRAL]
        return possible

    @property
    def folds_calm(self) -> BoolArray:
        """Whether the clip's corpus has neutral but no calm (n,)."""
        folds: BoolArray = self.emotions[:, NEUTRAL] & ~self.emotions[:, CALM]
        return folds


def make_targets(
    clips: Sequence[Clip], kinds: Mapping[str, str], votes: Votes | None = None
) -> ClipTargets:
    """Targets by head: `kinds` maps emotion, face, voice and conflict to intended or perceived.

    Perceived emotions are shares of votes where votes are given, else the label of the clip.

    Raises:
        CorpusError: no clip has the target that a head is to learn.
    """
    places = {} if votes is None else {f"cremad/{s}": row for row, s in enumerate(votes.stems)}
    counts = (
        {} if votes is None else {"emotion": votes.both, "face": votes.face, "voice": votes.voice}
    )
    arrays: dict[str, FloatArray] = {}
    for head, label in (("emotion", "both"), ("face", "face"), ("voice", "voice")):
        perceived = kinds[head] == "perceived"
        shares = np.zeros((len(clips), NUM_EMOTIONS), dtype=np.float32)
        for row, clip in enumerate(clips):
            if perceived and clip.clip_id in places:
                shares[row] = _shares(counts[head][places[clip.clip_id]])
                continue
            emotion = getattr(clip.labels, label if perceived else "intended")
            if emotion is not None:
                shares[row, emotion.position] = 1.0
        if not shares.any():
            raise CorpusError(f"no clip has a {kinds[head]} {head} to learn from")
        arrays[head] = shares
    return ClipTargets(
        **arrays,
        conflict=_perceived_conflict(clips),
        emotions=np.array([_emotions_of(clip.corpus) for clip in clips], dtype=np.bool_),
        corpora=np.array([clip.corpus for clip in clips]),
        speakers=np.array([clip.speaker_key or clip.clip_id for clip in clips]),
    )


def balanced_weights(
    shares: FloatArray, targets: ClipTargets, *, classes: bool, corpus_power: float
) -> FloatArray:
    """Weight of each emotion of each clip (n, 8), mean 1 over the clips with a target.

    With `classes`, the emotions of a corpus count alike; a corpus counts as the number of its
    speakers to `corpus_power`: many clips of one speaker teach little about others.
    """
    weights = np.zeros(shares.shape, dtype=np.float64)
    for corpus in np.unique(targets.corpora):
        rows = targets.corpora == corpus
        mass = shares[rows].sum(axis=0)
        if not mass.any():
            continue
        per_class = np.where(mass > 0, 1.0 / np.maximum(mass, 1e-9), 0.0) if classes else mass > 0
        weights[rows] = per_class
        total = float((weights[rows] * shares[rows]).sum())
        weights[rows] *= len(np.unique(targets.speakers[rows])) ** corpus_power / total
    scale = float((shares.any(axis=1)).sum()) / max(float((weights * shares).sum()), 1e-12)
    return (weights * scale).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What is presented: the face of one clip with the voice of one, by row of the table (m,).

    same_emotion (m,): whether the fused emotion is that of the face's clip;
    conflict (m,): 1 conflict, 0 match, a share between, or −1 where it is not asked.
    """

    face_rows: IntArray
    voice_rows: IntArray
    same_emotion: BoolArray
    conflict: FloatArray

    def __len__(self) -> int:
        return len(self.face_rows)

    def take(self, places: IntArray) -> Items:
        """The items at these places."""
        return Items(
            self.face_rows[places],
            self.voice_rows[places],
            self.same_emotion[places],
            self.conflict[places],
        )


def original_items(rows: IntArray, conflict: FloatArray | None = None) -> Items:
    """Clips as they are; `conflict` (n,) where people judged them."""
    unknown = np.full(len(rows), UNKNOWN, dtype=np.float32)
    given = unknown if conflict is None else conflict[rows]
    return Items(rows, rows, np.ones(len(rows), dtype=np.bool_), given)


def pair_items(pairs: Sequence[Pair], row_of: Mapping[str, int]) -> Items:
    """Re-paired clips: matches and conflicts by what was intended."""
    conflict = np.array([pair.kind is PairKind.CONFLICT for pair in pairs], dtype=np.bool_)
    return Items(
        np.array([row_of[pair.face_clip_id] for pair in pairs], dtype=np.int64),
        np.array([row_of[pair.voice_clip_id] for pair in pairs], dtype=np.int64),
        ~conflict,
        conflict.astype(np.float32),
    )


def join_items(first: Items, second: Items) -> Items:
    """Both, one after the other."""
    return Items(
        np.concatenate([first.face_rows, second.face_rows]),
        np.concatenate([first.voice_rows, second.voice_rows]),
        np.concatenate([first.same_emotion, second.same_emotion]),
        np.concatenate([first.conflict, second.conflict]),
    )


def _shares(counts: IntArray) -> FloatArray:
    shares = np.zeros(NUM_EMOTIONS, dtype=np.float32)
    total = counts.sum()
    if total:
        for column, emotion in enumerate(VOTE_EMOTIONS):
            shares[emotion.position] = counts[column] / total
    return shares


def _perceived_conflict(clips: Sequence[Clip]) -> FloatArray:
    known = {Outcome.CONFLICT: 1.0, Outcome.MATCH: 0.0}
    values = [
        UNKNOWN if clip.labels.congruence is None else known.get(clip.labels.congruence, UNKNOWN)
        for clip in clips
    ]
    return np.array(values, dtype=np.float32)


def _emotions_of(corpus: str) -> list[bool]:
    if corpus not in corpus_names():
        raise CorpusError(f"corpus {corpus!r} is not known; known: {', '.join(corpus_names())}")
    has = create_corpus(corpus).info.emotions
    return [emotion in has for emotion in Emotion]


# Embeddings of whole clips in memory, one table a run: from feature files or from a store.

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


# Torch's side of a feature table: whole arrays in memory, batches gathered by row.
#
# With embeddings computed before, a batch is two index operations; worker processes would only cost.

MOST_BYTES: Final = 2**30
"""Standardised tokens are kept in memory up to this size."""
_CHUNK: Final = 1024


class NetworkInputs(Protocol):
    """A batch of what a network takes: a `Batch`, or a `WindowBatch`."""

    def inputs(self) -> tuple[Any, ...]:
        """In the order of the network's arguments."""
        ...

    def options(self) -> dict[str, bool]:
        """The network's named arguments."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Inputs of the network: tokens (B, T, D) and masks bool (B, T) of both channels or of one."""

    video: Tensor | None
    video_mask: Tensor | None
    audio: Tensor | None
    audio_mask: Tensor | None
    standardized: bool = False

    def inputs(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """In the order of the network's arguments."""
        return (self.video, self.video_mask, self.audio, self.audio_mask)

    def options(self) -> dict[str, bool]:
        """The network's named arguments."""
        return {"standardized": self.standardized}


class FeatureDataset(Dataset[Batch]):
    """Faces and voices by row, in memory, on the device.

    standardize: the network's first step, the same in each epoch: done once, if what comes out has
    room; else half precision is kept in memory and widened batch by batch.
    """

    def __init__(
        self,
        table: FeatureTable,
        modalities: tuple[Modality, ...],
        device: torch.device,
        standardize: Callable[[Modality, Tensor], Tensor] | None = None,
    ) -> None:
        self.tokens = {m: torch.from_numpy(table.arrays[m].tokens).to(device) for m in modalities}
        num_bytes = 4 * sum(tokens.numel() for tokens in self.tokens.values())
        self.standardized = standardize is not None and num_bytes <= MOST_BYTES
        if standardize is not None and self.standardized:
            self.tokens = {m: _in_chunks(standardize, m, t) for m, t in self.tokens.items()}
        self.masks = {m: torch.from_numpy(table.arrays[m].mask).to(device) for m in modalities}
        self._num_clips = len(table)
        self.device = device

    def __len__(self) -> int:
        return self._num_clips

    def __getitem__(self, row: int) -> Batch:
        rows = torch.tensor([row]).numpy()
        return self.gather(rows, rows)

    def gather(
        self,
        face_rows: IntArray,
        voice_rows: IntArray,
        dropped: Mapping[Modality, BoolArray] | None = None,
    ) -> Batch:
        """Faces of some rows with voices of others, (B,) each; `dropped` (B,) channels masked."""
        rows = {Modality.VIDEO: face_rows, Modality.AUDIO: voice_rows}
        parts: dict[Modality, tuple[Tensor, Tensor]] = {}
        for modality, tokens in self.tokens.items():
            index = torch.from_numpy(rows[modality]).to(self.device)
            mask = self.masks[modality][index]
            if dropped is not None:
                mask = mask & ~torch.from_numpy(dropped[modality]).to(self.device)[:, None]
            parts[modality] = (tokens[index].float(), mask)
        video, video_mask = parts.get(Modality.VIDEO, (None, None))
        audio, audio_mask = parts.get(Modality.AUDIO, (None, None))
        return Batch(video, video_mask, audio, audio_mask, self.standardized)


@torch.no_grad()
def _in_chunks(
    standardize: Callable[[Modality, Tensor], Tensor], modality: Modality, tokens: Tensor
) -> Tensor:
    chunks = torch.split(tokens, _CHUNK)
    return torch.cat([standardize(modality, chunk) for chunk in chunks])


# Windows on disk, for training the backbones themselves: one file a clip and channel.
#
# What cuts windows out of films is not known here; it writes them, and training reads them.

FORMAT: Final = "facevoice-windows/1"
_AGAIN: Final = "Delete it and train again: it is cut anew."


@dataclass(frozen=True, slots=True)
class WindowsKey:
    """What a file of windows depends on.

    file_sha256: of the film or sound; spans_us: start and end of each window in microseconds;
    recipe: version of everything between the file's bytes and the window.
    """

    file_sha256: str
    modality: Modality
    spans_us: tuple[tuple[int, int], ...]
    recipe: str

    @classmethod
    def at(
        cls,
        file_sha256: str,
        modality: Modality,
        spans_s: Iterable[tuple[float, float]],
        recipe: str,
    ) -> WindowsKey:
        """From spans in seconds."""
        spans_us = tuple((whole_us(start), whole_us(end)) for start, end in spans_s)
        return cls(file_sha256, modality, spans_us, recipe)

    @property
    def name(self) -> str:
        """64 hex digits: SHA-256 over all of it."""
        values = [FORMAT, self.file_sha256, self.modality.value, self.spans_us, self.recipe]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class WindowCache:
    """A folder of windows. Files appear whole, so that a kill costs one file at most."""

    folder: Path

    def path(self, key: WindowsKey) -> Path:
        """Where the windows of a clip's channel are."""
        return self.folder / key.name[:2] / f"{key.name}.safetensors"

    def has(self, key: WindowsKey) -> bool:
        """Whether they were written."""
        return self.path(key).is_file()

    def write(self, key: WindowsKey, windows: Sequence[Window]) -> None:
        """Write the windows of a clip that show the channel; of the others only that they don't.

        Raises:
            StoreError: the folder can't be written.
            MissingExtraError: safetensors is not installed.
        """
        try:
            from safetensors.numpy import save
        except ImportError as error:
            raise MissingExtraError("training", "train") from error
        arrays: dict[str, npt.NDArray[Any]] = {
            "spans_s": np.array([(w.start_s, w.end_s) for w in windows], dtype=np.float64),
            "coverage": np.array([_coverage(w, key.modality) for w in windows], dtype=np.float64),
        }
        for place, window in enumerate(windows):
            for name, array in _content(window, key.modality).items():
                arrays[f"{name}.{place}"] = np.ascontiguousarray(array)
        path = self.path(key)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(save(arrays, metadata={"format": FORMAT}))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise StoreError(path, f"can't be written ({error.strerror}).") from error
        finally:
            part.unlink(missing_ok=True)

    def read(self, key: WindowsKey) -> tuple[Window, ...]:
        """The windows that show the channel, in order of time; the other channel is left out.

        Raises:
            StoreError: not there, or damaged.
            MissingExtraError: safetensors is not installed.
        """
        try:
            from safetensors import SafetensorError
            from safetensors.numpy import load_file
        except ImportError as error:
            raise MissingExtraError("training", "train") from error
        path = self.path(key)
        try:
            arrays = load_file(path)
            return tuple(
                _window(arrays, place, key.modality)
                for place in np.flatnonzero(arrays["coverage"] > 0).tolist()
            )
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
            raise StoreError(path, f"holds no windows ({error}).", _AGAIN) from error


@dataclass(frozen=True, slots=True, eq=False)
class ClipWindows:
    """Where the windows of clips are, by clip id and channel."""

    cache: WindowCache
    keys: Mapping[tuple[str, Modality], WindowsKey]

    def read(self, clip_id: str, modality: Modality) -> tuple[Window, ...]:
        """Windows of a clip's channel, at least one.

        Raises:
            CorpusError: there are none.
            StoreError: the file is not there any more, or damaged.
        """
        key = self.keys.get((clip_id, modality))
        windows = () if key is None else self.cache.read(key)
        if not windows:
            raise CorpusError(
                f"clip {clip_id!r} has {modality} features but no window that shows it; its film "
                "may have changed: extract it again"
            )
        return windows

    def digest(self) -> str:
        """SHA-256 over clip ids and keys: what a run depends on."""
        lines = sorted(f"{clip} {m} {key.name}" for (clip, m), key in self.keys.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _coverage(window: Window, modality: Modality) -> float:
    """Share of the window that counts, as in the features of a clip; 0 if it shows nothing."""
    is_video = modality is Modality.VIDEO
    if (window.faces if is_video else window.samples) is None:
        return 0.0
    return float(window.face_coverage if is_video else window.speech_coverage)


def _content(window: Window, modality: Modality) -> dict[str, npt.NDArray[Any]]:
    if not _coverage(window, modality) > 0:
        return {}
    arrays: dict[str, npt.NDArray[Any] | None] = {"samples": window.samples}
    if modality is Modality.VIDEO:
        arrays = {"faces": window.faces, "times_s": window.face_timestamps_s}
    return {name: array for name, array in arrays.items() if array is not None}


def _window(arrays: Mapping[str, npt.NDArray[Any]], place: int, modality: Modality) -> Window:
    is_video = modality is Modality.VIDEO
    coverage = float(arrays["coverage"][place])
    return Window(
        start_s=float(arrays["spans_s"][place, 0]),
        end_s=float(arrays["spans_s"][place, 1]),
        faces=arrays[f"faces.{place}"] if is_video else None,
        samples=None if is_video else arrays[f"samples.{place}"],
        face_coverage=coverage if is_video else 0.0,
        speech_coverage=0.0 if is_video else coverage,
        face_timestamps_s=arrays.get(f"times_s.{place}") if is_video else None,
    )


# Torch's side of stored windows: batches of what the backbones take, gathered by row.

Prepare = Callable[[Window], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class ChannelWindows:
    """One channel of a batch: each clip once, however many items show it.

    inputs: of all windows, clip by clip: frames (F, 3, S, S), or samples (N,) of any N;
    clips (W,): whose window it is, 0 to C − 1; weights (W,): of the windows of a clip, sum 1;
    positions (W,): number of the window within its clip;
    items (B,): the clip of each item; present bool (B,): whether the item shows the channel;
    num_tokens: T of stored embeddings, to which all batches are filled up: dropout draws for it.
    """

    inputs: tuple[Tensor, ...]
    clips: Tensor
    weights: Tensor
    positions: Tensor
    items: Tensor
    present: Tensor
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class ChannelTokens:
    """One channel of a batch that no backbone is run for: stored tokens (B, T, D), mask (B, T)."""

    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """Inputs of a network that brings its backbones: both channels, or one."""

    video: ChannelWindows | ChannelTokens | None
    audio: ChannelWindows | ChannelTokens | None

    def inputs(self) -> tuple[ChannelWindows | ChannelTokens | None, ...]:
        """In the order of the network's arguments."""
        return (self.video, self.audio)

    def options(self) -> dict[str, bool]:
        """The network's named arguments: none."""
        return {}


class WindowDataset(Dataset[WindowBatch]):
    """Windows of some channels and stored embeddings of the others, by row.

    Args:
        table: clips, and what was stored of them: says which clip shows which channel.
        modalities: that the network looks at.
        prepare: by channel whose backbone is run, how a window becomes its input.
        windows: of all clips that show such a channel.
        device: takes the batches.

    Raises:
        CorpusError: a clip has embeddings of a channel, but no windows.
    """

    def __init__(
        self,
        table: FeatureTable,
        modalities: tuple[Modality, ...],
        prepare: Mapping[Modality, Prepare],
        windows: ClipWindows,
        device: torch.device,
    ) -> None:
        self.prepare, self.windows, self.device = prepare, windows, device
        self.modalities = modalities
        self.clip_ids = [clip.clip_id for clip in table.clips]
        self.present = {m: table.arrays[m].lengths > 0 for m in prepare}
        self.num_tokens = {m: table.arrays[m].tokens.shape[1] for m in prepare}
        for modality, there in self.present.items():
            lacking = [
                self.clip_ids[row]
                for row in np.flatnonzero(there)
                if (self.clip_ids[row], modality) not in windows.keys
            ]
            if lacking:
                raise CorpusError(
                    f"{len(lacking)} clips have {modality} features but no windows, such as "
                    f"{lacking[0]!r}"
                )
        stored = tuple(m for m in modalities if m not in prepare)
        self.stored = FeatureDataset(table, stored, device)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, row: int) -> WindowBatch:
        rows = np.array([row], dtype=np.int64)
        return self.gather(rows, rows)

    def gather(
        self,
        face_rows: IntArray,
        voice_rows: IntArray,
        dropped: Mapping[Modality, BoolArray] | None = None,
    ) -> WindowBatch:
        """Faces of some rows with voices of others, (B,) each; `dropped` (B,) channels masked."""
        rows = {Modality.VIDEO: face_rows, Modality.AUDIO: voice_rows}
        parts: dict[Modality, ChannelWindows | ChannelTokens] = {}
        known = self.stored.gather(face_rows, voice_rows, dropped)
        stored = {
            Modality.VIDEO: (known.video, known.video_mask),
            Modality.AUDIO: (known.audio, known.audio_mask),
        }
        for modality in self.modalities:
            if modality in self.prepare:
                there = self.present[modality][rows[modality]]
                if dropped is not None:
                    there = there & ~dropped[modality]
                parts[modality] = self._windows(modality, rows[modality], there)
            else:
                tokens, mask = stored[modality]
                if tokens is not None and mask is not None:
                    parts[modality] = ChannelTokens(tokens, mask)
        return WindowBatch(parts.get(Modality.VIDEO), parts.get(Modality.AUDIO))

    def _windows(self, modality: Modality, rows: IntArray, there: BoolArray) -> ChannelWindows:
        distinct, places = np.unique(rows[there], return_inverse=True)
        items = np.zeros(len(rows), dtype=np.int64)
        items[there] = places
        inputs: list[Tensor] = []
        clips: list[int] = []
        weights: list[float] = []
        positions: list[int] = []
        for clip, row in enumerate(distinct):
            found = self.windows.read(self.clip_ids[row], modality)
            shares = np.array([_weight(window, modality) for window in found])
            for position, window in enumerate(found):
                inputs.append(torch.from_numpy(self.prepare[modality](window)).to(self.device))
                clips.append(clip)
                positions.append(position)
            weights += (shares / shares.sum()).tolist()
        return ChannelWindows(
            inputs=tuple(inputs),
            clips=torch.tensor(clips, dtype=torch.int64, device=self.device),
            weights=torch.tensor(weights, dtype=torch.float32, device=self.device),
            positions=torch.tensor(positions, dtype=torch.int64, device=self.device),
            items=torch.from_numpy(items).to(self.device),
            present=torch.from_numpy(there).to(self.device),
            num_tokens=self.num_tokens[modality],
        )


def _weight(window: Window, modality: Modality) -> float:
    """Seconds of the window that show the channel, as stored embeddings of a clip are averaged."""
    is_video = modality is Modality.VIDEO
    coverage = window.face_coverage if is_video else window.speech_coverage
    return coverage * window.duration_s


# From a feature table to what a run trains, validates and tests on.

_LOG = logging.getLogger(__name__)

PARTS: Final = ("train", "validation", "test")
_SMALL_SPEAKERS: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Clips with features and targets, who is in which part, and the pairs of each part.

    pairs: by part, then by corpus; corpora of which no pair can be made are left out.
    """

    table: FeatureTable
    targets: ClipTargets
    split: Split
    pairs: Mapping[str, Mapping[str, tuple[Pair, ...]]]

    def rows(self, part: str) -> IntArray:
        """Rows of the part's clips."""
        return self.table.rows(self.split.parts()[part])

    def originals(self, part: str, *, judged: bool) -> Items:
        """The part's clips as they are; if `judged`, with people's word on conflict."""
        return original_items(self.rows(part), self.targets.conflict if judged else None)

    def pair_items(self, part: str) -> tuple[Items, ...]:
        """The part's pairs, by corpus."""
        places = {clip.clip_id: row for row, clip in enumerate(self.table.clips)}
        return tuple(pair_items(pairs, places) for pairs in self.pairs[part].values())

    def present(self) -> dict[Modality, BoolArray]:
        """Which clips have the channel, (n,); nobody has one that the table lacks."""
        nobody = np.zeros(len(self.table), dtype=np.bool_)
        arrays = self.table.arrays
        return {m: arrays[m].lengths > 0 if m in arrays else nobody for m in Modality}

    def digest(self) -> str:
        """SHA-256 over features, targets, split and pairs."""
        digest = hashlib.sha256(self.table.digest().encode())
        for name in ("emotion", "face", "voice", "conflict"):
            digest.update(np.ascontiguousarray(getattr(self.targets, name)).data)
        digest.update(split_digest(self.split).encode())
        for part, corpora in self.pairs.items():
            for pairs in corpora.values():
                digest.update("\n".join([part, *(pair.pair_id for pair in pairs)]).encode())
        return digest.hexdigest()


def split_digest(split: Split) -> str:
    """SHA-256 over the clip ids of each part."""
    lines = [f"{part} {key}" for part, ids in split.parts().items() for key in ids]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def prepare_data(
    table: FeatureTable,
    config: TrainConfig,
    *,
    votes: Votes | None = None,
    split: Split | None = None,
) -> TrainingData:
    """Take small mode's clips if wanted, split by speaker, set the targets, make the pairs.

    Clips without any of the network's channels are left out.

    Raises:
        CorpusError: a channel has no features, no clip is left, speakers are too few to split, or
            a given split crosses speakers.
    """
    modalities = config.network.modalities
    for modality in modalities:
        if modality not in table.arrays:
            raise CorpusError(
                f"there are no {modality} features; leave {modality} out of "
                "network.modalities, or extract them first"
            )
        dim = table.arrays[modality].dim
        if dim != config.network.dim(modality):
            raise CorpusError(
                f"{modality} features have width {dim}, network.{modality}_dim says "
                f"{config.network.dim(modality)}"
            )
        finite = np.isfinite(table.arrays[modality].tokens).all(axis=(1, 2))
        if not finite.all():
            raise CorpusError(
                f"clip {table.clips[int(np.argmin(finite))].clip_id!r}: its {modality} features "
                "are not all finite numbers; extract them again"
            )
    usable = np.any([table.arrays[m].lengths > 0 for m in modalities], axis=0)
    ids = [clip.clip_id for clip, there in zip(table.clips, usable, strict=True) if there]
    if config.run.size == "small":
        ids = small_selection([clip for clip in table.clips if clip.clip_id in set(ids)])
    if not ids:
        raise CorpusError(f"no clip has features of {' or '.join(modalities)}")
    table = table.take(ids)
    parts = split_clips(table.clips, config.split) if split is None else _narrow(split, table)
    check_split(
        parts if parts.test else replace(parts, test=parts.validation, validation=()), table.clips
    )
    targets = make_targets(table.clips, plain_settings(config.targets), votes)
    wants_pairs = config.network.is_multimodal and config.targets.conflict == "intended"
    seed = config.pairs.seed
    pairs = {
        part: pairs_by_corpus(table, parts.parts()[part], seed) if wants_pairs else {}
        for part in PARTS
    }
    return TrainingData(table, targets, parts, pairs)


def split_clips(clips: Sequence[Clip], settings: SplitSettings) -> Split:
    """Speaker folds of each corpus, put together.

    With fold −1, the first fold validates and nothing is tested. Of a corpus with fewer speakers
    than folds, each speaker is a fold; with two, one trains and the other validates.

    Raises:
        CorpusError: a clip names no speaker, or a corpus has only one.
    """
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for corpus in sorted({clip.corpus for clip in clips}):
        members = [clip for clip in clips if clip.corpus == corpus]
        speakers = sorted({clip.speaker_key or "" for clip in members})
        if len(speakers) < 2:
            raise CorpusError(
                f"{corpus} has one speaker only ({speakers[0] or 'unnamed'}), so nothing can be "
                "kept for validation; add more speakers"
            )
        if len(speakers) == 2:
            for part, speaker in zip(PARTS, speakers, strict=False):
                parts[part] += [c.clip_id for c in members if c.speaker_key == speaker]
            continue
        folds = speaker_folds(members, min(settings.num_folds, len(speakers)), settings.seed)
        fold = folds[max(settings.fold, 0) % len(folds)]
        found = fold.parts()
        if settings.fold < 0:
            train = [*fold.train, *fold.validation]
            found = {"train": tuple(train), "validation": fold.test, "test": ()}
        for part in PARTS:
            parts[part] += found[part]
    return Split(
        name=f"fold {settings.fold} of {settings.num_folds}, seed {settings.seed}",
        **{part: tuple(sorted(ids)) for part, ids in parts.items()},
    )


def small_selection(clips: Sequence[Clip]) -> list[str]:
    """Ids of small mode's clips: two speakers of each corpus, but 100 clips of CREMA-D."""
    chosen: list[str] = []
    for corpus in sorted({clip.corpus for clip in clips}):
        members = [clip for clip in clips if clip.corpus == corpus]
        if corpus == "cremad":
            stems = pick_cremad([clip.clip_id.removeprefix("cremad/") for clip in members])
            picked = [f"cremad/{stem}" for stem in stems]
            chosen += picked or [clip.clip_id for clip in members[:SUBSET_SIZE]]
        else:
            speakers = sorted({clip.speaker_key or "" for clip in members})[:_SMALL_SPEAKERS]
            chosen += [c.clip_id for c in members if (c.speaker_key or "") in speakers]
    return chosen


def pairs_by_corpus(
    table: FeatureTable, clip_ids: Sequence[str], seed: int, *, originals: bool = False
) -> dict[str, tuple[Pair, ...]]:
    """Matches and conflicts of the clips that have the channels, by corpus.

    Corpora without a plan, or whose clips allow no pair, are left out, with a warning. With
    `originals`, clips with their own sound are added.
    """
    wanted = set(clip_ids)
    found: dict[str, tuple[Pair, ...]] = {}
    members: dict[str, list[Clip]] = {}
    for row, clip in enumerate(table.clips):
        if clip.clip_id in wanted:
            members.setdefault(clip.corpus, []).append(_with_channels(table, row, clip))
    for corpus, clips in members.items():
        plan = PAIR_PLANS.get(corpus)
        try:
            if plan is None:
                raise CorpusError("no plan says who may meet whom")
            found[corpus] = make_pairs(clips, plan, seed)
            if originals:
                found[corpus] += original_pairs(clips, plan)
        except CorpusError as error:
            _LOG.warning("%s: no conflict pairs of its %d clips: %s", corpus, len(clips), error)
    return found


def _with_channels(table: FeatureTable, row: int, clip: Clip) -> Clip:
    """The clip with paths where it has features, and none where it lacks them."""
    has = {m: m in table.arrays and table.arrays[m].lengths[row] > 0 for m in Modality}
    anywhere = Path(clip.clip_id)
    return replace(
        clip,
        video_path=(clip.video_path or anywhere) if has[Modality.VIDEO] else None,
        audio_path=(clip.audio_path or anywhere) if has[Modality.AUDIO] else None,
    )


def _narrow(split: Split, table: FeatureTable) -> Split:
    known = {clip.clip_id for clip in table.clips}
    return Split(
        split.name,
        **{name: tuple(key for key in ids if key in known) for name, ids in split.parts().items()},
    )
