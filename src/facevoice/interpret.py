"""The second half: what a perception means. Milliseconds, as often as one likes.

Evidence is weighed, the model gives calibrated probabilities, an outcome is chosen with its
reasons, and windows are summed up: neighbours of one outcome are a moment, a short file gets one
answer. Evaluation and the choice of thresholds call nothing else: scored = shipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice, pairwise
from typing import Final

import numpy as np

from facevoice.errors import ConfigError
from facevoice.models.heads import Embeddings, Model, Posteriors, flatness
from facevoice.people.baseline import (
    NOTHING,
    Acquaintance,
    Known,
    Told,
    know_each,
    lead,
    of_person,
    usual_of,
)
from facevoice.people.cast import Cast, Scene, StreamCast
from facevoice.people.clearness import unclearness
from facevoice.records import (
    EMOTIONS,
    NO_EDITS,
    NUM_EMOTIONS,
    VERSION,
    BoolArray,
    ChannelPosterior,
    DecisionCurve,
    DoubleArray,
    Emotion,
    MediaInfo,
    Modality,
    Moment,
    OperatingPoint,
    Outcome,
    PeopleEdits,
    Perception,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
    WindowView,
    top_emotion,
)
from facevoice.settings import DecisionConfig

MAX_SHORT_WINDOWS: Final = 3
"""A file of more windows gets moments, but no single answer."""

_EQUAL: Final = 0.5
# From here on, nothing is made of what a channel says; see `ChannelPosterior.unfamiliarity`.
_UNFAMILIAR: Final = 1.0
# Reasons that come from what a model says; the others from evidence.
_DECIDED: Final = frozenset(
    {
        Reason.UNFAMILIAR_FACE,
        Reason.UNFAMILIAR_VOICE,
        Reason.FACE_FLAT,
        Reason.VOICE_FLAT,
        Reason.EMOTIONS_AGREE,
        Reason.EMOTIONS_DIFFER,
    }
)
_UNFAMILIAR_REASONS: Final = {
    Modality.VIDEO: Reason.UNFAMILIAR_FACE,
    Modality.AUDIO: Reason.UNFAMILIAR_VOICE,
}
_VOICE_MISSING: Final = (Reason.NO_SPEECH, Reason.SPEECH_TOO_SHORT)
# Beside these, the voice isn't held against the face.
_APART: Final = frozenset({Reason.VOICE_OFF_SCREEN, Reason.SPEAKER_UNCLEAR})
_NEUTRAL: Final = np.eye(NUM_EMOTIONS)[Emotion.NEUTRAL.position]
# How many windows of its person a window was compared with, by channel.
_Counts = Mapping[Modality, float]
# Windows that a model is asked of at once where each is compared with others.
_PIECE: Final = 256
_SURPRISED_TOO: Final = frozenset({Emotion.HAPPY, Emotion.FEARFUL, Emotion.SURPRISED})
# Of fewer calls nothing can be said.
_SMALLEST_SHARE: Final = 0.02
_NUM_THRESHOLDS: Final = 101
_DIGITS: Final = 6


def interpret(
    perception: Perception,
    model: Model,
    decision: DecisionConfig | None = None,
    *,
    known: Known = NOTHING,
    edits: PeopleEdits = NO_EDITS,
) -> Report:
    """What a file says.

    Args:
        perception: whose embeddings come from the backbones that the model names.
        model: gives the probabilities.
        decision: how much evidence is enough, and when an outcome is called; None as in the
            perception's settings.
        known: what is usual for its people and its setting from elsewhere; its own windows inform
            each other anyhow.
        edits: what a user knows better about who is who.

    Raises:
        WeightsError: the embeddings are of another width than the model was trained with.
        ConfigError: the edits don't fit the people of the file.
    """
    config = replace(perception.settings, model=model.name)
    if decision is not None:
        config = replace(config, decision=decision)
    cast = Cast(perception.windows, config.decision.people, edits)
    scenes = cast.scenes()
    said = _judge_scenes(scenes, perception.media, model, config.decision, known)
    windows = [one for one, scene in zip(said, scenes, strict=True) if scene.is_main]
    people = cast.people(config.faces.sample_rate_hz)
    report = Report(
        path=str(perception.media.path),
        sha256=perception.sha256,
        media=perception.media,
        status=_status(perception, windows, frozenset(model.backbones)),
        error=None,
        windows=(),
        summary=None,
        outcome_counts={},
        models={**perception.models, "heads": model.heads},
        config=config,
        facevoice_version=VERSION,
        curve=model.curve,
        point=find_point(model.curve, config.decision),
        people=_tell_people(people, said, scenes, config.decision),
    )
    return _sum_up(report, windows)


def _tell_people(
    people: Sequence[Person],
    said: Sequence[Prediction],
    scenes: Sequence[Scene],
    decision: DecisionConfig,
) -> tuple[Person, ...]:
    """With how long they speak, and what they say if everybody was asked for."""
    main = [(one, scene) for one, scene in zip(said, scenes, strict=True) if scene.is_main]
    spans = shown_spans([one for one, _ in main], 0.0)
    spoken_s: dict[int | None, float] = {}
    for (one, scene), (start_s, end_s) in zip(main, spans, strict=True):
        if one.voice is not None:
            speaker = scene.view.speaker
            seconds = one.speech_coverage * (end_s - start_s)
            spoken_s[speaker] = spoken_s.get(speaker, 0.0) + seconds
    windows: dict[int | None, list[Prediction]] = {}
    for one in said if decision.people == "all" else ():
        windows.setdefault(one.person, []).append(one)
    return tuple(
        replace(
            person,
            speaking_s=spoken_s.get(person.number, 0.0),
            windows=tuple(windows.get(person.number, ())),
        )
        for person in people
    )


def decide_again(report: Report, decision: DecisionConfig) -> Report:
    """The same probabilities at another sensitivity, or where conflicts are rarer or more common.

    What counts as enough evidence stays as it was: the probabilities that a report lacks can't be
    had from it.
    """
    before = report.config.decision
    settled = replace(
        before, sensitivity=decision.sensitivity, expected_conflicts=decision.expected_conflicts
    )
    point = find_point(report.curve, settled)

    def again(window: Prediction) -> Prediction:
        conflict = _shift(window.conflict, before.expected_conflicts, settled.expected_conflicts)
        reasons = tuple(reason for reason in window.reasons if reason not in _DECIDED)
        return _decide_one(window, _said(window, conflict), reasons, point)

    people = tuple(
        replace(person, windows=tuple(map(again, person.windows))) for person in report.people
    )
    config = replace(report.config, decision=settled)
    changed = replace(report, config=config, point=point, people=people)
    return _sum_up(changed, list(map(again, report.windows)))


def edit_people(report: Report, edits: PeopleEdits) -> Report:
    """A report with people renamed or merged; see `Report.rename`, `Report.merge`.

    Raises:
        ConfigError: there is no such person, or two to be merged were seen at once.
    """
    if not edits.names and not edits.merged:
        return report
    for number in (*edits.names, *edits.merged, *edits.merged.values()):
        if all(person.number != number for person in report.people):
            there = ", ".join(str(person.number) for person in report.people) or "nobody"
            told = f"there is no person {number} in this report; there is: {there}"
            raise ConfigError(f"{report.path}: {told}")
    numbers = {p.number: edits.merged.get(p.number, p.number) for p in report.people}

    def renumber(window: Prediction) -> Prediction:
        return replace(window, person=numbers.get(window.person or 0, window.person))

    people = tuple(
        _merged(
            [p for p in report.people if numbers[p.number] == number],
            number,
            edits.names.get(number),
            renumber,
        )
        for number in sorted(set(numbers.values()))
    )
    return _sum_up(replace(report, people=people), list(map(renumber, report.windows)))


def _merged(
    people: Sequence[Person],
    number: int,
    name: str | None,
    renumber: Callable[[Prediction], Prediction],
) -> Person:
    """One person of several, who keeps the name and the portrait of the one with this number."""
    own = next(person for person in people if person.number == number)
    windows = sorted((w for p in people for w in p.windows), key=lambda w: (w.start_s, w.end_s))
    spans = [(window.start_s, window.end_s) for window in windows]
    if len(set(spans)) < len(spans):
        names = " and ".join(person.name for person in people)
        raise ConfigError(f"{names} are seen at the same time: they can't be one person")
    return replace(
        own,
        name=name or own.name,
        tracks=tuple(sorted(track for person in people for track in person.tracks)),
        seen_s=sum(person.seen_s for person in people),
        speaking_s=sum(person.speaking_s for person in people),
        windows=tuple(map(renumber, windows)),
    )


def judge(
    views: Sequence[WindowView],
    media: MediaInfo | None,
    model: Model,
    decision: DecisionConfig,
    known: Known = NOTHING,
) -> list[Prediction]:
    """What each window of a file says; see `interpret`.

    Where the model compares with what is usual, it is asked twice: of each window by itself, and
    once more with all windows known that don't overlap it.
    """
    scenes = [scene for scene in Cast(views, decision.people).scenes() if scene.is_main]
    return _judge_scenes(scenes, media, model, decision, known)


def _judge_scenes(
    scenes: Sequence[Scene],
    media: MediaInfo | None,
    model: Model,
    decision: DecisionConfig,
    known: Known,
) -> list[Prediction]:
    """What each scene says; several scenes may be of one window."""
    point = find_point(model.curve, decision)
    views = [scene.view for scene in scenes]
    evidence, windows = _weigh_all(scenes, media, model, decision)
    unclear = [unclearness(view) for view in views]
    told: list[Posteriors]
    counts: list[_Counts | None]
    if not (model.adapts and decision.know_person):
        told, counts = model.predict(windows, None, unclear), [None for _ in windows]
    else:
        alone = model.predict(windows, [known] * len(windows), unclear)
        heard = [_told(window, said) for window, said in zip(windows, alone, strict=True)]
        told, counts = _predict_again(model, windows, know_each(views, heard, known), unclear)
    return [
        _decide(view, found, said, count, point, decision)
        for view, found, said, count in zip(views, evidence, told, counts, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One window as the model is asked of it, to be asked again of the same, changed a little.

    view: the judged face first; window: its embeddings of which there is enough; known: what it is
    compared with, None where nothing is; is_apart: whether face and voice aren't held together.
    """

    view: WindowView
    window: Embeddings
    known: Known | None
    is_apart: bool
    model: Model
    decision: DecisionConfig

    def ask(self, windows: Sequence[Embeddings]) -> list[Posteriors]:
        """What would be said if the window's embeddings were these."""
        known = None if self.known is None else [self.known] * len(windows)
        unclear = [unclearness(self.view)] * len(windows)
        return [
            replace(said, fused=None, conflict=None)
            if self.is_apart
            else replace(
                said, conflict=_shift(said.conflict, _EQUAL, self.decision.expected_conflicts)
            )
            for said in self.model.predict(windows, known, unclear)
        ]


