"""What is used instead of facevoice: `fer` on every frame of a video, librosa for its sound.

    python benchmarks/peer_pipelines/per_frame_fer.py FILE... --detector mtcnn --output FOLDER

Run by the interpreter of the peers' environment (see `benchmarks/peers.py` for how to make it);
imports nothing of facevoice. Faces as in fer's README: `Video(FILE).analyze(FER(mtcnn=True))`, or
`FER()`, which finds faces with OpenCV's Haar cascade; the emotions are those of the first face of
a frame. Its by-products (annotated pictures and video, a zip of them), which cost much more, are
turned off. Sound: see `librosa_features.py`.

Prints a line of JSON for each file. `load_*`: imports, networks, one frame and a second of noise to
warm up; `wall_s` and `cpu_s`: the file itself; CPU seconds are user + system, with children.
`--output` writes FOLDER/<stem>.npz: `emotions` (frames with a face, 7), `labels` (7), `sound`
(windows, figures).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@dataclass(frozen=True, slots=True)
class Usage:
    """Wall and CPU seconds."""

    wall_s: float
    cpu_s: float

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


@dataclass(frozen=True, slots=True)
class FileResult:
    """What a file took; `num_faces`: frames in which a face was found."""

    file: str
    detector: str
    nms: str
    media_s: float
    num_frames: int
    num_faces: int
    num_windows: int
    load_wall_s: float
    load_cpu_s: float
    wall_s: float
    cpu_s: float
    face_wall_s: float
    sound_wall_s: float
    peak_rss_mb: float


def usage() -> Usage:
    """Time and CPU seconds of this process and its ended children so far."""
    kinds = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Usage(time.perf_counter(), sum(kind.ru_utime + kind.ru_stime for kind in kinds))


def peak_rss_mb() -> float:
    """Largest resident memory of this process or of one of its children so far."""
    kinds = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(kind.ru_maxrss for kind in kinds) / 1024


def create_detector(name: str, first_file: Path) -> tuple[Any, str]:
    """Load everything and use it once; the `fer.FER` and whose NMS it uses."""
    nms = "none"
    if name == "mtcnn":
        from compiled_nms import ensure_nms  # noqa: PLC0415  # loads torch

        nms = ensure_nms()
    import cv2  # noqa: PLC0415
    from fer.fer import FER  # noqa: PLC0415
    from librosa_features import warm_up  # noqa: PLC0415

    detector = FER(mtcnn=name == "mtcnn")
    found, frame = cv2.VideoCapture(str(first_file)).read()
    if not found:
        raise SystemExit(f"{first_file}: no frame can be read")
    detector.detect_emotions(frame)
    warm_up()
    return detector, nms


def face_emotions(detector: Any, path: Path) -> tuple[npt.NDArray[np.float32], int, float]:
    """Probabilities (frames with a face, 7), number of frames, seconds of video."""
    import cv2  # noqa: PLC0415
    from fer.classes import Video  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        video = Video(str(path), outdir=folder)
        num_listed = int(video.cap.get(cv2.CAP_PROP_FRAME_COUNT))
        rate_hz = video.cap.get(cv2.CAP_PROP_FPS)
        table = video.analyze(
            detector,
            output="pandas",
            save_frames=False,
            save_video=False,
            annotate_frames=False,
            zip_images=False,
        )
    # fer logs an error and stops at the frame where it occurs.
    if video.frameCount < 0.95 * num_listed:
        raise SystemExit(f"{path}: fer stopped after {video.frameCount} of {num_listed} frames")
    emotions = table[list(LABELS)].to_numpy() if len(table) else np.empty((0, len(LABELS)))
    return emotions.astype(np.float32), video.frameCount, video.frameCount / rate_hz


def analyze(
    path: Path, detector: Any, names: tuple[str, str], loading: Usage, options: argparse.Namespace
) -> FileResult:
    """Faces and sound of one file; `names`: of the detector and of the NMS it uses."""
    from librosa_features import sound_features  # noqa: PLC0415

    start = usage()
    emotions, num_frames, media_s = face_emotions(detector, path)
    middle = usage()
    sound = sound_features(path, options.window_s)
    end = usage()
    if options.output:
        target = options.output / f"{path.stem}.npz"
        np.savez(target, emotions=emotions, labels=np.array(LABELS), sound=sound)
    total = end - start
    return FileResult(
        file=str(path),
        detector=names[0],
        nms=names[1],
        media_s=media_s,
        num_frames=num_frames,
        num_faces=len(emotions),
        num_windows=len(sound),
        load_wall_s=loading.wall_s,
        load_cpu_s=loading.cpu_s,
        wall_s=total.wall_s,
        cpu_s=total.cpu_s,
        face_wall_s=(middle - start).wall_s,
        sound_wall_s=(end - middle).wall_s,
        peak_rss_mb=peak_rss_mb(),
    )


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
        result = analyze(path, detector, (options.detector, nms), loading, options)
        print(json.dumps(dataclasses.asdict(result)), flush=True)


if __name__ == "__main__":
    main()
