"""The first half: one pass over a file finds all that is ever asked of it, a `Perception`.

Decode, find and follow faces, tell speech from other sound, cut into windows, embed. Reading is
dear (over 99 % of the time); what it gives is small and kept in a `Store`, so that it is done once.
"""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from PIL import Image

from facevoice.backbones.spec import Backbone, backbone_id
from facevoice.files import file_sha256
from facevoice.media import read_audio, read_frames
from facevoice.people.clearness import clearness
from facevoice.people.detect import FaceDetector
from facevoice.people.hearing import listen
from facevoice.people.identity import FaceIdentifier
from facevoice.people.speaker import (
    ASKED_RATE_HZ,
    FacePath,
    MouthTrack,
    SpeakerModel,
    is_still,
    load_speaker,
    mouth_moves,
    read_mouths,
    speaker_model_id,
)
from facevoice.people.speech import CHUNK_SAMPLES, read_speech, vad_model_id
from facevoice.people.track import track_faces
from facevoice.people.voices import VoiceIdentifier
from facevoice.records import (
    SAMPLE_RATE_HZ,
    AudioBlock,
    BoolArray,
    ByteArray,
    FaceSighting,
    FaceView,
    FloatArray,
    Frame,
    FrameFaces,
    IntArray,
    MediaInfo,
    Modality,
    ModelId,
    Perception,
    SpeechBlock,
    Window,
    WindowView,
    envelope,
)
from facevoice.settings import AnalyzerConfig, FacesConfig, SpeechConfig, WindowConfig
from facevoice.workers import draw_ahead

if TYPE_CHECKING:
    from facevoice.store import PerceptionKey, Store

T = TypeVar("T")

MediaCallback = Callable[[MediaInfo], None]
ViewCallback = Callable[[WindowView], None]
DamageCallback = Callable[[str], None]

# Enough to ride out the frames that take longest, a full search of faces in several of them.
_ITEMS_AHEAD: Final = 8
# Frames before the first one wanted are asked for too: which frame answers an asked time depends
# on which ones answered the times just before.
_RUN_UP_FRAMES: Final = 8
# Sums of hops and durations read from files are not exact.
_EPSILON_S: Final[float] = 1e-6
# Of the faces beside the leading one, those are read that so many frames of the window show, and no
# more than so many in all: a crowd would cost more than it tells.
_MIN_COVERAGE: Final = 0.2
_MAX_FACES: Final = 6
_JPEG_QUALITY: Final = 85
_FIRST_TRACK: Final = 0
# Windows in which several people are seen wait for so many more, to be read again at once.
_STRETCH_WINDOWS: Final = 10
# Of less speech, nothing is said.
_MIN_SPEECH_S: Final = 0.4
# Of windows in which one face moves its mouth, every so many tells what that person's voice is.
_PRINT_EVERY: Final = 8
_FIRST_PRINT: Final = 2
_ROLES: Final = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}


