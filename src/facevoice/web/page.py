"""What the page says, as HTML; everything from outside is escaped."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from importlib import resources
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import gradio as gr
from starlette.routing import WebSocketRoute

from facevoice.analyzer import Analyzer
from facevoice.errors import FacevoiceError, MediaError
from facevoice.hub.space import find_samples
from facevoice.media.open import probe
from facevoice.records import NOTICE, Prediction, Reason, Report, Trace, TraceRecorder
from facevoice.report import to_csv, to_json
from facevoice.report.page import WINDOW_FIELDS, page_script, page_style, to_html, to_view
from facevoice.report.video import render_video
from facevoice.report.words import (
    EMOTION_COLORS,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    REASON_WORDS,
    describe_in_words,
    ink_on,
)
from facevoice.web.live import LIVE_PATH, LiveDesk, WebOptions

# Relative, so that it holds behind a proxy's path too.
FILE_ADDRESS = "gradio_api/file="
# Joined in this order inside one function.
_LIVE_SCRIPTS = ("live_media.js", "live_panel.js", "live.js")


def head() -> str:
    """Scripts and styles of the page; nothing of it is fetched from anywhere."""
    assets = resources.files("facevoice.web") / "assets"
    styles = _above_gradios(page_style() + (assets / "web.css").read_text("utf-8"))
    live = "\n".join((assets / name).read_text("utf-8") for name in _LIVE_SCRIPTS)
    scripts = (
        page_script(),
        f"(function () {{\n'use strict';\n{live}\n}})();\n",
        (assets / "web.js").read_text("utf-8"),
    )
    return f"<style>{styles}</style>\n" + "\n".join(f"<script>{s}</script>" for s in scripts)


def intro() -> str:
    """What the page is for, and what it is not for."""
    return (
        '<header class="fvw-intro"><h1>facevoice</h1>'
        "<p>Which emotion does the face show, which does the voice carry, and do the two match?</p>"
        f'<p class="fvw-notice"><strong>Intended use.</strong> {escape(NOTICE)}</p></header>'
    )


def limits(options: WebOptions) -> str:
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


def waiting() -> str:
    """While others have their turn."""
    return '<div class="fvw-progress">Waiting for its turn…</div>'


def progress(state: ClipProgress | None) -> str:
    """How far the analysis is; None before its first window."""
    if state is None:
        return '<div class="fvw-progress">Reading the clip…</div>'
    share = state.done_s / state.duration_s
    speed = f"{state.done_s / state.spent_s:.1f} × real time" if state.spent_s > 0 else ""
    left_s = state.spent_s / max(state.done_s, 0.1) * (state.duration_s - state.done_s)
    return (
        f'<div class="fvw-progress"><progress max="1" value="{share:.3f}">'
        f"</progress><p>{_clock(state.done_s)} of {_clock(state.duration_s)} · {speed} · about "
        f"{_length(max(1, left_s))} left</p>"
        f'<p class="fvw-small">{escape(_now(state))}</p></div>'
    )


def rendering(done_s: float, duration_s: float) -> str:
    """How far the annotated video is."""
    share = min(1.0, done_s / max(duration_s, 0.1))
    return (
        f'<div class="fvw-progress"><progress max="1" value="{share:.3f}">'
        f"</progress><p>Drawing the video: {_clock(done_s)} of {_clock(duration_s)}</p></div>"
    )


def problem(message: str) -> str:
    """What went wrong, and what to do."""
    return f'<div class="fvw-problem" role="alert">{escape(message)}</div>'


def downloads() -> str:
    """Stands before the buttons."""
    return '<p class="fvw-small">Download</p>'


def result(report: Report, trace: Trace, video: Path) -> str:
    """The report for `web.js` to mount, and the file that the page plays."""
    view = escape(json.dumps(to_view(report, trace), ensure_ascii=False), quote=True)
    address = escape(FILE_ADDRESS + quote(str(video)), quote=True)
    return f'<div class="fvw-result" data-view="{view}" data-video="{address}"></div>'


def live_words(ticket: str, options: WebOptions) -> str:
    """The live mode for `live.js` to mount."""
    settings = {
        "ticket": ticket,
        "window_s": options.live_windows.length_s,
        "window_fields": WINDOW_FIELDS,
        "reasons": [REASON_WORDS[reason] for reason in Reason],
        "emotions": [
            {"name": e.value, "color": c, "ink": ink_on(c)} for e, c in EMOTION_COLORS.items()
        ],
        "outcomes": [
            {"name": o.value, "color": c, "ink": ink_on(c), "words": OUTCOME_WORDS[o]}
            for o, c in OUTCOME_COLORS.items()
        ],
    }
    text = escape(json.dumps(settings), quote=True)
    return f'<div class="fvw-live" data-settings="{text}"></div>'


def _above_gradios(styles: str) -> str:
    # Gradio styles tables, buttons and text of its HTML by two classes and a tag: ours weigh more.
    return re.sub(r"\.(fv-root|fvw-[a-z-]+)", r".\1.\1.\1", styles)


def _now(state: ClipProgress) -> str:
    window = state.window
    when = f"{_clock(window.start_s)}–{_clock(window.end_s)}"
    return f"{when}: {describe_in_words(window)}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _length(seconds: float) -> str:
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} minutes"


# Whose files are whose: uploads and results go when their user goes.


class SessionFiles:
    """Files of each session. Equal uploads share a file: the last session to leave deletes it.

    Args:
        root: folder in which results are kept; None for that of temporary files.
        samples: clips of the server. Gradio hands out copies of them, which are nobody's upload.
    """

    def __init__(self, root: Path | None = None, samples: Iterable[Path] = ()) -> None:
        self._root = root
        self._samples = {(path.name, path.stat().st_size) for path in samples}
        self._lock = Lock()
        self._uploads: dict[str, set[Path]] = defaultdict(set)
        self._folders: dict[str, list[Path]] = defaultdict(list)

    def keep_upload(self, session: str, path: Path) -> None:
        """Note that `session` uses an upload; its other uploads are released."""
        ours = not path.is_file() or (path.name, path.stat().st_size) in self._samples
        with self._lock:
            others = self._uploads.pop(session, set()) - {path}
            if not ours:
                self._uploads[session] = {path}
            self._delete_unused(others)

    def new_folder(self, session: str) -> Path:
        """An empty folder for the session's results; its earlier ones are deleted."""
        with self._lock:
            self._remove_folders(session)
            if self._root is not None:
                self._root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="facevoice-", dir=self._root))
            self._folders[session].append(folder)
            return folder

    def folder(self, session: str) -> Path:
        """The session's newest folder, made if there is none."""
        with self._lock:
            if self._folders[session]:
                return self._folders[session][-1]
        return self.new_folder(session)

    def release(self, session: str) -> None:
        """Delete what only this session used."""
        with self._lock:
            self._remove_folders(session)
            self._delete_unused(self._uploads.pop(session, set()))

    def _remove_folders(self, session: str) -> None:
        for folder in self._folders.pop(session, []):
            shutil.rmtree(folder, ignore_errors=True)

    def _delete_unused(self, paths: set[Path]) -> None:
        used: set[Path] = set().union(*self._uploads.values())
        for path in paths - used:
            path.unlink(missing_ok=True)


