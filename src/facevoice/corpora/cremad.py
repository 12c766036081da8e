"""CREMA-D: 91 speakers, 12 sentences, 6 emotions, picture and sound, rated by people."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from facevoice.corpora.corpus import CorpusInfo, CorpusScan, StemReader
from facevoice.corpora.manifest import FEMALE, MALE, Clip, Labels
from facevoice.corpora.votes import add_votes, congruence_posterior, read_votes
from facevoice.errors import CorpusError
from facevoice.records import Emotion

EMOTION_CODES: Final[dict[str, Emotion]] = {
    "ANG": Emotion.ANGRY,
    "DIS": Emotion.DISGUST,
    "FEA": Emotion.FEARFUL,
    "HAP": Emotion.HAPPY,
    "NEU": Emotion.NEUTRAL,
    "SAD": Emotion.SAD,
}
# Level XX ("unspecified") is the only one of eleven sentences; IEO has the other three.
_LEVELS: Final[dict[str, tuple[str | None, int]]] = {
    "XX": (None, 1),
    "X": (None, 1),
    "LO": ("low", 1),
    "MD": ("medium", 2),
    "HI": ("high", 3),
}
BROKEN_CLIPS: Final[frozenset[str]] = frozenset(
    {"1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD"}
)
"""Clips that the corpus' own README calls broken."""

# 1001_DFA_ANG_XX.flv: speaker, sentence, emotion, level
_NAME: Final = re.compile(
    r"(?P<speaker>1\d{3})_(?P<sentence>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)"
    r"_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>XX?|LO|MD|HI)"
)
_DEMOGRAPHICS: Final = "VideoDemographics.csv"


@dataclass(frozen=True, slots=True)
class _Person:
    sex: str | None
    age: int | None
    race: str | None
    ethnicity: str | None


class CremaD(StemReader):
    """Reader. Film (flv, mp4) and sound (wav, mp3) of one name are one clip.

    `take` counts the three levels of sentence IEO (low 1, medium 2, high 3); all other cells have
    one take. Sex, age, race and ethnicity come from VideoDemographics.csv where it lies at the
    root. The four clips that the corpus calls broken are left out.
    """

    info: ClassVar[CorpusInfo] = CorpusInfo(
        name="cremad",
        title="CREMA-D",
        language="en",
        license="ODbL 1.0",
        emotions=tuple(EMOTION_CODES.values()),
        urls=("https://github.com/CheyneyComputerScience/CREMA-D",),
        citation="Cao et al. (2014), IEEE Transactions on Affective Computing 5(4): 377-390",
    )
    pattern: ClassVar[str] = "1001_DFA_ANG_XX.flv"

    def parse(self, path: Path) -> Clip | str:
        """See the pattern above; one published name ends in X where XX is meant."""
        return clip_of_stem(path.stem)

    def scan(self, root: Path) -> CorpusScan:
        """Read the names, and the demographics where they lie at the root.

        Raises:
            CorpusError: `root` holds nothing of this corpus, or the demographics are damaged.
        """
        scan = super().scan(root)
        return replace(scan, clips=with_demographics(scan.clips, root))


def clip_of_stem(stem: str) -> Clip | str:
    """The clip that a file name stands for (without paths), or the reason to leave it out."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return f"the name is not like {CremaD.pattern}"
    if stem in BROKEN_CLIPS:
        return "called broken by the corpus itself"
    intensity, take = _LEVELS[match["level"]]
    if match["level"] == "X":
        stem += "X"
    return Clip(
        clip_id=f"cremad/{stem}",
        corpus="cremad",
        speaker=match["speaker"],
        sentence=match["sentence"],
        take=take,
        language="en",
        labels=Labels(intended=EMOTION_CODES[match["emotion"]]),
        corpus_label=match["emotion"],
        intensity=intensity,
    )


def with_demographics(clips: Iterable[Clip], root: Path) -> tuple[Clip, ...]:
    """Clips with sex, age, race and ethnicity, where VideoDemographics.csv lies in `root`.

    Raises:
        CorpusError: the file is damaged; names the line.
    """
    table = root / _DEMOGRAPHICS
    people = read_demographics(table) if table.is_file() else {}
    return tuple(_with_person(clip, people) for clip in clips)


def read_demographics(table: Path) -> dict[str, _Person]:
    """VideoDemographics.csv by speaker.

    Raises:
        CorpusError: a column is missing or an age is no number; names the line.
    """
    people: dict[str, _Person] = {}
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        for row in rows:
            try:
                # 1001,51,"Male","Caucasian","Not Hispanic"
                people[row["ActorID"]] = _Person(
                    sex={"Male": MALE, "Female": FEMALE}[row["Sex"]],
                    age=int(row["Age"]),
                    race=row["Race"],
                    ethnicity=row["Ethnicity"],
                )
            except (KeyError, TypeError, ValueError) as error:
                raise CorpusError(
                    f"{table}:{rows.line_num}: expected ActorID, Age, Sex (Male or Female), Race "
                    f"and Ethnicity, got {row}"
                ) from error
    return people


def _with_person(clip: Clip, people: dict[str, _Person]) -> Clip:
    person = people.get(clip.speaker or "")
    if person is None:
        return clip
    return replace(
        clip, sex=person.sex, age=person.age, race=person.race, ethnicity=person.ethnicity
    )


# CREMA-D's ratings joined to its clips: what people saw, heard, and whether that agrees.

VOTES_TABLE: Final = Path("processedResults", "tabulatedVotes.csv")
"""Where the published repository, and an archive of its tables, keep the votes."""


def add_ratings(clips: tuple[Clip, ...], table: Path) -> tuple[tuple[Clip, ...], str]:
    """Clips with the labels face, voice, both and congruence, and a sentence on what was joined.

    Where there are no clips at all, those that the table names are given, without files: their
    labels are worth a table of their own.

    Raises:
        CorpusError: the table is absent or damaged; names the line.
    """
    votes = read_votes(table)
    source = f"{table.name} ({len(votes)} rated clips)"
    if not clips:
        named = (clip_of_stem(stem) for stem in votes.stems)
        clips = tuple(clip for clip in named if isinstance(clip, Clip))
        note = f"CREMA-D: no film and no sound; {len(clips)} clips of {source} stand without files."
    else:
        rated = {f"cremad/{stem}" for stem in votes.stems}
        num_rated = sum(clip.clip_id in rated for clip in clips)
        note = f"CREMA-D: {num_rated} of {len(clips)} clips have ratings in {source}."
    return add_votes(clips, votes, congruence_posterior(votes)), note
