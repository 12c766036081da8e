"""A checkpoint's card: what it is, what it was trained on, its figures and its limits."""

from __future__ import annotations

from collections.abc import Iterator

from facevoice.models.checkpoint_info import CheckpointInfo
from facevoice.results import NOTICE


def describe(info: CheckpointInfo) -> str:
    """The card as Markdown with the hub's front matter; every figure is the checkpoint's own."""
    return "\n".join(_lines(info)) + "\n"


def _lines(info: CheckpointInfo) -> Iterator[str]:
    data, network = info.data, info.network
    yield from ("---", "library_name: facevoice", "pipeline_tag: video-classification")
    yield from ("tags:", "- emotion-recognition", "- audio-visual", "- congruence", "---", "")
    channels = " and ".join(network.modalities)
    yield f"# facevoice: emotion from {channels}, {network.fusion} fusion"
    yield ""
    yield (
        f"{info.training.num_parameters:,} trained parameters on frozen backbones. "
        "Load it with `facevoice.models.checkpoint_folder.load_checkpoint`."
    )
    yield from ("", "## Backbones", "", "| channel | backbone | width | corpora it saw |")
    yield "|---|---|---|---|"
    for modality, used in info.backbones.items():
        seen = ", ".join(used.training_corpora) or ("none" if used.corpora_known else "unknown")
        if used.training_corpora and not used.corpora_known:
            seen += ", and perhaps others"
        yield f"| {modality} | `{used.backbone}` | {used.dim} | {seen} |"
    if not all(used.corpora_known for used in info.backbones.values()):
        yield ""
        yield (
            "It is not known which corpora every backbone saw, so whether the figures below are "
            "contaminated by them is not known either."
        )
    yield from ("", "## Data", "")
    yield f"{', '.join(data.corpora)}; split: {data.split}; speakers never cross parts."
    yield from ("", "| part | speakers | clips | pairs |", "|---|---|---|---|")
    for name in ("train", "validation", "test"):
        part = getattr(data, name)
        yield f"| {name} | {len(part.speakers)} | {part.num_clips} | {part.num_pairs} |"
    yield ""
    yield (
        f"Targets: fused emotion {data.emotion_target}, face {data.face_target}, voice "
        f"{data.voice_target}, conflict {data.conflict_target}."
    )
    if info.training.figures:
        yield from ("", "## Figures", "", "| part | corpus | figure | value |", "|---|---|---|---|")
        for figure in info.training.figures:
            yield f"| {figure.part} | {figure.corpus} | {figure.name} | {figure.value:.3f} |"
    yield from ("", "## Limits", "", NOTICE)
    for note in info.notes:
        yield from ("", note)
