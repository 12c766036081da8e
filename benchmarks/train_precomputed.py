"""Fusions, channels and seeds on embeddings of whole corpora, and a linear probe beside them.

python benchmarks/train_precomputed.py --features precomputed.npz --out results.jsonl

Seed s trains with seed s and tests fold s of five (speakers never cross; the next fold validates),
so five seeds test every speaker once, and the spread over seeds holds that of the speakers too.
Each result is one line of --out; run again, it goes on. The table is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from facevoice.evaluation.metrics import uar
from facevoice.models.heads import conflict_evidence
from facevoice.models.model import CheckpointModel
from facevoice.records import Modality
from facevoice.training.config import TrainConfig
from facevoice.training.data import (
    FeatureTable,
    Items,
    TrainingData,
    prepare_data,
    read_feature_file,
)
from facevoice.training.loop import conflict_aurocs
from facevoice.training.run import CHECKPOINT, PartPredictions, Source, posteriors, train

CORPORA = ("ravdess", "cremad")
CONFIGS = Path(__file__).parents[1] / "configs"
CASES: dict[str, tuple[str, ...]] = {
    "concat": (),
    "audio only": ("network.modalities=['audio']",),
    "video only": ("network.modalities=['video']",),
    "concat, plain head": ("network.conflict_head='plain'",),
    "gated": ("network.fusion='gated'",),
    "late": ("network.fusion='late'",),
    "attention": ("network.fusion='attention'",),
}
PROBE_C = (0.003, 0.01, 0.03, 0.1, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=CONFIGS / "train-concat.toml")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cases", nargs="*", default=["probe", *CASES])
    parser.add_argument("--set", nargs="*", default=[], dest="assignments")
    parser.add_argument("--table-only", action="store_true")
    given = parser.parse_args()
    done = {(line["case"], line["seed"]) for line in read_lines(given.out)}
    todo = [
        (case, seed)
        for case in given.cases
        for seed in range(given.seeds)
        if (case, seed) not in done
    ]
    if todo and not given.table_only:
        context = get_context("spawn")
        with ProcessPoolExecutor(given.jobs, mp_context=context) as pool:
            jobs = [
                pool.submit(run_case, given.features, given.config, given.assignments, *job)
                for job in todo
            ]
            for job in jobs:
                line = job.result()
                print(json.dumps(line), flush=True)
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    print_table(list(read_lines(given.out)))


def read_lines(path: Path) -> Iterator[dict]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def run_case(
    features: Path, config_path: Path, assignments: list[str], case: str, seed: int
) -> dict:
    warnings.simplefilter("ignore")
    started, cpu = time.perf_counter(), time.process_time()
    table = read_feature_file(features)
    common = [*assignments, f"run.seed={seed}", f"split.fold={seed}", "run.trackers=[]"]
    config = TrainConfig.load(config_path, [*common, *CASES.get(case, ())])
    source = Source.of(features, "benchmarks/train_precomputed.py")
    figures = probe(table, config) if case == "probe" else train_case(table, config, source)
    return {
        "case": case,
        "seed": seed,
        "figures": {name: round(float(value), 4) for name, value in figures.items()},
        "wall_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }


def train_case(table: FeatureTable, config: TrainConfig, source: Source) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        started, cpu = time.perf_counter(), time.process_time()
        info = train(config, table, Path(folder), source, cpu=True)
        figures = {
            "train_wall_s": time.perf_counter() - started,
            "train_cpu_s": time.process_time() - cpu,
            "num_steps": info.training.num_steps,
            "best_epoch": info.training.best_epoch,
            "num_parameters": info.training.num_parameters,
        }
        model = CheckpointModel.load(Path(folder) / CHECKPOINT)
    for figure in info.training.figures:
        if figure.part == "test":
            figures[f"{figure.corpus} {figure.name}"] = figure.value
    tested = PartPredictions(model, data := prepare_data(table, config), "test")
    if tested.tells_conflict:
        figures |= one_channel(model, data, tested.pair_items)
        with np.errstate(divide="ignore"):
            scores = -conflict_evidence(tested.of_pairs["face"], tested.of_pairs["voice"])[:, 0]
        for corpus, value in conflict_aurocs(scores, tested.pair_items, data.targets):
            figures[f"{corpus} conflict_auroc, soft agreement"] = value
    return figures


def one_channel(model: CheckpointModel, data: TrainingData, items: Items) -> dict[str, float]:
    """AUROC of the conflict head when one channel is always the same clip's.

    With a channel masked, a model tells no conflict at all.
    """
    figures: dict[str, float] = {}
    first = np.zeros_like(items.face_rows)
    for gone, same in (
        (Modality.VIDEO, replace(items, face_rows=first)),
        (Modality.AUDIO, replace(items, voice_rows=first)),
    ):
        scores = posteriors(model, data.table, same)["conflict"]
        for corpus, value in conflict_aurocs(scores, items, data.targets):
            figures[f"{corpus} conflict_auroc, {gone} constant"] = value
    return figures


def probe(table: FeatureTable, config: TrainConfig) -> dict[str, float]:
    """Multinomial logistic regression on standardised embeddings, each corpus by itself.

    Its strength is chosen on validation; once fitted to the training part, as the network is, and
    once more to training and validation together.
    """

    parts = prepare_data(table, config).split.parts()
    labels = np.array([clip.labels.intended.position for clip in table.clips])
    corpora = np.array([clip.corpus for clip in table.clips])
    x = {m: array.tokens[:, 0].astype(np.float32) for m, array in table.arrays.items()}
    channels = {
        "voice": x[Modality.AUDIO],
        "face": x[Modality.VIDEO],
        "emotion": np.hstack([x[Modality.VIDEO], x[Modality.AUDIO]]),
    }
    figures: dict[str, float] = {}
    for corpus in CORPORA:
        train, held, test = (
            np.array([row for row in table.rows(parts[part]) if corpora[row] == corpus])
            for part in ("train", "validation", "test")
        )
        for name, values in channels.items():
            fitted = {c: fit_probe(values, labels, train, c) for c in PROBE_C}
            best = max(PROBE_C, key=lambda c: uar(labels[held], fitted[c](held)))
            both = fit_probe(values, labels, np.concatenate([train, held]), best)
            figures[f"{corpus} {name}_uar"] = uar(labels[test], fitted[best](test))
            figures[f"{corpus} {name}_uar, also fitted to validation"] = uar(
                labels[test], both(test)
            )
    return figures


def fit_probe(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, strength: float
) -> Callable[[np.ndarray], np.ndarray]:

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
    model.fit(x[rows], y[rows])
    return lambda chosen: model.predict(x[chosen])


def print_table(lines: list[dict]) -> None:
    cases: dict[str, list[dict[str, float]]] = {}
    for line in lines:
        cases.setdefault(line["case"], []).append(line["figures"])
    percent = [f"{c} {head}_uar" for c in CORPORA for head in ("emotion", "face", "voice")]
    scores = [f"{corpus} conflict_auroc" for corpus in CORPORA]
    print("| setting | seeds | " + " | ".join(percent + scores) + " |")
    print("|---|---|" + "---|" * len(percent + scores))
    for case, found in cases.items():
        cells = [cell(found, name, 100) for name in percent] + [cell(found, n, 1) for n in scores]
        print(f"| {case} | {len(found)} | " + " | ".join(cells) + " |")
    names = sorted({name for found in cases.values() for figures in found for name in figures})
    others = [name for name in names if name not in percent + scores]
    print("\n| setting | figure | mean ± sd over seeds |\n|---|---|---|")
    for case, found in cases.items():
        for name in others:
            if any(name in figures for figures in found):
                scale = 100 if "_uar" in name else 1
                print(f"| {case} | {name} | {cell(found, name, scale)} |")


def cell(found: list[dict[str, float]], name: str, scale: float) -> str:
    values = np.array([figures[name] for figures in found if name in figures]) * scale
    if not len(values):
        return "–"
    digits = 1 if scale == 100 or values.max() > 10 else 3
    spread = values.std(ddof=1) if len(values) > 1 else float("nan")
    return f"{values.mean():.{digits}f} ± {spread:.{digits}f}"


if __name__ == "__main__":
    main()
