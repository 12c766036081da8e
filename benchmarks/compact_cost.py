"""CPU time of the compact family by its parts, one thread.

    python benchmarks/compact_cost.py [--runs 7]

On the clip of `analyze_vs_decode.py` (10 s of 720p30, speech throughout), in CPU milliseconds:

detect    detection, tracking and alignment, a sampled frame (decoding is not counted)
face      the face network, a sampled frame; of a frame in two windows the second finds it done
speech    voice activity, a second of sound
voice     log-mel and the voice network, a second of sound; windows overlap here too

Prints the median of each over the runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from analyze_vs_decode import make_video, measure, own_cpu_s
from facevoice.backbones.compact import CompactFace, CompactVoice
from facevoice.media.frames import read_frames, regular_times
from facevoice.media.open import probe
from facevoice.media.sound import read_audio
from facevoice.people.detect import create_detector
from facevoice.people.speech import read_speech
from facevoice.people.track import track_faces
from facevoice.perceive import read_windows
from facevoice.settings import AnalyzerConfig


def parts(path: Path) -> dict[str, tuple[Callable[[], object], float]]:
    """What is timed, and by how much it is divided."""
    info, config = probe(path), AnalyzerConfig()
    detector = create_detector(
        config.faces.detector,
        min_face_px=config.faces.min_face_px,
        min_score=config.faces.min_score,
    )
    times = regular_times(info.duration_s, config.faces.sample_rate_hz)
    frames = list(read_frames(path, times, tolerance_s=0.1, max_side_px=config.faces.max_side_px))
    blocks = list(read_audio(path))
    windows = list(read_windows(info, detector, config))
    if any(w.faces is None or w.samples is None for w in windows):
        sys.exit(f"{path}: a window lacks face or sound")
    face, voice = CompactFace(), CompactVoice()

    def embed_faces() -> object:
        face.forget()
        return face.embed(windows)

    return {
        "detect": (lambda: list(track_faces(frames, detector, config.faces)), len(frames)),
        "face": (embed_faces, len(frames)),
        "speech": (lambda: list(read_speech(blocks)), info.duration_s),
        "voice": (lambda: voice.embed(windows), info.duration_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made_720p30.mp4"
        make_video(path)
        timed = parts(path)
        rounds = [
            {name: measure(own_cpu_s, act) * 1000 / by for name, (act, by) in timed.items()}
            for _ in range(arguments.runs + 1)
        ][1:]
    cost_ms = {name: statistics.median(r[name] for r in rounds) for name in timed}
    print(f"  detect {cost_ms['detect']:6.2f} ms a sampled frame")
    print(f"  face   {cost_ms['face']:6.2f} ms a sampled frame")
    print(f"  both   {cost_ms['detect'] + cost_ms['face']:6.2f} ms a sampled frame")
    print(f"  speech {cost_ms['speech']:6.2f} ms a second of sound")
    print(f"  voice  {cost_ms['voice']:6.2f} ms a second of sound")
    print(f"  both   {cost_ms['speech'] + cost_ms['voice']:6.2f} ms a second of sound")


if __name__ == "__main__":
    main()
