"""Audits of dubbed pairs: what lengths, loudness, silences, coding and lip synchrony give away.

    python -m benchmarks.dub_audits --corpora CORPORA --work WORK

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip, or the folder javanese. Prints a Markdown
table: AUROC of conflicts against matches (0.50: nothing is given away), 95 % intervals by bootstrap
over speakers. The dubs (`benchmarks.dubbing`) stay in WORK/dubs, to watch.

Every face and every voice is in as many conflicts as matches, so no measure of one channel can
tell anything. What could is how the two channels' measures go together: each audit therefore gets
both, their differences, and all their products.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.dubbing import (
    ASK_HZ,
    NumberedPair,
    dub_pairs,
    find_clip,
    loudness_lufs,
    number_pairs,
    peak_dbfs,
    voice_source,
)
from recipes.arguments import corpora_parser, parse_with_corpora

from facevoice.corpora.gather import parse_place
from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import PairKind, TimedPair, pair_manifest
from facevoice.corpora.prepare import prepare_manifest, thread_map
from facevoice.errors import CorpusError, EvaluationError, NoStreamError
from facevoice.evaluation.audits import AuditResult, audit_features, audit_scores
from facevoice.media.frames import read_frames
from facevoice.media.open import frame_rate_hz, open_source, packet_end_s, ticks_to_s
from facevoice.media.sound import read_sound, sounding_span_s
from facevoice.people.detect import FaceDetector, align_crop
from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray, Frame
from facevoice.settings import FacesConfig

SILENCE_DB = -100.0
"""Stands for the loudness and the peak of silence."""
MAX_LAG_S = 0.2
"""Voices are tried up to so much earlier and later."""

MAX_SIDE_PX = 640
DETECT_PERIOD_S = 0.2
# Without any face for so long, what is between is not guessed.
MAX_GAP_S = 1.0
# Of an aligned crop: around the mouth, with the lips' whole way.
CROP_PX = 64
MOUTH = (slice(40, 56), slice(20, 44))
CURVE_HZ = 100
ENVELOPE_S = 0.025

Measures = dict[str, list[float]]


def measure_file(path: Path) -> tuple[Measures, str]:
    """What a file shows of how it was made, and the coding of its streams in words.

    length and coding (bit rate, mean and spread of packet sizes) of "picture" and "sound"; and
    what `measure_sound` gives. Zeros for a stream that it lacks.
    """
    sizes: dict[str, list[int]] = {"video": [], "audio": []}
    spans_s: dict[str, tuple[float, float]] = {}
    with open_source(path) as source:
        for packet in source.demux(*source.streams):
            if packet.size == 0:
                continue
            kind = packet.stream.type
            sizes[kind].append(packet.size)
            start_s = ticks_to_s(packet.pts, packet.time_base)
            end_s = packet_end_s(packet)
            if start_s is not None and end_s is not None:
                first_s, last_s = spans_s.get(kind, (start_s, end_s))
                spans_s[kind] = (min(first_s, start_s), max(last_s, end_s))
        words = "; ".join(_coding_in_words(stream) for stream in (source.video, source.audio))
        has_sound = source.audio is not None
    found: Measures = {"loudness": [0.0, 0.0], "silences": [0.0, 0.0]}
    for kind, name in (("video", "picture"), ("audio", "sound")):
        first_s, last_s = spans_s.get(kind, (0.0, 0.0))
        length_s, bytes_each = last_s - max(0.0, first_s), np.array(sizes[kind] or [0], float)
        rate_bps = 8 * bytes_each.sum() / length_s if length_s > 0 else 0.0
        found[f"{name} length"] = [length_s]
        found[f"{name} coding"] = [rate_bps, bytes_each.mean(), bytes_each.std()]
    return (found | measure_sound(read_sound(path)) if has_sound else found), words


def _coding_in_words(stream: Any) -> str:
    if stream is None:
        return "none"
    context = stream.codec_context
    name = f"{context.codec.canonical_name} {context.profile}"
    if stream.type == "video":
        rate = round(frame_rate_hz(stream))
        return f"{name} {stream.width}x{stream.height} {context.pix_fmt} {rate} Hz"
    return f"{name} {context.format.name} {context.sample_rate} Hz {context.layout.name}"


def measure_sound(samples: FloatArray) -> Measures:
    """Loudness and peak in dB (−100 of silence), and seconds of silence before and after.

    samples (N,): mono 16 kHz.
    """
    duration_s = len(samples) / SAMPLE_RATE_HZ
    loudness, peak = loudness_lufs(samples), peak_dbfs(samples)
    start_s, end_s = sounding_span_s(samples, SAMPLE_RATE_HZ) or (duration_s, duration_s)
    return {
        "loudness": [SILENCE_DB if value is None else value for value in (loudness, peak)],
        "silences": [start_s, duration_s - end_s],
    }


@dataclass(frozen=True, slots=True, eq=False)
class MouthMotion:
    """Change of the mouth from frame to frame: `strength` (n,) at `times_s` (n,) of the clip.

    Empty where no face was found.
    """

    times_s: DoubleArray
    strength: DoubleArray

    def curve(self, num_points: int) -> DoubleArray:
        """The strength, smoothed, at `CURVE_HZ` from the clip's start."""
        grid_s = np.arange(num_points) / CURVE_HZ
        return _smooth(np.interp(grid_s, self.times_s, self.strength), 15)

    def moving_span_s(self, length_s: float) -> tuple[float, float]:
        """Start and end of all that moves at least half as much as the mouth ever does in the cut.

        Without motion, the end of the cut twice: it never moves.
        """
        if not len(self.times_s):
            return length_s, length_s
        moves = self.curve(int(length_s * CURVE_HZ))
        if moves.max() - moves.min() <= 1e-9:
            return length_s, length_s
        strong = np.flatnonzero(moves >= (moves.min() + moves.max()) / 2) / CURVE_HZ
        return float(strong[0]), float(strong[-1])


