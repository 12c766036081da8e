"""Films of people who talk all the time, with their mouths cut as analysis cuts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.corpora.archive import corpus_root
from facevoice.media import probe, read_frames
from facevoice.media.frames import regular_times
from facevoice.media.sound import read_sound
from facevoice.people.detect import FaceDetector
from facevoice.people.speaker import ASKED_RATE_HZ, FacePath, MouthTrack, read_mouths
from facevoice.people.speech import CHUNK_SAMPLES, read_speech
from facevoice.people.track import track_faces
from facevoice.records import (
    SAMPLE_RATE_HZ,
    AudioBlock,
    ByteArray,
    DoubleArray,
    FaceSighting,
    FloatArray,
    Frame,
)
from facevoice.settings import FacesConfig, SpeechConfig

JAVANESE, FILMED = "javanese", "ravdess_av"
FILMED_SPEAKER: Final = "ravdess/05"


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """One film of one person who is filmed from the front and talks.

    faces uint8 (T, S, S, 3), face_times_s (T,): as a window of the whole film would hold them.
    """

    path: Path
    speaker: str
    mouth: MouthTrack
    samples: FloatArray
    speech_spans_s: DoubleArray
    faces: ByteArray
    face_times_s: DoubleArray

    @property
    def name(self) -> str:
        """Of the file, without its ending."""
        return self.path.stem


def read_films(corpora: Path, work: Path) -> list[Film]:
    """All films of both corpora; what is cut out of them is kept in WORK/mouths."""
    detector = FaceDetector(
        min_face_px=FacesConfig().min_face_px, min_score=FacesConfig().min_score
    )
    return [
        _read_film(path, speaker, work / "mouths" / f"{path.stem}.npz", detector)
        for path, speaker in find_films(corpora, work)
    ]


def find_films(corpora: Path, work: Path) -> Iterator[tuple[Path, str]]:
    """Paths and speakers, unpacked into WORK."""
    for path in sorted(corpus_root(corpora, JAVANESE, work=work).glob("video/*.mp4")):
        yield path, f"{JAVANESE}/{path.stem[:2]}"
    for path in sorted(corpus_root(corpora, FILMED, work=work).glob("original/Actor_05/*.mp4")):
        yield path, FILMED_SPEAKER


def _read_film(path: Path, speaker: str, kept: Path, detector: FaceDetector) -> Film:
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        print(f"cutting {path.name}", flush=True)
        sightings, sizes = _sightings(path, detector)
        samples = read_sound(path)
        mouth = read_mouths(dense_frames(path), {0: face_path(sightings, sizes)})[0]
        np.savez(
            kept,
            times_s=mouth.times_s,
            pixels=mouth.pixels,
            samples=samples,
            spans_s=speech_spans(samples),
            faces=np.stack([one.crop for one in sightings]),
            face_times_s=np.array([one.timestamp_s for one in sightings]),
        )
    with np.load(kept, allow_pickle=False) as file:
        mouth = MouthTrack(file["times_s"], file["pixels"])
        rest = (file[name] for name in ("samples", "spans_s", "faces", "face_times_s"))
        return Film(path, speaker, mouth, *rest)


def dense_frames(path: Path) -> Iterator[Frame]:
    """All frames in which mouths are read."""
    times_s = regular_times(probe(path).duration_s, ASKED_RATE_HZ)
    tolerance_s = 0.5 / ASKED_RATE_HZ
    return read_frames(
        path, times_s, tolerance_s=tolerance_s, max_side_px=FacesConfig().max_side_px
    )


def _sightings(
    path: Path, detector: FaceDetector
) -> tuple[list[FaceSighting], list[tuple[int, int]]]:
    """Of the face that is seen most, with the sizes of the pictures."""
    found = track_people(path, detector)
    seen = max(found.values(), key=len)
    return [one for one, _ in seen], [size for _, size in seen]


Seen = dict[int, list[tuple[FaceSighting, tuple[int, int]]]]


def track_people(path: Path, detector: FaceDetector) -> Seen:
    """Sightings of every face by track, each with width and height of its picture."""
    config, found = FacesConfig(), Seen()
    frames = read_frames(
        path,
        regular_times(probe(path).duration_s, config.sample_rate_hz),
        tolerance_s=0.5 / config.sample_rate_hz,
        max_side_px=config.max_side_px,
        exact=config.exact_frames,
    )
    for frame in track_faces(frames, detector, config):
        for sighting in frame.sightings:
            size = frame.width_px, frame.height_px
            found.setdefault(sighting.track_id, []).append((sighting, size))
    return found


def face_path(sightings: Sequence[FaceSighting], sizes: Sequence[tuple[int, int]]) -> FacePath:
    """Where a face was seen."""
    marks = [one.landmarks_px / size for one, size in zip(sightings, sizes, strict=True)]
    times_s = np.array([one.timestamp_s for one in sightings])
    return FacePath(times_s, np.array(marks, np.float32))


def speech_spans(samples: FloatArray) -> DoubleArray:
    """When speech is heard, seconds (n, 2)."""
    blocks = list(read_speech([AudioBlock(0.0, samples)]))
    probs = np.concatenate([block.probs for block in blocks]) if blocks else np.zeros(0)
    is_speech = probs >= SpeechConfig().threshold
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False))
    return edges.reshape(-1, 2) * (CHUNK_SAMPLES / SAMPLE_RATE_HZ)
