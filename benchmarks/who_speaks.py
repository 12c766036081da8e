"""Who speaks: films put side by side in one frame, with the sound of one of them, or of none.

    python -m benchmarks.who_speaks --corpora CORPORA --work WORK [--films 12] [--out FILE]

Javanese films, everybody of whom talks all the time, are put together to real files (H.264, sound
uncompressed), and every window is judged by the code that users run, but by networks that met none
of the people in it (`recipes.speaker`, ten ways to leave three out): two faces, three faces, two
faces with a third person's sound, three with that of a man of RAVDESS.
Single faces, as they are and dubbed with another take of the same sentence by the same person, must
not be called off screen; those with a narrator over a listening face (the silent ends of films)
should be. Windows in which too little is said for the voice to be judged are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.speaker import People, cut_sound, model_without, threes
from recipes.speaker_data import (
    FILMED_SPEAKER,
    Film,
    dense_frames,
    face_path,
    read_films,
    track_people,
)

from facevoice import Analyzer
from facevoice.people.cast import Cast
from facevoice.people.detect import FaceDetector
from facevoice.people.speaker import SpeakerModel, is_still, mouth_moves, read_mouths
from facevoice.perceive import Perceiver
from facevoice.records import SAMPLE_RATE_HZ, FloatArray, Reason
from facevoice.settings import FacesConfig

HEIGHT_PX: Final = 270
RATE: Final = Fraction(30000, 1001)
_OFF_SCREEN: Final = -1
_UNKNOWN: Final = -2


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Films in one frame, from left to right, and whose sound is heard: a place, or off screen."""

    films: tuple[Film, ...]
    sound: Film

    @property
    def truth(self) -> int:
        """Place of the one whose sound it is, -1 for nobody seen."""
        return self.films.index(self.sound) if self.sound in self.films else _OFF_SCREEN

    @property
    def kind(self) -> str:
        """For the table."""
        whose = "nobody's sound" if self.truth == _OFF_SCREEN else "sound of one"
        return f"{len(self.films)} faces, {whose}"


def scenes(films: Sequence[Film], three: People, num: int) -> Iterator[Scene]:
    """Draws of films of three people, the sound's owner at any place."""
    rng = np.random.default_rng([int(name[-2:]) for name in sorted(three)])
    own = {name: [film for film in films if film.speaker == name] for name in sorted(three)}
    strangers = [film for film in films if film.speaker == FILMED_SPEAKER]
    for _ in range(num):
        a, b, c = (own[name][rng.integers(len(own[name]))] for name in rng.permutation(sorted(own)))
        two, all_three = (a, b), tuple(np.array([a, b, c], object)[rng.permutation(3)])
        yield Scene(two if rng.random() < 0.5 else two[::-1], a)
        yield Scene(all_three, a)
        yield Scene(two, c)
        yield Scene(all_three, strangers[rng.integers(len(strangers))])


def compose(scene: Scene, path: Path) -> None:
    """Write a scene as a film, as long as the shortest of all that is in it."""
    ends_s = [float(film.mouth.times_s[-1] + 1 / RATE) for film in scene.films]
    length_s = min(*ends_s, len(scene.sound.samples) / SAMPLE_RATE_HZ)
    samples = cut_sound(scene.sound.samples, 0.0, length_s)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "fast"})
        audio = container.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        readers = [dense_frames(film.path) for film in scene.films]
        for place, parts in enumerate(zip(*readers, strict=False)):
            if parts[0].timestamp_s >= length_s:
                break
            picture = np.hstack([_scaled(part.rgb) for part in parts])
            if not video.codec_context.is_open:
                video.width, video.height = picture.shape[1], picture.shape[0]
                video.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = place, 1 / RATE
            container.mux(video.encode(frame))
        container.mux(video.encode())
        whole = np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        sound.rate, sound.pts = SAMPLE_RATE_HZ, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def _scaled(rgb: np.ndarray) -> np.ndarray:
    width = round(rgb.shape[1] * HEIGHT_PX / rgb.shape[0] / 2) * 2
    return np.asarray(Image.fromarray(rgb).resize((width, HEIGHT_PX), Image.Resampling.BILINEAR))


class Judge:
    """The analysis that users run, with networks that met nobody of those who are judged."""

    def __init__(self) -> None:
        self._analyzer = Analyzer(num_threads=1)

    def __call__(self, path: Path, speaker: SpeakerModel, num: int) -> Iterator[int]:
        """Of every window with speech the place of who is said to speak.

        -1 for nobody seen, -2 where it is said to be unclear, or too few are seen.
        """
        backbones = self._analyzer.assembly.backbones
        perceiver = Perceiver(self._analyzer.config, backbones, speaker=speaker)
        found = perceiver.perceive(path)
        report = self._analyzer.interpret(found)
        people = Cast(found.windows, report.config.decision.people)
        for scene, window in zip(people.scenes(), report.windows, strict=True):
            if window.voice is None:
                continue
            if Reason.VOICE_OFF_SCREEN in window.reasons:
                yield _OFF_SCREEN
            elif Reason.SPEAKER_UNCLEAR in window.reasons or len(scene.view.faces) < num:
                yield _UNKNOWN
            else:
                boxes = scene.view.faces[0].boxes_xyxy_rel
                yield _UNKNOWN if boxes is None else int(num * boxes[:, 0::2].mean())


