"""Whether people are told apart and found again: over a film's cuts, and from picture to picture.

    python -m benchmarks.identity --corpora CORPORA --work WORK [--minutes 10] [--seeds 0]

CORPORA (or FACEVOICE_CORPORA) holds the zip files; they are unpacked into WORK.

**Film.** Clips of all six javanese speakers, drawn with repeats in random order, cut together into
one film with their sound, 360 × 270; at most 128 px makes the faces about 40 px large. They are
read as by `facevoice analyze`. "Mixed" are tracks that
show two speakers, "leading" people those who lead a window. Each person found stands for one
speaker at most, so that most windows are right: those that the speaker's person leads. Across a cut
a window belongs to whose face leads it.

**Pictures.** Likeness (the cosine of two identities, less where both pictures are poor) of one
person, other clips only, and of others, on a frame of each javanese clip and of RAVDESS's films,
of every fifth also made small, tilted, blurred, dark and turned. "Usable" have the quality for it.
The thresholds of `people/identity.py` were set by this table, so each speaker is also told apart
from the others at the limit that the others alone would set, where both kinds of error are as many.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image, ImageFilter
from recipes.arguments import corpora_parser, parse_with_corpora
from scipy.optimize import linear_sum_assignment

from facevoice.backbones.compact import CompactFace
from facevoice.corpora.archive import corpus_root
from facevoice.media import probe, read_frames
from facevoice.media.sound import read_sound
from facevoice.people.cast import Cast
from facevoice.people.detect import FaceDetector, align_crop
from facevoice.people.identity import (
    SAME_PERSON,
    USABLE_QUALITY,
    FaceIdentifier,
    likeness,
    portrait_quality,
)
from facevoice.perceive import Perceiver
from facevoice.records import (
    SAMPLE_RATE_HZ,
    BoolArray,
    ByteArray,
    DoubleArray,
    FaceView,
    FloatArray,
    Modality,
)
from facevoice.settings import AnalyzerConfig, FacesConfig

RATE_HZ: Final = 30
BLACK_LEVEL: Final = 8
FACES = FacesConfig()


@dataclass(frozen=True, slots=True)
class Clip:
    """A film of one speaker."""

    speaker: str
    path: Path


def javanese(corpora: Path, work: Path) -> list[Clip]:
    folder = corpus_root(corpora, "javanese", work=work) / "video"
    return [Clip(path.stem.split("-")[0], path) for path in sorted(folder.glob("*.mp4"))]


def ravdess(corpora: Path, work: Path) -> list[Clip]:
    folder = corpus_root(corpora, "ravdess_av", work=work) / "original"
    return [Clip(f"ravdess {p.stem[-2:]}", p) for p in sorted(folder.rglob("*.mp4"))]


# --- a film of many cuts


@dataclass(frozen=True, slots=True)
class Shot:
    """Whom a film shows from when to when."""

    speaker: str
    start_s: float
    end_s: float


def make_film(clips: Sequence[Clip], target: Path, length_s: float, seed: int) -> list[Shot]:
    """Write clips in random order, with repeats, until they are long enough together.

    A film that is there is taken as it is.
    """
    told = target.with_suffix(".json")
    if told.is_file():
        return [Shot(**values) for values in json.loads(told.read_text(encoding="utf-8"))]
    rng = np.random.default_rng(seed)
    shots: list[Shot] = []
    num_frames = 0
    with av.open(str(target), "w") as output:
        video = output.add_stream("libx264", rate=RATE_HZ, options={"crf": "18"})
        video.height, video.width = next(pictures_of(clips[0].path)).shape[:2]
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        while num_frames < length_s * RATE_HZ:
            clip = clips[rng.integers(len(clips))]
            first = num_frames
            for picture in pictures_of(clip.path):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = num_frames, Fraction(1, RATE_HZ)
                output.mux(video.encode(frame))
                num_frames += 1
            begin, end = (round(n / RATE_HZ * SAMPLE_RATE_HZ) for n in (first, num_frames))
            sound = np.zeros(end - begin, np.float32)
            heard = read_sound(clip.path)[: sound.size]
            sound[: heard.size] = heard
            part = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            part.rate, part.pts = SAMPLE_RATE_HZ, begin
            output.mux(audio.encode(part))
            shots.append(Shot(clip.speaker, first / RATE_HZ, num_frames / RATE_HZ))
        output.mux([*video.encode(None), *audio.encode(None)])
    told.write_text(json.dumps([asdict(shot) for shot in shots]), encoding="utf-8")
    return shots


def pictures_of(path: Path) -> Iterator[ByteArray]:
    """At RATE_HZ."""
    num = 0
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            while num <= float(frame.time or 0.0) * RATE_HZ:
                yield picture
                num += 1


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Windows with a face: whose it is, and the number of the person said to lead it."""

    speakers: list[str]
    people: list[int]
    num_tracks: int
    num_mixed: int
    num_people: int


