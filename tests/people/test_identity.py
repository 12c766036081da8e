"""Who is who: grouping by made-up identities, naming in a stream, and the real network."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facevoice.people.detect import align_crop
from facevoice.people.identity import (
    IDENTITY_DIM,
    SAME_PERSON,
    USABLE_QUALITY,
    FaceIdentifier,
    People,
    group_tracks,
    portrait_quality,
)

CLEAR = np.ones(1)


def pictures(people, noise=0.5, seed=0):
    """One picture (1, 128) for each track; those of one person have a cosine near 1 - noise."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(max(people, default=0) + 1, IDENTITY_DIM))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = []
    for person in people:
        other = rng.normal(size=IDENTITY_DIM)
        mixed = np.sqrt(1 - noise) * directions[person] + np.sqrt(noise) * unit(other)
        rows.append(unit(mixed)[None].astype(np.float32))
    return rows


def unit(row):
    return row / np.linalg.norm(row)


def grouped(tracks, together=(), qualities=None):
    return group_tracks(tracks, qualities or [CLEAR] * len(tracks), together).tolist()


def pair(cosine):
    first, second = np.zeros((2, 1, IDENTITY_DIM), np.float32)
    first[0, 0] = 1
    second[0, :2] = cosine, np.sqrt(1 - cosine**2)
    return [first, second]


def partition(groups, order):
    """Sets of tracks by their own names, whatever the people's numbers."""
    return {frozenset(order[k] for k in np.flatnonzero(groups == g)) for g in set(groups)}


def test_people_come_back_under_their_number_by_first_appearance():
    people = [2, 0, 2, 1, 0, 0, 2, 1]
    assert grouped(pictures(people, noise=0.3)) == [0, 1, 0, 2, 1, 1, 0, 2]


@pytest.mark.parametrize(("above", "num_people"), [(0.02, 1), (-0.02, 2)])
def test_two_tracks_are_one_person_only_where_they_are_alike_enough(above, num_people):
    assert len(set(grouped(pair(SAME_PERSON + above)))) == num_people


def test_tracks_seen_at_once_are_never_one_person_nor_joined_by_a_third():
    twins = pictures([0, 0, 0], noise=0.05)
    assert len(set(grouped(twins, [(0, 2)]))) == 2
    assert grouped(twins, [(0, 1), (0, 2), (1, 2)]) == [0, 1, 2]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_order_of_tracks_gives_the_same_people_and_keeps_those_apart_who_must_be(data):
    people = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=14))
    tracks = pictures(people, noise=0.55, seed=data.draw(st.integers(0, 99)))
    pairs = list(combinations(range(len(people)), 2))
    apart = data.draw(st.lists(st.sampled_from(pairs), max_size=6)) if pairs else []
    order = data.draw(st.permutations(range(len(people))))
    place = {track: k for k, track in enumerate(order)}

    groups = np.array(grouped(tracks, apart))
    again = np.array(grouped([tracks[t] for t in order], [(place[a], place[b]) for a, b in apart]))

    assert partition(groups, range(len(people))) == partition(again, order)
    assert all(groups[a] != groups[b] for a, b in apart)
    firsts = [int(np.flatnonzero(groups == g)[0]) for g in range(groups.max() + 1)]
    assert firsts == sorted(firsts)


def test_a_track_without_a_usable_picture_stays_on_its_own():
    tracks = [*pictures([0, 0], noise=0.1), np.zeros((0, IDENTITY_DIM), np.float32)]
    assert grouped(tracks, qualities=[CLEAR, CLEAR, np.zeros(0)]) == [0, 0, 1]
    poor = np.array([USABLE_QUALITY / 2])
    assert grouped(tracks[:2], qualities=[CLEAR, poor]) == [0, 1]
    assert grouped([]) == []


def test_the_better_picture_of_a_track_says_more():
    (known,), (right,), (wrong,) = pictures([0, 0, 1], noise=0.2)
    both = np.stack([right, wrong])
    assert grouped([known[None], both], qualities=[CLEAR, np.array([1.0, 0.2])]) == [0, 0]
    assert grouped([known[None], both], qualities=[CLEAR, np.array([0.2, 1.0])]) == [0, 1]


def test_thousands_of_tracks_are_grouped():
    people = np.random.default_rng(1).integers(0, 40, 2500).tolist()
    groups = np.array(grouped(pictures(people, noise=0.3)))
    assert len(set(groups)) == 40
    assert len(set(zip(people, groups.tolist(), strict=True))) == 40


def test_in_a_stream_people_are_named_as_they_come_and_keep_their_number():
    (first,), (second,), (back,), (beside,) = pictures([0, 1, 0, 0], noise=0.2)
    people = People()
    assert people.name(7, first) == 0
    assert people.name(8, second, [7]) == 1
    assert people.name(9, None) == 2
    assert people.name(12, back) == 0
    assert people.name(13, beside, [12]) == 3, "seen beside the one who looks alike"
    assert people.name(9, first) == 2, "what was said of a track stays"
    assert [people.name(track, None) for track in (7, 8, 12, 13)] == [0, 1, 0, 3]


@pytest.fixture(scope="module")
def identifier():
    return FaceIdentifier()


def seen(detector, rgb):
    """Identity and quality of the only face."""
    (landmarks,) = detector.detect(rgb).landmarks_px
    identity = FaceIdentifier().embed(FaceIdentifier.crop(rgb, landmarks)[None])[0]
    return identity, portrait_quality(landmarks, align_crop(rgb, landmarks, 120))


def test_the_network_knows_a_face_again_small_tilted_and_mirrored(detector, portrait, identifier):
    known, quality = seen(detector, portrait)
    assert known.shape == (IDENTITY_DIM,)
    assert np.linalg.norm(known) == pytest.approx(1, abs=1e-5)
    picture = Image.fromarray(portrait)
    others = {
        "small": picture.resize((130, 130), Image.Resampling.BOX),
        "tilted": picture.rotate(20, Image.Resampling.BICUBIC, center=(152, 117)),
        "mirrored": Image.fromarray(portrait[:, ::-1]),
    }
    for name, other in others.items():
        identity, other_quality = seen(detector, np.ascontiguousarray(other))
        assert identity @ known > SAME_PERSON + 0.2, name
        assert other_quality > USABLE_QUALITY, name
        assert name != "small" or other_quality < quality
    assert identifier.model.name == "sface"


def test_what_is_no_face_is_nobody(identifier, detector, portrait, landscape):
    known, _ = seen(detector, portrait)
    assert identifier.embed(landscape[None, 50:162, 50:162])[0] @ known < SAME_PERSON / 2
    assert identifier.embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, IDENTITY_DIM)


def test_faces_lie_in_crops_where_the_network_expects_them(detector, portrait):
    (landmarks,) = detector.detect(portrait).landmarks_px
    crop = FaceIdentifier.crop(portrait, landmarks)
    assert crop.shape == (112, 112, 3)
    (found,) = detector.detect(np.pad(crop, ((40, 40), (40, 40), (0, 0)))).landmarks_px - 40
    np.testing.assert_allclose(found[:2], [[38.3, 51.7], [73.5, 51.5]], atol=4)
