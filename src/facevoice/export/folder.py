"""Writing an exported model: backbones, fusion, what the checkpoint says, and how near it is.

Needs torch and onnx (extra `train`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from facevoice.assembly import build_backbones, find_checkpoint
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.export.parity import compare_posteriors, feature_sets, refuse_far
from facevoice.export.samples import Rows, Samples
from facevoice.features.backbone import Backbone, create_backbone
from facevoice.features.export import export_backbone
from facevoice.features.onnx_backbone import FP32_FILE, INT8_FILE, ExportRecord
from facevoice.features.stacked import StackedBackbone, split_name
from facevoice.labels import Modality
from facevoice.models.export_folder import (
    FUSION_FILE,
    ExportIndex,
    Parity,
    hash_files,
    is_export,
    write_index,
    write_info,
)
from facevoice.models.family import CheckpointModel
from facevoice.models.onnx_fusion import OnnxFusion
from facevoice.types import FeatureSet
from facevoice.version import VERSION
from facevoice.whole_folder import whole_folder

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
        backbones: see `facevoice.assembly.assemble`.
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
        from facevoice.models.export import export_fusion

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
