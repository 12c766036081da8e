"""Whether explanations show what the networks go by: sanity checks, curves, and time.

    python -m benchmarks.explanations --javanese FOLDER [--clips 12] [--out FILE.jsonl]
    python -m benchmarks.explanations --time FILE --at SECONDS [--repeats 5]

FOLDER is the unpacked javanese corpus. Clips are spread over its six speakers and six emotions.
Of each, the heat map of the face and that of the voice are held against

* the map of the same networks with other heads: random weights (each row of the shipped head's
  weights shuffled), labels shuffled, and as a yardstick true labels, the latter two fitted to the
  other speakers' clips (Adebayo et al. 2018, Sanity checks for saliency maps);
* the map of the shipped heads on a network whose weights are shuffled within each layer;

by rank correlation (of Spearman; of effects, and of their sizes alone) and structural similarity
(SSIM). Then what is hidden grows cell
by cell, or is shown again, in the map's order and in random ones: mean probability of the answer
(deletion and insertion curves, Petsiuk et al. 2018, RISE). Intervals: 95 %, bootstrap over
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
from recipes.fitting import FACE, VOICE, HeadRecipe, Samples, fit_head

from facevoice import Analyzer
from facevoice.backbones.compact import CompactFace, CompactVoice
from facevoice.backbones.spec import Backbone
from facevoice.corpora.gather import create_corpus
from facevoice.explain.face import Cover, heat_maps
from facevoice.explain.hiding import Asker
from facevoice.explain.moment import explain_moment
from facevoice.explain.voice import BANDS_HZ, Mute, cell_heat, stretch_edges
from facevoice.models.heads import ChannelHead
from facevoice.records import DoubleArray, FloatArray, Modality, Perception, Window, top_emotion

NUM_STEPS: Final = 8
NUM_RANDOM: Final = 3
GRID: Final = 8
MIDDLE: Final = (0.10, 0.90)
CHANNELS: Final = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}
RECIPES: Final[Mapping[Modality, HeadRecipe]] = {
    Modality.VIDEO: replace(FACE, main_directions=20),
    Modality.AUDIO: replace(VOICE, whitened=40, main_directions=20),
}
WEIGHTS: Final = Path(__file__).parents[1] / "src" / "facevoice" / "weights"
Heat = Callable[[Asker, Window], DoubleArray]


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """A clip of one speaker, perceived; label: the intended emotion's place."""

    path: Path
    speaker: str
    label: int
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
    clips = [c for c in create_corpus("javanese").clips(root) if c.video_path is not None]
    random = np.random.default_rng(0)
    for clip in (clips[k] for k in random.permutation(len(clips))):
        own = films.setdefault(clip.speaker, [])
        label = clip.labels.intended
        if label is None or len(own) >= num_each or clip.video_path is None:
            continue
        if sum(f.label == label.position for f in own) > len(own) // 6:
            continue
        seen = analyzer.perceive(clip.video_path)
        said = analyzer.interpret(seen).windows[0]
        if said.face is not None and said.voice is not None:
            own.append(Film(clip.video_path, clip.speaker, label.position, seen))
    return [film for own in films.values() for film in own]


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


def fitted_head(films: Sequence[Film], modality: Modality, shuffled: bool) -> ChannelHead:
    """A head fitted to films, with their labels, or with these in random order."""
    rows = [film.perception.windows[0].channel(modality) for film in films]
    kept = [(film, row) for film, row in zip(films, rows, strict=True) if row is not None]
    labels = np.array([film.label for film, _ in kept])
    if shuffled:
        labels = np.random.default_rng(0).permutation(labels)
    size = len(kept)
    emotions = np.tile(np.isin(np.arange(8), np.unique(labels)), (size, 1))
    samples = Samples(
        np.stack([row for _, row in kept]),
        labels,
        emotions,
        np.array([film.speaker for film, _ in kept]),
        np.array(["javanese"] * size),
        np.array([str(film.path) for film, _ in kept]),
        np.zeros(size, np.bool_),
    )
    return fit_head(samples, RECIPES[modality])


def face_heat(asker: Asker, window: Window) -> DoubleArray:
    """The face's heat on the cells of a grid (8, 8)."""
    heat, _ = heat_maps(asker, window)
    return np.array([[heat[c].mean() for c in row] for row in face_cells(len(heat))])


def voice_heat(asker: Asker, window: Window) -> DoubleArray:
    """The voice's heat (bands, stretches)."""
    return cell_heat(asker, window)[0]


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


