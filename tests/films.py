"""Annotated films: traces and reports to draw, made by hand, and readers of what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from builders import make_report
from facevoice.media import read_audio
from facevoice.records import Prediction, Report, Trace

BOX = (0.25, 0.2, 0.6, 0.6)


def make_trace(
    times_s: Sequence[float] = (), tracks: Sequence[int] | None = None, box: object = BOX
) -> Trace:
    boxes = np.asarray(box, np.float32)
    return Trace(
        face_times_s=np.array(times_s, np.float64),
        boxes_xyxy_rel=np.broadcast_to(boxes, (len(times_s), 4)).astype(np.float32),
        track_ids=np.array([0] * len(times_s) if tracks is None else tracks, np.int64),
        peaks=np.zeros(0, np.float32),
        speech_spans_s=np.zeros((0, 2)),
    )


def report_of(path: Path, *windows: Prediction) -> Report:
    return replace(make_report(*windows, path=str(path)), media=None)


@dataclass(frozen=True)
class Film:
    """A decoded file: exact times, pictures (n, H, W, 3), sound packets with their times."""

    times_s: list[Fraction]
    pictures: list[np.ndarray]
    packets: list[tuple[Fraction, bytes]]
    audio_codec: str | None
    container_is_fast: bool


def read_film(path: Path) -> Film:
    times_s, pictures, packets = [], [], []
    with av.open(str(path)) as film:
        for frame in film.decode(video=0) if film.streams.video else ():
            times_s.append(frame.pts * frame.time_base)
            pictures.append(frame.to_ndarray(format="rgb24"))
    with av.open(str(path)) as film:
        audio = film.streams.audio[0] if film.streams.audio else None
        for packet in film.demux(audio) if audio else ():
            if packet.size:
                packets.append((packet.pts * packet.time_base, bytes(packet)))
        codec = audio.codec_context.codec.canonical_name if audio else None
    content = path.read_bytes()
    fast = 0 <= content.find(b"moov") < content.find(b"mdat")
    return Film(times_s, pictures, packets, codec, fast)


def sound_of(path: Path) -> np.ndarray:
    """Mono sound at 16 kHz as a player hears it, silence before its start."""
    return np.concatenate([block.samples for block in read_audio(path)])


def close_to(pixels: np.ndarray, color: str, tolerance: int = 40) -> np.ndarray:
    wanted = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
    return np.abs(pixels.astype(int) - wanted).max(axis=-1) <= tolerance
