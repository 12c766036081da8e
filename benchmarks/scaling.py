"""Cost and memory of analysis against length, resolution and cores, beside bare decoding.

    python benchmarks/scaling.py                        all of it; about an hour on two cores
    python benchmarks/scaling.py --only length --minutes 0.17 1 10 60 120
    python benchmarks/scaling.py --json docs/benchmarks/scaling/figures.json

Videos are the 10-s clip of `analyze_vs_decode.py` (a face that fills half the height, speech), as
720p30 and scaled to 360p and 1080p, repeated without encoding anew (`long_videos.py`). Of each,
every frame is decoded by PyAV in one thread, and the file is analysed in a process of its own, in
turn, `--runs` times. Start of the process and loading of the networks are not counted, but the
process's peak memory is the whole one. Prints medians, and median ratios of what ran side by side.

length      CPU seconds a minute of video, peak memory, against the length (720p30)
resolution  CPU and wall seconds a minute of video for 360p, 720p, 1080p
cores       wall seconds a minute of video when the process may use 1, 2, … of this machine's cores
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from analyze_vs_decode import count_frames, make_video, own_cpu_s
from facevoice.analyzer import Analyzer
from figures import keep, plain
from long_videos import repeat_video

HEIGHTS_PX = (360, 720, 1080)
BIT_RATES = {360: 800_000, 480: 1_200_000, 1080: 5_000_000}
RESOLUTION_S = 60.0
# Decoding longer ones whole would take as long as analysing them and tell nothing new.
LONGEST_DECODED_S = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one pass over a file."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    num_windows: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; per minute of video."""

    table: str
    name: str
    media_s: float
    decode_cpu_s: float
    cpu_s: float
    wall_s: float
    cpu_ratio: float
    real_time: float
    peak_mb: float


def analyze_here(path: Path, num_cores: int | None) -> Cost:
    """What a process of its own does: analyse a file in a stream, as the command does it."""
    if num_cores is not None:
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:num_cores]))
    analyzer = Analyzer()
    cpu_s, began_s = own_cpu_s(), time.perf_counter()
    num_windows = sum(1 for _ in analyzer.stream(path))
    return Cost(own_cpu_s() - cpu_s, time.perf_counter() - began_s, peak_mb(), num_windows)


def peak_mb() -> float:
    """Peak of this process's resident memory; unlike `getrusage`, without that of its parent."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status names no VmHWM")


def analyze_apart(path: Path, num_cores: int | None = None) -> Cost:
    """`analyze_here` in a fresh process."""
    command = [sys.executable, __file__, "--child", str(path)]
    if num_cores is not None:
        command += ["--cores", str(num_cores)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cost(**json.loads(done.stdout))


def measure(
    table: str, name: str, path: Path, media_s: float, runs: int, num_cores: int | None = None
) -> Row:
    """Decode and analyse in turn."""
    rounds = []
    decode_s = float("nan")
    for _ in range(runs):
        if media_s <= LONGEST_DECODED_S:
            before = own_cpu_s()
            count_frames(path)
            decode_s = own_cpu_s() - before
        rounds.append((decode_s, analyze_apart(path, num_cores)))
    minutes = media_s / 60

    def middle(value: Callable[[float, Cost], float]) -> float:
        return statistics.median(value(decode, cost) for decode, cost in rounds)

    row = Row(
        table=table,
        name=name,
        media_s=media_s,
        decode_cpu_s=middle(lambda decode, _: decode) / minutes,
        cpu_s=middle(lambda _, cost: cost.cpu_s) / minutes,
        wall_s=middle(lambda _, cost: cost.wall_s) / minutes,
        cpu_ratio=middle(lambda decode, cost: cost.cpu_s / decode),
        real_time=middle(lambda _, cost: media_s / cost.wall_s),
        peak_mb=max(cost.peak_mb for _, cost in rounds),
    )
    print(
        f"{table:10} {name:>8}  decode {row.decode_cpu_s:6.2f}  analyse {row.cpu_s:6.2f} CPU-s, "
        f"{row.wall_s:6.2f} s a minute  {row.cpu_ratio:5.2f} x decode  "
        f"{row.real_time:5.1f} x real time  {row.peak_mb:4.0f} MB",
        flush=True,
    )
    return row


def scale_video(source: Path, target: Path, height_px: int) -> Path:
    """The same clip in another size."""
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        pictures, sound = given.streams.video[0], given.streams.audio[0]
        video = written.add_stream("libx264", rate=pictures.average_rate)
        video.width, video.height, video.pix_fmt = (
            round(height_px * 8 / 9) * 2,
            height_px,
            "yuv420p",
        )
        video.bit_rate, video.options = BIT_RATES[height_px], {"preset": "fast"}
        audio = written.add_stream_from_template(sound)
        for packet in given.demux(pictures, sound):
            if packet.stream is sound and packet.dts is not None:
                packet.stream = audio
                written.mux(packet)
            elif packet.stream is pictures:
                for frame in packet.decode():
                    scaled = frame.reformat(video.width, video.height)
                    scaled.pict_type = av.video.frame.PictureType.NONE
                    written.mux(video.encode(scaled))
        written.mux(video.encode(None))
    return target


def by_length(clip: Path, minutes: list[float], runs: int) -> list[Row]:
    rows = []
    for length in minutes:
        num_times = max(1, round(length * 6))
        path = repeat_video(clip, clip.with_name(f"long{num_times}.mp4"), num_times)
        # Long ones take their time and vary less.
        name = f"{length:g} min" if length >= 1 else f"{num_times * 10} s"
        rows.append(measure("length", name, path, num_times * 10, runs if length < 10 else 1))
        path.unlink()
    return rows


def by_resolution(clip: Path, runs: int) -> list[Row]:
    rows = []
    for height_px in HEIGHTS_PX:
        name = f"{height_px}p"
        short = clip
        if height_px != 720:
            short = scale_video(clip, clip.with_name(f"{name}.mp4"), height_px)
        path = repeat_video(short, clip.with_name(f"{name}_long.mp4"), round(RESOLUTION_S / 10))
        rows.append(measure("resolution", name, path, RESOLUTION_S, runs))
    return rows


def by_cores(clip: Path, runs: int) -> list[Row]:
    path = repeat_video(clip, clip.with_name("cores.mp4"), round(RESOLUTION_S / 10))
    available = len(os.sched_getaffinity(0))
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n <= available]
    return [measure("cores", f"{n}", path, RESOLUTION_S, runs, n) for n in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=["length", "resolution", "cores"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1 / 6, 1, 10, 60, 120])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(asdict(analyze_here(options.child, options.cores))))
        return
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_video(clip)
        tables = {
            "resolution": lambda: by_resolution(clip, options.runs),
            "cores": lambda: by_cores(clip, options.runs),
            "length": lambda: by_length(clip, options.minutes, options.runs),
        }
        for name, make in tables.items():
            if options.only in (None, name):
                keep(options.json, name, [plain(row) for row in make()])


if __name__ == "__main__":
    main()