def question_at(
    perception: Perception,
    model: Model,
    place: int,
    decision: DecisionConfig | None = None,
    *,
    known: Known = NOTHING,
    edits: PeopleEdits = NO_EDITS,
) -> Question:
    """What `interpret` asks of one window, by its place in the report; raises as it does."""
    decision = decision or perception.settings.decision
    scenes = Cast(perception.windows, decision.people, edits).scenes()
    own = [k for k, scene in enumerate(scenes) if scene.is_main][place]
    views = [scene.view for scene in scenes]
    evidence, windows = _weigh_all(scenes, perception.media, model, decision)
    compared: Known | None = None
    if model.adapts and decision.know_person:
        unclear = [unclearness(view) for view in views]
        alone = model.predict(windows, [known] * len(windows), unclear)
        heard = [_told(window, said) for window, said in zip(windows, alone, strict=True)]
        compared = next(islice(know_each(views, heard, known), own, None))
    is_apart = bool(_APART & set(evidence[own].reasons))
    return Question(views[own], windows[own], compared, is_apart, model, decision)


def get_to_know(
    perception: Perception,
    model: Model,
    decision: DecisionConfig | None = None,
    *,
    neutral: bool = False,
) -> Known:
    """What a file tells of the person who leads it, and of its setting, for other files of both.

    Of the person, the windows where that one leads; of the setting, all of them. Only channels
    with enough evidence tell anything.

    Args:
        perception, model, decision: as of `interpret`.
        neutral: whether the file is known to show nothing else.

    Raises:
        WeightsError: see `interpret`.
    """
    decision = decision or perception.settings.decision
    scenes = [s for s in Cast(perception.windows, decision.people).scenes() if s.is_main]
    views = [scene.view for scene in scenes]
    _, windows = _weigh_all(scenes, perception.media, model, decision)
    alone = model.predict(windows, None, [unclearness(view) for view in views])
    if neutral:
        alone = [Posteriors(_NEUTRAL, _NEUTRAL, _NEUTRAL, None)] * len(windows)
    told = [_told(window, said) for window, said in zip(windows, alone, strict=True)]
    person = lead([view.person for view in views])
    found = list(zip(views, told, strict=True))
    return Known(usual_of(of_person(found, person)), usual_of(found))


