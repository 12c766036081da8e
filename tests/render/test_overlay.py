from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from builders import make_prediction
from conftest import ClipMaker
from facevoice.records import Emotion, Outcome, Prediction, Reason, Report
from facevoice.report.video import (
    NOTICE,
    FaceFrame,
    FacePath,
    Overlay,
    letter_height_px,
    plan_layout,
    render_video,
    rounded_mask,
    solid,
)
from facevoice.report.words import OUTCOME_COLORS

from .conftest import BOX, close_to, make_trace, read_film, report_of

MATCH, CONFLICT = OUTCOME_COLORS[Outcome.MATCH], OUTCOME_COLORS[Outcome.CONFLICT]
SIZES = [(640, 360), (1280, 720), (1920, 1080), (360, 640), (608, 1080), (480, 480), (480, 360)]


def two_windows() -> tuple[Prediction, Prediction]:
    return (
        make_prediction(start_s=0, end_s=2),
        make_prediction(
            voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=0.9, start_s=2, end_s=4
        ),
    )


def report(*windows: Prediction) -> Report:
    return report_of(Path("talk.mp4"), *windows)


def drawn(overlay: Overlay, time_s: float, size: tuple[int, int] = (640, 360)) -> np.ndarray:
    picture = np.full((size[1], size[0], 3), 128, np.uint8)
    overlay.draw(picture, time_s)
    return picture


def left_edge(picture: np.ndarray, box: tuple[float, float, float, float] = BOX) -> np.ndarray:
    """The pixels around the middle of the box's left side."""
    height, width = picture.shape[:2]
    row, column = round((box[1] + box[3]) / 2 * height), round(box[0] * width)
    return picture[row, max(0, column - 1) : column + 6]


def test_box_has_the_color_of_its_window() -> None:
    overlay = Overlay(report(*two_windows()), make_trace([0.5, 3.0]), 640, 360, 4.0)
    assert close_to(left_edge(drawn(overlay, 0.5)), MATCH, 10).any()
    assert close_to(left_edge(drawn(overlay, 3.0)), CONFLICT, 10).any()


def test_no_box_where_nothing_is_known() -> None:
    overlay = Overlay(report(*two_windows()), make_trace([0.5, 1.2, 1.4]), 640, 360, 4.0)
    plain = np.full((360, 640, 3), 128, np.uint8)
    above = slice(0, 360 - plan_layout(640, 360).height)
    for time_s in (0.0, 0.49, 0.8, 1.5, 3.0):
        assert np.array_equal(drawn(overlay, time_s)[above], plain[above])
    for time_s in (0.5, 1.2, 1.3, 1.4):
        assert not np.array_equal(drawn(overlay, time_s)[above], plain[above])


def test_box_moves_between_sightings() -> None:
    boxes = [(0.1, 0.2, 0.3, 0.4), (0.3, 0.2, 0.5, 0.6)]
    path = FacePath(make_trace([1.0, 1.5], box=boxes))
    assert path.at(1.25) == (0, pytest.approx((0.2, 0.2, 0.4, 0.5)))
    assert path.at(1.0) == (0, pytest.approx(boxes[0]))
    assert path.at(1.5) == (0, pytest.approx(boxes[1]))
    assert path.at(0.9) is None
    assert path.at(1.51) is None


def test_box_never_moves_from_one_person_to_another() -> None:
    path = FacePath(make_trace([1.0, 1.2, 1.8], tracks=[0, 1, 1]))
    assert path.at(1.1) is None
    assert path.at(1.2) == (1, pytest.approx(BOX))
    assert path.at(1.5) is None  # 0.6 s apart


def test_no_sightings_no_box() -> None:
    assert FacePath(make_trace()).at(1.0) is None


def test_strip_changes_at_the_border_of_windows() -> None:
    overlay = Overlay(report(*two_windows()), make_trace(), 640, 360, 4.0)
    layout = plan_layout(640, 360)
    row = 360 - layout.height + layout.chip_middle
    chip = (row, layout.margin + 4)
    # Windows' middles are at 1 and 3 s: the second one stands from 2 s on.
    assert close_to(drawn(overlay, 1.96)[chip], MATCH, 5)
    assert close_to(drawn(overlay, 2.0)[chip], CONFLICT, 5)
    assert close_to(drawn(overlay, 1.0)[chip], MATCH, 5)
    assert close_to(drawn(overlay, 9.0)[chip], CONFLICT, 5)


