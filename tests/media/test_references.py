from __future__ import annotations

import av
import pytest

from facevoice.media.frames import _H264, TraitReader, Traits, _read_vp9
from media import frame_clips as clips

FLAT, PYRAMID = "b-pyramid=none", "b-pyramid=normal"


def read_traits(path) -> list[tuple[int | None, Traits]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        reader = TraitReader(stream)
        return [(p.pts, reader(p)) for p in container.demux(stream) if p.size]


def assert_as_decoder(path):
    traits = read_traits(path)
    references = [pts for pts, t in traits if t.is_reference]
    decoded = clips.reference_pts(path)
    assert len(references) == len(decoded)
    if path.suffix != ".avi":  # which has no timestamps
        assert sorted(references) == sorted(decoded)
    return len(traits) - len(references)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize(
    ("preset", "params"),
    [
        ("ultrafast", ""),
        ("veryfast", "bframes=3:" + PYRAMID),
        ("medium", "bframes=8:b-adapt=0:" + PYRAMID),
        ("medium", "bframes=8:b-adapt=0:" + FLAT),
        ("slow", "bframes=8:slices=3:" + PYRAMID),
    ],
)
def test_x264(tmp_path, monkeypatch, suffix, preset, params):
    options = {"preset": preset, "x264-params": f"{params}:log-level=none".lstrip(":")}
    monkeypatch.setitem(clips.RECIPES, "c", ("libx264", suffix, options, {}))
    num_others = assert_as_decoder(clips.write_clip(tmp_path, "c", 2.0))
    assert (num_others > 10) == ("bframes" in params)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_x265(tmp_path, monkeypatch, suffix):
    options = {"preset": "superfast", "x265-params": f"bframes=4:{clips.X265}"}
    monkeypatch.setitem(clips.RECIPES, "c", ("libx265", suffix, options, {}))
    assert assert_as_decoder(clips.write_clip(tmp_path, "c", 2.0)) > 10


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "mpeg1video"])
def test_mpeg(tmp_path, monkeypatch, codec, suffix):
    if (codec, suffix) == ("mpeg1video", ".mp4"):
        pytest.skip("not to be written")
    monkeypatch.setitem(clips.RECIPES, "c", (codec, suffix, {"bf": "2", "g": "12"}, {}))
    assert assert_as_decoder(clips.write_clip(tmp_path, "c", 2.0)) > 20


def test_lower_temporal_layers_are_referred_to_by_higher_ones(tmp_path):
    path = clips.write_clip(tmp_path, "x265-layers-mp4", 2.0)
    references = {pts for pts, t in read_traits(path) if t.is_reference}
    assert references >= set(clips.reference_pts(path))
    assert len(references) < 50


def test_other_codecs_have_references_only(tmp_path):
    for recipe in ("vp9-alt-ref-mkv", "mjpeg-mp4", "ffv1-mkv"):
        traits = [t for _, t in read_traits(clips.write_clip(tmp_path, recipe, 1.0))]
        assert all(t.is_reference for t in traits)


@pytest.mark.parametrize(
    ("recipe", "which"),
    [
        ("x264-gop30-mkv", "all"),
        ("x264-ts", "all"),
        ("x264-open-gop-mkv", "first"),  # the others need what comes before
        ("x264-intra-refresh-mkv", "first"),
        ("x265-open-gop-mp4", "all"),
        ("x265-ts", "all"),
        ("vp9-webm", "all"),
        ("vp8-webm", "all"),
        ("mpeg2-ts", "all"),
        ("mpeg4-mp4", "all"),
        ("mpeg4-avi", "none"),  # without timestamps, order tells nothing
        ("mjpeg-mp4", "all"),
        ("mjpeg-avi", "all"),
        ("ffv1-mkv", "none"),  # not known
    ],
)
def test_keyframes_with_which_decoding_may_begin(tmp_path, recipe, which):
    path = clips.write_clip(tmp_path, recipe, 2.0)
    entries = [pts for pts, t in read_traits(path) if t.is_entry]
    with av.open(str(path)) as container:
        keyframes = [p.pts for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert len(keyframes) > 1
    assert entries == {"all": keyframes, "first": keyframes[:1], "none": []}[which]


def test_what_is_not_understood_is_a_reference_and_no_entry():
    careful = Traits(is_reference=True, is_entry=False, has_settings=True)
    assert _H264(4)(b"\x00\x00\xff\xff\x65abc") == careful
    assert _H264(4)(b"\x00\x00") == careful
    assert _H264(0)(b"no start code") == Traits()
    assert _H264(0)(b"") == Traits()
    assert _read_vp9(b"") == Traits()


def test_h264_slices_of_one_packet_are_taken_together():
    idr, reference, other, sps = b"\x65a", b"\x41a", b"\x01a", b"\x67a"
    read = _H264(2)

    def join(*nals: bytes) -> bytes:
        return b"".join(len(n).to_bytes(2, "big") + n for n in nals)

    assert read(join(other, other)) == Traits(is_reference=False)
    assert read(join(other, reference)) == Traits()
    assert read(join(sps, idr)) == Traits(is_entry=True, has_settings=True)
    assert read(join(idr, reference)) == Traits()
    start = b"\x00\x00\x01"
    assert _H264(0)(start + sps + b"\x00" + start + idr + b"bc") == read(join(sps, idr))
