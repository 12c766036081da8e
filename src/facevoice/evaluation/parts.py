"""What a results page is made of; Markdown and HTML are two ways to print the same parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from facevoice.evaluation.figures import Figure, Gap, Refused

VOID: Final = "contaminated"
"""The word that stands at every figure of a corpus that a backbone was trained on."""
_LEAST_SPEAKERS: Final = 20


@dataclass(frozen=True, slots=True)
class Unit:
    """How a figure is printed: `scale` times the value, with `digits` and a sign behind it."""

    scale: float
    digits: int
    sign: str

    def show(self, value: float, *, plus: bool = False) -> str:
        """The number, without its sign behind it."""
        return f"{self.scale * value:{'+' if plus else ''}.{self.digits}f}".replace("-", "−")


PERCENT: Final = Unit(100, 1, " %")
RATIO: Final = Unit(1, 3, "")


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell.

    detail: the interval; note: number of the table's note that explains the cell, 0 for none;
    kind: how it is to be taken, "" for plainly.
    """

    text: str
    note: int = 0
    kind: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the first of each row being its heading; notes are numbered from 1."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture: `draw` gives it as SVG, `alt` says in words what it shows; wide: has long rows."""

    title: str
    alt: str
    draw: Callable[[], str]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what is below it. void: its figures are contaminated."""

    title: str
    lead: str = ""
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    void: bool = False


@dataclass(frozen=True, slots=True)
class Headline:
    """One large figure. about: what it is measured on, target first."""

    name: str
    value: str
    interval: str
    about: str
    void: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of what the page is about. code: whether it is typed rather than said."""

    name: str
    texts: tuple[str, ...]
    code: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on a results page. alerts are loud, hints are not."""

    title: str
    subtitle: str
    alerts: tuple[str, ...]
    hints: tuple[str, ...]
    headlines: tuple[Headline, ...]
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    footer: str


@dataclass(slots=True)
class TableBuilder:
    """Collects rows; equal reasons for having no figure share one note."""

    caption: str
    columns: tuple[str, ...]
    void: bool = False
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Cell | str) -> None:
        """Add a row."""
        self.rows.append(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells))

    def figure(self, value: Figure | Refused, unit: Unit) -> Cell:
        """A figure with its interval, or "refused" with the reason as a note."""
        if isinstance(value, Refused):
            return Cell("refused", self._note(value.reason), "refused")
        note = self._note(f"no interval: {value.note}") if value.note else 0
        shown = f"{unit.show(value.value)}{unit.sign}"
        return Cell(shown, note, VOID if self.void else "", interval_text(value, unit))

    def gap(self, value: Gap | Refused, unit: Unit, *, adjusted_p: float | None = None) -> Cell:
        """A difference with interval and p, or "refused" with the reason as a note."""
        if isinstance(value, Refused):
            return Cell("refused", self._note(value.reason), "refused")
        low, high = unit.show(value.low, plus=True), unit.show(value.high, plus=True)
        sign = " points" if unit is PERCENT else ""
        p = value.p_value if adjusted_p is None else adjusted_p
        shown = f"{unit.show(value.value, plus=True)}{sign}"
        detail = f"{low} to {high}; {p_text(p)}"
        return Cell(shown, 0, VOID if self.void else "", detail)

    def build(self) -> Table:
        """The table as it is now."""
        return Table(self.caption, self.columns, tuple(self.rows), tuple(self.notes))

    def _note(self, reason: str) -> int:
        if reason not in self.notes:
            self.notes.append(reason)
        return self.notes.index(reason) + 1


def interval_text(value: Figure, unit: Unit) -> str:
    """`58.1–66.9`, empty where there is no interval."""
    if value.low is None or value.high is None:
        return ""
    return f"{unit.show(value.low)}–{unit.show(value.high)}"


def p_text(p_value: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def headline(name: str, value: Figure | Refused, unit: Unit, about: str, *, void: bool) -> Headline:
    """A large figure, or "refused" and why."""
    if isinstance(value, Refused):
        return Headline(name, "refused", value.reason, about, void, refused=True)
    interval = interval_text(value, unit)
    shown = f"95 % interval {interval}" if interval else f"no interval: {value.note}"
    return Headline(name, f"{unit.show(value.value)}{unit.sign}", shown, about, void)


def few_speakers_hint(counts: Sequence[int]) -> tuple[str, ...]:
    """A warning where intervals rest on few speakers."""
    lowest = min(counts, default=_LEAST_SPEAKERS)
    if lowest >= _LEAST_SPEAKERS:
        return ()
    return (
        f"Some figures rest on {lowest} speakers. With fewer than {_LEAST_SPEAKERS}, intervals by "
        "bootstrap are too narrow: read them as a lower bound of the doubt.",
    )
