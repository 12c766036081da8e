"""One validated table of several corpora: names read, files probed, both forms written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from facevoice.data.clips import Clip
from facevoice.data.corpus import PICTURE_EXTENSIONS
from facevoice.data.gather import CorpusPlace, SkippedKind, gather
from facevoice.data.manifest import write_manifest
from facevoice.errors import FacevoiceError, MediaNotFoundError, NoStreamError, UnreadableMediaError
from facevoice.media.probe import probe
from facevoice.workbench.facts import FactsFile, FileFacts
from facevoice.workbench.problems import DAMAGED, ClipProblem, describe_problem

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
