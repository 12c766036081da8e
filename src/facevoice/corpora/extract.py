"""Perceiving a corpus: its clips into the store, and out of it, with no second decoding.

The face is read from `Clip.video_path`, the voice from `Clip.audio_path`. What is kept is what
analysis keeps, so a film that was analysed need not be extracted again, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import Backbone, BackboneSpec, backbone_id
from facevoice.corpora.corpus import PICTURE_EXTENSIONS
from facevoice.corpora.manifest import Clip, clips_by_id, require_duration_s
from facevoice.corpora.prepare import DAMAGED, ClipProblem, describe_problem
from facevoice.errors import ConfigError, CorpusError, MediaNotFoundError, NoStreamError, StoreError
from facevoice.interpret import join
from facevoice.media import probe
from facevoice.people.detect import FaceDetector
from facevoice.people.speech import vad_model_id
from facevoice.perceive import Perceiver
from facevoice.records import (
    BoolArray,
    DoubleArray,
    FloatArray,
    Modality,
    ModelId,
    Perception,
    Window,
    WindowView,
)
from facevoice.settings import AnalyzerConfig
from facevoice.store import PerceptionKey, Store
from facevoice.workers import run_tasks

DEFAULT_BACKBONES: Final = ("compact-face", "compact-voice")

_NAMED_AS: Final = {
    Modality.VIDEO: "video, though it is named as the clip's film",
    Modality.AUDIO: "sound, though it is named as the clip's sound",
}
# Clips cut by less than this are whole: lengths written in tables are rounded.
_SAME_LENGTH_S: Final = 1e-3


@dataclass(frozen=True, slots=True)
class BackboneId:
    """All of a backbone that names its embeddings; enough to read them without its weights.

    id: name@revision, see `backbone_id`; dim: D of the embeddings (D,).
    """

    name: str
    id: str
    modality: Modality
    preprocessing: str
    dim: int

    @property
    def key(self) -> str:
        """What names its embeddings in the store."""
        return f"{self.id}/{self.preprocessing}"


def identify(backbone: Backbone) -> BackboneId:
    """What names the embeddings of a backbone that is loaded."""
    spec = backbone.spec
    return BackboneId(spec.name, backbone_id(backbone), spec.modality, spec.preprocessing, spec.dim)


class RawBackbone:
    """Gives what backbones see as it is, so that those that are tuned find it in the store.

    `crops`: uint8 (T, S, S, 3) of the leading face; `samples`: float32 (N,) at 16 kHz.
    """

    def __init__(self, modality: Modality) -> None:
        name = {Modality.VIDEO: "crops", Modality.AUDIO: "samples"}[modality]
        self.spec = BackboneSpec(
            name, modality, dim=0, license="", training_corpora=(), preprocessing="raw-1"
        )
        self.model = ModelId(name, "0" * 64)

    def embed(self, windows: Sequence[Window]) -> Any:
        """The crops or the samples of each window."""
        is_video = self.spec.modality is Modality.VIDEO
        return [window.faces if is_video else window.samples for window in windows]


RAW: Final = {m: RawBackbone(m) for m in Modality}


@dataclass(frozen=True, slots=True)
class ExtractionProgress:
    """How far an extraction is: clips done. `name` is the latest."""

    stage: str
    num_done: int
    num_all: int
    num_problems: int
    name: str


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What an extraction came to.

    num_clips: clips with a channel to extract; num_extracted: that were read now; num_known: of
    which all was stored before; num_records: windows stored now; problems: channels that could
    not be extracted; damages: files that broke off or skipped.
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
    """Perceive all clips into the store; what it holds is not decoded again.

    Args:
        clips: with durations.
        store_path: made when absent.
        backbones: names for `create_backbone`, or `crops` and `samples` for the raw windows;
            several a modality if wanted, each of which takes a pass of its own.
        modalities: channels to extract, of those that the backbones serve.
        limits_s: by clip id, cuts a clip to its first seconds (`corpora.pairs`).
        config: by default that of analysis.
        jobs: processes; more than 1 can only build backbones that importing facevoice registers.
        num_threads: threads that each network may use.
        on_progress: called after every clip.

    Raises:
        CorpusError: a clip id occurs twice.
        ConfigError: no backbone, an unknown one, or one that serves none of `modalities`.
        WeightsError, MissingExtraError: a network can't be loaded.
        StoreError: the store can't be opened, or takes nothing any more.
    """
    clips_by_id(list(clips))
    names = tuple(dict.fromkeys(backbones))
    setup = _Setup(store_path, names, modalities, config or AnalyzerConfig(), num_threads)
    extractor = _Extractor(setup)
    with extractor.store:
        for backbone in extractor.backbones:
            extractor.store.remember_backbone(backbone.key, asdict(backbone))
        tasks, problems = _plan(clips, extractor, limits_s)
        lacking = extractor.lacking(tasks, jobs)
        damages: list[ClipProblem] = []
        num_extracted = num_records = 0
        with closing(_results(lacking, extractor, setup, jobs)) as results:
            for num_done, (task, result) in enumerate(results, start=1):
                if result.store_problem is not None:
                    raise StoreError(store_path, result.store_problem)
                num_extracted += bool(result.num_windows)
                num_records += result.num_windows
                problems += result.problems
                damages += result.damages
                if on_progress is not None:
                    counts = (num_done, len(lacking), len(problems))
                    on_progress(ExtractionProgress("extract", *counts, task.clip_id))
        return ExtractionReport(
            num_clips=len(tasks),
            num_extracted=num_extracted,
            num_known=len(tasks) - len(lacking),
            num_records=num_records,
            backbones=extractor.backbones,
            problems=tuple(problems),
            damages=tuple(damages),
        )


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


class ClipReader:
    """Perceptions of clips out of a store, without any backbone's weights.

    There is at most one backbone a channel; `config` is as it was at extraction.
    """

    def __init__(
        self,
        store: Store,
        backbones: Iterable[BackboneId],
        config: AnalyzerConfig | None = None,
    ) -> None:
        self._store = store
        self._backbones = {backbone.modality: backbone for backbone in backbones}
        self._config = config or AnalyzerConfig()
        faces = self._config.faces
        detector = FaceDetector(min_face_px=faces.min_face_px, min_score=faces.min_score)
        self._models = {"detector": detector.model, "speech": vad_model_id()}

    def perception(self, clip: Clip, limit_s: float | None = None) -> Perception | None:
        """Both channels of a clip side by side; None where nothing of it is stored."""
        found = {m: self.channel(clip, m, limit_s) for m in self._backbones}
        face, voice = found.get(Modality.VIDEO), found.get(Modality.AUDIO)
        if face is None or voice is None:
            return face or voice
        return join(face, voice)

    def channel(
        self, clip: Clip, modality: Modality, limit_s: float | None = None
    ) -> Perception | None:
        """One channel of a clip; None where it isn't stored whole."""
        try:
            file = clip_file(clip, modality)
        except CorpusError:
            return None  # Nothing can have been extracted from it.
        if file is None or not file.is_file():
            return None
        content = self._store.content_of(file)
        names = {modality: self._backbones[modality].key}
        end_s = _end_s(clip, limit_s)
        key = PerceptionKey.of(content, self._config, self._models, names, end_s)
        stored = self._store.load(key)
        if stored is None or not stored.is_complete:
            return None
        windows = tuple(_only(view, modality) for view in stored.windows)
        media = replace(stored.media, path=file)
        return Perception(media, content, self._config, self._models, windows, stored.damage)