# Long work in a thread of its own that tells how far it is, for pages that show it.

P = TypeVar("P")
R = TypeVar("R")

_TELL_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """What the work came to."""

    value: R


class _LeftError(Exception):
    """Nobody waits for the result any more."""


def work_aside(work: Callable[[Callable[[P], None]], R]) -> Iterator[P | Done[R]]:
    """Run `work(tell)`; gives the newest of what it told, now and then, and `Done` at last.

    What `work` raises is raised here. Where the generator is closed, `tell` raises within `work`,
    and the close waits until it has ended.
    """
    outbox: SimpleQueue[P | Done[R] | Exception] = SimpleQueue()
    unwanted = Event()

    def tell(progress: P) -> None:
        if unwanted.is_set():
            raise _LeftError
        outbox.put(progress)

    def run() -> None:
        try:
            outbox.put(Done(work(tell)))
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            outbox.put(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item = _newest(outbox)
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Done):
                return
            time.sleep(_TELL_EVERY_S)
    finally:
        unwanted.set()
        thread.join()


def _newest(outbox: SimpleQueue[P | Done[R] | Exception]) -> P | Done[R] | Exception:
    item = outbox.get()
    try:
        while not isinstance(item, Done | Exception):
            item = outbox.get_nowait()
    except Empty:
        pass
    return item


