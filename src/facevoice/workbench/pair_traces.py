"""Measures of dubbed pairs and of what they were made from; each source is measured once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from facevoice.config import FacesConfig
from facevoice.data.clips import Clip, clips_by_id
from facevoice.data.pair_table import TimedPair
from facevoice.errors import CorpusError
from facevoice.media.dub import read_sound
from facevoice.perception.detect import FaceDetector, create_detector
from facevoice.workbench.dubbing import CLIPS_FOLDER, NumberedPair
from facevoice.workbench.mouth import MouthMotion, mouth_motion, moving_span_s, sync_score
from facevoice.workbench.pair_making import voice_source
from facevoice.workbench.threads import thread_pool
from facevoice.workbench.traces import DubTraces, SoundTraces, measure_dub, measure_film_sound

T = TypeVar("T")
R = TypeVar("R")
ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class PairTraces:
    """All that was measured of a pair, before and after dubbing.

    face_film: the face's whole film;
    face_sound: the film's own sound, cut like the dub. It is not in the dub, but tells how loud,
    and when, this face was speaking;
    voice_file: the voice's whole file;
    dub: the dubbed clip;
    still_lead_s, still_trail_s: before the mouth begins to move much, and after it stops;
    sync: `sync_score` of the dub.
    """

    timed: TimedPair
    face_film: DubTraces
    face_sound: SoundTraces
    voice_file: DubTraces
    dub: DubTraces
    still_lead_s: float
    still_trail_s: float
    sync: float


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    film: DubTraces
    sound: SoundTraces
    motion: MouthMotion


def trace_pairs(
    pairs: Sequence[NumberedPair],
    clips: Sequence[Clip],
    folder: Path,
    *,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> tuple[PairTraces, ...]:
    """Measure the dubs that `dub_pairs` wrote to `folder`, and their sources.

    Raises:
        CorpusError: a clip is unknown, or has no picture or no sound.
        MediaError: a source or a dub can't be read; named.
    """
    index = clips_by_id(list(clips))
    report = on_progress or (lambda *_: None)
    config = FacesConfig()
    detector = create_detector(
        config.detector, min_face_px=config.min_face_px, min_score=config.min_score
    )
    face_keys = sorted({_face_key(pair) for pair in pairs})
    voices = {pair.number: _voice_path(pair, index) for pair in pairs}
    voice_paths = sorted(set(voices.values()))
    files = [folder / CLIPS_FOLDER / pair.file for pair in pairs]
    with thread_pool(jobs) as pool:

        def measure(what: str, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
            results = []
            for result in pool.map(work, items):
                results.append(result)
                report(len(results), len(items), what)
            return results

        measure_face = partial(_measure_face, index=index, detector=detector)
        faces = dict(zip(face_keys, measure("faces", measure_face, face_keys), strict=True))
        heard = dict(zip(voice_paths, measure("voices", measure_dub, voice_paths), strict=True))
        dubs = measure("dubs", measure_dub, files)

        def score(place: int) -> float:
            motion = faces[_face_key(pairs[place])].motion
            return sync_score(motion, read_sound(files[place]), pairs[place].timed.length_s)

        scores = measure("synchrony", score, range(len(pairs)))
    return tuple(
        _join(pair, faces[_face_key(pair)], heard[voices[pair.number]], dub, sync)
        for pair, dub, sync in zip(pairs, dubs, scores, strict=True)
    )


def _face_key(pair: NumberedPair) -> tuple[str, float]:
    return pair.timed.pair.face_clip_id, pair.timed.length_s


def _join(
    pair: NumberedPair, face: _Face, voice_file: DubTraces, dub: DubTraces, sync: float
) -> PairTraces:
    begins_s, stops_s = moving_span_s(face.motion, pair.timed.length_s)
    return PairTraces(
        timed=pair.timed,
        face_film=face.film,
        face_sound=face.sound,
        voice_file=voice_file,
        dub=dub,
        still_lead_s=begins_s,
        still_trail_s=pair.timed.length_s - stops_s,
        sync=sync,
    )


def _measure_face(key: tuple[str, float], index: dict[str, Clip], detector: FaceDetector) -> _Face:
    clip_id, length_s = key
    clip = _find(index, clip_id)
    if clip.video_path is None:
        raise CorpusError(f"clip {clip_id!r} has no picture")
    path, start_s = clip.video_path, clip.video_start_s
    return _Face(
        film=measure_dub(path),
        sound=measure_film_sound(path, start_s, length_s),
        motion=mouth_motion(path, detector, start_s, length_s),
    )


def _voice_path(pair: NumberedPair, index: dict[str, Clip]) -> Path:
    return voice_source(pair.timed, _find(index, pair.timed.pair.voice_clip_id))[0]


def _find(index: dict[str, Any], clip_id: str) -> Clip:
    if clip_id not in index:
        raise CorpusError(f"clip {clip_id!r} of a pair is not in the manifest")
    clip: Clip = index[clip_id]
    return clip
