"""Opening media files safely, and what all readers share: streams, one clock, damage, length."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from facevoice.errors import (
    EmptyMediaError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)
from facevoice.media.clocks import (
    MAX_HELD,
    MAX_HELD_PER_STAMP,
    MAX_PAUSE_S,
    JoinedClock,
    frame_rate_hz,
    packet_end_s,
    steadied,
    ticks_to_s,
)
from facevoice.media.others import HEAD_BYTES, check_still_box, other_error, picture_error
from facevoice.media.structure import is_cut_short
from facevoice.media.tracks import choose_track, order_tracks, why_chosen
from facevoice.records import AudioInfo, ByteArray, MediaInfo, VideoInfo
from facevoice.settings import AUTO
from facevoice.texts import shown

StreamT = TypeVar("StreamT", bound=VideoStream | AudioStream)
DamageCallback = Callable[[str], None]

_LOG = logging.getLogger(__name__)

# Only demuxers of real media files. FFmpeg would also "play" text files, still pictures and
# playlists; a playlist names other files and addresses, which must not be read unasked.
_ALLOWED_FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,asf,mxf,gxf,rm,dv,nut,ivf,"
    "h264,hevc,vvc,av1,obu,m4v,mpegvideo,mjpeg,gif,wav,w64,rf64,aiff,caf,flac,ogg,mp3,aac,ac3,eac3,"
    "amr,amrnb,amrwb,au,voc,wv,tta,ape,tak,dts,truehd,latm,loas,sbc,gsm"
)
# The largest pictures that are decoded: 8K in all its shapes. The decoder holds several at once.
_MAX_PICTURE_PX: Final = 8192 * 4608
# Of video and sound: more than any recording has.
_MAX_STREAMS: Final = 256
_OPTIONS: Final = {
    "format_whitelist": _ALLOWED_FORMATS,
    "protocol_whitelist": "file",
    # Of what FFmpeg decodes while it opens a file. It forgets the size of what is larger.
    "max_pixels": str(2 * _MAX_PICTURE_PX),
}
# Formats whose header states the streams' length. Others (raw streams, MP3, MPEG) give at best an
# estimate from the bit rate or from two timestamps.
STATING_FORMATS: Final = frozenset(
    ["mov", "matroska", "avi", "flv", "asf", "wav", "w64", "aiff", "caf", "flac", "ogg"]
)
# Formats of sound that is stored as it is. FFmpeg cuts it into packets; that the last one is short
# is no damage, and happens wherever the header doesn't know the length.
_RAW_FORMATS: Final = frozenset(["wav", "w64", "aiff", "caf", "au", "voc"])
# Formats that may be joined end to end, each recording with its own clock.
_JOINABLE_FORMATS: Final = frozenset(["mpegts", "mpeg"])
# Formats of films that may as well be of one picture.
_PICTURE_FORMATS: Final = frozenset(["gif", "mjpeg"])
_NOT_VIDEO: Final = Disposition.attached_pic | Disposition.timed_thumbnails
_PLAUSIBLE_ASPECT: Final = (0.25, 4.0)
# A file that ends this much before its stated end is called cut off.
_CUT_OFF_S: Final = 0.5
_TAIL_S: Final = 1.0
# No recording of over an hour takes less: even speech between long pauses does.
_LEAST_BYTES_PER_S: Final = 4
_AGREEMENT_S: Final = 0.1
_NEAR_JOIN_S: Final = 1.0
_PACKETS_TO_FIRST_FRAME: Final = 100
# A stream that shows one picture while another shows so many is a still picture.
_PACKETS_OF_A_FILM: Final = 50
# Two letters at least: "C:" is a drive.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@dataclass(frozen=True, slots=True)
class DamageLog:
    """Tells the caller once per kind of damage, and the log as well."""

    path: Path
    on_damage: DamageCallback | None
    kinds: set[str] = field(default_factory=set)

    def note(self, kind: str, message: str) -> None:
        """Report `message` unless damage of this `kind` was reported before."""
        if kind in self.kinds:
            return
        self.kinds.add(kind)
        _LOG.warning("%s: %s", shown(str(self.path)), message)
        if self.on_damage is not None:
            self.on_damage(message)


@dataclass(frozen=True, slots=True)
class Source:
    """An open file: the video and the audio stream that are read, and where its clock starts.

    `origin_s` is the stream time that becomes media time 0: the earlier of the streams' starts.
    `joins_s` tells at which stream times recordings were found to be joined until now.
    """

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    origin_s: float
    joins_s: list[float] = field(default_factory=list)

    @property
    def streams(self) -> list[VideoStream | AudioStream]:
        """The streams that are read, one or two."""
        return [s for s in (self.video, self.audio) if s is not None]

    def is_of(self, formats: frozenset[str]) -> bool:
        """Whether the container is of one of these formats."""
        return not formats.isdisjoint(self.container.format.name.split(","))

    def start_s(self, stream: Stream) -> float:
        """Media time at which `stream` starts, 0 where the container doesn't say."""
        start_s = ticks_to_s(stream.start_time, stream.time_base)
        return 0.0 if start_s is None else max(0.0, start_s - self.origin_s)

    def stated_end_s(self, stream: Stream) -> float | None:
        """Media time at which `stream` ends by the header, None if that doesn't say."""
        duration_s = ticks_to_s(stream.duration, stream.time_base)
        if duration_s is None or not self.is_of(STATING_FORMATS):
            return None
        return (ticks_to_s(stream.start_time, stream.time_base) or 0.0) + duration_s - self.origin_s

    def _stated_spans_s(self) -> dict[int, tuple[float | None, float | None]]:
        """By its number, the stream times at which each stream starts and, at the latest, ends."""
        length_s = ticks_to_s(self.container.duration, Fraction(1, av.time_base)) or 0.0
        states_ends = self.is_of(STATING_FORMATS)
        spans_s: dict[int, tuple[float | None, float | None]] = {}
        for stream in self.container.streams:
            start_s = ticks_to_s(stream.start_time, stream.time_base)
            lasts_s = ticks_to_s(stream.duration, stream.time_base) or 0.0
            end_s = max((start_s or 0.0) + lasts_s, length_s) if states_ends else None
            spans_s[stream.index] = start_s, end_s
        return spans_s

    def demux(self, *streams: StreamT) -> Iterator[Packet[StreamT]]:
        """Packets of `streams` from the place reached so far, then an empty one for each.

        Where recordings were joined end to end and clocks restart, times count on.
        """
        clock = JoinedClock(self.joins_s) if self.is_of(_JOINABLE_FORMATS) else None
        # Both streams' packets, seen in the file's order, tell all readers the same time.
        read = self.streams if clock else streams
        numbers = {stream.index for stream in read}
        for stream in self.container.streams:
            stream.discard = Discard.default if stream.index in numbers else Discard.all
        wanted = {stream.index for stream in streams}
        packets: Iterator[Any] = self.container.demux(read)
        max_held = MAX_HELD_PER_STAMP if clock else MAX_HELD
        packets = steadied(packets, self._stated_spans_s(), max_held=max_held)
        try:
            for packet in packets:
                if clock:
                    clock.count_on(packet)
                if packet.stream_index in wanted:
                    yield packet
        except IndexError:
            # At the end of the file, PyAV stumbles over streams that only appeared within it.
            return


