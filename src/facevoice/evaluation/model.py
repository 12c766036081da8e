"""A model on a table of clips: extract what is missing, interpret what is stored, score it.

Nothing here repeats a model's arithmetic: every clip and every pair goes through `interpret`, as a
file does that a user analyses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, backbone_id
from facevoice.corpora.extract import (
    BackboneId,
    ClipReader,
    ExtractionProgress,
    extract_clips,
    identify,
)
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import Pair, lengths_by_clip, pair_manifest
from facevoice.corpora.prepare import ClipProblem
from facevoice.errors import ConfigError, CorpusError, EvaluationError
from facevoice.evaluation.page import evaluate
from facevoice.evaluation.predictions import (
    Channel,
    DataFile,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
    targets_of,
    write_run,
)
from facevoice.evaluation.score import Scores
from facevoice.files import file_sha256
from facevoice.interpret import find_point, interpret, join, summarize
from facevoice.models.checkpoint import (
    DataRecord,
    TunedBackbone,
    UsedEmbeddings,
    read_tuned,
)
from facevoice.models.heads import Model
from facevoice.models.model import assemble, find_checkpoint, is_export
from facevoice.records import (
    NUM_EMOTIONS,
    ChannelPosterior,
    DoubleArray,
    Emotion,
    Modality,
    Perception,
    Prediction,
    Report,
)
from facevoice.sessions import weights_entry
from facevoice.settings import AnalyzerConfig, DecisionConfig
from facevoice.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

ProgressCallback = Callable[[ExtractionProgress], None]


@dataclass(frozen=True, slots=True, eq=False)
class TestedModel:
    """A model as it is put to the test.

    name: what it is, for people; backbones: of the channels that it may read; sources: what
    `create_backbone` builds each of them from; trained_on: everything with weights, and the
    corpora that it saw; words: for the protocol, what its training has to do with the clips.
    """

    name: str
    model: Model
    backbones: Mapping[Modality, BackboneId]
    sources: Mapping[Modality, str]
    trained_on: tuple[UsedBackbone, ...]
    words: str = ""


def load_tested(
    checkpoint: Path | None,
    clips: Sequence[Clip],
    modalities: frozenset[Modality] = frozenset(Modality),
    backbones: Sequence[str] = (),
) -> TestedModel:
    """Load the compact model (None), a checkpoint or an exported folder to be tested on clips.

    Args:
        checkpoint, backbones: see `models.model.assemble`.
        clips: those that it is tested on: whose speakers were trained on decides what is void.
        modalities: channels that may be read; fused posteriors and conflict need both.

    Raises:
        ConfigError: the model reads none of `modalities`.
        WeightsError, MissingExtraError: see `assemble`.
    """
    parts = assemble(checkpoint, backbones)
    if not parts.modalities & modalities:
        raise ConfigError(f"{checkpoint}: reads {', '.join(sorted(parts.modalities))} only")
    used = {m: b for m, b in parts.backbones.items() if m in modalities}
    heads = f"{parts.model.heads.name}@{parts.model.heads.sha256[:12]}"
    if parts.info is None or checkpoint is None:
        name, words = "compact family, the weights of the package", ""
        seen = (UsedBackbone(heads, weights_entry("heads").training_corpora),)
        history = [UsedBackbone(identify(b).id, b.spec.training_corpora) for b in used.values()]
    else:
        name = f"{parts.model.name}, {parts.info.network.fusion} fusion"
        found = find_seen_speakers(parts.info.data, clips)
        words = found.words
        if found.held_out:
            heads += f" (trained on other speakers of {', '.join(found.held_out)})"
        seen = (UsedBackbone(f"heads {heads}", found.training_corpora),)
        folder = find_checkpoint(checkpoint)
        tuned = {} if is_export(folder) else read_tuned(folder)
        history = [
            _history(b, parts.info.backbones[m], tuned.get(m), found.training_corpora)
            for m, b in used.items()
        ]
    return TestedModel(
        name,
        parts.model,
        {m: identify(b) for m, b in used.items()},
        {m: parts.sources[m] for m in used},
        (*history, *seen),
        words,
    )


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """What stands beside the figures: how the clips were chosen, and what was run.

    name: of the run; words: how speakers are kept apart; command: what was called.
    """

    name: str
    words: str
    command: str


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """Scores of a run, and the clips that could not be read."""

    scores: Scores
    problems: tuple[ClipProblem, ...]


def evaluate_model(
    clips: Sequence[Clip],
    manifest: Path,
    tested: TestedModel,
    store_path: Path,
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
    has_both = len(tested.backbones) == len(Modality)
    pairs, limits_s = plan_pairs(clips, jobs) if has_both else ((), {})
    paired = [clip for clip in clips if clip.clip_id in limits_s]
    problems: tuple[ClipProblem, ...] = ()
    # Whole clips for emotions, cut ones for pairs: two passes over the corpora that have pairs.
    for part, cuts in ((list(clips), None), (paired, limits_s)):
        if part:
            report = extract_clips(
                part,
                store_path,
                backbones=list(tested.sources.values()),
                modalities=frozenset(tested.backbones),
                limits_s=cuts,
                config=config,
                jobs=jobs,
                on_progress=on_progress,
            )
            problems = problems or report.problems
    with Store(store_path) as store:
        reader = ClipReader(store, tested.backbones.values(), config)
        emotions = predict_emotions(clips, reader, tested.model)
        conflicts = predict_conflicts(clips, pairs, limits_s, reader, tested.model)
    if not targets_of(emotions):
        raise EvaluationError("no clip of the table has an emotion label")
    info = _describe(clips, manifest, tested, protocol, emotions, conflicts is not None)
    write_run(out, info, emotions, conflicts, overwrite=overwrite)
    return ModelEvaluation(evaluate(out, num_resamples=num_resamples, strict=strict), problems)


def predict_emotions(clips: Sequence[Clip], reader: ClipReader, model: Model) -> DataFrame:
    """One row a clip: what its report sums up.

    Raises:
        EvaluationError: nothing is stored of any clip.
    """
    stored = ((clip, reader.perception(clip)) for clip in clips)
    found = [(clip, _whole(interpret(p, model))) for clip, p in stored if p is not None]
    if not found:
        raise EvaluationError("no clip has features in the store; extract them first")
    face, voice, fused = (
        np.array([_row(getattr(summary, channel, None)) for _, summary in found])
        for channel in Channel
    )
    return emotion_predictions([clip for clip, _ in found], face=face, voice=voice, fused=fused)


def predict_conflicts(
    clips: Sequence[Clip],
    pairs: Sequence[Pair],
    limits_s: Mapping[str, float],
    reader: ClipReader,
    model: Model,
) -> DataFrame | None:
    """One row a pair whose face and voice share a window with both; None if no pair does.

    A pair is the face of one clip with the voice of another, `interpret`ed as any file is.
    """
    by_id = {clip.clip_id: clip for clip in clips}

    def channel(clip_id: str, modality: Modality) -> Perception | None:
        clip = by_id.get(clip_id)
        return None if clip is None else reader.channel(clip, modality, limits_s.get(clip_id))

    kept: list[Pair] = []
    scores, faces, voices = [], [], []
    for pair in pairs:
        face = channel(pair.face_clip_id, Modality.VIDEO)
        voice = channel(pair.voice_clip_id, Modality.AUDIO)
        if face is None or voice is None:
            continue
        summary = _whole(interpret(join(face, voice), model))
        if summary is None or summary.conflict is None:
            continue
        kept.append(pair)
        scores.append(summary.conflict)
        faces.append(_merge_calm(_row(summary.face)))
        voices.append(_merge_calm(_row(summary.voice)))
    if not kept:
        return None
    face_probs, voice_probs = np.array(faces), np.array(voices)
    point = find_point(model.curve, DecisionConfig())
    return conflict_predictions(
        kept,
        by_id,
        scores,
        baseline_differs=face_probs.argmax(axis=1) != voice_probs.argmax(axis=1),
        threshold=None if point is None else [point.conflict_above] * len(kept),
        clarity=np.minimum(face_probs.max(axis=1), voice_probs.max(axis=1)),
    )


def _whole(report: Report) -> Prediction | None:
    """One answer for a clip, however long; None without windows."""
    return summarize(report.windows, report.point) if report.windows else None


def _row(channel: ChannelPosterior | None) -> DoubleArray:
    """(8,), NaN where nothing is said."""
    return np.full(NUM_EMOTIONS, np.nan) if channel is None else channel.probs


def _merge_calm(probs: DoubleArray) -> DoubleArray:
    merged = probs.copy()
    merged[Emotion.NEUTRAL.position] += merged[Emotion.CALM.position]
    merged[Emotion.CALM.position] = 0.0
    return merged


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
    """
    known = known_speakers(data)
    parts: dict[str, list[str]] = {"seen": [], "held_out": [], "others": []}
    words = []
    for corpus in data.corpora:
        speakers = {clip.speaker_key for clip in clips if clip.corpus == corpus}
        part, said = "seen", ""
        if not speakers:
            part = "others"
        elif None in speakers:
            said = "clips name no speaker, so some may have been trained on"
        elif again := speakers & known:
            said = f"trained or chosen on {len(again)} of {len(speakers)} tested speakers"
        else:
            part, said = "held_out", f"speakers held out of training ({len(speakers)} tested)"
        parts[part].append(corpus)
        words += [f"{corpus}: {said}"] if said else []
    return SeenSpeakers(**{part: tuple(p) for part, p in parts.items()}, words="; ".join(words))


