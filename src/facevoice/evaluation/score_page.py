"""The results page of one run: what it is about, its figures, and what speaks against them."""

from __future__ import annotations

from facevoice.evaluation.conflict_parts import (
    audit_section,
    conflict_headlines,
    conflict_sections,
)
from facevoice.evaluation.emotion_parts import emotion_headlines, emotion_sections
from facevoice.evaluation.parts import Fact, Headline, Page, Section, few_speakers_hint
from facevoice.evaluation.predictions import RunInfo
from facevoice.evaluation.score import Scores
from facevoice.version import VERSION


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
