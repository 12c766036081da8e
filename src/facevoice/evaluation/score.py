"""From a run's files to its figures: every channel, target and corpus, and all conflicts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.compare import Comparison
from facevoice.evaluation.conflict_scores import ConflictScores, score_conflicts
from facevoice.evaluation.contamination import find_contamination, refuse_contaminated
from facevoice.evaluation.emotion_scores import EmotionScores, emotion_cells, score_emotions
from facevoice.evaluation.figures import Refused
from facevoice.evaluation.predictions import Run, RunInfo
from facevoice.version import VERSION

FORMAT: Final = "facevoice-scores/1"
COMPARISON_FORMAT: Final = "facevoice-comparison/1"


@dataclass(frozen=True, slots=True)
class Scores:
    """All figures of a run.

    unknown_training: backbones of which nobody has published what they were trained on, so that
    contamination can't be ruled out.
    """

    info: RunInfo
    num_resamples: int
    emotions: tuple[EmotionScores, ...]
    conflicts: tuple[ConflictScores, ...]
    audits: tuple[AuditResult, ...]
    unknown_training: tuple[str, ...]

    @property
    def contaminated_corpora(self) -> tuple[str, ...]:
        """Corpora whose figures are void."""
        void = {cell.corpus for cell in self.emotions if cell.contaminated}
        void |= {cell.corpus for cell in self.conflicts if cell.contaminated}
        return tuple(sorted(void))


def score_run(run: Run, *, num_resamples: int = 2000, strict: bool = False) -> Scores:
    """Score a run. A figure that the data do not define is `Refused`; all others still come out.

    Raises:
        EvaluationError: with `strict`, a backbone was trained on a corpus of the run.
    """
    if strict:
        refuse_contaminated(run.info)

    def seen_by(corpus: str) -> tuple[str, ...]:
        return find_contamination(run.info, corpus).backbones

    emotions: list[EmotionScores] = []
    conflicts: list[ConflictScores] = []
    if run.emotions is not None:
        for channel, target, corpus in emotion_cells(run.emotions):
            emotions.append(
                score_emotions(
                    run.emotions,
                    channel,
                    target,
                    corpus,
                    contaminated=seen_by(corpus),
                    num_resamples=num_resamples,
                )
            )
    if run.conflicts is not None:
        for corpus in sorted(set(run.conflicts.corpus)):
            conflicts.append(
                score_conflicts(
                    run.conflicts,
                    run.info,
                    corpus,
                    contaminated=seen_by(corpus),
                    num_resamples=num_resamples,
                )
            )
    backbones = run.info.backbones
    return Scores(
        info=run.info,
        num_resamples=num_resamples,
        emotions=tuple(sorted(emotions, key=lambda cell: _rank(cell, run.info))),
        conflicts=tuple(conflicts),
        audits=run.audits,
        unknown_training=tuple(b.name for b in backbones if b.known_corpora is None),
    )


def scores_to_dict(scores: Scores) -> dict[str, Any]:
    """For `scores.json`. A refused figure is `{"refused": reason}`."""
    plain = _plain(scores)
    return {"format": FORMAT, "facevoice_version": VERSION, **plain}


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """For `comparison.json`."""
    plain = _plain(comparison)
    return {"format": COMPARISON_FORMAT, "facevoice_version": VERSION, **plain}


def _rank(cell: EmotionScores, info: RunInfo) -> tuple[str, bool]:
    """By corpus, the run's own target first; a stable sort keeps the rest in order."""
    return (cell.corpus, cell.target is not info.emotion_target)


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and enums as JSON has them; nothing else occurs in scores."""
    if isinstance(value, Refused):
        return {"refused": value.reason}
    if isinstance(value, AuditResult):
        return {**_fields(value), "telling": value.telling, "passed": value.passed}
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value.value if isinstance(value, Enum) else value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
