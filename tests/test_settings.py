"""Settings: what is wrong is named with its section; what is written is read again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevoice.errors import ConfigError
from facevoice.settings import (
    SENSITIVITIES,
    AnalyzerConfig,
    build_settings,
    format_toml,
    plain_settings,
    set_value,
)
from facevoice.training.config import TrainConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (3, "my.toml: 3 is not a table of settings"),
        ({"faces": 3}, "my.toml: faces = 3 is not a table of settings"),
        ({"faces": {"crop": 5}}, "my.toml: unknown setting 'faces.crop'; known: sample_rate_hz, "),
        ({"face": {}}, "my.toml: unknown setting 'face'; known: model, faces, "),
        ({"faces": {"crop_px": 5}}, "setting faces.crop_px = 5 is not allowed: 32 to 512"),
        ({"faces": {"crop_px": 64.5}}, "faces.crop_px = 64.5 is not a whole number"),
        ({"faces": {"crop_px": True}}, "faces.crop_px = True is not a whole number"),
        ({"faces": {"exact_frames": 1}}, "faces.exact_frames = 1 is not true or false"),
        ({"faces": {"sample_rate_hz": "often"}}, "faces.sample_rate_hz = 'often' is not a number"),
        ({"faces": {"sample_rate_hz": float("nan")}}, "faces.sample_rate_hz = nan is not allowed"),
        ({"model": 7}, "model = 7 is not text"),
        ({"windows": {"hop_s": 5}}, "windows.hop_s = 5.0 is not allowed"),
        ({"decision": {"min_face_coverage": 0}}, "decision.min_face_coverage = 0.0 is not allowed"),
        (
            {"decision": {"sensitivity": "bold"}},
            "setting decision.sensitivity = 'bold' is not allowed: one of cautious, balanced, "
            "sensitive, or a precision above 0.5 and below 1",
        ),
        ({"decision": {"sensitivity": 0.5}}, "decision.sensitivity = 0.5 is not allowed"),
        ({"decision": {"sensitivity": 1}}, "decision.sensitivity = 1.0 is not allowed"),
        ({"decision": {"sensitivity": [0.8]}}, "decision.sensitivity = [0.8] is not"),
        ({"decision": {"sensitivity": True}}, "decision.sensitivity = True is not"),
        ({"decision": {"expected_conflicts": 0}}, "expected_conflicts = 0.0 is not allowed"),
        ({"decision": {"expected_conflicts": "often"}}, "'often' is not a number"),
    ],
)
def test_wrong_settings_are_named(values: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_settings(AnalyzerConfig, values, "my.toml")
    assert message in str(caught.value)


def test_files_that_are_no_toml_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: can't be read"):
        AnalyzerConfig.from_toml(tmp_path / "gone.toml")
    for content in (b"faces = [", b"model = '\xff'"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.toml: is not valid TOML"):
            AnalyzerConfig.from_toml(tmp_path / "bad.toml")


@given(st.text())
def test_any_text_is_written_so_that_it_can_be_read(text: str) -> None:
    config = build_settings(AnalyzerConfig, {"model": text})
    assert build_settings(AnalyzerConfig, tomllib.loads(format_toml(config.to_dict()))) == config
    trained = build_settings(TrainConfig, {"run": {"trackers": [text, "\x00\x1b\r\n"]}})
    read = tomllib.loads(format_toml(plain_settings(trained)))
    assert build_settings(TrainConfig, read) == trained


@given(st.text(), st.text(alphabet="\"'\\[]{}\x00\t\r\n,= ab"))
def test_an_assignment_never_loses_its_value(name: str, text: str) -> None:
    values: dict[str, object] = {}
    try:
        set_value(values, f"{name}={text}")
    except ConfigError:
        return
    assert tomllib.loads(format_toml(values)) == values


def test_a_sensitivity_is_a_name_or_a_precision() -> None:
    assert list(SENSITIVITIES) == ["cautious", "balanced", "sensitive"]
    assert sorted(SENSITIVITIES.values(), reverse=True) == list(SENSITIVITIES.values())
    for asked, precision in (*SENSITIVITIES.items(), (0.85, 0.85)):
        config = build_settings(AnalyzerConfig, {"decision": {"sensitivity": asked}})
        assert config.decision.precision == precision
        read = tomllib.loads(format_toml(config.to_dict()))
        assert build_settings(AnalyzerConfig, read) == config
