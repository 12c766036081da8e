"""An agreement as one page that needs nothing else: figures, timelines, confusions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from facevoice.agreement.compare import Agreement, Among, Comparison, Row, Timeline, describe
from facevoice.agreement.figures import LEAST_CLUSTERS, LEVEL, NUM_RESAMPLES
from facevoice.errors import ConfigError
from facevoice.records import NOTICE
from facevoice.report.words import (
    CHANNEL_WORDS,
    EMOTION_COLORS,
    OUTCOME_COLORS,
    clock,
    ink_on,
)
from facevoice.texts import shown

_MARK: Final = '<meta name="generator" content="facevoice agreement">'
_COLORS: Final[dict[str, dict[str, str]]] = {
    **{key: {e.value: color for e, color in EMOTION_COLORS.items()} for key in CHANNEL_WORDS},
    "outcome": {outcome.value: color for outcome, color in OUTCOME_COLORS.items()},
}
_NAMES: Final = {**CHANNEL_WORDS, "outcome": "Outcome"}
# Lengths of the drawing, in its own units; it grows with the page.
_WIDTH, _LEFT, _ROW, _GAP = 1000, 170, 22, 10
_NUM_TICKS: Final = 8
_LETTER: Final = 7.2
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #55616b; --ground: #fff; --line: #d5d9dd;
  --shade: 0, 114, 178; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaed; --soft: #a9b4bd; --ground: #14191d; --line: #3a444c;
    --shade: 86, 180, 233; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; }
p.soft, figcaption, footer { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.5rem 0 1rem; }
caption { text-align: left; color: var(--soft); }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: 0.5rem 0 1.5rem; }
svg { width: 100%; height: auto; min-width: 40rem; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg text.soft { fill: var(--soft); }
svg line { stroke: var(--line); }
@media print { body { margin: 0; max-width: none; } figure { break-inside: avoid; } }
"""


def check_agreement_target(out: Path) -> None:
    """Make sure, before any work, that a page may be written to `out`.

    Raises:
        ConfigError: it is a folder, lies nowhere, or is a file that isn't such a page.
    """
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; name a file, such as {out / 'agreement.html'}")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}; make it first")
    if out.exists() and _MARK.encode() not in out.read_bytes()[:4096]:
        raise ConfigError(f"{out}: there is another file of that name; choose another with --html")


def to_agreement_page(agreement: Agreement, title: str) -> str:
    """The page as HTML text."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        f"<head>{_MARK}<meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{_text(title)}: agreement</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{_text(title)}: how far people and facevoice agree</h1>",
        f"<p>{_meaning()}</p>",
        *_figures(agreement.comparisons),
        *_people(agreement.among),
        *(part for timeline in agreement.timelines for part in _timeline(timeline)),
        *_confusions(agreement.comparisons),
        *(f"<p class='soft'>{_text(remark)}</p>" for remark in agreement.remarks),
        f"</main><footer><p>{_text(NOTICE)}</p></footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _text(text: str) -> str:
    return escape(shown(text))


def _meaning() -> str:
    return (
        "Kappa (Cohen) and alpha (Krippendorff) are 1 where all labels are the same, and 0 where "
        "they are the same as often as by chance. The range is that of kappa in the middle "
        f"{LEVEL:.0%} of {NUM_RESAMPLES:,} draws of the stretches that people marked; there is "
        f"none for fewer than {LEAST_CLUSTERS} stretches."
    )


def _figures(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield "<h2>Figures</h2><div class='wide' tabindex='0' role='group' aria-label='Figures'><table>"
    yield "<thead><tr><th scope='col'>channel</th><th scope='col'>by</th><th scope='col'>per</th>"
    for name in ("compared", "same", "kappa", "range", "alpha", "not read", "not marked"):
        yield f"<th scope='col' class='number'>{name}</th>"
    yield "</tr></thead><tbody>"
    for one in comparisons:
        limits = "" if one.low is None or one.high is None else f"{one.low:.2f}–{one.high:.2f}"
        cells = (
            f"{one.num_units:,}",
            "–" if one.agreed is None else f"{one.agreed:.0%}",
            figure_words(one.kappa),
            limits,
            figure_words(one.alpha),
            f"{one.num_unread:,}",
            f"{one.num_unmarked:,}",
        )
        yield f"<tr><th scope='row'>{_NAMES[one.channel]}</th><td>{_text(one.annotator)}</td>"
        yield f"<td>{one.unit}</td>"
        yield "".join(f"<td class='number'>{cell}</td>" for cell in cells) + "</tr>"
    yield "</tbody></table></div>"


def figure_words(value: float | None) -> str:
    """Kappa or alpha with two digits; a dash where it isn't defined."""
    return "–" if value is None else f"{value:.2f}"


