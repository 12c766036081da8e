"""The networks that tell who speaks: learnt from films of people who talk, put into the package.

    python -m recipes.speaker --corpora CORPORA --work WORK

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip and ravdess_av.zip. First three of the six
javanese speakers are left out at a time, in ten ways; what those ten networks say of people whom
they never met gives the line that turns agreement into log-odds. `benchmarks.who_speaks` scores
with the same ten, which stay in WORK/speaker. Then the networks of the package learn from all
films.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.speaker_data import FILMED_SPEAKER, JAVANESE, Film, read_films
from recipes.speaker_net import export, set_line, train
from recipes.weights_index import store_weights

from facevoice.people.speaker import NUM_EVIDENCE, MouthTrack, SpeakerModel
from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray

LICENSE: Final = "CC BY-NC-SA 4.0 (fitted to RAVDESS and Javanese)"
NUM_STEPS: Final = 160
FINAL_STEPS: Final = 320
_NO_LINE: Final = np.zeros(NUM_EVIDENCE + 1)
_LENGTHS_S: Final = (1.5, 2.0, 3.0, 4.0)
_PENALTY: Final = 1e-3
_HALVES: Final = ("01 02 03", "01 02 04", "01 03 05", "01 04 06", "01 05 06")

People = frozenset[str]


def threes() -> list[People]:
    """Five ways to halve the six javanese speakers; any two are together in one of them or more."""
    everybody = frozenset(f"{JAVANESE}/0{k}" for k in range(1, 7))
    halves = [frozenset(f"{JAVANESE}/{k}" for k in half.split()) for half in _HALVES]
    return [part for half in halves for part in (half, everybody - half)]


def network_without(films: Sequence[Film], left_out: People, work: Path) -> bytes:
    """What learnt from the films of all others; kept in WORK/speaker.

    Where people are left out, so is the one who has few films: nobody need be told of him.
    """
    name = "-".join(sorted(speaker[-2:] for speaker in left_out)) or "nobody"
    num_steps = NUM_STEPS if left_out else FINAL_STEPS
    kept = work / "speaker" / f"without-{name}-{num_steps}.onnx"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        print(f"learning without {name}", flush=True)
        absent = left_out | {FILMED_SPEAKER} if left_out else left_out
        others = [film for film in films if film.speaker not in absent]
        kept.write_bytes(export(train(others, num_steps), _NO_LINE))
    return kept.read_bytes()


def model_without(films: Sequence[Film], left_out: People, work: Path) -> SpeakerModel:
    """A model that met none of three people: neither its networks nor its line.

    The line comes from the other three, as networks saw them that had not met those.
    """
    name = f"without {sorted(left_out)}"
    network = network_without(films, left_out, work)
    rest = frozenset(f.speaker for f in films) - left_out - {FILMED_SPEAKER}
    judge = SpeakerModel(network_without(films, rest, work), f"without {sorted(rest)}")
    line = fit_line(*examples([f for f in films if f.speaker in rest], judge))
    return SpeakerModel(network, name, line)


def examples(films: Sequence[Film], judge: SpeakerModel) -> tuple[DoubleArray, DoubleArray]:
    """Evidence (n, 2), and whether the mouth makes the sound (n,)."""
    rng = np.random.default_rng(0)
    rows: list[DoubleArray] = []
    truth: list[bool] = []
    for film in films:
        for mouth, sound, is_own in _meetings(film, films, rng):
            length_s = float(rng.choice(_LENGTHS_S))
            shorter_s = min(film.mouth.times_s[-1], len(sound.samples) / SAMPLE_RATE_HZ)
            start_s = float(rng.uniform(0, max(0.0, shorter_s - length_s)))
            samples = cut_sound(sound.samples, start_s, length_s)
            row = judge.evidence(mouth, samples, start_s, sound.speech_spans_s)
            if row is not None:
                rows.append(row)
                truth.append(is_own)
    return np.array(rows), np.array(truth)


def _meetings(
    film: Film, films: Sequence[Film], rng: np.random.Generator
) -> Iterator[tuple[MouthTrack, Film, bool]]:
    """A mouth with its own sound, with others', and frozen."""
    others = [f for f in films if f.speaker != film.speaker]
    own = [f for f in films if f.speaker == film.speaker and f.name[3:5] != film.name[3:5]]
    for _ in range(4):
        yield film.mouth, film, True
        yield film.mouth, others[rng.integers(len(others))], False
    yield film.mouth, own[rng.integers(len(own))], False
    yield freeze(film.mouth, rng), film, False


def freeze(mouth: MouthTrack, rng: np.random.Generator) -> MouthTrack:
    """One picture of it all the time, with noise."""
    picture = mouth.pixels[rng.integers(len(mouth.pixels))].astype(np.float64)
    noisy = picture + rng.normal(size=mouth.pixels.shape) * rng.uniform(0.5, 3)
    return MouthTrack(mouth.times_s, np.clip(np.round(noisy), 0, 255).astype(np.uint8))


def cut_sound(samples: FloatArray, start_s: float, length_s: float) -> FloatArray:
    """A stretch of sound."""
    first = round(start_s * SAMPLE_RATE_HZ)
    return samples[first : first + round(length_s * SAMPLE_RATE_HZ)]


def fit_line(evidence: DoubleArray, truth: DoubleArray) -> DoubleArray:
    """Logistic regression by Newton's method, both sides as heavy: weights, and the bias last."""
    columns = np.column_stack([evidence, np.ones(len(evidence))])
    scale = np.maximum(columns.std(axis=0), 1e-6)
    scale[-1] = 1.0
    x, y = columns / scale, truth.astype(np.float64)
    weights = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    line = np.zeros(x.shape[1])
    for _ in range(50):
        probs = 1 / (1 + np.exp(-x @ line))
        slope = x.T @ (weights * (probs - y)) + _PENALTY * line
        bend = (x.T * (weights * probs * (1 - probs))) @ x + _PENALTY * np.eye(len(line))
        line -= np.linalg.solve(bend, slope)
    return line / scale


def main() -> None:
    parser = corpora_parser(__doc__)
    arguments = parse_with_corpora(parser)
    torch.set_num_threads(1)
    films = read_films(arguments.corpora, arguments.work)
    found = []
    for three in threes():
        judge = SpeakerModel(network_without(films, three, arguments.work), "fold")
        found.append(examples([film for film in films if film.speaker in three], judge))
    line = fit_line(np.concatenate([e for e, _ in found]), np.concatenate([t for _, t in found]))
    print(f"line: {np.round(line, 3)}")
    store_weights(
        "speaker",
        "speaker.onnx",
        set_line(network_without(films, frozenset(), arguments.work), line),
        license=LICENSE,
        card="speaker.md",
        training_corpora=("javanese", "ravdess"),
    )


if __name__ == "__main__":
    main()