class Table:
    """Counts of what was said, by kind of scene."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[int, int]]] = {}

    def add(self, kind: str, truth: int, said: int) -> None:
        """One window."""
        self._rows.setdefault(kind, []).append((truth, said))

    def add_scene(self, scene: Scene, said: int) -> None:
        """One window of a scene, in a row of its own too if somebody seen speaks."""
        self.add(scene.kind, scene.truth, said)
        if scene.truth != _OFF_SCREEN:
            self.add(f"{len(scene.films)} faces, sound of {scene.sound.speaker}", scene.truth, said)

    def lines(self) -> Iterator[str]:
        """Markdown."""
        yield "| scene | windows | right | called off screen | another person | not judged |"
        yield "|---|---|---|---|---|---|"
        for kind, rows in sorted(self._rows.items()):
            right = sum(truth == said for truth, said in rows)
            off = sum(said == _OFF_SCREEN for _, said in rows)
            unknown = sum(said == _UNKNOWN for _, said in rows)
            other = sum(said >= 0 and said != truth for truth, said in rows)
            cells = (f"{100 * n / len(rows):.1f}" for n in (right, off, other, unknown))
            yield f"| {kind} | {len(rows)} | {' | '.join(cells)} |"


def single_faces(films: Sequence[Film]) -> Iterator[tuple[str, bool]]:
    """Windows of one face: kind, and whether it is called off screen."""
    by_sentence: dict[tuple[str, str], list[Film]] = {}
    for film in films:
        by_sentence.setdefault((film.speaker, film.name[3:5]), []).append(film)
    for film in films:
        yield "1 face, own sound", _is_off(film, film.speech_spans_s)
        if film.speaker != FILMED_SPEAKER:
            for other in by_sentence[film.speaker, film.name[3:5]]:
                if other is not film:
                    yield "1 face, dubbed", _is_off(film, other.speech_spans_s)
        if len(film.speech_spans_s):
            first_s, last_s = film.speech_spans_s[0, 0], film.speech_spans_s[-1, 1]
            for span in ((0.0, first_s - 0.1), (last_s + 0.2, np.inf)):
                moves = mouth_moves(film.faces, film.face_times_s, np.array([span]))
                if moves is not None:
                    yield "1 silent face, a narrator", is_still(moves)


def cost(films: Sequence[Film], model: SpeakerModel) -> Iterator[str]:
    """CPU time a second of film: of one more decode, and of each face."""
    config = FacesConfig()
    detector = FaceDetector(min_face_px=config.min_face_px, min_score=config.min_score)
    spent, seconds = np.zeros(3), 0.0
    for film in films:
        sightings = max(track_people(film.path, detector).values(), key=len)
        path = face_path(*zip(*sightings, strict=True))
        clock = [time.process_time()]
        frames = list(dense_frames(film.path))
        clock.append(time.process_time())
        mouth = read_mouths(frames, {0: path})[0]
        clock.append(time.process_time())
        model.logit(mouth, film.samples, 0.0, film.speech_spans_s)
        clock.append(time.process_time())
        spent += np.diff(clock)
        seconds += len(frames) / float(RATE)
    decode, cut, judge = 1000 * spent / seconds
    yield (
        f"CPU a second of film ({films[0].path.name} and {len(films) - 1} more): {decode:.1f} ms "
        f"to decode it once more; a face: {cut:.1f} ms to cut its mouth, {judge:.1f} ms to judge."
    )


def _is_off(film: Film, spans_s: FloatArray) -> bool:
    return is_still(mouth_moves(film.faces, film.face_times_s, spans_s))


def report(films: Sequence[Film], work: Path, num_films: int) -> Iterator[str]:
    """Markdown, a line at a time."""
    judge, made, seconds = Judge(), Table(), 0.0
    for three in threes():
        model = model_without(films, three, work)
        for scene in scenes(films, three, num_films):
            path = work / "scene.mkv"
            compose(scene, path)
            begun_s = time.process_time()
            for said in judge(path, model, len(scene.films)):
                made.add_scene(scene, said)
            seconds += time.process_time() - begun_s
        print(f"done: {sorted(three)}, {seconds:.0f} s of CPU", flush=True)
    for kind, is_off in single_faces(films):
        made.add(kind, _OFF_SCREEN if "narrator" in kind else 0, _OFF_SCREEN if is_off else 0)
    yield from cost(films[:: len(films) // 12], model_without(films, threes()[0], work))
    yield ""
    yield "Films put together:"
    yield ""
    yield from made.lines()


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--films", type=int, default=12, help="draws a network that are encoded")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    arguments = parse_with_corpora(parser)
    films = read_films(arguments.corpora, arguments.work)
    lines: list[str] = []
    for line in report(films, arguments.work, arguments.films):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
