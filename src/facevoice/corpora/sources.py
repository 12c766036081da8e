"""Where each corpus is published, and which of its files we take. Facts only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from facevoice.corpora.cremad import BROKEN_CLIPS, EMOTION_CODES, clip_of_stem
from facevoice.corpora.manifest import Clip

HOSTS: Final[Mapping[str, str]] = {
    "zenodo": "https://zenodo.org",
    "github_api": "https://api.github.com",
    "github_raw": "https://raw.githubusercontent.com",
    "github_media": "https://media.githubusercontent.com/media",
    "dataverse": "https://borealisdata.ca",
    "emodb": "http://emodb.bilderbar.info",
}
"""Base addresses, each of which a mirror may replace."""

SUBSET_SIZE: Final = 100  # clips of CREMA-D


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
    order = _speakers_in_turn(sorted(whole), -(-count // len(EMOTION_CODES)))
    return tuple(whole[cell][code] for cell in order for code in EMOTION_CODES)[:count]


def _speakers_in_turn(cells: list[tuple[str, str]], wanted: int) -> list[tuple[str, str]]:
    """The first `wanted` cells, each from another speaker as long as there are speakers."""
    sentences_of: dict[str, list[str]] = {}
    for speaker, sentence in cells:
        sentences_of.setdefault(speaker, []).append(sentence)
    everybody = sorted(sentences_of)
    if wanted < len(everybody):
        last = len(everybody) - 1
        everybody = [everybody[round(k * last / max(1, wanted - 1))] for k in range(wanted)]
    order = [
        (speaker, sentences_of[speaker][(place + turn) % len(sentences_of[speaker])])
        for turn in range(max(map(len, sentences_of.values()), default=0))
        for place, speaker in enumerate(everybody)
        if turn < len(sentences_of[speaker])
    ]
    return order[:wanted]


# A fetched file called *.zip is unpacked to a folder of its own name. Names that a host lists are
# taken only where they fit a pattern here, which lets no path through.


@dataclass(frozen=True, slots=True)
class Zenodo:
    """Files of a Zenodo record, whose API states sizes and md5 sums."""

    record: str
    files: tuple[str, ...]
    songs: tuple[str, ...] = ()
    subset: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GitFolder:
    """The files in `path` whose whole name fits `pattern`, put into our folder `into`."""

    path: str
    pattern: str
    into: str
    is_clips: bool = False  # a file's stem is a clip that may be left out or not be in the subset


@dataclass(frozen=True, slots=True)
class GitHub:
    """Folders of a repository: Git's sha1 of each blob, sha256 from the pointers of Git LFS."""

    repository: str
    ref: str
    folders: tuple[GitFolder, ...]
    has_lfs: bool = False
    left_out: frozenset[str] = frozenset()  # stems of clips
    pick: Callable[[Iterable[str]], tuple[str, ...]] | None = None  # the subset's clips by stem


@dataclass(frozen=True, slots=True)
class Dataverse:
    """The files of a Dataverse dataset whose name fits `pattern`; its API states checksums."""

    doi: str
    pattern: str
    into: str


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file at a fixed address without published checksum."""

    host: str
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Kaggle:
    """A data set on Kaggle, fetched with the user's own account."""

    handle: str


@dataclass(frozen=True, slots=True)
class ByHand:
    """People must fetch it: why, and where."""

    reason: str
    where: str


Part = Zenodo | GitHub | Dataverse | WebFile | Kaggle | ByHand


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """All ways to get a corpus; the first of `via` is the one taken unless told otherwise."""

    via: Mapping[str, tuple[Part, ...]]
    has_subset: bool = False
    has_songs: bool = False
    note: str = ""  # said after the download
    remedy: str = ""  # said when it fails


def _by_hand(reason: str, where: str) -> CorpusSource:
    return CorpusSource({"hand": (ByHand(reason, where),)})


def _ravdess(kind: str, speakers: Iterable[int]) -> tuple[str, ...]:
    films = (f"Video_{kind}_Actor_{speaker:02d}.zip" for speaker in speakers)
    return (f"Audio_{kind}_Actors_01-24.zip", *films)


