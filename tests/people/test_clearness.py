"""How clearly faces are seen, and what becomes of what badly seen ones show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facevoice.analyzer import Analyzer
from facevoice.media import read_frames
from facevoice.models.heads import load_compact
from facevoice.people.clearness import doubted, unclearness
from facevoice.records import ByteArray, FaceView, Frame, Modality, Prediction, Reason, WindowView

SAMPLE = Path(__file__).parents[2] / "examples" / "smile_plain_voice.mp4"
NUM_FRAMES = 10
CLEAR = (1.0, 0.93)


def blurred(rgb: ByteArray) -> ByteArray:
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(rgb.shape[1] / 50)))


def seen(clearness: tuple[float, float] | None) -> float:
    told = None if clearness is None else np.array(clearness, np.float32)
    return unclearness(WindowView(0, 4, (FaceView(0, 1.0, clearness=told),)))


def test_a_blurred_face_is_unfamiliar_and_says_less() -> None:
    times_s = [k / 5 for k in range(NUM_FRAMES)]
    frames = list(read_frames(SAMPLE, times_s, tolerance_s=0.1))
    analyzer = Analyzer()

    def look(change: Callable[[ByteArray], ByteArray]) -> Prediction:
        changed: Iterator[Frame] = (Frame(f.timestamp_s, change(f.rgb)) for f in frames)
        return next(analyzer.follow(changed, None, NUM_FRAMES / 5))

    plain, spoilt = look(lambda rgb: rgb), look(blurred)
    assert plain.face is not None
    assert spoilt.face is not None
    assert Reason.UNFAMILIAR_FACE not in plain.reasons
    assert Reason.UNFAMILIAR_FACE in spoilt.reasons
    assert spoilt.face.probs.max() < plain.face.probs.max()


def test_what_falls_short_adds_up_and_what_is_enough_is_not_weighed() -> None:
    assert seen(None) == seen(CLEAR) == seen((0.5, 0.901)) == unclearness(WindowView(0, 4)) == 0
    dull, hidden, both = seen((0.4, 0.93)), seen((1.0, 0.88)), seen((0.4, 0.88))
    assert 0 < dull < 1
    assert both == pytest.approx(dull + hidden)
    assert seen((0.1, 0.93)) > 1


def test_doubt_keeps_the_order_and_leaves_clear_and_missing_faces_alone() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(8), 3)
    probs[2] = np.nan
    told = doubted(probs, np.array([0.0, 2.0, 2.0]))
    np.testing.assert_array_equal(told[0], probs[0])
    np.testing.assert_array_equal(told[1].argsort(), probs[1].argsort())
    assert told[1].max() < probs[1].max()
    assert told[1].sum() == pytest.approx(1)
    assert np.isnan(told[2]).all()


def test_both_and_conflict_follow_from_the_doubted_face() -> None:
    model, rng = load_compact().model, np.random.default_rng(1)
    window = {
        Modality.VIDEO: rng.normal(size=519).astype(np.float32),
        Modality.AUDIO: rng.normal(size=3072).astype(np.float32),
    }
    (before, after) = model.predict([window, window], None, [0.0, 3.0])
    (plain,) = model.predict([window])
    for name in ("face", "voice", "fused"):
        np.testing.assert_allclose(getattr(before, name), getattr(plain, name), rtol=1e-9)
    assert before.conflict == pytest.approx(plain.conflict, rel=1e-9)
    assert after.conflict != pytest.approx(plain.conflict, rel=1e-3)
    np.testing.assert_allclose(after.voice, plain.voice, rtol=1e-9)
    assert after.face.max() <= plain.face.max()
    assert after.unfamiliarity[Modality.VIDEO] >= 3.0
