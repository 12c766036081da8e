"""After training: temperatures and thresholds, chosen on validation speakers only."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from facevoice.corpora.pairs import Pair
from facevoice.corpora.splits import Split
from facevoice.corpora.votes import Votes
from facevoice.errors import CorpusError, EvaluationError, WeightsError
from facevoice.evaluation.metrics import auroc, best_threshold, uar
from facevoice.evaluation.predictions import (
    ConflictPredictions,
    DataFile,
    EmotionPredictions,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
    write_run,
)
from facevoice.models.checkpoint import (
    Calibration,
    Checkpoint,
    CheckpointInfo,
    DataRecord,
    Figure,
    PartRecord,
    TrainingRecord,
    UsedEmbeddings,
    save_checkpoint,
)
from facevoice.models.fusion import count_parameters
from facevoice.models.heads import flatness, restrict_logits, temper
from facevoice.records import VERSION, BoolArray, DoubleArray, Modality, Thresholds
from facevoice.settings import build_settings, plain_settings
from facevoice.training.config import SMALL_WARNING, TrainConfig, small
from facevoice.training.data import (
    PARTS,
    UNKNOWN,
    FeatureDataset,
    FeatureTable,
    Items,
    TrainingData,
    WindowDataset,
    join_items,
    make_targets,
    original_items,
    pairs_by_corpus,
    prepare_data,
    split_digest,
)
from facevoice.training.finetune import FinetuneNetwork, Tuning, save_tuned, start_finetune
from facevoice.training.loop import (
    CHUNK,
    Epoch,
    FitResult,
    Gatherer,
    ItemLogits,
    TargetTable,
    build_network,
    compute_logits,
    create_accelerator,
    fit,
    is_small,
    put_weights,
    suit_inputs,
)
from facevoice.training.losses import conflict_loss, emotion_loss

PRECISION: Final = 0.75
"""Of the windows called conflict (or match), so many are to be so, at equal numbers of both."""
CLEAR_ABOVE: Final = 0.30
_SMALLEST_SHARE: Final = 0.02
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_RANGE: Final = (math.log(0.05), math.log(20.0))


def fit_temperatures(
    clips: ItemLogits,
    originals: Items,
    pairs: ItemLogits | None,
    pair_items: Items,
    table: TargetTable,
) -> Calibration:
    """The temperature of each head at which validation is likeliest.

    A head that the network lacks, or that nobody labelled there, keeps 1.
    """
    targets = table.gather(Epoch.whole(originals))
    found: dict[str, float] = {}
    emotions = {
        "emotion": targets.face_emotions,
        "face": targets.face_emotions,
        "voice": targets.voice_emotions,
    }
    for head, possible in emotions.items():
        logits = getattr(clips, head)
        weights = getattr(targets, f"{head}_weight")
        if logits is not None and float(weights.sum()) > 0:
            scores, shares = torch.from_numpy(logits), getattr(targets, head)

            def mean_loss(
                temperature: float,
                scores: torch.Tensor = scores,
                shares: torch.Tensor = shares,
                possible: torch.Tensor = possible,
                weights: torch.Tensor = weights,
            ) -> float:
                loss = emotion_loss(scores / temperature, shares, possible, 0.0)
                return float((loss * weights).sum() / weights.sum())

            found[head] = _best_temperature(mean_loss)
    judged, logits = (pair_items, pairs) if pairs is not None else (originals, clips)
    known = judged.conflict != UNKNOWN
    if logits.conflict is not None and known.any():
        raw = torch.from_numpy(logits.conflict[known])
        truth = torch.from_numpy(judged.conflict[known])
        found["conflict"] = _best_temperature(lambda t: float(conflict_loss(raw / t, truth).mean()))
    return Calibration(**found)


def choose_thresholds(
    logits: ItemLogits, pairs: Sequence[Pair], calibration: Calibration
) -> Thresholds | None:
    """Where outcomes change, from validation pairs; None without a conflict head or pairs.

    flat_above: tells neutral and calm from the rest best, over both channels. conflict_above,
    match_below: the lowest (highest) probability from which a conflict (match) is so in `PRECISION`
    of the pairs whose channels are both clear.
    """
    if logits.conflict is None or logits.face is None or logits.voice is None or not pairs:
        return None
    face = temper(logits.face, calibration.face)
    voice = temper(logits.voice, calibration.voice)
    probs = temper(logits.conflict, calibration.conflict)[:, 1]
    truth = np.array([pair.is_conflict for pair in pairs])
    flat_truth = np.array(
        [p.face_emotion.is_flat for p in pairs] + [p.voice_emotion.is_flat for p in pairs]
    )
    shares = np.array([flatness(row) for row in np.concatenate([face, voice])])
    flat_above = _choose_flat(shares, flat_truth)
    clearest = np.concatenate([face, voice])[:, 2:].max(axis=1)
    clear = ((shares < flat_above) & (clearest >= CLEAR_ABOVE)).reshape(2, -1).all(axis=0)
    if len(np.unique(truth[clear])) < 2:
        clear = np.ones(len(pairs), dtype=np.bool_)
    return Thresholds(
        conflict_above=lowest_threshold(probs[clear], truth[clear]),
        match_below=1 - lowest_threshold(1 - probs[clear], ~truth[clear]),
        flat_above=flat_above,
        clear_above=CLEAR_ABOVE,
    )


def lowest_threshold(probs: DoubleArray, truth: BoolArray, precision: float = PRECISION) -> float:
    """The lowest threshold above which `truth` holds with `precision`, classes weighted alike.

    A share of the true ones must lie above; where no threshold reaches the precision, the one that
    comes nearest is taken.
    """
    grid = np.unique(np.round(probs, 3))
    hits = np.array([(probs[truth] >= t).mean() for t in grid])
    alarms = np.array([(probs[~truth] >= t).mean() for t in grid])
    usable = hits >= _SMALLEST_SHARE
    found = np.where(usable, hits / np.maximum(hits + alarms, 1e-9), 0.0)
    good = np.flatnonzero(found >= precision)
    return float(grid[good[0]] if len(good) else grid[int(found.argmax())])


def _choose_flat(shares: DoubleArray, truth: BoolArray) -> float:
    if truth.all() or not truth.any():
        return 0.5
    grid = np.linspace(0.05, 0.95, 91)
    accuracy = [(shares[truth] >= t).mean() + (shares[~truth] < t).mean() for t in grid]
    return float(grid[int(np.argmax(accuracy))])


def _best_temperature(loss: Callable[[float], float]) -> float:
    """Minimum over log T by golden-section search. Kiefer (1953)."""
    low, high = _RANGE
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(40):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(math.exp(right))
    return math.exp((low + high) / 2)


# A trained network over a table of clips, as a run for `evaluate`.

_LOG = logging.getLogger(__name__)


def predict_table(
    checkpoint: Checkpoint, table: FeatureTable, folder: Path, source: Source
) -> tuple[int, int]:
    """Write predictions of all clips of speakers that the checkpoint has not seen.

    Thresholds are not fixed on these clips, so none is written; use those of the checkpoint.

    Returns:
        How many clips and pairs.

    Raises:
        CorpusError: a channel has no features, or every speaker was trained or chosen on.
        WeightsError: the features come from another backbone.
        EvaluationError: the folder holds something else than a run.
    """
    info = checkpoint.info
    config = build_settings(TrainConfig, info.settings)
    _check_backbones(checkpoint, table)
    seen = {*info.data.train.speakers, *info.data.validation.speakers}
    fresh = [clip.clip_id for clip in table.clips if clip.speaker_key not in seen]
    if len(fresh) < len(table):
        _LOG.warning(
            "%d of %d clips are left out: the checkpoint was trained or chosen on their speakers",
            len(table) - len(fresh),
            len(table),
        )
    if not fresh:
        raise CorpusError("every speaker was trained or chosen on, so there is nothing to test")
    table = table.take(fresh)
    is_multimodal = info.network.is_multimodal
    pairs = pairs_by_corpus(table, fresh, config.pairs.seed) if is_multimodal else {}
    data = TrainingData(
        table=table,
        targets=make_targets(table.clips, plain_settings(config.targets)),
        split=Split("unseen speakers", (), (), tuple(fresh)),
        pairs={"test": pairs},
    )
    inputs = FeatureDataset(table, info.network.modalities, torch.device("cpu"))
    tested = score_part(checkpoint.network, inputs, data, "test", config)
    write_predictions(folder, tested, None, data, info, source.command)
    return len(table), len(tested.pairs)


def _check_backbones(checkpoint: Checkpoint, table: FeatureTable) -> None:
    for modality, used in checkpoint.info.backbones.items():
        if modality not in table.arrays:
            raise CorpusError(f"there are no {modality} features; the checkpoint needs them")
        found = table.arrays[modality]
        # A feature file does not say what made it; its own name is no evidence of anything.
        from_file = found.backbone.endswith("@file") and used.backbone.endswith("@file")
        if not from_file and found.backbone != used.backbone:
            raise WeightsError(
                f"{modality} embeddings come from {found.backbone}, but the checkpoint was trained "
                f"on those of {used.backbone}"
            )
        if found.dim != used.dim:
            raise WeightsError(
                f"{modality} embeddings have width {found.dim}, the checkpoint wants {used.dim}"
            )


# What a trained network says of a part of the split: figures, and a run for `evaluate`.

_PERCEIVED: Final = {
    "emotion": Target.PERCEIVED_BOTH,
    "face": Target.PERCEIVED_FACE,
    "voice": Target.PERCEIVED_VOICE,
}


@dataclass(frozen=True, slots=True, eq=False)
class PartOutcome:
    """Logits of a part's clips and, where there are any, of its pairs."""

    part: str
    clip_items: Items
    clip_logits: ItemLogits
    pairs: tuple[Pair, ...]
    pair_items: Items
    pair_logits: ItemLogits | None


