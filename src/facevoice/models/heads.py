"""What a model is, and the compact one: from embeddings to what is said of windows, in numpy.

All numbers of the compact heads come from one file, `heads.npz`. B windows, D width of embeddings.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Protocol
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from facevoice.errors import WeightsError
from facevoice.people.baseline import NOTHING, Known, Usual
from facevoice.people.clearness import doubted
from facevoice.people.heard import Hearing, load_hearing, reasons_beside, soften
from facevoice.records import (
    EMOTIONS,
    NUM_EMOTIONS,
    BoolArray,
    DecisionCurve,
    DoubleArray,
    Emotion,
    FloatArray,
    Modality,
    ModelId,
    Reason,
)
from facevoice.sessions import read_weights

if TYPE_CHECKING:
    from facevoice.backbones.spec import Backbone
    from facevoice.models.checkpoint import Calibration, CheckpointInfo

Embeddings = Mapping[Modality, FloatArray]
"""Of one window, by channel, those that are there: (D,), or rows of tokens or layers flattened."""

COMPACT: Final = "compact"
_UNSAVED: Final = ModelId("heads", "")
_FLAT: Final = np.array([e.is_flat for e in EMOTIONS])
_VALENCE: Final = np.array([e.valence for e in EMOTIONS])
_AROUSAL: Final = np.array([e.arousal for e in EMOTIONS])
NUMBERS: Final = ("mean", "scale", "weight", "bias")
CURVE: Final = tuple(field.name for field in fields(DecisionCurve))
_TINY: Final = 1e-9
_LARGEST_CODE: Final = 127
# So little at once that the linear algebra library wakes no threads, which wait long for a busy
# core: windows, and multiplications of one product.
_CHUNK: Final = 8
_SMALL: Final = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """What a model says of one window: probabilities (8,) or None, conflict or None.

    unfamiliarity: by channel, as in `ChannelPosterior`, where the model tells it;
    beside: what is heard beside the voice, and made the model less sure of it.
    """

    face: DoubleArray | None
    voice: DoubleArray | None
    fused: DoubleArray | None
    conflict: float | None
    unfamiliarity: Mapping[Modality, float] = field(default_factory=dict)
    beside: tuple[Reason, ...] = ()


class Model(Protocol):
    """From embeddings of windows to posteriors; threads may share one."""

    name: str
    """Short, as it stands in a report's settings."""
    heads: ModelId
    """What the trained part is, and the SHA-256 of its weights."""
    backbones: Mapping[Modality, str]
    """By channel, what must make the embeddings: a name, or id@revision."""
    curve: DecisionCurve | None
    """What calls are worth at each threshold; None if the model tells no conflict."""

    adapts: bool
    """Whether windows are compared with what is usual; if not, `known` is passed over."""

    def predict(
        self,
        windows: Sequence[Embeddings],
        known: Sequence[Known] | None = None,
        unclear: Sequence[float] | None = None,
    ) -> list[Posteriors]:
        """Posteriors of each window; a missing channel leaves its own and the conflict None.

        Any number of windows in one pass. Channels that the model does not read are passed over.
        known: what each window is compared with; None where nothing is known of any.
        unclear: how badly each face is seen, as of `people.clearness`; None where all are clear.
            Trained networks pass it over.

        Raises:
            WeightsError: an embedding has another width than the model was trained with.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Assembly:
    """A model and its backbones.

    sources: by channel, what `create_backbone` builds the same backbone from again;
    info: what the checkpoint says of itself, None for the compact family.
    """

    model: Model
    backbones: Mapping[Modality, Backbone]
    sources: Mapping[Modality, str]
    info: CheckpointInfo | None = None

    @property
    def modalities(self) -> frozenset[Modality]:
        """Channels that the model reads."""
        return frozenset(self.backbones)


def _by_window(
    face: DoubleArray, voice: DoubleArray, fused: DoubleArray, conflict: DoubleArray
) -> list[Posteriors]:
    """Window by window; face, voice, fused (B, 8), conflict (B,), NaN where nothing is said."""

    def told(probs: DoubleArray) -> DoubleArray | None:
        return None if np.isnan(probs[0]) else probs

    return [
        Posteriors(told(f), told(v), told(both), None if np.isnan(c) else float(c))
        for f, v, both, c in zip(face, voice, fused, conflict, strict=True)
    ]


def tempered_posteriors(
    logits: Mapping[str, FloatArray | None],
    present: Mapping[Modality, BoolArray],
    calibration: Calibration,
) -> list[Posteriors]:
    """Posteriors of B windows from the heads' logits.

    Args:
        logits: emotion, face, voice (B, 8), conflict (B, 2) as match, conflict; None for no head.
        present: which windows show the channel, (B,), for the channels that the network looks at.
        calibration: temperatures.

    Returns:
        What is said of each: nothing of a channel that is not there, and no conflict then.
    """
    size = len(next(iter(present.values())))
    nowhere = np.zeros(size, dtype=np.bool_)
    shows, sounds = (present.get(m, nowhere) for m in (Modality.VIDEO, Modality.AUDIO))

    def told(head: str, where: BoolArray) -> DoubleArray:
        values = logits.get(head)
        if values is None:
            return np.full((size, NUM_EMOTIONS), np.nan)
        return np.where(where[:, None], temper(values, getattr(calibration, head)), np.nan)

    return _by_window(
        told("face", shows),
        told("voice", sounds),
        told("emotion", shows | sounds),
        told("conflict", shows & sounds)[:, 1],
    )


def temper(logits: FloatArray | DoubleArray, temperature: float) -> DoubleArray:
    """softmax(logits / T) over the last axis. Guo et al. (2017), On calibration."""
    return softmax(logits.astype(np.float64) / temperature)


def softmax(logits: DoubleArray) -> DoubleArray:
    """Softmax over the last axis, stable."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: DoubleArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs


