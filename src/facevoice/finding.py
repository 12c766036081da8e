"""Which files there are to analyse, and under which names their outputs are written.

Names come from anywhere: too long for more at their end, no valid text, the same but for case or
for how an accent is written. Whatever they are, each file gets a name of its own that can be
written beside those of all others.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from facevoice.errors import ConfigError, MediaError
from facevoice.media.open import is_remote
from facevoice.media.remote import list_media
from facevoice.report import ENDINGS, RESERVED_NAMES, RESERVED_STEMS
from facevoice.review import SUFFIX
from facevoice.texts import shown
from facevoice.transcript import Sidecars

_ENDINGS: Final = """
    264 265 266 3g2 3gp aac ac3 adts aif aifc aiff amr ape apl asf au avc avi awb caf dif divx
    dts dv eac3 ec3 f4v flac flv gsm gxf h264 h265 h266 h26l hevc insv isma ismv ivf lrv m1v m2a
    m2p m2ts m2v m4a m4b m4v mac mj2 mjpeg mjpg mk3d mka mkv mov mp2 mp3 mp4 mpa mpe mpeg mpg
    mpv msbc mts mxf nut obu oga ogg ogm ogv ogx opus psp qt ra rf64 rm rmvb sbc snd spx tak thd
    tod tp trp ts tta vob voc vro vvc w64 wav webm wma wmv wv
"""
MEDIA_EXTENSIONS: Final = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Endings by which files are found in folders: of all formats that are read; a file named outright
may have any. Not .gif and .heic, which are pictures mostly."""

RENDERED_SUFFIX: Final = ".facevoice.mp4"
"""Ends the name of a film that `render` wrote, which is read only if it is named outright."""

_WRITTEN_ENDINGS: Final = tuple(ending for endings in ENDINGS.values() for ending in endings)
# One clip's side files, such as talk_events.json and talk.review.json, are called as the reports of
# another one would be that is called so.
_SIDES: Final = tuple(
    sorted(
        longer.removesuffix(ending)
        for longer in (*_WRITTEN_ENDINGS, SUFFIX)
        for ending in _WRITTEN_ENDINGS
        if longer.endswith(ending) and longer != ending
    )
)
# Beside media, nobody takes these for more of them: what `analyze` and `render` write.
_OWN_ENDINGS: Final = (*(e.lower() for e in _WRITTEN_ENDINGS), ".db", RENDERED_SUFFIX)
# Names may have 255 bytes almost everywhere; the ending of films is the longest.
_MAX_BYTES: Final = 255 - len(RENDERED_SUFFIX)
_DIGITS: Final = (8, 16, 64)
# Windows keeps these for devices, whatever their ending, and these characters for itself.
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS: Final = re.compile(r'[<>:"/\\|?*]|[. ]$')
_MAX_TOLD: Final = 6
_LONG: Final = 12

