"""What is said in a film: words in the file that comes with it, read and placed in time.

SubRip (.srt), WebVTT (.vtt) and plain text (.txt), with times or without. The parsers at hand
(webvtt-py, pysubs2, srt) each know one of these well, pass over broken cues in silence and don't
tell lines; the two cue forms share one small grammar, so it stands here.
"""

from __future__ import annotations

import codecs
import html
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise, takewhile
from pathlib import Path
from typing import Final

from facevoice.errors import TranscriptError

# So much of a line must lie in a stretch of time to belong to it; of shorter ones, half.
_LEAST_HEARD_S: Final = 0.25
# Of plain text with times, the last line lasts so long: nothing says when it ends.
_LAST_LINE_S: Final = 10.0
_MAX_BYTES: Final = 32 << 20
_MAX_TOLD: Final = 3
# Captions that roll show a line once more when the next one comes, in cues as short as this.
_BLINK_S: Final = 0.05

_SUFFIXES: Final = (".srt", ".vtt", ".txt")
# What players put between a film's name and the ending: a language, and whom it is for. Tracks of
# foreign parts alone ("forced") hold too little.
_TAG: Final = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8})*|default|sdh|cc|hi", re.IGNORECASE)

_TIME: Final = r"(?:([0-9]{1,4}):)?([0-9]{1,3}):([0-9]{1,2})(?:[.,]([0-9]{1,6}))?"
_CUE_TIMES: Final = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?=\s|$)")
_NUMBER_FIRST: Final = re.compile(r"\s*-?[0-9]")
_STAMP_TIMES: Final = rf"{_TIME}(?:\s*(?:-+>|[-–—])\s*{_TIME})?"
_BRACKETED: Final = re.compile(rf"\s*[\[(]\s*{_STAMP_TIMES}\s*[\])]\s*[-–—:]*\s*(.*)")
_BARE: Final = re.compile(rf"\s*{_STAMP_TIMES}(?:\s*[-–—:]+)?(?:\s+(.*)|$)")

_VOICE: Final = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]*)>", re.IGNORECASE)
_ANY_TAG: Final = re.compile(r"<[^>]*>")
_SRT_TAG: Final = re.compile(r"</?(?:[ibus]|font)(?:\s[^>]*)?>|\{\\[^}]*\}", re.IGNORECASE)
_NAMED: Final = re.compile(r"\[([^\]]{1,60})\]:\s*(.*)")
# Words come from anywhere and go to terminals, which obey such characters. Those that turn the
# direction of writing mean nothing any more once the words stand among others.
_CONTROLS: Final = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0xFEFF, 0x2028, 0x2029], " "),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], ""),
}
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # Before UTF-16, with which it begins.
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """Words said from `start_s` to `end_s` of media time, and by whom if the file tells."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None = None

    def __post_init__(self) -> None:
        if not self.end_s > self.start_s >= 0:
            raise ValueError(f"Line: from {self.start_s} to {self.end_s} s")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of a file.

    lines: in order of their beginnings; they may overlap;
    source: the file that they were read from, or what made them;
    text: words without times, of which nobody knows when they are said; "" where there are lines;
    remarks: what people should know of the reading, such as cues that were left out.
    """

    lines: tuple[Line, ...]
    source: str
    text: str = ""
    remarks: tuple[str, ...] = ()
    _longest_s: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if any(later.start_s < line.start_s for line, later in pairwise(self.lines)):
            raise ValueError("Transcript: lines must be in order of start_s")
        longest_s = max((line.end_s - line.start_s for line in self.lines), default=0.0)
        object.__setattr__(self, "_longest_s", longest_s)

    def places_between(self, start_s: float, end_s: float) -> list[int]:
        """Places of the lines that are heard in a stretch of time.

        A line belongs to it by a quarter of a second, or by half of itself if it is shorter; so it
        may belong to two neighbours, and never to none.
        """
        first = bisect_left(self.lines, start_s - self._longest_s, key=lambda line: line.start_s)
        last = bisect_left(self.lines, end_s, key=lambda line: line.start_s)
        return [k for k in range(first, last) if _is_heard(self.lines[k], start_s, end_s)]

    def words_between(self, start_s: float, end_s: float) -> str:
        """The words of a stretch of time, each speaker named once: "Anna: Hi. Bob: Hello."."""
        return join_lines(self.lines[place] for place in self.places_between(start_s, end_s))


