"""The file system: what is no file, what can't be read or written, what changes meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.case import AS_PLAIN, Bench, Case, Expect, Run, refused, run_here
from faults.child import run_until_a_window
from faults.process import long_film
from faults.studio import Studio

PLAIN_AND_FAILED = Expect(reports=2, exit_codes=(1,))
FULL = "No space left"


def _missing(studio: Studio, folder: Path) -> Path:
    return folder / "clip.mp4"


def _plain(studio: Studio, folder: Path) -> Path:
    return studio.plain_file(folder / "clip.mp4")


def _special(make: Callable[[Path], None], name: str = "clip.mp4") -> Any:
    def made(studio: Studio, folder: Path) -> Path:
        make(folder / name)
        return folder / name

    return made


def _named(path: str) -> Any:
    return lambda studio, folder: Path(path)


def _linked(studio: Studio, folder: Path) -> Path:
    studio.plain_file(folder / "real.mp4")
    (folder / "clip.mp4").symlink_to("real.mp4")
    return folder / "clip.mp4"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


def _looping_folder(studio: Studio, folder: Path) -> Path:
    studio.plain_file(folder / "clip.mp4")
    (folder / "up").symlink_to(folder, target_is_directory=True)
    return folder


def _folder_named_as_film(studio: Studio, folder: Path) -> Path:
    inner = folder / "x.mp4"
    inner.mkdir()
    studio.plain_file(inner / "clip.mp4")
    return folder


def _one_bad_of_two(studio: Studio, folder: Path) -> list[str]:
    (folder / "a.mp4").write_bytes(b"")
    studio.plain_file(folder / "b.mp4")
    return [str(folder)]


def _twice(studio: Studio, folder: Path) -> list[str]:
    path = str(studio.plain_file(folder / "clip.mp4"))
    return [path, path, f"{folder}/./clip.mp4"]


def _hard_links(studio: Studio, folder: Path) -> list[str]:
    path = studio.plain_file(folder / "a.mp4")
    (folder / "b.mp4").hardlink_to(path)
    return [str(folder)]


def _out(*out: str) -> Any:
    """The plain clip, with --out at a place below the case's folder."""

    def make(studio: Studio, folder: Path) -> list[str]:
        path = studio.plain_file(folder / "clip.mp4")
        return [str(path), "--out", str(folder.joinpath(*out))]

    return make


def _out_is_file(studio: Studio, folder: Path) -> list[str]:
    (folder / "report").write_text("mine")
    return _out("report")(studio, folder)


def _out_below_file(studio: Studio, folder: Path) -> list[str]:
    (folder / "report").write_text("mine")
    return _out("report", "deeper")(studio, folder)


def _out_inside(studio: Studio, folder: Path) -> list[str]:
    studio.plain_file(folder / "clip.mp4")
    return [str(folder), "--out", str(folder / "out")]


def _store_is_no_store(studio: Studio, folder: Path) -> list[str]:
    store = folder / "store.db"
    store.write_text("no database " * 100)
    return [str(_plain(studio, folder)), "--store", str(store)]


def _run_twice(bench: Bench, words: list[str]) -> Run:
    """Run once more: what the first run wrote is no input of the second."""
    run_here(bench, words)
    return run_here(bench, words)


def _run_kept(bench: Bench, words: list[str]) -> Run:
    """Run, and see that a file of the user's is as it was."""
    run = run_here(bench, words)
    mine = Path(words[0]).with_name("report").read_text()
    return run if mine == "mine" else replace(run, wrong=("the user's file was overwritten",))


def _two_films(studio: Studio, folder: Path) -> list[str]:
    return [str(long_film(studio, folder)), str(_plain(studio, folder))]


def _vanish(child: subprocess.Popen[bytes], words: list[str]) -> None:
    Path(words[-1]).unlink()


