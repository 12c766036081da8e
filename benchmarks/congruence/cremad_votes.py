"""CREMA-D: ten viewers of the silent face against ten listeners to the voice.

Two questions, kept apart. *Constructed*: from the votes alone, can one tell a face and a voice of
different intended emotions from a re-paired match? *Perceived*: in how many original clips do the
votes on face and on voice differ by more than chance?
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.congruence.common import (
    PairScores,
    agreement,
    conflict_table,
    crossfit_threshold,
)
from benchmarks.votes import clear_conflicts, significant_conflicts

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.cremad import (
    CONGRUENCE,
    VOTE_EMOTIONS,
    VOTES_TABLE,
    clip_of_stem,
    congruence_posterior,
    read_votes,
    top_votes,
    with_demographics,
)
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import PAIR_PLANS, make_pairs, original_pairs
from facevoice.corpora.splits import speaker_folds
from facevoice.evaluation.bootstrap import Interval, auroc_measure, interval
from facevoice.evaluation.predictions import Run, RunInfo, Target, emotion_predictions
from facevoice.records import NUM_EMOTIONS, Emotion

ARCHIVE = "cremad_votes"
NUM_FOLDS = 5
NUM_PEOPLE = 10
NEUTRAL_VOTE = VOTE_EMOTIONS.index(Emotion.NEUTRAL)
COLUMNS = [emotion.position for emotion in VOTE_EMOTIONS]


def draw_people(counts: np.ndarray, seed: int) -> np.ndarray:
    """Votes (n, 6) of at most ten people, drawn without replacement from those there are."""
    rng = np.random.default_rng(seed)
    return np.array(
        [rng.multivariate_hypergeometric(row, min(NUM_PEOPLE, row.sum())) for row in counts]
    )


def shares(counts: np.ndarray) -> np.ndarray:
    """Votes (n, 6) as posteriors (n, 8) in the order of `Emotion`."""
    probs = np.zeros((len(counts), NUM_EMOTIONS))
    probs[:, COLUMNS] = counts / counts.sum(axis=1, keepdims=True)
    return probs


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Clips, and what ten people saw and heard in each: posteriors (n, 8); everybody's of both."""

    clips: list[Clip]
    face: np.ndarray
    voice: np.ndarray
    both: np.ndarray
    folds: np.ndarray

    def place(self) -> dict[str, int]:
        return {clip.clip_id: k for k, clip in enumerate(self.clips)}


def read_people(root: Path) -> People:
    votes = read_votes(root / VOTES_TABLE)
    # The votes are the answers here, so they must not be the truth as well.
    named = [clip for clip in map(clip_of_stem, votes.stems) if isinstance(clip, Clip)]
    clips = list(with_demographics(named, root))
    place = {stem: k for k, stem in enumerate(votes.stems)}
    # One published name ends in X where XX is meant.
    rows = [place.get(c.clip_id[7:], place.get(c.clip_id[7:-1], -1)) for c in clips]
    fold_of: dict[str, int] = {}
    for fold, split in enumerate(speaker_folds(clips, NUM_FOLDS)):
        fold_of.update(dict.fromkeys(split.test, fold))
    return People(
        clips,
        shares(draw_people(votes.face, 0)[rows]),
        shares(draw_people(votes.voice, 1)[rows]),
        shares(votes.both[rows]),
        np.array([fold_of[clip.clip_id] for clip in clips]),
    )


def pair_scores(people: People, pairs: tuple) -> PairScores:
    place = people.place()
    faces = [place[pair.face_clip_id] for pair in pairs]
    voices = [place[pair.voice_clip_id] for pair in pairs]
    return PairScores(pairs, people.face[faces], people.voice[voices], people.folds[faces])


def run(corpora: Path, work: Path, command: str) -> Run:
    people = read_people(corpus_root(corpora, ARCHIVE, work=work))
    plan = replace(PAIR_PLANS["cremad"], need_files=False)
    pairs = pair_scores(
        people, (*make_pairs(people.clips, plan), *original_pairs(people.clips, plan))
    )
    fitted = crossfit_threshold(pairs, agreement(pairs.face, pairs.voice))
    info = RunInfo(
        name="cremad-votes",
        title="CREMA-D: ten viewers against ten listeners",
        model="people's votes as posteriors, at most ten of each channel a clip; conflict score "
        "1 − Σ p q of face and voice votes; fused: everybody's votes on picture and sound",
        corpora=("cremad",),
        emotion_target=Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT,
        protocol="7,438 clips of 91 speakers; nothing is fitted but the threshold, on the other "
        f"{NUM_FOLDS - 1} of {NUM_FOLDS} speaker folds; pairs: same speaker, another sentence, "
        "matches and conflicts alike",
        command=command,
        score_is_probability=False,
    )
    emotions = emotion_predictions(
        people.clips,
        fold=[str(fold) for fold in people.folds],
        face=people.face,
        voice=people.voice,
        fused=people.both,
    )
    return Run(info, emotions, conflict_table(pairs, fitted, people.clips))