def _is_heard(line: Line, start_s: float, end_s: float) -> bool:
    common_s = min(line.end_s, end_s) - max(line.start_s, start_s)
    return common_s >= min(_LEAST_HEARD_S, (line.end_s - line.start_s) / 2)


def join_lines(lines: Iterable[Line]) -> str:
    """Lines as one, each speaker named where one takes over."""
    parts = []
    for speaker, said in groupby(lines, key=lambda line: line.speaker):
        words = " ".join(line.text for line in said)
        parts.append(words if speaker is None else f"{speaker}: {words}")
    return " ".join(parts)


class Sidecars:
    """Finds transcripts beside media files; looks into each folder once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[tuple[bool, int, Path]]]] = {}

    def beside(self, media: Path) -> list[Path]:
        """Transcripts of a media file, the one to take first; empty if there are none.

        `talk.srt`, `talk.vtt`, then with a language (`talk.en.srt`, `talk.pt-BR.sdh.vtt`) by name,
        and `talk.txt`.
        """
        folder = media.parent
        if folder not in self._folders:
            self._folders[folder] = _index(folder)
        return [path for *_, path in sorted(self._folders[folder].get(media.stem, []))]


def _index(folder: Path) -> dict[str, list[tuple[bool, int, Path]]]:
    found: dict[str, list[tuple[bool, int, Path]]] = {}
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}
    for name in names:
        path = Path(name)
        suffix = path.suffix.lower()
        if suffix not in _SUFFIXES or name.startswith("."):
            continue
        is_plain = suffix == ".txt"
        found.setdefault(path.stem, []).append((is_plain, 0, folder / name))
        stem, num_tags = path.stem, 0
        while not is_plain and _TAG.fullmatch(Path(stem).suffix.removeprefix(".")):
            stem, num_tags = Path(stem).stem, num_tags + 1
            found.setdefault(stem, []).append((is_plain, num_tags, folder / name))
    return found


def without_sidecars(paths: Sequence[str]) -> list[str]:
    """Paths without the transcripts that lie beside others of them, as `clips/*` gives them."""
    sidecars = Sidecars()
    media = [Path(path) for path in paths if Path(path).suffix.lower() not in _SUFFIXES]
    found = {transcript for path in media for transcript in sidecars.beside(path)}
    return [path for path in paths if Path(path) not in found]


def read_transcript(path: str | Path) -> Transcript:
    """Read the words of a file, whatever its ending: what it holds tells its form.

    Cues that can't be read are left out, which `remarks` says.

    Raises:
        TranscriptError: the file can't be read, or holds no words.
    """
    text, remarks = _read_text(Path(path))
    rows = re.split(r"\r\n|\r|\n", text)
    is_vtt = rows[0].startswith("WEBVTT") or Path(path).suffix.lower() == ".vtt"
    if is_vtt or Path(path).suffix.lower() == ".srt" or any(map(_CUE_TIMES.match, rows)):
        lines, broken = _read_cues(rows, is_vtt=is_vtt)
        told = _tell(broken)
        if not lines:
            why = f"holds no cue that can be read{': ' if told else ''}{'; '.join(told)}."
            raise TranscriptError(path, why, "Times look like 00:00:01,500 --> 00:00:04,000.")
        return Transcript(_in_order(lines), str(path), remarks=(*remarks, *told))
    lines, heading = _read_stamped(rows)
    if lines:
        told = (f"{heading[:60]!r} stands before the first time and is left out",) * bool(heading)
        return Transcript(_in_order(lines), str(path), remarks=(*remarks, *told))
    paragraphs = [clean_words(row) for row in rows]
    whole = re.sub(r"\n{3,}", "\n\n", "\n".join(paragraphs)).strip()
    if not whole:
        raise TranscriptError(path, "holds no words.")
    remark = "has no times, so nothing tells which words belong to which moment"
    return Transcript((), str(path), whole, (*remarks, remark))


def to_srt(transcript: Transcript) -> str:
    """The lines as SubRip, which `read_transcript` reads; a speaker stands as `[Anna]: …`."""
    blocks = []
    for number, line in enumerate(transcript.lines, start=1):
        words = line.text if line.speaker is None else f"[{line.speaker}]: {line.text}"
        # An arrow would be read as times.
        words = clean_words(words).replace("-->", "→")
        blocks.append(f"{number}\n{_srt_time(line.start_s)} --> {_srt_time(line.end_s)}\n{words}\n")
    return "\n".join(blocks)


def to_vtt(transcript: Transcript, note: str = "") -> str:
    """The same as WebVTT, with a note for who looks into the file."""
    blocks = ["WEBVTT\n", *([f"NOTE {clean_words(note).replace('-->', '→')}\n"] if note else [])]
    for number, line in enumerate(transcript.lines, start=1):
        words = html.escape(clean_words(line.text), quote=False)
        if line.speaker is not None:
            words = f"<v {html.escape(clean_words(line.speaker), quote=False)}>{words}"
        start, end = (_srt_time(s).replace(",", ".") for s in (line.start_s, line.end_s))
        blocks.append(f"{number}\n{start} --> {end}\n{words}\n")
    return "\n".join(blocks)


def _srt_time(seconds: float) -> str:
    whole, ms = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02},{ms:03}"


def _read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TranscriptError(path, "is too large for a transcript (more than 32 MiB).")
        data = path.read_bytes()
    except OSError as error:
        raise TranscriptError(path, f"can't be read ({error.strerror}).") from error
    text, remarks = _decode(data)
    if "\0" in text:
        raise TranscriptError(path, "is no text.", "Name a file in .srt, .vtt or .txt.")
    return text, remarks


def _decode(data: bytes) -> tuple[str, tuple[str, ...]]:
    """A file's text, and what was guessed of it."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.removeprefix(bom).decode(encoding, "replace"), ()
    # Of Latin letters in UTF-16, every other byte is zero.
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if data[first::2].count(0) > len(data) / 8 and not data[1 - first :: 2].count(0):
            return data.decode(encoding, "replace"), ()
    text = data.decode("utf-8", "replace")
    num_wrong = text.count("\ufffd") - data.count("\ufffd".encode())
    if not num_wrong:
        return text, ()
    if num_wrong < sum(character > "\x7f" for character in text) / 2:
        return text, ("is damaged: some of its letters are no UTF-8",)
    remark = "isn't UTF-8, so it is read as Windows-1252; if letters are wrong, save it as UTF-8"
    return data.decode("cp1252", "replace"), (remark,)


