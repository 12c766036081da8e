"""Pairs as clips to watch: the picture of one clip with the sound of another, made by one rule.

    python -m benchmarks.dubbing MANIFEST --out DIR --clips 20

Writes DIR/pairs.jsonl, and so many of its pairs as DIR/clips/00001.mp4 …, drawn at random and
shuffled: their numbers tell nothing. Give viewers the folder clips and keep DIR/key.csv, which
tells what is what. A run that was interrupted goes on. MANIFEST is what `facevoice data prepare`
wrote.

The rule is the same whatever face and voice express: picture and sound are cut to one length,
counted from their starts; pictures keep their own times; the sound is the mean of its channels at
16 kHz, faded in and out, brought to one loudness by one constant gain, and coded alike.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import io
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from scipy import signal

from facevoice.corpora.manifest import Clip, clips_by_id, read_manifest
from facevoice.corpora.pairs import PAIR_COLUMNS, TimedPair, pair_manifest, pair_row, write_pairs
from facevoice.corpora.prepare import ProgressCallback, thread_map
from facevoice.errors import CorpusError, MediaError, NoStreamError
from facevoice.files import write_atomically
from facevoice.media.frames import read_frames
from facevoice.media.open import probe
from facevoice.media.sound import read_sound
from facevoice.records import SAMPLE_RATE_HZ, ByteArray, FloatArray

RULE = {
    "loudness_lufs": -23.0,
    # The gain is lowered where the largest sample would exceed this.
    "peak_dbfs": -1.0,
    "fade_ms": 20.0,
    "audio_codec": "aac",
    "audio_bit_rate_bps": 64_000,
    "video_codec": "libx264",
    "video_crf": 18,
    "video_preset": "veryfast",
    "max_side_px": 640,
}
BLOCK_S = 0.4
"""Loudness is that of blocks of this length; a shorter sound has none."""
TICKS_HZ = 90_000
# All frames are wanted: the film is asked so often that none of them lies between two times.
ASK_HZ = 1000
# Containers round the ends of their streams; so much may be missing (and is silence, or the last
# picture standing still).
MAX_MISSING_S = 0.05


def loudness_lufs(samples: FloatArray) -> float | None:
    """Integrated loudness of mono 16 kHz (N,), full scale ±1; None for silence and too short.

    ITU-R BS.1770-4, annex 1: mean square of the K-weighted sound in blocks of 400 ms, each 100 ms
    after the last; of the blocks above −70 LUFS, those are averaged that are not more than 10 LU
    below their mean.
    """
    block, step = round(BLOCK_S * SAMPLE_RATE_HZ), round(0.1 * SAMPLE_RATE_HZ)
    if len(samples) < block:
        return None
    weighted = signal.sosfilt(K_WEIGHTING, samples.astype(np.float64))
    power = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(samples) - block + 1, step)
    blocks = np.maximum(power[starts + block] - power[starts], 0.0) / block
    blocks = blocks[blocks > 10 ** ((-70.0 + 0.691) / 10)]
    if not len(blocks):
        return None
    blocks = blocks[blocks > blocks.mean() / 10]
    return -0.691 + 10 * math.log10(blocks.mean())


def _k_weighting(rate_hz: int) -> np.ndarray:
    """The two filters of BS.1770, which states them as coefficients at 48 kHz.

    For other rates they are designed anew by the bilinear transform: a high shelf of 4 dB (the
    head) and a high pass at 38 Hz, with the parameters that give the stated coefficients at 48 kHz.
    """
    gain_db = 3.999843853973347
    gain, lift = 10 ** (gain_db / 20), 10 ** (gain_db * 0.4996667741545416 / 20)

    def poles(cut_hz: float, q: float) -> tuple[float, np.ndarray]:
        k = math.tan(math.pi * cut_hz / rate_hz)
        return k, np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])

    q = 0.7071752369554196
    k, below = poles(1681.974450955533, q)
    above = np.array([gain + lift * k / q + k**2, 2 * (k**2 - gain), gain - lift * k / q + k**2])
    _, low = poles(38.13547087602444, 0.5003270373238773)
    # As in the standard, the zeros of the high pass are not scaled by the first pole coefficient.
    sections = [[*above / below[0], *below / below[0]], [1, -2, 1, *low / low[0]]]
    return np.array(sections)


K_WEIGHTING = _k_weighting(SAMPLE_RATE_HZ)


def peak_dbfs(samples: FloatArray) -> float | None:
    """The largest sample in dB of full scale; None where all is silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def encode_pictures(path: Path, length_s: float, start_s: float = 0.0) -> bytes:
    """The pictures of `path` from `start_s` on as an MP4 without sound, `length_s` long.

    They are upright, at their own times; the first one is there from the very beginning, also
    where the film starts a little later.

    Raises:
        MediaError: no pictures, or they end more than 50 ms before `length_s`; named.
    """
    file = io.BytesIO()
    frames = _read_pictures(path, start_s, length_s)
    first = next(frames)
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        stream: Any = output.add_stream(str(RULE["video_codec"]))
        stream.height, stream.width = first[1].shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS_HZ)
        # More threads would cut the pictures up by the machine's number of processors; no frame
        # waits for a later one, so that both streams begin at 0 in every player.
        context.thread_count, context.max_b_frames = 1, 0
        context.flags |= Flags.bitexact
        context.options = {"crf": str(RULE["video_crf"]), "preset": str(RULE["video_preset"])}
        packets = list(_encode_frames(stream, itertools.chain([first], frames)))
        # Without a length of its own, the last picture would be shown as long as the one before.
        packets[-1].duration = max(1, round(length_s * TICKS_HZ) - packets[-1].pts)
        output.mux(packets)
    return file.getvalue()


