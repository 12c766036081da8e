"""Writes media files of any make, track by track, with what they show and hold given outright."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from benchmarks.priority import take_usual_turns

RATE_HZ = 25
FINE_HZ = 90_000
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
QUICK: Mapping[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "18"},
    "libx264rgb": {"preset": "ultrafast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "crf": "18", "x265-params": "log-level=none"},
    "libvpx": {"cpu-used": "8", "crf": "10", "b": "4M"},
    "libvpx-vp9": {"cpu-used": "8", "crf": "20"},
    "libsvtav1": {"preset": "12", "crf": "25"},
}
GENEROUS_BITS = 4_000_000  # a second, for codecs that would smear the face by default

Picture = np.ndarray


@dataclass(frozen=True)
class Pictures:
    """A video track: pictures uint8 (H, W, 3), shown at `times_s` or at `rate_hz` one by one.

    finish: changes each frame before it is encoded, such as its colours;
    made: changes the stream before the first one.
    """

    frames: Sequence[Picture]
    codec: str = "libx264"
    times_s: Sequence[float] | None = None
    rate_hz: Fraction | float = RATE_HZ
    clock_hz: int | None = None
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    disposition: av.stream.Disposition | None = None
    rotation_deg: int = 0
    size_px: tuple[int, int] | None = None
    finish: Callable[[av.VideoFrame], av.VideoFrame] | None = None
    made: Callable[[Any], None] | None = None

    def add_to(self, output: Any) -> Iterator[Any]:
        """Make the stream; gives its packets."""
        rate = Fraction(self.rate_hz).limit_denominator(1001)
        stream = output.add_stream(self.codec, rate=rate)
        height, width = self.frames[0].shape[:2] if self.size_px is None else self.size_px[::-1]
        stream.width, stream.height, stream.pix_fmt = width, height, self.pix_fmt
        clock_hz = self.clock_hz or (FINE_HZ if self.times_s is not None else None)
        base = 1 / rate if clock_hz is None else Fraction(1, clock_hz)
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {**QUICK.get(self.codec, {}), **self.options}
        if self.codec not in QUICK:
            stream.codec_context.bit_rate = GENEROUS_BITS
        _describe(stream, self.metadata, self.disposition)
        if self.rotation_deg:
            stream.set_display_rotation(self.rotation_deg)
        if self.made is not None:
            self.made(stream)
        return self._packets(stream, base)

    def _packets(self, stream: Any, base: Fraction) -> Iterator[Any]:
        times_s = self.times_s
        step_s = 1 / Fraction(self.rate_hz).limit_denominator(1001)
        for place, picture in enumerate(self.frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if self.finish is not None:
                frame = self.finish(frame)
            time_s = place * step_s if times_s is None else times_s[place]
            frame.pts, frame.time_base = round(time_s / base), base
            yield from stream.encode(frame)
        yield from stream.encode(None)


@dataclass(frozen=True)
class Sound:
    """A sound track: samples (N,) or (C, N) in [-1, 1] at `rate_hz`, the first at `start_s`."""

    samples: np.ndarray
    rate_hz: int
    codec: str = "aac"
    start_s: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    disposition: av.stream.Disposition | None = None
    layout: str | None = None
    form: str | None = None
    bits: int | None = 128_000

    def add_to(self, output: Any) -> Iterator[Any]:
        """Make the stream; gives its packets."""
        samples = np.atleast_2d(self.samples).astype(np.float32)
        layout = self.layout or LAYOUTS[len(samples)]
        stream = output.add_stream(self.codec, rate=self.rate_hz, layout=layout)
        if self.form is not None:
            stream.codec_context.format = self.form
        if self.bits is not None:
            stream.codec_context.bit_rate = self.bits
        stream.codec_context.options = dict(self.options)
        _describe(stream, self.metadata, self.disposition)
        return self._packets(stream, samples, layout)

    def _packets(self, stream: Any, samples: np.ndarray, layout: str) -> Iterator[Any]:
        for start in range(0, samples.shape[1], 1024):
            # Packed, for PyAV miscounts the planes of more than seven channels.
            part = np.ascontiguousarray(samples[:, start : start + 1024].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
            frame.sample_rate, frame.time_base = self.rate_hz, Fraction(1, self.rate_hz)
            frame.pts = start + round(self.start_s * self.rate_hz)
            yield from stream.encode(frame)
        yield from stream.encode(None)


def _describe(stream: Any, metadata: Mapping[str, str], disposition: Any) -> None:
    stream.metadata.update(metadata)
    if disposition is not None:
        stream.disposition = disposition


def write(
    path: Path,
    *tracks: Pictures | Sound,
    container: str | None = None,
    options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    more: Callable[[Any], Iterable[Any]] | None = None,
) -> Path:
    """A file of these tracks; `more` adds streams of other kinds and gives their packets."""
    with av.open(str(path), "w", format=container, options=dict(options or {})) as output:
        output.metadata.update(metadata or {})
        packets = [track.add_to(output) for track in tracks]
        others = list(more(output)) if more is not None else []
        output.start_encoding()
        for packet in heapq.merge(*packets, others, key=_time_s):
            output.mux(packet)
    take_usual_turns()
    return path


def _time_s(packet: Any) -> float:
    stamp = packet.pts if packet.dts is None else packet.dts
    return 0.0 if stamp is None else float(stamp * packet.time_base)


def remux(
    source: Path,
    path: Path,
    *,
    container: str | None = None,
    options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    kinds: Sequence[str] = ("video", "audio"),
    change: Callable[[Any], bool | None] | None = None,
) -> Path:
    """The packets of another file without encoding anew.

    change: alters a packet in place; a packet for which it gives False is left out.
    """
    with (
        av.open(str(source)) as given,
        av.open(str(path), "w", format=container, options=dict(options or {})) as output,
    ):
        output.metadata.update(metadata or {})
        streams = [stream for stream in given.streams if stream.type in kinds]
        copies = {s.index: output.add_stream_from_template(s) for s in streams}
        output.start_encoding()
        for packet in given.demux(streams):
            if packet.dts is None:
                continue
            if change is not None and change(packet) is False:
                continue
            packet.stream = copies[packet.stream_index]
            output.mux(packet)
    return path
