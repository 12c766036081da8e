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
    Corpus,
    CorpusInfo,
    CorpusScan,
    SkippedFile,
    emotion_codes,
    media_files,
)
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.errors import CorpusError

_EMOTIONS: Final = emotion_codes(
    "neu=neutral hap=happy sad=sad ang=angry fea=fearful dis=disgust sur=surprised"
)
# Excited, frustrated, other, and no agreement: none of the eight.
_OTHERS: Final = ("exc", "fru", "oth", "xxx")

# [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]
_LINE: Final = re.compile(
    r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\s+"
    r"(?P<utterance>Ses(?P<session>\d\d)[FM]_\w+_(?P<sex>[FM])[A-Z]*\d+[a-z]?)\s+"
    rf"(?P<code>{'|'.join((*_EMOTIONS, *_OTHERS))})\s"
)


class Iemocap(Corpus):
    """Reader of IEMOCAP_full_release. Labels are what people perceived: `labels.both`.

    Films are whole dialogues: `video_start_s` and `duration_s` say where the utterance lies, and
    both speakers are in the picture. Sound is one file an utterance. Utterances without a majority,
    and excited, frustrated and other, have no label of the eight; `corpus_label` keeps the code.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="iemocap",
        title="IEMOCAP",
        language="en",
        license="on request, research only",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://sail.usc.edu/iemocap/iemocap_release.htm",),
        citation="Busso et al. (2008), Language Resources and Evaluation 42: 335-359",
    )
    pattern: ClassVar[str] = "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"

    def scan(self, root: Path) -> CorpusScan:
        """See `Corpus.scan`; also raises CorpusError where an evaluation file is damaged."""
        sounds = {path.stem: path for path in media_files(root, AUDIO_EXTENSIONS)}
        films = {path.stem: path for path in media_files(root, VIDEO_EXTENSIONS)}
        clips: list[Clip] = []
        skipped: list[SkippedFile] = []
        for table in sorted(root.rglob("EmoEvaluation/Ses*.txt")):
            film = films.get(table.stem)
            for clip in self._utterances(table):
                utterance = clip.clip_id.removeprefix("iemocap/")
                sound = sounds.get(utterance)
                if sound is None and film is None:
                    skipped.append(SkippedFile(table, f"neither sound nor film: {utterance}"))
                else:
                    clips.append(replace(clip, video_path=film, audio_path=sound))
        return self.finish(root, clips, skipped)

    def _utterances(self, table: Path) -> Iterator[Clip]:
        text = table.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if not re.match(r"\[\d", line):
                continue
            match = _LINE.match(line)
            if match is None:
                raise CorpusError(
                    f"{table}:{number}: expected '[6.2901 - 8.2357] Ses01F_impro01_F000 neu […]', "
                    f"got {line!r}"
                )
            start_s, end_s = float(match["start"]), float(match["end"])
            yield self.clip(
                match["utterance"],
                speaker=f"{match['session']}{match['sex']}",
                video_start_s=start_s,
                duration_s=end_s - start_s,
                labels=Labels(both=_EMOTIONS.get(match["code"])),
                corpus_label=match["code"],
                sex=FEMALE if match["sex"] == "F" else MALE,
            )