def _read_pictures(path: Path, start_s: float, length_s: float) -> Iterator[tuple[int, ByteArray]]:
    """Tick and picture (even sides) of all frames shown in the clip; the first one at tick 0."""
    info = probe(path)
    if info.video is None:
        raise NoStreamError(path, "holds no video.", "Name a file with pictures for the face.")
    times = (start_s + k / ASK_HZ for k in range(math.ceil(length_s * ASK_HZ)))
    tick, shown_s, end_s = -1, start_s, start_s + length_s
    for frame in read_frames(path, times, tolerance_s=0.0, max_side_px=int(RULE["max_side_px"])):
        tick = max(tick + 1, round((frame.timestamp_s - start_s) * TICKS_HZ)) if tick >= 0 else 0
        shown_s = frame.timestamp_s + 1 / info.video.frame_rate_hz
        # H.264 at 4:2:0 wants even sides: the last row or column is repeated.
        odd = [(0, side % 2) for side in frame.rgb.shape[:2]]
        yield tick, np.pad(frame.rgb, (*odd, (0, 0)), mode="edge")
    if shown_s < end_s - MAX_MISSING_S:
        last = [end_s - MAX_MISSING_S]
        # A film of varying rate may rest on its last picture.
        if next(read_frames(path, last, tolerance_s=0.0, max_side_px=16), None) is None:
            raise _too_short(path, "video", shown_s - start_s, length_s)


def _encode_frames(stream: Any, frames: Iterable[tuple[int, ByteArray]]) -> Iterator[Any]:
    for tick, picture in frames:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_HZ)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _too_short(path: Path, what: str, has_s: float, length_s: float) -> MediaError:
    return MediaError(
        path,
        f"its {what} ends after {max(0.0, has_s):.2f} s of the {length_s:.2f} s wanted.",
        "Prepare the manifest again, so that durations are those of the files.",
    )


