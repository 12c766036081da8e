"""Frames and sound of one live session, from the socket's thread to the pipeline's."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Final

import numpy as np
import soxr
from PIL import Image

from facevoice.types import SAMPLE_RATE_HZ, AudioBlock, FloatArray, Frame

# More frames than this wait only if the pipeline is too slow; then newer ones are dropped.
_MAX_WAITING: Final = 6
_MAX_SIDE_PX: Final = 1920
# Clocks of camera and sound card drift; less than this is no gap.
_JITTER_S: Final = 0.15
_MAX_GAP_S: Final = 30.0


class LiveStream:
    """Takes what a browser sends; gives it as the iterators that `Analyzer.follow` reads.

    Args:
        sample_rate_hz: of the sound that comes; None where there is no microphone.
        has_video: whether frames come.
    """

    def __init__(self, *, sample_rate_hz: int | None, has_video: bool) -> None:
        self.has_video = has_video
        self.num_dropped = 0
        self._rate_hz = sample_rate_hz
        self._frames: SimpleQueue[tuple[float, bytes] | None] = SimpleQueue()
        self._sound: SimpleQueue[tuple[float, FloatArray] | None] = SimpleQueue()
        self._stopped = False
        self._clock: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether nothing more will come."""
        return self._stopped

    def stop(self) -> None:
        """Let the iterators end after what has come; harmless when repeated."""
        self._stopped = True
        self._frames.put(None)
        self._sound.put(None)

    def lag_s(self, media_s: float) -> float:
        """How long ago the moment `media_s` of the session's clock came in."""
        return 0.0 if self._clock is None else time.monotonic() - self._clock - media_s

    def put_frame(self, timestamp_s: float, jpeg: bytes) -> None:
        """Take a frame, or drop it where too many wait."""
        self._set_clock(timestamp_s)
        if self._frames.qsize() >= _MAX_WAITING:
            self.num_dropped += 1
        elif not self._stopped:
            self._frames.put((timestamp_s, jpeg))

    def put_sound(self, start_s: float, samples: FloatArray) -> None:
        """Take mono samples (N,) that sound from `start_s` on."""
        self._set_clock(start_s + len(samples) / (self._rate_hz or SAMPLE_RATE_HZ))
        if not self._stopped:
            self._sound.put((start_s, samples))

    def frames(self) -> Iterator[Frame] | None:
        """Decoded frames, increasing in time, without those that are no pictures."""
        return self._read_frames() if self.has_video else None

    def blocks(self) -> Iterator[AudioBlock] | None:
        """Sound at 16 kHz from time 0 on without gap: silence stands in for what is missing."""
        return None if self._rate_hz is None else self._read_blocks(self._rate_hz)

    def _set_clock(self, media_s: float) -> None:
        now_s = time.monotonic()
        if self._clock is None or now_s - media_s < self._clock:
            self._clock = now_s - media_s  # the fastest way here is the truest

    def _read_frames(self) -> Iterator[Frame]:
        last_s = -1.0
        while (item := self._frames.get()) is not None:
            timestamp_s, jpeg = item
            rgb = decode_jpeg(jpeg)
            if rgb is not None and timestamp_s > last_s:
                last_s = timestamp_s
                yield Frame(timestamp_s, rgb)

    def _read_blocks(self, rate_hz: int) -> Iterator[AudioBlock]:
        resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1)
        num_taken = num_given = 0
        while (item := self._sound.get()) is not None:
            start_s, samples = item
            gap_s = start_s - num_taken / rate_hz
            if gap_s < -_JITTER_S:
                samples = samples[round(-gap_s * rate_hz) :]
            elif _JITTER_S < gap_s < _MAX_GAP_S:
                samples = np.concatenate([np.zeros(round(gap_s * rate_hz), np.float32), samples])
            num_taken += len(samples)
            block = np.asarray(resampler.resample_chunk(samples), np.float32)
            if len(block):
                yield AudioBlock(num_given / SAMPLE_RATE_HZ, block)
                num_given += len(block)


def decode_jpeg(jpeg: bytes) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]] | None:
    """The picture as uint8 (H, W, 3); None if it is none, or larger than a camera's."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            if max(picture.size) > _MAX_SIDE_PX:
                return None
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None
