"""Filling the feature store from a corpus: resumable, in parallel, one bad file at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from facevoice.config import AnalyzerConfig
from facevoice.data.clips import Clip, clips_by_id
from facevoice.errors import ConfigError, CorpusError, MediaNotFoundError, StoreError
from facevoice.labels import Modality
from facevoice.media.probe import file_sha256
from facevoice.workbench.clip_extractor import (
    ChannelTask,
    ClipExtractor,
    ClipResult,
    ClipTask,
    ExtractorSetup,
    build_extractor,
)
from facevoice.workbench.facts import FactsFile, FileFacts
from facevoice.workbench.feature_plan import BackboneId, Span, clip_file, clip_spans, wanted_keys
from facevoice.workbench.problems import ClipProblem, describe_problem
from facevoice.workbench.stored_features import facts_path, remember_backbones
from facevoice.workers import run_tasks

DEFAULT_BACKBONES: Final = ("compact-face", "compact-voice")


@dataclass(frozen=True, slots=True)
class ExtractionProgress:
    """How far an extraction is: files hashed first, then clips done. `name` is the latest."""

    stage: str
    num_done: int
    num_all: int
    num_problems: int
    name: str


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What an extraction came to.

    num_clips: clips with a channel to extract; num_extracted: of which rows were stored now;
    num_known: of which all was stored before; num_records: rows stored now;
    problems: channels that could not be extracted; damages: files that broke off or skipped.
    """

    num_clips: int
    num_extracted: int
    num_known: int
    num_records: int
    backbones: tuple[BackboneId, ...]
    problems: tuple[ClipProblem, ...]
    damages: tuple[ClipProblem, ...]


ProgressCallback = Callable[[ExtractionProgress], None]


