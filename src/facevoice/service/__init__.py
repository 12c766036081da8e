"""The service: jobs by programs, over HTTP. Extra `serve`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.service.keys import Keyring, load_keys, new_key
from facevoice.service.limits import LOCAL_HOSTS, KeyLimits, ServiceOptions
from facevoice.workers import keep_memory_together

if TYPE_CHECKING:
    from facevoice.batch import AnalyzerSetup

_EXTRA: Final = ("anyio", "fastapi", "fastapi_offline", "prometheus_client", "pydantic", "uvicorn")
# Streams end at once, answers that are being made have so long.
_END_S: Final = 10

__all__ = ["KeyLimits", "Keyring", "ServiceOptions", "build_app", "load_keys", "new_key", "run"]


def build_app(setup: AnalyzerSetup, options: ServiceOptions, keyring: Keyring) -> Any:
    """The service as an ASGI application, for a server of your own.

    Raises:
        MissingExtraError: the extra `serve`, or `postgres`, is not installed.
        ConfigError, DatabaseError, WeightsError: see `Service`.
    """
    app, service = _load()
    return app.build_app(service.Service(setup, options, keyring))


def run(
    setup: AnalyzerSetup,
    options: ServiceOptions,
    keyring: Keyring,
    *,
    host: str,
    port: int,
    on_start: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C; then jobs that run are put back, to go on another time.

    Args:
        setup, options, keyring: see `Service`.
        host, port: where to listen; port 0 for any that is free.
        on_start: hears the address, once it answers.

    Raises:
        ConfigError: without keys, others than this machine could reach it.
        FacevoiceError: the host or port can't be had.
        KeyboardInterrupt: it was ended.
        MissingExtraError, DatabaseError, WeightsError: see `build_app`.
    """
    if keyring.is_open and host not in LOCAL_HOSTS:
        raise ConfigError(
            f"--host {host}: without keys, only 127.0.0.1 is served; make one by facevoice serve "
            "--new-key NAME"
        )
    keep_memory_together()
    app, service = _load()
    import uvicorn

    with ExitStack() as cleaning, _listen(host, port) as listening:
        made = service.Service(setup, options, keyring)
        # Where the server itself ends it, this does nothing more.
        cleaning.callback(made.close)

        class Server(uvicorn.Server):
            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                made.stopping.set()  # Streams would go on for as long as their jobs.
                super().handle_exit(sig, frame)

        config = uvicorn.Config(
            app.build_app(made),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_END_S,
        )
        shown = f"[{host}]" if ":" in host else host
        made.start()
        on_start(f"http://{shown}:{listening.getsockname()[1]}")
        Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, TypeError) as error:  # the latter of what can't be a name
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (")[0].lower()
        raise FacevoiceError(
            f"{host}:{port} can't be used: {reason}. Choose another --host or --port."
        ) from error


def _load() -> tuple[Any, Any]:
    try:
        from facevoice.service import app, service
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise MissingExtraError("the service", "serve") from error
    return app, service
