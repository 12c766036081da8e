"""One clip in, rows in the feature store out: what each process of an extraction does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facevoice.config import AnalyzerConfig
from facevoice.errors import NoStreamError, StoreError
from facevoice.features.backbone import Backbone, create_backbone
from facevoice.features.store import FeatureStore
from facevoice.features.store_keys import FeatureKey
from facevoice.features.store_records import Embedding
from facevoice.labels import Modality
from facevoice.media.probe import probe
from facevoice.perception.detect import create_detector
from facevoice.types import MediaInfo, Window
from facevoice.workbench.clip_windows import read_clip_windows
from facevoice.workbench.feature_plan import identify, key_rules
from facevoice.workbench.problems import DAMAGED, ClipProblem, describe_problem

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
