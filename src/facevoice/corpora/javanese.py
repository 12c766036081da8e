"""Javanese acted speech: 6 emotions, 7 takes of sound a cell, the first of them with picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader, emotion_codes
from facevoice.corpora.manifest import Clip, Labels

_EMOTIONS: Final = emotion_codes("01=neutral 02=sad 03=happy 04=surprised 05=fearful 06=angry")


class Javanese(StemReader):
    """Reader. Sound take 01 is the film's own soundtrack: the two are one clip."""

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="javanese",
        title="Javanese emotional speech",
        language="jv",
        license="sound MIT; film published without a licence: internal use only",
        emotions=tuple(_EMOTIONS.values()),
        urls=(
            "https://github.com/2black0/video-emotion-recognition-javanese",
            "https://github.com/2black0/sound-emotion-recognition-javanese",
        ),
        citation="github.com/2black0, video- and sound-emotion-recognition-javanese",
    )
    pattern: ClassVar[str] = "05-03-06_02.ogg"
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<speaker>\d\d)-(?P<sentence>\d\d)-(?P<emotion>0[1-6])_(?P<take>\d\d)"
    )

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """See the pattern above."""
        return self.clip(
            path.stem,
            speaker=match["speaker"],
            sentence=match["sentence"],
            take=int(match["take"]),
            labels=Labels(intended=_EMOTIONS[match["emotion"]]),
            corpus_label=match["emotion"],
        )
