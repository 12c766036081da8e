"""The windows of a clip that is cut to its first seconds: steps 2 to 4, and nothing beyond."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.backbones.huggingface import PRETRAINED
from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, create_backbone, split_name
from facevoice.corpora.corpus import PICTURE_EXTENSIONS
from facevoice.corpora.manifest import Clip, clips_by_id, read_manifest
from facevoice.corpora.prepare import DAMAGED, ClipProblem, FactsFile, FileFacts, describe_problem
from facevoice.errors import ConfigError, CorpusError, MediaNotFoundError, NoStreamError, StoreError
from facevoice.media.open import file_sha256, probe
from facevoice.media.sound import read_audio
from facevoice.models.checkpoint import NetworkConfig
from facevoice.people.detect import FaceDetector, create_detector
from facevoice.people.speech import read_speech, vad_model_id
from facevoice.people.track import track_faces
from facevoice.perceive import cut_windows, read_sampled_frames, window_spans
from facevoice.records import (
    SAMPLE_RATE_HZ,
    AudioBlock,
    BoolArray,
    DoubleArray,
    FloatArray,
    Frame,
    MediaInfo,
    Modality,
    Window,
)
from facevoice.settings import AnalyzerConfig
from facevoice.store import Embedding, FeatureKey, FeatureStore, backbone_id, window_recipes
from facevoice.training.data import FeatureTable, TokenArray, stack_tokens
from facevoice.workers import run_tasks


def read_clip_windows(
    info: MediaInfo,
    end_s: float,
    detector: FaceDetector,
    config: AnalyzerConfig,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[Window]:
    """Windows of a file as if it ended at `end_s`, by the steps of `read_windows`.

    No frame from `end_s` on and no 16-kHz sample from `end_s` on reaches the face tracker, the
    voice activity network or a window. (The resampler and the codecs look ahead by milliseconds.)

    Args:
        info: the probed file; streams set to None are not decoded.
        end_s: where to cut; beyond the file, frames are missing and the rest counts as silence.
        detector: finds the faces.
        config: settings.
        on_damage: called with what the decoders complain of.

    Raises:
        UnreadableMediaError: a stream that the container promises can't be decoded at all.
        ValueError: `end_s` is not above 0.
    """
    faces = speech = None
    if info.has_video:
        frames = read_sampled_frames(info, config.faces, on_damage, end_s=end_s)
        faces = track_faces(_frames_before(end_s, frames), detector, config.faces)
    if info.has_audio:
        speech = read_speech(_sound_before(end_s, read_audio(info.path, on_damage=on_damage)))
    return cut_windows(end_s, faces, speech, config.windows, config.faces, config.speech)


def _frames_before(end_s: float, frames: Iterable[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if frame.timestamp_s >= end_s:
            return
        yield frame


def _sound_before(end_s: float, blocks: Iterable[AudioBlock]) -> Iterator[AudioBlock]:
    end = round(end_s * SAMPLE_RATE_HZ)
    for block in blocks:
        first = round(block.start_s * SAMPLE_RATE_HZ)
        if first + len(block.samples) >= end:
            if first < end:
                yield AudioBlock(block.start_s, block.samples[: end - first])
            return
        yield block


# Which embeddings a clip should have, and the names under which the store keeps them.

COVERAGE: Final = "coverage@1"
"""Stands for a backbone in the keys of coverages, (1,) float32: stored with every window."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class BackboneId:
    """All of a backbone that names its embeddings; enough to read them without its weights.

    id: name and revision, as in `features.extract.backbone_id`; dim: D of the embeddings (D,).
    """

    name: str
    id: str
    modality: Modality
    preprocessing: str
    dim: int


def identify(backbone: Backbone) -> BackboneId:
    """What names the embeddings of a backbone that is loaded."""
    spec = backbone.spec
    return BackboneId(spec.name, backbone_id(backbone), spec.modality, spec.preprocessing, spec.dim)


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How windows are made, by modality: what the store's keys say of embeddings and coverages."""

    recipes: Mapping[Modality, str]
    coverages: Mapping[Modality, str]

    def feature_key(self, sha256: str, span_s: Span, backbone: BackboneId) -> FeatureKey:
        """As `features.extract.feature_key` has it."""
        preprocessing = f"{self.recipes[backbone.modality]}/{backbone.preprocessing}"
        return FeatureKey.at(sha256, *span_s, backbone.id, preprocessing)

    def coverage_key(self, sha256: str, span_s: Span, modality: Modality) -> FeatureKey:
        """Key of the share of a window that shows the leading face, or is speech."""
        return FeatureKey.at(sha256, *span_s, COVERAGE, self.coverages[modality])