class Perceiver:
    """Detector and backbones, loaded once, for any number of files and threads.

    Args:
        settings: of faces, speech and windows.
        backbones: at most one a channel; a channel without one is not even decoded.
        speaker: tells who speaks, of several people; None for the package's.
        num_threads: for one file: 1 does one thing after the other, more lets decoding, faces and
            sound overlap. The results are the same.

    Raises:
        WeightsError: the detector's weights are missing or damaged.
    """

    def __init__(
        self,
        settings: AnalyzerConfig,
        backbones: Mapping[Modality, Backbone],
        *,
        speaker: SpeakerModel | None = None,
        num_threads: int = 1,
    ) -> None:
        self.settings = settings
        self.backbones = backbones
        self._num_threads = num_threads
        faces = settings.faces
        self._detector = FaceDetector(min_face_px=faces.min_face_px, min_score=faces.min_score)
        self._identifier = FaceIdentifier()
        self._voices = VoiceIdentifier()
        self._speaker = speaker

    @cached_property
    def models(self) -> dict[str, ModelId]:
        """Everything with weights that looks and listens, by its role in a report."""
        return {
            "detector": self._detector.model,
            "identity": self._identifier.model,
            "speech": vad_model_id(),
            "speaker": speaker_model_id(),
            "voice_print": self._voices.model,
            **{_ROLES[m]: backbone.model for m, backbone in self.backbones.items()},
        }

    def key(self, sha256: str, end_s: float | None = None) -> PerceptionKey:
        """What names a perception of this content in a store; see `perceive` for `end_s`."""
        # Here, so that a lone file needs no database.
        from facevoice.store import PerceptionKey

        names = {m: f"{backbone_id(b)}/{b.spec.preprocessing}" for m, b in self.backbones.items()}
        return PerceptionKey.of(sha256, self.settings, self.models, names, end_s)

    def probe(self, path: str | Path, *, on_damage: DamageCallback | None = None) -> MediaInfo:
        """What a file holds, and what of it is heard by the settings; see `hearing.listen`."""
        return listen(path, track=self.settings.sound.track, on_damage=on_damage)

    def perceive(
        self,
        path: str | Path,
        *,
        store: Store | None = None,
        sha256: str | None = None,
        again: bool = False,
        end_s: float | None = None,
        on_media: MediaCallback | None = None,
        on_view: ViewCallback | None = None,
    ) -> Perception:
        """Read a file, or take from the store what is there and go on where it ends.

        Args:
            path: a video or audio file.
            store: asked first; takes every window as it is done.
            sha256: of the content, if it is known already.
            again: take nothing from the store.
            end_s: read the file as if it ended there: no frame and no sample from then on reaches
                a tracker or a network. Beyond the file, frames are missing and silence follows.
            on_media: called first, with what the file holds.
            on_view: called with every window, those from the store first.

        Raises:
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: the file
                can't be read; the message names it and the remedy.
            StoreError: the store can't be read or written.
        """
        damage: list[str] = []
        info = self.probe(path, on_damage=damage.append)
        if on_media is not None:
            on_media(info)
        read = partial(self.views, info, end_s=end_s, on_damage=damage.append)
        if store is None:
            found = read()
        else:
            sha256 = sha256 or store.content_of(info.path)
            found = self._go_on(info, self.key(sha256, end_s), store, read, damage, again=again)
        views: list[WindowView] = []
        # Closed at once whatever happens here, so that all that came is in the store.
        with closing(found):
            for view in found:
                views.append(view)
                if on_view is not None:
                    on_view(view)
        sha256 = sha256 or file_sha256(info.path)
        return Perception(info, sha256, self.settings, self.models, tuple(views), _unique(damage))

    def _go_on(
        self,
        info: MediaInfo,
        key: PerceptionKey,
        store: Store,
        read: Callable[..., Generator[WindowView, None, None]],
        damage: list[str],
        *,
        again: bool,
    ) -> Generator[WindowView, None, None]:
        """The windows that the store holds, and behind them those that it is given now."""
        known = None if again else store.load(key)
        if known is not None:
            damage[:] = known.damage
            yield from known.windows
            if known.is_complete:
                return
        after = () if known is None else known.windows
        with store.writer(key, info, len(after)) as writer:
            for view in read(after=after):
                writer.add(view, damage)
                yield view
            writer.finish(damage)

    def recall(
        self, path: str | Path, sha256: str, store: Store, end_s: float | None = None
    ) -> Perception | None:
        """What the store holds whole of a content, as that of `path`; None if it doesn't.

        Raises:
            StoreError: the store can't be read.
        """
        known = store.load(self.key(sha256, end_s))
        if known is None or not known.is_complete:
            return None
        media = replace(known.media, path=Path(path))
        return Perception(media, sha256, self.settings, self.models, known.windows, known.damage)

    def keep(self, perception: Perception, store: Store) -> None:
        """Put into the store what another process perceived, as this perceiver would have."""
        if perception.sha256 is None:
            return
        with store.writer(self.key(perception.sha256), perception.media) as writer:
            for view in perception.windows:
                writer.add(view)
            writer.finish(perception.damage)

    def views(
        self,
        info: MediaInfo,
        *,
        after: Iterable[WindowView] = (),
        end_s: float | None = None,
        on_damage: DamageCallback | None = None,
    ) -> Generator[WindowView, None, None]:
        """The windows of a probed file as it is read, beginning behind those in `after`.

        To go on, the last known window is read again from the full search for faces before it, so
        that faces are followed as they were.
        """
        known = list(after)
        last = known[-1] if known else None
        if last is not None and last.end_s >= self._stop_s(info, end_s) - _EPSILON_S:
            return
        windows = self._windows_behind(info, known, end_s, on_damage)
        looked = self._look_closely(info, windows, on_damage)
        for place, (window, speaking) in enumerate(looked):
            if last is None or place > 0:
                yield self._view(window, speaking)

    def window(self, info: MediaInfo, known: Sequence[WindowView]) -> Window:
        """The last of the known windows, read again: with its crops and its sound.

        Args:
            info: of the file.
            known: its windows from the first to the one wanted.

        Raises:
            UnreadableMediaError: the file no longer holds it.
        """
        return next(self._windows_behind(info, known, None, None))

    @staticmethod
    def _stop_s(info: MediaInfo, end_s: float | None) -> float:
        return info.duration_s if end_s is None else end_s

    def _windows_behind(
        self,
        info: MediaInfo,
        known: Sequence[WindowView],
        end_s: float | None,
        on_damage: DamageCallback | None,
    ) -> Iterator[Window]:
        """The last of the known windows once more, and those behind it."""
        last = known[-1] if known else None
        first = max(0, len(known) - 1)
        frames = blocks = None
        stop_s = self._stop_s(info, end_s)
        if info.has_video and Modality.VIDEO in self.backbones:
            start_s = 0.0
            if last is not None:
                start_s = last.start_s if last.detected_s is None else last.detected_s
            frames = self._frames(info, start_s, stop_s, on_damage)
            if end_s is not None:
                frames = (frame for frame in frames if frame.timestamp_s < stop_s)
        if info.has_audio and Modality.AUDIO in self.backbones:
            # From its start: voice activity and many codecs depend on all that was heard before.
            blocks = read_audio(info, on_damage=on_damage)
            if end_s is not None:
                blocks = _cut_sound(blocks, end_s)
        return self._windows(
            frames,
            blocks,
            stop_s,
            first=first,
            last=last,
            seen={face.person: face for v in known for face in v.faces if face.portrait},
            next_id=1 + max((face.person for v in known for face in v.faces), default=-1),
        )

    def _look_closely(
        self, info: MediaInfo, windows: Iterator[Window], on_damage: DamageCallback | None
    ) -> Iterator[tuple[Window, Mapping[int, float]]]:
        """Windows, with the log-odds that each track speaks where there is a choice.

        A stretch of windows with a choice is read once more, every picture of it, but only as far
        as mouths go. What is told of a window doesn't depend on the stretch.
        """
        waiting: list[Window] = []
        for window in windows:
            waiting.append(window)
            if not self._is_choice(window) or len(waiting) >= _STRETCH_WINDOWS:
                yield from self._listen(info, waiting, on_damage)
                waiting = []
        yield from self._listen(info, waiting, on_damage)

    def _is_choice(self, window: Window) -> bool:
        """Whether mouths must tell whose voice a window holds: several are seen at once."""
        speech_s = window.speech_coverage * window.duration_s
        are_several = window.num_faces > 1 and bool(window.others)
        return len(self.backbones) > 1 and are_several and speech_s >= _MIN_SPEECH_S

    def _listen(
        self, info: MediaInfo, windows: list[Window], on_damage: DamageCallback | None
    ) -> Iterator[tuple[Window, Mapping[int, float]]]:
        choices = [window for window in windows if self._is_choice(window)]
        mouths: Mapping[int, MouthTrack] = {}
        if choices:
            first = math.ceil(choices[0].start_s * ASKED_RATE_HZ)
            last = math.ceil(choices[-1].end_s * ASKED_RATE_HZ)
            frames = read_frames(
                info.path,
                (k / ASKED_RATE_HZ for k in range(first, last)),
                tolerance_s=0.5 / ASKED_RATE_HZ,
                max_side_px=self.settings.faces.max_side_px,
                num_threads=max(1, self._num_threads // 2),
                on_damage=on_damage,
            )
            mouths = read_mouths(frames, _face_paths(choices))
        for window in windows:
            is_choice = bool(choices) and self._is_choice(window)
            yield window, self._speaking(window, mouths) if is_choice else {}

    def follow(
        self,
        frames: Iterator[Frame] | None,
        blocks: Iterator[AudioBlock] | None,
        duration_s: float,
        *,
        windows: WindowConfig | None = None,
        on_faces: Callable[[FrameFaces], None] | None = None,
        wanted: Callable[[Window], bool] = lambda _: True,
    ) -> Iterator[WindowView]:
        """The windows of a camera's and a microphone's streams; see `Analyzer.follow`."""
        for window in self._windows(
            frames, blocks, duration_s, windows=windows, on_faces=on_faces, is_live=True
        ):
            # Nothing of a live stream can be looked at again, to see who speaks.
            if wanted(window):
                yield self._view(replace(window, others=()), {})

    def _frames(
        self, info: MediaInfo, start_s: float, stop_s: float, on_damage: DamageCallback | None
    ) -> Iterator[Frame]:
        faces = self.settings.faces
        rate_hz = faces.sample_rate_hz
        first = max(0, math.floor(start_s * rate_hz) - _RUN_UP_FRAMES)
        frames = read_frames(
            info,
            (k / rate_hz for k in range(first, math.ceil(stop_s * rate_hz))),
            tolerance_s=0.5 / rate_hz,
            max_side_px=faces.max_side_px,
            exact=faces.exact_frames,
            # One core decodes while the others look and listen; more decode where there are more.
            num_threads=max(1, self._num_threads // 2),
            on_damage=on_damage,
        )
        return (frame for frame in frames if frame.timestamp_s >= start_s - _EPSILON_S)

    def _windows(
        self,
        frames: Iterator[Frame] | None,
        blocks: Iterator[AudioBlock] | None,
        duration_s: float,
        *,
        windows: WindowConfig | None = None,
        first: int = 0,
        last: WindowView | None = None,
        seen: Mapping[int, FaceView] | None = None,
        next_id: int = 0,
        on_faces: Callable[[FrameFaces], None] | None = None,
        is_live: bool = False,
    ) -> Iterator[Window]:
        ahead = is_live or self._num_threads > 1
        settings = self.settings
        faces = speech = None
        if frames is not None:
            tracked = track_faces(
                _ahead(frames, ahead),
                self._detector,
                settings.faces,
                self._identifier,
                known=None if last is None else last.detected,
                portraits=seen,
                next_id=next_id,
            )
            faces = _ahead(tracked if on_faces is None else _told(tracked, on_faces), ahead)
        if blocks is not None:
            speech = _ahead(read_speech(blocks), ahead)
        return cut_windows(
            duration_s,
            faces,
            speech,
            windows or settings.windows,
            settings.faces,
            settings.speech,
            first=first,
            has_begun=last is not None and last.detected_s is not None,
        )

    def _view(self, window: Window, speaking: Mapping[int, float]) -> WindowView:
        """Step 5: the embeddings of a window, and what pages show of it."""
        voice = self.backbones.get(Modality.AUDIO)
        has_speech = window.samples is not None and window.speech_coverage > 0
        found = (self._face(one, speaking) for one in (window, *window.others))
        faces = tuple(face for face in found if face is not None)
        asks_whose = bool(voice) and has_speech and self._is_worth_a_print(window, faces)
        return WindowView(
            window.start_s,
            window.end_s,
            faces,
            # One by one, since a batch may change the last bits.
            voice.embed([window])[0] if voice and has_speech else None,
            window.speech_coverage,
            num_faces=window.num_faces,
            voice_print=self._voices.print_window(window) if asks_whose else None,
            speech_spans_s=window.speech_spans_s,
            peaks=None if window.samples is None else envelope(window.samples),
            detected_s=window.detected_s,
            detected=window.detected,
            missed=None if window.missed is None else window.missed.value,
        )

    def _speaking(self, window: Window, mouths: Mapping[int, MouthTrack]) -> dict[int, float]:
        """The log-odds that each track of a window speaks."""
        speaker = self._speaker or load_speaker()
        told = {}
        for one in (window, *window.others):
            mouth = None if one.track_id is None else mouths.get(one.track_id)
            times_s, samples = one.face_timestamps_s, window.samples
            if one.track_id is None or mouth is None or times_s is None or samples is None:
                continue
            # Beyond its own sightings, where the face is depends on the windows beside.
            inside = (mouth.times_s >= times_s[0]) & (mouth.times_s <= times_s[-1])
            own = MouthTrack(mouth.times_s[inside], mouth.pixels[inside])
            spans_s = window.speech_spans_s
            told[one.track_id] = speaker.logit(own, samples, window.start_s, spans_s)
        return told

    def _is_worth_a_print(self, window: Window, faces: Sequence[FaceView]) -> bool:
        """Whether to ask whose voice it is: where mouths don't tell, and now and then else."""
        if window.num_faces != 1 or any(is_still(face.moving) for face in faces):
            return True
        return round(window.start_s / self.settings.windows.hop_s) % _PRINT_EVERY == _FIRST_PRINT

    def _face(self, window: Window, speaking: Mapping[int, float]) -> FaceView | None:
        """The face that a window shows."""
        backbone = self.backbones.get(Modality.VIDEO)
        if window.faces is None or window.track_id is None:
            return None
        portrait = window.portrait
        is_first = window.track_id == _FIRST_TRACK
        return FaceView(
            window.track_id,
            window.face_coverage,
            None if backbone is None else backbone.embed([window])[0],
            window.face_timestamps_s,
            window.boxes_xyxy_rel,
            None if portrait is None else _jpeg(portrait),
            None if portrait is None or is_first else self._identifier.embed(portrait[None])[0],
            0.0 if portrait is None else window.portrait_quality,
            None
            if window.face_timestamps_s is None
            else mouth_moves(window.faces, window.face_timestamps_s, window.speech_spans_s),
            speaking.get(window.track_id),
            window.clearness,
        )


def _face_paths(windows: Iterable[Window]) -> dict[int, FacePath]:
    """Where each track is seen in neighbouring windows."""
    seen: dict[int, dict[float, FloatArray]] = {}
    for window in windows:
        for one in (window, *window.others):
            times_s, landmarks = one.face_timestamps_s, one.landmarks_rel
            if one.track_id is not None and times_s is not None and landmarks is not None:
                known = seen.setdefault(one.track_id, {})
                known.update(zip(times_s.tolist(), landmarks, strict=True))
    return {
        track: FacePath(np.array(sorted(found)), np.stack([found[t] for t in sorted(found)]))
        for track, found in seen.items()
    }


def _jpeg(picture: ByteArray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()


def _ahead(items: Iterator[T], wanted: bool) -> Iterator[T]:
    return draw_ahead(items, _ITEMS_AHEAD) if wanted else items


def _told(items: Iterator[T], tell: Callable[[T], None]) -> Iterator[T]:
    for item in items:
        tell(item)
        yield item


def _cut_sound(blocks: Iterable[AudioBlock], end_s: float) -> Iterator[AudioBlock]:
    end = round(end_s * SAMPLE_RATE_HZ)
    for block in blocks:
        first = round(block.start_s * SAMPLE_RATE_HZ)
        if first + len(block.samples) >= end:
            if first < end:
                yield AudioBlock(block.start_s, block.samples[: end - first])
            return
        yield block


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def cut_windows(
    duration_s: float,
    faces: Iterator[FrameFaces] | None,
    speech: Iterator[SpeechBlock] | None,
    windows: WindowConfig,
    faces_config: FacesConfig,
    speech_config: SpeechConfig,
    *,
    first: int = 0,
    has_begun: bool = False,
) -> Iterator[Window]:
    """Join faces and speech into windows; both streams are read only as far as is needed.

    Window k covers k·hop to k·hop + length; the last is the first one that reaches the end of the
    file and stops there. A file shorter than one window is one window. A window's samples are
    those that sound from its start on, so neighbours that do not overlap share none.

    Where the video starts late or ends early, the frames that should have been sampled there count
    as frames without a face; where the sound ends early, the rest counts as silence.

    Args:
        duration_s: length of the file.
        faces: sampled frames in time order; None where the file has no video.
        speech: consecutive blocks from media time 0 on; None where it has no sound.
        first: number of the first window given; `faces` may begin where it does.
        has_begun: whether the video began before that window.

    Raises:
        ValueError: the duration is not above 0.
    """
    if duration_s <= 0:
        raise ValueError(f"cut_windows: duration_s = {duration_s} is not above 0")
    begun_s = first * windows.hop_s if has_begun else None
    seen = _SeenFaces(faces, faces_config.sample_rate_hz, begun_s) if faces is not None else None
    heard = _HeardSpeech(speech, speech_config.threshold) if speech is not None else None
    for start_s, end_s in window_spans(duration_s, windows, first=first):
        is_last = end_s >= duration_s
        found = seen.between(start_s, end_s, is_last=is_last) if seen else []
        num_missing = seen.num_missing(start_s, end_s) if seen else 0
        sound = heard.between(start_s, end_s) if heard else None
        yield _window(start_s, end_s, found, num_missing, sound)


def window_spans(
    duration_s: float, windows: WindowConfig, *, first: int = 0
) -> Iterator[tuple[float, float]]:
    """Start and end in seconds of every window of a file; together they cover it exactly.

    `first`: number of the first one given.
    """
    k = first
    while True:
        start_s = k * windows.hop_s
        if start_s + windows.length_s >= duration_s - _EPSILON_S:
            yield start_s, duration_s
            return
        yield start_s, start_s + windows.length_s
        k += 1


class _SeenFaces:
    """The sampled frames of the current window, and where the video begins and ends."""

    def __init__(
        self, frames: Iterator[FrameFaces], sample_rate_hz: float, begun_s: float | None
    ) -> None:
        self._frames = frames
        self._period_s = 1 / sample_rate_hz
        self._kept: deque[FrameFaces] = deque()
        self._first_s = begun_s
        self._end_s = begun_s
        self._ended = False

    def between(self, start_s: float, end_s: float, *, is_last: bool) -> list[FrameFaces]:
        """Frames from `start_s` to before `end_s`; starts must not decrease."""
        while self._kept and self._kept[0].timestamp_s < start_s:
            self._kept.popleft()
        # The stream may hold frames a little beyond the stated duration.
        limit_s = np.inf if is_last else end_s
        while not self._ended and (not self._kept or self._kept[-1].timestamp_s < end_s):
            self._draw(start_s)
        return [frame for frame in self._kept if frame.timestamp_s < limit_s]

    def num_missing(self, start_s: float, end_s: float) -> int:
        """Frames that should have been sampled in a window before or after the video."""
        if self._first_s is None or self._end_s is None:
            return self._num_periods(end_s - start_s)
        missing = self._num_periods(min(self._first_s, end_s) - start_s)
        if self._ended:
            missing += self._num_periods(end_s - max(self._end_s, start_s))
        return missing

    def _num_periods(self, span_s: float) -> int:
        return max(0, round(span_s / self._period_s))

    def _draw(self, start_s: float) -> None:
        frame = next(self._frames, None)
        if frame is None:
            self._ended = True
            return
        # A frame lasts a sampling period, or as long as the one before in slower video.
        lasts_s = self._period_s
        if self._first_s is None:
            self._first_s = frame.timestamp_s
        elif self._kept:
            lasts_s = max(lasts_s, frame.timestamp_s - self._kept[-1].timestamp_s)
        self._end_s = frame.timestamp_s + lasts_s
        if frame.timestamp_s >= start_s:
            self._kept.append(frame)


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """Samples (N,) of a window; from which to before which sample of the file speech is heard."""

    samples: FloatArray
    speech_spans: IntArray

    @property
    def speech_s(self) -> float:
        """Seconds of speech."""
        return float(np.diff(self.speech_spans).sum()) / SAMPLE_RATE_HZ


class _HeardSpeech:
    """The sound of the current window with its voice activity."""

    def __init__(self, blocks: Iterator[SpeechBlock], threshold: float) -> None:
        self._blocks = blocks
        self._threshold = threshold
        self._kept: deque[tuple[int, SpeechBlock]] = deque()
        self._ended = False

    def between(self, start_s: float, end_s: float) -> _Sound | None:
        """What sounds from `start_s` to before `end_s`; None where there is no sound."""
        start, end = round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
        while self._kept and _end(self._kept[0]) <= start:
            self._kept.popleft()
        while not self._ended and (not self._kept or _end(self._kept[-1]) < end):
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
            else:
                entry = (round(block.start_s * SAMPLE_RATE_HZ), block)
                if _end(entry) > start:
                    self._kept.append(entry)
        pieces: list[FloatArray] = []
        spans: list[tuple[int, int]] = []
        for first, block in self._kept:
            low, high = max(start - first, 0), min(end - first, len(block.samples))
            if low < high:
                pieces.append(block.samples[low:high])
                for begin, stop in _speech_spans(block.probs >= self._threshold, low, high):
                    goes_on = spans and spans[-1][1] == first + begin
                    spans.append((spans.pop()[0] if goes_on else first + begin, first + stop))
        if not pieces:
            return None
        return _Sound(np.concatenate(pieces), np.array(spans, np.int64).reshape(-1, 2))


def _end(entry: tuple[int, SpeechBlock]) -> int:
    return entry[0] + len(entry[1].samples)


def _speech_spans(is_speech: BoolArray, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Where chunks marked as speech lie between the samples `low` and `high` of a block."""
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False)) * CHUNK_SAMPLES
    for start, end in edges.reshape(-1, 2).tolist():
        if max(start, low) < min(end, high):
            yield max(start, low), min(end, high)


def _window(
    start_s: float,
    end_s: float,
    frames: list[FrameFaces],
    num_missing: int,
    sound: _Sound | None,
) -> Window:
    bare = Window(
        start_s,
        end_s,
        None,
        None if sound is None else sound.samples,
        0.0,
        min(1.0, (0.0 if sound is None else sound.speech_s) / (end_s - start_s)),
        detected_s=frames[0].detected_s if frames else None,
        detected=frames[0].detected if frames else None,
        speech_spans_s=None if sound is None else sound.speech_spans / SAMPLE_RATE_HZ,
        missed=next((f.missed for f in frames if f.missed is not None), None),
    )
    people = _people(frames)
    if not people:
        return bare
    num_frames = len(frames) + num_missing
    num_faces = _num_at_once(frames)
    leading, *others = (
        replace(_showing(bare, frames, track_id, num_frames), num_faces=num_faces)
        for track_id in people
    )
    kept = [other for other in others if other.face_coverage >= _MIN_COVERAGE]
    return replace(leading, others=tuple(kept[: _MAX_FACES - 1]))


def _showing(bare: Window, frames: list[FrameFaces], track_id: int, num_frames: int) -> Window:
    """A window with the face of a track."""
    sightings = [(f, s) for f in frames for s in f.sightings if s.track_id == track_id]
    sides = np.array([[f.width_px, f.height_px] * 2 for f, _ in sightings], np.float32)
    boxes = np.stack([s.box_xyxy for _, s in sightings]) / sides
    portraits = [s for _, s in sightings if s.portrait is not None]
    best = portraits[-1] if portraits else sightings[-1][1]
    return replace(
        bare,
        faces=np.stack([s.crop for _, s in sightings]),
        face_coverage=len(sightings) / num_frames,
        face_timestamps_s=np.array([s.timestamp_s for _, s in sightings]),
        boxes_xyxy_rel=np.clip(boxes, 0, 1).astype(np.float32),
        track_id=track_id,
        landmarks_rel=np.stack([s.landmarks_px for _, s in sightings]) / sides[:, None, :2],
        portrait=best.portrait,
        portrait_quality=best.quality,
        clearness=clearness([s for _, s in sightings]),
    )


def _num_at_once(frames: list[FrameFaces]) -> int:
    """The most faces seen at the same time, in two frames or more: one alone may be a cut.

    Some frame shows a face.
    """
    counts = sorted((len(frame.sightings) for frame in frames), reverse=True)
    return max([1, *counts[1:2]])


def _people(frames: list[FrameFaces]) -> list[int]:
    """Tracks by their sum of box area times score, the leading one first; of equals the older."""
    weights: dict[int, float] = {}
    for frame in frames:
        for sighting in frame.sightings:
            weights[sighting.track_id] = weights.get(sighting.track_id, 0.0) + _weight(sighting)
    return sorted(weights, key=lambda track_id: (-weights[track_id], track_id))


def _weight(sighting: FaceSighting) -> float:
    x0, y0, x1, y1 = sighting.box_xyxy.tolist()
    weight: float = max(x1 - x0, 0.0) * max(y1 - y0, 0.0) * sighting.score
    return weight
