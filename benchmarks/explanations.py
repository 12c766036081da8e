"""Whether explanations show what the networks go by: sanity checks, curves, chance, and time.

    python -m benchmarks.explanations --corpora CORPORA --work WORK [--clips 12] [--out FILE.jsonl]
    python -m benchmarks.explanations --time FILE --at SECONDS [--repeats 5]

CORPORA and WORK are those of `recipes.heads`. Clips are films of the javanese corpus, spread over
its six speakers and six emotions. Of each, the heat map of the face and that of the voice are held
against

* the map of the same networks with other heads: random weights (each row of the shipped head's
  weights shuffled), labels shuffled, and as a yardstick true labels, the latter two fitted to all
  that the shipped heads learnt from but three of the javanese speakers, the film's own among them
  (Adebayo et al. 2018, Sanity checks for saliency maps);
* for the face, the same two without the start from the network's own classes (`evidence=0`); labels
  are shuffled ten times over, for one draw may happen to resemble the truth;
* the map of the shipped heads on a network whose weights are shuffled within each layer;

by rank correlation (of Spearman; of effects, and of their sizes alone) and structural similarity
(SSIM). Then what is hidden grows cell by cell, or is shown again, in the map's order and in random
ones: mean probability of the answer (deletion and insertion curves, Petsiuk et al. 2018, RISE).
Last, as many random covers as there are parts are judged as if they were parts, by other random
covers, over and over: how often does any of them stand out? Intervals: 95 %, bootstrap over
speakers. The shipped heads learnt from all these speakers: the curves measure whether maps are
true to the model, not whether the model is right.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import onnx
from onnx import numpy_helper
from recipes.compact_data import read_data
from recipes.fitting import FACE, VOICE, HeadRecipe, Samples, fit_head

from facevoice import Analyzer
from facevoice.backbones.compact import CompactFace, CompactVoice
from facevoice.backbones.spec import Backbone
from facevoice.corpora.gather import create_corpus
from facevoice.explain import hiding
from facevoice.explain.face import Cover, heat_maps, random_masks, region_masks
from facevoice.explain.hiding import Answers, Asker, bare_part, judge_parts
from facevoice.explain.moment import explain_moment
from facevoice.explain.voice import BANDS_HZ, Mute, cell_heat, random_cells, stretch_edges
from facevoice.models.heads import ChannelHead
from facevoice.records import DoubleArray, FloatArray, Modality, Perception, Window, top_emotion

NUM_STEPS: Final = 8
NUM_RANDOM: Final = 3
GRID: Final = 8
MIDDLE: Final = (0.10, 0.90)
CHANNELS: Final = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}
SPLITS: Final = 200
SHUFFLES: Final = {Modality.VIDEO: 10, Modality.AUDIO: 1}
FITTED: Final[Mapping[Modality, Mapping[str, tuple[HeadRecipe, bool]]]] = {
    Modality.VIDEO: {
        "labels shuffled, ten times": (FACE, True),
        "true labels, as a yardstick": (FACE, False),
        "from nothing, labels shuffled, ten times": (replace(FACE, evidence=0.0), True),
        "from nothing, true labels": (replace(FACE, evidence=0.0), False),
    },
    Modality.AUDIO: {
        "labels shuffled": (VOICE, True),
        "true labels, as a yardstick": (VOICE, False),
    },
}
"""Recipes of heads, and whether their labels are shuffled."""
WEIGHTS: Final = Path(__file__).parents[1] / "src" / "facevoice" / "weights"
CORPUS: Final = "javanese"
Heat = Callable[[Asker, Window], DoubleArray]
Fitted = Callable[[str, Modality, str], tuple[int, list[ChannelHead]]]
Alike = Callable[[DoubleArray, DoubleArray], float]


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A clip of one speaker, perceived."""

    path: Path
    speaker: str
    perception: Perception


