"""What face networks are worth on films: exported ones side by side, by people nobody trained on.

    python -m recipes.face_films --corpora CORPORA --work WORK NETWORK.onnx…

Crops are cut once, as analysis cuts them, into WORK/crops.db; every network then sees the same.
Mean recalls (UAR) of the six emotions that javanese and RAVDESS share:

- javanese, films of 6 speakers: a linear head on a film's mean embedding, fitted to the other five;
- RAVDESS 05: the same head fitted to all of javanese, and never to a film of RAVDESS;
- both: the network's own log-probabilities without any head.

With a film by itself; without a head also less the mean over films of other people (of javanese),
which evens out what the network's pictures were mostly of; and less the mean over all films of the
same person, on both sides of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import AV_CORPUS, FILMED, read_clips
from recipes.face import open_onnx
from recipes.face_data import EMOTIONS, SIDE_PX
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from facevoice.backbones.compact import grey_crops
from facevoice.corpora.extract import RAW, ClipReader, extract_clips, identify
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import PAIR_PLANS, spoken_lengths
from facevoice.records import DoubleArray, Modality
from facevoice.store import Store

SHARED = ("neutral", "happy", "sad", "angry", "fearful", "surprised")
COLUMNS = [EMOTIONS.index(name) for name in SHARED]
PENALTIES = (0.003, 0.03)  # the head's C, twice, to see whether it matters


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """Per film, grey crops (T, 1, 48, 48) of each window; its emotion, index into SHARED; who."""

    windows: tuple[list[np.ndarray], ...]
    labels: np.ndarray
    people: np.ndarray

    def describe(self, network: Path) -> tuple[DoubleArray, DoubleArray]:
        """Mean embedding (n, 519) as analysis has it, and log-probabilities on SHARED (n, 6)."""
        session = open_onnx(network)
        rows = []
        for film in self.windows:
            outputs = [session.run(["embedding", "logits"], {"grey": grey}) for grey in film]
            parts = [
                np.concatenate([seen.mean(axis=0), seen.std(axis=0), log_probs.mean(axis=0)])
                for seen, log_probs in outputs
            ]
            rows.append(np.mean(parts, axis=0))
        embeddings = np.array(rows, dtype=np.float64)
        return embeddings, embeddings[:, -len(EMOTIONS) :][:, COLUMNS]


def main() -> None:
    """Print what each network reaches."""
    parser = corpora_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("networks", type=Path, nargs="+")
    arguments = parse_with_corpora(parser)
    javanese = read_films(arguments.corpora, arguments.work, AV_CORPUS, AV_CORPUS, arguments.jobs)
    ravdess = read_films(arguments.corpora, arguments.work, "ravdess", FILMED, arguments.jobs)
    print(f"{len(javanese.labels)} films of javanese, {len(ravdess.labels)} of RAVDESS 05")
    for network in arguments.networks:
        print(f"{network}: alone (/ less other people's mean) / less the person's", flush=True)
        print_figures(network, javanese, ravdess)


def print_figures(network: Path, javanese: Films, ravdess: Films) -> None:
    """A line for the network alone, and one for each penalty of a head."""
    own, own_evidence = javanese.describe(network)
    new, new_evidence = ravdess.describe(network)
    offset = less_others(own_evidence, javanese.people)
    print_line(
        "no head",
        [uar(javanese.labels, x.argmax(axis=1)) for x in (own_evidence, offset)]
        + [uar(javanese.labels, centre(own_evidence, javanese.people).argmax(axis=1))],
        [
            uar(ravdess.labels, (new_evidence - mean).argmax(axis=1))
            for mean in (0.0, own_evidence.mean(axis=0), new_evidence.mean(axis=0))
        ],
    )
    own_known, new_known = centre(own, javanese.people), centre(new, ravdess.people)
    for penalty in PENALTIES:
        print_line(
            f"head, C {penalty:g}",
            [leave_one_out(x, javanese, penalty) for x in (own, own_known)],
            [
                uar(ravdess.labels, fit_head(x, javanese.labels, penalty).predict(y))
                for x, y in ((own, new), (own_known, new_known))
            ],
        )


def print_line(name: str, javanese: Sequence[float], ravdess: Sequence[float]) -> None:
    texts = [" / ".join(f"{100 * x:.1f}" for x in figures) for figures in (javanese, ravdess)]
    print(f"  {name}: javanese {texts[0]}, RAVDESS 05 {texts[1]}", flush=True)


def leave_one_out(x: DoubleArray, films: Films, penalty: float) -> float:
    """UAR over all films of heads that were each fitted without the film's person."""
    guess = np.empty(len(x), dtype=np.int64)
    for person in np.unique(films.people):
        own = films.people == person
        guess[own] = fit_head(x[~own], films.labels[~own], penalty).predict(x[own])
    return uar(films.labels, guess)


def fit_head(x: DoubleArray, labels: np.ndarray, penalty: float) -> Pipeline:
    head = LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000)
    fitted: Pipeline = make_pipeline(StandardScaler(), head).fit(x, labels)
    return fitted


def less_others(x: DoubleArray, people: np.ndarray) -> DoubleArray:
    """`x` (n, D) less the mean of all rows of other people."""
    shifted = x.copy()
    for person in np.unique(people):
        shifted[people == person] -= x[people != person].mean(axis=0)
    return shifted


def centre(x: DoubleArray, people: np.ndarray) -> DoubleArray:
    """`x` (n, D) less the mean of all rows of the same person."""
    centred = x.copy()
    for person in np.unique(people):
        centred[people == person] -= x[people == person].mean(axis=0)
    return centred


def uar(truth: np.ndarray, guess: np.ndarray) -> float:
    return float(recall_score(truth, guess, average="macro", zero_division=0))


def read_films(corpora: Path, work: Path, corpus: str, archive: str, jobs: int) -> Films:
    """Films of the shared emotions, cut where analysis of their corpus cuts them."""
    clips = [c for c in read_clips(corpora, work, corpus, archive) if c.video_path is not None]
    wanted = [clip for clip in clips if clip.labels.intended in SHARED]
    plan = PAIR_PLANS[corpus] if corpus == AV_CORPUS else None
    limits_s = spoken_lengths(wanted, plan, jobs) if plan else {}
    store_path, raw = work / "crops.db", RAW[Modality.VIDEO]
    report = extract_clips(
        wanted,
        store_path,
        backbones=[raw.spec.name],
        modalities=frozenset({Modality.VIDEO}),
        limits_s=limits_s,
        jobs=jobs,
    )
    for problem in report.problems:
        print(f"left out: {problem}", flush=True)
    with Store(store_path, must_exist=True) as store:
        reader = ClipReader(store, [identify(raw)])
        found = [(clip, grey_windows(reader, clip, limits_s.get(clip.clip_id))) for clip in wanted]
    seen = [(clip, windows) for clip, windows in found if windows]
    return Films(
        tuple(windows for _, windows in seen),
        np.array([SHARED.index(str(clip.labels.intended)) for clip, _ in seen]),
        np.array([str(clip.speaker_key) for clip, _ in seen]),
    )


def grey_windows(reader: ClipReader, clip: Clip, limit_s: float | None) -> list[np.ndarray]:
    """What the network sees of each window that shows a face."""
    perception = reader.channel(clip, Modality.VIDEO, limit_s)
    windows = perception.windows if perception else ()
    crops: list[Any] = [window.face for window in windows if window.face is not None]
    return [grey_crops(faces, SIDE_PX) for faces in crops]


if __name__ == "__main__":
    main()
