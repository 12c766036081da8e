"""What a second face costs, and to find out who speaks.

    python -m benchmarks.people_cost [--before DIR] [--seconds 60] [--runs 3]

Films made of the sample clips, played forth and back so that nothing jumps: one face; two at once,
without speech, so that nobody asks who speaks; two with speech. CPU seconds of one thread a second
of film, by the whole analysis in a process of its own; medians, and ratios to one face. `--before`
names another checkout of facevoice, measured in turn with this one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Final

import av
import numpy as np

from facevoice.media.sound import read_sound
from facevoice.records import SAMPLE_RATE_HZ, ByteArray, FloatArray

ROOT: Final = Path(__file__).parents[1]
RATE_HZ: Final = 25
_MEASURE: Final = """
import sys, time
from facevoice import Analyzer
analyzer = Analyzer(num_threads=1)
analyzer.analyze(sys.argv[2])
begun_s = time.process_time()
report = analyzer.analyze(sys.argv[1])
print((time.process_time() - begun_s) / report.media.duration_s)
"""


def read_pictures(clip: Path) -> list[ByteArray]:
    """All pictures of a clip."""
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def forth_and_back(pictures: Sequence[ByteArray], number: int) -> list[ByteArray]:
    """So many pictures, none far from the one before."""
    once = [*pictures, *pictures[-2:0:-1]]
    return [once[k % len(once)] for k in range(number)]


def write_film(path: Path, pictures: Sequence[ByteArray], samples: FloatArray) -> None:
    """Encode a film."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE_HZ)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for place, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE_HZ)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
        sound.rate, sound.pts = SAMPLE_RATE_HZ, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def make_films(folder: Path, seconds: float) -> dict[str, Path]:
    """The three films, by what is in them."""
    glad, plain = (ROOT / "examples" / f"smile_{name}_voice.mp4" for name in ("glad", "plain"))
    number = round(seconds * RATE_HZ)
    one, other = (forth_and_back(read_pictures(clip), number) for clip in (glad, plain))
    voice = np.resize(read_sound(glad), round(seconds * SAMPLE_RATE_HZ))
    both = [np.hstack(pair) for pair in zip(one, other, strict=True)]
    made = {
        "one face": (one, voice),
        "two faces, no speech": (both, np.zeros_like(voice)),
        "two faces, who speaks": (both, voice),
        "one face, no speech": (one, np.zeros_like(voice)),
    }
    films = {}
    for place, (name, (pictures, samples)) in enumerate(made.items()):
        films[name] = folder / f"{place}.mp4"
        write_film(films[name], pictures, samples)
    return films


def measure(checkout: Path, film: Path) -> float:
    """CPU seconds a second of film."""
    told = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(film), str(ROOT / "examples/smile_glad_voice.mp4")],
        env={**os.environ, "PYTHONPATH": str(checkout / "src")},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(told.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    checkouts = {"now": ROOT} | ({} if asked.before is None else {"before": asked.before})
    with tempfile.TemporaryDirectory() as folder:
        films = make_films(Path(folder), asked.seconds)
        spent: dict[tuple[str, str], list[float]] = {}
        for _ in range(asked.runs):
            for name, film in films.items():
                for when, checkout in checkouts.items():
                    spent.setdefault((name, when), []).append(measure(checkout, film))
    print("| film | code | CPU ms a second of film | to one face, now |")
    print("|---|---|---|---|")
    one = median(spent["one face", "now"])
    for (name, when), values in spent.items():
        middle = median(values)
        print(f"| {name} | {when} | {1000 * middle:.1f} | {middle / one:.2f} |")


if __name__ == "__main__":
    main()
