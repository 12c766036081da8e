"""What each piece of the compact family is worth; writes docs/benchmarks/compact.md's tables.

    python -m benchmarks.compact_ablations --corpora CORPORA --work WORK [--out FILE]

CORPORA and WORK as for `benchmarks.congruence`, which scores the family as it is shipped; features
come from the same store. WORK/voice holds `without-emodb.onnx` too. Speakers never cross a split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import (
    CompactData,
    make_all_pairs,
    read_channel,
    read_clips,
    read_data,
    register_voices,
    voice_name,
)
from recipes.crossfit import (
    Scored,
    crossfit,
    mean_by_clip,
    pair_posteriors,
)
from recipes.fitting import (
    Samples,
    fit_softmax,
    fit_voice_head,
    restrict,
)
from recipes.voice_data import ARCHIVES

from facevoice.corpora.pairs import Pair, PairBin
from facevoice.evaluation.bootstrap import auroc_measure, interval, uar_measure
from facevoice.models.heads import LinearHead
from facevoice.records import DoubleArray

LAST_BLOCK = slice(2048, 3072)
CORPORA = ("ravdess", "javanese", "emodb")
HeadFit = Callable[[Samples], LinearHead]


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--out", type=Path, help="write the tables here too")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parse_with_corpora(parser)
    data = read_data(arguments.corpora, arguments.work, arguments.jobs)
    lines: list[str] = []
    for text in tables(data, arguments.corpora, arguments.work):
        print(text, flush=True)
        lines.append(text)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tables(data: CompactData, corpora: Path, work: Path) -> Iterator[str]:
    """Markdown, a line at a time."""
    yield "### Voice, six speaker folds: mean recall in % [95 % over speakers]\n"
    yield "| | RAVDESS (8) | javanese (6) | EmoDB (6) |\n|---|---|---|---|"
    yield from voice_rows(data)
    yield "\n### Voice of a corpus that nothing was fitted to\n"
    yield "| | RAVDESS (8) | javanese (6) | EmoDB (6) |\n|---|---|---|---|"
    yield from unseen_corpus_rows(data, corpora, work)
    yield "\n### Javanese films, one of 6 speakers left out\n"
    yield "| | face | voice | both | conflict AUROC | opposite valence |\n|---|---|---|---|---|---|"
    yield from film_rows(data)


def voice_rows(data: CompactData) -> Iterator[str]:
    plain, folds = data.voices.samples, data.tuned.folds
    last = replace(plain, embeddings=plain.embeddings[:, LAST_BLOCK])
    variants: dict[str, tuple[Samples, HeadFit]] = {
        "last block as published, ridge regression": (last, fit_ridge),
        "… on whitened features": (last, fit_voice_head),
        "three blocks as published, whitened": (plain, fit_voice_head),
    }
    for name, (samples, fit) in variants.items():
        probs = by_fold(samples, folds, fit)
        yield voice_row(name, data, mean_by_clip(data.voices.clip_ids, probs))
    yield voice_row("… and tuned (shipped)", data, data.tuned.all_posteriors())
    known = plain.corpora != "ravdess"
    probs = by_fold(plain, folds, fit_voice_head, known)
    named = "three blocks as published, nothing fitted to RAVDESS"
    yield voice_row(named, data, mean_by_clip(data.voices.clip_ids, probs), ("javanese", "emodb"))


def fit_ridge(samples: Samples) -> LinearHead:
    """Multinomial ridge regression on standardised features, penalty as formerly shipped."""
    mean, scale = samples.embeddings.mean(axis=0), samples.embeddings.std(axis=0) + 1e-6
    x = (samples.embeddings - mean) / scale
    shape = (8, x.shape[1])
    weight, bias = fit_softmax(x, samples, np.zeros(shape), np.full(shape[1], 50.0))
    return LinearHead(mean, scale, weight, bias)


def by_fold(
    samples: Samples, folds: np.ndarray, fit: HeadFit, known: np.ndarray | None = None
) -> DoubleArray:
    """Probabilities of every row by a head fitted on the other folds (and on `known` rows only)."""
    probs = np.empty((len(folds), 8))
    for fold in np.unique(folds):
        held = folds == fold
        kept = ~held if known is None else ~held & known
        probs[held] = fit(samples.where(kept))(samples.embeddings[held])
    return probs


def voice_row(
    name: str,
    data: CompactData,
    posteriors: dict[str, DoubleArray],
    corpora: Sequence[str] = CORPORA,
) -> str:
    cells = [recall(data, posteriors, c) if c in corpora else "" for c in CORPORA]
    return f"| {name} | {' | '.join(cells)} |"


def recall(data: CompactData, posteriors: dict[str, DoubleArray], corpus: str) -> str:
    """Mean recall of the corpus' own emotions in %, with its interval over speakers."""
    samples = data.voices.samples
    emotions = samples.emotions[samples.corpora == corpus][:1]
    clips = [data.clips[key] for key in posteriors if data.clips[key].corpus == corpus]
    probs = np.array([posteriors[clip.clip_id] for clip in clips])
    labels = np.array([clip.labels.intended.position for clip in clips if clip.labels.intended])
    guesses = restrict(probs, emotions).argmax(axis=1)
    return in_percent(labels, guesses, np.array([str(clip.speaker_key) for clip in clips]))


