"""The tools for assistants, asked by the official client over standard input and output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import av
from mcp import Client, StdioServerParameters

from service.services import PATIENCE_S, SAMPLE


def voice_of(film: Path, target: Path) -> None:
    """The first two seconds of its sound without its pictures, which are explained sooner."""
    with av.open(str(film)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None and packet.pts * packet.time_base < 2:
                packet.stream = stream
                output.mux(packet)


def test_an_assistant_asks_about_files_of_the_folders_only(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "talk.mp4").write_bytes(SAMPLE.read_bytes())
    voice_of(SAMPLE, folder / "voice.m4a")
    (folder / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "secret.mp4").write_bytes(SAMPLE.read_bytes())
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    command = ["-m", "facevoice", "mcp", str(folder), "--threads", "1"]
    heard: list[tuple[float, float | None]] = []

    async def hear(done_s: float, duration_s: float | None, _: str | None) -> None:
        heard.append((done_s, duration_s))

    async def converse() -> None:
        server = StdioServerParameters(command=sys.executable, args=command, env={**os.environ})
        async with Client(server, read_timeout_seconds=PATIENCE_S) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"analyze", "moments", "explain"}
            for tool in tools.values():
                assert tool.description
                assert tool.annotations is not None
                assert tool.annotations.read_only_hint

            async def ask(tool: str, **arguments: Any) -> tuple[bool, Any]:
                result = await client.call_tool(tool, arguments, progress_callback=hear)
                text = "".join(getattr(part, "text", "") for part in result.content)
                return bool(result.is_error), text if result.is_error else json.loads(text)

            is_error, summary = await ask("analyze", path="talk.mp4")
            assert not is_error
            assert summary["sentence"].startswith("Face and voice match: the face looks happy")
            assert summary["num_windows"]["match"] == 2
            is_error, found = await ask("moments", path=str(folder / "talk.mp4"), outcome="match")
            (moment,) = found["moments"]
            assert (moment["start_s"], moment["face"]) == (0.0, "happy")
            assert (await ask("moments", path="talk.mp4", outcome="conflict"))[1]["moments"] == []
            is_error, told = await ask("explain", path="voice.m4a", at_s=1.0)
            assert not is_error
            assert (told["start_s"], told["face"], told["voice"]["emotion"]) == (0, None, "happy")
            assert {part["kind"] for part in told["voice"]["parts"]} == {"stretch", "band"}
            assert "of the voice" in " ".join(told["words"])
            assert (await ask("explain", path="talk.mp4", at_s=99.0))[0]
            for path in ("../secret.mp4", "link.mp4", str(tmp_path / "secret.mp4"), "/etc/passwd"):
                is_error, told = await ask("analyze", path=path)
                assert is_error, path
                assert "media_not_found: " in told
                assert "has broken.mp4, link.mp4, talk.mp4, voice.m4a" in told
            for tool in ("analyze", "moments"):
                is_error, told = await ask(tool, path="broken.mp4")
                assert is_error
                assert "unreadable_media: broken.mp4: " in told

    anyio.run(converse)
    assert (5.235, 5.235) in heard