def _shrink(child: subprocess.Popen[bytes], words: list[str]) -> None:
    os.truncate(words[0], Path(words[0]).stat().st_size // 2)


def _grow(child: subprocess.Popen[bytes], words: list[str]) -> None:
    with Path(words[0]).open("ab") as file:
        file.write(bytes(100_000))


def _replace(child: subprocess.Popen[bytes], words: list[str]) -> None:
    Path(words[0]).unlink()
    Path(words[0]).write_text("another file")


NO_FILE = refused("no such file", "Check the name", kinds=("media_not_found",))

CASES = (
    Case("missing", "there is no such file", _missing, NO_FILE),
    Case("missing-folder", "there is no such folder", lambda s, f: f / "no" / "clip.mp4", NO_FILE),
    Case(
        "below-file",
        "a name below a file, as if that were a folder",
        lambda s, f: _plain(s, f) / "clip.mp4",
        Expect(("failed",)),
    ),
    Case(
        "empty-folder",
        "a folder without films",
        lambda s, f: f,
        refused("no media file", kinds=("media_not_found", "no_media")),
    ),
    Case(
        "folder-of-texts",
        "a folder of other files",
        lambda s, f: (f / "a.txt").write_text("a") and f,
        refused("no media file", kinds=("media_not_found", "no_media")),
    ),
    Case(
        "folder-named-as-film",
        "a folder called x.mp4: what is inside is analysed",
        _folder_named_as_film,
        AS_PLAIN,
    ),
    Case(
        "empty-folder-named-as-film",
        "an empty folder called x.mp4",
        _special(Path.mkdir),
        refused("folder", kinds=("media_not_found", "unreadable_media", "no_media")),
    ),
    Case("symlink", "a link to a film", _linked, AS_PLAIN),
    Case(
        "symlink-dangling",
        "a link to nothing",
        _special(lambda p: p.symlink_to("nothing.mp4")),
        Expect(("failed",), kinds=("media_not_found", "unreadable_media")),
    ),
    Case(
        "symlink-loop",
        "a link to itself",
        _special(lambda p: p.symlink_to(p.name)),
        Expect(("failed",), kinds=("media_not_found", "unreadable_media")),
        is_quick=True,
    ),
    Case("folder-loop", "a folder with a link to itself", _looping_folder, AS_PLAIN),
    Case(
        "fifo",
        "a named pipe into which nobody writes",
        _special(os.mkfifo),
        Expect(("failed",)),
        is_quick=True,
    ),
    Case("socket", "a socket", _special(_socket), Expect(("failed",))),
    Case("dev-null", "/dev/null", _named("/dev/null"), Expect(("failed",))),
    Case(
        "dev-zero",
        "/dev/zero, which never ends",
        _named("/dev/zero"),
        Expect(("failed",)),
    ),
    Case(
        "proc-file",
        "a file of /proc, which states no length",
        _named("/proc/self/maps"),
        Expect(("failed",)),
    ),
    Case(
        "one-bad-of-two",
        "one empty file and one film: the film is analysed",
        _one_bad_of_two,
        PLAIN_AND_FAILED,
        is_quick=True,
    ),
    Case("named-twice", "the same file named three times: analysed once", _twice, AS_PLAIN),
    Case("hard-links", "one film by two names", _hard_links, replace(AS_PLAIN, reports=2)),
    Case(
        "out-is-file",
        "--out names a file of the user's",
        _out_is_file,
        Expect(exit_codes=(2,), reports=0, says=("--out", "is a file; name a folder")),
        _run_kept,
        is_quick=True,
    ),
    Case(
        "out-below-file",
        "--out names a place below a file",
        _out_below_file,
        Expect(exit_codes=(2,), reports=0, says=("--out", "is a file; name a folder")),
        _run_kept,
    ),
    Case(
        "out-in-proc",
        "--out names a place where nobody can write",
        lambda s, f: [str(_plain(s, f)), "--out", "/proc/facevoice"],
        Expect(exit_codes=(2,), reports=0, says=("can't be written", "choose another --out")),
    ),
    Case("out-deep", "--out names folders that are not there yet", _out("a", "b", "c"), AS_PLAIN),
    Case(
        "out-inside",
        "--out lies inside the folder that is analysed, twice",
        _out_inside,
        AS_PLAIN,
        _run_twice,
    ),
    Case(
        "store-is-no-store",
        "--store names another kind of file, which is left alone",
        _store_is_no_store,
        Expect(exit_codes=(1,), reports=0, says=("store.db",)),
    ),
    Case(
        "store-missing-folder",
        "--store lies in a folder that is not there",
        lambda s, f: [str(_plain(s, f)), "--store", str(f / "no" / "store.db")],
        Expect(exit_codes=(0, 1, 2)),
    ),
    Case(
        "vanishes",
        "the second film is removed while the first is read",
        _two_films,
        Expect(exit_codes=(1,), reports=0, says=("no such file",)),
        run_until_a_window(_vanish),
    ),
    Case(
        "shrinks",
        "the film is cut in half while it is read: what was there is told",
        long_film,
        Expect(exit_codes=(0,), reports=0),
        run_until_a_window(_shrink),
    ),
    Case(
        "grows",
        "the film grows while it is read",
        long_film,
        Expect(exit_codes=(0,), reports=0),
        run_until_a_window(_grow),
    ),
    Case(
        "replaced",
        "another file takes the film's place while it is read",
        long_film,
        Expect(exit_codes=(0, 1, 2), reports=0),
        run_until_a_window(_replace),
    ),
)
