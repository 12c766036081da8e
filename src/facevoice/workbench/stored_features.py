"""Reading a corpus' features from the store, with no decoding and no weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facevoice.config import AnalyzerConfig
from facevoice.data.clips import Clip, clips_by_id
from facevoice.errors import CorpusError, StoreError
from facevoice.features.store import FeatureStore
from facevoice.features.store_keys import FeatureKey
from facevoice.labels import Modality
from facevoice.media.probe import file_sha256
from facevoice.perception.detect import create_detector
from facevoice.types import BoolArray, DoubleArray, FloatArray
from facevoice.workbench.facts import FactsFile, FileFacts
from facevoice.workbench.feature_plan import BackboneId, Span, clip_file, clip_spans, key_rules


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """One channel of a clip, window by window.

    spans_s (n, 2): start and end of the windows in seconds;
    embeddings float32 (n, D): rows of zeros where `mask` is False;
    mask (n,): whether the window shows a face, or holds speech;
    coverage float32 (n,): share of the sampled frames with the leading face, or of the window that
    is speech.
    """

    clip_id: str
    modality: Modality
    backbone: str
    spans_s: DoubleArray
    embeddings: FloatArray
    mask: BoolArray
    coverage: FloatArray

    def pooled(self) -> FloatArray | None:
        """Mean embedding (D,), windows weighted by seconds covered; None if no window counts."""
        if not self.mask.any():
            return None
        weights = self.coverage * (self.spans_s[:, 1] - self.spans_s[:, 0]) * self.mask
        mean: FloatArray = (weights @ self.embeddings / weights.sum()).astype(np.float32)
        return mean


def read_features(
    clips: Sequence[Clip],
    store_path: Path,
    *,
    backbone: str | BackboneId,
    limits_s: Mapping[str, float] | None = None,
    config: AnalyzerConfig | None = None,
) -> dict[str, ClipFeatures]:
    """Features that `extract_clips` stored, by clip id.

    Clips that lack the channel, or any window of which is not stored, are left out: compare with
    `clips`.

    Args:
        clips: with durations.
        store_path: the store.
        backbone: its name, or name@revision where the store holds several revisions of it.
        limits_s: as they were at extraction.
        config: as it was at extraction.

    Raises:
        CorpusError: a clip id occurs twice, or a duration is not known.
        StoreError: no store, damaged, or nothing of this backbone was extracted.
    """
    clips_by_id(list(clips))
    config = config or AnalyzerConfig()
    known = backbone if isinstance(backbone, BackboneId) else find_backbone(store_path, backbone)
    faces = config.faces
    detector = create_detector(
        faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
    )
    rules = key_rules(config, detector)
    features: dict[str, ClipFeatures] = {}
    with (
        FeatureStore.open(store_path, read_only=True) as store,
        FactsFile(facts_path(store_path)) as facts,
    ):
        for clip in clips:
            sha256 = _sha256(clip, known.modality, facts)
            if sha256 is None:
                continue
            spans_s = clip_spans(clip, limits_s, config)
            keys = [rules.feature_key(sha256, span_s, known) for span_s in spans_s]
            covers = [rules.coverage_key(sha256, span_s, known.modality) for span_s in spans_s]
            if not store.missing(keys):
                found = _read_clip(store, clip.clip_id, known, spans_s, keys, covers)
                if found is not None:
                    features[clip.clip_id] = found
    return features


def find_backbone(store_path: Path, name: str) -> BackboneId:
    """The backbone of this name (or name@revision) of which something was extracted.

    Raises:
        StoreError: there is none, or several revisions; the message lists them.
    """
    known = stored_backbones(store_path)
    matches = [b for b in known if name in (b.id, b.name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(b.id for b in matches)
        raise StoreError(store_path, f"holds several revisions of {name}.", f"Name one: {choices}")
    choices = ", ".join(b.id for b in known) or "none"
    raise StoreError(
        store_path,
        f"holds nothing of backbone {name!r} (there: {choices}).",
        "Extract it first: facevoice data extract",
    )


def stored_backbones(store_path: Path) -> tuple[BackboneId, ...]:
    """All backbones of which something was extracted into the store.

    Raises:
        StoreError: the list beside the store is damaged.
    """
    path = _backbones_path(store_path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return tuple(BackboneId(**{**row, "modality": Modality(row["modality"])}) for row in rows)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            path, f"is damaged ({error}).", "Delete it and extract again; nothing is computed twice"
        ) from error


def remember_backbones(store_path: Path, backbones: Sequence[BackboneId]) -> None:
    """Add to the list of backbones beside the store.

    Raises:
        StoreError: the list is damaged or can't be written.
    """
    known = stored_backbones(store_path)
    fresh = [backbone for backbone in backbones if backbone not in known]
    if not fresh:
        return
    path = _backbones_path(store_path)
    content = json.dumps([asdict(backbone) for backbone in (*known, *fresh)], indent=1) + "\n"
    try:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StoreError(path, f"can't be written ({error.strerror}).") from error


def facts_path(store_path: Path) -> Path:
    """Where the hashes of files are remembered."""
    return store_path.with_name(f"{store_path.name}.files.jsonl")


def _backbones_path(store_path: Path) -> Path:
    return store_path.with_name(f"{store_path.name}.backbones.json")


def _sha256(clip: Clip, modality: Modality, facts: FactsFile) -> str | None:
    """Of the file that holds the channel; None where there is none, or not any more."""
    try:
        file = clip_file(clip, modality)
    except CorpusError:
        return None  # Nothing can have been extracted from it.
    if file is None or not file.is_file():
        return None
    known = facts.get(file).sha256
    if known is None:
        known = file_sha256(file)
        facts.add(file, FileFacts(sha256=known))
    return known


def _read_clip(
    store: FeatureStore,
    clip_id: str,
    backbone: BackboneId,
    spans_s: Sequence[Span],
    keys: Sequence[FeatureKey],
    cover_keys: Sequence[FeatureKey],
) -> ClipFeatures | None:
    covers = list(store.iter_many(cover_keys))
    coverage = np.zeros(len(keys), dtype=np.float32)
    for place, cover in enumerate(covers):
        if cover is None:
            return None
        coverage[place] = cover[0]
    embeddings = np.zeros((len(keys), backbone.dim), dtype=np.float32)
    mask = np.zeros(len(keys), dtype=np.bool_)
    for place, embedding in enumerate(store.iter_many(keys)):
        if embedding is not None and coverage[place] > 0:
            embeddings[place] = embedding
            mask[place] = True
    return ClipFeatures(
        clip_id=clip_id,
        modality=backbone.modality,
        backbone=backbone.id,
        spans_s=np.array(spans_s, dtype=np.float64).reshape(-1, 2),
        embeddings=embeddings,
        mask=mask,
        coverage=coverage,
    )
