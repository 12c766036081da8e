"""A figure for each group of people, and how far it lies from that of everybody else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facevoice.corpora.pairs import PairBin, PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.audits import AuditResult, audit_originals
from facevoice.evaluation.bootstrap import (
    Curve,
    Figure,
    Gap,
    Refused,
    Reliability,
    Resampler,
    Statistic,
    auroc_statistic,
    balanced_accuracy_statistic,
    draw_weights,
    figure,
    figure_with_interval,
    gap,
    macro_f1_statistic,
    make_resampler,
    mean_statistic,
    number_clusters,
    uar_statistic,
)
from facevoice.evaluation.metrics import IntArray
from facevoice.evaluation.predictions import (
    UNKNOWN,
    Answers,
    Channel,
    ConflictPredictions,
    EmotionPredictions,
    Groups,
    Run,
    RunInfo,
    Target,
    TextArray,
    answers_of,
    find_contamination,
    refuse_contaminated,
)
from facevoice.records import VERSION, BoolArray, DoubleArray, Emotion

if TYPE_CHECKING:
    from facevoice.evaluation.compare import Comparison

LEAST_SPEAKERS: Final = 2
LEAST_ITEMS: Final = 20
AGE_BANDS: Final[tuple[tuple[str, float, float], ...]] = (
    ("under 30", 0, 30),
    ("30–44", 30, 45),
    ("45–59", 45, 60),
    ("60 and over", 60, np.inf),
)
"""Name, from, below; years."""


@dataclass(frozen=True, slots=True, eq=False)
class Scorable:
    """A figure that can be taken over any of n rows.

    compute(rows) gives it; statistic(rows, index, num_clusters) gives it on resamples, where index
    (of all n rows) numbers the speakers; classes (n,): the figure is only alike between groups that
    have the same ones.
    """

    groups: Groups
    speakers: TextArray
    classes: IntArray
    compute: Callable[[BoolArray], float]
    statistic: Callable[[BoolArray, IntArray, int], Statistic]


@dataclass(frozen=True, slots=True)
class GroupScores:
    """A group, its figure (UAR or AUROC), and the gap: figure of the group − figure of the rest.

    The rest are all others of whom the attribute is known.
    """

    attribute: str
    group: str
    num_items: int
    num_speakers: int
    figure: Figure | Refused
    gap: Gap | Refused


def score_groups(scorable: Scorable, num_resamples: int) -> tuple[GroupScores, ...]:
    """Every group that occurs: sex, age band, race, ethnicity, language, intensity."""
    return tuple(
        _score_group(scorable, attribute, name, members, rest, num_resamples)
        for attribute, name, members, rest in _split(scorable.groups)
    )


def _split(groups: Groups) -> Iterator[tuple[str, str, BoolArray, BoolArray]]:
    """Attribute, group, its rows, and the rows of all others that are known."""
    columns: dict[str, TextArray] = {
        "sex": groups.sex,
        "age": _age_bands(groups.age),
        "race": groups.race,
        "ethnicity": groups.ethnicity,
        "language": groups.language,
        "intensity": groups.intensity,
    }
    order = {name: place for place, (name, _, _) in enumerate(AGE_BANDS)}
    for attribute, values in columns.items():
        known = np.asarray([value is not None for value in values], dtype=bool)
        names = {str(value) for value in values[known]}
        for name in sorted(names, key=lambda name: (order.get(name, 0), name)):
            members = np.asarray(values == name, dtype=bool)
            yield attribute, name, members, known & ~members


def _age_bands(ages: DoubleArray) -> TextArray:
    bands = np.full(len(ages), None, dtype=object)
    for name, low, high in AGE_BANDS:
        bands[(ages >= low) & (ages < high)] = name
    return bands


def _score_group(
    scorable: Scorable,
    attribute: str,
    name: str,
    members: BoolArray,
    rest: BoolArray,
    num_resamples: int,
) -> GroupScores:
    speakers = _names(scorable.speakers[members])
    too_few = _too_few(int(members.sum()), len(speakers), "the group")
    result: Figure | Refused = Refused(too_few)
    difference: Gap | Refused = Refused(too_few)
    if not too_few:
        result = _figure(scorable, members, num_resamples)
        difference = _gap(scorable, members, rest, num_resamples)
    return GroupScores(attribute, name, int(members.sum()), len(speakers), result, difference)


def _too_few(num_items: int, num_speakers: int, whose: str) -> str:
    if num_speakers < LEAST_SPEAKERS or num_items < LEAST_ITEMS:
        return (
            f"{whose}: {num_items} items of {num_speakers} speakers; at least {LEAST_ITEMS} of "
            f"{LEAST_SPEAKERS} are needed"
        )
    return ""


def _figure(scorable: Scorable, rows: BoolArray, num_resamples: int) -> Figure | Refused:
    resampler = make_resampler(scorable.speakers[rows], num_resamples)
    index = np.zeros(len(rows), dtype=np.int64)
    if not isinstance(resampler, Refused):
        index[rows] = resampler.index
    return figure_with_interval(
        lambda: scorable.compute(rows),
        resampler,
        lambda drawn: scorable.statistic(rows, index, drawn.num_clusters),
    )


def _gap(
    scorable: Scorable, members: BoolArray, rest: BoolArray, num_resamples: int
) -> Gap | Refused:
    if not rest.any():
        return Refused("everybody of whom it is known is of this group")
    others = _names(scorable.speakers[rest])
    too_few = _too_few(int(rest.sum()), len(others), "the rest")
    if too_few:
        return Refused(too_few)
    if set(scorable.classes[members]) != set(scorable.classes[rest]):
        return Refused("the group and the rest do not have the same classes")
    rows = members | rest
    try:
        numbers, size = number_clusters(scorable.speakers[rows])
    except EvaluationError as error:
        return Refused(str(error))
    index = np.zeros(len(rows), dtype=np.int64)
    index[rows] = numbers
    weights = _gap_weights(index[members], index[rest], size, num_resamples)
    return gap(
        scorable.statistic(members, index, size), scorable.statistic(rest, index, size), weights
    )


def _gap_weights(members: IntArray, rest: IntArray, size: int, num_resamples: int) -> DoubleArray:
    """Resamples (R, S): each side drawn from its own speakers; all at once if some are on both."""
    inside, outside = np.unique(members), np.unique(rest)
    if np.isin(inside, outside).any():
        return draw_weights(size, num_resamples, seed=0)
    weights = np.zeros((num_resamples, size))
    # In one order whichever side is the group: of two groups, each gap mirrors the other.
    for seed, side in enumerate(sorted((inside, outside), key=lambda numbers: int(numbers[0]))):
        weights[:, side] = draw_weights(len(side), num_resamples, seed)
    return weights


def _names(speakers: TextArray) -> set[str]:
    return {str(name) for name in speakers if name is not None}


# How well conflict scores rank, call, are calibrated, and know when not to answer.

COVERAGE: Final = 0.8
_EVEN: Final = 0.5
_MOST_POINTS: Final = 200


@dataclass(frozen=True, slots=True)
class Ranking:
    """Conflicts against matches, whatever the threshold.

    average_precision_5, _50: as if 5 or 50 % of the pairs were conflicts.
    """

    auroc: Figure | Refused
    average_precision_5: Figure | Refused
    average_precision_50: Figure | Refused
    eer: Figure | Refused
    roc: Curve | Refused


@dataclass(frozen=True, slots=True)
class Calls:
    """Conflict or match, by the threshold column or by comparing labels.

    label_accuracy: balanced accuracy of calling a conflict where the two likeliest labels differ;
    gain_over_labels: balanced_accuracy − label_accuracy, on the same pairs.
    """

    balanced_accuracy: Figure | Refused
    false_positive_rate: Figure | Refused
    label_accuracy: Figure | Refused
    gain_over_labels: Gap | Refused


@dataclass(frozen=True, slots=True)
class Calibration:
    """The score as a probability, at the share of conflicts that the table has."""

    ece: Figure | Refused
    brier: Figure | Refused
    reliability: Reliability | Refused


@dataclass(frozen=True, slots=True)
class Selective:
    """Share of wrong calls when only the surest are answered: those farthest from the threshold.

    aurc: over all coverages; risk_80: at 80 % coverage; risk_full: when all are answered.
    """

    aurc: Figure | Refused
    risk_80: Figure | Refused
    risk_full: Figure | Refused
    curve: Curve | Refused


def auroc_figure(pairs: ConflictPredictions, num_resamples: int) -> Figure | Refused:
    """AUROC of conflicts against all else in `pairs`, with its interval over speakers."""
    conflict, score = pairs.is_conflict, pairs.score
    return figure_with_interval(
        lambda: metrics.auroc(conflict, score),
        make_resampler(pairs.speaker, num_resamples),
        lambda r: auroc_statistic(conflict, score, r.index, r.num_clusters),
    )


def ranking_of(pairs: ConflictPredictions, num_resamples: int) -> Ranking:
    """How well the score ranks conflicts above matches."""
    conflict, score = pairs.is_conflict, pairs.score
    return Ranking(
        auroc=auroc_figure(pairs, num_resamples),
        average_precision_5=figure(lambda: metrics.average_precision(conflict, score, 0.05)),
        average_precision_50=figure(lambda: metrics.average_precision(conflict, score, 0.5)),
        eer=figure(lambda: metrics.eer(conflict, score)),
        roc=_roc(conflict, score),
    )


def calls_of(pairs: ConflictPredictions, num_resamples: int) -> Calls:
    """How well the calls at the threshold do, and those from comparing labels."""
    drawn = make_resampler(pairs.speaker, num_resamples)
    conflict = pairs.is_conflict
    called, labelled = threshold_calls(pairs), label_calls(pairs)

    def rate(calls: BoolArray, drawn: Resampler | Refused) -> Figure | Refused:
        return figure_with_interval(
            lambda: metrics.false_positive_rate_at(conflict, calls, _EVEN),
            drawn,
            lambda r: mean_statistic(calls[~conflict], r.index[~conflict], r.num_clusters),
        )

    return Calls(
        balanced_accuracy=_accuracy(conflict, called, drawn),
        false_positive_rate=called if isinstance(called, Refused) else rate(called, drawn),
        label_accuracy=_accuracy(conflict, labelled, drawn),
        gain_over_labels=_gain(conflict, called, labelled, drawn),
    )


def calibration_of(pairs: ConflictPredictions, *, is_probability: bool) -> Calibration:
    """How far the scores can be taken as probabilities of a conflict."""
    if not is_probability:
        refused = Refused("the scores are no probabilities (score_is_probability is false)")
        return Calibration(refused, refused, refused)
    conflict, score = pairs.is_conflict, pairs.score
    try:
        # A reliability curve of one class is no error to the metric, but says nothing here.
        metrics.auroc(conflict, score)
        curve = metrics.reliability_curve(score, conflict)
    except EvaluationError as error:
        refused = Refused(str(error).replace("AUROC", "calibration"))
        return Calibration(refused, refused, refused)
    return Calibration(
        ece=figure(lambda: metrics.ece(score, conflict)),
        brier=figure(lambda: metrics.brier(conflict, score)),
        reliability=Reliability(
            tuple(curve.confidences.tolist()),
            tuple(curve.accuracies.tolist()),
            tuple(curve.counts.tolist()),
        ),
    )


def selective_of(pairs: ConflictPredictions, *, is_probability: bool) -> Selective:
    """What is gained by not answering where the score is near the threshold.

    Without a threshold column, a probability is held against 0.5.
    """
    called: BoolArray | Refused = threshold_calls(pairs)
    threshold = pairs.threshold
    if isinstance(called, Refused) and is_probability and np.isnan(threshold).all():
        threshold = np.full(len(pairs), _EVEN)
        called = pairs.score >= threshold
    if isinstance(called, Refused):
        return Selective(called, called, called, called)
    try:
        metrics.auroc(pairs.is_conflict, pairs.score)
    except EvaluationError as error:
        refused = Refused(str(error).replace("AUROC", "a risk–coverage curve"))
        return Selective(refused, refused, refused, refused)
    right = called == pairs.is_conflict
    curve = metrics.risk_coverage(np.abs(pairs.score - threshold), right)
    at = int(np.ceil(COVERAGE * len(right))) - 1
    places = _thin(curve.coverages)
    return Selective(
        aurc=Figure(float(curve.risks.mean())),
        risk_80=Figure(float(curve.risks[at])),
        risk_full=Figure(float(curve.risks[-1])),
        curve=Curve(tuple(curve.coverages[places].tolist()), tuple(curve.risks[places].tolist())),
    )


def threshold_calls(pairs: ConflictPredictions) -> BoolArray | Refused:
    """(n,) whether the score is at or above the row's threshold."""
    num_without = int(np.isnan(pairs.threshold).sum())
    if num_without:
        return Refused(
            f"{num_without} of {len(pairs)} pairs have no threshold; fix one on the validation "
            "part of each fold and write it to the column"
        )
    return np.asarray(pairs.score >= pairs.threshold, dtype=np.bool_)