def measure(
    film: Film,
    fitted: Callable[[str, Modality, bool], ChannelHead],
    analyzer: Analyzer,
    mixed: Mapping[Modality, Backbone],
) -> Iterator[dict[str, Any]]:
    """All figures of one film, channel by channel."""
    question = analyzer.question_at(film.perception, 0)
    media = film.perception.media
    window = analyzer.perceiver.window(media, film.perception.windows[:1])
    said = analyzer.interpret(film.perception).windows[0]
    told = {
        Modality.VIDEO: (said.face, face_heat, face_hider),
        Modality.AUDIO: (said.voice, voice_heat, voice_hider),
    }
    for modality, (posterior, heat_of, hider) in told.items():
        emotion, prob = top_emotion(posterior)  # type: ignore[arg-type]
        backbone = Remembering(analyzer.assembly.backbones[modality])
        asker = Asker(question, backbone, modality, emotion, 1)
        heat = heat_of(asker, window)
        model = question.model
        heads = {
            "random head": random_head(model.channels[modality]),  # type: ignore[attr-defined]
            "shuffled labels": fitted(film.speaker, modality, True),
            "true labels": fitted(film.speaker, modality, False),
        }
        maps = {}
        for name, head in heads.items():
            channels = {**model.channels, modality: head}  # type: ignore[attr-defined]
            changed = replace(question, model=replace(model, channels=channels))  # type: ignore[type-var]
            maps[name] = heat_of(replace(asker, question=changed), window)
        maps["random network"] = heat_of(replace(asker, backbone=mixed[modality]), window)
        yield {
            "film": film.path.name,
            "speaker": film.speaker,
            "channel": CHANNELS[modality],
            "emotion": emotion.value,
            "prob": prob,
            "rank": {name: rank_correlation(heat, one) for name, one in maps.items()},
            "size": {name: rank_correlation(abs(heat), abs(one)) for name, one in maps.items()},
            "ssim": {name: ssim(heat, one) for name, one in maps.items()},
            **curves(asker, heat, hider(window)),
        }


def interval(values: Sequence[float], speakers: Sequence[str]) -> str:
    """Mean with 95 %, bootstrap over speakers."""
    by = {s: [v for v, t in zip(values, speakers, strict=True) if t == s] for s in set(speakers)}
    names, random = sorted(by), np.random.default_rng(0)
    draws = [
        np.mean([v for k in random.integers(0, len(names), len(names)) for v in by[names[k]]])
        for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


def tell(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The tables of docs/explain.md."""
    for channel in CHANNELS.values():
        own = [row for row in rows if row["channel"] == channel]
        speakers = [row["speaker"] for row in own]
        yield f"{channel}: {len(own)} clips of {len(set(speakers))} speakers"
        for name in own[0]["rank"]:
            rank = interval([row["rank"][name] for row in own], speakers)
            size = interval([row["size"][name] for row in own], speakers)
            alike = interval([row["ssim"][name] for row in own], speakers)
            yield f"| {name} | {rank} | {size} | {alike} |"
        for name in ("deletion", "insertion"):
            by_map = interval([row[name] for row in own], speakers)
            at_random = interval([row[f"{name}_random"] for row in own], speakers)
            gap = interval([row[name] - row[f"{name}_random"] for row in own], speakers)
            yield f"| {name} | {by_map} | {at_random} | {gap} |"


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
    parser.add_argument("--javanese", type=Path)
    parser.add_argument("--clips", type=int, default=12, help="of which maps are made")
    parser.add_argument("--fitted", type=int, default=48, help="to which heads are fitted")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--time", type=Path)
    parser.add_argument("--at", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    if asked.time is not None:
        print(tell_time(asked.time, asked.at, asked.repeats))
    if asked.javanese is None:
        return
    analyzer = Analyzer(num_threads=1)
    films = read_films(asked.javanese, analyzer, asked.fitted // 6)
    print(f"{len(films)} films perceived", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        mixed: dict[Modality, Backbone] = {
            Modality.VIDEO: CompactFace(network=shuffled_network("face", Path(folder))),
            Modality.AUDIO: CompactVoice(network=shuffled_network("voice", Path(folder))),
        }

        @cache
        def fitted(left_out: str, modality: Modality, shuffled: bool) -> ChannelHead:
            others = [film for film in films if film.speaker != left_out]
            return fitted_head(others, modality, shuffled)

        by_speaker: dict[str, list[Film]] = {}
        for film in films:
            by_speaker.setdefault(film.speaker, []).append(film)
        each = asked.clips // len(by_speaker)
        # Speaker by speaker in turn, so that a run that is cut short has all of them.
        chosen = [own[k] for k in range(each) for own in by_speaker.values()]
        rows = []
        for film in chosen:
            for row in measure(film, fitted, analyzer, mixed):
                rows.append(row)
                if asked.out is not None:
                    with asked.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    for line in tell(rows):
        print(line)


if __name__ == "__main__":
    main()
