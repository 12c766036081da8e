"""What a compressed picture says of itself: whether others refer to it, whether decoding may begin.

Only headers are read, nothing is decoded. Where they can't be read, the careful answer is given:
a picture is referred to, and decoding may not begin with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from av.packet import Packet
from av.video.stream import VideoStream

# Each picture stands for itself, in every variant of the codec, and so does its packet.
_INTRA_CODECS: Final = frozenset(
    ["mjpeg", "prores", "dnxhd", "dvvideo", "v210", "huffyuv", "utvideo", "png"]
)
_START_CODE: Final = b"\x00\x00\x01"
# DivX's way to put two pictures into one packet for AVI, which makes timestamps meaningless.
_PACKED_MPEG4: Final = re.compile(rb"DivX\d+(b|Build)\d+p")
_H264_IDR: Final = 5
_H264_SLICES: Final = frozenset([1, 2, 5])
_H264_SETTINGS: Final = frozenset([7, 8, 13, 15])
_HEVC_IRAP: Final = range(16, 24)
_HEVC_SLICES: Final = range(32)
_HEVC_NON_REFERENCE: Final = frozenset(range(0, 16, 2))
_HEVC_VPS: Final = 32
_HEVC_SETTINGS: Final = range(32, 35)
_MPEG_I, _MPEG_B = 1, 3


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of one packet's picture.

    is_reference: others may refer to it.
    is_entry: a decoder that saw nothing before gets this picture, and all that are shown after it,
    to the bit as one that saw everything.
    has_settings: it brings parameter sets, on which later pictures may depend.
    """

    is_reference: bool = True
    is_entry: bool = False
    has_settings: bool = False


class _Reader(Protocol):
    def __call__(self, data: bytes, /) -> Traits: ...


class TraitReader:
    """Reads the traits of a stream's packets; to be given all of them, in the file's order."""

    def __init__(self, stream: VideoStream) -> None:
        context = stream.codec_context
        # Other ways to decode the same codec (libdav1d, …) have names of their own.
        codec = context.codec.canonical_name
        extradata = bytes(context.extradata or b"")
        self._read = _create_reader(codec, extradata)
        self._is_hevc = isinstance(self._read, _Hevc)
        self.is_intra_only = codec in _INTRA_CODECS
        # AVI counts packets; it has no timestamps by which pictures sent out of order are told.
        has_clock = "avi" not in stream.container.format.name.split(",")
        # Before version 16, PyAV doesn't show where an MP4 switches to other settings midway.
        shows_switches = hasattr(Packet, "has_sidedata")
        is_packed = codec == "mpeg4" and _PACKED_MPEG4.search(extradata) is not None
        self._has_entries = self.is_intra_only or (has_clock and shows_switches and not is_packed)

    def __call__(self, packet: Packet[VideoStream]) -> Traits:
        """Traits of `packet`."""
        if self._read is not None and _switches_settings(packet):
            # Sizes and layers may be others from here on: nothing is taken for granted any more.
            self._read, self._has_entries = None, False
        traits = Traits() if self._read is None else self._read(bytes(packet))
        is_trusted = packet.is_keyframe and not (packet.is_corrupt or packet.is_discard)
        return Traits(
            traits.is_reference and not packet.is_disposable,
            traits.is_entry and is_trusted and self._has_entries,
            traits.has_settings,
        )

    def may_skip(self, traits: Traits) -> bool:
        """Whether the decoder may be told to leave this picture out if nobody refers to it.

        FFmpeg's HEVC decoder leaves out pictures to which those of higher temporal layers refer.
        """
        return not (self._is_hevc and traits.is_reference)


def _switches_settings(packet: Packet[VideoStream]) -> bool:
    return hasattr(packet, "has_sidedata") and packet.has_sidedata("new_extradata")


def _create_reader(codec: str, extradata: bytes) -> _Reader | None:
    if codec in _INTRA_CODECS:
        return _read_mjpeg if codec == "mjpeg" else _read_intra
    if codec == "h264":
        is_avcc = len(extradata) > 6 and extradata[0] == 1
        return _H264(1 + (extradata[4] & 3) if is_avcc else 0)
    if codec == "hevc":
        is_hvcc = len(extradata) > 22 and (extradata[0] or extradata[1] or extradata[2] > 1)
        return _Hevc(1 + (extradata[21] & 3) if is_hvcc else 0, extradata)
    readers: dict[str, _Reader] = {
        "mpeg1video": _read_mpeg2,
        "mpeg2video": _read_mpeg2,
        "mpeg4": _read_mpeg4,
        "vp8": _read_vp8,
        "vp9": _read_vp9,
    }
    return readers.get(codec)


