"""How well faces are found, how steady their landmarks are, and what that costs.

    python benchmarks/faces.py javanese/video ravdess_av/original [--every 3] [--emotions]

Each folder holds films of one person who faces the camera. Frames are sampled and faces linked by
the package's own `read_frames` and `track_faces`. Printed for each folder:

- recall: the share of frames whose face is found where it is, plain and made small, turned, dark
  and in the corner of a screen; frames that are black are left out. Where a face is, is taken from
  the plain frame, searched by itself. Found means that the landmarks' centre is less than an eye
  distance off; "error" is the landmarks' median distance from there in per cent of the eye
  distance: above 100 where faces are taken for upright that are not. "False" counts all other finds
  per 100 frames; in the last row the face is painted over.
- steadiness: how far landmarks jump, at each film's own rate, from the mean of those in the frames
  before and after, which takes smooth motion out (root of mean square, times √⅔, in per cent of the
  eye distance); at 5 frames a second; and how far they move over the face when the very same
  picture is shifted by up to 24 px.
- CPU: milliseconds of one thread for a second of video at 5 frames a second, to find, link and
  crop, without decoding, each film played to and fro for 30 s; and the face network's.
- with `--emotions`, for films named as javanese's: the recall, leaving one speaker out, of logistic
  regressions on the network's embeddings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from facevoice.analyzer import Analyzer
from facevoice.finding import find_media
from facevoice.media import probe, read_frames, regular_times
from facevoice.people.detect import FaceDetector
from facevoice.people.track import track_faces
from facevoice.perceive import Perceiver
from facevoice.records import (
    ByteArray,
    Detections,
    FloatArray,
    Frame,
    Modality,
    Window,
)
from facevoice.settings import FacesConfig

FACES = FacesConfig()
FACES_30_HZ = FacesConfig(sample_rate_hz=30)

GREY = 127
LIGHT = 235
BLACK_LEVEL = 8
CANVAS_PX = (640, 360)
SHIFT_PX = 24
NUM_SHIFTS = 8
PLAY_S = 30
EYES = slice(0, 2)

Change = Callable[[ByteArray, FloatArray], tuple[ByteArray, FloatArray]]


class WatchedDetector(FaceDetector):
    """Remembers the landmarks of what it found last."""

    def __init__(self) -> None:
        super().__init__(min_face_px=FACES.min_face_px, min_score=FACES.min_score)
        self._found: list[Detections] = []

    def detect(self, rgb: ByteArray, **how: Any) -> Detections:
        return self._kept(super().detect(rgb, **how))

    def refine(self, rgb: ByteArray, known: Detections) -> Detections:
        return self._kept(super().refine(rgb, known))

    def landmarks(self, box: FloatArray) -> FloatArray:
        """Of the face with this very box in the last frame."""
        for found in reversed(self._found):
            for other, landmarks in zip(found.boxes_xyxy, found.landmarks_px, strict=True):
                if np.array_equal(box, other):
                    return landmarks
        raise LookupError("no such face was found")

    def forget(self) -> None:
        self._found = []

    def _kept(self, found: Detections) -> Detections:
        self._found.append(found)
        return found


def landmarks_of(
    frames: Iterable[Frame], detector: WatchedDetector, config: FacesConfig = FACES
) -> Iterator[list[FloatArray]]:
    """All faces' landmarks (5, 2), frame by frame, best first, as the tracker gives them."""

    def told() -> Iterator[Frame]:
        for frame in frames:
            detector.forget()
            yield frame

    for found in track_faces(told(), detector, config):
        faces = sorted(found.sightings, key=lambda s: -s.score)
        yield [detector.landmarks(s.box_xyxy) for s in faces]


def eye_distance(landmarks: FloatArray) -> float:
    return float(np.hypot(*(landmarks[1] - landmarks[0])))


@dataclass(frozen=True)
class Film:
    """Sampled frames that aren't black, and where the face is in each, (5, 2) px or None.

    length_px: median length of its box.
    """

    path: Path
    frames: list[Frame]
    truth: list[FloatArray | None]
    length_px: float

    @property
    def face(self) -> FloatArray:
        """Its median place (5, 2)."""
        return np.median([t for t in self.truth if t is not None], axis=0)


def read_film(path: Path, detector: FaceDetector) -> Film:
    frames = read_at(path, FACES.sample_rate_hz)
    found = [detector.detect(frame.rgb) for frame in frames]
    truth = [f.landmarks_px[0] if len(f) else None for f in found]
    lengths = [float((f.boxes_xyxy[0, 2:] - f.boxes_xyxy[0, :2]).max()) for f in found if len(f)]
    return Film(path, frames, truth, float(np.median(lengths)) if lengths else np.nan)


