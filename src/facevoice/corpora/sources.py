"""Where each corpus is published, and which of its files we take. Facts only, no code paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from facevoice.corpora.cremad import BROKEN_CLIPS, EMOTION_CODES, clip_of_stem
from facevoice.corpora.manifest import Clip
from facevoice.errors import ConfigError

GITHUB: Final = "github"
KAGGLE: Final = "kaggle"
CREMAD_MIRROR: Final = "https://gitlab.com/cs-cooper-lab/crema-d-mirror"


# Which clips of CREMA-D make the small set for a CPU.

SUBSET_SIZE: Final = 100


def pick_cremad(stems: Iterable[str], count: int = SUBSET_SIZE) -> tuple[str, ...]:
    """Choose `count` clips: the same for the same names, balanced over emotions and speakers.

    Speakers spread over the whole list give one sentence each in all six emotions, the sentences
    in turn: so within a speaker conflict pairs (same sentence, other emotion) can be made. The last
    speaker may give fewer than six; with few speakers, more sentences of each are taken.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for stem in sorted(stems):
        clip = clip_of_stem(stem)
        if isinstance(clip, Clip) and clip.speaker and clip.sentence:
            emotions = cells.setdefault((clip.speaker, clip.sentence), {})
            emotions.setdefault(str(clip.corpus_label), stem)
    whole = {cell: found for cell, found in cells.items() if len(found) == len(EMOTION_CODES)}
    chosen: list[str] = []
    for cell in _in_order(sorted(whole), -(-count // len(EMOTION_CODES))):
        chosen.extend(whole[cell][code] for code in EMOTION_CODES)
    return tuple(chosen[:count])


def _in_order(cells: list[tuple[str, str]], wanted: int) -> list[tuple[str, str]]:
    """The first `wanted` cells, each from another speaker as long as there are speakers."""
    sentences_of: dict[str, list[str]] = {}
    for speaker, sentence in cells:
        sentences_of.setdefault(speaker, []).append(sentence)
    everybody = sorted(sentences_of)
    if wanted < len(everybody):
        last = len(everybody) - 1
        everybody = [everybody[round(k * last / max(1, wanted - 1))] for k in range(wanted)]
    order: list[tuple[str, str]] = []
    rounds = max(map(len, sentences_of.values()), default=0)
    for turn in range(rounds):
        for place, speaker in enumerate(everybody):
            sentences = sentences_of[speaker]
            if turn < len(sentences):
                order.append((speaker, sentences[(place + turn) % len(sentences)]))
    return order[:wanted]


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip archive that we unpack to a folder of its own name."""

    name: str
    unpack_ratio: float
    """Unpacked over packed size, roughly."""
    in_subset: bool = False
    is_song: bool = False


@dataclass(frozen=True, slots=True)
class ZenodoRecord:
    """A Zenodo record; sizes and md5 sums come from its API at run time."""

    record: str
    archives: tuple[Archive, ...]


@dataclass(frozen=True, slots=True)
class GitHubFolder:
    """The files in `path` whose name fits `pattern`, put into our folder `into`."""

    path: str
    pattern: re.Pattern[str]
    into: str
    is_clips: bool = False
    """Whether a file's stem is a clip that may be left out or not be in the subset."""
    unpack_ratio: float = 0.0
    """Above 0: the files are zip archives."""


@dataclass(frozen=True, slots=True)
class GitHubRepository:
    """A repository at a ref; sha1 of each blob comes from the tree, sha256 from LFS pointers."""

    repository: str
    ref: str
    folders: tuple[GitHubFolder, ...]
    lfs: bool = False


@dataclass(frozen=True, slots=True)
class DataverseDataset:
    """A Dataverse dataset; sizes and checksums come from its API at run time."""

    doi: str
    pattern: re.Pattern[str]
    into: str


@dataclass(frozen=True, slots=True)
class PlainArchive:
    """A zip archive at a fixed address without published checksum: its own CRCs must do."""

    host: str
    path: str
    archive: Archive


@dataclass(frozen=True, slots=True)
class KaggleDataset:
    """A data set on Kaggle, fetched with the user's own account."""

    handle: str
    into: str


@dataclass(frozen=True, slots=True)
class ByHand:
    """People must fetch it: why, and where."""

    reason: str
    where: str


Part = ZenodoRecord | GitHubRepository | DataverseDataset | PlainArchive | KaggleDataset | ByHand


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """All ways to get a corpus; the first of `via` is the one taken unless told otherwise."""

    name: str
    via: Mapping[str, tuple[Part, ...]]
    left_out: frozenset[str] = frozenset()
    """Stems of clips that are not fetched."""
    note: str = ""
    """What the user should know, said after the download."""
    subset: str = ""
    """What `--subset` takes; empty: there is none."""
    pick: Callable[[Iterable[str]], tuple[str, ...]] | None = None
    """Chooses the subset's clips by stem."""
    remedy: str = ""
    """What to do when the default way fails for good."""


_RAVDESS_SPEAKERS: Final = range(1, 25)
_RAVDESS_SUBSET: Final = (1, 2)
_RAVDESS_NO_SONG: Final = 18

RAVDESS: Final = CorpusSource(
    name="ravdess",
    via={
        "zenodo": (
            ZenodoRecord(
                "1188976",
                (
                    Archive("Audio_Speech_Actors_01-24.zip", 3.0),
                    Archive("Audio_Song_Actors_01-24.zip", 3.0, is_song=True),
                    *(
                        Archive(
                            f"Video_Speech_Actor_{speaker:02d}.zip",
                            1.1,
                            in_subset=speaker in _RAVDESS_SUBSET,
                        )
                        for speaker in _RAVDESS_SPEAKERS
                    ),
                    *(
                        Archive(
                            f"Video_Song_Actor_{speaker:02d}.zip",
                            1.1,
                            in_subset=speaker in _RAVDESS_SUBSET,
                            is_song=True,
                        )
                        for speaker in _RAVDESS_SPEAKERS
                        if speaker != _RAVDESS_NO_SONG
                    ),
                ),
            ),
        )
    },
    subset="speakers 01 and 02; their films carry the sound, so the archive of all wav files is "
    "not fetched",
    note="The wav files are the films' soundtracks with a constant lag of 33 ms: one clip, not "
    "two. Speaker 18 has no song.",
)

CREMAD: Final = CorpusSource(
    name="cremad",
    via={
        GITHUB: (
            GitHubRepository(
                "CheyneyComputerScience/CREMA-D",
                "master",
                (
                    # One published film is called 1040_ITH_SAD_X.flv, so the level is left open.
                    GitHubFolder(
                        "VideoFlash",
                        re.compile(r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}\.flv"),
                        "VideoFlash",
                        is_clips=True,
                    ),
                    GitHubFolder(
                        "AudioWAV",
                        re.compile(r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}\.wav"),
                        "AudioWAV",
                        is_clips=True,
                    ),
                    GitHubFolder(
                        "processedResults",
                        re.compile(r"(summaryTable|tabulatedVotes)\.csv"),
                        "processedResults",
                    ),
                    GitHubFolder(
                        "",
                        re.compile(r"(VideoDemographics|SentenceFilenames)\.csv|LICENSE(\.txt)?"),
                        "",
                    ),
                ),
                lfs=True,
            ),
        ),
        KAGGLE: (KaggleDataset("ejlok1/cremad", "kaggle"),),
    },
    left_out=BROKEN_CLIPS,
    subset="100 clips, balanced over emotions and speakers, with all votes and demographics",
    pick=pick_cremad,
    note="Kaggle's copy holds sound only, no films and no votes.",
    remedy=f"If GitHub's LFS quota of the repository is used up, wait, or clone {CREMAD_MIRROR} "
    "and put its folders in place.",
)

JAVANESE: Final = CorpusSource(
    name="javanese",
    via={
        GITHUB: (
            GitHubRepository(
                "2black0/video-emotion-recognition-javanese",
                "92c4b912f997f32f492db93cb688d0e3c114568e",
                (GitHubFolder("dataset-resize", re.compile(r"\d\d-\d\d-\d\d_\d\d\.mp4"), "video"),),
            ),
            GitHubRepository(
                "2black0/sound-emotion-recognition-javanese",
                "4d8003ecd400a173a1064867af1a2c6692a84966",
                (
                    GitHubFolder(
                        "dataset",
                        re.compile(r"dataset-person-\d\d\.zip"),
                        "audio",
                        unpack_ratio=2.0,
                    ),
                ),
            ),
        )
    },
    note="Sound take 01 is the film's own soundtrack.",
)

TESS: Final = CorpusSource(
    name="tess",
    via={
        "dataverse": (
            DataverseDataset("doi:10.5683/SP2/E8H2MF", re.compile(r".*\.wav", re.I), "wav"),
        )
    },
)

EMODB: Final = CorpusSource(
    name="emodb",
    via={"web": (PlainArchive("emodb", "/download/download.zip", Archive("emodb.zip", 1.5)),)},
    note="The publisher states no checksum; the archive's own were checked, and its sha256 noted.",
)

FER2013: Final = CorpusSource(
    name="fer2013", via={KAGGLE: (KaggleDataset("msambare/fer2013", "kaggle"),)}
)

SAVEE: Final = CorpusSource(
    name="savee",
    via={
        "hand": (
            ByHand(
                "it is given out on registration, for research only.",
                "http://kahlan.eps.surrey.ac.uk/savee/Download.html",
            ),
        )
    },
)

MELD: Final = CorpusSource(
    name="meld",
    via={
        "hand": (
            ByHand(
                "its films are cut from a TV series, whose rights are not ours to pass on.",
                "https://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz "
                "(about 11 GB; see https://affective-meld.github.io)",
            ),
        )
    },
)

IEMOCAP: Final = CorpusSource(
    name="iemocap",
    via={
        "hand": (
            ByHand(
                "it is given out on a signed licence, for research only.",
                "https://sail.usc.edu/iemocap/iemocap_release.htm",
            ),
        )
    },
)

SOURCES: Final[Mapping[str, CorpusSource]] = {
    source.name: source
    for source in (CREMAD, EMODB, FER2013, IEMOCAP, JAVANESE, MELD, RAVDESS, SAVEE, TESS)
}


def find_source(name: str) -> CorpusSource:
    """The source of the corpus called `name`.

    Raises:
        ConfigError: none is called so; lists those that are.
    """
    if name not in SOURCES:
        raise ConfigError(f"corpus {name!r} is unknown; known are {', '.join(sorted(SOURCES))}")
    return SOURCES[name]
