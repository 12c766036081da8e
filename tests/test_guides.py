"""The guides, tried as a new user would: their commands and scripts run on the sample clips."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from typer.testing import CliRunner

from command_lines import problems
from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup
from facevoice.cli.app import app
from facevoice.records import Perception
from facevoice.store import Store
from test_documented_commands import commands_in

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (
    "start.md",
    "answers.md",
    "cite.md",
    "guides/affective-computing.md",
    "guides/clinical-interviews.md",
    "guides/user-research.md",
    "guides/call-quality.md",
    "instead.md",
)
# These serve, fetch, or need a corpus: their words are checked, and that is all.
NOT_RUN = ("facevoice web", "facevoice data", "facevoice analyze sessions")
CLIPS = {
    "interviews": ("p07_week1",),
    "p07": ("week1", "week2", "week3"),
}
SRT = "1\n00:00:01,000 --> 00:00:03,000\nI am fine.\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone, with recordings as the guides name them, and one store for all."""
    root = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", root / "examples")
    shutil.copytree(ROOT / "configs", root / "configs")
    samples = sorted((root / "examples").glob("*.mp4"))
    for folder, names in CLIPS.items():
        (root / folder).mkdir()
        for name, sample in zip(names, samples, strict=False):
            shutil.copy(sample, root / folder / f"{name}.mp4")
    (root / "p07" / "week3.srt").write_text(SRT, encoding="utf-8")
    (root / "customers").mkdir()
    write_sound(samples[0], root / "customers" / "call.wav")
    return root


@pytest.fixture(autouse=True)
def quick(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Builds an analyzer once, and reads each clip once: guides say the same of few clips."""
    perceive = Analyzer.perceive
    with Store(clone / "seen.db") as store:

        def kept(self: Analyzer, path: str | Path, **named: Any) -> Perception:
            return perceive(self, path, **{"store": store, **named})

        monkeypatch.setattr(AnalyzerSetup, "build", build_once)
        monkeypatch.setattr(Analyzer, "perceive", kept)
        yield


@functools.cache
def build_once(setup: AnalyzerSetup) -> Analyzer:
    return Analyzer(setup.config)


def write_sound(source: Path, target: Path) -> None:
    with av.open(str(source)) as film, av.open(str(target), "w") as sound:
        stream = sound.add_stream("pcm_s16le", rate=16000, layout="mono")
        resampler = av.AudioResampler("s16", "mono", 16000)
        for frame in film.decode(audio=0):
            for part in resampler.resample(frame):
                sound.mux(stream.encode(part))
        sound.mux(stream.encode(None))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_guide_says_to_do_works(
    page: str, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    text = (DOCS / page).read_text(encoding="utf-8")
    commands = commands_in(text)
    scripts = re.findall(r"^```python\n(.*?)^```(?:\n\n```\n(.*?)^```)?", text, re.M | re.S)
    assert commands or scripts
    for line in commands:
        assert list(problems(line)) == []
        if not line.startswith(NOT_RUN) and "--help" not in line:
            run(line)
    for script, told in scripts:
        output = execute(script)
        assert output.strip()
        assert not told or output == told


def run(line: str) -> None:
    result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
    assert result.exit_code == 0, (line, result.output, result.exception)


def execute(script: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(script, "guide", "exec"), {"__name__": "__main__"})  # noqa: S102
    return output.getvalue()
