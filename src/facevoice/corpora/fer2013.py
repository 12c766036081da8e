"""FER2013: 48×48 grey pictures of faces found on the web, 7 emotions, nobody named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import PICTURE_EXTENSIONS, CorpusInfo, StemReader, emotion_codes
from facevoice.corpora.manifest import Clip, Labels

_EMOTIONS: Final = emotion_codes("angry disgust fear=fearful happy neutral sad surprise=surprised")
_SPLITS: Final = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}


class Fer2013(StemReader):
    """Reader. `split` is train, public_test or private_test; labels are what people saw.

    Some names occur in two emotion folders, so the folder is part of the id.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="fer2013",
        title="FER2013",
        language=None,
        license="research use",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://www.kaggle.com/datasets/msambare/fer2013",),
        citation="Goodfellow et al. (2013), Challenges in representation learning, ICONIP",
    )
    pattern: ClassVar[str] = "train/angry/Training_10118481.jpg"
    # train/angry/Training_10118481.jpg, test/angry/PublicTest_10116449.jpg
    name: ClassVar[re.Pattern[str]] = re.compile(r"(?P<split>Training|PublicTest|PrivateTest)_\d+")
    extensions: ClassVar[frozenset[str]] = PICTURE_EXTENSIONS

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """The folder is the emotion, the first part of the name the published split."""
        word = path.parent.name.lower()
        if word not in _EMOTIONS:
            return f"the path does not end like {self.pattern}"
        return self.clip(
            f"{word}/{path.stem}",
            labels=Labels(face=_EMOTIONS[word]),
            corpus_label=word,
            split=_SPLITS[match["split"]],
        )
