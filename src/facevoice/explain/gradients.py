"""What moved a checkpoint's answer, by gradients: integrated gradients of its torch networks.

Sundararajan et al. (2017), Axiomatic attribution for deep networks, as captum computes it: the
gradients along the straight way from an empty input to the real one, summed up, so that all
effects together are the answer's log-odds less those of the empty input. Empty is the blurred face,
and for the voice silence, which is what such networks see between sounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from facevoice.backbones.registry import StackedBackbone
from facevoice.errors import ConfigError, MissingExtraError
from facevoice.explain.face import Cover
from facevoice.explain.hiding import Asker
from facevoice.explain.voice import stretch_edges
from facevoice.models.model import CheckpointModel
from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray, Modality, Window
from facevoice.sessions import frozen_run, import_torch

NUM_STEPS: Final = 32
_BATCH: Final = 4
_HEADS: Final = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}


@dataclass(frozen=True, slots=True, eq=False)
class Gradients:
    """Effects in log-odds: heat (S, S) of a face's pixels, or (1, n) of a voice's stretches.

    total: their sum; wanted: the answer's log-odds less those of the empty input, which the sum
    meets but for the steps' size; answer: probability of the emotion, as the gradients' way ends.
    """

    heat: DoubleArray
    total: float
    wanted: float
    answer: float


def face_gradients(asker: Asker, window: Window) -> Gradients:
    """Effects of the pixels of the aligned crops, summed over crops and colours.

    Raises:
        ConfigError: the model is no checkpoint that torch runs.
        MissingExtraError: torch or captum is not installed.
    """
    if window.faces is None:
        raise ValueError(f"window at {window.start_s:g} s has no faces")
    side_px = window.faces.shape[1]
    blurred = Cover(window.faces)(np.ones((side_px, side_px), np.float32))
    found, *ends = _integrate(asker, window, replace(window, faces=blurred))
    given = _network(asker).input
    pixels = found.sum(axis=(0, 1))
    # The network sees the middle of the crop: its pixels go where they lie in it.
    margin = side_px * (1 - given.side_px / given.resize_px) / 2
    spread = _shares(len(pixels), margin, side_px)
    heat = spread @ pixels.astype(np.float64) @ spread.T
    return Gradients(heat, float(found.sum()), *ends)


def voice_gradients(asker: Asker, window: Window) -> Gradients:
    """Effects of the samples, summed over each stretch; raises as `face_gradients` does."""
    if window.samples is None:
        raise ValueError(f"window at {window.start_s:g} s has no sound")
    silent = replace(window, samples=np.zeros_like(window.samples))
    found, *ends = _integrate(asker, window, silent)
    edges = [round(edge * SAMPLE_RATE_HZ) for edge in stretch_edges(window.duration_s)]
    sums = [found[a:b].sum() for a, b in pairwise(edges)]
    return Gradients(np.array([sums], np.float64), float(found.sum()), *ends)


def _shares(num: int, margin: float, side_px: int) -> DoubleArray:
    """Which share of each of `num` pixels lies in each of the crop's: (side_px, num).

    The pixels fill the crop but for a margin at both ends, in pixels of the crop.
    """
    edges = np.linspace(margin, side_px - margin, num + 1)
    places = np.arange(side_px)[:, None]
    shared = np.minimum(edges[1:], places + 1) - np.maximum(edges[:-1], places)
    return np.asarray(np.maximum(shared, 0) / (edges[1] - edges[0]), np.float64)


def check_gradients(model: object) -> CheckpointModel:
    """The model, if it has gradients; raises as `face_gradients` does."""
    if not isinstance(model, CheckpointModel):
        raise ConfigError(
            "gradients are for checkpoints that torch runs (--checkpoint); the package's networks "
            "and exported ones are explained by hiding parts"
        )
    _attribution()
    return model


def _integrate(asker: Asker, window: Window, empty: Window) -> tuple[FloatArray, float, float]:
    """Effects of each number of the input, what they should add up to, and the answer."""
    torch = import_torch("gradients")
    check_gradients(asker.question.model)
    backbone = _network(asker)
    told = _log_odds_of(asker, torch)
    inputs, baseline = (
        torch.from_numpy(backbone.input.prepare(one)[np.newaxis]).to(backbone.network.device)
        for one in (window, empty)
    )
    way = _attribution().IntegratedGradients(told)
    with frozen_run(asker.num_threads, gradients=True):
        found = way.attribute(inputs, baseline, n_steps=NUM_STEPS, internal_batch_size=_BATCH)
        with torch.no_grad():
            last, first = float(told(inputs)), float(told(baseline))
    values: FloatArray = found[0].detach().cpu().numpy().astype(np.float32)
    return values, last - first, 1 / (1 + math.exp(-last))


def _log_odds_of(asker: Asker, torch: Any) -> Callable[[Any], Any]:
    """From the backbone's input (B, …) to the log-odds (B,) of the asked emotion."""
    model, modality = check_gradients(asker.question.model), asker.modality
    network, backbone = model.checkpoint.network, _network(asker)
    temperature = getattr(model.info.calibration, _HEADS[modality])
    place = asker.emotion.position
    by_layers = isinstance(asker.backbone, StackedBackbone) and asker.backbone.rows == "layers"

    def told(inputs: Any) -> Any:
        layers = backbone.tap(inputs)
        # A head looks at the mean of its tokens, so means may be taken first.
        used = layers if by_layers else layers[-1:]
        rows = torch.stack([layer.mean(dim=1) for layer in used], dim=1).to("cpu")
        tokens = network.standardized_tokens(modality, rows)
        if modality is Modality.AUDIO and network.layer_mix is not None:
            tokens = network.layer_mix(tokens)
        logits = network.channel_heads[modality.value](tokens.mean(dim=1)) / temperature
        others = torch.cat([logits[:, :place], logits[:, place + 1 :]], dim=1)
        return logits[:, place] - torch.logsumexp(others, dim=1)

    return told


def _network(asker: Asker) -> Any:
    """The backbone in torch below the embedding's rows."""
    backbone: Any = asker.backbone
    base = backbone.base if isinstance(backbone, StackedBackbone) else backbone
    if not hasattr(base, "tap"):
        raise ConfigError(f"the backbone {base.spec.name} isn't run by torch: it has no gradients")
    return base


def _attribution() -> Any:
    try:
        import captum.attr
    except ImportError as error:
        raise MissingExtraError("explaining by gradients", "explain") from error
    return captum.attr
