"""Steps 1 to 8: one file in, one report out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from facevoice.assembly import Assembly, assemble
from facevoice.config import AnalyzerConfig
from facevoice.errors import ConfigError
from facevoice.features.extract import extract
from facevoice.labels import Modality, Outcome, Reason, Status
from facevoice.media.audio import read_audio
from facevoice.media.probe import file_sha256, probe
from facevoice.media.video import read_frames, regular_times
from facevoice.models.compact import Posteriors, Thresholds
from facevoice.models.decision import choose_outcome, decide, weigh_evidence
from facevoice.models.family import COMPACT
from facevoice.perception.detect import FaceDetector, create_detector
from facevoice.perception.speech import read_speech, vad_model_id
from facevoice.perception.track import track_faces
from facevoice.perception.windows import cut_windows
from facevoice.results import ModelId, Prediction, Report
from facevoice.types import ChannelPosterior, DoubleArray, MediaInfo, Window
from facevoice.version import VERSION

ProgressCallback = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class _Damage:
    """Collects what the decoders complain of."""

    messages: list[str] = field(default_factory=list)


def read_windows(
    info: MediaInfo,
    detector: FaceDetector,
    config: AnalyzerConfig,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[Window]:
    """Steps 2 to 4: decode, find faces and speech, cut. Training takes its windows from here too.

    Raises:
        UnreadableMediaError: a stream that the container promises can't be decoded at all.
    """
    faces = speech = None
    if info.has_video:
        times = regular_times(info.duration_s, config.faces.sample_rate_hz)
        frames = read_frames(
            info.path,
            times,
            tolerance_s=0.5 / config.faces.sample_rate_hz,
            max_side_px=config.faces.max_side_px,
            on_damage=on_damage,
        )
        faces = track_faces(frames, detector, config.faces)
    if info.has_audio:
        speech = read_speech(read_audio(info.path, on_damage=on_damage))
    return cut_windows(info.duration_s, faces, speech, config.windows, config.faces, config.speech)


class Analyzer:
    """Reads files and says what face and voice show. Build one, use it for many files.

    Args:
        config: settings; defaults suit talking-head video.
        checkpoint: a checkpoint of `facevoice train`, or a folder of `facevoice export`, which
            needs no torch; None for the compact model of the package.
        backbones: in place of those that the checkpoint names, see `facevoice.assembly.assemble`.
        num_threads: threads each network may use.

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
        num_threads: int = 1,
    ) -> None:
        config = config or AnalyzerConfig()
        if checkpoint is None and config.model != COMPACT:
            raise ConfigError(
                f"unknown model {config.model!r}; known: {COMPACT}. A checkpoint is named by its "
                "folder, with --checkpoint"
            )
        folder = None if checkpoint is None else Path(checkpoint)
        self._assembly = assemble(folder, backbones, num_threads=num_threads)
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
        return self._predictions(probe(path), None)

    def analyze(self, path: str | Path, *, on_progress: ProgressCallback | None = None) -> Report:
        """Analyse one file.

        Args:
            path: a video or audio file.
            on_progress: called with the seconds of media done so far.

        Raises:
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: the file
                can't be read; the message names it and the remedy.
        """
        info = probe(path)
        damage = _Damage()
        predictions: list[Prediction] = []
        for prediction in self._predictions(info, damage.messages.append):
            predictions.append(prediction)
            if on_progress is not None:
                on_progress(prediction.end_s)
        return self._report(info, predictions, damage)

    def _predictions(
        self, info: MediaInfo, on_damage: Callable[[str], None] | None
    ) -> Iterator[Prediction]:
        for window in read_windows(info, self._detector, self.config, on_damage):
            yield with_stream_reasons(self.predict(window), info)

    def _report(self, info: MediaInfo, predictions: list[Prediction], damage: _Damage) -> Report:
        counts = Counter(p.outcome for p in predictions)
        return Report(
            path=str(info.path),
            sha256=file_sha256(info.path),
            media=info,
            status=file_status(
                info,
                predictions,
                damaged=bool(damage.messages),
                modalities=self._assembly.modalities,
            ),
            error=None,
            windows=tuple(predictions),
            summary=self._summarize(predictions),
            outcome_counts={o: counts.get(o, 0) for o in Outcome},
            models=self.models,
            config=self.config,
            facevoice_version=VERSION,
        )

    def _summarize(self, predictions: list[Prediction]) -> Prediction | None:
        if not predictions:
            return None
        return summarize(predictions, self._assembly.model.thresholds)


