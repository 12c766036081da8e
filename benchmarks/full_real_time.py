"""Real-time factor of the whole full model at its real size, with random weights, on a real clip.

    python benchmarks/full_real_time.py                     40 s of 720p30, int8, 1 and 2 threads
    python benchmarks/full_real_time.py CLIP --fp32         any file; the float32 export too
    python benchmarks/full_real_time.py --work DIR          keeps what it makes, and takes it again

VideoMAE-base and Wav2Vec2-large of random weights (`full_backbones.py`) and a fusion of random
weights on top (concatenation to 512) are written as a checkpoint, exported as `facevoice export`
does it, and run by `Analyzer(config, checkpoint=EXPORT, num_threads=N)`, without torch, in windows
of 4 s that do not overlap. The clip is that of `analyze_vs_decode.py` (a face that fills half the
height, speech throughout), repeated without encoding anew.

real-time   wall seconds / seconds of media, decoding, faces and voice activity included; at most 1
            keeps up with a live stream. Overlapping windows (hop 2 s is the package's default) cost
            up to as many times as they overlap, for no embedding is remembered
CPU-s       user + system, all threads; far below wall x threads where others use the machine
load        opening and hashing the networks, in wall seconds; not part of the above
peak        resident memory of the process, networks and interpreter included
scored      windows in which both networks ran; a last one shorter than 0.4 s is not scored

Times hardly depend on what the weights are, so they are real; what the model says is meaningless.
Every row is a process of its own that analyses the file `--runs` times: medians, and the highest
peak. Making everything takes 5 minutes (--fp32: 2 more), 7 GB of memory and about 5 GB of disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from analyze_vs_decode import DURATION_S, make_video, own_cpu_s
from facevoice.analyzer import Analyzer
from facevoice.media.open import probe
from facevoice.models.model import is_export
from facevoice.records import VERSION, DecisionCurve, Modality
from facevoice.settings import AnalyzerConfig, WindowConfig, plain_settings
from figures import keep, plain
from long_videos import repeat_video
from scaling import peak_mb

P = ParamSpec("P")
T = TypeVar("T")

CONFIG = AnalyzerConfig(windows=WindowConfig(length_s=4.0, hop_s=4.0))
# Written last into a backbone's folder, so that a folder with one is whole.
LAST_FILE = "preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One precision with one number of threads: medians over the runs."""

    precision: str
    num_threads: int
    real_time: float
    slowest: float
    wall_s: float
    cpu_s: float
    load_s: float
    peak_mb: float
    num_windows: int
    num_scored: int


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        precisions = ["int8", "fp32"] if options.fp32 else ["int8"]
        exports = {precision: make_export(work, precision) for precision in precisions}
        clip = options.clip or make_clip(work, options.seconds)
        print(
            f"\n{clip.name}, {probe(clip).duration_s:.1f} s; windows of 4 s without overlap; "
            f"median of {options.runs} runs; "
            f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before\n\n"
            "| precision | threads | real-time | slowest | wall s | CPU-s | load s | peak MB "
            "| windows | scored |\n|---|---|---|---|---|---|---|---|---|---|",
            flush=True,
        )
        rows = []
        for precision, export in exports.items():
            for num_threads in options.threads:
                row = apart(measure, precision, export, clip, num_threads, options.runs)
                print(
                    f"| {row.precision} | {row.num_threads} | {row.real_time:.2f} "
                    f"| {row.slowest:.2f} | {row.wall_s:.1f} | {row.cpu_s:.1f} | {row.load_s:.1f} "
                    f"| {row.peak_mb:.0f} | {row.num_windows} | {row.num_scored} |",
                    flush=True,
                )
                rows.append(plain(row))
        keep(options.json, "full_real_time", rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("clip", type=Path, nargs="?", help="default: one made of --seconds")
    parser.add_argument("--seconds", type=int, default=40, help="of the clip that is made")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--fp32", action="store_true", help="the float32 export too")
    parser.add_argument("--work", type=Path, help="folder to keep what is made, or to find it in")
    parser.add_argument("--json", type=Path, help="see figures.py")
    return parser.parse_args()


def measure(precision: str, exported: Path, clip: Path, num_threads: int, runs: int) -> Row:
    """Load once, analyse again and again."""
    media_s = probe(clip).duration_s
    began_s = time.perf_counter()
    analyzer = Analyzer(CONFIG, checkpoint=exported, num_threads=num_threads)
    load_s = time.perf_counter() - began_s
    walls_s, cpus_s = [], []
    for _ in range(runs):
        cpu_s, began_s = own_cpu_s(), time.perf_counter()
        windows = analyzer.analyze(clip).windows
        walls_s.append(time.perf_counter() - began_s)
        cpus_s.append(own_cpu_s() - cpu_s)
    return Row(
        precision=precision,
        num_threads=num_threads,
        real_time=statistics.median(walls_s) / media_s,
        slowest=max(walls_s) / media_s,
        wall_s=statistics.median(walls_s),
        cpu_s=statistics.median(cpus_s),
        load_s=load_s,
        peak_mb=peak_mb(),
        num_windows=len(windows),
        num_scored=sum(w.face is not None and w.voice is not None for w in windows),
    )


def make_clip(work: Path, seconds: int) -> Path:
    """The made clip, as often as it takes to be about that long."""
    num_times = max(1, round(seconds / DURATION_S))
    clip = work / f"clip_{num_times * DURATION_S}s.mp4"
    if not clip.is_file():
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            short, part = Path(scratch) / "short.mp4", Path(scratch) / "part.mp4"
            make_video(short)
            repeat_video(short, part, num_times).rename(clip)
    return clip


def make_export(work: Path, precision: str) -> Path:
    """The exported folder, made with all that it takes unless it is there."""
    out = work / precision
    if is_export(out):
        print(f"{precision}: found in {out}")
        return out
    backbones = {modality: work / modality.value for modality in Modality}
    for modality, folder in backbones.items():
        if not (folder / LAST_FILE).is_file():
            apart(write_backbone, modality, folder)
    checkpoint = work / "checkpoint"
    if not checkpoint.is_dir():
        apart(write_fusion, checkpoint, backbones)
    began_s = time.perf_counter()
    made_mb = apart(export, checkpoint, out, backbones, precision)
    num_mb = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 1e6
    print(
        f"{precision} export: {num_mb:.0f} MB, made in {time.perf_counter() - began_s:.0f} s, peak "
        f"{made_mb / 1000:.1f} GB",
        flush=True,
    )
    return out


def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a fresh process, whose memory is its own.

    What makes the model needs torch. It is imported by such processes only, so that it takes no
    memory where the exported model, which needs none, is measured.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *args, **kwargs).result()


