"""How much less is made of faces that are badly seen: the numbers of `people.clearness`.

    python -m recipes.clearness --corpora CORPORA --work WORK [--films 1] [--jobs 2]

Of each filmed person and emotion so many films, javanese 01–06 and RAVDESS 05, are shown plain and
spoilt in eleven ways to the shipped detector, tracker and face network. Heads fitted without the
person say what they show: of nobody known, and with all other films of the person known. The
weights are fitted by the likelihood of that, people alike. Printed are the numbers, fitted to
everybody, and a table in which each person's faces are tempered by numbers fitted to the others.

Faces are kept in WORK/unclear-faces-N.npz, fitted heads in WORK/heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from benchmarks.faces import (
    Change,
    Film,
    away,
    dark,
    eye_distance,
    plain,
    read_film,
    small,
)
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import AV_CORPUS, FACE, FILMED, read_channel, read_clips
from recipes.crossfit import Channel
from recipes.fitting import FACE as FACE_RECIPE
from recipes.fitting import PartialLabels, Samples, restrict, usual
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from facevoice.backbones.compact import CompactFace
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import PAIR_PLANS, spoken_lengths
from facevoice.models.heads import ChannelHead
from facevoice.people.clearness import shortfall
from facevoice.people.detect import FaceDetector
from facevoice.perceive import Perceiver
from facevoice.records import BoolArray, DoubleArray, Frame, Modality
from facevoice.settings import AnalyzerConfig

RATE_HZ = 5
MAX_FRAMES = 20  # One window.
SURE = 0.5
LIMIT_DOUBT = 0.5
"""At a temperature of 1.5 a face is unfamiliar: a convention, too few people to fit it."""
BLUE, BLACK = (90, 120, 160), (20, 20, 20)


def blurred(film: Film, share: float) -> Change:
    """By a Gaussian of so many eye distances."""
    sigma_px = share * eye_distance(film.face)
    return lambda rgb, points: (gaussian_filter(rgb, (sigma_px, sigma_px, 0)), points)


def covered(film: Film, box: Sequence[float], colour: tuple[int, int, int]) -> Change:
    """A box before the face: x0 y0 x1 y1 in eye distances from the landmarks' centre."""

    def change(rgb: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corners = np.array(box) * eye_distance(points) + np.tile(points.mean(axis=0), 2)
        x0, y0, x1, y1 = np.maximum(0, corners.round()).astype(int)
        hidden = rgb.copy()
        hidden[y0:y1, x0:x1] = colour
        return hidden, points

    return change


CONDITIONS: dict[str, Callable[[Film], Change]] = {
    "plain": plain,
    "small, eyes 16 px apart": partial(small, eyes_px=16),
    "small, eyes 10 px apart": partial(small, eyes_px=10),
    "small, eyes 8 px apart": partial(small, eyes_px=8),
    "dark, 10 % of the light": partial(dark, gain=0.1),
    "blurred by 0.06 eye distances": partial(blurred, share=0.06),
    "blurred by 0.12 eye distances": partial(blurred, share=0.12),
    "turned to the side by 45°": partial(away, angle_deg=45),
    "turned to the side by 60°": partial(away, angle_deg=60),
    "eyes covered": partial(covered, box=(-0.95, -0.75, 0.95, -0.1), colour=BLACK),
    "mouth and nose covered": partial(covered, box=(-1.1, 0.05, 1.1, 1.6), colour=BLUE),
    "one side covered": partial(covered, box=(0, -1.6, 1.6, 1.8), colour=BLUE),
}


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Of each film in each condition that a face was found in: embedding (n, D), clearness (n, 2).

    clips, conditions: which, (n,).
    """

    embeddings: np.ndarray
    clearness: np.ndarray
    clips: np.ndarray
    conditions: np.ndarray


def see(clip: Clip) -> list[tuple[np.ndarray, np.ndarray, str, str]]:
    """The rows of `Faces` of one film."""
    config = AnalyzerConfig()
    faces = config.faces
    detector = FaceDetector(min_face_px=faces.min_face_px, min_score=faces.min_score)
    perceiver = Perceiver(config, {Modality.VIDEO: CompactFace()})
    film = read_film(Path(str(clip.video_path)), detector)
    known = [(f.rgb, t) for f, t in zip(film.frames, film.truth, strict=True) if t is not None]
    rows = []
    for name, make in CONDITIONS.items() if known else ():
        change = make(film)
        frames = [
            Frame(k / RATE_HZ, change(rgb, points)[0])
            for k, (rgb, points) in enumerate(known[:MAX_FRAMES])
        ]
        for view in perceiver.follow(iter(frames), None, len(frames) / RATE_HZ):
            face = view.faces[0] if view.faces else None
            if face is not None and face.embedding is not None and face.clearness is not None:
                rows.append((face.embedding, face.clearness, clip.clip_id, name))
    return rows


def read_faces(clips: Sequence[Clip], target: Path, jobs: int) -> Faces:
    """Those kept at `target`, or made and kept."""
    if not target.exists():
        rows = []
        with get_context("spawn").Pool(jobs) as pool:
            for num, found in enumerate(pool.imap(see, clips), 1):
                rows += found
                print(f"{num} of {len(clips)} films", flush=True)
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        names = [field.name for field in fields(Faces)]
        np.savez(target, **dict(zip(names, columns, strict=True)))
    with np.load(target, allow_pickle=False) as file:
        return Faces(**file)


def choose(clips: Sequence[Clip], num: int) -> list[Clip]:
    """So many films of each person and emotion."""
    cells: dict[tuple[str, str], list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        cells.setdefault((str(clip.speaker_key), str(clip.labels.intended)), []).append(clip)
    return [clip for cell in cells.values() for clip in cell[:num]]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What heads without the person say, a row a face: log-probabilities (n, 8), unfamiliarity."""

    logs: DoubleArray
    strange: DoubleArray
    short: DoubleArray
    labels: np.ndarray
    emotions: BoolArray
    people: np.ndarray
    conditions: np.ndarray
    known: BoolArray

    def where(self, keep: np.ndarray) -> Said:
        return Said(*(getattr(self, field.name)[keep] for field in fields(self)))

    def loss(self, temperatures: DoubleArray) -> float:
        """Mean over people of -log of what the label says."""
        weights = np.ones(len(self.labels))
        for person in np.unique(self.people):
            weights[self.people == person] /= (self.people == person).sum()
        labels = PartialLabels.of(self.labels, self.emotions)
        return labels.loss(self.logs / temperatures[:, None], weights / weights.sum())[0]

    def probs(self, temperatures: DoubleArray) -> DoubleArray:
        """Among the emotions that the corpus has."""
        tempered = np.exp(self.logs / temperatures[:, None])
        return restrict(tempered / tempered.sum(axis=1, keepdims=True), self.emotions)

    @property
    def right(self) -> BoolArray:
        answers: BoolArray = self.probs(np.ones(len(self.labels))).argmax(axis=1) == self.labels
        return answers


def listen(faces: Faces, samples: Samples, heads: dict[str, ChannelHead]) -> Said:
    """What each person's faces show to a head without that person."""
    place = {clip: row for row, clip in enumerate(samples.clips.tolist())}
    rows = []
    for person, head in heads.items():
        own = np.flatnonzero(samples.speakers == person)
        probs = head(samples.embeddings)[0]
        for k in np.flatnonzero(np.isin(faces.clips, samples.clips[own])):
            of_clip = place[str(faces.clips[k])]
            others = own[samples.clips[own] != faces.clips[k]]
            met = usual(samples.embeddings, probs, others)
            for known, offset in ((False, 0.0), (True, head.offset(met, met))):
                said, strange = head(faces.embeddings[k][None] - offset)
                rows.append(
                    (
                        np.log(said[0] + 1e-12),
                        strange[0],
                        shortfall(faces.clearness[k]),
                        samples.labels[of_clip],
                        samples.emotions[of_clip],
                        person,
                        faces.conditions[k],
                        known,
                    )
                )
    return Said(*(np.array(column) for column in zip(*rows, strict=True)))


def fit(said: Said) -> DoubleArray:
    """By what each shortfall raises the temperature (2,).

    A factor common to all faces takes up what even clear ones want.
    """

    def loss(numbers: DoubleArray) -> float:
        return said.loss(numbers[0] * (1 + said.short @ numbers[1:]))

    start, bounds = np.ones(3), [(1, 4), (0, 60), (0, 60)]
    weights: DoubleArray = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x[1:]
    return weights


def doubt_left_out(said: Said) -> DoubleArray:
    """By how much each temperature grows (n,), by weights fitted to the other people."""
    doubt = np.zeros(len(said.labels))
    for person in np.unique(said.people):
        own = said.people == person
        weights = fit(said.where(~own))
        doubt[own] = said.short[own] @ weights
        rows = own & (said.conditions != "plain")
        before, after = (said.where(rows).loss(1 + x[rows]) for x in (0 * doubt, doubt))
        print(
            f"without {person}: weights {np.round(weights, 2)}, "
            f"−log p of his or her spoilt faces {before:.3f} → {after:.3f}",
            flush=True,
        )
    return doubt


def print_table(said: Said, doubt: DoubleArray) -> None:
    temperatures, beyond = 1 + doubt, doubt > LIMIT_DOUBT
    print(
        "\n| | n | UAR | wrong at p > 0.5 | mean p | −log p | unfamiliar | of these UAR |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    before, after = said.probs(np.ones(len(said.labels))), said.probs(temperatures)
    for name in CONDITIONS:
        rows = said.conditions == name
        if not rows.any():
            print(f"| {name} | 0 | | | | | | |")
            continue
        own, gone = said.where(rows), beyond[rows]
        sure, sure_now = (probs[rows].max(axis=1) for probs in (before, after))
        wrong, wrong_now = ((~own.right & (values > SURE)).mean() for values in (sure, sure_now))
        print(
            f"| {name} | {len(gone)} | {100 * recall(own):.0f} | {wrong:.2f} → {wrong_now:.2f} "
            f"| {sure.mean():.2f} → {sure_now.mean():.2f} "
            f"| {own.loss(np.ones(len(gone))):.2f} → {own.loss(temperatures[rows]):.2f} "
            f"| {(own.strange > 1).mean():.2f} → {(gone | (own.strange > 1)).mean():.2f} "
            f"| {f'{100 * recall(own.where(gone)):.0f}' if gone.sum() >= 10 else ''} |"
        )


def recall(said: Said) -> float:
    """Mean over emotions of the share named right."""
    return float(np.mean([said.right[said.labels == y].mean() for y in np.unique(said.labels)]))


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--films", type=int, default=1, help="of each person and emotion")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parse_with_corpora(parser)
    corpora, work = arguments.corpora, arguments.work
    own = read_clips(corpora, work, AV_CORPUS, AV_CORPUS)
    clips = [*own, *read_clips(corpora, work, "ravdess", FILMED)]
    seen = [clip for clip in clips if clip.video_path is not None]
    chosen = choose(seen, arguments.films)
    faces = read_faces(chosen, work / f"unclear-faces-{arguments.films}.npz", arguments.jobs)
    lengths_s = spoken_lengths(own, PAIR_PLANS[AV_CORPUS], arguments.jobs)
    samples = read_channel(seen, work / "features.db", FACE, lengths_s, arguments.jobs)
    people = [frozenset({str(s)}) for s in np.unique(samples.speakers)]
    channel = Channel(samples, FACE_RECIPE, people, None, work / "heads")
    heads = {person: channel.sure_head(frozenset({person})) for (person,) in people}
    said = listen(faces, samples, heads)
    print(f"{len(np.unique(faces.clips))} films of {len(people)} people")
    doubt = doubt_left_out(said)
    weights = fit(said) / LIMIT_DOUBT
    print(f"everybody: weights over the limit {np.round(weights, 2)}, doubt {LIMIT_DOUBT}")
    clear = doubt == 0
    for name, rows in (("clear", clear), ("beyond the limit", doubt > LIMIT_DOUBT)):
        share = 100 * said.right[rows].mean()
        print(f"{name}: {rows.sum()} answers, {share:.0f} % of them right")
    for known, title in ((False, "nothing known"), (True, "all other films of the person known")):
        rows = said.known == known
        print(f"\n{title}")
        print_table(said.where(rows), doubt[rows])


if __name__ == "__main__":
    main()