def score_part(
    network: nn.Module, inputs: Gatherer, data: TrainingData, part: str, config: TrainConfig
) -> PartOutcome:
    """Run the network over a part."""
    chunk = config.train.batch_size if config.finetune.is_on else CHUNK
    originals = data.originals(part, judged=config.targets.conflict == "perceived")
    pairs = tuple(pair for found in data.pairs[part].values() for pair in found)
    items = original_items(np.zeros(0, dtype=np.int64))
    for found in data.pair_items(part):
        items = join_items(items, found)
    return PartOutcome(
        part=part,
        clip_items=originals,
        clip_logits=compute_logits(network, inputs, originals, chunk),
        pairs=pairs,
        pair_items=items,
        pair_logits=compute_logits(network, inputs, items, chunk) if len(items) else None,
    )


def part_figures(
    outcome: PartOutcome, data: TrainingData, calibration: Calibration
) -> Iterator[Figure]:
    """UAR of each emotion head and AUROC of conflict, by corpus."""
    targets, rows = data.targets, outcome.clip_items.face_rows
    corpora = targets.corpora[rows]
    present = data.present()
    heads: dict[str, BoolArray] = {
        "emotion": np.ones(len(rows), dtype=np.bool_),
        "face": present[Modality.VIDEO][rows],
        "voice": present[Modality.AUDIO][rows],
    }
    for corpus in np.unique(corpora):
        for head, there in heads.items():
            logits = getattr(outcome.clip_logits, head)
            shares = getattr(targets, head)[rows]
            chosen = there & (corpora == corpus) & shares.any(axis=1)
            if logits is None or not chosen.any():
                continue
            said = restrict_logits(logits[chosen], targets.emotions[rows][chosen]).argmax(axis=1)
            value = uar(shares[chosen].argmax(axis=1), said)
            yield Figure(outcome.part, str(corpus), f"{head}_uar", value)
    if outcome.pair_logits is not None and outcome.pair_logits.conflict is not None:
        items = outcome.pair_items
        scores = conflict_probs(outcome.pair_logits, calibration)
        for corpus in np.unique(targets.corpora[items.face_rows]):
            chosen = targets.corpora[items.face_rows] == corpus
            value = auroc(items.conflict[chosen] > 0.5, scores[chosen])
            yield Figure(outcome.part, str(corpus), "conflict_auroc", value)


