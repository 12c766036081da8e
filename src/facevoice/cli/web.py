"""`facevoice web`: the page, served from this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import flag, option, takes_analyzer, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError, FacevoiceError

_LOCAL = "127.0.0.1"


@tells_errors("web", interrupted="The page is no longer served.")
@takes_analyzer
def web(
    *,
    samples: Annotated[Path | None, option("DIR", "Folder of clips to choose from.")] = None,
    host: Annotated[str, option("ADDRESS", "Where to listen; 0.0.0.0 for every network.")] = _LOCAL,
    port: Annotated[int, option("N", "Port; 0 for any that is free.", min=0, max=65535)] = 7860,
    share: Annotated[
        bool, flag("Also a public address for 7 days, through gradio's servers.", "--share")
    ] = False,
    auth: Annotated[
        list[str] | None,
        option(
            "USER:PASSWORD",
            "Who may log in; once a user. Other users of this machine can read command lines: "
            "the environment variable FACEVOICE_WEB_AUTH, separated by spaces, is safer.",
            envvar="FACEVOICE_WEB_AUTH",
        ),
    ] = None,
    setup: AnalyzerSetup,
    max_size: Annotated[int, option("MB", "Largest upload.", min=1)] = 500,
    max_minutes: Annotated[float, option("N", "Longest clip, in minutes.", min=0.1)] = 60.0,
    keep_minutes: Annotated[
        float,
        option("N", "Uploads and results go when their user leaves, at the latest then.", min=1),
    ] = 60.0,
    at_once: Annotated[
        int, option("N", "Clips, videos, live windows at work together.", min=1)
    ] = 1,
    waiting: Annotated[
        int, option("N", "Clips and videos that may wait for their turn.", min=1)
    ] = 20,
    live: Annotated[int, option("N", "Live sessions at the same time; 0 for none.", min=0)] = 2,
) -> None:
    """Serve a page for uploads, samples, recordings and live video. Ctrl-C ends it.

    Everything runs on this machine and nothing is sent elsewhere (but for --share). Uploads are
    deleted after use.
    """
    from facevoice.web import WebOptions, launch_app

    options = WebOptions(
        samples=samples,
        max_size_mb=max_size,
        max_length_s=60 * max_minutes,
        keep_s=60 * keep_minutes,
        num_at_once=at_once,
        max_waiting=waiting,
        max_live=live,
    )
    users = _parse_auth(auth or [])
    screen = Screen()
    if host != _LOCAL and not users:
        screen.complain(
            f"Anybody who reaches {host}:{port} may use the page; --auth asks for a login."
        )
    screen.say("Loading the model…")
    analyzer = setup.build()
    try:
        # Of port 0, gradio would never learn which one it became.
        port = port or _free_port(host)
        launch_app(
            analyzer, options, server_name=host, server_port=port, share=share, auth=users or None
        )
    except OSError as error:
        message = f"{host}:{port} can't be used: {error}. Choose another with --port."
        raise FacevoiceError(message) from error


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


def _parse_auth(texts: list[str]) -> list[tuple[str, str]]:
    """Users and passwords; errors do not repeat what was typed."""
    users = []
    for text in texts:
        user, colon, password = text.partition(":")
        if not (user and colon and password):
            raise ConfigError("--auth: give USER:PASSWORD, both not empty")
        users.append((user, password))
    return users
