"""The web app: upload, samples or webcam, and a live mode. Extra `web`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from facevoice.analyzer import Analyzer
from facevoice.errors import MissingExtraError
from facevoice.web.work import OwnFolder, WebOptions
from facevoice.workers import keep_memory_together

# Gradio reads these from the environment.
_GRADIO: Final = {
    # Nothing on how the page is used is sent anywhere.
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Browsers keep no list of what was asked, which a page of gradio's could also send to a hub.
    "GRADIO_RUN_HISTORY": "False",
    # The server keeps none either, and needn't sum it up with pandas after each event.
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9),
}

__all__ = ["WebOptions", "build_app", "launch_app"]


def build_app(analyzer: Analyzer, options: WebOptions | None = None) -> Any:
    """The page as gradio `Blocks`, to mount elsewhere; without live mode, which needs an address.

    Raises:
        MissingExtraError: gradio is not installed.
        ConfigError: the folder of samples holds no clip.
    """
    return _load_page().build_app(analyzer, options or WebOptions())


def launch_app(
    analyzer: Analyzer,
    options: WebOptions | None = None,
    *,
    wait: bool = True,
    told: Callable[[list[str]], None] | None = None,
    **launch: Any,
) -> Any:
    """Serve the page with its live mode, if it has places; gives the launched `Blocks`, to close.

    Args:
        analyzer: reads the clips.
        options: limits and samples.
        wait: until interrupted; False returns at once.
        told: hears at which addresses the page is; nothing else is printed.
        launch: more arguments of gradio's `Blocks.launch`, such as server_name, server_port, auth.

    Raises:
        MissingExtraError, ConfigError: see `build_app`.
        OSError: the port is taken.
    """
    folder = OwnFolder(for_all=wait)
    if wait:
        keep_memory_together()
    try:
        page = _load_page()
        return page.launch_app(
            analyzer, options or WebOptions(), folder, wait=wait, told=told, **launch
        )
    except BaseException:
        folder.remove()
        raise
    finally:
        if wait:
            folder.remove()


def _load_page() -> Any:
    for name, value in _GRADIO.items():
        os.environ.setdefault(name, value)
    try:
        from facevoice.web import page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise MissingExtraError("the web app", "web") from error
    return page
