"""Results as people read them: JSON, Markdown, and one HTML page that needs nothing else.

A page is laid out once, as sections of tables and curves; two templates print the same parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import AuditResult
from facevoice.evaluation.bootstrap import Figure, Gap, Refused
from facevoice.evaluation.compare import (
    COMPARISON_FORMAT,
    ComparedCell,
    Comparison,
    compare_runs,
)
from facevoice.evaluation.metrics import Reliability, import_extra
from facevoice.evaluation.predictions import Channel, RunInfo, Target, read_run
from facevoice.evaluation.score import (
    COVERAGE,
    FORMAT,
    ConflictScores,
    EmotionFigures,
    EmotionScores,
    GroupScores,
    PartScores,
    Scores,
    score_run,
    to_dict,
)
from facevoice.files import write_atomically
from facevoice.records import VERSION, Emotion

PAGE: Final = "index.html"
VOID: Final = "contaminated"
"""The word that stands at every figure of a corpus that a backbone was trained on."""
_FEW_SPEAKERS: Final = 20
_BEST_FIRST: Final = (Channel.FUSED, Channel.FACE, Channel.VOICE)


def evaluate(
    run_folder: str | Path,
    out: str | Path | None = None,
    *,
    num_resamples: int = 2000,
    strict: bool = False,
) -> Scores:
    """Score a run folder; write `scores.json`, `scores.md`, `index.html` to `out`.

    out: the run's folder if None. Files from an earlier scoring are replaced.

    Raises:
        EvaluationError: the run is wrong, contaminated (with `strict`), or can't be written.
        MissingExtraError: pandas, pyarrow, scikit-learn or jinja2 is not installed.
    """
    run = read_run(run_folder)
    scores = score_run(run, num_resamples=num_resamples, strict=strict)
    _write(Path(out or run_folder), "scores", to_dict(FORMAT, scores), score_page(scores))
    return scores


def compare(
    run_folders: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    num_resamples: int = 2000,
) -> Comparison:
    """Compare run folders; with `out`, write `comparison.json`, `comparison.md`, `index.html`.

    Raises:
        EvaluationError: a run is wrong, they can't be compared, or the files can't be written.
        MissingExtraError: pandas, pyarrow, scikit-learn or jinja2 is not installed.
    """
    runs = [read_run(folder) for folder in run_folders]
    comparison = compare_runs(runs, num_resamples=num_resamples)
    if out is not None:
        plain = to_dict(COMPARISON_FORMAT, comparison)
        _write(Path(out), "comparison", plain, compare_page(comparison))
    return comparison


def _write(folder: Path, name: str, plain: dict[str, Any], page: Page) -> None:
    texts = {
        f"{name}.json": json.dumps(plain, ensure_ascii=False, indent=1, allow_nan=False) + "\n",
        f"{name}.md": _render("page.md.j2", page),
        PAGE: _render("page.html.j2", page),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            write_atomically(folder / file, text)
    except OSError as error:
        raise EvaluationError(
            f"{folder}: results can't be written ({error.strerror}); name another folder (--out)"
        ) from error


# What a page is made of


class Unit(StrEnum):
    """How a figure is printed; the value is what stands behind it."""

    PERCENT = " %"
    RATIO = ""

    def show(self, value: float, *, plus: bool = False) -> str:
        """The number, without its sign behind it."""
        scaled, digits = (100 * value, 1) if self is Unit.PERCENT else (value, 3)
        return f"{scaled:{'+' if plus else ''}.{digits}f}".replace("-", "−")


PERCENT, RATIO = Unit.PERCENT, Unit.RATIO


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell.

    note: number of the table's note that explains it, 0 for none;
    kind: how it is to be taken ("refused", "contaminated", "good", "bad", "code", "share");
    detail: the interval; bar: the figure's (low, value, high) from 0 to 1, for drawing.
    """

    text: str
    note: int = 0
    kind: str = ""
    detail: str = ""
    bar: tuple[float, float, float] | None = None


