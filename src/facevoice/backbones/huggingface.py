"""Files of a published checkpoint: fetched from a hub or found in a folder, and checked.

Only JSON, the card and safetensors are ever fetched or opened; nothing is unpickled. Needs
`huggingface_hub` and `safetensors` (extra `full`), which are imported where they are used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, BackboneSpec
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.records import SAMPLE_RATE_HZ, FloatArray, Modality, ModelId, Window

if TYPE_CHECKING:
    import torch


PATTERNS: Final[tuple[str, ...]] = (
    "config.json",
    "preprocessor_config.json",
    "README.md",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)
FEATURE: Final[str] = "a pretrained backbone"
EXTRA: Final[str] = "full"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PICKLES: Final[tuple[str, ...]] = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
_CONVERT: Final[str] = (
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
        """Content of a JSON file of the checkpoint.

        Raises:
            WeightsError: it is absent or no JSON object.
        """
        path = self.folder / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise WeightsError(
                f"{self.origin}: {name} is missing. Put the one of the model that this checkpoint "
                "was made from beside the weights."
            ) from error
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path}: can't be read ({error}). {_again(path)}") from error
        if not isinstance(values, dict):
            raise WeightsError(f"{path}: holds no JSON object. {_again(path)}")
        return values

    def license(self) -> str:
        """The licence that the card names, "unknown" where it names none."""
        from huggingface_hub.repocard import metadata_load

        card = self.folder / "README.md"
        if not card.is_file():
            return "unknown"
        try:
            metadata = metadata_load(card) or {}
        except ValueError:
            return "unknown"
        named = metadata.get("license")
        if named == "other":
            named = metadata.get("license_name", named)
        return str(named) if named else "unknown"


def fetch(
    hub_id: str,
    revision: str,
    *,
    weights_sha256: str | None = None,
    endpoint: str | None = None,
    cache_dir: Path | None = None,
) -> CheckpointFiles:
    """Fetch a checkpoint from the hub, or take it from the cache.

    A commit that is cached whole is not asked for again; a branch is asked for its commit, and
    the cached one serves where the hub can't be reached (`HF_HUB_OFFLINE=1` forbids to try).

    Args:
        hub_id: `owner/name`.
        revision: commit, branch, tag, or `refs/pr/N`.
        weights_sha256: that the weights must have.
        endpoint: address of the hub; by default `HF_ENDPOINT`.
        cache_dir: by default the cache of `huggingface_hub` (`HF_HOME`).

    Raises:
        WeightsError: not found, no access, not reachable and not cached, no safetensors, or the
            weights are not whole.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    name = f"{hub_id}@{revision}"
    try:
        folder = snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(PATTERNS),
            endpoint=endpoint,
            cache_dir=cache_dir,
        )
    except errors.HFValidationError as error:
        raise WeightsError(f"{name}: no name of a repository ({error}).") from error
    except (errors.EntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise WeightsError(f"{name}: {_why_not(error)}") from error
    return _checked(Path(folder), hub_id, weights_sha256)


def open_folder(folder: Path, *, weights_sha256: str | None = None) -> CheckpointFiles:
    """Take a checkpoint from a folder, as `save_pretrained` writes it.

    Raises:
        WeightsError: no safetensors in it, or the weights are not whole.
    """
    return _checked(folder, None, weights_sha256)


def _checked(folder: Path, hub_id: str | None, weights_sha256: str | None) -> CheckpointFiles:
    # A snapshot's folder is named by its commit.
    commit = folder.name if hub_id is not None and _COMMIT.fullmatch(folder.name) else None
    origin = f"{hub_id}@{commit}" if hub_id is not None else folder.resolve().name
    weights = _weights_files(folder, origin)
    sums = [_checked_sha256(path) for path in weights]
    if len(sums) == 1:
        sha256 = sums[0]
    else:
        lines = "".join(f"{s}  {p.name}\n" for s, p in zip(sums, weights, strict=True))
        sha256 = hashlib.sha256(lines.encode()).hexdigest()
    if weights_sha256 is not None and sha256 != weights_sha256:
        raise WeightsError(
            f"{weights[0]}: SHA-256 is {sha256}, expected {weights_sha256}. {_again(weights[0])}"
        )
    return CheckpointFiles(folder, origin, commit, weights, sha256)


def _weights_files(folder: Path, origin: str) -> tuple[Path, ...]:
    single = folder / "model.safetensors"
    if single.is_file():
        return (single,)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise WeightsError(f"{index}: can't be read ({error}). {_again(index)}") from error
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
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        # The cache names the file of a link by the SHA-256 that the hub gave.
        expected = path.resolve().name if path.is_symlink() else ""
        if _SHA256.fullmatch(expected) and found != expected:
            raise WeightsError(
                f"{path}: damaged (SHA-256 is {found}, expected {expected}). {_again(path)}"
            )
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: no whole safetensors file ({error}). {_again(path)}"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error}). {_again(path)}") from error
    return found