def with_stream_reasons(prediction: Prediction, info: MediaInfo) -> Prediction:
    """Say "no such stream" rather than "no face" or "no speech" where the file lacks one."""
    swaps = {}
    if not info.has_video:
        swaps[Reason.NO_FACE] = Reason.NO_VIDEO_STREAM
    if not info.has_audio:
        swaps[Reason.NO_SPEECH] = Reason.NO_AUDIO_STREAM
    if not swaps:
        return prediction
    return replace(prediction, reasons=tuple(swaps.get(r, r) for r in prediction.reasons))


def file_status(
    info: MediaInfo,
    predictions: list[Prediction],
    *,
    damaged: bool,
    modalities: frozenset[Modality] = frozenset(Modality),
) -> Status:
    """What became of a file as a whole; a channel that the model doesn't read lacks nothing."""
    if damaged:
        return Status.TRUNCATED
    if not info.has_video:
        return Status.AUDIO_ONLY
    if not info.has_audio:
        return Status.VIDEO_ONLY
    has_face = Modality.VIDEO not in modalities or any(p.face is not None for p in predictions)
    has_voice = Modality.AUDIO not in modalities or any(p.voice is not None for p in predictions)
    if has_face and has_voice:
        return Status.OK
    if has_face:
        return Status.NO_SPEECH
    return Status.NO_FACE if has_voice else Status.NO_FACE_NO_SPEECH


def summarize(predictions: list[Prediction], thresholds: Thresholds | None) -> Prediction:
    """Step 8: a whole file as one prediction, windows weighted by their coverage.

    Conflict is the mean over the windows that have one, not a new comparison of mean
    posteriors: a person may conflict for a minute and match for the rest.
    """
    face = _pool([p.face for p in predictions])
    voice = _pool([p.voice for p in predictions])
    fused = _pool([p.fused for p in predictions])
    conflicts = [p.conflict for p in predictions if p.conflict is not None]
    conflict = float(np.mean(conflicts)) if conflicts else None
    posteriors = Posteriors(_probs(face), _probs(voice), _probs(fused), conflict)
    outcome, reasons = choose_outcome(posteriors, thresholds)
    if not conflicts:
        everywhere = [set(p.reasons) for p in predictions]
        reasons += tuple(r for r in Reason if all(r in found for found in everywhere))
    lengths = np.array([p.end_s - p.start_s for p in predictions])
    return Prediction(
        start_s=predictions[0].start_s,
        end_s=predictions[-1].end_s,
        face=face,
        voice=voice,
        fused=fused,
        conflict=conflict,
        outcome=outcome,
        reasons=reasons,
        face_coverage=float(np.average([p.face_coverage for p in predictions], weights=lengths)),
        speech_coverage=float(
            np.average([p.speech_coverage for p in predictions], weights=lengths)
        ),
    )


def _pool(channels: list[ChannelPosterior | None]) -> ChannelPosterior | None:
    present = [c for c in channels if c is not None]
    if not present:
        return None
    weights = np.array([c.coverage for c in present])
    probs = np.average([c.probs for c in present], axis=0, weights=weights)
    return ChannelPosterior(probs / probs.sum(), float(weights.sum() / len(channels)))


def _probs(channel: ChannelPosterior | None) -> DoubleArray | None:
    return None if channel is None else channel.probs
