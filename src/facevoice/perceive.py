"""Cutting a file into windows: what was seen and heard in each few seconds, side by side."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from facevoice.media.frames import read_frames
from facevoice.media.sound import read_audio
from facevoice.people.detect import FaceDetector
from facevoice.people.speech import CHUNK_SAMPLES, read_speech
from facevoice.people.track import track_faces
from facevoice.records import (
    SAMPLE_RATE_HZ,
    AudioBlock,
    BoolArray,
    FaceSighting,
    FloatArray,
    Frame,
    FrameFaces,
    IntArray,
    MediaInfo,
    ResumePoint,
    SpeechBlock,
    Window,
)
from facevoice.settings import AnalyzerConfig, FacesConfig, SpeechConfig, WindowConfig
from facevoice.workers import draw_ahead

# Sums of hops and durations read from files are not exact.
_EPSILON_S: Final[float] = 1e-6


def cut_windows(
    duration_s: float,
    faces: Iterator[FrameFaces] | None,
    speech: Iterator[SpeechBlock] | None,
    windows: WindowConfig,
    faces_config: FacesConfig,
    speech_config: SpeechConfig,
    *,
    first: int = 0,
) -> Iterator[Window]:
    """Join faces and speech into windows; both streams are read only as far as is needed.

    Window k covers k·hop to k·hop + length; the last is the first one that reaches the end of the
    file and stops there. A file shorter than one window is one window. A window's samples are
    those that sound from its start on, so neighbours that do not overlap share none.

    Where the video starts late or ends early, the frames that should have been sampled there count
    as frames without a face; where the sound ends early, the rest counts as silence.

    Args:
        duration_s: length of the file.
        faces: sampled frames in time order; None where the file has no video.
        speech: consecutive blocks from media time 0 on; None where it has no sound.
        first: number of the first window given; `faces` begin where it does, `speech` may.

    Raises:
        ValueError: the duration is not above 0.
    """
    if duration_s <= 0:
        raise ValueError(f"cut_windows: duration_s = {duration_s} is not above 0")
    # From a later window on, the video began before, as far as is known.
    begun_s = first * windows.hop_s if first else None
    seen = _SeenFaces(faces, faces_config.sample_rate_hz, begun_s) if faces is not None else None
    heard = _HeardSpeech(speech, speech_config.threshold) if speech is not None else None
    for start_s, end_s in window_spans(duration_s, windows, first=first):
        is_last = end_s >= duration_s
        found = seen.between(start_s, end_s, is_last=is_last) if seen else []
        num_missing = seen.num_missing(start_s, end_s) if seen else 0
        sound = heard.between(start_s, end_s) if heard else None
        yield _window(start_s, end_s, found, num_missing, sound)


def window_spans(
    duration_s: float, windows: WindowConfig, *, first: int = 0
) -> Iterator[tuple[float, float]]:
    """Start and end in seconds of every window of a file; together they cover it exactly.

    `first`: number of the first one given.
    """
    k = first
    while True:
        start_s = k * windows.hop_s
        if start_s + windows.length_s >= duration_s - _EPSILON_S:
            yield start_s, duration_s
            return
        yield start_s, start_s + windows.length_s
        k += 1


class _SeenFaces:
    """The sampled frames of the current window, and where the video begins and ends."""

    def __init__(
        self, frames: Iterator[FrameFaces], sample_rate_hz: float, begun_s: float | None
    ) -> None:
        self._frames = frames
        self._period_s = 1 / sample_rate_hz
        self._kept: deque[FrameFaces] = deque()
        self._first_s = begun_s
        self._end_s = begun_s
        self._ended = False

    def between(self, start_s: float, end_s: float, *, is_last: bool) -> list[FrameFaces]:
        """Frames from `start_s` to before `end_s`; starts must not decrease."""
        while self._kept and self._kept[0].timestamp_s < start_s:
            self._kept.popleft()
        # The stream may hold frames a little beyond the stated duration.
        limit_s = np.inf if is_last else end_s
        while not self._ended and (not self._kept or self._kept[-1].timestamp_s < end_s):
            self._draw(start_s)
        return [frame for frame in self._kept if frame.timestamp_s < limit_s]

    def num_missing(self, start_s: float, end_s: float) -> int:
        """Frames that should have been sampled in a window before or after the video."""
        if self._first_s is None or self._end_s is None:
            return self._num_periods(end_s - start_s)
        missing = self._num_periods(min(self._first_s, end_s) - start_s)
        if self._ended:
            missing += self._num_periods(end_s - max(self._end_s, start_s))
        return missing

    def _num_periods(self, span_s: float) -> int:
        return max(0, round(span_s / self._period_s))

    def _draw(self, start_s: float) -> None:
        frame = next(self._frames, None)
        if frame is None:
            self._ended = True
            return
        # A frame lasts a sampling period, or as long as the one before in slower video.
        lasts_s = self._period_s
        if self._first_s is None:
            self._first_s = frame.timestamp_s
        elif self._kept:
            lasts_s = max(lasts_s, frame.timestamp_s - self._kept[-1].timestamp_s)
        self._end_s = frame.timestamp_s + lasts_s
        if frame.timestamp_s >= start_s:
            self._kept.append(frame)


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """Samples (N,) of a window; from which to before which sample of the file speech is heard."""

    samples: FloatArray
    speech_spans: IntArray

    @property
    def speech_s(self) -> float:
        """Seconds of speech."""
        return float(np.diff(self.speech_spans).sum()) / SAMPLE_RATE_HZ


class _HeardSpeech:
    """The sound of the current window with its voice activity."""

    def __init__(self, blocks: Iterator[SpeechBlock], threshold: float) -> None:
        self._blocks = blocks
        self._threshold = threshold
        self._kept: deque[tuple[int, SpeechBlock]] = deque()
        self._ended = False

    def between(self, start_s: float, end_s: float) -> _Sound | None:
        """What sounds from `start_s` to before `end_s`; None where there is no sound."""
        start, end = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
        while self._kept and _end(self._kept[0]) <= start:
            self._kept.popleft()
        while not self._ended and (not self._kept or _end(self._kept[-1]) < end):
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                entry = (round(block.start_s * SAMPLE_RATE_HZ), block)
                if _end(entry) > start:
                    self._kept.append(entry)
        pieces: list[FloatArray] = []
        spans: list[tuple[int, int]] = []
        for first, block in self._kept:
            low, high = max(start - first, 0), min(end - first, len(block.samples))
            if low < high:
                pieces.append(block.samples[low:high])
                for begin, stop in _speech_spans(block.probs >= self._threshold, low, high):
                    goes_on = spans and spans[-1][1] == first + begin
                    spans.append((spans.pop()[0] if goes_on else first + begin, first + stop))
        if not pieces:
            return None
        return _Sound(np.concatenate(pieces), np.array(spans, np.int64).reshape(-1, 2))


def _end(entry: tuple[int, SpeechBlock]) -> int:
    return entry[0] + len(entry[1].samples)


def _speech_spans(is_speech: BoolArray, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Where chunks marked as speech lie between the samples `low` and `high` of a block."""
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False)) * CHUNK_SAMPLES
    for start, end in edges.reshape(-1, 2).tolist():
        if max(start, low) < min(end, high):
            yield max(start, low), min(end, high)


