"""The shipped voice network: Whisper base's first three blocks, pooled, in int8.

    python -m recipes.voice_encoder export --wheels WHEELS --work WORK
    python -m recipes.install --voice WORK/voice.onnx
    python -m recipes.voice_encoder embed --corpora CORPORA --work WORK

`export` writes WORK/voice.onnx from the wheels that `recipes.whisper_base` names; `embed` runs the
installed network over every clip of the three corpora, window by window as in analysis, and writes
WORK/voices.npz for `recipes.heads`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from recipes.voice_export import OPSET, quantize
from recipes.voice_net import NUM_BLOCKS, VoiceNet
from recipes.whisper_base import load_encoder
from torch import Tensor, nn

from facevoice.config import WindowConfig
from facevoice.data.archive import corpus_root
from facevoice.data.clips import Clip
from facevoice.data.registry import create_corpus
from facevoice.features.compact import CompactVoice
from facevoice.media.audio import read_audio
from facevoice.perception.windows import window_spans
from facevoice.types import SAMPLE_RATE_HZ, Window

ARCHIVES = {"ravdess": "ravdess_audio", "javanese": "javanese", "emodb": "emodb"}


class Encoder(nn.Module):
    """mel (B, 80, T) and frames in use (B,) to the pooled tokens (B, 1024)."""

    def __init__(self, net: VoiceNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, mel: Tensor, num_frames: Tensor) -> Tensor:
        return self.net.pool(*self.net.lower(mel, num_frames))


def run_export(arguments: argparse.Namespace) -> None:
    net = VoiceNet()
    net.load_whisper(load_encoder(arguments.work, NUM_BLOCKS, arguments.wheels))
    plain, target = arguments.work / "voice.float.onnx", arguments.work / "voice.onnx"
    torch.onnx.export(
        Encoder(net).eval(),
        (torch.randn(2, 80, 211), torch.tensor([211, 120])),
        str(plain),
        dynamo=False,
        opset_version=OPSET,
        input_names=["mel", "num_frames"],
        output_names=["embedding"],
        dynamic_axes={
            "mel": {0: "batch", 2: "frames"},
            "num_frames": {0: "batch"},
            "embedding": {0: "batch"},
        },
    )
    quantize(plain, target)
    print(f"{target}: {target.stat().st_size} bytes, float32 {plain.stat().st_size} bytes")


def embed_clip(voice: CompactVoice, clip: Clip) -> np.ndarray:
    """Embeddings (number of windows, 1024) of one clip."""
    if clip.audio_path is None:
        raise SystemExit(f"{clip.clip_id} has no sound")
    samples = np.concatenate([block.samples for block in read_audio(clip.audio_path)])
    windows = []
    for start_s, end_s in window_spans(len(samples) / SAMPLE_RATE_HZ, WindowConfig()):
        part = samples[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]
        windows.append(Window(start_s, end_s, None, part, 0.0, 1.0))
    return voice.embed(windows)


def run_embed(arguments: argparse.Namespace) -> None:
    voice, rows = CompactVoice(), []
    for name, archive in ARCHIVES.items():
        root = corpus_root(arguments.corpora, archive, work=arguments.work)
        clips = [c for c in create_corpus(name).clips(root) if c.labels.intended is not None]
        for clip in clips:
            rows += [(clip, embedding) for embedding in embed_clip(voice, clip)]
        print(f"{name}: {len(clips)} clips, {len(rows)} windows so far", flush=True)
    target = arguments.work / "voices.npz"
    np.savez(
        target,
        clip_id=np.array([clip.clip_id for clip, _ in rows]),
        corpus=np.array([clip.corpus for clip, _ in rows]),
        speaker=np.array([clip.speaker_key for clip, _ in rows]),
        emotion=np.array([str(clip.labels.intended) for clip, _ in rows]),
        embedding=np.array([embedding for _, embedding in rows]),
        network=np.array(voice.model.sha256),
    )
    print(f"{target}: {len(rows)} windows")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["export", "embed"])
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--wheels", type=Path, help="folder with the two Whisper wheels")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"export": run_export, "embed": run_embed}[arguments.command](arguments)


if __name__ == "__main__":
    main()
