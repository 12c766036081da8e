"""The full model's backbones at their real size, with random weights: size, parity, CPU time.

    python benchmarks/full_backbones.py CLIP                    both default backbones
    python benchmarks/full_backbones.py CLIP --only video       one of them
    python benchmarks/full_backbones.py CLIP --runs 7

Makes checkpoints of the default backbones' published shapes with random weights, in the published
format, loads them as any other checkpoint, exports them, and embeds the first 4-s window of CLIP
(or the whole clip, if it is shorter) in torch float32, ONNX float32 and ONNX int8, one thread each.
What the embeddings say is meaningless; how large, how near to each other and how fast they are is
not. Backbones run one after the other, each in its own process. Needs 7 GB of memory, 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from facevoice.backbones.export import export_backbone
from facevoice.backbones.huggingface import DEFAULT_BACKBONES, PRETRAINED
from facevoice.backbones.onnx import FP32_FILE, INT8_FILE
from facevoice.backbones.spec import TokenBackbone, create_backbone
from facevoice.media.open import probe
from facevoice.models.checkpoint import FUSIONS, NetworkConfig
from facevoice.models.fusion import FusionNetwork, count_parameters
from facevoice.people.detect import create_detector
from facevoice.perceive import read_windows
from facevoice.records import FloatArray, Modality, Window
from facevoice.settings import AnalyzerConfig

# As published: MCG-NJU/videomae-base and jonatasgrosman/wav2vec2-large-xlsr-53-english.
FACE_PREPROCESSOR = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
    "size": 224,
}
VOICE_PREPROCESSOR = {
    "do_normalize": True,
    "feature_size": 1,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}
VIDEO_CONFIG = {"use_mean_pooling": False}
AUDIO_CONFIG = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_bias": True,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One runtime of one backbone."""

    runtime: str
    megabytes: float
    cpu_s: float
    max_difference: float
    relative_difference: float
    cosine: float
    token_cosine: float


@dataclass(frozen=True, slots=True)
class Result:
    """One backbone."""

    name: str
    parts: dict[str, int]
    rows: tuple[Row, ...]
    load_s: float
    export_s: float
    peak_gb: float


def main() -> None:
    options = parse()
    window = first_window(options.clip)
    print(
        f"{options.clip.name}: window {window.start_s:g}–{window.end_s:g} s, "
        f"{0 if window.faces is None else len(window.faces)} face crops, "
        f"{0 if window.samples is None else len(window.samples)} samples; "
        f"median of {options.runs} runs after one, one thread\n"
    )
    context = multiprocessing.get_context("spawn")
    results = []
    for modality in (Modality.VIDEO, Modality.AUDIO):
        if options.only in (None, modality.value):
            # One after the other, so that both are never in memory.
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                results.append(pool.submit(measure, modality, window, options.runs).result())
                print_result(results[-1])
    if len(results) == 2:
        print_total(results, window)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=[m.value for m in Modality])
    return parser.parse_args()


def first_window(clip: Path) -> Window:
    config = AnalyzerConfig()
    faces = config.faces
    detector = create_detector(
        faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
    )
    return next(iter(read_windows(probe(clip), detector, config)))


def measure(modality: Modality, window: Window, runs: int) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoint(modality, folder / "checkpoint")
        began = time.process_time()
        backbone: Any = create_backbone(str(folder / "checkpoint"), device="cpu")
        load_s = time.process_time() - began
        if backbone.spec.dim != PRETRAINED[DEFAULT_BACKBONES[modality]].dim:
            raise ValueError("the shape here is not that of the table")
        parts = count_parts(backbone.network)
        began = time.process_time()
        export_backbone(backbone, folder / "onnx")
        export_s = time.process_time() - began
        checkpoint = folder / "checkpoint" / "model.safetensors"
        expected = backbone.embed([window])[0], backbone.embed_tokens(window)
        rows = [row("torch fp32", checkpoint, backbone, window, expected, runs)]
        del backbone
        for runtime, name in (("ONNX fp32", FP32_FILE), ("ONNX int8", INT8_FILE)):
            exported: Any = create_backbone(str(folder / "onnx" / name))
            rows.append(row(runtime, folder / "onnx" / name, exported, window, expected, runs))
            del exported
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    name = DEFAULT_BACKBONES[modality]
    return Result(name, parts, tuple(rows), load_s, export_s, peak_gb)