def _window(
    start_s: float,
    end_s: float,
    frames: list[FrameFaces],
    num_missing: int,
    sound: _Sound | None,
) -> Window:
    samples = None if sound is None else sound.samples
    spans_s = None if sound is None else sound.speech_spans / SAMPLE_RATE_HZ
    speech_coverage = min(1.0, (0.0 if sound is None else sound.speech_s) / (end_s - start_s))
    leading = leading_face(frames)
    memory = frames[0].memory if frames else None
    if leading is None:
        return Window(
            start_s,
            end_s,
            None,
            samples,
            0.0,
            speech_coverage,
            face_memory=memory,
            speech_spans_s=spans_s,
        )
    sightings = [(f, s) for f in frames for s in f.sightings if s.track_id == leading]
    sides = np.array([[f.width_px, f.height_px] * 2 for f, _ in sightings], np.float32)
    boxes = np.stack([s.box_xyxy for _, s in sightings]) / sides
    return Window(
        start_s=start_s,
        end_s=end_s,
        faces=np.stack([s.crop for _, s in sightings]),
        samples=samples,
        face_coverage=len(sightings) / (len(frames) + num_missing),
        speech_coverage=speech_coverage,
        num_tracks=len({s.track_id for f in frames for s in f.sightings}),
        face_timestamps_s=np.array([s.timestamp_s for _, s in sightings]),
        boxes_xyxy_rel=np.clip(boxes, 0, 1).astype(np.float32),
        track_id=leading,
        face_memory=memory,
        speech_spans_s=spans_s,
    )


def leading_face(frames: list[FrameFaces]) -> int | None:
    """The track with the largest sum of box area times score; of equals the older one."""
    weights: dict[int, float] = {}
    for frame in frames:
        for sighting in frame.sightings:
            weights[sighting.track_id] = weights.get(sighting.track_id, 0.0) + _weight(sighting)
    if not weights:
        return None
    return max(weights, key=lambda track_id: (weights[track_id], -track_id))


def _weight(sighting: FaceSighting) -> float:
    x0, y0, x1, y1 = sighting.box_xyxy.tolist()
    weight: float = max(x1 - x0, 0.0) * max(y1 - y0, 0.0) * sighting.score
    return weight


# Steps 2 to 4 of one file: decode, find faces and speech, cut into windows.

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
