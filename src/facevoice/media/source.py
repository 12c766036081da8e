"""Opening a media file safely, and what all readers of it share: streams, clock, damage."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from facevoice.errors import (
    EmptyMediaError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)

StreamT = TypeVar("StreamT", bound=Stream)
DamageCallback = Callable[[str], None]

logger = logging.getLogger(__name__)

# Only demuxers of real media files. FFmpeg would also "play" text files, still pictures and
# playlists; a playlist names other files and addresses, which must not be read unasked.
ALLOWED_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,asf,mxf,gxf,rm,dv,nut,ivf,"
    "h264,hevc,vvc,av1,obu,m4v,mpegvideo,mjpeg,gif,wav,w64,rf64,aiff,caf,flac,ogg,mp3,aac,ac3,eac3,"
    "amr,amrnb,amrwb,au,voc,wv,tta,ape,tak,dts,truehd,latm,loas,sbc,gsm"
)
_NOT_VIDEO: Final = Disposition.attached_pic | Disposition.timed_thumbnails
_FALLBACK_RATE_HZ: Final = 25.0
# Formats whose header states the streams' length. Others (raw streams, MP3, MPEG) give at best an
# estimate from the bit rate or from two timestamps.
_STATING_FORMATS: Final = frozenset(
    ["mov", "matroska", "avi", "flv", "asf", "wav", "w64", "aiff", "caf", "flac", "ogg"]
)
# A leap over more than this within a stream is taken for a damaged timestamp, not for a pause.
MAX_PAUSE_S: Final = 3600.0
# A file that ends this much before its stated end is called cut off.
CUT_OFF_S: Final = 0.5
_PLAUSIBLE_RATES_HZ: Final = range(1_000, 1_000_001)
_PLAUSIBLE_ASPECT: Final = (0.25, 4.0)


class DamageLog:
    """Tells the caller once per kind of damage, and the log as well."""

    def __init__(self, path: Path, on_damage: DamageCallback | None) -> None:
        self._path = path
        self._on_damage = on_damage
        self._kinds: set[str] = set()

    def note(self, kind: str, message: str) -> None:
        """Report `message` unless damage of this `kind` was reported before."""
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        logger.warning("%s: %s", self._path, message)
        if self._on_damage is not None:
            self._on_damage(message)


@dataclass(frozen=True, slots=True)
class Source:
    """An open file: its first usable video and audio stream, and where its clock starts.

    `origin_s` is the stream time that becomes media time 0: the earlier of the streams' starts.
    """

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    origin_s: float

    @property
    def streams(self) -> list[VideoStream | AudioStream]:
        """The streams that are read, one or two."""
        return [s for s in (self.video, self.audio) if s is not None]

    def start_s(self, stream: Stream) -> float:
        """Media time at which `stream` starts, 0 where the container doesn't say."""
        start_s = ticks_to_s(stream.start_time, stream.time_base)
        return 0.0 if start_s is None else max(0.0, start_s - self.origin_s)

    @property
    def states_length(self) -> bool:
        """Whether the header's durations are statements rather than estimates."""
        return bool(_STATING_FORMATS.intersection(self.container.format.name.split(",")))

    def stated_end_s(self, stream: Stream) -> float | None:
        """Media time at which `stream` ends by the header, None if that doesn't say."""
        duration_s = ticks_to_s(stream.duration, stream.time_base)
        if duration_s is None or not self.states_length:
            return None
        return (ticks_to_s(stream.start_time, stream.time_base) or 0.0) + duration_s - self.origin_s

    def demux(self, *streams: StreamT) -> Iterator[Packet[StreamT]]:
        """Packets of `streams` from the place reached so far, then an empty one for each."""
        packets: Iterator[Any] = self.container.demux(streams)
        try:
            yield from packets
        except IndexError:
            # At the end of the file, PyAV stumbles over streams that only appeared within it.
            return

    def keep_only(self, wanted: Stream) -> None:
        """Let the demuxer skip the packets of all other streams without reading them."""
        for stream in self.container.streams:
            if stream.index != wanted.index:
                stream.discard = av.stream.Discard.all


