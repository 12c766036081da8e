"""What a results page says of conflicts, and of the audits that must fail."""

from __future__ import annotations

from typing import Final

import numpy as np

from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.charts import risk_chart, roc_chart
from facevoice.evaluation.conflict_figures import COVERAGE
from facevoice.evaluation.conflict_scores import ConflictScores, PartScores
from facevoice.evaluation.emotion_parts import chart_key, group_section, reliability_of
from facevoice.evaluation.figures import Figure, Refused
from facevoice.evaluation.parts import (
    PERCENT,
    RATIO,
    Cell,
    Chart,
    Headline,
    Section,
    Table,
    TableBuilder,
    headline,
)

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
            f"{cell.target.in_words}, {cell.corpus}: {_sizes(cell)}",
            void=bool(cell.contaminated),
        )
        for cell in cells
    )


def conflict_sections(cells: tuple[ConflictScores, ...]) -> tuple[Section, ...]:
    """For each corpus: all figures, curves, bins, clarity, and groups."""
    sections: list[Section] = []
    for cell in cells:
        void = bool(cell.contaminated)
        tables = [_figures_table(cell, void=void)]
        if cell.bins:
            caption = f"By how far the emotions are apart ({cell.corpus}): AUROC, a bin's conflicts"
            tables.append(_parts_table(f"{caption} against all matches", cell.bins, void=void))
        if not isinstance(cell.clarity, Refused):
            caption = f"By how clear both channels are ({cell.corpus}): AUROC within a third"
            tables.append(_parts_table(caption, cell.clarity, void=void))
        sections.append(
            Section(
                title=f"Conflicts on {cell.corpus}",
                lead=f"Target: {cell.target.in_words}. {_sizes(cell)}; {cell.num_originals} "
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


def _figures_table(cell: ConflictScores, *, void: bool) -> Table:
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


def _sizes(cell: ConflictScores) -> str:
    pairs = f"{cell.num_conflicts} conflicts, {cell.num_matches} matches"
    return f"{pairs} of {cell.num_speakers} speakers"