def label_calls(pairs: ConflictPredictions) -> BoolArray | Refused:
    """(n,) whether the likeliest labels of face and voice differ."""
    num_without = int((pairs.baseline_differs == UNKNOWN).sum())
    if num_without:
        return Refused(f"{num_without} of {len(pairs)} pairs do not say whether the labels differ")
    return np.asarray(pairs.baseline_differs == 1, dtype=np.bool_)


def _accuracy(
    conflict: BoolArray, called: BoolArray | Refused, drawn: Resampler | Refused
) -> Figure | Refused:
    if isinstance(called, Refused):
        return called
    return figure_with_interval(
        lambda: metrics.balanced_accuracy_at(conflict, called, _EVEN),
        drawn,
        lambda r: balanced_accuracy_statistic(conflict, called, r.index, r.num_clusters),
    )


def _gain(
    conflict: BoolArray,
    called: BoolArray | Refused,
    labelled: BoolArray | Refused,
    drawn: Resampler | Refused,
) -> Gap | Refused:
    if isinstance(called, Refused):
        return called
    if isinstance(labelled, Refused):
        return labelled
    if isinstance(drawn, Refused):
        return drawn
    soft, hard = (
        balanced_accuracy_statistic(conflict, calls, drawn.index, drawn.num_clusters)
        for calls in (called, labelled)
    )
    return gap(soft, hard, drawn.weights)