def extract_clips(
    clips: Sequence[Clip],
    store_path: Path,
    *,
    backbones: Sequence[str] = DEFAULT_BACKBONES,
    modalities: frozenset[Modality] = frozenset(Modality),
    limits_s: Mapping[str, float] | None = None,
    config: AnalyzerConfig | None = None,
    jobs: int = 1,
    num_threads: int = 1,
    on_progress: ProgressCallback | None = None,
) -> ExtractionReport:
    """Put embeddings and coverages of all windows of all clips into the store.

    The face is read from `Clip.video_path`, the voice from `Clip.audio_path`. What the store holds
    already is not decoded again, so an interrupted run goes on where it stopped. A clip's rows are
    on disk before it counts as done.

    Args:
        clips: with durations.
        store_path: made when absent. Two small files beside it remember hashes and backbones.
        backbones: registered names, several per modality if wanted.
        modalities: channels to extract, of those that the backbones serve.
        limits_s: by clip id, cuts a clip to its first seconds (`data.pairs.common_lengths`).
        config: settings of windows, faces and speech; by default those of analysis.
        jobs: processes; 1 works in this one. More than 1 can only build backbones that importing
            facevoice registers.
        num_threads: threads that each network may use.
        on_progress: called after every file hashed and every clip done.

    Raises:
        CorpusError: a clip id occurs twice.
        ConfigError: no backbone, an unknown one, or one that serves none of `modalities`.
        WeightsError, MissingExtraError: a network can't be loaded.
        StoreError: the store can't be opened, or does not take rows any more.
    """
    clips_by_id(list(clips))
    config = config or AnalyzerConfig()
    store_path.parent.mkdir(parents=True, exist_ok=True)
    setup = ExtractorSetup(store_path, tuple(dict.fromkeys(backbones)), config, num_threads)
    extractor = ClipExtractor(setup)
    with ExitStack() as stack:
        stack.enter_context(extractor.store)
        facts = stack.enter_context(FactsFile(facts_path(store_path)))
        served = _served(extractor.backbone_ids, modalities)
        used = [b for b in extractor.backbone_ids if b.modality in served]
        remember_backbones(store_path, used)
        run = _Run(on_progress)
        plans = _plan_clips(clips, served, limits_s, config, run)
        hashes = run.hash_files(plans, facts, jobs)
        tasks, num_clips = _find_tasks(plans, hashes, extractor, run)
        results = stack.enter_context(closing(_results(tasks, extractor, setup, jobs)))
        num_extracted = num_records = 0
        for task, result in results:
            if result.store_problem is not None:
                raise StoreError(store_path, result.store_problem)
            num_extracted += bool(result.num_records)
            num_records += result.num_records
            run.take(task, result, len(tasks))
    return ExtractionReport(
        num_clips=num_clips,
        num_extracted=num_extracted,
        num_known=num_clips - len(tasks),
        num_records=num_records,
        backbones=tuple(used),
        problems=tuple(run.problems),
        damages=tuple(run.damages),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """A clip's windows, and the file of each channel."""

    clip_id: str
    spans_s: tuple[Span, ...]
    files: Mapping[Modality, Path]


@dataclass(slots=True)
class _Run:
    """What has come together so far."""

    on_progress: ProgressCallback | None
    problems: list[ClipProblem] = field(default_factory=list)
    damages: list[ClipProblem] = field(default_factory=list)
    num_done: int = 0

    def tell(self, stage: str, num_done: int, num_all: int, name: str) -> None:
        if self.on_progress is not None:
            num_problems = len(self.problems)
            self.on_progress(ExtractionProgress(stage, num_done, num_all, num_problems, name))

    def take(self, task: ClipTask, result: ClipResult, num_tasks: int) -> None:
        self.problems += result.problems
        self.damages += result.damages
        self.num_done += 1
        self.tell("extract", self.num_done, num_tasks, task.clip_id)

    def hash_files(
        self, plans: Sequence[_Plan], facts: FactsFile, jobs: int
    ) -> dict[Path, str | Exception]:
        """SHA-256 of every file, or why it can't be read; unchanged files are remembered."""
        hashes: dict[Path, str | Exception] = {}
        fresh: list[Path] = []
        for path in dict.fromkeys(path for plan in plans for path in plan.files.values()):
            try:
                known = facts.get(path).sha256
            except OSError:
                hashes[path] = MediaNotFoundError(path, "does not exist.")
                continue
            if known is None:
                fresh.append(path)
            else:
                hashes[path] = known
        with ThreadPoolExecutor(jobs) as pool:
            for place, (path, found) in enumerate(zip(fresh, pool.map(_hash, fresh), strict=True)):
                hashes[path] = found
                if isinstance(found, str):
                    facts.add(path, FileFacts(sha256=found))
                self.tell("hash", place + 1, len(fresh), path.name)
        return hashes


def _hash(path: Path) -> str | Exception:
    try:
        return file_sha256(path)
    except OSError as error:
        return error


def _served(
    backbones: Sequence[BackboneId], modalities: frozenset[Modality]
) -> tuple[Modality, ...]:
    served = tuple(
        modality
        for modality in Modality
        if modality in modalities and any(b.modality is modality for b in backbones)
    )
    if not served:
        names = ", ".join(backbone.name for backbone in backbones) or "none"
        raise ConfigError(f"backbones ({names}) serve none of: {', '.join(sorted(modalities))}")
    return served


def _plan_clips(
    clips: Sequence[Clip],
    modalities: Sequence[Modality],
    limits_s: Mapping[str, float] | None,
    config: AnalyzerConfig,
    run: _Run,
) -> list[_Plan]:
    """Windows and files of every clip that has any of the channels."""
    plans = []
    for clip in clips:
        files: dict[Modality, Path] = {}
        spans_s: tuple[Span, ...] = ()
        for modality in modalities:
            path = clip.video_path if modality is Modality.VIDEO else clip.audio_path
            try:
                file = clip_file(clip, modality)
                if file is not None:
                    spans_s = clip_spans(clip, limits_s, config)
                    files[modality] = file
            except CorpusError as error:
                run.problems.append(describe_problem(clip.clip_id, path, error))
        if files:
            plans.append(_Plan(clip.clip_id, spans_s, files))
    return plans


def _find_tasks(
    plans: Sequence[_Plan],
    hashes: Mapping[Path, str | Exception],
    extractor: ClipExtractor,
    run: _Run,
) -> tuple[list[ClipTask], int]:
    """Clips of which the store lacks something, and the number of clips whose files are there."""
    wanted: list[tuple[_Plan, list[ChannelTask]]] = []
    for plan in plans:
        channels = []
        for modality, path in plan.files.items():
            found = hashes[path]
            if isinstance(found, Exception):
                run.problems.append(describe_problem(plan.clip_id, path, found))
                continue
            keys = wanted_keys(
                found, plan.spans_s, modality, extractor.backbone_ids, extractor.rules
            )
            channels.append(ChannelTask(modality, path, found, frozenset(keys)))
        if channels:
            wanted.append((plan, channels))
    everything = {key for _, channels in wanted for channel in channels for key in channel.missing}
    missing = frozenset(extractor.store.missing(sorted(everything)))
    tasks = []
    for plan, channels in wanted:
        lacking = [
            ChannelTask(c.modality, c.path, c.sha256, c.missing & missing)
            for c in channels
            if c.missing & missing
        ]
        if lacking:
            tasks.append(ClipTask(plan.clip_id, plan.spans_s[-1][1], tuple(lacking)))
    return tasks, len(wanted)


def _results(
    tasks: Sequence[ClipTask], extractor: ClipExtractor, setup: ExtractorSetup, jobs: int
) -> Generator[tuple[ClipTask, ClipResult], None, None]:
    if jobs == 1 or len(tasks) <= 1:
        for task in tasks:
            yield task, extractor.extract(task)
        return
    with closing(run_tasks(tasks, build_extractor, setup, jobs)) as results:
        for task, result in results:
            yield task, _died(task) if result is None else result


def _died(task: ClipTask) -> ClipResult:
    problems = [
        ClipProblem(
            task.clip_id,
            channel.path,
            "worker_died",
            f"{channel.path}: two processes died on it; it may crash a decoder, or memory is short",
        )
        for channel in task.channels
    ]
    return ClipResult(0, tuple(problems))
