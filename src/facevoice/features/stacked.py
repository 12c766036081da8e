"""Layers or tokens of a backbone as one long embedding, so that they can be stored and trained on.

`NAME+layers` gives the means over time of all layers, of which a head can learn a mix;
`NAME+tokens` gives the last layer at a fixed number of moments, for fusion by attention. Both are
(num_rows, row_dim) flattened, as `BackboneSpec` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from facevoice.errors import ConfigError
from facevoice.features.backbone import Backbone, BackboneSpec, TokenBackbone
from facevoice.results import ModelId
from facevoice.types import FloatArray, Window

ROWS: Final[tuple[str, ...]] = ("layers", "tokens")
NUM_AUDIO_TOKENS: Final[int] = 16


def split_name(name: str) -> tuple[str, str | None]:
    """`NAME+layers` as (NAME, "layers"); a name without such an end as (NAME, None)."""
    plain, plus, rows = name.rpartition("+")
    return (plain, rows) if plus and rows in ROWS else (name, None)


class StackedBackbone:
    """A backbone whose embedding is (num_rows, row_dim) flattened; see the module."""

    def __init__(self, base: TokenBackbone, rows: str, num_rows: int) -> None:
        self.base = base
        self._rows = rows
        spec = base.spec
        self.spec: BackboneSpec = replace(
            spec,
            name=f"{spec.name}+{rows}",
            dim=num_rows * spec.dim,
            num_rows=num_rows,
            preprocessing=f"{spec.preprocessing}+{rows}{num_rows}",
        )

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        return self.base.model

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows one by one.

        Returns:
            float32 (B, num_rows · row_dim).
        """
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


def stack(base: Backbone, rows: str) -> StackedBackbone:
    """Stack the "layers" or "tokens" of a backbone.

    Raises:
        ConfigError: it tells neither.
    """
    if not isinstance(base, TokenBackbone):
        raise ConfigError(f"backbone {base.spec.name!r} tells no {rows}; only its embedding")
    fixed = base.num_layers if rows == "layers" else base.num_tokens
    return StackedBackbone(base, rows, fixed or NUM_AUDIO_TOKENS)
