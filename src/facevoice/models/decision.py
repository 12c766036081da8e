"""Step 7: from posteriors and coverage to one of four outcomes, with reasons."""

from __future__ import annotations

from dataclasses import dataclass

from facevoice.config import DecisionConfig
from facevoice.labels import EMOTIONS, Modality, Outcome, Reason
from facevoice.models.compact import Posteriors, flatness
from facevoice.results import Prediction, Thresholds
from facevoice.types import ChannelPosterior, DoubleArray, Window


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
