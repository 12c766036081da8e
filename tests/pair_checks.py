"""The one rule of pairs, checked from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import Pair, PairKind, PairPlan


def check_pairs(pairs: Sequence[Pair], clips: Sequence[Clip], plan: PairPlan) -> None:
    """Matches and conflicts keep the plan's rule, and no use of a channel tells them apart."""
    index = clips_by_id(clips)
    for pair in pairs:
        face, voice = index[pair.face_clip_id], index[pair.voice_clip_id]
        assert face.speaker_key == voice.speaker_key == pair.speaker
        assert (face.labels.intended, voice.labels.intended) == (
            pair.face_emotion,
            pair.voice_emotion,
        )
        assert not (pair.is_conflict and pair.face_emotion.is_flat and pair.voice_emotion.is_flat)
        assert plan.face_takes is None or face.take in plan.face_takes
        if pair.kind is PairKind.ORIGINAL:
            continue
        assert face.clip_id != voice.clip_id
        assert plan.voice_takes is None or voice.take in plan.voice_takes
        assert (face.sentence == voice.sentence) == plan.same_sentence
        assert not plan.same_sentence or face.take != voice.take
        assert not plan.same_intensity or face.intensity == voice.intensity
        if plan.need_files:
            assert None not in (face.video_path, voice.audio_path)
    for channel in ("face_clip_id", "voice_clip_id"):
        used = {
            kind: Counter(getattr(pair, channel) for pair in pairs if pair.kind is kind)
            for kind in PairKind
        }
        assert used[PairKind.MATCH] == used[PairKind.CONFLICT]
