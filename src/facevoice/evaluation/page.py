"""Pictures as SVG text that can stand in a page: no outside references, ids of their own.

Colours are Okabe & Ito's, which colour-blind people tell apart; no picture rests on colour alone.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.errors import EvaluationError, MissingExtraError
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.bootstrap import Curve, Figure, Gap, Refused, Reliability
from facevoice.evaluation.compare import ComparedCell, ComparedFigure, Comparison, compare_runs
from facevoice.evaluation.predictions import Channel, RunInfo, Target, read_run
from facevoice.evaluation.score import (
    COVERAGE,
    ConflictScores,
    EmotionFigures,
    EmotionScores,
    GroupScores,
    PartScores,
    Scores,
    comparison_to_dict,
    score_run,
    scores_to_dict,
)
from facevoice.records import VERSION, Emotion

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
INK: Final = "#24313a"
QUIET: Final = "#8a979f"
_SIZE_IN: Final = (4.2, 3.6)
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # letters stay letters: small, selectable, read out
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def confusion_chart(name: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Share of each true class (row) that was answered with each class (column)."""
    shares = confusion_shares(counts)
    side = 2.2 + 0.36 * len(classes)
    with _canvas(name, (side + 0.5, side)) as canvas:
        axes = canvas.axes
        squares = {"cmap": "Blues", "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidth": 1}
        places = np.arange(len(classes))
        axes.pcolormesh(places, places, np.nan_to_num(shares), **squares)
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            text = "–" if np.isnan(share) else f"{100 * share:.0f}"
            shade = "white" if share > 0.7 else INK
            weight = "bold" if row == column else "normal"
            axes.text(column, row, text, ha="center", va="center", color=shade, weight=weight)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_xticks(places, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, classes)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")
    return canvas.svg


def roc_chart(name: str, curve: Curve) -> str:
    """True against false positive rate."""
    with _canvas(name) as canvas:
        canvas.axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
        canvas.axes.plot(curve.x, curve.y, color=BLUE, linewidth=2)
        _unit_square(canvas.axes, "matches called conflict", "conflicts found")
    return canvas.svg


def reliability_chart(name: str, points: Reliability, xlabel: str, ylabel: str) -> str:
    """Probability given against share that came true; larger dots hold more items."""
    counts = np.asarray(points.counts, dtype=np.float64)
    with _canvas(name) as canvas:
        axes = canvas.axes
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
        axes.plot(points.confidences, points.accuracies, color=BLUE, linewidth=1)
        sizes = 15 + 150 * counts / counts.max()
        dots = {"s": sizes, "color": BLUE, "alpha": 0.8, "clip_on": False}
        axes.scatter(points.confidences, points.accuracies, **dots)
        _unit_square(axes, xlabel, ylabel)
    return canvas.svg


def risk_chart(name: str, curve: Curve, coverage: float, risk: float) -> str:
    """Share of wrong calls among the surest, up to all; a mark at `coverage`."""
    with _canvas(name) as canvas:
        axes = canvas.axes
        axes.plot(curve.x, curve.y, color=BLUE, linewidth=2)
        axes.plot([coverage], [risk], "o", color=ORANGE)
        axes.annotate(
            f"{100 * risk:.1f} % at {100 * coverage:.0f} %",
            (coverage, risk),
            xytext=(-4, 10),
            textcoords="offset points",
            ha="right",
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(0.05, 1.15 * max(curve.y)))
        axes.set_xlabel("share of pairs answered, surest first")
        axes.set_ylabel("share of wrong calls")
    return canvas.svg


def forest_chart(
    name: str,
    labels: Sequence[str],
    points: Sequence[tuple[float, float, float]],
    xlabel: str,
    reference: float | None = None,
) -> str:
    """Figures (value, low, high) under each other, with a line to hold them against."""
    with _canvas(name, (5.2, 0.9 + 0.34 * len(labels))) as canvas:
        axes = canvas.axes
        if reference is not None:
            axes.axvline(reference, color=QUIET, linewidth=1, linestyle="--")
        for place, (value, low, high) in enumerate(points):
            axes.plot([low, high], [place, place], color=BLUE, linewidth=2)
            axes.plot([value], [place], "o", color=BLUE, markersize=6)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#e3e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(xlabel)
    return canvas.svg


