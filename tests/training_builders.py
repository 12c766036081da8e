"""Small feature tables with something to learn, for the tests of training."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from facevoice.corpora.manifest import Clip
from facevoice.records import Modality
from facevoice.training.config import TrainConfig
from facevoice.training.data import FeatureTable, TokenArray, parse_clip_id
from facevoice.training.run import Source, train

VIDEO_DIM, AUDIO_DIM = 12, 16
SOURCE = Source("made.npz", "0" * 64, "facevoice train --features made.npz")
QUICK = (
    f"network.video_dim={VIDEO_DIM}",
    f"network.audio_dim={AUDIO_DIM}",
    "network.fused_dim=16",
    "network.head_dim=8",
    "network.channel_dim=8",
    "network.interaction_dim=4",
    "network.attention_dim=8",
    "network.attention_heads=2",
    "network.dropout=0.25",
    "train.batch_size=24",
    "train.learning_rate=0.01",
    "train.num_epochs=2",
    "split.num_folds=3",
    "run.trackers=[]",
)


def quick_config(*changes: str) -> TrainConfig:
    return TrainConfig.load(None, [*QUICK, *changes])


def ravdess_ids(num_speakers: int = 4) -> list[str]:
    """Both sentences and takes of all emotions, normal intensity."""
    return [
        f"03-01-{emotion:02d}-01-{sentence:02d}-{take:02d}-{speaker:02d}"
        for speaker, emotion, sentence, take in product(
            range(1, num_speakers + 1), range(1, 9), (1, 2), (1, 2)
        )
    ]


def cremad_ids(num_speakers: int = 3) -> list[str]:
    return [
        f"{speaker}_{sentence}_{emotion}_XX"
        for speaker, sentence, emotion in product(
            range(1001, 1001 + num_speakers),
            ("IEO", "TIE", "IOM"),
            ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"),
        )
    ]


def make_clips(ids: list[str]) -> tuple[Clip, ...]:
    clips = [parse_clip_id(key) for key in ids]
    assert all(isinstance(clip, Clip) for clip in clips)
    return tuple(clip for clip in clips if isinstance(clip, Clip))


def make_table(
    ids: list[str] | None = None, *, num_tokens: int = 1, noise: float = 0.7, seed: int = 0
) -> FeatureTable:
    """Embeddings whose first eight numbers say the emotion, under noise."""
    clips = make_clips(ravdess_ids() + cremad_ids() if ids is None else ids)
    rng = np.random.default_rng(seed)
    arrays = {}
    for modality, dim in ((Modality.VIDEO, VIDEO_DIM), (Modality.AUDIO, AUDIO_DIM)):
        tokens = rng.normal(0, noise, (len(clips), num_tokens, dim)).astype(np.float32)
        for row, clip in enumerate(clips):
            assert clip.labels.intended is not None
            tokens[row, :, clip.labels.intended.position] += 2.0
        lengths = np.full(len(clips), num_tokens, dtype=np.int64)
        if num_tokens > 1:
            lengths = rng.integers(1, num_tokens + 1, len(clips))
        arrays[modality] = TokenArray(tokens, lengths, f"made-{modality}@1", ("kinetics-400",))
    return FeatureTable(clips, arrays)


def write_feature_file(path: Path, table: FeatureTable) -> Path:
    """As an npz with the file names of the corpora."""
    ids = [clip.clip_id.partition("/")[2] for clip in table.clips]
    np.savez(
        path,
        clip_id=np.array([f"03-{key}" if len(key) == 17 else key for key in ids]),
        video_768=table.arrays[Modality.VIDEO].tokens[:, 0].astype(np.float16),
        audio_1024=table.arrays[Modality.AUDIO].tokens[:, 0].astype(np.float16),
    )
    return path


def train_without_dropout(out: Path) -> None:
    """What any number of processes must compute alike; dropout differs among them."""
    config = quick_config(
        "network.fusion=attention",
        "network.dropout=0",
        "network.input_dropout=0",
        "train.batch_size=25",
        "train.num_epochs=1",
        "train.ema=0.9",
    )
    train(config, make_table(num_tokens=2), out, SOURCE, cpu=True)
