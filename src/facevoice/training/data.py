"""What a run learns from: embeddings of clips in memory, targets, parts by speaker, and pairs.

All of it is numpy: one table a run, from a feature file or from the store, then rows of it.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from facevoice.backbones.registry import backbone_names, split_name
from facevoice.backbones.spec import UNKNOWN_CORPORA
from facevoice.corpora.corpus import StemReader
from facevoice.corpora.cremad import VOTE_EMOTIONS
from facevoice.corpora.extract import (
    BackboneId,
    ClipFeatures,
    find_backbone,
    read_features,
    stored_backbones,
)
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.corpora.manifest import Clip, clips_by_id, read_manifest
from facevoice.corpora.pairs import PAIR_PLANS, Pair, PairKind, make_pairs
from facevoice.corpora.sources import SUBSET_SIZE, pick_cremad
from facevoice.corpora.splits import Split, check_split, speaker_folds
from facevoice.errors import CorpusError, StoreError
from facevoice.records import (
    NUM_EMOTIONS,
    BoolArray,
    Emotion,
    FloatArray,
    IntArray,
    Modality,
    Outcome,
)
from facevoice.settings import plain_settings

if TYPE_CHECKING:
    from facevoice.corpora.cremad import Votes
    from facevoice.models.network import NetworkConfig
    from facevoice.training.config import SplitSettings, TrainConfig

UNKNOWN: Final = -1.0
"""A conflict target that nobody knows."""
PARTS: Final = ("train", "validation", "test")
_COLUMNS: Final = {Modality.VIDEO: "video_768", Modality.AUDIO: "audio_1024"}
FOLDER: Final = "folder:"
_STORED: Final = re.compile(r"@[0-9a-f]{12}$")
_SMALL_SPEAKERS: Final = 2
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TokenArray:
    """Tokens float16 or float32 (n, T, D) of n clips; lengths (n,): how many are there, 0 if none.

    backbone: id@revision of what made them;
    training_corpora: the corpora that it saw, None where that is not known.
    """

    tokens: npt.NDArray[Any]
    lengths: IntArray
    backbone: str
    training_corpora: tuple[str, ...] | None = None

    @property
    def dim(self) -> int:
        """Width D."""
        return int(self.tokens.shape[2])

    @property
    def mask(self) -> BoolArray:
        """Which tokens are there, (n, T)."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]

    def take(self, rows: IntArray) -> TokenArray:
        """The clips of `rows`."""
        return replace(self, tokens=self.tokens[rows], lengths=self.lengths[rows])


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """Clips and, row by row, what the backbones said of them."""

    clips: tuple[Clip, ...]
    arrays: Mapping[Modality, TokenArray]

    def __post_init__(self) -> None:
        clips_by_id(self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def rows(self, clip_ids: Sequence[str]) -> IntArray:
        """Row of each clip."""
        places = {clip.clip_id: row for row, clip in enumerate(self.clips)}
        return np.array([places[key] for key in clip_ids], dtype=np.int64)

    def take(self, clip_ids: Sequence[str]) -> FeatureTable:
        """The table of these clips only; see `rows`."""
        rows = self.rows(clip_ids)
        clips = tuple(self.clips[row] for row in rows)
        return FeatureTable(clips, {m: a.take(rows) for m, a in self.arrays.items()})

    def present(self, modality: Modality) -> BoolArray:
        """Which clips have the channel, (n,); none has one that the table lacks."""
        if modality not in self.arrays:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(self.arrays[modality].lengths > 0, dtype=np.bool_)

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
    """One array of embeddings (D,) or (T, D) of any T, all of one width; None where none is."""
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


# Reading a table: from a feature file, or from the store.


def read_feature_file(path: Path) -> FeatureTable:
    """Read an npz of `clip_id` (n,) and one array (n, D) or (n, T, D) a modality.

    Ids are file names of corpora that are known here, with or without the corpus in front
    (`03-01-06-01-02-01-12`, `1001_DFA_ANG_XX`, `cremad/1001_DFA_ANG_XX`): labels come from them.
    Ids that a corpus leaves out are skipped, with a warning. A row of NaN alone says that the clip
    has no such channel.

    Raises:
        CorpusError: the file is absent, damaged, or has other columns; an id is of no corpus.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            ids = [str(key) for key in file["clip_id"]]
            found = {m: file[name] for m, name in _COLUMNS.items() if name in file.files}
            names = file.files
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise CorpusError(f"{path}: is no feature file with clip_id ({error})") from error
    if not found:
        wanted = " or ".join(_COLUMNS.values())
        raise CorpusError(f"{path}: has no column {wanted}; there are {', '.join(names)}")
    parsed = [parse_clip_id(key) for key in ids]
    clips = {row: clip for row, clip in enumerate(parsed) if isinstance(clip, Clip)}
    if not clips:
        raise CorpusError(f"{path}: none of its {len(ids)} clip ids is of a known corpus")
    for key, why in zip(ids, parsed, strict=True):
        if isinstance(why, str):
            _LOG.warning("%s is left out: %s", key, why)
    rows = np.array(list(clips), dtype=np.int64)
    arrays = {m: _file_array(path, _COLUMNS[m], a, ids, rows) for m, a in found.items()}
    return FeatureTable(tuple(clips.values()), arrays)


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
    path: Path, name: str, array: npt.NDArray[Any], ids: Sequence[str], rows: IntArray
) -> TokenArray:
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or len(array) != len(ids) or array.dtype.kind != "f":
        raise CorpusError(
            f"{path}: {name} is {array.dtype} {array.shape}, not floats (n, D) or (n, T, D) for "
            f"{len(ids)} clips"
        )
    array = array[rows] if array.dtype == np.float16 else array[rows].astype(np.float32)
    present = ~np.isnan(array).all(axis=(1, 2))
    sound = np.isfinite(array).all(axis=(1, 2)) | ~present
    if not sound.all():
        key = ids[int(rows[np.argmin(sound)])]
        raise CorpusError(f"{path}: {name} of {key!r} has numbers that are not finite")
    array = np.where(present[:, None, None], array, array.dtype.type(0))
    lengths = np.where(present, array.shape[1], 0).astype(np.int64)
    return TokenArray(array, lengths, f"{path.stem}:{name}@file")


def read_table(
    manifest: Path, store: Path, network: NetworkConfig, names: Sequence[str] = ()
) -> FeatureTable:
    """Clips of a manifest with what was extracted of them; channels not extracted are masked.

    `names` are backbones, by name, name@revision or folder, at most one a channel of the network;
    where none is named, the only one of that channel that the store has.

    Raises:
        CorpusError: the manifest is damaged, or durations are not known.
        StoreError: nothing was extracted, or it is not clear which backbone is meant.
    """
    clips = read_manifest(manifest)
    chosen = [find_backbone(store, stored_name(name)) for name in names]
    arrays: dict[Modality, TokenArray] = {}
    for modality in network.modalities:
        named = [backbone for backbone in chosen if backbone.modality is modality]
        backbone = named[0] if named else _only_backbone(store, modality)
        found = read_features(clips, store, backbone=backbone.id)
        arrays[modality] = _stored_array(clips, found, backbone, network.dim(modality))
    table = FeatureTable(tuple(clips), arrays)
    there = np.any([table.present(modality) for modality in arrays], axis=0)
    if not there.any():
        raise StoreError(store, "holds nothing of these clips.", "facevoice data extract")
    return table.take([clip.clip_id for clip, has in zip(clips, there, strict=True) if has])


def stored_name(name: str) -> str:
    """The name under which a store has the embeddings of a backbone that `create_backbone` takes.

    A folder is stored by its name, a repository of the hub without its revision. What a store
    lists (NAME@12 digits) stays as it is.
    """
    plain, rows = split_name(name)
    if _STORED.search(name) or plain in backbone_names():
        return name
    if Path(plain).is_dir():
        plain = f"{FOLDER}{Path(plain).resolve().name}"
    elif plain.startswith("hub:"):
        plain = plain.partition("@")[0]
    return plain if rows is None else f"{plain}+{rows}"


def _only_backbone(store: Path, modality: Modality) -> BackboneId:
    known = [backbone for backbone in stored_backbones(store) if backbone.modality is modality]
    if len(known) == 1:
        return known[0]
    choices = ", ".join(backbone.id for backbone in known) or "none"
    remedy = "Name one with --backbone" if known else "Extract some first: facevoice data extract"
    problem = f"holds embeddings of {len(known)} {modality} backbones ({choices})."
    raise StoreError(store, problem, remedy)


def _stored_array(
    clips: Sequence[Clip], found: Mapping[str, ClipFeatures], backbone: BackboneId, row_dim: int
) -> TokenArray:
    from facevoice.backbones.huggingface import PRETRAINED

    plain, rows = split_name(backbone.name)
    dim = backbone.dim if rows is None else row_dim
    if backbone.dim % dim:
        raise StoreError(
            Path(backbone.id),
            f"embeddings of {backbone.dim} numbers are no rows of {dim}.",
            "Set network.video_dim or network.audio_dim to the width of one row",
        )
    said = (found.get(clip.clip_id) for clip in clips)
    embeddings = [None if one is None else _clip_rows(one, rows, dim) for one in said]
    known = PRETRAINED[plain].training_corpora if plain in PRETRAINED else UNKNOWN_CORPORA
    return replace(
        stack_tokens(embeddings, dim, backbone.id),
        training_corpora=None if known == UNKNOWN_CORPORA else known,
    )


def _clip_rows(features: ClipFeatures, rows: str | None, dim: int) -> FloatArray | None:
    """What the network takes of a clip, (T, D); None where no window shows the channel.

    "tokens" of its windows follow one another; "layers", and embeddings (None), are averaged.
    """
    if rows == "tokens":
        tokens = features.embeddings[features.mask].reshape(-1, dim)
        return tokens if len(tokens) else None
    pooled = features.pooled()
    return None if pooled is None else pooled.reshape(-1, dim)


# What each head is to say of each clip, and the items that are presented.


@dataclass(frozen=True, slots=True, eq=False)
class ClipTargets:
    """Targets of n clips: shares (n, 8) over the emotions, rows of zeros where nothing is known.

    emotion, face, voice: what the three emotion heads are to say;
    conflict (n,): probability that people find face and voice in conflict, −1 where that is not
    known, or not asked for;
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


def make_targets(
    clips: Sequence[Clip], kinds: Mapping[str, str], votes: Votes | None = None
) -> ClipTargets:
    """Targets by head: `kinds` maps emotion, face, voice and conflict to intended or perceived.

    Perceived emotions are shares of votes where votes are given, else the label of the clip.
    CorpusError if no clip has the target that a head is to learn.
    """
    arrays: dict[str, FloatArray] = {}
    for head, label in (("emotion", "both"), ("face", "face"), ("voice", "voice")):
        perceived = kinds[head] == "perceived"
        shares = np.zeros((len(clips), NUM_EMOTIONS), dtype=np.float32)
        voted = _vote_shares(votes, label) if perceived and votes is not None else {}
        for row, clip in enumerate(clips):
            emotion = getattr(clip.labels, label if perceived else "intended")
            if clip.clip_id in voted:
                shares[row] = voted[clip.clip_id]
            elif emotion is not None:
                shares[row, emotion.position] = 1.0
        if not shares.any():
            raise CorpusError(f"no clip has a {kinds[head]} {head} to learn from")
        arrays[head] = shares
    judged: dict[Outcome | None, float] = {}
    if kinds["conflict"] == "perceived":
        judged = {Outcome.CONFLICT: 1.0, Outcome.MATCH: 0.0}
    conflict = [judged.get(clip.labels.congruence, UNKNOWN) for clip in clips]
    has = {c: create_corpus(c).info.emotions for c in {clip.corpus for clip in clips}}
    return ClipTargets(
        **arrays,
        conflict=np.array(conflict, dtype=np.float32),
        emotions=np.array([[e in has[clip.corpus] for e in Emotion] for clip in clips]),
        corpora=np.array([clip.corpus for clip in clips]),
        speakers=np.array([clip.speaker_key or clip.clip_id for clip in clips]),
    )


def _vote_shares(votes: Votes, channel: str) -> dict[str, FloatArray]:
    """Shares (8,) of the votes on a channel of CREMA-D, by clip id."""
    counts: IntArray = getattr(votes, channel)
    shares = np.zeros((len(counts), NUM_EMOTIONS), dtype=np.float32)
    columns = [emotion.position for emotion in VOTE_EMOTIONS]
    shares[:, columns] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return {f"cremad/{stem}": row for stem, row in zip(votes.stems, shares, strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What is presented: the face of one clip with the voice of one, by row of the table (m,).

    same_emotion (m,): whether the fused emotion is that of the face's clip;
    conflict (m,): 1 conflict, 0 match, a share between, or −1 where it is not asked;
    hides_face, hides_voice (m,): whether a channel is kept from the network.
    """

    face_rows: IntArray
    voice_rows: IntArray
    same_emotion: BoolArray
    conflict: FloatArray
    hides_face: BoolArray
    hides_voice: BoolArray

    @classmethod
    def of(
        cls, face_rows: IntArray, voice_rows: IntArray, same: BoolArray, conflict: FloatArray
    ) -> Items:
        """Items that hide nothing."""
        return cls(face_rows, voice_rows, same, conflict, *np.zeros((2, len(same)), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.face_rows)

    def side(self, modality: Modality) -> tuple[IntArray, BoolArray]:
        """Rows of the clips whose channel is presented (m,), and whether it is hidden (m,)."""
        if modality is Modality.VIDEO:
            return self.face_rows, self.hides_face
        return self.voice_rows, self.hides_voice

    def take(self, places: IntArray) -> Self:
        """The items at these places."""
        return type(self)(*(getattr(self, name)[places] for name in self.__slots__))

    def __add__(self, other: Items) -> Items:
        """Both, one after the other."""
        parts = ([getattr(self, n), getattr(other, n)] for n in self.__slots__)
        return Items(*map(np.concatenate, parts))


# From a table to what a run trains, validates and tests on.


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

    def originals(self, part: str) -> Items:
        """The part's clips as they are."""
        rows = self.rows(part)
        return Items.of(rows, rows, np.ones(len(rows), np.bool_), self.targets.conflict[rows])

    def pair_items(self, part: str) -> tuple[Items, ...]:
        """The part's pairs, by corpus: matches and conflicts by what was intended."""
        found = []
        for pairs in self.pairs[part].values():
            conflict = np.array([pair.kind is PairKind.CONFLICT for pair in pairs], dtype=np.bool_)
            faces = self.table.rows([pair.face_clip_id for pair in pairs])
            voices = self.table.rows([pair.voice_clip_id for pair in pairs])
            found.append(Items.of(faces, voices, ~conflict, conflict.astype(np.float32)))
        return tuple(found)

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
        _check_features(table, modality, config.network.dim(modality))
    usable = np.any([table.present(modality) for modality in modalities], axis=0)
    clips = [clip for clip, there in zip(table.clips, usable, strict=True) if there]
    is_small = config.run.size == "small"
    ids = _small_selection(clips) if is_small else [clip.clip_id for clip in clips]
    if not ids:
        raise CorpusError(f"no clip has features of {' or '.join(modalities)}")
    table = table.take(ids)
    parts = _split_clips(table.clips, config.split)
    if split is not None:
        known = set(ids)
        kept = {p: tuple(k for k in keys if k in known) for p, keys in split.parts().items()}
        parts = Split(split.name, **kept)
    check_split(
        parts if parts.test else replace(parts, test=parts.validation, validation=()), table.clips
    )
    targets = make_targets(table.clips, plain_settings(config.targets), votes)
    wants_pairs = config.network.is_multimodal and config.targets.conflict == "intended"
    pairs = {
        part: pairs_by_corpus(table, ids, config.pairs.seed) if wants_pairs else {}
        for part, ids in parts.parts().items()
    }
    return TrainingData(table, targets, parts, pairs)


def _check_features(table: FeatureTable, modality: Modality, dim: int) -> None:
    if modality not in table.arrays:
        raise CorpusError(
            f"there are no {modality} features; leave {modality} out of network.modalities, or "
            "extract them first"
        )
    array = table.arrays[modality]
    if array.dim != dim:
        raise CorpusError(
            f"{modality} features have width {array.dim}, network.{modality}_dim says {dim}"
        )
    finite = np.isfinite(array.tokens).all(axis=(1, 2))
    if not finite.all():
        raise CorpusError(
            f"clip {table.clips[int(np.argmin(finite))].clip_id!r}: its {modality} features are "
            "not all finite numbers; extract them again"
        )


def _split_clips(clips: Sequence[Clip], settings: SplitSettings) -> Split:
    """Speaker folds of each corpus, put together.

    With fold −1, the first fold validates and nothing is tested. Of a corpus with fewer speakers
    than folds, each speaker is a fold; with two, one trains and the other validates.
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
        if settings.fold < 0:
            fold = replace(
                fold, train=(*fold.train, *fold.validation), validation=fold.test, test=()
            )
        for part, ids in fold.parts().items():
            parts[part] += ids
    return Split(
        name=f"fold {settings.fold} of {settings.num_folds}, seed {settings.seed}",
        **{part: tuple(sorted(ids)) for part, ids in parts.items()},
    )


def _small_selection(clips: Sequence[Clip]) -> list[str]:
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
    table: FeatureTable, clip_ids: Sequence[str], seed: int
) -> dict[str, tuple[Pair, ...]]:
    """Matches and conflicts of the clips that have the channels, by corpus.

    Corpora without a plan, or whose clips allow no pair, are left out, with a warning.
    """
    has = {modality: table.present(modality) for modality in Modality}
    members: dict[str, list[Clip]] = {}
    wanted = set(clip_ids)
    for row, clip in enumerate(table.clips):
        if clip.clip_id in wanted:
            # A path says that the channel is there; clips of a feature file have none.
            video = (clip.video_path or Path(clip.clip_id)) if has[Modality.VIDEO][row] else None
            audio = (clip.audio_path or Path(clip.clip_id)) if has[Modality.AUDIO][row] else None
            known = replace(clip, video_path=video, audio_path=audio)
            members.setdefault(clip.corpus, []).append(known)
    found: dict[str, tuple[Pair, ...]] = {}
    for corpus, clips in members.items():
        try:
            if corpus not in PAIR_PLANS:
                raise CorpusError("no plan says who may meet whom")
            found[corpus] = make_pairs(clips, PAIR_PLANS[corpus], seed)
        except CorpusError as error:
            _LOG.warning("%s: no conflict pairs of its %d clips: %s", corpus, len(clips), error)
    return found