def flatness(probs: DoubleArray) -> float:
    """Share of a posterior (8,) on emotions that say "nothing clear": neutral and calm."""
    return float(probs[_FLAT].sum())


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """weight · (x - mean) / scale + bias: mean, scale (D,), weight (8, D), bias (8,)."""

    mean: DoubleArray
    scale: DoubleArray
    weight: DoubleArray
    bias: DoubleArray

    def logits(self, embeddings: FloatArray | DoubleArray) -> DoubleArray:
        """Float64 (B, 8) of embeddings (B, D)."""
        # The same as weight · (x - mean) / scale + bias, in one pass over the embeddings.
        weight = np.ascontiguousarray((self.weight / self.scale).T)
        return embeddings.astype(np.float64) @ weight + (self.bias - self.mean @ weight)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """How an embedding is compared with what is usual: by taking a shrunken offset out of it.

    An offset is the mean of n known windows, less what the emotions in them add (`centres` (8, D),
    weighted by their mean probabilities), from the next wider mean: person from setting, setting
    from world. n / (n + k) of it counts, with k windows for a person and for a setting: the
    posterior mean of an offset of which one window tells as much as k know before (James and Stein
    1961). Without the centres, somebody who was sad all the time would be sad as a rule, and so
    never be found sad.
    """

    person_windows: float
    setting_windows: float
    centres: DoubleArray

    def offset(
        self, world: DoubleArray, person: Usual | None, setting: Usual | None
    ) -> DoubleArray:
        """What is to be taken out of an embedding (D,) so that `world` (D,) is usual."""
        offset = np.zeros_like(world)
        for usual, windows in ((setting, self.setting_windows), (person, self.person_windows)):
            if usual is not None:
                if usual.mean.shape != world.shape:
                    raise WeightsError(
                        f"what is usual for the person has {usual.mean.size} numbers, the heads "
                        f"want {world.size}: make the profile again"
                    )
                share = usual.num_windows / (usual.num_windows + windows)
                offset += share * (usual.mean - usual.probs @ self.centres - world - offset)
        return offset