def conflict_probs(logits: ItemLogits, calibration: Calibration) -> DoubleArray:
    """Probability (m,) that face and voice differ.

    Raises:
        EvaluationError: the network tells no conflict.
    """
    if logits.conflict is None:
        raise EvaluationError("the network has one channel only, so it tells no conflict")
    return temper(logits.conflict, calibration.conflict)[:, 1]


def write_predictions(
    folder: Path,
    tested: PartOutcome,
    held: PartOutcome | None,
    data: TrainingData,
    info: CheckpointInfo,
    command: str,
) -> None:
    """Write a part's predictions as a run, thresholds fixed on `held`; replaces an earlier run.

    Raises:
        EvaluationError: the folder holds something else.
    """
    emotions = clip_predictions(tested, data, info)
    conflicts = pair_predictions(tested, held, data, info)
    write_run(
        folder,
        run_info(folder.parent.name, info, command, has_pairs=conflicts is not None),
        emotions,
        conflicts,
        overwrite=True,
    )


def clip_predictions(
    outcome: PartOutcome, data: TrainingData, info: CheckpointInfo
) -> EmotionPredictions:
    """Posteriors of a part's clips, NaN where a channel is missing."""
    rows = outcome.clip_items.face_rows
    clips = [data.table.clips[row] for row in rows]
    present = data.present()
    there = {"face": present[Modality.VIDEO][rows], "voice": present[Modality.AUDIO][rows]}
    columns: dict[str, DoubleArray] = {}
    for column, head in (("fused", "emotion"), ("face", "face"), ("voice", "voice")):
        logits = getattr(outcome.clip_logits, head)
        if logits is not None:
            probs = temper(logits, getattr(info.calibration, head))
            if column in there:
                probs = np.where(there[column][:, None], probs, np.nan)
            columns[column] = probs
    return emotion_predictions(clips, fold=[data.split.name] * len(clips), **columns)


