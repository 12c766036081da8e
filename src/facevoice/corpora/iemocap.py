"""IEMOCAP: dialogues of 5 pairs of speakers, rated by people utterance by utterance."""

from __future__ import annotations

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
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.errors import CorpusError
from facevoice.records import Emotion

# exc (excited), fru (frustrated), oth and xxx (no agreement) are none of the eight.
EMOTION_CODES: Final[dict[str, Emotion | None]] = {
    "neu": Emotion.NEUTRAL,
    "hap": Emotion.HAPPY,
    "sad": Emotion.SAD,
    "ang": Emotion.ANGRY,
    "fea": Emotion.FEARFUL,
    "dis": Emotion.DISGUST,
    "sur": Emotion.SURPRISED,
    "exc": None,
    "fru": None,
    "oth": None,
    "xxx": None,
}

# [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]
_LINE: Final = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\s+"
    r"(?P<utterance>Ses(?P<session>\d\d)[FM]_\w+_(?P<sex>[FM])[A-Z]*\d+[a-z]?)\s+(?P<code>[a-z]{3})\s"
)


class Iemocap(CorpusReader):
    """Reader of IEMOCAP_full_release. Labels are what people perceived: `labels.both`.

    Films are whole dialogues: `video_start_s` and `duration_s` say where the utterance lies, and
    both speakers are in the picture. Sound is one file an
    utterance. Utterances without a majority, and excited, frustrated and other, have no label of
    the eight; `corpus_label` keeps the code.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="iemocap",
        title="IEMOCAP",
        language="en",
        license="on request, research only",
        emotions=tuple(emotion for emotion in EMOTION_CODES.values() if emotion is not None),
        urls=("https://sail.usc.edu/iemocap/iemocap_release.htm",),
        citation="Busso et al. (2008), Language Resources and Evaluation 42: 335-359",
    )

    def scan(self, root: Path) -> CorpusScan:
        """Read the evaluation files, and find sound and film of every utterance.

        Raises:
            CorpusError: `root` holds nothing of this corpus, or an evaluation file is damaged.
        """
        sounds = {p.stem: p for p in media_files(root, frozenset(AUDIO_EXTENSIONS))}
        films = {p.stem: p for p in media_files(root, VIDEO_EXTENSIONS)}
        clips: list[Clip] = []
        skipped: list[SkippedFile] = []
        for table in sorted(root.rglob("EmoEvaluation/Ses*.txt")):
            for clip, utterance in _read_evaluation(table, films.get(table.stem)):
                sound = sounds.get(utterance)
                if sound is None and clip.video_path is None:
                    skipped.append(SkippedFile(table, f"neither sound nor film: {utterance}"))
                    continue
                clips.append(replace(clip, audio_path=sound))
        return finish_scan(
            self.info, root, clips, skipped, "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
        )


def _read_evaluation(table: Path, film: Path | None) -> Iterator[tuple[Clip, str]]:
    text = table.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not re.match(r"\[\d", line):
            continue
        match = _LINE.match(line)
        if match is None or match["code"] not in EMOTION_CODES:
            raise CorpusError(
                f"{table}:{number}: expected '[6.2901 - 8.2357] Ses01F_impro01_F000 neu […]', "
                f"got {line!r}"
            )
        start_s, end_s = float(match["start"]), float(match["end"])
        clip = Clip(
            clip_id=f"iemocap/{match['utterance']}",
            corpus="iemocap",
            speaker=f"{match['session']}{match['sex']}",
            language="en",
            video_path=film,
            video_start_s=start_s,
            duration_s=end_s - start_s,
            labels=Labels(both=EMOTION_CODES[match["code"]]),
            corpus_label=match["code"],
            sex=FEMALE if match["sex"] == "F" else MALE,
        )
        yield clip, match["utterance"]
