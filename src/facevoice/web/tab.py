"""The tab for clips: they are chosen, read one after the other, shown, and downloaded."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar
from uuid import uuid4
from zipfile import ZIP_DEFLATED, ZipFile

import gradio as gr

from facevoice import review
from facevoice.analyzer import Analyzer
from facevoice.errors import ConfigError, FacevoiceError, MediaError, StoppedError
from facevoice.files import file_sha256
from facevoice.finding import find_files
from facevoice.people.baseline import Known, Others, pool
from facevoice.people.profile import load_profile
from facevoice.records import MediaInfo, Perception, Person, Prediction, WindowView
from facevoice.report import render_video, to_json
from facevoice.report.folder import ReportFolder
from facevoice.settings import DecisionConfig
from facevoice.texts import clock, shown
from facevoice.web import parts
from facevoice.web.downloads import MAIN, add_review, make_downloads
from facevoice.web.session import Clip, Session, State
from facevoice.web.work import (
    JUDGED,
    LEFT_OUT,
    BusyError,
    Done,
    SessionFiles,
    Turns,
    WebOptions,
    to_edits,
    work_aside,
)

SERVER_FAILED: Final = "The server failed; its log says why."

_LOG = logging.getLogger(__name__)
# Of pages that were left: what they asked for may come later than that they are left.
_MAX_LEFT: Final = 10_000
_MAX_CLIPS: Final = 50
_MAX_DIGITS: Final = 6
_PROFILE_SUFFIX: Final = ".json"
_ZIP_FORMATS: Final = (*MAIN,)
# Gradio lets only such events be listened to that stand between quotes in the script.
_CONNECT: Final = "window.facevoicePick.connect(element, trigger, ['choose', 'act', 'keep']);"
_JUDGED_PEOPLE: Final = (
    ("Who speaks", "speaking"),
    ("The most prominent face", "leading"),
    ("Everybody", "all"),
)

T = TypeVar("T")

_Changes = dict[Any, Any]
"""What an event changes, by component."""
_Tell = Callable[[str], None]
"""Takes what to show while something goes on, as HTML."""


class ClipTab:
    """The way of clips: perceive, interpret, show; then downloads and the annotated video.

    What a page has chosen is known to its session here, never told by its requests: they name
    places in its lists. Of several clips each takes a turn of its own, so that whoever brings many
    doesn't keep others waiting for all of them.
    """

    def __init__(
        self, analyzer: Analyzer, options: WebOptions, samples: list[Path], turns: Turns
    ) -> None:
        self._analyzer = analyzer
        self._options = options
        self._samples = samples
        self._turns = turns
        self._sessions: dict[str, Session] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        self._at_work: set[Event] = set()
        # Files that lie there are served as they are; of others gradio would keep copies.
        self._files = SessionFiles(Path(gr.utils.get_upload_folder()))
        self._add_chooser()
        self._add_results()
        self._add_events()

    def _add_chooser(self) -> None:
        with gr.Row(equal_height=False, elem_id="fvw-choose"):
            with gr.Column(scale=3, min_width=300):
                about = "Video or sound, one or several"
                self.clips = gr.HTML(
                    parts.picker(
                        about, "video/*,audio/*", self._options, self._samples, records=True
                    ),
                    js_on_load=_CONNECT,
                    elem_id="fvw-clip",
                )
                self.list = gr.HTML(js_on_load=_CONNECT, elem_id="fvw-list")
            with gr.Column(scale=2, min_width=280, elem_id="fvw-chooser") as self.chooser:
                gr.HTML(parts.limits(self._options, compares=self._analyzer.compares))
                self._add_person()
                self.start = gr.Button("Analyse", variant="primary", elem_id="fvw-start")

    def _add_person(self) -> None:
        """Where other recordings of the clips' person are added; of use if a model compares."""
        with gr.Accordion(
            "Add other recordings of this person",
            open=False,
            visible=self._analyzer.compares,
            elem_id="fvw-person",
        ):
            gr.HTML(parts.why_recordings())
            about = "Recordings, or profiles (.json)"
            self.recordings = gr.HTML(
                parts.picker(about, "video/*,audio/*,.json", self._options, records=False),
                js_on_load=_CONNECT,
                elem_id="fvw-recordings",
            )
            self.chosen = gr.HTML(js_on_load=_CONNECT, elem_id="fvw-chosen")
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
            self.again = gr.Button("Other clips", elem_id="fvw-again", **small)
            self._add_settings()
            gr.HTML('<p class="fvw-small">Download</p>')
            self.buttons = {
                name: gr.DownloadButton(label, elem_id=f"fvw-{name}", **small)
                for name, label in MAIN.items()
            }
            self.others = gr.HTML(elem_id="fvw-others")
            self.draw = gr.Button("Make annotated video", elem_id="fvw-draw", **small)
            self.film = gr.DownloadButton(
                "Annotated video (MP4)", visible=False, elem_id="fvw-mp4", **small
            )
            self.all = gr.Button("All clips (ZIP)", visible=False, elem_id="fvw-all", **small)
            self.fetched = gr.HTML(elem_id="fvw-fetched")
        self._add_people()
        self.result = gr.HTML(js_on_load=_CONNECT, elem_id="fvw-result")

    def _add_settings(self) -> None:
        """What clips that are read already are judged by; a change shows at once."""
        decision = self._analyzer.config.decision
        with gr.Accordion(
            parts.settings(decision), open=False, visible=False, elem_id="fvw-settings"
        ) as self.settings:
            self.sensitivity = gr.Radio(
                parts.levels(decision.sensitivity),
                value=decision.sensitivity,
                label="How readily is a match or conflict called?",
                info="Cautious calls fewer, and more of them are right.",
                elem_id="fvw-sensitivity",
            )
            self.expected = gr.Radio(
                parts.shares(decision.expected_conflicts),
                value=decision.expected_conflicts,
                label="How often do face and voice conflict where this comes from?",
                info="The rarer, the fewer conflicts are called. Leave 1 in 2 if you don't know.",
                elem_id="fvw-expected",
            )

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
            gr.HTML(parts.why_people())
            self.rows: list[Any] = []
            self.portraits: list[Any] = []
            self.names: list[Any] = []
            self.roles: list[Any] = []
            for number in range(1, parts.MAX_PEOPLE + 1):
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
        who = [*self.names, *self.roles]
        asked = [self.sensitivity, self.expected, self.judged]
        busy = [self.status, self.start, self.stop, self.draw, self.again, self.list, *asked, *who]
        shown = [*busy, self.chooser, self.clips, self.result, self.downloads, self.film]
        shown += [self.settings, self.people, *self.rows, *self.portraits, self.all, self.fetched]
        shown += [*self.buttons.values(), self.others]

        def tell_failure(event: Any) -> None:
            failed = lambda: self._idle(parts.problem(SERVER_FAILED))  # noqa: E731 - gradio's form
            event.failure(failed, None, busy, **at_once)

        for button, work, given in (
            (self.start, self.analyze, [self.neutral, self.sensitivity, self.expected]),
            (self.draw, self.make_film, None),
        ):
            begun = button.click(self.begin, None, busy, **at_once)
            # Not "analyze": that name is the programs'.
            tell_failure(begun.then(work, given, shown, api_name=f"page_{work.__name__}", **run))
        # Who clicks on quickly gets what was clicked last.
        decided = gr.on(
            [
                *(control.input for control in (*asked, *self.roles)),
                *(event for name in self.names for event in (name.submit, name.blur)),
            ],
            *(self.decide, [*asked, *who], shown),
            trigger_mode="always_last",
            **at_once,
        )
        tell_failure(decided)
        self.stop.click(self.end, None, [self.stop], **at_once)
        self.again.click(self.start_anew, None, shown, **at_once)
        self.all.click(self.fetch_all, None, [self.fetched, self.status], **at_once)
        # Each of these counts, however quickly they come.
        each: dict[str, Any] = {**at_once, "trigger_mode": "multiple"}
        self.clips.choose(self.choose, None, [self.list, self.status], **each)
        self.clips.act(self.take_sample, None, [self.list, self.status], **each)
        self.list.act(self.act_on_clip, None, shown, **each)
        self.recordings.choose(self.choose_recordings, None, [self.chosen], **each)
        self.chosen.act(self.drop_recording, None, [self.chosen], **each)
        kept = [self.status, *self.buttons.values(), self.others]
        self.result.keep(self.keep_review, None, kept, **each)
        self._add_call()

    def _add_call(self) -> None:
        """For programs: a clip in, the report out.

        As text, since gradio's client would take the report's own "path" for a file to fetch.
        """
        clip, answer = gr.File(visible=False), gr.Textbox(visible=False)
        # Gradio itself would leave an empty file behind.
        vars(clip)["_process_single_file"] = lambda file: file.path
        called = gr.Button(visible=False)
        called.click(self.answer, [clip], [answer], api_name="analyze")

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

    # What is chosen.

    def choose(self, event: gr.EventData, request: gr.Request) -> _Changes:
        """Add uploads to the page's clips."""
        return self.take(_uploads(event), request)

    def take_sample(self, event: gr.EventData, request: gr.Request) -> _Changes:
        """Add a sample to the page's clips, as a copy that goes with the page."""
        sample = _meant(event, self._samples)
        if sample is None:
            return {self.status: ""}
        folder = Path(tempfile.mkdtemp(prefix="sample-", dir=self._files.root))
        return self.take([shutil.copy(sample, folder)], request)

    def take(self, uploads: Sequence[str | Path], request: gr.Request) -> _Changes:
        """Add uploads to the page's clips; those that failed before give way to them."""
        session = self.session(request)
        session.clips = [clip for clip in session.clips if clip.state is not State.FAILED]
        had = {clip.path for clip in session.clips}
        new = [path for path in self._files.own(uploads) if path not in had]
        room = max(0, _MAX_CLIPS - len(session.clips))
        session.clips += [Clip(path) for path in new[:room]]
        self._keep(request, [clip.path for clip in session.clips] + new[room:])
        told = ""
        if new[room:]:
            self._keep(request, [clip.path for clip in session.clips])
            told = parts.problem(
                f"At most {_MAX_CLIPS} clips are taken at once. For more use the command: "
                "facevoice analyze FOLDER."
            )
        return {self.status: told, **self._listed(session)}

    def act_on_clip(self, event: gr.EventData, request: gr.Request) -> _Changes:
        """Show one of the page's clips, or take it away."""
        session = self.session(request)
        clip = _meant(event, session.clips)
        if clip is not None and _asked(event, "do") == "show" and clip.perceived is not None:
            return self._show(clip, request)
        is_idle = clip is not None and clip.state in (State.CHOSEN, State.FAILED)
        if clip is not None and _asked(event, "do") == "remove" and is_idle:
            session.clips.remove(clip)
            self._keep(request, [clip.path for clip in session.clips])
            if session.stopping not in self._at_work:
                return {self.status: _outcome(session, session.clips), **self._listed(session)}
        return self._listed(session)

    def choose_recordings(self, event: gr.EventData, request: gr.Request) -> _Changes:
        """Add uploads to those of the clips' person."""
        return self.take_recordings(_uploads(event), request)

    def take_recordings(self, uploads: Sequence[str | Path], request: gr.Request) -> _Changes:
        """Add uploads to those of the clips' person."""
        session = self.session(request)
        session.chosen = list(dict.fromkeys([*session.chosen, *self._files.own(uploads)]))
        return self._keep_recordings(session, request)

    def drop_recording(self, event: gr.EventData, request: gr.Request) -> _Changes:
        """Forget one of the uploads of the clips' person."""
        session = self.session(request)
        dropped = _meant(event, session.chosen)
        session.chosen = [path for path in session.chosen if path != dropped]
        return self._keep_recordings(session, request)

    def _keep_recordings(self, session: Session, request: gr.Request) -> _Changes:
        self._files.keep_recordings(_name(request), session.chosen)
        if _name(request) in self._left:
            self._files.release(_name(request))
        kept = {path: seen for path, seen in session.recordings.items() if path in session.chosen}
        session.recordings = kept
        return {self.chosen: parts.chosen_list(session.chosen)}

    def _keep(self, request: gr.Request, paths: Sequence[Path]) -> None:
        """Note whose uploads they are."""
        self._files.keep_clips(_name(request), paths)
        if _name(request) in self._left:
            self._files.release(_name(request))

    # Coming and going.

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
        session = self.session(request)
        session.stopping = Event()
        return self._working(parts.progress("Waiting for its turn…"))

    def end(self, request: gr.Request) -> _Changes:
        """End what goes on; it says itself that it has stopped."""
        self.session(request).stopping.set()
        return {self.stop: gr.update(interactive=False)}

    def start_anew(self, request: gr.Request) -> _Changes:
        """Show what clips are chosen with in place of the results."""
        session = self.session(request)
        session.clips, session.shown = [], None
        self._keep(request, [])
        self._files.remove_folders(_name(request))
        return {**self._idle(), **self._listed(session), **self._without_result()}

    # Reading.

    def analyze(
        self, is_neutral: bool, sensitivity: float | str, expected: float, request: gr.Request
    ) -> Iterator[_Changes]:
        """Read the page's clips one after the other, telling how far it is; show the first."""
        session = self.session(request)
        stopping, asked = session.stopping, session.waiting
        if not asked:
            told = "Stopped." if stopping.is_set() else "Choose a clip first."
            yield self._idle(parts.problem(told))
            return
        people = self._analyzer.config.decision.people
        session.decision = self._decision(sensitivity, expected, people)
        for clip in asked:
            clip.state, clip.problem = State.WAITING, ""
        self._at_work.add(stopping)
        told = ""
        try:
            yield {**self._listed(session), **({} if session.done else self._without_result())}
            for clip in self._next(session):
                yield from self._analyze(clip, session, request, is_neutral=is_neutral)
            told = _outcome(session, asked)
        except StoppedError:
            told = parts.problem("Stopped.")
        except FacevoiceError as error:  # nothing that is wrong with a clip
            told = parts.problem(str(error))
        finally:
            self._at_work.discard(stopping)
            for clip in session.waiting:
                clip.state = State.FAILED if clip.state is State.FAILED else State.CHOSEN
            if _name(request) in self._left:  # just before the result was there
                self._files.release(_name(request))
        yield {**self._idle(told), **self._listed(session), **self._choosing(session)}

    @staticmethod
    def _next(session: Session) -> Iterator[Clip]:
        """Clips that wait, one after the other."""
        while (
            clip := next((c for c in session.clips if c.state is State.WAITING), None)
        ) is not None:
            yield clip

    def _analyze(
        self, clip: Clip, session: Session, request: gr.Request, *, is_neutral: bool
    ) -> Iterator[_Changes]:
        """Read one clip in its turn, or note why it can't be."""
        others, decision = [*session.chosen], session.decision
        place, count = session.clips.index(clip) + 1, len(session.clips)
        which = parts.which(place, count, clip.path) if count > 1 else ""

        def work(tell: _Tell) -> None:
            clip.state = State.READING
            media = self._probe(clip.path)
            clip.known, clip.warnings = self._meet(
                others, clip.path, session.recordings, tell, is_neutral=is_neutral
            )
            clip.perceived = self._perceive(media, decision, clip, tell)
            self._judge(clip, session)
            clip.people = _longest_seen(clip.report.people if clip.report else ())
            clip.state = State.DONE

        try:
            for status in self._work(work, session.stopping):
                yield {**self._working(which + status), **self._listed(session)}
        except BusyError:
            raise
        except FacevoiceError as error:
            clip.state, clip.problem = State.FAILED, _told(error, [clip.path, *others])
            yield self._listed(session)
            return
        if session.shown is None:
            yield self._show(clip, request)
        else:
            yield self._listed(session)

    def decide(
        self,
        request: gr.Request,
        sensitivity: float | str,
        expected: float,
        judged: str,
        *who: str | int | None,
    ) -> _Changes:
        """Show what the clips say at another setting, without reading them again.

        who: the names of all people of the clip that is shown, then their roles.
        """
        session = self.session(request)
        clip = session.shown
        if clip is None:
            return self._idle(parts.problem("Analyse a clip first."))
        before = session.decision, clip.edits, clip.said
        session.decision = self._decision(sensitivity, expected, judged)
        names, roles = who[: parts.MAX_PEOPLE], who[parts.MAX_PEOPLE :]
        clip.edits, clip.said = to_edits(clip.people, names, roles), who
        if (session.decision, clip.edits) == before[:2]:  # somebody only went through the fields
            return self._idle()
        try:
            for each in session.done if session.decision != before[0] else [clip]:
                self._judge(each, session)
        except ConfigError as error:
            session.decision, clip.edits, clip.said = before
            told = str(error)
            return self._idle(parts.problem(f"{told[:1].upper()}{told[1:]}."))
        return self._show(clip, request, keeps_people=True)

    def _decision(self, sensitivity: float | str, expected: float, people: str) -> DecisionConfig:
        return replace(
            self._analyzer.config.decision,
            sensitivity=sensitivity,
            expected_conflicts=expected,
            people=people,
        )

    def keep_review(self, event: gr.EventData, request: gr.Request) -> _Changes:
        """Keep what somebody says of the clip that is shown, and write it into its downloads."""
        clip, text = self.session(request).shown, _asked(event, "text")
        if clip is None or clip.report is None or not isinstance(text, str):
            return {self.status: ""}
        try:
            clip.report = add_review(clip.report, text)
        except FacevoiceError as error:
            return {self.status: parts.problem(str(error))}
        clip.review = clip.report.review
        number = _asked(event, "number")
        clip.num_said = number if isinstance(number, int) else 0
        return {self.status: "", **self._write(clip, self._files.folder(_name(request)))}

    # What is made of it.

    def make_film(self, request: gr.Request) -> Iterator[_Changes]:
        """Make the annotated video of the clip that is shown."""
        session = self.session(request)
        clip = session.shown
        if clip is None or clip.perceived is None or clip.report is None:
            yield self._idle(parts.problem("Analyse a clip first."))
            return
        media, trace = clip.perceived.media, clip.perceived.trace
        report = replace(clip.report, path=str(media.path))
        out = self._files.folder(_name(request)) / f"{media.path.stem}.facevoice.mp4"

        def work(tell: _Tell) -> None:
            def on_progress(done_s: float) -> None:
                words = f"Drawing the video: {clock(done_s)} of "
                words += clock(media.duration_s)
                tell(parts.progress(words, done_s / media.duration_s))
                self._turns.give_way()

            render_video(report, trace, out, on_progress=on_progress, isolated=True)

        stopping, told = session.stopping, ""
        self._at_work.add(stopping)
        try:
            for status in self._work(work, stopping):
                yield self._working(status)
        except StoppedError:
            told = parts.problem("Stopped.")
        except FacevoiceError as error:
            told = parts.problem(_told(error, [media.path]))
        finally:
            self._at_work.discard(stopping)
        is_there = not told and session.shown is clip
        film = {self.draw: _is_shown(False), self.film: _file(out)} if is_there else {}
        yield {**self._idle(told), **film}

    def fetch_all(self, request: gr.Request) -> _Changes:
        """A ZIP of what all clips say, as a folder of reports."""
        session = self.session(request)
        if not session.done:
            return {self.status: parts.problem("Analyse a clip first.")}
        folder = self._files.new_folder(_name(request), "all")
        num_said = max(clip.num_said for clip in session.done)
        names = {file.path: file.name for file in find_files(c.path for c in session.done).files}
        with ReportFolder(folder / "facevoice", _ZIP_FORMATS) as reports:
            for clip in session.done:
                if clip.report is not None:
                    reports.write(clip.report, names[clip.path])
                if clip.review is not None and clip.review.verdicts:
                    beside = reports.root / f"{names[clip.path]}{review.SUFFIX}"
                    review.write_review(beside, clip.review)
        out = folder / "facevoice.zip"
        with ZipFile(out, "w", ZIP_DEFLATED) as packed:
            for path in sorted(reports.root.rglob("*")):
                name = path.relative_to(reports.root)
                if path.is_file() and not name.parts[0].startswith("."):
                    packed.write(path, name)
        return {self.fetched: parts.fetched(out, num_said), self.status: ""}

    def answer(self, clip: str | None) -> str:
        """The report of a clip as JSON, for a program."""
        if not clip:
            raise gr.Error("Choose a clip first.", print_exception=False)
        path, name = Path(clip), f"call-{uuid4().hex}"
        self._files.keep_clips(name, [path])
        try:
            with self._turns.job(Event(), lambda _: None):
                decision, media = self._analyzer.config.decision, self._probe(path)
                perceived = self._perceive(media, decision, Clip(path), lambda _: None)
        except FacevoiceError as error:
            raise gr.Error(_told(error, [path]), print_exception=False) from error
        finally:
            self._files.release(name)
        return to_json(replace(self._analyzer.interpret(perceived), path=path.name))

    def _work(self, work: Callable[[_Tell], None], stopping: Event) -> Iterator[str]:
        """Let `work(tell)` take its turn; gives what to show meanwhile.

        Raises:
            StoppedError: nobody waits for it any more.
            FacevoiceError: of `work`; or nothing can be written.
        """

        def on_wait(number: int, tell: _Tell) -> None:
            tell(parts.progress(f"Waiting for its turn… Number {number} in the line."))

        def in_turn(tell: _Tell) -> None:
            with self._turns.job(stopping, lambda number: on_wait(number, tell)):
                work(tell)

        try:
            for state in work_aside(in_turn, stopping):
                if not isinstance(state, Done):
                    yield state
        except OSError as error:
            _LOG.exception("clip failed")
            told = f"The server could not keep the result: {error.strerror}."
            raise FacevoiceError(told) from error

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
                tell(parts.progress(words, (before_s + view.end_s) / whole_s))

            if path not in perceived:
                tell(parts.progress(words, before_s / whole_s))
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
        self, media: MediaInfo, decision: DecisionConfig | None, clip: Clip, tell: _Tell
    ) -> Perception:
        """Read a clip, telling what it says so far."""
        begun_s = time.monotonic()
        tell(parts.progress("Reading the clip…"))
        windows: list[Prediction] = []
        judge = self._analyzer.stream_judge(media, decision=decision, known=clip.known)

        def on_view(view: WindowView) -> None:
            windows.append(judge(view))
            clip.share = min(1.0, view.end_s / max(media.duration_s, 0.1))
            tell(parts.reading(windows, media, time.monotonic() - begun_s))

        return self._read(media, on_view)

    def _read(self, media: MediaInfo, on_view: Callable[[WindowView], None]) -> Perception:
        def give_way_after(view: WindowView) -> None:
            on_view(view)
            self._turns.give_way()

        return self._analyzer.perceive(media.path, on_view=give_way_after)

    def _judge(self, clip: Clip, session: Session) -> None:
        """Let a clip that was read say what it does at the session's settings."""
        if clip.perceived is not None:
            report = self._analyzer.interpret(
                clip.perceived, decision=session.decision, known=clip.known, edits=clip.edits
            )
            # Where the server keeps the clip is of no interest to anybody.
            clip.report = replace(report, path=clip.path.name, review=clip.review)

    # What is shown.

    def _show(self, clip: Clip, request: gr.Request, *, keeps_people: bool = False) -> _Changes:
        """The report of a clip that was perceived, and its downloads in a new folder.

        The annotated video is of the setting at which it was made: it must be made again.
        keeps_people: their controls show already what was said of them.
        """
        session, perceived, report = self.session(request), clip.perceived, clip.report
        if perceived is None or report is None:
            return self._listed(session)
        trace, path = perceived.trace, clip.path
        session.shown = clip
        files = self._write(clip, self._files.new_folder(_name(request)))
        is_working = session.stopping in self._at_work
        return {
            **({} if is_working else self._idle(parts.warnings(clip.warnings))),
            **self._listed(session),
            **files,
            **({} if keeps_people else self._people_controls(clip)),
            **self._choosing(session),
            self.result: parts.result(report, trace, path),
            self.downloads: _is_shown(True),
            self.all: _is_shown(len(session.clips) > 1),
            self.fetched: "",
            self.settings: gr.update(
                label=parts.settings(report.config.decision),
                visible=report.point is not None
                and any(window.conflict is not None for window in report.windows),
            ),
            self.people: _is_shown(len(clip.people) > 1),
            self.draw: gr.update(visible=perceived.media.has_video, interactive=not is_working),
            self.film: gr.update(visible=False, value=None),
        }

    def _write(self, clip: Clip, folder: Path) -> _Changes:
        """Write the downloads of a clip."""
        if clip.report is None or clip.perceived is None:
            return {}
        changes: _Changes = {}
        others: list[tuple[str, Path]] = []
        for made in make_downloads(clip.report, clip.perceived.trace, clip.path.stem):
            written = folder / made.name
            written.write_text(made.text, encoding="utf-8", newline="")
            if made.is_other:
                others.append((made.words, written))
            else:
                changes[self.buttons[written.suffix[1:]]] = _file(written)
        return changes | {self.others: parts.other_files(others, clip.num_said)}

    def _listed(self, session: Session) -> _Changes:
        return {self.list: parts.clip_list(session)}

    def _choosing(self, session: Session) -> _Changes:
        """With what clips are chosen, until each was read or failed."""
        is_over = bool(session.done) and all(c.state is not State.CHOSEN for c in session.clips)
        return {part: _is_shown(not is_over) for part in (self.chooser, self.clips)}

    def _people_controls(self, clip: Clip) -> _Changes:
        """The controls of those who were found, with what was said of them."""
        names, roles = clip.said[: parts.MAX_PEOPLE], clip.said[parts.MAX_PEOPLE :]
        changes: _Changes = {}
        fields = zip(self.rows, self.portraits, self.names, self.roles, strict=True)
        for place, (row, portrait, name, role) in enumerate(fields):
            person = clip.people[place] if place < len(clip.people) else None
            changes[row] = _is_shown(person is not None)
            if person is not None:
                changes[portrait] = parts.portrait(person)
                called, is_who = (names[place], roles[place]) if clip.said else ("", JUDGED)
                changes[name] = gr.update(value=called, placeholder=person.name)
                changes[role] = gr.update(choices=_roles(person, clip.people), value=is_who)
        return changes

    def _working(self, status: str) -> _Changes:
        stop = gr.update(visible=True, interactive=True)
        return {self.status: status, self.stop: stop, **self._controls(interactive=False)}

    def _idle(self, status: str = "") -> _Changes:
        controls = self._controls(interactive=True)
        return {self.status: status, self.stop: _is_shown(False), **controls}

    def _controls(self, *, interactive: bool) -> _Changes:
        """What may be changed while nothing goes on."""
        controls: list[Any] = [self.start, self.again, self.draw]
        controls += [self.sensitivity, self.expected, self.judged, *self.names, *self.roles]
        return {control: gr.update(interactive=interactive) for control in controls}

    def _without_result(self) -> _Changes:
        return {
            self.result: "",
            self.chooser: _is_shown(True),
            self.clips: _is_shown(True),
            self.downloads: _is_shown(False),
            self.settings: _is_shown(False),
            self.people: _is_shown(False),
            self.fetched: "",
            self.judged: gr.update(value=self._analyzer.config.decision.people),
        }


