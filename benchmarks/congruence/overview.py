"""The page over all runs: what was asked, on what data, and what came out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.congruence import cremad_votes

from facevoice.evaluation.bootstrap import Figure, Gap, Refused
from facevoice.evaluation.score import ConflictScores, EmotionScores, Scores

DUBS = (
    "Recordings: what the clips give away as they were published. Dubs: the same pairs cut to one "
    "length, made equally loud and coded alike. The last row must *not* be at 0.5: it shows that "
    "the synchrony score finds a sound in step with the lips where there is one."
)
PAGE_FILES = ("index.html", "scores.md", "scores.json")
HEAD = """# The congruence benchmark

Made by `{command} --docs docs/benchmarks`
(in a clone, after `pip install -e '.[data,train]'`).

Every figure here and on the pages of the runs comes from prediction files that this command writes
and then scores as `facevoice evaluate RUN` does. Speakers never cross a split; intervals are 95 %,
by bootstrap over speakers. What the tables and figures mean: [evaluation](../evaluation.md). The
corpora: [corpora](../corpora.md).

Targets are different questions and are never mixed: *intended* is what a speaker was asked to
express, *perceived* what people saw or heard, *constructed conflict* a face and a voice of
different intended emotions, re-paired just as the matches are.
"""


def write_overview(
    scores: list[Scores], runs: Path, docs: Path, votes: Path | None, dubs: str, command: str
) -> None:
    """Copy the pages of the runs to `docs`, and write README.md over them.

    votes: the folder of CREMA-D's votes; dubs: the audits of the dubbed clips as Markdown.
    """
    docs.mkdir(parents=True, exist_ok=True)
    for part in scores:
        target = docs / part.info.name
        target.mkdir(exist_ok=True)
        for name in PAGE_FILES:
            shutil.copy(runs / part.info.name / "scores" / name, target / name)
    lines = [HEAD.format(command=command), *_runs(scores), *_emotions(scores), *_conflicts(scores)]
    lines += _audits(scores)
    if dubs:
        lines += ["### Javanese, as dubbed clips", "", DUBS, "", dubs]
    if votes is not None:
        lines += _votes(votes)
    (docs / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(head: str, rows: Iterable[str]) -> list[str]:
    return [head, "|" + "---|" * (head.count("|") - 1), *rows, ""]


def _runs(scores: list[Scores]) -> list[str]:
    rows = [
        f"| [{info.title}]({info.name}/index.html) ([as text]({info.name}/scores.md)) "
        f"| {info.model} | {info.protocol} |"
        for info in (part.info for part in scores)
    ]
    decisions = (
        "What a call of match or conflict is worth, and how thresholds are set: "
        "[decisions](decisions.md). What it brings to know the person, and voices of corpora left "
        "out whole: [knowing the person](person.md). How far answers move with level, codec, room "
        "and noise: [perturbations](perturbations.md); with container, codec, sound track and "
        "channel: [the same clip in other files](metamorphic.md). Who speaks, of several people: "
        "[who speaks](who-speaks.md). Whose voice is heard, and what beside it: "
        "[voices](voices.md)."
    )
    return [decisions, "", "## The runs", "", *_table("| run | model | protocol |", rows)]


def _emotions(scores: list[Scores]) -> list[str]:
    def rows() -> Iterator[str]:
        for part in scores:
            for cell in part.emotions:
                yield f"| {part.info.name} | {_emotion_row(cell)} |"

    head = "| run | corpus | channel | target | clips | speakers | UAR % | WAR % |"
    return ["## Emotion", "", *_table(head, rows())]


def _emotion_row(cell: EmotionScores) -> str:
    found = cell.figures
    figures = (
        (found.reason, "")
        if isinstance(found, Refused)
        else (_text(found.uar, 100, 1), _text(found.war, 100, 1))
    )
    parts = (cell.corpus, cell.channel, cell.target.in_words, cell.num_clips, cell.num_speakers)
    return " | ".join(str(part) for part in (*parts, *figures))


def _conflicts(scores: list[Scores]) -> list[str]:
    cells = [(part.info.name, cell) for part in scores for cell in part.conflicts]
    names = [name for name, _ in cells]
    rows: dict[str, list[str]] = {}
    for _, cell in cells:
        for title, value in _conflict_figures(cell):
            rows.setdefault(title, []).append(value)
    head = "| | " + " | ".join(names) + " |"
    lines = [f"| {title} | " + " | ".join(values) + " |" for title, values in rows.items()]
    return ["## Conflict (target: constructed)", "", *_table(head, lines)]


def _conflict_figures(cell: ConflictScores) -> Iterator[tuple[str, str]]:
    yield (
        "conflicts / re-paired matches / originals",
        (f"{cell.num_conflicts} / {cell.num_matches} / {cell.num_originals}"),
    )
    yield "**AUROC** against re-paired matches", _text(cell.ranking.auroc)
    yield "AUROC against originals", _text(cell.auroc_originals)
    for part in cell.bins:
        yield f"AUROC, bin {part.name}", _text(part.auroc)
    if not isinstance(cell.clarity, Refused):
        for part in cell.clarity:
            yield f"AUROC, {part.name}", _text(part.auroc)
    yield "average precision at 5 % prevalence", _text(cell.ranking.average_precision_5)
    yield "average precision at 50 % prevalence", _text(cell.ranking.average_precision_50)
    yield "equal error rate, %", _text(cell.ranking.eer, 100, 1)
    yield "balanced accuracy at the fixed threshold, %", _text(cell.calls.balanced_accuracy, 100, 1)
    yield "false positive rate there, %", _text(cell.calls.false_positive_rate, 100, 1)
    yield (
        "balanced accuracy of comparing the likeliest labels, %",
        _text(cell.calls.label_accuracy, 100, 1),
    )
    yield "soft score above comparing labels, points", _text(cell.calls.gain_over_labels, 100, 1)
    yield "expected calibration error", _text(cell.calibration.ece)
    yield "Brier", _text(cell.calibration.brier)
    yield (
        "wrong calls, all answered / at 80 % coverage, %",
        (f"{_text(cell.selective.risk_full, 100, 1)} / {_text(cell.selective.risk_80, 100, 1)}"),
    )


def _audits(scores: list[Scores]) -> list[str]:
    """All audits: those of the pairs, and the model's own on originals."""
    rows = []
    for part in scores:
        audits = list(part.audits)
        audits += [
            c.audit_originals for c in part.conflicts if not isinstance(c.audit_originals, Refused)
        ]
        for audit in audits:
            interval = audit.auroc
            passed = "passed" if audit.passed else "**not passed**"
            rows.append(
                f"| {part.info.name} | {audit.name} | {interval.estimate:.3f} "
                f"[{interval.low:.3f}, {interval.high:.3f}] | {audit.limit:.2f} | {passed} |"
            )
    head = "| run | audit | AUROC | limit | |"
    words = (
        "What must not tell conflicts from re-paired matches: nuisances, one channel alone, and "
        "the splice itself. People's votes are no splice: that original clips agree more than "
        "re-paired ones there (last row) says how much a take has of its own."
    )
    return ["## Audits", "", words, "", *_table(head, rows)]


