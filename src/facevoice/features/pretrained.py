"""Published backbones: which are known, and how any of them is loaded.

Every line of the table names a commit or pull request that holds safetensors, and the licence
and the training data as their authors state them.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from facevoice.errors import ConfigError, WeightsError
from facevoice.features.backbone import UNKNOWN_CORPORA, Backbone, BackboneSpec
from facevoice.features.frozen import family_of, load_network
from facevoice.features.hub_files import CheckpointFiles, fetch, open_folder
from facevoice.labels import Modality

HUB_PREFIX: Final[str] = "hub:"
DEFAULT_REVISION: Final[str] = "main"
DEFAULT_BACKBONES: Final[dict[Modality, str]] = {
    Modality.VIDEO: "videomae-base",
    Modality.AUDIO: "wav2vec2-xlsr-53-english",
}
"""What the full model uses unless told otherwise; neither ever saw RAVDESS or CREMA-D."""

_LOG = logging.getLogger(__name__)


def _video(name: str, hub_id: str, revision: str, corpora: tuple[str, ...]) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        modality=Modality.VIDEO,
        dim=768,
        license="CC-BY-NC-4.0",
        training_corpora=corpora,
        preprocessing="",
        hub_id=hub_id,
        revision=revision,
        family="videomae",
    )


def _audio(
    name: str,
    hub_id: str,
    revision: str,
    corpora: tuple[str, ...],
    *,
    family: str = "wav2vec2",
    dim: int = 1024,
    license: str = "Apache-2.0",
    weights_sha256: str | None = None,
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        modality=Modality.AUDIO,
        dim=dim,
        license=license,
        training_corpora=corpora,
        preprocessing="",
        hub_id=hub_id,
        revision=revision,
        family=family,
        weights_sha256=weights_sha256,
    )


_XLSR_53: Final[tuple[str, ...]] = ("multilingual-librispeech", "common-voice", "babel")
_SPECS: Final[tuple[BackboneSpec, ...]] = (
    _video(
        "videomae-base",
        "MCG-NJU/videomae-base",
        "dc740ceda42fce44faed2ea03c6d447db72f6af9",
        ("kinetics-400",),
    ),
    _video(
        "videomae-base-short",
        "MCG-NJU/videomae-base-short",
        "9fa00797f9e861e08e49069f5039d60e02b37122",
        ("kinetics-400",),
    ),
    _video(
        "videomae-base-kinetics",
        "MCG-NJU/videomae-base-finetuned-kinetics",
        "ded4e48b8b503c08f6edd9405b26d406f288824b",
        ("kinetics-400",),
    ),
    # XLSR-53 fine-tuned to transcribe English; the emotion model below was made from it.
    _audio(
        "wav2vec2-xlsr-53-english",
        "jonatasgrosman/wav2vec2-large-xlsr-53-english",
        "569a6236e92bd5f7652a0420bfe9bb94c5664080",
        _XLSR_53,
        weights_sha256="6144f8464c6aaa220dd57c5a2ad4039b5710dcf8ee6e67057675f76597c19875",
    ),
    _audio(
        "wav2vec2-base",
        "facebook/wav2vec2-base",
        "9f0eb264dec63c8511a7905d0a854ca6d2a39e45",
        ("librispeech",),
        dim=768,
        weights_sha256="6180a447f726e4a2ab8b50effaf0a96f5b161489c620087c3b05418f0179f875",
    ),
    _audio(
        "wav2vec2-base-960h",
        "facebook/wav2vec2-base-960h",
        "22aad52d435eb6dbaf354bdad9b0da84ce7d6156",
        ("librispeech",),
        dim=768,
    ),
    _audio(
        "wav2vec2-xls-r-300m",
        "facebook/wav2vec2-xls-r-300m",
        "081af4b2d98de3a437a3d2b4b7f9530f4a543097",
        ("voxpopuli", "multilingual-librispeech", "common-voice", "voxlingua107", "babel"),
    ),
    _audio(
        "wavlm-large",
        "microsoft/wavlm-large",
        "e4e472c491084b2c6fb9736099130aa805159c62",
        ("libri-light", "gigaspeech", "voxpopuli"),
        family="wavlm",
        license="MIT (the authors' release; the hub's card names none)",
    ),
    _audio(
        "hubert-large",
        "facebook/hubert-large-ls960-ft",
        "refs/pr/1",
        ("libri-light", "librispeech"),
        family="hubert",
        weights_sha256="1fefcd85b08c83451afd1df872bc11b92333dc4b5393506def29a20baa69c4ed",
    ),
    # Contaminated: fine-tuned on RAVDESS's 1,440 clips. Its classifier is not used.
    _audio(
        "wav2vec2-emotion-ravdess",
        "ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition",
        "682a4ad987950d5cb220485b74b6de88fba8b88c",
        (*_XLSR_53, "ravdess"),
    ),
)

PRETRAINED: Final[dict[str, BackboneSpec]] = {spec.name: spec for spec in _SPECS}
"""Specs by name, as known before anything is loaded."""


def is_pretrained(name: str) -> bool:
    """Whether `load_pretrained` takes the name: of the table, of a hub, or of something on disk."""
    return name in PRETRAINED or name.startswith(HUB_PREFIX) or _is_on_disk(name)


def load_pretrained(name: str, *, num_threads: int = 1, device: str = "auto") -> Backbone:
    """Load a backbone of the table, a hub's repository, a folder, or an exported ONNX file.

    Names are those of `create_backbone`. The commit that was got stands in the backbone's
    `spec.revision` and `model.name`.

    Raises:
        ConfigError: the name makes no sense.
        WeightsError: its weights are missing, damaged, or not what the spec says.
        MissingExtraError: the extra `full` is not installed.
    """
    if name in PRETRAINED:
        spec = PRETRAINED[name]
        if spec.hub_id is None or spec.revision is None:
            raise ConfigError(f"backbone {name!r} names no repository")
        files = fetch(spec.hub_id, spec.revision, weights_sha256=spec.weights_sha256)
        return load_checkpoint(files, spec, num_threads=num_threads, device=device)
    if name.startswith(HUB_PREFIX):
        hub_id, revision = parse_hub_name(name)
        files = fetch(hub_id, revision)
        return load_checkpoint(
            files, _found_spec(files, hub_id), num_threads=num_threads, device=device
        )
    path = Path(name)
    if path.suffix == ".onnx" or (path / "spec.json").is_file():
        from facevoice.features.onnx_backbone import OnnxBackbone

        return OnnxBackbone(path, num_threads=num_threads)
    files = open_folder(path)
    return load_checkpoint(files, _found_spec(files, None), num_threads=num_threads, device=device)


def load_checkpoint(
    files: CheckpointFiles, spec: BackboneSpec, *, num_threads: int = 1, device: str = "auto"
) -> Backbone:
    """Load the checkpoint that `files` holds as what `spec` says.

    Raises:
        WeightsError: the checkpoint is not what the spec says, or its weights do not fit.
        MissingExtraError: the extra `full` is not installed.
    """
    from facevoice.features.videomae import load_videomae
    from facevoice.features.wav2vec2 import load_wav2vec2

    config = files.read_json("config.json")
    family = family_of(config, files.origin)
    if family.model_type != spec.family:
        raise WeightsError(
            f"{files.folder / 'config.json'}: is a {family.model_type} network, but backbone "
            f"{spec.name!r} is {spec.family}. Name it by hub:OWNER/NAME, or fetch the right one."
        )
    if config.get("hidden_size") != spec.dim:
        raise WeightsError(
            f"{files.folder / 'config.json'}: hidden_size is {config.get('hidden_size')}, but "
            f"backbone {spec.name!r} gives {spec.dim} numbers. Name it by hub:OWNER/NAME, or "
            "fetch the right one."
        )
    network = load_network(files, family)
    loaded_spec = replace(spec, revision=files.commit)
    _LOG.info("backbone %s is %s (%s)", spec.name, files.origin, files.sha256)
    load = load_videomae if family.modality is Modality.VIDEO else load_wav2vec2
    return load(files, network, loaded_spec, num_threads=num_threads, device=device)


def parse_hub_name(name: str) -> tuple[str, str]:
    """`hub:OWNER/NAME@REVISION` as repository and revision; without one, the branch `main`.

    Raises:
        ConfigError: it has another form.
    """
    hub_id, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    if hub_id.count("/") != 1 or not all(hub_id.split("/")) or (not revision and "@" in name):
        raise ConfigError(f"backbone {name!r} must look like hub:OWNER/NAME or hub:OWNER/NAME@REV")
    return hub_id, revision or DEFAULT_REVISION


def _found_spec(files: CheckpointFiles, hub_id: str | None) -> BackboneSpec:
    """What can be said of a checkpoint that is not in the table; of one that is, what it says.

    Raises:
        WeightsError: it is of no family that is known here.
    """
    config = files.read_json("config.json")
    family = family_of(config, files.origin)
    # The hub does not tell upper from lower case.
    known = [s for s in _SPECS if hub_id and s.hub_id and s.hub_id.lower() == hub_id.lower()]
    dim = config.get("hidden_size")
    if not isinstance(dim, int):
        raise WeightsError(f"{files.folder / 'config.json'}: hidden_size is {dim!r}, no number.")
    return BackboneSpec(
        name=f"{HUB_PREFIX}{hub_id}" if hub_id else f"folder:{files.origin}",
        modality=family.modality,
        dim=dim,
        license=known[0].license if known else files.license(),
        training_corpora=known[0].training_corpora if known else UNKNOWN_CORPORA,
        preprocessing="",
        hub_id=hub_id,
        family=family.model_type,
    )


def _is_on_disk(name: str) -> bool:
    path = Path(name)
    return path.is_dir() or (path.suffix == ".onnx" and path.is_file())