def against_originals(people: People) -> dict[str, Interval]:
    """AUROC of the same score with other pairs: face and voice of one sentence, all emotions."""
    cells: dict[tuple[str | None, str | None], list[int]] = {}
    for k, clip in enumerate(people.clips):
        cells.setdefault((clip.speaker, clip.sentence), []).append(k)
    same = [(a, b) for members in cells.values() for a in members for b in members]
    intended = [clip.labels.intended for clip in people.clips]
    kinds = {
        "conflict": [(a, b) for a, b in same if intended[a] != intended[b]],
        "original": [(k, k) for k in range(len(people.clips))],
        "level": [(a, b) for a, b in same if intended[a] == intended[b] and a != b],
    }

    def versus(control: str) -> Interval:
        chosen = np.array(kinds["conflict"] + kinds[control])
        truth = np.arange(len(chosen)) < len(kinds["conflict"])
        scores = agreement(people.face[chosen[:, 0]], people.voice[chosen[:, 1]])
        speakers = [str(people.clips[a].speaker) for a in chosen[:, 0]]
        return interval(auroc_measure(truth, scores), speakers, num_resamples=500)

    return {
        "conflicts of one sentence against originals": versus("original"),
        "conflicts of one sentence against another level of the same emotion": versus("level"),
    }


def perceived(root: Path) -> dict[str, str]:
    """How many original clips people perceive as conflicts, by several rules."""
    votes = read_votes(root / VOTES_TABLE)
    tested, significant = significant_conflicts(votes)
    clear, pure = clear_conflicts(votes), clear_conflicts(votes, neutral=False)
    face, voice = top_votes(votes.face)[0], top_votes(votes.voice)[0]
    both = top_votes(votes.both)[0]
    posterior = congruence_posterior(votes)
    likeliest, conflict = posterior.argmax(axis=1), posterior[:, 1]
    happy = VOTE_EMOTIONS.index(Emotion.HAPPY)
    negative = [k for k, e in enumerate(VOTE_EMOTIONS) if e.valence < 0]

    def share(mask: np.ndarray) -> str:
        return f"{100 * mask.mean():.1f} % ({int(mask.sum())} of {len(mask)} clips)"

    differ = (face != voice) & (face != NEUTRAL_VOTE) & (voice != NEUTRAL_VOTE)
    smiling = differ & (face == happy) & np.isin(voice, negative)

    def clearness(mask: np.ndarray) -> str:
        return (
            f"{100 * significant[mask].mean():.1f} % significant, mean posterior of conflict "
            f"{conflict[mask].mean():.3f} ({int(mask.sum())} clips)"
        )

    return {
        "likeliest emotions differ": share(face != voice),
        "votes differ significantly (exact test, Benjamini–Hochberg at 5 %)": share(tested),
        "… and each channel has one winner, not the same": share(significant),
        "both channels at 60 % or more, and different": share(clear),
        "… and neither is neutral": share(pure),
        "… and the face is happy, the voice negative": share(pure & smiling),
        "likeliest emotions differ, none neutral: face happy, voice negative": clearness(smiling),
        "likeliest emotions differ, none neutral: all others": clearness(differ & ~smiling),
        "… of significant ones, the vote on both sides with the face": share(
            (both == face)[significant]
        ),
        "… of significant ones, the vote on both sides with the voice": share(
            (both == voice)[significant]
        ),
        "expected share by the posterior": ", ".join(
            f"{outcome} {100 * part:.1f} %"
            for outcome, part in zip(CONGRUENCE, posterior.mean(axis=0), strict=True)
        ),
        **{
            f"likeliest outcome of the posterior: {outcome}": share(likeliest == place)
            for place, outcome in enumerate(CONGRUENCE)
        },
    }
