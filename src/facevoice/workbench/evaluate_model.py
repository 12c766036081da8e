"""A model on a table of clips: extract what is missing, predict once, write the run, score it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facevoice.config import AnalyzerConfig
from facevoice.data.clips import Clip
from facevoice.errors import EvaluationError
from facevoice.evaluation.predictions import DataFile, RunInfo, Target, write_run
from facevoice.evaluation.publish import evaluate
from facevoice.evaluation.run_info import EMOTION_TARGETS
from facevoice.evaluation.score import Scores
from facevoice.evaluation.tables import EmotionPredictions
from facevoice.labels import Modality
from facevoice.media.probe import file_sha256
from facevoice.workbench.extraction import ExtractionProgress, extract_clips
from facevoice.workbench.predict import (
    Scorer,
    plan_pairs,
    predict_conflicts,
    predict_emotions,
    read_channels,
)
from facevoice.workbench.problems import ClipProblem

ProgressCallback = Callable[[ExtractionProgress], None]


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """Scores of a run, and the clips that could not be read."""

    scores: Scores
    problems: tuple[ClipProblem, ...]


@dataclass(frozen=True, slots=True)
class Protocol:
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
    protocol: Protocol,
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
    protocol: Protocol,
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
