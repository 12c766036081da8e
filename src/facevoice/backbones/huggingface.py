"""Backbones that others published: which are known, how they are fetched, loaded and run in torch.

Only JSON, the card and safetensors are ever fetched or opened; nothing is unpickled, and no code
from a hub is run. Needs torch, transformers, huggingface_hub and safetensors (extra `full`), which
are imported where they are used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, BackboneSpec
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.files import file_sha256
from facevoice.records import SAMPLE_RATE_HZ, ByteArray, FloatArray, Modality, ModelId, Window
from facevoice.sessions import frozen_run, import_torch, read_json

HUB_PREFIX: Final = "hub:"
DEFAULT_BACKBONES: Final[dict[Modality, str]] = {
    Modality.VIDEO: "videomae-base",
    Modality.AUDIO: "wav2vec2-xlsr-53-english",
}
"""What the full model uses unless told otherwise; neither ever saw RAVDESS or CREMA-D."""

_LOG: Final = logging.getLogger(__name__)
_FEATURE: Final = "a pretrained backbone"


@dataclass(frozen=True, slots=True)
class _Family:
    """A network architecture that is known here.

    model_type: its name in `config.json`; network_class: its encoder in transformers;
    foreign_keys: weights of other tasks' heads that checkpoints of this family carry along. They
    are known and left out; whatever else a file has too much or too little is an error.
    """

    model_type: str
    modality: Modality
    network_class: str
    foreign_keys: re.Pattern[str]


_SPEECH_HEADS: Final = re.compile(
    # CTC, pretraining (codebook and its projections), classification, speaker heads.
    r"(lm_head|quantizer|project_q|project_hid|classifier|projector|tdnn|objective)\.|"
    r"layer_weights$"
)
# Reconstruction and classification; fc_norm belongs to the classifier.
_VIDEO_HEADS: Final = re.compile(r"(decoder|encoder_to_decoder|classifier|fc_norm)\.|mask_token$")
_FAMILIES: Final[dict[str, _Family]] = {
    family.model_type: family
    for family in (
        _Family("videomae", Modality.VIDEO, "VideoMAEModel", _VIDEO_HEADS),
        _Family("wav2vec2", Modality.AUDIO, "Wav2Vec2Model", _SPEECH_HEADS),
        _Family("wavlm", Modality.AUDIO, "WavLMModel", _SPEECH_HEADS),
        _Family("hubert", Modality.AUDIO, "HubertModel", _SPEECH_HEADS),
    )
}


def _read_table() -> dict[str, BackboneSpec]:
    text = (resources.files("facevoice.backbones") / "pretrained.toml").read_text(encoding="utf-8")
    specs = {}
    for name, values in tomllib.loads(text).items():
        modality = _FAMILIES[values["family"]].modality
        corpora = tuple(values.pop("training_corpora"))
        specs[name] = BackboneSpec(name, modality, training_corpora=corpora, **values)
    return specs


PRETRAINED: Final = _read_table()
"""Specs by name, as known before anything is loaded."""


def load_pretrained(name: str, *, num_threads: int = 1, device: str = "auto") -> Backbone:
    """Load a backbone of the table, a hub's repository, or a folder.

    Names are those of `create_backbone`. The commit that was got stands in the backbone's
    `spec.revision` and `model.name`.

    Raises:
        ConfigError: there is no such name.
        WeightsError: its weights are missing, damaged, or not what the spec says.
        MissingExtraError: the extra `full` is not installed.
    """
    path = Path(name)
    if name in PRETRAINED:
        spec = PRETRAINED[name]
        files = fetch(str(spec.hub_id), str(spec.revision), weights_sha256=spec.weights_sha256)
    elif name.startswith(HUB_PREFIX):
        hub_id, revision = _parse_hub_name(name)
        files = fetch(hub_id, revision)
        spec = _found_spec(files, hub_id)
    elif path.is_dir():
        files = open_folder(path)
        spec = _found_spec(files, None)
    else:
        raise ConfigError(
            f"unknown backbone {name!r}; known: compact-face, compact-voice, "
            f"{', '.join(sorted(PRETRAINED))}, "
            "hub:OWNER/NAME@REVISION, or a folder with a checkpoint"
        )
    return load_checkpoint(files, spec, num_threads=num_threads, device=device)


def load_checkpoint(
    files: CheckpointFiles, spec: BackboneSpec, *, num_threads: int = 1, device: str = "auto"
) -> VideoMae | Wav2Vec2:
    """Load the checkpoint that `files` holds as what `spec` says; raises as `load_pretrained`."""
    config = files.read_json("config.json")
    family = _family_of(config, files.origin)
    for what, wanted in (("model_type", spec.family), ("hidden_size", spec.dim)):
        found = config.get(what)
        if found != wanted:
            raise WeightsError(
                f"{files.folder / 'config.json'}: {what} is {found}, but backbone {spec.name!r} "
                f"has {wanted}. Name it by hub:OWNER/NAME, or fetch the right one."
            )
    network = _load_network(files, family)
    _LOG.info("backbone %s is %s (%s)", spec.name, files.origin, files.sha256)
    kind, read = (
        (VideoMae, _read_face_input)
        if family.modality is Modality.VIDEO
        else (Wav2Vec2, _read_voice_input)
    )
    values = files.read_json("preprocessor_config.json")
    try:
        given, token_form, takes_mask = read(values, network.config)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        path = files.folder / "preprocessor_config.json"
        raise WeightsError(f"{path}: not usable here ({error!r}).") from error
    loaded = replace(
        spec,
        revision=files.commit,
        preprocessing=given.version,
        input_form=given.description,
        token_form=token_form,
    )
    return kind(
        network,
        given,
        loaded,
        ModelId(files.origin, files.sha256),
        takes_mask=takes_mask,
        num_threads=num_threads,
        device=device,
    )


def _read_face_input(values: Mapping[str, Any], config: Any) -> tuple[FaceInput, str, bool]:
    given = FaceInput.from_config(values, config.num_frames)
    if given.side_px != config.image_size:
        raise ValueError(
            f"it makes {given.side_px} px, config.json wants {config.image_size} px; take both "
            "from one revision"
        )
    token_form = (
        f"{config.num_frames // config.tubelet_size} a window, each the mean over the patches "
        f"of one tubelet step ({config.tubelet_size} frames)"
    )
    return given, token_form, False


def _read_voice_input(values: Mapping[str, Any], config: Any) -> tuple[VoiceInput, str, bool]:
    if getattr(config, "add_adapter", False):
        raise ValueError(
            "config.json puts an adapter behind the encoder (add_adapter), which is no backbone "
            "here; take the checkpoint that it was made from"
        )
    min_samples = 1
    for kernel, stride in zip(
        reversed(config.conv_kernel), reversed(config.conv_stride), strict=True
    ):
        min_samples = (min_samples - 1) * stride + kernel
    given = VoiceInput.from_config(values, min_samples)
    num_frames = _frames_per_token(config)
    step_ms = 1000 * num_frames * int(np.prod(config.conv_stride)) // SAMPLE_RATE_HZ
    token_form = f"one every {step_ms} ms, each the mean over {num_frames} frames"
    has_mask = bool(values.get("return_attention_mask", False))
    return given, token_form, has_mask and config.feat_extract_norm == "layer"


def _frames_per_token(config: Any) -> int:
    return max(1, round(SAMPLE_RATE_HZ / int(np.prod(config.conv_stride)) / 10))


def _parse_hub_name(name: str) -> tuple[str, str]:
    """`hub:OWNER/NAME@REVISION` as repository and revision; without one, the branch `main`."""
    hub_id, at, revision = name.removeprefix(HUB_PREFIX).partition("@")
    if hub_id.count("/") != 1 or not all(hub_id.split("/")) or (at and not revision):
        raise ConfigError(f"backbone {name!r} must look like hub:OWNER/NAME or hub:OWNER/NAME@REV")
    return hub_id, revision or "main"


def _found_spec(files: CheckpointFiles, hub_id: str | None) -> BackboneSpec:
    """What can be said of a checkpoint that is not in the table; of one that is, what it says."""
    config = files.read_json("config.json")
    family = _family_of(config, files.origin)
    # The hub does not tell upper from lower case.
    same = (hub_id or "").lower()
    known = next((s for s in PRETRAINED.values() if (s.hub_id or "").lower() == same), None)
    dim = config.get("hidden_size")
    if not isinstance(dim, int):
        raise WeightsError(f"{files.folder / 'config.json'}: hidden_size is {dim!r}, no number.")
    return BackboneSpec(
        name=f"{HUB_PREFIX}{hub_id}" if hub_id else f"folder:{files.origin}",
        modality=family.modality,
        dim=dim,
        license=known.license if known else files.license(),
        training_corpora=known.training_corpora if known else UNKNOWN_CORPORA,
        hub_id=hub_id,
        family=family.model_type,
    )


_PATTERNS: Final = (
    "config.json",
    "preprocessor_config.json",
    "README.md",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_CONVERT: Final = (
    "Pickled weights are never opened. Name a revision that has model.safetensors (the hub's "
    "converter leaves one in a pull request: …@refs/pr/N), or convert them once, where you trust "
    "them, with save_pretrained, and name that folder."
)


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A checkpoint on this disk, whose weights are whole and are those that were named.

    origin: for messages and records, `owner/name@commit` or the folder's name;
    commit: None for a folder; sha256: of the weights file, of the list of sums where there
    are several.
    """

    folder: Path
    origin: str
    commit: str | None
    weights: tuple[Path, ...]
    sha256: str

    def read_json(self, name: str) -> dict[str, Any]:
        """Content of a JSON file of the checkpoint; WeightsError if it is absent or no object."""
        path = self.folder / name
        if not path.exists():
            raise WeightsError(
                f"{self.origin}: {name} is missing. Put the one of the model that this checkpoint "
                "was made from beside the weights."
            )
        return read_json(path, _again(path))

    def license(self) -> str:
        """The licence that the card names, "unknown" where it names none."""
        card = self.folder / "README.md"
        try:
            found = _library("huggingface_hub.repocard").metadata_load(card) or {}
        except (OSError, ValueError):
            return "unknown"
        named = found.get("license")
        if named == "other":
            named = found.get("license_name", named)
        return str(named) if named else "unknown"