def join_dub(
    pictures: bytes, length_s: float, voice_path: Path, out_path: Path, voice_start_s: float = 0.0
) -> bool:
    """Write an MP4 of encoded pictures and `voice_path`'s sound, whole or not at all.

    The bytes depend on nothing but the pictures, the sound, the rule and the encoders' versions:
    no date, no name and nothing else of the sources gets into the file.

    Returns:
        Whether the peak did not allow the rule's loudness.

    Raises:
        CorpusError: the length is below 0.4 s.
        MediaError: no sound, or it ends more than 50 ms before `length_s`; named.
    """
    if length_s < BLOCK_S:
        raise CorpusError(f"a dub of {length_s} s has no loudness: needs at least {BLOCK_S} s")
    samples = read_sound(voice_path, voice_start_s, length_s)
    wanted = round(length_s * SAMPLE_RATE_HZ)
    if len(samples) < wanted - MAX_MISSING_S * SAMPLE_RATE_HZ:
        raise _too_short(voice_path, "sound", len(samples) / SAMPLE_RATE_HZ, length_s)
    voice, is_quieter = _even_out(np.pad(samples, (0, wanted - len(samples))))
    part = out_path.with_name(out_path.name + ".part")
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    try:
        with (
            av.open(io.BytesIO(pictures)) as source,
            av.open(str(part), "w", format="mp4", options=options) as output,
        ):
            video = output.add_stream_from_template(source.streams.video[0])
            audio: Any = output.add_stream(str(RULE["audio_codec"]), rate=SAMPLE_RATE_HZ)
            audio.layout, audio.bit_rate = "mono", RULE["audio_bit_rate_bps"]
            audio.codec_context.flags |= Flags.bitexact
            streams = [_copied(source, video), _encode_sound(audio, voice)]
            for packet in heapq.merge(*streams, key=lambda p: float(p.dts * p.time_base)):
                output.mux(packet)
        part.replace(out_path)
    finally:
        part.unlink(missing_ok=True)
    return is_quieter