class StreamJudge:
    """Says what windows mean as they come: each is compared with those heard before it.

    Args:
        model, decision, known: as of `interpret`.
        media: tells which streams a file lacks; None for a live stream.
    """

    def __init__(
        self,
        model: Model,
        decision: DecisionConfig,
        *,
        media: MediaInfo | None = None,
        known: Known = NOTHING,
    ) -> None:
        self._model = model
        self._decision = decision
        self._media = media
        self._point = find_point(model.curve, decision)
        self._adapts = model.adapts and decision.know_person
        self._given = known if self._adapts else NOTHING
        self._acquaintance = Acquaintance(self._given)
        self._cast = StreamCast(decision.people)

    def __call__(self, view: WindowView) -> Prediction:
        """What the next window says; they come in order of time."""
        scene = self._cast(view)
        view = scene.view
        evidence = _weigh(scene, self._media, self._model, self._decision)
        window = _embeddings(view, evidence.enough)
        known = self._acquaintance.known(view)
        unclear = [unclearness(view)]
        (said,) = self._model.predict([window], [known], unclear)
        if self._adapts:
            (alone,) = self._model.predict([window], [self._given], unclear)
            self._acquaintance.add(view, _told(window, alone))
        counts = _count(known) if self._adapts else None
        return _decide(view, evidence, said, counts, self._point, self._decision)

    def tracks_of(self, said: Prediction) -> tuple[int, ...]:
        """The tracks of whoever's face was judged in a window."""
        return self._cast.tracks_of(said.person)


