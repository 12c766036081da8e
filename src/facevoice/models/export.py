"""The fusion network as ONNX, so that it runs without torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.backbones.export import export_backbone
from facevoice.backbones.onnx import FP32_FILE, INT8_FILE, ExportRecord
from facevoice.backbones.spec import Backbone, StackedBackbone, create_backbone, split_name
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.files import whole_folder
from facevoice.interpret import Evidence, choose_outcome, weigh_evidence
from facevoice.media.open import probe
from facevoice.models.checkpoint import Checkpoint
from facevoice.models.heads import Posteriors
from facevoice.models.model import (
    FUSION_FILE,
    CheckpointModel,
    ExportIndex,
    Model,
    OnnxFusion,
    Parity,
    assemble,
    build_backbones,
    find_checkpoint,
    hash_files,
    is_export,
    read_export,
    write_index,
    write_info,
)
from facevoice.people.detect import create_detector
from facevoice.perceive import read_windows
from facevoice.records import (
    SAMPLE_RATE_HZ,
    VERSION,
    DoubleArray,
    FeatureSet,
    FloatArray,
    Modality,
    Window,
)
from facevoice.settings import AnalyzerConfig

_OPSET: Final = 17


def export_fusion(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    """Write the network of a checkpoint to `path` as ONNX, fp32.

    Inputs are `video` and `audio`, float32 (batch, tokens, D), and `video_mask`, `audio_mask`, bool
    (batch, tokens), those of the network's modalities. Outputs are the logits `emotion`, `face`,
    `voice` (batch, 8) and `conflict` (batch, 2), those that it has; temperatures stay in
    calibration.json.

    Returns:
        The names of the outputs, in order.

    Raises:
        MissingExtraError: torch or onnx is not installed.
    """
    try:
        import onnx
        import torch
    except ImportError as error:
        raise MissingExtraError("exporting to ONNX", "train") from error
    from facevoice.models.fusion import HeadsOf

    config = checkpoint.info.network
    inputs: dict[str, Any] = {}
    axes: dict[str, dict[int, str]] = {}
    for modality in config.modalities:
        tokens = 3 if modality != "audio" or not config.audio_layers else config.audio_layers
        for name, example in (
            (modality.value, torch.zeros(2, tokens, config.dim(modality))),
            (f"{modality.value}_mask", torch.ones(2, tokens, dtype=torch.bool)),
        ):
            inputs[name] = example
            axes[name] = {0: "batch", 1: f"{modality.value}_tokens"}
    with torch.inference_mode():
        logits = checkpoint.network(**inputs)
    outputs = tuple(name for name, head in logits._asdict().items() if head is not None)
    axes |= {name: {0: "batch"} for name in outputs}
    part = path.with_name(f"{path.name}.part")
    with warnings.catch_warnings():
        # The newer exporter needs one more package and gives the same graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            HeadsOf(checkpoint.network, tuple(inputs), outputs).eval(),
            tuple(inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load(part)
    onnx.checker.check_model(model)
    for key, value in (("checkpoint_sha256", checkpoint.sha256), ("fusion", config.fusion)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, part)
    part.replace(path)
    return outputs


# Windows on which an exported model is held against the one in torch.

NUM_WINDOWS: Final = 4
"""As many windows are made, or taken from clips all together."""
_LENGTH_S: Final = 4.0
_NUM_CROPS: Final = 20
_CELLS: Final = 6

Rows = list[FloatArray | None]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Windows, which of their channels are worth scoring, and in words where they come from."""

    windows: tuple[Window, ...]
    evidence: tuple[Evidence, ...]
    origin: str

    def embed(self, modality: Modality, backbone: Backbone) -> Rows:
        """Embeddings of a channel, None where a window has too little of it."""
        return [
            backbone.embed([window])[0] if modality in evidence.modalities else None
            for window, evidence in zip(self.windows, self.evidence, strict=True)
        ]


