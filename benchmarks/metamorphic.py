"""How far answers move when the same clip comes in another file: codecs, tracks, channels, clocks.

    python -m benchmarks.metamorphic                          # the sample clips of examples/
    python -m benchmarks.metamorphic --clip FILE [--clip …]
    python -m benchmarks.metamorphic --corpora CORPORA --work WORK --num-clips 1

Pictures and sound of a clip are decoded once and written again in every way of `VARIANTS`; each
file is analysed by the shipped code and compared, window by window, with a plain one (H.264 and
FLAC in Matroska). A change is the largest one of any probability of face, voice and both, and of
conflict; 1 where one of the two has no answer. The first 0.4 s of sound are silent everywhere, so
that sound may start late without missing anything. What is not the same content is marked: "loss"
where a codec or the picture itself changes, "added" where noise comes in. Numbers are of how much
answers move, not of whether they are right.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import soxr
from av.stream import Disposition

from facevoice.analyzer import Analyzer
from facevoice.media import probe, read_frames, regular_times
from facevoice.media.sound import read_sound
from facevoice.records import SAMPLE_RATE_HZ, ByteArray, FloatArray, Prediction, Report
from facevoice.report import describe_sound

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
RATE_HZ: Final = 48_000
TICKS_HZ: Final = 60_000
QUIET_START_S: Final = 0.4
TARGET: Final = 0.05
PLAIN: Final = "plain"
LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
# Without B-frames: packets then come in the order in which they are shown, and are copied easily.
X264: Final = {"preset": "superfast", "crf": "14", "bf": "0"}
LOSSLESS: Final = {".mkv": "flac", ".mov": "pcm_f32le", ".mp4": "alac", ".avi": "pcm_s16le"}
SAME, LOSS, ADDED = "same", "loss", "added"

_CHANNELS: Final = ("face", "voice", "both", "conflict")
BT2020, PQ, HLG = 9, 16, 18  # ITU-T H.273


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Samples (C, N) at 48 kHz; codec None: a lossless one that suits the container."""

    samples: FloatArray
    codec: str | None = None
    bit_rate: int | None = None
    disposition: Disposition | int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    start_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """Upright pictures (H, W, 3), when each is shown, and sound; how all that is written."""

    frames: tuple[ByteArray, ...]
    times_s: tuple[float, ...]
    rate_hz: float
    tracks: tuple[Track, ...]
    suffix: str = ".mkv"
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=lambda: dict(X264))
    pix_fmt: str = "yuv420p"
    rotation_deg: int = 0
    transfer: int | None = None
    still_first: bool = False
    container_options: dict[str, str] = field(default_factory=dict)

    @property
    def voice(self) -> FloatArray:
        """Samples (N,) of the first channel of the first track."""
        return self.tracks[0].samples[0]

    def with_channels(self, *channels: FloatArray) -> Film:
        """With one track of these channels."""
        samples = np.stack(channels).astype(np.float32)
        return replace(self, tracks=(replace(self.tracks[0], samples=samples),))


def read_film(path: Path, length_s: float = float("inf")) -> Film:
    """A clip's pictures and sound, at most `length_s` of them."""
    info = probe(path)
    if info.video is None:
        raise SystemExit(f"{path}: holds no video")
    end_s = min(info.duration_s, length_s)
    rate_hz = info.video.frame_rate_hz
    read = read_frames(info, regular_times(end_s, rate_hz), tolerance_s=0.0)
    frames = [f.rgb[: f.rgb.shape[0] // 2 * 2, : f.rgb.shape[1] // 2 * 2] for f in read]
    sound = soxr.resample(read_sound(path, 0.0, end_s), SAMPLE_RATE_HZ, RATE_HZ)
    sound[: round(QUIET_START_S * RATE_HZ)] = 0
    times_s = tuple(k / rate_hz for k in range(len(frames)))
    peak = max(float(np.abs(sound).max()), 1e-6)
    track = Track((sound * (0.4 / peak)).astype(np.float32)[None])
    return Film(tuple(frames), times_s, rate_hz, (track,))


def write_film(film: Film, path: Path, pictures: Path | None = None) -> Path:
    """Encode a film; `path` gets its container's suffix.

    `pictures`: a file whose packets of pictures are copied instead.
    """
    path = path.with_suffix(film.suffix)
    with av.open(str(path), "w", options=film.container_options) as output:
        streams: list[Iterator[Any]] = []
        if film.still_first:
            streams.append(_still_packets(output, film))
        streams.append(
            _picture_packets(output, film) if pictures is None else _copied(output, pictures)
        )
        streams += [_sound_packets(output, track, film.suffix) for track in film.tracks]
        # A generator adds its stream when it begins, all before the first packet is written.
        begun = [itertools.chain([next(stream)], stream) for stream in streams]
        for packet in heapq.merge(*begun, key=lambda p: float(p.dts * p.time_base)):
            output.mux(packet)
    return path


def _still_packets(output: Any, film: Film) -> Iterator[Any]:
    stream = output.add_stream("mjpeg", rate=25)
    stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
    frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8))
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    yield from stream.encode(frame)
    yield from stream.encode(None)