_FILM_AND_SOUND: Final = r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}"  # one film is 1040_ITH_SAD_X.flv
_CREMAD: Final = GitHub(
    "CheyneyComputerScience/CREMA-D",
    "master",
    (
        GitFolder("VideoFlash", rf"{_FILM_AND_SOUND}\.flv", "VideoFlash", is_clips=True),
        GitFolder("AudioWAV", rf"{_FILM_AND_SOUND}\.wav", "AudioWAV", is_clips=True),
        GitFolder("processedResults", r"(summaryTable|tabulatedVotes)\.csv", "processedResults"),
        GitFolder("", r"(VideoDemographics|SentenceFilenames)\.csv|LICENSE(\.txt)?", ""),
    ),
    has_lfs=True,
    left_out=BROKEN_CLIPS,
    pick=pick_cremad,
)

_ASED: Final = GitHub(
    "Ethio2021/ASED_V1",
    "main",
    tuple(
        GitFolder(folder, rf"(?i){code}(-\d\d){{4}}\.wav", folder)
        for folder, code in {
            "01Neutral": "n1",
            "02Fearful": "f2",
            "03Happy": "h3",
            "04Sad": "s4",
            "05Angry": "a5",
        }.items()
    ),
    has_lfs=True,
)

SOURCES: Final[Mapping[str, CorpusSource]] = {
    "ased": CorpusSource(
        {"github": (_ASED,)},
        note="The repository gives no licence: research only. Its authors ask to be cited: "
        "Retta et al. (2022), doi 10.1145/3529759.",
    ),
    "cremad": CorpusSource(
        {"github": (_CREMAD,), "kaggle": (Kaggle("ejlok1/cremad"),)},
        has_subset=True,
        note=f"Left out, as the corpus itself calls them broken: {', '.join(sorted(BROKEN_CLIPS))}"
        ". Kaggle's copy holds sound only, no films and no votes.",
        remedy="If GitHub's LFS quota of the repository is used up, wait, or clone "
        "https://gitlab.com/cs-cooper-lab/crema-d-mirror and put its folders in place.",
    ),
    "emodb": CorpusSource(
        {"web": (WebFile("emodb", "/download/download.zip", "emodb.zip"),)},
        note="The publisher states no checksum; the archive's own were checked, its sha256 noted.",
    ),
    "fer2013": CorpusSource({"kaggle": (Kaggle("msambare/fer2013"),)}),
    "iemocap": _by_hand(
        "it is given out on a signed licence, for research only.",
        "https://sail.usc.edu/iemocap/iemocap_release.htm",
    ),
    "javanese": CorpusSource(
        {
            "github": (
                GitHub(
                    "2black0/video-emotion-recognition-javanese",
                    "92c4b912f997f32f492db93cb688d0e3c114568e",
                    (GitFolder("dataset-resize", r"\d\d-\d\d-\d\d_\d\d\.mp4", "video"),),
                ),
                GitHub(
                    "2black0/sound-emotion-recognition-javanese",
                    "4d8003ecd400a173a1064867af1a2c6692a84966",
                    (GitFolder("dataset", r"dataset-person-\d\d\.zip", "audio"),),
                ),
            )
        },
        note="Sound take 01 is the film's own soundtrack.",
    ),
    "meld": _by_hand(
        "its films are cut from a TV series, whose rights are not ours to pass on.",
        "https://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz "
        "(about 11 GB; see https://affective-meld.github.io)",
    ),
    "nemo": CorpusSource(
        {
            "github": (
                GitHub(
                    "amu-cai/nEMO",
                    "06f1f83dde8f1a780443a57d53b2af3971af34ab",
                    (GitFolder("samples", r"[A-Z]{2}\d_[a-z]+_\d+\.wav", "samples"),),
                ),
            )
        },
    ),
    "ravdess": CorpusSource(
        {
            "zenodo": (
                Zenodo(
                    "1188976",
                    _ravdess("Speech", range(1, 25)),
                    songs=_ravdess("Song", [*range(1, 18), *range(19, 25)]),
                    # The films carry the sound; the archive of all wav files is not needed.
                    subset=frozenset(_ravdess("Speech", (1, 2))[1:] + _ravdess("Song", (1, 2))[1:]),
                ),
            )
        },
        has_subset=True,
        has_songs=True,
        note="The wav files are the films' soundtracks with a constant lag of 33 ms: one clip, not "
        "two. Speaker 18 has no song.",
    ),
    "savee": _by_hand(
        "it is given out on registration, for research only.",
        "http://kahlan.eps.surrey.ac.uk/savee/Download.html",
    ),
    "tess": CorpusSource(
        {"dataverse": (Dataverse("doi:10.5683/SP2/E8H2MF", r"(?i)[\w.-]+\.wav", "wav"),)}
    ),
}
