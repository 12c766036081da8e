"""Ways to find faces side by side: MTCNN that follows between searches, YuNet in every frame.

    python benchmarks/faces.py javanese/video ravdess_av/original [--every 3] [--said]

Each folder holds films of one person who faces the camera. Frames are sampled and faces linked by
the package's own `read_frames` and `track_faces`. Printed for each folder and way:

- recall: the share of frames whose face is found where it is, plain and made small, turned and
  dark; frames that are black are left out. Where a face is, is taken from the plain frame: the mean
  of both detectors' landmarks. Found means that the landmarks' centre is less than an eye distance
  off; "error" is the landmarks' median distance from there in per cent of the eye distance. "False"
  counts all other finds per 100 frames; in the last row the face is painted over.
- steadiness: how far landmarks jump, at each film's own rate, from the mean of those in the frames
  before and after, which takes smooth motion out (root of mean square, times √⅔, in per cent of the
  eye distance); at 5 frames a second; and how far they move over the face when the very same
  picture is shifted by up to 24 px.
- crops: how the second way's aligned crops lie to the first's.
- CPU: milliseconds of one thread for a second of video at 5 frames a second, to find, link and
  crop, without decoding; each film played to and fro for 30 s, ways in turn; and the network's.
- with `--said`: what shipped face network and heads say of the crops (they have learnt from
  javanese, so that only differences count), and on films named as javanese's the recall, leaving
  one speaker out, of logistic regressions on the network's embeddings.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from facevoice.analyzer import Analyzer
from facevoice.batch import find_media
from facevoice.interpret import interpret
from facevoice.media import probe, read_frames, regular_times
from facevoice.people.detect import FaceDetector, FollowingDetector, create_detector
from facevoice.people.track import track_faces
from facevoice.perceive import Perceiver
from facevoice.records import (
    ByteArray,
    Detections,
    FloatArray,
    Frame,
    Modality,
    ModelId,
    Perception,
    Window,
)
from facevoice.settings import AnalyzerConfig, FacesConfig

WAYS = {
    "mtcnn": FacesConfig(),
    "yunet": FacesConfig(detector="yunet", min_score=0.5, min_face_px=24),
}

GREY = 127
BLACK_LEVEL = 8
CANVAS_PX = (640, 360)
SHIFT_PX = 24
NUM_SHIFTS = 8
PLAY_S = 30
EYES = slice(0, 2)

Change = Callable[[ByteArray, FloatArray], tuple[ByteArray, FloatArray]]


def detector_of(config: FacesConfig) -> FaceDetector:
    return create_detector(
        config.detector, min_face_px=config.min_face_px, min_score=config.min_score
    )


class Watched:
    """A detector that remembers the landmarks of what it found last."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._found: list[Detections] = []

    @property
    def model(self) -> ModelId:
        return self._detector.model

    @property
    def template(self) -> FloatArray:
        return self._detector.template

    def detect(self, rgb: ByteArray) -> Detections:
        return self._kept(self._detector.detect(rgb))

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


class WatchedFollower(Watched):
    """The same of a detector that follows."""

    _detector: FollowingDetector

    def refine(self, rgb: ByteArray, boxes_xyxy: FloatArray) -> Detections:
        return self._kept(self._detector.refine(rgb, boxes_xyxy))


def watched(config: FacesConfig) -> Watched:
    detector = detector_of(config)
    return (WatchedFollower if isinstance(detector, FollowingDetector) else Watched)(detector)


def landmarks_of(
    frames: Iterable[Frame], detector: Watched, config: FacesConfig
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
    """Sampled frames that aren't black, and where the face is in each, (5, 2) px or None."""

    path: Path
    frames: list[Frame]
    truth: list[FloatArray | None]

    @property
    def face(self) -> FloatArray:
        """Its median place (5, 2)."""
        return np.median([t for t in self.truth if t is not None], axis=0)


def read_film(path: Path, detectors: Sequence[FaceDetector], rate_hz: float) -> Film:
    times = regular_times(probe(path).duration_s, rate_hz)
    read = read_frames(path, times, tolerance_s=0.5 / rate_hz, max_side_px=640)
    frames = [frame for frame in read if frame.rgb.mean() > BLACK_LEVEL]
    truth: list[FloatArray | None] = []
    for frame in frames:
        found = [d.detect(frame.rgb) for d in detectors]
        landmarks = [f.landmarks_px[0] for f in found if len(f)]
        truth.append(np.mean(landmarks, axis=0) if landmarks else None)
    return Film(path, frames, truth)


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
    **{f"small, eyes {n} px apart": lambda f, n=n: small(f, n) for n in (32, 24, 16, 12, 8)},
    **{f"turned in the plane by {a}°": lambda f, a=a: turned(f, a) for a in (20, 40, 60, 90)},
    **{f"turned to the side by {a}°": lambda f, a=a: away(f, a) for a in (30, 45, 60)},
    **{f"dark, {g:.0%} of the light": lambda f, g=g: dark(f, g) for g in (0.25, 0.1, 0.05)},
    "painted over": painted_over,
}


