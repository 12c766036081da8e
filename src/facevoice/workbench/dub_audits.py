"""Audits of dubs: whatever knows nothing of emotion must not tell conflicts from matches.

Every face and every voice is in as many conflicts as matches, so no measure of one channel can
tell anything. What could is how the two channels' measures go together: each audit therefore gets
both, their differences, and all their products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.data.pairs import PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import AuditResult, audit_features, audit_scores
from facevoice.types import DoubleArray
from facevoice.workbench.pair_traces import PairTraces
from facevoice.workbench.traces import PacketTraces, SoundTraces

Row = list[float]
Side = Callable[[PairTraces], Row]


@dataclass(frozen=True, slots=True)
class DubAudits:
    """What the audits found.

    before: of the clips as they were recorded; shows why they are cut and made equally loud;
    after: of the dubs; these must pass;
    beyond: of the dubs with the face's own sound beside them. No dub holds that sound, so that it
    can't give anything away; it tells what would be left if the face's own speech were known;
    sync_check: the synchrony score on originals (high) against matches (low). It must succeed,
    or the synchrony audit would prove nothing;
    parameters: the different coding parameters that the dubs' two streams have.
    """

    before: tuple[AuditResult, ...]
    after: tuple[AuditResult, ...]
    beyond: tuple[AuditResult, ...]
    sync_check: AuditResult
    parameters: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the dubs give nothing away, and the synchrony score works."""
        return all(audit.passed for audit in self.after) and self.sync_check.auroc.low > 0.5


def audit_dubs(traces: Sequence[PairTraces], *, num_resamples: int = 2000) -> DubAudits:
    """Audit dubbed pairs: matches against conflicts, and originals as a check.

    Raises:
        EvaluationError: a kind of pair is missing, or there is only one speaker.
    """
    kinds = np.array([trace.timed.pair.kind.value for trace in traces])
    for kind in PairKind:
        if kind.value not in kinds:
            raise EvaluationError(f"the audits of dubs need pairs of each kind; no {kind} is there")
    spliced = [trace for trace in traces if trace.timed.pair.kind is not PairKind.ORIGINAL]
    is_conflict = np.array([trace.timed.pair.is_conflict for trace in spliced])
    speakers = [trace.timed.pair.speaker for trace in spliced]

    def audit(name: str, face: Side, voice: Side) -> AuditResult:
        features = join_sides(spliced, face, voice)
        return audit_features(name, is_conflict, features, speakers, num_resamples=num_resamples)

    sync = np.array([trace.sync for trace in spliced])
    sync_audit = audit_scores("synchrony", is_conflict, sync, speakers, num_resamples=num_resamples)
    return DubAudits(
        before=tuple(audit(name, *sides) for name, sides in _BEFORE.items()),
        after=(
            *(audit(name, *sides) for name, sides in _AFTER.items()),
            sync_audit,
            audit("all together", _all_of_face, _all_of_voice),
        ),
        beyond=tuple(audit(name, *sides) for name, sides in _BEYOND.items()),
        sync_check=_check_sync(traces, num_resamples),
        parameters=tuple(sorted({_parameters(trace) for trace in traces})),
    )


def join_sides(traces: Sequence[PairTraces], face: Side, voice: Side) -> DoubleArray:
    """Features (n, k): of the face, of the voice, and of every two of them across.

    Measures are standardised, so that differences and products are of like things; a measure that
    is the same everywhere becomes 0.
    """
    a, b = (_standardise(np.array([side(trace) for trace in traces])) for side in (face, voice))
    across = [a[:, i] - b[:, j] for i in range(a.shape[1]) for j in range(b.shape[1])]
    products = [a[:, i] * b[:, j] for i in range(a.shape[1]) for j in range(b.shape[1])]
    return np.concatenate([a, b, np.stack(across, axis=1), np.stack(products, axis=1)], axis=1)


def _standardise(values: DoubleArray) -> DoubleArray:
    spread = values.std(axis=0)
    same = spread <= 1e-9 * np.maximum(1.0, np.abs(values).max(axis=0))
    result: DoubleArray = (values - values.mean(axis=0)) / np.where(same, 1.0, spread)
    return np.where(same, 0.0, result)


def _check_sync(traces: Sequence[PairTraces], num_resamples: int) -> AuditResult:
    wanted = [trace for trace in traces if trace.timed.pair.kind is not PairKind.CONFLICT]
    return audit_scores(
        "synchrony, originals against matches",
        [trace.timed.pair.kind is PairKind.ORIGINAL for trace in wanted],
        [trace.sync for trace in wanted],
        [trace.timed.pair.speaker for trace in wanted],
        limit=1.0,
        num_resamples=num_resamples,
    )


def _coding(packets: PacketTraces | None) -> Row:
    if packets is None:
        return [0.0, 0.0, 0.0]
    return [packets.bit_rate_bps, packets.packet_bytes_mean, packets.packet_bytes_std]


def _duration(packets: PacketTraces | None) -> Row:
    return [0.0 if packets is None else packets.duration_s]


def _loudness(sound: SoundTraces | None) -> Row:
    return [0.0, 0.0] if sound is None else [sound.loudness_lufs, sound.peak_dbfs]


def _silence(sound: SoundTraces | None) -> Row:
    return [0.0, 0.0] if sound is None else [sound.lead_s, sound.trail_s]


def _parameters(trace: PairTraces) -> str:
    streams = (trace.dub.video, trace.dub.audio)
    return "; ".join("none" if s is None else s.parameters for s in streams)


# Name → what is taken of the face and of the voice.
_BEFORE: Final[dict[str, tuple[Side, Side]]] = {
    "lengths of the recordings": (
        lambda t: _duration(t.face_film.video),
        lambda t: _duration(t.voice_file.audio),
    ),
    "loudness of the recordings": (
        lambda t: _loudness(t.face_film.sound),
        lambda t: _loudness(t.voice_file.sound),
    ),
    "silences of the recordings": (
        lambda t: _silence(t.face_film.sound),
        lambda t: _silence(t.voice_file.sound),
    ),
    "coding of the recordings": (
        lambda t: _coding(t.face_film.video),
        lambda t: _coding(t.voice_file.audio),
    ),
}
# What the picture of a dub can tell of loudness is how well it packs; of silences, a still mouth.
_AFTER: Final[dict[str, tuple[Side, Side]]] = {
    "lengths": (lambda t: _duration(t.dub.video), lambda t: _duration(t.dub.audio)),
    "loudness": (lambda t: _coding(t.dub.video), lambda t: _loudness(t.dub.sound)),
    "silences": (lambda t: [t.still_lead_s, t.still_trail_s], lambda t: _silence(t.dub.sound)),
    "coding": (lambda t: _coding(t.dub.video), lambda t: _coding(t.dub.audio)),
}
_BEYOND: Final[dict[str, tuple[Side, Side]]] = {
    "loudness, face's own sound known": (
        lambda t: _loudness(t.face_sound),
        lambda t: _loudness(t.dub.sound),
    ),
    "silences, face's own sound known": (
        lambda t: _silence(t.face_sound),
        lambda t: _silence(t.dub.sound),
    ),
}


def _all_of_face(trace: PairTraces) -> Row:
    still = [trace.still_lead_s, trace.still_trail_s]
    return [*_duration(trace.dub.video), *_coding(trace.dub.video), *still, trace.sync]


def _all_of_voice(trace: PairTraces) -> Row:
    dub = trace.dub
    sound = [*_loudness(dub.sound), *_silence(dub.sound)]
    return [*_duration(dub.audio), *_coding(dub.audio), *sound]