def read_samples(paths: Sequence[Path], config: AnalyzerConfig | None = None) -> Samples:
    """The first windows of clips with a face and speech in them, `NUM_WINDOWS` in all.

    Raises:
        MediaError: a clip can't be read.
        ConfigError: no clip has such a window.
    """
    config = config or AnalyzerConfig()
    share = -(-NUM_WINDOWS // len(paths))
    found = [pair for path in paths for pair in islice(_usable(path, config), share)]
    if not found:
        names = ", ".join(path.name for path in paths)
        raise ConfigError(f"no window of {names} shows a face and holds speech; name other clips")
    windows, evidence = zip(*found, strict=True)
    return Samples(windows, evidence, ", ".join(path.name for path in paths))


def make_samples(crop_px: int = AnalyzerConfig().faces.crop_px) -> Samples:
    """Made windows: blurred noise to look at, and buzzes of rising pitch to hear.

    They exercise the networks, and say nothing of emotions.
    """
    windows = tuple(_made_window(seed, crop_px) for seed in range(NUM_WINDOWS))
    evidence = tuple(weigh_evidence(w, AnalyzerConfig().decision) for w in windows)
    return Samples(windows, evidence, "synthesised")


def _usable(path: Path, config: AnalyzerConfig) -> Iterator[tuple[Window, Evidence]]:
    faces = config.faces
    detector = create_detector(
        faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
    )
    for window in read_windows(probe(path), detector, config):
        evidence = weigh_evidence(window, config.decision)
        if len(evidence.modalities) == len(Modality):
            yield window, evidence


def _made_window(seed: int, crop_px: int) -> Window:
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 255, (_NUM_CROPS, _CELLS, _CELLS, 3))
    place = np.arange(crop_px) * _CELLS // crop_px
    faces = cells[:, place][:, :, place].astype(np.uint8)
    times_s = np.arange(round(_LENGTH_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = 100 + 40 * seed + 20 * times_s
    buzz = np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ) * rng.uniform(0.1, 0.4)
    samples = (buzz + rng.normal(0, 0.02, len(times_s))).astype(np.float32)
    return Window(
        start_s=0.0,
        end_s=_LENGTH_S,
        faces=faces,
        samples=samples,
        face_coverage=1.0,
        speech_coverage=1.0,
        num_tracks=1,
    )


# How far an exported model's answers are from those of the checkpoint in torch.

MAX_DIFFERENCE: Final = 1e-3
"""An fp32 export whose probabilities differ from torch's by more is refused."""


def compare_posteriors(
    theirs: Sequence[Posteriors],
    ours: Sequence[Posteriors],
    model: Model,
    precision: str,
    samples: Samples,
) -> Parity:
    """Differences over all probabilities of all windows; theirs is torch's, ours the export's."""
    pairs = list(zip(theirs, ours, strict=True))
    gaps = np.concatenate([np.abs(_numbers(a) - _numbers(b)) for a, b in pairs])
    changed = sum(
        choose_outcome(a, model.thresholds)[0] is not choose_outcome(b, model.thresholds)[0]
        for a, b in pairs
    )
    return Parity(
        precision=precision,
        windows=samples.origin,
        num_windows=len(pairs),
        max_difference=float(gaps.max()),
        mean_difference=float(gaps.mean()),
        num_outcomes_changed=changed,
    )


def refuse_far(where: Path, parity: Parity) -> None:
    """Make sure that an fp32 export says what torch says.

    Raises:
        WeightsError: it differs by more than `MAX_DIFFERENCE`, or is not finite.
    """
    if parity.precision == "fp32" and not parity.max_difference <= MAX_DIFFERENCE:
        raise WeightsError(
            f"{where}: probabilities of the fp32 export differ from torch's by up to "
            f"{parity.max_difference:.1e} ({parity.windows}), more than {MAX_DIFFERENCE:g}; it is "
            "refused. Versions of torch, onnx and onnxruntime may not suit each other"
        )


def feature_sets(samples: Samples, rows: Mapping[Modality, Rows]) -> list[FeatureSet]:
    """Embeddings by channel, put together window by window."""
    sets = []
    for place, window in enumerate(samples.windows):
        embeddings = {m: found[place] for m, found in rows.items()}
        there = {m: e for m, e in embeddings.items() if e is not None}
        sets.append(FeatureSet(window.start_s, window.end_s, there, {}))
    return sets


def check_export(
    checkpoint: Path,
    exported: Path,
    samples: Samples,
    *,
    backbones: Sequence[str] = (),
    num_threads: int = 1,
) -> Parity:
    """Hold an exported folder against its checkpoint: hashes, and probabilities on windows.

    Raises:
        WeightsError: a file is damaged, it was made from another checkpoint, or it is fp32 and
            differs by more than `MAX_DIFFERENCE`.
        ConfigError, MissingExtraError: see `facevoice.models.model.assemble`.
    """
    folder = find_checkpoint(checkpoint)
    model = CheckpointModel.load(folder)
    index = read_export(exported)[0]
    if index.checkpoint_sha256 != model.heads.sha256:
        raise WeightsError(
            f"{exported}: was exported from {index.checkpoint} ({index.checkpoint_sha256[:12]}), "
            f"not from {folder} ({model.heads.sha256[:12]})"
        )
    built = build_backbones(folder, model.info, backbones, num_threads=num_threads)
    rows = {modality: samples.embed(modality, found[1]) for modality, found in built.items()}
    theirs = model.predict(feature_sets(samples, rows))
    del built  # before the others are loaded
    ours = assemble(exported, num_threads=num_threads)
    rows = {modality: samples.embed(modality, found) for modality, found in ours.backbones.items()}
    said = ours.model.predict(feature_sets(samples, rows))
    parity = compare_posteriors(theirs, said, model, index.precision, samples)
    refuse_far(exported, parity)
    return parity


def _numbers(posteriors: Posteriors) -> DoubleArray:
    """All probabilities of a window, one after the other."""
    parts = (posteriors.face, posteriors.voice, posteriors.fused)
    known = [part for part in parts if part is not None]
    if posteriors.conflict is not None:
        known.append(np.array([posteriors.conflict]))
    return np.concatenate(known)


# Writing an exported model: backbones, fusion, what the checkpoint says, and how near it is.
#
# Needs torch and onnx (extra `train`).

StepCallback = Callable[[str], None]
_FILES: Final = {"fp32": FP32_FILE, "int8": INT8_FILE}
_TORCH: Final = "torch"


@dataclass(slots=True)
class _Channel:
    """A channel's embeddings of the windows, by runtime (torch, fp32, int8).

    files: by precision, the exported network; builtin: else the backbone that the package brings.
    """

    rows: dict[str, Rows] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    builtin: str = ""


def export_model(
    checkpoint: Path,
    out: Path,
    samples: Samples,
    *,
    backbones: Sequence[str] = (),
    int8: bool = False,
    overwrite: bool = False,
    num_threads: int = 1,
    on_step: StepCallback | None = None,
) -> ExportIndex:
    """Write a whole model, whole or not at all, and measure how far it is from torch.

    Args:
        checkpoint: a checkpoint, or the output of a training run that holds one.
        out: folder to write.
        samples: what torch and the export are compared on.
        backbones: see `facevoice.models.model.assemble`.
        int8: keep backbones with weights in eight bits, in place of float32.
        overwrite: replace an export that lies in `out`.
        num_threads: threads that each network may use.
        on_step: told what is done next.

    Raises:
        WeightsError: the checkpoint or a backbone is not right, `out` is taken, or the fp32 export
            differs from torch by more than `MAX_DIFFERENCE`.
        ConfigError: the folder is an export, or there is nothing to put into eight bits.
        MissingExtraError: torch or onnx is not installed.
    """
    if find_spec("torch") is None or find_spec("onnx") is None:
        raise MissingExtraError("exporting to ONNX", "train")
    folder = find_checkpoint(checkpoint)
    _check_paths(folder, out, overwrite)
    model = CheckpointModel.load(folder)
    with whole_folder(out) as part:
        work = _Work(part, model, samples, int8, num_threads, on_step or (lambda _step: None))
        built = build_backbones(folder, model.info, backbones, num_threads=num_threads)
        channels = {m: work.channel(m, *built.pop(m)) for m in tuple(built)}
        if int8 and not any(channel.files for channel in channels.values()):
            raise ConfigError(
                f"{folder}: its backbones come with facevoice, as they are; leave --int8 out"
            )
        return work.finish(channels)


@dataclass(frozen=True, slots=True)
class _Work:
    """One export under way, in a folder that gets its name at the end."""

    part: Path
    model: CheckpointModel
    samples: Samples
    int8: bool
    num_threads: int
    tell: StepCallback

    @property
    def precisions(self) -> tuple[str, ...]:
        """What is measured; the last of them is kept."""
        return ("fp32", "int8") if self.int8 else ("fp32",)

    def channel(self, modality: Modality, source: str, backbone: Backbone) -> _Channel:
        """Embed the windows in torch, export the backbone, and embed them again without torch."""
        self.tell(f"{source}: torch")
        plain, rows = split_name(source)
        made = _Channel()
        made.rows[_TORCH] = self.samples.embed(modality, backbone)
        if not backbone.spec.family:  # it comes with facevoice
            made.builtin = plain
            for precision in self.precisions:
                made.rows[precision] = made.rows[_TORCH]
            return made
        self.tell(f"{source}: exporting")
        base = backbone.base if isinstance(backbone, StackedBackbone) else backbone
        export_backbone(base, self.part / modality.value, int8=self.int8)
        del base, backbone
        for precision in self.precisions:
            self.tell(f"{source}: ONNX {precision}")
            path = self.part / modality.value / _FILES[precision]
            name = str(path) if rows is None else f"{path}+{rows}"
            exported = create_backbone(name, num_threads=self.num_threads)
            made.rows[precision] = self.samples.embed(modality, exported)
            made.files[precision] = path
        return made

    def finish(self, channels: dict[Modality, _Channel]) -> ExportIndex:
        """Fusion, parity, and all that stands beside the networks."""

        self.tell("fusion and heads")
        fusion_path = self.part / FUSION_FILE
        export_fusion(self.model.checkpoint, fusion_path)
        write_info(self.part, self.model.info)
        parity = self._parity(channels)
        if self.int8:
            for channel in channels.values():
                if channel.files:
                    _keep_int8(channel.files["fp32"].parent)
        kept = self.precisions[-1]
        named = {
            m: channel.files[kept].relative_to(self.part).as_posix()
            if channel.files
            else channel.builtin
            for m, channel in channels.items()
        }
        index = ExportIndex(
            precision=kept,
            checkpoint=self.model.name,
            checkpoint_sha256=self.model.heads.sha256,
            facevoice_version=VERSION,
            backbones=named,
            parity=parity,
            sha256s=hash_files(self.part),
        )
        write_index(self.part, index, self.model.info)
        return index

    def _parity(self, channels: dict[Modality, _Channel]) -> tuple[Parity, ...]:
        sums = hash_files(self.part)
        fusion = OnnxFusion(
            self.part / FUSION_FILE, sums[FUSION_FILE], self.model.name, self.model.info
        )
        theirs = self.model.predict(self._features(channels, _TORCH))
        found = []
        for precision in self.precisions:
            ours = fusion.predict(self._features(channels, precision))
            parity = compare_posteriors(theirs, ours, self.model, precision, self.samples)
            refuse_far(self.part, parity)
            found.append(parity)
        return tuple(found)

    def _features(self, channels: dict[Modality, _Channel], runtime: str) -> list[FeatureSet]:
        return feature_sets(self.samples, {m: c.rows[runtime] for m, c in channels.items()})


def _keep_int8(folder: Path) -> None:
    """Leave the float32 network out of an exported backbone."""
    record = ExportRecord.read(folder)
    (folder / FP32_FILE).unlink()
    kept = replace(
        record,
        sha256s={INT8_FILE: record.sha256s[INT8_FILE]},
        precisions={INT8_FILE: record.precisions[INT8_FILE]},
    )
    kept.write(folder)


def _check_paths(folder: Path, out: Path, overwrite: bool) -> None:
    if is_export(folder):
        raise ConfigError(f"{folder}: is exported already; name the checkpoint")
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not is_export(out)):
        raise WeightsError(f"{out}: holds something else than an export; name another folder")
    if is_export(out) and not overwrite:
        raise WeightsError(f"{out}: holds an export already; name another, or overwrite it")
