"""RAVDESS: 24 speakers, 2 sentences, 8 emotions, speech (and song), picture and sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, StemReader
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.records import EMOTIONS

# The eight of this corpus, which `EMOTIONS` has in its order.
_EMOTIONS: Final = {f"{code:02d}": emotion for code, emotion in enumerate(EMOTIONS, start=1)}
_INTENSITIES: Final = {"01": "normal", "02": "strong"}


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
    # Modality: 01 both, 02 picture, 03 sound; channel: 01 speech, 02 song.
    name: ClassVar[re.Pattern[str]] = re.compile(
        r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
        r"-(?P<sentence>0[12])-(?P<repetition>0[12])-(?P<speaker>0[1-9]|1\d|2[0-4])"
    )

    def __init__(self, song: bool = False) -> None:
        self.song = song

    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """See the pattern above; `take` is the repetition."""
        if match["channel"] == "02" and not self.song:
            return "sung, not spoken"
        return self.clip(
            path.stem[3:],
            speaker=match["speaker"],
            sentence=match["sentence"],
            take=int(match["repetition"]),
            labels=Labels(intended=_EMOTIONS[match["emotion"]]),
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