def _told(window: Embeddings, alone: Posteriors) -> Told:
    said = {Modality.VIDEO: alone.face, Modality.AUDIO: alone.voice}
    return {
        modality: (embedding, probs)
        for modality, embedding in window.items()
        if (probs := said[modality]) is not None
    }


def _predict_again(
    model: Model,
    windows: Sequence[Embeddings],
    known: Iterator[Known],
    unclear: Sequence[float],
) -> tuple[list[Posteriors], list[_Counts | None]]:
    """What a model says with what is known of each window, and how much that is.

    In pieces: what is known of all windows of a long file fills more memory than they do.
    """
    said: list[Posteriors] = []
    counts: list[_Counts | None] = []
    for start in range(0, len(windows), _PIECE):
        piece = windows[start : start + _PIECE]
        each = list(islice(known, len(piece)))
        said += model.predict(piece, each, unclear[start : start + _PIECE])
        counts += map(_count, each)
    return said, counts


def _count(known: Known) -> _Counts:
    return {modality: usual.num_windows for modality, usual in known.person.items()}


def join(face: Perception, voice: Perception) -> Perception:
    """The face of one clip with the voice of another, window by window: a pair, re-paired.

    Windows of both must be of one length; those that only one has are left out.
    """
    windows = tuple(
        replace(
            seen,
            voice=heard.voice,
            voice_print=heard.voice_print,
            speech_coverage=heard.speech_coverage,
            speech_spans_s=heard.speech_spans_s,
            peaks=heard.peaks,
        )
        for seen, heard in zip(face.windows, voice.windows, strict=False)
    )
    return replace(
        face,
        media=replace(face.media, audio=voice.media.audio),
        windows=windows,
        damage=(*face.damage, *voice.damage),
    )


# Evidence: which channels of a window are worth scoring.


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Which channels of a window are worth scoring, and why the others are not."""

    enough: frozenset[Modality]
    reasons: tuple[Reason, ...]


def _weigh_all(
    scenes: Sequence[Scene],
    media: MediaInfo | None,
    model: Model,
    decision: DecisionConfig,
) -> tuple[list[_Evidence], list[Embeddings]]:
    """The evidence of each scene, and the embeddings of which there is enough."""
    evidence = [_weigh(scene, media, model, decision) for scene in scenes]
    pairs = zip(scenes, evidence, strict=True)
    return evidence, [_embeddings(scene.view, found.enough) for scene, found in pairs]


def _weigh(
    scene: Scene,
    media: MediaInfo | None,
    model: Model,
    decision: DecisionConfig,
) -> _Evidence:
    view = scene.view
    if view.duration_s < decision.min_window_s:
        return _Evidence(frozenset(), (Reason.TOO_SHORT,))
    found: dict[Modality, Reason | None] = {}
    if Modality.VIDEO in model.backbones:
        found[Modality.VIDEO] = _missing_face(view, media, decision)
    if Modality.AUDIO in model.backbones:
        found[Modality.AUDIO] = _missing_voice(view, media, decision)
    reasons = tuple(reason for reason in found.values() if reason is not None)
    enough = frozenset(m for m, reason in found.items() if reason is None)
    if model.curve is None:
        reasons += (Reason.MODEL_WITHOUT_CONFLICT,)
    if scene.reason is Reason.OTHER_SPEAKS:
        reasons = (*(r for r in reasons if r not in _VOICE_MISSING), Reason.OTHER_SPEAKS)
    elif scene.reason is not None and (scene.reason is Reason.SEVERAL_FACES or len(enough) > 1):
        reasons += (scene.reason,)
    return _Evidence(enough, reasons)


def _missing_face(
    view: WindowView, media: MediaInfo | None, decision: DecisionConfig
) -> Reason | None:
    if view.face is None:
        has_stream = media is None or media.has_video
        if view.missed is not None:
            return Reason(view.missed)
        return Reason.NO_FACE if has_stream else Reason.NO_VIDEO_STREAM
    if view.face_coverage < decision.min_face_coverage:
        return Reason(view.missed or Reason.FACE_TOO_SELDOM)
    return None


def _missing_voice(
    view: WindowView, media: MediaInfo | None, decision: DecisionConfig
) -> Reason | None:
    speech_s = view.speech_coverage * view.duration_s
    if view.voice is None or speech_s == 0:
        has_stream = media is None or media.has_audio
        return Reason.NO_SPEECH if has_stream else Reason.NO_AUDIO_STREAM
    # A window shorter than twice the minimum can't be asked for more than half its length.
    if speech_s < min(decision.min_speech_s, view.duration_s / 2):
        return Reason.SPEECH_TOO_SHORT
    return None


def _embeddings(view: WindowView, enough: frozenset[Modality]) -> Embeddings:
    found = {m: view.channel(m) for m in enough}
    return {m: embedding for m, embedding in found.items() if embedding is not None}


def _status(
    perception: Perception, windows: Sequence[Prediction], modalities: frozenset[Modality]
) -> Status:
    """What became of a file as a whole; a channel that the model doesn't read lacks nothing."""
    if perception.damage:
        return Status.TRUNCATED
    if not perception.media.has_video:
        return Status.AUDIO_ONLY
    if not perception.media.has_audio:
        return Status.VIDEO_ONLY
    has_face = Modality.VIDEO not in modalities or any(w.face is not None for w in windows)
    has_voice = Modality.AUDIO not in modalities or any(w.voice is not None for w in windows)
    if has_face and has_voice:
        return Status.OK
    if has_face:
        return Status.NO_SPEECH
    return Status.NO_FACE if has_voice else Status.NO_FACE_NO_SPEECH


