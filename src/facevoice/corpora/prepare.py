"""What went wrong with one clip, while the others went on."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from PIL import Image
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from facevoice.corpora.corpus import PICTURE_EXTENSIONS
from facevoice.corpora.gather import CorpusPlace, SkippedKind, gather
from facevoice.corpora.manifest import (
    TARGETS,
    TRAITS,
    Clip,
    CorpusSummary,
    Description,
    Tally,
    write_manifest,
)
from facevoice.corpora.pairs import (
    PAIR_PLANS,
    Pair,
    PairPlan,
    TimedPair,
    check_pairs,
    common_lengths,
    make_pairs,
    original_pairs,
    pairs_in_split,
)
from facevoice.corpora.splits import Split
from facevoice.errors import (
    ConfigError,
    CorpusError,
    FacevoiceError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)
from facevoice.media.open import probe
from facevoice.media.sound import read_sound, sounding_span_s
from facevoice.records import SAMPLE_RATE_HZ

_LOG = logging.getLogger(__name__)

DAMAGED = "damaged"
"""Kind of a problem that costs only a part of a file."""


@dataclass(frozen=True, slots=True)
class ClipProblem:
    """Why a clip's file could not be used: `kind` as in `FacevoiceError.kind`, and the message."""

    clip_id: str
    path: Path | None
    kind: str
    message: str


def describe_problem(clip_id: str, path: Path | None, error: Exception) -> ClipProblem:
    """Put an exception on record; one that nobody foresaw is also logged with its traceback."""
    if isinstance(error, FacevoiceError):
        return ClipProblem(clip_id, path, error.kind, str(error))
    if isinstance(error, OSError):
        return ClipProblem(clip_id, path, "os", f"{path}: can't be read ({error.strerror})")
    _LOG.error("%s: unexpected error", path, exc_info=error)
    message = f"{path}: unexpected {type(error).__name__}: {error}"
    return ClipProblem(clip_id, path, "internal", message)


