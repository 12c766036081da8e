"""From a run to its figures: every channel, target and corpus, conflicts by difficulty, groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.corpora.pairs import PairBin, PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation import bootstrap, metrics
from facevoice.evaluation.audits import ORIGINAL_LIMIT, AuditResult, audit_scores
from facevoice.evaluation.bootstrap import Figure, Gap, Measure, Refused, figure, or_refused
from facevoice.evaluation.metrics import IntArray, Reliability
from facevoice.evaluation.predictions import (
    GROUP_COLUMNS,
    TRUTH_COLUMNS,
    Channel,
    Run,
    RunInfo,
    Target,
    has_answer,
    is_conflict,
    posteriors_of,
)
from facevoice.records import EMOTIONS, VERSION, BoolArray, DoubleArray, Emotion

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT: Final = "facevoice-scores/1"
COVERAGE: Final = 0.8
"""Share of the pairs that is answered where the risk is told of some only."""
CHANNEL_TARGETS: Final[dict[Channel, tuple[Target, ...]]] = {
    Channel.FACE: (Target.INTENDED, Target.PERCEIVED_FACE, Target.PERCEIVED_BOTH),
    Channel.VOICE: (Target.INTENDED, Target.PERCEIVED_VOICE, Target.PERCEIVED_BOTH),
    Channel.FUSED: (Target.INTENDED, Target.PERCEIVED_BOTH),
}
"""The truths that each channel can be held against: a face is not scored by what was heard."""
_LEAST_SPEAKERS: Final = 2
_LEAST_ITEMS: Final = 20
_AGE_BANDS: Final = ("under 30", "30–44", "45–59", "60 and over")
_AGE_EDGES: Final = (0, 30, 45, 60, np.inf)
_BINS: Final = (PairBin.NEUTRAL_VS_X, PairBin.SAME_VALENCE, PairBin.OPPOSITE_VALENCE)
_THIRDS: Final = ("least clear third", "middle third", "clearest third")
_EVEN: Final = 0.5
_MOST_POINTS: Final = 200


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, for drawing; at most a few hundred."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GroupScores:
    """A group, its figure (UAR or AUROC), and its gap to all others whose attribute is known."""

    attribute: str
    group: str
    num_items: int
    num_speakers: int
    figure: Figure | Refused
    gap: Gap | Refused


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


def score_run(run: Run, *, num_resamples: int = 2000, strict: bool = False) -> Scores:
    """Score a run. A figure that the data do not define is `Refused`; all others still come out.

    Raises:
        EvaluationError: with `strict`, a backbone was trained on a corpus of the run.
        MissingExtraError: scikit-learn is not installed.
    """
    info = run.info
    for corpus in info.corpora if strict else ():
        if found := info.seen_by(corpus):
            raise EvaluationError(
                f"run {info.name!r}: {', '.join(found)} was trained on {corpus}, so that every "
                f"figure on {corpus} is contaminated; use another backbone or another corpus"
            )
    emotions: list[EmotionScores] = []
    conflicts: list[ConflictScores] = []
    if run.emotions is not None:
        emotions = [
            _score_emotions(run.emotions, cell, info, num_resamples)
            for cell in emotion_cells(run.emotions)
        ]
    if run.conflicts is not None:
        conflicts = [
            _score_conflicts(rows, str(corpus), info, num_resamples)
            for corpus, rows in run.conflicts.groupby("corpus")
        ]
    return Scores(
        info=info,
        num_resamples=num_resamples,
        # By corpus, the run's own target first; a stable sort keeps the rest in order.
        emotions=tuple(
            sorted(emotions, key=lambda cell: (cell.corpus, cell.target is not info.emotion_target))
        ),
        conflicts=tuple(conflicts),
        audits=run.audits,
        unknown_training=tuple(b.name for b in info.backbones if b.known_corpora is None),
    )


def to_dict(form: str, value: Any) -> dict[str, Any]:
    """For `scores.json` and `comparison.json`. A refused figure is `{"refused": reason}`."""
    plain: dict[str, Any] = _plain(value)
    return {"format": form, "facevoice_version": VERSION, **plain}


def _plain(value: Any) -> Any:
    if isinstance(value, Refused):
        return {"refused": value.reason}
    if dataclasses.is_dataclass(value):
        found = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, AuditResult):
            found |= {"telling": value.telling, "passed": value.passed}
        return found
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value.value if isinstance(value, Enum) else value


# Emotions


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a channel says of n clips that have a truth.

    truth (n,): places in `classes`; probs (n, K): sum to 1, NaN rows where there is no answer.
    """

    classes: tuple[Emotion, ...]
    truth: IntArray
    probs: DoubleArray

    @property
    def said(self) -> IntArray:
        """(n,) likeliest classes; K, which is no class, where there is no answer."""
        best = np.nan_to_num(self.probs).argmax(axis=1)
        missing = np.isnan(self.probs).any(axis=1)
        return np.where(missing, len(self.classes), best).astype(np.int64)


