"""The command in a process of its own, with limits, signals and odd surroundings."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from faults.case import Act, Bench, Run, environment, reports_below

COMMAND = (sys.executable, "-m", "facevoice", "analyze")
LIMIT_S = 300.0
"""Only against hanging for ever."""
PIPE_BYTES = 4096
"""Less than what is printed of the windows of a film of half a minute."""
Limits = Mapping[int, int]


def run_in_child(
    *,
    changes: Mapping[str, str | None] | None = None,
    limits: Limits | None = None,
    options: Sequence[str] = ("--format", "json"),
    prepare: Callable[[], None] | None = None,
    command: Sequence[str] = COMMAND,
    **how: Any,
) -> Act:
    """`facevoice analyze …` by itself.

    changes: of the environment; limits: of `resource`, by kind; prepare: runs in the child before
    the command; how: other arguments of `subprocess.run`.
    """

    def act(bench: Bench, words: list[str]) -> Run:
        given = {"stdin": subprocess.DEVNULL, "capture_output": True, **how}
        done = subprocess.run(
            [*command, *options, *words],
            env=dict(environment(**(changes or {}))),
            preexec_fn=lambda: _before(limits or {}, prepare),
            timeout=LIMIT_S,
            check=False,
            **given,
        )
        return read(done.returncode, done.stdout or b"", done.stderr or b"", words)

    return act


def _before(limits: Limits, prepare: Callable[[], None] | None) -> None:
    for kind, bound in limits.items():
        resource.setrlimit(kind, (bound, bound))
    if prepare is not None:
        prepare()


def read(exit_code: int, stdout: bytes, stderr: bytes, words: Sequence[str]) -> Run:
    """What came of a child, with the reports on its standard output or below `--out`."""
    text = stdout.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.startswith('{"schema"')]
    if "--out" in words:
        out = Path(words[list(words).index("--out") + 1])
        lines = [path.read_text("utf-8") for path in reports_below(out)]
    reports = tuple(json.loads(line) for line in lines)
    return Run(exit_code, text, stderr.decode("utf-8", "replace"), reports)


def heed_signals() -> None:
    """A shell lets what it starts aside ignore Ctrl-C, nohup a hang-up; so do their children."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run_until_a_window(then: Callable[[subprocess.Popen[bytes], list[str]], None]) -> Act:
    """Begin, do something as soon as the first window is printed, and wait for the end.

    The pipe holds less than is printed, so that the command waits in the midst until it is read.
    """

    def act(bench: Bench, words: list[str]) -> Run:
        child = subprocess.Popen(
            [*COMMAND, "--format", "jsonl", *words],
            env=dict(environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pipesize=PIPE_BYTES,
            bufsize=0,
            preexec_fn=heed_signals,  # noqa: PLW1509
        )
        assert child.stdout is not None
        try:
            first = child.stdout.readline()
            then(child, words)
            stdout, stderr = child.communicate(timeout=LIMIT_S)
        finally:
            child.kill()
        return read(child.returncode, first + stdout, stderr, words)

    return act


def signalled(number: signal.Signals) -> Act:
    """Begin, and send a signal at the first window."""
    return run_until_a_window(lambda child, _: os.kill(child.pid, number))
