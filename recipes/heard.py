"""What is heard beside a voice: two logistic models on the voice embedding, into the package.

    python -m recipes.heard --corpora CORPORA --work WORK [--minutes 20]

Speech of one person (one clip, a part of one, or clips of one mood in a row with and without
pauses), alone, with another person at 0 to 6 dB below, after another person, or with babble, noise,
hum, clicks or music from -3 to 20 dB below; of all of them a quarter in a room, and 60 % with faint
noise at 25 to 50 dB. Half the doubt counts at the limit. Windows made are kept in WORK/beside.npz.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import read_clips, read_data
from recipes.crossfit import Channel, make_channels
from recipes.fitting import restrict
from recipes.heard_mixes import NOISES, OVERLAP, mix
from recipes.voice_augment import add_room
from recipes.voice_data import ARCHIVES, emotions_of, read_sounds
from recipes.weights_index import store_weights
from scipy.optimize import minimize

from facevoice.backbones.compact import CompactVoice, voice_mel
from facevoice.corpora.manifest import Clip
from facevoice.people.heard import Hearing
from facevoice.records import NUM_EMOTIONS, SAMPLE_RATE_HZ, DoubleArray, FloatArray

ALONE, TURNS = "alone", "turns"
LICENSE = "CC BY-NC-SA 4.0 (fitted to RAVDESS, Javanese, EmoDB, ASED and nEMO)"
CLEAR_DB = 12.0
"""Noise this far below the speech, or farther, teaches nothing."""
PENALTY = 30.0
ALARMS = 0.04
"""Of clean windows of each left-out corpus, at most, that may get a reason."""
_WINDOW = 4 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Embeddings (n, D), what is heard beside (n,), how far below in dB (n,), whose (n,)."""

    embeddings: np.ndarray
    kinds: np.ndarray
    below_db: np.ndarray
    corpora: np.ndarray
    speakers: np.ndarray
    labels: np.ndarray

    def where(self, keep: np.ndarray) -> Beside:
        """Some windows: bool (n,)."""
        return Beside(*(getattr(self, field.name)[keep] for field in fields(self)))

    def told(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows that have what a column of `Hearing` says, and those that haven't, (n,) each."""
        noisy, one = np.isin(self.kinds, NOISES), np.isin(self.kinds, (ALONE, TURNS))
        if column == 0:
            # Babble is many voices: neither.
            return self.kinds == OVERLAP, one | (noisy & (self.kinds != "babble"))
        return noisy & (self.below_db < CLEAR_DB), one | (self.kinds == OVERLAP)


class Mixer:
    """Draws windows of one corpus."""

    def __init__(self, clips: list[Clip], rng: np.random.Generator) -> None:
        self._clips = clips
        self._rng = rng
        self._sounds: dict[str, FloatArray] = {}

    def draw(self, kind: str) -> tuple[Clip, FloatArray, float]:
        """Whose window, its samples, and how far below what is beside is."""
        rng = self._rng
        clip = self._clips[rng.integers(len(self._clips))]
        speech = self._base(clip)
        below_db = float(rng.uniform(0, 6) if kind == OVERLAP else rng.uniform(-3, 20))

        def others() -> FloatArray:
            strangers = [c for c in self._clips if c.speaker != clip.speaker]
            return self._talk(strangers[rng.integers(len(strangers))], speech.size)

        if kind == TURNS:
            cut = int(speech.size * rng.uniform(0.25, 0.75))
            next_one = others()
            level = np.sqrt((speech**2).mean() / ((next_one**2).mean() + 1e-9))
            gain = level * 10 ** rng.uniform(-0.3, 0.3)
            speech = np.concatenate([speech[:cut], next_one[: speech.size - cut] * gain])
        elif kind != ALONE:
            speech = mix(speech, kind, below_db, others, rng)
        if rng.random() < 0.25:
            speech = add_room(speech, rng)
        if rng.random() < 0.6:
            faint = str(rng.choice(["white", "pink"]))
            speech = mix(speech, faint, rng.uniform(25, 50), others, rng)
        return clip, speech.astype(np.float32), below_db

    def _sound(self, clip: Clip) -> FloatArray:
        if clip.clip_id not in self._sounds:
            self._sounds[clip.clip_id] = read_sounds([clip])[0]
        return self._sounds[clip.clip_id]

    def _trimmed(self, clip: Clip) -> FloatArray:
        samples, size = self._sound(clip), SAMPLE_RATE_HZ // 20
        power = np.convolve(samples**2, np.ones(size) / size, "same")
        loud = np.flatnonzero(power > power.max() * 1e-3)
        return samples[loud[0] : loud[-1] + 1]

    def _base(self, clip: Clip) -> FloatArray:
        rng, way = self._rng, self._rng.random()
        if way < 0.2:
            return self._sound(clip)[:_WINDOW]
        if way < 0.4:
            inside = self._trimmed(clip)
            size = int(min(inside.size, rng.uniform(1, 2.5) * SAMPLE_RATE_HZ))
            start = int(rng.integers(0, inside.size - size + 1))
            return inside[start : start + size]
        is_short = rng.random() < 0.4
        return self._talk(clip, int(rng.uniform(2, 4) * SAMPLE_RATE_HZ) if is_short else _WINDOW)

    def _talk(self, clip: Clip, size: int) -> FloatArray:
        """Clips of one speaker and mood in a row, cut anywhere."""
        rng = self._rng
        like = [
            c
            for c in self._clips
            if c.speaker == clip.speaker and c.labels.intended is clip.labels.intended
        ]
        parts = [self._trimmed(clip)]
        while sum(part.size for part in parts) < size + SAMPLE_RATE_HZ:
            pause = np.zeros(int(max(0.0, rng.uniform(-0.3, 0.3)) * SAMPLE_RATE_HZ), np.float32)
            parts += [pause, self._trimmed(like[rng.integers(len(like))])]
        said = [p * (0.05 / np.sqrt((p**2).mean() + 1e-12)) if p.any() else p for p in parts]
        samples = np.concatenate(said)
        start = int(rng.integers(0, samples.size - size))
        return samples[start : start + size]


def make_windows(corpora: Path, work: Path, minutes: float) -> Beside:
    """As many as the time allows, the corpora in turn; kept in WORK."""
    target = work / "beside.npz"
    if not target.exists():
        rng, network, rows = np.random.default_rng(6), CompactVoice(), []
        mixers = [
            Mixer(read_clips(corpora, work, name, archive), rng)
            for name, archive in ARCHIVES.items()
        ]
        end_s, turn = time.monotonic() + 60 * minutes, 0
        while time.monotonic() < end_s:
            noise, second = (str(rng.choice(NOISES)) for _ in range(2))
            fourth = {3: TURNS, 7: second}.get(turn % 8, ALONE)
            kind = (OVERLAP, noise, ALONE, fourth)[turn % 4]
            for mixer in mixers:
                clip, samples, below_db = mixer.draw(kind)
                embedding = network.embed_mel(voice_mel(samples)).astype(np.float16)
                label = clip.labels.intended.position
                rows.append((embedding, kind, below_db, clip.corpus, str(clip.speaker_key), label))
            turn += 1
        names = ("embeddings", "kinds", "below_db", "corpora", "speakers", "labels")
        columns = (np.array(column) for column in zip(*rows, strict=True))
        np.savez(target, **dict(zip(names, columns, strict=True)))
    with np.load(target, allow_pickle=False) as file:
        return Beside(**dict(file))


def fit(beside: Beside, keep: np.ndarray) -> tuple[DoubleArray, DoubleArray]:
    """weight (D, 2), bias (2,) by the windows to keep (n,); sides weigh alike."""
    columns = [_fit_one(beside.embeddings, *beside.told(k), keep) for k in range(2)]
    weights, biases = zip(*columns, strict=True)
    return np.stack(weights, axis=1), np.array(biases)


def _fit_one(
    embeddings: np.ndarray, has: np.ndarray, lacks: np.ndarray, keep: np.ndarray
) -> tuple[DoubleArray, float]:
    rows = np.flatnonzero(keep & (has | lacks))
    x = embeddings[rows].astype(np.float32)
    mean, scale = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3)
    x = (x - mean) / scale
    target = has[rows].astype(np.float64)
    weights = np.where(target > 0, 0.5 / target.mean(), 0.5 / (1 - target.mean()))

    def objective(flat: DoubleArray) -> tuple[float, DoubleArray]:
        odds = (x @ flat[:-1].astype(np.float32)).astype(np.float64) + flat[-1]
        loss = (weights * (np.logaddexp(0, odds) - target * odds)).sum()
        slope = weights * (1 / (1 + np.exp(-odds)) - target)
        gradient = x.T @ slope.astype(np.float32) + 2 * PENALTY * flat[:-1]
        return float(loss + PENALTY * (flat[:-1] ** 2).sum()), np.append(gradient, slope.sum())

    start = np.zeros(x.shape[1] + 1)
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 80}).x
    weight = best[:-1] / scale
    return weight, float(best[-1] - mean @ weight)