_LINK, _CLOSED = "linked folder", "closed folder"
_FOLDERS: Final = {
    _LINK: (
        "1 folder that is only linked (name it to have it read)",
        "folders that are only linked (name them to have them read)",
    ),
    _CLOSED: ("1 folder that may not be read", "folders that may not be read"),
}


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file or an address to analyse, and the relative path without ending of its outputs."""

    path: Path | str
    name: PurePath


@dataclass(frozen=True, slots=True)
class Finding:
    """Files to analyse, and what else lies in the folders: how many of each kind."""

    files: tuple[FoundFile, ...]
    passed_over: Mapping[str, int]

    def describe_passed_over(self) -> str:
        """What was passed over, and why, in a line; "" where it is nothing to speak of."""
        counts = Counter(self.passed_over)
        parts = []
        for kind, (one, many) in _FOLDERS.items():
            if number := counts.pop(kind, 0):
                parts.append(one if number == 1 else f"{number:,} {many}")
        if number := counts.total():
            told = sorted(counts.most_common(), key=lambda kind: (-kind[1], kind[0]))
            listed = [f"{n:,} {ending}" for ending, n in told[:_MAX_TOLD]]
            if rest := sum(n for _, n in told[_MAX_TOLD:]):
                listed.append(f"{rest:,} others")
            files = "1 file that is" if number == 1 else f"{number:,} files that are"
            by = "its ending" if number == 1 else "their endings"
            parts.insert(0, f"{files} not media by {by}: {', '.join(listed)}")
        return f"Passed over {'; '.join(parts)}." if parts else ""


def find_media(paths: Iterable[str | Path]) -> list[Path | str]:
    """Files to analyse: files as given, folders searched through; none twice.

    Addresses (https://…, s3://…) stay texts; those of folders, and patterns, are searched through.

    What is not there stays in the list, so that it is reported and not passed over; so does a
    folder that holds no media.

    Raises:
        ConfigError: a path is empty.
    """
    return [file.path for file in find_files(paths).files]


def find_files(paths: Iterable[str | Path]) -> Finding:
    """`find_media`, with names for outputs, and what was passed over.

    A file from a folder keeps its place below that folder. What can't stand in every name of a
    file (line ends, bytes that are no UTF-8) becomes `_`. Such names, too long ones, and those
    that would clash (also with the tables over all files, with side files such as
    `talk_events.json`, or where case and accents make no difference) get eight hexadecimal digits
    of the path's SHA-256 added.
    """
    found: dict[str, FoundFile] = {}
    passed_over: Counter[str] = Counter()
    for path in paths:
        address = _as_path(str(path))
        if not address:
            raise ConfigError(
                "an empty path names nothing (an unset variable?); name a file or a folder, '.' "
                "for the current one"
            )
        if is_remote(address):
            files: Iterable[FoundFile] = _search_remote(address)
        else:
            files = _search(Path(address), passed_over)
        for file in files:
            found.setdefault(identity(file.path), file)
    return Finding(tuple(_name_apart(list(found.values()))), passed_over)


def identity(path: Path | str) -> str:
    """What two paths of one file have in common."""
    return path if isinstance(path, str) else os.path.realpath(path)


def output_name(path: Path) -> str:
    """The name without ending of the output of one file alone."""
    name = PurePath(path.stem or "input")
    is_sound = _writable(name) == name
    return name.name if is_sound else _add(_writable(name).name, _digest(identity(path)))


def _as_path(path: str) -> str:
    """The path that a file:// address names; anything else as it is."""
    return url2pathname(urlsplit(path).path) if path.lower().startswith("file:") else path


def _search_remote(url: str) -> Iterator[FoundFile]:
    try:
        addresses = list_media(url, MEDIA_EXTENSIONS)
    except MediaError:
        addresses = []  # Reading it says what is wrong.
    for address in addresses or [url]:
        yield FoundFile(address, PurePath(PurePosixPath(urlsplit(address).path).stem or "input"))


def _search(path: Path, passed_over: Counter[str]) -> Iterator[FoundFile]:
    # Not `Path.is_dir`, which raises where a name is too long.
    files = sorted(_walk(path, passed_over)) if os.path.isdir(path) else []  # noqa: PTH112
    for file in files:
        yield FoundFile(file, file.relative_to(path).with_suffix(""))
    if not files:
        yield FoundFile(path, PurePath(path.stem or "input"))


def _walk(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """Media files below a folder; counts what else is there that isn't hidden or our own."""

    def note_closed(_: OSError) -> None:
        passed_over[_CLOSED] += 1

    # `os.walk` doesn't follow links to folders, so a link upwards can't make it run for ever.
    for root, folders, names in os.walk(folder, onerror=note_closed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        passed_over[_LINK] += sum(Path(root, name).is_symlink() for name in folders)
        here = [Path(root, name) for name in names if not name.startswith(".")]
        media = [path for path in here if path.suffix.lower() in MEDIA_EXTENSIONS]
        media = [path for path in media if not path.name.lower().endswith(RENDERED_SUFFIX)]
        _count_others(set(here).difference(media), media, passed_over)
        yield from media


def _count_others(others: set[Path], media: Sequence[Path], passed_over: Counter[str]) -> None:
    sidecars = Sidecars()
    others -= {words for path in media for words in sidecars.beside(path)}
    for path in others:
        ending = path.suffix.lower()
        if not path.name.lower().endswith(_OWN_ENDINGS):
            passed_over[shown(ending[:_LONG]) or "without ending"] += 1


def _name_apart(files: Sequence[FoundFile]) -> list[FoundFile]:
    """The same files under names that can be written side by side; see `find_files`."""
    written = [_writable(file.name) for file in files]
    names = _beside_files(written)
    counts = Counter(map(_fold, names))
    counts.update([f"{name}{side}" for name in counts for side in _SIDES])
    counts.update(RESERVED_STEMS)
    is_sound = [
        counts[_fold(name)] == 1 and clean == file.name
        for file, clean, name in zip(files, written, names, strict=True)
    ]
    taken = {_fold(name) for name, sound in zip(names, is_sound, strict=True) if sound}
    named = []
    for file, name, sound in zip(files, names, is_sound, strict=True):
        own = name if sound else _with_digest(name, identity(file.path), taken)
        taken.add(_fold(own))
        named.append(replace(file, name=own))
    return named


def _beside_files(names: Sequence[PurePath]) -> list[PurePath]:
    """With another name for each folder that is called as a file of the outputs, or their own."""
    files = {
        f"{_fold(name)}{ending.casefold()}"
        for name in names
        for ending in (*_WRITTEN_ENDINGS, ".srt")
    }
    files.update(RESERVED_NAMES)
    return [_beside(name, files) for name in names]


def _beside(name: PurePath, files: set[str]) -> PurePath:
    *above, last = name.parts
    kept = PurePath()
    for part in above:
        folder = kept / part
        kept = kept / _add(part, _digest(str(folder))) if _fold(folder) in files else folder
    return kept / last


def _with_digest(name: PurePath, told: str, taken: set[str]) -> PurePath:
    longer = [name.with_name(_add(name.name, _digest(told, digits))) for digits in _DIGITS]
    return next((one for one in longer if _fold(one) not in taken), longer[-1])


def _digest(text: str, num_digits: int = _DIGITS[0]) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:num_digits]


def _add(name: str, digits: str) -> str:
    return f"{_cut(name, _MAX_BYTES - len(digits) - 1)}-{digits}"


def _cut(name: str, num_bytes: int) -> str:
    return name.encode()[:num_bytes].decode(errors="ignore")


def _fold(name: PurePath) -> str:
    """What two names have in common that are one where case or accents make no difference."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name.as_posix()).casefold())


def _writable(name: PurePath) -> PurePath:
    return PurePath(*(_writable_part(part) for part in name.parts))


def _writable_part(part: str, *, on_windows: bool = os.name == "nt") -> str:
    """A name that any file system takes, if not for the same file."""
    text = "".join("_" if shown(character) != character else character for character in part)
    if on_windows:
        text = _NOT_ON_WINDOWS.sub("_", text)
        text = f"_{text}" if _DEVICES.fullmatch(text) else text
    return _cut(text, _MAX_BYTES)
