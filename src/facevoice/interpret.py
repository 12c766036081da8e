"""Step 7: from posteriors and coverage to one of four outcomes, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facevoice.models.heads import Posteriors, flatness
from facevoice.records import (
    EMOTIONS,
    ChannelPosterior,
    DoubleArray,
    MediaInfo,
    Modality,
    Outcome,
    Prediction,
    Reason,
    Status,
    Thresholds,
    Window,
)
from facevoice.settings import DecisionConfig


@dataclass(frozen=True, slots=True)
class Evidence:
    """Which channels of a window are worth scoring, and why the others are not."""

    modalities: frozenset[Modality]
    reasons: tuple[Reason, ...]


def weigh_evidence(
    window: Window,
    config: DecisionConfig,
    modalities: frozenset[Modality] = frozenset(Modality),
    *,
    tells_conflict: bool = True,
) -> Evidence:
    """Tell which channels give enough evidence, before any network runs.

    Args:
        window: what was seen and heard.
        config: how much is enough.
        modalities: channels that the model reads; nothing is asked of others.
        tells_conflict: whether the model can compare them.
    """
    if window.duration_s < config.min_window_s:
        return Evidence(frozenset(), (Reason.TOO_SHORT,))
    missing = {Modality.VIDEO: _missing_face, Modality.AUDIO: _missing_voice}
    found = {m: ask(window, config) for m, ask in missing.items() if m in modalities}
    reasons = tuple(r for r in found.values() if r is not None)
    enough = frozenset(m for m, r in found.items() if r is None)
    if not tells_conflict:
        reasons += (Reason.MODEL_WITHOUT_CONFLICT,)
    if window.num_tracks > 1 and Modality.VIDEO in enough:
        reasons += (Reason.SEVERAL_FACES,)
    return Evidence(enough, reasons)


def _missing_face(window: Window, config: DecisionConfig) -> Reason | None:
    if window.faces is None:
        return Reason.NO_FACE
    if not has_enough_face(window.face_coverage, config):
        return Reason.FACE_TOO_SELDOM
    return None


def _missing_voice(window: Window, config: DecisionConfig) -> Reason | None:
    speech_s = window.speech_coverage * window.duration_s
    if window.samples is None or speech_s == 0:
        return Reason.NO_SPEECH
    if not has_enough_speech(speech_s, window.duration_s, config):
        return Reason.SPEECH_TOO_SHORT
    return None


def has_enough_face(coverage: float, config: DecisionConfig) -> bool:
    """Whether the leading face is in enough of a window's sampled frames."""
    return coverage >= config.min_face_coverage


def has_enough_speech(speech_s: float, duration_s: float, config: DecisionConfig) -> bool:
    """Whether a window of `duration_s` with `speech_s` of speech is worth scoring."""
    # A window shorter than twice the minimum can't be asked for more than half its length.
    return speech_s >= min(config.min_speech_s, duration_s / 2)


def is_flat(probs: DoubleArray, thresholds: Thresholds) -> bool:
    """Whether a posterior (8,) carries no clear emotion."""
    clearest = max(float(p) for p, e in zip(probs, EMOTIONS, strict=True) if not e.is_flat)
    return flatness(probs) >= thresholds.flat_above or clearest < thresholds.clear_above


def choose_outcome(
    posteriors: Posteriors, thresholds: Thresholds | None
) -> tuple[Outcome, tuple[Reason, ...]]:
    """Choose the outcome that posteriors warrant; none without thresholds.

    Flatness is asked first: a neutral channel beside an expressive one is how people mostly
    differ between face and voice, and it contradicts nothing.
    """
    face, voice, conflict = posteriors.face, posteriors.voice, posteriors.conflict
    if face is None or voice is None or conflict is None or thresholds is None:
        return Outcome.INSUFFICIENT, ()
    flat = {
        Reason.FACE_FLAT: is_flat(face, thresholds),
        Reason.VOICE_FLAT: is_flat(voice, thresholds),
    }
    if any(flat.values()):
        return Outcome.FLAT, tuple(reason for reason, holds in flat.items() if holds)
    if conflict >= thresholds.conflict_above:
        return Outcome.CONFLICT, ()
    if conflict <= thresholds.match_below:
        return Outcome.MATCH, ()
    return Outcome.INSUFFICIENT, (Reason.UNDECIDED,)


