"""What each piece of the compact heads is worth: voices of the javanese films, other ways fitted.

    python -m benchmarks.compact_ablations --corpora CORPORA --work WORK [--out FILE]

Heads without the tested one of six speakers; mean recall over six emotions of the voices, then the
faces, of the 144 films, with 0, 1, 12 and all other films of the speaker known, 12 of them 70 %
neutral, 70 % of one emotion, or all of the very emotion that is judged; means over 4 draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.knowing import SAME, knowing_of
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import AV_CORPUS, CompactData, read_data
from recipes.crossfit import Channel, clip_posteriors, make_channels, nobody
from recipes.fitting import FACE, VOICE, HeadRecipe, restrict

NUM_DRAWS: Final = 4
PLAN: Final = (
    (0, "balanced"),
    (1, "one"),
    (12, "neutral"),
    (12, "one"),
    (12, SAME),
    (1000, "balanced"),
)
WAYS: Final[dict[str, dict[str, Any]]] = {
    "as shipped": {},
    "plain mean, whatever the emotions in it": {"trust": 0.0},
    "never fitted with anybody known": {"draws": 0},
    "half as many directions": {"whitened": 350},
}


def table(channel: Channel, recipe: HeadRecipe, films: frozenset[str]) -> Iterator[str]:
    names = {0: "nothing", 1000: "all"}
    heads = [names.get(num, f"{num}, {mood}") for num, mood in PLAN]
    yield f"| | {' | '.join(heads)} |"
    yield "|" + "---|" * (len(PLAN) + 1)
    for name, changes in WAYS.items():
        if changes.get("whitened") and not recipe.whitened:
            continue
        tried = replace(channel, recipe=replace(recipe, **changes), _heads={}, _doubts={})
        yield f"| {name} | {' | '.join(recalls(tried, films))} |"
    if channel.spoilt is not None:
        tried = replace(channel, spoilt=None, _heads={}, _doubts={})
        yield f"| without spoilt copies | {' | '.join(recalls(tried, films))} |"


def recalls(channel: Channel, films: frozenset[str]) -> Iterator[str]:
    for num, mood in PLAN:
        found = [recall(channel, films, num, mood, seed) for seed in range(NUM_DRAWS if num else 1)]
        yield f"{100 * np.mean(found):.1f}"


def recall(channel: Channel, films: frozenset[str], num: int, mood: str, seed: int) -> float:
    samples = channel.samples
    labels = dict(zip(samples.clips.tolist(), samples.labels.tolist(), strict=True))
    emotions = samples.emotions[samples.corpora == AV_CORPUS][:1]
    right: dict[int, list[bool]] = {}
    for speaker in sorted(channel.speakers_of(AV_CORPUS)):
        head = channel.head(frozenset({speaker}))
        knowing = knowing_of(channel, films, num, mood, seed) if num else nobody
        for clip, probs in clip_posteriors(channel, head, speaker, knowing).items():
            if clip in films:
                guess = int(restrict(probs[None], emotions).argmax())
                right.setdefault(labels[clip], []).append(guess == labels[clip])
    return float(np.mean([np.mean(each) for each in right.values()]))


def tables(data: CompactData, work: Path) -> Iterator[str]:
    faces, voices = make_channels(data, work)
    films = frozenset(str(clip) for clip in data.faces.clips)
    yield "Voice\n"
    yield from table(voices, VOICE, films)
    yield "\nFace\n"
    yield from table(faces, FACE, films)


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parse_with_corpora(parser)
    lines = []
    data = read_data(arguments.corpora, arguments.work, arguments.jobs)
    for line in tables(data, arguments.work):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
