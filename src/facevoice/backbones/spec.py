"""What a frozen backbone is, and how one is found by name.

A name is that of the registry or the table of published backbones, a hub's repository, or a folder.
`NAME+layers` gives the means over time of all layers as one long embedding, of which a head can
learn a mix; `NAME+tokens` gives the last layer at a fixed number of moments, for fusion by
attention. Both are (num_rows, row_dim) flattened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from facevoice.records import FloatArray, Modality, ModelId, Window

UNKNOWN_CORPORA: Final[tuple[str, ...]] = ("unknown",)
"""Training corpora of weights whose history nobody here has looked up: no score is above doubt."""


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


def backbone_id(backbone: Backbone) -> str:
    """`name@revision`, where the revision is the start of the weights' SHA-256."""
    return f"{backbone.spec.name}@{backbone.model.sha256[:12]}"