def find_people(film: Path, shots: Sequence[Shot], faces: FacesConfig) -> Found:
    """What an analysis says; without the voice, which doesn't tell who is seen."""
    settings = AnalyzerConfig(faces=faces)
    perceiver = Perceiver(settings, {Modality.VIDEO: CompactFace(num_threads=1)})
    views = perceiver.perceive(film).windows
    truth: dict[int, Counter[str]] = {}
    for view in views:
        for face in view.faces:
            counts = truth.setdefault(face.person, Counter())
            counts.update(speaker_at(shots, t) for t in times_of(face))
    cast = Cast(views, "leading")
    speakers, numbers = [], []
    for scene in cast.scenes():
        if scene.view.person is not None:
            whose = Counter(speaker_at(shots, t) for t in times_of(scene.view.faces[0]))
            speakers.append(whose.most_common(1)[0][0])
            numbers.append(scene.view.person)
    num_mixed = sum(len(counts) > 1 for counts in truth.values())
    num_people = len(cast.people(faces.sample_rate_hz))
    return Found(speakers, numbers, len(truth), num_mixed, num_people)


def times_of(face: FaceView) -> list[float]:
    return [] if face.times_s is None else face.times_s.tolist()


def speaker_at(shots: Sequence[Shot], time_s: float) -> str:
    # The frame on display is the last one that began.
    return [shot.speaker for shot in shots if shot.start_s <= time_s + 1e-3][-1]


def share_right(found: Found) -> float:
    """Of windows, in per cent, each person standing for one speaker."""
    speakers, people = sorted(set(found.speakers)), sorted(set(found.people))
    counts = np.zeros((len(people), len(speakers)))
    for person, speaker in zip(found.people, found.speakers, strict=True):
        counts[people.index(person), speakers.index(speaker)] += 1
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return 100 * float(counts[rows, columns].sum()) / len(found.speakers)


def print_film(clips: Sequence[Clip], work: Path, minutes: float, seeds: Sequence[int]) -> None:
    print(f"\n{'film':49} shots tracks mixed people leading right %")
    for seed in seeds:
        film = work / f"film-{minutes:g}-{seed}.mp4"
        shots = make_film(clips, film, 60 * minutes, seed)
        for side_px in (FACES.max_side_px, 128):
            found = find_people(film, shots, FacesConfig(max_side_px=side_px))
            print(
                f"{f'seed {seed}, at most {side_px} px':49}{len(shots):6}"
                f"{found.num_tracks:7}{found.num_mixed:6}{found.num_people:7}"
                f"{len(set(found.people)):8}{share_right(found):8.1f}",
                flush=True,
            )


# --- cosines from picture to picture


