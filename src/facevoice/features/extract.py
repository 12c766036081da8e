"""Step 5: one embedding per modality of a window, where the window has that modality."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from facevoice.config import FacesConfig
from facevoice.features.backbone import Backbone
from facevoice.features.store import FeatureStore
from facevoice.features.store_keys import FeatureKey
from facevoice.labels import Modality
from facevoice.results import ModelId
from facevoice.types import FeatureSet, FloatArray, Window


def extract(
    window: Window,
    backbones: Mapping[Modality, Backbone],
    modalities: frozenset[Modality] = frozenset(Modality),
) -> FeatureSet:
    """Embed one window.

    Args:
        window: what the backbones see.
        backbones: at most one per modality.
        modalities: those with enough evidence to be worth embedding.

    Returns:
        Embeddings of the modalities that the window has, a backbone serves and `modalities` names.
    """
    embeddings: dict[Modality, FloatArray] = {}
    names: dict[Modality, str] = {}
    for modality, backbone in backbones.items():
        if modality in _present(window) & modalities:
            embeddings[modality] = backbone.embed([window])[0]
            names[modality] = backbone_id(backbone)
    return FeatureSet(window.start_s, window.end_s, embeddings, names)


def cached_extract(
    window: Window,
    file_sha256: str,
    backbones: Mapping[Modality, Backbone],
    store: FeatureStore,
    recipes: Mapping[Modality, str],
    modalities: frozenset[Modality] = frozenset(Modality),
) -> FeatureSet:
    """`extract` with a memory: what the store holds is not computed again, what it lacks is put.

    Args:
        window: what the backbones see.
        file_sha256: of the file that the window was cut from.
        backbones: at most one per modality.
        store: asked first; a read-only one is only asked.
        recipes: how the window was made, from `window_recipes`.
        modalities: those with enough evidence to be worth embedding.

    Returns:
        The same as `extract`, bit for bit, unless somebody put float16 into the store.

    Raises:
        StoreError: the store can't be read or written.
    """
    wanted = {m: b for m, b in backbones.items() if m in _present(window) & modalities}
    keys = {
        m: feature_key(file_sha256, window.start_s, window.end_s, b, recipes[m])
        for m, b in wanted.items()
    }
    found = dict(zip(keys, store.iter_many(keys.values()), strict=True))
    fresh = extract(window, {m: b for m, b in wanted.items() if found[m] is None}, modalities)
    if not store.read_only:
        store.put_many((keys[m], embedding) for m, embedding in fresh.embeddings.items())
    embeddings: dict[Modality, FloatArray] = {}
    for modality, stored in found.items():
        embeddings[modality] = (
            fresh.embeddings[modality] if stored is None else stored.astype(np.float32, copy=False)
        )
    names = {m: backbone_id(b) for m, b in wanted.items()}
    return FeatureSet(window.start_s, window.end_s, embeddings, names)


def feature_key(
    file_sha256: str, start_s: float, end_s: float, backbone: Backbone, recipe: str
) -> FeatureKey:
    """The store's key for a window of a file, known before anything is decoded.

    Raises:
        ValueError: no SHA-256, or no window.
    """
    preprocessing = f"{recipe}/{backbone.spec.preprocessing}"
    return FeatureKey.at(file_sha256, start_s, end_s, backbone_id(backbone), preprocessing)


def backbone_id(backbone: Backbone) -> str:
    """Name and revision: the first 12 hex digits of its weights' SHA-256."""
    return f"{backbone.spec.name}@{backbone.model.sha256[:12]}"


def window_recipes(faces: FacesConfig, detector: ModelId) -> dict[Modality, str]:
    """How a window's faces and samples are made, so that other settings never share embeddings.

    Count the number in a recipe up when decoding, tracking, cropping or resampling changes.
    """
    settings = json.dumps(asdict(faces), sort_keys=True).encode()
    digest = hashlib.sha256(settings).hexdigest()
    return {
        Modality.VIDEO: f"faces-1-{detector.sha256[:12]}-{digest[:12]}",
        Modality.AUDIO: "mono16k-1",
    }


def _present(window: Window) -> frozenset[Modality]:
    has = {Modality.VIDEO: window.faces is not None, Modality.AUDIO: window.samples is not None}
    return frozenset(modality for modality, present in has.items() if present)
