"""The conflict model given one channel only: it must know nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from benchmarks.congruence.common import PairScores, crossfit_conflict
from recipes.crossfit import ByClip

from facevoice.corpora.pairs import Pair
from facevoice.evaluation.audits import AuditResult, audit_scores


def audit_one_channel(
    pairs: Sequence[Pair], face_by_clip: ByClip, voice_by_clip: ByClip
) -> tuple[AuditResult, ...]:
    """Fit and score the conflict model, one speaker left out, with the other channel's mean."""
    face = np.array([face_by_clip[pair.face_clip_id] for pair in pairs])
    voice = np.array([voice_by_clip[pair.voice_clip_id] for pair in pairs])
    given = {
        "conflict model given the face only": (face, np.broadcast_to(voice.mean(0), voice.shape)),
        "conflict model given the voice only": (np.broadcast_to(face.mean(0), face.shape), voice),
    }
    speakers = [pair.speaker for pair in pairs]
    is_conflict = np.array([pair.is_conflict for pair in pairs])
    audits = []
    for name, (faces, voices) in given.items():
        alone = PairScores(tuple(pairs), faces, voices, np.array(speakers))
        audits.append(audit_scores(name, is_conflict, crossfit_conflict(alone).scores, speakers))
    return tuple(audits)