def read_features(
    clips: Sequence[Clip],
    store_path: Path,
    *,
    backbone: str,
    limits_s: Mapping[str, float] | None = None,
    config: AnalyzerConfig | None = None,
) -> dict[str, ClipFeatures]:
    """Features that `extract_clips` stored, by clip id.

    Clips that lack the channel, or any window of which is not stored, are left out. `limits_s` and
    `config` are to be as they were at extraction; for `backbone` see `find_backbone`.

    Raises:
        CorpusError: a clip id occurs twice, or a duration is not known.
        StoreError: no store, damaged, or nothing of this backbone was extracted.
    """
    clips_by_id(list(clips))
    known = find_backbone(store_path, backbone)
    features: dict[str, ClipFeatures] = {}
    with Store(store_path, must_exist=True) as store:
        reader = ClipReader(store, [known], config)
        for clip in clips:
            found = reader.channel(clip, known.modality, (limits_s or {}).get(clip.clip_id))
            if found is not None:
                features[clip.clip_id] = _features(clip.clip_id, known, found.windows)
    return features


def stored_backbones(store_path: Path) -> tuple[BackboneId, ...]:
    """All backbones of which something was extracted into the store, raw windows left out.

    Raises:
        StoreError: no store, or it is damaged.
    """
    with Store(store_path, must_exist=True) as store:
        rows = list(store.backbones().values())
    known = (BackboneId(**{**row, "modality": Modality(row["modality"])}) for row in rows)
    return tuple(backbone for backbone in known if backbone.dim)


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


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a process needs to know once."""

    store_path: Path
    backbones: tuple[str, ...]
    modalities: frozenset[Modality]
    config: AnalyzerConfig
    num_threads: int


@dataclass(frozen=True, slots=True)
class _Task:
    """A clip with the files of its channels, and where it is cut; None for nowhere."""

    clip_id: str
    files: tuple[tuple[Modality, Path], ...]
    end_s: float | None


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of a clip; store_problem: why the store took nothing."""

    num_windows: int = 0
    problems: tuple[ClipProblem, ...] = ()
    damages: tuple[ClipProblem, ...] = ()
    store_problem: str | None = None


