"""SAVEE: 4 male British speakers, 7 emotions, 480 sentences, picture and sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader, emotion_codes
from facevoice.corpora.manifest import MALE, Clip, Labels

_EMOTIONS: Final = emotion_codes(
    "a=angry d=disgust f=fearful h=happy n=neutral sa=sad su=surprised"
)


class Savee(StemReader):
    """Reader. Sentences are numbered within each emotion, so most words occur in one only.

    The key of a sentence is therefore emotion and number: the reader does not claim that the words
    of two emotions are the same, and no same-sentence pairs arise.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="savee",
        title="SAVEE",
        language="en",
        license="free for research, on registration",
        emotions=tuple(_EMOTIONS.values()),
        urls=("http://kahlan.eps.surrey.ac.uk/savee/Download.html",),
        citation="Haq & Jackson (2009), Speaker-dependent audio-visual emotion recognition, AVSP",
    )
    pattern: ClassVar[str] = "DC/sa03.wav"
    # AudioData/DC/sa03.wav, AudioVisualClip/DC/sa3.avi, and in flat copies DC_sa03.wav:
    # emotion letter(s), number of the sentence within the emotion
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?:(?P<speaker>DC|JE|JK|KL)_)?(?P<emotion>sa|su|[adfhn])(?P<number>\d{1,2})"
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """The speaker is the folder, or stands before the name in flat copies."""
        speaker = match["speaker"] or path.parent.name
        if speaker not in ("DC", "JE", "JK", "KL"):
            return f"the path does not end like {self.pattern}"
        key = f"{match['emotion']}{int(match['number']):02d}"
        return self.clip(
            f"{speaker}_{key}",
            speaker=speaker,
            sentence=key,
            take=1,
            labels=Labels(intended=_EMOTIONS[match["emotion"]]),
            corpus_label=match["emotion"],
            sex=MALE,
        )