def fetch(
    hub_id: str,
    revision: str,
    *,
    weights_sha256: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> CheckpointFiles:
    """Fetch a commit, branch, tag or `refs/pr/N` of `owner/name` from the hub, or from the cache.

    A commit that is cached whole is not asked for again; a branch is asked for its commit, and
    the cached one serves where the hub can't be reached (`HF_HUB_OFFLINE=1` forbids to try).

    Args:
        hub_id, revision: see above.
        weights_sha256: that the weights must have.
        endpoint, cache_dir: in place of `HF_ENDPOINT` and `HF_HOME`.

    Raises:
        WeightsError: not found, no access, not reachable and not cached, no safetensors, or the
            weights are not whole.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    hub, errors = _library("huggingface_hub"), _library("huggingface_hub.errors")
    try:
        folder = hub.snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(_PATTERNS),
            endpoint=endpoint,
            cache_dir=cache_dir,
        )
    except (
        errors.HFValidationError,
        errors.EntryNotFoundError,
        errors.HfHubHTTPError,
        OSError,
    ) as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        words = next(words for kind, words in _WHY_NOT.items() if kind in kinds)
        raise WeightsError(f"{hub_id}@{revision}: {words.format(error)}") from error
    return open_folder(Path(folder), hub_id, weights_sha256)


def open_folder(
    folder: Path, hub_id: str | None = None, weights_sha256: str | None = None
) -> CheckpointFiles:
    """Take a checkpoint from a folder, as `save_pretrained` writes it; WeightsError as `fetch`."""
    # A snapshot's folder is named by its commit.
    commit = folder.name if hub_id and re.fullmatch(r"[0-9a-f]{40}", folder.name) else None
    origin = f"{hub_id}@{commit}" if hub_id else folder.resolve().name
    weights = _weights_files(folder, origin)
    sums = [_checked_sha256(path) for path in weights]
    lines = "".join(f"{s}  {p.name}\n" for s, p in zip(sums, weights, strict=True))
    sha256 = sums[0] if len(sums) == 1 else hashlib.sha256(lines.encode()).hexdigest()
    if weights_sha256 is not None and sha256 != weights_sha256:
        raise WeightsError(
            f"{weights[0]}: SHA-256 is {sha256}, expected {weights_sha256}. {_again(weights[0])}"
        )
    return CheckpointFiles(folder, origin, commit, weights, sha256)


def _weights_files(folder: Path, origin: str) -> tuple[Path, ...]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if index.is_file():
        try:
            names = sorted({*read_json(index, _again(index))["weight_map"].values()})
        except (KeyError, AttributeError, TypeError) as error:
            raise WeightsError(f"{index}: is damaged ({error!r}). {_again(index)}") from error
        missing = [n for n in names if Path(n).name != n or not (folder / n).is_file()]
        if missing or not names:
            raise WeightsError(
                f"{origin}: of its weights {', '.join(missing) or 'all'} are missing."
            )
        return tuple(folder / name for name in names)
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{origin}: neither config.json nor model.safetensors; no checkpoint.")
    pickled = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    found = f", only {', '.join(pickled)}" if pickled else ""
    raise WeightsError(f"{origin}: no model.safetensors{found}. {_CONVERT}")


def _checked_sha256(path: Path) -> str:
    """SHA-256 of a safetensors file whose header and, in a hub's cache, sum were checked."""
    safetensors = _library("safetensors")
    try:
        found = file_sha256(path)
        # The cache names the file of a link by the SHA-256 that the hub gave.
        expected = path.resolve().name if path.is_symlink() else ""
        if re.fullmatch(r"[0-9a-f]{64}", expected) and found != expected:
            raise WeightsError(
                f"{path}: damaged (SHA-256 is {found}, expected {expected}). {_again(path)}"
            )
        with safetensors.safe_open(path, framework="numpy"):
            return found
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path}: no whole safetensors file ({error}). {_again(path)}"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error}). {_again(path)}") from error


