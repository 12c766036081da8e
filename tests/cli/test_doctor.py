"""`facevoice doctor` and `facevoice completion`, and what a person sees who prints things."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import facevoice.sessions
from facevoice.cli.app import app
from facevoice.doctor import EXTRAS
from facevoice.errors import WeightsError
from facevoice.records import Reason
from made_reports import CONFLICT, MATCH, decided, in_a_row

ROOT = Path(__file__).parents[2]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(list(words))
    return int(ended.value.code or 0)


def test_a_well_installation_is_told_and_tried(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path))
        assert run("doctor", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["well"]
    found = {finding["name"]: finding for finding in told["findings"]}
    assert "times real time" in found["a clip of 5 s"]["words"]
    assert found["voice"]["state"] == found["h264"]["state"] == "well"
    assert all(f["remedy"] for f in told["findings"] if f["state"] != "well")
    assert list(tmp_path.iterdir()) == []


def test_what_is_broken_is_named_with_a_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, version = facevoice.sessions.read_weights, metadata.version

    def damaged(name: str) -> bytes:
        if name == "voice":
            raise WeightsError("voice.onnx: is damaged.")
        return read(name)

    def absent(name: str) -> str:
        if name in ("soxr", "gradio"):
            raise metadata.PackageNotFoundError(name)
        return {"av": "13.0.0", "mcp": "1.0.0"}.get(name) or version(name)

    with monkeypatch.context() as patch:
        patch.setattr(facevoice.sessions, "read_weights", damaged)
        patch.setattr(metadata, "version", absent)
        patch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        assert run("doctor", "--no-try") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "!! voice: voice.onnx: is damaged. pip install --force-reinstall" in said
    assert "!! soxr: isn't installed, and is needed install it: pip install 'soxr<2,>=0.5'" in said
    assert "!! av: 13.0.0, but <19,>=15 is needed install it: pip install 'av<19,>=15'" in said
    assert "-- temporary files:" in said
    assert "TMPDIR=/some/folder" in said
    assert "-- web: gradio isn't installed, and is needed (the web app)" in said
    assert "-- mcp: mcp 1.0.0, but <3,>=2.3 is needed (tools for assistants)" in said
    assert "ok parquet: installed (tables as Parquet files)" in said
    assert "pip install 'facevoice[web]'" in said
    assert "Broken, marked !! above: av, soxr, voice. Do what is said there." in said


def test_a_torch_that_cannot_be_loaded_is_told_as_such(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = 'raise OSError("libcudnn.so.9: cannot open shared object file")'
    (tmp_path / "torch.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert run("doctor", "--no-try") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "-- GPU: torch can't be loaded (OSError: libcudnn.so.9: cannot open" in said
    assert "pip install --force-reinstall torch" in said
    assert "TMPDIR" not in said


def test_a_library_that_cannot_be_loaded_is_no_matter_of_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[str]:
        raise OSError("libonnxruntime.so: cannot open shared object file")

    monkeypatch.setattr("onnxruntime.get_available_providers", fail)
    assert run("doctor", "--no-try") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "!! processors: OSError: libonnxruntime.so: cannot open" in said
    assert "pip install --force-reinstall facevoice" in said


def test_who_lacks_a_package_is_told_so_in_one_line() -> None:
    code = "import sys; sys.modules['soxr'] = None; from facevoice.__main__ import main; main()"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("facevoice can't start: ")
    assert "soxr" in ended.stderr
    assert ended.stderr.endswith("pip install --force-reinstall facevoice\n")


def test_every_optional_part_is_told_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    program = tmp_path / "facevoice"
    code = "import sys; sys.argv[0] = 'facevoice'; from facevoice.__main__ import main; main()"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    program.chmod(0o755)
    asked = """
        eval "$(facevoice completion bash)"
        COMP_WORDS=(facevoice doc); COMP_CWORD=1
        _facevoice_completion facevoice; echo "${COMPREPLY[@]}"
        COMP_WORDS=(facevoice analyze --sens); COMP_CWORD=2
        _facevoice_completion facevoice; echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["doctor", "--sensitivity"]


def test_a_report_is_one_line_and_reasons_are_words() -> None:
    report = decided(*in_a_row([MATCH, CONFLICT, MATCH]))
    said = repr(report)
    assert said.startswith("<Report of ") and "\n" not in said and len(said) < 200
    assert f"{len(report.windows)} windows: " in said
    assert f"{Reason.VOICE_OFF_SCREEN} {[Reason.NO_FACE]}" == "voice off screen [<no face>]"
    assert json.dumps([Reason.NO_FACE]) == '["no_face"]'