# Thresholds: where outcomes change, and what calls are worth.


def find_point(curve: DecisionCurve | None, decision: DecisionConfig) -> OperatingPoint | None:
    """Where outcomes change; None where the model doesn't compare face and voice.

    The lowest threshold from which calls have the wanted precision at equal numbers; where none
    has it, the one with the highest precision. No conflict is called that is less likely than a
    match, nor the other way round. They hold for the probability as it is reported, shifted to the
    expected share of conflicts: where conflicts are rare, fewer are called.
    """
    if curve is None:
        return None
    wanted, share = decision.precision, decision.expected_conflicts
    if not curve.probs:
        return OperatingPoint(wanted, 1 - wanted, None, None)
    found = _cheapest(curve.probs, curve.conflict_hits, curve.conflict_alarms, wanted)
    above = max(found, _EQUAL)
    found = _cheapest(curve.probs[::-1], curve.match_hits[::-1], curve.match_alarms[::-1], wanted)
    below = min(found, _EQUAL)
    return OperatingPoint(
        above,
        below,
        precision_at(curve, at_equal_numbers(above, share), Outcome.CONFLICT),
        precision_at(curve, at_equal_numbers(below, share), Outcome.MATCH),
    )


def precision_at(
    curve: DecisionCurve, threshold: float, outcome: Outcome, share: float = _EQUAL
) -> float | None:
    """How many of the calls are right where `share` of all windows conflict.

    Args:
        curve: as measured.
        threshold: on the probability of conflict at equal numbers.
        outcome: what is called, `conflict` or `match`.
        share: of conflicts among all.

    Returns:
        Bayes: share · hits / (share · hits + (1 - share) · alarms) of conflicts, and of matches
        the other way round; None where it isn't known, or so little is called that nothing was
        measured.
    """
    if not curve.probs:
        return None
    is_conflict = outcome is Outcome.CONFLICT
    hits, alarms = (
        float(np.interp(threshold, curve.probs, values))
        for values in (
            (curve.conflict_hits, curve.conflict_alarms)
            if is_conflict
            else (curve.match_hits, curve.match_alarms)
        )
    )
    own = share if is_conflict else 1 - share
    if hits < _SMALLEST_SHARE:
        return None
    return own * hits / (own * hits + (1 - own) * alarms)


def measure_curve(said: Sequence[Posteriors], is_conflict: BoolArray) -> DecisionCurve:
    """What calls are worth at each threshold, by what was said of pairs that nothing was fitted to.

    Args:
        said: of each pair, with face, voice and conflict at equal numbers.
        is_conflict: what each pair is, (n,); both kinds must be there.
    """
    able = [_could_be(row) for row in said]
    conflict = np.array([np.nan if row.conflict is None else row.conflict for row in said])
    probs = np.round(np.linspace(0, 1, _NUM_THRESHOLDS), _DIGITS)
    above, below = conflict >= probs[:, None], conflict <= probs[:, None]
    called = {
        Outcome.CONFLICT: above & np.array([Outcome.CONFLICT in kinds for kinds in able]),
        Outcome.MATCH: below & np.array([Outcome.MATCH in kinds for kinds in able]),
    }
    shares = [
        np.round(called[outcome][:, is_conflict == truth].mean(axis=1), _DIGITS).tolist()
        for outcome, truth in (
            (Outcome.CONFLICT, True),
            (Outcome.CONFLICT, False),
            (Outcome.MATCH, False),
            (Outcome.MATCH, True),
        )
    ]
    return DecisionCurve(tuple(probs.tolist()), *map(tuple, shares))