def decide(
    window: Window, evidence: Evidence, posteriors: Posteriors, thresholds: Thresholds | None
) -> Prediction:
    """Put one window's posteriors, outcome and reasons together."""
    outcome, reasons = choose_outcome(posteriors, thresholds)
    coverage = max(window.face_coverage, window.speech_coverage)
    return Prediction(
        start_s=window.start_s,
        end_s=window.end_s,
        face=_channel(posteriors.face, window.face_coverage),
        voice=_channel(posteriors.voice, window.speech_coverage),
        fused=_channel(posteriors.fused, coverage),
        conflict=posteriors.conflict,
        outcome=outcome,
        reasons=evidence.reasons + reasons,
        face_coverage=window.face_coverage,
        speech_coverage=window.speech_coverage,
    )


def _channel(probs: DoubleArray | None, coverage: float) -> ChannelPosterior | None:
    return None if probs is None else ChannelPosterior(probs, coverage)


# Step 8: what became of a file as a whole.


def with_stream_reasons(prediction: Prediction, info: MediaInfo) -> Prediction:
    """Say "no such stream" rather than "no face" or "no speech" where the file lacks one."""
    swaps = {}
    if not info.has_video:
        swaps[Reason.NO_FACE] = Reason.NO_VIDEO_STREAM
    if not info.has_audio:
        swaps[Reason.NO_SPEECH] = Reason.NO_AUDIO_STREAM
    if not swaps:
        return prediction
    return replace(prediction, reasons=tuple(swaps.get(r, r) for r in prediction.reasons))


def file_status(
    info: MediaInfo,
    predictions: Sequence[Prediction],
    *,
    damaged: bool,
    modalities: frozenset[Modality] = frozenset(Modality),
) -> Status:
    """What became of a file as a whole; a channel that the model doesn't read lacks nothing."""
    if damaged:
        return Status.TRUNCATED
    if not info.has_video:
        return Status.AUDIO_ONLY
    if not info.has_audio:
        return Status.VIDEO_ONLY
    has_face = Modality.VIDEO not in modalities or any(p.face is not None for p in predictions)
    has_voice = Modality.AUDIO not in modalities or any(p.voice is not None for p in predictions)
    if has_face and has_voice:
        return Status.OK
    if has_face:
        return Status.NO_SPEECH
    return Status.NO_FACE if has_voice else Status.NO_FACE_NO_SPEECH


def summarize(predictions: Sequence[Prediction], thresholds: Thresholds | None) -> Prediction:
    """A whole file as one prediction, windows weighted by their coverage.

    Conflict is the mean over the windows that have one, not a new comparison of mean
    posteriors: a person may conflict for a minute and match for the rest.
    """
    face = _pool([p.face for p in predictions])
    voice = _pool([p.voice for p in predictions])
    fused = _pool([p.fused for p in predictions])
    conflicts = [p.conflict for p in predictions if p.conflict is not None]
    conflict = float(np.mean(conflicts)) if conflicts else None
    posteriors = Posteriors(_probs(face), _probs(voice), _probs(fused), conflict)
    outcome, reasons = choose_outcome(posteriors, thresholds)
    if not conflicts:
        everywhere = [set(p.reasons) for p in predictions]
        reasons += tuple(r for r in Reason if all(r in found for found in everywhere))
    lengths = np.array([p.end_s - p.start_s for p in predictions])
    return Prediction(
        start_s=predictions[0].start_s,
        end_s=predictions[-1].end_s,
        face=face,
        voice=voice,
        fused=fused,
        conflict=conflict,
        outcome=outcome,
        reasons=reasons,
        face_coverage=float(np.average([p.face_coverage for p in predictions], weights=lengths)),
        speech_coverage=float(
            np.average([p.speech_coverage for p in predictions], weights=lengths)
        ),
    )


def _pool(channels: Sequence[ChannelPosterior | None]) -> ChannelPosterior | None:
    present = [c for c in channels if c is not None]
    if not present:
        return None
    weights = np.array([c.coverage for c in present])
    probs = np.average([c.probs for c in present], axis=0, weights=weights)
    return ChannelPosterior(probs / probs.sum(), float(weights.sum() / len(channels)))


def _probs(channel: ChannelPosterior | None) -> DoubleArray | None:
    return None if channel is None else channel.probs
