"""What a results page says of emotions."""

from __future__ import annotations

from typing import Final

import numpy as np

from facevoice.evaluation.charts import (
    confusion_chart,
    confusion_shares,
    forest_chart,
    reliability_chart,
)
from facevoice.evaluation.emotion_scores import EmotionFigures, EmotionScores
from facevoice.evaluation.figures import Figure, Refused, Reliability
from facevoice.evaluation.parts import (
    PERCENT,
    RATIO,
    Cell,
    Chart,
    Headline,
    Section,
    Table,
    TableBuilder,
    Unit,
    headline,
)
from facevoice.evaluation.run_info import Channel, Target
from facevoice.evaluation.subgroups import GroupScores
from facevoice.labels import Emotion

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
