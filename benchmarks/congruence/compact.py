"""The compact family on the corpora with sound or film: nothing is scored by what saw its speaker.

The heads in the package learnt from these very speakers, so they are not scored here. Their recipe
is: for every speaker (or fold) heads, fusion and conflict are fitted on the others. The networks
below saw none of these corpora. Films and sounds of the javanese corpus are cut to the common
length of their speaker's sentence, since lengths give conflicts away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.congruence.one_channel import audit_one_channel
from recipes.crossfit import (
    Channel,
    Scored,
    crossfit,
    fit_joint,
    folded_posteriors,
    make_channels,
    mean_by_clip,
)
from recipes.fitting import Samples, power
from recipes.heads import make_samples

from facevoice.data.archive import corpus_root
from facevoice.data.clips import Clip, clips_by_id
from facevoice.data.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs
from facevoice.data.registry import create_corpus
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.predictions import (
    ConflictPredictions,
    EmotionPredictions,
    Run,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
)
from facevoice.features.backbone import create_backbone
from facevoice.features.extract import backbone_id
from facevoice.labels import NUM_EMOTIONS, Modality
from facevoice.workbench.extraction import extract_clips
from facevoice.workbench.pair_making import spoken_ends, spoken_lengths
from facevoice.workbench.prepare import probe_clips
from facevoice.workbench.stored_features import ClipFeatures, read_features

AV_CORPUS = "javanese"
# The archive that holds each corpus; RAVDESS' sound and its few films come in two.
ARCHIVES = {"javanese": "javanese", "ravdess": "ravdess_audio", "emodb": "emodb"}
FILMED, FILMED_SPEAKER = "ravdess_av", "05"
FACE, VOICE = "compact-face", "compact-voice"
NUM_FOLDS = 6


@dataclass(frozen=True, slots=True, eq=False)
class CompactData:
    """Clips by id, and both channels with every corpus that has them."""

    clips: Mapping[str, Clip]
    lengths_s: Mapping[str, float]
    faces: Channel
    voices: Channel


def read_data(corpora: Path, work: Path, jobs: int) -> CompactData:
    """Unpack, probe and extract what is not there yet, then read all features."""
    found = {name: read_clips(corpora, work, name, ARCHIVES[name]) for name in ARCHIVES}
    # The filmed clips' own ids are those of the sound archive: keep them apart.
    filmed = read_clips(corpora, work, "ravdess", FILMED)
    av_clips = found[AV_CORPUS]
    lengths_s = spoken_lengths(av_clips, PAIR_PLANS[AV_CORPUS], spoken_ends(av_clips, jobs))
    store = work / "features.db"
    faces = read_channel([*av_clips, *filmed], store, FACE, lengths_s, jobs)
    voices = read_channel(
        [c for part in found.values() for c in part], store, VOICE, lengths_s, jobs
    )
    clips = clips_by_id([c for part in found.values() for c in part])
    clips.update(clips_by_id(filmed))
    return CompactData(clips, lengths_s, *make_channels(*faces, *voices, AV_CORPUS))


def read_clips(corpora: Path, work: Path, name: str, archive: str) -> list[Clip]:
    clips = create_corpus(name).clips(corpus_root(corpora, archive, work=work))
    labelled = [clip for clip in clips if clip.labels.intended is not None]
    return list(probe_clips(labelled, facts_path=work / "lengths.jsonl").clips)


def read_channel(
    clips: Sequence[Clip], store: Path, backbone: str, limits_s: Mapping[str, float], jobs: int
) -> tuple[Samples, tuple[str, ...]]:
    """One sample a window in which the channel is seen or heard, and its clip's id."""
    channel = Modality.VIDEO if backbone == FACE else Modality.AUDIO
    has = [c for c in clips if (c.video_path if channel is Modality.VIDEO else c.audio_path)]
    report = extract_clips(
        has,
        store,
        backbones=[backbone],
        limits_s=limits_s,
        jobs=jobs,
        modalities=frozenset({channel}),
    )
    for problem in report.problems:
        print(f"left out: {problem}", flush=True)
    features = read_features(has, store, backbone=backbone, limits_s=limits_s)
    by_id = clips_by_id(has)
    rows = [(by_id[key], kept) for key, clip in features.items() for kept in windows_of(clip)]
    samples = make_samples(
        np.array([embedding for _, embedding in rows], dtype=np.float64),
        [clip.labels.intended for clip, _ in rows],
        [clip.corpus for clip, _ in rows],
        [str(clip.speaker_key) for clip, _ in rows],
    )
    return samples, tuple(clip.clip_id for clip, _ in rows)


