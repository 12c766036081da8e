"""What a frozen backbone is, and how one is found by name.

A name is that of the registry or the table of published backbones, a hub's repository, or a folder.
`NAME+layers` gives the means over time of all layers as one long embedding, of which a head can
learn a mix; `NAME+tokens` gives the last layer at a fixed number of moments, for fusion by
attention. Both are (num_rows, row_dim) flattened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, runtime_checkable

import numpy as np

from facevoice.errors import ConfigError
from facevoice.records import FloatArray, Modality, ModelId, Window

UNKNOWN_CORPORA: Final[tuple[str, ...]] = ("unknown",)
"""Training corpora of weights whose history nobody here has looked up: no score is above doubt."""
NUM_AUDIO_TOKENS: Final = 16
_ROWS: Final = ("layers", "tokens")


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a backbone takes and gives, and where it comes from.

    training_corpora: every corpus whose clips it saw; it is never scored on those.
    `UNKNOWN_CORPORA` where that is not known;
    preprocessing: name of the input form, which changes whenever the form does;
    hub_id, revision: where the weights were published, None for those of this package. In a
    table the revision is what to ask for; in a loaded backbone it is the commit that was got;
    family: network architecture, "" for the compact ones;
    input_form, token_form: what goes in and what `embed_tokens` gives, for people to read;
    num_rows: vectors that make up one embedding of dim = num_rows × row_dim;
    weights_sha256: of the published weights, where known: other bytes are refused;
    precision: of the numbers the network computes with.
    """

    name: str
    modality: Modality
    dim: int
    license: str
    training_corpora: tuple[str, ...]
    preprocessing: str = ""
    hub_id: str | None = None
    revision: str | None = None
    family: str = ""
    input_form: str = ""
    token_form: str = ""
    num_rows: int = 1
    weights_sha256: str | None = None
    precision: str = "fp32"

    @property
    def row_dim(self) -> int:
        """Width of one vector: an embedding is (num_rows, row_dim), flattened."""
        return self.dim // self.num_rows


class Backbone(Protocol):
    """A frozen network that turns windows into embeddings; threads may share one."""

    spec: BackboneSpec
    """Input, output and origin."""
    model: ModelId
    """Name and SHA-256 of the weights."""

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows that all have this backbone's modality: float32 (B, D).

        Raises:
            ValueError: a window lacks the modality.
        """
        ...


@runtime_checkable
class TokenBackbone(Backbone, Protocol):
    """A backbone that also tells its tokens over time and its layers, one window at a time."""

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        ...

    @property
    def num_tokens(self) -> int | None:
        """Rows of `embed_tokens`; None where they grow with the window's length."""
        ...

    def embed_tokens(self, window: Window) -> FloatArray:
        """The last layer over time: float32 (T, D), see `spec.token_form` for what T counts."""
        ...

    def embed_layers(self, window: Window) -> FloatArray:
        """The mean over time of every layer: float32 (L, D), what enters the first layer first.

        The last row is `embed` of the window.
        """
        ...


BackboneFactory = Callable[[int], Backbone]


def _compact_face(num_threads: int) -> Backbone:
    from facevoice.backbones.compact import CompactFace

    return CompactFace(num_threads=num_threads)


def _compact_voice(num_threads: int) -> Backbone:
    from facevoice.backbones.compact import CompactVoice

    return CompactVoice(num_threads=num_threads)


_FACTORIES: Final[dict[str, BackboneFactory]] = {
    "compact-face": _compact_face,
    "compact-voice": _compact_voice,
}


def register_backbone(name: str, factory: BackboneFactory) -> None:
    """Make a backbone known; `factory(num_threads)` builds it.

    Raises:
        ConfigError: the name is taken.
    """
    if name in backbone_names():
        raise ConfigError(f"backbone {name!r} is registered already")
    _FACTORIES[name] = factory


def backbone_names() -> tuple[str, ...]:
    """Every name that `create_backbone` knows without a hub or a folder."""
    from facevoice.backbones.huggingface import PRETRAINED

    return tuple(sorted({*_FACTORIES, *PRETRAINED}))


def backbone_id(backbone: Backbone) -> str:
    """`name@revision`, where the revision is the start of the weights' SHA-256."""
    return f"{backbone.spec.name}@{backbone.model.sha256[:12]}"


def create_backbone(name: str, *, num_threads: int = 1, device: str = "auto") -> Backbone:
    """Build a backbone.

    Args:
        name: one of `backbone_names()`; or `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION` for any
            repository of a family that is known here; or a folder with such a checkpoint; or a
            folder that `export_backbone` wrote, or one of the ONNX files in it. Behind it may
            stand `+layers` or `+tokens`.
        num_threads: threads each network may use on the CPU.
        device: where pretrained networks run: auto (a GPU where there is one), cpu, cuda, ….

    Raises:
        ConfigError: no such name; the message lists the choices.
        WeightsError: its weights are missing or damaged, or not what its spec says.
        MissingExtraError: it needs the extra `full`.
    """
    plain, rows = split_name(name)
    if plain in _FACTORIES:
        backbone = _FACTORIES[plain](num_threads)
    else:
        from facevoice.backbones.huggingface import load_pretrained

        backbone = load_pretrained(plain, num_threads=num_threads, device=device)
    return backbone if rows is None else stack(backbone, rows)


def split_name(name: str) -> tuple[str, str | None]:
    """`NAME+layers` as (NAME, "layers"); a name without such an end as (NAME, None)."""
    plain, plus, rows = name.rpartition("+")
    return (plain, rows) if plus and rows in _ROWS else (name, None)


def stack(base: Backbone, rows: str) -> StackedBackbone:
    """Make the "layers" or "tokens" of a backbone its embedding.

    Raises:
        ConfigError: it tells neither.
    """
    if not isinstance(base, TokenBackbone):
        raise ConfigError(f"backbone {base.spec.name!r} tells no {rows}; only its embedding")
    fixed = base.num_layers if rows == "layers" else base.num_tokens
    return StackedBackbone(base, rows, fixed or NUM_AUDIO_TOKENS)


class StackedBackbone:
    """A backbone whose embedding is `num_rows` layers or tokens of another, flattened."""

    def __init__(self, base: TokenBackbone, rows: str, num_rows: int) -> None:
        self.base = base
        self.model = base.model
        self._rows = rows
        self.spec: BackboneSpec = replace(
            base.spec,
            name=f"{base.spec.name}+{rows}",
            dim=num_rows * base.spec.dim,
            num_rows=num_rows,
            preprocessing=f"{base.spec.preprocessing}+{rows}{num_rows}",
        )

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows one by one: float32 (B, num_rows · row_dim)."""
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for row, window in enumerate(windows):
            if self._rows == "layers":
                found = self.base.embed_layers(window)
            else:
                found = spread_tokens(self.base.embed_tokens(window), self.spec.num_rows)
            embeddings[row] = found.reshape(-1)
        return embeddings


def spread_tokens(tokens: FloatArray, num_rows: int) -> FloatArray:
    """Tokens (T, D) as (num_rows, D): means over equal stretches of time.

    Stretch k covers tokens floor(k·T / num_rows) to ceil((k+1)·T / num_rows), as in adaptive
    average pooling; with fewer tokens than stretches, tokens repeat.
    """
    edges = np.arange(num_rows + 1) * len(tokens)
    starts, ends = edges[:-1] // num_rows, -(-edges[1:] // num_rows)
    rows = [tokens[s:e].mean(axis=0) for s, e in zip(starts, ends, strict=True)]
    return np.stack(rows).astype(np.float32)
