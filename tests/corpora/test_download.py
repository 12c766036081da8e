"""Whole corpora from a local server that behaves, and misbehaves, like the real hosts."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import threading
import time
import types
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.utils import formatdate
from errno import ENOSPC
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from corpora.servers import Fault, Publisher, digest, publisher
from facevoice.cli.app import app
from facevoice.cli.data import _Bytes
from facevoice.corpora import download
from facevoice.corpora.cremad import EMOTION_CODES
from facevoice.corpora.download import DownloadReport, Progress, base_addresses, download_corpus
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.corpora.sources import HOSTS, SOURCES, CorpusSource, GitHub, Zenodo, pick_cremad
from facevoice.errors import (
    ChecksumError,
    ConfigError,
    CorpusError,
    DiskSpaceError,
    DownloadError,
    ManualDownloadError,
    MissingExtraError,
)

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
FILM = "film.bin/content"
CREMAD = "CheyneyComputerScience/CREMA-D"
BROKEN = ("1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX")
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """Also publishes a corpus "tiny" of one file, film.bin."""
    tiny = CorpusSource({"zenodo": (Zenodo("1", ("film.bin",)),)})
    monkeypatch.setitem(SOURCES, "tiny", tiny)  # type: ignore[arg-type]
    with publisher() as started:
        started.publish_zenodo("1", {"film.bin": CONTENT})
        yield started


def get(server: Publisher, name: str, root: Path, **more: object) -> DownloadReport:
    given = {"base_urls": server.bases, "wait": lambda _: None, **more}
    return download_corpus(name, root, **given)  # type: ignore[arg-type]


def invoke(server: Publisher, *arguments: str) -> tuple[int, str]:
    pairs = [f"--base-url={name}={url}" for name, url in server.bases.items()]
    words = ["data", "download", *arguments, *pairs]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "400"})
    return result.exit_code, result.output


def zip_of(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def noise(seed: str, size: int = 3_000) -> bytes:
    return (seed.encode() * (size // len(seed) + 1))[:size]


def media(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.parts[-3:])
    )


def receipt(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / ".facevoice/receipt.json").read_text())
    return found


# one file


def test_a_whole_file_takes_its_name_and_leaves_nothing_else(
    server: Publisher, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    report = get(server, "tiny", tmp_path, on_progress=seen.append)
    assert (report.num_files, report.num_fetched, report.total_bytes) == (1, 1, len(CONTENT))
    assert (tmp_path / "tiny/film.bin").read_bytes() == CONTENT
    assert media(tmp_path / "tiny") == ["film.bin"]
    done = [one.done_bytes for one in seen if one.file and one.done_bytes is not None]
    assert done == sorted(done)
    assert seen[-1] == Progress("film.bin", "", len(CONTENT), len(CONTENT), is_finished=True)
    assert server.asked(FILM)[0].headers["Accept-Encoding"] == "identity"


def test_a_dropped_connection_resumes_where_it_broke(server: Publisher, tmp_path: Path) -> None:
    server.fail(FILM, Fault(drop_after=40_000), *[Fault(drop_after=5_000)] * 12)
    waits: list[float] = []
    get(server, "tiny", tmp_path, wait=waits.append)
    assert (tmp_path / "tiny/film.bin").read_bytes() == CONTENT
    asked = [one.headers.get("Range") for one in server.asked(FILM)]
    assert asked == [None, *(f"bytes={start}-" for start in range(40_000, 102_400, 5_000))]
    assert len(waits) == 13
    assert max(waits) <= 1  # short, as long as each try brings something


def leave_part(server: Publisher, root: Path) -> Path:
    """As a run does that gives up after 8,192 bytes."""
    server.fail(FILM, Fault(drop_after=8_192), *[Fault(drop_after=0)] * 9)
    with pytest.raises(DownloadError, match=r"6th time in a row.*goes on where it stopped"):
        get(server, "tiny", root)
    server.faults.clear()
    (part,) = (root / "tiny").glob("film.bin.*")
    return part


def test_it_gives_up_when_nothing_comes_and_the_next_run_goes_on(
    server: Publisher, tmp_path: Path
) -> None:
    assert leave_part(server, tmp_path).read_bytes() == CONTENT[:8_192]
    get(server, "tiny", tmp_path)
    assert server.asked(FILM)[-1].headers["Range"] == "bytes=8192-"
    assert media(tmp_path / "tiny") == ["film.bin"]


def test_a_server_without_range_makes_it_start_over_but_not_for_ever(
    server: Publisher, tmp_path: Path
) -> None:
    server.always[FILM] = Fault(drop_after=40_000, ignore_range=True)
    with pytest.raises(DownloadError, match=r"broke off|closed after 40000 of 102400 bytes"):
        get(server, "tiny", tmp_path)
    assert len(server.asked(FILM)) == 6
    server.always[FILM] = Fault(ignore_range=True)
    get(server, "tiny", tmp_path)
    assert (tmp_path / "tiny/film.bin").read_bytes() == CONTENT


def test_damaged_bytes_are_fetched_anew_once_and_never_kept(
    server: Publisher, tmp_path: Path
) -> None:
    server.fail(FILM, Fault(flip_byte=True), Fault(flip_byte=True))
    with pytest.raises(ChecksumError, match=r"film\.bin from 127\.0\.0\.1.*checksum.*twice"):
        get(server, "tiny", tmp_path)
    assert media(tmp_path / "tiny") == []
    server.fail(FILM, Fault(flip_byte=True))
    get(server, "tiny", tmp_path)
    assert not any("Range" in one.headers for one in server.asked(FILM))
    assert (tmp_path / "tiny/film.bin").read_bytes() == CONTENT


def test_a_body_that_does_not_end_is_cut_off(server: Publisher, tmp_path: Path) -> None:
    server.always[FILM] = Fault(extra=bytes(3_000_000))
    with pytest.raises(DownloadError, match="more than the 102400 bytes announced"):
        get(server, "tiny", tmp_path)


@pytest.mark.parametrize("status", [429, 503, 403])
def test_retry_after_is_kept_for_all_files(
    server: Publisher, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = CorpusSource({"zenodo": (Zenodo("1", ("film.bin", "other.bin")),)})
    monkeypatch.setitem(SOURCES, "tiny", two)  # type: ignore[arg-type]
    server.publish_zenodo("1", {"film.bin": CONTENT, "other.bin": b"other"})
    date = formatdate(time.time() + 500, usegmt=True)
    asked = {"Retry-After": date if status == 503 else "500"}
    server.fail(FILM, Fault(status=status, headers=asked))
    waits: list[float] = []
    get(server, "tiny", tmp_path, wait=waits.append, jobs=1)
    assert len(waits) == 2
    assert all(300 < wait_s <= 501 for wait_s in waits)
    server.fail("records/1$", Fault(status=status, headers={"Retry-After": "7200"}))
    with pytest.raises(DownloadError, match=r"asks to wait 120 minutes. Run the same"):
        get(server, "tiny", tmp_path / "other")


def test_server_errors_are_tried_again_after_growing_waits(
    server: Publisher, tmp_path: Path
) -> None:
    nonsense = {"Retry-After": "soon"}
    server.fail(FILM, Fault(status=500, headers=nonsense), *[Fault(status=502)] * 4)
    waits: list[float] = []
    get(server, "tiny", tmp_path, wait=waits.append)
    for wait_s, full_s in zip(waits, (1.0, 2.0, 4.0, 8.0, 16.0), strict=True):
        assert full_s / 2 <= wait_s <= full_s


def test_a_missing_file_is_an_error_at_once_and_no_server_after_a_while(
    server: Publisher, tmp_path: Path
) -> None:
    del server.resources[f"/zenodo/api/records/1/files/{FILM}"]
    with pytest.raises(DownloadError, match=r"film\.bin from 127.*HTTP 404 \(no such page\)"):
        get(server, "tiny", tmp_path)
    assert len(server.seen) == 2
    server.stop()
    with pytest.raises(DownloadError, match=r"no answer .*ConnectionError.*same command again"):
        get(server, "tiny", tmp_path)


def test_versions_are_never_mixed(server: Publisher, tmp_path: Path) -> None:
    leave_part(server, tmp_path)
    server.publish_zenodo("1", {"film.bin": CONTENT[::-1]})
    get(server, "tiny", tmp_path)
    assert "Range" not in server.asked(FILM)[-1].headers
    assert (tmp_path / "tiny/film.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("left", "num_requests"), [(CONTENT + b"+", 1), (b"\xff" * 5_000, 2), (b"", 1), (CONTENT, 0)]
)
def test_what_an_earlier_run_left_is_used_if_it_is_sound(
    server: Publisher, tmp_path: Path, left: bytes, num_requests: int
) -> None:
    leave_part(server, tmp_path).write_bytes(left)
    before = len(server.asked(FILM))
    get(server, "tiny", tmp_path)
    assert len(server.asked(FILM)) - before == num_requests
    assert (tmp_path / "tiny/film.bin").read_bytes() == CONTENT


# RAVDESS from Zenodo


def publish_ravdess(server: Publisher, size: int = 3_000) -> dict[str, bytes]:
    archives = {}
    for speaker in range(1, 25):
        for kind, channel in (("Speech", "01"), ("Song", "02")):
            film = f"Actor_{speaker:02d}/01-{channel}-03-01-01-01-{speaker:02d}.mp4"
            if (kind, speaker) != ("Song", 18):
                packed = zip_of({film: noise(film, size)})
                archives[f"Video_{kind}_Actor_{speaker:02d}.zip"] = packed
    for kind, channel in (("Speech", "01"), ("Song", "02")):
        wav = f"Actor_01/03-{channel}-03-01-01-01-01.wav"
        archives[f"Audio_{kind}_Actors_01-24.zip"] = zip_of({wav: noise(wav, size)})
    server.publish_zenodo("1188976", archives)
    return archives


SMALL_RAVDESS = [
    "Video_Speech_Actor_01/Actor_01/01-01-03-01-01-01-01.mp4",
    "Video_Speech_Actor_02/Actor_02/01-01-03-01-01-01-02.mp4",
]


def test_the_small_ravdess_is_two_speakers_films(server: Publisher, tmp_path: Path) -> None:
    archives = publish_ravdess(server)
    code, output = invoke(server, "ravdess", "--subset", f"--root={tmp_path}")
    assert code == 0, output
    assert "2 files fetched now" in output
    assert "33 ms: one clip" in output
    assert media(tmp_path / "ravdess") == SMALL_RAVDESS
    clips = list(create_corpus("ravdess").clips(tmp_path / "ravdess"))
    assert [clip.speaker for clip in clips] == ["01", "02"]
    known = receipt(tmp_path / "ravdess")
    name = "Video_Speech_Actor_01.zip"
    assert known["complete"]["zenodo-subset"][0] == name  # type: ignore[index]
    noted = known["files"][name]  # type: ignore[index]
    assert noted["checksum"] == f"md5:{digest(archives[name])}"
    assert noted["size_bytes"] == len(archives[name])


def test_a_second_run_does_nothing_without_a_network(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    get(server, "ravdess", tmp_path, subset=True)
    report = get(server, "ravdess", tmp_path, songs=True)
    assert (report.num_files, report.num_fetched) == (49, 47)
    server.stop()
    code, output = invoke(server, "ravdess", "--subset", f"--root={tmp_path}")
    assert code == 0
    assert "nothing to do" in output
    with pytest.raises(DownloadError, match="record 1188976"):
        get(server, "ravdess", tmp_path)


@pytest.mark.parametrize("harm", ["cut", "remove", "damage"])
def test_what_was_harmed_since_is_fetched_again(
    server: Publisher, tmp_path: Path, harm: str
) -> None:
    publish_ravdess(server)
    get(server, "ravdess", tmp_path, subset=True)
    film = tmp_path / "ravdess" / SMALL_RAVDESS[0]
    archive = tmp_path / "ravdess/Video_Speech_Actor_01.zip"
    assert not archive.exists()
    sound_bytes = film.read_bytes()
    if harm == "remove":
        film.unlink()
    else:
        film.write_bytes(sound_bytes[:-1] if harm == "cut" else b"\0" + sound_bytes[1:])
    more = {"verify": harm == "damage", "keep_archives": True}
    assert get(server, "ravdess", tmp_path, subset=True, **more).num_fetched == 1
    assert film.read_bytes() == sound_bytes
    assert archive.exists()


def test_one_damaged_archive_does_not_stop_the_others_and_is_not_done(
    server: Publisher, tmp_path: Path
) -> None:
    publish_ravdess(server)
    server.fail("Actor_01.zip", *[Fault(flip_byte=True)] * 2)
    with pytest.raises(ChecksumError, match=r"Video_Speech_Actor_01\.zip"):
        get(server, "ravdess", tmp_path, subset=True, jobs=1)
    assert media(tmp_path / "ravdess") == SMALL_RAVDESS[1:]
    assert receipt(tmp_path / "ravdess")["complete"] == {}
    assert get(server, "ravdess", tmp_path, subset=True).num_fetched == 1
    assert len(server.asked("Actor_02.zip")) == 1


def test_many_failures_end_the_run(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    server.always["/content"] = Fault(status=404)
    with pytest.raises(DownloadError, match="HTTP 404"):
        get(server, "ravdess", tmp_path, jobs=1)
    assert 5 <= len(server.asked("/content")) <= 7  # one more may be under way


def test_an_archive_that_leaves_its_folder_is_refused(server: Publisher, tmp_path: Path) -> None:
    archives = publish_ravdess(server)
    archives["Video_Speech_Actor_01.zip"] = zip_of({"../../evil.mp4": b"x"})
    server.publish_zenodo("1188976", archives)
    with pytest.raises(CorpusError, match="leaves the folder"):
        get(server, "ravdess", tmp_path, subset=True)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"files": [{"key": "x"}]}, "not as documented"),
        ([], "not as documented"),
        ({"files": [{"key": "x", "size": 1, "checksum": "rot13:abc"}]}, "no checksum: 'rot13"),
        ({"files": []}, "does not list it"),
    ],
)
def test_a_record_of_another_shape_is_an_error(
    server: Publisher, tmp_path: Path, document: object, problem: str
) -> None:
    server.publish_json("/zenodo/api/records/1188976", document)
    with pytest.raises(DownloadError, match=problem):
        get(server, "ravdess", tmp_path)


def test_too_little_room_is_an_error(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object) -> None:
        raise OSError(ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1_000))
        with pytest.raises(DiskSpaceError, match=r"and unpack, but .* has 0\.0 GB free\."):
            get(server, "tiny", tmp_path)
    assert not server.asked("/content")
    with monkeypatch.context() as patch:
        patch.setattr(download, "_fetch", is_full)
        with pytest.raises(DiskSpaceError, match="no space left"):
            get(server, "tiny", tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="can't be written"):
        get(server, "tiny", tmp_path / "file")


def test_two_runs_at_once_do_not_meet(server: Publisher, tmp_path: Path) -> None:
    (tmp_path / "tiny/.facevoice").mkdir(parents=True)
    with FileLock(tmp_path / "tiny/.facevoice/lock"):
        code, output = invoke(server, "tiny", f"--root={tmp_path}")
    assert code == 1
    assert "another process is fetching" in output


# a kill at any moment


def test_a_run_killed_again_and_again_comes_to_a_whole_corpus(
    server: Publisher, tmp_path: Path
) -> None:
    publish_ravdess(server, size=600_000)
    for moment in ("200000", "checking", "unpacking"):

        def die(progress: Progress, moment: str = moment) -> None:
            done_bytes = progress.done_bytes or 0
            if progress.note == moment or (moment.isdigit() and done_bytes > int(moment)):
                os.kill(os.getpid(), signal.SIGKILL)

        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                get(server, "ravdess", tmp_path, subset=True, jobs=1, on_progress=die)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert get(server, "ravdess", tmp_path, subset=True).num_files == 2
    for film in SMALL_RAVDESS:
        content = (tmp_path / "ravdess" / film).read_bytes()
        assert content == noise(film.partition("/")[2], 600_000)
    assert media(tmp_path / "ravdess") == SMALL_RAVDESS
    asked = [("Range" in one.headers, one.path[-20:-8]) for one in server.asked("/content")]
    assert asked == [(False, "Actor_01.zip"), (True, "Actor_01.zip"), (False, "Actor_02.zip")]


def test_ctrl_c_stops_the_run_and_the_next_one_goes_on(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.file and progress.done_bytes and not interrupted:
            interrupted.append(progress)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupted: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        get(server, "tiny", tmp_path, on_progress=interrupt)
    assert get(server, "tiny", tmp_path).num_files == 1


def test_a_kill_between_name_and_receipt_costs_no_second_download(
    server: Publisher, tmp_path: Path
) -> None:
    get(server, "tiny", tmp_path)
    (tmp_path / "tiny/.facevoice/receipt.json").write_text('{"files": {"film')
    assert get(server, "tiny", tmp_path).num_files == 1
    assert len(server.asked(FILM)) == 1
    assert get(server, "tiny", tmp_path).num_fetched == 0


# CREMA-D through GitHub's LFS


def cremad_stems(speakers: range = range(1060, 1078)) -> list[str]:
    return [
        f"{speaker}_{sentence}_{emotion}_{'MD' if (sentence, emotion) == ('IEO', 'DIS') else 'XX'}"
        for speaker in speakers
        for sentence in SENTENCES
        for emotion in EMOTION_CODES
    ]


def publish_cremad(server: Publisher, stems: list[str]) -> None:
    films = {f"VideoFlash/{stem}.flv": noise(f"film {stem}", 400) for stem in stems}
    sounds = {f"AudioWAV/{stem}.wav": noise(f"wav {stem}", 300) for stem in stems}
    tables = {
        "VideoDemographics.csv": b"ActorID,Age,Sex,Race,Ethnicity\n1060,20,Female,x,y\n",
        "SentenceFilenames.csv": b"1\n" * 900,
        "README.md": b"not wanted",
        "processedResults/summaryTable.csv": b"a,b\n",
        "processedResults/tabulatedVotes.csv": b"a,b,c\n",
        "processedResults/readme.txt": b"not wanted",
        "AudioMP3/1060_IEO_ANG_XX.mp3": b"not wanted",
    }
    server.publish_repository(CREMAD, "master", tables, {**films, **sounds})


def test_the_small_cremad_is_the_chosen_clips_whole(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = SOURCES["cremad"].via["github"]
    small = replace(part, pick=partial(pick_cremad, count=14))  # type: ignore[call-arg]
    source = replace(SOURCES["cremad"], via={"github": (small,)})
    monkeypatch.setitem(SOURCES, "cremad", source)  # type: ignore[arg-type]
    publish_cremad(server, cremad_stems())
    report = get(server, "cremad", tmp_path, subset=True)
    folder = tmp_path / "cremad"
    chosen = pick_cremad(set(cremad_stems()) - set(BROKEN), 14)
    tables = ["SentenceFilenames.csv", "VideoDemographics.csv"]
    votes = [f"processedResults/{name}.csv" for name in ("summaryTable", "tabulatedVotes")]
    films = [f"VideoFlash/{stem}.flv" for stem in chosen]
    sounds = [f"AudioWAV/{stem}.wav" for stem in chosen]
    assert media(folder) == sorted(tables + votes + films + sounds)
    assert report.num_files == len(media(folder))
    clips = list(create_corpus("cremad").clips(folder))
    assert len(clips) == 14
    assert all(clip.video_path and clip.audio_path for clip in clips)
    for stem in chosen:
        assert (folder / f"VideoFlash/{stem}.flv").read_bytes() == noise(f"film {stem}", 400)
        assert (folder / f"AudioWAV/{stem}.wav").read_bytes() == noise(f"wav {stem}", 300)
    assert len(server.asked("^/github_raw/.*(flv|wav)$")) == 28


def test_all_of_cremad_leaves_out_the_broken_four(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, [f"1060_{s}_ANG_XX" for s in SENTENCES] + [*BROKEN, "1040_ITH_SAD_X"])
    code, output = invoke(server, "cremad", f"--root={tmp_path}")
    assert code == 0, output
    assert f"calls them broken: {', '.join(BROKEN)}" in output
    assert len(list((tmp_path / "cremad/VideoFlash").iterdir())) == 13
    assert not any(server.asked(stem) for stem in BROKEN)


def test_a_failed_run_tells_the_remedy_and_pointers_are_read_once(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    quota = "This repository is over its data quota."
    server.always["^/github_media/.*flv"] = Fault(status=403, message=quota)
    code, output = invoke(server, "cremad", f"--root={tmp_path}")
    assert code == 1
    for told in ("ANG_XX.flv", quota, "crema-d-mirror"):
        assert told in output
    assert (tmp_path / "cremad/AudioWAV/1060_DFA_ANG_XX.wav").exists()
    server.always.clear()
    assert get(server, "cremad", tmp_path).num_fetched == 1
    assert len(server.asked("^/github_raw/.*(flv|wav)$")) == 2
    with_token = {one.path.split("/")[1] for one in server.seen if "Authorization" in one.headers}
    assert with_token == {"github_api"}


def test_damaged_objects_tables_and_pointers_are_never_taken(
    server: Publisher, tmp_path: Path
) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    server.fail("github_media.*wav", *[Fault(flip_byte=True)] * 2)
    with pytest.raises(ChecksumError, match=r"ANG_XX\.wav.*sha256"):
        get(server, "cremad", tmp_path)
    assert not (tmp_path / "cremad/AudioWAV/1060_DFA_ANG_XX.wav").exists()
    shutil.rmtree(tmp_path / "cremad")
    server.fail("summaryTable", Fault(flip_byte=True))
    server.fail("github_raw/.*flv", Fault(flip_byte=True))
    get(server, "cremad", tmp_path)
    assert (tmp_path / "cremad/processedResults/summaryTable.csv").read_bytes() == b"a,b\n"
    film = tmp_path / "cremad/VideoFlash/1060_DFA_ANG_XX.flv"
    assert film.read_bytes() == noise("film 1060_DFA_ANG_XX", 400)


def test_a_listing_cut_off_is_an_error(server: Publisher, tmp_path: Path) -> None:
    root = f"/github_api/repos/{CREMAD}/git/trees/master"
    server.publish_json(root, {"tree": [], "truncated": True})
    with pytest.raises(DownloadError, match="list of files is cut off"):
        get(server, "cremad", tmp_path)
    server.publish_json(root, {"tree": []})
    with pytest.raises(DownloadError, match="no folder 'VideoFlash'"):
        get(server, "cremad", tmp_path)


def test_the_subset_of_all_speakers_is_balanced_and_can_conflict() -> None:
    stems = cremad_stems(range(1001, 1092))
    chosen = pick_cremad(reversed(stems))
    assert chosen == pick_cremad(stems)
    assert len(set(chosen)) == 100
    emotions = Counter(stem.split("_")[2] for stem in chosen)
    speakers = Counter(stem.split("_")[0] for stem in chosen)
    assert set(emotions.values()) == {16, 17}
    assert sorted(speakers.values()) == [4] + [6] * 16
    assert {"1001", "1091"} <= set(speakers)
    assert len({stem.split("_")[1] for stem in chosen}) == len(SENTENCES)
    cells = Counter(tuple(stem.split("_")[:2]) for stem in chosen)
    assert min(cells.values()) >= 4  # same speaker, same sentence, other emotions
    few = pick_cremad(cremad_stems(range(1001, 1004)))
    assert len(set(few)) == 100
    assert max(Counter(stem[:4] for stem in few).values()) <= 36
    assert pick_cremad([]) == ()


def test_a_terminal_shows_what_is_going_on(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    server.fail("^/github_media/", Fault(status=500))
    server.fail("trees/master", Fault(status=503))
    shown: list[str] = []
    bar = _Bytes(lambda *words: shown.append(" ".join(map(str, words))))
    get(server, "cremad", tmp_path, on_progress=bar.take)
    for told in ("6 of 6 files to fetch", "HTTP 500; trying again", "HTTP 503; trying again"):
        assert any(told in line for line in shown)


# the other corpora


def test_every_reader_has_a_source() -> None:
    assert set(SOURCES) == set(corpus_names())


def test_tess_from_dataverse_takes_every_file_once(server: Publisher, tmp_path: Path) -> None:
    names = ["OAF_back_angry.wav", "YAF_dog_ps.wav"]
    files = {f"{folder}/{name}": noise(name) for folder in ("a", "b") for name in names}
    server.publish_dataverse("doi:10.5683/SP2/E8H2MF", {**files, "docs/readme.txt": b"x"})
    assert get(server, "tess", tmp_path).num_files == 2
    assert len(list(create_corpus("tess").clips(tmp_path / "tess"))) == 2
    server.publish_dataverse("doi:10.5683/SP2/E8H2MF", {"docs/readme.txt": b"x"})
    with pytest.raises(DownloadError, match="nothing that we know"):
        get(server, "tess", tmp_path / "other")


def test_emodb_without_published_checksum_is_checked_by_its_own(
    server: Publisher, tmp_path: Path
) -> None:
    path, packed = "/emodb/download/download.zip", zip_of({"wav/03a01Fa.wav": noise("a")})
    server.resources[path] = packed[:200] + bytes([packed[200] ^ 1]) + packed[201:]
    with pytest.raises(ChecksumError, match=r"can't be unpacked|is damaged"):
        get(server, "emodb", tmp_path)
    assert media(tmp_path / "emodb") == []
    server.resources[path] = packed
    server.fail(path, Fault(drop_after=500))
    get(server, "emodb", tmp_path)
    assert server.asked(path)[-1].headers["Range"] == "bytes=500-"
    assert media(tmp_path / "emodb") == ["emodb/wav/03a01Fa.wav"]
    noted = receipt(tmp_path / "emodb")["files"]["emodb.zip"]  # type: ignore[index]
    assert noted["checksum"] == f"sha256:{digest(packed, 'sha256')}"
    assert get(server, "emodb", tmp_path).num_fetched == 0


def test_javanese_comes_from_two_repositories(server: Publisher, tmp_path: Path) -> None:
    films = {"dataset-resize/01-01-02_01.mp4": noise("film"), "dataset-resize/x.txt": b"x"}
    packed = zip_of({"01-01-02_01.wav": noise("1"), "01-01-02_02.wav": noise("2")})
    sounds = {"dataset/dataset-person-01.zip": packed}
    for part, files in zip(SOURCES["javanese"].via["github"], (films, sounds), strict=True):
        assert isinstance(part, GitHub)
        server.publish_repository(part.repository, part.ref, files)
    get(server, "javanese", tmp_path)
    assert media(tmp_path / "javanese") == [
        "audio/dataset-person-01/01-01-02_01.wav",
        "audio/dataset-person-01/01-01-02_02.wav",
        "video/01-01-02_01.mp4",
    ]
    clips = list(create_corpus("javanese").clips(tmp_path / "javanese"))
    assert [clip.video_path is None for clip in clips] == [False, True]


def test_ased_and_nemo_come_from_folders_of_a_repository(server: Publisher, tmp_path: Path) -> None:
    folders = ("01Neutral", "02Fearful", "03Happy", "04Sad", "05Angry")
    stems = (
        "n1-01-01-01-01",
        "f2-03-02-02-04",
        "h3-01-01-02-06",
        "S4-04-02-01-29",
        "a5-02-01-01-05",
    )
    sounds = {
        f"{folder}/{stem}.wav": noise(stem) for folder, stem in zip(folders, stems, strict=True)
    }
    for name, files in {
        "ased": {**sounds, "01Neutral/notes.wav": b"x", ".gitattributes": b"x"},
        "nemo": {"samples/EB0_anger_13.wav": noise("b"), "data.tsv": b"x"},
    }.items():
        (part,) = SOURCES[name].via["github"]
        assert isinstance(part, GitHub)
        server.publish_repository(part.repository, part.ref, files)
        get(server, name, tmp_path)
    assert media(tmp_path / "ased") == sorted(sounds)
    assert len(list(create_corpus("ased").clips(tmp_path / "ased"))) == 5
    (clip,) = create_corpus("nemo").clips(tmp_path / "nemo")
    assert clip.clip_id == "nemo/EB0_anger_13"


@pytest.mark.parametrize(
    ("name", "where"),
    [("savee", "surrey.ac.uk"), ("iemocap", "sail.usc.edu"), ("meld", "affective-meld")],
)
def test_corpora_to_fetch_by_hand_say_where_and_what_then(
    tmp_path: Path, name: str, where: str
) -> None:
    with pytest.raises(ManualDownloadError) as caught:
        download_corpus(name, tmp_path)
    assert where in str(caught.value)
    assert f"unpack it to {tmp_path / name}" in str(caught.value)
    assert f"facevoice data prepare {name}" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_kaggle_is_used_with_the_users_account(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(handle: str, output_dir: str) -> None:
        calls.append(handle)
        if len(calls) > 3:
            raise RuntimeError("403")
        Path(output_dir, "train").mkdir(parents=True, exist_ok=True)
        Path(output_dir, "train/Training_1.jpg").write_bytes(b"picture")

    calls: list[str] = []
    # Stands for kagglehub, whose own downloads need a real account.
    fake = types.SimpleNamespace(dataset_download=fetch)
    monkeypatch.setitem(sys.modules, "kagglehub", fake)  # type: ignore[arg-type]
    assert get(server, "fer2013", tmp_path).num_fetched == 1
    assert get(server, "fer2013", tmp_path).num_fetched == 0
    assert media(tmp_path / "fer2013") == ["kaggle/train/Training_1.jpg"]
    (tmp_path / "fer2013/kaggle/train/Training_1.jpg").unlink()
    assert get(server, "fer2013", tmp_path).num_fetched == 1
    get(server, "cremad", tmp_path, via="kaggle")
    assert calls == ["msambare/fer2013", "msambare/fer2013", "ejlok1/cremad"]
    with pytest.raises(DownloadError, match=r"RuntimeError: 403.*KAGGLE_API_TOKEN.*may see"):
        get(server, "fer2013", tmp_path / "other")


# wrong wishes, settings, parts that are not installed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nobody"], "corpus 'nobody' is unknown; known are ased, cremad, emodb"),
        (["emodb", "--subset"], "no small set"),
        (["cremad", "--via=kaggle", "--subset"], "no small set"),
        (["cremad", "--songs"], "no songs"),
        (["ravdess", "--via=kaggle"], "via zenodo"),
        (["ravdess", "--base-url=zenodo"], "write HOST=URL"),
        (["ravdess", "--base-url=moon=http://x"], "'moon' is unknown"),
        (["ravdess", "--base-url=zenodo=ftp://x"], "no http or https address"),
    ],
)
def test_wrong_wishes_are_usage_errors(tmp_path: Path, arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(
        app, ["data", "download", *arguments, f"--root={tmp_path}"], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    assert problem in result.output
    assert not list(tmp_path.iterdir())


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVOICE_ZENODO_URL", "https://mirror.example/zenodo/")
    bases = base_addresses({"github_api": "http://other.example"})
    assert bases["zenodo"] == "https://mirror.example/zenodo"
    assert (bases["github_api"], bases["emodb"]) == ("http://other.example", HOSTS["emodb"])


@pytest.mark.parametrize(("package", "name"), [("requests", "ravdess"), ("kagglehub", "fer2013")])
def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"\[data\]"):
        download_corpus(name, tmp_path)
    with pytest.raises(ConfigError, match="jobs = 0"):
        download_corpus(name, tmp_path, jobs=0)
