"""A checkpoint with its backbones as one folder of ONNX files that needs no torch.

What is written is held against torch on a few windows; the folder says how far it is off. Needs
torch and onnx (extra `train`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.backbones.export import export_backbone, write_onnx
from facevoice.backbones.onnx import FP32_FILE, INT8_FILE, ExportRecord
from facevoice.backbones.registry import split_name
from facevoice.backbones.spec import Backbone, BackboneSpec
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.files import file_sha256, whole_folder
from facevoice.interpret import judge
from facevoice.models.checkpoint import (
    CARD_FILE,
    Checkpoint,
    check_target,
    describe,
    format_info,
    json_bytes,
)
from facevoice.models.heads import Model
from facevoice.models.model import (
    EXPORT_FORMAT,
    EXPORT_INDEX,
    FUSION_FILE,
    CheckpointModel,
    ExportIndex,
    Parity,
    assemble,
    build_backbones,
    find_checkpoint,
    is_export,
    read_export,
)
from facevoice.perceive import Perceiver
from facevoice.records import (
    SAMPLE_RATE_HZ,
    VERSION,
    DoubleArray,
    FaceView,
    FloatArray,
    Modality,
    ModelId,
    Prediction,
    Window,
    WindowView,
)
from facevoice.settings import AnalyzerConfig

NUM_WINDOWS: Final = 4
"""As many windows are made, or taken from clips all together."""
MAX_DIFFERENCE: Final = 1e-3
"""An fp32 export whose probabilities differ from torch's by more is refused."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Windows with a face and speech, and in words where they come from."""

    windows: tuple[Window, ...]
    origin: str


