"""The Space's folder: complete, honest about licences, and it runs."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from facevoice.cli import app as cli
from facevoice.errors import ConfigError, WeightsError
from facevoice.hub import HubError, SpaceOptions, plan_push, plan_space, write_space
from facevoice.report import from_json
from hub.write_server import START, HubWriteServer
from tiny_models import make_runnable_info, write_model

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WHOLE = {"README.md", "app.py", "requirements.txt", "LICENSE", "NOTICE", "facevoice"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubWriteServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", "writer")
    with HubWriteServer().running() as server:
        assert isinstance(server, HubWriteServer)
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Space with the compact model and the sample clips."""
    path = tmp_path_factory.mktemp("spaces") / "demo"
    write_space(path, SpaceOptions(samples=EXAMPLES))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny", make_runnable_info())


def header(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def requirements(folder: Path) -> set[str]:
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("--")]
    return {canonicalize_name(requirement.name) for requirement in found}


def test_the_folder_is_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*WHOLE, "samples"}
    samples = [path.name for path in EXAMPLES.iterdir() if path.suffix == ".mp4"]
    assert sorted(path.name for path in (folder / "samples").iterdir()) == sorted(samples)
    for name in ("NOTICE", "LICENSE"):
        assert (folder / name).read_text() == (ROOT / name).read_text()
    assert not [path for path in folder.rglob("*") if path.name == "__pycache__"]
    needed = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert requirements(folder) == needed | {"gradio", "websockets"}


def test_the_header_is_what_the_hub_asks_for(folder: Path) -> None:
    found = header(folder)
    assert found["sdk"] == "gradio"
    gradio = next(r for r in map(Requirement, PROJECT["optional-dependencies"]["web"]))
    assert found["sdk_version"] in gradio.specifier
    assert f"{found['python_version']}.0" in SpecifierSet(PROJECT["requires-python"])
    assert (folder / found["app_file"]).is_file()
    # The weights of the package learnt from RAVDESS and from corpora for research only.
    assert found["license"] == "other"
    assert found["license_name"] == "non-commercial-research-share-alike"
    assert (folder / found["license_link"]).is_file()
    assert len(found["short_description"]) <= 60
    assert found["title"]
    assert "models" not in found


def test_the_app_uses_public_names_only(folder: Path) -> None:
    tree = ast.parse((folder / "app.py").read_text(encoding="utf-8"))
    modules = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    ours = {name for name in modules if name.partition(".")[0] == "facevoice"}
    assert ours == {"facevoice", "facevoice.web"}