def _outcome(session: Session, asked: Sequence[Clip]) -> str:
    """What to say when all clips that were asked for have been read, or failed."""
    failed = [clip for clip in asked if clip.state is State.FAILED]
    if len(session.clips) == 1 and failed:
        return parts.problem(failed[0].problem)  # The page hides the list of this one.
    if failed:
        return parts.problem(
            f"{len(failed)} of {len(session.clips)} clips could not be read: the list says why."
        )
    return parts.warnings(session.shown.warnings if session.shown else ())


def _uploads(event: gr.EventData) -> list[str]:
    """The paths that a page says it uploaded."""
    paths = _asked(event, "paths")
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _meant(event: gr.EventData, items: Sequence[T]) -> T | None:
    """That of a list which a page means by its place; None where there is none."""
    place = str(_asked(event, "place"))
    is_place = place.isascii() and place.isdecimal() and len(place) < _MAX_DIGITS
    return items[int(place)] if is_place and int(place) < len(items) else None


def _asked(event: gr.EventData, name: str) -> Any:
    """What a page says with an event; anybody may say anything."""
    said = event._data
    return said.get(name) if isinstance(said, dict) else None


def _longest_seen(people: tuple[Person, ...]) -> tuple[Person, ...]:
    """Those who are seen for longest, in order of appearance."""
    longest = sorted(people, key=lambda person: -person.seen_s)[: parts.MAX_PEOPLE]
    return tuple(person for person in people if person in longest)


def _roles(person: Person, people: tuple[Person, ...]) -> list[tuple[str, int]]:
    """What somebody may be: a person, left out, or the same as another one."""
    others = [(f"the same as {one.name}", one.number) for one in people if one is not person]
    return [("themselves", JUDGED), ("left out", LEFT_OUT), *others]


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