def score_condition(
    films: Sequence[Film], name: str, detector: Watched, config: FacesConfig
) -> tuple[float, float, float]:
    """Recall and median error in per cent, false finds per 100 frames."""
    num_frames = num_found = num_false = 0
    errors: list[float] = []
    for film in films:
        change = CONDITIONS[name](film)
        known = [(f, t) for f, t in zip(film.frames, film.truth, strict=True) if t is not None]
        changed = [(f.timestamp_s, *change(f.rgb, t)) for f, t in known]
        frames = (Frame(time_s, rgb) for time_s, rgb, _ in changed)
        for found, (_, _, truth) in zip(
            landmarks_of(frames, detector, config), changed, strict=True
        ):
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


def print_recall(films: Sequence[Film]) -> None:
    print(f"\n{'recall %, error %, false':30}" + "".join(f"{way:>24}" for way in WAYS))
    detectors = {way: watched(config) for way, config in WAYS.items()}
    for name in CONDITIONS:
        cells = ""
        for way, config in WAYS.items():
            recall, error, false = score_condition(films, name, detectors[way], config)
            cells += f"{recall:10.1f}{error:7.1f}{false:7.1f}"
        print(f"{name:30}{cells}")


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


def print_steadiness(films: Sequence[Film]) -> None:
    print(f"\n{'steadiness, % of eye distance':30}   eyes   nose  mouth    all")
    whole = [read_whole(film.path) for film in films]
    for way, config in WAYS.items():
        detector = watched(config)
        fast = replace(config, sample_rate_hz=30)
        at_30, at_5 = (
            [
                jump
                for frames in clips
                for jump in jumps([first_of(f) for f in landmarks_of(frames, detector, settings)])
            ]
            for clips, settings in ((whole, fast), ([film.frames for film in films], config))
        )
        moved = [spread for film in films for spread in under_shifts(film, detector)]
        print(f"{way + ', every frame':30}  {percent(at_30)}")
        print(f"{way + ', 5 frames a second':30}  {percent(at_5)}")
        print(f"{way + ', same picture shifted':30}  {percent(moved)}")


def read_whole(path: Path) -> list[Frame]:
    times = regular_times(probe(path).duration_s, 30)
    read = read_frames(path, times, tolerance_s=0.02, max_side_px=640)
    return [frame for frame in read if frame.rgb.mean() > BLACK_LEVEL]


def similarity(points: FloatArray, template: FloatArray) -> tuple[complex, complex]:
    """Turn with scale, and shift, that bring points closest to the template, as complex numbers."""
    a, b = points @ [1, 1j], template @ [1, 1j]
    turn = (np.conj(a - a.mean()) * (b - b.mean())).sum() / (np.abs(a - a.mean()) ** 2).sum()
    return turn, b.mean() - turn * a.mean()


def print_crops(films: Sequence[Film]) -> None:
    """Where the second way's crop shows the first's middle, how large, and how turned."""
    detectors = [detector_of(config) for config in WAYS.values()]
    rows = []
    for film in films:
        for frame in film.frames:
            found = [d.detect(frame.rgb) for d in detectors]
            if not all(len(f) for f in found):
                continue
            (turn_a, shift_a), (turn_b, shift_b) = (
                similarity(f.landmarks_px[0].astype(np.float64), d.template.astype(np.float64))
                for f, d in zip(found, detectors, strict=True)
            )
            middle = (0.5 + 0.5j - shift_a) / turn_a
            off = turn_b * middle + shift_b - (0.5 + 0.5j)
            ratio = turn_b / turn_a
            rows.append((off.real, off.imag, abs(ratio) - 1, np.degrees(np.angle(ratio))))
    values = np.array(rows) * [100, 100, 100, 1]
    print(f"\ncrops, {' against '.join(reversed(WAYS))}: median (5th to 95th percentile)")
    names = ("right, % of side", "down, % of side", "larger, %", "turned, °")
    for name, column in zip(names, values.T, strict=True):
        low, mid, high = np.percentile(column, (5, 50, 95))
        print(f"  {name:20} {mid:6.1f} ({low:.1f} to {high:.1f})")


def to_and_fro(frames: list[Frame], rate_hz: float) -> list[Frame]:
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    num = round(PLAY_S * rate_hz)
    return [Frame(k / rate_hz, frames[order[k % len(order)]].rgb) for k in range(num)]


