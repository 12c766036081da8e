"""Outcomes of clips of known kinds, by two versions beside each other.

    python -m benchmarks.outcomes make MANIFEST... --out CLIPS
    git worktree add ../before COMMIT
    PYTHONPATH=../before/src python -m facevoice analyze CLIPS --out old --format json
    python -m facevoice analyze CLIPS --out new --format json
    python -m benchmarks.outcomes table old new

MANIFEST is what `facevoice data prepare` wrote. CLIPS holds a folder for each kind: the films of
each corpus as they are; happy faces with a sad or angry voice of the same person and sentence, and
the other way round, dubbed by one rule; films without sound; and voices under a black picture.
What is known of a clip's speaker is the caller's to say: the shipped heads learnt from these.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from benchmarks.dubbing import encode_pictures, join_dub

from facevoice.corpora.manifest import Clip, read_manifest
from facevoice.media.open import probe
from facevoice.records import Emotion, Outcome

SWAPPED = {Emotion.SAD, Emotion.ANGRY}
BLACK_PX = 320
EVERY = 4
"""Silent and faceless clips are made of every fourth film."""


def make(films: Sequence[Clip], out: Path) -> None:
    for clip in films:
        place = out / f"{clip.corpus} originals"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(_video(clip), place / f"{_name(clip)}.mp4")
    _make_swapped(films, out)
    for clip in films[::EVERY]:
        _make_silent(_video(clip), out / "without sound" / f"{_name(clip)}.mp4")
        _make_faceless(_sound(clip), out / "without a face" / f"{_name(clip)}.mp4")


def _make_swapped(films: Sequence[Clip], out: Path) -> None:
    first: dict[tuple[str | None, str | None, Emotion | None], Clip] = {}
    for clip in films:
        first.setdefault((clip.speaker_key, clip.sentence, clip.labels.intended), clip)
    for (speaker, sentence, emotion), glad in first.items():
        others = [first.get((speaker, sentence, other)) for other in sorted(SWAPPED)]
        for other in others if emotion is Emotion.HAPPY else ():
            if other is not None:
                _dub(glad, other, out)
                _dub(other, glad, out)


def _dub(face: Clip, voice: Clip, out: Path) -> None:
    length_s = min(probe(_video(face)).duration_s, probe(_sound(voice)).duration_s)
    place = out / "swapped happy and sad or angry"
    place.mkdir(parents=True, exist_ok=True)
    target = place / f"{_name(face)}+{_name(voice)}.mp4"
    pictures = encode_pictures(_video(face), length_s)
    join_dub(pictures, length_s, _sound(voice), target)


def _make_silent(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)


def _make_faceless(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        sound = source.streams.audio[0]
        picture = output.add_stream("libx264", rate=25)
        picture.width = picture.height = BLACK_PX
        picture.pix_fmt = "yuv420p"
        voice = output.add_stream("aac", rate=sound.rate, layout=sound.layout.name)
        seconds = 0.0
        for frame in source.decode(sound):
            seconds += frame.samples / frame.sample_rate
            frame.pts = None
            output.mux(voice.encode(frame))
        output.mux(voice.encode(None))
        black = np.zeros((BLACK_PX, BLACK_PX, 3), np.uint8)
        for _ in range(round(25 * seconds)):
            output.mux(picture.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
        output.mux(picture.encode(None))


def _video(clip: Clip) -> Path:
    if clip.video_path is None:
        raise SystemExit(f"{clip.clip_id} is no film")
    return clip.video_path


def _sound(clip: Clip) -> Path:
    return clip.audio_path or _video(clip)


def _name(clip: Clip) -> str:
    return clip.clip_id.replace("/", "_")


def table(folders: Sequence[Path]) -> str:
    """Share of windows of each outcome by kind of clip, in per cent, for each version."""
    counts = [_count(folder) for folder in folders]
    lines = [
        "| clips | windows | version | " + " | ".join(outcome.value for outcome in Outcome) + " |",
        "|---|---|---|" + "---|" * len(Outcome),
    ]
    for kind in sorted(set().union(*counts)):
        for folder, found in zip(folders, counts, strict=True):
            number = found[kind].total()
            shares = (f"{100 * found[kind][outcome.value] / number:.0f}" for outcome in Outcome)
            lines.append(f"| {kind} | {number} | {folder.name} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _count(folder: Path) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for path in sorted(folder.rglob("*.json")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") for part in parts):
            continue
        windows = json.loads(path.read_text("utf-8"))["windows"]
        counts.setdefault(parts[0], Counter()).update(window["outcome"] for window in windows)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("manifests", type=Path, nargs="+")
    making.add_argument("--out", type=Path, required=True)
    telling = commands.add_parser("table")
    telling.add_argument("reports", type=Path, nargs="+")
    asked = parser.parse_args()
    if asked.command == "table":
        print(table(asked.reports))
        return
    clips = [clip for path in asked.manifests for clip in read_manifest(path)]
    make([clip for clip in clips if clip.video_path is not None], asked.out)


if __name__ == "__main__":
    main()
