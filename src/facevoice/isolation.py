"""Perceiving files from strangers: decoding, and all that looks and listens, in a `Sandbox`.

What comes back is checked as if it came from a stranger too: a decoder that was taken over answers
what it likes, but nothing other than windows.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from facevoice.backbones.spec import Backbone
from facevoice.codec import (
    media_values,
    read_media,
    read_view,
    read_window,
    view_values,
    window_values,
)
from facevoice.errors import DecoderCrashedError, MediaError
from facevoice.media import DamageCallback
from facevoice.perceive import Perceiver
from facevoice.records import MediaInfo, Modality, Window, WindowView
from facevoice.sandbox import Limits, Message, Sandbox, Work
from facevoice.settings import AnalyzerConfig

# Loaded children that wait for files: more would only hold memory.
_MAX_IDLE: Final = 2
_MAX_COMPLAINTS: Final = 100
_EPSILON_S: Final = 1e-6

T = TypeVar("T")


class IsolatedPerceiver(Perceiver):
    """A `Perceiver` that leaves all reading to children that can do no harm.

    A child sees the files of one folder; those of other folders are for other children.

    Args:
        settings, backbones, num_threads: see `Perceiver`.
        entry, setup: what gives a `Work` in the child, such as `serve_perceiver` does.
        limits: of each child.
    """

    def __init__(
        self,
        settings: AnalyzerConfig,
        backbones: Mapping[Modality, Backbone],
        *,
        entry: str,
        setup: Message,
        limits: Limits,
        num_threads: int = 1,
    ) -> None:
        super().__init__(settings, backbones, num_threads=num_threads)
        self._children = _Children(entry, setup, limits)
        weakref.finalize(self, self._children.close)

    def probe(self, path: str | Path, *, on_damage: DamageCallback | None = None) -> MediaInfo:
        """See `Perceiver.probe`; also DecoderCrashedError and OverLimitError."""
        path = Path(path)
        media: MediaInfo | None = None
        with self._children.one_for(path) as child:
            task = {"do": "probe", "path": os.fsencode(path)}
            for message in child.work(task, path):
                if "damage" in message:
                    _tell(on_damage, message)
                else:
                    media = _checked(read_media, message.get("media"), path)
        if media is None or media.path != path:
            raise _nonsense(path)
        return media

    def views(
        self,
        info: MediaInfo,
        *,
        after: Iterable[WindowView] = (),
        end_s: float | None = None,
        on_damage: DamageCallback | None = None,
    ) -> Generator[WindowView, None, None]:
        """See `Perceiver.views`; also DecoderCrashedError and OverLimitError."""
        known = list(after)
        task = {
            "do": "views",
            "media": media_values(info),
            "after": [view_values(view) for view in known],
            "end_s": end_s,
        }
        hop_s = self.settings.windows.hop_s
        num_complaints, number = 0, len(known)
        with (
            self._children.one_for(info.path) as child,
            closing(child.work(task, info.path, length_s=info.duration_s)) as messages,
        ):
            for message in messages:
                if "damage" in message:
                    num_complaints += 1
                    _tell(on_damage if num_complaints <= _MAX_COMPLAINTS else None, message)
                    continue
                view = _checked(read_view, message.get("view"), info.path)
                is_next = abs(view.start_s - number * hop_s) < _EPSILON_S
                if not (is_next and view.start_s <= info.duration_s and self._fits(view)):
                    raise _nonsense(info.path)
                number += 1
                yield view

    def window(self, info: MediaInfo, known: Sequence[WindowView]) -> Window:
        """See `Perceiver.window`; also DecoderCrashedError and OverLimitError."""
        task = {
            "do": "window",
            "media": media_values(info),
            "after": [view_values(view) for view in known],
        }
        window: Window | None = None
        with self._children.one_for(info.path) as child:
            for message in child.work(task, info.path, length_s=info.duration_s):
                window = _checked(read_window, message.get("window"), info.path)
        if window is None or abs(window.start_s - known[-1].start_s) > _EPSILON_S:
            raise _nonsense(info.path)
        return window

    def _fits(self, view: WindowView) -> bool:
        """Whether its embeddings are as long as those of the backbones."""
        found = {Modality.AUDIO: [view.voice], Modality.VIDEO: [f.embedding for f in view.faces]}
        return all(
            one is None or (m in self.backbones and one.shape == (self.backbones[m].spec.dim,))
            for m, embeddings in found.items()
            for one in embeddings
        )


def serve_perceiver(perceiver: Perceiver) -> Work:
    """What a child does for an `IsolatedPerceiver`."""

    def work(task: Message, tell: Callable[[Message], None]) -> None:
        def complain(damage: str) -> None:
            tell({"damage": damage})

        if task["do"] == "probe":
            media = perceiver.probe(Path(os.fsdecode(task["path"])), on_damage=complain)
            tell({"media": media_values(media)})
            return
        known = [read_view(values) for values in task["after"]]
        if task["do"] == "window":
            window = perceiver.window(read_media(task["media"]), known)
            tell({"window": window_values(window)})
            return
        for view in perceiver.views(
            read_media(task["media"]), after=known, end_s=task["end_s"], on_damage=complain
        ):
            tell({"view": view_values(view)})

    return work


def _tell(on_damage: DamageCallback | None, message: Message) -> None:
    if on_damage is not None:
        on_damage(str(message["damage"]))


def _checked(read: Callable[[object], T], values: object, path: Path) -> T:
    """What an answer holds; DecoderCrashedError if that is none."""
    try:
        return read(values)
    except ValueError as error:
        raise _nonsense(path) from error


def _nonsense(path: Path) -> MediaError:
    return DecoderCrashedError(
        path, "the process that read it answered nonsense.", "Don't open it with other programs."
    )


class _Children:
    """Loaded children, each for one folder, lent to one thread at a time."""

    def __init__(self, entry: str, setup: Message, limits: Limits) -> None:
        self._made_by = entry, setup, limits
        self._lock = threading.Lock()
        # The first one loads while who asks does.
        self._idle: list[Sandbox] = [self._make()]

    @contextmanager
    def one_for(self, path: Path) -> Iterator[Sandbox]:
        child = self._take(Path(os.path.realpath(path)).parent)
        try:
            yield child
        finally:
            self._give_back(child)

    def close(self) -> None:
        with self._lock:
            for child in self._idle:
                child.close()
            self._idle.clear()

    def _make(self) -> Sandbox:
        return Sandbox(*self._made_by)

    def _take(self, folder: Path) -> Sandbox:
        with self._lock:
            fitting = [c for c in self._idle if c.folder in (folder, None) and c.is_alive]
            if not fitting:
                return self._make()
            # One that knows the folder goes before one that is free for any.
            child = min(fitting, key=lambda child: child.folder is None)
            self._idle.remove(child)
            return child

    def _give_back(self, child: Sandbox) -> None:
        with self._lock:
            if child.is_alive:
                self._idle.append(child)
            while len(self._idle) > _MAX_IDLE:
                self._idle.pop(0).close()
