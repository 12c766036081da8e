"""Following faces through a video: who is who from one sampled frame to the next.

Some frames are searched whole; in those between, known faces are looked for where they should be.
A face keeps its identity while it stays near where it was heading and looks alike; a cut to another
shot makes both demands stricter. Identities are never given twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from facevoice.people.detect import FaceDetector, align_crop, iou, overlap_of_smaller
from facevoice.people.identity import (
    SAME_PERSON,
    USABLE_QUALITY,
    FaceIdentifier,
    likeness,
    portrait_quality,
)
from facevoice.records import (
    ByteArray,
    Detections,
    FaceSighting,
    FaceView,
    FloatArray,
    Frame,
    FrameFaces,
    Reason,
)
from facevoice.settings import FacesConfig

# A face that is hidden this long comes back as the same person; later it is a new track.
_MAX_GAP_S: Final[float] = 1.0
# After the start, a cut or a loss, every frame is searched for this long while a face is missing:
# a little longer than a missing face is awaited.
_ALERT_S: Final[float] = 1.5

# Grey levels, mean over a 16 × 9 thumbnail. Within the sampled shots of talking people it stayed
# below 9; between two people filmed before the same wall it was above 10 in 95 of 100 pairs.
_CUT_DIFFERENCE: Final[float] = 10.0
_BLACK: Final[float] = 16.0  # grey levels; what is darker is not searched thoroughly
_THUMBNAIL_SIZE: Final[tuple[int, int]] = (16, 9)

# Overlap with a place, as a share of the smaller box, from which on that place is meant.
_SAME_PLACE: Final[float] = 0.6
_AWAITED_PLACE: Final[float] = 0.3
# Overlap of two boxes of one face in one and the same picture.
_SAME_FACE: Final[float] = 0.9

# Looks are the middle of the aligned crop at 4 × 4, hair and background left out; from one sampled
# frame to the next they differed by less than 12 grey levels in 99 of 100 cases for one person,
# and by more than 8 in 99 of 100 pairs of people.
_LOOKS_SIDE: Final[int] = 4
_LOOKS_SHARE: Final[float] = 0.7
_MAX_LOOKS_DIFFERENCE: Final[float] = 25.0
_MAX_LOOKS_DIFFERENCE_AT_CUT: Final[float] = 10.0
_MIN_IOU_AT_CUT: Final[float] = 0.3
# Where both the whole picture and a face change by more, in grey levels, the network of identities
# is asked who it is, as at any cut; within a shot of one person that is hardly ever so.
_CALM_DIFFERENCE: Final[float] = 4.0
_CALM_LOOKS: Final[float] = 10.0
# A sighting must show that much better who somebody is for a new portrait to be cut.
_BETTER_QUALITY: Final[float] = 0.1
# How far a face is expected to move, in box heights; less is taken for trembling, which the next
# frame's landmarks would catch.
_MIN_WAY: Final[float] = 0.05
_MAX_WAY: Final[float] = 0.5
# Distance from the expected place in box heights, and ratio of heights, of one person's sightings.
_MAX_DISTANCE: Final[float] = 0.8
_MAX_SIZE_RATIO: Final[float] = 1.8


def track_faces(
    frames: Iterable[Frame],
    detector: FaceDetector,
    config: FacesConfig,
    identifier: FaceIdentifier | None = None,
    *,
    known: FloatArray | None = None,
    portraits: Mapping[int, FaceView] | None = None,
    next_id: int = 0,
) -> Iterator[FrameFaces]:
    """Link all faces of sampled frames, in time order, to people; one result per frame.

    Frames are searched `config.detect_rate_hz` times a second, and every one while a face is
    missing shortly after the start, a cut, or its loss. Only one frame is held at a time.

    Args:
        frames: the pictures.
        detector: finds the faces.
        config: settings.
        identifier: asked whether a face is still the same one where the picture jumps; without it,
            place and looks must do.
        known: to go on from the `detected_s` of an earlier run, with the frame of that time first:
            the `detected` of that run, so that people keep their numbers and motion.
        portraits: the best of that run, by the people's numbers.
        next_id: number of the first new person.
    """
    tracker = _Tracker(detector, config, identifier, known, portraits or {}, next_id)
    for frame in frames:
        yield tracker.step(frame)


class _Tracker:
    """Searches now and then, looks for the people known in between, and links what is seen."""

    def __init__(
        self,
        detector: FaceDetector,
        config: FacesConfig,
        identifier: FaceIdentifier | None,
        known: FloatArray | None,
        portraits: Mapping[int, FaceView],
        next_id: int,
    ) -> None:
        self._detector = detector
        self._identifier = identifier
        self._config = config
        self._known = known
        self._portraits = portraits
        self._tracks: list[_Track] = []
        self._next_id = next_id
        self._thumbnail: FloatArray | None = None
        self._change = 0.0
        self._last_s = -np.inf
        self._detected_s = -np.inf
        self._detected = np.zeros((0, 7), np.float32)
        self._next_detect_s = -np.inf
        self._alert_until_s = -np.inf
        self._missed: Reason | None = None

    def step(self, frame: Frame) -> FrameFaces:
        """Take the next frame."""
        now_s = frame.timestamp_s
        before, self._thumbnail = self._thumbnail, _thumbnail(frame.rgb)
        first = before is None
        self._change = 0.0 if before is None else float(np.abs(self._thumbnail - before).mean())
        at_cut = self._change > _CUT_DIFFERENCE
        self._tracks = [t for t in self._tracks if now_s - t.seen_s <= _MAX_GAP_S]
        if first or at_cut:
            self._alert_until_s = now_s + _ALERT_S
        seen = self._look(frame, at_cut=at_cut)
        for track, sight in seen:
            track.see(sight, now_s)
        self._last_s = now_s
        if first:
            self._recognise()
        if self._detected_s == now_s:
            rows = [[t.track_id, *t.box, *t.velocity] for t, _ in seen]
            self._detected = np.array(rows, np.float32).reshape(-1, 7)
        height, width = frame.rgb.shape[:2]
        sightings = tuple(
            track.sighting(sight, frame)
            for track, sight in sorted(seen, key=lambda entry: entry[0].track_id)
        )
        missed = None if sightings else self._missed
        return FrameFaces(now_s, width, height, sightings, self._detected_s, self._detected, missed)

    def _recognise(self) -> None:
        """Give those that an earlier run knew in this very frame their numbers and motion back."""
        for row in () if self._known is None else self._known:
            for track in self._tracks:
                if float(iou(row[None, 1:5], track.box[None])[0, 0]) > _SAME_FACE:
                    track.track_id, track.velocity = int(row[0]), row[5:]
                    before = self._portraits.get(track.track_id)
                    if before is not None:
                        track.quality, track.identity = before.quality, before.identity

    def _look(self, frame: Frame, *, at_cut: bool) -> list[tuple[_Track, _Sight]]:
        """Who is seen in a frame."""
        now_s = frame.timestamp_s
        if not (at_cut or self._must_detect(now_s)):
            visible = self._visible()
            seen = self._follow(frame, visible)
            if len(seen) == len(visible):
                return seen
            self._alert_until_s = now_s + _ALERT_S
        return self._detect(frame, at_cut=at_cut)

    def _visible(self) -> list[_Track]:
        """Tracks that the last frame showed."""
        return [t for t in self._tracks if t.seen_s == self._last_s]

    def _must_detect(self, now_s: float) -> bool:
        """Whether a full search is due, or a face that should be there is missing."""
        if self._is_due(now_s):
            return True
        num_visible = len(self._visible())
        missing = num_visible == 0 or num_visible < len(self._tracks)
        return missing and now_s < self._alert_until_s

    def _is_black(self) -> bool:
        """Whether the last frame shows nothing, as many films begin."""
        return self._thumbnail is None or float(self._thumbnail.max()) < _BLACK

    def _is_due(self, now_s: float) -> bool:
        return now_s + 0.5 / self._config.sample_rate_hz >= self._next_detect_s

    def _detect(self, frame: Frame, *, at_cut: bool) -> list[tuple[_Track, _Sight]]:
        """Full search; faces that it misses are looked for where they should be."""
        now_s = frame.timestamp_s
        visible = [] if at_cut else self._visible()
        thorough = not visible and (at_cut or self._is_due(now_s)) and not self._is_black()
        self._detected_s = now_s
        self._next_detect_s = now_s + 1 / self._config.detect_rate_hz
        found = self._detector.detect(frame.rgb, known=_expected(visible, now_s), thorough=thorough)
        if thorough or len(found) or found.missed:
            self._missed = next(iter(found.missed), None)
        sights = [sight for sight in self._sights(frame, found) if sight is not None]
        pairs = _assign(self._tracks, sights, now_s, at_cut=at_cut)
        linked = [(self._tracks[t], sights[s]) for t, s in pairs]
        seen = self._confirmed(frame, linked, at_cut=at_cut)
        matched = {s for s, sight in enumerate(sights) if any(sight is other for _, other in seen)}
        if at_cut:
            # Nothing else of the last shot is sought any longer.
            self._tracks = [track for track, _ in seen]
        awaited = [t.expected_box(now_s) for t in self._unseen(seen)]
        for place, sight in enumerate(sights):
            # A strange face where a known one is due may be the known one behind a hand, or half
            # a passer-by: it is left out until the known one is back or forgotten.
            if place not in matched and not _is_taken(sight.box, awaited, _AWAITED_PLACE):
                seen.append((self._begin(sight, now_s), sight))
        missed = [t for t in self._unseen(seen) if t.seen_s == self._last_s]
        return seen + self._follow(frame, missed, taken=[sight for _, sight in seen])

    def _unseen(self, seen: list[tuple[_Track, _Sight]]) -> list[_Track]:
        return [t for t in self._tracks if all(t is not track for track, _ in seen)]

    def _begin(self, sight: _Sight, now_s: float) -> _Track:
        track = _Track(
            self._next_id, sight.box, sight.landmarks, sight.looks, now_s, np.zeros(2, np.float32)
        )
        self._next_id += 1
        self._tracks.append(track)
        return track

    def _follow(
        self, frame: Frame, tracks: list[_Track], taken: Iterable[_Sight] = ()
    ) -> list[tuple[_Track, _Sight]]:
        """Look where the tracks are heading, best matches first, one track a place."""
        if not tracks:
            return []
        now_s = frame.timestamp_s
        expected = self._detector.refine(frame.rgb, _expected(tracks, now_s))
        sights = self._sights(frame, expected)
        costs = [
            np.inf if s is None else t.cost(s, now_s, at_cut=False)
            for t, s in zip(tracks, sights, strict=True)
        ]
        occupied = [sight.box for sight in taken]
        seen = []
        for place in np.argsort(costs, kind="stable"):
            sight = sights[place]
            if sight is None or np.isinf(costs[place]):
                continue
            if not _is_taken(sight.box, occupied, _SAME_PLACE):
                occupied.append(sight.box)
                seen.append((tracks[place], sight))
        return self._confirmed(frame, seen, at_cut=False)

    def _confirmed(
        self, frame: Frame, seen: list[tuple[_Track, _Sight]], *, at_cut: bool
    ) -> list[tuple[_Track, _Sight]]:
        """Those who are who they seem; a track whose face turns out to be another one's ends.

        Two people filmed alike differ little in place and looks, and a cut between them may pass
        for a movement.
        """
        if self._identifier is None or not (at_cut or self._change > _CALM_DIFFERENCE):
            return seen
        confirmed = []
        for track, sight in seen:
            jumps = at_cut or track.looks_difference(sight) > _CALM_LOOKS
            if not jumps or track.is_same(sight, frame, self._identifier):
                confirmed.append((track, sight))
            else:
                self._tracks = [t for t in self._tracks if t is not track]
        return confirmed

    def _sights(self, frame: Frame, found: Detections) -> list[_Sight | None]:
        """A sight for each row, None where no face was found."""
        sights: list[_Sight | None] = []
        rows = zip(found.boxes_xyxy, found.landmarks_px, found.scores.tolist(), strict=True)
        for box, landmarks, score in rows:
            sights.append(None)
            if score > 0:
                crop = align_crop(frame.rgb, landmarks, self._config.crop_px)
                sights[-1] = _Sight(box, landmarks, score, crop, _looks_of(crop))
        return sights


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """A face as found in one frame, before it is known whose."""

    box: FloatArray
    landmarks: FloatArray
    score: float
    crop: ByteArray
    looks: FloatArray

    @property
    def quality(self) -> float:
        """How well it shows who this is."""
        return portrait_quality(self.landmarks, self.crop)


@dataclass(slots=True, eq=False)
class _Track:
    """A person who is followed.

    box (4,) x0 y0 x1 y1 px; landmarks (5, 2) px; looks (4, 4, 3) grey levels; velocity (2,) px/s of
    the box's centre; portrait: of the sight of the best quality so far, up to a margin; identity
    (128,): of the portrait, if it was asked for. Arrays never change.
    """

    track_id: int
    box: FloatArray
    landmarks: FloatArray
    looks: FloatArray
    seen_s: float
    velocity: FloatArray
    quality: float = -np.inf
    portrait: ByteArray | None = None
    identity: FloatArray | None = None

    def sighting(self, sight: _Sight, frame: Frame) -> FaceSighting:
        """What is handed on of a sight; its portrait if it is the best so far."""
        quality = sight.quality
        is_best = quality > self.quality + _BETTER_QUALITY
        if is_best:
            self.quality, self.identity = quality, None
            self.portrait = FaceIdentifier.crop(frame.rgb, sight.landmarks)
        return FaceSighting(
            self.track_id,
            frame.timestamp_s,
            sight.box,
            sight.score,
            sight.crop,
            sight.landmarks,
            quality,
            self.portrait if is_best else None,
        )

    def is_same(self, sight: _Sight, frame: Frame, identifier: FaceIdentifier) -> bool:
        """Whether a sight's face is this person's, or can't be told from it."""
        if min(sight.quality, self.quality) < USABLE_QUALITY:
            return True
        if self.identity is None and self.portrait is not None:
            self.identity = identifier.embed(self.portrait[None])[0]
        if self.identity is None:
            return True
        identity = identifier.embed(identifier.crop(frame.rgb, sight.landmarks)[None])
        before, now = np.array([self.quality]), np.array([sight.quality])
        return float(likeness(self.identity[None], before, identity, now)[0, 0]) >= SAME_PERSON

    def looks_difference(self, sight: _Sight) -> float:
        """Of the coarse colours, in grey levels."""
        return float(np.abs(sight.looks - self.looks).mean())

    def way(self, time_s: float) -> FloatArray:
        """How far steady motion takes the face, (2,) px."""
        way = self.velocity * (time_s - self.seen_s)
        length = float(np.hypot(*way)) / _height(self.box)
        if length < _MIN_WAY:
            return np.zeros(2, np.float32)
        return (way * min(1.0, _MAX_WAY / length)).astype(np.float32)

    def expected_box(self, time_s: float) -> FloatArray:
        """Where steady motion takes the face."""
        shifted: FloatArray = self.box + np.tile(self.way(time_s), 2)
        return shifted

    def cost(self, sight: _Sight, time_s: float, *, at_cut: bool) -> float:
        """How unlike this person a sight is; infinite if it can't be."""
        expected = self.expected_box(time_s)
        size = (_height(expected) + _height(sight.box)) / 2
        distance = float(np.hypot(*(_centre(sight.box) - _centre(expected)))) / size
        ratio = abs(float(np.log(_height(sight.box) / _height(expected))))
        looks = self.looks_difference(sight)
        if at_cut:
            overlap = float(iou(sight.box[None], self.box[None])[0, 0])
            if overlap < _MIN_IOU_AT_CUT or looks > _MAX_LOOKS_DIFFERENCE_AT_CUT:
                return np.inf
        if distance > _MAX_DISTANCE or ratio > np.log(_MAX_SIZE_RATIO):
            return np.inf
        if looks > _MAX_LOOKS_DIFFERENCE:
            return np.inf
        return distance + ratio + looks / _MAX_LOOKS_DIFFERENCE

    def see(self, sight: _Sight, time_s: float) -> None:
        """Take a sight as this person's."""
        elapsed = time_s - self.seen_s
        if elapsed > 0:
            velocity = (_centre(sight.box) - _centre(self.box)) / elapsed
            self.velocity = ((self.velocity + velocity) / 2).astype(np.float32)
        self.box, self.landmarks = sight.box, sight.landmarks
        self.looks, self.seen_s = sight.looks, time_s