@contextmanager
def open_source(media: str | Path | MediaInfo, *, track: int | str = AUTO) -> Iterator[Source]:
    """Open a media file for reading.

    Args:
        media: a path, or what `probe` said of a file, for the streams that were chosen then.
        track: of a path's sound tracks, see `probe`.

    Raises:
        MediaNotFoundError: no such file.
        EmptyMediaError: zero bytes.
        UnreadableMediaError: a folder, not a media file, or one whose header is damaged.
        NoStreamError: no video or audio inside, or no such track.
    """
    path = media.path if isinstance(media, MediaInfo) else Path(media)
    with _open(path) as container:
        if isinstance(media, MediaInfo):
            yield _known_streams(media, container)
        else:
            yield _choose_streams(path, container, track)


def _open(path: Path) -> InputContainer:
    _check_file(path)
    head = _head(path)
    check_still_box(path, head)
    try:
        # The prefix keeps FFmpeg from taking "data:x.mp4" or "a:b.mp4" for an address.
        return av.open(
            f"file:{path}",
            "r",
            options=_OPTIONS,
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise _open_error(path, head, error) from error


def _check_file(path: Path) -> None:
    try:
        info = path.stat()
    except FileNotFoundError as error:
        raise MediaNotFoundError(path, "no such file.", "Check the name and folder.") from error
    except OSError as error:
        problem = f"can't be read ({error.strerror})."
        raise UnreadableMediaError(path, problem, "Check its name and permissions.") from error
    if stat.S_ISDIR(info.st_mode):
        raise UnreadableMediaError(path, "is a folder.", "Name the media files inside it.")
    if not stat.S_ISREG(info.st_mode):
        raise UnreadableMediaError(path, "is not a regular file.", "Copy its content to a file.")
    if info.st_size == 0:
        raise EmptyMediaError(path, "the file is empty (zero bytes).", "Copy or download it again.")


def _head(path: Path) -> bytes:
    """How a file begins; nothing where that can't be read, of which FFmpeg will tell."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _open_error(path: Path, head: bytes, error: av.FFmpegError) -> UnreadableMediaError:
    if isinstance(error, PermissionError):
        return UnreadableMediaError(path, "may not be read.", "Check its permissions.")
    other = other_error(path, head)
    if other is not None:
        return other
    if head[4:8] in (b"ftyp", b"mdat", b"moov") and isinstance(error, av.InvalidDataError):
        return _index_lost(path)
    return UnreadableMediaError(
        path,
        "is not a video or audio file that can be read, or its header is damaged.",
        "Check that it plays, or convert it to MP4 (H.264 and AAC) first.",
    )


def _check_moves(source: Source) -> None:
    """Raise an error for a GIF, or pictures in a row, that is only one."""
    if source.video is None or not source.is_of(_PICTURE_FORMATS):
        return
    with _open(source.path) as container:
        packets = (packet for packet in container.demux(video=0) if packet.size > 0)
        if len(list(islice(packets, 2))) < 2:
            raise picture_error(source.path)


def _known_streams(info: MediaInfo, container: InputContainer) -> Source:
    videos, audios = container.streams.video, container.streams.audio
    try:
        video = None if info.video is None else videos[info.video.track - 1]
        audio = None if info.audio is None else audios[info.audio.track - 1]
    except IndexError as error:
        raise UnreadableMediaError(
            info.path, "is another file than the one that was looked at.", "Analyse it again."
        ) from error
    return _source(info.path, container, video, audio)


def _choose_streams(path: Path, container: InputContainer, track: int | str) -> Source:
    videos = [s for s in container.streams.video if not s.disposition & _NOT_VIDEO]
    audios = list(container.streams.audio)
    if len(videos) + len(audios) > _MAX_STREAMS:
        raise UnreadableMediaError(
            path,
            f"holds more than {_MAX_STREAMS} streams of video and sound, as no recording does.",
            "Copy the video and the sound that you want into a file of their own.",
        )
    if not videos and not audios:
        # Streams of which nothing is known are what is left of an index that was cut off.
        if all(stream.type == "data" for stream in container.streams):
            raise _index_lost(path)
        raise NoStreamError(
            path, "holds neither video nor audio.", "Give a file with at least one of them."
        )
    # Streams of an unknown codec have no codec context; damaged ones no credible size or rate.
    pictures = [s for s in videos if s.codec_context is not None and s.width > 0]
    video = _first_moving(path, pictures) if len(pictures) > 1 else next(iter(pictures), None)
    if video is not None:
        _check_picture(path, video)
    audio = choose_track(path, audios, track)
    if video is None and audio is None:
        raise UnreadableMediaError(
            path,
            "its video and audio can't be decoded (unknown codec, damaged, or pictures beyond 8K).",
            "Convert it to MP4 (H.264 and AAC, at most 1920 × 1080) first.",
        )
    return _source(path, container, video, audio)


def _check_picture(path: Path, video: VideoStream) -> None:
    if video.width * video.height > _MAX_PICTURE_PX:
        raise UnreadableMediaError(
            path,
            f"its pictures are too large ({video.width} × {video.height} pixels, by its header).",
            "Convert it to a smaller size first: 1920 × 1080 is plenty for faces.",
        )


def _index_lost(path: Path) -> UnreadableMediaError:
    return UnreadableMediaError(
        path,
        "its index is missing or damaged; the recording or the copy was probably cut off.",
        "Get the whole file, or repair it with a tool such as untrunc.",
    )


def _source(
    path: Path, container: InputContainer, video: VideoStream | None, audio: AudioStream | None
) -> Source:
    if video is not None:
        # Of pictures that turn out larger than the header says; the decoder takes them for damaged.
        video.codec_context.options = {"max_pixels": str(_MAX_PICTURE_PX)}
    chosen: list[Stream] = [s for s in (video, audio) if s is not None]
    starts_s = [ticks_to_s(s.start_time, s.time_base) for s in chosen]
    origin_s = min((s for s in starts_s if s is not None), default=0.0)
    return Source(path, container, video, audio, origin_s)


def _first_moving(path: Path, streams: list[VideoStream]) -> VideoStream:
    """The first of several video streams that is no still picture (a cover, a thumbnail).

    Packets are counted until the first stream has a second one, or another one has so many more
    that the first is no film beside it.
    """
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    first = streams[0]
    with _open(path) as container:
        read = [container.streams[index] for index in counts]
        try:
            for packet in container.demux(read):
                counts[packet.stream_index] += packet.size > 0
                if counts[first.index] > 1 or max(counts.values()) >= _PACKETS_OF_A_FILM:
                    break
        except (av.FFmpegError, IndexError):
            pass  # What was counted before the damage will do.
    return next((s for s in streams if counts[s.index] > 1), first)


def display_size_px(stream: VideoStream, width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height in square pixels of a stored picture; anamorphic video is stretched."""
    aspect = stream.sample_aspect_ratio
    if aspect is None or not _PLAUSIBLE_ASPECT[0] <= aspect <= _PLAUSIBLE_ASPECT[1]:
        return width_px, height_px
    return max(1, round(width_px * aspect)), height_px


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to lay a picture: transpose first, then mirror rows or columns.

    `rotation_deg` is the counter-clockwise turn that makes the picture upright; a mirrored picture
    (rare) is described without its left-right mirroring.
    """

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @property
    def rotation_deg(self) -> int:
        """0, 90, 180 or 270."""
        return (90 if self.flip_rows else 270) if self.transposed else 180 * self.flip_rows

    def apply(self, rgb: ByteArray) -> ByteArray:
        """The upright picture of a stored one, (H, W, 3) → (H, W, 3) or (W, H, 3)."""
        upright = rgb.transpose(1, 0, 2) if self.transposed else rgb
        upright = upright[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.ascontiguousarray(upright)


def read_orientation(frame: VideoFrame) -> Orientation:
    """Orientation of a decoded frame; matrices between two right angles take the nearer one.

    Layout of the matrix: FFmpeg, libavutil/display.h: a stored point (p, q) is shown at
    (a·p + c·q, b·p + d·q), y downwards.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), dtype="=i4")[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_rows=d < 0, flip_columns=a < 0)
    return Orientation(transposed=True, flip_rows=b < 0, flip_columns=c < 0)