def read_at(path: Path, rate_hz: float) -> list[Frame]:
    times = regular_times(probe(path).duration_s, rate_hz)
    read = read_frames(path, times, tolerance_s=0.5 / rate_hz, max_side_px=FACES.max_side_px)
    return [frame for frame in read if frame.rgb.mean() > BLACK_LEVEL]


def plain(film: Film) -> Change:
    return lambda rgb, points: (rgb, points)


def small(film: Film, eyes_px: float) -> Change:
    """The picture small in the middle of a grey one of 640 × 360."""
    scale = eyes_px / eye_distance(film.face)

    def change(rgb: ByteArray, points: FloatArray) -> tuple[ByteArray, FloatArray]:
        size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        canvas = Image.new("RGB", CANVAS_PX, (GREY,) * 3)
        corner = ((CANVAS_PX[0] - size[0]) // 2, (CANVAS_PX[1] - size[1]) // 2)
        canvas.paste(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC), corner)
        return np.asarray(canvas), (points * scale + corner).astype(np.float32)

    return change


def in_screen(film: Film, face_px: int) -> Change:
    """The picture in the corner of a light screen of 640 × 360; the face's box is so long."""
    scale = face_px / film.length_px

    def change(rgb: ByteArray, points: FloatArray) -> tuple[ByteArray, FloatArray]:
        size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        canvas = Image.new("RGB", CANVAS_PX, (LIGHT,) * 3)
        corner = (CANVAS_PX[0] - size[0] - 7, CANVAS_PX[1] - size[1] - 7)
        canvas.paste(Image.fromarray(rgb).resize(size, Image.Resampling.BOX), corner)
        return np.asarray(canvas), (points * scale + corner).astype(np.float32)

    return change


def turned(film: Film, angle_deg: float) -> Change:
    """The picture turned clockwise around the face."""
    centre = film.face.mean(axis=0)
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    turn = np.array([[c, -s], [s, c]])

    def change(rgb: ByteArray, points: FloatArray) -> tuple[ByteArray, FloatArray]:
        image = Image.fromarray(rgb).rotate(
            -angle_deg, Image.Resampling.BICUBIC, center=tuple(centre), fillcolor=(GREY,) * 3
        )
        return np.asarray(image), ((points - centre) @ turn.T + centre).astype(np.float32)

    return change


def away(film: Film, angle_deg: float) -> Change:
    """The face turned to the side, as if painted on an upright cylinder; nothing stands out."""
    middle, radius = film.face[:, 0].mean(), 1.3 * eye_distance(film.face)
    angle = np.radians(angle_deg)

    def change(rgb: ByteArray, points: FloatArray) -> tuple[ByteArray, FloatArray]:
        columns = np.arange(rgb.shape[1]) + 0.5
        inside = np.abs(columns - middle) < radius
        around = np.arcsin((columns[inside] - middle) / radius) - angle
        source = columns.copy()
        # What comes into view from behind shows the edge of what was seen.
        source[inside] = middle + radius * np.sin(np.clip(around, -np.pi / 2, np.pi / 2))
        low = np.clip(np.floor(source - 0.5).astype(int), 0, rgb.shape[1] - 2)
        share = np.clip(source - 0.5 - low, 0, 1)[None, :, None]
        mixed = rgb[:, low] * (1 - share) + rgb[:, low + 1] * share
        moved = points.copy()
        place = np.arcsin(np.clip((points[:, 0] - middle) / radius, -1, 1)) + angle
        moved[:, 0] = middle + radius * np.sin(np.clip(place, -np.pi / 2, np.pi / 2))
        return mixed.round().astype(np.uint8), moved

    return change


def dark(film: Film, gain: float) -> Change:
    """So much of the light, with noise of 2 grey levels, as a camera would give."""
    rng = np.random.default_rng(0)

    def change(rgb: ByteArray, points: FloatArray) -> tuple[ByteArray, FloatArray]:
        noisy = rgb * gain + rng.normal(0, 2, rgb.shape)
        return np.clip(noisy, 0, 255).round().astype(np.uint8), points

    return change