def read_samples(paths: Sequence[Path]) -> Samples:
    """The first windows of clips with a face and speech in them, `NUM_WINDOWS` in all.

    Raises:
        MediaError: a clip can't be read.
        ConfigError: no clip has such a window.
    """
    names = ", ".join(path.name for path in paths)
    share = -(-NUM_WINDOWS // len(paths))
    windows = [window for path in paths for window in islice(_usable(path), share)]
    if not windows:
        raise ConfigError(f"no window of {names} shows a face and holds speech; name other clips")
    return Samples(tuple(windows), names)


def make_samples(crop_px: int = AnalyzerConfig().faces.crop_px) -> Samples:
    """Made windows: blurred noise to look at, and buzzes of rising pitch to hear.

    They exercise the networks, and say nothing of emotions.
    """
    windows = tuple(_made_window(seed, crop_px) for seed in range(NUM_WINDOWS))
    return Samples(windows, "synthesised")


def export_model(
    checkpoint: Path,
    out: Path,
    samples: Samples,
    *,
    backbones: Sequence[str] = (),
    int8: bool = False,
    overwrite: bool = False,
    num_threads: int = 1,
    on_step: Callable[[str], None] = lambda _step: None,
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
        WeightsError: the checkpoint or a backbone is not right, or the fp32 export
            differs from torch by more than `MAX_DIFFERENCE`.
        ConfigError: `out` is taken, the folder is an export, or nothing goes into eight bits.
        MissingExtraError: torch or onnx is not installed.
    """
    if find_spec("torch") is None or find_spec("onnx") is None:
        raise MissingExtraError("exporting to ONNX", "train")
    folder = find_checkpoint(checkpoint)
    if is_export(folder):
        raise ConfigError(f"{folder}: is exported already; name the checkpoint")
    check_target(out, is_export(out), "an export", overwrite=overwrite)
    model = CheckpointModel.load(folder, num_threads=num_threads)
    with whole_folder(out) as part:
        built = build_backbones(folder, model.info, backbones, num_threads=num_threads)
        if int8 and not any(backbone.spec.family for _, backbone in built.values()):
            problem = "its backbones come with facevoice, as they are; leave --int8 out"
            raise ConfigError(f"{folder}: {problem}")
        rows, named = dict[Modality, FloatArray](), dict[Modality, str]()
        for modality in tuple(built):  # one after the other, so that both are never in memory
            source, backbone = built.pop(modality)
            on_step(f"{source}: torch")
            rows[modality] = _embed(samples, backbone)
            named[modality] = split_name(source)[0]
            if backbone.spec.family:  # else it comes with facevoice
                on_step(f"{source}: exporting")
                export_backbone(getattr(backbone, "base", backbone), part / modality, int8=int8)
                named[modality] = f"{modality}/{FP32_FILE}"
        on_step("fusion and heads")
        export_fusion(model.checkpoint, part / FUSION_FILE)
        for name, content in format_info(model.info).items():
            (part / name).write_bytes(content)
        expected = _judged(samples, model, rows)
        _write_index(part, model, named, ())
        on_step("ONNX fp32")
        parity: tuple[Parity, ...] = (_measure(part, "fp32", expected, samples, num_threads),)
        if int8:
            on_step("ONNX int8")
            named = _keep_int8(part, named)
            _write_index(part, model, named, parity)
            parity += (_measure(part, "int8", expected, samples, num_threads),)
        index = _write_index(part, model, named, parity)
        card = f"{describe(model.info)}\n{_card_section(index)}"
        (part / CARD_FILE).write_bytes(card.encode())
        return index


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
    index = read_export(exported)[0]
    folder = find_checkpoint(checkpoint)
    theirs = assemble(folder, backbones, num_threads=num_threads)
    sha256 = theirs.model.heads.sha256
    if index.checkpoint_sha256 != sha256:
        raise WeightsError(
            f"{exported}: was exported from {index.checkpoint} ({index.checkpoint_sha256[:12]}), "
            f"not from {folder} ({sha256[:12]})"
        )
    rows = {m: _embed(samples, backbone) for m, backbone in theirs.backbones.items()}
    expected = _judged(samples, theirs.model, rows)
    del theirs  # before the others are loaded
    return _measure(exported, index.precision, expected, samples, num_threads)


def export_fusion(checkpoint: Checkpoint, path: Path) -> None:
    """Write the network of a checkpoint to `path` as ONNX, fp32.

    Inputs are `video` and `audio`, float32 (batch, tokens, D), and `video_mask`, `audio_mask`, bool
    (batch, tokens), those of the network's modalities. Outputs are the logits `emotion`, `face`,
    `voice` (batch, 8) and `conflict` (batch, 2), those that it has; temperatures stay in
    calibration.json.
    """
    import onnx
    import torch

    network, config = checkpoint.network, checkpoint.info.network
    inputs: dict[str, torch.Tensor] = {}
    axes: dict[str, dict[int, str]] = {}
    for modality in config.modalities:
        is_mixed = modality is Modality.AUDIO and config.audio_layers
        tokens = config.audio_layers if is_mixed else 3
        for name, example in (
            (modality.value, torch.zeros(2, tokens, config.dim(modality))),
            (f"{modality.value}_mask", torch.ones(2, tokens, dtype=torch.bool)),
        ):
            inputs[name] = example
            axes[name] = {0: "batch", 1: f"{modality.value}_tokens"}
    heads = network(**inputs)._asdict()
    outputs = [name for name, said in heads.items() if said is not None]
    axes |= {name: {0: "batch"} for name in outputs}

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = network(**dict(zip(inputs, values, strict=True)))
        return tuple(getattr(logits, name) for name in outputs)

    write_onnx(network, run, inputs, outputs, axes, path)
    onnx.checker.check_model(path)


def _keep_int8(part: Path, named: Mapping[Modality, str]) -> dict[Modality, str]:
    """Leave the float32 networks, which were for measuring, out of the folder."""
    kept = dict(named)
    for modality, name in named.items():
        folder = (part / name).parent
        if folder != part:
            record = ExportRecord.read(folder)
            replace(record, files={INT8_FILE: record.files[INT8_FILE]}).write(folder)
            (folder / FP32_FILE).unlink()
            kept[modality] = f"{modality}/{INT8_FILE}"
    return kept


def _write_index(
    part: Path, model: CheckpointModel, named: Mapping[Modality, str], parity: tuple[Parity, ...]
) -> ExportIndex:
    """Write `export.json`, with the sums of all files but networks that it does not name."""
    known = {FUSION_FILE, *named.values()}
    files = {path.relative_to(part).as_posix(): path for path in part.rglob("*") if path.is_file()}
    files.pop(EXPORT_INDEX, None)
    is_int8 = any(name.endswith(INT8_FILE) for name in named.values())
    index = ExportIndex(
        precision="int8" if is_int8 else "fp32",
        checkpoint=model.name,
        checkpoint_sha256=model.heads.sha256,
        facevoice_version=VERSION,
        backbones=named,
        parity=parity,
        sha256s={
            name: file_sha256(path)
            for name, path in sorted(files.items())
            if path.suffix != ".onnx" or name in known
        },
    )
    document = {"format": EXPORT_FORMAT, **asdict(index)}
    document["sha256"] = document.pop("sha256s")
    (part / EXPORT_INDEX).write_bytes(json_bytes(document))
    return index


def _card_section(index: ExportIndex) -> str:
    lines = [
        "## Export",
        "",
        f"Exported from `{index.checkpoint}` ({index.checkpoint_sha256[:12]}); backbones in "
        f"{index.precision}, fusion and heads in fp32. Runs without torch: "
        "`facevoice analyze FILM --checkpoint DIR`.",
        "",
        "Differences of probabilities to the checkpoint in torch, measured when it was exported:",
        "",
        "| precision | windows | largest | mean | other outcomes |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.precision} | {p.num_windows} ({p.windows}) | {p.max_difference:.1e} | "
        f"{p.mean_difference:.1e} | {p.num_outcomes_changed} |"
        for p in index.parity
    ]
    return "\n".join(lines) + "\n"


def _measure(
    exported: Path,
    precision: str,
    expected: Sequence[Prediction],
    samples: Samples,
    num_threads: int,
) -> Parity:
    """How far an export is from torch, over all probabilities; WeightsError if fp32 is too far."""
    ours = assemble(exported, num_threads=num_threads)
    rows = {m: _embed(samples, backbone) for m, backbone in ours.backbones.items()}
    pairs = list(zip(expected, _judged(samples, ours.model, rows), strict=True))
    gaps = np.concatenate([np.abs(_numbers(a) - _numbers(b)) for a, b in pairs])
    parity = Parity(
        precision=precision,
        windows=samples.origin,
        num_windows=len(pairs),
        max_difference=float(gaps.max()),
        mean_difference=float(gaps.mean()),
        num_outcomes_changed=sum(a.outcome is not b.outcome for a, b in pairs),
    )
    if precision == "fp32" and not parity.max_difference <= MAX_DIFFERENCE:
        raise WeightsError(
            f"{exported}: probabilities of the fp32 export differ from torch's by up to "
            f"{parity.max_difference:.1e} ({parity.windows}), more than {MAX_DIFFERENCE:g}; it is "
            "refused. Versions of torch, onnx and onnxruntime may not suit each other"
        )
    return parity


def _numbers(said: Prediction) -> DoubleArray:
    """All probabilities of a window, one after the other."""
    channels = (said.face, said.voice, said.fused)
    known = [channel.probs for channel in channels if channel is not None]
    if said.conflict is not None:
        known.append(np.array([said.conflict]))
    return np.concatenate(known)


def _embed(samples: Samples, backbone: Backbone) -> FloatArray:
    """One by one, as an analysis does."""
    return np.concatenate([backbone.embed([window]) for window in samples.windows])


def _judged(
    samples: Samples, model: Model, rows: Mapping[Modality, FloatArray]
) -> list[Prediction]:
    """What a model says of the windows, as an analysis says it."""
    face, voice = rows.get(Modality.VIDEO), rows.get(Modality.AUDIO)
    views = [
        WindowView(
            window.start_s,
            window.end_s,
            () if face is None else (FaceView(0, window.face_coverage, face[place]),),
            None if voice is None else voice[place],
            window.speech_coverage,
        )
        for place, window in enumerate(samples.windows)
    ]
    return judge(views, None, model, AnalyzerConfig().decision)


class _Keeper:
    """A backbone that only keeps what it is shown."""

    model = ModelId("kept", "0" * 64)
    last: Window | None = None

    def __init__(self, modality: Modality) -> None:
        self.spec = BackboneSpec("kept", modality, 1, "", ())

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        self.last = windows[-1]
        return np.zeros((len(windows), 1), dtype=np.float32)


def _usable(path: Path) -> Iterator[Window]:
    config = AnalyzerConfig()
    least = config.decision
    keeper = _Keeper(Modality.VIDEO)
    keepers = {Modality.VIDEO: keeper, Modality.AUDIO: _Keeper(Modality.AUDIO)}
    perceiver = Perceiver(config, keepers)
    for view in perceiver.views(perceiver.probe(path)):
        is_seen = view.face is not None and view.face_coverage >= least.min_face_coverage
        speech_s = view.speech_coverage * view.duration_s
        is_heard = view.voice is not None and speech_s >= least.min_speech_s
        if keeper.last is not None and is_seen and is_heard:
            yield keeper.last


def _made_window(seed: int, crop_px: int) -> Window:
    length_s, num_crops, num_cells = 4.0, 20, 6
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 255, (num_crops, num_cells, num_cells, 3))
    place = np.arange(crop_px) * num_cells // crop_px
    faces = cells[:, place][:, :, place].astype(np.uint8)
    times_s = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = 100 + 40 * seed + 20 * times_s
    buzz = np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ) * rng.uniform(0.1, 0.4)
    samples = (buzz + rng.normal(0, 0.02, len(times_s))).astype(np.float32)
    return Window(0.0, length_s, faces, samples, 1.0, 1.0, num_faces=1)