def read_packets(
    source: Source,
    stream: StreamT,
    damage: DamageLog,
    packets: Iterator[Packet[StreamT]] | None = None,
) -> Iterator[Packet[StreamT] | None]:
    """All packets of `stream` that can be read, then None, which drains the decoder.

    With `packets`, which are those from some place in the file on, what lies before is not read.
    """
    end_s = 0.0
    num_packets = 0
    broken: list[tuple[float, str]] = []  # where damage ends, and what is to be said of it
    try:
        for packet in source.demux(stream) if packets is None else packets:
            stamp_s = packet_end_s(packet) or 0.0
            if packet.is_corrupt and not source.is_of(_RAW_FORMATS):
                place = _place(source, packet)
                broken.append((stamp_s, f"damaged {stream.type} data at {place}"))
            elif broken and stamp_s > broken[0][0] + _NEAR_JOIN_S:
                _note_broken(source, broken, damage)
            if packet.size > 0:  # An empty packet would end the decoding.
                end_s = max(end_s, stamp_s - source.origin_s)
                num_packets += 1
                yield packet
    except av.FFmpegError as error:
        damage.note("reading", f"reading the {stream.type} broke off ({error.strerror})")
    finally:
        _note_broken(source, broken, damage)
    # A single picture, shown under the whole sound, ends nowhere.
    stated_s = source.stated_end_s(stream) if num_packets > 1 else None
    if stated_s is not None and end_s < stated_s - _CUT_OFF_S:
        damage.note("cut off", f"{stream.type} cut off at {end_s:.1f} s of {stated_s:.1f} s")
    yield None


