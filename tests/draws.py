"""Draws posteriors, settings and reports of all kinds, near every edge that decisions have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from echo import CURVE, TellModel
from facevoice.interpret import at_equal_numbers, find_point, interpret
from facevoice.models.heads import Posteriors
from facevoice.records import DecisionCurve, DoubleArray, OperatingPoint, Report
from facevoice.settings import SENSITIVITIES, DecisionConfig
from perceptions import perception, view


def draw_posteriors(rng: np.random.Generator, size: int) -> DoubleArray:
    """Posteriors (size, 8) of many kinds."""
    sharpness = rng.choice([0.05, 0.3, 1.0, 5.0, 50.0], size)
    probs = rng.standard_gamma(np.repeat(sharpness[:, None], 8, axis=1)) + 1e-12
    probs /= probs.sum(axis=1, keepdims=True)
    kinds = rng.integers(10, size=size)
    rows = np.arange(size)
    first = probs.argmax(axis=1)
    other = rng.integers(8, size=size)
    mean = (probs[rows, first] + probs[rows, other]) / 2
    # The likeliest one and another: nearly as likely, or exactly so.
    near = np.flatnonzero((kinds <= 2) & (first != other))
    gap = np.where(kinds <= 1, 10.0 ** rng.uniform(-9, -1, size), 0.0) * mean
    probs[near, first[near]] = (mean + gap)[near]
    probs[near, other[near]] = (mean - gap)[near]
    probs[kinds == 3] = np.eye(8)[other[kinds == 3]]
    probs[kinds == 4] = 1 / 8
    # Just as likely without emotion as with one.
    even = np.flatnonzero(kinds == 5)
    for columns in (slice(0, 2), slice(2, 8)):
        probs[even, columns] *= 0.5 / probs[even, columns].sum(axis=1, keepdims=True)
    return probs / probs.sum(axis=1, keepdims=True)


def draw_conflicts(
    rng: np.random.Generator, size: int, point: OperatingPoint, expected: float
) -> DoubleArray:
    """Probabilities (size,) at equal numbers: of all kinds, and those where outcomes change."""
    edges = [point.conflict_above, point.match_below]
    edges += [np.nextafter(edges[0], 0), np.nextafter(edges[1], 1)]
    special = np.array([0.0, 1.0, 0.5, *(at_equal_numbers(edge, expected) for edge in edges)])
    drawn = np.where(rng.random(size) < 0.5, rng.random(size), rng.beta(0.3, 0.3, size))
    return np.where(rng.random(size) < 0.2, rng.choice(special, size), drawn)


def draw_decision(rng: np.random.Generator) -> DecisionConfig:
    levels: list[float | str] = [*SENSITIVITIES, float(rng.uniform(0.501, 0.999))]
    expected = rng.choice([0.5, 0.5, 0.05, 0.95, rng.uniform(0.01, 0.99)])
    return DecisionConfig(
        sensitivity=levels[rng.integers(len(levels))], expected_conflicts=float(expected)
    )


def draw_curve(rng: np.random.Generator) -> DecisionCurve:
    """Of any measurement, also of one that makes no sense, and of none."""
    if rng.random() < 0.3:
        return (CURVE, DecisionCurve())[rng.integers(2)]
    falls = [tuple(np.sort(rng.random(21))[::-1].tolist()) for _ in range(2)]
    rises = [tuple(np.sort(rng.random(21)).tolist()) for _ in range(2)]
    return DecisionCurve(tuple(np.linspace(0, 1, 21).tolist()), *falls, *rises)


def draw_reports(num_rows: int, windows_a_file: int, seed: int = 0) -> Iterator[Report]:
    """Reports of so many windows in all, some of which lack a channel."""
    rng = np.random.default_rng(seed)
    for start in range(0, num_rows, windows_a_file):
        size = min(windows_a_file, num_rows - start)
        decision, curve = draw_decision(rng), draw_curve(rng)
        point = find_point(curve, decision)
        assert point is not None
        face, voice, fused = (draw_posteriors(rng, size) for _ in range(3))
        conflict = draw_conflicts(rng, size, point, decision.expected_conflicts)
        model = TellModel(
            [
                Posteriors(f, v, b, c)
                for f, v, b, c in zip(face, voice, fused, conflict.tolist(), strict=True)
            ],
            curve,
        )
        lacks = rng.random((size, 2)) < 0.01
        people = np.where(rng.random(size) < 0.05, 2, 1).tolist()
        views = [
            view(
                None if lacks[n, 0] else face[n],
                None if lacks[n, 1] else voice[n],
                span_s=(2.0 * n, 2.0 * n + 4.0),
                people=people[n],
            )
            for n in range(size)
        ]
        yield interpret(perception(*views), model, decision)
