"""What has come of a file so far, on disk while it is being analysed.

A text file of one JSON object a line that only grows: `window` lines hold predictions with all
their digits; now and then a `begin` line before one says how to go on from there. Whatever a kill
leaves of the last line is passed over.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

import numpy as np

from facevoice.report.json import prediction_from_dict, prediction_to_dict
from facevoice.results import Prediction
from facevoice.types import FaceMemory, ResumePoint, TrackMemory

if TYPE_CHECKING:
    from facevoice.pipeline import Step

_LOG = logging.getLogger(__name__)

# So much work, in seconds, may have to be done again.
_BEGIN_EVERY_S: Final = 5.0


class FileJournal:
    """A journal at `path`; `facevoice.pipeline.Journal` says what it is for.

    Use it in a `with` block by one process at a time. `finish` removes it.

    Args:
        path: of the file; made with its folder where it is missing.
        fresh: forget what an earlier run left.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Read what an earlier run left, up to the last place where one can go on."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._last_begin_s = -np.inf
        self.predictions: Sequence[Prediction] = ()
        self.start: ResumePoint | None = None
        self.damage: Sequence[str] = ()
        self._num_bytes = 0
        if path.is_file() and not fresh:
            self._read(path.read_bytes())

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        self._file.truncate(self._num_bytes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, step: Step, damage: Sequence[str]) -> None:
        """Take the next window; it is in the file when this returns, if that can be written."""
        now_s = time.monotonic()
        # A window without frames before it gives the face tracker nothing to go on from.
        if now_s - self._last_begin_s >= _BEGIN_EVERY_S and _is_whole(step):
            self._write(
                begin=step.begin.window,
                face_memory=_memory_to_dict(step.begin.face_memory),
                damage=list(damage),
            )
            self._last_begin_s = now_s
        self._write(window=prediction_to_dict(step.prediction, exact=True))

    def finish(self) -> None:
        """The file is done: nothing is left to go on with."""
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, **entry: Any) -> None:
        if self._file is None:
            return
        try:
            self._file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
            self._file.flush()
        except OSError as error:
            # A full disk must not cost the analysis, only the way back into it.
            _LOG.warning("%s: can't be written any more (%s)", self._path, error)
            self._file = None

    def _read(self, content: bytes) -> None:
        windows: list[Prediction] = []
        place = 0
        for line in content.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                if "window" in entry:
                    windows.append(prediction_from_dict(entry["window"]))
                elif entry["begin"] != len(windows):
                    raise ValueError(f"window {entry['begin']} does not follow {len(windows)}")
                else:
                    memory = _memory_from_dict(entry["face_memory"])
                    self.start = ResumePoint(len(windows), memory)
                    self.damage = tuple(entry["damage"])
                    self.predictions = tuple(windows)
                    self._num_bytes = place
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _LOG.debug("%s: goes on before a line that is no use (%s)", self._path, error)
                return
            place += len(line)


def _is_whole(step: Step) -> bool:
    """Whether one can go on before this window: no faces are known only where no video is."""
    return step.begin.face_memory is not None or step.begin.window == 0 or not step.has_video


def _memory_to_dict(memory: FaceMemory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "tracks": [
            {
                "track_id": track.track_id,
                "box": track.box.tolist(),
                "looks": track.looks.tolist(),
                "seen_s": track.seen_s,
                "confirmed_s": track.confirmed_s,
                "velocity": track.velocity.tolist(),
            }
            for track in memory.tracks
        ],
        "next_id": memory.next_id,
        "thumbnail": None if memory.thumbnail is None else memory.thumbnail.tolist(),
        "last_s": float(memory.last_s),
        "next_detect_s": float(memory.next_detect_s),
        "alert_until_s": float(memory.alert_until_s),
    }


def _memory_from_dict(values: dict[str, Any] | None) -> FaceMemory | None:
    # float32 numbers come back from JSON as they were: their digits are those of a double.
    if values is None:
        return None
    tracks = tuple(
        TrackMemory(
            track_id=track["track_id"],
            box=np.array(track["box"], np.float32),
            looks=np.array(track["looks"], np.float32),
            seen_s=track["seen_s"],
            confirmed_s=track["confirmed_s"],
            velocity=np.array(track["velocity"], np.float32),
        )
        for track in values["tracks"]
    )
    thumbnail = values["thumbnail"]
    picture = None if thumbnail is None else np.array(thumbnail, np.float32)
    return FaceMemory(**{**values, "tracks": tracks, "thumbnail": picture})