def _roc(conflict: BoolArray, score: DoubleArray) -> Curve | Refused:
    try:
        curve = metrics.roc_curve(conflict, score)
    except EvaluationError as error:
        return Refused(str(error))
    x, y = curve.false_positive_rates, curve.true_positive_rates
    places = _thin(x + y)
    return Curve(tuple(x[places].tolist()), tuple(y[places].tolist()))


def _thin(along: DoubleArray) -> list[int]:
    """Places of points that are spread evenly over rising `along`, first and last included."""
    if len(along) <= _MOST_POINTS:
        return list(range(len(along)))
    wanted = np.linspace(along[0], along[-1], _MOST_POINTS)
    places = np.minimum(np.searchsorted(along, wanted), len(along) - 1)
    return sorted({0, len(along) - 1, *(int(place) for place in places)})


# Figures of conflict predictions on one corpus: conflicts against matches re-paired alike.

_THIRDS: Final = ("least clear third", "middle third", "clearest third")
_CONFLICT_BINS: Final = (PairBin.NEUTRAL_VS_X, PairBin.SAME_VALENCE, PairBin.OPPOSITE_VALENCE)


@dataclass(frozen=True, slots=True)
class PartScores:
    """Some of the pairs: one bin's conflicts against all matches, or a third by clarity."""

    name: str
    num_conflicts: int
    num_matches: int
    num_speakers: int
    auroc: Figure | Refused