class Remembering:
    """A backbone that embeds the same window once, whatever head asks."""

    def __init__(self, backbone: Backbone) -> None:
        self.spec, self.model, self._backbone = backbone.spec, backbone.model, backbone
        self._known: dict[bytes, FloatArray] = {}

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """See `Backbone`."""
        return np.stack([self._embed(window) for window in windows])

    def _embed(self, window: Window) -> FloatArray:
        seen = window.faces if self.spec.modality is Modality.VIDEO else window.samples
        key = hashlib.sha256(b"" if seen is None else seen.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._backbone.embed([window])[0]
        return self._known[key]


def read_films(root: Path, analyzer: Analyzer, num_each: int) -> list[Film]:
    """So many films of every speaker, emotions in turn."""
    films: dict[str, list[Film]] = {}
    counts: dict[tuple[str, int], int] = {}
    clips = [c for c in create_corpus(CORPUS).clips(root) if c.video_path is not None]
    random = np.random.default_rng(0)
    for clip in (clips[k] for k in random.permutation(len(clips))):
        speaker = str(clip.speaker_key)
        own = films.setdefault(speaker, [])
        label = clip.labels.intended
        if label is None or len(own) >= num_each or clip.video_path is None:
            continue
        if counts.get((speaker, label.position), 0) > len(own) // 6:
            continue
        seen = analyzer.perceive(clip.video_path)
        said = analyzer.interpret(seen).windows[0]
        if said.face is not None and said.voice is not None:
            own.append(Film(clip.video_path, speaker, seen))
            counts[speaker, label.position] = counts.get((speaker, label.position), 0) + 1
    # Speaker by speaker in turn, so that a run that is cut short has all of them.
    return [own[k] for k in range(num_each) for own in films.values() if k < len(own)]


def shuffled_network(name: str, folder: Path) -> Path:
    """The package's network with each layer's weights in random order, as an ONNX file."""
    model = onnx.load(WEIGHTS / f"{name}.onnx")
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim >= 2 and values.size > 256:
            mixed = random.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path


def random_head(head: ChannelHead) -> ChannelHead:
    """The head with each emotion's weights in random order."""
    random = np.random.default_rng(0)
    weight = np.stack([random.permutation(row) for row in head.linear.weight])
    return replace(head, linear=replace(head.linear, weight=weight))


def shuffled(samples: Samples, seed: int) -> Samples:
    """Labels in random order within each corpus, whose classes they are."""
    random, labels = np.random.default_rng(seed), samples.labels.copy()
    for corpus in np.unique(samples.corpora):
        rows = samples.corpora == corpus
        labels[rows] = random.permutation(labels[rows])
    return replace(samples, labels=labels)


def fitting(channels: Mapping[Modality, Samples]) -> Fitted:
    """Heads by film's speaker, modality and name in `FITTED`, without him or her, made once.

    As many as labels are shuffled, else one; before them, how many windows they learnt from.
    """
    rows = next(iter(channels.values()))
    speakers = np.unique(rows.speakers[rows.corpora == CORPUS]).tolist()

    @cache
    def fit(fold: int, modality: Modality, name: str) -> tuple[int, list[ChannelHead]]:
        recipe, is_shuffled = FITTED[modality][name]
        kept = channels[modality].without(frozenset(speakers[fold::2]))
        seeds = range(SHUFFLES[modality])
        used = [shuffled(kept, seed) for seed in seeds] if is_shuffled else [kept]
        return len(kept.labels), [fit_head(one, recipe) for one in used]

    return lambda speaker, modality, name: fit(speakers.index(speaker) % 2, modality, name)


def face_heat(asker: Asker, window: Window) -> DoubleArray:
    """The face's heat on the cells of a grid (8, 8)."""
    heat, _ = heat_maps(asker, window)
    return np.array([[heat[c].mean() for c in row] for row in face_cells(len(heat))])


def voice_heat(asker: Asker, window: Window) -> DoubleArray:
    """The voice's heat (bands, stretches)."""
    if window.samples is None:
        raise ValueError("no sound")
    return cell_heat(asker, window, Mute(window.samples), asker.ask([window])[0])[0]


def face_cells(side_px: int) -> list[list[tuple[slice, slice]]]:
    """Rows of cells, places in the crop."""
    edges = np.round(np.linspace(*MIDDLE, GRID + 1) * side_px).astype(int)
    spans = [slice(a, b) for a, b in pairwise(edges)]
    return [[(y, x) for x in spans] for y in spans]


def face_hider(window: Window) -> Callable[[np.ndarray], Window]:
    """Hides cells of a grid, named by a mask (8, 8)."""
    crops = window.faces
    if crops is None:
        raise ValueError("no faces")
    cover, cells = Cover(crops), face_cells(crops.shape[1])

    def hide(mask: np.ndarray) -> Window:
        whole = np.zeros(crops.shape[1:3], np.float32)
        for y, x in np.argwhere(mask):
            whole[cells[y][x]] = 1
        return replace(window, faces=cover(whole))

    return hide


def voice_hider(window: Window) -> Callable[[np.ndarray], Window]:
    """Hides bands of stretches, named by a mask (bands, stretches)."""
    if window.samples is None:
        raise ValueError("no sound")
    mute, edges = Mute(window.samples), stretch_edges(window.duration_s)

    def hide(mask: np.ndarray) -> Window:
        boxes = [
            ((edges[x], edges[x + 1]), (BANDS_HZ[y], BANDS_HZ[y + 1])) for y, x in np.argwhere(mask)
        ]
        return replace(window, samples=mute(mute.cells(boxes)))

    return hide


def curves(asker: Asker, heat: DoubleArray, hide: Callable[[np.ndarray], Window]) -> dict[str, Any]:
    """Mean probabilities while cells are hidden, or shown again, by the map and at random."""
    random = np.random.default_rng(0)
    orders = [
        np.argsort(-heat.ravel()),
        *(random.permutation(heat.size) for _ in range(NUM_RANDOM)),
    ]
    masks = []
    for order in orders:
        for share in np.linspace(0, 1, NUM_STEPS + 1)[1:-1]:
            mask = np.zeros(heat.size, np.bool_)
            mask[order[: round(share * heat.size)]] = True
            masks += [mask.reshape(heat.shape), ~mask.reshape(heat.shape)]
    probs = [answer.emotion for answer in asker.ask(hide(mask) for mask in masks)]
    found = np.reshape(probs, (len(orders), NUM_STEPS - 1, 2)).mean(axis=1)
    return {
        "deletion": found[0, 0],
        "deletion_random": found[1:, 0].mean(),
        "insertion": found[0, 1],
        "insertion_random": found[1:, 1].mean(),
    }


def face_covers(window: Window, num: int) -> Iterator[Window]:
    """Windows with random places of the face hidden, about as much as a region is."""
    if window.faces is None:
        raise ValueError("no faces")
    cover = Cover(window.faces)
    for mask in random_masks(window.faces.shape[1], num, 1):
        yield replace(window, faces=cover(mask))


def voice_covers(window: Window, num: int) -> Iterator[Window]:
    """Windows with random cells of the voice hidden, about as much as a part is."""
    if window.samples is None:
        raise ValueError("no sound")
    mute, edges = Mute(window.samples), stretch_edges(window.duration_s)
    for mask in random_cells(mute, edges, num, 1):
        yield replace(window, samples=mute(mask))


def chance(before: Answers, covers: Sequence[Answers], num_parts: int) -> dict[str, float]:
    """How often any of `num_parts` random covers stands out among others, over random splits."""
    random, found = np.random.default_rng(0), []
    for _ in range(SPLITS):
        drawn = [covers[k] for k in random.permutation(len(covers))]
        parts = [bare_part("random", "random", one) for one in drawn[:num_parts]]
        others = drawn[num_parts : num_parts + hiding.NUM_RANDOM]
        told = judge_parts(before, parts, others)
        found.append([any(p.stands_out for p in told), any(p.conflict_stands_out for p in told)])
    emotion, conflict = np.mean(found, axis=0)
    return {"emotion": float(emotion), "conflict": float(conflict)}


def rank_correlation(a: DoubleArray, b: DoubleArray) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(x.ravel())) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def ssim(a: DoubleArray, b: DoubleArray) -> float:
    """Structural similarity (Wang et al. 2004) of maps scaled to [-1, 1], by windows of 3 × 3."""
    scaled = [x / max(float(np.abs(x).max()), 1e-9) for x in (a, b)]
    p, q = (np.lib.stride_tricks.sliding_window_view(x, (3, 3)).reshape(-1, 9) for x in scaled)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mp, mq = p.mean(axis=1), q.mean(axis=1)
    both = ((p - mp[:, None]) * (q - mq[:, None])).mean(axis=1)
    upper = (2 * mp * mq + c1) * (2 * both + c2)
    return float(np.mean(upper / ((mp**2 + mq**2 + c1) * (p.var(axis=1) + q.var(axis=1) + c2))))


