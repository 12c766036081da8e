"""Long videos out of short ones, without encoding anything again: packets are repeated."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av


def repeat_video(source: Path, target: Path, num_times: int) -> Path:
    """Write `source` that many times in a row, video and sound, as an MP4.

    Every repetition begins when the longer stream of the one before has ended.
    """
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        streams = [s for s in given.streams if s.type in ("video", "audio")]
        copies = {s.index: written.add_stream_from_template(s) for s in streams}
        packets = [p for p in given.demux(streams) if p.dts is not None]
        ends = [(p.pts + (p.duration or 0)) * p.time_base for p in packets if p.pts is not None]
        length = max(ends)
        kept = [
            (p.stream_index, bytes(p), p.pts, p.dts, p.duration, p.time_base, p.is_keyframe)
            for p in packets
        ]
        for number in range(num_times):
            for index, content, pts, dts, duration, time_base, is_keyframe in kept:
                if number and pts is not None and pts < 0:
                    continue  # what primes a sound decoder is needed at the very start only
                shift = round(number * length / Fraction(time_base))
                packet = av.Packet(content)
                packet.stream = copies[index]
                packet.time_base = time_base
                packet.pts = None if pts is None else pts + shift
                packet.dts, packet.duration = dts + shift, duration
                packet.is_keyframe = is_keyframe
                written.mux(packet)
    return target