def mouth_motion(
    path: Path, detector: FaceDetector, start_s: float, length_s: float
) -> MouthMotion:
    """The mouth motion of the largest face, at the film's own frame rate.

    The face is sought five times a second; between, its landmarks go straight on, so that the
    detector's trembling is not taken for speech. Motion is the root of the RMS grey difference of
    the aligned mouth in successive frames.
    """
    times_s: list[float] = []
    strength: list[float] = []
    before: tuple[float, DoubleArray] | None = None
    for time_s, mouth in _mouths(path, detector, start_s, length_s):
        if before is not None and time_s - before[0] <= DETECT_PERIOD_S:
            difference = float(np.sqrt(np.mean((mouth - before[1]) ** 2)))
            times_s.append((time_s + before[0]) / 2)
            strength.append(math.sqrt(difference))
        before = (time_s, mouth)
    return MouthMotion(np.array(times_s), np.array(strength))


def _mouths(
    path: Path, detector: FaceDetector, start_s: float, length_s: float
) -> Iterator[tuple[float, DoubleArray]]:
    """Time in the clip and grey mouth of each frame that shows a face."""
    times = (start_s + k / ASK_HZ for k in range(math.ceil(length_s * ASK_HZ)))
    waiting: list[Frame] = []
    known: tuple[float, FloatArray] | None = None
    next_detect_s = -math.inf
    for frame in read_frames(path, times, tolerance_s=0.0, max_side_px=MAX_SIDE_PX):
        waiting.append(frame)
        if frame.timestamp_s < next_detect_s:
            continue
        next_detect_s = frame.timestamp_s + DETECT_PERIOD_S
        found = detector.detect(frame.rgb)
        if len(found):
            sizes = np.prod(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], axis=1)
            now = (frame.timestamp_s, found.landmarks_px[int(sizes.argmax())])
            if known is None or now[0] - known[0] > MAX_GAP_S:
                waiting, known = waiting[-1:], now
            yield from _crop(waiting, known, now, start_s)
            waiting, known = [], now
        elif known is None or frame.timestamp_s - known[0] > MAX_GAP_S:
            waiting = []
    if known is not None:
        yield from _crop(waiting, known, known, start_s)


def _crop(
    frames: list[Frame],
    before: tuple[float, FloatArray],
    after: tuple[float, FloatArray],
    start_s: float,
) -> Iterator[tuple[float, DoubleArray]]:
    span_s = after[0] - before[0]
    for frame in frames:
        share = 0.0 if span_s <= 0 else min(1.0, (frame.timestamp_s - before[0]) / span_s)
        landmarks = (1 - share) * before[1] + share * after[1]
        crop = align_crop(frame.rgb, landmarks.astype(np.float32), CROP_PX)[MOUTH]
        yield frame.timestamp_s - start_s, crop.mean(axis=2, dtype=np.float64)


