"""Figures of out-of-fold voice scores: UAR per corpus, with a linear probe beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from recipes.voice_data import corpus_classes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

Table = Mapping[str, npt.NDArray[Any]]


def uar(labels: npt.NDArray[np.int64], guesses: npt.NDArray[np.int64]) -> float:
    """Unweighted average recall in percent, over the classes that occur."""
    present = np.unique(labels)
    return 100.0 * float(
        recall_score(labels, guesses, labels=present, average="macro", zero_division=0.0)
    )


def restricted(log_probs: npt.NDArray[np.float32], corpus: str) -> npt.NDArray[np.float32]:
    """Log-posteriors (n, 8) with the classes that the corpus lacks ruled out."""
    return np.where(corpus_classes(corpus), log_probs, -np.inf).astype(np.float32)


def speaker_interval(
    labels: npt.NDArray[np.int64],
    guesses: npt.NDArray[np.int64],
    speakers: npt.NDArray[np.str_],
    rounds: int = 1000,
) -> list[float]:
    """95 % interval of the UAR by bootstrap over speakers."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]
    values = []
    for _ in range(rounds):
        drawn = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        values.append(uar(labels[drawn], guesses[drawn]))
    return [round(float(v), 1) for v in np.percentile(values, [2.5, 97.5])]


def probe_guesses(table: Table, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Leave one speaker out within each fold: logistic regression on the embeddings of one corpus.

    Embeddings of different folds come from different networks and are never mixed.
    """
    features = table["embedding"].astype(np.float32)
    guesses = np.full(len(rows), -1)
    for fold in np.unique(table["fold"][rows]):
        here = rows & (table["fold"] == fold)
        for speaker in np.unique(table["speaker"][here]):
            test = here & (table["speaker"] == speaker)
            fitted = here & ~test
            mean, std = features[fitted].mean(axis=0), features[fitted].std(axis=0) + 1e-6
            model = LogisticRegression(C=0.003, max_iter=300, class_weight="balanced")
            model.fit((features[fitted] - mean) / std, table["label"][fitted])
            guesses[test] = model.predict((features[test] - mean) / std)
    return guesses[rows]


def figures(table: Table, with_probe: bool = True) -> dict[str, Any]:
    """Per corpus: clips, speakers, UAR among its own classes with its interval, by fold, probe."""
    result: dict[str, Any] = {}
    for corpus in np.unique(table["corpus"]):
        rows = table["corpus"] == corpus
        labels, folds = table["label"][rows], table["fold"][rows]
        guesses = restricted(table["logits"][rows], str(corpus)).argmax(axis=1)
        entry: dict[str, Any] = {
            "clips": int(rows.sum()),
            "speakers": len(np.unique(table["speaker"][rows])),
            "classes": len(np.unique(labels)),
            "uar": round(uar(labels, guesses), 1),
            "uar_95": speaker_interval(labels, guesses, table["speaker"][rows]),
            "uar_by_fold": [
                round(uar(labels[folds == f], guesses[folds == f]), 1) for f in np.unique(folds)
            ],
            "uar_all_8_classes": round(uar(labels, table["logits"][rows].argmax(axis=1)), 1),
        }
        if with_probe:
            entry["probe_uar"] = round(uar(labels, probe_guesses(table, rows)), 1)
        result[str(corpus)] = entry
    return result