@dataclass(frozen=True, slots=True, eq=False)
class Familiarity:
    """How far embeddings are from what a head has learnt from, and how much less it then says.

    Measured is what the main `directions` (D, m) of the training material leave of a standardised
    embedding, squared: the residual of Tipping and Bishop (1999), Probabilistic principal component
    analysis. `limit` of it is 1. Probabilities are tempered by 1 + doubt · unfamiliarity.
    """

    directions: DoubleArray
    limit: float
    doubt: float

    def __call__(self, standardised: DoubleArray) -> DoubleArray:
        """Unfamiliarity (B,) of (B, D)."""
        rest: DoubleArray = (standardised**2).sum(axis=1)
        step = max(1, _SMALL // max(1, standardised.size))
        for first in range(0, self.directions.shape[1], step):
            inside = standardised @ self.directions[:, first : first + step]
            rest = rest - (inside**2).sum(axis=1)
        return np.maximum(rest, 0.0) / self.limit


@dataclass(frozen=True, slots=True, eq=False)
class ChannelHead:
    """From embeddings of one channel to emotions: compared, weighed, and doubted."""

    linear: LinearHead
    comparison: Comparison
    familiarity: Familiarity

    def __call__(
        self, embeddings: FloatArray | DoubleArray, offsets: DoubleArray | None = None
    ) -> tuple[DoubleArray, DoubleArray]:
        """Probabilities (B, 8) and unfamiliarity (B,) of embeddings (B, D) less offsets (B, D)."""
        left = embeddings.astype(np.float64)
        if offsets is not None:
            left = left - offsets
        unfamiliarity = self.familiarity((left - self.linear.mean) / self.linear.scale)
        temperature = 1 + self.familiarity.doubt * unfamiliarity
        return softmax(self.linear.logits(left) / temperature[:, None]), unfamiliarity

    def offset(self, person: Usual | None, setting: Usual | None) -> DoubleArray:
        """What is to be taken out of an embedding: (D,)."""
        return self.comparison.offset(self.linear.mean, person, setting)


@dataclass(frozen=True, slots=True, eq=False)
class LateFusion:
    """Product of experts: softmax(Σ weight_m · log p_m + bias), one weight per modality."""

    face_weight: float
    voice_weight: float
    bias: DoubleArray

    def __call__(self, face: DoubleArray, voice: DoubleArray) -> DoubleArray:
        """Probabilities (B, 8) from those of the channels, (B, 8) each."""
        logits = self.face_weight * np.log(face + _TINY) + self.voice_weight * np.log(voice + _TINY)
        return softmax(logits + self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class ConflictHead:
    """Logistic model on soft evidence of disagreement; mean, scale, weight (5,), bias."""

    mean: DoubleArray
    scale: DoubleArray
    weight: DoubleArray
    bias: float

    def __call__(self, face: DoubleArray, voice: DoubleArray) -> DoubleArray:
        """Probability (B,) that face and voice differ, at equal prior odds."""
        evidence = (conflict_evidence(face, voice) - self.mean) / self.scale
        probs: DoubleArray = 1 / (1 + np.exp(-(evidence @ self.weight + self.bias)))
        return probs


def conflict_evidence(face: DoubleArray, voice: DoubleArray) -> DoubleArray:
    """Soft measures of agreement of two posteriors; no labels are compared.

    Neutral and calm count as one class: no corpus has people who tell them apart by face.

    Args:
        face: (B, 8) probabilities.
        voice: (B, 8) probabilities.

    Returns:
        (B, 5): log of Σ p·q; Jensen–Shannon divergence
        (Lin 1991) in nats; absolute gaps of expected valence and arousal; log of Σp²·Σq²,
        the sharpness of both, against which agreement is to be read.
    """
    p, q = _merge_flat(face), _merge_flat(voice)
    agreement = (p * q).sum(axis=1)
    sharpness = (p * p).sum(axis=1) * (q * q).sum(axis=1)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return np.stack(
        [
            np.log(agreement + _TINY),
            divergence,
            np.abs((face - voice) @ _VALENCE),
            np.abs((face - voice) @ _AROUSAL),
            np.log(sharpness + _TINY),
        ],
        axis=1,
    )


def _merge_flat(probs: DoubleArray) -> DoubleArray:
    return np.concatenate([probs[:, _FLAT].sum(axis=1, keepdims=True), probs[:, ~_FLAT]], axis=1)


def _relative_entropy(p: DoubleArray, q: DoubleArray) -> DoubleArray:
    entropy: DoubleArray = (p * np.log((p + _TINY) / (q + _TINY))).sum(axis=1)
    return entropy


@dataclass(slots=True, eq=False)
class CompactModel:
    """The compact family: one head a channel, their fusion, and conflict; see `Model`.

    hearing: what else is heard in a voice's embedding; None if nobody asks.
    """

    channels: Mapping[Modality, ChannelHead]
    fusion: LateFusion
    conflict: ConflictHead
    curve: DecisionCurve | None
    heads: ModelId = _UNSAVED
    name: str = COMPACT
    adapts: bool = True
    backbones: Mapping[Modality, str] = field(
        default_factory=lambda: {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
    )
    hearing: Hearing | None = None

    def predict(
        self,
        windows: Sequence[Embeddings],
        known: Sequence[Known] | None = None,
        unclear: Sequence[float] | None = None,
    ) -> list[Posteriors]:
        """See `Model`."""
        told = known or [NOTHING] * len(windows)
        (face, face_far), (voice, voice_far) = (
            self._channel(windows, told, m) for m in (Modality.VIDEO, Modality.AUDIO)
        )
        if unclear is not None:
            clouded = np.array(unclear, np.float64)
            face, face_far = doubted(face, clouded), np.maximum(face_far, clouded)
        voice, beside = self._heed(windows, voice)
        both = ~np.isnan(face[:, 0]) & ~np.isnan(voice[:, 0])
        fused = np.where(np.isnan(face), voice, face)
        fused[both] = self.fusion(face[both], voice[both])
        conflict = np.full(len(windows), np.nan)
        conflict[both] = self.conflict(face[both], voice[both])
        far = ((Modality.VIDEO, face_far), (Modality.AUDIO, voice_far))
        return [
            replace(
                row,
                unfamiliarity={m: float(x[k]) for m, x in far if not np.isnan(x[k])},
                beside=beside.get(k, ()),
            )
            for k, row in enumerate(_by_window(face, voice, fused, conflict))
        ]

    def _heed(
        self, windows: Sequence[Embeddings], voice: DoubleArray
    ) -> tuple[DoubleArray, dict[int, tuple[Reason, ...]]]:
        """Voices (B, 8), less sure where more than one is heard, and what else is, by window."""
        if self.hearing is None:
            return voice, {}
        softened, beside = voice.copy(), {}
        for place, window in enumerate(windows):
            if Modality.AUDIO in window:
                odds = self.hearing(window[Modality.AUDIO][None])
                temperature = float(self.hearing.temperatures(odds)[0])
                softened[place] = soften(voice[place], temperature)
                beside[place] = reasons_beside(odds[0])
        return softened, beside

    def _channel(
        self, windows: Sequence[Embeddings], known: Sequence[Known], modality: Modality
    ) -> tuple[DoubleArray, DoubleArray]:
        """Probabilities (B, 8) and unfamiliarity (B,), NaN where the channel is missing."""
        head = self.channels[modality]
        dim = head.linear.mean.size
        probs = np.full((len(windows), NUM_EMOTIONS), np.nan)
        unfamiliarity = np.full(len(windows), np.nan)
        places = [place for place, window in enumerate(windows) if modality in window]
        for start in range(0, len(places), _CHUNK):
            chunk = places[start : start + _CHUNK]
            rows = [windows[place][modality] for place in chunk]
            wrong = next((row.shape for row in rows if row.shape != (dim,)), None)
            if wrong is not None:
                raise WeightsError(f"an embedding has shape {wrong}, the heads want ({dim},)")
            usual = [(known[k].person.get(modality), known[k].setting.get(modality)) for k in chunk]
            offsets = np.stack([head.offset(person, setting) for person, setting in usual])
            probs[chunk], unfamiliarity[chunk] = head(np.stack(rows), offsets)
        return probs, unfamiliarity


def load_model(content: bytes) -> CompactModel:
    """Read what `recipes/heads.py` wrote; WeightsError if it isn't that, or of other emotions."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        if [str(e) for e in arrays["emotions"]] != [e.value for e in Emotion]:
            raise WeightsError("heads: made for another list of emotions")
        heads = {m: read_head(arrays, f"{m}.") for m in Modality}
        face_weight, voice_weight = (float(w) for w in arrays["fusion.weights"])
        fusion = LateFusion(face_weight, voice_weight, arrays["fusion.bias"])
        mean, scale, weight, bias = (arrays[f"conflict.{name}"] for name in NUMBERS)
        conflict = ConflictHead(mean, scale, weight, float(bias))
        curve = DecisionCurve(*(tuple(arrays[f"curve.{name}"].tolist()) for name in CURVE))
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise WeightsError(f"heads: not a file of compact heads ({error})") from error
    if fusion.bias.shape != (NUM_EMOTIONS,):
        raise WeightsError(f"heads: fusion bias has shape {fusion.bias.shape}")
    identity = ModelId("heads", hashlib.sha256(content).hexdigest())
    return CompactModel(heads, fusion, conflict, curve, identity)


def read_head(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> ChannelHead:
    """A head from what `head_arrays` gives; KeyError if something is missing."""
    mean, scale, weight, bias, centres, directions = (
        arrays[prefix + name].astype(np.float64) for name in (*NUMBERS, "centres", "directions")
    )
    if prefix + "direction_steps" in arrays:  # Else they are no codes.
        directions *= arrays[prefix + "direction_steps"]
    person, setting, limit, doubt = (float(x) for x in arrays[prefix + "scalars"])
    return ChannelHead(
        LinearHead(mean, scale, weight, bias),
        Comparison(person, setting, centres),
        Familiarity(directions, limit, doubt),
    )


def head_arrays(head: ChannelHead, prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Plain arrays that hold a head, as small as they may be."""
    linear, compared, familiar = head.linear, head.comparison, head.familiarity
    arrays = {
        **{name: getattr(linear, name).astype(np.float32) for name in ("mean", "scale", "bias")},
        "weight": linear.weight.astype(np.float16),
        "centres": compared.centres.astype(np.float16),
        **_direction_codes(familiar.directions),
        "scalars": np.array(
            [compared.person_windows, compared.setting_windows, familiar.limit, familiar.doubt]
        ),
    }
    return {prefix + name: array for name, array in arrays.items()}


def _direction_codes(directions: DoubleArray) -> dict[str, npt.NDArray[Any]]:
    """Directions (D, m) as int8 codes and each direction's step (m,)."""
    steps = (np.abs(directions).max(axis=0) / _LARGEST_CODE).astype(np.float32)
    codes = np.rint(directions / np.maximum(steps, _TINY)).astype(np.int8)
    return {"directions": codes, "direction_steps": steps}


def load_compact(num_threads: int = 1) -> Assembly:
    """The compact model of the package with its backbones; WeightsError if weights are damaged."""
    from facevoice.backbones.compact import CompactFace, CompactVoice

    model = load_model(read_weights("heads"))
    model.hearing = load_hearing()
    backbones: dict[Modality, Backbone] = {
        Modality.VIDEO: CompactFace(num_threads=num_threads),
        Modality.AUDIO: CompactVoice(num_threads=num_threads),
    }
    return Assembly(model, backbones, model.backbones)
