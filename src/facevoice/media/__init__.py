"""Reading media files: what they hold, frames at asked times, sound at 16 kHz."""

from facevoice.media.audio import read_audio
from facevoice.media.probe import file_sha256, probe
from facevoice.media.source import DamageCallback
from facevoice.media.video import read_frames, regular_times

__all__ = [
    "DamageCallback",
    "file_sha256",
    "probe",
    "read_audio",
    "read_frames",
    "regular_times",
]