def write_checkpoint(modality: Modality, folder: Path) -> None:
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    network: Any
    if modality is Modality.VIDEO:
        network = transformers.VideoMAEForPreTraining(transformers.VideoMAEConfig(**VIDEO_CONFIG))
        preprocessor: dict[str, Any] = FACE_PREPROCESSOR
    else:
        network = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**AUDIO_CONFIG))
        preprocessor = VOICE_PREPROCESSOR
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def count_parts(network: Any) -> dict[str, int]:
    """Parameters of each part of an encoder."""
    return {
        name: sum(p.numel() for p in part.parameters())
        for name, part in network.named_children()
        if any(True for _ in part.parameters())
    } | {name: p.numel() for name, p in network.named_parameters(recurse=False)}


def row(
    runtime: str,
    file: Path,
    backbone: TokenBackbone,
    window: Window,
    expected: tuple[FloatArray, FloatArray],
    runs: int,
) -> Row:
    embedding, tokens = backbone.embed([window])[0], backbone.embed_tokens(window)
    difference = float(np.abs(embedding - expected[0]).max())
    cosines = [cosine(a, b) for a, b in zip(tokens, expected[1], strict=True)]
    return Row(
        runtime=runtime,
        megabytes=file.stat().st_size / 1e6,
        cpu_s=cpu_seconds(lambda: backbone.embed([window]), runs),
        max_difference=difference,
        relative_difference=difference / float(np.abs(expected[0]).max()),
        cosine=cosine(embedding, expected[0]),
        token_cosine=min(cosines),
    )


def cosine(a: FloatArray, b: FloatArray) -> float:
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return float(wide_a @ wide_b / np.linalg.norm(wide_a) / np.linalg.norm(wide_b))


def cpu_seconds(call: Callable[[], object], runs: int) -> float:
    call()
    times = []
    for _ in range(runs):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def print_result(result: Result) -> None:
    print(f"{result.name}: {sum(result.parts.values()):,} parameters")
    for name, count in result.parts.items():
        print(f"    {name:22s} {count:12,}")
    print(
        f"    loaded in {result.load_s:.1f} CPU-s, exported in {result.export_s:.1f} CPU-s, "
        f"at most {result.peak_gb:.1f} GB in memory\n"
    )
    print(
        "| runtime | MB | CPU-s a window | max abs. diff. | relative | 1 − cosine "
        "| 1 − worst token cosine |"
    )
    print("|---|---|---|---|---|---|---|")
    for r in result.rows:
        print(
            f"| {r.runtime} | {r.megabytes:.0f} | {r.cpu_s:.2f} | {r.max_difference:.1e} | "
            f"{r.relative_difference:.1e} | {1 - r.cosine:.1e} | {1 - r.token_cosine:.1e} |"
        )
    print(flush=True)


def print_total(results: list[Result], window: Window) -> None:
    frozen = sum(sum(r.parts.values()) for r in results)
    published, ours = published_trainable(), our_trainable()
    print(f"frozen: {frozen:,} parameters")
    print("trainable, concatenation + MLP as published (one layout that fits):")
    for name, count in published.items():
        print(f"    {name:34s} {count:12,}")
    print(f"    {'sum':34s} {sum(published.values()):12,}")
    print(f"total with it: {frozen + sum(published.values()):,}")
    print("trainable, the network of this package, by fusion:")
    for fusion, count in ours.items():
        print(f"    {fusion:34s} {count:12,}    total {frozen + count:,}")
    print("\n| runtime | CPU-s for both | of the window's length |")
    print("|---|---|---|")
    for rows in zip(*(r.rows for r in results), strict=True):
        total = sum(r.cpu_s for r in rows)
        print(f"| {rows[0].runtime} | {total:.2f} | {total / window.duration_s:.2f} |")


def linear(in_dim: int, out_dim: int) -> int:
    return in_dim * out_dim + out_dim


def published_trainable() -> dict[str, int]:
    """Concatenation to 512, a second layer of 512, and two heads with 256 hidden units."""
    return {
        "fusion 768 + 1024 → 512": linear(768 + 1024, 512),
        "fusion 512 → 512": linear(512, 512),
        "emotion head 512 → 256 → 8": linear(512, 256) + linear(256, 8),
        "congruence head 512 → 256 → 2": linear(512, 256) + linear(256, 2),
    }


def our_trainable() -> dict[str, int]:
    return {
        fusion: count_parameters(FusionNetwork(NetworkConfig(fusion=fusion))) for fusion in FUSIONS
    }


if __name__ == "__main__":
    main()
