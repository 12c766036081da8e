"""The windows of a clip that is cut to its first seconds: steps 2 to 4, and nothing beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from facevoice.config import AnalyzerConfig
from facevoice.media.audio import read_audio
from facevoice.perception.detect import FaceDetector
from facevoice.perception.reading import read_sampled_frames
from facevoice.perception.speech import read_speech
from facevoice.perception.track import track_faces
from facevoice.perception.windows import cut_windows
from facevoice.types import SAMPLE_RATE_HZ, AudioBlock, Frame, MediaInfo, Window


def read_clip_windows(
    info: MediaInfo,
    end_s: float,
    detector: FaceDetector,
    config: AnalyzerConfig,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[Window]:
    """Windows of a file as if it ended at `end_s`, by the steps of `read_windows`.

    No frame from `end_s` on and no 16-kHz sample from `end_s` on reaches the face tracker, the
    voice activity network or a window. (The resampler and the codecs look ahead by milliseconds.)

    Args:
        info: the probed file; streams set to None are not decoded.
        end_s: where to cut; beyond the file, frames are missing and the rest counts as silence.
        detector: finds the faces.
        config: settings.
        on_damage: called with what the decoders complain of.

    Raises:
        UnreadableMediaError: a stream that the container promises can't be decoded at all.
        ValueError: `end_s` is not above 0.
    """
    faces = speech = None
    if info.has_video:
        frames = read_sampled_frames(info, config.faces, on_damage, end_s=end_s)
        faces = track_faces(_frames_before(end_s, frames), detector, config.faces)
    if info.has_audio:
        speech = read_speech(_sound_before(end_s, read_audio(info.path, on_damage=on_damage)))
    return cut_windows(end_s, faces, speech, config.windows, config.faces, config.speech)


def _frames_before(end_s: float, frames: Iterable[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if frame.timestamp_s >= end_s:
            return
        yield frame


def _sound_before(end_s: float, blocks: Iterable[AudioBlock]) -> Iterator[AudioBlock]:
    end = round(end_s * SAMPLE_RATE_HZ)
    for block in blocks:
        first = round(block.start_s * SAMPLE_RATE_HZ)
        if first + len(block.samples) >= end:
            if first < end:
                yield AudioBlock(block.start_s, block.samples[: end - first])
            return
        yield block