@contextmanager
def open_source(path: str | Path) -> Iterator[Source]:
    """Open a media file for reading.

    Raises:
        MediaNotFoundError: no such file.
        EmptyMediaError: zero bytes.
        UnreadableMediaError: a folder, not a media file, or one whose header is damaged.
        NoStreamError: no video or audio inside.
    """
    path = Path(path)
    _check_file(path)
    try:
        # The prefix keeps FFmpeg from taking "data:x.mp4" or "a:b.mp4" for an address.
        container = av.open(
            f"file:{path}",
            "r",
            options={"format_whitelist": ALLOWED_FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise _open_error(path, error) from error
    with container:
        yield _choose_streams(path, container)


def ticks_to_s(ticks: int | None, time_base: Fraction | None) -> float | None:
    """Stream ticks in seconds; None where the container doesn't say."""
    if ticks is None or time_base is None:
        return None
    return ticks * time_base.numerator / time_base.denominator


def packet_end_s(packet: Packet[StreamT]) -> float | None:
    """Stream time at which what `packet` holds ends, None if it has no timestamp."""
    start_s = ticks_to_s(packet.dts if packet.pts is None else packet.pts, packet.time_base)
    if start_s is None:
        return None
    duration_s = ticks_to_s(packet.duration, packet.time_base)
    if not duration_s and isinstance(packet.stream, VideoStream):
        duration_s = 1.0 / frame_rate_hz(packet.stream)
    return start_s + (duration_s or 0.0)


def frame_rate_hz(stream: VideoStream) -> float:
    """Frames per second as the container states or implies it; 25 where it says nothing."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and 0 < rate <= 1000:
            return float(rate)
    return _FALLBACK_RATE_HZ


def display_size_px(stream: VideoStream, width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height in square pixels of a stored picture; anamorphic video is stretched."""
    aspect = stream.sample_aspect_ratio
    if aspect is None or not _PLAUSIBLE_ASPECT[0] <= aspect <= _PLAUSIBLE_ASPECT[1]:
        return width_px, height_px
    return max(1, round(width_px * aspect)), height_px


def _check_file(path: Path) -> None:
    try:
        info = path.stat()
    except FileNotFoundError as error:
        raise MediaNotFoundError(path, "no such file.", "Check the name and folder.") from error
    except OSError as error:
        raise UnreadableMediaError(
            path, f"can't be read ({error.strerror}).", "Check its name and permissions."
        ) from error
    if stat.S_ISDIR(info.st_mode):
        raise UnreadableMediaError(path, "is a folder.", "Name the media files inside it.")
    if not stat.S_ISREG(info.st_mode):
        raise UnreadableMediaError(path, "is not a regular file.", "Copy its content to a file.")
    if info.st_size == 0:
        raise EmptyMediaError(path, "the file is empty (zero bytes).", "Copy or download it again.")


def _open_error(path: Path, error: av.FFmpegError) -> UnreadableMediaError:
    if isinstance(error, PermissionError):
        return UnreadableMediaError(path, "may not be read.", "Check its permissions.")
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] in (b"ftyp", b"mdat", b"moov") and isinstance(error, av.InvalidDataError):
        return UnreadableMediaError(
            path,
            "its index is missing or damaged; the recording or the copy was probably cut off.",
            "Get the whole file, or repair it with a tool such as untrunc.",
        )
    return UnreadableMediaError(
        path,
        "is not a video or audio file that can be read, or its header is damaged.",
        "Check that it plays, or convert it to MP4 (H.264 and AAC) first.",
    )


def _choose_streams(path: Path, container: InputContainer) -> Source:
    videos = [s for s in container.streams.video if not s.disposition & _NOT_VIDEO]
    audios = list(container.streams.audio)
    if not videos and not audios:
        raise NoStreamError(
            path, "holds neither video nor audio.", "Give a file with at least one of them."
        )
    # Streams of an unknown codec have no codec context; damaged ones no credible size or rate.
    video = next((s for s in videos if s.codec_context is not None and s.width > 0), None)
    audio = next(
        (s for s in audios if s.codec_context is not None and s.sample_rate in _PLAUSIBLE_RATES_HZ),
        None,
    )
    if video is None and audio is None:
        raise UnreadableMediaError(
            path,
            "its video and audio can't be decoded (unknown codec or damaged).",
            "Convert it to MP4 (H.264 and AAC) first.",
        )
    chosen: list[Stream] = [s for s in (video, audio) if s is not None]
    starts_s = [ticks_to_s(s.start_time, s.time_base) for s in chosen]
    return Source(
        path, container, video, audio, min((s for s in starts_s if s is not None), default=0.0)
    )
