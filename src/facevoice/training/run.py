"""A whole run: data, network, fit, calibration, checkpoint, predictions of the test part.

OUT/
├── checkpoint/                     see `facevoice.models.checkpoint`; brings its backbones where
│                                   [finetune] trained them
├── predictions/                    the test part, for `facevoice evaluate`; absent without one
├── training-state.safetensors      to go on after a kill
└── logs/                           of the trackers

What is told of a part comes from the model that is written, as analysis runs it.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from facevoice.corpora.pairs import Pair
from facevoice.corpora.splits import Split
from facevoice.errors import CorpusError, EvaluationError, WeightsError
from facevoice.evaluation.metrics import best_threshold
from facevoice.evaluation.predictions import (
    DataFile,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
    write_run,
)
from facevoice.files import file_sha256
from facevoice.interpret import measure_curve
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
from facevoice.models.fusion import FusionNetwork, count_parameters
from facevoice.models.heads import Model, Posteriors, temper
from facevoice.models.model import CheckpointModel
from facevoice.records import (
    NUM_EMOTIONS,
    VERSION,
    DecisionCurve,
    DoubleArray,
)
from facevoice.settings import build_settings, plain_settings
from facevoice.training.config import SMALL_WARNING, TrainConfig, small
from facevoice.training.data import (
    PARTS,
    UNKNOWN,
    FeatureTable,
    Items,
    TrainingData,
    make_targets,
    pairs_by_corpus,
    prepare_data,
    split_digest,
)
from facevoice.training.finetune import FinetuneNetwork, Tuning, save_tuned, start_finetune
from facevoice.training.loop import (
    FeatureInputs,
    Progress,
    build_network,
    compute_logits,
    conflict_aurocs,
    create_accelerator,
    emotion_uars,
    fit,
    put_weights,
)
from facevoice.training.losses import (
    HeadTargets,
    TargetTable,
    conflict_loss,
    emotion_loss,
    restrict_logits,
)

if TYPE_CHECKING:
    from facevoice.corpora.cremad import Votes

CHECKPOINT: Final = "checkpoint"
PREDICTIONS: Final = "predictions"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the features come from: the name of the manifest or feature file, and its SHA-256."""

    name: str
    sha256: str
    command: str

    @classmethod
    def of(cls, path: Path, command: str) -> Source:
        """Hash a file."""
        return cls(path.name, file_sha256(path), command)


