"""The page that puts runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from facevoice.evaluation.charts import forest_chart
from facevoice.evaluation.compare import ComparedCell, Comparison
from facevoice.evaluation.compare_figures import ComparedFigure
from facevoice.evaluation.emotion_parts import chart_key
from facevoice.evaluation.figures import Figure, Refused
from facevoice.evaluation.parts import (
    PERCENT,
    RATIO,
    VOID,
    Cell,
    Chart,
    Fact,
    Page,
    Section,
    Table,
    TableBuilder,
    Unit,
    few_speakers_hint,
)
from facevoice.evaluation.score_page import alert_text, run_facts
from facevoice.version import VERSION

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
        tables=(_figures_table(cell, names),),
        charts=tuple(_chart(cell, each, names) for each in cell.figures[:1] if _drawn(each)),
        void=void,
    )


def _figures_table(cell: ComparedCell, names: Sequence[str]) -> Table:
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