def _read_intra(_: bytes) -> Traits:
    return Traits(is_entry=True)


def _read_mjpeg(data: bytes) -> Traits:
    # A picture may borrow its quantisation tables from those before.
    return Traits(is_entry=b"\xff\xdb" in data[:4096])


@dataclass(slots=True)
class _H264:
    length_size: int

    def __call__(self, data: bytes) -> Traits:
        kinds: set[int] = set()
        is_reference = False
        for nal in _split_nals(data, self.length_size):
            if nal < 0:
                return Traits(has_settings=True)
            kind = data[nal] & 31
            kinds.add(kind)
            is_reference = is_reference or (kind in _H264_SLICES and data[nal] & 0x60 != 0)
        slices = kinds & _H264_SLICES
        return Traits(
            is_reference or not slices,
            slices == {_H264_IDR},
            not kinds.isdisjoint(_H264_SETTINGS),
        )


@dataclass(slots=True)
class _Hevc:
    """Of several temporal layers, only the highest has pictures to which surely none refers.

    Those that lower ones mark so may be needed by pictures of a higher layer.
    """

    length_size: int
    extradata: bytes
    num_layers: int = 0  # 0: not known

    def __post_init__(self) -> None:
        if self.length_size:
            self.num_layers = (self.extradata[21] >> 3) & 7
        for nal in _split_nals(self.extradata, 0):
            self._read_layers(self.extradata, nal)

    def __call__(self, data: bytes) -> Traits:
        kinds: set[int] = set()
        is_reference = False
        for nal in _split_nals(data, self.length_size):
            if nal < 0 or nal + 1 >= len(data):
                return Traits(has_settings=True)
            kind, layer = (data[nal] >> 1) & 63, (data[nal + 1] & 7) - 1
            kinds.add(kind)
            self._read_layers(data, nal)
            if kind in _HEVC_SLICES:
                is_highest = 0 < self.num_layers <= layer + 1
                is_reference |= not (kind in _HEVC_NON_REFERENCE and is_highest)
        slices = {kind for kind in kinds if kind in _HEVC_SLICES}
        return Traits(
            is_reference or not slices,
            bool(slices) and all(kind in _HEVC_IRAP for kind in slices),
            any(kind in _HEVC_SETTINGS for kind in kinds),
        )

    def _read_layers(self, data: bytes, nal: int) -> None:
        # Video parameter set: two bytes of header, then 12 bits of other things, then the layers.
        if nal >= 0 and (data[nal] >> 1) & 63 == _HEVC_VPS and nal + 3 < len(data):
            self.num_layers = max(self.num_layers, 1 + ((data[nal + 3] >> 1) & 7))


def _read_mpeg2(data: bytes) -> Traits:
    types = [(data[at + 5] >> 3) & 7 for at in _find_codes(data, 0x00) if at + 5 < len(data)]
    # The sequence header resets the matrices, which may have been changed since the last one.
    has_header = next(_find_codes(data, 0xB3), None) is not None
    return Traits(
        not types or any(kind != _MPEG_B for kind in types),
        bool(types) and types[0] == _MPEG_I and has_header,
    )


def _read_mpeg4(data: bytes) -> Traits:
    types = [(data[at + 4] >> 6) + 1 for at in _find_codes(data, 0xB6) if at + 4 < len(data)]
    is_single = len(types) == 1
    is_packed = _PACKED_MPEG4.search(data) is not None
    return Traits(
        not (is_single and types[0] == _MPEG_B),
        is_single and types[0] == _MPEG_I and not is_packed,
    )


def _read_vp8(data: bytes) -> Traits:
    return Traits(is_entry=len(data) > 0 and data[0] & 1 == 0)


def _read_vp9(data: bytes) -> Traits:
    # Two bits of marker, two of profile (a third in profile 3), then "shown before", "no key".
    if not data or data[0] >> 6 != 2:
        return Traits()
    shift = 1 if data[0] & 0x30 == 0x30 else 2
    return Traits(is_entry=(data[0] >> shift) & 3 == 0)


def _split_nals(data: bytes, length_size: int) -> Iterator[int]:
    """Where each NAL unit's header lies, -1 if the data is not what it should be.

    length_size: bytes of the length in front of each unit; 0 for start codes (Annex B).
    """
    if not length_size:
        at = data.find(_START_CODE)
        while 0 <= at < len(data) - 4:
            yield at + 3
            at = data.find(_START_CODE, at + 3)
        return
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if at + size > len(data):
            yield -1
            return
        if size:
            yield at
        at += size


def _find_codes(data: bytes, code: int) -> Iterator[int]:
    """Where the start code with this last byte occurs."""
    pattern = _START_CODE + bytes([code])
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 4)
