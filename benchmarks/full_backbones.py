"""The full model's backbones at their real size, with random weights: size, parity, CPU time.

    python benchmarks/full_backbones.py CLIP                    both default backbones
    python benchmarks/full_backbones.py CLIP --only video       one of them

Makes checkpoints of the default backbones' published shapes with random weights, in the published
format, loads them as any other checkpoint, exports them, and embeds the first window of CLIP in
torch float32, ONNX float32 and ONNX int8, one thread each. What the embeddings say is meaningless;
how large, how near to each other and how fast they are is not. Backbones run one after the other,
each in its own process. Needs 7 GB of memory, 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from facevoice.backbones.export import export_backbone
from facevoice.backbones.huggingface import DEFAULT_BACKBONES, PRETRAINED
from facevoice.backbones.onnx import FP32_FILE, INT8_FILE
from facevoice.backbones.registry import create_backbone
from facevoice.export import read_samples
from facevoice.records import FloatArray, Modality, Window

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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=[m.value for m in Modality])
    options = parser.parse_args()
    window = read_samples([options.clip]).windows[0]
    print(
        f"{options.clip.name}: {window.start_s:g} to {window.end_s:g} s; median of {options.runs} "
        "runs after one, one thread"
    )
    context = multiprocessing.get_context("spawn")
    sums_s: dict[str, float] = {}
    for modality in (Modality.VIDEO, Modality.AUDIO):
        if options.only in (None, modality.value):
            # One after the other, so that both are never in memory.
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                taken_s = pool.submit(measure, modality, window, options.runs).result()
            for runtime, cpu_s in taken_s.items():
                sums_s[runtime] = sums_s.get(runtime, 0.0) + cpu_s
    for runtime, cpu_s in sums_s.items():
        print(f"{runtime}: {cpu_s:.2f} CPU-s in all, {cpu_s / window.duration_s:.2f} of the window")


def measure(modality: Modality, window: Window, runs: int) -> dict[str, float]:
    """Print what one backbone comes to; CPU seconds a window by runtime."""
    taken_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoint(modality, folder / "checkpoint")
        began_s = time.process_time()
        backbone: Any = create_backbone(str(folder / "checkpoint"), device="cpu")
        load_s = time.process_time() - began_s
        if backbone.spec.dim != PRETRAINED[DEFAULT_BACKBONES[modality]].dim:
            raise ValueError("the shape here is not that of the table")
        parts = count_parts(backbone.network)
        print(f"\n{DEFAULT_BACKBONES[modality]}: {sum(parts.values()):,} parameters, {parts}")
        began_s = time.process_time()
        export_backbone(backbone, folder / "onnx")
        print(f"loaded in {load_s:.1f}, exported in {time.process_time() - began_s:.1f} CPU-s\n")
        print(
            "| runtime | MB | CPU-s a window | max abs. diff. | relative | 1 − cosine "
            "| 1 − worst token cosine |\n|---|---|---|---|---|---|---|"
        )
        expected = backbone.embed([window])[0], backbone.embed_tokens(window)
        checkpoint = folder / "checkpoint" / "model.safetensors"
        taken_s["torch fp32"] = row("torch fp32", checkpoint, backbone, window, expected, runs)
        del backbone
        for runtime, name in (("ONNX fp32", FP32_FILE), ("ONNX int8", INT8_FILE)):
            exported: Any = create_backbone(str(folder / "onnx" / name))
            file = folder / "onnx" / name
            taken_s[runtime] = row(runtime, file, exported, window, expected, runs)
            del exported
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nat most {peak_gb:.1f} GB in memory", flush=True)
    return taken_s


def row(
    runtime: str,
    file: Path,
    backbone: Any,
    window: Window,
    expected: tuple[FloatArray, FloatArray],
    runs: int,
) -> float:
    """Print one runtime of one backbone; CPU seconds a window."""
    embedding, tokens = backbone.embed([window])[0], backbone.embed_tokens(window)
    times_s = []
    for _ in range(runs):
        began_s = time.process_time()
        backbone.embed([window])
        times_s.append(time.process_time() - began_s)
    difference = float(np.abs(embedding - expected[0]).max())
    relative = difference / float(np.abs(expected[0]).max())
    worst = min(cosine(a, b) for a, b in zip(tokens, expected[1], strict=True))
    print(
        f"| {runtime} | {file.stat().st_size / 1e6:.0f} | {statistics.median(times_s):.2f} "
        f"| {difference:.1e} | {relative:.1e} | {1 - cosine(embedding, expected[0]):.1e} "
        f"| {1 - worst:.1e} |",
        flush=True,
    )
    return statistics.median(times_s)


def cosine(a: FloatArray, b: FloatArray) -> float:
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return float(wide_a @ wide_b / np.linalg.norm(wide_a) / np.linalg.norm(wide_b))


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


if __name__ == "__main__":
    main()