@dataclass(frozen=True, slots=True)
class ConflictScores:
    """All figures of one corpus' pairs. Originals only enter where the name says so.

    contaminated: backbones that were trained on the corpus; then every figure here is void;
    auroc_originals: conflicts against untouched clips. It also rewards a score for noticing that a
    pair was re-paired, so it is not the headline.
    """

    target: Target
    corpus: str
    contaminated: tuple[str, ...]
    num_conflicts: int
    num_matches: int
    num_originals: int
    num_speakers: int
    ranking: Ranking
    auroc_originals: Figure | Refused
    calls: Calls
    calibration: Calibration
    selective: Selective
    bins: tuple[PartScores, ...]
    clarity: tuple[PartScores, ...] | Refused
    audit_originals: AuditResult | Refused
    groups: tuple[GroupScores, ...]


def score_conflicts(
    table: ConflictPredictions,
    info: RunInfo,
    corpus: str,
    *,
    contaminated: tuple[str, ...] = (),
    num_resamples: int = 2000,
) -> ConflictScores:
    """Score the pairs of one corpus.

    Raises:
        EvaluationError: the run has no conflict target, or the corpus no pairs.
    """
    rows = table.take(table.corpus == corpus)
    if info.conflict_target is None or len(rows) == 0:
        raise EvaluationError(f"no conflicts to score on {corpus}: neither pairs nor a target")
    pairs = rows.of_kind(PairKind.MATCH, PairKind.CONFLICT)
    untouched = rows.of_kind(PairKind.ORIGINAL, PairKind.CONFLICT)
    return ConflictScores(
        target=info.conflict_target,
        corpus=corpus,
        contaminated=contaminated,
        num_conflicts=int(rows.is_conflict.sum()),
        num_matches=int((~pairs.is_conflict).sum()),
        num_originals=int((~untouched.is_conflict).sum()),
        num_speakers=_num_speakers(rows),
        ranking=ranking_of(pairs, num_resamples),
        auroc_originals=auroc_figure(untouched, num_resamples),
        calls=calls_of(pairs, num_resamples),
        calibration=calibration_of(pairs, is_probability=info.score_is_probability),
        selective=selective_of(pairs, is_probability=info.score_is_probability),
        bins=_bins(pairs, num_resamples),
        clarity=_clarity(pairs, num_resamples),
        audit_originals=_audit(rows, num_resamples),
        groups=score_groups(_scorable(pairs), num_resamples),
    )


