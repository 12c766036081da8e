"""Frozen transformers networks in torch: loaded without a gap, run without surprises.

Imports torch and transformers (extra `full`) only when something is loaded or run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.features.hub_files import EXTRA, FEATURE, CheckpointFiles
from facevoice.labels import Modality

if TYPE_CHECKING:
    import torch


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