def in_percent(labels: np.ndarray, guesses: np.ndarray, speakers: np.ndarray) -> str:
    found = interval(uar_measure(labels, guesses), speakers)
    return f"{100 * found.estimate:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def unseen_corpus_rows(data: CompactData, corpora: Path, work: Path) -> Iterator[str]:
    plain = data.voices.samples
    found: dict[str, DoubleArray] = {}
    for corpus in CORPORA:
        held = plain.corpora == corpus
        probs = fit_voice_head(plain.where(~held))(plain.embeddings[held])
        found.update(mean_by_clip(data.voices.clip_ids[held], probs))
    yield voice_row("three blocks as published, whitened", data, found)
    name = voice_name("without-emodb")
    register_voices(work, ["without-emodb"])
    clips = [c for n, archive in ARCHIVES.items() for c in read_clips(corpora, work, n, archive)]
    samples, ids = read_channel(clips, work / "features.db", [name], data.lengths_s, 1)[name]
    held = samples.corpora == "emodb"
    probs = fit_voice_head(samples.where(~held))(samples.embeddings[held])
    posteriors = mean_by_clip(np.array(ids)[held], probs)
    yield voice_row("tuned on RAVDESS and javanese", data, posteriors, ("emodb",))


@dataclass(frozen=True, slots=True, eq=False)
class Films:
    """Pairs, originals, and how they were scored."""

    pairs: tuple[Pair, ...]
    originals: tuple[Pair, ...]
    scored: Scored

    def row(self, name: str, scores: np.ndarray | None = None) -> str:
        """One line of the table; `scores` stand in for the conflict model's."""
        if scores is None:
            scores = np.array(
                [self.scored.conflict[p.face_clip_id, p.voice_clip_id] for p in self.pairs]
            )
        return f"| {name} | {' | '.join(self._emotions())} | {' | '.join(self._conflict(scores))} |"

    def _emotions(self) -> list[str]:
        labels = np.array([p.face_emotion.position for p in self.originals])
        speakers = np.array([p.speaker for p in self.originals])
        present = np.zeros((1, 8), dtype=bool)
        present[0, np.unique(labels)] = True
        channels = (
            [self.scored.face[p.face_clip_id] for p in self.originals],
            [self.scored.voice[p.voice_clip_id] for p in self.originals],
            [self.scored.fused[p.face_clip_id, p.voice_clip_id] for p in self.originals],
        )
        cells = []
        for probs in channels:
            guesses = restrict(np.array(probs), present).argmax(axis=1)
            cells.append(in_percent(labels, guesses, speakers))
        return cells

    def _conflict(self, scores: np.ndarray) -> list[str]:
        truth = np.array([p.is_conflict for p in self.pairs])
        speakers = np.array([p.speaker for p in self.pairs])
        opposite = np.array(
            [not p.is_conflict or p.bin is PairBin.OPPOSITE_VALENCE for p in self.pairs]
        )
        cells = []
        for rows in (np.ones(len(truth), dtype=bool), opposite):
            i = interval(auroc_measure(truth[rows], scores[rows]), speakers[rows])
            cells.append(f"{i.estimate:.3f} [{i.low:.3f}, {i.high:.3f}]")
        return cells


def film_rows(data: CompactData) -> Iterator[str]:
    pairs, originals = make_all_pairs(data)
    untuned = crossfit(data.faces, data.voices, pairs, originals)
    yield Films(pairs, originals, untuned).row("voice network as published")
    tuned = Films(pairs, originals, crossfit(data.faces, data.voices, pairs, originals, data.tuned))
    yield tuned.row("tuned (shipped)")
    face, voice = pair_posteriors(pairs, tuned.scored.face, tuned.scored.voice)
    yield tuned.row("… conflict by bare soft agreement", 1 - (face * voice).sum(axis=1))


if __name__ == "__main__":
    main()