def painted_over(film: Film) -> Change:
    """No face: where it was, the picture's mean colour; the rest of the person stays."""

    def change(rgb: ByteArray, points: FloatArray) -> tuple[ByteArray, FloatArray]:
        x, y = points.mean(axis=0)
        half = 1.3 * eye_distance(points)
        blank = rgb.copy()
        rows = slice(max(0, round(y - 1.3 * half)), max(0, round(y + 1.3 * half)))
        columns = slice(max(0, round(x - half)), max(0, round(x + half)))
        blank[rows, columns] = rgb.mean(axis=(0, 1)).astype(np.uint8)
        return blank, np.full_like(points, np.nan)

    return change


CONDITIONS: dict[str, Callable[[Film], Change]] = {
    "plain": plain,
    **{f"small, eyes {n} px apart": lambda f, n=n: small(f, n) for n in (32, 24, 16, 12, 10, 8)},
    **{
        f"turned in the plane by {a}°": lambda f, a=a: turned(f, a)
        for a in (20, 40, 60, 90, 180, 270)
    },
    **{f"turned to the side by {a}°": lambda f, a=a: away(f, a) for a in (30, 45, 60)},
    **{f"dark, {g:.0%} of the light": lambda f, g=g: dark(f, g) for g in (0.25, 0.1, 0.05)},
    **{f"{n} px long in a screen": lambda f, n=n: in_screen(f, n) for n in (48, 40, 32, 26, 20)},
    "painted over": painted_over,
}


def score_condition(
    films: Sequence[Film], name: str, detector: WatchedDetector
) -> tuple[float, float, float]:
    """Recall and median error in per cent, false finds per 100 frames."""
    num_frames = num_found = num_false = 0
    errors: list[float] = []
    for film in films:
        change = CONDITIONS[name](film)
        known = [(f, t) for f, t in zip(film.frames, film.truth, strict=True) if t is not None]
        changed = [(f.timestamp_s, *change(f.rgb, t)) for f, t in known]
        frames = (Frame(time_s, rgb) for time_s, rgb, _ in changed)
        for found, (_, _, truth) in zip(landmarks_of(frames, detector), changed, strict=True):
            eyes = eye_distance(film.face) if name.startswith("turned to") else eye_distance(truth)
            ways = [np.hypot(*(points - truth).mean(axis=0)) / eyes for points in found]
            hits = [points for points, way in zip(found, ways, strict=True) if way < 1]
            num_found += bool(hits)
            num_false += len(found) - bool(hits)
            errors += [
                float(np.linalg.norm(points - truth, axis=1).mean() / eyes) for points in hits[:1]
            ]
        num_frames += len(changed) if name != "plain" else len(film.frames)
    error = 100 * float(np.median(errors)) if errors else np.nan
    return 100 * num_found / num_frames, error, 100 * num_false / num_frames


def print_recall(films: Sequence[Film], detector: WatchedDetector) -> None:
    print(f"\n{'':30}  recall %  error %    false")
    for name in CONDITIONS:
        recall, error, false = score_condition(films, name, detector)
        print(f"{name:30}{recall:10.1f}{error:9.1f}{false:9.1f}")


def jumps(track: list[FloatArray | None]) -> list[FloatArray]:
    """Squared distances (5,) from the mean of both neighbours, in units of the eye distance."""
    result = []
    for before, here, after in zip(track, track[1:], track[2:], strict=False):
        if before is not None and here is not None and after is not None:
            off = np.linalg.norm(here - (before + after) / 2, axis=1) / eye_distance(here)
            result.append(off**2 / 1.5)
    return result


def first_of(faces: list[FloatArray]) -> FloatArray | None:
    return faces[0] if faces else None


def shifted(rgb: ByteArray, dx: int, dy: int) -> ByteArray:
    canvas = np.zeros((rgb.shape[0] + SHIFT_PX, rgb.shape[1] + SHIFT_PX, 3), np.uint8)
    canvas[dy : dy + rgb.shape[0], dx : dx + rgb.shape[1]] = rgb
    return canvas


