"""The page, as gradio Blocks: choose a clip, watch it being read, see what it says; or live."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path
from threading import Event
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import gradio as gr
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from facevoice.analyzer import Analyzer
from facevoice.errors import ConfigError, FacevoiceError, MediaError, StoppedError
from facevoice.files import file_sha256
from facevoice.hub.space import find_samples
from facevoice.people.baseline import NOTHING, Known, Others, pool
from facevoice.people.profile import load_profile
from facevoice.records import (
    NO_EDITS,
    NOTICE,
    MediaInfo,
    Outcome,
    PeopleEdits,
    Perception,
    Person,
    Prediction,
    Report,
    Trace,
    WindowView,
)
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
from facevoice.report.words import conflict_zones, percent
from facevoice.settings import SENSITIVITIES, DecisionConfig
from facevoice.texts import shown
from facevoice.web.live import LIVE_PATH, LiveDesk
from facevoice.web.work import (
    JUDGED,
    LEFT_OUT,
    Done,
    OwnFolder,
    SessionFiles,
    Turns,
    WebOptions,
    to_edits,
    work_aside,
)

_LOG = logging.getLogger(__name__)
_SWEEP_S: Final = 60
_TICK_S: Final = 0.2
# Of pages that were left: what they asked for may come later than that they are left.
_MAX_LEFT: Final = 10_000
_PROFILE_SUFFIX: Final = ".json"
_DOWNLOADS: Final = {"json": "JSON", "csv": "CSV", "html": "Report (HTML)"}
# Relative, so that it holds behind a proxy's path too.
_FILE_ADDRESS: Final = "gradio_api/file="
# Joined in this order inside one function.
_LIVE_SCRIPTS: Final = ("live_media.js", "live_panel.js", "live.js")
_SERVER_FAILED: Final = "The server failed; its log says why."
# What gradio itself has threads for; each clip that waits or is read holds one more.
_SPARE_THREADS: Final = 40
# Of more open pages than these, gradio forgets the oldest.
_MAX_PAGES: Final = 500
# How many windows are meant by a share of conflicts that a page offers: one in so many.
_ONE_IN: Final = (2, 3, 5, 10, 20, 100)
# Of more people in a clip, those who are seen for longest can be named and told to be one.
_MAX_PEOPLE: Final = 8
_JUDGED_PEOPLE: Final = (
    ("Who speaks", "speaking"),
    ("The most prominent face", "leading"),
    ("Everybody", "all"),
)
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
_Choices = list[tuple[str, float | str]]
"""Of a control: what is shown, and what it means."""


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
            app.load(*settings, api_visibility="private", queue=False)
        app.unload(tab.leave)
    _fetch_nothing(app)
    # `Turns` says who comes next, for live sessions too: gradio's own queue holds nobody back.
    app.queue(default_concurrency_limit=None)
    return app, tab


def _fetch_nothing(app: Any) -> None:
    """Where a request names an address in place of a file, gradio would fetch it: here it fails."""
    for block in app.blocks.values():
        keep = getattr(block, "async_move_resource_to_block_cache", None)
        if keep is not None:
            block.async_move_resource_to_block_cache = partial(_keep_upload, keep)


async def _keep_upload(keep: Callable[[Any], Awaitable[Any]], place: Any) -> Any:
    if "://" in str(place or ""):
        raise gr.Error("Upload the file itself: this server fetches nothing from an address.")
    return await keep(place)


def launch_app(
    analyzer: Analyzer, options: WebOptions, folder: OwnFolder, *, wait: bool, **more: Any
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

    app.launch(
        prevent_thread_lock=True,
        app_kwargs={
            "lifespan": lifespan,
            "exception_handlers": {ClientDisconnect: _say_nothing},
            "routes": [] if desk is None else [WebSocketRoute(LIVE_PATH, desk.serve)],
        },
        max_file_size=f"{options.max_size_mb}mb",
        max_threads=_SPARE_THREADS + options.num_at_once + options.max_waiting,
        allowed_paths=[] if options.samples is None else [str(options.samples)],
        theme=gr.themes.Default(primary_hue=_BLUE, font=_FONTS, font_mono=_MONO_FONTS),
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        state_session_capacity=_MAX_PAGES,
        **more,
    )
    if wait:
        try:
            while app.is_running:  # gradio's own way would swallow Ctrl-C
                time.sleep(_TICK_S)
        finally:
            app.close()
    return app


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


@dataclass(slots=True)
class Session:
    """One open page: whether to stop what it asked for, and the clip that it shows.

    perceived: can be interpreted again at once, with other settings; decision: by which it is
    shown, None as the analyzer does; people: who can be named, as they were found; edits: what was
    said of them; known: what it is compared with; warnings: what told nothing of its person;
    recordings: what was perceived of those files, for the next clip.
    """

    stopping: Event = field(default_factory=Event)
    used_at_s: float = field(default_factory=time.monotonic)
    perceived: Perception | None = None
    decision: DecisionConfig | None = None
    people: tuple[Person, ...] = ()
    edits: PeopleEdits = NO_EDITS
    known: Known = NOTHING
    warnings: tuple[str, ...] = ()
    recordings: dict[Path, Perception] = field(default_factory=dict)


class ClipTab:
    """A clip's way: perceive, interpret, show; then downloads and the annotated video."""

    def __init__(
        self, analyzer: Analyzer, options: WebOptions, samples: list[Path], turns: Turns
    ) -> None:
        self._analyzer = analyzer
        self._options = options
        self._turns = turns
        self._sessions: dict[str, Session] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        self._at_work: set[Event] = set()
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
                gr.HTML(_limits(self._options, compares=self._analyzer.compares))
                self._add_person()
                self.start = gr.Button("Analyse", variant="primary", elem_id="fvw-start")

    def _add_person(self) -> None:
        """Where other recordings of the clip's person are added; of use if a model compares."""
        with gr.Accordion(
            "Add other recordings of this person",
            open=False,
            visible=self._analyzer.compares,
            elem_id="fvw-person",
        ):
            gr.HTML(_why_recordings())
            self.recordings = _files(
                label="Recordings, or a profile (.json)",
                height=150,
                elem_id="fvw-recordings",
            )
            self.neutral = gr.Checkbox(
                label="The recordings are known to be neutral",
                info="Such as reading aloud. Leave it open if you don't know.",
                elem_id="fvw-neutral",
            )

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
        self._add_settings()
        self.result = gr.HTML(elem_id="fvw-result")

    def _add_settings(self) -> None:
        """What a clip that is read already is judged by; a change shows at once."""
        decision = self._analyzer.config.decision
        with gr.Row(visible=False, elem_id="fvw-settings") as self.settings:
            self.sensitivity = gr.Radio(
                _levels(decision.sensitivity),
                value=decision.sensitivity,
                label="How readily is a match or conflict called?",
                info="Cautious calls fewer, and more of them are right.",
                elem_id="fvw-sensitivity",
            )
            self.expected = gr.Radio(
                _shares(decision.expected_conflicts),
                value=decision.expected_conflicts,
                label="How often do face and voice conflict where this comes from?",
                info="The rarer, the fewer conflicts are called. Leave 1 in 2 if you don't know.",
                elem_id="fvw-expected",
            )
        self._add_people()

    def _add_people(self) -> None:
        """Who is who in a clip of several people; a change shows at once."""
        with gr.Accordion(
            "People: what to call them, who is the same, whose face is judged",
            open=False,
            visible=False,
            elem_id="fvw-people",
        ) as self.people:
            self.judged = gr.Radio(
                list(_JUDGED_PEOPLE),
                value=self._analyzer.config.decision.people,
                label="Whose face is held against the voice?",
                info="Everybody: also those who don't speak, with what their faces show.",
                elem_id="fvw-judged",
            )
            gr.HTML(_why_people())
            self.rows: list[Any] = []
            self.portraits: list[Any] = []
            self.names: list[Any] = []
            self.roles: list[Any] = []
            for number in range(1, _MAX_PEOPLE + 1):
                with gr.Row(visible=False, elem_classes="fvw-person-row") as row:
                    self.portraits.append(gr.HTML(elem_classes="fvw-portrait"))
                    self.names.append(
                        gr.Textbox(
                            label="Name",
                            max_lines=1,
                            max_length=60,
                            elem_id=f"fvw-name-{number}",
                        )
                    )
                    self.roles.append(
                        gr.Dropdown([], label="Is", filterable=False, elem_id=f"fvw-role-{number}")
                    )
                self.rows.append(row)

    def _add_events(self) -> None:
        run: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        at_once = {**run, "queue": False}
        settings = [self.sensitivity, self.expected]
        who = [*self.names, *self.roles]
        asked = [*settings, self.judged]
        person = [self.recordings, self.neutral]
        busy = [self.status, self.start, self.stop, *asked, *who]
        shown = [*busy, self.chooser, self.result, self.downloads, self.draw, self.film]
        shown += [self.settings, self.people, *self.rows, *self.portraits]
        shown += [*self.buttons.values()]
        for button, work, given in (
            (self.start, self.analyze, [self.clip, *person, *settings]),
            (self.draw, self.make_film, None),
        ):
            begun = button.click(self.begin, None, busy, **at_once)
            # Not "analyze": that name is the programs'.
            done = begun.then(work, given, shown, api_name=f"page_{work.__name__}", **run)
            done.failure(lambda: self._idle(_problem(_SERVER_FAILED)), None, busy, **at_once)
        # Who clicks on quickly gets what was clicked last.
        gr.on(
            [
                *(control.input for control in (*asked, *self.roles)),
                *(event for name in self.names for event in (name.submit, name.blur)),
            ],
            *(self.decide, [*asked, *who], shown),
            trigger_mode="always_last",
            **at_once,
        ).failure(lambda: self._idle(_problem(_SERVER_FAILED)), None, busy, **at_once)
        self.stop.click(self.end, None, [self.stop], **at_once)
        self.again.click(self.start_anew, None, [self.clip, *shown], **at_once)
        self.clip.change(self.choose, [self.clip], None, **at_once)
        self.recordings.change(self.choose_recordings, [self.recordings], None, **at_once)
        # For programs: a clip in, the report out; as text, since gradio's client would take the
        # report's own "path" for a file to fetch.
        answer = gr.Textbox(visible=False)
        called = gr.Button(visible=False)
        called.click(self.answer, [self.clip], [answer], api_name="analyze")

    def session(self, request: gr.Request) -> Session:
        """What is known of the page that asks; of one that was left, nothing, and it stops."""
        name = _name(request)
        if name in self._left:
            gone = Session()
            gone.stopping.set()
            return gone
        session = self._sessions.setdefault(name, Session())
        session.used_at_s = time.monotonic()
        return session

    def choose(self, clip: str | None, request: gr.Request) -> None:
        """Note whose upload it is."""
        if clip:
            self._keep_upload(Path(clip), request)

    def _keep_upload(self, path: Path, request: gr.Request) -> None:
        self._files.keep_upload(_name(request), path)
        if _name(request) in self._left:
            self._files.release(_name(request))

    def choose_recordings(self, recordings: list[str] | None, request: gr.Request) -> None:
        """Note whose uploads they are, and forget those that were taken away."""
        paths = [Path(path) for path in recordings or ()]
        self._files.keep_recordings(_name(request), paths)
        if _name(request) in self._left:
            self._files.release(_name(request))
        session = self.session(request)
        session.recordings = {p: seen for p, seen in session.recordings.items() if p in paths}

    def leave(self, request: gr.Request) -> None:
        """End a user's work, forget what was perceived, and delete the files."""
        self._left[_name(request)] = None
        while len(self._left) > _MAX_LEFT:
            self._left.popitem(last=False)
        self._sessions.pop(_name(request), Session()).stopping.set()
        self._files.release(_name(request))

    @property
    def left(self) -> tuple[str, ...]:
        """Pages that were left last."""
        return (*self._left,)

    def sweep(self) -> None:
        """Forget pages that nobody used for long, and delete files as old."""
        keep_s, now_s = self._options.keep_s, time.monotonic()
        at_work = {n for n, s in [*self._sessions.items()] if s.stopping in self._at_work}
        for name, session in [*self._sessions.items()]:
            if name not in at_work and now_s - session.used_at_s > keep_s:
                self._sessions.pop(name, None)
        self._files.sweep(keep_s, at_work)

    def begin(self, request: gr.Request) -> _Changes:
        """Show at once that something goes on, before its turn comes."""
        self._left.pop(_name(request), None)  # the page is there, its connection was lost for once
        self.session(request).stopping = Event()
        return self._working(_progress("Waiting for its turn…"))

    def end(self, request: gr.Request) -> _Changes:
        """End what goes on; it says itself that it has stopped."""
        self.session(request).stopping.set()
        return {self.stop: gr.update(interactive=False)}

    def start_anew(self, request: gr.Request) -> _Changes:
        """Show what a clip is chosen with in place of the result."""
        return {**self._idle(), **self._without_result(request), self.clip: None}

    def analyze(
        self,
        clip: str | None,
        recordings: list[str] | None,
        is_neutral: bool,
        sensitivity: float | str,
        expected: float,
        request: gr.Request,
    ) -> Iterator[_Changes]:
        """Perceive the recordings and the clip, telling how far it is; then show what it says."""
        if not clip:
            yield self._idle(_problem("Choose a clip first."))
            return
        path, session = Path(clip), self.session(request)
        others = [Path(other) for other in recordings or ()]
        self._keep_upload(path, request)
        self.choose_recordings(recordings, request)
        yield self._without_result(request)

        people = self._analyzer.config.decision.people
        decision = session.decision = self._decision(sensitivity, expected, people)

        def work(tell: _Tell) -> _Changes:
            media = self._probe(path)
            session.known, session.warnings = self._meet(
                others, path, session.recordings, tell, is_neutral=is_neutral
            )
            perceived = session.perceived = self._perceive(media, decision, session.known, tell)
            found = self._analyzer.interpret(perceived, decision=decision).people
            session.people = _longest_seen(found)
            return {**self._show(perceived, request), **self._people_controls(session.people)}

        try:
            yield from self._work(work, [path, *others], session.stopping)
        finally:
            if _name(request) in self._left:  # just before the result was there
                self._files.release(_name(request))

    def decide(
        self,
        request: gr.Request,
        sensitivity: float | str,
        expected: float,
        judged: str,
        *who: str | int | None,
    ) -> _Changes:
        """Show what the clip says at another setting, without reading it again.

        who: the names of all people, then their roles.
        """
        session = self.session(request)
        if session.perceived is None:
            return self._idle(_problem("Analyse a clip first."))
        before = session.decision, session.edits
        session.decision = self._decision(sensitivity, expected, judged)
        session.edits = to_edits(session.people, who[:_MAX_PEOPLE], who[_MAX_PEOPLE:])
        if (session.decision, session.edits) == before:  # somebody only went through the fields
            return self._idle()
        try:
            return self._show(session.perceived, request)
        except ConfigError as error:
            session.decision, session.edits = before
            told = str(error)
            return self._idle(_problem(f"{told[:1].upper()}{told[1:]}."))

    def _decision(self, sensitivity: float | str, expected: float, people: str) -> DecisionConfig:
        return replace(
            self._analyzer.config.decision,
            sensitivity=sensitivity,
            expected_conflicts=expected,
            people=people,
        )

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

            report = self._interpret(perceived, session)
            render_video(report, perceived.trace, out, on_progress=on_progress, isolated=True)
            return {**self._idle(), self.draw: _is_shown(False), self.film: _file(out)}

        yield from self._work(work, [media.path], session.stopping)

    def answer(self, clip: str | None) -> str:
        """The report of a clip as JSON, for a program."""
        if not clip:
            raise gr.Error("Choose a clip first.")
        path, name = Path(clip), f"call-{uuid4().hex}"
        self._files.keep_upload(name, path)
        try:
            with self._turns.job(Event(), lambda _: None):
                decision, media = self._analyzer.config.decision, self._probe(path)
                perceived = self._perceive(media, decision, NOTHING, lambda _: None)
        except FacevoiceError as error:
            raise gr.Error(_told(error, [path])) from error
        finally:
            self._files.release(name)
        return to_json(replace(self._analyzer.interpret(perceived), path=path.name))

    def _work(
        self, work: Callable[[_Tell], _Changes], paths: list[Path], stopping: Event
    ) -> Iterator[_Changes]:
        """Let `work(tell)` take its turn; gives what to show meanwhile and at last.

        `paths`: of the user's files, which are told by their names.
        """

        def on_wait(number: int, tell: _Tell) -> None:
            tell(_progress(f"Waiting for its turn… Number {number} in the line."))

        def in_turn(tell: _Tell) -> _Changes:
            with self._turns.job(stopping, lambda number: on_wait(number, tell)):
                return work(tell)

        self._at_work.add(stopping)
        try:
            for state in work_aside(in_turn, stopping):
                yield state.value if isinstance(state, Done) else self._working(state)
        except StoppedError:
            yield self._idle(_problem("Stopped."))
        except FacevoiceError as error:
            yield self._idle(_problem(_told(error, paths)))
        except OSError as error:
            _LOG.exception("clip failed")
            told = f"The server could not keep the result: {error.strerror}."
            yield self._idle(_problem(told))
        finally:
            self._at_work.discard(stopping)

    def _probe(self, path: Path) -> MediaInfo:
        """What a clip is; MediaError if it can't be read, or is too long."""
        media = self._analyzer.perceiver.probe(path)
        self._check_length(path, media.duration_s)
        return media

    def _check_length(self, path: Path, duration_s: float, lasts: str = "lasts") -> None:
        longest_s = self._options.max_length_s
        if duration_s > longest_s:
            raise MediaError(
                path,
                f"{lasts} {duration_s / 60:.1f} minutes; at most {longest_s / 60:g} are taken.",
                "Cut it, or use the command: facevoice analyze.",
            )

    def _meet(
        self,
        paths: list[Path],
        clip: Path,
        perceived: dict[Path, Perception],
        tell: _Tell,
        *,
        is_neutral: bool,
    ) -> tuple[Known, tuple[str, ...]]:
        """What a clip is compared with, by recordings and profiles of its person.

        Also which of them told nothing, in sentences. What is in `perceived` isn't read again, and
        what is read comes into it. All are looked at before the first is read.
        """
        kept = [path for path in paths if path.suffix.lower() == _PROFILE_SUFFIX]
        profile = pool(load_profile(path, self._analyzer.models) for path in kept)
        perceiver = self._analyzer.perceiver
        recordings = {path: perceiver.probe(path) for path in paths if path not in kept}
        whole_s = 0.0
        for path, media in recordings.items():
            lasts = "lasts, with the recordings before it," if whole_s else "lasts"
            whole_s += media.duration_s
            self._check_length(path, whole_s, lasts)
        told: dict[str, Known] = {}
        warnings: list[str] = []
        before_s = 0.0
        own = file_sha256(clip) if recordings else None
        for number, (path, media) in enumerate(recordings.items(), start=1):
            words = f"Getting to know the person: recording {number} of {len(recordings)}"

            def on_view(view: WindowView, words: str = words, before_s: float = before_s) -> None:
                tell(_progress(words, (before_s + view.end_s) / whole_s))

            if path not in perceived:
                tell(_progress(words, before_s / whole_s))
                perceived[path] = self._read(media, on_view)
            before_s += media.duration_s
            seen = perceived[path]
            person = self._analyzer.know(seen, neutral=is_neutral).person
            if seen.sha256 == own:
                warnings.append(f"{path.name}: is the clip itself, and tells nothing new.")
            elif not person:
                warnings.append(
                    f"{path.name}: shows too little of a face, and of speech, to tell anything of "
                    "the person."
                )
            else:
                told[seen.sha256 or str(path)] = Known(person=person)
        return Others(profile, told).known_to(own), tuple(warnings)

    def _perceive(
        self, media: MediaInfo, decision: DecisionConfig, known: Known, tell: _Tell
    ) -> Perception:
        """Read a clip, telling what it says so far."""
        begun_s = time.monotonic()
        tell(_progress("Reading the clip…"))
        windows: list[Prediction] = []
        judge = self._analyzer.stream_judge(media, decision=decision, known=known)

        def on_view(view: WindowView) -> None:
            windows.append(judge(view))
            tell(_reading(windows, media, time.monotonic() - begun_s))

        return self._read(media, on_view)

    def _read(self, media: MediaInfo, on_view: Callable[[WindowView], None]) -> Perception:
        def give_way_after(view: WindowView) -> None:
            on_view(view)
            self._turns.give_way()

        return self._analyzer.perceive(media.path, on_view=give_way_after)

    def _show(self, perceived: Perception, request: gr.Request) -> _Changes:
        """Interpret what was perceived: the report, and its downloads in a new folder.

        The annotated video is of the setting at which it was made: it must be made again.
        """
        path, trace, session = perceived.media.path, perceived.trace, self.session(request)
        report = self._interpret(perceived, session)
        folder = self._files.new_folder(_name(request))
        # Where the server keeps the clip is of no interest to anybody.
        report = replace(report, path=path.name)
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
            **self._idle(_warnings(session.warnings)),
            **files,
            self.result: _result(report, trace, path),
            self.chooser: _is_shown(False),
            self.downloads: _is_shown(True),
            self.settings: _is_shown(report.point is not None and len(report.windows) > 0),
            self.people: _is_shown(len(session.people) > 1),
            self.draw: gr.update(visible=perceived.media.has_video, interactive=True),
            self.film: gr.update(visible=False, value=None),
        }

    def _interpret(self, perceived: Perception, session: Session) -> Report:
        return self._analyzer.interpret(
            perceived, decision=session.decision, known=session.known, edits=session.edits
        )

    def _people_controls(self, people: tuple[Person, ...]) -> _Changes:
        """The controls of those who were found, nothing said of them yet."""
        judged = self._analyzer.config.decision.people
        changes: _Changes = {self.judged: gr.update(value=judged, interactive=True)}
        fields = zip(self.rows, self.portraits, self.names, self.roles, strict=True)
        for place, (row, portrait, name, role) in enumerate(fields):
            person = people[place] if place < len(people) else None
            changes[row] = _is_shown(person is not None)
            if person is not None:
                changes[portrait] = _portrait(person)
                changes[name] = gr.update(value="", placeholder=person.name, interactive=True)
                changes[role] = gr.update(
                    choices=_roles(person, people), value=JUDGED, interactive=True
                )
        return changes

    def _working(self, status: str) -> _Changes:
        stop = gr.update(visible=True, interactive=True)
        return {self.status: status, self.stop: stop, **self._controls(interactive=False)}

    def _idle(self, status: str = "") -> _Changes:
        controls = self._controls(interactive=True)
        return {self.status: status, self.stop: _is_shown(False), **controls}

    def _controls(self, *, interactive: bool) -> _Changes:
        """What may be changed while nothing goes on."""
        controls: list[Any] = [self.start, self.sensitivity, self.expected, self.judged]
        controls += [*self.names, *self.roles]
        return {control: gr.update(interactive=interactive) for control in controls}

    def _without_result(self, request: gr.Request) -> _Changes:
        session = self.session(request)
        session.perceived, session.known, session.warnings = None, NOTHING, ()
        session.people, session.edits = (), NO_EDITS
        return {
            self.result: "",
            self.chooser: _is_shown(True),
            self.downloads: _is_shown(False),
            self.settings: _is_shown(False),
            self.people: _is_shown(False),
        }