class _Extractor:
    """Backbones, detector and store of one process."""

    def __init__(self, setup: _Setup) -> None:
        self._setup = setup
        loaded: dict[Modality, list[Backbone]] = {m: [] for m in Modality}
        raw = {backbone.spec.name: backbone for backbone in RAW.values()}
        for name in setup.backbones:
            backbone = raw.get(name) or create_backbone(name, num_threads=setup.num_threads)
            if backbone.spec.modality in setup.modalities:
                loaded[backbone.spec.modality].append(backbone)
        if not any(loaded.values()):
            wanted = ", ".join(sorted(setup.modalities))
            named = ", ".join(setup.backbones) or "none"
            raise ConfigError(f"backbones ({named}) serve none of: {wanted}")
        self.backbones = tuple(identify(b) for found in loaded.values() for b in found)
        self._passes = [
            {m: b for m, b in zip(loaded, row, strict=True) if b is not None}
            for row in zip_longest(*loaded.values())
        ]
        self._perceivers: dict[tuple[str, ...], Perceiver] = {}
        self.store = Store(setup.store_path)

    def lacking(self, tasks: Sequence[_Task], jobs: int) -> list[_Task]:
        """The tasks of which the store lacks something; files are hashed `jobs` at a time."""
        with ThreadPoolExecutor(jobs) as pool:
            found = pool.map(self._lacks, tasks)
            return [task for task, lacks in zip(tasks, found, strict=True) if lacks]

    def extract(self, task: _Task) -> _Result:
        """Perceive what the store lacks of a clip, one pass for channels of the same file."""
        num_windows = 0
        problems: list[ClipProblem] = []
        damages: list[ClipProblem] = []
        for path, backbones in self._jobs(task):
            try:
                fresh, damage = self._perceive(path, backbones, task, problems)
            except StoreError as error:
                return _Result(num_windows, store_problem=f"{error.problem} {error.remedy}")
            except Exception as error:  # noqa: BLE001 - one bad file must not stop the others
                problems.append(describe_problem(task.clip_id, path, error))
                continue
            num_windows += fresh
            damages += [
                ClipProblem(task.clip_id, path, DAMAGED, f"{path}: {said}") for said in damage
            ]
        return _Result(num_windows, tuple(problems), tuple(damages))

    def _perceive(
        self,
        path: Path,
        backbones: Mapping[Modality, Backbone],
        task: _Task,
        problems: list[ClipProblem],
    ) -> tuple[int, tuple[str, ...]]:
        """Windows read now, and what the decoders complained of."""
        info = probe(path)
        present = {Modality.VIDEO: info.has_video, Modality.AUDIO: info.has_audio}
        for modality in [m for m in backbones if not present[m]]:
            lack = NoStreamError(path, f"holds no {_NAMED_AS[modality]}.")
            problems.append(describe_problem(task.clip_id, path, lack))
        wanted = {m: b for m, b in backbones.items() if present[m]}
        if not wanted or self._has(path, wanted, task.end_s):
            return 0, ()
        perception = self._perceiver(wanted).perceive(path, store=self.store, end_s=task.end_s)
        return len(perception.windows), perception.damage

    def _lacks(self, task: _Task) -> bool:
        try:
            return not all(
                self._has(path, backbones, task.end_s) for path, backbones in self._jobs(task)
            )
        except (OSError, StoreError):
            return True  # Extracting says what is wrong.

    def _has(self, path: Path, backbones: Mapping[Modality, Backbone], end_s: float | None) -> bool:
        content = self.store.content_of(path)
        return self.store.has(self._perceiver(backbones).key(content, end_s))

    def _jobs(self, task: _Task) -> list[tuple[Path, dict[Modality, Backbone]]]:
        """Files to read, each with the backbones of one pass."""
        jobs = []
        for backbones in self._passes:
            by_path: dict[Path, dict[Modality, Backbone]] = {}
            for modality, path in task.files:
                if modality in backbones:
                    by_path.setdefault(path, {})[modality] = backbones[modality]
            jobs += list(by_path.items())
        return jobs

    def _perceiver(self, backbones: Mapping[Modality, Backbone]) -> Perceiver:
        name = tuple(sorted(backbone_id(backbone) for backbone in backbones.values()))
        if name not in self._perceivers:
            self._perceivers[name] = Perceiver(self._setup.config, backbones)
        return self._perceivers[name]


