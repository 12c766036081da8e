"""Pairs as clips to watch: numbered blindly, the key kept apart from them."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.data.clips import Clip, clips_by_id
from facevoice.data.pair_table import PAIR_COLUMNS, TimedPair, pair_row
from facevoice.errors import CorpusError
from facevoice.media.dub import Dub, DubRule, encode_pictures, join_dub
from facevoice.workbench.pair_making import voice_source
from facevoice.workbench.threads import thread_pool

CLIPS_FOLDER: Final = "clips"
KEY_FILE: Final = "key.csv"
RULE_FILE: Final = "rule.json"
_MIN_DIGITS: Final = 5

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class NumberedPair:
    """A pair and the number that its clip goes by; the number tells nothing of the pair."""

    number: int
    file: str
    timed: TimedPair


@dataclass(frozen=True, slots=True)
class DubbingReport:
    """What `dub_pairs` came to: how many clips there are, and how many of them were made now.

    num_quieter: clips made now whose peak did not allow the rule's loudness.
    """

    folder: Path
    num_clips: int
    num_written: int
    num_quieter: int


def number_pairs(
    pairs: Sequence[TimedPair], seed: int = 0, limit: int | None = None
) -> tuple[NumberedPair, ...]:
    """Pairs in a random order, numbered from 1; the first `limit` of them."""
    order = np.random.default_rng([seed, len(pairs)]).permutation(len(pairs))[:limit]
    digits = max(_MIN_DIGITS, len(str(len(order))))
    return tuple(
        NumberedPair(number, f"{number:0{digits}d}.mp4", pairs[index])
        for number, index in enumerate(order.tolist(), start=1)
    )


def dub_pairs(
    pairs: Sequence[NumberedPair],
    clips: Sequence[Clip],
    folder: Path,
    rule: DubRule | None = None,
    *,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> DubbingReport:
    """Write `folder`/clips/00001.mp4 …, and the truth into `folder`/key.csv.

    Each clip is written whole or not at all; a later run with the same pairs and rule goes on
    where this one stopped. The clips' folder can be given to viewers as it is.

    Raises:
        CorpusError: the folder holds clips of other pairs or of another rule, or a clip is unknown
            or has no sound or picture.
        MediaError: a file can't be read, or is shorter than the pair's length; named.
    """
    rule = rule or DubRule()
    index = clips_by_id(list(clips))
    _claim(folder, pairs, rule)
    missing = [p for p in pairs if not (folder / CLIPS_FOLDER / p.file).is_file()]
    by_face: dict[tuple[str, float], list[NumberedPair]] = defaultdict(list)
    for pair in missing:
        by_face[pair.timed.pair.face_clip_id, pair.timed.length_s].append(pair)
    num_done, num_quieter = len(pairs) - len(missing), 0

    def dub_face(group: list[NumberedPair]) -> list[Dub]:
        return list(_dub_face(group, index, folder / CLIPS_FOLDER, rule))

    with thread_pool(jobs) as pool:
        for future in as_completed([pool.submit(dub_face, group) for group in by_face.values()]):
            dubs = future.result()
            num_done += len(dubs)
            num_quieter += sum(_is_quieter(dub, rule) for dub in dubs)
            if on_progress is not None:
                on_progress(num_done, len(pairs))
    return DubbingReport(folder, len(pairs), len(missing), num_quieter)


def key_text(pairs: Sequence[NumberedPair]) -> str:
    """The key as CSV: number and file of each clip, and its row of the table of pairs."""
    text = io.StringIO()
    rows = csv.DictWriter(text, ["number", "file", *PAIR_COLUMNS], lineterminator="\n")
    rows.writeheader()
    for pair in pairs:
        rows.writerow({"number": pair.number, "file": pair.file, **pair_row(pair.timed)})
    return text.getvalue()


def _claim(folder: Path, pairs: Sequence[NumberedPair], rule: DubRule) -> None:
    """Put key and rule into the folder; clips that lie there already must be of the same."""
    wanted = {KEY_FILE: key_text(pairs), RULE_FILE: json.dumps(asdict(rule), indent=1) + "\n"}
    clips = folder / CLIPS_FOLDER
    if clips.is_dir() and next(clips.glob("*.mp4"), None) is not None:
        for name, text in wanted.items():
            file = folder / name
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                raise CorpusError(
                    f"{clips}: holds clips that don't belong to these pairs ({name} differs); "
                    "choose another folder, or remove it"
                )
    clips.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)


def _dub_face(
    group: Sequence[NumberedPair], index: dict[str, Clip], folder: Path, rule: DubRule
) -> Iterator[Dub]:
    """All dubs of one face; its pictures are encoded once."""
    face = _find(index, group[0].timed.pair.face_clip_id)
    if face.video_path is None:
        raise CorpusError(f"clip {face.clip_id!r} has no picture")
    length_s = group[0].timed.length_s
    pictures = encode_pictures(face.video_path, length_s, rule, start_s=face.video_start_s)
    for pair in group:
        voice = _find(index, pair.timed.pair.voice_clip_id)
        path, start_s = voice_source(pair.timed, voice)
        yield join_dub(pictures, path, folder / pair.file, rule, voice_start_s=start_s)


def _find(index: dict[str, Clip], clip_id: str) -> Clip:
    if clip_id not in index:
        raise CorpusError(f"clip {clip_id!r} of a pair is not in the manifest")
    return index[clip_id]


def _is_quieter(dub: Dub, rule: DubRule) -> bool:
    return dub.loudness_lufs is not None and dub.loudness_lufs < rule.loudness_lufs - 0.1