def _history(
    backbone: Backbone,
    used: UsedEmbeddings,
    tuned: TunedBackbone | None,
    seen: tuple[str, ...],
) -> UsedBackbone:
    """What a backbone was trained on, by its spec, or else by the checkpoint.

    Of one that was tuned: what its base saw, and `seen`, what it was tuned on along with the heads.
    With a base of unknown history the heads alone tell of the tuning.
    """
    corpora: tuple[str, ...] | None = backbone.spec.training_corpora
    more = used.training_corpora
    if tuned is not None:
        corpora, more = tuned.base_corpora, seen
    elif corpora == UNKNOWN_CORPORA:
        corpora = () if used.corpora_known else None
    known = None if corpora is None else tuple(dict.fromkeys((*corpora, *more)))
    return UsedBackbone(backbone_id(backbone), known)


def _describe(
    clips: Sequence[Clip],
    manifest: Path,
    tested: TestedModel,
    protocol: EvaluationProtocol,
    emotions: DataFrame,
    has_conflicts: bool,
) -> RunInfo:
    return RunInfo(
        name=protocol.name,
        title=f"{tested.name} on {manifest.name}",
        model=tested.name,
        corpora=tuple(sorted({clip.corpus for clip in clips})),
        protocol=protocol.words,
        command=protocol.command,
        emotion_target=targets_of(emotions)[0],
        conflict_target=Target.CONSTRUCTED_CONFLICT if has_conflicts else None,
        score_is_probability=True,
        backbones=tested.trained_on,
        data=(DataFile(manifest.name, file_sha256(manifest)),),
    )
