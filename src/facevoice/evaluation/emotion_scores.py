"""Figures of emotion predictions: one channel against one target, on one corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.answers import Answers, answers_of
from facevoice.evaluation.checks import IntArray
from facevoice.evaluation.columns import UNKNOWN
from facevoice.evaluation.figures import (
    Figure,
    Refused,
    Reliability,
    figure,
    figure_with_interval,
    make_resampler,
)
from facevoice.evaluation.resampling import (
    macro_f1_statistic,
    mean_statistic,
    uar_statistic,
)
from facevoice.evaluation.run_info import Channel, Target
from facevoice.evaluation.subgroups import GroupScores, Scorable, score_groups
from facevoice.evaluation.tables import EmotionPredictions
from facevoice.labels import Emotion

CHANNEL_TARGETS: Final[dict[Channel, tuple[Target, ...]]] = {
    Channel.FACE: (Target.INTENDED, Target.PERCEIVED_FACE, Target.PERCEIVED_BOTH),
    Channel.VOICE: (Target.INTENDED, Target.PERCEIVED_VOICE, Target.PERCEIVED_BOTH),
    Channel.FUSED: (Target.INTENDED, Target.PERCEIVED_BOTH),
}
"""The truths that each channel can be held against: a face is not scored by what was heard."""


@dataclass(frozen=True, slots=True)
class EmotionFigures:
    """All figures of one channel against one target on one corpus.

    Posteriors are restricted to `classes` and scaled to sum to 1; where the corpus has no "calm",
    it is counted as neutral.
    uar: the headline; uar_all: the same if every clip without an answer counts as wrong;
    confusion (K, K): row = truth, column = answer, in the order of `classes`.
    """

    classes: tuple[Emotion, ...]
    uar: Figure | Refused
    war: Figure | Refused
    macro_f1: Figure | Refused
    weighted_f1: Figure | Refused
    uar_all: Figure | Refused
    ece: Figure | Refused
    brier: Figure | Refused
    confusion: tuple[tuple[int, ...], ...]
    reliability: Reliability
    groups: tuple[GroupScores, ...]


@dataclass(frozen=True, slots=True)
class EmotionScores:
    """One channel, one target, one corpus.

    contaminated: backbones that were trained on the corpus; then every figure here is void;
    num_clips: those with the truth; num_missing: those of them without an answer of the channel.
    """

    channel: Channel
    target: Target
    corpus: str
    contaminated: tuple[str, ...]
    num_clips: int
    num_speakers: int
    num_missing: int
    figures: EmotionFigures | Refused

    @property
    def missing_share(self) -> float:
        """Share of the clips on which the channel gives no answer."""
        return self.num_missing / self.num_clips


def emotion_cells(table: EmotionPredictions) -> Iterator[tuple[Channel, Target, str]]:
    """Every channel, target and corpus of which there is an answer and a truth."""
    for corpus in sorted(set(table.corpus)):
        of_corpus = np.asarray(table.corpus == corpus, dtype=bool)
        for channel, targets in CHANNEL_TARGETS.items():
            answered = ~np.isnan(table.posteriors(channel)).all(axis=1)
            for target in targets:
                if (of_corpus & answered & (table.truth(target) != UNKNOWN)).any():
                    yield channel, target, corpus


def score_emotions(
    table: EmotionPredictions,
    channel: Channel,
    target: Target,
    corpus: str,
    *,
    contaminated: tuple[str, ...] = (),
    num_resamples: int = 2000,
) -> EmotionScores:
    """Score one channel against one target on one corpus.

    Raises:
        EvaluationError: no clip of the corpus has the truth.
    """
    rows = table.take((table.corpus == corpus) & (table.truth(target) != UNKNOWN))
    if len(rows) == 0:
        raise EvaluationError(f"no clip of {corpus} has the truth of {target}")
    figures: EmotionFigures | Refused
    try:
        figures = _figures(rows, answers_of(rows, channel, target), num_resamples)
    except EvaluationError as error:
        figures = Refused(str(error))
    return EmotionScores(
        channel=channel,
        target=target,
        corpus=corpus,
        contaminated=contaminated,
        num_clips=len(rows),
        num_speakers=len({name for name in rows.speaker if name is not None}),
        num_missing=int(np.isnan(rows.posteriors(channel)).all(axis=1).sum()),
        figures=figures,
    )


def _figures(
    rows: EmotionPredictions, answers: Answers, num_resamples: int
) -> EmotionFigures | Refused:
    answered = answers.answered
    truth, said = answers.truth[answered], answers.said[answered]
    if len(np.unique(truth)) < 2:
        only = answers.classes[truth[0]]
        return Refused(
            f"all {len(truth)} clips are {only}; it takes clips of at least two classes to tell "
            "whether the answers tell them apart"
        )
    probs = answers.probs[answered]
    confidence, right = probs.max(axis=1), truth == said
    drawn = make_resampler(rows.speaker[answered], num_resamples)
    counts = metrics.confusion_matrix(truth, said, len(answers.classes))
    curve = metrics.reliability_curve(confidence, right)
    return EmotionFigures(
        classes=answers.classes,
        uar=figure_with_interval(
            lambda: metrics.uar(truth, said),
            drawn,
            lambda r: uar_statistic(truth, said, r.index, r.num_clusters),
        ),
        war=figure_with_interval(
            lambda: metrics.war(truth, said),
            drawn,
            lambda r: mean_statistic(right, r.index, r.num_clusters),
        ),
        macro_f1=figure_with_interval(
            lambda: metrics.macro_f1(truth, said),
            drawn,
            lambda r: macro_f1_statistic(truth, said, r.index, r.num_clusters),
        ),
        weighted_f1=figure(lambda: metrics.weighted_f1(truth, said)),
        uar_all=figure(lambda: metrics.uar(answers.truth, answers.said)),
        ece=figure(lambda: metrics.ece(confidence, right)),
        brier=figure(lambda: metrics.brier(truth, probs)),
        confusion=tuple(tuple(int(count) for count in row) for row in counts),
        reliability=Reliability(
            tuple(curve.confidences.tolist()),
            tuple(curve.accuracies.tolist()),
            tuple(curve.counts.tolist()),
        ),
        groups=score_groups(_scorable(rows.take(answered), truth, said), num_resamples),
    )


def _scorable(rows: EmotionPredictions, truth: IntArray, said: IntArray) -> Scorable:
    return Scorable(
        groups=rows.groups,
        speakers=rows.speaker,
        classes=truth,
        compute=lambda part: metrics.uar(truth[part], said[part]),
        statistic=lambda part, index, size: uar_statistic(
            truth[part], said[part], index[part], size
        ),
    )