def _could_be(said: Posteriors) -> set[Outcome]:
    """Which of match and conflict are called if only the probability asks for it."""
    ends = {Outcome.CONFLICT: 1.0, Outcome.MATCH: 0.0}
    anything = OperatingPoint(1.0, 0.0, None, None)
    return {
        outcome
        for outcome, conflict in ends.items()
        if choose_outcome(replace(said, conflict=conflict), anything)[0] is outcome
    }


def at_equal_numbers(prob: float, expected_conflicts: float) -> float:
    """A reported probability as it would be if conflicts were as frequent as matches."""
    shifted = _shift(prob, expected_conflicts, _EQUAL)
    return prob if shifted is None else shifted


def _cheapest(
    probs: Sequence[float], hits: Sequence[float], alarms: Sequence[float], wanted: float
) -> float:
    """The first threshold with the wanted precision; else that of the best.

    Of so few hits that chance decides, nothing is believed.
    """
    found = [
        (hit / (hit + alarm), prob)
        for prob, hit, alarm in zip(probs, hits, alarms, strict=True)
        if hit >= _SMALLEST_SHARE
    ]
    good = [prob for precision, prob in found if precision >= wanted]
    if good:
        return good[0]
    return max(found)[1] if found else probs[-1]


def _shift(prob: float | None, share: float, wanted: float) -> float | None:
    """Bayes: a probability at one share of conflicts, at another."""
    if prob is None or share == wanted:
        return prob
    for_it = prob * wanted / share
    against_it = (1 - prob) * (1 - wanted) / (1 - share)
    return for_it / (for_it + against_it)


# Decision: one window.


def _decide(
    view: WindowView,
    evidence: _Evidence,
    said: Posteriors,
    counts: _Counts | None,
    point: OperatingPoint | None,
    decision: DecisionConfig,
) -> Prediction:
    def channel(modality: Modality, probs: DoubleArray | None) -> ChannelPosterior | None:
        is_face = modality is Modality.VIDEO
        coverage = view.face_coverage if is_face else view.speech_coverage
        known = None if counts is None else counts.get(modality, 0.0)
        strange = said.unfamiliarity.get(modality)
        return None if probs is None else ChannelPosterior(probs, coverage, known, strange)

    if _APART & set(evidence.reasons):
        # Two people's, or nobody knows: neither fused nor compared.
        said = replace(said, fused=None, conflict=None)
    seen = Prediction(
        start_s=view.start_s,
        end_s=view.end_s,
        face=channel(Modality.VIDEO, said.face),
        voice=channel(Modality.AUDIO, said.voice),
        fused=None if said.fused is None else ChannelPosterior(said.fused),
        conflict=None,
        outcome=Outcome.INSUFFICIENT,
        reasons=(),
        face_coverage=view.face_coverage,
        speech_coverage=view.speech_coverage,
        person=view.person,
    )
    conflict = _shift(said.conflict, _EQUAL, decision.expected_conflicts)
    reasons = evidence.reasons + said.beside
    return _decide_one(seen, replace(said, conflict=conflict), reasons, point)


def _decide_one(
    seen: Prediction,
    said: Posteriors,
    reasons: tuple[Reason, ...],
    point: OperatingPoint | None,
) -> Prediction:
    outcome, why = choose_outcome(said, point)
    return replace(seen, conflict=said.conflict, outcome=outcome, reasons=reasons + why)


def choose_outcome(
    said: Posteriors, point: OperatingPoint | None
) -> tuple[Outcome, tuple[Reason, ...]]:
    """The outcome that posteriors warrant, and why; what is shown never contradicts it.

    Of what is unlike all that the model has learnt from, nothing is called. Flatness is asked
    next: a neutral channel beside an expressive one is how people mostly
    differ between face and voice, and it contradicts nothing. Where the probability calls a match
    of emotions that don't go together, or a conflict of equal ones (neutral and calm are), neither
    is called.
    """
    face, voice, conflict = said.face, said.voice, said.conflict
    unfamiliar = _unfamiliar(said)
    if face is None or voice is None or conflict is None or point is None:
        return Outcome.INSUFFICIENT, unfamiliar
    if unfamiliar:
        return Outcome.UNDECIDED, unfamiliar
    flat = {Reason.FACE_FLAT: is_flat(face), Reason.VOICE_FLAT: is_flat(voice)}
    if any(flat.values()):
        return Outcome.FLAT, tuple(reason for reason, holds in flat.items() if holds)
    shown, heard = _leading(face), _leading(voice)
    if conflict >= point.conflict_above:
        if shown is heard or (shown.is_flat and heard.is_flat):
            return Outcome.UNDECIDED, (Reason.EMOTIONS_AGREE,)
        return Outcome.CONFLICT, ()
    if conflict <= point.match_below:
        if not go_together(shown, heard):
            return Outcome.UNDECIDED, (Reason.EMOTIONS_DIFFER,)
        return Outcome.MATCH, ()
    return Outcome.UNDECIDED, ()