def _again(path: Path) -> str:
    if path.is_symlink():
        return f"Delete {path.resolve()} and run again: it is fetched anew."
    return "Fetch or save the checkpoint again."


# What to tell of an error of huggingface_hub; a class stands before those it derives from.
_WHY_NOT: Final = {
    "HFValidationError": "no name of a repository ({}).",
    "GatedRepoError": "access must be granted. Ask for it on the model's page, then log in "
    "(hf auth login).",
    "RevisionNotFoundError": "no such revision. Name a commit, branch, tag or refs/pr/N of this "
    "repository.",
    "RepositoryNotFoundError": "no such repository, or it is private. Check the name; for a "
    "private one log in (hf auth login).",
    "LocalEntryNotFoundError": "not in the cache, or not whole, and the hub can't be reached. Run "
    "once with a connection (and without HF_HUB_OFFLINE), or name a folder that holds the "
    "checkpoint.",
    "Exception": "could not be fetched ({}). Run again: what has arrived is kept.",
}
# Stands for masked steps while pretraining; never read afterwards, and not in every file.
_UNUSED_PARAMETERS: Final = frozenset({"masked_spec_embed"})
_MAX_LISTED: Final = 20


def _family_of(config: Mapping[str, Any], origin: str) -> _Family:
    model_type = config.get("model_type")
    if model_type not in _FAMILIES:
        raise WeightsError(
            f"{origin}: config.json says model_type = {model_type!r}, which is no backbone here. "
            f"Known: {', '.join(sorted(_FAMILIES))}."
        )
    return _FAMILIES[model_type]


