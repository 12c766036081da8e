"""Which embeddings a clip should have, and the names under which the store keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from facevoice.config import AnalyzerConfig
from facevoice.data.clips import Clip
from facevoice.data.corpus import PICTURE_EXTENSIONS
from facevoice.errors import CorpusError
from facevoice.features.backbone import Backbone
from facevoice.features.extract import backbone_id, window_recipes
from facevoice.features.store_keys import FeatureKey
from facevoice.labels import Modality
from facevoice.perception.detect import FaceDetector
from facevoice.perception.speech import vad_model_id
from facevoice.perception.windows import window_spans

COVERAGE: Final = "coverage@1"
"""Stands for a backbone in the keys of coverages, (1,) float32: stored with every window."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class BackboneId:
    """All of a backbone that names its embeddings; enough to read them without its weights.

    id: name and revision, as in `features.extract.backbone_id`; dim: D of the embeddings (D,).
    """

    name: str
    id: str
    modality: Modality
    preprocessing: str
    dim: int


def identify(backbone: Backbone) -> BackboneId:
    """What names the embeddings of a backbone that is loaded."""
    spec = backbone.spec
    return BackboneId(spec.name, backbone_id(backbone), spec.modality, spec.preprocessing, spec.dim)


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How windows are made, by modality: what the store's keys say of embeddings and coverages."""

    recipes: Mapping[Modality, str]
    coverages: Mapping[Modality, str]

    def feature_key(self, sha256: str, span_s: Span, backbone: BackboneId) -> FeatureKey:
        """As `features.extract.feature_key` has it."""
        preprocessing = f"{self.recipes[backbone.modality]}/{backbone.preprocessing}"
        return FeatureKey.at(sha256, *span_s, backbone.id, preprocessing)

    def coverage_key(self, sha256: str, span_s: Span, modality: Modality) -> FeatureKey:
        """Key of the share of a window that shows the leading face, or is speech."""
        return FeatureKey.at(sha256, *span_s, COVERAGE, self.coverages[modality])


def key_rules(config: AnalyzerConfig, detector: FaceDetector) -> KeyRules:
    """The rules that follow from settings and networks.

    Raises:
        WeightsError: the package's index of weights is damaged.
    """
    recipes = window_recipes(config.faces, detector.model)
    speech = f"vad-{vad_model_id().sha256[:12]}-{config.speech.threshold:g}"
    return KeyRules(
        recipes,
        {
            Modality.VIDEO: recipes[Modality.VIDEO],
            Modality.AUDIO: f"{recipes[Modality.AUDIO]}/{speech}",
        },
    )


def clip_spans(
    clip: Clip, limits_s: Mapping[str, float] | None, config: AnalyzerConfig
) -> tuple[Span, ...]:
    """Start and end of the clip's windows, up to its limit if it has one.

    Raises:
        CorpusError: the duration is not known, or the limit not above 0.
    """
    if clip.duration_s is None:
        raise CorpusError(
            f"clip {clip.clip_id!r}: the duration is not known; probe it first "
            "(`facevoice data prepare` without --no-probe)"
        )
    limit_s = (limits_s or {}).get(clip.clip_id, clip.duration_s)
    if not limit_s > 0:
        raise CorpusError(f"clip {clip.clip_id!r}: limit {limit_s} s is not above 0")
    return tuple(window_spans(min(clip.duration_s, limit_s), config.windows))


def clip_file(clip: Clip, modality: Modality) -> Path | None:
    """The file that holds the clip's face, or its voice; None where it has none.

    Raises:
        CorpusError: the face can't be told from this file.
    """
    if modality is Modality.AUDIO:
        return clip.audio_path
    if clip.video_path is None:
        return None
    if clip.video_path.suffix.lower() in PICTURE_EXTENSIONS:
        raise CorpusError(
            f"{clip.video_path}: a still picture has no windows; "
            "extract clips of films and sound only"
        )
    if clip.video_start_s > 0:
        raise CorpusError(
            f"{clip.video_path}: holds the clip from {clip.video_start_s:g} s on, and other people "
            "and utterances besides; cut the film into clips first, or extract its voice only"
        )
    return clip.video_path


def wanted_keys(
    sha256: str,
    spans_s: Iterable[Span],
    modality: Modality,
    backbones: Iterable[BackboneId],
    rules: KeyRules,
) -> tuple[FeatureKey, ...]:
    """Everything that the store should hold of one channel of a clip."""
    serving = [backbone for backbone in backbones if backbone.modality is modality]
    return tuple(
        key
        for span_s in spans_s
        for key in (
            rules.coverage_key(sha256, span_s, modality),
            *(rules.feature_key(sha256, span_s, backbone) for backbone in serving),
        )
    )