def _unfamiliar(said: Posteriors) -> tuple[Reason, ...]:
    channels = (Modality.VIDEO, said.face), (Modality.AUDIO, said.voice)
    return tuple(
        _UNFAMILIAR_REASONS[modality]
        for modality, probs in channels
        if probs is not None and said.unfamiliarity.get(modality, 0.0) > _UNFAMILIAR
    )


def is_flat(probs: DoubleArray) -> bool:
    """Whether no emotion is likelier than one, and none leads, in a posterior (8,)."""
    return flatness(probs) > _EQUAL and _leading(probs).is_flat


def go_together(one: Emotion, other: Emotion) -> bool:
    """Whether people would call two emotions a match: the same, none at all, or akin to surprise.

    Joy and fear are surprised as well. Of any other pair, "match" would read like a contradiction.
    """
    pair = {one, other}
    if Emotion.SURPRISED in pair:
        return pair <= _SURPRISED_TOO
    return one is other or (one.is_flat and other.is_flat)


def _leading(probs: DoubleArray) -> Emotion:
    return EMOTIONS[int(probs.argmax())]


# Summing up: moments of any file, one answer for a short one.


def _sum_up(report: Report, windows: Sequence[Prediction]) -> Report:
    counts = Counter(window.outcome for window in windows)
    end_s = 0.0 if report.media is None else report.media.duration_s
    # Of several people, nothing can be said in one answer.
    is_of_one = len({window.person for window in windows} - {None}) < 2
    is_short = 0 < len(windows) <= MAX_SHORT_WINDOWS and is_of_one
    return replace(
        report,
        windows=tuple(windows),
        summary=summarize(windows, report.point) if is_short else None,
        outcome_counts={outcome: counts.get(outcome, 0) for outcome in Outcome},
        moments=find_moments(windows, end_s),
    )


def find_moments(windows: Sequence[Prediction], end_s: float = 0.0) -> tuple[Moment, ...]:
    """Neighbouring windows of one outcome and person, in order of time, to the end of the file."""
    spans = shown_spans(windows, end_s)
    # Where nothing is judged, it doesn't matter who is seen.
    keys = [
        (window.outcome, None if window.outcome is Outcome.INSUFFICIENT else window.person)
        for window in windows
    ]
    places = groupby(range(len(windows)), key=lambda place: keys[place])
    return tuple(_moment(windows, spans, list(run)) for _, run in places)


def _moment(
    windows: Sequence[Prediction], spans: Sequence[tuple[float, float]], run: Sequence[int]
) -> Moment:
    seconds = {place: max(spans[place][1] - spans[place][0], 1e-9) for place in run}
    shown: dict[tuple[Emotion | None, Emotion | None, tuple[Reason, ...]], float] = {}
    for place in run:
        window = windows[place]
        key = _top(window.face), _top(window.voice), window.reasons
        shown[key] = shown.get(key, 0.0) + seconds[place]
    face, voice, reasons = max(shown, key=lambda key: shown[key])
    outcome = windows[run[0]].outcome
    weights = [seconds[place] for place in run]
    conflict = _mean([windows[place].conflict for place in run], weights)
    flat = _mean([_flat_share(windows[place]) for place in run], weights)
    return Moment(
        start_s=spans[run[0]][0],
        end_s=spans[run[-1]][1],
        first=run[0],
        last=run[-1],
        outcome=outcome,
        face=face,
        voice=voice,
        conflict=conflict,
        strength=flat if outcome is Outcome.FLAT else _strength(outcome, conflict, reasons),
        reasons=reasons,
        person=lead([windows[place].person for place in run]),
    )


def _top(channel: ChannelPosterior | None) -> Emotion | None:
    return None if channel is None else top_emotion(channel)[0]


def _flat_share(window: Prediction) -> float | None:
    """How likely the channel that a window calls flat is so; None where it calls none."""
    named = ((Reason.FACE_FLAT, window.face), (Reason.VOICE_FLAT, window.voice))
    flat = [flatness(c.probs) for reason, c in named if c and reason in window.reasons]
    return max(flat, default=None)