# Analysing a clip for the page: what is done so far, and at last the report.


class TooLongError(MediaError):
    """The clip is longer than this server takes."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipProgress:
    """What is done: of `duration_s` seconds `done_s`, in `spent_s`; and the last window."""

    done_s: float
    duration_s: float
    spent_s: float
    window: Prediction


@dataclass(frozen=True, slots=True, eq=False)
class ClipResult:
    """A clip's report, and what was seen and heard."""

    report: Report
    trace: Trace

    @property
    def duration_s(self) -> float:
        """Length of the clip."""
        return 0.0 if self.report.media is None else self.report.media.duration_s


def analyze_clip(
    analyzer: Analyzer, path: Path, *, max_length_s: float
) -> Iterator[ClipProgress | Done[ClipResult]]:
    """Analyse one clip; close the generator to stop.

    Raises:
        TooLongError: the clip is longer than `max_length_s`.
        MediaError: see `Analyzer.analyze`.
    """
    info = probe(path)
    if info.duration_s > max_length_s:
        raise TooLongError(
            path,
            f"lasts {info.duration_s / 60:.1f} minutes; at most {max_length_s / 60:g} are taken.",
            "Cut it, or use the command: facevoice analyze.",
        )
    begun_s = time.monotonic()

    def work(tell: Callable[[ClipProgress], None]) -> ClipResult:
        def on_window(window: Prediction) -> None:
            spent_s = time.monotonic() - begun_s
            done_s = min(window.end_s, info.duration_s)
            tell(ClipProgress(done_s, info.duration_s, spent_s, window))

        recorder = TraceRecorder()
        report = analyzer.analyze(path, on_window=on_window, on_read=recorder.add)
        return ClipResult(report, recorder.finish())

    yield from work_aside(work)


def draw_clip(done: ClipResult, out: Path) -> Iterator[float | Done[Path]]:
    """Draw the annotated video of an analysed clip; gives the seconds drawn so far.

    Raises:
        MediaError: see `render_video`.
    """
    return work_aside(lambda tell: render_video(done.report, done.trace, out, on_progress=tell))


# What events change of gradio's components.


def on() -> Any:
    """Let it be pressed."""
    return gr.update(interactive=True)


def off() -> Any:
    """Let it not be pressed."""
    return gr.update(interactive=False)


def seen() -> Any:
    """Show it."""
    return gr.update(visible=True)


def offered() -> Any:
    """Show it, and let it be pressed."""
    return gr.update(visible=True, interactive=True)


def unseen() -> Any:
    """Hide it."""
    return gr.update(visible=False)


def download(path: Path) -> Any:
    """Show it with a file to download."""
    return gr.update(value=str(path), visible=True)


# Serving the page and the live mode's socket from one address.

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


# The page, as gradio Blocks: choose a clip, watch progress, read the result; or live.

logger = logging.getLogger(__name__)

_SWEEP_S: Final = 60
_FORMATS: Final = ("json", "csv", "html")


def build_app(
    analyzer: Analyzer, options: WebOptions | None = None, desk: LiveDesk | None = None
) -> Any:
    """The page as gradio `Blocks`, to launch or to mount elsewhere.

    Args:
        analyzer: reads the clips.
        options: limits and samples.
        desk: serves the live mode; None leaves it out. `launch_app` brings its address too.

    Raises:
        ConfigError: the folder of samples holds no clip.
    """
    options = options or WebOptions()
    samples = find_samples(options.samples)
    sweep = (_SWEEP_S, round(options.keep_s))
    with gr.Blocks(title="facevoice", analytics_enabled=False, delete_cache=sweep) as app:
        gr.HTML(intro(), head=head())
        if desk is None:
            clips = _add_clip_tab(analyzer, options, samples)
        else:
            with gr.Tabs():
                with gr.Tab("Clip", id="clip"):
                    clips = _add_clip_tab(analyzer, options, samples)
                with gr.Tab("Live", id="live"):
                    live = gr.HTML()
            app.load(
                lambda: live_words(desk.new_ticket(), options), None, live, api_visibility="private"
            )
        app.unload(clips.left)
    app.queue(max_size=options.max_waiting, default_concurrency_limit=options.num_at_once)
    return app


