"""One stored embedding as bytes with a checksum, and back; damaged bytes never pass for data."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.features.store_keys import FeatureKey

Embedding = npt.NDArray[np.floating[Any]]

_DTYPES: Final[dict[int, np.dtype[Any]]] = {2: np.dtype("<f2"), 4: np.dtype("<f4")}
NO_EMBEDDING: Final = 0

# (item_bytes, num_tokens, checksum, bytes): the columns of the feature table after its key.
Row = tuple[int, int | None, int, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A sound record: the embedding, or None for a window known to have none."""

    embedding: Embedding | None


def encode(key: FeatureKey, embedding: Embedding | None) -> Row:
    """The row for an embedding, exactly as given.

    Args:
        key: covered by the checksum, so that a row can't pass for another's.
        embedding: float16 or float32, (D,) or (T, D), finite; None for "there is none".

    Raises:
        ValueError: another type or shape, empty, or not finite.
    """
    if embedding is None:
        return NO_EMBEDDING, None, _checksum(key, NO_EMBEDDING, None, b""), b""
    kind = _DTYPES.get(embedding.dtype.itemsize)
    if embedding.dtype.kind != "f" or kind is None:
        raise ValueError(f"embedding must be float16 or float32, not {embedding.dtype}")
    if embedding.ndim not in (1, 2) or embedding.size == 0:
        raise ValueError(f"embedding must be (D,) or (T, D) and not empty: {embedding.shape}")
    if not np.isfinite(embedding).all():
        raise ValueError(f"embedding of {key} holds values that are not finite")
    content = np.ascontiguousarray(embedding, dtype=kind).tobytes()
    num_tokens = len(embedding) if embedding.ndim == 2 else None
    return kind.itemsize, num_tokens, _checksum(key, kind.itemsize, num_tokens, content), content


def decode(key: FeatureKey, row: tuple[object, ...]) -> Record | None:
    """The record in a row of the table, writable and in this machine's byte order.

    Returns:
        None when the row is damaged: its checksum does not fit it, or does not fit the key.
    """
    item_bytes, num_tokens, checksum, content = row
    if not isinstance(item_bytes, int) or not isinstance(content, bytes):
        return None
    if not (num_tokens is None or isinstance(num_tokens, int)):
        return None
    if checksum != _checksum(key, item_bytes, num_tokens, content):
        return None
    if item_bytes == NO_EMBEDDING:
        return Record(None)
    kind = _DTYPES[item_bytes]
    values = np.frombuffer(content, kind).astype(kind.newbyteorder("="), copy=True)
    return Record(values if num_tokens is None else values.reshape(num_tokens, -1))


def _checksum(key: FeatureKey, item_bytes: int, num_tokens: int | None, content: bytes) -> int:
    head = repr(
        (
            key.file_sha256,
            key.start_us,
            key.end_us,
            key.backbone,
            key.preprocessing,
            item_bytes,
            num_tokens,
        )
    )
    return zlib.crc32(content, zlib.crc32(head.encode()))