def write_backbone(modality: Modality, folder: Path) -> None:
    """Random weights in the published size and format."""
    from full_backbones import write_checkpoint  # noqa: PLC0415

    write_checkpoint(modality, folder)


def write_fusion(folder: Path, backbones: dict[Modality, Path]) -> None:
    """A checkpoint as training leaves it, but for its weights, which are those of the start."""
    import torch  # noqa: PLC0415

    from facevoice.backbones.registry import create_backbone  # noqa: PLC0415
    from facevoice.backbones.spec import backbone_id  # noqa: PLC0415
    from facevoice.models import checkpoint  # noqa: PLC0415
    from facevoice.models.fusion import FusionNetwork  # noqa: PLC0415

    used = {}
    for modality, source in backbones.items():
        backbone = create_backbone(str(source), device="cpu")
        used[modality] = checkpoint.UsedEmbeddings(backbone_id(backbone), backbone.spec.row_dim)
    torch.manual_seed(0)
    config = checkpoint.NetworkConfig(fusion="concat", fused_dim=512)
    network = FusionNetwork(config)
    nobody, nothing = checkpoint.PartRecord(0, 0, ()), "0" * 64
    source = "none: random weights"
    num_parameters = sum(p.numel() for p in network.parameters())
    info = checkpoint.CheckpointInfo(
        network=config,
        settings={"network": plain_settings(config)},
        calibration=checkpoint.Calibration(),
        curve=DecisionCurve(),
        backbones=used,
        data=checkpoint.DataRecord(
            (), source, nothing, nothing, "none", nothing, nobody, nobody, nobody
        ),
        training=checkpoint.TrainingRecord(0, 0, num_parameters, VERSION, torch.__version__),
        notes=("Random weights, to measure time by: what it says is meaningless.",),
    )
    checkpoint.save_checkpoint(folder, network.state_dict(), info)


def export(checkpoint: Path, out: Path, backbones: dict[Modality, Path], precision: str) -> float:
    """`facevoice export CHECKPOINT --out OUT --int8 --backbone DIR --backbone DIR`; peak MB."""
    from facevoice.export import export_model, make_samples  # noqa: PLC0415

    names = [str(folder) for folder in backbones.values()]
    export_model(checkpoint, out, make_samples(), backbones=names, int8=precision == "int8")
    return peak_mb()


if __name__ == "__main__":
    main()