def _load_network(files: CheckpointFiles, family: _Family) -> Any:
    """The encoder of a checkpoint: float32, on the CPU, in evaluation mode, without gradients.

    Every weight of the encoder comes from the file, and every weight in the file has its place in
    the encoder or is one of the family's `foreign_keys`. Old names of weight-normalised and
    biased layers are translated by transformers.

    A WeightsError lists the weights that are missing, too much, or of another shape.
    """
    torch, transformers = import_torch(_FEATURE), _library("transformers")
    strict_error = _library("huggingface_hub.errors").StrictDataclassError
    network_class = getattr(transformers, family.network_class)
    try:
        with _quiet(transformers.utils.logging):
            network, info = network_class.from_pretrained(
                files.folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they can be listed
                dtype=torch.float32,
            )
    except (OSError, ValueError, RuntimeError, TypeError, strict_error) as error:
        raise WeightsError(
            f"{files.origin}: transformers can't build a {family.network_class} from it ({error})."
        ) from error
    _check_keys(files, family, info)
    network.requires_grad_(False)
    return network.eval()


def _check_keys(files: CheckpointFiles, family: _Family, info: Mapping[str, Any]) -> None:
    problems = {
        "missing": [k for k in info["missing_keys"] if k not in _UNUSED_PARAMETERS],
        "unexpected": [k for k in info["unexpected_keys"] if not family.foreign_keys.match(k)],
        "of another shape than config.json says": [
            f"{key} {tuple(found)} instead of {tuple(wanted)}"
            for key, found, wanted in info["mismatched_keys"]
        ],
        "error": [str(message) for message in info.get("error_msgs", ())],
    }
    said = "; ".join(f"{what}: {_listed(sorted(keys))}" for what, keys in problems.items() if keys)
    if said:
        raise WeightsError(
            f"{files.weights[0]}: the weights do not fit a {family.network_class}; {said}. Take "
            f"config.json and weights from one and the same revision of a {family.model_type} "
            "checkpoint."
        )