def confusion_shares(counts: Sequence[Sequence[int]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows (K, K) that sum to 1; NaN where a class is never true."""
    table = np.asarray(counts, dtype=np.float64)
    totals = table.sum(axis=1, keepdims=True)
    shares = np.full_like(table, np.nan)
    np.divide(table, totals, out=shares, where=totals > 0)
    return shares


def _unit_square(axes: Any, xlabel: str, ylabel: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


@dataclass(slots=True)
class _Canvas:
    """Where to draw; `svg` has the text once the canvas is closed."""

    axes: Any
    svg: str = ""


@contextmanager
def _canvas(name: str, size_in: tuple[float, float] = _SIZE_IN) -> Iterator[_Canvas]:
    """A figure of its own: no state of matplotlib outlives it."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing a results page", "data") from error
    except ValueError as error:
        # A notebook's environment names a backend that another environment does not have.
        raise EvaluationError(f"matplotlib: {error}; set MPLBACKEND=agg") from error
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size_in, layout="constrained")
        canvas = _Canvas(figure.add_subplot())
        yield canvas
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
        canvas.svg = _inline(target.getvalue(), name)


def _inline(document: str, name: str) -> str:
    """An SVG document as an element of a page: no header, no metadata, ids of its own."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\sid="', f' id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()


# What a results page is made of; Markdown and HTML are two ways to print the same parts.

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


# A results page as Markdown.


def to_markdown(page: Page) -> str:
    """The whole page, tables included; pictures are in the HTML page only."""
    return "\n".join(_lines(page)).rstrip() + "\n"


def _lines(page: Page) -> Iterator[str]:
    yield f"# {_text(page.title)}"
    yield ""
    yield _text(page.subtitle)
    for alert in page.alerts:
        yield from ("", f"> **{VOID.upper()}.** {_text(alert)}")
    for hint in page.hints:
        yield from ("", f"> {_text(hint)}")
    if page.headlines:
        yield ""
    for each in page.headlines:
        void = f" **({VOID})**" if each.void else ""
        yield f"- **{_text(each.name)} {_text(each.value)}**{void} ({_text(each.interval)}): " + (
            _text(each.about)
        )
    yield ""
    for fact in page.facts:
        texts = [f"`{text}`" if fact.code else _text(text) for text in fact.texts]
        yield f"- {fact.name}: {'; '.join(texts)}"
    for section in page.sections:
        yield from _section(section)
    yield from ("", _text(page.footer))


def _section(section: Section) -> Iterator[str]:
    yield ""
    yield f"## {_text(section.title)}" + (f" ({VOID})" if section.void else "")
    if section.lead:
        yield from ("", _text(section.lead))
    for table in section.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield from ("", f"**{_text(table.caption)}**", "")
    yield "| " + " | ".join(_text(name) for name in table.columns) + " |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield "| " + " | ".join(_cell(cell) for cell in row) + " |"
    if table.notes:
        yield ""
    for number, note in enumerate(table.notes, start=1):
        yield f"[{number}] {_text(note)}  "


def _cell(cell: Cell) -> str:
    text = _text(cell.text) + (f" ({_text(cell.detail)})" if cell.detail else "")
    if cell.kind == VOID:
        text += f" **{VOID}**"
    if cell.kind == "bad":
        text = f"**{text}**"
    return text + (f" [{cell.note}]" if cell.note else "")


def _text(text: str) -> str:
    """Text that says the same in Markdown: no cell or tag is opened by what a run calls itself."""
    for char in "\\`*_<>|[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


# A results page as one HTML file that needs nothing else: no script, no font, no picture.

TEMPLATE: Final = "page.html.j2"


def to_html(page: Page) -> str:
    """The whole page with its pictures as inline SVG. What a run says of itself is escaped.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    text: str = _environment().get_template(TEMPLATE).render(page=page, void=VOID)
    return text


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("writing a results page", "data") from error
    return jinja2.Environment(
        loader=jinja2.PackageLoader("facevoice.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


# What a results page says of emotions.

_BEST_FIRST: Final = (Channel.FUSED, Channel.FACE, Channel.VOICE)


def emotion_headlines(cells: tuple[EmotionScores, ...], target: Target) -> tuple[Headline, ...]:
    """The UAR of each corpus, of the fused channel where there is one."""
    headlines = []
    for corpus in dict.fromkeys(cell.corpus for cell in cells):
        cell = _leading(tuple(c for c in cells if c.corpus == corpus), target)
        if cell is None:
            continue
        uar = cell.figures if isinstance(cell.figures, Refused) else cell.figures.uar
        about = f"{target.in_words}, {cell.channel}, {corpus}: {_sizes(cell)}"
        headlines.append(headline("UAR", uar, PERCENT, about, void=bool(cell.contaminated)))
    return tuple(headlines)


def emotion_sections(cells: tuple[EmotionScores, ...], target: Target) -> tuple[Section, ...]:
    """For each corpus: all figures, confusion matrices and reliability, and groups."""
    sections: list[Section] = []
    for corpus in dict.fromkeys(cell.corpus for cell in cells):
        here = tuple(cell for cell in cells if cell.corpus == corpus)
        main = tuple(cell for cell in here if cell.target is target)
        void = bool(here[0].contaminated)
        sections.append(
            Section(
                title=f"Emotions on {corpus}",
                lead=_lead(here, target),
                tables=(_figures_table(here, corpus, void=void),),
                charts=(
                    *(chart for cell in main for chart in _confusion(cell)),
                    *(chart for cell in main for chart in _reliability(cell)),
                ),
                void=void,
            )
        )
        leading = _leading(here, target)
        if leading is not None and not isinstance(leading.figures, Refused):
            name = f"UAR, {leading.channel}, {target.in_words}, {corpus}"
            sections.append(
                group_section(
                    f"Groups of people: emotions on {corpus}",
                    name,
                    leading.figures.groups,
                    PERCENT,
                    leading.figures.uar,
                    void=void,
                )
            )
    return tuple(sections)


def group_section(
    title: str,
    name: str,
    groups: tuple[GroupScores, ...],
    unit: Unit,
    overall: Figure | Refused,
    *,
    void: bool,
) -> Section:
    """A table of groups with their gaps, and a picture of those that have an interval."""
    if not groups:
        lead = "The table says nothing of sex, age, race, ethnicity, language or intensity."
        return Section(title, lead, void=void)
    shown = [
        (f"{group.group} ({group.attribute})", group.figure)
        for group in groups
        if isinstance(group.figure, Figure) and group.figure.low is not None
    ]
    points = [
        (unit.scale * f.value, unit.scale * (f.low or 0.0), unit.scale * (f.high or 0.0))
        for _, f in shown
    ]
    reference = unit.scale * overall.value if isinstance(overall, Figure) else None
    charts: tuple[Chart, ...] = ()
    if shown:
        alt = f"{name} by group: " + "; ".join(
            f"{label} {unit.show(f.value)}{unit.sign}" for label, f in shown
        )
        labels = [label for label, _ in shown]
        key = chart_key("groups", title)
        charts = (
            Chart(
                f"{name}, by group; the dashed line is everybody",
                alt + ".",
                lambda: forest_chart(
                    key, labels, points, name.split(",", maxsplit=1)[0] + unit.sign, reference
                ),
                wide=True,
            ),
        )
    lead = (
        "Gap: the group's figure minus that of all others of whom the attribute is known. "
        "p is not corrected for the number of groups."
    )
    return Section(title, lead, (_groups_table(name, groups, unit, void=void),), charts, void)


def chart_key(*words: str) -> str:
    """A name for a picture's ids, from plain letters."""
    return "-".join(
        "".join(char if char.isascii() and char.isalnum() else "-" for char in word.lower())
        for word in words
    )


def reliability_of(key: str, title: str, points: Reliability, xlabel: str, ylabel: str) -> Chart:
    """A reliability curve, in words too."""
    bins = zip(points.confidences, points.accuracies, points.counts, strict=True)
    said = "; ".join(f"{100 * c:.0f} % → {100 * a:.0f} % ({n})" for c, a, n in bins)
    alt = f"{title}. {xlabel} → {ylabel} (items): {said}."
    return Chart(title, alt, lambda: reliability_chart(key, points, xlabel, ylabel))


def _lead(cells: tuple[EmotionScores, ...], target: Target) -> str:
    classes = next((c.figures.classes for c in cells if not isinstance(c.figures, Refused)), None)
    words = f"Headline target: {target.in_words}."
    if classes is None:
        return words
    words += f" {len(classes)} classes: {', '.join(classes)}; guessing gives a UAR of "
    words += f"{100 / len(classes):.1f} %."
    if Emotion.CALM not in classes and Emotion.NEUTRAL in classes:
        words += " Calm counts as neutral."
    return words + (
        " Rows of different targets answer different questions. “UAR over all” counts clips "
        "without an answer as wrong; the other figures leave them out."
    )


def _figures_table(cells: tuple[EmotionScores, ...], corpus: str, *, void: bool) -> Table:
    columns = ("channel", "target", "UAR", "WAR", "macro-F1", "weighted F1", "ECE", "Brier")
    table = TableBuilder(
        f"Figures on {corpus}, with 95 % intervals over speakers",
        (*columns, "clips", "speakers", "no answer", "UAR over all"),
        void,
    )
    for cell in cells:
        found = cell.figures
        if isinstance(found, Refused):
            figures = [table.figure(found, PERCENT)] * 6
            everything = table.figure(found, PERCENT)
        else:
            figures = [
                *(table.figure(f, PERCENT) for f in (found.uar, found.war)),
                *(table.figure(f, PERCENT) for f in (found.macro_f1, found.weighted_f1)),
                *(table.figure(f, RATIO) for f in (found.ece, found.brier)),
            ]
            everything = table.figure(found.uar_all, PERCENT)
        table.add(
            cell.channel.value,
            cell.target.in_words,
            *figures,
            str(cell.num_clips),
            str(cell.num_speakers),
            f"{100 * cell.missing_share:.1f} %",
            everything,
        )
    return table.build()


def _confusion(cell: EmotionScores) -> tuple[Chart, ...]:
    found = cell.figures
    if isinstance(found, Refused):
        return ()
    about = _about(cell)
    key = chart_key("confusion", cell.corpus, cell.channel, cell.target)
    return (
        Chart(
            f"Confusion in % of each truth; {about}",
            _confusion_words(found, about),
            lambda: confusion_chart(key, found.classes, found.confusion),
        ),
    )


def _reliability(cell: EmotionScores) -> tuple[Chart, ...]:
    if isinstance(cell.figures, Refused):
        return ()
    return (
        reliability_of(
            chart_key("reliability", cell.corpus, cell.channel, cell.target),
            f"Reliability; {_about(cell)}",
            cell.figures.reliability,
            "probability of the answer",
            "share that is right",
        ),
    )


def _about(cell: EmotionScores) -> str:
    return f"{cell.channel}, {cell.target.in_words}, {cell.corpus}"


def _confusion_words(found: EmotionFigures, about: str) -> str:
    shares = confusion_shares(found.confusion)
    words = []
    for place, emotion in enumerate(found.classes):
        if np.isnan(shares[place]).any():
            words.append(f"{emotion} does not occur")
            continue
        others = shares[place].copy()
        others[place] = -1
        most = int(others.argmax())
        words.append(
            f"{emotion} is recognised in {100 * shares[place, place]:.0f} %, most often taken for "
            f"{found.classes[most]} ({100 * others[most]:.0f} %)"
        )
    return f"Confusion matrix, {about}: {'; '.join(words)}."


def _groups_table(name: str, groups: tuple[GroupScores, ...], unit: Unit, *, void: bool) -> Table:
    table = TableBuilder(name, ("attribute", "group", "figure", "gap", "items", "speakers"), void)
    for group in groups:
        table.add(
            group.attribute,
            group.group,
            table.figure(group.figure, unit),
            table.gap(group.gap, unit),
            Cell(str(group.num_items)),
            Cell(str(group.num_speakers)),
        )
    return table.build()


def _leading(cells: tuple[EmotionScores, ...], target: Target) -> EmotionScores | None:
    """The cell of the target whose channel knows most: both, else face, else voice."""
    found = {cell.channel: cell for cell in cells if cell.target is target}
    return next((found[channel] for channel in _BEST_FIRST if channel in found), None)


def _sizes(cell: EmotionScores) -> str:
    return f"{cell.num_clips} clips of {cell.num_speakers} speakers"


# What a results page says of conflicts, and of the audits that must fail.

_BIN_WORDS: Final = {
    "neutral_vs_x": "neutral against an emotion",
    "same_valence": "same valence",
    "opposite_valence": "opposite valence",
}


def conflict_headlines(cells: tuple[ConflictScores, ...]) -> tuple[Headline, ...]:
    """The AUROC of each corpus."""
    return tuple(
        headline(
            "AUROC",
            cell.ranking.auroc,
            RATIO,
            f"{cell.target.in_words}, {cell.corpus}: {_sizes_conflict_parts(cell)}",
            void=bool(cell.contaminated),
        )
        for cell in cells
    )


def conflict_sections(cells: tuple[ConflictScores, ...]) -> tuple[Section, ...]:
    """For each corpus: all figures, curves, bins, clarity, and groups."""
    sections: list[Section] = []
    for cell in cells:
        void = bool(cell.contaminated)
        tables = [_figures_table_conflict_parts(cell, void=void)]
        if cell.bins:
            caption = f"By how far the emotions are apart ({cell.corpus}): AUROC, a bin's conflicts"
            tables.append(_parts_table(f"{caption} against all matches", cell.bins, void=void))
        if not isinstance(cell.clarity, Refused):
            caption = f"By how clear both channels are ({cell.corpus}): AUROC within a third"
            tables.append(_parts_table(caption, cell.clarity, void=void))
        sections.append(
            Section(
                title=f"Conflicts on {cell.corpus}",
                lead=f"Target: {cell.target.in_words}. {_sizes_conflict_parts(cell)}; {cell.num_originals} "
                "originals, which count only where the row says so.",
                tables=tuple(tables),
                charts=tuple(_charts(cell)),
                void=void,
            )
        )
        sections.append(
            group_section(
                f"Groups of people: conflicts on {cell.corpus}",
                f"AUROC, {cell.target.in_words}, {cell.corpus}",
                cell.groups,
                RATIO,
                cell.ranking.auroc,
                void=void,
            )
        )
    return tuple(sections)


def audit_section(
    audits: tuple[AuditResult, ...], cells: tuple[ConflictScores, ...]
) -> tuple[Section, ...]:
    """Every audit with its limit and verdict; nothing if there are no conflicts."""
    if not audits and not cells:
        return ()
    table = TableBuilder("Audits", ("audit", "AUROC", "passes up to", "verdict"))
    for cell in cells:
        name = f"original against re-paired match, {cell.corpus}"
        if isinstance(cell.audit_originals, Refused):
            refused = table.figure(cell.audit_originals, RATIO)
            table.add(name, refused, "–", Cell("not done", refused.note, "refused"))
        else:
            _add_audit(table, name, cell.audit_originals)
    for audit in audits:
        _add_audit(table, audit.name, audit)
    lead = (
        "What looks at no emotion, or at one channel only, must not tell conflicts from matches. "
        "An audit that gets above its limit (or, for a fixed score, as far below 0.5) has failed: "
        "then the pairs give their class away, and the conflict figures can't be trusted."
    )
    return (Section("Audits that must find nothing", lead, (table.build(),)),)


def _add_audit(table: TableBuilder, name: str, audit: AuditResult) -> None:
    interval = audit.auroc
    table.add(
        name,
        table.figure(Figure(interval.estimate, interval.low, interval.high), RATIO),
        f"{audit.limit:.2f}",
        Cell("passed", kind="good") if audit.passed else Cell("FAILED", kind="bad"),
    )


def _figures_table_conflict_parts(cell: ConflictScores, *, void: bool) -> Table:
    table = TableBuilder(
        f"Figures on {cell.corpus}, {cell.target.in_words}, with 95 % intervals over speakers",
        ("figure", "value", "what it says"),
        void,
    )
    ranking, calls = cell.ranking, cell.calls
    against = "conflicts against matches; 0.5 is guessing"
    rows = (
        ("AUROC", ranking.auroc, RATIO, against),
        ("AP at 5 % conflicts", ranking.average_precision_5, RATIO, "guessing gives 0.05"),
        ("AP at 50 % conflicts", ranking.average_precision_50, RATIO, "guessing gives 0.50"),
        ("EER", ranking.eer, PERCENT, "where misses and false alarms are as frequent"),
        (
            "balanced accuracy",
            calls.balanced_accuracy,
            PERCENT,
            "at the threshold fixed on validation",
        ),
        ("FPR", calls.false_positive_rate, PERCENT, "matches called conflict at that threshold"),
        (
            "balanced accuracy of labels",
            calls.label_accuracy,
            PERCENT,
            "conflict where the two likeliest labels differ",
        ),
        ("ECE", cell.calibration.ece, RATIO, "distance of the probability from what comes true"),
        ("Brier", cell.calibration.brier, RATIO, "squared error of the probability"),
        ("AURC", cell.selective.aurc, PERCENT, "wrong calls, over all coverages"),
        ("risk at 80 % coverage", cell.selective.risk_80, PERCENT, "the surest 80 % answered"),
        ("risk at full coverage", cell.selective.risk_full, PERCENT, "all answered"),
        (
            "AUROC against originals",
            cell.auroc_originals,
            RATIO,
            "also rewards noticing that a pair was re-paired",
        ),
    )
    for name, value, unit, meaning in rows:
        table.add(name, table.figure(value, unit), meaning)
        if name == "balanced accuracy of labels":
            gain = table.gap(calls.gain_over_labels, PERCENT)
            table.add("gain over labels", gain, "scores at the threshold minus labels, same pairs")
    return table.build()


def _parts_table(caption: str, parts: tuple[PartScores, ...], *, void: bool) -> Table:
    table = TableBuilder(caption, ("part", "AUROC", "conflicts", "matches", "speakers"), void)
    for part in parts:
        table.add(
            _BIN_WORDS.get(part.name, part.name),
            table.figure(part.auroc, RATIO),
            str(part.num_conflicts),
            str(part.num_matches),
            str(part.num_speakers),
        )
    return table.build()


def _charts(cell: ConflictScores) -> list[Chart]:
    about = f"{cell.target.in_words}, {cell.corpus}"
    key = chart_key("conflict", cell.corpus)
    charts = []
    roc, reliability, risks = cell.ranking.roc, cell.calibration.reliability, cell.selective.curve
    if not isinstance(roc, Refused):
        found = [
            f"{100 * float(np.interp(rate, roc.x, roc.y)):.0f} % of conflicts found at "
            f"{100 * rate:.0f} % false alarms"
            for rate in (0.05, 0.2, 0.5)
        ]
        charts.append(
            Chart(
                f"ROC, {about}",
                f"ROC curve, {about}: {'; '.join(found)}.",
                lambda: roc_chart(f"roc-{key}", roc),
            )
        )
    if not isinstance(reliability, Refused):
        charts.append(
            reliability_of(
                f"reliability-{key}",
                f"Reliability, {about}",
                reliability,
                "probability of a conflict",
                "share that are conflicts",
            )
        )
    surest = cell.selective.risk_80
    if not isinstance(risks, Refused) and not isinstance(surest, Refused):
        at = [
            f"{100 * float(np.interp(share, risks.x, risks.y)):.1f} % wrong at {100 * share:.0f} %"
            for share in (0.2, 0.5, 1.0)
        ]
        at.append(f"{100 * surest.value:.1f} % wrong at {100 * COVERAGE:.0f} %")
        charts.append(
            Chart(
                f"Risk and coverage, {about}",
                f"Share of wrong calls by share of pairs answered, {about}: {'; '.join(at)}.",
                lambda: risk_chart(f"risk-{key}", risks, COVERAGE, surest.value),
            )
        )
    return charts


def _sizes_conflict_parts(cell: ConflictScores) -> str:
    pairs = f"{cell.num_conflicts} conflicts, {cell.num_matches} matches"
    return f"{pairs} of {cell.num_speakers} speakers"


# The results page of one run: what it is about, its figures, and what speaks against them.


def score_page(scores: Scores) -> Page:
    """Lay out the figures of a run."""
    info = scores.info
    headlines: tuple[Headline, ...] = ()
    sections: tuple[Section, ...] = ()
    if info.emotion_target is not None and scores.emotions:
        headlines += emotion_headlines(scores.emotions, info.emotion_target)
        sections += emotion_sections(scores.emotions, info.emotion_target)
    headlines += conflict_headlines(scores.conflicts)
    sections += conflict_sections(scores.conflicts)
    sections += audit_section(scores.audits, scores.conflicts)
    counts = [cell.num_speakers for cell in scores.emotions]
    counts += [cell.num_speakers for cell in scores.conflicts]
    return Page(
        title=info.title,
        subtitle=info.model,
        alerts=contamination_alerts(scores),
        hints=(*_unknown_hint(scores.unknown_training), *few_speakers_hint(counts)),
        headlines=headlines,
        facts=(*run_facts(info), _resamples(scores.num_resamples)),
        sections=sections,
        footer=f"Scored by facevoice {VERSION}. Intervals are 95 % percentile intervals by "
        "bootstrap over speakers. All figures and groups are in scores.json.",
    )


def contamination_alerts(scores: Scores) -> tuple[str, ...]:
    """One alert a corpus that a backbone was trained on."""
    found = {cell.corpus: cell.contaminated for cell in scores.emotions if cell.contaminated}
    found |= {cell.corpus: cell.contaminated for cell in scores.conflicts if cell.contaminated}
    return tuple(alert_text(corpus, names) for corpus, names in sorted(found.items()))


def alert_text(corpus: str, backbones: tuple[str, ...]) -> str:
    """What contamination means."""
    return (
        f"{', '.join(backbones)} was itself trained on {corpus}. Every figure on {corpus} is void: "
        "it says nothing of clips that the model has not seen."
    )


def run_facts(info: RunInfo) -> tuple[Fact, ...]:
    """What must stand beside every figure of a run."""
    targets = [t.in_words for t in (info.emotion_target, info.conflict_target) if t is not None]
    facts = [
        Fact("Run", (info.name,), code=True),
        Fact("Target", tuple(targets)),
        Fact("Corpora", info.corpora),
        Fact("Split", (info.protocol,)),
        Fact("Command", (info.command,), code=True),
        Fact("Data", tuple(f"{file.name} sha256:{file.sha256}" for file in info.data), code=True),
        Fact(
            "Backbones",
            tuple(f"{b.name} (trained on {_corpora(b.known_corpora)})" for b in info.backbones),
        ),
        Fact("Predicted with", (f"facevoice {info.facevoice_version}",)),
        Fact("Notes", info.notes),
    ]
    return tuple(fact for fact in facts if fact.texts)


def _resamples(count: int) -> Fact:
    return Fact("Resamples", (f"{count} for each interval, seed 0",))


def _corpora(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "data that is not known"
    return ", ".join(names) or "no corpus of emotions"


def _unknown_hint(backbones: tuple[str, ...]) -> tuple[str, ...]:
    if not backbones:
        return ()
    return (
        f"It is not known what {', '.join(backbones)} was trained on, so contamination can't be "
        "ruled out.",
    )


# The page that puts runs side by side.

_RATIOS = ("AUROC", "Brier score")


def compare_page(comparison: Comparison) -> Page:
    """Lay out a comparison."""
    names = run_names(comparison)
    alerts = [
        f"{name}: {alert_text(cell.corpus, backbones)}"
        for cell in comparison.cells
        for name, backbones in zip(names, cell.contaminated, strict=True)
        if backbones
    ]
    others = ", ".join(names[1:])
    return Page(
        title=f"{names[0]} against {others}",
        subtitle=f"Each run's difference to {names[0]}, on the items that all runs have.",
        alerts=tuple(dict.fromkeys(alerts)),
        hints=few_speakers_hint([cell.num_speakers for cell in comparison.cells]),
        headlines=(),
        facts=(
            Fact("Resamples", (f"{comparison.num_resamples}, paired, of speakers; seed 0",)),
            Fact("p", (_p_words(len(names) - 1),)),
        ),
        sections=(
            *(_cell_section(cell, names) for cell in comparison.cells),
            Section(title="The runs", tables=(_runs_table(comparison, names),)),
        ),
        footer=f"Compared by facevoice {VERSION}.",
    )


def run_names(comparison: Comparison) -> tuple[str, ...]:
    """The runs' names, numbered where two are called alike."""
    names = [info.name for info in comparison.infos]
    return tuple(
        f"{name} ({place})" if names.count(name) > 1 else name
        for place, name in enumerate(names, start=1)
    )


def _p_words(num_others: int) -> str:
    if num_others == 1:
        return "two-sided"
    return f"two-sided, after Holm's correction for {num_others} runs within each figure"


def _cell_section(cell: ComparedCell, names: Sequence[str]) -> Section:
    what = "pairs" if cell.channel is None else "clips"
    title = f"{cell.target.in_words} on {cell.corpus}"
    if cell.channel is not None:
        title = f"{title}: {cell.channel}"
    had = ", ".join(f"{name} {count}" for name, count in zip(names, cell.num_items, strict=True))
    void = any(cell.contaminated)
    return Section(
        title=title[0].upper() + title[1:],
        lead=f"{cell.num_common} {what} of {cell.num_speakers} speakers are in all runs (usable in "
        f"{had}).",
        tables=(_figures_table_compare_page(cell, names),),
        charts=tuple(_chart(cell, each, names) for each in cell.figures[:1] if _drawn(each)),
        void=void,
    )


def _figures_table_compare_page(cell: ComparedCell, names: Sequence[str]) -> Table:
    table = TableBuilder(
        f"{cell.target.in_words}, {cell.corpus}: figures with 95 % intervals over speakers",
        ("figure", "run", "value", f"difference to {names[0]}"),
    )
    for each in cell.figures:
        title = each.name + ("" if each.higher_is_better else " (lower is better)")
        for place, name in enumerate(names):
            table.void = bool(cell.contaminated[place])
            value = table.figure(each.values[place], _unit(each))
            difference = Cell("–")
            if place > 0:
                # A difference is void if either side is.
                table.void = bool(cell.contaminated[place] or cell.contaminated[0])
                difference = table.gap(
                    each.differences[place - 1],
                    _unit(each),
                    adjusted_p=each.adjusted_p[place - 1],
                )
            table.add(title, name, value, difference)
    return table.build()


def _runs_table(comparison: Comparison, names: Sequence[str]) -> Table:
    facts = [
        {fact.name: "; ".join(fact.texts) for fact in run_facts(info)} for info in comparison.infos
    ]
    shown = ("Target", "Corpora", "Split", "Command", "Data", "Backbones", "Notes")
    rows = [
        (Cell("Title"), *(Cell(info.title) for info in comparison.infos)),
        (Cell("Model"), *(Cell(info.model) for info in comparison.infos)),
        *(
            (Cell(name), *(Cell(fact.get(name, "–")) for fact in facts))
            for name in shown
            if any(name in fact for fact in facts)
        ),
    ]
    return Table("What each run is", ("", *names), tuple(rows))


def _chart(cell: ComparedCell, each: ComparedFigure, names: Sequence[str]) -> Chart:
    unit = _unit(each)
    shown = [
        (name, value)
        for name, value in zip(names, each.values, strict=True)
        if isinstance(value, Figure)
    ]
    points = [
        (
            unit.scale * v.value,
            unit.scale * (v.value if v.low is None else v.low),
            unit.scale * (v.value if v.high is None else v.high),
        )
        for _, v in shown
    ]
    labels = [
        f"{name} ({VOID})" if cell.contaminated[names.index(name)] else name for name, _ in shown
    ]
    about = f"{each.name}, {cell.target.in_words}, {cell.corpus}"
    key = chart_key("compare", cell.corpus, cell.target, cell.channel or "pairs")
    said = "; ".join(f"{name} {unit.show(v.value)}{unit.sign}" for name, v in shown)
    return Chart(
        f"{about}; the dashed line is {names[0]}",
        f"{about}, by run: {said}.",
        lambda: forest_chart(key, labels, points, each.name + unit.sign, points[0][0]),
        wide=True,
    )


def _drawn(each: ComparedFigure) -> bool:
    return not any(isinstance(value, Refused) for value in each.values)


def _unit(each: ComparedFigure) -> Unit:
    return RATIO if each.name in _RATIOS else PERCENT


# From folders of runs to files that people read: scores or comparison as JSON, Markdown, HTML.

SCORES_JSON: Final = "scores.json"
SCORES_MARKDOWN: Final = "scores.md"
COMPARISON_JSON: Final = "comparison.json"
COMPARISON_MARKDOWN: Final = "comparison.md"
PAGE: Final = "index.html"


def evaluate(
    run_folder: Path, out: Path | None = None, *, num_resamples: int = 2000, strict: bool = False
) -> Scores:
    """Score a run folder; write `scores.json`, `scores.md`, `index.html` to `out`.

    out: the run's folder if None. Files from an earlier scoring are replaced.

    Raises:
        EvaluationError: the run is wrong, contaminated (with `strict`), or can't be written.
        MissingExtraError: pyarrow, jinja2 or matplotlib is not installed.
    """
    target = run_folder if out is None else out
    run = read_run(run_folder)
    _make_folder(target)
    scores = score_run(run, num_resamples=num_resamples, strict=strict)
    page = score_page(scores)
    _write(
        target,
        {
            SCORES_JSON: _json(scores_to_dict(scores)),
            SCORES_MARKDOWN: to_markdown(page),
            PAGE: to_html(page),
        },
    )
    return scores


def compare(
    run_folders: Sequence[Path], out: Path | None = None, *, num_resamples: int = 2000
) -> Comparison:
    """Compare run folders; with `out`, write `comparison.json`, `comparison.md`, `index.html`.

    Raises:
        EvaluationError: a run is wrong, they can't be compared, or the files can't be written.
        MissingExtraError: pyarrow, jinja2 or matplotlib is not installed.
    """
    runs = [read_run(folder) for folder in run_folders]
    if out is not None:
        _make_folder(out)
    comparison = compare_runs(runs, num_resamples=num_resamples)
    if out is not None:
        page = compare_page(comparison)
        _write(
            out,
            {
                COMPARISON_JSON: _json(comparison_to_dict(comparison)),
                COMPARISON_MARKDOWN: to_markdown(page),
                PAGE: to_html(page),
            },
        )
    return comparison


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _make_folder(folder: Path) -> None:
    """Before the work, so that nobody waits in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """All files are written before the first takes its name."""
    try:
        parts = {name: folder / f"{name}.part" for name in texts}
        for name, text in texts.items():
            parts[name].write_text(text, encoding="utf-8", newline="\n")
        for name, part in parts.items():
            part.replace(folder / name)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"{folder}: results can't be written ({error.strerror}); name another folder (--out)"
    )