def _even_out(voice: FloatArray) -> tuple[FloatArray, bool]:
    """Faded and brought to the rule's loudness; whether the peak did not allow that."""
    count = min(round(float(RULE["fade_ms"]) / 1000 * SAMPLE_RATE_HZ), len(voice) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
    voice[:count] *= ramp
    voice[-count:] *= ramp[::-1]
    loudness, peak = loudness_lufs(voice), peak_dbfs(voice)
    if loudness is None or peak is None:
        return voice, False
    wanted_db = float(RULE["loudness_lufs"]) - loudness
    gain_db = min(wanted_db, float(RULE["peak_dbfs"]) - peak)
    return np.asarray(voice * 10 ** (gain_db / 20), np.float32), gain_db < wanted_db - 0.1


def _copied(source: Any, stream: Any) -> Iterator[Any]:
    for packet in source.demux(video=0):
        if packet.size > 0:  # The demuxer ends with an empty one.
            packet.stream = stream
            yield packet


def _encode_sound(stream: Any, voice: FloatArray) -> Iterator[Any]:
    for start in range(0, len(voice), 1024):
        piece = np.ascontiguousarray(voice[None, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, start
        frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
        yield from stream.encode(frame)
    yield from stream.encode(None)


@dataclass(frozen=True, slots=True)
class NumberedPair:
    """A pair and the number that its clip goes by; the number tells nothing of the pair."""

    number: int
    timed: TimedPair

    @property
    def file(self) -> str:
        """The name of its clip."""
        return f"{self.number:05d}.mp4"


def number_pairs(
    pairs: Sequence[TimedPair], seed: int = 0, limit: int | None = None
) -> tuple[NumberedPair, ...]:
    """Pairs in a random order, numbered from 1; the first `limit` of them."""
    order = np.random.default_rng([seed, len(pairs)]).permutation(len(pairs))[:limit]
    return tuple(NumberedPair(number, pairs[k]) for number, k in enumerate(order, start=1))


def dub_pairs(
    pairs: Sequence[NumberedPair],
    clips: Sequence[Clip],
    folder: Path,
    *,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> tuple[int, int]:
    """Write `folder`/clips/00001.mp4 …, and the truth into `folder`/key.csv.

    A later run with the same pairs goes on where this one stopped.

    Returns:
        How many clips were made now, and how many of them are quieter, since their peak did not
        allow the rule's loudness.

    Raises:
        CorpusError: the folder holds clips of other pairs or of another rule, or a clip is unknown
            or has no sound or picture.
        MediaError: a file can't be read, or is shorter than the pair's length; named.
    """
    index = clips_by_id(clips)
    _claim(folder, pairs)
    by_face: dict[tuple[str, float], list[NumberedPair]] = defaultdict(list)
    for pair in pairs:
        if not (folder / "clips" / pair.file).is_file():
            by_face[pair.timed.pair.face_clip_id, pair.timed.length_s].append(pair)

    def dub_face(group: list[NumberedPair]) -> list[bool]:
        """All dubs of one face: its pictures are encoded once."""
        face, length_s = find_clip(index, group[0].timed.pair.face_clip_id), group[0].timed.length_s
        if face.video_path is None:
            raise CorpusError(f"clip {face.clip_id!r} has no picture")
        pictures = encode_pictures(face.video_path, length_s, face.video_start_s)
        made = []
        for pair in group:
            path, start_s = voice_source(pair.timed, index)
            made.append(join_dub(pictures, length_s, path, folder / "clips" / pair.file, start_s))
        return made

    quieter = thread_map(dub_face, list(by_face.values()), jobs, on_progress)
    return sum(map(len, quieter)), sum(map(sum, quieter))


def find_clip(index: dict[str, Clip], clip_id: str) -> Clip:
    """The clip of this id.

    Raises:
        CorpusError: there is none.
    """
    if clip_id not in index:
        raise CorpusError(f"clip {clip_id!r} of a pair is not in the manifest")
    return index[clip_id]


def voice_source(timed: TimedPair, index: dict[str, Clip]) -> tuple[Path, float]:
    """The file to read the pair's voice from, and the second at which it begins there.

    An original sounds as in its film: a corpus' separate sound file may begin at another moment.

    Raises:
        CorpusError: the clip has no sound.
    """
    voice = find_clip(index, timed.pair.voice_clip_id)
    is_original = timed.pair.face_clip_id == timed.pair.voice_clip_id
    if voice.audio_path is None:
        raise CorpusError(f"clip {voice.clip_id!r} has no sound")
    if is_original and voice.video_path is not None and probe(voice.video_path).has_audio:
        return voice.video_path, voice.video_start_s
    inside = voice.audio_path == voice.video_path
    return voice.audio_path, voice.video_start_s if inside else 0.0


def _claim(folder: Path, pairs: Sequence[NumberedPair]) -> None:
    """Put key and rule into the folder; clips that lie there already must be of the same."""
    key = io.StringIO()
    rows = csv.DictWriter(key, ["number", "file", *PAIR_COLUMNS], lineterminator="\n")
    rows.writeheader()
    for pair in pairs:
        rows.writerow({"number": pair.number, "file": pair.file, **pair_row(pair.timed)})
    wanted = {"key.csv": key.getvalue(), "rule.json": json.dumps(RULE, indent=1) + "\n"}
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    if next(clips.glob("*.mp4"), None) is not None:
        for name, text in wanted.items():
            file = folder / name
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                raise CorpusError(
                    f"{clips}: holds clips that don't belong to these pairs ({name} differs); "
                    "choose another folder, or remove it"
                )
    for name, text in wanted.items():
        write_atomically(folder / name, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", default="all", metavar="N|all")
    parser.add_argument("--plan", help="as for `facevoice data pairs`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    clips = read_manifest(given.manifest)
    made = pair_manifest(clips, plan_name=given.plan, seed=given.seed, jobs=given.jobs)
    write_pairs(made.pairs, given.out / "pairs.jsonl")
    limit = None if given.clips == "all" else int(given.clips)
    pairs = number_pairs(made.pairs, given.seed, limit)
    num_written, num_quieter = dub_pairs(pairs, clips, given.out, jobs=given.jobs)
    print(
        f"{len(pairs)} clips in {given.out / 'clips'} ({num_written} made now, {num_quieter} of "
        f"these quieter for their peaks); {given.out / 'key.csv'} tells what they are."
    )


if __name__ == "__main__":
    main()