def left_out_odds(beside: Beside) -> DoubleArray:
    """Log-odds (n, 2) of each window, by models that heard nothing of its corpus."""
    odds = np.empty((len(beside.kinds), 2))
    for corpus in np.unique(beside.corpora):
        own = beside.corpora == corpus
        weight, bias = fit(beside, ~own)
        odds[own] = beside.embeddings[own].astype(np.float64) @ weight + bias
    return odds


def find_limits(odds: DoubleArray, beside: Beside) -> DoubleArray:
    """The lowest limits (2,) at which no left-out corpus has more false alarms than wanted."""
    alone = beside.kinds == ALONE
    by_corpus = [
        np.quantile(odds[alone & (beside.corpora == corpus)], 1 - ALARMS, axis=0)
        for corpus in np.unique(beside.corpora)
    ]
    found: DoubleArray = np.max(by_corpus, axis=0)
    return found


def fit_doubt(
    probs: DoubleArray, odds: DoubleArray, labels: np.ndarray, emotions: np.ndarray
) -> DoubleArray:
    """By how much temperatures grow, (2,), by the likelihood of the voice's labels.

    probs (n, 8) by heads, odds (n, 2) over the limits by models that heard nothing of the corpus;
    emotions (n, 8): those that it has.
    """
    logits = np.log(np.maximum(restrict(probs, emotions), 1e-12))
    sure = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))

    def loss(doubt: DoubleArray) -> float:
        tempered = np.where(emotions, logits / (1 + sure @ doubt)[:, None], -np.inf)
        tempered -= np.logaddexp.reduce(tempered, axis=1, keepdims=True)
        return float(-tempered[np.arange(len(labels)), labels].mean())

    best = minimize(loss, np.array([0.3, 0.3]), method="L-BFGS-B", bounds=[(0, 10)] * 2).x
    return np.asarray(best)