def _people(among: Sequence[Among]) -> Iterator[str]:
    if not among:
        return
    yield "<h2>People among themselves</h2><ul>"
    for one in among:
        pairs = "; ".join(
            f"{_text(a)} and {_text(b)}: kappa {figure_words(kappa)}" for a, b, kappa in one.kappas
        )
        yield (
            f"<li>{_NAMES[one.channel]}: alpha {figure_words(one.alpha)} over {one.num_units:,} "
            f"windows, {figure_words(one.alpha_with_report)} with facevoice as one more. {pairs}."
            "</li>"
        )
    yield "</ul>"


def _timeline(timeline: Timeline) -> Iterator[str]:
    yield f"<h2>{_text(timeline.name)}</h2>"
    yield "<figure class='wide' tabindex='0' role='group' aria-label='Timeline'>"
    yield _drawing(timeline)
    labels = [
        (label, color)
        for channel, colors in _COLORS.items()
        if channel in ("outcome", "face")
        for label, color in colors.items()
        if any(s.label == label for row in timeline.rows for s in row.spans)
    ]
    legend = " ".join(
        f"<span style='background:{color};color:{ink_on(color)};padding:0 0.4em'>{label}</span>"
        for label, color in labels
    )
    yield f"<figcaption>{legend}</figcaption></figure>"


def _drawing(timeline: Timeline) -> str:
    scale = (_WIDTH - _LEFT - 10) / max(timeline.duration_s, 1e-3)
    parts, top, before = [], 24.0, ""
    for row in timeline.rows:
        top += _GAP if before and row.channel != before else 0
        before = row.channel
        parts += list(_row(row, top, scale))
        top += _ROW
    step = next((s for s in _STEPS_S if timeline.duration_s / s <= _NUM_TICKS), _STEPS_S[-1])
    ticks = []
    for number in range(int(timeline.duration_s // step) + 1):
        x = _LEFT + number * step * scale
        ticks.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='18' y2='{top:.0f}'/>")
        ticks.append(
            f"<text class='soft' x='{x:.1f}' y='13' text-anchor='middle'>{clock(number * step)}"
            "</text>"
        )
    return (
        f"<svg viewBox='0 0 {_WIDTH} {top + 4:.0f}' role='img' aria-label='Labels by people and by "
        f"facevoice over {clock(timeline.duration_s)}'>{''.join(ticks + parts)}</svg>"
    )


def _row(row: Row, top: float, scale: float) -> Iterator[str]:
    by = "facevoice" if row.annotator is None else shown(row.annotator)
    name = f"{_NAMES[row.channel]}, {by}" + (f", {shown(row.person)}" if row.person else "")
    cut = name if len(name) * _LETTER < _LEFT else f"{name[: int(_LEFT / _LETTER) - 1]}…"
    yield f"<text x='0' y='{top + 14:.0f}'><title>{_text(name)}</title>{_text(cut)}</text>"
    for span in row.spans:
        x, width = _LEFT + span.start_s * scale, (span.end_s - span.start_s) * scale
        color = _COLORS[row.channel].get(span.label, "#888888")
        told = f"{clock(span.start_s)}–{clock(span.end_s)} {name}: {span.label}"
        yield (
            f"<rect x='{x:.1f}' y='{top:.0f}' width='{max(width - 0.5, 0.5):.1f}' "
            f"height='{_ROW - 4}' fill='{color}'><title>{_text(told)}</title></rect>"
        )
        if len(span.label) * _LETTER < width:
            yield (
                f"<text x='{x + 4:.1f}' y='{top + 14:.0f}' style='fill:{ink_on(color)}'>"
                f"{_text(span.label)}</text>"
            )


def _confusions(comparisons: Sequence[Comparison]) -> Iterator[str]:
    yield "<h2>Who says what</h2>"
    for one in comparisons:
        yield f"<h3>{_NAMES[one.channel]}, {_text(one.annotator)}, per {one.unit}</h3>"
        yield f"<p>{_text(describe(one))}</p>"
        if not one.num_units:
            continue
        most = max(max(row) for row in one.counts)
        yield "<div class='wide' tabindex='0' role='group' aria-label='Confusions'><table>"
        yield "<caption>Rows: people. Columns: facevoice.</caption><thead><tr><td></td>"
        yield "".join(f"<th scope='col' class='number'>{label}</th>" for label in one.labels)
        yield "</tr></thead><tbody>"
        for label, row in zip(one.labels, one.counts, strict=True):
            cells = "".join(
                f"<td class='number' style='background:rgba(var(--shade),{0.4 * n / most:.2f})'>"
                f"{n:,}</td>"
                for n in row
            )
            yield f"<tr><th scope='row'>{label}</th>{cells}</tr>"
        yield "</tbody></table></div>"