def emotion_cells(table: DataFrame) -> Iterator[tuple[Channel, Target, str]]:
    """Every channel, target and corpus of which there is an answer and a truth."""
    for corpus in sorted(set(table["corpus"])):
        rows = table[table["corpus"] == corpus]
        for channel, targets in CHANNEL_TARGETS.items():
            answered = has_answer(rows, channel)
            for target in targets:
                if (answered & rows[TRUTH_COLUMNS[target]].notna()).any():
                    yield channel, target, corpus


def rows_with_truth(table: DataFrame, target: Target, corpus: str) -> DataFrame:
    """Clips of the corpus that have the truth."""
    return table[(table["corpus"] == corpus) & table[TRUTH_COLUMNS[target]].notna()]


def answers_of(table: DataFrame, channel: Channel, target: Target) -> Answers:
    """Truth and answers of clips that are all of one corpus and all have the truth.

    The classes are those that the corpus is known to have, else those that occur in the truth.

    Raises:
        EvaluationError: a truth is none of the corpus' classes, or a posterior has nothing on them.
    """
    corpus = str(table["corpus"].iloc[0])
    truth = [Emotion(word) for word in table[TRUTH_COLUMNS[target]]]
    present = create_corpus(corpus).info.emotions if corpus in corpus_names() else truth
    classes = tuple(emotion for emotion in EMOTIONS if emotion in present)
    everything = posteriors_of(table, channel)
    probs = everything[:, [emotion.position for emotion in classes]]
    places = {emotion: place for place, emotion in enumerate(classes)}
    if Emotion.NEUTRAL in places and Emotion.CALM not in places:
        places[Emotion.CALM] = places[Emotion.NEUTRAL]
        probs[:, places[Emotion.NEUTRAL]] += everything[:, Emotion.CALM.position]
    for name, emotion in zip(table["clip_id"], truth, strict=True):
        if emotion not in places:
            raise EvaluationError(
                f"clip {name!r} is {emotion} by its truth, which {corpus} does not have "
                f"({', '.join(classes)}); correct it, or name the corpus otherwise"
            )
    sums = probs.sum(axis=1)
    if (sums == 0).any():
        first = table["clip_id"].iloc[int(np.argmax(sums == 0))]
        raise EvaluationError(
            f"{int((sums == 0).sum())} posteriors of the {channel} (first: clip {first!r}) have "
            f"nothing on any class of {corpus} ({', '.join(classes)}); give these classes some "
            "probability, or leave the answer empty"
        )
    positions = np.array([places[emotion] for emotion in truth], dtype=np.int64)
    return Answers(classes, positions, probs / sums[:, np.newaxis])


def emotion_measures(truth: IntArray, said: IntArray) -> dict[str, Measure]:
    """The figures of emotions that have intervals and can be compared, by name."""
    return {
        "UAR": bootstrap.uar_measure(truth, said),
        "WAR": bootstrap.mean_measure(truth == said),
        "macro-F1": bootstrap.macro_f1_measure(truth, said),
        "weighted F1": bootstrap.weighted_f1_measure(truth, said),
    }


def _score_emotions(
    table: DataFrame, cell: tuple[Channel, Target, str], info: RunInfo, num_resamples: int
) -> EmotionScores:
    channel, target, corpus = cell
    rows = rows_with_truth(table, target, corpus)
    return EmotionScores(
        channel=channel,
        target=target,
        corpus=corpus,
        contaminated=info.seen_by(corpus),
        num_clips=len(rows),
        num_speakers=rows["speaker"].nunique(),
        num_missing=int((~has_answer(rows, channel)).sum()),
        figures=or_refused(
            lambda: _emotion_figures(rows, answers_of(rows, channel, target), num_resamples)
        ),
    )


