"""The page, as gradio Blocks: choose a clip, watch it being read, see what it says; or live."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from html import escape
from importlib import resources
from pathlib import Path
from threading import Event
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import gradio as gr
from starlette.routing import WebSocketRoute

from facevoice.analyzer import Analyzer
from facevoice.errors import FacevoiceError, MediaError
from facevoice.hub.space import find_samples
from facevoice.media import probe
from facevoice.records import NOTICE, Perception, Prediction, Report, Trace, WindowView
from facevoice.report import (
    WINDOW_FIELDS,
    describe_in_words,
    page_script,
    page_style,
    render_video,
    to_csv,
    to_html,
    to_json,
    to_view,
    vocabulary,
)
from facevoice.web.live import LIVE_PATH, LiveDesk
from facevoice.web.work import Done, SessionFiles, StoppedError, Turns, WebOptions, work_aside

_LOG = logging.getLogger(__name__)
_SWEEP_S: Final = 60
_DOWNLOADS: Final = {"json": "JSON", "csv": "CSV", "html": "Report (HTML)"}
# Relative, so that it holds behind a proxy's path too.
_FILE_ADDRESS: Final = "gradio_api/file="
# Joined in this order inside one function.
_LIVE_SCRIPTS: Final = ("live_media.js", "live_panel.js", "live.js")
_SERVER_FAILED: Final = "The server failed; its log says why."
# What gradio itself has threads for; each clip that waits or is read holds one more.
_SPARE_THREADS: Final = 40
# The visitor's own fonts: nothing is fetched from anywhere.
_FONTS: Final = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_MONO_FONTS: Final = ["ui-monospace", "Consolas", "monospace"]
# The pages' blue; white on it reads well.
_BLUE: Final = gr.themes.Color(
    *("#EAF4FA", "#D3E8F4", "#A8D1E8", "#73B4D9", "#005C8F", "#0072B2"),
    *("#0072B2", "#005C8F", "#004A73", "#003A5A", "#002940"),
)

_Changes = dict[Any, Any]
"""What an event changes, by component."""
_Tell = Callable[[str], None]
"""Takes what to show while something goes on, as HTML."""


def build_app(analyzer: Analyzer, options: WebOptions, desk: LiveDesk | None) -> Any:
    """See `facevoice.web.build_app`; with a desk, the page has a live mode too."""
    samples = find_samples(options.samples)
    turns = Turns(options.num_at_once, options.max_waiting) if desk is None else desk.turns
    sweep = (_SWEEP_S, round(options.keep_s))
    with gr.Blocks(title="facevoice", analytics_enabled=False, delete_cache=sweep) as app:
        gr.HTML(_intro(), head=_head())
        if desk is None:
            tab = ClipTab(analyzer, options, samples, turns)
        else:
            with gr.Tabs():
                with gr.Tab("Clip", id="clip"):
                    tab = ClipTab(analyzer, options, samples, turns)
                with gr.Tab("Live", id="live"):
                    live = gr.HTML()
            settings = (lambda: _live(desk.new_ticket(), options), None, live)
            app.load(*settings, api_visibility="private")
        app.unload(tab.leave)
    # `Turns` says who comes next, for live sessions too: gradio's own queue holds nobody back.
    app.queue(default_concurrency_limit=None)
    return app


def launch_app(analyzer: Analyzer, options: WebOptions, *, wait: bool, **more: Any) -> Any:
    """See `facevoice.web.launch_app`."""
    desk = LiveDesk(analyzer, options) if options.max_live > 0 else None
    app = build_app(analyzer, options, desk)
    app.launch(
        prevent_thread_lock=not wait,
        app_kwargs={"routes": [] if desk is None else [WebSocketRoute(LIVE_PATH, desk.serve)]},
        max_file_size=f"{options.max_size_mb}mb",
        max_threads=_SPARE_THREADS + options.num_at_once + options.max_waiting,
        allowed_paths=[] if options.samples is None else [str(options.samples)],
        theme=gr.themes.Default(primary_hue=_BLUE, font=_FONTS, font_mono=_MONO_FONTS),
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        **more,
    )
    return app


@dataclass(slots=True)
class Session:
    """One open page: whether to stop what it asked for, and the clip that it shows.

    perceived: can be interpreted again at once, with other settings.
    """

    stopping: Event = field(default_factory=Event)
    perceived: Perception | None = None


class ClipTab:
    """A clip's way: perceive, interpret, show; then downloads and the annotated video."""

    def __init__(
        self, analyzer: Analyzer, options: WebOptions, samples: list[Path], turns: Turns
    ) -> None:
        self._analyzer = analyzer
        self._options = options
        self._turns = turns
        self._sessions: defaultdict[str, Session] = defaultdict(Session)
        # Files that lie there are served as they are; of others gradio would keep copies.
        self._files = SessionFiles(Path(gr.utils.get_upload_folder()), samples)
        self._add_chooser(samples)
        self._add_results()
        self._add_events()

    def _add_chooser(self, samples: list[Path]) -> None:
        with gr.Column(elem_id="fvw-chooser") as self.chooser, gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.clip = gr.Video(
                    label="Clip",
                    sources=["upload", "webcam"],
                    include_audio=True,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    height=300,
                    elem_id="fvw-clip",
                )
                if samples:
                    gr.Examples(
                        [[str(path)] for path in samples],
                        inputs=[self.clip],
                        label="Samples",
                        example_labels=[path.stem.replace("_", " ") for path in samples],
                    )
            with gr.Column(scale=2, min_width=280):
                gr.HTML(_limits(self._options))
                self.start = gr.Button("Analyse", variant="primary", elem_id="fvw-start")

    def _add_results(self) -> None:
        small: dict[str, Any] = {"size": "sm"}
        with gr.Row(elem_id="fvw-running"):
            self.status = gr.HTML(elem_id="fvw-status")
            self.stop = gr.Button("Stop", elem_id="fvw-stop", visible=False, **small)
        with gr.Row(visible=False, elem_id="fvw-downloads") as self.downloads:
            self.again = gr.Button("Another clip", elem_id="fvw-again", **small)
            gr.HTML('<p class="fvw-small">Download</p>')
            self.buttons = {
                name: gr.DownloadButton(label, elem_id=f"fvw-{name}", **small)
                for name, label in _DOWNLOADS.items()
            }
            self.draw = gr.Button("Make annotated video", elem_id="fvw-draw", **small)
            self.film = gr.DownloadButton(
                "Annotated video (MP4)", visible=False, elem_id="fvw-mp4", **small
            )
        self.result = gr.HTML(elem_id="fvw-result")

    def _add_events(self) -> None:
        run: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        at_once = {**run, "queue": False}
        busy = [self.status, self.start, self.stop]
        shown = [*busy, self.chooser, self.result, self.downloads, self.draw, self.film]
        shown += self.buttons.values()
        for button, work, given in (
            (self.start, self.analyze, [self.clip]),
            (self.draw, self.make_film, None),
        ):
            begun = button.click(self.begin, None, busy, **at_once)
            # Not "analyze": that name is the programs'.
            done = begun.then(work, given, shown, api_name=f"page_{work.__name__}", **run)
            done.failure(lambda: self._idle(_problem(_SERVER_FAILED)), None, busy, **at_once)
        self.stop.click(self.end, None, [self.stop], **at_once)
        self.again.click(self.start_anew, None, [self.clip, *shown], **at_once)
        self.clip.change(self.choose, [self.clip], None, **at_once)
        # For programs: a clip in, the report out; as text, since gradio's client would take the
        # report's own "path" for a file to fetch.
        answer = gr.Textbox(visible=False)
        asked = gr.Button(visible=False)
        asked.click(self.answer, [self.clip], [answer], api_name="analyze")

    def session(self, request: gr.Request) -> Session:
        """What is known of the page that asks."""
        return self._sessions[_name(request)]

    def choose(self, clip: str | None, request: gr.Request) -> None:
        """Note whose upload it is."""
        if clip:
            self._files.keep_upload(_name(request), Path(clip))

    def leave(self, request: gr.Request) -> None:
        """End a user's work, forget what was perceived, and delete the files."""
        self._sessions.pop(_name(request), Session()).stopping.set()
        self._files.release(_name(request))

    def begin(self, request: gr.Request) -> _Changes:
        """Show at once that something goes on, before its turn comes."""
        self.session(request).stopping = Event()
        return self._working(_progress("Waiting for its turn…"))

    def end(self, request: gr.Request) -> _Changes:
        """End what goes on; it says itself that it has stopped."""
        self.session(request).stopping.set()
        return {self.stop: gr.update(interactive=False)}

    def start_anew(self, request: gr.Request) -> _Changes:
        """Show what a clip is chosen with in place of the result."""
        return {**self._idle(), **self._without_result(request), self.clip: None}

    def analyze(self, clip: str | None, request: gr.Request) -> Iterator[_Changes]:
        """Perceive the chosen clip, telling how far it is; then show what it says."""
        if not clip:
            yield self._idle(_problem("Choose a clip first."))
            return
        path, session = Path(clip), self.session(request)
        self._files.keep_upload(_name(request), path)
        yield self._without_result(request)

        def work(tell: _Tell) -> _Changes:
            session.perceived = self._perceive(path, tell)
            return self._show(session.perceived, self._files.new_folder(_name(request)))

        yield from self._work(work, path, session.stopping)

    def make_film(self, request: gr.Request) -> Iterator[_Changes]:
        """Make the annotated video of the clip that is shown."""
        session = self.session(request)
        perceived = session.perceived
        if perceived is None:
            yield self._idle(_problem("Analyse a clip first."))
            return
        media = perceived.media
        out = self._files.folder(_name(request)) / f"{media.path.stem}.facevoice.mp4"

        def work(tell: _Tell) -> _Changes:
            def on_progress(done_s: float) -> None:
                words = f"Drawing the video: {_clock(done_s)} of {_clock(media.duration_s)}"
                tell(_progress(words, done_s / media.duration_s))
                self._turns.give_way()

            report = self._analyzer.interpret(perceived)
            render_video(report, perceived.trace, out, on_progress=on_progress)
            return {**self._idle(), self.draw: _is_shown(False), self.film: _file(out)}

        yield from self._work(work, media.path, session.stopping)

    def answer(self, clip: str | None) -> str:
        """The report of a clip as JSON, for a program."""
        if not clip:
            raise gr.Error("Choose a clip first.")
        path, name = Path(clip), f"call-{uuid4().hex}"
        self._files.keep_upload(name, path)
        try:
            with self._turns.job(Event(), lambda _: None):
                perceived = self._perceive(path, lambda _: None)
        except FacevoiceError as error:
            raise gr.Error(_told(error, path)) from error
        finally:
            self._files.release(name)
        return to_json(replace(self._analyzer.interpret(perceived), path=path.name))

    def _work(
        self, work: Callable[[_Tell], _Changes], path: Path, stopping: Event
    ) -> Iterator[_Changes]:
        """Let `work(tell)` take its turn; gives what to show meanwhile and at last."""

        def on_wait(number: int, tell: _Tell) -> None:
            tell(_progress(f"Waiting for its turn… Number {number} in the line."))

        def in_turn(tell: _Tell) -> _Changes:
            with self._turns.job(stopping, lambda number: on_wait(number, tell)):
                return work(tell)

        try:
            for state in work_aside(in_turn, stopping):
                yield state.value if isinstance(state, Done) else self._working(state)
        except StoppedError:
            yield self._idle(_problem("Stopped."))
        except FacevoiceError as error:
            yield self._idle(_problem(_told(error, path)))
        except OSError as error:
            _LOG.exception("clip failed")
            told = f"The server could not keep the result: {error.strerror}."
            yield self._idle(_problem(told))

    def _perceive(self, path: Path, tell: _Tell) -> Perception:
        media, begun_s = probe(path), time.monotonic()
        longest_s = self._options.max_length_s
        if media.duration_s > longest_s:
            raise MediaError(
                path,
                f"lasts {media.duration_s / 60:.1f} minutes; at most {longest_s / 60:g} are taken.",
                "Cut it, or use the command: facevoice analyze.",
            )
        tell(_progress("Reading the clip…"))

        def on_view(view: WindowView) -> None:
            window = self._analyzer.judge(view, media)
            tell(_reading(window, media.duration_s, time.monotonic() - begun_s))
            self._turns.give_way()

        return self._analyzer.perceive(path, on_view=on_view)

    def _show(self, perceived: Perception, folder: Path) -> _Changes:
        """Interpret what was perceived: the report, and its downloads in a folder."""
        path, trace = perceived.media.path, perceived.trace
        # Where the server keeps the clip is of no interest to anybody.
        report = replace(self._analyzer.interpret(perceived), path=path.name)
        texts = {
            "json": to_json(report) + "\n",
            "csv": to_csv([report]),
            "html": to_html(report, trace),
        }
        files = {}
        for name, text in texts.items():
            written = folder / f"{path.stem}.{name}"
            written.write_text(text, encoding="utf-8", newline="")
            files[self.buttons[name]] = _file(written)
        return {
            **self._idle(),
            **files,
            self.result: _result(report, trace, path),
            self.chooser: _is_shown(False),
            self.downloads: _is_shown(True),
            self.draw: gr.update(visible=perceived.media.has_video, interactive=True),
            self.film: gr.update(visible=False, value=None),
        }

    def _working(self, status: str) -> _Changes:
        start, stop = gr.update(interactive=False), gr.update(visible=True, interactive=True)
        return {self.status: status, self.start: start, self.stop: stop}

    def _idle(self, status: str = "") -> _Changes:
        start = gr.update(interactive=True)
        return {self.status: status, self.start: start, self.stop: _is_shown(False)}

    def _without_result(self, request: gr.Request) -> _Changes:
        self.session(request).perceived = None
        return {
            self.result: "",
            self.chooser: _is_shown(True),
            self.downloads: _is_shown(False),
        }