def print_cpu(films: Sequence[Film], num_rounds: int = 3) -> None:
    detectors = {way: detector_of(config) for way, config in WAYS.items()}
    backbone = Analyzer(num_threads=1).perceiver.backbones[Modality.VIDEO]
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    network: list[float] = []
    for film in films:
        rate_hz = FacesConfig().sample_rate_hz
        frames = to_and_fro(film.frames, rate_hz)
        for _ in range(num_rounds):
            for way, config in WAYS.items():
                began = time.thread_time()
                found = list(track_faces(frames, detectors[way], config))
                spent[way].append((time.thread_time() - began) / PLAY_S)
            crops = np.stack([f.sightings[0].crop for f in found if f.sightings][:20])
            window = Window(0.0, len(crops) / rate_hz, crops, None, 1.0, 0.0)
            began = time.thread_time()
            backbone.embed([window])
            # A window of 4 s every 2 s.
            network.append(2 * (time.thread_time() - began) / window.duration_s)
    print("\nCPU, ms a second of video, median of films and rounds")
    for way, values in (*spent.items(), ("network", network)):
        print(f"  {way:28}{1000 * np.median(values):7.1f}")


def perceive_faces(paths: Sequence[Path], config: FacesConfig) -> tuple[list[Perception], Analyzer]:
    analyzer = Analyzer(AnalyzerConfig(faces=config), num_threads=1)
    backbone = analyzer.perceiver.backbones[Modality.VIDEO]
    perceiver = Perceiver(analyzer.config, {Modality.VIDEO: backbone})
    return [perceiver.perceive(path) for path in paths], analyzer


def print_said(paths: Sequence[Path]) -> None:
    said, embedded = [], []
    for config in WAYS.values():
        perceptions, analyzer = perceive_faces(paths, config)
        reports = [interpret(p, analyzer.assembly.model) for p in perceptions]
        said.append([None if w.face is None else w.face.probs for r in reports for w in r.windows])
        embedded.append([[v.face for v in p.windows if v.face is not None] for p in perceptions])
    both = [(a, b) for a, b in zip(*said[:2], strict=True) if a is not None and b is not None]
    off = np.array([np.abs(a - b) for a, b in both])
    same = np.mean([a.argmax() == b.argmax() for a, b in both])
    print(
        f"\nface posteriors of {len(both)} windows ({len(said[0])} in all): the likeliest emotion "
        f"is the same in {same:.1%}; mean absolute difference {off.mean():.4f}, "
        f"half the sum {off.sum(axis=1).mean() / 2:.3f}"
    )
    names = [path.stem.split("_")[0].split("-") for path in paths]
    if all(len(name) == 3 for name in names):
        for way, embeddings in zip(WAYS, embedded, strict=True):
            print_unseen(way, embeddings, names)


def print_unseen(way: str, embeddings: list[list[FloatArray]], names: list[list[str]]) -> None:
    """Recall of logistic regressions on a film's mean embedding, leaving one speaker out."""
    kept = [k for k, views in enumerate(embeddings) if views]
    x = np.stack([np.mean(embeddings[k], axis=0) for k in kept])
    speakers, emotions = (np.array([names[k][part] for k in kept]) for part in (0, 2))
    own = np.stack([x[speakers == speaker].mean(axis=0) for speaker in speakers])
    results = []
    for features in (x, x - own):
        steps = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        guesses = cross_val_predict(
            steps, features, emotions, groups=speakers, cv=LeaveOneGroupOut()
        )
        results.append(100 * balanced_accuracy_score(emotions, guesses))
    print(
        f"  {way}: recall of unseen speakers {results[0]:.1f} %, "
        f"person's mean taken out {results[1]:.1f} % ({len(kept)} films)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1, help="every n-th film, but all for --said")
    parser.add_argument("--said", action="store_true", help="also compare what is said")
    options = parser.parse_args()
    detectors = [detector_of(config) for config in WAYS.values()]
    for folder in options.folders:
        paths = [path for path in find_media([folder]) if isinstance(path, Path)]
        rate_hz = FacesConfig().sample_rate_hz
        films = [read_film(path, detectors, rate_hz) for path in paths[:: options.every]]
        films = [film for film in films if any(t is not None for t in film.truth)]
        num_frames = sum(len(film.frames) for film in films)
        print(f"\n== {folder}: {len(films)} of {len(paths)} films, {num_frames} frames", flush=True)
        print_recall(films)
        print_steadiness(films[:: max(1, len(films) // 24)])
        print_crops(films)
        print_cpu(films[:: max(1, len(films) // 8)])
        if options.said:
            print_said(paths)


if __name__ == "__main__":
    main()
