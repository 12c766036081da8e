"""Finding a backbone by name, and making its layers or tokens its embedding (`NAME+layers`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.backbones.compact import CompactFace, CompactVoice
from facevoice.backbones.huggingface import PRETRAINED, load_pretrained
from facevoice.backbones.onnx import SPEC_FILE, OnnxBackbone
from facevoice.backbones.spec import Backbone, BackboneSpec, TokenBackbone
from facevoice.errors import ConfigError
from facevoice.records import FloatArray, Window

NUM_AUDIO_TOKENS: Final = 16
_ROWS: Final = ("layers", "tokens")

BackboneFactory = Callable[[int], Backbone]

_FACTORIES: Final[dict[str, BackboneFactory]] = {
    "compact-face": lambda num_threads: CompactFace(num_threads=num_threads),
    "compact-voice": lambda num_threads: CompactVoice(num_threads=num_threads),
}


def register_backbone(name: str, factory: BackboneFactory) -> None:
    """Make a backbone known; `factory(num_threads)` builds it. ConfigError if the name is taken."""
    if name in backbone_names():
        raise ConfigError(f"backbone {name!r} is registered already")
    _FACTORIES[name] = factory


def backbone_names() -> tuple[str, ...]:
    """Every name that `create_backbone` knows without a hub or a folder."""
    return tuple(sorted({*_FACTORIES, *PRETRAINED}))


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
    path = Path(plain)
    if plain in _FACTORIES:
        backbone = _FACTORIES[plain](num_threads)
    elif (path.suffix == ".onnx" and path.is_file()) or (path / SPEC_FILE).is_file():
        backbone = OnnxBackbone(path, num_threads=num_threads)
    else:
        backbone = load_pretrained(plain, num_threads=num_threads, device=device)
    return backbone if rows is None else stack(backbone, rows)


def split_name(name: str) -> tuple[str, str | None]:
    """`NAME+layers` as (NAME, "layers"); a name without such an end as (NAME, None)."""
    plain, plus, rows = name.rpartition("+")
    return (plain, rows) if plus and rows in _ROWS else (name, None)


def stack(base: Backbone, rows: str) -> StackedBackbone:
    """Make the "layers" or "tokens" of a backbone its embedding; ConfigError if it tells none."""
    if not isinstance(base, TokenBackbone):
        raise ConfigError(f"backbone {base.spec.name!r} tells no {rows}; only its embedding")
    fixed = base.num_layers if rows == "layers" else base.num_tokens
    return StackedBackbone(base, rows, fixed or NUM_AUDIO_TOKENS)


class StackedBackbone:
    """A backbone whose embedding is `num_rows` layers or tokens of another, flattened."""

    def __init__(self, base: TokenBackbone, rows: str, num_rows: int) -> None:
        self.base = base
        self.model = base.model
        self.rows = rows
        self.spec: BackboneSpec = replace(
            base.spec,
            name=f"{base.spec.name}+{rows}",
            dim=num_rows * base.spec.dim,
            num_rows=num_rows,
            preprocessing=f"{base.spec.preprocessing}+{rows}{num_rows}",
        )

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows one by one: float32 (B, num_rows · row_dim)."""
        found = [
            self.base.embed_layers(window)
            if self.rows == "layers"
            else spread_tokens(self.base.embed_tokens(window), self.spec.num_rows)
            for window in windows
        ]
        return np.array(found, dtype=np.float32).reshape(-1, self.spec.dim)


def spread_tokens(tokens: FloatArray, num_rows: int) -> FloatArray:
    """Tokens (T, D) as (num_rows, D): means over equal stretches of time.

    Stretch k covers tokens floor(k·T / num_rows) to ceil((k+1)·T / num_rows), as in adaptive
    average pooling; with fewer tokens than stretches, tokens repeat.
    """
    edges = np.arange(num_rows + 1) * len(tokens)
    starts, ends = edges[:-1] // num_rows, -(-edges[1:] // num_rows)
    rows = [tokens[s:e].mean(axis=0) for s, e in zip(starts, ends, strict=True)]
    return np.stack(rows).astype(np.float32)