def _name(request: gr.Request) -> str:
    return request.session_hash or ""  # none where the page is called without a browser


def _told(error: FacevoiceError, path: Path) -> str:
    return str(error).replace(str(path), path.name)


def _is_shown(holds: bool) -> Any:
    return gr.update(visible=holds)


def _file(path: Path) -> Any:
    return gr.update(value=str(path), visible=True)


# What the page says, as HTML; everything from outside is escaped.


def _head() -> str:
    """Scripts and styles of the page; nothing of it is fetched from anywhere."""
    assets = resources.files("facevoice.web") / "assets"
    # Gradio styles tables, buttons and text of its HTML by two classes and a tag: ours weigh more.
    styles = page_style() + (assets / "web.css").read_text("utf-8")
    styles = re.sub(r"\.(fv-root|fvw-[a-z-]+)", r".\1.\1.\1", styles)
    live = "\n".join((assets / name).read_text("utf-8") for name in _LIVE_SCRIPTS)
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


def _limits(options: WebOptions) -> str:
    """What may be uploaded, and what becomes of it."""
    return (
        '<ol class="fvw-steps"><li>Choose a clip of one person who speaks, or record yourself.</li>'
        "<li>Press <b>Analyse</b>.</li>"
        "<li>Click on the timeline of the result: the video goes there.</li></ol>"
        f'<p class="fvw-small">At most {options.max_size_mb} MB and '
        f"{_length(options.max_length_s)}. Only use clips of people who agreed to it. Clips are "
        "read on this server, sent nowhere else, and deleted when you choose another clip or "
        f"leave, at the latest after {_length(options.keep_s)}.</p>"
    )