def test_a_checkpoint_comes_along(model: Path, tmp_path: Path) -> None:
    (model / "notes.bin").write_bytes(b"private")
    folder = tmp_path / "space"
    write_space(folder, SpaceOptions(checkpoint=model, requirement="facevoice==0.1.0"))
    names = {path.name for path in (folder / "checkpoint").iterdir()}
    assert names == {path.name for path in model.iterdir()} - {"notes.bin"}
    assert not (folder / "facevoice").exists()
    wanted = {"facevoice", "torch", "safetensors", "huggingface-hub", "gradio"}
    assert wanted <= requirements(folder)
    text = (folder / "requirements.txt").read_text()
    assert text.startswith("--extra-index-url https://download.pytorch.org/whl/cpu\n")
    assert '\nMODEL = "checkpoint"\n' in (folder / "app.py").read_text()

    content = bytearray((model / "model.safetensors").read_bytes())
    content[-1] ^= 1
    shutil.copytree(model, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged/model\.safetensors: SHA-256 is"):
        write_space(tmp_path / "other", SpaceOptions(checkpoint=tmp_path / "damaged"))
    assert not (tmp_path / "other").exists()


def test_an_exported_model_needs_no_torch(model: Path, tmp_path: Path) -> None:
    exported, folder = tmp_path / "exported", tmp_path / "space"
    run("export", model, "--out", exported)
    write_space(folder, SpaceOptions(checkpoint=exported))
    assert "torch" not in requirements(folder)
    for path in exported.rglob("*"):
        if path.is_file():
            copy = folder / "checkpoint" / path.relative_to(exported)
            assert copy.read_bytes() == path.read_bytes()


def test_a_model_of_the_hub_is_pinned(hub: HubWriteServer, model: Path, tmp_path: Path) -> None:
    commit = plan_push(model, "someone/tiny").send(endpoint=hub.url).commit
    folder = tmp_path / "space"
    write_space(folder, SpaceOptions(hub_id="someone/tiny", endpoint=hub.url))
    text = (folder / "app.py").read_text()
    assert '\nMODEL = "someone/tiny"\n' in text
    assert f'\nREVISION = "{commit}"\n' in text
    assert header(folder)["models"] == ["someone/tiny"]
    assert commit in (folder / "README.md").read_text()
    with pytest.raises(WeightsError, match="no such repository"):
        write_space(tmp_path / "x", SpaceOptions(hub_id="someone/none", endpoint=hub.url))


def test_what_is_there_is_not_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(ConfigError, match="holds a Space already"):
        write_space(copy, SpaceOptions())
    write_space(copy, SpaceOptions(title="Ünder “new” name"), overwrite=True)
    assert header(copy)["title"] == "Ünder “new” name"
    assert not (copy / "samples").exists()
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "text.tex").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        write_space(thesis, SpaceOptions(), overwrite=True)
    with pytest.raises(ConfigError, match="holds no clip"):
        write_space(tmp_path / "y", SpaceOptions(samples=thesis))
    with pytest.raises(ConfigError, match="no such folder"):
        write_space(tmp_path / "y", SpaceOptions(samples=tmp_path / "none"))
    with pytest.raises(ConfigError, match="exclude each other"):
        SpaceOptions(checkpoint=thesis, hub_id="a/b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "thesis"]


def test_a_space_goes_up_whole(hub: HubWriteServer, folder: Path, tmp_path: Path) -> None:
    own = shutil.copytree(folder, tmp_path / "own")
    (own / ".env").write_text("HF_TOKEN=very-secret")
    (own / "__pycache__").mkdir()
    (own / "__pycache__" / "app.pyc").touch()
    (own / "link").symlink_to(ROOT / "README.md")
    (own / "app.py").write_text((own / "app.py").read_text() + "\n# mine\n")
    assert plan_space(own, "someone/demo").send(endpoint=hub.url).is_new
    held = hub.head("spaces/someone/demo")
    sent = {
        path.relative_to(own).as_posix(): path.read_bytes()
        for path in own.rglob("*")
        if path.is_file() and path.name not in (".env", "app.pyc", "link")
    }
    assert held == {**START, **sent}
    assert not plan_space(own, "someone/demo").send(endpoint=hub.url).is_new
    with pytest.raises(HubError, match="no right to write"):
        plan_space(own, "stranger/demo").send(endpoint=hub.url)
    with pytest.raises(ConfigError, match="is no Space"):
        plan_space(tmp_path, "someone/demo")


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], env={"COLUMNS": "300"})
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert f"Written to {out}" in run("space", out, "--samples", EXAMPLES, "--title", "Mine")
    assert header(out)["title"] == "Mine"
    assert "holds a Space already" in run("space", out, code=2)
    listed = run("space", out, "--push", "someone/demo", "--dry-run")
    assert "Written" not in listed  # it is sent as it is
    assert "samples/smile_glad_voice.mp4" in listed
    assert f"{len(plan_space(out, 'someone/demo').contents)} files" in listed
    assert "go with --push" in run("space", tmp_path / "x", "--private", code=2)
    assert "write OWNER/NAME" in run("space", out, "--push", "demo", code=2)


def test_the_app_loads_what_lies_in_its_folder(folder: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    write_space(tmp_path / "space", SpaceOptions(checkpoint=model))
    app = runpy.run_path(str(tmp_path / "space" / "app.py"))
    assert app["load_analyzer"]().config.model == "space"  # its folder
    assert app["choose_options"]().samples is None
    app = runpy.run_path(str(folder / "app.py"))
    assert app["choose_options"]().samples == folder / "samples"


def test_the_app_answers_over_http(folder: Path, tmp_path: Path) -> None:
    """As the hub runs it: `python app.py` in the folder, then a call of its function."""
    pytest.importorskip("gradio", reason="needs the extra web")
    client = pytest.importorskip("gradio_client")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film" * 99)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "HOME": str(tmp_path), "GRADIO_TEMP_DIR": str(tmp_path / "up")}
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=folder,
        env={**environment, "GRADIO_SERVER_PORT": port},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        page = client.Client(line.partition("Open ")[2].partition(" ")[0], verbose=False)
        sample = client.handle_file(str(EXAMPLES / "smile_glad_voice.mp4"))
        report = from_json(page.predict(sample, api_name="/analyze"))
        with pytest.raises(Exception, match=r"broken\.mp4: is not a video"):
            page.predict(client.handle_file(str(broken)), api_name="/analyze")
    finally:
        process.terminate()
        process.wait(timeout=120)
    assert report.path == "smile_glad_voice.mp4"
    assert report.windows
    assert report.moments
    assert report.windows[0].face is not None
