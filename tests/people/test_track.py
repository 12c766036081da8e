from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from facevoice.people.detect import FACE_TEMPLATE
from facevoice.people.identity import FaceIdentifier
from facevoice.people.track import track_faces
from facevoice.records import Detections, Frame, ModelId, Reason
from facevoice.settings import FacesConfig

CONFIG = FacesConfig(sample_rate_hz=5, detect_rate_hz=1.25, crop_px=40)
WIDTH, HEIGHT, SIDE = 320, 180, 40
RED, BLUE, PALE_RED = (200, 40, 40), (40, 40, 200), (198, 40, 40)
GREY = (90, 90, 90)


@dataclass
class ColourDetector:
    """Sees people as blocks of their colour: an exact detector for made-up scenes."""

    people: tuple[tuple[int, int, int], ...] = (RED, BLUE, PALE_RED)
    calls: list[str] = field(default_factory=list)
    thorough: list[bool] = field(default_factory=list)
    blind: bool = False
    model = ModelId("colours", "0" * 64)

    def _boxes(self, rgb):
        codes = rgb @ np.array([1 << 16, 1 << 8, 1])
        for red, green, blue in self.people:
            rows, columns = np.nonzero(codes == (red << 16) + (green << 8) + blue)
            if len(rows) > SIDE * SIDE // 2:
                yield np.array(
                    [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32
                )

    def detect(self, rgb, *, known=None, thorough=False):
        self.calls.append("detect")
        self.thorough.append(thorough)
        boxes = [] if self.blind else list(self._boxes(rgb))
        return _described(boxes, [0.99] * len(boxes))

    def refine(self, rgb, known):
        self.calls.append("refine")
        there = list(self._boxes(rgb))
        boxes, scores = [], []
        for box in known.boxes_xyxy:
            away = [np.abs(box - other).max() for other in there]
            near = int(np.argmin(away)) if away else -1
            hit = bool(away) and away[near] < SIDE / 2
            boxes.append(there[near] if hit else box)
            scores.append(0.99 if hit else 0.0)
        return _described(boxes, scores)


def _described(boxes, scores):
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    sides = corners[:, None, 2:] - corners[:, None, :2]
    return Detections(
        corners, corners[:, None, :2] + FACE_TEMPLATE * sides, np.array(scores, np.float32)
    )


def scene(people, background=GREY):
    """A picture of blocks: {colour: (x, y) of the centre}; later ones stand in front."""
    rgb = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    for colour, (x, y) in people.items():
        half = SIDE // 2
        top, left = max(round(y) - half, 0), max(round(x) - half, 0)
        rgb[top : round(y) + half, left : round(x) + half] = colour
    return rgb


def follow(pictures, detector, config=CONFIG):
    frames = (Frame(k / config.sample_rate_hz, rgb) for k, rgb in enumerate(pictures))
    return list(track_faces(frames, detector, config))


def who_is(found, colour):
    """Ids under which a colour was seen, frame by frame (None where it was not)."""
    ids = []
    for frame in found:
        middles = {s.track_id: s.crop[20, 20] for s in frame.sightings}
        near = [i for i, rgb in middles.items() if np.abs(rgb.astype(int) - colour).max() < 2]
        ids.append(near[0] if near else None)
    return ids


def test_a_steady_face_is_one_track_in_every_frame():
    found = follow([scene({RED: (100, 90)})] * 20, ColourDetector())
    assert who_is(found, RED) == [0] * 20
    (sighting,) = found[7].sightings
    assert sighting.timestamp_s == found[7].timestamp_s == 1.4
    assert (found[7].width_px, found[7].height_px) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(sighting.box_xyxy, [80, 70, 120, 110])
    assert sighting.crop.shape == (40, 40, 3)
    assert sighting.score == pytest.approx(0.99)


def test_full_searches_run_at_their_rate_only():
    detector = ColourDetector()
    follow([scene({RED: (100, 90)})] * 40, detector)
    assert detector.calls.count("detect") == 10
    assert detector.calls.count("refine") == 30
    assert detector.calls[:5] == ["detect", "refine", "refine", "refine", "detect"]


def test_searches_keep_their_rate_when_frames_come_a_little_early():
    detector = ColourDetector()
    times_s = [k * 0.1998 for k in range(40)]
    frames = [Frame(t, scene({RED: (100, 90)})) for t in times_s]
    list(track_faces(frames, detector, CONFIG))
    assert detector.calls.count("detect") == 10


def test_neighbours_keep_their_identities():
    sway = [6 * np.sin(k) for k in range(25)]
    found = follow(
        [scene({RED: (100 + s, 90), BLUE: (145 + s, 95)}) for s in sway], ColourDetector()
    )
    assert who_is(found, RED) == [0] * 25
    assert who_is(found, BLUE) == [1] * 25


@pytest.mark.parametrize("other", [BLUE, PALE_RED], ids=["unlike", "alike"])
@pytest.mark.parametrize("step_px", [10, 13, 16])
def test_faces_that_cross_keep_their_identities(other, step_px):
    num_frames = 240 // step_px
    pictures = [
        scene({RED: (40 + k * step_px, 90), other: (280 - k * step_px, 84)})
        for k in range(num_frames)
    ]
    found = follow(pictures, ColourDetector())
    hers, his = who_is_exactly(pictures, found, RED), who_is_exactly(pictures, found, other)
    for ids, expected in ((hers, 0), (his, 1)):
        assert set(ids[:4]) == set(ids[-2:]) == {expected}
        # While one hides the other, faces that look alike may be taken for each other.
        assert sum(i not in (expected, None) for i in ids) <= (other == PALE_RED)


def who_is_exactly(pictures, found, colour):
    """As `who_is`, told apart by the picture under the middle of the box."""
    ids = []
    for rgb, frame in zip(pictures, found, strict=True):
        owner = None
        for s in frame.sightings:
            x, y = (s.box_xyxy[:2] + s.box_xyxy[2:]) / 2
            if tuple(rgb[int(y), int(x)]) == colour:
                owner = s.track_id
        ids.append(owner)
    return ids


def test_a_face_that_hides_for_a_moment_is_the_same_person():
    here, gone = scene({RED: (100, 90)}), scene({})
    found = follow([here] * 6 + [gone] * 4 + [here] * 6, ColourDetector())
    assert who_is(found, RED) == [0] * 6 + [None] * 4 + [0] * 6


def test_after_a_long_absence_it_is_a_new_track():
    here, gone = scene({RED: (100, 90)}), scene({})
    found = follow([here] * 6 + [gone] * 8 + [here] * 6, ColourDetector())
    ids = who_is(found, RED)
    assert ids[:6] == [0] * 6
    assert set(ids[14:]) - {None} == {1}
    assert ids[-1] == 1


def test_a_lost_face_is_sought_at_once():
    detector = ColourDetector()
    pictures = [scene({RED: (60, 90)})] * 2 + [scene({RED: (200, 90)})] * 2
    found = follow(pictures, detector)
    assert [len(f.sightings) for f in found] == [1, 1, 1, 1]
    assert detector.calls.count("detect") == 3
    assert found[2].sightings[0].track_id == 1


def test_going_on_from_the_last_search_finds_the_same_people():
    # The first of them leaves, so that the numbers of those who stay aren't those of a new start.
    pictures = [scene({RED: (40, 90), BLUE: (150 + 2 * k, 95)}) for k in range(4)]
    pictures += [scene({BLUE: (158 + 2 * k, 95), PALE_RED: (260, 90)}) for k in range(14)]
    frames = [Frame(k / 5, rgb) for k, rgb in enumerate(pictures)]
    whole = list(track_faces(frames, ColourDetector(), CONFIG))
    last = whole[14]
    assert 0.0 < last.detected_s <= last.timestamp_s
    rest = [frame for frame in frames if frame.timestamp_s >= last.detected_s]
    going_on = track_faces(rest, ColourDetector(), CONFIG, known=last.detected, next_id=3)
    for before, again in zip(whole[-len(rest) :], going_on, strict=True):
        assert again.timestamp_s == before.timestamp_s
        assert [s.track_id for s in again.sightings] == [s.track_id for s in before.sightings]


def test_someone_new_is_seen_by_the_next_search():
    alone, both = scene({RED: (60, 90)}), scene({RED: (60, 90), BLUE: (220, 90)})
    found = follow([alone] * 5 + [both] * 8, ColourDetector())
    ids = who_is(found, BLUE)
    assert ids[8:] == [1] * 5
    assert who_is(found, RED) == [0] * 13


def test_a_start_without_a_face_is_searched_frame_by_frame():
    found = follow([scene({})] * 3 + [scene({RED: (60, 90)})] * 3, ColourDetector())
    assert who_is(found, RED) == [None] * 3 + [0] * 3


def test_empty_video_is_not_searched_in_every_frame_for_ever():
    detector = ColourDetector()
    found = follow([scene({})] * 50, detector)
    assert not any(f.sightings for f in found)
    assert detector.calls.count("detect") <= 8 + 11


def test_after_a_cut_another_person_in_the_same_place_is_another_track():
    first, second = scene({RED: (100, 90)}), scene({BLUE: (100, 90)}, (180, 180, 180))
    found = follow([first] * 6 + [second] * 6, ColourDetector())
    assert who_is(found, RED)[:6] == [0] * 6
    assert who_is(found, BLUE)[6:] == [1] * 6


def test_another_person_in_the_same_place_without_a_cut_is_another_track_after_a_while():
    first, second = scene({RED: (100, 90)}), scene({BLUE: (100, 90)})
    found = follow([first] * 6 + [second] * 10, ColourDetector())
    assert who_is(found, BLUE)[6:] == [None] * 5 + [1] * 5


def test_a_hand_before_the_face_makes_no_new_person():
    clear = scene({RED: (100, 90)})
    covered = clear.copy()
    covered[85:110, 80:120] = GREY
    found = follow([clear] * 5 + [covered] * 3 + [clear] * 4, ColourDetector())
    assert who_is(found, RED)[-4:] == [0] * 4
    assert {s.track_id for f in found for s in f.sightings} == {0}


def test_a_change_of_background_does_not_make_a_new_person():
    first, second = scene({RED: (100, 90)}), scene({RED: (102, 90)}, (180, 180, 180))
    found = follow([first] * 6 + [second] * 6, ColourDetector())
    assert who_is(found, RED) == [0] * 12


def test_after_a_cut_to_nobody_nothing_is_remembered():
    here, away = scene({RED: (100, 90)}), scene({}, (180, 180, 180))
    found = follow([here] * 3 + [away] + [here] * 3, ColourDetector())
    assert who_is(found, RED) == [0] * 3 + [None] + [1] * 3


def test_a_face_that_a_search_misses_is_looked_for_where_it_was():
    detector = ColourDetector()

    def frames():
        for k in range(12):
            detector.blind = k >= 3
            yield Frame(k / 5, scene({RED: (60 + 4 * k, 90)}))

    found = list(track_faces(frames(), detector, CONFIG))
    assert who_is(found, RED) == [0] * 12
    assert detector.calls.count("detect") == 3


def test_a_picture_of_another_size_goes_on():
    small = scene({RED: (100, 90)})
    large = np.kron(small, np.ones((2, 2, 1), np.uint8))
    found = follow([small] * 3 + [large] * 3, ColourDetector())
    assert found[5].width_px == 2 * WIDTH
    assert len(found[5].sightings) == 1


def test_two_real_faces_that_move_are_two_steady_tracks(detector, portrait):
    config = FacesConfig(crop_px=64)
    mirror = portrait[:, ::-1]

    def picture(k):
        rgb = np.full((340, 660, 3), 60, np.uint8)
        rgb[20:320, 10 + 6 * k : 310 + 6 * k] = portrait
        rgb[35 - 4 * k : 335 - 4 * k, 350:650] = mirror
        return rgb

    found = follow([picture(k) for k in range(7)], detector, config)
    for k, frame in enumerate(found):
        places = {s.track_id: (s.box_xyxy[:2] + s.box_xyxy[2:]) / 2 for s in frame.sightings}
        assert set(places) == {0, 1}
        left, right = sorted(places.values(), key=lambda place: place[0])
        np.testing.assert_allclose(left, [162 + 6 * k, 137], atol=8)
        np.testing.assert_allclose(right, [498, 152 - 4 * k], atol=8)
    by_id = {i: [s.crop for f in found for s in f.sightings if s.track_id == i] for i in (0, 1)}
    for crops in by_id.values():
        first = crops[0].astype(float).ravel()
        assert all(np.corrcoef(first, c.astype(float).ravel())[0, 1] > 0.9 for c in crops)


class ScriptedIdentifier:
    """Says what it was told to, asked for one face after the other."""

    crop = staticmethod(FaceIdentifier.crop)

    def __init__(self, *people):
        self.people = list(people)

    def embed(self, crops):
        return np.eye(128, dtype=np.float32)[[self.people.pop(0) for _ in crops]]


def before_walls(portrait, *walls):
    for wall in walls:
        rgb = np.full((300, 560, 3), wall, np.uint8)
        rgb[:, 130:430] = portrait
        yield rgb


@pytest.mark.parametrize(("people", "tracks"), [((1, 2), {0, 1}), ((1, 1), {0})])
def test_where_the_picture_jumps_a_face_that_stays_is_asked_who_it_is(
    detector, portrait, people, tracks
):
    identifier = ScriptedIdentifier(*people)
    pictures = before_walls(portrait, *[20] * 4, *[160] * 4)
    frames = [Frame(k / 5, rgb) for k, rgb in enumerate(pictures)]
    found = list(track_faces(frames, detector, FacesConfig(), identifier=identifier))
    assert {s.track_id for f in found[:4] for s in f.sightings} == {0}
    assert {s.track_id for f in found for s in f.sightings} == tracks
    assert all(len(f.sightings) == 1 for f in found)
    assert identifier.people == []


def test_in_a_calm_picture_nobody_is_asked(detector, portrait):
    frames = [Frame(k / 5, rgb) for k, rgb in enumerate(before_walls(portrait, *range(20, 32, 2)))]
    found = list(track_faces(frames, detector, FacesConfig(), identifier=ScriptedIdentifier()))
    assert {s.track_id for f in found for s in f.sightings} == {0}


def test_a_track_has_a_portrait_from_the_start_and_others_only_where_they_are_better(
    detector, portrait
):
    def picture(k):
        side = 120 + 20 * k
        rgb = np.full((300, 300, 3), 60, np.uint8)
        corner = 150 - side // 2
        nearer = Image.fromarray(portrait).resize((side, side), Image.Resampling.BOX)
        rgb[corner : corner + side, corner : corner + side] = np.asarray(nearer)
        return rgb

    pictures = [picture(min(k, 8)) for k in range(14)]
    seen = [s for f in follow(pictures, detector, FacesConfig()) for s in f.sightings]
    assert [s.track_id for s in seen] == [0] * 14
    assert all(s.landmarks_px.shape == (5, 2) for s in seen)
    best = [(k, s.quality) for k, s in enumerate(seen) if s.portrait is not None]
    assert best[0][0] == 0
    assert all(after > before for (_, before), (_, after) in pairwise(best))
    assert 2 <= len(best) < 8
    assert best[-1][1] > max(s.quality for s in seen) - 0.15
    assert all(seen[k].portrait.shape == (112, 112, 3) for k, _ in best)


def test_a_film_upside_down_is_followed_as_if_it_were_upright(detector, portrait):
    upright = [np.roll(portrait, (2 * k, 3 * k), axis=(0, 1)) for k in range(10)]
    turned = [np.ascontiguousarray(rgb[::-1, ::-1]) for rgb in upright]
    for straight, found in zip(follow(upright, detector), follow(turned, detector), strict=True):
        (expected,), (sighting,) = straight.sightings, found.sightings
        assert sighting.track_id == expected.track_id == 0
        crops = [s.crop.astype(float).ravel() for s in (expected, sighting)]
        assert np.corrcoef(crops)[0, 1] > 0.95


def test_thorough_searches_are_kept_for_films_without_a_face():
    detector = ColourDetector()
    follow([scene({RED: (100, 90)})] * 40, detector)
    assert detector.thorough == [True] + [False] * 9
    detector = ColourDetector()
    follow([scene({})] * 40, detector)
    assert sum(detector.thorough) <= 1 + 10


def test_why_nobody_is_seen_is_told_until_somebody_is(detector, portrait):
    screen = np.full((360, 640, 3), 235, np.uint8)
    tiny, readable = screen.copy(), screen.copy()
    tiny[300:340, 590:630] = Image.fromarray(portrait).resize((40, 40), Image.Resampling.BOX)
    readable[30:330, 200:500] = portrait
    found = follow([tiny] * 12 + [readable] * 9 + [screen] * 9, detector)
    assert {f.missed for f in found[:12]} == {Reason.FACE_TOO_SMALL}
    assert [f.missed for f in found[12:]] == [None] * 18
