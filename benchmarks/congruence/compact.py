"""The compact family on the corpora with sound or film: nothing is scored by what saw its speaker.

The heads in the package learnt from these very speakers, so they are not scored here. Their recipe
is: for every speaker (or fold) heads, fusion and conflict are made from the others. The networks
saw and heard none of these corpora.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.congruence.one_channel import audit_one_channel
from pandas import DataFrame
from recipes.compact_data import AV_CORPUS, FACE, FILMED_SPEAKER, VOICE, CompactData
from recipes.crossfit import ByClip, Family, clip_posteriors, pair_posteriors
from recipes.voice_data import ARCHIVES, NUM_FOLDS, fold_of

from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import backbone_id
from facevoice.corpora.pairs import Pair
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.predictions import (
    Run,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
)
from facevoice.records import NUM_EMOTIONS, DoubleArray

VOICE_MODEL = "three blocks of Whisper base as published, regression on them"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Out-of-speaker posteriors by clip id, and the conflict probability of each pair.

    threshold: by tested speaker, of the best balanced accuracy on the other speakers' pairs.
    """

    face: ByClip
    voice: ByClip
    fused: dict[tuple[str, str], DoubleArray]
    conflict: dict[tuple[str, str], float]
    threshold: dict[str, float]


def score_pairs(family: Family, originals: Sequence[Pair]) -> Scored:
    """All pairs and originals, each by what was fitted without its speaker; nothing is known."""
    scored = Scored({}, {}, {}, {}, {})
    for speaker in family.speakers:
        judge = family.judge(speaker)
        face = clip_posteriors(family.faces, judge.face, speaker)
        voice = clip_posteriors(family.voices, judge.voice, speaker)
        test = [p for p in (*family.pairs, *originals) if p.speaker == speaker]
        f, v = pair_posteriors(test, face, voice)
        scored.face.update(face)
        scored.voice.update(voice)
        scored.threshold[speaker] = judge.joint.threshold
        told = zip(test, judge.joint.fusion(f, v), judge.joint.conflict(f, v), strict=True)
        for pair, both, prob in told:
            key = (pair.face_clip_id, pair.voice_clip_id)
            scored.fused[key] = both
            scored.conflict[key] = float(prob)
    return scored


def used_backbones() -> tuple[UsedBackbone, ...]:
    """The face network and the voice network; they have met none of these people."""
    return tuple(
        UsedBackbone(backbone_id(b), b.spec.training_corpora)
        for b in (create_backbone(FACE), create_backbone(VOICE))
    )


def run_voice(data: CompactData, family: Family, command: str) -> Run:
    """The voice alone, in six speaker folds of all corpora at once."""
    voices = family.voices
    samples = voices.samples
    folds = np.array([fold_of(data.clips[str(clip)]) for clip in samples.clips])
    by_clip: ByClip = {}
    for fold in range(NUM_FOLDS):
        out = frozenset(str(s) for s in np.unique(samples.speakers[folds == fold]))
        for corpus in ARCHIVES:
            own = voices.speakers_of(corpus)
            head = voices.sure_head(out, own)
            for speaker in sorted(out & own):
                by_clip.update(clip_posteriors(voices, head, speaker))
    clips = [data.clips[key] for key in by_clip]
    info = RunInfo(
        name="compact-voice",
        title="Voice of the compact family on five corpora",
        model=VOICE_MODEL,
        corpora=tuple(ARCHIVES),
        emotion_target=Target.INTENDED,
        protocol=f"{NUM_FOLDS} speaker folds of all corpora at once: the regression is made from "
        "the speakers of the other five, its calibration from other corpora, each left out whole; "
        "nothing is known of a person",
        command=command,
        backbones=used_backbones()[1:],
    )
    fold = [str(fold_of(clip)) for clip in clips]
    return Run(info, emotion_predictions(clips, fold=fold, voice=list(by_clip.values())))


