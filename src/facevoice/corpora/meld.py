"""MELD: utterances of the TV series Friends, rated by people, 7 emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import (
    AUDIO_EXTENSIONS,
    VIDEO_EXTENSIONS,
    Corpus,
    CorpusInfo,
    CorpusScan,
    SkippedFile,
    another_copy,
    emotion_codes,
    media_files,
    read_table,
)
from facevoice.corpora.manifest import Clip, Labels

_EMOTIONS: Final = emotion_codes(
    "anger=angry disgust fear=fearful joy=happy neutral sadness=sad surprise=surprised"
)
# The part of each folder of films, in the archives as published and as often renamed.
_FOLDERS: Final = {
    **dict.fromkeys(("train_splits", "train"), "train"),
    **dict.fromkeys(("dev_splits_complete", "dev_splits", "dev"), "dev"),
    **dict.fromkeys(("output_repeated_splits_test", "test_splits", "test"), "test"),
}

# dia0_utt0.mp4: dialogue and utterance number within the part
_NAME: Final = re.compile(r"dia\d+_utt\d+")


class Meld(Corpus):
    """Reader. Labels are what people perceived with picture and sound (and text): `labels.both`.

    Speakers recur over the published parts, so that split is not speaker-independent. Rows without
    a film, and films without a row, are listed as skipped.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="meld",
        title="MELD",
        language="en",
        license="annotations GPL-3.0; films copyright of the broadcaster",
        emotions=tuple(_EMOTIONS.values()),
        urls=("http://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz",),
        citation="Poria et al. (2019), MELD: a multimodal multi-party dataset, ACL",
    )
    pattern: ClassVar[str] = "train_splits/dia0_utt0.mp4 with train_sent_emo.csv"

    def scan(self, root: Path) -> CorpusScan:
        """See `Corpus.scan`; also raises CorpusError where a table is damaged."""
        films, skipped = _find_films(root)
        clips: list[Clip] = []
        for part in ("train", "dev", "test"):
            for table in sorted(root.rglob(f"{part}_sent_emo.csv"))[:1]:
                for clip in self._rows(table, part):
                    path = films.pop(clip.clip_id, None)
                    if path is None:
                        skipped.append(SkippedFile(table, f"no film: {clip.clip_id}"))
                        continue
                    film = path if path.suffix.lower() in VIDEO_EXTENSIONS else None
                    clips.append(replace(clip, video_path=film, audio_path=path))
        skipped += [SkippedFile(film, "in none of the tables") for film in films.values()]
        return self.finish(root, clips, skipped)

    def _rows(self, table: Path, part: str) -> Iterator[Clip]:
        def build(row: Mapping[str, str]) -> Clip:
            # Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,…
            word = row["Emotion"].strip().lower()
            return self.clip(
                f"{part}/dia{int(row['Dialogue_ID'])}_utt{int(row['Utterance_ID'])}",
                speaker=row["Speaker"].strip(),
                labels=Labels(both=_EMOTIONS[word]),
                corpus_label=word,
                split=part,
            )

        words = ", ".join(_EMOTIONS)
        expected = f"Speaker, Emotion (one of {words}), Dialogue_ID and Utterance_ID"
        return read_table(table, build, expected)


def _find_films(root: Path) -> tuple[dict[str, Path], list[SkippedFile]]:
    """Films (or their sound) by clip id."""
    films: dict[str, Path] = {}
    skipped: list[SkippedFile] = []
    for path in media_files(root, VIDEO_EXTENSIONS | frozenset(AUDIO_EXTENSIONS)):
        part = _FOLDERS.get(path.parent.name)
        if part is None or _NAME.fullmatch(path.stem) is None:
            reason = "the path does not end like train_splits/dia0_utt0.mp4"
            skipped.append(SkippedFile(path, reason))
        elif films.setdefault(f"meld/{part}/{path.stem}", path) != path:
            skipped.append(another_copy(path, films[f"meld/{part}/{path.stem}"]))
    return films, skipped