Change = Callable[[ByteArray, FloatArray], ByteArray]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A face that was found: whose, in which clip, identity (128,), quality."""

    speaker: str
    path: Path
    identity: FloatArray
    quality: float


def small(face_px: float) -> Change:
    """The longer side of the face's box so many pixels long, the rest grey."""

    def change(rgb: ByteArray, box: FloatArray) -> ByteArray:
        scale = face_px / float((box[2:] - box[:2]).max())
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        canvas = Image.new("RGB", (384, 216), (127,) * 3)
        picture = Image.fromarray(rgb).resize(size, Image.Resampling.BOX)
        canvas.paste(picture, ((384 - size[0]) // 2, (216 - size[1]) // 2))
        return np.asarray(canvas)

    return change


def tilted(angle_deg: float) -> Change:
    def change(rgb: ByteArray, box: FloatArray) -> ByteArray:
        centre = tuple(((box[:2] + box[2:]) / 2).tolist())
        return np.asarray(
            Image.fromarray(rgb).rotate(
                -angle_deg, Image.Resampling.BICUBIC, center=centre, fillcolor=(127,) * 3
            )
        )

    return change


def blurred(share: float) -> Change:
    """By a Gaussian of this share of the face's longer side."""

    def change(rgb: ByteArray, box: FloatArray) -> ByteArray:
        radius = share * float((box[2:] - box[:2]).max())
        return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))

    return change


def dark(gain: float) -> Change:
    """So much of the light, with noise of 2 grey levels."""

    def change(rgb: ByteArray, _: FloatArray) -> ByteArray:
        noisy = rgb * gain + np.random.default_rng(0).normal(0, 2, rgb.shape)
        return np.clip(noisy, 0, 255).round().astype(np.uint8)

    return change


def turned(angle_deg: float) -> Change:
    """To the side, as if painted on an upright cylinder; nothing stands out."""

    def change(rgb: ByteArray, box: FloatArray) -> ByteArray:
        middle, radius = (box[0] + box[2]) / 2, 0.6 * (box[2] - box[0])
        columns = np.arange(rgb.shape[1]) + 0.5
        inside = np.abs(columns - middle) < radius
        around = np.arcsin((columns[inside] - middle) / radius) - np.radians(angle_deg)
        source = columns.copy()
        source[inside] = middle + radius * np.sin(np.clip(around, -np.pi / 2, np.pi / 2))
        return rgb[:, np.clip(source.astype(int), 0, rgb.shape[1] - 1)]

    return change


CHANGES: Final[dict[str, Change]] = {
    "as it is": lambda rgb, _: rgb,
    **{f"face {n} px": small(n) for n in (64, 48, 36, 28, 24)},
    **{f"tilted by {a}°": tilted(a) for a in (20, 40)},
    **{f"blurred by {100 * s:.0f} %": blurred(s) for s in (0.03, 0.06)},
    "25 % of the light": dark(0.25),
    **{f"turned to the side by {a}°": turned(a) for a in (30, 45, 60)},
}


def pictures(clips: Sequence[Clip], every: int) -> dict[str, list[Picture]]:
    """By change: the frame in the middle of each clip, where a face is found in it.

    every: only each so-manieth clip is changed.
    """
    detector = FaceDetector(min_face_px=20, min_score=FACES.min_score)
    identifier = FaceIdentifier()
    found: dict[str, list[Picture]] = {name: [] for name in CHANGES}
    for place, clip in enumerate(clips):
        middle_s = probe(clip.path).duration_s / 2
        for frame in read_frames(
            clip.path, [middle_s], tolerance_s=0.2, max_side_px=FACES.max_side_px
        ):
            faces = detector.detect(frame.rgb)
            wanted = list(CHANGES.items())[: None if place % every == 0 else 1]
            for name, change in wanted if len(faces) else ():
                rgb = change(frame.rgb, faces.boxes_xyxy[0])
                seen = detector.detect(rgb)
                if len(seen):
                    landmarks = seen.landmarks_px[0]
                    identity = identifier.embed(identifier.crop(rgb, landmarks)[None])[0]
                    crop = align_crop(rgb, landmarks, FACES.crop_px)
                    quality = portrait_quality(landmarks, crop)
                    found[name].append(Picture(clip.speaker, clip.path, identity, quality))
    return found