def _note_broken(source: Source, broken: list[tuple[float, str]], damage: DamageLog) -> None:
    for end_s, message in broken:
        # FFmpeg takes one of the last packets before a join for damaged.
        if not any(abs(end_s - join_s) < _NEAR_JOIN_S for join_s in source.joins_s):
            damage.note("packets", message)
    broken.clear()


def decode(
    source: Source, stream: StreamT, packet: Packet[StreamT] | None, damage: DamageLog
) -> list[Any]:
    """Pictures or sound that come out when `packet` goes in; none for a damaged one."""
    try:
        return stream.decode(packet)
    except av.FFmpegError:
        damage.note("packets", f"damaged {stream.type} data at {_place(source, packet)}")
        return []


def undecodable(source: Source, stream: VideoStream | AudioStream) -> UnreadableMediaError:
    """The error for a stream of which nothing at all can be decoded."""
    return UnreadableMediaError(
        source.path,
        f"none of its {stream.type} ({stream.codec_context.codec.canonical_name}) can be decoded.",
        "Get the whole file again, or convert it to MP4 (H.264 and AAC).",
    )


def _place(source: Source, packet: Packet[Any] | None) -> str:
    start_s = None if packet is None else ticks_to_s(packet.pts, packet.time_base)
    return "its end" if start_s is None else f"{max(0.0, start_s - source.origin_s):.1f} s"


