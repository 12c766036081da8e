"""Corpus readers by name; several corpora, in folders or zip archives, as one list of clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from facevoice.corpora.archive import find_place, unpack
from facevoice.corpora.ased import Ased
from facevoice.corpora.corpus import Corpus, CorpusScan, SkippedFile, another_copy
from facevoice.corpora.cremad import VOTES_TABLE, CremaD, complete_cremad
from facevoice.corpora.emodb import EmoDB
from facevoice.corpora.fer2013 import FERPLUS_TABLE, Fer2013, complete_fer2013
from facevoice.corpora.iemocap import Iemocap
from facevoice.corpora.javanese import Javanese
from facevoice.corpora.manifest import Clip
from facevoice.corpora.meld import Meld
from facevoice.corpora.nemo import Nemo
from facevoice.corpora.ravdess import Ravdess
from facevoice.corpora.savee import Savee
from facevoice.corpora.tess import Tess
from facevoice.errors import CorpusError

_READERS: Final[dict[str, type[Corpus]]] = {}


def register_corpus(reader: type[Corpus]) -> None:
    """Make a reader known under the name in its `info`.

    Raises:
        CorpusError: the name is taken.
    """
    if reader.info.name in _READERS:
        raise CorpusError(f"a corpus named {reader.info.name!r} is registered already")
    _READERS[reader.info.name] = reader


for _reader in (
    *(Ased, CremaD, EmoDB, Fer2013, Iemocap, Javanese, Meld, Nemo, Ravdess, Savee, Tess),
):
    register_corpus(_reader)


# What people saw and heard lies in a table, perhaps in a piece of its own.
_RATINGS: Final = {
    "cremad": (VOTES_TABLE, complete_cremad),
    "fer2013": (FERPLUS_TABLE, complete_fer2013),
}


def corpus_names() -> tuple[str, ...]:
    """The names that `create_corpus` knows, sorted."""
    return tuple(sorted(_READERS))


def create_corpus(name: str) -> Corpus:
    """The reader of the corpus called `name`.

    Raises:
        CorpusError: no reader has this name; the message lists those that exist.
    """
    if name not in _READERS:
        raise CorpusError(f"no corpus is called {name!r}; known: {', '.join(corpus_names())}")
    return _READERS[name]()


@dataclass(frozen=True, slots=True)
class CorpusPlace:
    """Where a corpus lies: its folder, or a zip archive of it."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class SkippedKind:
    """Files of one corpus that were left out for one reason, and one of them."""

    corpus: str
    reason: str
    num_files: int
    example: Path


@dataclass(frozen=True, slots=True)
class Gathering:
    """Clips in order of corpus and id, what was left out, and what a reader should know."""

    clips: tuple[Clip, ...]
    skipped: tuple[SkippedKind, ...]
    notes: tuple[str, ...]


def parse_place(text: str, root: Path) -> CorpusPlace:
    """NAME lies in `root`, as a folder or as NAME.zip; NAME=PATH is a folder or archive itself.

    Raises:
        CorpusError: no corpus has this name, or nothing lies there.
    """
    name, equals, own = text.partition("=")
    create_corpus(name)
    path = Path(own).expanduser() if equals else find_place(root, name)
    if not path.exists():
        raise CorpusError(f"{path}: no such folder or archive of {name}")
    return CorpusPlace(name, path.absolute())


def gather(places: Sequence[CorpusPlace], work: Path) -> Gathering:
    """Read the names of all corpora; nothing is decoded.

    Places of the same name are one corpus in several pieces (sound here, films there, ratings in a
    third): a clip takes the first film, and rather a sound file of its own than the film's sound.
    Archives are unpacked to `work`, each to a folder of its name.

    Raises:
        CorpusError: a place holds nothing of its corpus, an archive is unsafe, pieces contradict
            each other, or a table of ratings is damaged.
    """
    roots: dict[str, dict[Path, None]] = defaultdict(dict)
    for place in places:
        is_folder = place.path.is_dir()
        root = place.path if is_folder else unpack(place.path, work.absolute() / place.path.stem)
        roots[place.name][root] = None
    clips: list[Clip] = []
    skipped: list[SkippedKind] = []
    notes: list[str] = []
    for name in sorted(roots):
        found, left_out = _join_scans([_scan(name, root) for root in roots[name]])
        if name in _RATINGS:
            _, complete = _RATINGS[name]
            found, ratings_notes = complete(found, list(roots[name]))
            notes += ratings_notes
        clips += found
        skipped += _count_kinds(name, left_out)
    return Gathering(tuple(clips), tuple(skipped), tuple(notes))


def _scan(name: str, root: Path) -> CorpusScan:
    try:
        return create_corpus(name).scan(root)
    except CorpusError:
        if name in _RATINGS and (root / _RATINGS[name][0]).is_file():
            return CorpusScan((), ())  # Ratings alone are a piece too.
        raise


def _join_scans(scans: Sequence[CorpusScan]) -> tuple[tuple[Clip, ...], list[SkippedFile]]:
    known: dict[str, Clip] = {}
    skipped = [file for scan in scans for file in scan.skipped]
    for clip in (clip for scan in scans for clip in scan.clips):
        first = known.get(clip.clip_id)
        known[clip.clip_id] = clip if first is None else _join_clips(first, clip, skipped)
    return tuple(known[key] for key in sorted(known)), skipped


def _join_clips(first: Clip, second: Clip, skipped: list[SkippedFile]) -> Clip:
    for name in ("speaker", "sentence", "take", "labels", "intensity", "split"):
        if getattr(first, name) != getattr(second, name):
            raise CorpusError(
                f"{second.paths[-1]}: says something else of clip {first.clip_id!r} than "
                f"{first.paths[-1]}"
            )
    films = [c.video_path for c in (first, second) if c.video_path is not None]
    sounds = [c.audio_path for c in (first, second) if c.audio_path is not None]
    own = [sound for sound in sounds if sound not in films]
    film = next(iter(films), None)
    sound = next(iter(own or sounds), None)
    for copies, read in ((films, film), (own, sound)):
        skipped += [another_copy(path, read) for path in copies if read and path != read]
    told = {
        name: getattr(second, name)
        for name in ("sex", "age", "race", "ethnicity", "duration_s")
        if getattr(first, name) is None
    }
    return replace(first, video_path=film, audio_path=sound, **told)


def _count_kinds(corpus: str, skipped: Iterable[SkippedFile]) -> list[SkippedKind]:
    by_kind: dict[str, list[Path]] = defaultdict(list)
    for file in skipped:
        by_kind[file.reason.partition(": ")[0]].append(file.path)
    return [
        SkippedKind(corpus, kind, len(paths), min(paths)) for kind, paths in sorted(by_kind.items())
    ]