def under_shifts(film: Film, detector: FaceDetector) -> list[FloatArray]:
    """Variance (5,) of the landmarks of one picture under shifts, in squared eye distances."""
    rng = np.random.default_rng(0)
    rgb, found = film.frames[len(film.frames) // 2].rgb, []
    for dx, dy in rng.integers(0, SHIFT_PX, (NUM_SHIFTS, 2)).tolist():
        faces = detector.detect(shifted(rgb, dx, dy))
        if len(faces):
            found.append(faces.landmarks_px[0] - [dx, dy])
    if len(found) < 2:
        return []
    spread = np.var(found, axis=0, ddof=1).sum(axis=1)
    return [spread / eye_distance(film.face) ** 2]


def percent(squares: Sequence[FloatArray]) -> str:
    """Root of mean square of eyes, nose and mouth in per cent."""
    mean = np.mean(squares, axis=0)
    parts = (mean[EYES].mean(), mean[2], mean[3:].mean(), mean.mean())
    return "  ".join(f"{100 * np.sqrt(part):5.2f}" for part in parts)


def print_steadiness(films: Sequence[Film], detector: WatchedDetector) -> None:
    print(f"\n{'steadiness, % of eye distance':30}   eyes   nose  mouth    all")
    whole = [read_at(film.path, FACES_30_HZ.sample_rate_hz) for film in films]
    for title, clips, config in (
        ("every frame", whole, FACES_30_HZ),
        ("5 frames a second", [film.frames for film in films], FACES),
    ):
        faces = ([first_of(f) for f in landmarks_of(c, detector, config)] for c in clips)
        print(f"{title:30}  {percent([jump for track in faces for jump in jumps(track)])}")
    moved = [spread for film in films for spread in under_shifts(film, detector)]
    print(f"{'same picture shifted':30}  {percent(moved)}")


def to_and_fro(frames: list[Frame], rate_hz: float) -> list[Frame]:
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    num = round(PLAY_S * rate_hz)
    return [Frame(k / rate_hz, frames[order[k % len(order)]].rgb) for k in range(num)]


def print_cpu(films: Sequence[Film], detector: FaceDetector, num_rounds: int = 3) -> None:
    backbone = Analyzer(num_threads=1).perceiver.backbones[Modality.VIDEO]
    rows = []
    for film in films:
        frames = to_and_fro(film.frames, FACES.sample_rate_hz)
        for number in range(num_rounds):
            began = time.thread_time()
            found = list(track_faces(frames, detector, FACES))
            tracked = (time.thread_time() - began) / PLAY_S
            crops = np.stack([f.sightings[0].crop for f in found[:20] if f.sightings])
            # Slightly other pictures each time, as the network's answers are remembered.
            window = Window(0.0, 4.0, crops - crops // (20 + number), None, 1.0, 0.0)
            began = time.thread_time()
            backbone.embed([window])
            network = (time.thread_time() - began) / len(crops) * FACES.sample_rate_hz
            rows.append((tracked, network, tracked + network))
    print("\nCPU, ms a second of video, median of films and rounds")
    for title, value in zip(
        ("find, link and crop", "face network", "together"), np.median(rows, axis=0), strict=True
    ):
        print(f"  {title:28}{1000 * value:7.1f}")


def print_emotions(paths: Sequence[Path]) -> None:
    """Recall of logistic regressions on a film's mean embedding, leaving one speaker out."""
    analyzer = Analyzer(num_threads=1)
    backbone = analyzer.perceiver.backbones[Modality.VIDEO]
    perceiver = Perceiver(analyzer.config, {Modality.VIDEO: backbone})
    names, rows = [], []
    for path in paths:
        faces = [v.face for v in perceiver.perceive(path).windows if v.face is not None]
        name = path.stem.split("_")[0].split("-")
        if faces and len(name) == 3:
            names.append(name)
            rows.append(np.mean(faces, axis=0))
    if not rows:
        return
    x = np.stack(rows)
    speakers, emotions = (np.array([name[part] for name in names]) for part in (0, 2))
    own = np.stack([x[speakers == speaker].mean(axis=0) for speaker in speakers])
    results = []
    for features in (x, x - own):
        steps = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        guesses = cross_val_predict(
            steps, features, emotions, groups=speakers, cv=LeaveOneGroupOut()
        )
        results.append(100 * balanced_accuracy_score(emotions, guesses))
    print(
        f"\nrecall of unseen speakers' emotions {results[0]:.1f} %, "
        f"person's mean taken out {results[1]:.1f} % ({len(x)} films)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1, help="every n-th film; not for --emotions")
    parser.add_argument("--emotions", action="store_true", help="also name emotions in films")
    options = parser.parse_args()
    detector = WatchedDetector()
    for folder in options.folders:
        paths = [path for path in find_media([folder]) if isinstance(path, Path)]
        films = [read_film(path, detector) for path in paths[:: options.every]]
        films = [film for film in films if any(t is not None for t in film.truth)]
        num_frames = sum(len(film.frames) for film in films)
        print(f"\n== {folder}: {len(films)} of {len(paths)} films, {num_frames} frames", flush=True)
        print_recall(films, detector)
        print_steadiness(films[:: max(1, len(films) // 24)], detector)
        print_cpu(films[:: max(1, len(films) // 8)], detector)
        if options.emotions:
            print_emotions(paths)


if __name__ == "__main__":
    main()
