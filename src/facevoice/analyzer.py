"""The way in: `Analyzer` perceives files and says what they mean."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from facevoice.errors import ConfigError
from facevoice.interpret import (
    Question,
    StreamJudge,
    find_point,
    get_to_know,
    interpret,
    question_at,
)
from facevoice.models.heads import COMPACT, Assembly, load_compact
from facevoice.people.baseline import NOTHING, Baseline, Known, pool
from facevoice.perceive import MediaCallback, Perceiver, ViewCallback
from facevoice.records import (
    NO_EDITS,
    AudioBlock,
    Frame,
    FrameFaces,
    MediaInfo,
    ModelId,
    OperatingPoint,
    PeopleEdits,
    Perception,
    Prediction,
    Report,
    Window,
    WindowView,
)
from facevoice.sandbox import Limits, Message, Work
from facevoice.settings import AnalyzerConfig, DecisionConfig, WindowConfig
from facevoice.store import Store
from facevoice.workers import num_cpus

ProgressCallback = Callable[[float], None]
WindowCallback = Callable[[Prediction], None]


class Analyzer:
    """Reads files and says what face and voice show. Build one, use it for many files and threads.

    Args:
        config: settings; defaults suit talking-head video.
        checkpoint: a checkpoint of `facevoice train`, or a folder of `facevoice export`, which
            needs no torch; None for the compact model of the package.
        backbones: in place of those that the checkpoint names, see `models.model.assemble`.
        num_threads: threads that one file may use; None for as many as there are processors. More
            than one let decoding, perception and networks overlap; the results are the same. The
            networks of a checkpoint use as many, those of the package one each.

    Raises:
        ConfigError: a setting names an unknown model, detector or backbone.
        WeightsError: weights are missing or damaged, or a backbone is not the one that the
            checkpoint was trained on.
        MissingExtraError: the checkpoint is run by torch, which is not installed.
    """

    def __init__(
        self,
        config: AnalyzerConfig | None = None,
        *,
        checkpoint: str | Path | None = None,
        backbones: Sequence[str] = (),
        num_threads: int | None = None,
    ) -> None:
        config = config or AnalyzerConfig()
        if checkpoint is None and config.model != COMPACT:
            raise ConfigError(
                f"unknown model {config.model!r}; known: {COMPACT}. A checkpoint is named by its "
                "folder, with --checkpoint"
            )
        threads = num_cpus() if num_threads is None else num_threads
        if checkpoint is None and not backbones:
            # The package's networks are too small to gain by threads, and others need the cores.
            self._assembly = load_compact()
        else:
            # Here, since only those who bring a checkpoint need what reads one.
            from facevoice.models.model import assemble

            folder = None if checkpoint is None else Path(checkpoint)
            self._assembly = assemble(folder, backbones, num_threads=threads)
        self.config = replace(config, model=self._assembly.model.name)
        self.perceiver = Perceiver(self.config, self._assembly.backbones, num_threads=threads)
        self._setup: Message = {
            "config": config.to_dict(),
            "checkpoint": None if checkpoint is None else str(Path(checkpoint).resolve()),
            "backbones": list(backbones),
            "num_threads": threads,
        }

    def in_isolation(self, limits: Limits | None = None) -> Analyzer:
        """The same analyzer, but it leaves reading to processes of their own that can do no harm.

        For files from strangers; see `sandbox`. Answers are the same. Live streams, which are no
        files, are read as before.

        Args:
            limits: of each process; None for the usual ones.
        """
        # Here, since only few need another process.
        from facevoice.isolation import IsolatedPerceiver

        isolated = copy.copy(self)
        isolated.perceiver = IsolatedPerceiver(
            self.config,
            self._assembly.backbones,
            entry=f"{__name__}:{open_reader.__name__}",
            setup=self._setup,
            limits=limits or Limits(),
            num_threads=self._setup["num_threads"],
        )
        return isolated

    @property
    def assembly(self) -> Assembly:
        """The model with its backbones."""
        return self._assembly

    @property
    def models(self) -> dict[str, ModelId]:
        """Every model that takes part, by its role."""
        return {**self.perceiver.models, "heads": self._assembly.model.heads}

    @property
    def point(self) -> OperatingPoint | None:
        """Where outcomes change; None where the model doesn't compare face and voice."""
        return find_point(self._assembly.model.curve, self.config.decision)

    @property
    def compares(self) -> bool:
        """Whether windows are compared with what is usual for their person and setting."""
        return self._assembly.model.adapts and self.config.decision.know_person

    def perceive(
        self,
        path: str | Path,
        *,
        on_media: MediaCallback | None = None,
        on_view: ViewCallback | None = None,
        store: Store | None = None,
        sha256: str | None = None,
        again: bool = False,
    ) -> Perception:
        """The first half: one pass over a file.

        Args:
            path: a video or audio file.
            on_media: called first, with what the file holds.
            on_view: called with every window as it is done.
            store: asked first; takes every window as it is done.
            sha256: of the content, if it is known already.
            again: take nothing from the store.

        Raises:
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: the file
                can't be read; the message names it and the remedy.
            StoreError: the store can't be read or written.
        """
        return self.perceiver.perceive(
            path, on_media=on_media, on_view=on_view, store=store, sha256=sha256, again=again
        )

    def recall(self, path: str | Path, sha256: str, store: Store) -> Perception | None:
        """What a store holds whole of a content, without decoding; None if it doesn't."""
        return self.perceiver.recall(path, sha256, store)

    def interpret(
        self,
        perception: Perception,
        *,
        decision: DecisionConfig | None = None,
        known: Known = NOTHING,
        edits: PeopleEdits = NO_EDITS,
    ) -> Report:
        """The second half: what a perception says, without decoding anything.

        Args:
            perception: of this analyzer, or of one with the same backbones.
            decision: how much evidence is enough, and when an outcome is called; None for this
                analyzer's.
            known: what is usual for its people and its setting from elsewhere; its own windows
                inform each other anyhow.
            edits: what a user knows better about who is who.

        Raises:
            ConfigError: the edits don't fit the people of the file.
        """
        decision = decision or self.config.decision
        return interpret(perception, self._assembly.model, decision, known=known, edits=edits)

    def question_at(
        self,
        perception: Perception,
        place: int,
        *,
        known: Known = NOTHING,
        edits: PeopleEdits = NO_EDITS,
    ) -> Question:
        """What `interpret` asks the model of one window; see `interpret.question_at`."""
        model, decision = self._assembly.model, self.config.decision
        return question_at(perception, model, place, decision, known=known, edits=edits)

    def know(self, perception: Perception, *, neutral: bool = False) -> Known:
        """What a file tells of its leading person and its setting; see `interpret.get_to_know`."""
        model, decision = self._assembly.model, self.config.decision
        return get_to_know(perception, model, decision, neutral=neutral)

    def get_to_know(
        self, paths: Iterable[str | Path], *, neutral: bool = False, store: Store | None = None
    ) -> Baseline:
        """What is usual for a person, by recordings in which that person leads.

        `analyze(clip, known=Known(person=…))` compares with it, `people.profile.save_profile` keeps
        it. Leave out the clip itself: its own windows inform each other anyhow.

        Args:
            paths: video or audio files, in any mood; the same content counts once.
            neutral: whether they are known to show nothing but neutral.
            store: see `perceive`.

        Raises:
            ConfigError: the model doesn't compare.
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: see `analyze`.
        """
        self.check_compares()
        told: dict[str, Baseline] = {}
        for path in paths:
            perceived = self.perceive(path, store=store)
            told[perceived.sha256 or str(path)] = self.know(perceived, neutral=neutral).person
        return pool(told.values())

    def check_compares(self) -> None:
        """Make sure that it is of use to know a person.

        Raises:
            ConfigError: the model doesn't compare with what is usual, or must not.
        """
        if not self._assembly.model.adapts:
            raise ConfigError(
                f"the model {self._assembly.model.name} doesn't compare with what is usual for a "
                "person or setting: say nothing of them, or take the compact model"
            )
        if not self.config.decision.know_person:
            raise ConfigError("decision.know_person = false: nothing is compared with a person")

    def stream_judge(
        self,
        media: MediaInfo | None = None,
        *,
        decision: DecisionConfig | None = None,
        known: Known = NOTHING,
    ) -> StreamJudge:
        """Says what windows mean as they come; `media` tells which streams their file lacks."""
        decision = decision or self.config.decision
        return StreamJudge(self._assembly.model, decision, media=media, known=known)

    def analyze(
        self,
        path: str | Path,
        *,
        known: Known = NOTHING,
        on_progress: ProgressCallback | None = None,
        on_window: WindowCallback | None = None,
        store: Store | None = None,
        sha256: str | None = None,
        again: bool = False,
    ) -> Report:
        """Analyse one file.

        Args:
            path: a video or audio file.
            known: see `interpret`.
            on_progress: called with the seconds of media done so far.
            on_window: called with each window as soon as it is done: what it says compared with
                those before it. The report compares it with those after it too.
            store: holds what was perceived before, and takes every window as it is done.
            sha256: of the file's content, if it is known already.
            again: take nothing from the store.

        Raises:
            MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: the file
                can't be read; the message names it and the remedy.
        """
        judge: StreamJudge | None = None

        def begin(media: MediaInfo) -> None:
            nonlocal judge
            judge = None if on_window is None else self.stream_judge(media, known=known)

        def tell(view: WindowView) -> None:
            if on_window is not None and judge is not None:
                on_window(judge(view))
            if on_progress is not None:
                on_progress(view.end_s)

        perceived = self.perceive(
            path, on_media=begin, on_view=tell, store=store, sha256=sha256, again=again
        )
        return self.interpret(perceived, known=known)

    def stream(self, path: str | Path, *, known: Known = NOTHING) -> Iterator[Prediction]:
        """Predictions window by window, as the file is read; see `analyze` for what is raised.

        Each window is compared with those before it, and with what is known from elsewhere.
        """
        media = self.perceiver.probe(path)
        judge = self.stream_judge(media, known=known)
        for view in self.perceiver.views(media):
            yield judge(view)

    def follow(
        self,
        frames: Iterator[Frame] | None,
        blocks: Iterator[AudioBlock] | None,
        duration_s: float,
        *,
        known: Known = NOTHING,
        windows: WindowConfig | None = None,
        on_faces: Callable[[FrameFaces], None] | None = None,
        wanted: Callable[[Window], bool] = lambda _: True,
    ) -> Iterator[Prediction]:
        """Predictions of a camera's and a microphone's streams, as they come.

        Args:
            frames: `config.faces.sample_rate_hz` a second; None without camera.
            blocks: consecutive sound from time 0 on; None without microphone.
            duration_s: no window ends later. Where the streams end earlier, one of the windows
                after that is cut short, and all further ones are empty: stop there.
            known: what is usual for the people and the setting; each window is compared with those
                before it anyhow.
            windows: in place of those of the settings.
            on_faces: called with the faces of each frame, from another thread.
            wanted: windows for which this is not true are left out, such as those that come late.
        """
        judge = self.stream_judge(known=known)
        for view in self.perceiver.follow(
            frames, blocks, duration_s, windows=windows, on_faces=on_faces, wanted=wanted
        ):
            yield judge(view)


def open_reader(setup: Message) -> Work:
    """What the child of an isolated analyzer runs: an analyzer of the same arguments."""
    from facevoice.isolation import serve_perceiver

    analyzer = Analyzer(
        AnalyzerConfig.from_dict(setup["config"]),
        checkpoint=setup["checkpoint"],
        backbones=setup["backbones"],
        num_threads=setup["num_threads"],
    )
    return serve_perceiver(analyzer.perceiver)
