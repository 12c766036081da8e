"""The compact family on the corpora with sound or film: nothing is scored by what saw its speaker.

The networks and heads in the package learnt from these very speakers, so they are not scored here.
Their recipe is: for every speaker (or fold) voice network, heads, fusion and conflict are made from
the others. The face network saw none of these corpora.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from benchmarks.congruence.one_channel import audit_one_channel
from pandas import DataFrame
from recipes.compact_data import (
    FACE,
    FILMED_SPEAKER,
    PUBLISHED,
    CompactData,
    make_all_pairs,
    voice_name,
)
from recipes.crossfit import AV_CORPUS, Channel, Scored, crossfit, fit_joint, mean_by_clip
from recipes.fitting import power
from recipes.voice_data import NUM_FOLDS

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
from facevoice.records import NUM_EMOTIONS

VOICE_MODEL = "three blocks of Whisper base, tuned without the fold's speakers, regression on them"


def used_backbones() -> tuple[UsedBackbone, ...]:
    """The face network, the untuned voice network, and each fold's, which heard other speakers."""
    face, published = create_backbone(FACE), create_backbone(voice_name(PUBLISHED))
    folds = [create_backbone(voice_name(f"fold{k}")) for k in range(NUM_FOLDS)]
    return (
        UsedBackbone(backbone_id(face), face.spec.training_corpora),
        UsedBackbone(backbone_id(published), published.spec.training_corpora),
        *(UsedBackbone(backbone_id(b), ("other folds' speakers",)) for b in folds),
    )


def run_voice(data: CompactData, command: str) -> Run:
    """The voice alone, in six speaker folds of all three corpora at once."""
    by_clip = data.tuned.all_posteriors()
    fold_of = dict(zip(data.tuned.clip_ids.tolist(), data.tuned.folds.tolist(), strict=True))
    clips = [data.clips[key] for key in by_clip]
    info = RunInfo(
        name="compact-voice",
        title="Voice of the compact family on RAVDESS, javanese and EmoDB",
        model=VOICE_MODEL,
        corpora=("ravdess", "javanese", "emodb"),
        emotion_target=Target.INTENDED,
        protocol=f"{NUM_FOLDS} speaker folds of the three corpora at once: network and regression "
        "are made from the speakers of the other five",
        command=command,
        backbones=used_backbones()[1:],
    )
    fold = [str(fold_of[clip.clip_id]) for clip in clips]
    return Run(info, emotion_predictions(clips, fold=fold, voice=list(by_clip.values())))


def run_javanese(data: CompactData, audits: Sequence[AuditResult], command: str) -> Run:
    """Face, voice, both, and conflict: one speaker of six left out at a time."""
    pairs, originals = make_all_pairs(data)
    scored = crossfit(data.faces, data.voices, pairs, originals, data.tuned)
    audits = (*audits, *audit_one_channel(pairs, scored))
    info = RunInfo(
        name="javanese",
        title="Javanese films: the compact family",
        model=f"compact face network, regression on it; {VOICE_MODEL}; late fusion, logistic "
        "conflict model on soft evidence of disagreement",
        corpora=(AV_CORPUS,),
        emotion_target=Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT,
        protocol="leave one of 6 speakers out; voice network, regressions, fusion, conflict model "
        "and threshold are made from the other five (and RAVDESS and EmoDB); calibration, fusion "
        "and conflict are fitted to the untuned voice network; pairs say the same in another take, "
        "matches and conflicts alike, face and voice cut to one length",
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


def run_filmed(data: CompactData, command: str) -> Run:
    """RAVDESS speaker 05 on film, left out of everything that was fitted."""
    without = frozenset({f"ravdess/{FILMED_SPEAKER}"})
    face = posteriors_of(data.faces, without)
    untuned, sharpness = data.voices.posteriors(without)
    voice = data.tuned.posteriors(f"ravdess/{FILMED_SPEAKER}", sharpness)
    pairs, _ = make_all_pairs(data)
    fusion, _ = fit_joint(data.faces, pairs, data.faces.posteriors(without)[0], untuned)
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
    return Run(
        info, emotion_predictions(clips, face=faces, voice=voices, fused=fusion(faces, voices))
    )


def posteriors_of(channel: Channel, speakers: frozenset[str]) -> dict[str, np.ndarray]:
    """Posteriors of these speakers' clips, by what was fitted without them."""
    _, sharpness = channel.posteriors(speakers)
    rows = np.isin(channel.samples.speakers, list(speakers))
    probs = power(channel.head(speakers)(channel.samples.embeddings[rows]), sharpness)
    return mean_by_clip(channel.clip_ids[rows], probs)