def _add_clip_tab(analyzer: Analyzer, options: WebOptions, samples: list[Path]) -> _Clips:
    clips = _Clips(analyzer, options, samples)
    done = gr.State(None)
    chooser, clip, start = _add_chooser(options, samples)
    with gr.Row(elem_id="fvw-running"):
        status = gr.HTML(elem_id="fvw-status")
        stop = gr.Button("Stop", size="sm", elem_id="fvw-stop", visible=False)
    with gr.Row(visible=False, elem_id="fvw-downloads") as downloads:
        again = gr.Button("Another clip", size="sm", elem_id="fvw-again")
        gr.HTML(downloads())
        buttons = [
            gr.DownloadButton(label, size="sm", elem_id=f"fvw-{name}")
            for name, label in zip(_FORMATS, ("JSON", "CSV", "Report (HTML)"), strict=True)
        ]
        draw = gr.Button("Make annotated video", size="sm", elem_id="fvw-draw")
        film = gr.DownloadButton(
            "Annotated video (MP4)", size="sm", visible=False, elem_id="fvw-mp4"
        )
    result = gr.HTML(elem_id="fvw-result")
    shown = [status, result, done, start, stop, chooser, downloads, draw, film, *buttons]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    run = {"api_visibility": "private", "show_progress": "minimal"}
    at_once = {**private, "queue": False}
    begun = [status, start, stop]
    analyzed = start.click(clips.begin, None, begun, **at_once).then(
        clips.analyze, [clip], shown, api_name="page_analyze", **run
    )
    drawn = draw.click(clips.begin, None, begun, **at_once).then(
        clips.draw, [done], [status, start, stop, draw, film], **run
    )
    for event in (analyzed, drawn):
        event.failure(clips.turned_away, None, begun, **at_once)
    stop.click(clips.stop, None, [stop], **at_once)
    again.click(clips.again, None, [clip, *shown], **at_once)
    clip.change(clips.chosen, [clip], None, **at_once)
    # For programs: a clip in, the report out; as text, since gradio's client would take the
    # report's own "path" for a file to fetch.
    answer = gr.Textbox(visible=False)
    gr.Button(visible=False).click(clips.answer, [clip], [answer], api_name="analyze")
    return clips


def _add_chooser(options: WebOptions, samples: list[Path]) -> tuple[gr.Column, gr.Video, gr.Button]:
    with gr.Column(elem_id="fvw-chooser") as chooser, gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            clip = gr.Video(
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
                    inputs=[clip],
                    label="Samples",
                    example_labels=[path.stem.replace("_", " ") for path in samples],
                )
        with gr.Column(scale=2, min_width=280):
            gr.HTML(limits(options))
            start = gr.Button("Analyse", variant="primary", elem_id="fvw-start")
    return chooser, clip, start


