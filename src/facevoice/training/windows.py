"""Cutting the windows of a corpus' clips for training on them: once, resumable, in parallel."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facevoice.backbones.huggingface import HUB_PREFIX
from facevoice.backbones.spec import Backbone, backbone_names, create_backbone, split_name
from facevoice.corpora.extract import (
    clip_file,
    clip_spans,
    facts_path,
    key_rules,
    read_clip_windows,
)
from facevoice.corpora.manifest import Clip
from facevoice.corpora.prepare import ClipProblem, FactsFile, FileFacts, describe_problem
from facevoice.errors import ConfigError, CorpusError
from facevoice.media.open import file_sha256, probe
from facevoice.people.detect import create_detector
from facevoice.records import Modality
from facevoice.settings import AnalyzerConfig
from facevoice.training.config import TrainConfig
from facevoice.training.data import ClipWindows, FeatureTable, WindowCache, WindowsKey
from facevoice.workers import run_tasks

if TYPE_CHECKING:
    from facevoice.training.finetune import Tuning


ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class WindowSetup:
    """What a process needs to know once."""

    folder: Path
    config: AnalyzerConfig


@dataclass(frozen=True, slots=True)
class WindowTask:
    """The channels of one file of a clip that are to be cut up to `end_s`."""

    clip_id: str
    path: Path
    end_s: float
    keys: tuple[WindowsKey, ...]


def cache_windows(
    clips: Mapping[Modality, Sequence[Clip]],
    folder: Path,
    *,
    config: AnalyzerConfig | None = None,
    facts_path: Path | None = None,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> ClipWindows:
    """Write the windows of all clips to `folder`; what lies there already is not cut again.

    They are the windows that `extraction.extract_clips` embeds under the same settings.

    Args:
        clips: with durations, by the channel that is wanted of them.
        folder: made when absent.
        config: as it was at extraction.
        facts_path: remembers hashes of files, see `stored_features.facts_path`.
        jobs: processes; 1 works in this one.
        on_progress: called with clips done, clips to do, and the latest's id.

    Returns:
        Where they are.

    Raises:
        CorpusError: a file is gone or can't be read, or windows can't be written; all are counted,
            the first is named.
        WeightsError: the detector's weights are damaged.
    """
    setup = WindowSetup(folder, config or AnalyzerConfig())
    cache = WindowCache(folder)
    with FactsFile(facts_path) as facts:
        tasks, problems = _plan(clips, setup.config, facts)
    keys = {(task.clip_id, key.modality): key for task in tasks for key in task.keys}
    lacking = [
        replace(task, keys=missing)
        for task in tasks
        if (missing := tuple(key for key in task.keys if not cache.has(key)))
    ]
    with closing(_results(lacking, setup, jobs)) as results:
        for place, (task, problem) in enumerate(results):
            if problem is not None:
                problems.append(problem)
            if on_progress is not None:
                on_progress(place + 1, len(lacking), task.clip_id)
    if problems:
        raise CorpusError(
            f"windows of {len(problems)} files can't be cut; the first: {problems[0].message}"
        )
    return ClipWindows(cache, keys)


class WindowCutter:
    """Detector and settings of one process.

    Raises:
        ConfigError, WeightsError: the detector can't be had.
    """

    def __init__(self, setup: WindowSetup) -> None:
        faces = setup.config.faces
        self._config = setup.config
        self._cache = WindowCache(setup.folder)
        self._detector = create_detector(
            faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
        )

    def cut(self, task: WindowTask) -> ClipProblem | None:
        """Cut and write what is not there yet; a file that can't be read is told, not raised."""
        keys = [key for key in task.keys if not self._cache.has(key)]
        if not keys:
            return None  # another process was quicker
        wanted = {key.modality for key in keys}
        try:
            info = probe(task.path)
            info = replace(
                info,
                video=info.video if Modality.VIDEO in wanted else None,
                audio=info.audio if Modality.AUDIO in wanted else None,
            )
            windows = list(read_clip_windows(info, task.end_s, self._detector, self._config))
            for key in keys:
                self._cache.write(key, windows)
        except Exception as error:  # noqa: BLE001 - one bad file must not hide the others
            return describe_problem(task.clip_id, task.path, error)
        return None


def build_cutter(setup: WindowSetup) -> Callable[[WindowTask], ClipProblem | None]:
    """The worker of one process; see `workers.run_tasks`."""
    return WindowCutter(setup).cut