def probe(
    path: str | Path, *, track: int | str = AUTO, on_damage: DamageCallback | None = None
) -> MediaInfo:
    """Read what a file holds: streams, sizes, rates, starts and length.

    Of several video streams it is about the first one with moving pictures, of several sound tracks
    about the default one that is no commentary and the like. Nothing is decoded to find them;
    `people.hearing.listen` also passes over silent tracks.

    Media time 0 is the earlier of the two streams' starts. The length is not taken on trust:
    the packets at the file's end are read (not decoded), and where they disagree with the header
    by more than 0.1 s, or the header states no length, all packets are.

    Args:
        path: a video or audio file.
        track: in place of the default one: the number of a sound track, counted from 1 as players
            do, or its language ("en", "eng").
        on_damage: called with a message if the file ends over 0.5 s before its header says, or
            within a piece of its structure.

    Raises:
        MediaNotFoundError: no such file.
        EmptyMediaError: zero bytes.
        UnreadableMediaError: a folder, not a media file, or one whose header is damaged.
        NoStreamError: no video or audio inside, or no such sound track.
    """
    with open_source(path, track=track) as source:
        _check_moves(source)
        video = None if source.video is None else _video_info(source, source.video)
        audio = None if source.audio is None else _audio_info(source, source.audio, track)
        stated_s = _stated_end_s(source)
        end_s = None if stated_s is None else _last_end_s(source, max(0.0, stated_s - _TAIL_S))
    if stated_s is not None and end_s is not None and abs(end_s - stated_s) <= _AGREEMENT_S:
        # Packets overshoot by the codec's padding, so the header is the finer of the two.
        end_s = stated_s
    else:
        with open_source(path, track=track) as source:
            end_s = _last_end_s(source)
            if stated_s is None:
                stated_s = _unreached_end_s(source)
    _check_length(source.path, end_s)
    # A start that lies beyond is the damaged time of a first packet.
    video = None if video is None else replace(video, start_s=min(video.start_s, end_s))
    audio = None if audio is None else replace(audio, start_s=min(audio.start_s, end_s))
    damage = DamageLog(source.path, on_damage)
    if stated_s is not None and end_s < stated_s - _CUT_OFF_S:
        damage.note("cut off", f"cut off at {end_s:.1f} s; its header says {stated_s:.1f} s")
    elif is_cut_short(source.path):
        damage.note("cut off", f"cut off at {end_s:.1f} s, in the middle of its data")
    return MediaInfo(path=source.path, duration_s=end_s, video=video, audio=audio)


def _check_length(path: Path, duration_s: float) -> None:
    """Raise an error for a file of no length, or of a length that its bytes can't fill."""
    if duration_s <= 0:
        raise UnreadableMediaError(
            path,
            "holds neither a picture nor a sound: it ends behind its header.",
            "Get the whole file; the recording or the copy was probably cut off.",
        )
    num_bytes = path.stat().st_size
    if duration_s > MAX_PAUSE_S and num_bytes < _LEAST_BYTES_PER_S * duration_s:
        raise UnreadableMediaError(
            path,
            f"its times can't be right: {duration_s / 3600:.0f} hours in {num_bytes:,} bytes.",
            "Its header is damaged; get the file again, or convert it to MP4 first.",
        )


