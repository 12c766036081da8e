"""Reading media files: what they hold, frames at asked times, sound at 16 kHz."""

from facevoice.media.frames import read_frames, regular_times
from facevoice.media.open import DamageCallback, probe
from facevoice.media.sound import read_audio

__all__ = ["DamageCallback", "probe", "read_audio", "read_frames", "regular_times"]