@dataclass(slots=True)
class Table:
    """Rows of cells, the first of each row being its heading; notes are numbered from 1.

    void: figures that are added are contaminated.
    """

    caption: str
    columns: tuple[str, ...]
    void: bool = False
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Cell | str | int) -> None:
        """Add a row."""
        self.rows.append(tuple(c if isinstance(c, Cell) else Cell(str(c)) for c in cells))

    def figure(self, value: Figure | Refused, unit: Unit) -> Cell:
        """A figure with its interval, or "refused" with the reason as a note."""
        if isinstance(value, Refused):
            return Cell("refused", self._note(value.reason), "refused")
        kind, shown = VOID if self.void else "", f"{unit.show(value.value)}{unit}"
        if value.low is None or value.high is None:
            return Cell(shown, self._note(f"no interval: {value.note}") if value.note else 0, kind)
        detail = f"{unit.show(value.low)}–{unit.show(value.high)}"
        return Cell(shown, 0, kind, detail, (value.low, value.value, value.high))

    def gap(self, value: Gap | Refused, unit: Unit, adjusted_p: float | None = None) -> Cell:
        """A difference with interval and p, or "refused" with the reason as a note."""
        if isinstance(value, Refused):
            return Cell("refused", self._note(value.reason), "refused")
        at, low, high = (unit.show(v, plus=True) for v in (value.value, value.low, value.high))
        p = value.p_value if adjusted_p is None else adjusted_p
        detail = f"{low} to {high}; " + ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
        points = " points" if unit is PERCENT else ""
        return Cell(at + points, 0, VOID if self.void else "", detail)

    def _note(self, reason: str) -> int:
        """Equal reasons share one note."""
        if reason not in self.notes:
            self.notes.append(reason)
        return self.notes.index(reason) + 1


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve over x from 0 to 1; `alt` says in words what it shows.

    top: where y ends; dots: (x, y, radius in px) on it; note: what stands at the first dot.
    """

    title: str
    alt: str
    points: tuple[tuple[float, float], ...]
    xlabel: str
    ylabel: str
    top: float = 1.0
    dots: tuple[tuple[float, float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what is below it. void: its figures are contaminated."""

    title: str
    lead: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()
    void: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on a results page: alerts are loud, hints are not; headlines may be none."""

    title: str
    subtitle: str
    alerts: tuple[str, ...]
    hints: tuple[str, ...]
    headlines: Table
    facts: Table
    sections: tuple[Section, ...]
    footer: str


def _render(template: str, page: Page) -> str:
    jinja2 = import_extra("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facevoice.evaluation"),
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["md"] = _markdown_text
    text: str = environment.get_template(template).render(page=page, void=VOID)
    return text


def _markdown_text(text: str) -> str:
    """Text that says the same in Markdown: no cell or tag is opened by what a run calls itself."""
    for char in "\\`*_<>|[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())


# The page of one run


def score_page(scores: Scores) -> Page:
    """Lay out the figures of a run."""
    info = scores.info
    cells: list[EmotionScores | ConflictScores] = [*scores.emotions, *scores.conflicts]
    void = {cell.corpus: cell.contaminated for cell in cells if cell.contaminated}
    unknown = ", ".join(scores.unknown_training)
    hint = f"It is not known what {unknown} was trained on, so contamination can't be ruled out."
    facts = _facts(info)
    facts.add("Resamples", f"{scores.num_resamples} for each interval, seed 0")
    return Page(
        title=info.title,
        subtitle=info.model,
        alerts=tuple(_alert(corpus, names) for corpus, names in sorted(void.items())),
        hints=(*([hint] if unknown else []), *_few_speakers(cell.num_speakers for cell in cells)),
        headlines=_headlines(scores),
        facts=facts,
        sections=(
            *_emotion_sections(scores),
            *(section for cell in scores.conflicts for section in _conflict_sections(cell)),
            *_audit_sections(scores),
        ),
        footer=f"Scored by facevoice {VERSION}. Intervals are 95 % percentile intervals by "
        "bootstrap over speakers. All figures and groups are in scores.json.",
    )


def _alert(corpus: str, backbones: tuple[str, ...]) -> str:
    return (
        f"{', '.join(backbones)} was itself trained on {corpus}. Every figure on {corpus} is void: "
        "it says nothing of clips that the model has not seen."
    )


def _few_speakers(counts: Iterable[int]) -> tuple[str, ...]:
    lowest = min(counts, default=_FEW_SPEAKERS)
    if lowest >= _FEW_SPEAKERS:
        return ()
    return (
        f"Some figures rest on {lowest} speakers. With fewer than {_FEW_SPEAKERS}, intervals by "
        "bootstrap are too narrow: read them as a lower bound of the doubt.",
    )


def _facts(info: RunInfo) -> Table:
    """What must stand beside every figure of a run."""
    targets = (info.emotion_target, info.conflict_target)
    trained = [
        "data that is not known" if b.known_corpora is None else ", ".join(b.known_corpora)
        for b in info.backbones
    ]
    rows: dict[str, Iterable[str]] = {
        "Run": (info.name,),
        "Target": (target.in_words for target in targets if target is not None),
        "Corpora": info.corpora,
        "Split": (info.protocol,),
        "Command": (info.command,),
        "Data": (f"{file.name} sha256:{file.sha256}" for file in info.data),
        "Backbones": (
            f"{b.name} (trained on {seen or 'no corpus of emotions'})"
            for b, seen in zip(info.backbones, trained, strict=True)
        ),
        "Predicted with": (f"facevoice {info.facevoice_version}",),
        "Notes": info.notes,
    }
    table = Table("What this is about", ("", ""))
    for name, texts in rows.items():
        if text := "; ".join(texts):
            table.add(name, Cell(text, kind="code" if name in ("Run", "Command", "Data") else ""))
    return table


def _headlines(scores: Scores) -> Table:
    """The UAR of each corpus, of the fused channel where there is one; the AUROC of each."""
    table = Table("Headline figures", ("figure", "value", "target, channel, corpus"))
    for cells in _by_corpus(scores.emotions):
        if leading := _leading(cells, scores.info.emotion_target):
            table.void, found = bool(leading.contaminated), leading.figures
            uar = table.figure(found if isinstance(found, Refused) else found.uar, PERCENT)
            counts = f"{leading.num_clips} clips of {leading.num_speakers} speakers"
            about = f"{leading.target.in_words}, {leading.channel}, {leading.corpus}"
            table.add("UAR", uar, f"{about}: {counts}")
    for cell in scores.conflicts:
        table.void = bool(cell.contaminated)
        auroc = table.figure(cell.ranking.auroc, RATIO)
        table.add("AUROC", auroc, f"{cell.target.in_words}, {cell.corpus}: {_pair_counts(cell)}")
    return table


def _by_corpus(cells: Sequence[EmotionScores]) -> Iterator[list[EmotionScores]]:
    for corpus in dict.fromkeys(cell.corpus for cell in cells):
        yield [cell for cell in cells if cell.corpus == corpus]


def _leading(cells: Sequence[EmotionScores], target: Target | None) -> EmotionScores | None:
    """The cell of the target whose channel knows most: both, else face, else voice."""
    found = {cell.channel: cell for cell in cells if cell.target is target}
    return next((found[channel] for channel in _BEST_FIRST if channel in found), None)


_EMOTION_FIGURES: Final = {
    "UAR": ("uar", PERCENT),
    "WAR": ("war", PERCENT),
    "macro-F1": ("macro_f1", PERCENT),
    "weighted F1": ("weighted_f1", PERCENT),
    "ECE": ("ece", RATIO),
    "Brier": ("brier", RATIO),
    "UAR over all": ("uar_all", PERCENT),
}


def _emotion_sections(scores: Scores) -> Iterator[Section]:
    """For each corpus: all figures, confusion matrices and reliability, and groups."""
    target = scores.info.emotion_target
    for cells in _by_corpus(scores.emotions):
        corpus, void = cells[0].corpus, bool(cells[0].contaminated)
        table = Table(
            f"Figures on {corpus}, with 95 % intervals over speakers",
            ("channel", "target", *_EMOTION_FIGURES, "clips", "speakers", "no answer"),
            void,
        )
        tables, charts = [table], []
        for cell in cells:
            found = cell.figures
            figures = [
                table.figure(found if isinstance(found, Refused) else getattr(found, name), unit)
                for name, unit in _EMOTION_FIGURES.values()
            ]
            missing = f"{100 * cell.missing_share:.1f} %"
            words = (cell.channel.value, cell.target.in_words)
            table.add(*words, *figures, cell.num_clips, cell.num_speakers, missing)
            if cell.target is target and not isinstance(found, Refused):
                about = f"{cell.channel}, {cell.target.in_words}, {corpus}" + f" ({VOID})" * void
                tables.append(_confusion(about, found))
                axes = ("probability of the answer", "share that is right")
                charts.append(_reliability(f"Reliability; {about}", found.reliability, *axes))
        lead = _emotion_lead(cells, scores.info.emotion_target)
        yield Section(f"Emotions on {corpus}", lead, tuple(tables), tuple(charts), void)
        leading = _leading(cells, target)
        if leading is not None and not isinstance(leading.figures, Refused):
            name = f"UAR, {leading.channel}, {leading.target.in_words}, {corpus}"
            title = f"Groups of people: emotions on {corpus}"
            yield _group_section(title, name, leading.figures.groups, PERCENT, void=void)


def _emotion_lead(cells: Sequence[EmotionScores], target: Target | None) -> str:
    words = f"Headline target: {target.in_words if target else 'none'}."
    classes = next((c.figures.classes for c in cells if not isinstance(c.figures, Refused)), None)
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


def _confusion(about: str, found: EmotionFigures) -> Table:
    table = Table(f"Confusion, % of each truth; {about}", ("truth", *found.classes))
    for emotion, counts in zip(found.classes, found.confusion, strict=True):
        total = sum(counts)
        shares = [Cell(f"{100 * n / total:.0f}", kind="share") if total else "–" for n in counts]
        table.add(emotion.value, *shares)
    return table


def _reliability(title: str, points: Reliability, xlabel: str, ylabel: str) -> Chart:
    bins = [*zip(points.confidences, points.accuracies, points.counts, strict=True)]
    said = "; ".join(f"{100 * c:.0f} % → {100 * a:.0f} % ({n})" for c, a, n in bins)
    return Chart(
        title,
        f"{title}. {xlabel} → {ylabel} (items): {said}.",
        tuple((confidence, accuracy) for confidence, accuracy, _ in bins),
        xlabel,
        ylabel,
        dots=tuple((c, a, 3 + 6 * (n / max(points.counts)) ** 0.5) for c, a, n in bins),
    )


def _group_section(
    title: str, name: str, groups: Sequence[GroupScores], unit: Unit, *, void: bool
) -> Section:
    if not groups:
        lead = "The table says nothing of sex, age, race, ethnicity, language or intensity."
        return Section(title, lead, (), void=void)
    table = Table(name, ("attribute", "group", "figure", "gap", "items", "speakers"), void)
    for each in groups:
        figure, gap = table.figure(each.figure, unit), table.gap(each.gap, unit)
        table.add(each.attribute, each.group, figure, gap, each.num_items, each.num_speakers)
    lead = (
        "Gap: the group's figure minus that of all others of whom the attribute is known. "
        "p is not corrected for the number of groups."
    )
    return Section(title, lead, (table,), void=void)


_CONFLICT_FIGURES: Final = {
    "AUROC": ("ranking.auroc", RATIO, "conflicts against matches; 0.5 is guessing"),
    "AP at 5 % conflicts": ("ranking.average_precision_5", RATIO, "guessing gives 0.05"),
    "AP at 50 % conflicts": ("ranking.average_precision_50", RATIO, "guessing gives 0.50"),
    "EER": ("ranking.eer", PERCENT, "where misses and false alarms are as frequent"),
    "balanced accuracy": ("calls.balanced_accuracy", PERCENT, "at the threshold of validation"),
    "FPR": ("calls.false_positive_rate", PERCENT, "matches called conflict at that threshold"),
    "balanced accuracy of labels": ("calls.label_accuracy", PERCENT, "calling by likeliest labels"),
    "gain over labels": ("calls.gain_over_labels", PERCENT, "score minus labels, same pairs"),
    "ECE": ("calibration.ece", RATIO, "distance of the probability from what comes true"),
    "Brier": ("calibration.brier", RATIO, "squared error of the probability"),
    "AURC": ("selective.aurc", PERCENT, "wrong calls, over all coverages"),
    "risk at 80 % coverage": ("selective.risk_80", PERCENT, "the surest 80 % answered"),
    "risk at full coverage": ("selective.risk_full", PERCENT, "all answered"),
    "AUROC against originals": ("auroc_originals", RATIO, "also rewards noticing the splice"),
}
_BIN_WORDS: Final = {
    "neutral_vs_x": "neutral against an emotion",
    "same_valence": "same valence",
    "opposite_valence": "opposite valence",
}


def _conflict_sections(cell: ConflictScores) -> Iterator[Section]:
    """All figures, curves, bins, clarity; then groups."""
    corpus, void, words = cell.corpus, bool(cell.contaminated), cell.target.in_words
    caption = f"Figures on {corpus}, {words}, with 95 % intervals over speakers"
    table = Table(caption, ("figure", "value", "what it says"), void)
    for name, (path, unit, meaning) in _CONFLICT_FIGURES.items():
        value = attrgetter(path)(cell)
        shown = table.gap(value, unit) if isinstance(value, Gap) else table.figure(value, unit)
        table.add(name, shown, meaning)
    tables = [table]
    if cell.bins:
        caption = f"By how far the emotions are apart ({corpus}): AUROC, a bin's conflicts"
        tables.append(_parts_table(f"{caption} against all matches", cell.bins, void=void))
    if not isinstance(cell.clarity, Refused):
        caption = f"By how clear both channels are ({corpus}): AUROC within a third"
        tables.append(_parts_table(caption, cell.clarity, void=void))
    lead = f"Target: {words}. {_pair_counts(cell)}; {cell.num_originals} originals, which count "
    yield Section(
        f"Conflicts on {corpus}",
        lead + "only where the row says so.",
        tuple(tables),
        tuple(_conflict_charts(cell, f"{words}, {corpus}")),
        void,
    )
    title, name = f"Groups of people: conflicts on {corpus}", f"AUROC, {words}, {corpus}"
    yield _group_section(title, name, cell.groups, RATIO, void=void)


def _pair_counts(cell: ConflictScores) -> str:
    pairs = f"{cell.num_conflicts} conflicts, {cell.num_matches} matches"
    return f"{pairs} of {cell.num_speakers} speakers"


def _parts_table(caption: str, parts: Sequence[PartScores], *, void: bool) -> Table:
    table = Table(caption, ("part", "AUROC", "conflicts", "matches", "speakers"), void)
    for part in parts:
        name, auroc = _BIN_WORDS.get(part.name, part.name), table.figure(part.auroc, RATIO)
        table.add(name, auroc, part.num_conflicts, part.num_matches, part.num_speakers)
    return table


def _conflict_charts(cell: ConflictScores, about: str) -> Iterator[Chart]:
    roc, reliability, risks = cell.ranking.roc, cell.calibration.reliability, cell.selective.curve
    if not isinstance(roc, Refused):
        found = "; ".join(
            f"{100 * float(np.interp(rate, roc.x, roc.y)):.0f} % of conflicts found at "
            f"{100 * rate:.0f} % false alarms"
            for rate in (0.05, 0.2, 0.5)
        )
        axes = ("matches called conflict", "conflicts found")
        yield Chart(
            f"ROC, {about}",
            f"ROC curve, {about}: {found}.",
            (*zip(roc.x, roc.y, strict=True),),
            *axes,
        )
    if not isinstance(reliability, Refused):
        axes = ("probability of a conflict", "share that are conflicts")
        yield _reliability(f"Reliability, {about}", reliability, *axes)
    surest = cell.selective.risk_80
    if not isinstance(risks, Refused) and not isinstance(surest, Refused):
        at = {share: float(np.interp(share, risks.x, risks.y)) for share in (0.2, 0.5, 1.0)}
        at[COVERAGE] = surest.value
        said = "; ".join(f"{100 * r:.1f} % wrong at {100 * share:.0f} %" for share, r in at.items())
        yield Chart(
            f"Risk and coverage, {about}",
            f"Share of wrong calls by share of pairs answered, {about}: {said}.",
            (*zip(risks.x, risks.y, strict=True),),
            "share of pairs answered, surest first",
            "share of wrong calls",
            top=np.ceil(10 * max(*risks.y, 0.05)) / 10,
            dots=((COVERAGE, surest.value, 5),),
            note=f"{100 * surest.value:.1f} % at {100 * COVERAGE:.0f} %",
        )


def _audit_sections(scores: Scores) -> Iterator[Section]:
    """Every audit with its limit and verdict; nothing if there are no conflicts."""
    audits: list[tuple[str, AuditResult | Refused]] = [
        (f"original against re-paired match, {cell.corpus}", cell.audit_originals)
        for cell in scores.conflicts
    ]
    audits += [(audit.name, audit) for audit in scores.audits]
    table = Table("Audits", ("audit", "AUROC", "passes up to", "verdict"))
    for name, audit in audits:
        if isinstance(audit, Refused):
            refused = table.figure(audit, RATIO)
            table.add(name, refused, "–", Cell("not done", refused.note, "refused"))
            continue
        found = Figure(audit.auroc.estimate, audit.auroc.low, audit.auroc.high)
        verdict = Cell("passed", kind="good") if audit.passed else Cell("FAILED", kind="bad")
        table.add(name, table.figure(found, RATIO), f"{audit.limit:.2f}", verdict)
    lead = (
        "What looks at no emotion, or at one channel only, must not tell conflicts from matches. "
        "An audit that gets above its limit (or, for a fixed score, as far below 0.5) has failed: "
        "then the pairs give their class away, and the conflict figures can't be trusted."
    )
    if audits:
        yield Section("Audits that must find nothing", lead, (table,))


# The page that puts runs side by side


def compare_page(comparison: Comparison) -> Page:
    """Lay out a comparison; its last section says what each run is."""
    infos = comparison.infos
    names = [info.name for info in infos]
    # Numbered where two are called alike.
    names = [
        f"{name} ({place})" if names.count(name) > 1 else name
        for place, name in enumerate(names, start=1)
    ]
    alerts = [
        f"{name}: {_alert(cell.corpus, backbones)}"
        for cell in comparison.cells
        for name, backbones in zip(names, cell.contaminated, strict=True)
        if backbones
    ]
    facts = Table("What this is about", ("", ""))
    facts.add("Resamples", f"{comparison.num_resamples}, paired, of speakers; seed 0")
    holm = f", after Holm's correction for {len(names) - 1} runs within each figure"
    facts.add("p", "two-sided" + (holm if len(names) > 2 else ""))
    return Page(
        title=f"{names[0]} against {', '.join(names[1:])}",
        subtitle=f"Each run's difference to {names[0]}, on the items that all runs have.",
        alerts=tuple(dict.fromkeys(alerts)),
        hints=_few_speakers(cell.num_speakers for cell in comparison.cells),
        headlines=Table("Headline figures", ()),
        facts=facts,
        sections=(
            *(_compared_section(cell, names) for cell in comparison.cells),
            Section("The runs", "", (_runs_table(infos, names),)),
        ),
        footer=f"Compared by facevoice {VERSION}.",
    )


def _compared_section(cell: ComparedCell, names: Sequence[str]) -> Section:
    table = Table(
        f"{cell.target.in_words}, {cell.corpus}: figures with 95 % intervals over speakers",
        ("figure", "run", "value", f"difference to {names[0]}"),
    )
    for each in cell.figures:
        unit = RATIO if each.name in ("AUROC", "Brier score") else PERCENT
        title = each.name + ("" if each.higher_is_better else " (lower is better)")
        for place, name in enumerate(names):
            table.void = bool(cell.contaminated[place])
            value, gap = table.figure(each.values[place], unit), Cell("–")
            if place > 0:
                # A difference is void if either side is.
                table.void = bool(cell.contaminated[place] or cell.contaminated[0])
                gap = table.gap(each.differences[place - 1], unit, each.adjusted_p[place - 1])
            table.add(title, name, value, gap)
    title = f"{cell.target.in_words} on {cell.corpus}" + (
        f": {cell.channel}" if cell.channel else ""
    )
    had = ", ".join(f"{name} {count}" for name, count in zip(names, cell.num_items, strict=True))
    counts = f"{cell.num_common} {'clips' if cell.channel else 'pairs'} of {cell.num_speakers}"
    return Section(
        title=title[0].upper() + title[1:],
        lead=f"{counts} speakers are in all runs (usable in {had}).",
        tables=(table,),
        void=any(cell.contaminated),
    )


def _runs_table(infos: Sequence[RunInfo], names: Sequence[str]) -> Table:
    table = Table("What each run is", ("", *names))
    table.add("Title", *(info.title for info in infos))
    table.add("Model", *(info.model for info in infos))
    facts = [{row[0].text: row[1].text for row in _facts(info).rows} for info in infos]
    for name in ("Target", "Corpora", "Split", "Command", "Data", "Backbones", "Notes"):
        if any(name in fact for fact in facts):
            table.add(name, *(fact.get(name, "–") for fact in facts))
    return table
