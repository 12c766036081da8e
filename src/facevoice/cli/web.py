"""`facevoice web`: the page, served from this machine."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Annotated, Final

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import flag, option, takes_isolated_analyzer, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError, FacevoiceError

_LOCAL: Final = "127.0.0.1"
_FIRST_PORT: Final = 7860
_NUM_PORTS: Final = 20


@tells_errors("web", interrupted="The page is no longer served.")
@takes_isolated_analyzer
def web(
    *,
    samples: Annotated[Path | None, option("DIR", "Folder of clips to choose from.")] = None,
    host: Annotated[str, option("ADDRESS", "Where to listen; 0.0.0.0 for every network.")] = _LOCAL,
    port: Annotated[
        int | None,
        option(
            "N",
            "Port, which must be free; 0 for any that is. Without it, the first from 7860 on.",
            min=0,
            max=65535,
        ),
    ] = None,
    share: Annotated[
        bool, flag("Also a public address for 7 days, through gradio's servers.", "--share")
    ] = False,
    auth: Annotated[
        list[str] | None,
        option(
            "USER:PASSWORD",
            "Who may log in; once per user. Other users of this machine can read command lines: "
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
    place = _free_port(host, port)
    if port is None and place != _FIRST_PORT:
        screen.say(f"Port {_FIRST_PORT} is taken; this page gets {place}.")
    if host != _LOCAL and not users:
        screen.complain(
            f"Anybody who reaches {host}:{place} may use the page; --auth asks for a login."
        )
    screen.say("Loading the model…")
    analyzer = setup.build()

    def tell(addresses: list[str]) -> None:
        screen.say(f"Open {' or '.join(addresses)} in a browser. Ctrl-C ends it.")

    try:
        launch_app(
            *(analyzer, options),
            told=tell,
            server_name=host,
            server_port=place,
            share=share,
            auth=users or None,
        )
    except OSError as error:
        raise _taken(host, place, error) from error


def _free_port(host: str, port: int | None) -> int:
    """The port that was asked for, else the first that is free.

    Raises:
        FacevoiceError: it is taken; the address can't be used.
    """
    asked = range(_FIRST_PORT, _FIRST_PORT + _NUM_PORTS) if port is None else (port,)
    for place in asked:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.create_server((host, place), family=family) as server:
                return int(server.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE or place == asked[-1]:
                raise _taken(host, place, error, tried=len(asked)) from error
    raise AssertionError  # the loop returns or raises


def _taken(host: str, port: int, error: OSError, tried: int = 1) -> FacevoiceError:
    told = (error.strerror or str(error)).lower()
    if error.errno != errno.EADDRINUSE:
        return FacevoiceError(
            f"{host}:{port} can't be used: {told}. Choose with --host and --port."
        )
    if tried > 1:
        last = f"{_FIRST_PORT} to {port}"
        return FacevoiceError(f"The ports {last} are all taken. Choose one with --port.")
    return FacevoiceError(
        f"{host}:{port} can't be used: another program has it. Without --port the next free one is "
        "taken."
    )


def _parse_auth(texts: list[str]) -> list[tuple[str, str]]:
    """Users and passwords; errors do not repeat what was typed."""
    users = []
    for text in texts:
        user, colon, password = text.partition(":")
        if not (user and colon and password):
            raise ConfigError("--auth: give USER:PASSWORD, both not empty")
        users.append((user, password))
    return users
