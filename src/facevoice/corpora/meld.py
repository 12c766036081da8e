"""MELD: utterances of the TV series Friends, rated by people, 7 emotions."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import (
    AUDIO_EXTENSIONS,
    VIDEO_EXTENSIONS,
    CorpusInfo,
    CorpusReader,
    CorpusScan,
    SkippedFile,
    finish_scan,
    media_files,
)
from facevoice.corpora.manifest import Clip, Labels
from facevoice.errors import CorpusError
from facevoice.records import Emotion

EMOTION_CODES: Final[dict[str, Emotion]] = {
    "anger": Emotion.ANGRY,
    "disgust": Emotion.DISGUST,
    "fear": Emotion.FEARFUL,
    "joy": Emotion.HAPPY,
    "neutral": Emotion.NEUTRAL,
    "sadness": Emotion.SAD,
    "surprise": Emotion.SURPRISED,
}
# Table, and the folders that hold its films in the archives as published and as often renamed.
_PARTS: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "train": ("train_sent_emo.csv", frozenset({"train_splits", "train"})),
    "dev": ("dev_sent_emo.csv", frozenset({"dev_splits_complete", "dev_splits", "dev"})),
    "test": (
        "test_sent_emo.csv",
        frozenset({"output_repeated_splits_test", "test_splits", "test"}),
    ),
}

# dia0_utt0.mp4: dialogue and utterance number within the part
_NAME: Final = re.compile(r"dia\d+_utt\d+")


class Meld(CorpusReader):
    """Reader. Labels are what people perceived with picture and sound (and text): `labels.both`.

    Speakers recur over the published parts, so that split is not speaker-independent. Rows without
    a film, and films without a row, are listed as skipped.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="meld",
        title="MELD",
        language="en",
        license="annotations GPL-3.0; films copyright of the broadcaster",
        emotions=tuple(EMOTION_CODES.values()),
        urls=("http://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz",),
        citation="Poria et al. (2019), MELD: a multimodal multi-party dataset, ACL",
    )

    def scan(self, root: Path) -> CorpusScan:
        """Read the tables and find the films.

        Raises:
            CorpusError: `root` holds nothing of this corpus, or a table is damaged.
        """
        films, skipped = _find_films(root)
        clips: list[Clip] = []
        for part, (table_name, _) in _PARTS.items():
            for table in sorted(root.rglob(table_name))[:1]:
                for clip in _read_table(table, part):
                    film = films.pop(clip.clip_id, None)
                    if film is None:
                        skipped.append(SkippedFile(table, f"no film: {clip.clip_id}"))
                    else:
                        clips.append(_with_film(clip, film))
        skipped += [SkippedFile(film, "in none of the tables") for film in films.values()]
        return finish_scan(
            self.info, root, clips, skipped, "train_splits/dia0_utt0.mp4 with train_sent_emo.csv"
        )


def _find_films(root: Path) -> tuple[dict[str, Path], list[SkippedFile]]:
    films: dict[str, Path] = {}
    skipped: list[SkippedFile] = []
    for path in media_files(root, VIDEO_EXTENSIONS | frozenset(AUDIO_EXTENSIONS)):
        parts = [p for p, (_, folders) in _PARTS.items() if path.parent.name in folders]
        if not parts or _NAME.fullmatch(path.stem) is None:
            skipped.append(
                SkippedFile(path, "the path does not end like train_splits/dia0_utt0.mp4")
            )
            continue
        key = f"meld/{parts[0]}/{path.stem}"
        if key in films:
            skipped.append(SkippedFile(path, f"another copy is read: {films[key]}"))
        else:
            films[key] = path
    return films, skipped


def _read_table(table: Path, part: str) -> Iterator[Clip]:
    # Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,…
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines)
        for row in rows:
            try:
                word = row["Emotion"].strip().lower()
                yield Clip(
                    clip_id=f"meld/{part}/dia{int(row['Dialogue_ID'])}_utt{int(row['Utterance_ID'])}",
                    corpus="meld",
                    speaker=row["Speaker"].strip(),
                    language="en",
                    labels=Labels(both=EMOTION_CODES[word]),
                    corpus_label=word,
                    split=part,
                )
            except (KeyError, ValueError, AttributeError, TypeError) as error:
                raise CorpusError(
                    f"{table}:{rows.line_num}: expected Speaker, Emotion (one of "
                    f"{', '.join(EMOTION_CODES)}), Dialogue_ID and Utterance_ID, got {row}"
                ) from error


def _with_film(clip: Clip, path: Path) -> Clip:
    is_film = path.suffix.lower() in VIDEO_EXTENSIONS
    return replace(clip, video_path=path if is_film else None, audio_path=path)
