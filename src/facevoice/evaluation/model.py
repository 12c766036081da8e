"""Whether a trained model has heard or seen the speakers that it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, create_backbone
from facevoice.corpora.extract import ClipFeatures, ExtractionProgress, extract_clips, read_features
from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import Pair, lengths_by_clip
from facevoice.corpora.prepare import ClipProblem, pair_manifest
from facevoice.errors import ConfigError, CorpusError, EvaluationError
from facevoice.evaluation.page import evaluate
from facevoice.evaluation.predictions import (
    EMOTION_TARGETS,
    ConflictPredictions,
    DataFile,
    EmotionPredictions,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
    write_run,
)
from facevoice.evaluation.score import Scores
from facevoice.interpret import has_enough_face, has_enough_speech
from facevoice.media.open import file_sha256
from facevoice.models.checkpoint import (
    INDEX_FILE,
    DataRecord,
    TunedBackbone,
    UsedEmbeddings,
    read_tuned,
)
from facevoice.models.heads import Posteriors
from facevoice.models.model import assemble, find_checkpoint, is_export, load_compact_model
from facevoice.records import (
    NUM_EMOTIONS,
    BoolArray,
    DoubleArray,
    Emotion,
    FeatureSet,
    FloatArray,
    Modality,
)
from facevoice.sessions import weights_entry
from facevoice.settings import AnalyzerConfig
from facevoice.store import backbone_id


@dataclass(frozen=True, slots=True)
class SeenSpeakers:
    """What a model's training has to do with the clips that it is tested on, corpus by corpus.

    seen: corpora of which a tested speaker was trained or chosen on, or nobody can say;
    held_out: corpora that it was trained on, but on no tested speaker of theirs;
    others: corpora that it was trained on and is not tested on;
    words: for the protocol, what was found.
    """

    seen: tuple[str, ...]
    held_out: tuple[str, ...]
    others: tuple[str, ...]
    words: str

    @property
    def training_corpora(self) -> tuple[str, ...]:
        """Corpora whose figures the training makes void, or would, were they tested."""
        return (*self.seen, *self.others)


def known_speakers(data: DataRecord) -> frozenset[str]:
    """`corpus/speaker` of all that a checkpoint was trained on, or chosen on."""
    return frozenset((*data.train.speakers, *data.validation.speakers))


def held_out_clips(data: DataRecord, clips: Sequence[Clip]) -> list[Clip]:
    """Clips of speakers that are named and not known to a checkpoint; other corpora whole."""
    known = known_speakers(data)
    return [
        clip
        for clip in clips
        if clip.corpus not in data.corpora or clip.speaker_key not in {None, *known}
    ]


def find_seen_speakers(data: DataRecord, clips: Sequence[Clip]) -> SeenSpeakers:
    """Hold the speakers of tested clips against those that a checkpoint names.

    Speakers that it was validated on count as seen: epoch, temperatures and thresholds were chosen
    on them. A clip without a speaker counts as seen if its corpus was trained on.

    Args:
        data: of the checkpoint.
        clips: those that are tested.
    """
    known = known_speakers(data)
    parts: dict[str, list[str]] = {"seen": [], "held_out": [], "others": []}
    words = []
    for corpus in data.corpora:
        members = [clip for clip in clips if clip.corpus == corpus]
        speakers = {clip.speaker_key for clip in members}
        if not members:
            parts["others"].append(corpus)
            continue
        again = speakers & known
        if None in speakers:
            parts["seen"].append(corpus)
            words.append(f"{corpus}: clips name no speaker, so some may have been trained on")
        elif again:
            parts["seen"].append(corpus)
            words.append(
                f"{corpus}: trained or chosen on {len(again)} of {len(speakers)} tested speakers"
            )
        else:
            parts["held_out"].append(corpus)
            words.append(f"{corpus}: speakers held out of training ({len(speakers)} tested)")
    return SeenSpeakers(
        tuple(parts["seen"]), tuple(parts["held_out"]), tuple(parts["others"]), "; ".join(words)
    )


# From stored features and a model to a run's predictions; nothing is decoded here.


@dataclass(frozen=True, slots=True, eq=False)
class WindowPosteriors:
    """What a model says of n windows: (n, 8) each and conflict (n,); None where a part is absent.

    Rows of NaN where the window lacks the channel.
    """

    face: DoubleArray | None
    voice: DoubleArray | None
    fused: DoubleArray | None
    conflict: DoubleArray | None


class Scorer(Protocol):
    """A model of either family, as evaluation uses it: from embeddings to posteriors."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        ...

    @property
    def backbones(self) -> Mapping[Modality, str]:
        """The backbone (name or name@revision) of each channel that the model reads."""
        ...

    @property
    def sources(self) -> Mapping[Modality, str]:
        """What `create_backbone` builds each of them from."""
        ...

    @property
    def trained_on(self) -> tuple[UsedBackbone, ...]:
        """Everything with weights, and the corpora that it saw."""
        ...

    @property
    def threshold(self) -> float | None:
        """Conflict is called from here on; fixed on validation speakers."""
        ...

    def score(
        self, face: FloatArray | None, voice: FloatArray | None, present: BoolArray
    ) -> WindowPosteriors:
        """Score windows: face (n, D), voice (n, D), present (n, 2) whether each is there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StoredClips:
    """Features of both channels, by clip id."""

    face: Mapping[str, ClipFeatures]
    voice: Mapping[str, ClipFeatures]


def read_channels(
    clips: Sequence[Clip],
    store: Path,
    scorer: Scorer,
    *,
    limits_s: Mapping[str, float] | None = None,
    config: AnalyzerConfig | None = None,
) -> StoredClips:
    """What the store holds of the channels that the model reads.

    Raises:
        StoreError: nothing of a backbone was extracted.
    """
    found: dict[Modality, Mapping[str, ClipFeatures]] = {m: {} for m in Modality}
    for modality, backbone in scorer.backbones.items():
        found[modality] = read_features(
            clips, store, backbone=backbone, limits_s=limits_s, config=config
        )
    return StoredClips(found[Modality.VIDEO], found[Modality.AUDIO])


def predict_emotions(
    clips: Sequence[Clip], stored: StoredClips, scorer: Scorer, config: AnalyzerConfig
) -> EmotionPredictions:
    """One row a clip: the mean of the posteriors of its windows.

    Raises:
        EvaluationError: nothing is stored of any clip.
    """
    kept = [c for c in clips if c.clip_id in stored.face or c.clip_id in stored.voice]
    if not kept:
        raise EvaluationError("no clip has features in the store; extract them first")
    rows: dict[str, list[DoubleArray]] = {"face": [], "voice": [], "fused": []}
    for clip in kept:
        said = _score(stored.face.get(clip.clip_id), stored.voice.get(clip.clip_id), scorer, config)
        for channel, part in rows.items():
            part.append(_mean(getattr(said, channel)))
    face, voice, fused = (np.array(part) for part in rows.values())
    return emotion_predictions(kept, face=face, voice=voice, fused=fused)


def predict_conflicts(
    clips: Sequence[Clip],
    pairs: Sequence[Pair],
    stored: StoredClips,
    scorer: Scorer,
    config: AnalyzerConfig,
) -> ConflictPredictions | None:
    """One row a pair whose face and voice share a window with both; None if no pair does.

    The pair's score is the mean over its windows, as in a report's summary.
    """
    kept: list[Pair] = []
    scores, face_rows, voice_rows = [], [], []
    for pair in pairs:
        face, voice = stored.face.get(pair.face_clip_id), stored.voice.get(pair.voice_clip_id)
        if face is None or voice is None:
            continue
        said = _score(face, voice, scorer, config)
        score = None if said.conflict is None else _mean(said.conflict)
        if score is None or np.isnan(score) or said.face is None or said.voice is None:
            continue
        kept.append(pair)
        scores.append(float(score))
        face_rows.append(_merge_calm(_mean(said.face)))
        voice_rows.append(_merge_calm(_mean(said.voice)))
    if not kept:
        return None
    faces, voices = np.array(face_rows), np.array(voice_rows)
    return conflict_predictions(
        kept,
        clips_by_id(list(clips)),
        scores,
        baseline_differs=faces.argmax(axis=1) != voices.argmax(axis=1),
        threshold=None if scorer.threshold is None else np.full(len(kept), scorer.threshold),
        clarity=np.minimum(faces.max(axis=1), voices.max(axis=1)),
    )


def plan_pairs(clips: Sequence[Clip], jobs: int = 1) -> tuple[tuple[Pair, ...], dict[str, float]]:
    """Pairs and originals of every filmed corpus, and the seconds to cut their clips to, by id.

    The same as `facevoice data pairs` makes. Where none can be made, there are none.

    Raises:
        MediaError: a sound can't be read; named.
    """
    filmed = {clip.corpus for clip in clips if clip.video_path is not None}
    members = [clip for clip in clips if clip.corpus in filmed and clip.speaker is not None]
    if not members:
        return (), {}
    try:
        made = pair_manifest(members, jobs=jobs).pairs
    except CorpusError:
        return (), {}
    return tuple(timed.pair for timed in made), lengths_by_clip(made)


def _score(
    face: ClipFeatures | None,
    voice: ClipFeatures | None,
    scorer: Scorer,
    config: AnalyzerConfig,
) -> WindowPosteriors:
    """Windows of both channels side by side; one that ends sooner lacks its last windows."""
    size = max(len(part.mask) for part in (face, voice) if part is not None)
    present = np.zeros((size, 2), dtype=np.bool_)
    if face is not None:
        present[: len(face.mask), 0] = face.mask & _enough(face, config)
    if voice is not None:
        present[: len(voice.mask), 1] = voice.mask & _enough(voice, config)
    return scorer.score(_padded(face, size), _padded(voice, size), present)


def _enough(features: ClipFeatures, config: AnalyzerConfig) -> BoolArray:
    """(n,) whether a window holds as much of the channel as analysis asks for."""
    lengths_s = features.spans_s[:, 1] - features.spans_s[:, 0]
    if features.modality is Modality.VIDEO:
        rows = [has_enough_face(c, config.decision) for c in features.coverage]
    else:
        rows = [
            has_enough_speech(float(coverage * length_s), float(length_s), config.decision)
            for coverage, length_s in zip(features.coverage, lengths_s, strict=True)
        ]
    return np.array(rows, dtype=np.bool_)


def _padded(features: ClipFeatures | None, size: int) -> FloatArray | None:
    if features is None:
        return None
    rows = np.zeros((size, features.embeddings.shape[1]), dtype=np.float32)
    rows[: len(features.embeddings)] = features.embeddings
    return rows


def _mean(rows: DoubleArray | None) -> DoubleArray:
    """Mean over the windows that have an answer; NaN where none has."""
    if rows is None:
        return np.full(NUM_EMOTIONS, np.nan)
    known = rows[np.isfinite(rows).reshape(len(rows), -1).all(axis=1)]
    if not len(known):
        return np.full(rows.shape[1:], np.nan)
    mean: DoubleArray = known.mean(axis=0)
    return mean / mean.sum() if mean.ndim else mean


def _merge_calm(probs: DoubleArray) -> DoubleArray:
    merged = probs.copy()
    merged[Emotion.NEUTRAL.position] += merged[Emotion.CALM.position]
    merged[Emotion.CALM.position] = 0.0
    return merged


# The compact family as evaluation uses it: the heads of the package on stored embeddings.


class CompactScorer:
    """The shipped heads; see `workbench.predict.Scorer`.

    Args:
        modalities: channels that may be read; fused posteriors and conflict need both.

    Raises:
        WeightsError: weights are missing or damaged.
    """

    def __init__(self, modalities: frozenset[Modality] = frozenset(Modality)) -> None:
        self._model, heads = load_compact_model()
        names = {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
        networks = {m: create_backbone(name) for m, name in names.items() if m in modalities}
        self.name = "compact family, the weights of the package"
        self.sources: Mapping[Modality, str] = {m: names[m] for m in networks}
        self.backbones: Mapping[Modality, str] = {m: backbone_id(b) for m, b in networks.items()}
        learnt = weights_entry("heads").training_corpora
        self.trained_on = (
            *(UsedBackbone(backbone_id(b), b.spec.training_corpora) for b in networks.values()),
            UsedBackbone(f"{heads.name}@{heads.sha256[:12]}", learnt),
        )
        self.threshold: float | None = self._model.thresholds.conflict_above

    def score(
        self, face: FloatArray | None, voice: FloatArray | None, present: BoolArray
    ) -> WindowPosteriors:
        """Posteriors of n windows: face (n, D), voice (n, D), present (n, 2)."""
        faces = self._channel(Modality.VIDEO, face, present[:, 0])
        voices = self._channel(Modality.AUDIO, voice, present[:, 1])
        if faces is None or voices is None:
            return WindowPosteriors(faces, voices, faces if voices is None else voices, None)
        both = present.all(axis=1)
        fused = np.where(present[:, :1], faces, voices)
        fused[both] = self._model.fusion(faces[both], voices[both])
        conflict = np.full(len(present), np.nan)
        conflict[both] = self._model.conflict(faces[both], voices[both])
        return WindowPosteriors(faces, voices, fused, conflict)

    def _channel(
        self, modality: Modality, embeddings: FloatArray | None, present: BoolArray
    ) -> DoubleArray | None:
        if embeddings is None or modality not in self.backbones:
            return None
        probs = np.full((len(embeddings), NUM_EMOTIONS), np.nan)
        if present.any():
            probs[present] = self._model.heads[modality](embeddings[present])
        return probs


# A checkpoint or an exported model as evaluation uses it, on stored embeddings.

_COLUMNS = {Modality.VIDEO: 0, Modality.AUDIO: 1}


class CheckpointScorer:
    """A trained model; see `workbench.predict.Scorer`.

    Args:
        checkpoint: a checkpoint folder, or an exported one.
        clips: those that it is tested on: whose speakers were trained on decides what is void.
        modalities: channels that may be read, of those that the model has.
        backbones: see `facevoice.models.model.assemble`.

    Raises:
        ConfigError: the model reads none of `modalities`.
        WeightsError, MissingExtraError: see `assemble`.
    """

    def __init__(
        self,
        checkpoint: Path,
        clips: Sequence[Clip],
        modalities: frozenset[Modality] = frozenset(Modality),
        backbones: Sequence[str] = (),
    ) -> None:
        parts = assemble(checkpoint, backbones)
        if parts.info is None or not parts.modalities & modalities:
            raise ConfigError(f"{checkpoint}: reads {', '.join(sorted(parts.modalities))} only")
        self._model = parts.model
        used = {m: b for m, b in parts.backbones.items() if m in modalities}
        self.name = f"{parts.model.name}, {parts.info.network.fusion} fusion"
        self.sources: Mapping[Modality, str] = {m: parts.sources[m] for m in used}
        # Only ids are kept: whoever extracts loads the networks.
        self.backbones: Mapping[Modality, str] = {m: backbone_id(b) for m, b in used.items()}
        found = find_seen_speakers(parts.info.data, clips)
        heads = f"heads {parts.model.name}@{parts.model.heads.sha256[:12]}"
        if found.held_out:
            heads += f" (trained on other speakers of {', '.join(found.held_out)})"
        self.words = found.words
        tuned = _tuned(checkpoint)
        self.trained_on = (
            *(
                _tuned_history(b, tuned[m], found.training_corpora)
                if m in tuned
                else _history(b, parts.info.backbones[m])
                for m, b in used.items()
            ),
            UsedBackbone(heads, found.training_corpora),
        )
        thresholds = parts.model.thresholds
        self.threshold: float | None = None if thresholds is None else thresholds.conflict_above

    def score(
        self, face: FloatArray | None, voice: FloatArray | None, present: BoolArray
    ) -> WindowPosteriors:
        """Posteriors of n windows: face (n, D), voice (n, D), present (n, 2)."""
        given = {Modality.VIDEO: face, Modality.AUDIO: voice}
        rows = {m: given[m] for m in self.backbones}
        windows = []
        for place in range(len(present)):
            there = {
                m: found[place]
                for m, found in rows.items()
                if found is not None and present[place, _COLUMNS[m]]
            }
            windows.append(FeatureSet(0.0, 1.0, there, {}))
        said = self._model.predict(windows)
        return WindowPosteriors(
            _stack([row.face for row in said]),
            _stack([row.voice for row in said]),
            _stack([row.fused for row in said]),
            _conflicts(said),
        )


def _history(backbone: Backbone, used: UsedEmbeddings) -> UsedBackbone:
    """What a backbone was trained on, by its spec, or else by the checkpoint."""
    corpora = backbone.spec.training_corpora
    if corpora == UNKNOWN_CORPORA:
        return UsedBackbone(
            backbone_id(backbone), used.training_corpora if used.corpora_known else None
        )
    return UsedBackbone(
        backbone_id(backbone), tuple(dict.fromkeys((*corpora, *used.training_corpora)))
    )


def _tuned(checkpoint: Path) -> Mapping[Modality, TunedBackbone]:
    folder = find_checkpoint(checkpoint)
    return {} if is_export(folder) else read_tuned(folder, INDEX_FILE)


def _tuned_history(
    backbone: Backbone, tuned: TunedBackbone, corpora: tuple[str, ...]
) -> UsedBackbone:
    """What its base saw, and `corpora` of whose tested speakers it was tuned along with the heads.

    With a base of unknown history the heads alone tell of the tuning.
    """
    known = tuned.base_corpora
    return UsedBackbone(
        backbone_id(backbone), None if known is None else tuple(dict.fromkeys((*known, *corpora)))
    )


def _stack(rows: Sequence[DoubleArray | None]) -> DoubleArray | None:
    """(n, 8) with NaN where nothing is said; None if nothing is said of any window."""
    if all(row is None for row in rows):
        return None
    empty = np.full(NUM_EMOTIONS, np.nan)
    return np.stack([empty if row is None else row for row in rows])


def _conflicts(rows: Sequence[Posteriors]) -> DoubleArray | None:
    if all(row.conflict is None for row in rows):
        return None
    return np.array([np.nan if row.conflict is None else row.conflict for row in rows])


# A model on a table of clips: extract what is missing, predict once, write the run, score it.

ProgressCallback = Callable[[ExtractionProgress], None]


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """Scores of a run, and the clips that could not be read."""

    scores: Scores
    problems: tuple[ClipProblem, ...]


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """What stands beside the figures: how the clips were chosen, and what was run.

    name: of the run; words: how speakers are kept apart; command: what was called.
    """

    name: str
    words: str
    command: str


def evaluate_model(
    clips: Sequence[Clip],
    manifest: Path,
    scorer: Scorer,
    store: Path,
    out: Path,
    protocol: EvaluationProtocol,
    *,
    config: AnalyzerConfig | None = None,
    jobs: int = 1,
    num_resamples: int = 2000,
    strict: bool = False,
    overwrite: bool = False,
    on_progress: ProgressCallback | None = None,
) -> ModelEvaluation:
    """Evaluate a model on clips of a manifest, and write the run and its pages to `out`.

    Emotions are predicted of whole clips, conflicts of pairs whose face and voice are cut to one
    length. What the store holds is not extracted again.

    Raises:
        EvaluationError: nothing can be predicted or scored, or `out` is taken.
        StoreError, WeightsError, MissingExtraError: as `extract_clips`.
    """
    config = config or AnalyzerConfig()
    pairs, limits_s = (
        plan_pairs(clips, jobs) if len(scorer.backbones) == len(Modality) else ((), {})
    )
    paired = [clip for clip in clips if clip.clip_id in limits_s]
    names = list(scorer.sources.values())
    problems: tuple[ClipProblem, ...] = ()
    # Whole clips for emotions, cut ones for pairs: two passes over the corpora that have pairs.
    for part, cuts in ((list(clips), None), (paired, limits_s)):
        if part:
            report = extract_clips(
                part,
                store,
                backbones=names,
                limits_s=cuts,
                config=config,
                jobs=jobs,
                on_progress=on_progress,
            )
            problems = problems or report.problems
    whole = read_channels(clips, store, scorer, config=config)
    emotions = predict_emotions(clips, whole, scorer, config)
    conflicts = None
    if pairs:
        cut = read_channels(paired, store, scorer, limits_s=limits_s, config=config)
        conflicts = predict_conflicts(clips, pairs, cut, scorer, config)
    info = _describe(clips, manifest, scorer, protocol, emotions, conflicts is not None)
    write_run(out, info, emotions, conflicts, overwrite=overwrite)
    scores = evaluate(out, num_resamples=num_resamples, strict=strict)
    return ModelEvaluation(scores, problems)


def _describe(
    clips: Sequence[Clip],
    manifest: Path,
    scorer: Scorer,
    protocol: EvaluationProtocol,
    emotions: EmotionPredictions,
    has_conflicts: bool,
) -> RunInfo:
    return RunInfo(
        name=protocol.name,
        title=f"{scorer.name} on {manifest.name}",
        model=scorer.name,
        corpora=tuple(sorted({clip.corpus for clip in clips})),
        protocol=protocol.words,
        command=protocol.command,
        emotion_target=_emotion_target(emotions),
        conflict_target=Target.CONSTRUCTED_CONFLICT if has_conflicts else None,
        score_is_probability=True,
        backbones=scorer.trained_on,
        data=(DataFile(manifest.name, file_sha256(manifest)),),
    )


def _emotion_target(emotions: EmotionPredictions) -> Target:
    """The target of the headline: intended where there is one, else what people perceived."""
    for target in EMOTION_TARGETS:
        if target in emotions.targets:
            return target
    raise EvaluationError("no clip of the table has an emotion label")