# A memory of what files were found to hold, so that unchanged ones are not read again.


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What was found; None where nobody has looked yet.

    damage: what probing complained of, None if nothing.
    """

    duration_s: float | None = None
    has_video: bool | None = None
    has_audio: bool | None = None
    damage: str | None = None
    sha256: str | None = None


class FactsFile:
    """Facts by path, in a JSON Lines file that only grows.

    A file counts as unchanged while its size and its times of modification and of change (which
    nobody can set) stay the same. Facts are written as they come, so that a kill costs the last
    line at most; a line that is cut off or damaged is passed over. Where the file can't be
    written, nothing is remembered, and nothing else is lost. For one thread.

    Args:
        path: of the file; None to remember nothing beyond this object.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, tuple[list[int], FileFacts]] = {}
        self._sink: IO[bytes] | None = None
        if path is not None and path.is_file():
            self._load(path.read_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def get(self, file: Path) -> FileFacts:
        """What is known of a file as it is now.

        Raises:
            OSError: there is no such file.
        """
        identity, facts = self._known.get(_name(file), ([], FileFacts()))
        return facts if identity == _identity(file) else FileFacts()

    def add(self, file: Path, facts: FileFacts) -> None:
        """Remember a file, in place of all that was known of it; one that is gone is forgotten."""
        try:
            identity = _identity(file)
        except OSError:
            return
        self._known[_name(file)] = (identity, facts)
        row = {"path": _name(file), "identity": identity, **asdict(facts)}
        self._write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def _load(self, content: bytes) -> None:
        for line in content.splitlines():
            try:
                row = json.loads(line)
                path, identity = str(row.pop("path")), list(row.pop("identity"))
                self._known[path] = (identity, FileFacts(**row))
            except (ValueError, KeyError, TypeError, AttributeError):
                _LOG.debug("%s: a damaged line is passed over", self._path)

    def _write(self, line: bytes) -> None:
        if self._path is None:
            return
        try:
            if self._sink is None:
                self._sink = self._path.open("ab", buffering=0)
                if self._sink.tell():
                    # The last line may be cut off; an empty one does no harm.
                    line = b"\n" + line
            self._sink.write(line)
        except OSError as error:
            _LOG.debug("%s: can't be written (%s)", self._path, error)


def _name(file: Path) -> str:
    return str(file.absolute())


def _identity(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


# Threads for work that decoders and encoders do outside Python's lock.


@contextmanager
def thread_pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, after an error or Ctrl-C, begins nothing that has not begun."""
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# A manifest's description, drawn for people.

_BAR_WIDTH: Final = 20
_TITLES: Final = {
    "intended": "Intended emotion: what the speaker was asked to express",
    "face": "Face: what people saw in the silent picture",
    "voice": "Voice: what people heard in the sound alone",
    "both": "Both: what people perceived in picture and sound together",
    "congruence": "Congruence: whether face and voice match",
    "split": "Published split",
}


def draw(description: Description) -> Group:
    """Tables of corpora, of each target's labels, of speakers, and of published splits."""
    parts = [*_titled("Corpora", _corpora_table(description.corpora))]
    if any(corpus.num_timed for corpus in description.corpora):
        parts += _titled("Durations in seconds", _lengths_table(description.corpora))
    for target in TARGETS:
        tallies = [tally for tally in description.labels if tally.field == target]
        if tallies:
            parts += _titled(_TITLES[target], _count_table(tallies))
    people = [tally for trait in TRAITS for tally in description.people if tally.field == trait]
    if people:
        parts += _titled("Speakers, as far as published", _people_table(people))
    if description.splits:
        parts += _titled(_TITLES["split"], _count_table(description.splits))
    return Group(*parts)


def _titled(title: str, table: Table) -> list[RenderableType]:
    return [Text(title, style="bold"), table, Text()]


def _corpora_table(corpora: Sequence[CorpusSummary]) -> Table:
    table = _table()
    table.add_column("corpus")
    for name in ("clips", "speakers", "sentences", "takes", "film", "sound", "both"):
        table.add_column(name, justify="right")
    for corpus in corpora:
        table.add_row(
            corpus.corpus,
            _number(corpus.num_clips),
            _number(corpus.num_speakers),
            _number(corpus.num_sentences),
            _number(corpus.max_takes),
            _number(corpus.num_film),
            _number(corpus.num_sound),
            _number(corpus.num_both),
        )
    if len(corpora) > 1:
        table.add_row(
            "all",
            _number(sum(corpus.num_clips for corpus in corpora)),
            _number(sum(corpus.num_speakers for corpus in corpora)),
            "",
            "",
            _number(sum(corpus.num_film for corpus in corpora)),
            _number(sum(corpus.num_sound for corpus in corpora)),
            _number(sum(corpus.num_both for corpus in corpora)),
            style="bold",
        )
    return table


def _lengths_table(corpora: Sequence[CorpusSummary]) -> Table:
    table = _table()
    table.add_column("corpus")
    for name in ("clips probed", "shortest", "median", "longest", "hours in all"):
        table.add_column(name, justify="right")
    for corpus in corpora:
        lengths_s = (corpus.min_s, corpus.median_s, corpus.max_s)
        cells = ["–" if length_s is None else f"{length_s:.2f}" for length_s in lengths_s]
        hours = f"{corpus.total_s / 3600:.2f}" if corpus.num_timed else "–"
        table.add_row(corpus.corpus, _number(corpus.num_timed), *cells, hours)
    if len(corpora) > 1:
        num_timed = sum(corpus.num_timed for corpus in corpora)
        hours = f"{sum(corpus.total_s for corpus in corpora) / 3600:.2f}"
        table.add_row("all", _number(num_timed), "", "", "", hours, style="bold")
    return table


def _count_table(tallies: Sequence[Tally]) -> Table:
    """One row a value, one column a corpus, and a bar over all of them."""
    corpora = list(dict.fromkeys(tally.corpus for tally in tallies))
    values = list(dict.fromkeys(tally.value for tally in tallies))
    counts = {(tally.value, tally.corpus): tally.num_clips for tally in tallies}
    table = _table()
    table.add_column("")
    for corpus in corpora:
        table.add_column(corpus, justify="right")
    if len(corpora) > 1:
        table.add_column("all", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    sums = {value: sum(counts.get((value, c), 0) for c in corpora) for value in values}
    for value in _in_order(values, tallies):
        cells = [_number(counts.get((value, corpus), 0)) for corpus in corpora]
        if len(corpora) > 1:
            cells.append(_number(sums[value]))
        share = sums[value] / sum(sums.values())
        bar = _bar(sums[value] / max(sums.values()))
        table.add_row(value or "not told", *cells, f"{share:.1%}", bar)
    return table


def _people_table(tallies: Sequence[Tally]) -> Table:
    table = _table()
    for name in ("", "corpus", "value"):
        table.add_column(name)
    table.add_column("speakers", justify="right")
    table.add_column("clips", justify="right")
    table.add_column("")
    last: tuple[str, str] | None = None
    for tally in tallies:
        group = (tally.field, tally.corpus)
        same = [t for t in tallies if (t.field, t.corpus) == group]
        bar = _bar(tally.num_clips / max(t.num_clips for t in same))
        names = ("", "") if group == last else group
        if last is not None and names != ("", ""):
            table.add_section()
        value = tally.value or "not told"
        table.add_row(*names, value, _number(tally.num_speakers), _number(tally.num_clips), bar)
        last = group
    return table


def _in_order(values: Iterable[str | None], tallies: Sequence[Tally]) -> list[str | None]:
    """Each corpus lists its values in their own order; one that has most of them leads."""
    by_corpus: dict[str, list[str | None]] = {}
    for tally in tallies:
        by_corpus.setdefault(tally.corpus, []).append(tally.value)
    longest = max(by_corpus.values(), key=len)
    order = [*longest, *(value for value in values if value not in longest)]
    return sorted(order, key=lambda value: value is None)


def _table() -> Table:
    return Table(box=None, pad_edge=False)


def _bar(share: float) -> Text:
    return Text("█" * max(round(share * _BAR_WIDTH), 1 if share else 0), style="cyan")


def _number(count: int) -> str:
    return f"{count:,}" if count else "–"


# One validated table of several corpora: names read, files probed, both forms written.

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ProbedClips:
    """Clips with their durations, and those that can't be used.

    clips: those all of whose files can be read; problems: one for every other;
    damages: files that end before their header says, used as they are;
    num_probed, num_remembered: files that were read now, and files known from an earlier run;
    num_silent: films without sound that the corpus' names promise; their clips are picture only.
    """

    clips: tuple[Clip, ...]
    problems: tuple[ClipProblem, ...]
    damages: tuple[ClipProblem, ...]
    num_probed: int
    num_remembered: int
    num_silent: int


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare_manifest` wrote, and what it left out."""

    paths: tuple[Path, ...]
    probed: ProbedClips
    skipped: tuple[SkippedKind, ...]
    notes: tuple[str, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The clips of the table."""
        return self.probed.clips


def prepare_manifest(
    places: Sequence[CorpusPlace],
    out: Path,
    *,
    work: Path | None = None,
    probe_files: bool = True,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> Preparation:
    """Write one table of several corpora, as Parquet and as JSON Lines.

    Both files are written whole or not at all. Paths are relative to the table's folder where they
    lie below it. What probing finds is remembered beside the table, so that an interrupted run
    goes on, and a later one reads only what changed (by size and times of the file).

    Args:
        places: folders or zip archives of corpora.
        out: the table; its suffix is replaced by .parquet and .jsonl.
        work: where archives are unpacked; by default the folder `unpacked` beside `out`.
        probe_files: read every file's length; without, durations stay unknown.
        jobs: files probed at once.
        on_progress: called with the numbers of files done and of all files.

    Raises:
        CorpusError: see `data.gather.gather`.
        MissingExtraError: pyarrow is not installed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    gathering = gather(places, work or out.parent / "unpacked")
    if probe_files:
        facts_path = out.with_suffix(".files.jsonl")
        probed = probe_clips(
            gathering.clips, facts_path=facts_path, jobs=jobs, on_progress=on_progress
        )
    else:
        probed = ProbedClips(gathering.clips, (), (), 0, 0, 0)
    paths = tuple(out.with_suffix(suffix) for suffix in (".parquet", ".jsonl"))
    for path in paths:
        write_manifest(probed.clips, path, root=path.parent.absolute())
    return Preparation(paths, probed, gathering.skipped, gathering.notes)


def probe_clips(
    clips: Sequence[Clip],
    *,
    facts_path: Path | None = None,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> ProbedClips:
    """Read the length of every clip's files, in parallel.

    A clip lasts as long as both its picture and its sound do. Lengths that the corpus states are
    kept. Still pictures are checked and have no length.

    Args:
        clips: from corpus readers.
        facts_path: remembers what was found; None forgets it.
        jobs: files at once.
        on_progress: called with the numbers of files done and of all files.
    """
    paths = list(
        dict.fromkeys(path for clip in clips for path in (clip.video_path, clip.audio_path) if path)
    )
    found: dict[Path, FileFacts | Exception] = {}
    with ExitStack() as stack:
        facts = stack.enter_context(FactsFile(facts_path))
        fresh = _recall(paths, facts, found)
        num_remembered = sum(isinstance(fact, FileFacts) for fact in found.values())
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        for path, result in zip(fresh, pool.map(_look, fresh), strict=True):
            found[path] = result
            if isinstance(result, FileFacts):
                facts.add(path, result)
            if on_progress is not None:
                on_progress(len(found), len(paths))
    return _sum_up(clips, found, len(fresh), num_remembered)


def _recall(
    paths: Sequence[Path], facts: FactsFile, found: dict[Path, FileFacts | Exception]
) -> list[Path]:
    """Fill in what is known already; returns the files that are to be read."""
    fresh = []
    for path in paths:
        try:
            known = facts.get(path)
        except OSError:
            found[path] = MediaNotFoundError(path, "does not exist.")
            continue
        if known.has_video is None:
            fresh.append(path)
        else:
            found[path] = known
    return fresh


def _look(path: Path) -> FileFacts | Exception:
    try:
        if path.suffix.lower() in PICTURE_EXTENSIONS:
            _check_picture(path)
            return FileFacts(has_video=True, has_audio=False)
        damages: list[str] = []
        info = probe(path, on_damage=damages.append)
    except (FacevoiceError, OSError) as error:
        return error
    except Exception as error:  # noqa: BLE001 - one bad file must not stop the others
        return error
    if not info.duration_s > 0:
        return UnreadableMediaError(path, "has no length; nothing of it can be played.")
    damage = damages[0] if damages else None
    return FileFacts(info.duration_s, info.has_video, info.has_audio, damage)


def _check_picture(path: Path) -> None:
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableMediaError(path, f"is no readable picture ({error}).") from error


def _sum_up(
    clips: Sequence[Clip],
    found: Mapping[Path, FileFacts | Exception],
    num_probed: int,
    num_remembered: int,
) -> ProbedClips:
    sound_clips: list[Clip] = []
    problems: list[ClipProblem] = []
    damages: list[ClipProblem] = []
    num_silent = 0
    for clip in clips:
        bad = next(_broken(clip, found), None)
        if bad is not None:
            problems.append(bad)
            continue
        facts = {path: found[path] for path in (clip.video_path, clip.audio_path) if path}
        known = {path: fact for path, fact in facts.items() if isinstance(fact, FileFacts)}
        damages += [
            ClipProblem(clip.clip_id, path, DAMAGED, f"{path}: {fact.damage}")
            for path, fact in known.items()
            if fact.damage
        ]
        if clip.audio_path is not None and not known[clip.audio_path].has_audio:
            num_silent += 1
            clip = replace(clip, audio_path=None)  # noqa: PLW2901
        lengths_s = [fact.duration_s for fact in known.values() if fact.duration_s is not None]
        if clip.duration_s is None and lengths_s:
            clip = replace(clip, duration_s=min(lengths_s))  # noqa: PLW2901
        sound_clips.append(clip)
    return ProbedClips(
        clips=tuple(sound_clips),
        problems=tuple(problems),
        damages=tuple(damages),
        num_probed=num_probed,
        num_remembered=num_remembered,
        num_silent=num_silent,
    )


def _broken(clip: Clip, found: Mapping[Path, FileFacts | Exception]) -> Iterator[ClipProblem]:
    """Why the clip can't be used: a file that can't be read, or lacks what it stands for."""
    for path in (clip.video_path, clip.audio_path):
        fact = found[path] if path is not None else None
        if path is None or fact is None:
            continue
        if isinstance(fact, Exception):
            yield describe_problem(clip.clip_id, path, fact)
        elif path == clip.video_path and not fact.has_video:
            error = NoStreamError(path, "holds no video, though it is named as a film.")
            yield describe_problem(clip.clip_id, path, error)
        elif path not in (clip.video_path, None) and not fact.has_audio:
            error = NoStreamError(path, "holds no sound, though it is named as a sound file.")
            yield describe_problem(clip.clip_id, path, error)


# Pairs of a manifest, with the lengths that their clips are cut to.


DEFAULT_PLAN: Final = "default"
"""Names the plan whose only restrictions are the same sentence and the same intensity."""

_PartedPair = tuple[Pair, str | None]


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs with their lengths; `notes` tells of corpora that allow none."""

    pairs: tuple[TimedPair, ...]
    notes: tuple[str, ...]


def pair_manifest(
    clips: Sequence[Clip],
    *,
    plan_name: str | None = None,
    split: Split | None = None,
    seed: int = 0,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> PairSet:
    """Matches, conflicts and originals of every corpus, checked, each with its length.

    Args:
        clips: of a manifest, with durations.
        plan_name: a name in `PAIR_PLANS`, or "default", for all corpora; by default each corpus'
            own.
        split: pairs are made within its parts only.
        seed: deals the conflicts.
        jobs: sounds read at once.
        on_progress: called with the number of sounds read and of all.

    Raises:
        ConfigError: no plan is called so.
        CorpusError: a duration is unknown, or no corpus allows pairs, or they break their rules.
        MediaError: a sound can't be read; named.
    """
    made: list[tuple[list[Clip], PairPlan, list[_PartedPair]]] = []
    notes: list[str] = []
    for corpus in sorted({clip.corpus for clip in clips}):
        plan = find_plan(corpus, plan_name)
        # Where nobody is named, nobody can be paired with himself.
        own = [clip for clip in clips if clip.corpus == corpus and clip.speaker is not None]
        try:
            made.append((own, plan, _make_pairs(own, plan, split, seed)))
        except CorpusError as error:
            notes.append(f"{corpus}: {error}")
    if not any(pairs for _, _, pairs in made):
        raise CorpusError("; ".join(notes) or "the table holds no clips that the split knows")
    ends_s = spoken_ends([clip for own, _, _ in made for clip in own], jobs, on_progress)
    timed: list[TimedPair] = []
    for own, plan, pairs in made:
        lengths_s = spoken_lengths(own, plan, ends_s)
        timed += [TimedPair(pair, lengths_s[pair.face_clip_id], part) for pair, part in pairs]
    return PairSet(tuple(timed), tuple(notes))


def find_plan(corpus: str, name: str | None = None) -> PairPlan:
    """The plan called `name`; without a name, the corpus' own, or the default one if it has none.

    Raises:
        ConfigError: no plan is called so.
    """
    if name is None:
        return PAIR_PLANS.get(corpus, PairPlan())
    plans = {**PAIR_PLANS, DEFAULT_PLAN: PairPlan()}
    if name not in plans:
        raise ConfigError(f"no plan of pairs is called {name!r}; known: {', '.join(plans)}")
    return plans[name]


def spoken_ends(
    clips: Sequence[Clip], jobs: int = 1, on_progress: ProgressCallback | None = None
) -> dict[str, float]:
    """Seconds from each clip's start to the end of its last sound, by clip id.

    The end is that of `sounding_span_s`. Clips without sound, and silent ones, are left out.

    Raises:
        MediaError: a sound can't be read; named.
    """
    heard = [clip for clip in clips if clip.audio_path is not None]
    ends_s: dict[str, float] = {}
    with thread_pool(jobs) as pool:
        for place, end_s in enumerate(pool.map(_spoken_end, heard)):
            if end_s is not None:
                ends_s[heard[place].clip_id] = end_s
            if on_progress is not None:
                on_progress(place + 1, len(heard))
    return ends_s


def spoken_lengths(
    clips: Sequence[Clip], plan: PairPlan, ends_s: Mapping[str, float]
) -> dict[str, float]:
    """`common_lengths`, but short enough that nobody has finished speaking.

    Cut to the shortest clip, a sentence that was spoken fast would end in silence where a slow one
    still goes on, and silences of like length would give the matches away. So everything ends
    before the earliest end of speech among all that may meet. By clip id.

    Raises:
        CorpusError: a clip names no speaker, or its duration is not known.
    """
    timed = [
        clip
        if clip.duration_s is None
        else replace(
            clip, duration_s=min(clip.duration_s, ends_s.get(clip.clip_id, clip.duration_s))
        )
        for clip in clips
    ]
    try:
        return common_lengths(timed, plan)
    except CorpusError as error:
        raise CorpusError(f"{error}, as `facevoice data prepare` does") from error


def voice_source(timed: TimedPair, voice: Clip) -> tuple[Path, float]:
    """The file to read the pair's voice from, and the second at which it begins there.

    An original sounds as in its film: a corpus' separate sound file may begin at another moment.

    Raises:
        CorpusError: the clip has no sound.
    """
    is_original = timed.pair.face_clip_id == timed.pair.voice_clip_id
    if voice.audio_path is None:
        raise CorpusError(f"clip {voice.clip_id!r} has no sound")
    if is_original and voice.video_path is not None and _has_sound(voice.video_path):
        return voice.video_path, voice.video_start_s
    inside = voice.audio_path == voice.video_path
    return voice.audio_path, voice.video_start_s if inside else 0.0


def _make_pairs(
    clips: Sequence[Clip], plan: PairPlan, split: Split | None, seed: int
) -> list[_PartedPair]:
    """Checked pairs with the part that each is in; originals too."""
    if split is None:
        parts: dict[str | None, tuple[Pair, ...]] = {None: make_pairs(clips, plan, seed)}
        members: dict[str | None, Sequence[Clip]] = {None: clips}
    else:
        in_split = pairs_in_split(clips, split, plan, seed)
        parts = {name: getattr(in_split, name) for name in split.parts()}
        ids = {name: frozenset(part) for name, part in split.parts().items()}
        members = {name: [c for c in clips if c.clip_id in ids[name]] for name in ids}
    made: list[_PartedPair] = []
    for name, pairs in parts.items():
        if not pairs:
            continue
        # A clip without its own sound is no original, though its picture may be in other pairs.
        whole = [clip for clip in members[name] if clip.video_path and clip.audio_path]
        originals = original_pairs(whole, plan) if whole else ()
        check_pairs((*pairs, *originals), clips, plan)
        made += [(pair, name) for pair in (*pairs, *originals)]
    return made


def _spoken_end(clip: Clip) -> float | None:
    if clip.audio_path is None:
        return None
    inside = clip.audio_path == clip.video_path
    start_s = clip.video_start_s if inside else 0.0
    length_s = math.inf if clip.duration_s is None else clip.duration_s
    span_s = sounding_span_s(read_sound(clip.audio_path, start_s, length_s), SAMPLE_RATE_HZ)
    return None if span_s is None else span_s[1]


def _has_sound(path: Path) -> bool:
    return probe(path).has_audio
