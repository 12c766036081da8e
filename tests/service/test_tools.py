"""The tools for assistants, asked by the official client over standard input and output."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import av
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

from facevoice.batch import AnalyzerSetup
from facevoice.cli.app import app
from facevoice.service import tools
from facevoice.settings import AnalyzerConfig
from service.services import PATIENCE_S, SAMPLE

Ask = Callable[..., Awaitable[tuple[bool, Any]]]
WORDS = "1\n00:00:00,500 --> 00:00:02,000\nWhat a day.\n"


@asynccontextmanager
async def asking(*folders: Path, on_progress: Any = None) -> AsyncIterator[tuple[Client, Ask]]:
    """A client, and what asks a tool: it gives whether that failed, and what it said."""
    command = ["-m", "facevoice", "mcp", *map(str, folders), "--threads", "1"]
    server = StdioServerParameters(command=sys.executable, args=command, env={**os.environ})
    async with Client(server, read_timeout_seconds=PATIENCE_S) as client:

        async def ask(tool: str, **arguments: Any) -> tuple[bool, Any]:
            result = await client.call_tool(tool, arguments, progress_callback=on_progress)
            text = "".join(getattr(part, "text", "") for part in result.content)
            return bool(result.is_error), text if result.is_error else json.loads(text)

        yield client, ask


def voice_of(film: Path, target: Path) -> None:
    """The first two seconds of its sound without its pictures, which are explained sooner."""
    with av.open(str(film)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None and packet.pts * packet.time_base < 2:
                packet.stream = stream
                output.mux(packet)


def test_an_assistant_asks_about_what_files_show_and_what_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "talk.mp4").write_bytes(SAMPLE.read_bytes())
    voice_of(SAMPLE, folder / "voice.m4a")
    (folder / "voice.srt").write_text("no words", encoding="utf-8")
    (folder / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "secret.srt").write_text(WORDS.replace("day", "secret"), encoding="utf-8")
    (folder / "talk.srt").symlink_to(tmp_path / "secret.srt")
    heard: list[tuple[float, float | None]] = []

    async def hear(done_s: float, duration_s: float | None, _: str | None) -> None:
        heard.append((done_s, duration_s))

    async def converse() -> None:
        async with asking(folder, on_progress=hear) as (client, ask):
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"files", "analyze", "moments", "explain"}
            for tool in tools.values():
                assert tool.description
                assert tool.annotations is not None
                assert tool.annotations.read_only_hint

            is_error, summary = await ask("analyze", path="talk.mp4")
            assert not is_error
            assert summary["sentence"].startswith("Face and voice match: the face looks happy")
            assert summary["num_windows"]["match"] == 2
            is_error, found = await ask("moments", path=str(folder / "talk.mp4"), outcome="match")
            (moment,) = found["moments"]
            assert (moment["start_s"], moment["face"]) == (0.0, "happy")
            assert (moment["words"], found["remarks"]) == (None, [])  # They lie elsewhere.
            (folder / "talk.vtt").write_text(f"WEBVTT\n\n{WORDS.replace(',', '.')}", "utf-8")
            _, found = await ask("moments", path="talk.mp4")
            assert [moment["words"] for moment in found["moments"]] == ["What a day."]
            assert (await ask("moments", path="talk.mp4", outcome="conflict"))[1]["moments"] == []
            is_error, told = await ask("explain", path="voice.m4a", at_s=1.0)
            assert not is_error
            assert (told["start_s"], told["face"], told["voice"]["emotion"]) == (0, None, "happy")
            assert {part["kind"] for part in told["voice"]["parts"]} == {"stretch", "band"}
            assert "of the voice" in " ".join(told["words"])
            (remark,) = (await ask("moments", path="voice.m4a"))[1]["remarks"]
            assert remark.startswith("voice.srt: holds no cue that can be read")
            is_error, told = await ask("explain", path="talk.mp4", at_s=99.0)
            assert is_error
            assert told.startswith("config: talk.mp4: there is no moment at 99 s")
            for name in ("analyze", "moments"):
                is_error, told = await ask(name, path="broken.mp4")
                assert is_error
                assert told.startswith("unreadable_media: broken.mp4: ")

    anyio.run(converse)
    assert (5.235, 5.235) in heard


def test_an_assistant_finds_files_of_the_folders_only(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in ("one/a.mp4", "one/sub/B.mp4", "other/a.mp4", "other/c.wav", "secret.mp4"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (one / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (one / "loop.mp4").symlink_to(one / "loop.mp4")
    elsewhere = ("../secret.mp4", "link.mp4", str(tmp_path / "secret.mp4"), "/etc/passwd")

    async def converse() -> None:
        async with asking(one, other) as (_, ask):
            _, told = await ask("files")
            assert told["num_files"] == 4
            assert told["files"] == ["a.mp4", "sub/B.mp4", str(other / "a.mp4"), "c.wav"]
            for path in told["files"]:
                is_error, said = await ask("analyze", path=path)
                assert said.startswith(f"empty_media: {path}: "), said
            assert (await ask("files", containing="b"))[1]["files"] == ["sub/B.mp4"]
            _, told = await ask("files", limit=1)
            assert (told["num_files"], told["files"], told["problems"]) == (4, ["a.mp4"], [])

            for path in (*elsewhere, "loop.mp4", "no\0name"):
                is_error, said = await ask("analyze", path=path)
                assert is_error, path
                assert said.startswith("media_not_found: ")
                assert said.endswith("The tool `files` tells which there are.")

            is_error, said = await ask("explain", path="a.mp4", at_s=-1)
            assert is_error
            assert said.startswith("invalid_request: at_s: ")
            is_error, said = await ask("moments", limit=0)
            assert is_error
            assert said.startswith("invalid_request: path: Field required; limit: ")
            is_error, said = await ask("judge", path="a.mp4")
            assert said == "invalid_request: Unknown tool: judge."

            shutil.rmtree(one)
            gone = f"{one} can't be read (No such file or directory)."
            _, told = await ask("files")
            assert (told["files"], told["problems"]) == (["a.mp4", "c.wav"], [gone])
            is_error, said = await ask("analyze", path="sub/B.mp4")
            assert is_error
            assert said.startswith("media_not_found: sub/B.mp4: is no file of the folders")
            assert gone in said

    anyio.run(converse)


def test_what_nobody_foresaw_is_an_error_with_a_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(tools, "find_media", fail)
    server = tools.build_server(AnalyzerSetup(AnalyzerConfig()), [tmp_path])
    result = anyio.run(server.call_tool, "files", {})
    assert isinstance(result, CallToolResult)
    assert result.is_error
    assert getattr(result.content[0], "text", "").startswith("internal: Something went wrong")
    assert "RuntimeError: secret" in caplog.text


def test_an_mcp_of_another_version_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "facevoice.service.tools")
    monkeypatch.delattr("facevoice.service.tools")
    monkeypatch.setitem(sys.modules, "mcp.types", ModuleType("mcp.types"))
    with pytest.raises(SystemExit) as ended:
        app(["mcp", str(tmp_path)])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "an optional part: pip install 'facevoice[mcp]'" in said
