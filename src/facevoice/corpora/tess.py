"""TESS: 2 female speakers, 200 words in one carrier phrase, 7 emotions, sound only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader, emotion_codes
from facevoice.corpora.manifest import FEMALE, Clip, Labels

_EMOTIONS: Final = emotion_codes("angry disgust fear=fearful happy neutral ps=surprised sad")
_AGES: Final = {"OAF": 64, "YAF": 26}


class Tess(StemReader):
    """Reader. The sentence is the word put into "Say the word …"."""

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="tess",
        title="TESS",
        language="en",
        license="CC BY-NC-ND 4.0",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://doi.org/10.5683/SP2/E8H2MF",),
        citation="Pichora-Fuller & Dupuis (2020), Toronto emotional speech set",
    )
    pattern: ClassVar[str] = "OAF_back_angry.wav"
    # Older or younger actress; ps: pleasant surprise; a published name lacks its F: OA_bite_neutral
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<speaker>OAF?|YAF)_(?P<word>[a-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)",
        re.IGNORECASE,
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """See the pattern above."""
        speaker = "YAF" if match["speaker"].upper() == "YAF" else "OAF"
        word, code = match["word"].lower(), match["emotion"].lower()
        return self.clip(
            f"{speaker}_{word}_{code}",
            speaker=speaker,
            sentence=word,
            take=1,
            labels=Labels(intended=_EMOTIONS[code]),
            corpus_label=code,
            sex=FEMALE,
            age=_AGES[speaker],
        )