def _votes(root: Path) -> list[str]:
    people = cremad_votes.read_people(root)
    other = [
        f"| {name} | {found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}] |"
        for name, found in cremad_votes.against_originals(people).items()
    ]
    perceived = [f"| {name} | {value} |" for name, value in cremad_votes.perceived(root).items()]
    return [
        "## CREMA-D's votes: other controls",
        "",
        "The same score with other pairs; here conflicts are of one sentence, not of two.",
        "",
        *_table("| pairs | AUROC |", other),
        "## CREMA-D's votes: perceived conflict",
        "",
        "All 7,442 original clips. The posterior is over what all people would say, given what "
        "some ten said; a channel counts as clear from 60 % on, and neutral never does. Ten votes "
        "leave much open, so the likeliest outcome is nearly always flat; labels of single clips "
        "should be used with their posterior.",
        "",
        *_table("| clips | share |", perceived),
    ]


def _text(value: Figure | Gap | Refused, factor: float = 1.0, digits: int = 3) -> str:
    if isinstance(value, Refused):
        return f"none: {value.reason}"
    text = f"{factor * value.value:.{digits}f}"
    if value.low is None or value.high is None:
        return text
    return f"{text} [{factor * value.low:.{digits}f}, {factor * value.high:.{digits}f}]"
