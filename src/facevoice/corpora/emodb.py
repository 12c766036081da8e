"""EmoDB: the Berlin database of emotional speech, 10 speakers, 10 sentences, sound only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.records import Emotion

# The letters are German: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral.
_EMOTIONS: Final = {
    "W": ("anger", Emotion.ANGRY),
    "L": ("boredom", None),
    "E": ("disgust", Emotion.DISGUST),
    "A": ("fear", Emotion.FEARFUL),
    "F": ("happiness", Emotion.HAPPY),
    "T": ("sadness", Emotion.SAD),
    "N": ("neutral", Emotion.NEUTRAL),
}
_SPEAKERS: Final = {
    "03": (MALE, 31),
    "08": (FEMALE, 34),
    "09": (FEMALE, 21),
    "10": (MALE, 32),
    "11": (MALE, 26),
    "12": (MALE, 30),
    "13": (FEMALE, 32),
    "14": (FEMALE, 35),
    "15": (MALE, 25),
    "16": (FEMALE, 31),
}


class EmoDB(StemReader):
    """Reader. Boredom is none of the eight: those clips carry no intended emotion.

    A copy whose sound was cut or padded to one length has the same names: give one of the two.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="emodb",
        title="EmoDB",
        language="de",
        license="free for research",
        emotions=tuple(emotion for _, emotion in _EMOTIONS.values() if emotion is not None),
        urls=("http://emodb.bilderbar.info/download/download.zip",),
        citation="Burkhardt et al. (2005), A database of German emotional speech, Interspeech",
    )
    pattern: ClassVar[str] = "03a01Fa.wav"
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<version>[a-z])?"
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """See the pattern above; version a is take 1."""
        if match["speaker"] not in _SPEAKERS:
            return f"speaker {match['speaker']} is not one of {', '.join(_SPEAKERS)}"
        sex, age = _SPEAKERS[match["speaker"]]
        word, emotion = _EMOTIONS[match["emotion"]]
        return self.clip(
            path.stem,
            speaker=match["speaker"],
            sentence=match["sentence"],
            take=ord(match["version"] or "a") - ord("a") + 1,
            labels=Labels(intended=emotion),
            corpus_label=word,
            sex=sex,
            age=age,
        )
