"""Which of several sound tracks is heard: asked for, named in reports, kept apart in the store."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from benchmarks.metamorphic import EXAMPLES, VARIANTS, read_film, write_film
from typer.testing import CliRunner

from facevoice.cli import app as cli
from facevoice.records import Report
from facevoice.report import from_json, to_html, to_json

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


@pytest.fixture(scope="module")
def commented(tmp_path_factory) -> Path:
    """A film whose first track is a commentary."""
    folder = tmp_path_factory.mktemp("films")
    film = read_film(EXAMPLES / "smile_glad_voice.mp4", length_s=2.0)
    write_film(film, folder / "plain")
    return VARIANTS["tracks: a commentary; voice, default"].make(film, folder / "commented")


def analyze(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, ["analyze", *map(str, arguments)])
    return f"{result.exit_code} {' '.join(result.output.split())}"


def report_of(folder: Path, film: Path, *arguments: str) -> Report:
    analyze(film, "--out", folder, "--quiet", *arguments)
    text = (folder / f"{film.stem}.json").read_text(encoding="utf-8").rstrip("\n")
    jsonschema.validate(json.loads(text), json.loads(SCHEMA.read_text(encoding="utf-8")))
    report = from_json(text)
    assert to_json(report) == text
    return report


def test_the_track_that_is_asked_for_is_heard_and_named(commented, tmp_path):
    told = (
        "Of two sound tracks, number 2 is heard, the default one; the other one is 1 (commentary)."
    )
    assert told in analyze(commented)
    report = report_of(tmp_path, commented)
    assert (report.media.audio.track, [t.number for t in report.media.audio.others]) == (2, [1])
    assert json.dumps(told)[1:-1] in to_html(report)
    # Another track is another perception: what the store holds of the first one isn't taken.
    other = report_of(tmp_path, commented, "--audio-track", "1")
    assert (other.media.audio.track, other.config.sound.track) == (1, 1)
    again = report_of(tmp_path, commented)
    assert to_json(again) == to_json(report) != to_json(other)


def test_a_track_that_is_not_there_is_an_error_that_lists_the_others(commented):
    told = analyze(commented, "--audio-track", "fr")
    assert told.startswith("1 ")
    assert all(part in told for part in ("commented.mkv", "“fr”", "1 (commentary), 2."))
    assert "sound.track" in analyze(commented, "--audio-track", "0")