def arrays(some: Sequence[Picture]) -> tuple[FloatArray, FloatArray]:
    """Identities (n, 128) and qualities (n,)."""
    qualities = np.array([p.quality for p in some], np.float32)
    return np.stack([p.identity for p in some]), qualities


def compared(
    some: Sequence[Picture], others: Sequence[Picture]
) -> tuple[DoubleArray, BoolArray, BoolArray]:
    """Likeness (n, m); which pairs are one person in two clips, and which two people."""
    values = likeness(*arrays(some), *arrays(others))
    same = np.array([[p.speaker == q.speaker for q in others] for p in some])
    other_clip = np.array([[p.path != q.path for q in others] for p in some])
    return values, same & other_clip, ~same


def print_pictures(clips: Sequence[Clip], every: int) -> None:
    found = pictures(clips, every)
    plain = found["as it is"]
    print(
        f"\n{'':27}    n usable % quality | same person 1 % / 50 % | others 50 % / 99 % / most "
        f"| from {SAME_PERSON} on: same %, others %"
    )
    print("beside faces as they are")
    for name, changed in found.items():
        print_row(name, changed, plain)
    print("among themselves")
    for name, changed in found.items():
        print_row(name, changed, changed)
    print("as they are, each speaker at the limit that the others set: missed %, mistaken %")
    values, same, different = compared(plain, plain)
    for speaker in sorted({p.speaker for p in plain}):
        own = np.array([p.speaker == speaker for p in plain])
        limit = equal_errors(values, same & ~own & ~own[:, None], different & ~own & ~own[:, None])
        missed = np.mean(values[same & own[:, None]] < limit)
        mistaken = np.mean(values[different & own[:, None]] >= limit)
        print(f"{speaker:27}{limit:5.2f}{100 * missed:7.2f}{100 * mistaken:7.2f}")


def equal_errors(values: DoubleArray, same: BoolArray, different: BoolArray) -> float:
    """The limit at which as large a share of one person's pairs is missed as of others is taken."""
    limits = np.linspace(0, 1, 501)
    missed = np.array([np.mean(values[same] < limit) for limit in limits])
    taken = np.array([np.mean(values[different] >= limit) for limit in limits])
    return float(limits[np.abs(missed - taken).argmin()])


def print_row(title: str, some: Sequence[Picture], others: Sequence[Picture]) -> None:
    values, same, different = compared(some, others)
    low, middle = np.quantile(values[same], [0.01, 0.5])
    common, high, most = np.quantile(values[different], [0.5, 0.99, 1])
    qualities = np.array([p.quality for p in some])
    print(
        f"{title:27}{len(some):5}{100 * np.mean(qualities >= USABLE_QUALITY):9.0f}"
        f"{np.median(qualities):8.2f} |{low:14.2f} /{middle:5.2f} |"
        f"{common:10.2f} /{high:5.2f} /{most:5.2f} |"
        f"{100 * np.mean(values[same] >= SAME_PERSON):14.1f}"
        f"{100 * np.mean(values[different] >= SAME_PERSON):8.2f}",
        flush=True,
    )


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--every", type=int, default=5, help="change every n-th clip")
    parser.add_argument("--only", choices=["film", "pictures"])
    asked: argparse.Namespace = parse_with_corpora(parser)
    asked.work.mkdir(parents=True, exist_ok=True)
    clips = javanese(asked.corpora, asked.work)
    print(f"limits: same person {SAME_PERSON}, usable quality {USABLE_QUALITY}")
    if asked.only != "pictures":
        print_film(clips, asked.work, asked.minutes, asked.seeds)
    if asked.only != "film":
        print_pictures([*clips, *ravdess(asked.corpora, asked.work)], asked.every)


if __name__ == "__main__":
    main()