def size_correlation(a: DoubleArray, b: DoubleArray) -> float:
    """Spearman's, of sizes alone."""
    return rank_correlation(abs(a), abs(b))


MEASURES: Final[Mapping[str, Alike]] = {
    "effects": rank_correlation,
    "sizes": size_correlation,
    "SSIM": ssim,
}


def measure(
    film: Film,
    modality: Modality,
    fitted: Fitted,
    analyzer: Analyzer,
    mixed: Mapping[Modality, Backbone],
) -> dict[str, Any]:
    """All figures of one channel of one film; of several draws, one each."""
    question = analyzer.question_at(film.perception, 0)
    media = film.perception.media
    window = analyzer.perceiver.window(media, film.perception.windows[:1])
    said = analyzer.interpret(film.perception).windows[0]
    is_face = modality is Modality.VIDEO
    heat_of, hider = (face_heat, face_hider) if is_face else (voice_heat, voice_hider)
    emotion, prob = top_emotion(said.face if is_face else said.voice)  # type: ignore[arg-type]
    asker = Asker(question, Remembering(analyzer.assembly.backbones[modality]), modality, emotion)
    heat = heat_of(asker, window)
    model: Any = question.model
    other = heat_of(replace(asker, backbone=mixed[modality]), window)
    pairs = {"network's weights in random order": [(heat, other)]}
    found = {name: fitted(film.speaker, modality, name) for name in FITTED[modality]}
    heads = {"head's weights in random order": [random_head(model.channels[modality])]}
    heads |= {name: several for name, (_, several) in found.items()}
    for name, several in heads.items():
        models = (with_head(model, modality, head) for head in several)
        askers = (replace(asker, question=replace(question, model=one)) for one in models)
        pairs[name] = [(heat, heat_of(one, window)) for one in askers]
    return {
        "film": film.path.name,
        "speaker": film.speaker,
        "channel": CHANNELS[modality],
        "emotion": emotion.value,
        "prob": prob,
        "num_learnt": max(num for num, _ in found.values()),
        **{
            measure: {name: [alike(*two) for two in several] for name, several in pairs.items()}
            for measure, alike in MEASURES.items()
        },
        **curves(asker, heat, hider(window)),
        "chance": measure_chance(asker, window),
    }