def _progress(words: str, share: float | None = None, below: str = "") -> str:
    """What goes on, how far it is, and what was found last."""
    bar = "" if share is None else f'<progress max="1" value="{min(1.0, share):.3f}"></progress>'
    found = below and f'<p class="fvw-small">{escape(below)}</p>'
    return f'<div class="fvw-progress">{bar}<p>{words}</p>{found}</div>'


def _reading(window: Prediction, duration_s: float, spent_s: float) -> str:
    done_s = min(window.end_s, duration_s)
    left_s = spent_s / max(done_s, 0.1) * (duration_s - done_s)
    words = (
        f"{_clock(done_s)} of {_clock(duration_s)} · {done_s / max(spent_s, 1e-3):.1f} × real time "
        f"· about {_length(max(1, left_s))} left"
    )
    said = f"{_clock(window.start_s)}–{_clock(window.end_s)}: {describe_in_words(window)}"
    return _progress(words, done_s / duration_s, said)


def _problem(message: str) -> str:
    """What went wrong, and what to do."""
    return f'<div class="fvw-problem" role="alert">{escape(message)}</div>'


def _result(report: Report, trace: Trace, video: Path) -> str:
    """The report for `web.js` to mount, and the file that the page plays."""
    view = escape(json.dumps(to_view(report, trace), ensure_ascii=False), quote=True)
    address = escape(_FILE_ADDRESS + quote(str(video)), quote=True)
    return f'<div class="fvw-result" data-view="{view}" data-video="{address}"></div>'


def _live(ticket: str, options: WebOptions) -> str:
    """The live mode for `live.js` to mount."""
    settings = {
        "ticket": ticket,
        "window_s": options.live_windows.length_s,
        "window_fields": WINDOW_FIELDS,
        **vocabulary(),
    }
    return (
        f'<div class="fvw-live" data-settings="{escape(json.dumps(settings), quote=True)}"></div>'
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _length(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} minutes"
