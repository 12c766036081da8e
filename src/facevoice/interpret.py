"""The second half: what a perception means. Milliseconds, as often as one likes.

Evidence is weighed, the model gives calibrated probabilities, an outcome is chosen with its
reasons, and windows are summed up into a report. Evaluation calls nothing else: scored = shipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facevoice.models.heads import Embeddings, Model, Posteriors, flatness
from facevoice.records import (
    EMOTIONS,
    VERSION,
    ChannelPosterior,
    DoubleArray,
    MediaInfo,
    Modality,
    Outcome,
    Perception,
    Prediction,
    Reason,
    Report,
    Status,
    Thresholds,
    WindowView,
)
from facevoice.settings import DecisionConfig


def interpret(
    perception: Perception, model: Model, decision: DecisionConfig | None = None
) -> Report:
    """What a file says.

    Args:
        perception: whose embeddings come from the backbones that the model names.
        model: gives the probabilities.
        decision: how much evidence is enough; None as in the perception's settings.

    Raises:
        WeightsError: the embeddings are of another width than the model was trained with.
    """
    config = replace(perception.settings, model=model.name)
    if decision is not None:
        config = replace(config, decision=decision)
    windows = judge(perception.windows, perception.media, model, config.decision)
    counts = Counter(window.outcome for window in windows)
    return Report(
        path=str(perception.media.path),
        sha256=perception.sha256,
        media=perception.media,
        status=_status(perception, windows, frozenset(model.backbones)),
        error=None,
        windows=tuple(windows),
        summary=summarize(windows, model.thresholds) if windows else None,
        outcome_counts={outcome: counts.get(outcome, 0) for outcome in Outcome},
        models={**perception.models, "heads": model.heads},
        config=config,
        facevoice_version=VERSION,
        thresholds=model.thresholds,
    )


def judge(
    views: Sequence[WindowView],
    media: MediaInfo | None,
    model: Model,
    decision: DecisionConfig,
) -> list[Prediction]:
    """What each window says; see `interpret`. Of a live stream there is no `media`."""
    modalities = frozenset(model.backbones)
    evidence = [_weigh(view, media, modalities, model, decision) for view in views]
    posteriors = model.predict(
        [_embeddings(view, known.enough) for view, known in zip(views, evidence, strict=True)]
    )
    return [
        _decide(view, known, said, model.thresholds)
        for view, known, said in zip(views, evidence, posteriors, strict=True)
    ]


def join(face: Perception, voice: Perception) -> Perception:
    """The face of one clip with the voice of another, window by window: a pair, re-paired.

    Windows of both must be of one length; those that only one has are left out.
    """
    windows = tuple(
        replace(
            seen,
            voice=heard.voice,
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


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Which channels of a window are worth scoring, and why the others are not."""

    enough: frozenset[Modality]
    reasons: tuple[Reason, ...]


def _weigh(
    view: WindowView,
    media: MediaInfo | None,
    modalities: frozenset[Modality],
    model: Model,
    decision: DecisionConfig,
) -> _Evidence:
    if view.duration_s < decision.min_window_s:
        return _Evidence(frozenset(), (Reason.TOO_SHORT,))
    found: dict[Modality, Reason | None] = {}
    if Modality.VIDEO in modalities:
        found[Modality.VIDEO] = _missing_face(view, media, decision)
    if Modality.AUDIO in modalities:
        found[Modality.AUDIO] = _missing_voice(view, media, decision)
    reasons = tuple(reason for reason in found.values() if reason is not None)
    enough = frozenset(m for m, reason in found.items() if reason is None)
    if model.thresholds is None:
        reasons += (Reason.MODEL_WITHOUT_CONFLICT,)
    if view.num_people > 1 and Modality.VIDEO in enough:
        reasons += (Reason.SEVERAL_FACES,)
    return _Evidence(enough, reasons)


def _missing_face(
    view: WindowView, media: MediaInfo | None, decision: DecisionConfig
) -> Reason | None:
    if view.face is None:
        has_stream = media is None or media.has_video
        return Reason.NO_FACE if has_stream else Reason.NO_VIDEO_STREAM
    if view.face_coverage < decision.min_face_coverage:
        return Reason.FACE_TOO_SELDOM
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


