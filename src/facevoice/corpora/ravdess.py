"""RAVDESS: 24 speakers, 2 sentences, 8 emotions, speech (and song), picture and sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.records import Emotion

_EMOTIONS: Final = {
    "01": Emotion.NEUTRAL,
    "02": Emotion.CALM,
    "03": Emotion.HAPPY,
    "04": Emotion.SAD,
    "05": Emotion.ANGRY,
    "06": Emotion.FEARFUL,
    "07": Emotion.DISGUST,
    "08": Emotion.SURPRISED,
}
_INTENSITIES: Final = {"01": "normal", "02": "strong"}

# 03-01-06-01-02-01-12.wav: modality (01 both, 02 picture, 03 sound) - channel (01 speech, 02 song)
# - emotion - intensity - sentence - repetition - speaker (odd: male, even: female)
_NAME: Final = re.compile(
    r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
    r"-(?P<sentence>0[12])-(?P<repetition>0[12])-(?P<speaker>\d\d)"
)


class Ravdess(StemReader):
    """Reader. The wav and the film's soundtrack are one clip: its id leaves the modality out. (The
    published wav files lag the soundtrack by 33 ms; otherwise they are equal.)

    Where a film exists both as published and cut to the face (a folder `face_crops`), the
    published one is read. Song is left out unless `song` is set.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="ravdess",
        title="RAVDESS",
        language="en",
        license="CC BY-NC-SA 4.0",
        emotions=tuple(_EMOTIONS.values()),
        urls=("https://zenodo.org/records/1188976",),
        citation="Livingstone & Russo (2018), PLoS ONE 13(5): e0196391",
    )
    pattern: ClassVar[str] = "03-01-06-01-02-01-12.wav"

    def __init__(self, song: bool = False) -> None:
        self.song = song

    def parse(self, path: Path) -> Clip | str:
        """See the pattern above; `take` is the repetition."""
        match = _NAME.fullmatch(path.stem)
        if match is None or not 1 <= int(match["speaker"]) <= 24:
            return f"the name is not like {self.pattern}"
        if match["channel"] == "02" and not self.song:
            return "sung, not spoken"
        emotion = _EMOTIONS[match["emotion"]]
        return self.clip(
            path.stem[3:],
            speaker=match["speaker"],
            sentence=match["sentence"],
            take=int(match["repetition"]),
            labels=Labels(intended=emotion),
            corpus_label=match["emotion"],
            intensity=_INTENSITIES[match["intensity"]],
            sex=MALE if int(match["speaker"]) % 2 else FEMALE,
        )

    def preference(self, path: Path) -> tuple[int, ...]:
        """Published films before face crops, films with sound before silent ones."""
        return ("face_crops" in path.parts, path.stem.startswith("02"))

    def is_silent(self, path: Path) -> bool:
        """Modality 02 has no sound."""
        return path.stem.startswith("02")