def key_rules(config: AnalyzerConfig, detector: FaceDetector) -> KeyRules:
    """The rules that follow from settings and networks.

    Raises:
        WeightsError: the package's index of weights is damaged.
    """
    recipes = window_recipes(config.faces, detector.model)
    speech = f"vad-{vad_model_id().sha256[:12]}-{config.speech.threshold:g}"
    return KeyRules(
        recipes,
        {
            Modality.VIDEO: recipes[Modality.VIDEO],
            Modality.AUDIO: f"{recipes[Modality.AUDIO]}/{speech}",
        },
    )


def clip_spans(
    clip: Clip, limits_s: Mapping[str, float] | None, config: AnalyzerConfig
) -> tuple[Span, ...]:
    """Start and end of the clip's windows, up to its limit if it has one.

    Raises:
        CorpusError: the duration is not known, or the limit not above 0.
    """
    if clip.duration_s is None:
        raise CorpusError(
            f"clip {clip.clip_id!r}: the duration is not known; probe it first "
            "(`facevoice data prepare` without --no-probe)"
        )
    limit_s = (limits_s or {}).get(clip.clip_id, clip.duration_s)
    if not limit_s > 0:
        raise CorpusError(f"clip {clip.clip_id!r}: limit {limit_s} s is not above 0")
    return tuple(window_spans(min(clip.duration_s, limit_s), config.windows))


def clip_file(clip: Clip, modality: Modality) -> Path | None:
    """The file that holds the clip's face, or its voice; None where it has none.

    Raises:
        CorpusError: the face can't be told from this file.
    """
    if modality is Modality.AUDIO:
        return clip.audio_path
    if clip.video_path is None:
        return None
    if clip.video_path.suffix.lower() in PICTURE_EXTENSIONS:
        raise CorpusError(
            f"{clip.video_path}: a still picture has no windows; "
            "extract clips of films and sound only"
        )
    if clip.video_start_s > 0:
        raise CorpusError(
            f"{clip.video_path}: holds the clip from {clip.video_start_s:g} s on, and other people "
            "and utterances besides; cut the film into clips first, or extract its voice only"
        )
    return clip.video_path


def wanted_keys(
    sha256: str,
    spans_s: Iterable[Span],
    modality: Modality,
    backbones: Iterable[BackboneId],
    rules: KeyRules,
) -> tuple[FeatureKey, ...]:
    """Everything that the store should hold of one channel of a clip."""
    serving = [backbone for backbone in backbones if backbone.modality is modality]
    return tuple(
        key
        for span_s in spans_s
        for key in (
            rules.coverage_key(sha256, span_s, modality),
            *(rules.feature_key(sha256, span_s, backbone) for backbone in serving),
        )
    )


# Reading a corpus' features from the store, with no decoding and no weights.


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """One channel of a clip, window by window.

    spans_s (n, 2): start and end of the windows in seconds;
    embeddings float32 (n, D): rows of zeros where `mask` is False;
    mask (n,): whether the window shows a face, or holds speech;
    coverage float32 (n,): share of the sampled frames with the leading face, or of the window that
    is speech.
    """

    clip_id: str
    modality: Modality
    backbone: str
    spans_s: DoubleArray
    embeddings: FloatArray
    mask: BoolArray
    coverage: FloatArray

    def pooled(self) -> FloatArray | None:
        """Mean embedding (D,), windows weighted by seconds covered; None if no window counts."""
        if not self.mask.any():
            return None
        weights = self.coverage * (self.spans_s[:, 1] - self.spans_s[:, 0]) * self.mask
        mean: FloatArray = (weights @ self.embeddings / weights.sum()).astype(np.float32)
        return mean


