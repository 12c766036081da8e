"""What heads are fitted to and scored on: both channels of every corpus, as analysis embeds them.

Films and sounds of the javanese corpus are cut to the common length of their speaker's sentence,
since lengths give conflicts away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from recipes.crossfit import AV_CORPUS, Channel, TunedVoices, make_channels
from recipes.fitting import Samples
from recipes.voice_data import ALL, ARCHIVES, NUM_FOLDS, fold_of, make_samples

from facevoice.backbones.compact import CompactVoice
from facevoice.backbones.registry import backbone_names, create_backbone, register_backbone
from facevoice.corpora.archive import corpus_root
from facevoice.corpora.extract import ClipFeatures, extract_clips, read_features
from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs, spoken_lengths
from facevoice.corpora.prepare import probe_clips
from facevoice.records import Modality

FILMED, FILMED_SPEAKER = "ravdess_av", "05"
FACE = "compact-face"
PUBLISHED = "published"


@dataclass(frozen=True, slots=True, eq=False)
class CompactData:
    """Clips by id; faces; voices by the untuned network, and by the tuned ones that left some out.

    shipped: windows of every clip as the network tuned on all of them embeds them;
    tuned, shipped: None where only the untuned network was asked.
    """

    clips: Mapping[str, Clip]
    lengths_s: Mapping[str, float]
    faces: Channel
    voices: Channel
    tuned: TunedVoices | None
    shipped: Samples | None


def voice_name(part: str) -> str:
    """The backbone's name of a network that `recipes.voice` wrote."""
    return f"compact-voice-{part}"


def register_voices(work: Path, parts: Sequence[str]) -> None:
    """Make the networks in WORK/voice known.

    Raises:
        SystemExit: one is missing.
    """
    for part in parts:
        path = work / "voice" / f"{part}.onnx"
        if not path.is_file():
            raise SystemExit(f"{path} is missing: make it with python -m recipes.voice")
        if voice_name(part) not in backbone_names():
            register_backbone(voice_name(part), _factory(part, path))


def _factory(part: str, path: Path) -> Callable[[int], CompactVoice]:
    changes = {"name": voice_name(part)}
    if part == PUBLISHED:  # it has heard none of the corpora
        changes |= {"license": "MIT (OpenAI Whisper)", "training_corpora": ()}

    def build(num_threads: int) -> CompactVoice:
        voice = CompactVoice(num_threads=num_threads, network=path)
        voice.spec = replace(voice.spec, **changes)
        return voice

    return build


def read_data(corpora: Path, work: Path, jobs: int, *, untuned: bool = False) -> CompactData:
    """Unpack, probe and extract what is not there yet, then read all features.

    untuned: of voices, only what the published network makes of them.
    """
    found = {name: read_clips(corpora, work, name, ARCHIVES[name]) for name in ARCHIVES}
    # The filmed clips' own ids are those of the sound archive: keep them apart.
    filmed = read_clips(corpora, work, "ravdess", FILMED)
    av_clips = found[AV_CORPUS]
    lengths_s = spoken_lengths(av_clips, PAIR_PLANS[AV_CORPUS], jobs)
    store = work / "features.db"
    faces = read_channel([*av_clips, *filmed], store, (FACE,), lengths_s, jobs)[FACE]
    folds = [f"fold{k}" for k in range(NUM_FOLDS)]
    parts = (PUBLISHED,) if untuned else (PUBLISHED, ALL, *folds)
    register_voices(work, parts)
    heard = [c for part in found.values() for c in part]
    # In this process: others don't know the networks that were registered just now.
    voices = read_channel(heard, store, [voice_name(part) for part in parts], lengths_s, jobs=1)
    clips = clips_by_id(heard)
    plain, plain_ids = voices[voice_name(PUBLISHED)]
    if any(ids != plain_ids for _, ids in voices.values()):
        raise SystemExit(f"{store}: the voice networks have embedded different windows; delete it")
    clips.update(clips_by_id(filmed))
    channels = make_channels(*faces, plain, plain_ids)
    if untuned:
        return CompactData(clips, lengths_s, *channels, None, None)
    tuned = TunedVoices(
        tuple(voices[voice_name(part)][0] for part in folds),
        plain_ids,
        np.array([fold_of(clips[key]) for key in plain_ids]),
    )
    return CompactData(clips, lengths_s, *channels, tuned, voices[voice_name(ALL)][0])


def read_clips(corpora: Path, work: Path, name: str, archive: str) -> list[Clip]:
    clips = create_corpus(name).clips(corpus_root(corpora, archive, work=work))
    labelled = [clip for clip in clips if clip.labels.intended is not None]
    return list(probe_clips(labelled).clips)


def read_channel(
    clips: Sequence[Clip],
    store: Path,
    backbones: Sequence[str],
    limits_s: Mapping[str, float],
    jobs: int,
) -> dict[str, tuple[Samples, tuple[str, ...]]]:
    """By backbone: a sample a window in which the channel is seen or heard, and its clip's id."""
    channel = create_backbone(backbones[0]).spec.modality
    has = [c for c in clips if (c.video_path if channel is Modality.VIDEO else c.audio_path)]
    report = extract_clips(
        has,
        store,
        backbones=backbones,
        limits_s=limits_s,
        jobs=jobs,
        modalities=frozenset({channel}),
    )
    for problem in report.problems:
        print(f"left out: {problem}", flush=True)
    by_id = clips_by_id(has)
    found = {}
    for backbone in backbones:
        features = read_features(has, store, backbone=backbone, limits_s=limits_s)
        rows = [(by_id[key], kept) for key, clip in features.items() for kept in windows_of(clip)]
        samples = make_samples(
            np.array([embedding for _, embedding in rows], dtype=np.float64),
            [clip.labels.intended for clip, _ in rows],
            [clip.corpus for clip, _ in rows],
            [str(clip.speaker_key) for clip, _ in rows],
        )
        found[backbone] = samples, tuple(clip.clip_id for clip, _ in rows)
    return found


def windows_of(clip: ClipFeatures) -> np.ndarray:
    return clip.embeddings[clip.mask]


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