def _emotion_figures(rows: DataFrame, answers: Answers, num_resamples: int) -> EmotionFigures:
    answered = answers.said < len(answers.classes)
    truth, said, probs = answers.truth[answered], answers.said[answered], answers.probs[answered]
    if len(np.unique(truth)) < 2:
        raise EvaluationError(
            f"all {len(truth)} clips are {answers.classes[truth[0]]}; it takes clips of at least "
            "two classes to tell whether the answers tell them apart"
        )
    known = rows[answered]
    speakers = known["speaker"].to_numpy()
    measured = {
        name: figure(measure, speakers, num_resamples)
        for name, measure in emotion_measures(truth, said).items()
    }
    counts = metrics.confusion_matrix(truth, said, len(answers.classes))
    curve = metrics.reliability(probs.max(axis=1), truth == said)
    return EmotionFigures(
        classes=answers.classes,
        uar=measured["UAR"],
        war=measured["WAR"],
        macro_f1=measured["macro-F1"],
        weighted_f1=measured["weighted F1"],
        uar_all=Figure(metrics.uar(answers.truth, answers.said)),
        ece=Figure(metrics.ece(curve)),
        brier=Figure(metrics.brier(truth, probs)),
        confusion=tuple(map(tuple, counts.tolist())),
        reliability=curve,
        groups=score_groups(
            known, truth, lambda part: bootstrap.uar_measure(truth[part], said[part]), num_resamples
        ),
    )


# Conflicts


def conflict_measures(pairs: DataFrame, *, is_probability: bool) -> dict[str, Measure]:
    """The figures of conflicts that can be compared, by name."""
    conflict, score = is_conflict(pairs), pairs["score"].to_numpy()
    measures = {
        "AUROC": bootstrap.auroc_measure(conflict, score),
        "balanced accuracy": _of_calls(bootstrap.balanced_accuracy_measure, pairs, _by_threshold),
    }
    if is_probability:
        measures["Brier score"] = bootstrap.mean_measure((score - conflict) ** 2)
    return measures


def of_kind(table: DataFrame, *kinds: PairKind) -> DataFrame:
    """The pairs of these kinds."""
    return table[table["kind"].isin([kind.value for kind in kinds])]


def _score_conflicts(
    rows: DataFrame, corpus: str, info: RunInfo, num_resamples: int
) -> ConflictScores:
    pairs = of_kind(rows, PairKind.MATCH, PairKind.CONFLICT)
    untouched = of_kind(rows, PairKind.ORIGINAL, PairKind.CONFLICT)
    conflict, score = is_conflict(pairs), pairs["score"].to_numpy()
    if info.conflict_target is None:
        raise EvaluationError("run.json names no conflict_target, though there are conflicts")
    calibration = or_refused(_calibration, conflict, score, info.score_is_probability)
    selective = or_refused(_selective, pairs, info.score_is_probability)
    return ConflictScores(
        target=info.conflict_target,
        corpus=corpus,
        contaminated=info.seen_by(corpus),
        num_conflicts=int(conflict.sum()),
        num_matches=int((~conflict).sum()),
        num_originals=len(untouched) - int(conflict.sum()),
        num_speakers=rows["speaker"].nunique(),
        ranking=Ranking(
            auroc=_auroc(pairs, num_resamples),
            average_precision_5=_plain_figure(metrics.average_precision, conflict, score, 0.05),
            average_precision_50=_plain_figure(metrics.average_precision, conflict, score, 0.5),
            eer=_plain_figure(metrics.eer, conflict, score),
            roc=or_refused(_roc, conflict, score),
        ),
        auroc_originals=_auroc(untouched, num_resamples),
        calls=_calls(pairs, num_resamples),
        calibration=Calibration(*_each(calibration, 3)),
        selective=Selective(*_each(selective, 4)),
        bins=tuple(_bins(pairs, num_resamples)),
        clarity=or_refused(_clarity, pairs, num_resamples),
        audit_originals=or_refused(_audit, rows, num_resamples),
        groups=score_groups(
            pairs,
            conflict.astype(np.int64),
            lambda part: bootstrap.auroc_measure(conflict[part], score[part]),
            num_resamples,
        ),
    )


def _each(found: tuple[Any, ...] | Refused, size: int) -> tuple[Any, ...]:
    """One refusal stands for all that could not be told."""
    return (found,) * size if isinstance(found, Refused) else found


def _plain_figure(compute: Callable[..., float], *data: Any) -> Figure | Refused:
    return or_refused(lambda: Figure(compute(*data)))


def _auroc(pairs: DataFrame, num_resamples: int) -> Figure | Refused:
    measure = bootstrap.auroc_measure(is_conflict(pairs), pairs["score"].to_numpy())
    return figure(measure, pairs["speaker"].to_numpy(), num_resamples)


def _roc(conflict: BoolArray, score: DoubleArray) -> Curve:
    x, y, _ = metrics.roc_curve(conflict, score)
    return _curve(x, y, x + y)


