"""nEMO: Polish acted speech, 9 speakers, 90 sentences, 6 emotions, sound only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader, emotion_codes
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels

_EMOTIONS: Final = emotion_codes(
    "neutral anger=angry fear=fearful happiness=happy sadness=sad surprised"
)
# As in the corpus' data.tsv.
_SPEAKERS: Final = {
    "EB0": (FEMALE, 27),
    "IC0": (FEMALE, 28),
    "KD0": (FEMALE, 28),
    "KS0": (MALE, 23),
    "MK0": (FEMALE, 23),
    "MP0": (MALE, 24),
    "SM0": (MALE, 24),
    "TP0": (MALE, 26),
    "WR0": (MALE, 23),
}


class Nemo(StemReader):
    """Reader. Sentences are the same in all emotions, one take each. Some takes were not published:
    speaker MK0 has no surprise, MP0 less than half of all but neutral.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="nemo",
        title="nEMO",
        language="pl",
        license="CC BY-NC-SA 4.0",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://github.com/amu-cai/nEMO",),
        citation="Christop (2024), nEMO: Dataset of emotional speech in Polish, LREC-COLING",
    )
    pattern: ClassVar[str] = "EB0_anger_13.wav"
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>neutral|anger|fear|happiness|sadness|surprised)"
        r"_(?P<sentence>[1-9]\d?)"
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """See the pattern above."""
        if match["speaker"] not in _SPEAKERS:
            return (
                f"there is no such speaker: {match['speaker']} is not one of {', '.join(_SPEAKERS)}"
            )
        sex, age = _SPEAKERS[match["speaker"]]
        return self.clip(
            path.stem,
            speaker=match["speaker"],
            sentence=match["sentence"],
            take=1,
            labels=Labels(intended=_EMOTIONS[match["emotion"]]),
            corpus_label=match["emotion"],
            sex=sex,
            age=age,
        )