def _video_info(source: Source, stream: VideoStream) -> VideoInfo:
    orientation = _first_orientation(source, stream)
    width_px, height_px = display_size_px(stream, stream.width, stream.height)
    if orientation.transposed:
        width_px, height_px = height_px, width_px
    return VideoInfo(
        width_px=width_px,
        height_px=height_px,
        frame_rate_hz=frame_rate_hz(stream),
        start_s=source.start_s(stream),
        rotation_deg=orientation.rotation_deg,
        codec=stream.codec_context.codec.canonical_name,
        track=1 + source.container.streams.video.index(stream),
    )


def _audio_info(source: Source, stream: AudioStream, track: int | str) -> AudioInfo:
    audios = source.container.streams.audio
    number = 1 + audios.index(stream)
    tracks = order_tracks(audios)
    own = next(one for one in tracks if one.number == number)
    context = stream.codec_context
    return AudioInfo(
        sample_rate_hz=context.sample_rate,
        num_channels=context.channels,
        start_s=source.start_s(stream),
        codec=own.codec,
        track=number,
        language=own.language,
        title=own.title,
        role=own.role,
        chosen=why_chosen(audios, stream, track),
        others=tuple(other for other in tracks if other is not own),
    )


def _first_orientation(source: Source, stream: VideoStream) -> Orientation:
    # The matrix reaches Python on decoded frames only. One thread gives the first frame soonest.
    stream.codec_context.thread_count = 1
    try:
        for count, packet in enumerate(source.demux(stream)):
            for frame in packet.decode():
                return read_orientation(frame)
            if count >= _PACKETS_TO_FIRST_FRAME:
                break
    except av.FFmpegError:
        pass  # Damage is for the readers to report; what the header says still holds.
    return Orientation()


def _stated_end_s(source: Source) -> float | None:
    """Media time at which the longer stream ends by the header, None if that doesn't say."""
    container = source.container
    if not source.is_of(STATING_FORMATS):
        return None
    ends_s = [source.stated_end_s(s) for s in source.streams]
    if all(end_s is not None for end_s in ends_s):
        return max(end_s for end_s in ends_s if end_s is not None)
    # The container's own length (Matroska, FLV: the stamp of its end) also counts subtitles.
    if container.duration is None or len(container.streams) > len(source.streams):
        return None
    return container.duration / av.time_base - source.origin_s


def _unreached_end_s(source: Source) -> float | None:
    """Where the container ends by its header, if none of its streams goes on until there."""
    container = source.container
    if container.duration is None or not source.is_of(STATING_FORMATS):
        return None
    stated_s = container.duration / av.time_base - source.origin_s
    kinds = ("video", "audio", "subtitle")
    streams = [stream for stream in container.streams if stream.type in kinds]
    for from_s in (max(0.0, stated_s - _TAIL_S), 0.0):
        if _last_end_s(source, from_s, streams) >= stated_s - _CUT_OFF_S:
            return None
    return stated_s


def _last_end_s(
    source: Source, from_s: float | None = None, streams: Sequence[Any] | None = None
) -> float:
    """Media time at which the last packet, sought from `from_s` on, ends; 0 if there is none.

    `streams`: those whose packets count, by default the ones that are read.
    """
    end_s = 0.0
    near_s = from_s or 0.0
    num_untimed = 0  # pictures
    try:
        if from_s is not None:
            source.container.seek(int((from_s + source.origin_s) * av.time_base))
        for packet in source.demux(*(source.streams if streams is None else streams)):
            if packet.size == 0 or packet.is_corrupt or packet.is_discard:
                continue
            stamp_s = packet_end_s(packet)
            if stamp_s is None:
                num_untimed += packet.stream is source.video
            elif stamp_s - source.origin_s < max(end_s, near_s) + MAX_PAUSE_S:
                end_s = max(end_s, stamp_s - source.origin_s)
    except av.FFmpegError:
        pass  # Nothing behind this point can be reached, by the readers neither.
    if source.video is not None:
        end_s = max(end_s, num_untimed / frame_rate_hz(source.video))
    return end_s


def is_remote(path: str) -> bool:
    """Whether this is an address rather than a path."""
    return _SCHEME.match(path) is not None