def train(
    config: TrainConfig,
    table: FeatureTable,
    out: Path,
    source: Source,
    *,
    votes: Votes | None = None,
    split: Split | None = None,
    tuning: Tuning | None = None,
    cpu: bool = False,
    fresh: bool = False,
    keep: tuple[str, ...] = (),
) -> CheckpointInfo:
    """Train on a feature table and write everything to `out`; run again, it goes on.

    Args:
        config, table, out: settings, features and the folder to write; source: of the table.
        votes: for targets that people perceived; split: in place of one by the settings.
        tuning: backbones and windows, where [finetune] trains the backbones themselves.
        cpu: compute on the CPU even if there is a GPU; fresh: don't go on from a saved state.
        keep: settings that small mode leaves as they are, such as train.batch_size.

    Returns:
        What the checkpoint says of itself, figures among it.

    Raises:
        CorpusError: the data don't suit the settings.
        ConfigError: a setting can't be had on this machine.
        WeightsError: `out` holds the state of another run.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator = create_accelerator(config.run, out / "logs", cpu=cpu)
    is_slow = config.finetune.is_on and accelerator.device.type == "cpu"
    if config.run.size == "small" or (config.run.size == "auto" and is_slow):
        _LOG.warning(SMALL_WARNING)
        config = small(config, keep)
    data = prepare_data(table, config, votes=votes, split=split)
    config, fusion = build_network(config, data)
    network: FusionNetwork | FinetuneNetwork = fusion
    inputs: FeatureInputs
    if config.finetune.is_on:
        with accelerator.main_process_first():
            network, inputs = start_finetune(config, data, fusion, tuning, accelerator.device)
    else:
        inputs = FeatureInputs(
            data.table, config.network.modalities, accelerator.device, fusion.standardized_tokens
        )
    identity = _identity(config, data)
    weights, progress = fit(
        config, data, network, inputs, accelerator, out, identity=identity, fresh=fresh
    )
    info = _describe_run(config, data, source, progress, count_parameters(network))
    if accelerator.is_main_process:
        put_weights(network, weights)
        info = _finish(out, config, data, network, inputs, info, source.command)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return info


def _identity(config: TrainConfig, data: TrainingData) -> dict[str, str]:
    """What a saved state belongs to. How often it is saved or logged changes nothing."""
    quiet = replace(config.run, save_every_steps=1, log_every_steps=1, trackers=())
    settings = replace(config, run=quiet)
    return {
        "settings": hashlib.sha256(settings.to_toml().encode()).hexdigest(),
        "data": data.digest(),
        "torch": torch.__version__,
    }


def _finish(
    out: Path,
    config: TrainConfig,
    data: TrainingData,
    network: FusionNetwork | FinetuneNetwork,
    inputs: Any,
    info: CheckpointInfo,
    command: str,
) -> CheckpointInfo:
    """From fitted weights to checkpoint and predictions."""
    if isinstance(network, FinetuneNetwork):
        fusion, data = network.fusion, replace(data, table=network.finish(data, inputs))
    else:
        fusion = network
    fusion.cpu()
    calibration, curve = calibrate(fusion, data, config)
    info = replace(info, calibration=calibration, curve=curve)
    model = CheckpointModel(out.name, Checkpoint(fusion.eval(), info, ""))
    held = PartPredictions(model, data, "validation")
    tested = PartPredictions(model, data, "test") if data.split.test else None
    figures = [f for part in (held, tested) if part for f in _figures(part, data)]
    info = replace(info, training=replace(info.training, figures=tuple(figures)))
    about = info
    if isinstance(network, FinetuneNetwork):
        about = save_tuned(out / CHECKPOINT, network, info)
    else:
        save_checkpoint(out / CHECKPOINT, fusion.state_dict(), info, overwrite=True)
    if tested is not None:
        _write_predictions(out / PREDICTIONS, tested, held, data, about, command)
    return info


def _describe_run(
    config: TrainConfig,
    data: TrainingData,
    source: Source,
    progress: Progress,
    num_parameters: int,
) -> CheckpointInfo:
    """What the checkpoint says of itself, before it is calibrated."""
    backbones = {}
    for modality in config.network.modalities:
        array = data.table.arrays[modality]
        known = array.training_corpora
        backbones[modality] = UsedEmbeddings(
            array.backbone, array.dim, known or (), corpora_known=known is not None
        )
    return CheckpointInfo(
        network=config.network,
        settings=plain_settings(config),
        calibration=Calibration(),
        curve=None,
        backbones=backbones,
        data=_data_record(config, data, source),
        training=TrainingRecord(
            best_epoch=progress.best_epoch,
            num_steps=progress.total_steps,
            num_parameters=num_parameters,
            facevoice_version=VERSION,
            torch_version=str(torch.__version__),
        ),
        notes=(SMALL_WARNING,) if config.run.size == "small" else (),
    )


def _data_record(config: TrainConfig, data: TrainingData, source: Source) -> DataRecord:
    parts: dict[str, Any] = {}
    for part in PARTS:
        rows = data.rows(part)
        num_pairs = sum(map(len, data.pairs[part].values()))
        speakers = tuple(np.unique(data.targets.speakers[rows]).tolist())
        parts[part] = PartRecord(len(rows), num_pairs, speakers)
    targets = plain_settings(config.targets)
    return DataRecord(
        corpora=tuple(np.unique(data.targets.corpora).tolist()),
        source=source.name,
        source_sha256=source.sha256,
        features_sha256=data.table.digest(),
        split=data.split.name,
        split_sha256=split_digest(data.split),
        **parts,
        **{f"{head}_target": kind for head, kind in targets.items()},
    )


# Calibration: temperatures, and what calls are worth, measured on validation speakers only.


def calibrate(
    network: nn.Module, data: TrainingData, config: TrainConfig
) -> tuple[Calibration, DecisionCurve | None]:
    """The temperatures at which validation is likeliest, and what calls of conflict are worth.

    A head that the network lacks, or that nobody labelled there, keeps 1. Nothing is called without
    a conflict head or without pairs.
    """
    inputs = FeatureInputs(data.table, config.network.modalities, torch.device("cpu"))
    clips = data.originals("validation")
    logits = compute_logits(network, inputs, clips)
    table = TargetTable(data.table, data.targets, data.rows("train"), config.loss)
    targets = table.gather(clips)
    found = {
        head: _emotion_temperature(getattr(logits, head), targets[head])
        for head in ("emotion", "face", "voice")
    }
    pairs, items = _pairs_of(data, "validation")
    paired = compute_logits(network, inputs, items) if pairs else logits
    judged = torch.from_numpy((items if pairs else clips).conflict)
    known = judged != UNKNOWN
    if paired.conflict is not None and known.any():
        said, truth = paired.conflict[known], judged[known]
        found["conflict"] = _best_temperature(
            lambda temperature: float(conflict_loss(said / temperature, truth).mean())
        )
    calibration = Calibration(**found)
    if not pairs or paired.face is None or paired.voice is None or paired.conflict is None:
        return calibration, None
    are_conflicts = np.array([pair.is_conflict for pair in pairs])
    if len(np.unique(are_conflicts)) < 2:
        return calibration, DecisionCurve()
    face = temper(paired.face.numpy(), calibration.face)
    voice = temper(paired.voice.numpy(), calibration.voice)
    conflict = temper(paired.conflict.numpy(), calibration.conflict)[:, 1]
    told = [Posteriors(f, v, None, float(c)) for f, v, c in zip(face, voice, conflict, strict=True)]
    return calibration, measure_curve(told, are_conflicts)


def _emotion_temperature(logits: Tensor | None, targets: HeadTargets) -> float:
    wanted, weight, emotions = targets
    if logits is None or float(weight.sum()) == 0:
        return 1.0

    def mean_loss(temperature: float) -> float:
        loss = emotion_loss(logits / temperature, wanted, emotions, 0.0)
        return float((loss * weight).sum() / weight.sum())

    return _best_temperature(mean_loss)


def _best_temperature(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    bounds = (math.log(0.05), math.log(20.0))
    found = minimize_scalar(lambda log: loss(math.exp(log)), bounds=bounds, method="bounded")
    return math.exp(float(found.x))


# What a model says of a part of the split: figures, and a run for `evaluate`.


class PartPredictions:
    """What a model says of a part: posteriors of its clips, and of its pairs if there are any.

    clips, of_pairs: fused, face, voice (n, 8) and conflict (n,); rows of NaN where it says nothing.
    """

    def __init__(self, model: Model, data: TrainingData, part: str) -> None:
        self.part = part
        self.items = data.originals(part)
        self.clips = posteriors(model, data.table, self.items)
        self.pairs, self.pair_items = _pairs_of(data, part)
        self.of_pairs = posteriors(model, data.table, self.pair_items)
        self.tells_conflict = not np.isnan(self.of_pairs["conflict"]).all()


def _pairs_of(data: TrainingData, part: str) -> tuple[tuple[Pair, ...], Items]:
    items = data.originals(part).take(np.zeros(0, dtype=np.int64))
    for found in data.pair_items(part):
        items += found
    return tuple(pair for pairs in data.pairs[part].values() for pair in pairs), items


def posteriors(model: Model, table: FeatureTable, items: Items) -> dict[str, DoubleArray]:
    """By head (fused, face, voice, conflict) what the model says of items; NaN where nothing."""
    said = model.predict(
        [
            {
                modality: array.tokens[row, : array.lengths[row]].astype(np.float32)
                for modality, array in table.arrays.items()
                if array.lengths[row := items.side(modality)[0][place]]
            }
            for place in range(len(items))
        ]
    )
    nothing: dict[str, Any] = dict.fromkeys(
        ("fused", "face", "voice"), np.full(NUM_EMOTIONS, np.nan)
    )
    nothing["conflict"] = np.nan
    return {
        head: np.array([empty if (p := getattr(row, head)) is None else p for row in said])
        for head, empty in nothing.items()
    }


def _figures(found: PartPredictions, data: TrainingData) -> Iterator[Figure]:
    """UAR of each emotion head and AUROC of conflict, by corpus."""
    for head, column in (("emotion", "fused"), ("face", "face"), ("voice", "voice")):
        with np.errstate(divide="ignore"):
            said = np.log(found.clips[column])
        for corpus, value in emotion_uars(head, said, found.items.face_rows, data.targets):
            yield Figure(found.part, corpus, f"{head}_uar", value)
    if found.tells_conflict:
        scores = found.of_pairs["conflict"]
        for corpus, value in conflict_aurocs(scores, found.pair_items, data.targets):
            yield Figure(found.part, corpus, "conflict_auroc", value)


def predict_table(
    model: CheckpointModel, table: FeatureTable, folder: Path, source: Source
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
    info = model.info
    config = build_settings(TrainConfig, info.settings)
    _check_backbones(info, table)
    seen = {*info.data.train.speakers, *info.data.validation.speakers}
    fresh = [clip.clip_id for clip in table.clips if clip.speaker_key not in seen]
    if len(fresh) < len(table):
        told = "%d of %d clips are left out: the checkpoint was trained or chosen on their speakers"
        _LOG.warning(told, len(table) - len(fresh), len(table))
    if not fresh:
        raise CorpusError("every speaker was trained or chosen on, so there is nothing to test")
    table = table.take(fresh)
    pairs = pairs_by_corpus(table, fresh, config.pairs.seed) if info.network.is_multimodal else {}
    data = TrainingData(
        table=table,
        targets=make_targets(table.clips, plain_settings(config.targets)),
        split=Split("unseen speakers", (), (), tuple(fresh)),
        pairs={"test": pairs},
    )
    tested = PartPredictions(model, data, "test")
    _write_predictions(folder, tested, None, data, info, source.command)
    return len(table), len(tested.pairs)


def _check_backbones(info: CheckpointInfo, table: FeatureTable) -> None:
    for modality, used in info.backbones.items():
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


def _write_predictions(
    folder: Path,
    tested: PartPredictions,
    held: PartPredictions | None,
    data: TrainingData,
    info: CheckpointInfo,
    command: str,
) -> None:
    """Write a part's predictions as a run, thresholds fixed on `held`; replaces an earlier run."""
    clips = [data.table.clips[row] for row in tested.items.face_rows]
    emotions = emotion_predictions(
        clips,
        fold=[data.split.name] * len(clips),
        **{column: tested.clips[column] for column in ("fused", "face", "voice")},
    )
    conflicts = None
    if tested.tells_conflict:
        pairs, said, rows = tested.pairs, tested.of_pairs, tested.pair_items
        threshold = np.nan
        if held is not None and held.tells_conflict:
            with suppress(EvaluationError):  # one class only: no threshold can be fixed
                truth = held.pair_items.conflict > 0.5
                threshold = best_threshold(truth, held.of_pairs["conflict"])
        possible = data.targets.emotions
        with np.errstate(divide="ignore"):
            face = restrict_logits(np.log(said["face"]), possible[rows.face_rows])
            voice = restrict_logits(np.log(said["voice"]), possible[rows.voice_rows])
        conflicts = conflict_predictions(
            pairs,
            {clip.clip_id: clip for clip in data.table.clips},
            said["conflict"],
            fold=[data.split.name] * len(pairs),
            baseline_differs=face.argmax(axis=1) != voice.argmax(axis=1),
            threshold=np.full(len(pairs), threshold),
            clarity=np.exp(np.minimum(face.max(axis=1), voice.max(axis=1))),
        )
    about = _run_info(folder.parent.name, info, command, has_pairs=conflicts is not None)
    write_run(folder, about, emotions, conflicts, overwrite=True)


def _run_info(name: str, info: CheckpointInfo, command: str, *, has_pairs: bool) -> RunInfo:
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
        emotion_target=Target.PERCEIVED_BOTH if perceived else Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT if has_pairs else None,
        score_is_probability=True,
        backbones=tuple(
            UsedBackbone(used.backbone, used.training_corpora if used.corpora_known else None)
            for used in info.backbones.values()
        ),
        data=(DataFile(info.data.source, info.data.source_sha256),),
        notes=info.notes,
    )
