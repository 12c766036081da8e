"""How long after the last moment of a window its prediction is there, on a stream that comes live.

    python benchmarks/live_latency.py [--seconds 40 --height 480 --window 4 --hop 1]

The clip of `analyze_vs_decode.py`, scaled to `--height`, is read by the package's own readers, but
frames and sound (in blocks of 0.1 s) are held back until the moment at which a camera would give
them. From there on it is `Analyzer.follow`, as in the web app's live mode. Prints the median, the
95th percentile and the worst of the latency: from the end of a window in media time to its
prediction, waiting for the frame that shows that the window is over included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from analyze_vs_decode import make_video
from facevoice.analyzer import Analyzer
from facevoice.media import probe, read_audio, read_frames, regular_times
from facevoice.records import SAMPLE_RATE_HZ, Prediction
from facevoice.settings import AnalyzerConfig, WindowConfig
from facevoice.workers import draw_ahead
from figures import keep
from long_videos import repeat_video
from scaling import scale_video

T = TypeVar("T")
BLOCK_S = 0.1


def live(items: Iterable[T], due_s: Callable[[T], float], began_s: float) -> Iterator[T]:
    """Hold every item back until it is due."""
    for item in items:
        time.sleep(max(0.0, began_s + due_s(item) - time.monotonic()))
        yield item


def follow_live(analyzer: Analyzer, path: Path, began_s: float) -> Iterator[Prediction]:
    """The predictions of a file as if it were filmed just now."""
    info, faces = probe(path), analyzer.config.faces
    times = regular_times(info.duration_s, faces.sample_rate_hz)
    frames = read_frames(path, times, tolerance_s=0.1, max_side_px=faces.max_side_px)
    blocks = read_audio(path, block_s=BLOCK_S)
    seen = live(draw_ahead(frames, 4), lambda frame: frame.timestamp_s, began_s)
    heard = live(
        draw_ahead(blocks, 4), lambda b: b.start_s + len(b.samples) / SAMPLE_RATE_HZ, began_s
    )
    return analyzer.follow(seen, heard, info.duration_s)


def measure(path: Path, config: AnalyzerConfig) -> list[float]:
    """Latency of every window but the first, which is cut before all is warm, in seconds."""
    analyzer = Analyzer(config)
    for prediction in analyzer.stream(path):
        if prediction.end_s > 6:
            break  # networks have run once
    began_s = time.monotonic() + 0.5
    latencies = [
        time.monotonic() - began_s - prediction.end_s
        for prediction in follow_live(analyzer, path, began_s)
    ]
    return latencies[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--window", type=float, default=4.0)
    parser.add_argument("--hop", type=float, default=1.0)
    parser.add_argument("--json", type=Path, help="see figures.py")
    options = parser.parse_args()
    config = AnalyzerConfig(windows=WindowConfig(length_s=options.window, hop_s=options.hop))
    with tempfile.TemporaryDirectory() as folder:
        clip, small = Path(folder) / "clip.mp4", Path(folder) / "small.mp4"
        make_video(clip)
        scale_video(clip, small, options.height)
        path = repeat_video(small, Path(folder) / "live.mp4", max(1, options.seconds // 10))
        latencies = measure(path, config)
    keep(options.json, "latency_ms", [round(1000 * latency, 1) for latency in latencies])
    print(
        f"{options.height}p, windows of {options.window:g} s every {options.hop:g} s, "
        f"{len(latencies)} windows: latency median {statistics.median(latencies) * 1000:.0f} ms, "
        f"95 % below {np.quantile(latencies, 0.95) * 1000:.0f} ms, "
        f"worst {max(latencies) * 1000:.0f} ms"
    )


if __name__ == "__main__":
    main()