def read_features(
    clips: Sequence[Clip],
    store_path: Path,
    *,
    backbone: str | BackboneId,
    limits_s: Mapping[str, float] | None = None,
    config: AnalyzerConfig | None = None,
) -> dict[str, ClipFeatures]:
    """Features that `extract_clips` stored, by clip id.

    Clips that lack the channel, or any window of which is not stored, are left out: compare with
    `clips`.

    Args:
        clips: with durations.
        store_path: the store.
        backbone: its name, or name@revision where the store holds several revisions of it.
        limits_s: as they were at extraction.
        config: as it was at extraction.

    Raises:
        CorpusError: a clip id occurs twice, or a duration is not known.
        StoreError: no store, damaged, or nothing of this backbone was extracted.
    """
    clips_by_id(list(clips))
    config = config or AnalyzerConfig()
    known = backbone if isinstance(backbone, BackboneId) else find_backbone(store_path, backbone)
    faces = config.faces
    detector = create_detector(
        faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
    )
    rules = key_rules(config, detector)
    features: dict[str, ClipFeatures] = {}
    with (
        FeatureStore.open(store_path, read_only=True) as store,
        FactsFile(facts_path(store_path)) as facts,
    ):
        for clip in clips:
            sha256 = _sha256(clip, known.modality, facts)
            if sha256 is None:
                continue
            spans_s = clip_spans(clip, limits_s, config)
            keys = [rules.feature_key(sha256, span_s, known) for span_s in spans_s]
            covers = [rules.coverage_key(sha256, span_s, known.modality) for span_s in spans_s]
            if not store.missing(keys):
                found = _read_clip(store, clip.clip_id, known, spans_s, keys, covers)
                if found is not None:
                    features[clip.clip_id] = found
    return features