def pair_predictions(
    outcome: PartOutcome, held: PartOutcome | None, data: TrainingData, info: CheckpointInfo
) -> ConflictPredictions | None:
    """Conflict scores of a part's pairs, None where none can be told."""
    logits = outcome.pair_logits
    if logits is None or logits.conflict is None or logits.face is None or logits.voice is None:
        return None
    threshold = np.nan
    if held is not None and held.pair_logits is not None:
        try:
            threshold = best_threshold(
                held.pair_items.conflict > 0.5, conflict_probs(held.pair_logits, info.calibration)
            )
        except EvaluationError:
            threshold = np.nan  # one class only: no threshold can be fixed
    face = temper(logits.face, info.calibration.face)
    voice = temper(logits.voice, info.calibration.voice)
    items = outcome.pair_items
    face = np.exp(restrict_logits(np.log(face), data.targets.emotions[items.face_rows]))
    voice = np.exp(restrict_logits(np.log(voice), data.targets.emotions[items.voice_rows]))
    return conflict_predictions(
        outcome.pairs,
        {clip.clip_id: clip for clip in data.table.clips},
        conflict_probs(logits, info.calibration),
        fold=[data.split.name] * len(outcome.pairs),
        baseline_differs=face.argmax(axis=1) != voice.argmax(axis=1),
        threshold=np.full(len(outcome.pairs), threshold),
        clarity=np.minimum(face.max(axis=1), voice.max(axis=1)),
    )


def run_info(
    name: str,
    info: CheckpointInfo,
    command: str,
    *,
    has_pairs: bool,
) -> RunInfo:
    """What stands beside the figures of the run."""
    channels = " and ".join(info.network.modalities)
    perceived = info.data.emotion_target == "perceived"
    config = build_settings(TrainConfig, info.settings)
    kind = "embeddings trained along" if config.finetune.is_on else "frozen embeddings"
    return RunInfo(
        name=name or "training",
        title=f"{info.network.fusion} fusion of {channels}",
        model=(
            f"facevoice network on {kind} of {channels}, {info.network.fusion} fusion, "
            f"{info.training.num_parameters:,} trained parameters"
        ),
        corpora=info.data.corpora,
        protocol=(
            f"speaker-independent: {info.data.split}; epoch, temperatures and thresholds from the "
            "validation speakers"
        ),
        command=command,
        emotion_target=_PERCEIVED["emotion"] if perceived else Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT if has_pairs else None,
        score_is_probability=True,
        backbones=tuple(
            UsedBackbone(used.backbone, used.training_corpora if used.corpora_known else None)
            for used in info.backbones.values()
        ),
        data=(DataFile(info.data.source, info.data.source_sha256),),
        notes=info.notes,
    )


