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
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from analyze_vs_decode import DURATION_S, make_video, own_cpu_s
from facevoice.analyzer import Analyzer
from facevoice.media.open import probe
from facevoice.models.checkpoint import (
    Calibration,
    CheckpointInfo,
    DataRecord,
    NetworkConfig,
    PartRecord,
    TrainingRecord,
    UsedEmbeddings,
)
from facevoice.models.model import is_export
from facevoice.records import VERSION, Modality, Thresholds
from facevoice.settings import AnalyzerConfig, WindowConfig, plain_settings
from figures import keep, plain
from long_videos import repeat_video
from scaling import peak_mb

P = ParamSpec("P")
T = TypeVar("T")

CONFIG = AnalyzerConfig(windows=WindowConfig(length_s=4.0, hop_s=4.0))
NETWORK = NetworkConfig(fusion="concat", fused_dim=512)
# Written last into a backbone's folder, so that a folder with one is whole.
LAST_FILE = "preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a file."""

    wall_s: float
    cpu_s: float
    num_windows: int
    num_scored: int


@dataclass(frozen=True, slots=True)
class Row:
    """One precision with one number of threads: medians over the runs."""

    precision: str
    num_threads: int
    media_s: float
    load_s: float
    wall_s: float
    cpu_s: float
    real_time: float
    slowest: float
    peak_mb: float
    num_windows: int
    num_scored: int


@dataclass(frozen=True, slots=True)
class Made:
    """How long a part took to make, in a process of its own."""

    wall_s: float
    peak_mb: float


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        precisions = ["int8", "fp32"] if options.fp32 else ["int8"]
        exports = {precision: make_export(work, precision) for precision in precisions}
        clip = options.clip or make_clip(work, options.seconds)
        print_header(clip, exports, options.runs)
        rows = []
        for precision, export in exports.items():
            for num_threads in options.threads:
                row = apart(measure, precision, export, clip, num_threads, options.runs)
                print_row(row)
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


def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in a fresh process, whose memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *args, **kwargs).result()


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
            print_made(f"{modality} backbone", apart(write_backbone, modality, folder))
    checkpoint = work / "checkpoint"
    if not checkpoint.is_dir():
        print_made("checkpoint", apart(write_fusion, checkpoint, backbones))
    made = apart(export, checkpoint, out, list(backbones.values()), precision)
    print_made(f"{precision} export", made)
    return out


# What makes the model needs torch. It is imported by these processes only, so that it takes no
# memory where the exported model, which needs none, is measured.


def write_backbone(modality: Modality, folder: Path) -> Made:
    """Random weights in the published size and format."""
    from full_backbones import write_checkpoint  # noqa: PLC0415

    began_s = time.perf_counter()
    write_checkpoint(modality, folder)
    return Made(time.perf_counter() - began_s, peak_mb())


def write_fusion(folder: Path, backbones: dict[Modality, Path]) -> Made:
    """A checkpoint as training leaves it, but for its weights, which are those of the start."""
    import torch  # noqa: PLC0415

    from facevoice.backbones.spec import create_backbone  # noqa: PLC0415
    from facevoice.models.checkpoint import save_checkpoint  # noqa: PLC0415
    from facevoice.models.fusion import FusionNetwork, count_parameters  # noqa: PLC0415
    from facevoice.store import backbone_id  # noqa: PLC0415

    began_s = time.perf_counter()
    used = {}
    for modality, source in backbones.items():
        backbone = create_backbone(str(source), device="cpu")
        used[modality] = UsedEmbeddings(backbone_id(backbone), backbone.spec.row_dim)
    torch.manual_seed(0)
    network = FusionNetwork(NETWORK)
    info = describe_fusion(used, count_parameters(network), torch.__version__)
    save_checkpoint(folder, network.state_dict(), info)
    return Made(time.perf_counter() - began_s, peak_mb())


