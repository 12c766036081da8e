"""Make the two sample clips: a smiling portrait that speaks lively, and one that speaks sadly.

Both are synthetic. The picture is a public-domain NASA portrait (Eileen Collins, from
scikit-image), panned, zoomed and given a moving jaw. The voice is flite's "slt", told to speak
high, fast and lively, or low, slow and flat. Nobody said or felt any of it.

    apt-get install flite          (Debian, Ubuntu; the speech synthesiser)
    pip install . scikit-image  # in a clone
    python examples/make_samples.py
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from skimage import data
from skimage.transform import warp

FOLDER = Path(__file__).parent
SIDE_PX = 480
FRAME_RATE_HZ = 25
PAUSE_S = 0.4
MOUTH_XY_PX = (224.0, 146.0)  # in the portrait, 512 × 512 pixels
JAW_XY_PX = (223.0, 168.0)
JAW_RADIUS_XY_PX = (26.0, 18.0)
JAW_DROP_PX = 5.0

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What is said and how: pitch and its spread in hertz, length of sounds against normal."""

    name: str
    text: str
    pitch_hz: float
    pitch_spread_hz: float
    stretch: float


SAMPLES = (
    Sample(
        name="smile_glad_voice",
        text="What a wonderful day! Oh, I am so happy to see you! "
        "This is the best news ever! Thank you, thank you so much!",
        pitch_hz=250,
        pitch_spread_hz=60,
        stretch=0.85,
    ),
    Sample(
        name="smile_sad_voice",
        text="I am so sad. Everything went wrong today. I do not know what to do.",
        pitch_hz=150,
        pitch_spread_hz=8,
        stretch=1.35,
    ),
)


def speak(sample: Sample) -> tuple[FloatArray, int]:
    """Synthesised speech (n,) in [-1, 1] with a pause on both sides, and its rate in hertz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        settings = {
            "int_f0_target_mean": sample.pitch_hz,
            "int_f0_target_stddev": sample.pitch_spread_hz,
            "duration_stretch": sample.stretch,
        }
        options = [word for k, v in settings.items() for word in ("--setf", f"{k}={v}")]
        subprocess.run(
            ["flite", "-voice", "slt", *options, "-t", sample.text, "-o", str(path)], check=True
        )
        with av.open(str(path)) as container:
            rate_hz = container.streams.audio[0].rate
            blocks = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    samples = np.concatenate(blocks).astype(np.float64) / 32_768
    pause = np.zeros(round(PAUSE_S * rate_hz))
    return np.concatenate([pause, samples, pause]), rate_hz


def measure_loudness(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Loudness at each frame in [0, 1], smoothed as a jaw would be."""
    hop = rate_hz // FRAME_RATE_HZ
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    rms = np.sqrt((frames**2).mean(axis=1))
    smooth = np.convolve(rms / max(rms.max(), 1e-9), [0.25, 0.5, 0.25], mode="same")
    return np.clip(smooth, 0, 1)


def draw_frame(portrait: FloatArray, time_s: float, opening: float) -> npt.NDArray[np.uint8]:
    """The portrait at one moment, uint8 (SIDE_PX, SIDE_PX, 3); `opening` of the mouth in [0, 1]."""
    view_px = 270 + 14 * math.cos(2 * math.pi * time_s / 6)
    centre_x = MOUTH_XY_PX[0] + 5 * math.sin(2 * math.pi * time_s / 4.3)
    centre_y = MOUTH_XY_PX[1] - 6 + 3 * math.sin(2 * math.pi * time_s / 2.9)

    def find_source(target: FloatArray) -> FloatArray:
        """Portrait coordinates x, y (n, 2) that each target pixel (n, 2) shows."""
        source = (target / SIDE_PX - 0.5) * view_px + (centre_x, centre_y)
        distance = (source - JAW_XY_PX) / JAW_RADIUS_XY_PX
        nearness = np.exp(-0.5 * (distance**2).sum(axis=1))
        source[:, 1] -= opening * JAW_DROP_PX * nearness
        return source

    picture = warp(portrait, find_source, output_shape=(SIDE_PX, SIDE_PX), order=1, mode="edge")
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def make_clip(sample: Sample, path: Path) -> None:
    """Write one clip as H.264 and AAC in MP4."""
    samples, rate_hz = speak(sample)
    loudness = measure_loudness(samples, rate_hz)
    portrait = data.astronaut().astype(np.float64) / 255
    with av.open(str(path), "w", options={"movflags": "faststart"}) as output:
        video = output.add_stream("libx264", rate=FRAME_RATE_HZ)
        video.width = video.height = SIDE_PX
        video.pix_fmt = "yuv420p"
        video.options = {"crf": "26", "preset": "slow"}
        audio = output.add_stream("aac", rate=rate_hz, layout="mono")
        audio.bit_rate = 64_000
        for index, opening in enumerate(loudness):
            picture = draw_frame(portrait, index / FRAME_RATE_HZ, float(opening))
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(video.encode(None))
        for frame in split_audio(samples, rate_hz):
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))


def split_audio(samples: FloatArray, rate_hz: int) -> Iterator[av.AudioFrame]:
    """Frames of 1024 samples, as AAC takes them."""
    for start in range(0, len(samples), 1024):
        block = np.ascontiguousarray(samples[None, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        yield frame


def main() -> int:
    """Make all samples beside this script."""
    if shutil.which("flite") is None:
        print("flite is missing; on Debian or Ubuntu: apt-get install flite", file=sys.stderr)
        return 1
    for sample in SAMPLES:
        path = FOLDER / f"{sample.name}.mp4"
        make_clip(sample, path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
