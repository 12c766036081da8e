"""The trainer on javanese films with the compact backbones, one speaker of six left out at a time.

    python -m benchmarks.train_javanese --corpora CORPORA --work WORK

Voices of RAVDESS and EmoDB are trained on as well, the next javanese speaker is kept for
validation. Clips are cut as pairs are, so lengths say nothing. Test scores of all six are pooled.
CORPORA as for `benchmarks.congruence`; features come from the same store in WORK.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.train_precomputed import one_channel
from recipes.compact_data import AV_CORPUS, FACE, VOICE, read_clips
from recipes.voice_data import ARCHIVES

from facevoice.backbones.compact import FACE_DIM, VOICE_FEATURES
from facevoice.corpora.extract import extract_clips, read_features
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import PAIR_PLANS, spoken_lengths
from facevoice.corpora.splits import Split, leave_one_speaker_out
from facevoice.evaluation.bootstrap import auroc_measure, interval, uar_measure
from facevoice.models.model import CheckpointModel
from facevoice.records import Modality
from facevoice.training.config import TrainConfig
from facevoice.training.data import FeatureTable, TrainingData, prepare_data, stack_tokens
from facevoice.training.run import CHECKPOINT, PartPredictions, Source, train

SETTINGS = (
    f"network.video_dim={FACE_DIM}",
    f"network.audio_dim={VOICE_FEATURES}",
    "run.trackers=[]",
    "network.input_norm=standardize",
)
# The untuned voice network: it knows nobody.
BACKBONES = {Modality.VIDEO: FACE, Modality.AUDIO: VOICE}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], dest="assignments")
    given = parser.parse_args()
    config = TrainConfig.load(None, [*SETTINGS, *given.assignments])
    table = read_table(given.corpora, given.work, given.jobs)
    films = [clip for clip in table.clips if clip.corpus == AV_CORPUS]
    others = tuple(clip.clip_id for clip in table.clips if clip.corpus != AV_CORPUS)
    rows: list[dict[str, np.ndarray]] = []
    for fold in leave_one_speaker_out(films):
        split = replace(fold, train=tuple(sorted((*fold.train, *others))))
        rows.append(run_fold(table, config, split))
        print(f"{split.name}: done", flush=True)
    print_table(rows)


def read_table(corpora: Path, work: Path, jobs: int) -> FeatureTable:
    """Mean embeddings of every clip's windows; javanese clips cut to their pairs' length."""
    clips: list[Clip] = []
    for name, archive in ARCHIVES.items():
        clips += read_clips(corpora, work, name, archive)
    av_clips = [clip for clip in clips if clip.corpus == AV_CORPUS]
    limits_s = spoken_lengths(av_clips, PAIR_PLANS[AV_CORPUS], jobs)
    store = work / "features.db"
    extract_clips(clips, store, backbones=list(BACKBONES.values()), limits_s=limits_s)
    arrays = {}
    for modality, name in BACKBONES.items():
        found = read_features(clips, store, backbone=name, limits_s=limits_s)
        pooled = [found[c.clip_id].pooled() if c.clip_id in found else None for c in clips]
        dim = next(len(row) for row in pooled if row is not None)
        rows = [None if row is None else row[np.newaxis] for row in pooled]
        arrays[modality] = stack_tokens(rows, dim, name)
    return FeatureTable(tuple(clips), arrays)


def run_fold(table: FeatureTable, config: TrainConfig, split: Split) -> dict[str, np.ndarray]:
    """Truth, answers and scores of the tested speaker's clips and pairs."""
    source = Source("features.db", "0" * 64, "python -m benchmarks.train_javanese")
    with tempfile.TemporaryDirectory() as folder:
        train(config, table, Path(folder), source, split=split, cpu=True)
        model = CheckpointModel.load(Path(folder) / CHECKPOINT)
    data = prepare_data(table, config, split=split)
    tested = PartPredictions(model, data, "test")
    if not tested.tells_conflict:
        raise SystemExit("no pairs to score")
    found = collect(tested, data)
    for name, value in one_channel(model, data, tested.pair_items).items():
        found[name] = np.array([value])
    return found


def collect(tested: PartPredictions, data: TrainingData) -> dict[str, np.ndarray]:
    rows = tested.items.face_rows
    emotions = data.targets.emotions[rows]
    found = {
        "speaker": np.array([data.table.clips[row].speaker for row in rows]),
        "truth": data.targets.emotion[rows].argmax(axis=1),
        "filmed": data.table.present(Modality.VIDEO)[rows],
    }
    for head, column in (("emotion", "fused"), ("face", "face"), ("voice", "voice")):
        found[head] = np.where(emotions, np.nan_to_num(tested.clips[column]), -1).argmax(axis=1)
    found["conflict"] = tested.of_pairs["conflict"]
    found["is_conflict"] = tested.pair_items.conflict
    found["pair_speaker"] = np.repeat(found["speaker"][:1], len(tested.pairs))
    return found


def print_table(folds: list[dict[str, np.ndarray]]) -> None:
    def all_of(name: str) -> np.ndarray:
        return np.concatenate([fold[name] for fold in folds])

    print("| figure | value | 95 % over speakers |\n|---|---|---|")
    filmed = all_of("filmed")
    for head in ("face", "voice", "emotion"):
        arrays = (all_of("truth")[filmed], all_of(head)[filmed])
        found = interval(uar_measure(*arrays), all_of("speaker")[filmed])
        print(
            f"| UAR %, {head}, {filmed.sum()} films | {100 * found.estimate:.1f} "
            f"| {100 * found.low:.1f} to {100 * found.high:.1f} |"
        )
    arrays = (all_of("is_conflict").astype(bool), all_of("conflict"))
    found = interval(auroc_measure(*arrays), all_of("pair_speaker"))
    print(
        f"| conflict AUROC, {len(arrays[0])} pairs | {found.estimate:.3f} "
        f"| {found.low:.3f} to {found.high:.3f} |"
    )
    for name in sorted(folds[0]):
        if "conflict_auroc" in name:
            each = all_of(name)
            spread = f"folds {each.min():.3f} to {each.max():.3f}"
            print(f"| {name}, mean of folds | {each.mean():.3f} | {spread} |")


if __name__ == "__main__":
    main()
