"""What is used instead of facevoice: `fer` on every frame of a video, librosa for its sound.

    python benchmarks/peer_pipelines/per_frame_fer.py FILE... --detector mtcnn --output FOLDER

Run by the interpreter of the peers' environment (see `benchmarks/peers.py` for how to make it);
imports nothing of facevoice.

Faces as in fer's README: `Video(FILE).analyze(FER(mtcnn=True))`, or `FER()`, which finds faces with
OpenCV's Haar cascade; the emotions are those of the first face of a frame. Its by-products
(annotated pictures and video, a zip of them), which cost much more, are turned off.

Sound as the usual tutorial on voice emotions computes it: MFCC (40) and their deltas, chroma (12),
mel spectrogram (128), zero crossings, RMS: mean and standard deviation of each over a window, at
librosa's default rate of 22.05 kHz. librosa does not read mp4: as its users do, the sound is first
written to WAV with ffmpeg (the program that comes with imageio-ffmpeg, on which moviepy and so fer
depend).

Prints a line of JSON for each file. `load_*`: imports, networks, one frame and a second of noise to
warm up; `wall_s` and `cpu_s`: the file itself; CPU seconds are user + system, with children.
`--output` writes FOLDER/<stem>.npz: `emotions` (frames with a face, 7), `labels` (7), `sound`
(windows, figures).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# Shorter remainders give no window of their own.
SHORTEST_S = 0.5


def usage() -> np.ndarray:
    """Wall and CPU seconds (2,) of this process and its ended children so far."""
    kinds = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(kind.ru_utime + kind.ru_stime for kind in kinds)
    return np.array([time.perf_counter(), cpu_s])


def create_detector(name: str, first_file: Path) -> tuple[Any, str]:
    """Load everything and use it once; the `fer.FER` and whose NMS it uses."""
    nms = "none"
    if name == "mtcnn":
        from compiled_nms import ensure_nms  # noqa: PLC0415  # loads torch

        nms = ensure_nms()
    import cv2  # noqa: PLC0415
    from fer.fer import FER  # noqa: PLC0415

    detector = FER(mtcnn=name == "mtcnn")
    found, frame = cv2.VideoCapture(str(first_file)).read()
    if not found:
        raise SystemExit(f"{first_file}: no frame can be read")
    detector.detect_emotions(frame)
    # librosa loads and compiles at first use.
    window_features(np.random.default_rng(0).normal(0, 0.1, 22_050).astype(np.float32), 22_050.0)
    return detector, nms


def face_emotions(detector: Any, path: Path) -> tuple[np.ndarray, int]:
    """Probabilities (frames with a face, 7), and the number of frames."""
    import cv2  # noqa: PLC0415
    from fer.classes import Video  # noqa: PLC0415

    quiet = dict.fromkeys(("save_frames", "save_video", "annotate_frames", "zip_images"), False)
    with tempfile.TemporaryDirectory() as folder:
        video = Video(str(path), outdir=folder)
        num_listed = int(video.cap.get(cv2.CAP_PROP_FRAME_COUNT))
        table = video.analyze(detector, output="pandas", **quiet)
    # fer logs an error and stops at the frame where it occurs.
    if video.frameCount < 0.95 * num_listed:
        raise SystemExit(f"{path}: fer stopped after {video.frameCount} of {num_listed} frames")
    emotions = table[list(LABELS)].to_numpy() if len(table) else np.empty((0, len(LABELS)))
    return emotions.astype(np.float32), video.frameCount


def sound_features(video: Path, window_s: float) -> np.ndarray:
    """Features (windows, figures) of each `window_s` of the soundtrack, or all of it if 0.

    No row where there is no sound.
    """
    import imageio_ffmpeg  # noqa: PLC0415
    import librosa  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        wav = str(Path(folder) / "sound.wav")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(video), "-vn", wav]
        if subprocess.run(command, check=False, stderr=subprocess.PIPE).returncode:
            return np.empty((0, 0), np.float32)
        samples, rate_hz = librosa.load(wav)
    step = round(window_s * rate_hz) if window_s else max(len(samples), 1)
    rows = [
        window_features(samples[start : start + step], float(rate_hz))
        for start in range(0, len(samples), step)
        if start == 0 or len(samples) - start >= SHORTEST_S * rate_hz
    ]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def window_features(samples: np.ndarray, rate_hz: float) -> np.ndarray:
    """Mean and standard deviation of all features over one window."""
    import librosa  # noqa: PLC0415

    mfcc = librosa.feature.mfcc(y=samples, sr=rate_hz, n_mfcc=40)
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


def main() -> None:
    """Read the arguments, load once, analyse all files."""
    begin = usage()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--detector", choices=("mtcnn", "haar"), default="mtcnn")
    parser.add_argument("--window-s", type=float, default=4.0, help="0: all of the sound as one")
    parser.add_argument("--output", type=Path, help="folder for the .npz files")
    options = parser.parse_args()
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    detector, nms = create_detector(options.detector, options.file[0])
    loading = usage() - begin
    for path in options.file:
        start = usage()
        emotions, num_frames = face_emotions(detector, path)
        middle = usage()
        sound = sound_features(path, options.window_s)
        end = usage()
        if options.output:
            target = options.output / f"{path.stem}.npz"
            np.savez(target, emotions=emotions, labels=np.array(LABELS), sound=sound)
        found = {
            "file": str(path),
            "nms": nms,
            "num_frames": num_frames,
            "num_faces": len(emotions),
            "num_windows": len(sound),
            "load_wall_s": loading[0],
            "wall_s": (end - start)[0],
            "cpu_s": (end - start)[1],
            "sound_wall_s": (end - middle)[0],
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