def describe_fusion(
    used: dict[Modality, UsedEmbeddings], num_parameters: int, torch_version: str
) -> CheckpointInfo:
    """That of a network which nobody trained."""
    nobody = PartRecord(0, 0, ())
    nothing = "0" * 64
    return CheckpointInfo(
        network=NETWORK,
        settings={"network": plain_settings(NETWORK)},
        calibration=Calibration(),
        thresholds=Thresholds(0.6, 0.4, 0.7, 0.3),
        backbones=used,
        data=DataRecord(
            corpora=(),
            source="none: random weights",
            source_sha256=nothing,
            features_sha256=nothing,
            split="none",
            split_sha256=nothing,
            train=nobody,
            validation=nobody,
            test=nobody,
        ),
        training=TrainingRecord(0, 0, num_parameters, VERSION, torch_version),
        notes=("Random weights, to measure time by: what it says is meaningless.",),
    )


def export(checkpoint: Path, out: Path, backbones: Sequence[Path], precision: str) -> Made:
    """`facevoice export CHECKPOINT --out OUT --int8 --backbone DIR --backbone DIR`."""
    from facevoice.models.export import (
        export_model,
        make_samples,
    )

    began_s = time.perf_counter()
    names = [str(folder) for folder in backbones]
    export_model(checkpoint, out, make_samples(), backbones=names, int8=precision == "int8")
    return Made(time.perf_counter() - began_s, peak_mb())


def measure(precision: str, exported: Path, clip: Path, num_threads: int, runs: int) -> Row:
    """Load once, analyse again and again."""
    media_s = probe(clip).duration_s
    began_s = time.perf_counter()
    analyzer = Analyzer(CONFIG, checkpoint=exported, num_threads=num_threads)
    load_s = time.perf_counter() - began_s
    passes = [analyze(analyzer, clip) for _ in range(runs)]
    walls_s = [one.wall_s for one in passes]
    return Row(
        precision=precision,
        num_threads=num_threads,
        media_s=media_s,
        load_s=load_s,
        wall_s=statistics.median(walls_s),
        cpu_s=statistics.median(one.cpu_s for one in passes),
        real_time=statistics.median(walls_s) / media_s,
        slowest=max(walls_s) / media_s,
        peak_mb=peak_mb(),
        num_windows=passes[0].num_windows,
        num_scored=passes[0].num_scored,
    )


def analyze(analyzer: Analyzer, clip: Path) -> Pass:
    cpu_s, began_s = own_cpu_s(), time.perf_counter()
    report = analyzer.analyze(clip)
    wall_s = time.perf_counter() - began_s
    both = sum(w.face is not None and w.voice is not None for w in report.windows)
    return Pass(wall_s, own_cpu_s() - cpu_s, len(report.windows), both)


def print_made(what: str, made: Made) -> None:
    print(f"{what}: made in {made.wall_s:.0f} s, peak {made.peak_mb / 1000:.1f} GB", flush=True)


def print_header(clip: Path, exports: dict[str, Path], runs: int) -> None:
    info = probe(clip)
    size = "no video" if info.video is None else f"{info.video.width_px}x{info.video.height_px}"
    print(
        f"\n{clip.name}: {size}, {info.duration_s:.1f} s; windows of "
        f"{CONFIG.windows.length_s:g} s every {CONFIG.windows.hop_s:g} s; median of {runs} runs; "
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before"
    )
    for precision, folder in exports.items():
        num_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        print(f"{precision}: {num_bytes / 1e6:.0f} MB on disk")
    print(
        "\n| precision | threads | real-time | slowest | wall s | CPU-s | load s | peak MB "
        "| windows | scored |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)


def print_row(row: Row) -> None:
    print(
        f"| {row.precision} | {row.num_threads} | {row.real_time:.2f} | {row.slowest:.2f} "
        f"| {row.wall_s:.1f} | {row.cpu_s:.1f} | {row.load_s:.1f} | {row.peak_mb:.0f} "
        f"| {row.num_windows} | {row.num_scored} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
