"""What scores a speaker was fitted without that speaker, and knows only what it was told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recipes import crossfit
from recipes.crossfit import Channel, Family, clip_posteriors, everything
from recipes.fitting import (
    Acquaintances,
    HeadRecipe,
    Samples,
    doubt_head,
    draw_known,
    fit_doubt,
    fit_head,
)

from facevoice.corpora.pairs import Pair, PairKind
from facevoice.models.heads import ChannelHead
from facevoice.records import EMOTIONS

SPEAKERS = [f"{corpus}/0{n}" for corpus in ("javanese", "ravdess", "emodb") for n in (1, 2, 3)]
RECIPE = HeadRecipe(penalty=1.0, whitened=8, draws=2, main_directions=4)
LABELS = (0, 2, 3, 4, 5, 7)


def make_samples(seed: int, person: float = 0.0, spoilt: bool = False) -> Samples:
    """Twelve windows a speaker, six of the eight classes; `person` sets people apart."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(SPEAKERS, 12)
    labels = np.tile(LABELS, 2 * len(SPEAKERS))
    embeddings = 0.3 * rng.normal(size=(len(labels), 9))
    embeddings[:, :8] += np.eye(8)[labels]
    own = person * np.random.default_rng(5).normal(size=(len(SPEAKERS), 9))
    embeddings += np.repeat(own, 12, axis=0)
    emotions = np.tile(np.isin(np.arange(8), labels), (len(labels), 1))
    return Samples(
        embeddings.astype(np.float32),
        labels,
        emotions,
        speakers,
        np.array([name.split("/")[0] for name in speakers]),
        np.array([f"{name}-{n}" for n, name in enumerate(speakers)]),
        np.full(len(labels), spoilt),
    )


def corpora_of(samples: Samples) -> list[frozenset[str]]:
    return [
        frozenset(samples.speakers[samples.corpora == corpus].tolist())
        for corpus in np.unique(samples.corpora)
    ]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Speakers of whatever heads are fitted to."""
    calls: list[set[str]] = []

    def head(samples: Samples, recipe: HeadRecipe) -> ChannelHead:
        calls.append(set(samples.speakers.tolist()))
        return fit_head(samples, recipe)

    monkeypatch.setattr(crossfit, "fit_head", head)
    return calls


def test_a_left_out_speaker_is_in_no_head_and_in_no_doubt(seen: list[set[str]]) -> None:
    samples = make_samples(0)
    channel = Channel(samples, RECIPE, corpora_of(samples), make_samples(1, spoilt=True))
    emodb, javanese, ravdess = corpora_of(samples)
    channel.sure_head(frozenset({"javanese/02"}), javanese)
    left_out = [set(SPEAKERS) - fitted for fitted in seen]
    assert left_out == [{"javanese/02"}, emodb | javanese, ravdess | javanese]
    seen.clear()
    channel.doubt(frozenset())
    assert [set(SPEAKERS) - fitted for fitted in seen] == [emodb, javanese, ravdess]


def test_heads_are_fitted_once_and_read_again(seen: list[set[str]], tmp_path: Path) -> None:
    samples = make_samples(0)
    for _ in range(2):
        channel = Channel(samples, RECIPE, corpora_of(samples), None, tmp_path)
        told = clip_posteriors(channel, channel.head(frozenset({"javanese/01"})), "javanese/01")
        assert len(told) == 12
        assert all(np.isclose(probs.sum(), 1) for probs in told.values())
    assert len(seen) == 1


def test_knowing_a_person_tells_more_of_people_who_differ() -> None:
    samples = make_samples(0, person=2.0)
    channel = Channel(samples, RECIPE, corpora_of(samples))
    right: dict[bool, list[bool]] = {False: [], True: []}
    for speaker in SPEAKERS:
        head = channel.head(frozenset({speaker}))
        for known in (False, True):
            how = {"knowing": everything(channel)} if known else {}
            told = clip_posteriors(channel, head, speaker, **how)
            rows = np.flatnonzero(samples.speakers == speaker)
            right[known] += [
                told[str(samples.clips[row])].argmax() == samples.labels[row] for row in rows
            ]
    assert np.mean(right[True]) > np.mean(right[False]) + 0.15


@pytest.mark.parametrize(("mood", "share"), [("balanced", 1 / 6), ("neutral", 0.7), ("one", None)])
def test_known_windows_are_drawn_as_moods_say(mood: str, share: float | None) -> None:
    labels = np.repeat(LABELS, 200)
    rng = np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(50):
        rows = draw_known(np.arange(len(labels)), labels, 10, mood, rng)
        assert len(set(rows.tolist())) == 10
        counts += np.bincount(labels[rows], minlength=8)
    expected = share if share is not None else 1 / 6
    assert counts[0] / counts.sum() == pytest.approx(expected, abs=0.08)


def test_nobody_knows_the_clip_that_is_judged() -> None:
    samples = make_samples(0)
    known, rng = Acquaintances(samples), np.random.default_rng(0)
    for row in range(0, len(samples.labels), 7):
        person, setting = known.draw(row, rng)
        assert row not in person
        assert set(person.tolist()) <= set(setting.tolist())
        assert {samples.speakers[k] for k in person} <= {samples.speakers[row]}
        assert {samples.corpora[k] for k in setting} <= {samples.corpora[row]}


def test_doubt_makes_sure_answers_as_unsure_as_they_are_right() -> None:
    rng = np.random.default_rng(0)
    samples = make_samples(3)
    true = rng.normal(size=(len(samples.labels), 8)) * samples.emotions
    far = rng.uniform(0, 2, len(samples.labels))
    probs = np.exp(true) * samples.emotions
    probs /= probs.sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(8, p=row) for row in probs])
    drawn = Samples(
        samples.embeddings,
        labels,
        samples.emotions,
        *(getattr(samples, name) for name in ("speakers", "corpora", "clips", "spoilt")),
    )
    doubt = fit_doubt(3 * true, far, drawn, 0.9)
    assert doubt.sharpness < 0.8
    assert doubt.limit == pytest.approx(np.quantile(far, 0.9))
    head = fit_head(samples, RECIPE)
    before, _ = head(samples.embeddings)
    after, unfamiliarity = doubt_head(head, doubt)(samples.embeddings)
    assert after.max(axis=1).mean() < before.max(axis=1).mean()
    assert (unfamiliarity > 0).all()


def test_a_judge_of_pairs_has_never_met_their_speaker(seen: list[set[str]]) -> None:
    samples = make_samples(0)
    people = [frozenset({name}) for name in SPEAKERS]
    faces = Channel(samples, RECIPE, people)
    voices = Channel(make_samples(1), RECIPE, corpora_of(samples))
    pairs = []
    for speaker in SPEAKERS[:3]:
        rows = np.flatnonzero(samples.speakers == speaker)
        for n, row in enumerate(rows):
            other = rows[(n + (6 if n % 2 else 1)) % 12]
            face, voice = EMOTIONS[samples.labels[row]], EMOTIONS[samples.labels[other]]
            kind = PairKind.MATCH if face is voice else PairKind.CONFLICT
            pairs.append(
                Pair(
                    str(samples.clips[row]),
                    str(samples.clips[other]),
                    kind,
                    speaker,
                    "01",
                    face,
                    voice,
                )
            )
    judge = Family(faces, voices, pairs).judge("javanese/02")
    assert all("javanese/02" not in fitted for fitted in seen)
    assert judge.joint.fusion.face_weight > 0