def _calls(pairs: DataFrame, num_resamples: int) -> Calls:
    speakers = pairs["speaker"].to_numpy()
    soft = _of_calls(bootstrap.balanced_accuracy_measure, pairs, _by_threshold)
    labels = _of_calls(bootstrap.balanced_accuracy_measure, pairs, _by_labels)
    alarms = _of_calls(bootstrap.false_positive_rate_measure, pairs, _by_threshold)
    return Calls(
        balanced_accuracy=figure(soft, speakers, num_resamples),
        false_positive_rate=figure(alarms, speakers, num_resamples),
        label_accuracy=figure(labels, speakers, num_resamples),
        gain_over_labels=bootstrap.paired_gap(soft, labels, speakers, num_resamples),
    )


def _of_calls(
    measure: Callable[[BoolArray, BoolArray], Measure],
    pairs: DataFrame,
    calls: Callable[[DataFrame], BoolArray],
) -> Measure:
    """The measure of calls that are made when it is asked for, so that it says why it can't be."""

    def of_calls(index: IntArray, size: int) -> bootstrap.Statistic:
        return measure(is_conflict(pairs), calls(pairs))(index, size)

    return of_calls


def _by_threshold(pairs: DataFrame) -> BoolArray:
    """(n,) whether the score is at or above the row's threshold."""
    _check_filled(
        pairs,
        "threshold",
        "have no threshold; fix one on the validation part of each fold and write it to the column",
    )
    return np.asarray(pairs["score"].to_numpy() >= pairs["threshold"].to_numpy(), dtype=np.bool_)


def _by_labels(pairs: DataFrame) -> BoolArray:
    """(n,) whether the likeliest labels of face and voice differ."""
    _check_filled(pairs, "baseline_differs", "do not say whether the labels differ")
    return np.asarray(pairs["baseline_differs"].to_numpy(dtype=bool))


def _check_filled(pairs: DataFrame, column: str, lack: str) -> None:
    if num_without := int(pairs[column].isna().sum()):
        raise EvaluationError(f"{num_without} of {len(pairs)} pairs {lack}")


def _calibration(
    conflict: BoolArray, score: DoubleArray, is_probability: bool
) -> tuple[Figure, Figure, Reliability]:
    if not is_probability:
        raise EvaluationError("the scores are no probabilities (score_is_probability is false)")
    metrics.two_classes(conflict, score, "calibration")
    curve = metrics.reliability(score, conflict)
    return Figure(metrics.ece(curve)), Figure(metrics.brier(conflict, score)), curve


def _selective(pairs: DataFrame, is_probability: bool) -> tuple[Figure, Figure, Figure, Curve]:
    """Without a threshold column, a probability is held against 0.5."""
    if is_probability and pairs["threshold"].isna().all():
        pairs = pairs.assign(threshold=_EVEN)
    score, right = pairs["score"].to_numpy(), _by_threshold(pairs) == is_conflict(pairs)
    metrics.two_classes(is_conflict(pairs), score, "a risk–coverage curve")
    margin = np.abs(score - pairs["threshold"].to_numpy())
    coverages, risks = metrics.risk_coverage(margin, right)
    some = float(risks[int(np.ceil(COVERAGE * len(right))) - 1])
    curve = _curve(coverages, risks, coverages)
    return Figure(float(risks.mean())), Figure(some), Figure(float(risks[-1])), curve


def _curve(x: DoubleArray, y: DoubleArray, along: DoubleArray) -> Curve:
    """Points that are spread evenly over rising `along`, first and last included."""
    places = np.arange(len(along))
    if len(along) > _MOST_POINTS:
        wanted = np.linspace(along[0], along[-1], _MOST_POINTS)
        inner = np.minimum(np.searchsorted(along, wanted), len(along) - 1)
        places = np.unique([0, len(along) - 1, *inner])
    return Curve(tuple(x[places].tolist()), tuple(y[places].tolist()))


def _bins(pairs: DataFrame, num_resamples: int) -> Iterator[PartScores]:
    """Each bin's conflicts against all matches."""
    conflict = is_conflict(pairs)
    for name in _BINS:
        chosen = conflict & (pairs["bin"] == name.value).to_numpy()
        if chosen.any():
            yield _part(name.value, pairs[chosen | ~conflict], num_resamples)


def _clarity(pairs: DataFrame, num_resamples: int) -> tuple[PartScores, ...]:
    """Thirds of the pairs by how clear both channels are; ties stay together."""
    known = pairs[pairs["clarity"].notna()]
    if len(known) == 0:
        raise EvaluationError("no pair says how clear its channels are (column clarity)")
    clarity = known["clarity"].to_numpy()
    third = np.searchsorted(np.quantile(clarity, [1 / 3, 2 / 3]), clarity, side="left")
    return tuple(
        _part(name, known[third == place], num_resamples) for place, name in enumerate(_THIRDS)
    )