def with_head(model: Any, modality: Modality, head: ChannelHead) -> Any:
    """The model with another head of one channel."""
    return replace(model, channels={**model.channels, modality: head})


def measure_chance(asker: Asker, window: Window) -> dict[str, float]:
    """`chance` of a window, with as many parts as it is explained by."""
    is_face = asker.modality is Modality.VIDEO
    if is_face:
        num_parts = len(region_masks(1))
    else:
        num_parts = len(stretch_edges(window.duration_s)) + len(BANDS_HZ) - 2
    num = 2 * (num_parts + hiding.NUM_RANDOM)
    before, *covers = asker.ask([window, *(face_covers if is_face else voice_covers)(window, num)])
    return chance(before, covers, num_parts)


def interval(values: Sequence[float], speakers: Sequence[str], form: str = ".3f") -> str:
    """Mean with 95 %, bootstrap over speakers."""
    by = {s: [v for v, t in zip(values, speakers, strict=True) if t == s] for s in set(speakers)}
    names, random = sorted(by), np.random.default_rng(0)
    draws = [
        np.mean([v for k in random.integers(0, len(names), len(names)) for v in by[names[k]]])
        for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{np.mean(values):{form}} [{low:{form}}, {high:{form}}]"


def tell(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The tables and figures of docs/explain.md."""
    by_channel = {c: [r for r in rows if r["channel"] == c] for c in CHANNELS.values()}
    told = {channel: own for channel, own in by_channel.items() if own}
    for channel, own in told.items():
        learnt = " or ".join(sorted({str(row["num_learnt"]) for row in own}))
        num = len({row["speaker"] for row in own})
        yield f"\n{channel}: {len(own)} films, {num} speakers; heads fitted to {learnt} windows"
        yield from tell_maps(channel, own)
    yield from ("", "| | by the map | at random | difference |", "|---|---|---|---|")
    for channel, own in told.items():
        yield from tell_curves(channel, own)
    yield from tell_chance(told)


def tell_maps(channel: str, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How like the maps of other weights are; then the range of draws of labels."""
    speakers = [row["speaker"] for row in rows]
    yield from ("", f"| {channel} | {' | '.join(MEASURES)} |", "|---|---|---|---|")
    ranges = []
    for name in rows[0]["effects"]:
        cells = [
            interval([float(np.mean(row[m][name])) for row in rows], speakers, ".2f")
            for m in MEASURES
        ]
        yield f"| {name} | {' | '.join(cells)} |"
        draws = np.mean([row["effects"][name] for row in rows], axis=0)
        if len(draws) > 1:
            ranges.append(f"{name}: single draws {draws.min():.2f} to {draws.max():.2f} (effects)")
    yield from ["", *ranges] if ranges else []


def tell_curves(channel: str, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Deletion and insertion."""
    speakers = [row["speaker"] for row in rows]
    for name in ("deletion", "insertion"):
        by_map = interval([row[name] for row in rows], speakers)
        at_random = interval([row[f"{name}_random"] for row in rows], speakers)
        gap = interval([row[name] - row[f"{name}_random"] for row in rows], speakers)
        yield f"| {channel}, {name} | {by_map} | {at_random} | {gap} |"


def tell_chance(told: Mapping[str, Sequence[dict[str, Any]]]) -> Iterator[str]:
    """In how many windows something stands out by chance: of a channel, and of either."""
    yield from ("", "| | emotion | conflict |", "|---|---|---|")
    speakers = {row["film"]: row["speaker"] for rows in told.values() for row in rows}
    calm = {film: np.ones(2) for film in speakers}
    for channel, rows in told.items():
        own = {row["film"]: np.array([*row["chance"].values()]) for row in rows}
        yield chance_row(channel, own, speakers)
        calm |= {film: calm[film] * (1 - rates) for film, rates in own.items()}
    yield chance_row("either", {film: 1 - rates for film, rates in calm.items()}, speakers)


def chance_row(name: str, rates: Mapping[str, DoubleArray], speakers: Mapping[str, str]) -> str:
    """A row of `tell_chance`; rates (2,): of each film, by emotion and by conflict."""
    by = [speakers[film] for film in rates]
    cells = (interval([float(r[k]) for r in rates.values()], by, ".1%") for k in range(2))
    return f"| {name} | {' | '.join(cells)} |"


def tell_time(path: Path, at_s: float, repeats: int) -> str:
    """Median wall and processor time of one moment, the file perceived already."""
    analyzer = Analyzer(num_threads=2)
    perception = analyzer.perceive(path)
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        explain_moment(analyzer, path, at_s, perception=perception, num_threads=2)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return (
        f"{path.name} at {at_s:g} s, {repeats} times: median {median(walls):.2f} s (least "
        f"{min(walls):.2f}), of processor time {median(cpus):.2f} s (least {min(cpus):.2f})"
    )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--clips", type=int, default=12, help="of which maps are made")
    parser.add_argument("--channels", nargs="+", default=list(CHANNELS.values()))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--time", type=Path)
    parser.add_argument("--at", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    if asked.time is not None:
        print(tell_time(asked.time, asked.at, asked.repeats))
    if asked.corpora is not None and asked.work is not None:
        for line in tell(list(run(asked))):
            print(line)


def run(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of each film and channel, also written down as they come."""
    data = read_data(asked.corpora, asked.work, 1)
    fitted = fitting({Modality.VIDEO: data.faces, Modality.AUDIO: data.voices})
    analyzer = Analyzer(num_threads=1)
    films = read_films(asked.work / CORPUS, analyzer, asked.clips // 6)
    print(f"{len(films)} films perceived", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        mixed: dict[Modality, Backbone] = {
            Modality.VIDEO: CompactFace(network=shuffled_network("face", Path(folder))),
            Modality.AUDIO: CompactVoice(network=shuffled_network("voice", Path(folder))),
        }
        for film in films:
            for modality in (m for m, name in CHANNELS.items() if name in asked.channels):
                row = measure(film, modality, fitted, analyzer, mixed)
                if asked.out is not None:
                    with asked.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                yield row


if __name__ == "__main__":
    main()