def _strength(
    outcome: Outcome, conflict: float | None, reasons: Collection[Reason]
) -> float | None:
    """The probability of what an outcome says; None where it compares nothing, or can't tell."""
    if conflict is None or outcome in (Outcome.FLAT, Outcome.INSUFFICIENT):
        return None
    if any(reason in reasons for reason in _UNFAMILIAR_REASONS.values()):
        return None
    if outcome is Outcome.UNDECIDED:
        return max(conflict, 1 - conflict)
    return conflict if outcome is Outcome.CONFLICT else 1 - conflict


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
    if not known:
        return None
    return float(np.average([v for v, _ in known], weights=[w for _, w in known]))


def shown_spans(windows: Sequence[Prediction], end_s: float) -> list[tuple[float, float]]:
    """From when to when each window stands for what is shown; together they cover 0 to `end_s`.

    Windows overlap: each moment belongs to the window whose middle is nearest.
    """
    middles = [(window.start_s + window.end_s) / 2 for window in windows]
    borders = [(a + b) / 2 for a, b in pairwise(middles)]
    last_s = max((window.end_s for window in windows), default=0.0)
    edges = [0.0, *borders, max(end_s, last_s)]
    return list(pairwise(edges)) if windows else []


def summarize(windows: Sequence[Prediction], point: OperatingPoint | None) -> Prediction:
    """A short stretch as one prediction, windows weighted by their length and coverage.

    Conflict is the mean over the windows that have one, not a new comparison of mean
    posteriors: a person may conflict for a moment and match for the rest.
    """
    if len(windows) == 1:  # To the last digit, so that both say the same.
        return windows[0]
    lengths_s = np.array([w.end_s - w.start_s for w in windows])
    face, voice, fused = (
        _pool([getattr(w, channel) for w in windows], lengths_s)
        for channel in ("face", "voice", "fused")
    )
    # A window counts for as much as is seen and heard of it.
    weights = [
        length * min(w.face_coverage, w.speech_coverage)
        for w, length in zip(windows, lengths_s.tolist(), strict=True)
    ]
    conflict = _mean([w.conflict for w in windows], weights)
    shared = [set(w.reasons) for w in windows]
    reasons = tuple(r for r in Reason if r not in _DECIDED and all(r in found for found in shared))
    if any(Reason.SEVERAL_FACES in found for found in shared) and face is not None:
        reasons = tuple(dict.fromkeys((*reasons, Reason.SEVERAL_FACES)))
    seen = Prediction(
        start_s=windows[0].start_s,
        end_s=windows[-1].end_s,
        face=face,
        voice=voice,
        fused=fused,
        conflict=conflict,
        outcome=Outcome.INSUFFICIENT,
        reasons=(),
        face_coverage=float(np.average([w.face_coverage for w in windows], weights=lengths_s)),
        speech_coverage=float(np.average([w.speech_coverage for w in windows], weights=lengths_s)),
        person=next((w.person for w in windows if w.person is not None), None),
    )
    return _decide_one(seen, _said(seen, conflict), reasons, point)


def _pool(
    channels: Sequence[ChannelPosterior | None], lengths_s: DoubleArray
) -> ChannelPosterior | None:
    present = [c for c in channels if c is not None]
    if not present:
        return None
    seconds = lengths_s[[c is not None for c in channels]]
    weights = np.array([c.coverage for c in present]) * seconds
    probs = np.average([c.probs for c in present], axis=0, weights=weights)
    return ChannelPosterior(
        probs / probs.sum(),
        float(weights.sum() / lengths_s.sum()),
        _mean([c.num_known for c in present], weights.tolist()),
        _middle([(c.unfamiliarity, w) for c, w in zip(present, weights.tolist(), strict=True)]),
    )


def _middle(values: Sequence[tuple[float | None, float]]) -> float | None:
    """The weighted median: above a limit where most of the weight is; None where a value is."""
    found = sorted((value, weight) for value, weight in values if value is not None)
    if len(found) < len(values):
        return None
    half, below = sum(weight for _, weight in found) / 2, 0.0
    for value, weight in found:
        below += weight
        if below >= half:
            return value
    return None


def _said(window: Prediction, conflict: float | None) -> Posteriors:
    """What a model said of a window; conflict at equal numbers, or as it is reported."""

    def probs(channel: ChannelPosterior | None) -> DoubleArray | None:
        return None if channel is None else channel.probs

    channels = {Modality.VIDEO: window.face, Modality.AUDIO: window.voice}
    strange = {m: c.unfamiliarity for m, c in channels.items() if c is not None}
    return Posteriors(
        probs(window.face),
        probs(window.voice),
        probs(window.fused),
        conflict,
        {m: value for m, value in strange.items() if value is not None},
    )