def run_javanese(
    data: CompactData,
    family: Family,
    originals: Sequence[Pair],
    audits: Sequence[AuditResult],
    command: str,
) -> Run:
    """Face, voice, both, and conflict: one speaker of six left out at a time."""
    pairs = tuple(family.pairs)
    scored = score_pairs(family, originals)
    audits = (*audits, *audit_one_channel(pairs, scored.face, scored.voice))
    info = RunInfo(
        name="javanese",
        title="Javanese films: the compact family",
        model=f"compact face network, regression on it; {VOICE_MODEL}; late fusion, logistic "
        "conflict model on soft evidence of disagreement",
        corpora=(AV_CORPUS,),
        emotion_target=Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT,
        protocol="leave one of 6 speakers out; regressions, calibration, fusion, conflict model "
        "and threshold are made from the other five (voices from other corpora too); nothing is "
        "known of a person; pairs say the same in another take, matches and conflicts alike, face "
        "and voice cut to one length",
        command=command,
        score_is_probability=True,
        backbones=used_backbones(),
    )
    return Run(
        info,
        emotions_of_films(data, scored),
        conflicts_of_pairs(data, (*pairs, *originals), scored),
        tuple(audits),
    )


def emotions_of_films(data: CompactData, scored: Scored) -> DataFrame:
    """Every film; a channel that was not found gives no answer, and the other one both."""
    clips = [c for c in data.clips.values() if c.corpus == AV_CORPUS and c.video_path is not None]
    nothing = np.full(NUM_EMOTIONS, np.nan)
    face = [scored.face.get(clip.clip_id, nothing) for clip in clips]
    voice = [scored.voice.get(clip.clip_id, nothing) for clip in clips]
    alone = [v if np.isnan(f).any() else f for f, v in zip(face, voice, strict=True)]
    fused = [
        scored.fused.get((clip.clip_id, clip.clip_id), other)
        for clip, other in zip(clips, alone, strict=True)
    ]
    return emotion_predictions(
        clips,
        fold=[clip.speaker_key for clip in clips],
        face=np.array(face),
        voice=np.array(voice),
        fused=np.array(fused),
    )


def conflicts_of_pairs(data: CompactData, pairs: Sequence[Pair], scored: Scored) -> DataFrame:
    keys = [(pair.face_clip_id, pair.voice_clip_id) for pair in pairs]
    face = np.array([scored.face[face] for face, _ in keys])
    voice = np.array([scored.voice[voice] for _, voice in keys])
    return conflict_predictions(
        pairs,
        data.clips,
        np.array([scored.conflict[key] for key in keys]),
        fold=[pair.speaker for pair in pairs],
        baseline_differs=face.argmax(axis=1) != voice.argmax(axis=1),
        threshold=np.array([scored.threshold[pair.speaker] for pair in pairs]),
        clarity=np.minimum(face.max(axis=1), voice.max(axis=1)),
    )


def run_filmed(data: CompactData, family: Family, command: str) -> Run:
    """RAVDESS speaker 05 on film, left out of everything that was fitted."""
    speaker = f"ravdess/{FILMED_SPEAKER}"
    out = frozenset({speaker})
    apart = family.voices.speakers_of("ravdess")
    joint = family.fit_joint(out, apart)
    face = clip_posteriors(family.faces, family.faces.sure_head(out), speaker)
    voice = clip_posteriors(family.voices, family.voices.sure_head(out, apart), speaker)
    keys = sorted(set(face) & set(voice))
    faces, voices = np.array([face[k] for k in keys]), np.array([voice[k] for k in keys])
    info = RunInfo(
        name="ravdess-film",
        title=f"RAVDESS films of speaker {FILMED_SPEAKER}: the compact family",
        model=f"compact face network, regression on it; {VOICE_MODEL}; late fusion",
        corpora=("ravdess",),
        emotion_target=Target.INTENDED,
        protocol=f"speaker {FILMED_SPEAKER} left out of all fitting. Its films are the only ones "
        "at hand: one speaker, so nothing can be said of others and no interval is given",
        command=command,
        backbones=used_backbones(),
    )
    clips = [data.clips[key] for key in keys]
    told = emotion_predictions(clips, face=faces, voice=voices, fused=joint.fusion(faces, voices))
    return Run(info, told)
