"""The web app: upload, samples or webcam, and a live mode. Extra `web`."""

from __future__ import annotations

import os
from typing import Any

from facevoice.analyzer import Analyzer
from facevoice.errors import MissingExtraError
from facevoice.web.work import WebOptions

__all__ = ["WebOptions", "build_app", "launch_app"]


def build_app(analyzer: Analyzer, options: WebOptions | None = None) -> Any:
    """The page as gradio `Blocks`, to mount elsewhere; without live mode, which needs an address.

    Raises:
        MissingExtraError: gradio is not installed.
        ConfigError: the folder of samples holds no clip.
    """
    return _load_page().build_app(analyzer, options or WebOptions(), None)


def launch_app(
    analyzer: Analyzer, options: WebOptions | None = None, *, wait: bool = True, **launch: Any
) -> Any:
    """Serve the page with its live mode, if it has places; gives the launched `Blocks`, to close.

    Args:
        analyzer: reads the clips.
        options: limits and samples.
        wait: until interrupted; False returns at once.
        launch: more arguments of gradio's `Blocks.launch`, such as server_name, server_port, auth.

    Raises:
        MissingExtraError, ConfigError: see `build_app`.
        OSError: the port is taken.
    """
    return _load_page().launch_app(analyzer, options or WebOptions(), wait=wait, **launch)


def _load_page() -> Any:
    # Nothing on how the page is used is sent anywhere; gradio reads this when it is imported.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        from facevoice.web import page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise MissingExtraError("the web app", "web") from error
    return page
