"""The web app on a free port of this machine, with a folder of its own for uploads."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from threading import Condition, Event
from typing import Any

import numpy as np

from facevoice.analyzer import Analyzer
from facevoice.records import Perception, Window, WindowView
from facevoice.sandbox import Limits
from facevoice.settings import AnalyzerConfig
from facevoice.web import WebOptions, launch_app

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLE = EXAMPLES / "smile_glad_voice.mp4"
# Nothing takes so long; a busy machine may take its time.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Server:
    url: str
    uploads: Path

    def files(self, name: str) -> list[Path]:
        """Files of this name that the server keeps."""
        # Unlike `rglob`, `walk` passes over folders that go meanwhile.
        found = [Path(root, n) for root, _, names in os.walk(self.uploads) for n in names]
        return [path for path in found if fnmatch(path.name, name)]


@contextmanager
def serve(
    analyzer: Analyzer, uploads: Path, options: WebOptions, **launch: Any
) -> Iterator[Server]:
    # Gradio reads its folder when components are made.
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    address = {"server_name": "127.0.0.1", "server_port": free_port(), "quiet": True}
    app = launch_app(analyzer, options, wait=False, **address, **launch)
    try:
        yield Server(f"http://127.0.0.1:{address['server_port']}/", uploads)
    finally:
        app.close()
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold, however long it takes a busy machine."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


class Gate:
    """Heavy work that goes on until `opened` is set; counts what works at the same time."""

    def __init__(self) -> None:
        self.opened = Event()
        self.num_working = self.most = 0
        self._counting = Condition()

    def work(self) -> None:
        self._count(1)
        assert self.opened.wait(PATIENCE_S)
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self.num_working += change
            self.most = max(self.most, self.num_working)


def with_others(perception: Perception) -> Perception:
    """The same with somebody beside whom it shows, and a third one after that one has gone."""
    faces = perception.windows[0].faces
    second, third = (
        replace(faces[0], person=track, identity=identity)
        for track, identity in zip((7, 8), np.eye(128, dtype=np.float32), strict=False)
    )
    windows = []
    for window in perception.windows:
        mine = window.faces[0]
        own = second if window.start_s == 0 else third
        assert mine.times_s is not None
        assert mine.boxes_xyxy_rel is not None
        is_new = mine.times_s >= (0 if own is second else perception.windows[0].end_s)
        seen = {"times_s": mine.times_s[is_new], "boxes_xyxy_rel": mine.boxes_xyxy_rel[is_new]}
        beside = replace(own, speaking=-4.0, **seen)
        windows.append(replace(window, faces=(replace(mine, speaking=4.0), beside), num_faces=2))
    return replace(perception, windows=tuple(windows))


@cache
def perceived_sample() -> Perception:
    """What is perceived of the sample; read once for all tests."""
    return Analyzer().perceive(SAMPLE)


class GatedAnalyzer(Analyzer):
    """Gives the same perception of every file, and of every stream; each window works at a gate."""

    def __init__(self, gate: Gate, config: AnalyzerConfig | None = None) -> None:
        super().__init__(config)
        self._gate = gate
        self.perception = perceived_sample()
        vars(self.perceiver)["follow"] = self._follow

    def in_isolation(self, limits: Limits | None = None) -> Analyzer:
        return self  # It reads nothing.

    def perceive(self, path: Any, *, on_view: Any = None, **_: Any) -> Perception:
        for view in self.perception.windows:
            self._gate.work()
            if on_view is not None:
                on_view(view)
        return self.perception

    def _follow(
        self, frames: Any, blocks: Any, duration_s: float, **more: Any
    ) -> Iterator[WindowView]:
        for view in self.perception.windows:
            if more["wanted"](Window(view.start_s, view.end_s, None, None, 0.0, 0.0)):
                self._gate.work()
                yield view
