"""CPU time of analysing a video against that of merely decoding all its frames.

    python benchmarks/analyze_vs_decode.py                 10 s of 720p30, made from a sample clip
    python benchmarks/analyze_vs_decode.py FILE --runs 7   any file

Three things are timed in turn, `--runs` times, in CPU seconds (user + system, all threads):

decode    decoding every video frame with PyAV, one thread; start-up not counted
analyze   `Analyzer.analyze`; start-up and loading of the networks not counted
command   `facevoice analyze FILE`, from start to exit

Prints the median of each and the median ratio to the decode of the same round.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from facevoice.analyzer import Analyzer

SAMPLE = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"
WIDTH_PX, HEIGHT_PX = 1280, 720
FRAME_RATE_HZ = 30
DURATION_S = 10
# Cameras are never as clean as a synthesised picture; noise brings the bit rate to theirs.
NOISE = 4.0
BIT_RATE = 2_500_000


def make_video(path: Path) -> None:
    """Write a 10-s 720p30 clip with a face that fills half the height, and speech."""
    with av.open(str(SAMPLE)) as source:
        pictures = [frame.to_image() for frame in source.decode(video=0)]
    with av.open(str(SAMPLE)) as source:
        resampler = av.AudioResampler("fltp", "mono", 48_000)
        frames = [part for frame in source.decode(audio=0) for part in resampler.resample(frame)]
        samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    samples = np.tile(samples, 2)[:, : DURATION_S * 48_000]
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FRAME_RATE_HZ)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        video.bit_rate = BIT_RATE
        video.options = {"preset": "fast"}
        audio = output.add_stream("aac", rate=48_000, layout="mono")
        blocks = _audio_frames(samples)
        for picture in _noisy_pictures(pictures):
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            for block in itertools.islice(blocks, 2):
                output.mux(audio.encode(block))
        for block in blocks:
            output.mux(audio.encode(block))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))


def _noisy_pictures(pictures: list[Image.Image]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    plane = np.rint(rng.normal(0, NOISE, (HEIGHT_PX, WIDTH_PX, 1))).astype(np.int16)
    # Forth and back, so that the loop has no jump.
    order = itertools.cycle([*pictures, *pictures[-2:0:-1]])
    for picture in itertools.islice(order, DURATION_S * FRAME_RATE_HZ):
        canvas = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (150, 145, 140))
        canvas.paste(picture.resize((HEIGHT_PX, HEIGHT_PX)), ((WIDTH_PX - HEIGHT_PX) // 2, 0))
        noise = np.roll(plane, rng.integers(0, HEIGHT_PX), axis=0)
        yield np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8)


def _audio_frames(samples: np.ndarray) -> Iterator[av.AudioFrame]:
    for start in range(0, samples.shape[1], 1024):
        block = np.ascontiguousarray(samples[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        yield frame


def own_cpu_s() -> float:
    """CPU seconds of this process so far, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def children_cpu_s() -> float:
    """CPU seconds of all ended child processes so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def count_frames(path: Path) -> int:
    """Decode all video frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def run_command(path: Path) -> None:
    """`facevoice analyze FILE` as a process of its own."""
    command = [sys.executable, "-m", "facevoice", "analyze", str(path), "--no-progress"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(clock: Callable[[], float], action: Callable[[], object]) -> float:
    """CPU seconds that an action takes by a clock."""
    before = clock()
    action()
    return clock() - before


def measure_analysis(path: Path) -> float:
    """CPU seconds of analysing a file; the analyzer is new, for an old one remembers faces."""
    analyzer = Analyzer()
    return measure(own_cpu_s, lambda: analyzer.analyze(path))


def compare(path: Path, num_runs: int) -> None:
    """Time all three side by side and print the figures."""
    report = Analyzer().analyze(path)
    num_frames = count_frames(path)
    rounds = [
        (
            measure(own_cpu_s, lambda: count_frames(path)),
            measure_analysis(path),
            measure(children_cpu_s, lambda: run_command(path)),
        )
        for _ in range(num_runs)
    ]
    if report.media is None or report.media.video is None:
        raise SystemExit(f"{path}: no video stream to compare with")
    info, duration_s = report.media.video, report.media.duration_s
    bit_rate = path.stat().st_size * 8 / duration_s / 1e6
    print(
        f"{path.name}: {info.width_px}x{info.height_px} {info.codec}, {duration_s:.1f} s, "
        f"{num_frames} frames, {bit_rate:.1f} Mbit/s, status {report.status}, "
        f"{len(report.windows)} windows; {num_runs} runs, {os.cpu_count()} cores"
    )
    names = ("decode", "analyze", "command")
    for name, times in zip(names, zip(*rounds, strict=True), strict=True):
        ratio = statistics.median(t / r[0] for t, r in zip(times, rounds, strict=True))
        median_s = statistics.median(times)
        print(
            f"  {name:8} {median_s:6.2f} CPU-s  {ratio:5.2f} x decode  "
            f"{duration_s / median_s:5.1f} x real time on one core  "
            f"{median_s / num_frames * 1000:5.2f} ms a frame"
        )


def main() -> None:
    """Read the arguments; make the clip where none is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path, nargs="*")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    for path in arguments.file:
        compare(path, arguments.runs)
    if not arguments.file:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "made_720p30.mp4"
            make_video(path)
            compare(path, arguments.runs)


if __name__ == "__main__":
    main()