def _expected(tracks: list[_Track], time_s: float) -> Detections:
    """Where the tracks are heading."""
    return Detections(
        np.array([t.expected_box(time_s) for t in tracks], np.float32).reshape(-1, 4),
        np.array([t.landmarks + t.way(time_s) for t in tracks], np.float32).reshape(-1, 5, 2),
        np.ones(len(tracks), np.float32),
    )


def _assign(
    tracks: list[_Track], sights: list[_Sight], now_s: float, *, at_cut: bool
) -> list[tuple[int, int]]:
    """Pairs (track, sight), cheapest first, each used at most once."""
    costs = [
        (track.cost(sight, now_s, at_cut=at_cut), t, s)
        for t, track in enumerate(tracks)
        for s, sight in enumerate(sights)
    ]
    pairs: list[tuple[int, int]] = []
    for cost, t, s in sorted(costs):
        if np.isfinite(cost) and all(t != used_t and s != used_s for used_t, used_s in pairs):
            pairs.append((t, s))
    return pairs


def _is_taken(box: FloatArray, occupied: list[FloatArray], limit: float) -> bool:
    return any(overlap_of_smaller(box[None], other[None])[0, 0] > limit for other in occupied)


def _thumbnail(rgb: ByteArray) -> FloatArray:
    # Every eighth pixel of every eighth row is enough for an average, and little work.
    sparse = np.ascontiguousarray(rgb[::8, ::8]) if min(rgb.shape[:2]) >= 8 * 16 else rgb
    small = Image.fromarray(sparse).resize(_THUMBNAIL_SIZE, Image.Resampling.BOX, reducing_gap=1.0)
    return np.asarray(small, np.float32)


def _looks_of(crop: ByteArray) -> FloatArray:
    """Coarse colours float32 (4, 4, 3) of the middle of an aligned crop."""
    low, high = (len(crop) * (1 + sign * _LOOKS_SHARE) / 2 for sign in (-1, 1))
    small = Image.fromarray(crop).resize(
        (_LOOKS_SIDE, _LOOKS_SIDE), Image.Resampling.BOX, box=(low, low, high, high)
    )
    return np.asarray(small, np.float32)


def _centre(box: FloatArray) -> FloatArray:
    return ((box[:2] + box[2:]) / 2).astype(np.float32)


def _height(box: FloatArray) -> float:
    return max(float(box[3] - box[1]), 1.0)