def _part(name: str, pairs: DataFrame, num_resamples: int) -> PartScores:
    num_conflicts = int(is_conflict(pairs).sum())
    return PartScores(
        name=name,
        num_conflicts=num_conflicts,
        num_matches=len(pairs) - num_conflicts,
        num_speakers=pairs["speaker"].nunique(),
        auroc=_auroc(pairs, num_resamples),
    )


def _audit(rows: DataFrame, num_resamples: int) -> AuditResult:
    """Audit the splice: the conflict score must not tell re-paired matches from originals."""
    both = of_kind(rows, PairKind.ORIGINAL, PairKind.MATCH)
    repaired = (both["kind"] == PairKind.MATCH.value).to_numpy(dtype=bool)
    if repaired.all():
        raise EvaluationError("there are no originals to hold against the matches")
    return audit_scores(
        "original against re-paired match",
        repaired,
        both["score"].to_numpy(),
        both["speaker"].tolist(),
        limit=ORIGINAL_LIMIT,
        num_resamples=num_resamples,
    )


# Groups of people


def score_groups(
    table: DataFrame,
    classes: IntArray,
    measure_of: Callable[[BoolArray], Measure],
    num_resamples: int,
) -> tuple[GroupScores, ...]:
    """Every group that occurs: sex, age band, race, ethnicity, language, intensity.

    classes (n,): a figure is only alike between groups that have the same ones; `measure_of` gives
    the figure of chosen rows. For the gap, each side is drawn from its own speakers; where speakers
    are on both sides, all at once.
    """
    speakers = table["speaker"].to_numpy()

    def of_group(members: BoolArray) -> Figure | Refused:
        _check_size(speakers[members], "the group")
        return figure(measure_of(members), speakers[members], num_resamples)

    def gap(members: BoolArray, rest: BoolArray) -> Gap:
        _check_size(speakers[members], "the group")
        if not rest.any():
            raise EvaluationError("everybody of whom it is known is of this group")
        _check_size(speakers[rest], "the rest")
        if set(classes[members]) != set(classes[rest]):
            raise EvaluationError("the group and the rest do not have the same classes")
        index = np.zeros(len(speakers), dtype=np.int64)
        index[members | rest], size = bootstrap.number_speakers(speakers[members | rest])
        weights = _gap_weights(index[members], index[rest], size, num_resamples)
        first, second = (measure_of(part)(index[part], size) for part in (members, rest))
        return bootstrap.statistic_gap(first, second, weights)

    return tuple(
        GroupScores(
            attribute,
            group,
            num_items=int(members.sum()),
            num_speakers=_num_names(speakers[members]),
            figure=or_refused(of_group, members),
            gap=or_refused(gap, members, rest),
        )
        for attribute, group, members, rest in _split(table)
    )


def _split(table: DataFrame) -> Iterator[tuple[str, str, BoolArray, BoolArray]]:
    """Attribute, group, its rows, and the rows of all others that are known."""
    for attribute in GROUP_COLUMNS:
        values = table[attribute]
        if attribute == "age":
            cut = metrics.import_extra("pandas").cut
            values = cut(values, _AGE_EDGES, right=False, labels=_AGE_BANDS)
        known = values.notna().to_numpy(dtype=bool)
        for name in _AGE_BANDS if attribute == "age" else sorted(set(values[known])):
            members = (values == name).to_numpy(dtype=bool)
            if members.any():
                yield attribute, name, members, known & ~members


def _gap_weights(members: IntArray, rest: IntArray, size: int, num_resamples: int) -> DoubleArray:
    sides = np.unique(members), np.unique(rest)
    if np.isin(*sides).any():
        return bootstrap.draw_weights(size, num_resamples)
    weights = np.zeros((num_resamples, size))
    # In one order whichever side is the group: of two groups, each gap mirrors the other.
    for seed, side in enumerate(sorted(sides, key=lambda numbers: int(numbers[0]))):
        weights[:, side] = bootstrap.draw_weights(len(side), num_resamples, seed)
    return weights


def _check_size(speakers: npt.NDArray[Any], whose: str) -> None:
    num_speakers = _num_names(speakers)
    if num_speakers < _LEAST_SPEAKERS or len(speakers) < _LEAST_ITEMS:
        raise EvaluationError(
            f"{whose}: {len(speakers)} items of {num_speakers} speakers; at least {_LEAST_ITEMS} "
            f"of {_LEAST_SPEAKERS} are needed"
        )


def _num_names(speakers: npt.NDArray[Any]) -> int:
    return len({name for name in speakers if name is not None})
