"""What heads are fitted to and scored on: both channels of every corpus, as analysis embeds them.

Films and sounds of the javanese corpus are cut to the common length of their speaker's sentence,
since lengths give conflicts away. Of every window of sound there is a spoilt copy too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
from recipes.fitting import Samples
from recipes.voice_augment import spoil, warp
from recipes.voice_data import ARCHIVES, cut_windows, emotions_of, read_sounds

from facevoice.backbones.compact import (
    CompactVoice,
    log_mel_power,
    normalize,
    trim_silence,
)
from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import backbone_id
from facevoice.corpora.archive import corpus_root
from facevoice.corpora.extract import extract_clips, read_features
from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs, spoken_lengths
from facevoice.corpora.prepare import probe_clips
from facevoice.records import FloatArray, Modality
from facevoice.spectra import cut_low

AV_CORPUS = "javanese"
FILMED, FILMED_SPEAKER = "ravdess_av", "05"
FACE, VOICE = "compact-face", "compact-voice"
MAX_FRAMES = 998  # What the voice network has positions for.


@dataclass(frozen=True, slots=True, eq=False)
class CompactData:
    """Clips by id; faces and voices, a row a window in which the channel is seen or heard.

    spoilt: copies of the voices' windows, to learn from only.
    """

    clips: Mapping[str, Clip]
    lengths_s: Mapping[str, float]
    faces: Samples
    voices: Samples
    spoilt: Samples


def read_data(corpora: Path, work: Path, jobs: int) -> CompactData:
    """Unpack, probe and extract what is not there yet, then read all features."""
    found = {name: read_clips(corpora, work, name, ARCHIVES[name]) for name in ARCHIVES}
    # The filmed clips' own ids are those of the sound archive: keep them apart.
    filmed = read_clips(corpora, work, "ravdess", FILMED)
    av_clips = found[AV_CORPUS]
    lengths_s = spoken_lengths(av_clips, PAIR_PLANS[AV_CORPUS], jobs)
    store = work / "features.db"
    faces = read_channel([*av_clips, *filmed], store, FACE, lengths_s, jobs)
    heard = [c for part in found.values() for c in part]
    voices = read_channel(heard, store, VOICE, lengths_s, jobs)
    clips = clips_by_id(heard)
    spoilt = read_spoilt(heard, work)
    clips.update(clips_by_id(filmed))
    return CompactData(clips, lengths_s, faces, voices, spoilt)


def read_clips(corpora: Path, work: Path, name: str, archive: str) -> list[Clip]:
    clips = create_corpus(name).clips(corpus_root(corpora, archive, work=work))
    labelled = [clip for clip in clips if clip.labels.intended is not None]
    return list(probe_clips(labelled).clips)


def read_channel(
    clips: Sequence[Clip], store: Path, backbone: str, limits_s: Mapping[str, float], jobs: int
) -> Samples:
    """A row a window in which the channel is seen or heard."""
    channel = create_backbone(backbone).spec.modality
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
    by_id = clips_by_id(has)
    features = read_features(has, store, backbone=backbone, limits_s=limits_s)
    rows = [
        (by_id[key], row) for key, clip in features.items() for row in clip.embeddings[clip.mask]
    ]
    return make_samples([clip for clip, _ in rows], np.array([row for _, row in rows]))


def make_samples(clips: Sequence[Clip], embeddings: FloatArray, *, spoilt: bool = False) -> Samples:
    """Of the clip of each row of `embeddings`."""
    present = {name: emotions_of(name) for name in {clip.corpus for clip in clips}}
    emotions = [clip.labels.intended for clip in clips]
    return Samples(
        embeddings,
        np.array([-1 if emotion is None else emotion.position for emotion in emotions]),
        np.array([present[clip.corpus] for clip in clips]),
        np.array([str(clip.speaker_key) for clip in clips]),
        np.array([clip.corpus for clip in clips]),
        np.array([clip.clip_id for clip in clips]),
        np.full(len(clips), spoilt),
    )


def read_spoilt(clips: Sequence[Clip], work: Path) -> Samples:
    """A spoilt copy of each window, kept in WORK; the same for the same network and clips."""
    network = CompactVoice()
    text = " ".join([backbone_id(network), *(clip.clip_id for clip in clips)])
    target = work / f"spoilt-{crc32(text.encode()):08x}.npz"
    if not target.exists():
        rows = [(place, row) for place, row in _spoil(clips, network)]
        places, embeddings = zip(*rows, strict=True)
        np.savez(target, places=np.array(places), embeddings=np.array(embeddings))
    with np.load(target, allow_pickle=False) as file:
        kept = [clips[place] for place in file["places"].tolist()]
        return make_samples(kept, file["embeddings"].astype(np.float32), spoilt=True)


def _spoil(clips: Sequence[Clip], network: CompactVoice) -> list[tuple[int, FloatArray]]:
    rng, rows = np.random.default_rng(1), []
    for place, clip in enumerate(clips):
        if place % 500 == 0:
            print(f"spoiling sound: {place} of {len(clips)} clips", flush=True)
        for window in cut_windows(read_sounds([clip])[0]):
            power = log_mel_power(cut_low(spoil(window, rng)))
            power = trim_silence(power, int(rng.integers(4, 16)))
            if rng.random() < 0.7:
                power = warp(power, rng)
            mel = normalize(np.ascontiguousarray(power[:, :MAX_FRAMES]))
            rows.append((place, network.embed_mel(mel).astype(np.float16)))
    return rows


def make_all_pairs(data: CompactData) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Pairs and originals of the audio-visual corpus, of clips whose face and voice were found."""
    seen, heard = set(data.faces.clips.tolist()), set(data.voices.clips.tolist())
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