def _decide(
    view: WindowView, evidence: _Evidence, said: Posteriors, thresholds: Thresholds | None
) -> Prediction:
    outcome, reasons = _choose_outcome(said, thresholds)
    return Prediction(
        start_s=view.start_s,
        end_s=view.end_s,
        face=_channel(said.face, view.face_coverage),
        voice=_channel(said.voice, view.speech_coverage),
        fused=_channel(said.fused, 1.0),
        conflict=said.conflict,
        outcome=outcome,
        reasons=evidence.reasons + reasons,
        face_coverage=view.face_coverage,
        speech_coverage=view.speech_coverage,
    )


def _choose_outcome(
    said: Posteriors, thresholds: Thresholds | None
) -> tuple[Outcome, tuple[Reason, ...]]:
    """The outcome that posteriors warrant.

    Flatness is asked first: a neutral channel beside an expressive one is how people mostly
    differ between face and voice, and it contradicts nothing.
    """
    face, voice, conflict = said.face, said.voice, said.conflict
    if face is None or voice is None or conflict is None or thresholds is None:
        return Outcome.INSUFFICIENT, ()
    flat = {
        Reason.FACE_FLAT: _is_flat(face, thresholds),
        Reason.VOICE_FLAT: _is_flat(voice, thresholds),
    }
    if any(flat.values()):
        return Outcome.FLAT, tuple(reason for reason, holds in flat.items() if holds)
    if conflict >= thresholds.conflict_above:
        return Outcome.CONFLICT, ()
    if conflict <= thresholds.match_below:
        return Outcome.MATCH, ()
    return Outcome.INSUFFICIENT, (Reason.UNDECIDED,)


def _is_flat(probs: DoubleArray, thresholds: Thresholds) -> bool:
    """Whether a posterior (8,) shows no clear emotion."""
    clearest = max(float(p) for p, e in zip(probs, EMOTIONS, strict=True) if not e.is_flat)
    return flatness(probs) >= thresholds.flat_above or clearest < thresholds.clear_above


def _channel(probs: DoubleArray | None, coverage: float) -> ChannelPosterior | None:
    return None if probs is None else ChannelPosterior(probs, coverage)


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


def summarize(windows: Sequence[Prediction], thresholds: Thresholds | None) -> Prediction:
    """A whole file as one prediction, windows weighted by their length and coverage.

    Conflict is the mean over the windows that have one, not a new comparison of mean
    posteriors: a person may conflict for a minute and match for the rest.
    """
    lengths_s = np.array([w.end_s - w.start_s for w in windows])
    face, voice, fused = (
        _pool([getattr(w, channel) for w in windows], lengths_s)
        for channel in ("face", "voice", "fused")
    )
    compared = np.array([w.conflict is not None for w in windows])
    conflict = None
    if compared.any():
        conflicts = [w.conflict for w in windows if w.conflict is not None]
        conflict = float(np.average(conflicts, weights=lengths_s[compared]))
    said = Posteriors(_probs(face), _probs(voice), _probs(fused), conflict)
    outcome, reasons = _choose_outcome(said, thresholds)
    if conflict is None:
        everywhere = [set(w.reasons) for w in windows]
        reasons += tuple(r for r in Reason if all(r in found for found in everywhere))
    return Prediction(
        start_s=windows[0].start_s,
        end_s=windows[-1].end_s,
        face=face,
        voice=voice,
        fused=fused,
        conflict=conflict,
        outcome=outcome,
        reasons=reasons,
        face_coverage=float(np.average([w.face_coverage for w in windows], weights=lengths_s)),
        speech_coverage=float(np.average([w.speech_coverage for w in windows], weights=lengths_s)),
    )


def _pool(
    channels: Sequence[ChannelPosterior | None], lengths_s: DoubleArray
) -> ChannelPosterior | None:
    present = [c for c in channels if c is not None]
    if not present:
        return None
    seconds = lengths_s[[c is not None for c in channels]]
    weights = np.array([c.coverage for c in present]) * seconds
    probs = np.average([c.probs for c in present], axis=0, weights=weights)
    return ChannelPosterior(probs / probs.sum(), float(weights.sum() / lengths_s.sum()))


def _probs(channel: ChannelPosterior | None) -> DoubleArray | None:
    return None if channel is None else channel.probs
