"""The web app: upload, samples or webcam, and a live mode. Extra `web`."""

from __future__ import annotations

import os
from typing import Any

from facevoice.analyzer import Analyzer
from facevoice.errors import MissingExtraError
from facevoice.web.work import OwnFolder, WebOptions

__all__ = ["WebOptions", "build_app", "launch_app"]


def build_app(analyzer: Analyzer, options: WebOptions | None = None) -> Any:
    """The page as gradio `Blocks`, to mount elsewhere; without live mode, which needs an address.

    Raises:
        MissingExtraError: gradio is not installed.
        ConfigError: the folder of samples holds no clip.
    """
    return _load_page().build_app(analyzer, options or WebOptions())


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
    folder = OwnFolder(for_all=wait)
    try:
        page = _load_page()
        return page.launch_app(analyzer, options or WebOptions(), folder, wait=wait, **launch)
    except BaseException:
        folder.remove()
        raise
    finally:
        if wait:
            folder.remove()


def _load_page() -> Any:
    # Gradio reads both: nothing on how the page is used is sent anywhere, and browsers keep no
    # list of what was asked, which a page of gradio's could also send to a hub.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
    try:
        from facevoice.web import page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise MissingExtraError("the web app", "web") from error
    return page
