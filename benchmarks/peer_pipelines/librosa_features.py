"""Features of a soundtrack with librosa, as the usual tutorial on voice emotions computes them.

MFCC (40) and their deltas, chroma (12), mel spectrogram (128), zero crossings, RMS: mean and
standard deviation of each over a window, at librosa's default rate of 22.05 kHz. librosa does not
read mp4: as its users do, the sound is first written to WAV with ffmpeg (the program that comes
with imageio-ffmpeg, on which moviepy and so fer depend).
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import imageio_ffmpeg
import librosa
import numpy as np
import numpy.typing as npt

NUM_MFCC = 40
# Shorter remainders give no window of their own.
_SHORTEST_S = 0.5


def sound_features(video: Path, window_s: float) -> npt.NDArray[np.float32]:
    """Features (windows, figures) of each `window_s` of the soundtrack, or all of it if 0.

    No row where there is no sound.
    """
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            "-i",
            str(video),
            "-vn",
            str(wav),
        ]
        if subprocess.run(command, check=False, stderr=subprocess.PIPE).returncode:
            return np.empty((0, 0), np.float32)
        samples, rate_hz = librosa.load(wav)
    step = round(window_s * rate_hz) if window_s else max(len(samples), 1)
    rows = [
        window_features(samples[start : start + step], float(rate_hz))
        for start in range(0, len(samples), step)
        if start == 0 or len(samples) - start >= _SHORTEST_S * rate_hz
    ]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def window_features(samples: npt.NDArray[np.float32], rate_hz: float) -> npt.NDArray[np.float32]:
    """Mean and standard deviation of all features over one window."""
    mfcc = librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=NUM_MFCC)
    # The usual width of 9 frames, less where the sound is shorter.
    width = min(9, mfcc.shape[1] - 1 + mfcc.shape[1] % 2)
    parts = [mfcc, librosa.feature.delta(mfcc, width=width)] if width >= 3 else [mfcc, 0 * mfcc]
    parts += [
        librosa.feature.chroma_stft(y=samples, sr=rate_hz),
        librosa.feature.melspectrogram(y=samples, sr=rate_hz),
        librosa.feature.zero_crossing_rate(samples),
        librosa.feature.rms(y=samples),
    ]
    figures = [figure for part in parts for figure in (part.mean(axis=1), part.std(axis=1))]
    return np.concatenate(figures).astype(np.float32)


def warm_up() -> None:
    """Have librosa load and compile what it does at first use."""
    rng = np.random.default_rng(0)
    window_features(rng.normal(0, 0.1, 22_050).astype(np.float32), 22_050.0)
