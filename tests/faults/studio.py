"""One talking portrait with its voice, from which every case is made."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

from faults.film import RATE_HZ, Picture, Pictures, Sound, write

EXAMPLES = Path(__file__).parents[2] / "examples"
SIDE_PX = 240
LENGTH_S = 3.6
"""Short of a window, so that a codec's padding makes no second one."""
VOICE_HZ = 24_000


@dataclass(frozen=True)
class Studio:
    """Seeds, made once, and files that several cases begin with; `folder` is the studio's own."""

    folder: Path
    _made: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def frames(self) -> list[Picture]:
        """The smiling portrait at 25 pictures a second, 240 × 240."""
        return _read_pictures(EXAMPLES / "smile_glad_voice.mp4")

    @cached_property
    def glad(self) -> np.ndarray:
        """A glad voice (N,) at 24 kHz, in step with the mouth."""
        return _read_voice(EXAMPLES / "smile_glad_voice.mp4")

    @cached_property
    def frightened(self) -> np.ndarray:
        """Another voice, which doesn't go with the smile."""
        return _read_voice(EXAMPLES / "smile_frightened_voice.mp4")

    def voice(self, rate_hz: int = VOICE_HZ) -> np.ndarray:
        """The glad voice at another rate."""
        return self.glad if rate_hz == VOICE_HZ else soxr.resample(self.glad, VOICE_HZ, rate_hz)

    def pictures(self, **how: Any) -> Pictures:
        """The portrait as a track; see `Pictures`."""
        return replace(Pictures(self.frames), **how)

    def sound(self, rate_hz: int = VOICE_HZ, **how: Any) -> Sound:
        """The glad voice as a track; see `Sound`."""
        return replace(Sound(self.voice(rate_hz), rate_hz), **how)

    def write(self, path: Path, *tracks: Pictures | Sound, **how: Any) -> Path:
        """A file of these tracks, by default of the portrait with its voice."""
        return write(path, *(tracks or (self.pictures(), self.sound())), **how)

    def once(self, name: str, make: Callable[[Path], Path]) -> bytes:
        """The content of a file that is made when it is first asked for."""
        if name not in self._made:
            self._made[name] = make(self.folder / name).read_bytes()
        return self._made[name]

    def plain(self, ending: str = ".mp4") -> bytes:
        """The content of the plain clip in one of the common containers."""
        return self.once(f"plain{ending}", lambda path: self.write(path, *self._usual(ending)))

    def plain_file(self, path: Path) -> Path:
        """The plain clip by any name; the ending chooses the container."""
        path.write_bytes(self.plain(path.suffix or ".mp4"))
        return path

    def _usual(self, ending: str) -> tuple[Pictures, Sound]:
        pictures, sound = self.pictures(), self.sound()
        if ending == ".avi":
            return replace(pictures, codec="mpeg4"), self.sound(codec="libmp3lame")
        if ending == ".webm":
            return replace(pictures, codec="libvpx"), self.sound(codec="libopus")
        if ending == ".flv":
            return pictures, self.sound(44_100)
        return pictures, sound


def _read_pictures(path: Path) -> list[Picture]:
    pictures = []
    with av.open(str(path)) as film:
        for frame in film.decode(video=0):
            pictures.append(frame.reformat(SIDE_PX, SIDE_PX, "rgb24").to_ndarray())
            if len(pictures) == round(LENGTH_S * RATE_HZ):
                break
    return pictures


def _read_voice(path: Path) -> np.ndarray:
    with av.open(str(path)) as film:
        parts = [frame.to_ndarray()[0] for frame in film.decode(audio=0)]
    return np.concatenate(parts)[: round(LENGTH_S * VOICE_HZ)].astype(np.float32)


def cut(content: bytes, share: float) -> bytes:
    """The first part of a file."""
    return content[: round(len(content) * share)]


def find_box(content: bytes, kind: bytes) -> int:
    """Where a box of an MP4 file begins, its length first."""
    return content.index(kind) - 4


def resize_box(content: bytes, kind: bytes, size: int) -> bytes:
    """The same file with another length stated for the first box of a kind."""
    at = find_box(content, kind)
    return content[:at] + struct.pack(">I", size) + content[at + 4 :]
