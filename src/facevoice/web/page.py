"""The page, as gradio Blocks: choose a clip, watch progress, read the result; or live."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Final
from uuid import uuid4

import gradio as gr

from facevoice.errors import FacevoiceError
from facevoice.hub.space import find_samples
from facevoice.pipeline import Analyzer
from facevoice.report import to_csv, to_json
from facevoice.report.html import to_html
from facevoice.web import words
from facevoice.web.aside import Done
from facevoice.web.clip import ClipResult, analyze_clip, draw_clip
from facevoice.web.files import SessionFiles
from facevoice.web.live import LiveDesk
from facevoice.web.options import WebOptions
from facevoice.web.updates import download, off, offered, on, seen, unseen

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
        gr.HTML(words.intro(), head=words.head())
        if desk is None:
            clips = _add_clip_tab(analyzer, options, samples)
        else:
            with gr.Tabs():
                with gr.Tab("Clip", id="clip"):
                    clips = _add_clip_tab(analyzer, options, samples)
                with gr.Tab("Live", id="live"):
                    live = gr.HTML()
            app.load(
                lambda: words.live(desk.new_ticket(), options), None, live, api_visibility="private"
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
        gr.HTML(words.downloads())
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
            gr.HTML(words.limits(options))
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
        return words.waiting(), off(), offered()

    def turned_away(self) -> tuple[Any, ...]:
        """Say that the queue is full, or that something broke."""
        told = "Too many are waiting, or the server failed. Try again in a few minutes."
        return words.problem(told), on(), unseen()

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
            yield self._working(words.progress(None))
            for state in analyze_clip(
                self._analyzer, path, max_length_s=self._options.max_length_s
            ):
                if isinstance(state, Done):
                    yield self._finished(state.value, _session(request))
                elif stopping.is_set():
                    yield self._failed("Stopped.")
                    return
                else:
                    yield self._working(words.progress(state))
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
            yield words.problem("Analyse a clip first."), on(), unseen(), gr.skip(), gr.skip()
            return
        stopping, folder = self._stopping(request), self._files.folder(_session(request))
        out = folder / f"{Path(done.report.path).stem}.facevoice.mp4"
        try:
            for state in draw_clip(done, out):
                if isinstance(state, Done):
                    yield "", on(), unseen(), unseen(), download(out)
                elif stopping.is_set():
                    yield words.problem("Stopped."), on(), unseen(), gr.skip(), gr.skip()
                    return
                else:
                    status = words.rendering(state, done.duration_s)
                    yield status, gr.skip(), gr.skip(), gr.skip(), gr.skip()
        except FacevoiceError as error:
            message = str(error).replace(done.report.path, Path(done.report.path).name)
            yield words.problem(message), on(), unseen(), gr.skip(), gr.skip()

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
            words.result(report, done.trace, path),
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
        told = words.problem(message)
        return (told, "", None, on(), unseen(), seen(), *_nothing_to_download())


def _nothing_to_download() -> tuple[Any, ...]:
    return (unseen(), *(gr.skip() for _ in range(2 + len(_FORMATS))))


def _session(request: gr.Request) -> str:
    return request.session_hash or ""  # none where the page is called without a browser
