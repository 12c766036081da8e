"""Steps 1 to 8: one file in, one report out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from facevoice.errors import ConfigError
from facevoice.interpret import decide, file_status, summarize, weigh_evidence, with_stream_reasons
from facevoice.media.open import file_sha256, probe
from facevoice.models.model import COMPACT, Assembly, assemble
from facevoice.people.detect import create_detector
from facevoice.people.speech import vad_model_id
from facevoice.perceive import join_streams, read_windows
from facevoice.records import (
    VERSION,
    AudioBlock,
    Frame,
    FrameFaces,
    MediaInfo,
    ModelId,
    Outcome,
    Prediction,
    Report,
    ResumePoint,
    Window,
)
from facevoice.settings import AnalyzerConfig, WindowConfig
from facevoice.store import extract
from facevoice.workers import num_cpus

ProgressCallback = Callable[[float], None]
WindowCallback = Callable[[Prediction], None]
ReadCallback = Callable[[Window], None]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one window says, and what it takes to begin with this window another time."""

    prediction: Prediction
    begin: ResumePoint
    has_video: bool


class Journal(Protocol):
    """Keeps what an analysis has come to, so that it can go on after an interruption."""

    @property
    def predictions(self) -> Sequence[Prediction]:
        """Of an earlier run, up to where this one goes on."""
        ...

    @property
    def start(self) -> ResumePoint | None:
        """Where to go on; None to begin at the start."""
        ...

    @property
    def damage(self) -> Sequence[str]:
        """What the decoders complained of in the earlier run."""
        ...

    def add(self, step: Step, damage: Sequence[str]) -> None:
        """Take the next window, and all complaints so far."""
        ...


