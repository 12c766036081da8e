"""Windows on disk, for training the backbones themselves: one file a clip and channel.

What cuts windows out of films is not known here; it writes them, and training reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.errors import CorpusError, MissingExtraError, StoreError
from facevoice.features.store_keys import whole_us
from facevoice.labels import Modality
from facevoice.types import Window

FORMAT: Final = "facevoice-windows/1"
_AGAIN: Final = "Delete it and train again: it is cut anew."


@dataclass(frozen=True, slots=True)
class WindowsKey:
    """What a file of windows depends on.

    file_sha256: of the film or sound; spans_us: start and end of each window in microseconds;
    recipe: version of everything between the file's bytes and the window.
    """

    file_sha256: str
    modality: Modality
    spans_us: tuple[tuple[int, int], ...]
    recipe: str

    @classmethod
    def at(
        cls,
        file_sha256: str,
        modality: Modality,
        spans_s: Iterable[tuple[float, float]],
        recipe: str,
    ) -> WindowsKey:
        """From spans in seconds."""
        spans_us = tuple((whole_us(start), whole_us(end)) for start, end in spans_s)
        return cls(file_sha256, modality, spans_us, recipe)

    @property
    def name(self) -> str:
        """64 hex digits: SHA-256 over all of it."""
        values = [FORMAT, self.file_sha256, self.modality.value, self.spans_us, self.recipe]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class WindowCache:
    """A folder of windows. Files appear whole, so that a kill costs one file at most."""

    folder: Path

    def path(self, key: WindowsKey) -> Path:
        """Where the windows of a clip's channel are."""
        return self.folder / key.name[:2] / f"{key.name}.safetensors"

    def has(self, key: WindowsKey) -> bool:
        """Whether they were written."""
        return self.path(key).is_file()

    def write(self, key: WindowsKey, windows: Sequence[Window]) -> None:
        """Write the windows of a clip that show the channel; of the others only that they don't.

        Raises:
            StoreError: the folder can't be written.
            MissingExtraError: safetensors is not installed.
        """
        try:
            from safetensors.numpy import save
        except ImportError as error:
            raise MissingExtraError("training", "train") from error
        arrays: dict[str, npt.NDArray[Any]] = {
            "spans_s": np.array([(w.start_s, w.end_s) for w in windows], dtype=np.float64),
            "coverage": np.array([_coverage(w, key.modality) for w in windows], dtype=np.float64),
        }
        for place, window in enumerate(windows):
            for name, array in _content(window, key.modality).items():
                arrays[f"{name}.{place}"] = np.ascontiguousarray(array)
        path = self.path(key)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(save(arrays, metadata={"format": FORMAT}))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise StoreError(path, f"can't be written ({error.strerror}).") from error
        finally:
            part.unlink(missing_ok=True)

    def read(self, key: WindowsKey) -> tuple[Window, ...]:
        """The windows that show the channel, in order of time; the other channel is left out.

        Raises:
            StoreError: not there, or damaged.
            MissingExtraError: safetensors is not installed.
        """
        try:
            from safetensors import SafetensorError
            from safetensors.numpy import load_file
        except ImportError as error:
            raise MissingExtraError("training", "train") from error
        path = self.path(key)
        try:
            arrays = load_file(path)
            return tuple(
                _window(arrays, place, key.modality)
                for place in np.flatnonzero(arrays["coverage"] > 0).tolist()
            )
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
            raise StoreError(path, f"holds no windows ({error}).", _AGAIN) from error


@dataclass(frozen=True, slots=True, eq=False)
class ClipWindows:
    """Where the windows of clips are, by clip id and channel."""

    cache: WindowCache
    keys: Mapping[tuple[str, Modality], WindowsKey]

    def read(self, clip_id: str, modality: Modality) -> tuple[Window, ...]:
        """Windows of a clip's channel, at least one.

        Raises:
            CorpusError: there are none.
            StoreError: the file is not there any more, or damaged.
        """
        key = self.keys.get((clip_id, modality))
        windows = () if key is None else self.cache.read(key)
        if not windows:
            raise CorpusError(
                f"clip {clip_id!r} has {modality} features but no window that shows it; its film "
                "may have changed: extract it again"
            )
        return windows

    def digest(self) -> str:
        """SHA-256 over clip ids and keys: what a run depends on."""
        lines = sorted(f"{clip} {m} {key.name}" for (clip, m), key in self.keys.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _coverage(window: Window, modality: Modality) -> float:
    """Share of the window that counts, as in the features of a clip; 0 if it shows nothing."""
    is_video = modality is Modality.VIDEO
    if (window.faces if is_video else window.samples) is None:
        return 0.0
    return float(window.face_coverage if is_video else window.speech_coverage)


def _content(window: Window, modality: Modality) -> dict[str, npt.NDArray[Any]]:
    if not _coverage(window, modality) > 0:
        return {}
    arrays: dict[str, npt.NDArray[Any] | None] = {"samples": window.samples}
    if modality is Modality.VIDEO:
        arrays = {"faces": window.faces, "times_s": window.face_timestamps_s}
    return {name: array for name, array in arrays.items() if array is not None}


def _window(arrays: Mapping[str, npt.NDArray[Any]], place: int, modality: Modality) -> Window:
    is_video = modality is Modality.VIDEO
    coverage = float(arrays["coverage"][place])
    return Window(
        start_s=float(arrays["spans_s"][place, 0]),
        end_s=float(arrays["spans_s"][place, 1]),
        faces=arrays[f"faces.{place}"] if is_video else None,
        samples=None if is_video else arrays[f"samples.{place}"],
        face_coverage=coverage if is_video else 0.0,
        speech_coverage=0.0 if is_video else coverage,
        face_timestamps_s=arrays.get(f"times_s.{place}") if is_video else None,
    )
