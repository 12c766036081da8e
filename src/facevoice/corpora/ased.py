"""ASED: Amharic acted speech, 65 speakers, 27 sentences, 5 emotions, sound only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader, emotion_codes
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels

# The corpus writes the number of the folder behind each letter.
_EMOTIONS: Final = emotion_codes("n1=neutral f2=fearful h3=happy s4=sad a5=angry")
_NUM_SPEAKERS: Final = 65
_SEXES: Final = {"01": FEMALE, "02": MALE}
# Each is a man in one name and a woman in all others; so there are 25 women, as published.
_MISNAMED_WOMEN: Final = frozenset({"09", "15", "21", "23", "25"})
# Said in all five emotions; each of the other numbers is another sentence in each emotion.
_COMMON_SENTENCES: Final = frozenset({"01", "02"})


class Ased(StemReader):
    """Reader. Only sentences 01 and 02 are said in every emotion (624 of 2,474 clips); the words of
    all others belong to one emotion, whose letter is part of their key: `a03`.

    The corpus holds takes whose emotion at least five of eight judges heard, or accepted.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="ased",
        title="ASED",
        language="am",
        license="published without a licence: research only, citation asked",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://github.com/Ethio2021/ASED_V1",),
        citation="Retta et al. (2022), A new Amharic speech emotion dataset and classification "
        "benchmark, ACM TALLIP, doi 10.1145/3529759",
    )
    pattern: ClassVar[str] = "a5-03-01-02-50.wav"
    # Emotion, sentence, repetition, sex, speaker. One name is S4-04-02-01-29.
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<emotion>n1|f2|h3|s4|a5)-(?P<sentence>0[1-7])-(?P<repetition>0[12])"
        r"-(?P<sex>0[12])-(?P<speaker>\d\d)",
        re.IGNORECASE,
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """See the pattern above; `take` is the repetition."""
        speaker, sentence, emotion = match["speaker"], match["sentence"], match["emotion"].lower()
        if not 1 <= int(speaker) <= _NUM_SPEAKERS:
            return f"there is no such speaker: {speaker} is not one of 01 to {_NUM_SPEAKERS}"
        return self.clip(
            path.stem.lower(),
            speaker=speaker,
            sentence=sentence if sentence in _COMMON_SENTENCES else f"{emotion[0]}{sentence}",
            take=int(match["repetition"]),
            labels=Labels(intended=_EMOTIONS[emotion]),
            corpus_label=emotion,
            sex=FEMALE if speaker in _MISNAMED_WOMEN else _SEXES[match["sex"]],
        )