def make_hearing(beside: Beside, voices: Channel) -> Hearing:
    """Fitted to everything; limits and doubt come from corpora left out."""
    raw = left_out_odds(beside)
    limits = find_limits(raw, beside)
    said = np.empty((len(beside.kinds), NUM_EMOTIONS))
    for corpus in np.unique(beside.corpora):
        own = beside.corpora == corpus
        head = voices.sure_head(voices.speakers_of(str(corpus)))
        said[own] = head(beside.embeddings[own])[0]
    emotions = np.array([emotions_of(corpus) for corpus in beside.corpora])
    # Of two people in turn nobody can say whose emotion is meant.
    one = beside.kinds != TURNS
    doubt = fit_doubt(said[one], (raw - limits)[one], beside.labels[one], emotions[one])
    weight, bias = fit(beside, np.ones(len(beside.kinds), dtype=np.bool_))
    return Hearing(weight, bias, limits, doubt)


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of making windows")
    arguments = parse_with_corpora(parser)
    beside = make_windows(arguments.corpora, arguments.work, arguments.minutes)
    _, voices = make_channels(read_data(arguments.corpora, arguments.work, 1), arguments.work)
    hearing = make_hearing(beside, voices)
    file = io.BytesIO()
    np.savez(
        file,
        allow_pickle=False,
        weight=hearing.weight.astype(np.float32),
        bias=hearing.bias,
        limits=hearing.limits,
        doubt=hearing.doubt,
    )
    print(
        f"{len(beside.kinds)} windows; limits {hearing.limits.round(2)}, "
        f"doubt {hearing.doubt.round(2)}"
    )
    store_weights(
        "hearing",
        "hearing.npz",
        file.getvalue(),
        license=LICENSE,
        card="hearing.md",
        training_corpora=tuple(sorted(set(beside.corpora.tolist()))),
    )


if __name__ == "__main__":
    main()