def clean_words(text: str) -> str:
    """Words in one line, without characters that terminals obey."""
    return " ".join(text.translate(_CONTROLS).split())


def _in_order(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: (line.start_s, line.end_s)))


def _tell(broken: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    """What is said of cues that can't be read, by the numbers of their lines."""
    told = [f"line {number}: {why}; this cue is left out" for number, why in broken[:_MAX_TOLD]]
    rest = len(broken) - len(told)
    return (*told, *([f"{rest} more cues are left out"] if rest else []))


def _read_cues(rows: Sequence[str], *, is_vtt: bool) -> tuple[list[Line], list[tuple[int, str]]]:
    """The cues of SubRip or WebVTT, and those that can't be read: line, why."""
    lines: list[Line] = []
    broken: list[tuple[int, str]] = []
    marks = [place for place, row in enumerate(rows) if _is_timing(row, is_vtt=is_vtt)]
    shown, shown_until_s = "", -1.0
    for mark, end in pairwise([*marks, len(rows)]):
        span = _span(rows[mark])
        if span is None:
            broken.append(
                (mark + 1, f"no times that can be read in {clean_words(rows[mark])[:60]!r}")
            )
            continue
        start_s, end_s = span
        if end_s <= start_s:
            broken.append((mark + 1, "it ends before it begins"))
            continue
        said = _cue_rows(rows[mark + 1 : end], is_last=end == len(rows), is_vtt=is_vtt)
        visible = [clean_words(_ANY_TAG.sub("", row)) for row in said]
        rolls = len(said) > 1 or end_s - start_s < _BLINK_S
        if said and visible[0] == shown and abs(start_s - shown_until_s) < _BLINK_S and rolls:
            said = said[1:]
        shown, shown_until_s = (visible or [""])[-1], end_s
        for speaker, words in _spoken("\n".join(said), is_vtt=is_vtt):
            lines.append(Line(start_s, end_s, words, speaker))
    return lines, broken


def _is_timing(row: str, *, is_vtt: bool) -> bool:
    # In WebVTT an arrow stands nowhere else; in SubRip people may speak of one.
    return "-->" in row and (is_vtt or _NUMBER_FIRST.match(row) is not None)


def _cue_rows(rows: Sequence[str], *, is_last: bool, is_vtt: bool) -> list[str]:
    """The rows with words among those up to the next cue's times.

    In WebVTT an empty row ends a cue: comments and names of cues may follow. In SubRip the number
    of the next cue follows; words may go on after an empty row, which many files do.
    """
    if not is_last and rows and rows[-1].strip().isdecimal():
        rows = rows[:-1]
    if is_vtt:
        rows = list(takewhile(lambda row: row != "", rows))
    return [row for row in rows if clean_words(_ANY_TAG.sub("", row))]


def _spoken(words: str, *, is_vtt: bool) -> Iterator[tuple[str | None, str]]:
    """Who says what in a cue."""
    first, *more = _VOICE.split(words) if is_vtt else [words]
    for speaker, said in [("", first), *zip(more[::2], more[1::2], strict=True)]:
        plain = html.unescape(_ANY_TAG.sub("", said)) if is_vtt else _SRT_TAG.sub("", said)
        name, text = clean_words(html.unescape(speaker)), clean_words(plain)
        named = _NAMED.fullmatch(text)
        if not name and named:
            name, text = named.groups()
        if text:
            yield name or None, text


def _span(row: str) -> tuple[float, float] | None:
    """From when to when a cue is shown; None where its times can't be read."""
    match = _CUE_TIMES.match(row)
    if match is None:
        return None
    parts = match.groups()
    start_s, end_s = _seconds(parts[:4]), _seconds(parts[4:8])
    return None if start_s is None or end_s is None else (start_s, end_s)


def _seconds(parts: Sequence[str | None]) -> float | None:
    hours, minutes, seconds, fraction = parts
    if int(seconds or 0) >= 60 or (hours is not None and int(minutes or 0) >= 60):
        return None
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return round(whole + float(f"0.{fraction or 0}"), 6)


def _read_stamped(rows: Sequence[str]) -> tuple[list[Line], str]:
    """Plain text whose lines begin with times: "[0:12] Hello", "0:12 – 0:15 Hello"; else nothing.

    A line goes on until the next one that begins with a time; where no end is told, it lasts until
    that one's time. Beside the lines, what stands before the first of them.
    """
    heading: list[str] = []
    starts: list[float] = []
    ends: list[float | None] = []
    said: list[list[str]] = []
    is_sure = False
    for row in rows:
        bracketed = _BRACKETED.fullmatch(row)
        match = bracketed or _BARE.fullmatch(row)
        start_s = None if match is None else _seconds(match.groups()[:4])
        if match is not None and start_s is not None:
            *_, rest = parts = match.groups()
            starts.append(start_s)
            ends.append(None if parts[6] is None else _seconds(parts[4:8]))
            said.append([rest or ""])
            is_sure = is_sure or bracketed is not None
        else:
            (said[-1] if said else heading).append(row)
    rises = all(a <= b for a, b in pairwise(starts))
    # A lone time at the head of a sentence may be one of day.
    if not rises or not (is_sure or len(starts) > 1):
        return [], ""
    lines = []
    for start_s, told_s, spoken in zip(starts, ends, said, strict=True):
        after = bisect_right(starts, start_s)
        next_s = starts[after] if after < len(starts) else start_s + _LAST_LINE_S
        end_s = told_s if told_s is not None and told_s > start_s else next_s
        words = _spoken("\n".join(spoken), is_vtt=False)
        lines += [Line(start_s, end_s, text, speaker) for speaker, text in words]
    return lines, clean_words(" ".join(heading))