def _bins(pairs: ConflictPredictions, num_resamples: int) -> tuple[PartScores, ...]:
    """Each bin's conflicts against all matches."""
    found = [(name, pairs.is_conflict & (pairs.bin == name.value)) for name in _CONFLICT_BINS]
    return tuple(
        _part(name.value, pairs.take(conflicts | ~pairs.is_conflict), num_resamples)
        for name, conflicts in found
        if conflicts.any()
    )


def _clarity(pairs: ConflictPredictions, num_resamples: int) -> tuple[PartScores, ...] | Refused:
    """Thirds of the pairs by how clear both channels are; ties stay together."""
    known = pairs.take(~np.isnan(pairs.clarity))
    if len(known) == 0:
        return Refused("no pair says how clear its channels are (column clarity)")
    edges = np.quantile(known.clarity, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, known.clarity, side="left")
    return tuple(
        _part(name, known.take(third == place), num_resamples) for place, name in enumerate(_THIRDS)
    )


def _part(name: str, pairs: ConflictPredictions, num_resamples: int) -> PartScores:
    return PartScores(
        name=name,
        num_conflicts=int(pairs.is_conflict.sum()),
        num_matches=int((~pairs.is_conflict).sum()),
        num_speakers=_num_speakers(pairs),
        auroc=auroc_figure(pairs, num_resamples),
    )


def _audit(rows: ConflictPredictions, num_resamples: int) -> AuditResult | Refused:
    originals, matches = rows.of_kind(PairKind.ORIGINAL), rows.of_kind(PairKind.MATCH)
    try:
        return audit_originals(
            originals.score,
            [str(name) for name in originals.speaker],
            matches.score,
            [str(name) for name in matches.speaker],
            num_resamples=num_resamples,
        )
    except EvaluationError as error:
        if len(originals) == 0:
            return Refused("there are no originals to hold against the matches")
        return Refused(str(error))


def _scorable(pairs: ConflictPredictions) -> Scorable:
    conflict, score = pairs.is_conflict, pairs.score
    return Scorable(
        groups=pairs.groups,
        speakers=pairs.speaker,
        classes=conflict.astype(np.int64),
        compute=lambda part: metrics.auroc(conflict[part], score[part]),
        statistic=lambda part, index, size: auroc_statistic(
            conflict[part], score[part], index[part], size
        ),
    )


def _num_speakers(rows: ConflictPredictions) -> int:
    return len({name for name in rows.speaker if name is not None})


# Figures of emotion predictions: one channel against one target, on one corpus.

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
        groups=score_groups(
            _scorable_emotion_scores(rows.take(answered), truth, said), num_resamples
        ),
    )


def _scorable_emotion_scores(rows: EmotionPredictions, truth: IntArray, said: IntArray) -> Scorable:
    return Scorable(
        groups=rows.groups,
        speakers=rows.speaker,
        classes=truth,
        compute=lambda part: metrics.uar(truth[part], said[part]),
        statistic=lambda part, index, size: uar_statistic(
            truth[part], said[part], index[part], size
        ),
    )


# From a run's files to its figures: every channel, target and corpus, and all conflicts.

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