def _plan(
    clips: Mapping[Modality, Iterable[Clip]], config: AnalyzerConfig, facts: FactsFile
) -> tuple[list[WindowTask], list[ClipProblem]]:
    """What to cut out of which file, and the files that are gone."""
    detector = create_detector(
        config.faces.detector,
        min_face_px=config.faces.min_face_px,
        min_score=config.faces.min_score,
    )
    recipes = key_rules(config, detector).coverages
    tasks: dict[tuple[str, Path], WindowTask] = {}
    problems = []
    for modality, members in clips.items():
        for clip in members:
            path = clip_file(clip, modality)
            if path is None:
                raise CorpusError(f"clip {clip.clip_id!r}: the table names no {modality} file")
            try:
                sha256 = _sha256(path, facts)
            except OSError as error:
                problems.append(describe_problem(clip.clip_id, path, error))
                continue
            spans_s = clip_spans(clip, None, config)
            key = WindowsKey.at(sha256, modality, spans_s, recipes[modality])
            task = tasks.get((clip.clip_id, path))
            keys = (key,) if task is None else (*task.keys, key)
            tasks[clip.clip_id, path] = WindowTask(clip.clip_id, path, spans_s[-1][1], keys)
    return list(tasks.values()), problems


def _results(
    tasks: Sequence[WindowTask], setup: WindowSetup, jobs: int
) -> Generator[tuple[WindowTask, ClipProblem | None], None, None]:
    if not tasks:
        return
    if jobs == 1 or len(tasks) == 1:
        cutter = WindowCutter(setup)
        for task in tasks:
            yield task, cutter.cut(task)
        return
    cache = WindowCache(setup.folder)
    with closing(run_tasks(tasks, build_cutter, setup, jobs)) as results:
        for task, problem in results:
            # A process that died leaves no word, and no windows.
            died = problem is None and not all(cache.has(key) for key in task.keys)
            yield task, _died(task) if died else problem


def _died(task: WindowTask) -> ClipProblem:
    return ClipProblem(
        task.clip_id,
        task.path,
        "worker_died",
        f"{task.path}: two processes died on it; it may crash a decoder, or memory is short",
    )


def _sha256(path: Path, facts: FactsFile) -> str:
    known = facts.get(path).sha256
    if known is None:
        known = file_sha256(path)
        facts.add(path, FileFacts(sha256=known))
    return known


# What training of the backbones needs from disk: their weights, and the windows of the clips.

_LOG = logging.getLogger(__name__)
_FOLDER: Final = "folder:"
_STORED: Final = re.compile(r"@[0-9a-f]{12}$")
_TOLD_EVERY: Final = 100


def stored_name(name: str) -> str:
    """The name under which a store has the embeddings of a backbone that `create_backbone` takes.

    A folder is stored by its name, a repository of the hub without its revision. What a store
    lists (NAME@12 digits) stays as it is.
    """
    plain, rows = split_name(name)
    if _STORED.search(name) or plain in backbone_names():
        return name
    if Path(plain).is_dir():
        plain = f"{_FOLDER}{Path(plain).resolve().name}"
    elif plain.startswith(HUB_PREFIX):
        plain = plain.partition("@")[0]
    return plain if rows is None else f"{plain}+{rows}"


def open_tuning(
    config: TrainConfig,
    table: FeatureTable,
    store: Path,
    names: Sequence[str] = (),
    *,
    folder: Path | None = None,
    jobs: int = 1,
    checkpointing: bool = False,
) -> Tuning:
    """Load the backbones that are to be trained; their windows are cut when training asks.

    Args:
        config: of the run.
        table: of the store: says which backbones made its embeddings.
        store: hashes of files are remembered beside it.
        names: backbones as they were named, folders and revisions among them.
        folder: takes the windows; by default `windows` beside the store.
        jobs: processes that cut windows.
        checkpointing: see `Tuning`.

    Raises:
        ConfigError: a backbone lies in a folder that was not named, or the settings don't fit.
        WeightsError, MissingExtraError: a backbone can't be loaded.
    """
    from facevoice.training.finetune import Tuning, tuned_modalities

    sources = {stored_name(n): split_name(n)[0] for n in names if not _STORED.search(n)}
    backbones: dict[Modality, Backbone] = {}
    for modality in tuned_modalities(config):
        if modality not in table.arrays:
            continue  # training says so
        stored = table.arrays[modality].backbone.rpartition("@")[0]
        source = sources.get(stored, split_name(stored)[0])
        if source.startswith(_FOLDER):
            raise ConfigError(
                f"the {modality} embeddings are of {stored}, which lies in a folder; to train it, "
                "name that folder by --backbone DIR"
            )
        backbones[modality] = create_backbone(source, device="cpu")

    def cut_windows(clips: Mapping[Modality, Sequence[Clip]]) -> ClipWindows:
        return cache_windows(
            clips,
            folder or store.with_name("windows"),
            facts_path=facts_path(store),
            jobs=jobs,
            on_progress=_tell,
        )

    return Tuning(backbones, cut_windows, checkpointing)


def _tell(num_done: int, num_all: int, clip_id: str) -> None:
    if num_done % _TOLD_EVERY == 0 or num_done == num_all:
        _LOG.info("windows of %d of %d clips are cut, the latest: %s", num_done, num_all, clip_id)
