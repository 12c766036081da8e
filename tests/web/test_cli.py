"""`facevoice web`: options, logins, and what stands in the way of starting."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from facevoice import web
from facevoice.analyzer import Analyzer
from facevoice.cli import app as cli
from facevoice.web import WebOptions
from web.servers import EXAMPLES


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `launch_app` was given, in place of a server that never ends."""
    seen: dict[str, Any] = {}

    def launch(analyzer: Analyzer, options: WebOptions, **more: Any) -> None:
        seen.update(analyzer=analyzer, options=options, **more)

    monkeypatch.setattr(web, "launch_app", launch)
    return seen


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, ["web", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_options_reach_the_page(launched: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    said = run(
        *("--samples", EXAMPLES, "--port", 7999, "--max-size", 7, "--max-minutes", 2),
        *("--keep-minutes", 5, "--at-once", 2, "--waiting", 3, "--live", 1, "--auth", "anna:a:b"),
    )
    assert "Anybody" not in said
    assert launched["options"] == WebOptions(
        samples=EXAMPLES,
        max_size_mb=7,
        max_length_s=120,
        keep_s=300,
        num_at_once=2,
        max_waiting=3,
        max_live=1,
    )
    assert launched["server_name"] == "127.0.0.1"
    assert launched["server_port"] == 7999
    assert launched["auth"] == [("anna", "a:b")]
    assert launched["share"] is False
    assert isinstance(launched["analyzer"], Analyzer)
    run("--sensitivity", "cautious", "--expected-conflicts", 0.1)
    decision = launched["analyzer"].config.decision
    assert (decision.sensitivity, decision.expected_conflicts) == ("cautious", 0.1)
    monkeypatch.setenv("FACEVOICE_WEB_AUTH", "anna:one ben:two")
    run()
    assert launched["auth"] == [("anna", "one"), ("ben", "two")]


def test_port_0_is_one_that_is_free(launched: dict[str, Any]) -> None:
    run("--port", 0)
    with socket.create_server(("127.0.0.1", launched["server_port"])) as server:
        assert server.getsockname()[1] != 0


def test_an_open_door_is_told(launched: dict[str, Any]) -> None:
    assert "Anybody who reaches 0.0.0.0:7860" in run("--host", "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("text", ["anna", ":secret", "anna:"])
def test_half_a_login_is_refused_and_not_repeated(launched: dict[str, Any], text: str) -> None:
    said = run("--auth", text, code=2)
    assert "USER:PASSWORD" in said
    assert "secret" not in said
    assert launched == {}


def test_wrong_usage(launched: dict[str, Any], tmp_path: Path) -> None:
    assert "is no folder" in run("--samples", tmp_path / "none", code=2)
    assert "no-model" in run("--checkpoint", tmp_path / "no-model", code=1)
    assert launched == {}


def test_a_folder_without_clips(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert "holds no clip" in run("--samples", tmp_path, code=2)


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = run("--port", port, code=1)
        assert f"127.0.0.1:{port} can't be used: another program has it. Without --port" in told


def test_without_a_port_the_next_free_one_is_taken(
    launched: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        monkeypatch.setattr("facevoice.cli.web._FIRST_PORT", first)
        said = run()
        assert launched["server_port"] > first
        assert f"Port {first} is taken; this page gets {launched['server_port']}." in said


def test_only_our_own_lines_reach_the_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "facevoice", "web", "--port", "0", "--live", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(2)]
        address = re.fullmatch(
            r"Open (http://127\.0\.0\.1:\d+) in a browser\. Ctrl-C ends it\.\n", lines[1]
        )
        assert address, lines
        assert httpx.get(address[1]).status_code == 200
        place = urlsplit(address[1])
        with socket.create_connection((str(place.hostname), int(place.port or 0))) as stranger:
            stranger.sendall(b"no HTTP at all\r\n\r\n")
            stranger.recv(100)
        server.send_signal(signal.SIGINT)
        rest = server.stdout.read()
    assert lines[0] == "Loading the model…\n"
    assert rest == "Interrupted. The page is no longer served.\n"
    assert server.returncode == 130


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "facevoice.web.page", raising=False)
    monkeypatch.delattr(web, "page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "[web]" in run(code=2)
