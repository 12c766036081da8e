"""Windows and media as plain values: what came back is what went in, or a `ValueError`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from facevoice.codec import media_values, read_media, read_view, view_values
from facevoice.records import MediaInfo, WindowView
from test_store import MEDIA, same, view_of

VIEW = view_of(2)  # with two faces


def values(what: WindowView | MediaInfo) -> dict[str, Any]:
    """Plain values as they come through a file or a pipe."""
    plain = view_values(what) if isinstance(what, WindowView) else media_values(what)
    decoded: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(plain))
    return decoded


def test_windows_and_media_come_back_as_they_were() -> None:
    assert same(read_view(values(VIEW)), VIEW)
    assert read_media(values(MEDIA)) == MEDIA
    assert read_media(values(replace(MEDIA, video=None, audio=None))).audio is None
    read_view(values(VIEW)).voice[0] = 1


def floats(*numbers: float, kind: str = "<f4") -> list[Any]:
    return [kind, [len(numbers)], np.array(numbers, kind).tobytes()]


@pytest.mark.parametrize(
    "change",
    [
        {"start_s": float("nan")},
        {"start_s": 9.0},
        {"start_s": -1.0},
        {"end_s": 1e300},
        {"end_s": "8"},
        {"end_s": None},
        {"speech_coverage": 1.5},
        {"speech_coverage": True},
        {"num_faces": 1 << 60},
        {"num_faces": 2.5},
        {"missed": "<script>"},
        {"detected_s": float("-inf")},
        {"faces": [None]},
        {"faces": values(VIEW)["faces"] * 40},
        {"voice": floats(1, float("nan"))},
        {"voice": ["<f4", [1 << 62, 4], b""]},
        {"voice": ["<f4", [-1, -1], bytes(4)]},
        {"voice": ["<f4", [True], bytes(4)]},
        {"voice": ["<f4", [2, 1], bytes(8)]},
        {"voice": ["<f4", [], bytes(4)]},
        {"voice": ["|O", [1], bytes(8)]},
        {"voice": ["<i8", [1], bytes(8)]},
        {"voice": [["<f4"], [1], bytes(4)]},
        {"voice": b"1234"},
        {"voice": "text"},
        {"peaks": floats(*[0.5] * 200)},
        {"peaks": floats(1.5)},
        {"speech_spans_s": ["<f8", [1, 2], np.array([3.0, 1.0]).tobytes()]},
        {"speech_spans_s": floats(1, 2)},
        {"detected": ["<f4", [1, 6], bytes(24)]},
    ],
    ids=str,
)
def test_windows_that_can_not_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_view(values(VIEW) | change)


@pytest.mark.parametrize(
    "change",
    [
        {"coverage": -0.1},
        {"person": 1 << 40},
        {"quality": float("nan")},
        {"moving": float("inf")},
        {"portrait": "text that is no base64"},
        {"portrait": b"%!PS-Adobe-3.0 EPSF-3.0"},
        {"portrait": VIEW.faces[1].portrait[:-30]},
        {"embedding": ["<f4", [1, 1], bytes(4)]},
        {"clearness": floats(0.5)},
        {"times_s": None},
        {"times_s": floats(1, 3, 2, kind="<f8")},
        {"times_s": floats(1, 2, kind="<f8")},
        {"boxes_xyxy_rel": None},
        {"boxes_xyxy_rel": ["<f4", [3, 4], np.full(12, 2, "<f4").tobytes()]},
    ],
    ids=str,
)
def test_faces_that_can_not_be_are_refused(change: dict[str, Any]) -> None:
    whole = values(VIEW)
    whole["faces"][1] |= change
    with pytest.raises(ValueError, match=r"."):
        read_view(whole)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        (None, {"path": b""}),
        (None, {"path": b"a\0b"}),
        (None, {"path": "a.mp4"}),
        (None, {"duration_s": float("inf")}),
        (None, {"duration_s": -1.0}),
        (None, {"audio": []}),
        ("video", {"width_px": 0}),
        ("video", {"height_px": 1 << 40}),
        ("video", {"frame_rate_hz": float("nan")}),
        ("video", {"rotation_deg": 45}),
        ("audio", {"sample_rate_hz": -1}),
        ("audio", {"role": "spy"}),
        ("audio", {"start_s": float("nan")}),
        ("audio", {"others": [{"number": 0, "codec": "aac", "num_channels": 1}]}),
    ],
    ids=str,
)
def test_media_that_can_not_be_are_refused(section: str | None, change: dict[str, Any]) -> None:
    whole = values(MEDIA)
    (whole if section is None else whole[section]).update(change)
    with pytest.raises(ValueError, match=r"."):
        read_media(whole)


@pytest.mark.parametrize("garbage", [None, 1, b"", [], "x", {}, {"faces": 3}, [[]] * 3])
def test_other_values_are_refused(garbage: object) -> None:
    for read in (read_view, read_media):
        with pytest.raises(ValueError, match=r"."):
            read(garbage)
