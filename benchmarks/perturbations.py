"""How far the voice's probabilities move when sound comes another way: level, codec, room, noise.

    python -m benchmarks.perturbations --corpora CORPORA --work WORK

CORPORA (or FACEVOICE_CORPORA) holds the zip files; they are unpacked into WORK. A fixed set of
clips is analysed as it is, and once more for each row, from a file of its own; all windows of a
clip are summed up. A change is the largest one of the eight probabilities. The conflict is that
with the same face each time, the first one of `examples/smile_glad_voice.mp4`.
Numbers here are of how much answers move, not of whether they are right.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zlib import crc32

import av
import numpy as np
import soxr
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import read_clips
from recipes.voice_data import ARCHIVES
from scipy.signal import butter, fftconvolve, sosfilt

from facevoice.analyzer import Analyzer
from facevoice.corpora.manifest import Clip
from facevoice.interpret import summarize
from facevoice.media.sound import read_sound
from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray, WindowView

FACE = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"
# By corpus: how many clips of a speaker, and of every how-many-eth speaker.
TAKEN = {"javanese": (6, 1), "ravdess": (2, 1), "emodb": (2, 1), "nemo": (2, 1), "ased": (1, 3)}

Change = Callable[[FloatArray, np.random.Generator], FloatArray]


@dataclass(frozen=True, slots=True)
class Codec:
    """How sound is written: encoder, the file's extension, sample rate, bits a second."""

    name: str = "pcm_f32le"
    extension: str = "wav"
    rate_hz: int = SAMPLE_RATE_HZ
    bit_rate: int | None = None


def as_it_is(sound: FloatArray, _: np.random.Generator) -> FloatArray:
    return sound


def gain(sound: FloatArray, _: np.random.Generator, db: float) -> FloatArray:
    return sound * 10 ** (db / 20)


def clip_peaks(sound: FloatArray, _: np.random.Generator) -> FloatArray:
    """The loudest moment 6 dB above full scale, and cut off there."""
    return np.clip(sound * 2 / (np.abs(sound).max() + 1e-9), -1, 1)


def add_offset(sound: FloatArray, _: np.random.Generator, share: float) -> FloatArray:
    return sound + share


def band(
    sound: FloatArray, _: np.random.Generator, low_hz: float | None, high_hz: float | None
) -> FloatArray:
    """Butterworth filters, 24 dB an octave at the lower end and 48 at the upper one."""
    for order, hz, kind in ((4, low_hz, "highpass"), (8, high_hz, "lowpass")):
        if hz is not None:
            sound = sosfilt(butter(order, hz, kind, fs=SAMPLE_RATE_HZ, output="sos"), sound)
    return sound


def add(sound: FloatArray, other: FloatArray, db: float) -> FloatArray:
    """`other` on top, so many dB above the sound's mean power."""
    level = np.sqrt((sound**2).mean() / (other**2).mean())
    return sound + other * level * 10 ** (db / 20)


def add_hum(sound: FloatArray, rng: np.random.Generator, mains_hz: float, db: float) -> FloatArray:
    """Mains and its first four harmonics, each weaker by its number, at random phases."""
    seconds = np.arange(sound.size) / SAMPLE_RATE_HZ
    waves = [np.sin(2 * np.pi * (k * mains_hz * seconds + rng.random())) / k for k in range(1, 6)]
    return add(sound, np.sum(waves, axis=0), db)


def add_rumble(sound: FloatArray, rng: np.random.Generator, db: float) -> FloatArray:
    """Wind, steps, a hand on the microphone: noise below 30 Hz."""
    return add(sound, band(rng.standard_normal(sound.size), rng, None, 30), db)


def add_noise(sound: FloatArray, rng: np.random.Generator, slope: float, db: float) -> FloatArray:
    """Noise whose power falls as the frequency to `slope`: 0 white, 1 pink."""
    spectrum = np.fft.rfft(rng.standard_normal(sound.size))
    spectrum[1:] /= np.arange(1, spectrum.size) ** (slope / 2)
    spectrum[0] = 0
    return add(sound, np.fft.irfft(spectrum, sound.size), db)