def _copied(output: Any, pictures: Path) -> Iterator[Any]:
    with av.open(str(pictures)) as read:
        stream = read.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.size:
                packet.dts = packet.pts if packet.dts is None else packet.dts
                packet.stream = copy
                yield packet


def _picture_packets(output: Any, film: Film) -> Iterator[Any]:
    rate = Fraction(film.rate_hz).limit_denominator(1001)
    stream = output.add_stream(film.codec, rate=rate)
    height, width = film.frames[0].shape[:2]
    if film.rotation_deg % 180:
        height, width = width, height
    stream.width, stream.height, stream.pix_fmt = width, height, film.pix_fmt
    context = stream.codec_context
    ticks = 1 / rate if film.suffix == ".avi" else Fraction(1, TICKS_HZ)
    context.time_base, context.thread_count, context.options = ticks, 1, film.options
    matrix = None
    if film.transfer is not None:
        context.colorspace, context.color_primaries = BT2020, BT2020
        context.color_trc, context.color_range = film.transfer, 1
        matrix = BT2020
    if film.rotation_deg:
        stream.set_display_rotation(film.rotation_deg)
    for rgb, time_s in zip(film.frames, film.times_s, strict=True):
        stored = np.ascontiguousarray(np.rot90(rgb, -film.rotation_deg // 90))
        frame = av.VideoFrame.from_ndarray(stored)
        frame = frame.reformat(format=film.pix_fmt, dst_colorspace=matrix)
        frame.pts, frame.time_base = round(time_s / ticks), ticks
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _sound_packets(output: Any, track: Track, suffix: str) -> Iterator[Any]:
    codec = track.codec or LOSSLESS[suffix]
    layout = LAYOUTS[len(track.samples)]
    stream = output.add_stream(codec, rate=RATE_HZ, layout=layout)
    stream.disposition = int(track.disposition)
    stream.metadata.update(track.metadata)
    if track.bit_rate is not None:
        stream.bit_rate = track.bit_rate
    first = round(track.start_s * RATE_HZ)
    for start in range(first, track.samples.shape[1], 1024):
        # Side by side: PyAV can't write eight channels in planes of their own.
        part = np.ascontiguousarray(track.samples[:, start : start + 1024].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), start
        yield from stream.encode(frame)
    yield from stream.encode(None)


Make = Callable[[Film, Path], Path]


@dataclass(frozen=True, slots=True)
class Variant:
    """Another file of the same clip; `reference`: what it is compared with, None: the plain one."""

    make: Make
    content: str = SAME
    reference: Make | None = None


def _as(**changes: Any) -> Make:
    return lambda film, path: write_film(replace(film, **changes), path)


def _write_sound(film: Film, path: Path) -> Path:
    """A film whose pictures are those of the plain file, which lies beside it."""
    return write_film(film, path, path.with_name(f"{PLAIN}.mkv"))


def _heard_as(codec: str, bit_rate: int, suffix: str) -> Make:
    def make(film: Film, path: Path) -> Path:
        track = replace(film.tracks[0], codec=codec, bit_rate=bit_rate)
        return _write_sound(replace(film, tracks=(track,), suffix=suffix), path)

    return make


def _channels(change: Callable[[FloatArray], Sequence[FloatArray]]) -> Make:
    return lambda film, path: _write_sound(film.with_channels(*change(film.voice)), path)


def _noise(voice: FloatArray, level: float, seed: int = 0) -> FloatArray:
    rms = float(np.sqrt(np.mean(voice**2)))
    return np.random.default_rng(seed).normal(0, level * rms, len(voice)).astype(np.float32)


def _later(voice: FloatArray, delay_s: float) -> FloatArray:
    shift = round(delay_s * RATE_HZ)
    return np.concatenate([np.zeros(shift, np.float32), voice[: len(voice) - shift]])


def _surround(voice: FloatArray, center: float, side: float, num: int = 6) -> list[FloatArray]:
    """Speech in the centre and, weaker, around it; noise that differs from channel to channel."""
    channels = [side * voice + _noise(voice, 0.02, k) for k in range(num)]
    channels[2] = center * voice
    channels[3] = np.zeros_like(voice)
    return channels


def _tracks(*tracks: tuple[str, Disposition, str]) -> Make:
    """Tracks by what they hold, their flags and their title ("" for none).

    They hold "voice", "silence", or "other", which is the voice backwards.
    """

    def make(film: Film, path: Path) -> Path:
        held = {
            "voice": film.voice,
            "silence": np.zeros_like(film.voice),
            "other": film.voice[::-1],
        }
        made = [
            Track(
                np.stack([held[what]] * 2),
                disposition=flags,
                metadata={"title": title} if title else {},
            )
            for what, flags, title in tracks
        ]
        return _write_sound(replace(film, tracks=tuple(made)), path)

    return make


def _track_variants() -> dict[str, Variant]:
    """Every order of a voice, flagged as default or not, and a track that is not to be heard."""
    default, none = Disposition.default, Disposition(0)
    beside = {
        "a silent one": ("silence", none, ""),
        "a silent one, default": ("silence", default, ""),
        "a commentary": ("other", Disposition.comment, ""),
        "a commentary by its title, default": ("other", default, "Director's commentary"),
        "a description": ("other", Disposition.visual_impaired, ""),
        "one for the hard of hearing": ("other", Disposition.hearing_impaired, ""),
        "a dub": ("other", Disposition.dub, ""),
        "karaoke by its title": ("other", none, "Karaoke"),
    }
    found = {}
    for name, extra in beside.items():
        for flags, told in ((default, ", default"), (none, "")):
            if extra[1] & default and flags & default:
                continue
            voice = ("voice", flags, "")
            found[f"tracks: voice{told}; {name}"] = Variant(_tracks(voice, extra))
            found[f"tracks: {name}; voice{told}"] = Variant(_tracks(extra, voice))
    return found


def _vary_rate(film: Film, path: Path) -> Path:
    """Every fourth picture left out, and the others up to 8 ms late."""
    rng = np.random.default_rng(0)
    kept = [k for k in range(len(film.frames)) if k % 4 != 3]
    times_s = tuple(film.times_s[k] + (rng.uniform(0, 0.008) if k else 0.0) for k in kept)
    frames = tuple(film.frames[k] for k in kept)
    return write_film(replace(film, frames=frames, times_s=times_s, suffix=".mp4"), path)


def _letterbox(film: Film, path: Path) -> Path:
    height, width = film.frames[0].shape[:2]
    bar = min(width - height, height // 4) // 4 * 2 if width > height else height // 8 * 2
    frames = tuple(np.pad(rgb, ((bar, bar), (0, 0), (0, 0))) for rgb in film.frames)
    return write_film(replace(film, frames=frames), path)


def _late_sound(film: Film, path: Path) -> Path:
    track = replace(film.tracks[0], start_s=QUIET_START_S)
    return _write_sound(replace(film, tracks=(track,)), path)


def _edit_list(film: Film, path: Path) -> Path:
    """Ten black pictures before the start, which an edit list hides."""
    count = 10
    before = tuple(-(count - k) / film.rate_hz for k in range(count))
    frames = (np.zeros_like(film.frames[0]),) * count + film.frames
    options = {"use_editlist": "1", "avoid_negative_ts": "disabled"}
    return write_film(
        replace(
            film,
            frames=frames,
            times_s=before + film.times_s,
            suffix=".mp4",
            container_options=options,
        ),
        path,
    )


def _twice(film: Film) -> Film:
    length_s = len(film.frames) / film.rate_hz
    size = round(length_s * RATE_HZ)
    once = np.pad(film.voice[:size], (0, max(0, size - len(film.voice))))
    twice = replace(film, frames=film.frames * 2, times_s=film.times_s + tuple(
        length_s + time_s for time_s in film.times_s
    ))  # fmt: skip
    return twice.with_channels(np.concatenate([once, once]))


def _joined(film: Film, path: Path) -> Path:
    """The same transport stream twice, its clock restarting."""
    track = replace(film.tracks[0], codec="aac", bit_rate=192_000)
    part = write_film(replace(film, tracks=(track,), suffix=".ts"), path)
    part.write_bytes(part.read_bytes() * 2)
    return part


def _cut_off(film: Film, path: Path) -> Path:
    """Matroska that ends after 70 % of its bytes."""
    whole = write_film(film, path)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) * 7 // 10])
    return whole


def _what_is_left(film: Film, path: Path) -> Path:
    """A whole file of what a cut-off one holds."""
    cut = _cut_off(film, path.with_name("cut"))
    info = probe(cut)
    count = sum(
        1 for _ in read_frames(info, regular_times(info.duration_s, film.rate_hz), tolerance_s=0.0)
    )
    sound = film.voice[: len(read_sound(cut)) * RATE_HZ // SAMPLE_RATE_HZ]
    left = replace(film, frames=film.frames[:count], times_s=film.times_s[:count])
    return write_film(left.with_channels(sound), path)


_HEVC: Final = {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=none:pools=none"}
_VP9: Final = {"cpu-used": "8", "crf": "12", "deadline": "realtime", "b": "0"}

VARIANTS: Final[dict[str, Variant]] = {
    "container: MP4": Variant(lambda film, path: _write_sound(replace(film, suffix=".mp4"), path)),
    "container: MP4 in fragments": Variant(
        lambda film, path: _write_sound(
            replace(
                film,
                suffix=".mp4",
                container_options={"movflags": "frag_keyframe+empty_moov"},
            ),
            path,
        )
    ),
    "container: MOV": Variant(lambda film, path: _write_sound(replace(film, suffix=".mov"), path)),
    "container: AVI": Variant(_as(suffix=".avi")),
    "container: TS, AAC": Variant(_heard_as("aac", 192_000, ".ts"), LOSS),
    "container: WebM, VP9, Opus": Variant(
        lambda film, path: write_film(
            replace(
                film,
                suffix=".webm",
                codec="libvpx-vp9",
                options=_VP9,
                tracks=(replace(film.tracks[0], codec="libopus", bit_rate=128_000),),
            ),
            path,
        ),
        LOSS,
    ),
    "pictures: H.264 with B-frames": Variant(_as(options=X264 | {"bf": "3"}), LOSS),
    "pictures: HEVC": Variant(_as(codec="libx265", options=_HEVC, suffix=".mp4"), LOSS),
    "pictures: VP9": Variant(_as(codec="libvpx-vp9", options=_VP9), LOSS),
    "pictures: MPEG-4": Variant(_as(codec="mpeg4", options={"q": "2"}, suffix=".avi"), LOSS),
    "pictures: ProRes": Variant(
        _as(codec="prores_ks", options={}, pix_fmt="yuv422p10le", suffix=".mov"), LOSS
    ),
    "pictures: 10 bit, HLG tags": Variant(
        _as(codec="libx265", options=_HEVC, pix_fmt="yuv420p10le", transfer=HLG, suffix=".mp4"),
        LOSS,
    ),
    "pictures: 10 bit, PQ tags": Variant(
        _as(codec="libx265", options=_HEVC, pix_fmt="yuv420p10le", transfer=PQ, suffix=".mp4"),
        LOSS,
    ),
    "pictures: 4:4:4": Variant(_as(pix_fmt="yuv444p"), LOSS),
    **{
        f"pictures: stored turned by {deg}°": Variant(_as(rotation_deg=deg, suffix=".mp4"), LOSS)
        for deg in (90, 180, 270)
    },
    "pictures: variable rate": Variant(_vary_rate, LOSS),
    "pictures: letterbox": Variant(_letterbox, LOSS),
    "pictures: a still one first, MP4": Variant(
        lambda film, path: _write_sound(replace(film, still_first=True, suffix=".mp4"), path)
    ),
    "pictures: a still one first, MKV": Variant(
        lambda film, path: _write_sound(replace(film, still_first=True), path)
    ),
    "times: sound starts late": Variant(_late_sound),
    "times: edit list": Variant(_edit_list, LOSS),
    "times: clock restarts, TS": Variant(
        _joined, LOSS, lambda film, path: write_film(_twice(film), path)
    ),
    "times: Matroska cut off": Variant(_cut_off, SAME, _what_is_left),
    "sound: AAC 192 kbit/s": Variant(_heard_as("aac", 192_000, ".mp4"), LOSS),
    "sound: Opus 128 kbit/s in MP4": Variant(_heard_as("libopus", 128_000, ".mp4"), LOSS),
    "sound: MP3 192 kbit/s": Variant(_heard_as("libmp3lame", 192_000, ".mp4"), LOSS),
    "sound: 16-bit PCM": Variant(_heard_as("pcm_s16le", 768_000, ".mov")),
    "sound: level −16 dB": Variant(_channels(lambda v: [v * 10 ** (-16 / 20)])),
    "sound: level +6 dB": Variant(_channels(lambda v: [v * 2])),
    "sound: DC offset 2 %": Variant(_channels(lambda v: [v + 0.02])),
    "channels: stereo, alike": Variant(_channels(lambda v: [v, v])),
    "channels: stereo, panned": Variant(_channels(lambda v: [v, 0.4 * v])),
    "channels: 5.1, all alike": Variant(_channels(lambda v: [v] * 6)),
    "channels: 5.1, speech in the centre": Variant(_channels(lambda v: _surround(v, 1, 0.1))),
    "channels: 5.1, quiet surround": Variant(
        _channels(lambda v: [v, v, v, 0 * v, 0.05 * v, 0.05 * v])
    ),
    "channels: 5.1, front alone": Variant(_channels(lambda v: [v, v, *[0 * v] * 4])),
    "channels: 7.1, speech in the centre": Variant(_channels(lambda v: _surround(v, 1, 0.1, 8))),
    "channels: inverted": Variant(_channels(lambda v: [v, -v])),
    "channels: inverted and weaker": Variant(_channels(lambda v: [v, -0.7 * v])),
    "channels: left dead": Variant(_channels(lambda v: [0 * v, v])),
    "channels: right dead": Variant(_channels(lambda v: [v, 0 * v])),
    "channels: left noise": Variant(_channels(lambda v: [_noise(v, 1), v])),
    "channels: right noise": Variant(_channels(lambda v: [v, _noise(v, 1)])),
    "channels: right noisy": Variant(_channels(lambda v: [v, v + _noise(v, 1)])),
    "channels: right weak noise": Variant(_channels(lambda v: [v, _noise(v, 0.1)]), ADDED),
    "channels: right 1 ms late": Variant(_channels(lambda v: [v, _later(v, 0.001)])),
    "channels: right 12 ms late": Variant(_channels(lambda v: [v, _later(v, 0.012)])),
    "channels: left 40 ms late": Variant(_channels(lambda v: [_later(v, 0.04), v])),
    **_track_variants(),
}


@dataclass(frozen=True, slots=True)
class Change:
    """The largest changes of any probability, and what was said of the file."""

    face: float
    voice: float
    both: float
    conflict: float
    status: str
    heard: str

    @property
    def largest(self) -> float:
        """Of them all."""
        return max(self.face, self.voice, self.both, self.conflict)


def measure(
    film: Film, names: Sequence[str], analyzer: Analyzer, folder: Path
) -> Iterator[tuple[str, Change]]:
    """How far each variant's answers are from those of the plain file."""
    plain = analyzer.analyze(write_film(film, folder / PLAIN))
    for name in names:
        variant = VARIANTS[name]
        wanted = plain
        if variant.reference is not None:
            wanted = analyzer.analyze(variant.reference(film, folder / "reference"))
        path = variant.make(film, folder / "variant")
        yield name, _compare(wanted, analyzer.analyze(path))
        path.unlink()


def _compare(wanted: Report, got: Report) -> Change:
    # Containers round lengths, so that a last, short window may be there or not.
    pairs = list(zip(wanted.windows, got.windows, strict=False))
    missing = abs(len(wanted.windows) - len(got.windows)) > 1 or not pairs

    def largest(of: Callable[[Prediction], Any]) -> float:
        return 1.0 if missing else max(_distance(of(one), of(other)) for one, other in pairs)

    return Change(
        *(
            largest(lambda w, channel=channel: _probs(getattr(w, channel)))
            for channel in ("face", "voice", "fused")
        ),
        largest(lambda w: w.conflict),
        got.status.value,
        describe_sound(got.media),
    )


def _probs(posterior: Any) -> Any:
    return None if posterior is None else posterior.probs


def _distance(one: Any, other: Any) -> float:
    if one is None or other is None:
        return float((one is None) != (other is None))
    return float(np.max(np.abs(np.asarray(one) - np.asarray(other))))


def format_table(groups: dict[str, dict[str, list[Change]]]) -> str:
    """Markdown: for each variant the largest change over all clips of a group, and of what."""
    lines = [
        f"| variant | content | {' | '.join(groups)} | status |",
        f"|---|---|{'---|' * len(groups)}---|",
    ]
    names = list(next(iter(groups.values())))
    for name in names:
        found = [changes[name] for changes in groups.values()]
        status = ", ".join(dict.fromkeys(c.status for some in found for c in some))
        cells = " | ".join(_cell(some) for some in found)
        lines.append(f"| {name} | {VARIANTS[name].content} | {cells} | {status} |")
    return "\n".join(lines)


def _cell(changes: list[Change]) -> str:
    """The largest change and what it is of, bold beyond the target."""
    most = {of: max(getattr(c, of) for c in changes) for of in _CHANNELS}
    of = max(most, key=lambda channel: most[channel])
    if round(most[of], 3) == 0:
        return "0.000"
    told = f"{most[of]:.3f} {of}"
    return f"**{told}**" if most[of] > TARGET else told


def _spread(paths: Sequence[Any], number: int) -> list[Any]:
    step = max(1, len(paths) // number)
    return list(paths[step // 2 :: step][:number])


def _unpack(corpora: Path, work: Path, number: int) -> dict[str, list[Path]]:
    """A few films of each corpus, spread over it."""
    found = {}
    for corpus in ("javanese", "ravdess_av"):
        with zipfile.ZipFile(corpora / f"{corpus}.zip") as archive:
            names = sorted(n for n in archive.namelist() if n.endswith(".mp4"))
            chosen = _spread(names, number)
            found[corpus] = [Path(archive.extract(name, work / corpus)) for name in chosen]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, action="append")
    parser.add_argument("--corpora", type=Path, help="read films of javanese and ravdess_av too")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--num-clips", type=int, default=3, help="of each group")
    parser.add_argument("--length-s", type=float, default=6.0, help="of each clip at most")
    parser.add_argument("--only", help="variants whose names hold this")
    given = parser.parse_args()
    names = [name for name in VARIANTS if (given.only or "") in name]
    analyzer = Analyzer(num_threads=1)
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        groups = {"examples": _spread(sorted(EXAMPLES.glob("*.mp4")), given.num_clips)}
        if given.clip:
            groups = {"clips": given.clip}
        if given.corpora:
            groups |= _unpack(given.corpora, Path(folder), given.num_clips)
        changes = {group: {name: [] for name in names} for group in groups}
        for group, clips in groups.items():
            for clip in clips:
                print(f"{group}: {clip.name}", file=sys.stderr, flush=True)
                film = read_film(clip, given.length_s)
                for name, change in measure(film, names, analyzer, Path(folder)):
                    changes[group][name].append(change)
                    told = f"  {change.largest:.3f} {name} {change.status} {change.heard}"
                    print(told, file=sys.stderr, flush=True)
    print(", ".join(f"{group}: {len(clips)} clips" for group, clips in groups.items()))
    print(f"\n{format_table(changes)}")


if __name__ == "__main__":
    main()
