"""From a feature table to what a run trains, validates and tests on."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.data.clips import Clip
from facevoice.data.feature_table import FeatureTable
from facevoice.data.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs
from facevoice.data.splits import Split, check_split, speaker_folds
from facevoice.data.subset import SUBSET_SIZE, pick_cremad
from facevoice.data.targets import (
    ClipTargets,
    IntArray,
    Items,
    make_targets,
    original_items,
    pair_items,
)
from facevoice.data.votes import Votes
from facevoice.errors import CorpusError
from facevoice.labels import Modality
from facevoice.toml_settings import plain_settings
from facevoice.training.config import SplitSettings, TrainConfig
from facevoice.types import BoolArray

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
