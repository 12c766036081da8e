"""What the server knows of one open page: its clips, what became of each, what it asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Any

from facevoice.people.baseline import NOTHING, Known
from facevoice.records import NO_EDITS, Outcome, PeopleEdits, Perception, Person, Report
from facevoice.review import Review
from facevoice.settings import DecisionConfig


class State(StrEnum):
    """What becomes of a clip; the words are those of the page's list."""

    CHOSEN = "chosen"
    WAITING = "waiting"
    READING = "reading"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Clip:
    """One file of a page.

    share: how much of it is read, in [0, 1]; problem: why it failed, in words; perceived: can be
    interpreted again at once, with other settings; report: what it says at the page's settings;
    people: who can be named, as they were found; edits: what was said of them, said: as it
    stands in the page's fields; known: what it is
    compared with; warnings: what told nothing of its person; review: what a person
    says of its moments; num_said: the number that the page gave to what was said last of it.
    """

    path: Path
    state: State = State.CHOSEN
    share: float = 0.0
    problem: str = ""
    perceived: Perception | None = None
    report: Report | None = None
    people: tuple[Person, ...] = ()
    edits: PeopleEdits = NO_EDITS
    said: tuple[str | int | None, ...] = ()
    known: Known = NOTHING
    warnings: tuple[str, ...] = ()
    review: Review | None = None
    num_said: int = 0

    def row(self) -> dict[str, Any]:
        """What the page's list shows of it; the outcome and the counts by their places."""
        report = self.report
        counts = [] if report is None else [report.outcome_counts.get(o, 0) for o in Outcome]
        summary = None if report is None else report.summary
        return {
            "name": self.path.name,
            "state": self.state.value,
            "share": round(self.share, 2),
            "problem": self.problem.removeprefix(f"{self.path.name}: "),
            "outcome": None if summary is None else [*Outcome].index(summary.outcome),
            "counts": counts,
        }


@dataclass(slots=True)
class Session:
    """One open page: its clips in order, which of them it shows, and whether to stop.

    decision: by which clips are judged, None as the analyzer does; chosen: uploads beside the
    clips, such as other recordings of their person; recordings: what was perceived of those, for
    the next clip.
    """

    stopping: Event = field(default_factory=Event)
    used_at_s: float = field(default_factory=time.monotonic)
    clips: list[Clip] = field(default_factory=list)
    shown: Clip | None = None
    decision: DecisionConfig | None = None
    chosen: list[Path] = field(default_factory=list)
    recordings: dict[Path, Perception] = field(default_factory=dict)

    @property
    def done(self) -> list[Clip]:
        """Clips that say something."""
        return [clip for clip in self.clips if clip.perceived is not None]

    @property
    def waiting(self) -> list[Clip]:
        """Clips that are still to be read."""
        return [clip for clip in self.clips if clip.perceived is None]
