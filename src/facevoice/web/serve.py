"""Serving the page and the live mode's socket from one address."""

from __future__ import annotations

from typing import Any

import gradio as gr
from starlette.routing import WebSocketRoute

from facevoice.web.live import LIVE_PATH, LiveDesk
from facevoice.web.options import WebOptions

# The visitor's own fonts: nothing is fetched from anywhere.
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO_FONTS = ["ui-monospace", "Consolas", "monospace"]
# The pages' blue; white on it reads well.
_BLUE = gr.themes.Color(
    c50="#EAF4FA",
    c100="#D3E8F4",
    c200="#A8D1E8",
    c300="#73B4D9",
    c400="#005C8F",
    c500="#0072B2",
    c600="#0072B2",
    c700="#005C8F",
    c800="#004A73",
    c900="#003A5A",
    c950="#002940",
)


def launch(
    app: gr.Blocks, desk: LiveDesk | None, options: WebOptions, *, wait: bool, **more: Any
) -> Any:
    """Launch a page of `build_app`; see `facevoice.web.launch_app`."""
    routes = [] if desk is None else [WebSocketRoute(LIVE_PATH, desk.serve)]
    app.launch(
        prevent_thread_lock=not wait,
        app_kwargs={"routes": routes},
        max_file_size=f"{options.max_size_mb}mb",
        allowed_paths=[] if options.samples is None else [str(options.samples)],
        theme=gr.themes.Default(primary_hue=_BLUE, font=_FONTS, font_mono=_MONO_FONTS),
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        **more,
    )
    return app