def _levels(chosen: float | str) -> _Choices:
    """Sensitivities to choose from, with that of the server's settings."""
    levels: list[float | str] = list(SENSITIVITIES)
    if chosen not in levels:
        levels.append(chosen)
    return [
        (level if isinstance(level, str) else f"{percent(level)} right", level) for level in levels
    ]


def _shares(chosen: float) -> _Choices:
    """Expected shares of conflicts to choose from, with that of the server's settings."""
    known = {1 / number: f"1 in {number}" for number in _ONE_IN}
    shares = sorted({*known, chosen}, reverse=True)
    return [(known.get(share, f"{100 * share:g}%"), share) for share in shares]


def _longest_seen(people: tuple[Person, ...]) -> tuple[Person, ...]:
    """Those who are seen for longest, in order of appearance."""
    longest = sorted(people, key=lambda person: -person.seen_s)[:_MAX_PEOPLE]
    return tuple(person for person in people if person in longest)


def _roles(person: Person, people: tuple[Person, ...]) -> list[tuple[str, int]]:
    """What somebody may be: a person, left out, or the same as another one."""
    others = [(f"the same as {one.name}", one.number) for one in people if one is not person]
    return [("themselves", JUDGED), ("left out", LEFT_OUT), *others]


def _portrait(person: Person) -> str:
    """A face and what it is called so far, to tell people apart."""
    picture = ""
    if person.portrait is not None:
        content = b64encode(person.portrait).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{content}" alt="">'
    return f"{picture}<span>{escape(person.name)}</span>"


