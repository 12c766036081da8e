"""The same clip in other files gets the same answers; benchmarks/metamorphic.py has more files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.metamorphic import EXAMPLES, TARGET, Change, measure, read_film

from facevoice.analyzer import Analyzer

TOLD = {
    "channels: inverted": "the left channel is heard, because the channels would cancel",
    "channels: left dead": "the right channel is heard",
    "channels: right noise": "the left channel is heard, because speech is much clearer there",
    "channels: 5.1, speech in the centre": "the centre channel is heard",
    "tracks: a silent one, default; voice": "the one that players choose is silent",
    "tracks: voice; a description": "number 1 is heard, the first main one",
    "tracks: a commentary by its title, default; voice": "1 (“Director's commentary”, commentary)",
    "channels: stereo, alike": "",
    "container: MP4 in fragments": "",
    "pictures: a still one first, MP4": "",
    "pictures: stored turned by 90°": "",
    "times: sound starts late": "",
}


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Change]:
    film = read_film(EXAMPLES / "smile_glad_voice.mp4", length_s=4.0)
    analyzer, folder = Analyzer(num_threads=1), tmp_path_factory.mktemp("films")
    changes = dict(measure(film, [*TOLD, "times: Matroska cut off"], analyzer, folder))
    # The second half is looked at some hundredths of a second later, when a mouth has moved on.
    still = replace(film, frames=film.frames[:1] * len(film.frames))
    return changes | dict(measure(still, ["times: clock restarts, TS"], analyzer, folder))


@pytest.mark.parametrize("name", TOLD)
def test_answers_stay_and_what_is_heard_is_said(changes, name):
    change = changes[name]
    assert change.status == "ok"
    assert change.largest <= TARGET
    assert (TOLD[name] in change.heard) if TOLD[name] else not change.heard


def test_what_is_left_of_a_cut_off_file_is_read_and_said_to_be_cut_off(changes):
    change = changes["times: Matroska cut off"]
    assert change.status == "truncated"
    assert change.largest <= TARGET


def test_both_halves_of_joined_recordings_are_read(changes):
    change = changes["times: clock restarts, TS"]
    assert change.status == "ok"
    assert change.face <= TARGET
