"""One long file of one person: what it brings that its windows inform each other.

    python -m benchmarks.one_file --corpora CORPORA --work WORK [--files 2]

For every javanese speaker all 24 films are joined in random order, each with the sound of another
take of the same speaker and sentence: of the same emotion (a match) or of another one (a conflict),
as chance has it; in other files two thirds of the films are neutral. A film takes 4 s, its last
picture held and silence behind, so that every other window of the default settings holds one film.
Files are analysed as `facevoice analyze` does it, at the balanced sensitivity, by a model that was
fitted without the speaker (`recipes.crossfit`; so was its curve of calls, but for the posteriors of
others that it was measured on, whose heads had met the speaker). Scored are the windows with one
film. AUROC within speakers, mean over them; shares and precision at the numbers as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import CompactData, make_all_pairs, read_data
from recipes.crossfit import Family, make_channels
from recipes.decisions import Strangers, measure
from sklearn.metrics import roc_auc_score

from facevoice.analyzer import Analyzer
from facevoice.corpora.pairs import Pair
from facevoice.interpret import interpret
from facevoice.media.sound import read_sound
from facevoice.models.heads import CompactModel
from facevoice.records import SAMPLE_RATE_HZ, Emotion, Modality, Outcome, Perception
from facevoice.settings import DecisionConfig

FILM_S: Final = 4
RATE_HZ: Final = 30
NEUTRAL_SHARE: Final = 2 / 3


def choose(pairs: Sequence[Pair], mostly_neutral: bool, rng: np.random.Generator) -> list[Pair]:
    """A pair for each film, in random order."""
    films = sorted({pair.face_clip_id for pair in pairs})
    of_film = {f: [pair for pair in pairs if pair.face_clip_id == f] for f in films}
    if mostly_neutral:
        neutral = [f for f in films if of_film[f][0].face_emotion is Emotion.NEUTRAL]
        others = [f for f in films if f not in neutral]
        num = round(len(films) * NEUTRAL_SHARE)
        films = [neutral[k % len(neutral)] for k in range(num)]
        films += rng.choice(others, len(of_film) - num, replace=False).tolist()
    chosen = []
    for film in rng.permutation(films).tolist():
        wanted = bool(rng.integers(2))
        fitting = [pair for pair in of_film[film] if pair.is_conflict == wanted]
        fitting = fitting or of_film[film]
        chosen.append(fitting[rng.integers(len(fitting))])
    return chosen


def write(data: CompactData, pairs: Sequence[Pair], target: Path) -> None:
    """The film of all pairs, one after the other."""
    with av.open(str(target), "w") as output:
        first = _pictures(data, pairs[0])[0]
        video = output.add_stream("libx264", rate=RATE_HZ, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = first.shape[1], first.shape[0], "yuv420p"
        audio = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for place, pair in enumerate(pairs):
            pictures = _pictures(data, pair)
            for k in range(FILM_S * RATE_HZ):
                frame = av.VideoFrame.from_ndarray(pictures[min(k, len(pictures) - 1)], "rgb24")
                frame.pts = place * FILM_S * RATE_HZ + k
                frame.time_base = Fraction(1, RATE_HZ)
                output.mux(video.encode(frame))
            sound = np.zeros(FILM_S * SAMPLE_RATE_HZ, np.float32)
            heard = read_sound(Path(str(data.clips[pair.voice_clip_id].audio_path)))
            length_s = data.lengths_s.get(pair.voice_clip_id, float(FILM_S))
            heard = heard[: min(round(length_s * SAMPLE_RATE_HZ), sound.size)]
            sound[: heard.size] = heard
            part = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            part.rate, part.pts = SAMPLE_RATE_HZ, place * FILM_S * SAMPLE_RATE_HZ
            output.mux(audio.encode(part))
        output.mux([*video.encode(None), *audio.encode(None)])


def _pictures(data: CompactData, pair: Pair) -> list[np.ndarray]:
    """At RATE_HZ, up to the common length of the speaker's sentence."""
    length_s = data.lengths_s.get(pair.face_clip_id, float(FILM_S))
    pictures: list[np.ndarray] = []
    with av.open(str(data.clips[pair.face_clip_id].video_path)) as source:
        for frame in source.decode(video=0):
            time_s = float(frame.time or 0.0)
            if time_s >= min(length_s, FILM_S):
                break
            while len(pictures) <= time_s * RATE_HZ:
                pictures.append(frame.to_ndarray(format="rgb24"))
    return pictures


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """Of windows that hold one film: whose, what it is, what is said."""

    speakers: list[str]
    truth: list[bool]
    probs: list[float]
    outcomes: list[Outcome]


