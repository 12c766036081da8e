"""How every dub is made, whatever face and voice express."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import av
from av.container import OutputContainer

from facevoice.errors import ConfigError
from facevoice.media.loudness import BLOCK_S

# Containers round the ends of their streams; so much may be missing (and is silence, or the last
# picture standing still).
MAX_MISSING_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class DubRule:
    """How every dub is made: matches, conflicts and originals alike.

    Picture and sound are both cut to the same length, counted from their starts. The pictures keep
    their own times. The sound is the mean of its channels at 16 kHz, all that analysis ever hears.
    """

    loudness_lufs: float = -23.0
    """Integrated loudness of the voice (ITU-R BS.1770), reached by one constant gain."""
    peak_dbfs: float = -1.0
    """The gain is lowered where the largest sample would exceed this."""
    fade_ms: float = 20.0
    """Sound fades in and out so long, so that no cut clicks."""
    audio_codec: str = "aac"
    """FFmpeg's name of the encoder; must suit MP4."""
    audio_bit_rate_bps: int = 64_000
    """Of the sound."""
    video_codec: str = "libx264"
    """FFmpeg's name of the encoder; must suit MP4 and know `crf` and `preset`."""
    video_crf: int = 18
    """Quality of the pictures; lower is better and larger."""
    video_preset: str = "veryfast"
    """Speed of the video encoder."""
    max_side_px: int = 640
    """Pictures are scaled down until their longer side is at most this."""

    def __post_init__(self) -> None:
        checks = {
            "loudness_lufs from -70 to 0": -70 < self.loudness_lufs < 0,
            "peak_dbfs from -30 to 0": -30 <= self.peak_dbfs <= 0,
            "fade_ms from 0 to 200": 0 <= self.fade_ms <= 200,
            "audio_bit_rate_bps from 8000 to 512000": 8000 <= self.audio_bit_rate_bps <= 512_000,
            "video_crf from 0 to 51": 0 <= self.video_crf <= 51,
            "max_side_px of at least 16": self.max_side_px >= 16,
        }
        for allowed, fine in checks.items():
            if not fine:
                value = getattr(self, allowed.split()[0])
                raise ConfigError(f"dub rule: needs {allowed}, got {value}")


def check_length(length_s: float) -> None:
    """Make sure that a dub of this length can have a loudness.

    Raises:
        ConfigError: it is too short.
    """
    if not BLOCK_S <= length_s < math.inf:
        raise ConfigError(f"length of a dub {length_s} s: needs at least {BLOCK_S} s")


def add_stream(
    output: OutputContainer, codec: str, setting: str, rate_hz: int | None = None
) -> Any:
    """A new stream of `output`; `setting` is the rule's name of the codec, for messages.

    Raises:
        ConfigError: the encoder is unknown, or not for this container.
    """
    try:
        return output.add_stream(codec, rate=rate_hz)
    except (av.FFmpegError, ValueError) as error:
        raise ConfigError(
            f"dub rule: {setting} = {codec!r} is no encoder that MP4 can take here ({error})"
        ) from error