def _listed(keys: Sequence[str]) -> str:
    more = len(keys) - _MAX_LISTED
    return ", ".join(keys[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def _quiet(logger: Any) -> Iterator[None]:
    """Loading tells what it left out on stderr; here that is checked and raised instead."""
    level, had_bar = logger.get_verbosity(), logger.is_progress_bar_enabled()
    logger.set_verbosity_error()
    logger.disable_progress_bar()
    try:
        yield
    finally:
        logger.set_verbosity(level)
        if had_bar:
            logger.enable_progress_bar()


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(_FEATURE, "full") from error


_DEFAULT_SIDE_PX: Final = 224
_BYTE_SCALE: Final = 1 / 255
_VARIANCE_FLOOR: Final = 1e-7


@dataclass(frozen=True, slots=True)
class FaceInput:
    """Aligned crops of one window as a network's frames, with numpy and Pillow alone.

    The numbers come from `preprocessor_config.json`; the result equals that of transformers'
    VideoMAEImageProcessorPil.

    num_frames: how many, spread evenly over the window;
    resize_px, side_px: crops are resized to the first and cut centrally to the second;
    resample: number of Pillow's filter (2 bilinear, 3 bicubic);
    mean, std: of the three colours, on the scale 0 to 1.
    """

    num_frames: int
    resize_px: int
    side_px: int
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_config(cls, values: Mapping[str, Any], num_frames: int) -> FaceInput:
        """From the content of `preprocessor_config.json`; both forms that were published.

        Raises:
            KeyError: it lacks the colours' mean or deviation.
            ValueError: it asks for something else than resize, central cut and normalisation.
        """
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not values.get(step, True):
                raise ValueError(f"{step} is off, which is not supported")
        resize_px = _side(values.get("size", _DEFAULT_SIDE_PX))
        side_px = resize_px
        if values.get("do_center_crop", True):
            side_px = _side(values.get("crop_size", _DEFAULT_SIDE_PX))
        if side_px > resize_px:
            raise ValueError(f"it cuts {side_px} px out of {resize_px} px")
        if abs(values.get("rescale_factor", _BYTE_SCALE) - _BYTE_SCALE) > 1e-9:
            raise ValueError(f"rescale_factor is {values['rescale_factor']}, not 1/255")
        mean, std = values["image_mean"], values["image_std"]
        return cls(
            num_frames=num_frames,
            resize_px=resize_px,
            side_px=side_px,
            resample=int(values.get("resample", Image.Resampling.BILINEAR)),
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
        )

    @property
    def version(self) -> str:
        """Name for `BackboneSpec.preprocessing`; another input form has another name."""
        return f"frames-1-{_digest(asdict(self))}"

    @property
    def description(self) -> str:
        """For people."""
        return (
            f"{self.num_frames} aligned face crops spread over the window, "
            f"{self.side_px}×{self.side_px} px, "
            f"mean {'/'.join(f'{x:g}' for x in self.mean)}, "
            f"std {'/'.join(f'{x:g}' for x in self.std)}"
        )

    def prepare(self, window: Window) -> FloatArray:
        """Normalised frames float32 (num_frames, 3, side_px, side_px).

        The moments are the centres of equal slices of the window; for each the crop nearest in
        time is taken, the earlier of two that are equally near. Where there are fewer crops than
        moments, or none for a while, the nearest is repeated. Without timestamps, crops count as
        evenly spread. ValueError for a window without faces, or with crops that are not square.
        """
        if window.faces is None:
            raise ValueError(f"window at {window.start_s:g} s has no faces")
        height, width = window.faces.shape[1:3]
        if height != width:
            raise ValueError(f"crops must be square, these are {height}×{width}")
        num_crops = len(window.faces)
        centres = (np.arange(self.num_frames) + 0.5) / self.num_frames
        seen = (np.arange(num_crops) + 0.5) / num_crops
        if window.face_timestamps_s is not None:
            seen = (window.face_timestamps_s - window.start_s) / window.duration_s
        # Rounded, so that equally near stays equally near whatever the window's start is.
        picked = np.abs(seen - centres[:, np.newaxis]).round(9).argmin(axis=1)
        pictures = {index: self._picture(window.faces[index]) for index in sorted({*picked})}
        return np.stack([pictures[index] for index in picked])

    def _picture(self, crop: ByteArray) -> FloatArray:
        size = (self.resize_px, self.resize_px)
        resized = Image.fromarray(crop).resize(size, Image.Resampling(self.resample))
        margin = (self.resize_px - self.side_px) // 2
        cut = slice(margin, margin + self.side_px)
        pixels = np.asarray(resized)[cut, cut].astype(np.float32) * np.float32(_BYTE_SCALE)
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class VoiceInput:
    """Sound of one window as a network's samples; equals transformers' Wav2Vec2FeatureExtractor.

    normalize: to zero mean and unit variance;
    min_samples: shorter sound is filled up with silence, for one step of the network.
    """

    normalize: bool
    min_samples: int

    @classmethod
    def from_config(cls, values: Mapping[str, Any], min_samples: int) -> VoiceInput:
        """From the content of `preprocessor_config.json`; ValueError if not 16 kHz mono."""
        rate_hz = values.get("sampling_rate", SAMPLE_RATE_HZ)
        if rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(f"it wants {rate_hz} Hz, not {SAMPLE_RATE_HZ} Hz")
        if values.get("feature_size", 1) != 1:
            raise ValueError(f"it wants {values['feature_size']} values a sample, not 1")
        return cls(normalize=bool(values.get("do_normalize", True)), min_samples=min_samples)

    @property
    def version(self) -> str:
        """Name for `BackboneSpec.preprocessing`; another input form has another name."""
        return f"wave-1-{_digest(asdict(self))}"

    @property
    def description(self) -> str:
        """For people."""
        scale = "zero mean and unit variance" if self.normalize else "as recorded"
        return f"mono samples at {SAMPLE_RATE_HZ} Hz, {scale}"

    def prepare(self, window: Window) -> FloatArray:
        """Samples float32 (N,), N at least `min_samples`; ValueError for a window without sound."""
        if window.samples is None or len(window.samples) == 0:
            raise ValueError(f"window at {window.start_s:g} s has no sound")
        samples = window.samples.astype(np.float32, copy=False)
        if self.normalize:
            scale = np.sqrt(samples.var() + np.float32(_VARIANCE_FLOOR))
            samples = (samples - samples.mean()) / scale
        missing = self.min_samples - len(samples)
        return np.pad(samples, (0, missing)) if missing > 0 else samples


def pool_tokens(frames: FloatArray, frames_per_token: int) -> FloatArray:
    """Means of blocks of consecutive frames (T, D): (ceil(T / frames_per_token), D).

    The last block may be shorter.
    """
    starts = np.arange(0, len(frames), frames_per_token)
    lengths = np.minimum(frames_per_token, len(frames) - starts)
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float32)
    tokens: FloatArray = (sums / lengths[:, np.newaxis]).astype(np.float32)
    return tokens


def _side(size: Any) -> int:
    if not isinstance(size, Mapping):
        return int(size)
    sides = {size[key] for key in ("shortest_edge", "height", "width") if size.get(key)}
    if len(sides) != 1:
        raise ValueError(f"it wants pictures that are not square: {dict(size)}")
    return int(sides.pop())


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


class LayerTap:
    """Runs a frozen encoder and tells what enters its first layer and what leaves each one.

    Own hooks rather than `output_hidden_states`, whose last entry is before or after the final
    normalisation depending on the family and on the version of transformers. Threads may share one:
    what a run has seen is kept in its own context.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        layers = encoder_layers(network)
        layers[0].register_forward_pre_hook(self._keep_input, with_kwargs=True)
        for layer in layers[:-1]:
            layer.register_forward_hook(lambda _layer, _arguments, output: self._keep(output))
        self.num_layers = len(layers) + 1

    def __call__(self, inputs: Any, **arguments: Any) -> list[Any]:
        """Layers (B, T, D) in order; the last one is the encoder's own output."""
        seen: list[Any] = []
        token = _RUN.set((self, seen))
        try:
            last = self.network(inputs, **arguments).last_hidden_state
        finally:
            _RUN.reset(token)
        return [*seen, last]

    def _keep_input(self, _module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._keep(arguments[0] if arguments else named["hidden_states"])

    def _keep(self, output: Any) -> None:
        tap, seen = _RUN.get()
        if tap is self:
            seen.append(output[0] if isinstance(output, tuple) else output)


def encoder_layers(network: Any) -> Any:
    """The `ModuleList` of an encoder's layers, whatever its family calls it."""
    encoder = network.encoder
    return encoder.layers if hasattr(encoder, "layers") else encoder.layer


_RUN: ContextVar[tuple[LayerTap | None, list[Any]]] = ContextVar("_RUN", default=(None, []))
"""The tap that runs in this context, and what it has seen."""


class _TorchBackbone:
    """A frozen encoder in torch; embedding (D,) is the mean over the last layer's rows.

    Args:
        network: an encoder of transformers in evaluation mode.
        given: how windows become its input.
        spec, model: what is said of it.
        takes_mask: whether sound of different length may run together.
        num_threads: on the CPU.
        device: "auto", "cpu", "cuda", ….
        batch_size: windows run at once; by default 1 on the CPU, where more gains nothing.

    Raises:
        ConfigError: this machine has no such device.
    """

    input: FaceInput | VoiceInput

    def __init__(
        self,
        network: Any,
        given: FaceInput | VoiceInput,
        spec: BackboneSpec,
        model: ModelId,
        *,
        takes_mask: bool = False,
        num_threads: int = 1,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.input = given
        self.spec = spec
        self.model = model
        self.takes_mask = takes_mask
        self._device = _choose_device(device)
        self._num_threads = num_threads
        self._batch_size = batch_size or (1 if self._device.type == "cpu" else 8)
        self.network = network.to(self._device)
        self.tap = LayerTap(self.network)

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        return self.tap.num_layers

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """See `Backbone`."""
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for rows in self._batches(windows):
            inputs = [self.input.prepare(windows[row]) for row in rows]
            with frozen_run(self._num_threads):
                layers, lengths = self._run(inputs)
                for row, last, length in zip(rows, layers[-1], lengths, strict=True):
                    embeddings[row] = last[:length].mean(dim=0).cpu().numpy()
        return embeddings

    def embed_layers(self, window: Window) -> FloatArray:
        """The mean over time of every layer: float32 (L, D); the last row is the embedding."""
        inputs = [self.input.prepare(window)]
        with frozen_run(self._num_threads):
            return np.stack([row[0].mean(dim=0).cpu().numpy() for row in self._run(inputs)[0]])

    def _last_layer(self, window: Window) -> FloatArray:
        inputs = [self.input.prepare(window)]
        with frozen_run(self._num_threads):
            last: FloatArray = self._run(inputs)[0][-1][0].cpu().numpy()
            return last

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Places of windows that run together."""
        for start in range(0, len(windows), self._batch_size):
            yield list(range(start, min(start + self._batch_size, len(windows))))

    def _run(self, inputs: Sequence[FloatArray]) -> tuple[list[Any], list[int]]:
        """Layers (B, T, D), and how many of the T rows are those of each input."""
        raise NotImplementedError


class VideoMae(_TorchBackbone):
    """VideoMAE (Tong et al. 2022) on face crops: tokens (num_frames / tubelet, D), layers (L, D).

    It has no class token: an embedding is the mean of the last layer's patch tokens, a token the
    mean over the patches of one tubelet step (two frames).
    """

    input: FaceInput

    @property
    def num_tokens(self) -> int:
        """Rows of `embed_tokens`."""
        return int(self.input.num_frames // self.network.config.tubelet_size)

    def embed_tokens(self, window: Window) -> FloatArray:
        """Means over the patches of each tubelet step: float32 (num_frames / tubelet, D)."""
        last = self._last_layer(window)
        tokens: FloatArray = last.reshape(self.num_tokens, -1, last.shape[-1]).mean(axis=1)
        return tokens

    def _run(self, inputs: Sequence[FloatArray]) -> tuple[list[Any], list[int]]:
        torch = import_torch(_FEATURE)
        layers = self.tap(torch.from_numpy(np.stack(inputs)).to(self._device))
        return layers, [layers[-1].shape[1]] * len(inputs)


class Wav2Vec2(_TorchBackbone):
    """Wav2Vec2, XLS-R, WavLM and HuBERT on sound: tokens (ten a second, D), layers (L, D).

    Sound of different length is run together only by networks that were trained with an attention
    mask (`return_attention_mask` of their preprocessor). The others normalise over time inside the
    network, where padding would leak into every frame: they get equal lengths only.
    """

    input: VoiceInput
    num_tokens: Final = None  # they grow with the window's length

    @property
    def frames_per_token(self) -> int:
        """Frames that make up one token of a tenth of a second."""
        return _frames_per_token(self.network.config)

    def embed_tokens(self, window: Window) -> FloatArray:
        """Means over consecutive frames of the last layer: float32 (about ten a second, D)."""
        return pool_tokens(self._last_layer(window), self.frames_per_token)

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """By length, so that little is padded, or nothing."""
        lengths = [
            max(self.input.min_samples, 0 if w.samples is None else len(w.samples)) for w in windows
        ]
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
            fits = self.takes_mask or not batch or lengths[batch[0]] == lengths[row]
            if batch and (len(batch) == self._batch_size or not fits):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(self, inputs: Sequence[FloatArray]) -> tuple[list[Any], list[int]]:
        torch, config = import_torch(_FEATURE), self.network.config
        lengths = [len(sound) for sound in inputs]
        samples = torch.nn.utils.rnn.pad_sequence(
            [*map(torch.from_numpy, inputs)], batch_first=True
        )
        arguments = {}
        if min(lengths) < max(lengths):
            mask = np.arange(max(lengths)) < np.array(lengths)[:, np.newaxis]
            arguments["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(self._device)
        layers = self.tap(samples.to(self._device), **arguments)
        return layers, [count_frames(n, config.conv_kernel, config.conv_stride) for n in lengths]


def count_frames(num_samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Frames that the unpadded convolutions before the encoder make of that many samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    return num_samples


def _choose_device(device: str) -> Any:
    """A torch device; "auto" is the first GPU where there is one, else the CPU."""
    torch = import_torch(_FEATURE)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} can't be used ({error})") from error
