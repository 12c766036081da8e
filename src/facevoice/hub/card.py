"""The page of a checkpoint on the hub, made from the checkpoint's own figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from facevoice.data.registry import corpus_names, create_corpus
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.features.pretrained import PRETRAINED
from facevoice.hub.problems import EXTRA, FEATURE
from facevoice.hub.terms import License, Source, Term, choose_license, plain_name, sources_of
from facevoice.labels import Modality
from facevoice.models.card import describe
from facevoice.models.checkpoint_info import CheckpointInfo, Figure

_HEADS: Final = {"emotion": "fused emotion", "face": "face emotion", "voice": "voice emotion"}
_OURS: Final = frozenset({"library_name", "pipeline_tag", "datasets", "base_model", "model-index"})
_CHOSEN: Final = ("license", "license_name", "license_link")


def build_card(
    info: CheckpointInfo, hub_id: str, written: str | None = None, *, license: str | None = None
) -> str:
    """The card for the hub: header, what the checkpoint's own card says, how to use it, licences.

    Args:
        info: of the checkpoint.
        hub_id: `owner/name` that it will have.
        written: the checkpoint's card as people may have edited it; made anew if None. Its text
            stays; of its header, entries that the checkpoint does not decide.
        license: a name of the hub's list, in place of what the sources demand.

    Raises:
        WeightsError: the checkpoint or its card says nothing of the data, or its header is broken.
        ConfigError: the licence gives away what a source does not allow.
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import ModelCard
        from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    if not info.data.corpora or not info.data.train.num_clips:
        raise WeightsError("the checkpoint names no data that it was trained on")
    try:
        card = ModelCard(
            describe(info) if written is None else written, ignore_metadata_errors=False
        )
    except (ValueError, YAMLError) as error:
        raise WeightsError(f"README.md: its header is broken ({error})") from error
    kept: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call,unused-ignore]
    body = card.text.strip()
    _check_names_data(body, info)
    sources = sources_of(info)
    try:
        chosen = choose_license(sources, license or _written_license(kept))
    except ConfigError as error:
        raise ConfigError(f"{hub_id}: {error}") from error
    header = _header(info, hub_id, kept, chosen)
    parts = [f"---\n{header.to_yaml()}\n---", body]
    for title, lines in (
        ("Use", _usage(hub_id)),
        ("Licence", _license_lines(chosen, sources)),
    ):
        if f"\n## {title}\n" not in f"\n{body}\n":
            parts.append("\n".join([f"## {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def has_clean_figures(info: CheckpointInfo, corpus: str) -> bool:
    """Whether figures on the corpus may be shown in lists of results.

    Not where a backbone is known to have seen it, nor where the run only showed that it runs.
    """
    seen = {name for used in info.backbones.values() for name in used.training_corpora}
    is_small = info.settings.get("run", {}).get("size") == "small"
    return corpus not in seen and not is_small


def listed_figures(info: CheckpointInfo) -> tuple[Figure, ...]:
    """Figures for lists of results: of the test part, on corpora that no backbone saw."""
    return tuple(
        figure
        for figure in info.training.figures
        if figure.part == "test" and has_clean_figures(info, figure.corpus)
    )


def _check_names_data(body: str, info: CheckpointInfo) -> None:
    text = body.lower()
    unnamed = [
        name for name in info.data.corpora if name not in text and _title(name).lower() not in text
    ]
    if unnamed:
        raise WeightsError(
            f"README.md: says nothing of the data; name {', '.join(unnamed)} in it, or delete the "
            "file, and a card is made from the checkpoint"
        )


def _written_license(header: dict[str, Any]) -> str | None:
    named = header.get("license")
    return str(named) if named else None


def _header(info: CheckpointInfo, hub_id: str, kept: dict[str, Any], chosen: License) -> Any:
    from huggingface_hub import ModelCardData

    named = {key: value for key, value in kept.items() if key not in _OURS and key not in _CHOSEN}
    languages = {create_corpus(n).info.language for n in info.data.corpora if n in corpus_names()}
    languages -= {None}
    results = [_result(figure, info) for figure in listed_figures(info)]
    names = [plain_name(used.backbone) for used in info.backbones.values()]
    bases = [PRETRAINED[name].hub_id for name in names if name in PRETRAINED]
    tags = ["facevoice", *named.pop("tags", []), *(f"{m.value}-emotion" for m in info.backbones)]
    link = f"https://huggingface.co/{hub_id}#licence" if chosen.name else None
    return ModelCardData(
        license=chosen.id,
        license_name=chosen.name,
        license_link=link,
        language=named.pop("language", sorted(str(code) for code in languages) or None),
        library_name="facevoice",
        pipeline_tag=_pipeline_tag(info),
        tags=tags,
        datasets=list(info.data.corpora),
        base_model=[hub_id for hub_id in bases if hub_id] or None,
        model_name=hub_id.partition("/")[2] if results else None,
        eval_results=results or None,
        **named,
    )


def _pipeline_tag(info: CheckpointInfo) -> str:
    seen = Modality.VIDEO in info.network.modalities
    return "video-classification" if seen else "audio-classification"


def _result(figure: Figure, info: CheckpointInfo) -> Any:
    from huggingface_hub import EvalResult

    head, _, kind = figure.name.rpartition("_")
    target = getattr(info.data, f"{head}_target", None)
    words = f"{kind.upper()} of {_HEADS.get(head, head)}" + (f", {target}" if target else "")
    part = getattr(info.data, figure.part)
    return EvalResult(
        task_type=_pipeline_tag(info),
        task_name="emotion and congruence of face and voice",
        dataset_type=figure.corpus,
        dataset_name=_title(figure.corpus),
        dataset_split=figure.part,
        dataset_args={
            "protocol": f"speaker-independent: {info.data.split}",
            "speakers": sum(s.startswith(f"{figure.corpus}/") for s in part.speakers),
        },
        metric_type=kind,
        metric_name=words,
        metric_value=round(figure.value, 4),
    )


def _title(corpus: str) -> str:
    return create_corpus(corpus).info.title if corpus in corpus_names() else corpus


def _usage(hub_id: str) -> Iterator[str]:
    yield "```"
    yield "pip install 'facevoice[full]'"
    yield f"facevoice pull {hub_id}"
    yield "```"
    yield ""
    yield "```python"
    yield "import facevoice"
    yield ""
    yield f'analyzer = facevoice.from_pretrained("{hub_id}")  # revision="…" pins a commit'
    yield 'print(analyzer.analyze("talk.mp4").summary.outcome)'
    yield "```"
    yield ""
    yield "Only JSON, TOML and safetensors are fetched, checked by SHA-256; nothing is unpickled."


def _license_lines(chosen: License, sources: tuple[Source, ...]) -> Iterator[str]:
    if chosen.id is None:
        yield "The publisher named no licence for these weights; ask before you use them."
    elif chosen.name is not None:
        yield f"{chosen.name.replace('-', ' ').capitalize()}: the strictest of these terms hold."
    else:
        yield f"{chosen.id.upper()}, as what they were made from demands or allows."
    yield from ("", "| made from | licence | so |", "|---|---|---|")
    for source in sources:
        so = ", ".join(term for term in Term if term in source.terms) or "attribution"
        yield f"| {source.name} | {source.license} | {so} |"