class Analyzer:
    """Reads files and says what face and voice show. Build one, use it for many files.

    Args:
        config: settings; defaults suit talking-head video.
        checkpoint: a checkpoint of `facevoice train`, or a folder of `facevoice export`, which
            needs no torch; None for the compact model of the package.
        backbones: in place of those that the checkpoint names, see `facevoice.models.model.assemble`.
        num_threads: threads that one file may use; None for as many as there are processors. More
            than one let decoding, perception and networks overlap; the results are the same. The
            networks of a checkpoint use as many, those of the package one each.

    Raises:
        ConfigError: a setting names an unknown model, detector or backbone.
        WeightsError: weights are missing or damaged, or a backbone is not the one that the
            checkpoint was trained on.
        MissingExtraError: the checkpoint is run by torch, which is not installed.
    """

    def __init__(
        self,
        config: AnalyzerConfig | None = None,
        *,
        checkpoint: str | Path | None = None,
        backbones: Sequence[str] = (),
        num_threads: int | None = None,
    ) -> None:
        config = config or AnalyzerConfig()
        if checkpoint is None and config.model != COMPACT:
            raise ConfigError(
                f"unknown model {config.model!r}; known: {COMPACT}. A checkpoint is named by its "
                "folder, with --checkpoint"
            )
        folder = None if checkpoint is None else Path(checkpoint)
        self._num_threads = num_cpus() if num_threads is None else num_threads
        # The package's networks are too small to gain by threads, and others need the cores.
        per_network = 1 if folder is None else self._num_threads
        self._assembly = assemble(folder, backbones, num_threads=per_network)
        self.config = replace(config, model=self._assembly.model.name)
        self._detector = create_detector(
            self.config.faces.detector,
            min_face_px=self.config.faces.min_face_px,
            min_score=self.config.faces.min_score,
        )

    @property
    def assembly(self) -> Assembly:
        """The model with its backbones."""
        return self._assembly

    @property
    def models(self) -> dict[str, ModelId]:
        """Every model that takes part, by its role."""
        return {
            "detector": self._detector.model,
            "speech": vad_model_id(),
            **self._assembly.models,
        }

    def predict(self, window: Window) -> Prediction:
        """Steps 5 to 7 for one window."""
        parts = self._assembly
        evidence = weigh_evidence(
            window, self.config.decision, parts.modalities, tells_conflict=parts.tells_conflict
        )
        features = extract(window, parts.backbones, evidence.modalities)
        posteriors = parts.model.predict([features])[0]
        return decide(window, evidence, posteriors, parts.model.thresholds)

    def stream(self, path: str | Path) -> Iterator[Prediction]:
        """Predictions window by window, as the file is read; see `analyze` for what is raised."""
        for step in self.steps(probe(path)):
            yield step.prediction

    def steps(
        self,
        info: MediaInfo,
        *,
        start: ResumePoint | None = None,
        on_damage: Callable[[str], None] | None = None,
        on_read: ReadCallback | None = None,
    ) -> Iterator[Step]:
        """Predictions of a probed file with what it takes to go on after an interruption.

        Args:
            info: from `probe`.
            start: `Step.begin` of an earlier run over the same content with the same settings:
                gives what that run gave, or would have given, from that window on.
            on_damage: called with what the decoders complain of; perhaps from another thread.
            on_read: called with each window's faces and sound, before its prediction.

        Raises:
            MediaError: see `analyze`.
        """
        number = 0 if start is None else start.window
        windows = read_windows(
            info,
            self._detector,
            self.config,
            on_damage,
            num_threads=self._num_threads,
            start=start,
        )
        for window in windows:
            if on_read is not None:
                on_read(window)
            prediction = with_stream_reasons(self.predict(window), info)
            yield Step(prediction, ResumePoint(number, window.face_memory), info.has_video)
            number += 1

    def follow(
        self,
        frames: Iterator[Frame] | None,
        blocks: Iterator[AudioBlock] | None,
        duration_s: float,
        *,
        windows: WindowConfig | None = None,
        on_faces: Callable[[FrameFaces], None] | None = None,
        wanted: Callable[[Window], bool] = lambda _: True,
    ) -> Iterator[Prediction]:
        """Predictions of a camera's and a microphone's streams, as they come.

        Args:
            frames: `config.faces.sample_rate_hz` a second; None without camera.
            blocks: consecutive sound from time 0 on; None without microphone.
            duration_s: no window ends later. Where the streams end earlier, one of the windows
                after that is cut short, and all further ones are empty: stop there.
            windows: in place of those of the settings.
            on_faces: called with the faces of each frame, from another thread.
            wanted: windows for which this is not true are left out, such as those that come late.
        """
        config = self.config if windows is None else replace(self.config, windows=windows)
        for window in join_streams(
            frames,
            blocks,
            duration_s,
            self._detector,
            config,
            num_threads=max(2, self._num_threads),
            on_faces=on_faces,
        ):
            if wanted(window):
                yield self.predict(window)

    def analyze(
        self,
        path: str | Path,
        *,
        on_progress: ProgressCallback | None = None,
        on_window: WindowCallback | None = None,
        on_read: ReadCallback | None = None,
        journal: Journal | None = None,
        sha256: str | None = None,
    ) -> Report:
        """Analyse one file.

        Args:
            path: a video or audio file.
            on_progress: called with the seconds of media done so far.
            on_window: called with each window as soon as it is done; those that the journal holds
                come first.
            on_read: called with each window's faces and sound, as `TraceRecorder.add`; not with
                those that the journal holds.
            journal: takes every window as it is done, and gives those of an interrupted run.
            sha256: of the file's content, if it is known already.

        Raises:
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: the file
                can't be read; the message names it and the remedy.
        """
        info = probe(path)
        damage = [] if journal is None else list(journal.damage)
        predictions = [] if journal is None else list(journal.predictions)
        start = None if journal is None else journal.start
        if on_window is not None:
            for prediction in predictions:
                on_window(prediction)
        if on_progress is not None:
            on_progress(predictions[-1].end_s if predictions else 0.0)
        for step in self.steps(info, start=start, on_damage=damage.append, on_read=on_read):
            predictions.append(step.prediction)
            if journal is not None:
                journal.add(step, damage)
            if on_window is not None:
                on_window(step.prediction)
            if on_progress is not None:
                on_progress(step.prediction.end_s)
        sha256 = sha256 or file_sha256(info.path)
        return self.report(info, sha256, predictions, damaged=bool(damage))

    def report(
        self, info: MediaInfo, sha256: str, predictions: Sequence[Prediction], *, damaged: bool
    ) -> Report:
        """Step 8: all windows of a file as its report.

        Args:
            info: the probed file.
            sha256: of its content.
            predictions: of all its windows, in order.
            damaged: whether the decoders complained.
        """
        counts = Counter(p.outcome for p in predictions)
        return Report(
            path=str(info.path),
            sha256=sha256,
            media=info,
            status=file_status(
                info, predictions, damaged=damaged, modalities=self._assembly.modalities
            ),
            error=None,
            windows=tuple(predictions),
            summary=self._summarize(predictions),
            outcome_counts={o: counts.get(o, 0) for o in Outcome},
            models=self.models,
            config=self.config,
            facevoice_version=VERSION,
            thresholds=self._assembly.model.thresholds,
        )

    def _summarize(self, predictions: Sequence[Prediction]) -> Prediction | None:
        if not predictions:
            return None
        return summarize(predictions, self._assembly.model.thresholds)
