"""The process: signals, closed streams, missing surroundings, tight limits."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.case import AS_PLAIN, Bench, Case, Expect, Run
from faults.child import COMMAND, LIMIT_S, PIPE_BYTES, read, run_in_child, signalled
from faults.studio import Studio

NUM_PARTS = 8
INTERRUPTED = Expect(exit_codes=(130,), reports=0, says=("Interrupted",))
MEBIBYTE = 1 << 20


def _plain(studio: Studio, folder: Path) -> Path:
    return studio.plain_file(folder / "clip.mp4")


def long_film(studio: Studio, folder: Path) -> Path:
    """Half a minute: the plain clip again and again."""
    path = folder / "long.ts"
    path.write_bytes(studio.plain(".ts") * NUM_PARTS)
    return path


def _into_out(studio: Studio, folder: Path) -> list[str]:
    return [str(_plain(studio, folder)), "--out", str(folder.parent / "out")]


def _words(*words: str) -> Any:
    return lambda studio, folder: list(words)


def _head(bench: Bench, words: list[str]) -> Run:
    """As `facevoice … | head -c 1`: the reader goes away."""
    child = subprocess.Popen(
        [*COMMAND, "--format", "jsonl", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=PIPE_BYTES,
        bufsize=0,
    )
    assert child.stdout is not None
    child.stdout.read(1)
    child.stdout.close()
    _, stderr = child.communicate(timeout=LIMIT_S)
    return read(child.returncode, b"", stderr, words)


def _onto_full_disk(bench: Bench, words: list[str]) -> Run:
    with Path("/dev/full").open("wb") as full:
        return run_in_child(capture_output=False, stderr=subprocess.PIPE, stdout=full)(bench, words)


def _no_folder(bench: Bench, words: list[str]) -> Run:
    """The working folder is removed before the command starts."""
    place = Path(words[0]).parent.parent / "gone"
    place.mkdir()
    return run_in_child(cwd=place, prepare=place.rmdir)(bench, words)


def _private_files() -> None:
    os.umask(0o077)


def _text(**changes: str | None) -> Any:
    return run_in_child(changes=changes, options=())


SAYS_MATCH = Expect(reports=0, says=("Face and voice match",))

CASES = (
    Case("child", "the command by itself", _plain, AS_PLAIN, run_in_child(), is_quick=True),
    Case(
        "sigint",
        "Ctrl-C in the middle of a film",
        long_film,
        INTERRUPTED,
        signalled(signal.SIGINT),
    ),
    Case(
        "sigterm",
        "asked to end, as by a system that shuts down",
        long_film,
        INTERRUPTED,
        signalled(signal.SIGTERM),
    ),
    Case("sighup", "the terminal is closed", long_film, INTERRUPTED, signalled(signal.SIGHUP)),
    Case(
        "reader-gone",
        "the reader of the output goes away, as `head` does",
        long_film,
        Expect(exit_codes=(1,), reports=0),
        _head,
    ),
    Case(
        "stdin-closed",
        "no standard input",
        _plain,
        AS_PLAIN,
        run_in_child(stdin=None, prepare=lambda: os.close(0)),
    ),
    Case(
        "stdout-closed",
        "no standard output, reports go into a folder",
        _into_out,
        AS_PLAIN,
        run_in_child(
            options=(), prepare=lambda: os.close(1), capture_output=False, stderr=subprocess.PIPE
        ),
    ),
    Case(
        "stderr-closed",
        "no standard error",
        _plain,
        AS_PLAIN,
        run_in_child(prepare=lambda: os.close(2), capture_output=False, stdout=subprocess.PIPE),
    ),
    Case(
        "stdout-full",
        "standard output is a full disk",
        _plain,
        Expect(exit_codes=(1,), reports=0, says=("No space left",)),
        _onto_full_disk,
    ),
    Case("no-home", "no home folder", _plain, AS_PLAIN, run_in_child(changes={"HOME": None})),
    Case(
        "home-missing",
        "a home folder that is not there",
        _plain,
        AS_PLAIN,
        run_in_child(changes={"HOME": "/nonexistent"}),
    ),
    Case(
        "no-environment",
        "an empty environment",
        _plain,
        AS_PLAIN,
        run_in_child(
            changes=dict.fromkeys(
                (n for n in os.environ if n not in ("PYTHONPATH", "TMPDIR")), None
            )
        ),
    ),
    Case(
        "tmp-missing",
        "a folder for temporary files that is not there",
        _plain,
        AS_PLAIN,
        run_in_child(changes={"TMPDIR": "/nonexistent"}),
    ),
    Case("working-folder-gone", "the working folder was removed", _plain, AS_PLAIN, _no_folder),
    Case(
        "locale-c",
        "the locale C",
        _plain,
        AS_PLAIN,
        run_in_child(changes={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ),
    Case(
        "ascii-output",
        "a terminal that shows ASCII only",
        _plain,
        SAYS_MATCH,
        _text(PYTHONIOENCODING="ascii"),
    ),
    Case(
        "cp1252-output",
        "a terminal of Windows",
        _plain,
        SAYS_MATCH,
        _text(PYTHONIOENCODING="cp1252"),
    ),
    Case("dumb-terminal", "a terminal that can do nothing", _plain, SAYS_MATCH, _text(TERM="dumb")),
    Case(
        "one-column",
        "a terminal of one column",
        _plain,
        replace(SAYS_MATCH, says=()),
        _text(COLUMNS="1"),
    ),
    Case(
        "umask",
        "new files may be read by nobody else",
        _into_out,
        AS_PLAIN,
        run_in_child(options=(), prepare=_private_files),
    ),
    Case(
        "few-files",
        "32 open files at most",
        _plain,
        AS_PLAIN,
        run_in_child(limits={resource.RLIMIT_NOFILE: 32}),
    ),
    Case(
        "very-few-files",
        "12 open files at most: done, or said so",
        _plain,
        Expect(exit_codes=(0, 1, 2)),
        run_in_child(limits={resource.RLIMIT_NOFILE: 12}),
    ),
    Case(
        "few-bytes",
        "files of 64 bytes at most, as on a full disk",
        _into_out,
        Expect(
            exit_codes=(1,),
            reports=0,
            says=("can't be read or written", "Check that the disk has room"),
        ),
        run_in_child(options=(), limits={resource.RLIMIT_FSIZE: 64}),
    ),
    Case(
        "some-bytes",
        "files of 295 kB at most: the reports are written, the store is not and says so",
        lambda s, f: [str(long_film(s, f)), "--out", str(f.parent / "out")],
        Expect(("ok",), face=True, voice=True, says=(".facevoice.db", "has room")),
        run_in_child(options=(), limits={resource.RLIMIT_FSIZE: 295_000}),
    ),
    Case(
        "low-memory",
        "2 GB of address space",
        _plain,
        AS_PLAIN,
        run_in_child(limits={resource.RLIMIT_AS: 2048 * MEBIBYTE}),
    ),
    Case(
        "optimised",
        "Python without assertions",
        _plain,
        AS_PLAIN,
        run_in_child(command=(COMMAND[0], "-OO", *COMMAND[1:])),
    ),
    Case(
        "warnings-on",
        "Python's warnings are on",
        _plain,
        AS_PLAIN,
        run_in_child(changes={"PYTHONWARNINGS": "default", "PYTHONDEVMODE": "1"}),
    ),
    Case(
        "no-arguments",
        "nothing to analyse is named",
        _words(),
        Expect(exit_codes=(2,), reports=0),
        run_in_child(),
    ),
    Case(
        "empty-argument",
        "an empty name, as of a variable that is not set",
        _words(""),
        Expect(exit_codes=(2,), reports=0, says=("empty path",)),
        run_in_child(),
    ),
    Case(
        "unknown-option",
        "an option that is not known",
        _words("--nonsense"),
        Expect(exit_codes=(2,), reports=0, says=("--nonsense",)),
        run_in_child(),
    ),
    Case(
        "wrong-window",
        "a window below 0",
        lambda s, f: [str(_plain(s, f)), "--window", "-1"],
        Expect(exit_codes=(2,), reports=0),
        run_in_child(),
    ),
    Case(
        "endless-window",
        "a window without end",
        lambda s, f: [str(_plain(s, f)), "--window", "inf"],
        Expect(exit_codes=(2,), reports=0),
        run_in_child(),
    ),
    Case(
        "nan-window",
        "a window of no number",
        lambda s, f: [str(_plain(s, f)), "--window", "nan"],
        Expect(exit_codes=(2,), reports=0),
        run_in_child(),
    ),
)