def _plan(
    clips: Sequence[Clip], extractor: _Extractor, limits_s: Mapping[str, float] | None
) -> tuple[list[_Task], list[ClipProblem]]:
    """Files and cuts of every clip that has any of the channels."""
    tasks, problems = [], []
    for clip in clips:
        files = []
        for modality in dict.fromkeys(backbone.modality for backbone in extractor.backbones):
            path = clip.video_path if modality is Modality.VIDEO else clip.audio_path
            try:
                file = clip_file(clip, modality)
                end_s = _end_s(clip, (limits_s or {}).get(clip.clip_id))
                if file is not None and not file.is_file():
                    raise MediaNotFoundError(file, "does not exist.")
                if file is not None:
                    files.append((modality, file))
            except (CorpusError, MediaNotFoundError) as error:
                problems.append(describe_problem(clip.clip_id, path, error))
        if files:
            tasks.append(_Task(clip.clip_id, tuple(files), end_s))
    return tasks, problems


def _end_s(clip: Clip, limit_s: float | None) -> float | None:
    """Where a clip is cut; None where it is read to its end.

    Raises:
        CorpusError: the duration is not known, or the limit not above 0.
    """
    duration_s = require_duration_s(clip)
    if limit_s is None or limit_s >= duration_s - _SAME_LENGTH_S:
        # Two files of one clip need not be of one length; both end with the shorter.
        return duration_s if len(clip.paths) > 1 else None
    if not limit_s > 0:
        raise CorpusError(f"clip {clip.clip_id!r}: limit {limit_s} s is not above 0")
    return limit_s


def _results(
    tasks: Sequence[_Task], extractor: _Extractor, setup: _Setup, jobs: int
) -> Generator[tuple[_Task, _Result], None, None]:
    if jobs == 1 or len(tasks) <= 1:
        for task in tasks:
            yield task, extractor.extract(task)
        return
    with closing(run_tasks(tasks, _build_extractor, setup, jobs)) as results:
        for task, result in results:
            yield task, _died(task) if result is None else result


def _build_extractor(setup: _Setup) -> Callable[[_Task], _Result]:
    return _Extractor(setup).extract


def _died(task: _Task) -> _Result:
    message = "two processes died on it; it may crash a decoder, or memory is short"
    paths = (path for _, path in task.files)
    kind = "worker_died"
    return _Result(
        problems=tuple(ClipProblem(task.clip_id, p, kind, f"{p}: {message}") for p in paths)
    )


def _only(view: WindowView, modality: Modality) -> WindowView:
    """Without the embedding and coverage of the other channel, which may be of another clip."""
    if modality is Modality.VIDEO:
        return replace(view, voice=None, speech_coverage=0.0)
    return replace(view, faces=())


def _features(clip_id: str, backbone: BackboneId, views: Sequence[WindowView]) -> ClipFeatures:
    is_video = backbone.modality is Modality.VIDEO
    coverage = np.array([v.face_coverage if is_video else v.speech_coverage for v in views])
    found = [view.channel(backbone.modality) for view in views]
    mask = np.array([embedding is not None for embedding in found], np.bool_) & (coverage > 0)
    embeddings = np.zeros((len(views), backbone.dim), np.float32)
    for place in np.flatnonzero(mask):
        embeddings[place] = found[place]
    return ClipFeatures(
        clip_id=clip_id,
        modality=backbone.modality,
        backbone=backbone.id,
        spans_s=np.array([[v.start_s, v.end_s] for v in views], np.float64).reshape(-1, 2),
        embeddings=embeddings,
        mask=mask,
        coverage=coverage.astype(np.float32),
    )