def _files(**options: Any) -> Any:
    """A box for any number of files, which come as their paths."""
    box = gr.File(file_count="multiple", **options)
    # Gradio itself would leave an empty file behind for each, and does if the box is changed.
    vars(box)["_process_single_file"] = lambda file: file.path
    return box


def _name(request: gr.Request) -> str:
    return request.session_hash or ""  # none where the page is called without a browser


def _told(error: FacevoiceError, paths: list[Path]) -> str:
    told = str(error)
    for path in paths:
        told = told.replace(shown(str(path)), shown(path.name))
    return told


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


def _limits(options: WebOptions, *, compares: bool) -> str:
    """What may be uploaded, and what becomes of it."""
    person = "<li>If you have other recordings of the person who speaks, add them.</li>"
    longest = _length(options.max_length_s)
    too = f"; all other recordings together, {longest} too" if compares else ""
    return (
        '<ol class="fvw-steps"><li>Choose a clip of people who speak, or record yourself. '
        "Of several people, who speaks is held against the voice.</li>"
        f"{person if compares else ''}<li>Press <b>Analyse</b>.</li>"
        "<li>Click on the timeline of the result: the video goes there.</li></ol>"
        f'<p class="fvw-small">At most {options.max_size_mb} MB a file and {longest}{too}. '
        "Only use clips of people who agreed to it. Files are read on this server, sent nowhere "
        "else, and deleted when you take them away or "
        f"leave, at the latest after {_length(options.keep_s)}. Nothing is kept of the people in "
        "them.</p>"
    )