def find_backbone(store_path: Path, name: str) -> BackboneId:
    """The backbone of this name (or name@revision) of which something was extracted.

    Raises:
        StoreError: there is none, or several revisions; the message lists them.
    """
    known = stored_backbones(store_path)
    matches = [b for b in known if name in (b.id, b.name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(b.id for b in matches)
        raise StoreError(store_path, f"holds several revisions of {name}.", f"Name one: {choices}")
    choices = ", ".join(b.id for b in known) or "none"
    raise StoreError(
        store_path,
        f"holds nothing of backbone {name!r} (there: {choices}).",
        "Extract it first: facevoice data extract",
    )


def stored_backbones(store_path: Path) -> tuple[BackboneId, ...]:
    """All backbones of which something was extracted into the store.

    Raises:
        StoreError: the list beside the store is damaged.
    """
    path = _backbones_path(store_path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return tuple(BackboneId(**{**row, "modality": Modality(row["modality"])}) for row in rows)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            path, f"is damaged ({error}).", "Delete it and extract again; nothing is computed twice"
        ) from error


def remember_backbones(store_path: Path, backbones: Sequence[BackboneId]) -> None:
    """Add to the list of backbones beside the store.

    Raises:
        StoreError: the list is damaged or can't be written.
    """
    known = stored_backbones(store_path)
    fresh = [backbone for backbone in backbones if backbone not in known]
    if not fresh:
        return
    path = _backbones_path(store_path)
    content = json.dumps([asdict(backbone) for backbone in (*known, *fresh)], indent=1) + "\n"
    try:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(content, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StoreError(path, f"can't be written ({error.strerror}).") from error


def facts_path(store_path: Path) -> Path:
    """Where the hashes of files are remembered."""
    return store_path.with_name(f"{store_path.name}.files.jsonl")


def _backbones_path(store_path: Path) -> Path:
    return store_path.with_name(f"{store_path.name}.backbones.json")


def _sha256(clip: Clip, modality: Modality, facts: FactsFile) -> str | None:
    """Of the file that holds the channel; None where there is none, or not any more."""
    try:
        file = clip_file(clip, modality)
    except CorpusError:
        return None  # Nothing can have been extracted from it.
    if file is None or not file.is_file():
        return None
    known = facts.get(file).sha256
    if known is None:
        known = file_sha256(file)
        facts.add(file, FileFacts(sha256=known))
    return known


def _read_clip(
    store: FeatureStore,
    clip_id: str,
    backbone: BackboneId,
    spans_s: Sequence[Span],
    keys: Sequence[FeatureKey],
    cover_keys: Sequence[FeatureKey],
) -> ClipFeatures | None:
    covers = list(store.iter_many(cover_keys))
    coverage = np.zeros(len(keys), dtype=np.float32)
    for place, cover in enumerate(covers):
        if cover is None:
            return None
        coverage[place] = cover[0]
    embeddings = np.zeros((len(keys), backbone.dim), dtype=np.float32)
    mask = np.zeros(len(keys), dtype=np.bool_)
    for place, embedding in enumerate(store.iter_many(keys)):
        if embedding is not None and coverage[place] > 0:
            embeddings[place] = embedding
            mask[place] = True
    return ClipFeatures(
        clip_id=clip_id,
        modality=backbone.modality,
        backbone=backbone.id,
        spans_s=np.array(spans_s, dtype=np.float64).reshape(-1, 2),
        embeddings=embeddings,
        mask=mask,
        coverage=coverage,
    )


# One clip in, rows in the feature store out: what each process of an extraction does.

_Row = tuple[FeatureKey, Embedding | None]


@dataclass(frozen=True, slots=True)
class ExtractorSetup:
    """What a process needs to know once."""

    store_path: Path
    backbones: tuple[str, ...]
    config: AnalyzerConfig
    num_threads: int


@dataclass(frozen=True, slots=True)
class ChannelTask:
    """One channel of a clip: the file that holds it, and the keys that the store lacks."""

    modality: Modality
    path: Path
    sha256: str
    missing: frozenset[FeatureKey]


@dataclass(frozen=True, slots=True)
class ClipTask:
    """The channels of a clip that are to be extracted up to `end_s`."""

    clip_id: str
    end_s: float
    channels: tuple[ChannelTask, ...]


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What became of a clip.

    num_records: rows that were stored; problems: channels that failed; damages: what the decoders
    complained of in those that did not; store_problem: why the store took nothing.
    """

    num_records: int
    problems: tuple[ClipProblem, ...] = ()
    damages: tuple[ClipProblem, ...] = ()
    store_problem: str | None = None


class ClipExtractor:
    """Detector, backbones and store of one process.

    Raises:
        ConfigError: an unknown detector or backbone.
        WeightsError: weights are missing or damaged.
        MissingExtraError: a backbone needs an extra that is not installed.
        StoreError: the store can't be opened.
    """

    def __init__(self, setup: ExtractorSetup) -> None:
        faces = setup.config.faces
        self._config = setup.config
        self._detector = create_detector(
            faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
        )
        self._backbones: list[Backbone] = [
            create_backbone(name, num_threads=setup.num_threads) for name in setup.backbones
        ]
        self.backbone_ids = tuple(identify(backbone) for backbone in self._backbones)
        self.rules = key_rules(setup.config, self._detector)
        self.store = FeatureStore.open(setup.store_path)

    def extract(self, task: ClipTask) -> ClipResult:
        """Extract what is missing; a file's rows are stored all at once, or not at all."""
        num_records = 0
        problems: list[ClipProblem] = []
        damages: list[ClipProblem] = []
        for path in dict.fromkeys(channel.path for channel in task.channels):
            channels = [channel for channel in task.channels if channel.path == path]
            complaints: list[str] = []
            try:
                rows = self._extract_file(task, path, channels, problems, complaints.append)
            except Exception as error:  # noqa: BLE001 - one bad file must not stop the others
                problems.append(describe_problem(task.clip_id, path, error))
                continue
            try:
                num_records += self.store.put_many(rows)
            except StoreError as error:
                return ClipResult(num_records, store_problem=f"{error.problem} {error.remedy}")
            damages += [
                ClipProblem(task.clip_id, path, DAMAGED, f"{path}: {complaint}")
                for complaint in complaints
            ]
        return ClipResult(num_records, tuple(problems), tuple(damages))

    def _extract_file(
        self,
        task: ClipTask,
        path: Path,
        channels: list[ChannelTask],
        problems: list[ClipProblem],
        on_damage: Callable[[str], None],
    ) -> list[_Row]:
        """Rows of those channels that the file has; one pass for all of them."""
        info = probe(path, on_damage=on_damage)
        present = []
        for channel in channels:
            lack = _lacking(info, channel)
            if lack is None:
                present.append(channel)
            else:
                problems.append(describe_problem(task.clip_id, path, lack))
        if not present:
            return []
        wanted = {channel.modality for channel in present}
        info = replace(
            info,
            video=info.video if Modality.VIDEO in wanted else None,
            audio=info.audio if Modality.AUDIO in wanted else None,
        )
        rows: list[_Row] = []
        for window in read_clip_windows(info, task.end_s, self._detector, self._config, on_damage):
            for channel in present:
                rows += self._rows(window, channel)
        return rows

    def _rows(self, window: Window, channel: ChannelTask) -> Iterable[_Row]:
        span_s = (window.start_s, window.end_s)
        is_video = channel.modality is Modality.VIDEO
        coverage = window.face_coverage if is_video else window.speech_coverage
        has_content = (window.faces if is_video else window.samples) is not None
        key = self.rules.coverage_key(channel.sha256, span_s, channel.modality)
        if key in channel.missing:
            yield key, np.array([coverage], dtype=np.float32)
        for backbone, known in zip(self._backbones, self.backbone_ids, strict=True):
            if known.modality is not channel.modality:
                continue
            key = self.rules.feature_key(channel.sha256, span_s, known)
            if key in channel.missing:
                # One by one, as in analysis: a batch may change the last bits.
                yield key, backbone.embed([window])[0] if has_content else None


def build_extractor(setup: ExtractorSetup) -> Callable[[ClipTask], ClipResult]:
    """The worker of one process; see `workers.run_tasks`."""
    return ClipExtractor(setup).extract


def _lacking(info: MediaInfo, channel: ChannelTask) -> NoStreamError | None:
    if channel.modality is Modality.VIDEO and not info.has_video:
        return NoStreamError(info.path, "holds no video, though it is named as the clip's film.")
    if channel.modality is Modality.AUDIO and not info.has_audio:
        return NoStreamError(info.path, "holds no sound, though it is named as the clip's sound.")
    return None


# Filling the feature store from a corpus: resumable, in parallel, one bad file at a time.

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


# From a table of clips and a feature store to what the trainer takes.


def read_store_table(
    manifest: Path, store: Path, network: NetworkConfig, names: Sequence[str] = ()
) -> FeatureTable:
    """Clips of a table with what was extracted of them; channels not extracted are masked.

    Embeddings are means over a clip's windows; tokens of its windows follow one another; layers are
    averaged over its windows, layer by layer.

    Args:
        manifest: the table.
        store: the feature store.
        network: whose modalities are read.
        names: backbones, by name or name@revision, at most one a channel; where none is named, the
            only one of that channel that the store has.

    Raises:
        CorpusError: the table is damaged, or durations are not known.
        StoreError: nothing was extracted, or it is not clear which backbone is meant.
    """
    clips = read_manifest(manifest)
    chosen = [find_backbone(store, name) for name in names]
    arrays: dict[Modality, TokenArray] = {}
    for modality in network.modalities:
        named = [backbone for backbone in chosen if backbone.modality is modality]
        backbone = named[0] if named else _only_backbone(store, modality)
        rows = split_name(backbone.name)[1]
        found = read_features(clips, store, backbone=backbone)
        arrays[modality] = _array(clips, found, backbone, rows, network.dim(modality))
    there = np.any([array.lengths > 0 for array in arrays.values()], axis=0)
    if not there.any():
        raise StoreError(store, "holds nothing of these clips.", "facevoice data extract")
    places = np.flatnonzero(there).astype(np.int64)
    return FeatureTable(
        tuple(clips[place] for place in places),
        {modality: array.take(places) for modality, array in arrays.items()},
    )


def _only_backbone(store: Path, modality: Modality) -> BackboneId:
    known = [backbone for backbone in stored_backbones(store) if backbone.modality is modality]
    if len(known) != 1:
        choices = ", ".join(backbone.id for backbone in known) or "none"
        raise StoreError(
            store,
            f"holds embeddings of {len(known)} {modality} backbones ({choices}).",
            "Name one with --backbone" if known else "Extract some first: facevoice data extract",
        )
    return known[0]


def _array(
    clips: Sequence[Clip],
    found: dict[str, ClipFeatures],
    backbone: BackboneId,
    rows: str | None,
    row_dim: int,
) -> TokenArray:
    dim = backbone.dim if rows is None else row_dim
    if backbone.dim % dim:
        raise StoreError(
            Path(backbone.id),
            f"embeddings of {backbone.dim} numbers are no rows of {dim}.",
            "Set network.video_dim or network.audio_dim to the width of one row",
        )
    embeddings = [
        None if clip.clip_id not in found else _clip_rows(found[clip.clip_id], rows, dim)
        for clip in clips
    ]
    return replace(
        stack_tokens(embeddings, dim, backbone.id), training_corpora=training_corpora(backbone.name)
    )


def _clip_rows(features: ClipFeatures, rows: str | None, dim: int) -> FloatArray | None:
    """(T, D) of one clip; None where no window shows the channel."""
    if rows == "tokens":
        tokens = features.embeddings[features.mask].reshape(-1, dim)
        return tokens if len(tokens) else None
    pooled = features.pooled()
    return None if pooled is None else pooled.reshape(-1, dim)


def training_corpora(name: str) -> tuple[str, ...] | None:
    """The corpora that a backbone saw; None where that is not known."""
    plain, _ = split_name(name)
    if plain in PRETRAINED:
        corpora = PRETRAINED[plain].training_corpora
        return None if corpora == UNKNOWN_CORPORA else corpora
    return None