def _again(path: Path) -> str:
    if path.is_symlink():
        return f"Delete {path.resolve()} and run again: it is fetched anew."
    return "Fetch or save the checkpoint again."


def _why_not(error: Exception) -> str:
    """What to tell of an error of huggingface_hub."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "access must be granted. Ask for it on the model's page, then log in (hf auth login)."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision. Name a commit, branch, tag or refs/pr/N of this repository."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "no such repository, or it is private. Check the name; for a private one log in "
            "(hf auth login)."
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "not in the cache, or not whole, and the hub can't be reached. Run once with a "
            "connection (and without HF_HUB_OFFLINE), or name a folder that holds the checkpoint."
        )
    return f"could not be fetched ({error}). Run again: what has arrived is kept."


# Frozen transformers networks in torch: loaded without a gap, run without surprises.
#
# Imports torch and transformers (extra `full`) only when something is loaded or run.


@dataclass(frozen=True, slots=True)
class Family:
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

FAMILIES: Final[dict[str, Family]] = {
    family.model_type: family
    for family in (
        Family(
            "videomae",
            Modality.VIDEO,
            "VideoMAEModel",
            # Reconstruction and classification; fc_norm belongs to the classifier.
            re.compile(r"(decoder|encoder_to_decoder|classifier|fc_norm)\.|mask_token$"),
        ),
        Family("wav2vec2", Modality.AUDIO, "Wav2Vec2Model", _SPEECH_HEADS),
        Family("wavlm", Modality.AUDIO, "WavLMModel", _SPEECH_HEADS),
        Family("hubert", Modality.AUDIO, "HubertModel", _SPEECH_HEADS),
    )
}

# Stands for masked steps while pretraining; never read afterwards, and not in every file.
_UNUSED_PARAMETERS: Final[frozenset[str]] = frozenset({"masked_spec_embed"})
_MAX_LISTED: Final[int] = 20


def family_of(config: dict[str, Any], origin: str) -> Family:
    """The family that a `config.json` names.

    Raises:
        WeightsError: none of those known.
    """
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise WeightsError(
            f"{origin}: config.json says model_type = {model_type!r}, which is no backbone here. "
            f"Known: {', '.join(sorted(FAMILIES))}."
        )
    return FAMILIES[model_type]


def choose_device(device: str) -> torch.device:
    """A torch device; "auto" is the first GPU where there is one, else the CPU.

    Raises:
        ConfigError: torch does not know it, or this machine has none.
        MissingExtraError: torch is not installed.
    """
    library = _torch()
    if device == "auto":
        device = "cuda" if library.cuda.is_available() else "cpu"
    try:
        chosen: torch.device = library.device(device)
        library.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r} can't be used ({error})") from error
    return chosen


def load_network(files: CheckpointFiles, family: Family) -> Any:
    """The encoder of a checkpoint: float32, on the CPU, in evaluation mode, without gradients.

    Every weight of the encoder comes from the file, and every weight in the file has its place in
    the encoder or is one of the family's `foreign_keys`. Old names of weight-normalised and
    biased layers are translated by transformers.

    Raises:
        WeightsError: a weight is missing, too much, or of another shape; the message lists them.
        MissingExtraError: transformers or torch is not installed.
    """
    torch = _torch()
    try:
        import transformers
        from huggingface_hub.errors import StrictDataclassError
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    network_class = getattr(transformers, family.network_class)
    try:
        with _quiet(transformers):
            network, info = network_class.from_pretrained(
                files.folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that they can be listed
                dtype=torch.float32,
            )
    except (OSError, ValueError, RuntimeError, TypeError, StrictDataclassError) as error:
        raise WeightsError(
            f"{files.origin}: transformers can't build a {family.network_class} from it ({error})."
        ) from error
    _check_keys(files, family, info)
    network.requires_grad_(False)
    return network.eval()


def _check_keys(files: CheckpointFiles, family: Family, info: dict[str, Any]) -> None:
    missing = sorted(k for k in info["missing_keys"] if k not in _UNUSED_PARAMETERS)
    unexpected = sorted(k for k in info["unexpected_keys"] if not family.foreign_keys.match(k))
    mismatched = sorted(_mismatch(entry) for entry in info["mismatched_keys"])
    problems = [
        f"{what}: {_listed(keys)}"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape than config.json says", mismatched),
            ("error", sorted(map(str, info.get("error_msgs", ())))),
        )
        if keys
    ]
    if problems:
        raise WeightsError(
            f"{files.weights[0]}: the weights do not fit a {family.network_class}; "
            f"{'; '.join(problems)}. Take config.json and weights from one and the same "
            f"revision of a {family.model_type} checkpoint."
        )


def _mismatch(entry: Any) -> str:
    if isinstance(entry, tuple) and len(entry) == 3:
        key, found, wanted = entry
        return f"{key} {tuple(found)} instead of {tuple(wanted)}"
    return str(entry)


def _listed(keys: Sequence[str]) -> str:
    more = len(keys) - _MAX_LISTED
    return ", ".join(keys[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


class LayerTap:
    """Runs a frozen encoder and keeps what enters its first layer and what leaves each one.

    Own hooks rather than `output_hidden_states`, whose last entry is before or after the final
    normalisation depending on the family and on the version of transformers.
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        self._seen: list[Any] | None = None
        encoder = network.encoder
        layers = encoder.layers if hasattr(encoder, "layers") else encoder.layer
        layers[0].register_forward_pre_hook(self._keep_input, with_kwargs=True)
        for layer in layers[:-1]:
            layer.register_forward_hook(self._keep_output)
        self.num_layers = len(layers) + 1

    def __call__(self, inputs: Any, **arguments: Any) -> list[Any]:
        """Layers (B, T, D) in order; the last one is the encoder's own output."""
        seen: list[Any] = []
        self._seen = seen
        try:
            last = self.network(inputs, **arguments).last_hidden_state
        finally:
            self._seen = None
        return [*seen, last]

    def _keep_input(self, _module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._seen is not None:
            self._seen.append(arguments[0] if arguments else named["hidden_states"])

    def _keep_output(self, _module: Any, _arguments: tuple[Any, ...], output: Any) -> None:
        if self._seen is not None:
            self._seen.append(output[0] if isinstance(output, tuple) else output)


@contextmanager
def frozen_run(num_threads: int) -> Iterator[None]:
    """Without gradients and with that many CPU threads, whatever the process uses otherwise."""
    torch = _torch()
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(FEATURE, EXTRA) from error
    return torch


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Loading tells what it left out on stderr; here that is checked and raised instead."""
    logging = transformers.utils.logging
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()


# What the pretrained networks want to see and hear, made with numpy and Pillow alone.
#
# The numbers come from a checkpoint's `preprocessor_config.json`, and the result equals that of
# transformers' own processors (VideoMAEImageProcessorPil, Wav2Vec2FeatureExtractor): tests compare
# them. One code serves the torch and the ONNX backbones, so they see the same numbers.

DEFAULT_SIDE_PX: Final[int] = 224
_BYTE_SCALE: Final[float] = 1 / 255
_VARIANCE_FLOOR: Final[float] = 1e-7


@dataclass(frozen=True, slots=True)
class FaceInput:
    """Aligned crops of one window as a network's frames.

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
            ValueError: it asks for something else than resize, central cut and normalisation.
        """
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not values.get(step, True):
                raise ValueError(f"{step} is off, which is not supported")
        resize_px = _side(values.get("size", DEFAULT_SIDE_PX))
        side_px = resize_px
        if values.get("do_center_crop", True):
            side_px = _side(values.get("crop_size", DEFAULT_SIDE_PX))
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

        Raises:
            ValueError: the window has no faces, or its crops are not square.
        """
        if window.faces is None:
            raise ValueError(f"window at {window.start_s:g} s has no faces")
        height, width = window.faces.shape[1:3]
        if height != width:
            raise ValueError(f"crops must be square, these are {height}×{width}")
        picked = spread_frames(window, self.num_frames)
        pictures = {index: self._picture(window.faces[index]) for index in sorted({*picked})}
        return np.stack([pictures[index] for index in picked])

    def _picture(self, crop: npt.NDArray[np.uint8]) -> FloatArray:
        image = Image.fromarray(crop)
        resized = image.resize(
            (self.resize_px, self.resize_px), resample=Image.Resampling(self.resample)
        )
        margin = (self.resize_px - self.side_px) // 2
        end = margin + self.side_px
        pixels = np.asarray(resized)[margin:end, margin:end].astype(np.float32) * np.float32(
            _BYTE_SCALE
        )
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def spread_frames(window: Window, num_frames: int) -> list[int]:
    """Which crops stand for `num_frames` moments spread over the window.

    The moments are the centres of equal slices of the window; for each the crop nearest in time
    is taken, the earlier of two that are equally near. Where there are fewer crops than moments,
    or none for a while, the nearest is repeated. Without timestamps, crops count as evenly spread.
    """
    if window.faces is None:
        raise ValueError(f"window at {window.start_s:g} s has no faces")
    num_crops = len(window.faces)
    centres = (np.arange(num_frames) + 0.5) / num_frames
    if window.face_timestamps_s is None:
        seen = (np.arange(num_crops) + 0.5) / num_crops
    else:
        seen = (window.face_timestamps_s - window.start_s) / window.duration_s
    # Rounded, so that equally near stays equally near whatever the window's start is.
    distances = np.abs(seen[np.newaxis] - centres[:, np.newaxis]).round(9)
    return [int(index) for index in distances.argmin(axis=1)]


@dataclass(frozen=True, slots=True)
class VoiceInput:
    """Sound of one window as a network's samples.

    normalize: to zero mean and unit variance;
    min_samples: shorter sound is filled up with silence, for one step of the network.
    """

    normalize: bool
    min_samples: int

    @classmethod
    def from_config(cls, values: Mapping[str, Any], min_samples: int) -> VoiceInput:
        """From the content of `preprocessor_config.json`.

        Raises:
            ValueError: it wants another sample rate than 16 kHz, or more than one value a sample.
        """
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
        """Samples float32 (N,), N at least `min_samples`.

        Raises:
            ValueError: the window has no sound.
        """
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
    if isinstance(size, Mapping):
        sides = {size[key] for key in ("shortest_edge", "height", "width") if size.get(key)}
        if len(sides) != 1:
            raise ValueError(f"it wants pictures that are not square: {dict(size)}")
        return int(sides.pop())
    return int(size)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


# VideoMAE (Tong et al. 2022) on the face crops of a window, frozen.
#
# It has no class token: an embedding is the mean of the patch tokens of the last layer.


class VideoMae:
    """A VideoMAE encoder; embedding (D,), tokens (num_frames / tubelet, D), layers (L, D).

    One token is the mean of the patches of one tubelet step (two frames).

    Args:
        network: a transformers `VideoMAEModel` in evaluation mode.
        face_input: how crops become frames.
        spec, model: what is said of it.
        num_threads: on the CPU.
        device: "auto", "cpu", "cuda", ….
        batch_size: windows run at once; by default 1 on the CPU, where more gains nothing.
    """

    def __init__(
        self,
        network: Any,
        face_input: FaceInput,
        spec: BackboneSpec,
        model: ModelId,
        *,
        num_threads: int = 1,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.input = face_input
        self.spec = spec
        self.model = model
        self._device = choose_device(device)
        self._num_threads = num_threads
        self._batch_size = batch_size or (1 if self._device.type == "cpu" else 8)
        self.network = network.to(self._device)
        self.tap = LayerTap(self.network)
        self._num_steps: int = face_input.num_frames // network.config.tubelet_size

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        return self.tap.num_layers

    @property
    def num_tokens(self) -> int:
        """Rows of `embed_tokens`."""
        return self._num_steps

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows with faces.

        Returns:
            float32 (B, D).

        Raises:
            ValueError: a window has no faces.
        """
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for start in range(0, len(windows), self._batch_size):
            batch = windows[start : start + self._batch_size]
            embeddings[start : start + len(batch)] = self._run(batch)[-1].mean(dim=1).cpu().numpy()
        return embeddings

    def embed_tokens(self, window: Window) -> FloatArray:
        """Means over the patches of each tubelet step: float32 (num_frames / tubelet, D)."""
        last = self._run([window])[-1][0]
        steps = last.reshape(self._num_steps, -1, last.shape[-1])
        tokens: FloatArray = steps.mean(dim=1).cpu().numpy()
        return tokens

    def embed_layers(self, window: Window) -> FloatArray:
        """Means over the patches of every layer: float32 (L, D); the last row is the embedding."""
        return np.stack([layer[0].mean(dim=0).cpu().numpy() for layer in self._run([window])])

    def _run(self, windows: Sequence[Window]) -> list[Any]:
        import torch

        frames = torch.from_numpy(np.stack([self.input.prepare(w) for w in windows]))
        with frozen_run(self._num_threads):
            return self.tap(frames.to(self._device))


def load_videomae(
    files: CheckpointFiles, network: Any, spec: BackboneSpec, *, num_threads: int, device: str
) -> VideoMae:
    """Put a loaded encoder to work on faces.

    Raises:
        WeightsError: its own settings do not fit each other.
    """
    config = network.config
    try:
        face_input = FaceInput.from_config(
            files.read_json("preprocessor_config.json"), config.num_frames
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{files.folder / 'preprocessor_config.json'}: not usable here ({error!r})."
        ) from error
    if face_input.side_px != config.image_size:
        raise WeightsError(
            f"{files.origin}: preprocessor_config.json makes {face_input.side_px} px, config.json "
            f"wants {config.image_size} px. Take both from one revision."
        )
    num_steps = config.num_frames // config.tubelet_size
    full_spec = replace(
        spec,
        preprocessing=face_input.version,
        input_form=face_input.description,
        token_form=f"{num_steps} a window, each the mean over the patches of one tubelet step "
        f"({config.tubelet_size} frames)",
    )
    model = ModelId(files.origin, files.sha256)
    return VideoMae(network, face_input, full_spec, model, num_threads=num_threads, device=device)


# Wav2Vec2 and its kin (XLS-R, WavLM, HuBERT) on the sound of a window, frozen.
#
# An embedding is the mean over time of the last layer.

TOKENS_PER_SECOND: Final[int] = 10


class Wav2Vec2:
    """A speech encoder; embedding (D,), tokens (about ten a second, D), layers (L, D).

    Sound of different length is run together only by networks that were trained with an attention
    mask (`return_attention_mask` of their preprocessor). The others normalise over time inside
    the network, where padding would leak into every frame: they get equal lengths only.

    Args:
        network: a transformers `Wav2Vec2Model`, `WavLMModel` or `HubertModel` in evaluation mode.
        voice_input: how sound becomes samples.
        spec, model: what is said of it.
        takes_mask: whether lengths may differ within a batch.
        num_threads: on the CPU.
        device: "auto", "cpu", "cuda", ….
        batch_size: windows run at once; by default 1 on the CPU, where more gains nothing.
    """

    def __init__(
        self,
        network: Any,
        voice_input: VoiceInput,
        spec: BackboneSpec,
        model: ModelId,
        *,
        takes_mask: bool,
        num_threads: int = 1,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.input = voice_input
        self.spec = spec
        self.model = model
        self.takes_mask = takes_mask
        self._device = choose_device(device)
        self._num_threads = num_threads
        self._batch_size = batch_size or (1 if self._device.type == "cpu" else 8)
        self.network = network.to(self._device)
        self.tap = LayerTap(self.network)
        self.frames_per_token = frames_per_token(network.config.conv_stride)

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        return self.tap.num_layers

    @property
    def num_tokens(self) -> None:
        """Tokens grow with the window's length."""
        return

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows with sound.

        Returns:
            float32 (B, D).

        Raises:
            ValueError: a window has no sound.
        """
        sounds = [self.input.prepare(window) for window in windows]
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for rows in self._batches([len(sound) for sound in sounds]):
            layers, num_frames = self._run([sounds[row] for row in rows])
            for position, row in enumerate(rows):
                valid = layers[-1][position, : num_frames[position]]
                embeddings[row] = valid.mean(dim=0).cpu().numpy()
        return embeddings

    def embed_tokens(self, window: Window) -> FloatArray:
        """Means over consecutive frames of the last layer: float32 (about ten a second, D)."""
        layers, _ = self._run([self.input.prepare(window)])
        return pool_tokens(layers[-1][0].cpu().numpy(), self.frames_per_token)

    def embed_layers(self, window: Window) -> FloatArray:
        """Means over time of every layer: float32 (L, D); the last row is the embedding."""
        layers, _ = self._run([self.input.prepare(window)])
        return np.stack([layer[0].mean(dim=0).cpu().numpy() for layer in layers])

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows to run together: by length, so that little is padded, or nothing."""
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
            full = len(batch) == self._batch_size
            fits = self.takes_mask or not batch or lengths[batch[0]] == lengths[row]
            if batch and (full or not fits):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(self, sounds: Sequence[FloatArray]) -> tuple[list[Any], list[int]]:
        """Layers (B, T, D), and how many of the T frames are those of each sound."""
        import torch

        lengths = [len(sound) for sound in sounds]
        samples = np.zeros((len(sounds), max(lengths)), dtype=np.float32)
        for row, sound in enumerate(sounds):
            samples[row, : len(sound)] = sound
        arguments = {}
        if min(lengths) < max(lengths):
            mask = np.arange(max(lengths)) < np.array(lengths)[:, np.newaxis]
            arguments["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(self._device)
        with frozen_run(self._num_threads):
            layers = self.tap(torch.from_numpy(samples).to(self._device), **arguments)
        config = self.network.config
        num_frames = [count_frames(n, config.conv_kernel, config.conv_stride) for n in lengths]
        return layers, num_frames


def count_frames(num_samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Frames that the unpadded convolutions before the encoder make of that many samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    return num_samples


def fewest_samples(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that make one frame."""
    num_samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        num_samples = (num_samples - 1) * stride + kernel
    return num_samples


def frames_per_token(strides: Sequence[int]) -> int:
    """Frames that make up one token of a tenth of a second."""
    return max(1, round(SAMPLE_RATE_HZ / int(np.prod(strides)) / TOKENS_PER_SECOND))


def load_wav2vec2(
    files: CheckpointFiles, network: Any, spec: BackboneSpec, *, num_threads: int, device: str
) -> Wav2Vec2:
    """Put a loaded encoder to work on sound.

    Raises:
        WeightsError: its settings are not usable here.
    """
    config = network.config
    if getattr(config, "add_adapter", False):
        raise WeightsError(
            f"{files.origin}: has an adapter behind its encoder (add_adapter), which is no "
            "backbone here. Take the checkpoint that it was made from."
        )
    values = files.read_json("preprocessor_config.json")
    min_samples = fewest_samples(config.conv_kernel, config.conv_stride)
    try:
        voice_input = VoiceInput.from_config(values, min_samples)
    except ValueError as error:
        raise WeightsError(
            f"{files.folder / 'preprocessor_config.json'}: not usable here ({error})."
        ) from error
    num_frames = frames_per_token(config.conv_stride)
    step_ms = 1000 * num_frames * int(np.prod(config.conv_stride)) // SAMPLE_RATE_HZ
    full_spec = replace(
        spec,
        preprocessing=voice_input.version,
        input_form=voice_input.description,
        token_form=f"one every {step_ms} ms, each the mean over {num_frames} frames",
    )
    return Wav2Vec2(
        network,
        voice_input,
        full_spec,
        ModelId(files.origin, files.sha256),
        takes_mask=bool(values.get("return_attention_mask", False))
        and config.feat_extract_norm == "layer",
        num_threads=num_threads,
        device=device,
    )


# Published backbones: which are known, and how any of them is loaded.
#
# Every line of the table names a commit or pull request that holds safetensors, and the licence
# and the training data as their authors state them.

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
        from facevoice.backbones.onnx import OnnxBackbone

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
