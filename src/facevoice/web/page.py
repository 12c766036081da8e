"""The page, as gradio Blocks: clips, and the live mode; and how it is served."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, redirect_stdout
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Final

import gradio as gr
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from facevoice.analyzer import Analyzer
from facevoice.hub.space import find_samples
from facevoice.records import NOTICE
from facevoice.report import WINDOW_FIELDS, page_script, page_style, vocabulary
from facevoice.report.words import conflict_zones
from facevoice.texts import shown
from facevoice.web.live import LIVE_PATH, LiveDesk
from facevoice.web.tab import ClipTab
from facevoice.web.work import OwnFolder, Turns, WebOptions

_LOG = logging.getLogger(__name__)
_SWEEP_S: Final = 60
_TICK_S: Final = 0.2
# Joined in this order inside one function.
_SCRIPTS: Final = ("live_media.js", "pick.js", "live_panel.js", "live.js")
# What gradio itself has threads for; each clip that waits or is read holds one more.
_SPARE_THREADS: Final = 40
# Of more open pages than these, gradio forgets the oldest.
_MAX_PAGES: Final = 500
# The visitor's own fonts: nothing is fetched from anywhere.
_FONTS: Final = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO_FONTS: Final = ["ui-monospace", "Consolas", "monospace"]
# The pages' blue; white on it reads well.
_BLUE: Final = gr.themes.Color(
    *("#EAF4FA", "#D3E8F4", "#A8D1E8", "#73B4D9", "#005C8F", "#0072B2"),
    *("#0072B2", "#005C8F", "#004A73", "#003A5A", "#002940"),
)


def build_app(analyzer: Analyzer, options: WebOptions) -> Any:
    """See `facevoice.web.build_app`."""
    # Without a folder of our own we can't tell what is of others: gradio sweeps what it knows.
    sweep = (_SWEEP_S, round(options.keep_s))
    return _build(analyzer, options, None, delete_cache=sweep)[0]


def _build(
    analyzer: Analyzer, options: WebOptions, desk: LiveDesk | None, **more: Any
) -> tuple[Any, ClipTab]:
    """The page, and its tab for clips; with a desk, the page has a live mode too."""
    analyzer = analyzer.in_isolation()  # Anybody's files are read.
    samples = find_samples(options.samples)
    turns = Turns(options.num_at_once, options.max_waiting) if desk is None else desk.turns
    with gr.Blocks(title="facevoice", analytics_enabled=False, **more) as app:
        gr.HTML(_intro(), head=_head())
        if desk is None:
            tab = ClipTab(analyzer, options, samples, turns)
        else:
            with gr.Tabs():
                with gr.Tab("Clip", id="clip"):
                    tab = ClipTab(analyzer, options, samples, turns)
                with gr.Tab("Live", id="live"):
                    live = gr.HTML()
            # Not queued: leaving the page would break off a stream of events, and gradio complain.
            settings = (lambda: _live(desk.new_ticket(), analyzer, options), None, live)
            hidden = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
            app.load(*settings, **hidden)
        app.unload(tab.leave)
    _fetch_nothing(app)
    _refuse_quietly(app)
    # `Turns` says who comes next, for live sessions too: gradio's own queue holds nobody back.
    app.queue(default_concurrency_limit=None)
    return app, tab


def _fetch_nothing(app: Any) -> None:
    """Where a request names an address in place of a file, gradio would fetch it: here it fails."""
    for block in app.blocks.values():
        keep = getattr(block, "async_move_resource_to_block_cache", None)
        if keep is not None:
            block.async_move_resource_to_block_cache = partial(_keep_upload, keep)


def _refuse_quietly(app: Any) -> None:
    """Of calls that make no sense, which anybody may send, nothing is logged."""
    read = app.preprocess_data

    async def read_or_refuse(*given: Any, **more: Any) -> Any:
        try:
            return await read(*given, **more)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            told = "This call makes no sense: see how the page's API describes it."
            raise gr.Error(told, print_exception=False) from error

    app.preprocess_data = read_or_refuse


async def _keep_upload(keep: Callable[[Any], Awaitable[Any]], place: Any) -> Any:
    if "://" in str(place or ""):
        raise gr.Error("Upload the file itself: this server fetches nothing from an address.")
    return await keep(place)


def launch_app(
    analyzer: Analyzer,
    options: WebOptions,
    folder: OwnFolder,
    *,
    wait: bool,
    told: Callable[[list[str]], None] | None = None,
    **more: Any,
) -> Any:
    """See `facevoice.web.launch_app`; the folder goes when the server has ended."""
    desk = LiveDesk(analyzer, options) if options.max_live > 0 else None
    app, tab = _build(analyzer, options, desk)
    if more.get("server_port") == 0:  # gradio would take it for an address
        more["server_port"] = _free_port(more.get("server_name") or "")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep_now_and_then(tab, app))
        try:
            yield
        finally:
            sweeping.cancel()
            folder.remove()

    with redirect_stdout(io.StringIO()) as said:  # gradio's hints
        _launch(app, options, desk, lifespan, more)
    _log_errors_only()
    if told is not None:
        local = app.local_url.rstrip("/")
        told([local, *([app.share_url] if app.share_url else [])])
    if more.get("share") and not app.share_url:
        _LOG.error("There is no public address: %s", shown(" ".join(said.getvalue().split())))
    if wait:
        try:
            while app.is_running:  # gradio's own way would swallow Ctrl-C
                time.sleep(_TICK_S)
        finally:
            app.close(verbose=False)
    return app


def _launch(app: Any, options: WebOptions, desk: LiveDesk | None, lifespan: Any, more: Any) -> None:
    app.launch(
        prevent_thread_lock=True,
        app_kwargs={
            "lifespan": lifespan,
            "exception_handlers": {ClientDisconnect: _say_nothing},
            "routes": [] if desk is None else [WebSocketRoute(LIVE_PATH, desk.serve)],
        },
        max_file_size=f"{options.max_size_mb}mb",
        max_threads=_SPARE_THREADS + options.num_at_once + options.max_waiting,
        theme=gr.themes.Default(primary_hue=_BLUE, font=_FONTS, font_mono=_MONO_FONTS),
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        state_session_capacity=_MAX_PAGES,
        **{"quiet": True, **more},
    )


def _log_errors_only() -> None:
    """Of requests that make no sense, which anybody may send, nothing is logged."""
    for name in ("uvicorn.error", "uvicorn.access", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)


async def _say_nothing(_: Any, __: Exception) -> Response:
    """Somebody went away while they sent something: there is nobody to answer, nothing to log."""
    return Response(status_code=400)


async def _sweep_now_and_then(tab: ClipTab, app: Any) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        try:
            await asyncio.to_thread(tab.sweep)
            _sweep_gradio(app, tab.left)
        except Exception:  # noqa: BLE001 - logged; the next time may go better
            _LOG.exception("sweeping failed")


def _sweep_gradio(app: Any, left: Collection[str]) -> None:
    """Let gradio forget files that are gone, and all that it holds of pages that were left."""
    for names in app.temp_file_sets:
        names -= {name for name in [*names] if not Path(name).exists()}
    untold = app._queue.pending_messages_per_session
    held = app.state_holder  # of each page, a description of all its components: some 300 kB
    for session in left:
        held.session_data.pop(session, None)
        held.time_last_used.pop(session, None)
        if session in untold:
            while not untold[session].empty():
                untold[session].get_nowait()


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _head() -> str:
    """Scripts and styles of the page; nothing of it is fetched from anywhere."""
    assets = resources.files("facevoice.web") / "assets"
    # Gradio styles tables, buttons and text of its HTML by two classes and a tag: ours weigh more.
    styles = page_style() + (assets / "web.css").read_text("utf-8")
    styles = re.sub(r"\.(fv-root|fvw-[a-z-]+)", r".\1.\1.\1", styles)
    live = "\n".join((assets / name).read_text("utf-8") for name in _SCRIPTS)
    scripts = (
        page_script(),
        f"(function () {{\n'use strict';\n{live}\n}})();\n",
        (assets / "web.js").read_text("utf-8"),
    )
    return f"<style>{styles}</style>\n" + "\n".join(f"<script>{s}</script>" for s in scripts)


def _intro() -> str:
    """What the page is for, and what it is not for."""
    return (
        '<header class="fvw-intro"><h1>facevoice</h1>'
        "<p>What does the face show, how does the voice sound, and do the two match?</p>"
        f'<p class="fvw-notice"><strong>Intended use.</strong> {escape(NOTICE)}</p></header>'
    )


def _live(ticket: str, analyzer: Analyzer, options: WebOptions) -> str:
    """The live mode for `live.js` to mount."""
    settings = {
        "ticket": ticket,
        "window_s": options.live_windows.length_s,
        "talk_s": options.talk_s if analyzer.compares else None,
        "window_fields": WINDOW_FIELDS,
        "zones": [] if analyzer.point is None else conflict_zones(analyzer.point),
        **vocabulary(),
    }
    return (
        f'<div class="fvw-live" data-settings="{escape(json.dumps(settings), quote=True)}"></div>'
    )
