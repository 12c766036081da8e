"""Scores of films: nobody is scored by a head that has seen them, and a person's mean goes out."""

from __future__ import annotations

import numpy as np
from recipes.face_films import SHARED, Films, centre, leave_one_out, less_others

NUM_PEOPLE, PENALTY = 4, 1.0


def made_films() -> tuple[np.ndarray, Films]:
    """Embeddings (n, 12): who somebody is, large, in any direction, and the emotion, small."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(len(SHARED)), NUM_PEOPLE)
    people = np.repeat(np.arange(NUM_PEOPLE), len(SHARED))
    x = np.zeros((len(labels), 12))
    x[:, :6] = np.eye(len(SHARED))[labels] + 20 * rng.normal(size=(NUM_PEOPLE, 6))[people]
    x[np.arange(len(x)), 6 + people] = 1.0
    return x, Films(tuple([] for _ in labels), labels, people.astype(str))


def test_a_person_is_known_by_what_differs_from_the_mean() -> None:
    x, films = made_films()
    assert leave_one_out(centre(x, films.people), films, PENALTY) == 1.0
    assert leave_one_out(x, films, PENALTY) < 0.8


def test_heads_do_not_see_whom_they_score() -> None:
    x, films = made_films()
    # Names tell everything of the films fitted to, and nothing of anybody new.
    named = np.zeros((len(x), len(x)))
    np.fill_diagonal(named, 1.0)
    assert leave_one_out(named, films, PENALTY) <= 1 / len(SHARED) + 1e-9


def test_means_of_others_are_without_the_person() -> None:
    x, films = made_films()
    first = films.people == "0"
    changed = x.copy()
    changed[first] += 5.0
    np.testing.assert_allclose(
        (less_others(changed, films.people) - changed)[first][0], -x[~first].mean(axis=0)
    )