# A whole run: data, network, fit, calibration, checkpoint, predictions of the test part.
#
# OUT/
# ├── checkpoint/                     see `facevoice.models.checkpoint`; brings its backbones
# │                                   where [finetune] trained them
# ├── predictions/                    the test part, for `facevoice evaluate`; absent without one
# ├── training-state.safetensors      to go on after a kill
# └── logs/                           of the trackers


CHECKPOINT: Final = "checkpoint"
PREDICTIONS: Final = "predictions"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the features come from: the name of the manifest or feature file, and its SHA-256."""

    name: str
    sha256: str
    command: str

    @classmethod
    def of(cls, path: Path, command: str) -> Source:
        """Hash a file."""
        with path.open("rb") as file:
            return cls(path.name, hashlib.file_digest(file, "sha256").hexdigest(), command)


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a run left: its checkpoint, the test predictions if any, and its figures."""

    checkpoint: Path
    predictions: Path | None
    figures: tuple[Figure, ...]
    best_epoch: int
    num_steps: int
    num_parameters: int


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is no setting of the model.

    cpu: compute on the CPU even if there is a GPU; fresh: don't go on from a saved state;
    keep: settings that small mode leaves as they are, such as train.batch_size.
    """

    cpu: bool = False
    fresh: bool = False
    keep: tuple[str, ...] = ()


def train(
    config: TrainConfig,
    table: FeatureTable,
    out: Path,
    source: Source,
    *,
    votes: Votes | None = None,
    split: Split | None = None,
    options: RunOptions | None = None,
    tuning: Tuning | None = None,
) -> TrainedRun:
    """Train on a feature table and write everything to `out`; run again, it goes on.

    Args:
        config: all settings.
        table: clips, and what the backbones said of them.
        out: folder to write.
        source: of the table, for the checkpoint.
        votes: for targets that people perceived.
        split: in place of one by the settings.
        options: what is no setting of the model.
        tuning: backbones and windows, where [finetune] trains the backbones themselves.

    Raises:
        CorpusError: the data don't suit the settings.
        ConfigError: a setting can't be had on this machine.
        WeightsError: `out` holds the state of another run.
    """
    options = options or RunOptions()
    out.mkdir(parents=True, exist_ok=True)
    accelerator = create_accelerator(config.run, out / "logs", cpu=options.cpu)
    if is_small(config, accelerator):
        _LOG.warning(SMALL_WARNING)
        config = small(config, options.keep)
    data = prepare_data(table, config, votes=votes, split=split)
    config = suit_inputs(config, data)
    fusion, identity = build_network(config, data), run_identity(config, data)
    network: nn.Module = fusion
    inputs: FeatureDataset | WindowDataset
    if config.finetune.is_on:
        network, inputs = start_finetune(config, data, fusion, tuning, accelerator.device)
        identity["windows"] = inputs.windows.digest()
    else:
        inputs = FeatureDataset(
            data.table, config.network.modalities, accelerator.device, fusion.standardized_tokens
        )
    result = fit(
        config, data, network, inputs, accelerator, out, identity=identity, fresh=options.fresh
    )
    put_weights(network, result.weights)
    finish = _Finish(config, data, network, inputs, result, source)
    done = finish.write(out) if accelerator.is_main_process else None
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return done or finish.summary(out, (), data.split.test != ())


def run_identity(config: TrainConfig, data: TrainingData) -> dict[str, str]:
    """What a saved state belongs to. How often it is saved or logged changes nothing."""
    quiet = {"save_every_steps": 1, "log_every_steps": 1, "trackers": ()}
    settings = replace(config, run=replace(config.run, **quiet))  # type: ignore[arg-type]
    return {
        "settings": hashlib.sha256(settings.to_toml().encode()).hexdigest(),
        "data": data.digest(),
        "torch": torch.__version__,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Finish:
    """From fitted weights to what is left on disk."""

    config: TrainConfig
    data: TrainingData
    network: nn.Module
    inputs: Any
    result: FitResult
    source: Source

    def write(self, out: Path) -> TrainedRun:
        """Checkpoint and predictions."""
        held = score_part(self.network, self.inputs, self.data, "validation", self.config)
        table = TargetTable.build(
            self.data.targets, self.data.rows("train"), self.data.present(), self.config.loss
        )
        calibration = fit_temperatures(
            held.clip_logits, held.clip_items, held.pair_logits, held.pair_items, table
        )
        thresholds = None
        if held.pair_logits is not None:
            thresholds = choose_thresholds(held.pair_logits, held.pairs, calibration)
        figures = list(part_figures(held, self.data, calibration))
        tested = None
        if self.data.split.test:
            tested = score_part(self.network, self.inputs, self.data, "test", self.config)
            figures += part_figures(tested, self.data, calibration)
        info = self.info(calibration, thresholds, tuple(figures))
        if isinstance(self.network, FinetuneNetwork):
            info = save_tuned(out / CHECKPOINT, self.network, self.result.weights, info)
        else:
            save_checkpoint(out / CHECKPOINT, self.result.weights, info, overwrite=True)
        if tested is not None:
            self.predict(out / PREDICTIONS, tested, held, info)
        return self.summary(out, tuple(figures), tested is not None)

    def info(
        self,
        calibration: Calibration,
        thresholds: Thresholds | None,
        figures: tuple[Figure, ...],
    ) -> CheckpointInfo:
        """What the checkpoint says of itself."""
        arrays = self.data.table.arrays
        return CheckpointInfo(
            network=self.config.network,
            settings=plain_settings(self.config),
            calibration=calibration,
            thresholds=thresholds,
            backbones={
                m: _used(self.data, m) for m in self.config.network.modalities if m in arrays
            },
            data=_data_record(self.config, self.data, self.source),
            training=TrainingRecord(
                best_epoch=self.result.progress.best_epoch,
                num_steps=self.result.progress.total_steps,
                num_parameters=count_parameters(self.network),
                facevoice_version=VERSION,
                torch_version=str(torch.__version__),
                figures=figures,
            ),
            notes=(SMALL_WARNING,) if self.config.run.size == "small" else (),
        )

    def predict(
        self, folder: Path, tested: PartOutcome, held: PartOutcome, info: CheckpointInfo
    ) -> None:
        """The test part as a run folder."""
        write_predictions(folder, tested, held, self.data, info, self.source.command)

    def summary(self, out: Path, figures: tuple[Figure, ...], tested: bool) -> TrainedRun:
        """Where everything is."""
        return TrainedRun(
            checkpoint=out / CHECKPOINT,
            predictions=out / PREDICTIONS if tested else None,
            figures=figures,
            best_epoch=self.result.progress.best_epoch,
            num_steps=self.result.progress.total_steps,
            num_parameters=count_parameters(self.network),
        )


def _used(data: TrainingData, modality: Modality) -> UsedEmbeddings:
    array = data.table.arrays[modality]
    known = array.training_corpora is not None
    return UsedEmbeddings(array.backbone, array.dim, array.training_corpora or (), known)


def _data_record(config: TrainConfig, data: TrainingData, source: Source) -> DataRecord:
    clips = {clip.clip_id: clip for clip in data.table.clips}
    parts = {}
    for part in PARTS:
        ids = data.split.parts()[part]
        speakers = sorted({clips[key].speaker_key or key for key in ids})
        num_pairs = sum(len(pairs) for pairs in data.pairs[part].values())
        parts[part] = PartRecord(len(ids), num_pairs, tuple(speakers))
    targets = config.targets
    return DataRecord(
        corpora=tuple(sorted({clip.corpus for clip in data.table.clips})),
        source=source.name,
        source_sha256=source.sha256,
        features_sha256=data.table.digest(),
        split=data.split.name,
        split_sha256=split_digest(data.split),
        **parts,
        emotion_target=targets.emotion,
        face_target=targets.face,
        voice_target=targets.voice,
        conflict_target=targets.conflict,
    )
