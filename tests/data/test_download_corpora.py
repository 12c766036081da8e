"""Whole corpora from local servers that behave, and misbehave, like the real hosts."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console
from typer.testing import CliRunner

from data.servers import Fault, Publisher, publisher
from facevoice.cli.data import _bars, data_app
from facevoice.corpora import download as lfs
from facevoice.corpora import sources
from facevoice.corpora.cremad import EMOTION_CODES, clip_of_stem
from facevoice.corpora.download import (
    DEFAULT_HOSTS,
    DownloadOptions,
    DownloadReport,
    Hosts,
    HttpPolicy,
    download_corpus,
)
from facevoice.corpora.gather import corpus_names, create_corpus
from facevoice.corpora.sources import SOURCES, pick_cremad
from facevoice.errors import (
    ChecksumError,
    ConfigError,
    CorpusError,
    DiskSpaceError,
    DownloadError,
    ManualDownloadError,
    MissingExtraError,
)

QUICK = HttpPolicy(connect_s=20, stall_s=30, max_failures=3, backoff_s=0.001, max_backoff_s=0.002)
CREMAD = "CheyneyComputerScience/CREMA-D"
BROKEN = ("1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX")
SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publisher() as started:
        yield started


def bases(server: Publisher) -> dict[str, str]:
    return {name: server.url + ("/raw" if name == "github_raw" else "") for name in DEFAULT_HOSTS}


def get(server: Publisher, name: str, root: Path, **more: object) -> DownloadReport:
    options = DownloadOptions(hosts=Hosts(bases(server)), **more)  # type: ignore[arg-type]
    return download_corpus(name, root, options, policy=QUICK)


def zip_of(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def noise(seed: str, size: int = 3_000) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def publish_ravdess(server: Publisher, size: int = 3_000) -> dict[str, bytes]:
    archives = {}
    for speaker in range(1, 25):
        folder = f"Actor_{speaker:02d}"
        for kind, channel in (("Speech", "01"), ("Song", "02")):
            if kind == "Song" and speaker == 18:
                continue
            film = f"{folder}/01-{channel}-03-01-01-01-{speaker:02d}.mp4"
            archives[f"Video_{kind}_Actor_{speaker:02d}.zip"] = zip_of({film: noise(film, size)})
    for kind, channel in (("Speech", "01"), ("Song", "02")):
        wav = f"Actor_01/03-{channel}-03-01-01-01-01.wav"
        archives[f"Audio_{kind}_Actors_01-24.zip"] = zip_of({wav: noise(wav, size)})
    server.publish_zenodo("1188976", archives)
    return archives


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


def media(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.parts[-3:])
    )


def invoke(server: Publisher, *arguments: str) -> tuple[int, str]:
    pairs = [f"--base-url={name}={url}" for name, url in bases(server).items()]
    result = CliRunner().invoke(data_app, ["download", *arguments, *pairs], env={"COLUMNS": "300"})
    return result.exit_code, result.output


def test_every_reader_has_a_source() -> None:
    assert set(SOURCES) == set(corpus_names())


# RAVDESS from Zenodo


def test_the_small_ravdess_is_two_speakers_films(server: Publisher, tmp_path: Path) -> None:
    archives = publish_ravdess(server)
    code, output = invoke(server, "ravdess", "--subset", f"--root={tmp_path}")
    assert code == 0, output
    assert "2 files fetched now" in output
    assert media(tmp_path / "ravdess") == [
        "Video_Speech_Actor_01/Actor_01/01-01-03-01-01-01-01.mp4",
        "Video_Speech_Actor_02/Actor_02/01-01-03-01-01-01-02.mp4",
    ]
    clips = list(create_corpus("ravdess").clips(tmp_path / "ravdess"))
    assert [clip.speaker for clip in clips] == ["01", "02"]
    marker = tmp_path / "ravdess/.facevoice/complete-zenodo-subset.json"
    files = json.loads(marker.read_text())["files"]
    name = "Video_Speech_Actor_01.zip"
    assert files[0]["file"] == name
    assert files[0]["sha256"] == hashlib.sha256(archives[name]).hexdigest()
    md5 = hashlib.md5(archives[name], usedforsecurity=False).hexdigest()
    assert files[0]["published_checksum"] == f"md5:{md5}"


def test_all_of_ravdess_with_and_without_songs(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    assert get(server, "ravdess", tmp_path).num_files == 25
    report = get(server, "ravdess", tmp_path, songs=True)
    assert (report.num_files, report.num_fetched) == (49, 24)
    assert not list((tmp_path / "ravdess").glob("*.zip"))


def test_a_second_run_does_nothing_without_a_network(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    get(server, "ravdess", tmp_path, subset=True)
    server.stop()
    num_requests = len(server.seen)
    code, output = invoke(server, "ravdess", "--subset", f"--root={tmp_path}")
    assert code == 0
    assert "nothing to do" in output
    assert len(server.seen) == num_requests
    with pytest.raises(DownloadError, match="record 1188976"):
        get(server, "ravdess", tmp_path)


@pytest.mark.parametrize("harm", ["cut", "remove", "damage"])
def test_what_was_harmed_since_is_fetched_again(
    server: Publisher, tmp_path: Path, harm: str
) -> None:
    publish_ravdess(server)
    get(server, "ravdess", tmp_path, subset=True)
    film = next((tmp_path / "ravdess").rglob("*-01.mp4"))
    sound_bytes = film.read_bytes()
    if harm == "cut":
        film.write_bytes(sound_bytes[:-1])
    elif harm == "remove":
        film.unlink()
    else:
        film.write_bytes(b"\0" + sound_bytes[1:])
    report = get(server, "ravdess", tmp_path, subset=True, verify=harm == "damage")
    assert report.num_fetched == 1
    assert film.read_bytes() == sound_bytes


def test_a_file_cut_without_a_trace_in_its_date_is_fetched_again(
    server: Publisher, tmp_path: Path
) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    get(server, "cremad", tmp_path)
    film = tmp_path / "cremad/VideoFlash/1060_DFA_ANG_XX.flv"
    status, content = film.stat(), film.read_bytes()
    film.write_bytes(content[:-1])
    os.utime(film, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert get(server, "cremad", tmp_path).num_fetched == 1
    assert film.read_bytes() == content


def test_what_a_kill_left_while_unpacking_is_removed(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    left = tmp_path / "ravdess/.Video_Speech_Actor_01.abc.part"
    left.mkdir(parents=True)
    (left / "half.mp4").write_bytes(b"half")
    get(server, "ravdess", tmp_path, subset=True)
    assert not left.exists()


def test_archives_are_kept_on_request(server: Publisher, tmp_path: Path) -> None:
    archives = publish_ravdess(server)
    get(server, "ravdess", tmp_path, subset=True, keep_archives=True)
    name = "Video_Speech_Actor_02.zip"
    assert (tmp_path / "ravdess" / name).read_bytes() == archives[name]


def test_one_damaged_archive_does_not_stop_the_others_and_is_not_done(
    server: Publisher, tmp_path: Path
) -> None:
    publish_ravdess(server)
    server.fail("Actor_01.zip", *[Fault(flip_byte=True)] * 2)
    with pytest.raises(ChecksumError, match=r"Video_Speech_Actor_01\.zip"):
        get(server, "ravdess", tmp_path, subset=True, jobs=1)
    folder = tmp_path / "ravdess"
    assert [name.split("/")[0] for name in media(folder)] == ["Video_Speech_Actor_02"]
    assert not list((folder / ".facevoice").glob("complete*"))
    assert get(server, "ravdess", tmp_path, subset=True).num_fetched == 1
    assert len(server.asked("Actor_02.zip")) == 1


def test_many_failures_end_the_run(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    server.always[".*/content"] = Fault(status=404)
    with pytest.raises(DownloadError, match="HTTP 404") as caught:
        get(server, "ravdess", tmp_path, jobs=1)
    assert caught.value.__notes__ == ["25 files are missing in all."]
    # One more may be under way when the fifth failure is looked at.
    assert 5 <= len(server.asked("/content")) <= 7


def test_drops_waits_and_errors_together(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server, size=60_000)
    server.fail("records/1188976$", Fault(status=429, headers={"Retry-After": "0"}))
    server.fail(
        "content",
        Fault(status=500),
        Fault(drop_after=20_000),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(drop_after=7),
        Fault(flip_byte=True),
        Fault(drop_after=30_000, ignore_range=True),
    )
    assert get(server, "ravdess", tmp_path, subset=True).num_fetched == 2
    for film in (tmp_path / "ravdess").rglob("*.mp4"):
        name = "/".join(film.parts[-2:])
        assert film.read_bytes() == noise(name, 60_000)


def test_an_archive_that_leaves_its_folder_is_refused(server: Publisher, tmp_path: Path) -> None:
    archives = publish_ravdess(server)
    archives["Video_Speech_Actor_01.zip"] = zip_of({"../../evil.mp4": b"x"})
    server.publish_zenodo("1188976", archives)
    with pytest.raises(CorpusError, match="leaves the folder"):
        get(server, "ravdess", tmp_path, subset=True)
    assert not list(tmp_path.rglob("evil*"))
    assert not list((tmp_path / "ravdess/.facevoice").glob("complete*"))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"files": [{"key": "x"}]}, "not as documented"),
        ([], "not as documented"),
        ({"files": []}, "does not list it"),
    ],
)
def test_a_record_of_another_shape_is_an_error(
    server: Publisher, tmp_path: Path, document: object, problem: str
) -> None:
    server.publish_json("/api/records/1188976", document)
    with pytest.raises(DownloadError, match=problem):
        get(server, "ravdess", tmp_path)


def test_a_listed_name_that_leaves_the_folder_is_refused(server: Publisher, tmp_path: Path) -> None:
    server.publish_zenodo("1188976", {"../evil.zip": b"x"})
    with pytest.raises(DownloadError, match="unsafe file name"):
        get(server, "ravdess", tmp_path)


def test_too_little_room_is_an_error_before_anything_is_fetched(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_ravdess(server)
    usage = types.SimpleNamespace(total=1, used=1, free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskSpaceError, match=r"to unpack, but .* has 0\.00 MB free\. .*--subset"):
        get(server, "ravdess", tmp_path)
    assert not server.asked("/content")


def test_two_runs_at_once_do_not_meet(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server)
    (tmp_path / "ravdess/.facevoice").mkdir(parents=True)
    with FileLock(tmp_path / "ravdess/.facevoice/lock"):
        code, output = invoke(server, "ravdess", f"--root={tmp_path}")
    assert code == 1
    assert "another process is fetching" in output


# CREMA-D through GitHub's LFS


def test_the_small_cremad_is_the_chosen_clips_whole(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SOURCES["cremad"], pick=partial(pick_cremad, count=14))
    monkeypatch.setitem(sources.SOURCES, "cremad", small)  # type: ignore[arg-type]
    publish_cremad(server, cremad_stems())
    report = get(server, "cremad", tmp_path, subset=True)
    folder = tmp_path / "cremad"
    films = sorted(path.stem for path in (folder / "VideoFlash").iterdir())
    assert films == sorted(path.stem for path in (folder / "AudioWAV").iterdir())
    assert films == sorted(pick_cremad(set(cremad_stems()) - set(BROKEN), 14))
    assert report.num_files == 2 * 14 + 4
    assert report.left_out == BROKEN
    clips = list(create_corpus("cremad").clips(folder))
    assert len(clips) == 14
    assert all(clip.video_path and clip.audio_path for clip in clips)
    for stem in films:
        assert (folder / f"VideoFlash/{stem}.flv").read_bytes() == noise(f"film {stem}", 400)
        assert (folder / f"AudioWAV/{stem}.wav").read_bytes() == noise(f"wav {stem}", 300)
    assert sorted(path.name for path in folder.glob("*.csv")) == [
        "SentenceFilenames.csv",
        "VideoDemographics.csv",
    ]
    assert len(server.asked("objects/batch")) == 1
    assert len(server.asked("^/raw/.*(flv|wav)$")) == 28


def test_all_of_cremad_leaves_out_the_broken_four(server: Publisher, tmp_path: Path) -> None:
    stems = [f"1060_{s}_ANG_XX" for s in SENTENCES] + [*BROKEN, "1040_ITH_SAD_X"]
    publish_cremad(server, stems)
    code, output = invoke(server, "cremad", f"--root={tmp_path}")
    assert code == 0, output
    assert f"calls them broken: {', '.join(BROKEN)}" in output
    assert len(list((tmp_path / "cremad/VideoFlash").iterdir())) == 13
    for stem in BROKEN:
        assert not server.asked(stem)


def test_what_pointers_say_is_remembered_over_a_failed_run(
    server: Publisher, tmp_path: Path
) -> None:
    stems = [f"1060_{sentence}_ANG_XX" for sentence in SENTENCES]
    publish_cremad(server, stems)
    server.dynamic.clear()
    with pytest.raises(DownloadError, match="HTTP 404"):
        get(server, "cremad", tmp_path)
    assert len(server.asked("^/raw/.*flv$")) == 12
    publish_cremad(server, stems)
    get(server, "cremad", tmp_path)
    assert len(server.asked("^/raw/.*flv$")) == 12


def test_links_that_ran_out_are_asked_for_anew(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "BATCH_SIZE", 3)
    publish_cremad(server, ["1060_DFA_ANG_XX", "1060_DFA_SAD_XX"])
    server.fail("signature=secret1$", Fault(status=403, content_type="text/xml", body=b"<E/>"))
    get(server, "cremad", tmp_path, jobs=1)
    # Four objects are two batches; the first was asked for twice.
    assert len(server.asked("objects/batch")) == 3


def test_links_without_time_left_are_not_used(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX", "1060_DFA_SAD_XX"])
    server.lfs_expires_in = 10  # below the safety margin: good for one use only
    get(server, "cremad", tmp_path, jobs=1)
    assert len(server.asked("objects/batch")) == 4


def test_an_object_that_lfs_does_not_have_is_named(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    oid = hashlib.sha256(noise("film 1060_DFA_ANG_XX", 400)).hexdigest()
    server.lfs_errors[oid] = {"code": 404, "message": "Object does not exist"}
    with pytest.raises(DownloadError, match=r"ANG_XX\.flv.*404: Object does not exist\..*mirror"):
        get(server, "cremad", tmp_path)
    assert (tmp_path / "cremad/AudioWAV/1060_DFA_ANG_XX.wav").exists()


def test_a_used_up_quota_says_what_to_do(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    message = b'{"message": "This repository is over its data quota."}'
    server.always[f"/{CREMAD}.git/info/lfs/objects/batch"] = Fault(
        status=403, body=message, content_type="application/vnd.git-lfs+json"
    )
    with pytest.raises(DownloadError, match=r"over its data quota.*crema-d-mirror"):
        get(server, "cremad", tmp_path)


def test_a_damaged_object_is_never_done(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    oid = hashlib.sha256(noise("wav 1060_DFA_ANG_XX", 300)).hexdigest()
    server.fail(oid, *[Fault(flip_byte=True)] * 2)
    with pytest.raises(ChecksumError, match=r"ANG_XX\.wav.*sha256"):
        get(server, "cremad", tmp_path)
    assert not (tmp_path / "cremad/AudioWAV/1060_DFA_ANG_XX.wav").exists()


def test_a_damaged_table_or_pointer_is_never_taken(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    server.fail("summaryTable", Fault(flip_byte=True))
    server.fail("raw/.*flv", Fault(flip_byte=True))
    get(server, "cremad", tmp_path)
    assert (tmp_path / "cremad/processedResults/summaryTable.csv").read_bytes() == b"a,b\n"
    film = tmp_path / "cremad/VideoFlash/1060_DFA_ANG_XX.flv"
    assert film.read_bytes() == noise("film 1060_DFA_ANG_XX", 400)


def test_a_listing_cut_off_is_an_error(server: Publisher, tmp_path: Path) -> None:
    server.publish_json(f"/repos/{CREMAD}/git/trees/master", {"tree": [], "truncated": True})
    with pytest.raises(DownloadError, match="cuts the list of files off"):
        get(server, "cremad", tmp_path)
    server.publish_json(f"/repos/{CREMAD}/git/trees/master", {"tree": []})
    with pytest.raises(DownloadError, match="no folder 'VideoFlash'"):
        get(server, "cremad", tmp_path)


def test_the_subset_of_all_speakers_is_balanced_and_can_conflict() -> None:
    stems = [
        f"{1000 + k}_{s}_{e}_XX" for k in range(1, 92) for s in SENTENCES for e in EMOTION_CODES
    ]
    chosen = pick_cremad(reversed(stems))
    assert chosen == pick_cremad(stems)
    assert SOURCES["cremad"].pick is pick_cremad
    assert len(set(chosen)) == 100
    emotions = Counter(stem.split("_")[2] for stem in chosen)
    speakers = Counter(stem.split("_")[0] for stem in chosen)
    assert set(emotions.values()) == {16, 17}
    assert sorted(speakers.values()) == [4] + [6] * 16
    assert {"1001", "1091"} <= set(speakers)
    assert len({stem.split("_")[1] for stem in chosen}) == len(SENTENCES)
    cells = Counter(tuple(stem.split("_")[:2]) for stem in chosen)
    assert min(cells.values()) >= 4  # same speaker, same sentence, other emotions
    assert not isinstance(clip_of_stem(chosen[0]), str)


def test_the_subset_of_few_speakers_takes_more_of_each() -> None:
    chosen = pick_cremad(cremad_stems(range(1001, 1004)))
    assert len(set(chosen)) == 100
    assert max(Counter(stem[:4] for stem in chosen).values()) <= 36
    assert pick_cremad([]) == ()


# a kill at any moment

_CHILD = """
import sys
from pathlib import Path
from facevoice.corpora.download import DownloadOptions, download_corpus
from facevoice.corpora.download import Hosts
name, root, *pairs = sys.argv[1:]
hosts = Hosts(dict(pair.split("=", 1) for pair in pairs))
download_corpus(name, Path(root), DownloadOptions(subset=True, hosts=hosts))
"""


def test_a_run_killed_again_and_again_comes_to_a_whole_corpus(
    server: Publisher, tmp_path: Path
) -> None:
    publish_ravdess(server, size=400_000)
    server.always[".*/content"] = Fault(pause_s=0.004)
    pairs = [f"{name}={url}" for name, url in bases(server).items()]
    for kill_at in (1, 300_000, 700_000):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, "ravdess", str(tmp_path), *pairs])
        deadline_s = time.monotonic() + 120
        while sum(server.sent_bytes.values()) < kill_at and child.poll() is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    server.always.clear()
    report = get(server, "ravdess", tmp_path, subset=True)
    assert report.num_files == 2
    for film in (tmp_path / "ravdess").rglob("*.mp4"):
        assert film.read_bytes() == noise("/".join(film.parts[-2:]), 400_000)
    assert any("Range" in request.headers for request in server.asked("/content"))
    assert media(tmp_path / "ravdess") == [
        "Video_Speech_Actor_01/Actor_01/01-01-03-01-01-01-01.mp4",
        "Video_Speech_Actor_02/Actor_02/01-01-03-01-01-01-02.mp4",
    ]


def test_ctrl_c_stops_soon_and_keeps_what_came(server: Publisher, tmp_path: Path) -> None:
    publish_ravdess(server, size=400_000)
    server.always[".*/content"] = Fault(pause_s=0.05)
    pairs = [f"--base-url={name}={url}" for name, url in bases(server).items()]
    # A shell's background job, and so all that it starts, would ignore the signal.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from facevoice.cli.data import data_app; data_app()"
    arguments = ["download", "ravdess", "--subset", f"--root={tmp_path}", *pairs]
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
    deadline_s = time.monotonic() + 120
    while not list(tmp_path.rglob("*.part")):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, complaint = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"Run the same command again" in complaint
    server.always.clear()
    assert get(server, "ravdess", tmp_path, subset=True).num_files == 2


def test_a_kill_between_name_and_receipt_costs_no_second_download(
    server: Publisher, tmp_path: Path
) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    get(server, "cremad", tmp_path)
    folder = tmp_path / "cremad"
    receipts = folder / ".facevoice/receipts.jsonl"
    lines = receipts.read_text().splitlines()
    # The last receipt torn in the middle, and no marker: as a kill leaves it.
    receipts.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    (folder / ".facevoice/complete-github.json").unlink()
    before = sum(server.sent_bytes[path] for path in server.sent_bytes if "/objects/" in path)
    assert get(server, "cremad", tmp_path).num_files == 6
    after = sum(server.sent_bytes[path] for path in server.sent_bytes if "/objects/" in path)
    assert before == after
    server.stop()
    assert get(server, "cremad", tmp_path).was_complete


# the other corpora


def test_tess_from_dataverse_takes_every_file_once(server: Publisher, tmp_path: Path) -> None:
    names = ["OAF_back_angry.wav", "YAF_dog_ps.wav"]
    files = {f"{folder}/{name}": noise(name) for folder in ("a", "b") for name in names}
    server.publish_dataverse("doi:10.5683/SP2/E8H2MF", {**files, "docs/readme.txt": b"x"})
    assert get(server, "tess", tmp_path).num_files == 2
    assert len(list(create_corpus("tess").clips(tmp_path / "tess"))) == 2


def test_emodb_without_published_checksum_is_checked_by_its_own(
    server: Publisher, tmp_path: Path
) -> None:
    server.publish("/download/download.zip", zip_of({"wav/03a01Fa.wav": noise("a")}))
    get(server, "emodb", tmp_path)
    assert media(tmp_path / "emodb") == ["emodb/wav/03a01Fa.wav"]
    assert get(server, "emodb", tmp_path).was_complete


def test_a_damaged_emodb_is_not_kept(server: Publisher, tmp_path: Path) -> None:
    packed = bytearray(zip_of({"wav/03a01Fa.wav": noise("a")}))
    packed[200] ^= 1
    server.publish("/download/download.zip", bytes(packed))
    with pytest.raises(ChecksumError, match=r"can't be unpacked|is damaged"):
        get(server, "emodb", tmp_path)
    assert media(tmp_path / "emodb") == []


def test_javanese_comes_from_two_repositories(server: Publisher, tmp_path: Path) -> None:
    film, sound = SOURCES["javanese"].via["github"]
    server.publish_repository(
        film.repository,  # type: ignore[union-attr]
        film.ref,  # type: ignore[union-attr]
        {"dataset-resize/01-01-02_01.mp4": noise("film"), "dataset-resize/x.txt": b"x"},
        {},
    )
    packed = zip_of({"01-01-02_01.wav": noise("1"), "01-01-02_02.wav": noise("2")})
    server.publish_repository(
        sound.repository,  # type: ignore[union-attr]
        sound.ref,  # type: ignore[union-attr]
        {"dataset/dataset-person-01.zip": packed},
        {},
    )
    get(server, "javanese", tmp_path)
    assert media(tmp_path / "javanese") == [
        "audio/dataset-person-01/01-01-02_01.wav",
        "audio/dataset-person-01/01-01-02_02.wav",
        "video/01-01-02_01.mp4",
    ]
    clips = list(create_corpus("javanese").clips(tmp_path / "javanese"))
    assert [clip.video_path is None for clip in clips] == [False, True]


@pytest.mark.parametrize(
    ("name", "where"),
    [("savee", "surrey.ac.uk"), ("iemocap", "sail.usc.edu"), ("meld", "affective-meld")],
)
def test_corpora_to_fetch_by_hand_say_where_and_what_then(
    server: Publisher, tmp_path: Path, name: str, where: str
) -> None:
    with pytest.raises(ManualDownloadError) as caught:
        get(server, name, tmp_path)
    assert where in str(caught.value)
    assert f"unpack it to {tmp_path / name}" in str(caught.value)
    assert f"facevoice data prepare {name}" in str(caught.value)
    assert not server.seen


class FakeKagglehub(types.ModuleType):
    """Stands for kagglehub, whose own downloads need a real account."""

    def __init__(self, credentials: object, fails: bool = False) -> None:
        super().__init__("kagglehub")
        self.config = types.ModuleType("kagglehub.config")
        self.config.get_kaggle_credentials = lambda: credentials  # type: ignore[attr-defined]
        self.fails = fails
        self.calls: list[str] = []

    def dataset_download(self, handle: str, output_dir: str) -> str:
        self.calls.append(handle)
        if self.fails:
            raise RuntimeError("403")
        folder = Path(output_dir, "train", "happy")
        folder.mkdir(parents=True)
        (folder / "Training_1.jpg").write_bytes(b"picture")
        return output_dir


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeKagglehub) -> FakeKagglehub:
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    monkeypatch.setitem(sys.modules, "kagglehub.config", fake.config)
    return fake


def test_kaggle_is_used_with_the_users_account(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = install(monkeypatch, FakeKagglehub(credentials=("me", "key")))
    assert get(server, "fer2013", tmp_path).num_fetched == 1
    assert get(server, "fer2013", tmp_path).was_complete
    assert fake.calls == ["msambare/fer2013"]
    assert media(tmp_path / "fer2013") == ["kaggle/train/happy/Training_1.jpg"]
    get(server, "cremad", tmp_path, via="kaggle")
    assert fake.calls[1:] == ["ejlok1/cremad"]


def test_kaggle_without_account_or_access_says_what_to_do(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeKagglehub(credentials=None))
    with pytest.raises(DownloadError, match="KAGGLE_API_TOKEN"):
        get(server, "fer2013", tmp_path)
    install(monkeypatch, FakeKagglehub(credentials=("me", "key"), fails=True))
    with pytest.raises(DownloadError, match=r"RuntimeError: 403.*access"):
        get(server, "fer2013", tmp_path)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingExtraError, match=r"facevoice\[data\]"):
        get(server, "fer2013", tmp_path)


def test_a_terminal_shows_what_is_going_on(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    server.fail("^/objects/", Fault(status=500))
    server.fail("trees/master", Fault(status=503))
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=200)
    options = DownloadOptions(hosts=Hosts(bases(server)))
    with _bars(console) as progress:
        slow = replace(QUICK, backoff_s=0.3, max_backoff_s=0.3)
        download_corpus("cremad", tmp_path, options, progress, slow)
    assert "6 of 6 files to fetch" in terminal.getvalue()
    assert "HTTP 500; trying again" in terminal.getvalue()
    assert "HTTP 503; trying again" in terminal.getvalue()


# wrong wishes, settings, parts that are not installed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nobody"], "corpus 'nobody' is unknown; known are cremad, emodb"),
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
        data_app, ["download", *arguments, f"--root={tmp_path}"], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    assert problem in result.output
    assert not list(tmp_path.iterdir())


def test_no_jobs_are_a_config_error(server: Publisher, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jobs = 0"):
        get(server, "ravdess", tmp_path, jobs=0)


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVOICE_ZENODO_URL", "https://mirror.example/zenodo/")
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    hosts = Hosts.from_environment({"github": "http://other.example"})
    assert hosts.base("zenodo") == "https://mirror.example/zenodo"
    assert hosts.base("github") == "http://other.example"
    assert hosts.base("emodb") == DEFAULT_HOSTS["emodb"]
    assert hosts.github_token == "t"  # noqa: S105
    link = "https://zenodo.org/api/records/1/files/a.zip/content"
    mirrored = "https://mirror.example/zenodo/api/records/1/files/a.zip/content"
    assert hosts.rebase("zenodo", link) == mirrored
    assert Hosts().rebase("zenodo", link) == link


def test_a_token_goes_to_the_listing_only(server: Publisher, tmp_path: Path) -> None:
    publish_cremad(server, ["1060_DFA_ANG_XX"])
    hosts = Hosts(bases(server), github_token="t")  # noqa: S106
    download_corpus("cremad", tmp_path, DownloadOptions(hosts=hosts), policy=QUICK)
    with_token = {one.path.split("/")[1] for one in server.seen if "Authorization" in one.headers}
    assert with_token == {"repos"}


@pytest.mark.parametrize("package", ["requests", "filelock"])
def test_without_the_extra_the_error_names_it(
    server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"facevoice\[data\]"):
        get(server, "ravdess", tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(server: Publisher, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="can't be written"):
        get(server, "ravdess", tmp_path / "file")
