"""What a run makes of its settings before it starts."""

from __future__ import annotations

import logging

import pytest

from facevoice.training import loop as build
from facevoice.training.data import prepare_data
from training_builders import make_table, quick_config


def test_enough_clips_are_whitened() -> None:
    config = quick_config("network.input_norm=whiten")
    data = prepare_data(make_table(), config)
    assert build.suit_inputs(config, data) == config


def test_few_clips_are_standardised_instead(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = quick_config("network.input_norm=whiten")
    data = prepare_data(make_table(), config)
    monkeypatch.setattr(build, "MIN_ROWS_PER_INPUT", 1000)
    with caplog.at_level(logging.WARNING, logger="facevoice"):
        suited = build.suit_inputs(config, data)
    assert suited.network.input_norm == "standardize"
    assert "too few to whiten" in caplog.text
