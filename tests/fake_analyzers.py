"""An analyzer that needs no media, for tests of what is made of its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from facevoice.batch import AnalyzerSetup
from facevoice.errors import UnreadableMediaError
from facevoice.records import ModelId, Prediction, Report, WindowView
from made_reports import BLIND, CONFLICT, FLAT, MATCH, decided, in_a_row


class FakeAnalyzer:
    """Answers by file name: `good*` conflicts, `stop*` is interrupted, anything else fails.

    `good*_long` has many windows.
    """

    models: ClassVar = {"voice": ModelId("v", "0" * 64)}

    def __init__(self, setup: AnalyzerSetup) -> None:
        self.config = setup.config
        self.num_threads = setup.num_threads

    def recall(self, *_: object) -> None:
        """Nothing is known."""

    def perceive(
        self, path: str | Path, *, on_view: Callable[[WindowView], None], **_: object
    ) -> SimpleNamespace:
        name = Path(path).name
        if name.startswith("stop"):
            raise KeyboardInterrupt
        if not name.startswith("good"):
            raise UnreadableMediaError(path, "no media file.")
        on_view(WindowView(0.0, 4.0))
        return SimpleNamespace(path=path, sha256=None)

    def interpret(self, perception: SimpleNamespace, **_: object) -> Report:
        path = perception.path
        windows: list[Prediction] = [CONFLICT, BLIND]
        if "long" in Path(path).name:
            windows = [MATCH, CONFLICT, FLAT] * 9
        return decided(*in_a_row(windows), path=str(path), decision=self.config.decision)