def add_room(
    sound: FloatArray, rng: np.random.Generator, fades_s: float, direct_db: float
) -> FloatArray:
    """A small room: noise that fades by 60 dB in `fades_s`, the direct sound so much above it."""
    seconds = np.arange(round(fades_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    room = rng.standard_normal(seconds.size) * 10 ** (-3 * seconds / fades_s)
    room[seconds < 0.0025] = 0  # The nearest wall is 40 cm away.
    room *= 10 ** (-direct_db / 20) / np.linalg.norm(room)
    room[0] = 1
    return fftconvolve(sound, room)[: sound.size]


ROWS: dict[str, tuple[Change, Codec]] = {
    "nothing (written again as WAV)": (as_it_is, Codec()),
    "level −16 dB": (partial(gain, db=-16), Codec()),
    "level +6 dB, not clipped": (partial(gain, db=6), Codec()),
    "clipped, peak 6 dB above full scale": (clip_peaks, Codec()),
    "DC offset 0.3 %": (partial(add_offset, share=0.003), Codec()),
    "rumble below 30 Hz, −10 dB": (partial(add_rumble, db=-10), Codec()),
    "high-pass 80 Hz": (partial(band, low_hz=80, high_hz=None), Codec()),
    "high-pass 150 Hz": (partial(band, low_hz=150, high_hz=None), Codec()),
    "low-pass 4 kHz": (partial(band, low_hz=None, high_hz=4000), Codec()),
    "hum 50 Hz, −35 dB": (partial(add_hum, mains_hz=50, db=-35), Codec()),
    "hum 60 Hz, −35 dB": (partial(add_hum, mains_hz=60, db=-35), Codec()),
    "hum 50 Hz, −20 dB": (partial(add_hum, mains_hz=50, db=-20), Codec()),
    "Opus 32 kbit/s": (as_it_is, Codec("libopus", "ogg", 48_000, 32_000)),
    "Opus 16 kbit/s": (as_it_is, Codec("libopus", "ogg", 48_000, 16_000)),
    "AAC 48 kbit/s": (as_it_is, Codec("aac", "m4a", 48_000, 48_000)),
    "MP3 64 kbit/s": (as_it_is, Codec("libmp3lame", "mp3", 44_100, 64_000)),
    "G.711 µ-law, 8 kHz": (as_it_is, Codec("pcm_mulaw", "wav", 8_000)),
    "AMR 12.2 kbit/s, 8 kHz": (as_it_is, Codec("libopencore_amrnb", "amr", 8_000, 12_200)),
    "telephone, 300–3400 Hz, 8 kHz": (
        partial(band, low_hz=300, high_hz=3400),
        Codec(rate_hz=8_000),
    ),
    "room, RT60 0.3 s": (partial(add_room, fades_s=0.3, direct_db=3), Codec()),
    "room, RT60 0.6 s": (partial(add_room, fades_s=0.6, direct_db=0), Codec()),
    "white noise, 30 dB": (partial(add_noise, slope=0, db=-30), Codec()),
    "white noise, 20 dB": (partial(add_noise, slope=0, db=-20), Codec()),
    "pink noise, 30 dB": (partial(add_noise, slope=1, db=-30), Codec()),
    "pink noise, 20 dB": (partial(add_noise, slope=1, db=-20), Codec()),
}


def write(sound: FloatArray, folder: Path, codec: Codec) -> Path:
    """Mono sound at 16 kHz as a file of this codec."""
    target = folder / f"sound.{codec.extension}"
    if codec.rate_hz != SAMPLE_RATE_HZ:
        sound = soxr.resample(sound, SAMPLE_RATE_HZ, codec.rate_hz)
    frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="flt", layout="mono")
    # From time 0, or AAC's lead-in would be heard as sound.
    frame.rate, frame.pts = codec.rate_hz, 0
    with av.open(str(target), "w") as output:
        stream = output.add_stream(codec.name, rate=codec.rate_hz, layout="mono")
        if codec.bit_rate is not None:
            stream.bit_rate = codec.bit_rate
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return target


class Listener:
    """Analyses sound beside one face that is always the same."""

    def __init__(self) -> None:
        self._analyzer = Analyzer(num_threads=1)
        self._face = self._analyzer.perceive(FACE).windows[0]

    def hear(self, path: Path) -> DoubleArray:
        """The voice's eight probabilities and the conflict, (9,), NaN where nothing is said."""
        seen = self._analyzer.perceive(path)
        views = tuple(self._beside_face(view) for view in seen.windows)
        report = self._analyzer.interpret(replace(seen, windows=views))
        whole = summarize(report.windows, report.point)
        if whole.voice is None or whole.conflict is None:
            return np.full(9, np.nan)
        return np.array([*whole.voice.probs, whole.conflict])

    def _beside_face(self, view: WindowView) -> WindowView:
        return replace(view, faces=self._face.faces[:1], num_faces=1)


def choose(clips: Sequence[Clip]) -> list[Clip]:
    """A few clips of every speaker in `TAKEN`, the emotions in turn; of each the first by id."""
    found: dict[tuple[str, str], dict[str, Clip]] = defaultdict(dict)
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        emotion = clip.labels.intended
        if emotion is not None and clip.take == 1:
            found[clip.corpus, str(clip.speaker)].setdefault(emotion.value, clip)
    chosen = []
    for corpus, (num_clips, step) in TAKEN.items():
        speakers = sorted(speaker for name, speaker in found if name == corpus)
        for place, speaker in enumerate(speakers[::step]):
            ways = sorted(found[corpus, speaker].items())
            turns = (ways[(place * num_clips + k) % len(ways)] for k in range(num_clips))
            chosen += [clip for _, clip in turns]
    return chosen


def measure(listener: Listener, clips: Sequence[Clip], rows: Sequence[str]) -> DoubleArray:
    """What is said of every clip as it is, then row by row: (1 + rows, clips, 9)."""
    said = np.empty((1 + len(rows), len(clips), 9))
    with tempfile.TemporaryDirectory() as folder:
        for place, clip in enumerate(clips):
            path = Path(str(clip.audio_path))
            said[0, place] = listener.hear(path)
            sound = read_sound(path)
            for number, row in enumerate(rows, start=1):
                change, codec = ROWS[row]
                changed = change(sound, np.random.default_rng(crc32(clip.clip_id.encode())))
                said[number, place] = listener.hear(write(changed, Path(folder), codec))
    return said


def table(rows: Sequence[str], said: DoubleArray, clips: Sequence[Clip]) -> str:
    """Markdown: over all clips, then the voice's median in each corpus; `said` as measured."""
    corpora = np.array([clip.corpus for clip in clips])
    before = said[0]
    heard = ~np.isnan(before[:, 0])
    lines = [
        "| | voice: median | 9 in 10 below | largest | conflict: median | largest "
        f"| other answer | voice lost | {' | '.join(TAKEN)} |",
        "|---" * (8 + len(TAKEN)) + "|",
    ]
    for row, after in zip(rows, said[1:], strict=True):
        kept = heard & ~np.isnan(after[:, 0])
        moved = np.abs(after[kept] - before[kept])
        voice, conflict = moved[:, :8].max(axis=1), moved[:, 8]
        differs = before[kept, :8].argmax(axis=1) != after[kept, :8].argmax(axis=1)
        cells = [
            f"{np.median(voice):.3f}",
            f"{np.quantile(voice, 0.9):.3f}",
            f"{voice.max():.3f}",
            f"{np.median(conflict):.3f}",
            f"{conflict.max():.3f}",
            f"{differs.mean():.0%}",
            str(heard.sum() - kept.sum()),
            *(f"{np.median(voice[corpora[kept] == name]):.3f}" for name in TAKEN),
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    asked = parse_with_corpora(corpora_parser(__doc__))
    archives = ARCHIVES.items()
    clips = choose(
        [
            clip
            for name, file in archives
            for clip in read_clips(asked.corpora, asked.work, name, file)
        ]
    )
    said = measure(Listener(), clips, list(ROWS))
    print(f"{len(clips)} clips; the last columns are the voice's medians by corpus\n")
    print(table(list(ROWS), said, clips))


if __name__ == "__main__":
    main()