def test_timeline_shows_all_windows_and_the_moment() -> None:
    overlay = Overlay(report(*two_windows()), make_trace(), 640, 360, 4.0)
    layout = plan_layout(640, 360)
    row = 360 - layout.height + layout.bar_top + layout.bar_height // 2
    bar = drawn(overlay, 1.0)[row, layout.margin : layout.margin + layout.bar_width]
    half = len(bar) // 2
    assert close_to(bar[5 : half // 2 - 8], MATCH, 5).all()
    assert close_to(bar[half + 2 : -5], CONFLICT, 5).all()
    assert close_to(bar[half // 2], "#FFFFFF", 5)
    later = drawn(overlay, 3.0)[row, layout.margin : layout.margin + layout.bar_width]
    assert close_to(later[half // 2], MATCH, 5)
    assert close_to(later[half + half // 2], "#FFFFFF", 5)


def test_strip_lets_the_picture_shine_through_and_leaves_the_rest() -> None:
    overlay = Overlay(report(*two_windows()), make_trace(), 640, 360, 4.0)
    bright, dark = np.full((360, 640, 3), 255, np.uint8), np.zeros((360, 640, 3), np.uint8)
    overlay.draw(bright, 1.0)
    overlay.draw(dark, 1.0)
    top = 360 - plan_layout(640, 360).height
    assert (bright[:top] == 255).all()
    assert (dark[:top] == 0).all()
    assert 20 < int(bright[top + 1, 320, 0]) - int(dark[top + 1, 320, 0]) < 128


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_layout_fits(width: int, height: int) -> None:
    from facevoice.report.video import letters

    layout = plan_layout(width, height)
    font = letters(layout.unit)
    assert layout.unit == letter_height_px(width, height)
    assert layout.unit >= 9
    assert layout.height <= 0.3 * height
    widest = font.getlength("voice: surprised 99%")
    lefts = [*sorted({left for left, _ in layout.cells}), width - layout.margin]
    for left, following in pairwise(lefts):
        needed = (
            widest if following != lefts[-1] or len(lefts) == 3 else font.getlength("conflict: 99%")
        )
        assert left + needed <= following
    chip = layout.margin + font.getlength("insufficient") + 1.1 * layout.unit
    notice = letters(max(9, layout.unit * 0.74)).getlength(NOTICE)
    if layout.notice_is_below:
        assert layout.margin + notice <= width
    else:
        assert chip + notice <= width - layout.margin
    assert layout.bar_top + layout.bar_height < layout.height
    assert all(middle < layout.bar_top for _, middle in layout.cells)


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ((-0.2, -0.2, 0.3, 0.3), True),
        ((0.8, 0.8, 1.4, 1.4), True),
        ((0.0, 0.0, 1.0, 1.0), True),
        ((0.5, 0.5, 0.502, 0.504), True),
        ((0.5, 0.5, 0.5, 0.5), False),
        ((0.5, 0.5, 0.4, 0.4), False),
        ((2.0, 2.0, 3.0, 3.0), False),
    ],
)
def test_boxes_at_the_border_and_tiny_ones(
    box: tuple[float, float, float, float], visible: bool
) -> None:
    size = (320, 240)
    overlay = Overlay(report(*two_windows()), make_trace([1.0], box=box), *size, 4.0)
    bare = drawn(Overlay(report(*two_windows()), make_trace([]), *size, 4.0), 1.0, size)
    assert (drawn(overlay, 1.0, size) != bare).any() == visible


def test_label_stands_above_the_box_or_within() -> None:
    frame = FaceFrame(16.0)
    above = np.zeros((200, 300, 3), np.uint8)
    frame.draw(above, (100, 80, 180, 160), MATCH, "face 1 · happy 74%")
    assert close_to(above[50:78, 100:180], MATCH, 10).any()
    within = np.zeros((200, 300, 3), np.uint8)
    frame.draw(within, (100, 2, 180, 160), MATCH, "face 1 · happy 74%")
    assert close_to(within[10:30, 110:180], MATCH, 10).sum() > 200
    right = np.zeros((200, 300, 3), np.uint8)
    frame.draw(right, (280, 80, 299, 160), MATCH, "face 1 · happy 74%")
    assert close_to(right[50:78, 180:290], MATCH, 10).any()


def test_gaps_are_named_as_in_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageDraw

    texts: list[str] = []
    original = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, xy, text, *a, **k: (texts.append(text), original(self, xy, text, *a, **k))[1],
    )
    window = make_prediction(
        None,
        None,
        outcome=Outcome.INSUFFICIENT,
        conflict=None,
        reasons=(Reason.NO_FACE, Reason.NO_SPEECH),
    )
    overlay = Overlay(report(window), make_trace([1.0], tracks=[2]), 640, 360, 4.0)
    drawn(overlay, 1.0)
    assert {"no face", "no speech", "insufficient", "face:", "voice:", "both:", NOTICE} <= set(
        texts
    )
    assert "face 3" in texts
    assert texts.count("-") == 2
    # The font has no other signs.
    assert all(text.replace("·", "").isascii() for text in texts)
    texts.clear()
    overlay = Overlay(report(*two_windows()), make_trace([1.0]), 640, 360, 4.0)
    drawn(overlay, 1.0)
    assert {"happy 91%", "happy 55%", "happy 80%", "4%", "face 1 · happy 91%"} <= set(texts)


def test_strip_is_drawn_once_per_window(monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = Overlay(report(*two_windows()), make_trace(), 640, 360, 4.0)
    drawings: list[object] = []
    original = overlay._strip._draw
    monkeypatch.setattr(
        overlay._strip, "_draw", lambda window: (drawings.append(window), original(window))[1]
    )
    for k in range(40):
        drawn(overlay, k / 10)
    assert len(drawings) == 2


def test_masks_and_pieces() -> None:
    mask = rounded_mask(20, 10, 4)
    assert mask.shape == (10, 20)
    assert mask[5, 10] == 1
    assert mask[0, 0] < 0.3
    picture = np.full((30, 30, 3), 100, np.uint8)
    solid("#FF0000", np.full((4, 4), 0.5, np.float32)).lay_on(picture, 28, -2)
    assert picture[29, 1].tolist() == [177, 50, 50]
    assert picture[27, 0].tolist() == [100, 100, 100]
    assert picture[29, 2].tolist() == [100, 100, 100]


def test_film_shows_box_and_strip(make_clip: ClipMaker, gray) -> None:
    clip = make_clip(width=640, height=360, paint=gray(640, 360), duration_s=1.2, audio=False)
    windows = (
        make_prediction(start_s=0, end_s=0.8),
        make_prediction(outcome=Outcome.CONFLICT, conflict=0.9, start_s=0.4, end_s=1.2),
    )
    trace = make_trace([0.0, 0.4, 0.8])
    out = render_video(report_of(clip, *windows), trace, clip.with_name("out.mp4"))
    pictures = read_film(out).pictures
    assert close_to(left_edge(pictures[5]), MATCH).any()
    assert close_to(left_edge(pictures[18]), CONFLICT).any()
    assert not close_to(left_edge(pictures[28]), CONFLICT).any()
    layout = plan_layout(640, 360)
    chip = (360 - layout.height + layout.chip_middle, layout.margin + 4)
    assert close_to(pictures[14][chip], MATCH)
    assert close_to(pictures[16][chip], CONFLICT)


def test_ink_on_the_chip_is_as_dark_before_any_picture() -> None:
    conflict = two_windows()[1]
    overlay = Overlay(report(conflict), make_trace(), 640, 360, 4.0)
    bright, dark = np.full((360, 640, 3), 255, np.uint8), np.zeros((360, 640, 3), np.uint8)
    overlay.draw(bright, 1.0)
    overlay.draw(dark, 1.0)
    layout = plan_layout(640, 360)
    middle = 360 - layout.height + layout.chip_middle
    chip = (slice(middle - 4, middle + 4), slice(layout.margin + 8, layout.margin + 40))
    assert np.array_equal(bright[chip], dark[chip])
    assert bright[chip].max(axis=2).min() < 60