def sync_score(motion: MouthMotion, samples: FloatArray, length_s: float) -> float:
    """How well a mouth and a voice go together, in [-1, 1]; 0 where either has nothing to say.

    The correlation of the motion with the voice's level, and with the level's speed of change, the
    mean of both, at the best lag. Mouths move at the rate of syllables, and the loudness of speech
    goes up and down with them: C. Chandrasekaran et al., "The natural statistics of audiovisual
    speech", PLoS Computational Biology 5(7), 2009. It knows nothing of emotion.
    """
    num_points, num_lags = int(length_s * CURVE_HZ), int(MAX_LAG_S * CURVE_HZ)
    if num_points <= 2 * num_lags:
        raise ValueError(f"length_s = {length_s}: must be more than twice {MAX_LAG_S} s")
    if not len(motion.times_s):
        return 0.0
    moves = motion.curve(num_points)
    level = np.sqrt(_envelope(samples, num_points))
    change = np.abs(np.gradient(_smooth(level, 5)))
    curves = [_smooth(level, 9), _smooth(change, 9)]
    return max(
        float(np.mean([_correlation(moves, curve, lag) for curve in curves]))
        for lag in range(-num_lags, num_lags + 1, 2)
    )


def _envelope(samples: FloatArray, num_points: int) -> DoubleArray:
    """RMS over 25 ms around each point of the curve; silence beyond the samples."""
    step, half = SAMPLE_RATE_HZ // CURVE_HZ, round(ENVELOPE_S * SAMPLE_RATE_HZ / 2)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = np.arange(num_points) * step
    first, last = ((centres + sign * half).clip(0, len(samples)) for sign in (-1, 1))
    mean: DoubleArray = np.maximum(power[last] - power[first], 0.0) / (2 * half)
    return np.sqrt(mean)