class _Clips:
    """What the page's buttons do; the files of each user."""

    def __init__(self, analyzer: Analyzer, options: WebOptions, samples: list[Path]) -> None:
        self._analyzer = analyzer
        self._options = options
        self._stops: dict[str, Event] = {}
        # Files that lie there are served as they are; of others gradio would keep copies.
        self._files = SessionFiles(Path(gr.utils.get_upload_folder()), samples)

    def chosen(self, clip: str | None, request: gr.Request) -> None:
        """Note whose upload it is."""
        if clip:
            self._files.keep_upload(_session(request), Path(clip))

    def left(self, request: gr.Request) -> None:
        """End a user's work and delete the files."""
        self._stops.pop(_session(request), Event()).set()
        self._files.release(_session(request))

    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """Show at once that something goes on, before its turn comes."""
        self._stops[_session(request)] = Event()
        return waiting(), off(), offered()

    def turned_away(self) -> tuple[Any, ...]:
        """Say that the queue is full, or that something broke."""
        told = "Too many are waiting, or the server failed. Try again in a few minutes."
        return problem(told), on(), unseen()

    def stop(self, request: gr.Request) -> Any:
        """End what goes on; it says itself that it has stopped."""
        self._stopping(request).set()
        return off()

    def again(self) -> tuple[Any, ...]:
        """Show what a clip is chosen with in place of the result."""
        return (None, "", "", None, on(), unseen(), seen(), *_nothing_to_download())

    def analyze(self, clip: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Analyse the chosen clip: how far it is, then the report and its downloads."""
        if not clip:
            yield self._failed("Choose a clip first.")
            return
        path, stopping = Path(clip), self._stopping(request)
        try:
            self._files.keep_upload(_session(request), path)
            yield self._working(progress(None))
            for state in analyze_clip(
                self._analyzer, path, max_length_s=self._options.max_length_s
            ):
                if isinstance(state, Done):
                    yield self._finished(state.value, _session(request))
                elif stopping.is_set():
                    yield self._failed("Stopped.")
                    return
                else:
                    yield self._working(progress(state))
        except FacevoiceError as error:
            yield self._failed(str(error).replace(str(path), path.name))
        except OSError as error:
            logger.exception("clip failed")
            yield self._failed(f"The server could not keep the result: {error.strerror}.")

    def answer(self, clip: str | None) -> str:
        """The report of a clip as JSON, for a program."""
        if not clip:
            raise gr.Error("Choose a clip first.")
        path, session = Path(clip), f"call-{uuid4().hex}"
        self._files.keep_upload(session, path)
        try:
            *_, done = analyze_clip(self._analyzer, path, max_length_s=self._options.max_length_s)
        except FacevoiceError as error:
            raise gr.Error(str(error).replace(str(path), path.name)) from error
        finally:
            self._files.release(session)
        if not isinstance(done, Done):
            raise gr.Error("The analysis was stopped.")
        return to_json(replace(done.value.report, path=path.name))

    def draw(self, done: ClipResult | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Make the annotated video."""
        if done is None:
            yield problem("Analyse a clip first."), on(), unseen(), gr.skip(), gr.skip()
            return
        stopping, folder = self._stopping(request), self._files.folder(_session(request))
        out = folder / f"{Path(done.report.path).stem}.facevoice.mp4"
        try:
            for state in draw_clip(done, out):
                if isinstance(state, Done):
                    yield "", on(), unseen(), unseen(), download(out)
                elif stopping.is_set():
                    yield problem("Stopped."), on(), unseen(), gr.skip(), gr.skip()
                    return
                else:
                    status = rendering(state, done.duration_s)
                    yield status, gr.skip(), gr.skip(), gr.skip(), gr.skip()
        except FacevoiceError as error:
            message = str(error).replace(done.report.path, Path(done.report.path).name)
            yield problem(message), on(), unseen(), gr.skip(), gr.skip()

    def _stopping(self, request: gr.Request) -> Event:
        return self._stops.setdefault(_session(request), Event())

    def _finished(self, done: ClipResult, session: str) -> tuple[Any, ...]:
        folder, path = self._files.new_folder(session), Path(done.report.path)
        # Where the server keeps the clip is of no interest to anybody.
        report = replace(done.report, path=path.name)
        texts = {
            "json": to_json(report) + "\n",
            "csv": to_csv([report]),
            "html": to_html(report, done.trace),
        }
        files = []
        for name in _FORMATS:
            written = folder / f"{path.stem}.{name}"
            written.write_text(texts[name], encoding="utf-8", newline="")
            files.append(download(written))
        has_video = done.report.media is not None and done.report.media.has_video
        return (
            "",
            result(report, done.trace, path),
            done,
            on(),
            unseen(),
            unseen(),
            seen(),
            gr.update(visible=has_video, interactive=True),
            gr.update(visible=False, value=None),
            *files,
        )

    def _working(self, status: str) -> tuple[Any, ...]:
        return (status, "", None, off(), offered(), seen(), *_nothing_to_download())

    def _failed(self, message: str) -> tuple[Any, ...]:
        told = problem(message)
        return (told, "", None, on(), unseen(), seen(), *_nothing_to_download())


def _nothing_to_download() -> tuple[Any, ...]:
    return (unseen(), *(gr.skip() for _ in range(2 + len(_FORMATS))))


def _session(request: gr.Request) -> str:
    return request.session_hash or ""  # none where the page is called without a browser