def windows_of(clip: ClipFeatures) -> np.ndarray:
    return clip.embeddings[clip.mask]


def used_backbones(*names: str) -> tuple[UsedBackbone, ...]:
    backbones = [create_backbone(name) for name in names]
    return tuple(UsedBackbone(backbone_id(b), b.spec.training_corpora) for b in backbones)


def run_voice(data: CompactData, command: str) -> Run:
    """The voice alone, in six speaker folds of all three corpora at once."""
    folds, probs = folded_posteriors(data.voices, NUM_FOLDS)
    by_clip = mean_by_clip(data.voices.clip_ids, probs)
    fold_of = dict(zip(data.voices.clip_ids.tolist(), folds.tolist(), strict=True))
    clips = [data.clips[key] for key in by_clip]
    info = RunInfo(
        name="compact-voice",
        title="Voice of the compact family on RAVDESS, javanese and EmoDB",
        model="three blocks of Whisper base as published, regression on them",
        corpora=("ravdess", "javanese", "emodb"),
        emotion_target=Target.INTENDED,
        protocol=f"{NUM_FOLDS} speaker folds of the three corpora at once: the regression is "
        "fitted on the speakers of the other five",
        command=command,
        backbones=used_backbones(VOICE),
    )
    fold = [str(fold_of[clip.clip_id]) for clip in clips]
    return Run(info, emotion_predictions(clips, fold=fold, voice=list(by_clip.values())))


def make_all_pairs(data: CompactData) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Pairs and originals of the audio-visual corpus, of clips whose face and voice were found."""
    seen, heard = set(data.faces.clip_ids.tolist()), set(data.voices.clip_ids.tolist())
    found = [
        replace(
            clip,
            video_path=clip.video_path if clip.clip_id in seen else None,
            audio_path=clip.audio_path if clip.clip_id in heard else None,
        )
        for clip in data.clips.values()
        if clip.corpus == AV_CORPUS
    ]
    plan = PAIR_PLANS[AV_CORPUS]
    originals = [pair for pair in original_pairs(found, plan) if pair.voice_clip_id in heard]
    return make_pairs(found, plan), tuple(originals)


def run_javanese(data: CompactData, audits: Sequence[AuditResult], command: str) -> Run:
    """Face, voice, both, and conflict: one speaker of six left out at a time."""
    pairs, originals = make_all_pairs(data)
    scored = crossfit(data.faces, data.voices, pairs, originals)
    audits = (*audits, *audit_one_channel(pairs, scored))
    info = RunInfo(
        name="javanese",
        title="Javanese films: the compact family",
        model="compact face and voice networks, regressions on them, late fusion, logistic "
        "conflict model on soft evidence of disagreement",
        corpora=(AV_CORPUS,),
        emotion_target=Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT,
        protocol="leave one of 6 speakers out; regressions, fusion, conflict model and threshold "
        "are fitted on the other five (and on RAVDESS and EmoDB); pairs say the same in another "
        "take, matches and conflicts alike, face and voice cut to one length",
        command=command,
        score_is_probability=True,
        backbones=used_backbones(FACE, VOICE),
    )
    return Run(
        info,
        emotions_of_films(data, scored),
        conflicts_of_pairs(data, (*pairs, *originals), scored),
        tuple(audits),
    )


def emotions_of_films(data: CompactData, scored: Scored) -> EmotionPredictions:
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


def conflicts_of_pairs(
    data: CompactData, pairs: Sequence[Pair], scored: Scored
) -> ConflictPredictions:
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
    face, voice = (posteriors_of(channel, without) for channel in (data.faces, data.voices))
    pairs, _ = make_all_pairs(data)
    fusion, _ = fit_joint(
        data.faces, pairs, data.faces.posteriors(without)[0], data.voices.posteriors(without)[0]
    )
    keys = sorted(set(face) & set(voice))
    faces, voices = np.array([face[k] for k in keys]), np.array([voice[k] for k in keys])
    info = RunInfo(
        name="ravdess-film",
        title=f"RAVDESS films of speaker {FILMED_SPEAKER}: the compact family",
        model="compact face and voice networks, regressions on them, late fusion",
        corpora=("ravdess",),
        emotion_target=Target.INTENDED,
        protocol=f"speaker {FILMED_SPEAKER} left out of all fitting. Its films are the only ones "
        "at hand: one speaker, so nothing can be said of others and no interval is given",
        command=command,
        backbones=used_backbones(FACE, VOICE),
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