def _why_people() -> str:
    """What may be told of the people of a clip."""
    return (
        '<p class="fvw-small">Faces that look alike were taken for one person. If one person was '
        "taken for two, say who is the same; leave out whom you don't want to be judged. "
        f"Up to {_MAX_PEOPLE} people are listed, those who are seen for longest.</p>"
    )


def _why_recordings() -> str:
    """What other recordings are good for."""
    return (
        '<p class="fvw-small">Who somebody is sways a face and a voice more than what they '
        "express. With other recordings of the same person, in any mood, the clip is compared "
        "with what is usual for that person.</p>"
    )


def _progress(words: str, share: float | None = None, *below: str) -> str:
    """What goes on, how far it is, and what was found so far."""
    bar = "" if share is None else f'<progress max="1" value="{min(1.0, share):.3f}"></progress>'
    found = "".join(f'<p class="fvw-small">{escape(line)}</p>' for line in below)
    return f'<div class="fvw-progress">{bar}<p>{escape(words)}</p>{found}</div>'


def _reading(windows: list[Prediction], media: MediaInfo, spent_s: float) -> str:
    """How far the reading is, what was found so far, and what the last window says."""
    window, duration_s = windows[-1], media.duration_s
    done_s = min(window.end_s, duration_s)
    left_s = spent_s / max(done_s, 0.1) * (duration_s - done_s)
    words = (
        f"Read {_clock(done_s)} of {_clock(duration_s)}: about {_length(max(1, left_s))} left, "
        f"{done_s / max(spent_s, 1e-3):.1f} times as fast as it plays"
    )
    num_conflicts = sum(each.outcome is Outcome.CONFLICT for each in windows)
    so_far = f"Windows so far: {len(windows)}, with conflict: {num_conflicts}."
    last = f"{_clock(window.start_s)}–{_clock(window.end_s)}: {describe_in_words(window)}"
    return _progress(words, done_s / duration_s, so_far, last)


def _problem(message: str) -> str:
    """What went wrong, and what to do."""
    return f'<div class="fvw-problem" role="alert">{escape(message)}</div>'


def _warnings(messages: tuple[str, ...]) -> str:
    """What of the user's files was of no use; the work went on."""
    found = "".join(f"<p>{escape(message)}</p>" for message in messages)
    return f'<div class="fvw-warning" role="status">{found}</div>' if found else ""


def _result(report: Report, trace: Trace, video: Path) -> str:
    """The report for `web.js` to mount, and the file that the page plays."""
    view = escape(json.dumps(to_view(report, trace), ensure_ascii=False), quote=True)
    address = escape(_FILE_ADDRESS + quote(str(video)), quote=True)
    return f'<div class="fvw-result" data-view="{view}" data-video="{address}"></div>'


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


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _length(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} minutes"
