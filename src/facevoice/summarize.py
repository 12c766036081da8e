"""Step 8: what became of a file as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facevoice.labels import Modality, Reason, Status
from facevoice.models.compact import Posteriors
from facevoice.models.decision import choose_outcome
from facevoice.results import Prediction, Thresholds
from facevoice.types import ChannelPosterior, DoubleArray, MediaInfo


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