def _smooth(curve: DoubleArray, width: int) -> DoubleArray:
    """Weighted mean over `width` points (odd); beyond its ends, the curve goes on level."""
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(curve, width // 2, "edge"), window / window.sum(), "valid")


def _correlation(moves: DoubleArray, curve: DoubleArray, lag: int) -> float:
    """Pearson's, of what overlaps when the voice is taken `lag` points earlier than it is."""
    x, y = (moves[lag:], curve[: len(curve) - lag]) if lag >= 0 else (moves[:lag], curve[-lag:])
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm > 1e-12 else 0.0


@dataclass(frozen=True, slots=True)
class PairTraces:
    """All that was measured of a pair, before and after dubbing.

    face_film: the face's whole film; voice_file: the voice's whole file; dub: the dubbed clip, with
    "still", the seconds before the mouth begins to move much and after it stops, and "sync";
    face_sound: the film's own sound, cut like the dub. It is not in the dub, but tells how loud,
    and when, this face was speaking; coding: of the dub's streams, in words.
    """

    timed: TimedPair
    face_film: Measures
    face_sound: Measures
    voice_file: Measures
    dub: Measures
    coding: str


def trace_pairs(
    pairs: Sequence[NumberedPair], clips: Sequence[Clip], folder: Path, *, jobs: int = 1
) -> tuple[PairTraces, ...]:
    """Measure the dubs that `dub_pairs` wrote to `folder`, and their sources, each once.

    Raises:
        CorpusError: a clip is unknown, or has no picture or no sound.
        MediaError: a source or a dub can't be read; named.
    """
    index, config = clips_by_id(clips), FacesConfig()
    detector = FaceDetector(min_face_px=config.min_face_px, min_score=config.min_score)
    keys = sorted({_face_key(pair) for pair in pairs})
    measure_face = partial(_measure_face, index=index, detector=detector)
    faces = dict(zip(keys, thread_map(measure_face, keys, jobs), strict=True))
    voices = [voice_source(pair.timed, index)[0] for pair in pairs]
    paths = sorted(set(voices))
    heard = dict(zip(paths, thread_map(measure_file, paths, jobs), strict=True))

    def trace(place: int) -> PairTraces:
        pair, length_s = pairs[place], pairs[place].timed.length_s
        film, sound, motion = faces[_face_key(pair)]
        path = folder / "clips" / pair.file
        dub, coding = measure_file(path)
        begins_s, stops_s = motion.moving_span_s(length_s)
        dub["still"] = [begins_s, length_s - stops_s]
        dub["sync"] = [sync_score(motion, read_sound(path), length_s)]
        return PairTraces(pair.timed, film, sound, heard[voices[place]][0], dub, coding)

    return tuple(thread_map(trace, range(len(pairs)), jobs))


def _face_key(pair: NumberedPair) -> tuple[str, float]:
    return pair.timed.pair.face_clip_id, pair.timed.length_s


def _measure_face(
    key: tuple[str, float], index: dict[str, Clip], detector: FaceDetector
) -> tuple[Measures, Measures, MouthMotion]:
    clip_id, length_s = key
    clip = find_clip(index, clip_id)
    if clip.video_path is None:
        raise CorpusError(f"clip {clip_id!r} has no picture")
    path, start_s = clip.video_path, clip.video_start_s
    try:
        samples = read_sound(path, start_s, length_s)
    except NoStreamError:
        samples = np.zeros(0, np.float32)
    motion = mouth_motion(path, detector, start_s, length_s)
    return measure_file(path)[0], measure_sound(samples), motion


# Name → which measures are taken of the face, and which of the voice.
Side = tuple[tuple[str, str], ...]
BEFORE: dict[str, tuple[Side, Side]] = {
    f"{name} of the recordings": ((("face_film", face),), (("voice_file", voice),))
    for name, face, voice in (
        ("lengths", "picture length", "sound length"),
        ("loudness", "loudness", "loudness"),
        ("silences", "silences", "silences"),
        ("coding", "picture coding", "sound coding"),
    )
}
# What the picture of a dub can tell of loudness is how well it packs; of silences, a still mouth.
_FACE = ("picture length", "picture coding", "still", "sync")
_VOICE = ("sound length", "sound coding", "loudness", "silences")
AFTER: dict[str, tuple[Side, Side]] = {
    "lengths": ((("dub", "picture length"),), (("dub", "sound length"),)),
    "loudness": ((("dub", "picture coding"),), (("dub", "loudness"),)),
    "silences": ((("dub", "still"),), (("dub", "silences"),)),
    "coding": ((("dub", "picture coding"),), (("dub", "sound coding"),)),
    "all together": (tuple(("dub", n) for n in _FACE), tuple(("dub", n) for n in _VOICE)),
}
BEYOND: dict[str, tuple[Side, Side]] = {
    f"{name}, face's own sound known": ((("face_sound", name),), (("dub", name),))
    for name in ("loudness", "silences")
}


@dataclass(frozen=True, slots=True)
class DubAudits:
    """What the audits found.

    before: of the clips as they were recorded; shows why they are cut and made equally loud;
    after: of the dubs; these must pass;
    beyond: of the dubs with the face's own sound beside them. No dub holds that sound, so that it
    can't give anything away; it tells what would be left if the face's own speech were known;
    sync_check: the synchrony score on originals (high) against matches (low). It must succeed,
    or the synchrony audit would prove nothing;
    codings: the different codings that the dubs' two streams have.
    """

    before: tuple[AuditResult, ...]
    after: tuple[AuditResult, ...]
    beyond: tuple[AuditResult, ...]
    sync_check: AuditResult
    codings: tuple[str, ...]


def audit_dubs(traces: Sequence[PairTraces], *, num_resamples: int = 2000) -> DubAudits:
    """Audit dubbed pairs: matches against conflicts, and originals as a check.

    Raises:
        EvaluationError: a kind of pair is missing, or there is only one speaker.
    """
    for kind in PairKind:
        if not any(trace.timed.pair.kind is kind for trace in traces):
            raise EvaluationError(f"the audits of dubs need pairs of each kind; no {kind} is there")
    spliced = [trace for trace in traces if trace.timed.pair.kind is not PairKind.ORIGINAL]
    uncrossed = [trace for trace in traces if trace.timed.pair.kind is not PairKind.CONFLICT]

    def audit(sides: dict[str, tuple[Side, Side]]) -> list[AuditResult]:
        truth = [trace.timed.pair.is_conflict for trace in spliced]
        speakers = [trace.timed.pair.speaker for trace in spliced]
        return [
            audit_features(
                name, truth, join_sides(spliced, *both), speakers, num_resamples=num_resamples
            )
            for name, both in sides.items()
        ]

    def audit_sync(name: str, kind: PairKind, among: Sequence[PairTraces], **how: Any) -> Any:
        return audit_scores(
            name,
            [trace.timed.pair.kind is kind for trace in among],
            [trace.dub["sync"][0] for trace in among],
            [trace.timed.pair.speaker for trace in among],
            num_resamples=num_resamples,
            **how,
        )

    *after, together = audit(AFTER)
    check = "synchrony, originals against matches"
    return DubAudits(
        before=tuple(audit(BEFORE)),
        after=(*after, audit_sync("synchrony", PairKind.CONFLICT, spliced), together),
        beyond=tuple(audit(BEYOND)),
        sync_check=audit_sync(check, PairKind.ORIGINAL, uncrossed, limit=1.0),
        codings=tuple(sorted({trace.coding for trace in traces})),
    )


def join_sides(traces: Sequence[PairTraces], face: Side, voice: Side) -> DoubleArray:
    """Features (n, k): of the face, of the voice, and of every two of them across.

    Measures are standardised, so that differences and products are of like things; a measure that
    is the same everywhere becomes 0.
    """

    def standardised(side: Side) -> DoubleArray:
        rows = [[v for whose, name in side for v in getattr(t, whose)[name]] for t in traces]
        values = np.array(rows)
        spread = values.std(axis=0)
        same = spread <= 1e-9 * np.maximum(1.0, np.abs(values).max(axis=0))
        return np.where(same, 0.0, (values - values.mean(axis=0)) / np.where(same, 1.0, spread))

    a, b = standardised(face), standardised(voice)
    across = a[:, :, None] - b[:, None, :]
    products = a[:, :, None] * b[:, None, :]
    return np.hstack([a, b, across.reshape(len(a), -1), products.reshape(len(a), -1)])


def run_dub_audits(
    corpora: Path, work: Path, *, corpus: str = "javanese", jobs: int = 2, seed: int = 0
) -> tuple[DubAudits, int]:
    """Make, dub, measure and audit all pairs of a corpus; the audits, and how many pairs."""
    place = parse_place(corpus, corpora)
    out = work / "manifest.parquet"
    clips = prepare_manifest([place], out, work=work / "unpacked", jobs=jobs).clips
    pairs = number_pairs(pair_manifest(clips, seed=seed, jobs=jobs).pairs, seed)
    num_written, num_quieter = dub_pairs(pairs, clips, work / "dubs", jobs=jobs)
    print(
        f"{len(pairs)} dubs, {num_written} made now, {num_quieter} of them quieter for their peaks",
        file=sys.stderr,
    )
    return audit_dubs(trace_pairs(pairs, clips, work / "dubs", jobs=jobs)), len(pairs)


def markdown(audits: DubAudits) -> str:
    """All audits as a table."""
    lines = ["| stage | audit | AUROC | 95 % | limit | |", "|---|---|---|---|---|---|"]
    for stage, results in (("recordings", audits.before), ("dubs", audits.after)):
        lines += [_row(stage, result, stage == "dubs") for result in results]
    lines += [_row("dubs and more", result, False) for result in audits.beyond]
    lines.append(_row("check of the score", audits.sync_check, False))
    return "\n".join(lines)


def _row(stage: str, result: AuditResult, must_pass: bool) -> str:
    auroc = result.auroc
    verdict = ("passed" if result.passed else "FAILED") if must_pass else ""
    limit = f"{result.limit:.2f}" if must_pass else ""
    return (
        f"| {stage} | {result.name} | {auroc.estimate:.3f} | {auroc.low:.3f} to {auroc.high:.3f} "
        f"| {limit} | {verdict} |"
    )


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--corpus", default="javanese")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parse_with_corpora(parser)
    begun = time.monotonic()
    audits, num_pairs = run_dub_audits(
        given.corpora, given.work, corpus=given.corpus, jobs=given.jobs, seed=given.seed
    )
    print(markdown(audits))
    print(
        f"\n{num_pairs} pairs of {given.corpus}, seed {given.seed}, "
        f"{time.monotonic() - begun:.0f} s. Coding of all dubs: {' / '.join(audits.codings)}."
    )


if __name__ == "__main__":
    main()