def judge(
    perception: Perception,
    pairs: Sequence[Pair],
    model: CompactModel,
    called: Called,
    *,
    know: bool,
) -> None:
    report = interpret(perception, model, DecisionConfig(know_person=know))
    for window in report.windows:
        place, rest = divmod(round(window.start_s * 2), FILM_S * 2)
        if rest or place >= len(pairs) or window.conflict is None:
            continue
        called.speakers.append(pairs[place].speaker)
        called.truth.append(pairs[place].is_conflict)
        called.probs.append(window.conflict)
        called.outcomes.append(window.outcome)


def words(called: Called) -> str:
    truth, probs = np.array(called.truth), np.array(called.probs)
    whose = np.array(called.speakers)
    by_speaker = [roc_auc_score(truth[whose == s], probs[whose == s]) for s in np.unique(whose)]
    conflict = np.array([o is Outcome.CONFLICT for o in called.outcomes])
    match = np.array([o is Outcome.MATCH for o in called.outcomes])
    decided = conflict | match
    right = (conflict & truth) | (match & ~truth)
    precision = right[decided].mean() if decided.any() else float("nan")
    return (
        f"{len(truth)} | {np.mean(by_speaker):.3f} | {100 * decided.mean():.1f} | "
        f"{100 * precision:.1f}"
    )


def rows(data: CompactData, work: Path, num_files: int) -> Iterator[str]:
    pairs, _ = make_all_pairs(data)
    faces, voices = make_channels(data, work)
    family, strangers = Family(faces, voices, pairs), Strangers.of(faces, voices)
    analyzer = Analyzer()
    folder = work / "one_file"
    folder.mkdir(exist_ok=True)
    models = {}
    for speaker in family.speakers:
        fitted = family.judge(speaker)
        curve = measure(strangers.without(speaker), fitted.joint.conflict)
        heads = {Modality.VIDEO: fitted.face, Modality.AUDIO: fitted.voice}
        models[speaker] = CompactModel(heads, fitted.joint.fusion, fitted.joint.conflict, curve)
    yield "| file | baseline | windows | AUROC | decided, % | of these right, % |"
    yield "|---|---|---|---|---|---|"
    for name, mostly_neutral in (("as they are", False), ("two thirds neutral", True)):
        called = {know: Called([], [], [], []) for know in (False, True)}
        for speaker, model in models.items():
            own = [pair for pair in pairs if pair.speaker == speaker]
            for k in range(num_files):
                rng = np.random.default_rng([k, int(speaker.split("/")[1]), int(mostly_neutral)])
                chosen = choose(own, mostly_neutral, rng)
                path = folder / f"{speaker.split('/')[1]}-{k}-{int(mostly_neutral)}.mp4"
                if not path.exists():
                    write(data, chosen, path)
                perception = analyzer.perceive(path)
                for know, into in called.items():
                    judge(perception, chosen, model, into, know=know)
        for know, into in called.items():
            yield f"| {name} | {'on' if know else 'off'} | {words(into)} |"


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--files", type=int, default=2, help="of each kind for each speaker")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parse_with_corpora(parser)
    data = read_data(arguments.corpora, arguments.work, arguments.jobs)
    for line in rows(data, arguments.work, arguments.files):
        print(line, flush=True)


if __name__ == "__main__":
    main()
