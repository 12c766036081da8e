"""Which files are found, what is passed over, and how outputs are called."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePath
from unicodedata import normalize

import av
import pytest

from facevoice import finding
from facevoice.errors import ConfigError
from facevoice.finding import MEDIA_EXTENSIONS, FoundFile, find_files, find_media, output_name
from facevoice.media import open as media_open
from odd_names import ODD_NAMES

# Endings of demuxers that are read, but are pictures, manifests and subtitles.
NOT_MEDIA = {"avif", "gif", "heic", "heif", "ism", "mks", "mpo"}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def named(*paths: Path) -> list[str]:
    return [file.name.as_posix() for file in find_files(paths).files]


def test_files_keep_their_order_and_come_once(tmp_path: Path) -> None:
    b, a = tmp_path / "b.mp4", tmp_path / "a.odd"
    touch(b, a)
    assert find_media([b, str(a), tmp_path / "." / "b.mp4", b]) == [b, a]


def test_folders_are_searched_through_sorted_for_media_only(tmp_path: Path) -> None:
    wanted = [tmp_path / "a.MP4", tmp_path / "deep" / "er" / "c.wav", tmp_path / "z.mkv"]
    touch(*wanted, tmp_path / "notes.txt", tmp_path / ".hidden.mp4", tmp_path / "report.json")
    assert find_media([tmp_path]) == wanted
    assert find_media([tmp_path / "z.mkv", tmp_path]) == [wanted[2], wanted[0], wanted[1]]


def test_links_that_lead_back_do_not_run_for_ever(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.mp4")
    try:
        (tmp_path / "in" / "up").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no symbolic links")
    found = find_files([tmp_path])
    assert [file.path for file in found.files] == [tmp_path / "in" / "a.mp4"]
    assert "1 folder that is only linked" in found.describe_passed_over()


def test_missing_paths_and_empty_folders_are_kept(tmp_path: Path) -> None:
    empty = tmp_path / "empty_folder"
    empty.mkdir()
    assert find_media([tmp_path / "gone.mp4", empty]) == [tmp_path / "gone.mp4", empty]


def test_names_mirror_the_folder_searched(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4", tmp_path / "b.v2.mp4")
    names = [file.name for file in find_files([tmp_path]).files]
    assert names == [PurePath("b.v2"), PurePath("x/a"), PurePath("y/a")]


def test_clashing_names_are_told_apart_and_stable(tmp_path: Path) -> None:
    files = [tmp_path / "x" / "a.mp4", tmp_path / "y" / "A.mp4", tmp_path / "y" / "a.wav"]
    files += [tmp_path / "windows.mp4", tmp_path / "Moments.mp4"]  # tables over all files
    touch(*files)
    names = [file.name.as_posix() for file in find_files(files).files]
    assert len({name.casefold() for name in names}) == 5
    assert [name.split("-")[0] for name in names] == ["a", "A", "a", "windows", "Moments"]
    assert all(len(name.split("-")[1]) == 8 for name in names)
    assert names == [file.name.as_posix() for file in find_files(files).files]
    assert find_files([files[0]]).files[0].name == PurePath("a")


def test_a_clip_is_not_called_as_another_ones_side_files(tmp_path: Path) -> None:
    names = ("talk", "Talk_events", "talk.review", "a.review")
    touch(*(tmp_path / f"{name}.mp4" for name in names))
    assert [name.partition("-")[0] for name in named(tmp_path)] == [
        *("Talk_events", "a.review", "talk", "talk.review"),
    ]
    assert [len(name.partition("-")[2]) for name in named(tmp_path)] == [8, 0, 0, 8]
    assert named(tmp_path / "talk.review.mp4") == ["talk.review"]


def test_relative_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_media(["."]) == [Path("a.mp4")]
    assert os.fspath(find_files(["a.mp4", "./a.mp4"]).files[0].name) == "a"


def test_every_format_that_is_read_is_found_by_its_endings() -> None:
    own: set[str] = set()
    for name in media_open._ALLOWED_FORMATS.split(","):
        with suppress(ValueError):  # not in every build
            own |= av.ContainerFormat(name, "r").extensions
    assert {f".{ending}" for ending in own - NOT_MEDIA} <= MEDIA_EXTENSIONS
    told = ".mxf .vob .ogm .insv .amr .3g2 .asf .f4v .mts .m2ts .wav .webm"
    assert set(told.split()) <= MEDIA_EXTENSIONS


def test_what_is_passed_over_is_said_and_why(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.mp4", "a.srt", "a.en.vtt", "b.srt", "c.TXT", "d.txt")))
    touch(tmp_path / "e.jpg", tmp_path / "noending", tmp_path / ".hidden.txt", tmp_path / "x.\x1b")
    touch(tmp_path / ".git" / "f.mp4", tmp_path / ".git" / "f.txt", tmp_path / "a.facevoice.mp4")
    touch(*(tmp_path / f"a.{ending}" for ending in ("json", "csv", "jsonl", "html", "db")))
    found = find_files([tmp_path])
    assert [file.path for file in found.files] == [tmp_path / "a.mp4"]
    assert found.describe_passed_over() == (
        "Passed over 6 files that are not media by their endings: 2 .txt, 1 .\\x1b, 1 .jpg, "
        "1 .srt, 1 without ending."
    )
    assert find_files([tmp_path / "a.mp4"]).describe_passed_over() == ""
    own = tmp_path / "a.facevoice.mp4"
    assert find_media([own]) == [own]


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(ConfigError, match="an empty path names nothing"):
        find_media(["a.mp4", ""])


def test_any_name_gives_one_that_can_be_written_beside_all_others(tmp_path: Path) -> None:
    names = [PurePath(os.fsdecode(name)) for name in ODD_NAMES]
    outputs = named(*(tmp_path / name for name in names))
    folded = {normalize("NFD", name).casefold() for name in outputs}
    assert len(folded) == len(names)
    assert all(len(f"{name}.parquet".encode()) <= 255 for name in outputs)
    assert all(name.isprintable() for name in outputs)
    # Names that are in nobody's way stay as they are, whatever they begin with.
    for name in ("-dash", "100%s", "=1+1", "😀", "CON"):
        assert name in outputs


def test_a_digest_that_is_taken_gets_longer(tmp_path: Path) -> None:
    files = [tmp_path / "a.mp4", tmp_path / "a.wav"]
    first, second = named(*files)
    outputs = named(*files, tmp_path / f"{first}.mp4", tmp_path / f"{second}.wav")
    assert outputs[2:] == [first, second]
    assert [len(name) for name in outputs[:2]] == [len("a-") + 16] * 2


def test_folders_give_way_to_files_and_tables_of_the_same_name(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    for folder in ("a.json", "Dataset", "windows.csv", "deep/dataset"):
        touch(tmp_path / folder / "x.mp4", tmp_path / folder / "y.mp4")
    outputs = {Path(name).parent.as_posix() for name in named(tmp_path)}
    assert {name.rpartition("-")[0] for name in outputs} == {"", "a.json", "Dataset", "windows.csv"}
    assert {".", "deep/dataset"} <= outputs


def test_a_folder_called_like_a_film_is_searched(tmp_path: Path) -> None:
    touch(tmp_path / "x.mp4" / "y.mp4")
    assert find_files([tmp_path / "x.mp4"]).files == (
        FoundFile(tmp_path / "x.mp4" / "y.mp4", PurePath("y")),
    )


def test_windows_keeps_some_names_for_itself() -> None:
    names = ("CON", "nul.old", "a:b?", "talk.", "..", "talk")
    written = [finding._writable_part(name, on_windows=True) for name in names]
    assert written == ["_CON", "_nul.old", "a_b_", "talk_", "._", "talk"]


def test_the_output_of_one_file_has_room_for_any_ending(tmp_path: Path) -> None:
    assert output_name(tmp_path / "talk.mp4") == "talk"
    long = output_name(tmp_path / f"{'é' * 125}.mp4")
    (tmp_path / f"{long}.facevoice.mp4").touch()
    assert long.startswith("é" * 100)
