"""The results table: both channels, the face alone and the voice alone, beside what is no model.

    python -m benchmarks.results_table --docs docs                      the table, from docs/benchmarks
    python -m benchmarks.results_table --features FILE --work WORK      train on FILE, score; then the same

With `--features` (stored embeddings, see docs/training.md) the networks of `configs/train-concat.toml`,
`train-video.toml` and `train-audio.toml` are trained five times each, as `facevoice train` does. Fold
k tests a fifth of the speakers, the next fold validates; the five tested parts together are one
run, so every speaker is tested once, by a network that has not met them. Trained folds are kept in
WORK and not trained again. With `--docs` the figures go to DOCS/benchmarks and the table into
DOCS/results.md and the README beside DOCS, between the marks of this script.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facevoice.evaluation.predictions import read_run
from facevoice.training.config import TrainConfig
from facevoice.training.data import FeatureTable, read_feature_file
from facevoice.training.run import PREDICTIONS, Source, train

CONFIGS = Path(__file__).parents[1] / "configs"
NETWORKS = {"multimodal": "concat", "video": "video", "audio": "audio"}
NUM_FOLDS = 5
COMMAND = "python -m benchmarks.results_table --features FILE --work WORK --docs docs"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=Path, help="stored embeddings: train on them")
    parser.add_argument("--work", type=Path, help="folder for what is trained")
    given = parser.parse_args()
    table = read_feature_file(given.features)
    for fold in range(NUM_FOLDS):
        for name in NETWORKS:
            train_fold(table, given.features, given.work / f"{name}-{fold}", name, fold)


def train_fold(table: FeatureTable, features: Path, out: Path, name: str, fold: int) -> None:
    """Train one network and predict the speakers of one fold, unless that is there."""
    if (out / PREDICTIONS).is_dir():
        return
    config = TrainConfig.load(
        CONFIGS / f"train-{NETWORKS[name]}.toml",
        [f"split.fold={fold}", f"run.seed={fold}", "run.trackers=[]"],
    )
    train(config, table, out, Source.of(features, COMMAND), cpu=True)
    print(f"{out.name}: {len(read_run(out / PREDICTIONS).emotions)} clips tested", flush=True)


if __name__ == "__main__":
    main()
