"""Steps 2 to 4 of one file: decode, find faces and speech, cut into windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from facevoice.config import AnalyzerConfig, FacesConfig
from facevoice.media.audio import read_audio
from facevoice.media.video import read_frames
from facevoice.overlap import draw_ahead
from facevoice.perception.detect import FaceDetector
from facevoice.perception.speech import read_speech
from facevoice.perception.track import track_faces
from facevoice.perception.windows import cut_windows
from facevoice.types import AudioBlock, Frame, FrameFaces, MediaInfo, ResumePoint, Window

T = TypeVar("T")

# Enough to ride out the frames that take longest, a full search of faces in several of them.
_FRAMES_AHEAD: Final = 8
_BLOCKS_AHEAD: Final = 8
# Frames before the first one wanted are asked for too: which frame answers an asked time depends
# on which ones answered the times just before.
_RUN_UP_FRAMES: Final = 8


def read_windows(
    info: MediaInfo,
    detector: FaceDetector,
    config: AnalyzerConfig,
    on_damage: Callable[[str], None] | None = None,
    *,
    num_threads: int = 1,
    start: ResumePoint | None = None,
) -> Iterator[Window]:
    """Steps 2 to 4: decode, find faces and speech, cut. Training takes its windows from here too.

    Each stream is decoded once, both side by side and only as far as the windows need; of a long
    file no more is in memory than of a short one but the container's index.

    Args:
        info: the probed file.
        detector: finds the faces.
        config: settings.
        on_damage: called with what the decoders complain of; with several threads, from those.
        num_threads: 1 does one thing after the other; more lets decoding, faces and sound overlap.
        start: go on there; the video is sought, the sound read again from its start, which is
            cheap: voice activity and many codecs depend on all that was heard before.

    Raises:
        UnreadableMediaError: a stream that the container promises can't be decoded at all.
    """
    first = 0 if start is None else start.window
    frames = blocks = None
    if info.has_video:
        start_s = first * config.windows.hop_s
        frames = read_sampled_frames(
            info,
            config.faces,
            on_damage,
            start_s=start_s,
            # One core decodes while the others look and listen; more decode where there are more.
            num_threads=max(1, num_threads // 2),
        )
        if start is not None:
            frames = (frame for frame in frames if frame.timestamp_s >= start_s)
    if info.has_audio:
        blocks = read_audio(info.path, on_damage=on_damage)
    return join_streams(
        frames, blocks, info.duration_s, detector, config, num_threads=num_threads, start=start
    )


def join_streams(
    frames: Iterator[Frame] | None,
    blocks: Iterator[AudioBlock] | None,
    duration_s: float,
    detector: FaceDetector,
    config: AnalyzerConfig,
    *,
    num_threads: int = 1,
    start: ResumePoint | None = None,
    on_faces: Callable[[FrameFaces], None] | None = None,
) -> Iterator[Window]:
    """Steps 3 and 4 on frames and sound, wherever they come from.

    Args:
        frames: sampled `config.faces.sample_rate_hz` times a second; None where there is no video.
        blocks: consecutive, from media time 0 on; None where there is no sound.
        duration_s: where the last window ends.
        detector: finds the faces.
        config: settings.
        num_threads: see `read_windows`.
        start: see `read_windows`; `frames` begin there.
        on_faces: called with the faces of each frame, perhaps from another thread.
    """
    faces = speech = None
    if frames is not None:
        memory = None if start is None else start.face_memory
        seen = track_faces(
            _ahead(frames, _FRAMES_AHEAD, num_threads), detector, config.faces, memory
        )
        seen = seen if on_faces is None else _told(seen, on_faces)
        faces = _ahead(seen, _FRAMES_AHEAD, num_threads)
    if blocks is not None:
        speech = _ahead(read_speech(blocks), _BLOCKS_AHEAD, num_threads)
    first = 0 if start is None else start.window
    return cut_windows(
        duration_s, faces, speech, config.windows, config.faces, config.speech, first=first
    )


def _told(items: Iterator[T], tell: Callable[[T], None]) -> Iterator[T]:
    for item in items:
        tell(item)
        yield item


def read_sampled_frames(
    info: MediaInfo,
    config: FacesConfig,
    on_damage: Callable[[str], None] | None = None,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    num_threads: int = 1,
) -> Iterator[Frame]:
    """The frames in which faces are looked for, `config.sample_rate_hz` times a second.

    Args:
        info: the probed file, with video.
        config: settings.
        on_damage: called with what the decoders complain of.
        start_s: some frames from shortly before come too.
        end_s: no time from here on is asked for; None for the file's end.
        num_threads: that the decoder may use.

    Raises:
        UnreadableMediaError: nothing of the video can be decoded.
    """
    rate_hz = config.sample_rate_hz
    first = max(0, math.floor(start_s * rate_hz) - _RUN_UP_FRAMES)
    num_times = math.ceil((info.duration_s if end_s is None else end_s) * rate_hz)
    return read_frames(
        info.path,
        (k / rate_hz for k in range(first, num_times)),
        tolerance_s=0.5 / rate_hz,
        max_side_px=config.max_side_px,
        exact=config.exact_frames,
        num_threads=num_threads,
        on_damage=on_damage,
    )


def _ahead(items: Iterator[T], depth: int, num_threads: int) -> Iterator[T]:
    return items if num_threads == 1 else draw_ahead(items, depth)
