"""Real files: what is promised holds for them as well."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from facevoice.media import probe, read_audio, read_frames, regular_times

pytestmark = pytest.mark.corpora


def unpack_some(archive: Path, folder: str, into: Path, number: int) -> list[Path]:
    with zipfile.ZipFile(archive) as content:
        names = sorted(n for n in content.namelist() if folder in n and n.endswith(".mp4"))
        return [Path(content.extract(n, into)) for n in names[:: max(1, len(names) // number)]]


@pytest.mark.parametrize(
    ("archive", "folder", "height_px"),
    [("ravdess_av.zip", "original/", 720), ("javanese.zip", "video/", 270)],
)
def test_frames_and_sound_cover_the_whole_file(corpora_dir, tmp_path, archive, folder, height_px):
    for path in unpack_some(corpora_dir / archive, folder, tmp_path, 3):
        messages: list[str] = []
        info = probe(path, on_damage=messages.append)
        assert info.video.height_px == height_px
        asked = list(regular_times(info.duration_s, 5))
        frames = list(
            read_frames(path, asked, tolerance_s=0.1, max_side_px=320, on_damage=messages.append)
        )
        assert [f.timestamp_s for f in frames] == pytest.approx(asked, abs=0.1)
        assert max(frames[0].rgb.shape) == 320
        sound_s = sum(len(b.samples) for b in read_audio(path, on_damage=messages.append)) / 16_000
        assert sound_s == pytest.approx(info.duration_s, abs=0.15)
        assert messages == []
