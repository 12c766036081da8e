"""Why a moment is told as it is: `explain_moment`, what `facevoice explain` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facevoice.errors import ConfigError
from facevoice.explain.face import FaceExplanation, explain_face, heat_maps
from facevoice.explain.gradients import check_gradients, face_map, voice_map
from facevoice.explain.hiding import Asker, Part
from facevoice.explain.voice import VoiceExplanation, cell_heat, explain_voice
from facevoice.interpret import Question, shown_spans
from facevoice.people.baseline import NOTHING, Known
from facevoice.records import (
    NO_EDITS,
    ChannelPosterior,
    MediaInfo,
    Modality,
    Outcome,
    PeopleEdits,
    Perception,
    Prediction,
    Report,
    Window,
    top_emotion,
)
from facevoice.report.words import names_of
from facevoice.texts import clock, shown
from facevoice.workers import num_cpus

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer

MOST_MOMENTS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why one moment of a file is told as it is.

    at_s: the time asked for; prediction: what the report says of the window there;
    face, voice: None where that channel is not read there, and `prediction.reasons` say why;
    person: whose face it is, by name, where several people are seen.
    """

    path: str
    at_s: float
    prediction: Prediction
    face: FaceExplanation | None
    voice: VoiceExplanation | None
    person: str | None = None

    @property
    def conflict_channel(self) -> Modality | None:
        """Whose part changes the probability of conflict most; None where no part stands out."""
        found = {
            modality: max(
                (abs(p.conflict_effect or 0) for p in parts if p.conflict_stands_out), default=0.0
            )
            for modality, parts in self.parts.items()
        }
        best = max(found, key=lambda modality: found[modality], default=None)
        return best if best is not None and found[best] > 0 else None

    @property
    def parts(self) -> Mapping[Modality, Sequence[Part]]:
        """By channel that is read, its parts."""
        told = {Modality.VIDEO: self.face, Modality.AUDIO: self.voice}
        return {modality: one.parts for modality, one in told.items() if one is not None}


def explain_moment(
    analyzer: Analyzer,
    path: str | Path,
    at_s: float,
    *,
    perception: Perception | None = None,
    known: Known = NOTHING,
    edits: PeopleEdits = NO_EDITS,
    num_threads: int | None = None,
    gradients: bool = False,
) -> Explanation:
    """Explain what the report of a file says of one moment, by hiding parts of it.

    Args:
        analyzer: whose answer is explained; with `in_isolation`, files are read there.
        path: a video or audio file.
        at_s: media time in seconds.
        perception: of the file by this analyzer, if it is there already.
        known, edits: as of `Analyzer.interpret`.
        num_threads: networks run at once; None for as many as there are processors.
        gradients: draw maps of integrated gradients, see `explain.gradients`; parts are hidden as
            ever.

    Raises:
        ConfigError: the time is not in the file, or the model has no gradients.
        MissingExtraError: gradients need the extra explain.
        MediaError: the file can't be read; see `Analyzer.analyze`.
    """
    if gradients:
        check_gradients(analyzer.assembly.model)
    perceived = analyzer.perceive(path) if perception is None else perception
    report = analyzer.interpret(perceived, known=known, edits=edits)
    place = place_at(report, at_s)
    question = analyzer.question_at(perceived, place, known=known, edits=edits)
    said = report.windows[place]
    windows: dict[Modality, Window] = {}
    if said.face is not None or said.voice is not None:
        media = replace(perceived.media, path=Path(path))
        windows = _read_again(analyzer, media, perceived, place, question)
    threads = num_cpus() if num_threads is None else num_threads

    def asker(modality: Modality, told: ChannelPosterior) -> Asker:
        backbone = analyzer.assembly.backbones[modality]
        return Asker(question, backbone, modality, top_emotion(told)[0], threads)

    face = voice = None
    if said.face is not None and Modality.VIDEO in windows:
        face = explain_face(
            asker(Modality.VIDEO, said.face),
            windows[Modality.VIDEO],
            draw=face_map if gradients else heat_maps,
        )
    if said.voice is not None and Modality.AUDIO in windows:
        voice = explain_voice(
            asker(Modality.AUDIO, said.voice),
            windows[Modality.AUDIO],
            draw=voice_map if gradients else cell_heat,
        )
    name = names_of(report).get(said.person or 0)
    return Explanation(str(path), at_s, said, face, voice, name and shown(name))


def explain_strongest(
    analyzer: Analyzer,
    path: str | Path,
    perception: Perception,
    report: Report,
    edits: PeopleEdits = NO_EDITS,
    *,
    num: int = MOST_MOMENTS,
) -> list[Explanation]:
    """Explain the strongest moments of a report, in order of time: conflicts before all others.

    Args:
        analyzer, path, edits: as of `explain_moment`.
        perception, report: of the file, with these edits.
        num: at most so many.
    """
    told = [m for m in report.moments if m.strength is not None]
    told.sort(key=lambda m: (m.outcome is not Outcome.CONFLICT, -(m.strength or 0.0)))
    found = []
    for moment in sorted(told[:num], key=lambda m: m.start_s):
        middle_s = (moment.start_s + moment.end_s) / 2
        found.append(explain_moment(analyzer, path, middle_s, perception=perception, edits=edits))
    return found


def place_at(report: Report, at_s: float) -> int:
    """The window of a report that stands for a time.

    Raises:
        ConfigError: the file has no such time, or the report no windows.
    """
    duration_s = max((window.end_s for window in report.windows), default=0.0)
    if report.media is not None:
        duration_s = max(duration_s, report.media.duration_s)
    if not report.windows:
        raise ConfigError(f"{shown(report.path)}: holds no moment, so there is nothing to explain")
    check_time(report.path, at_s, duration_s)
    spans = shown_spans(report.windows, duration_s)
    return next(k for k, (_, end_s) in enumerate(spans) if at_s <= end_s)


def check_time(path: str | Path, at_s: float, duration_s: float) -> None:
    """Make sure that a file of this length has a moment at `at_s`.

    Raises:
        ConfigError: it hasn't.
    """
    if not 0 <= at_s <= duration_s:
        raise ConfigError(
            f"{shown(str(path))}: there is no moment at {at_s:g} s; the file is {duration_s:.1f} s "
            f"long ({clock(duration_s)}), so ask for a time from 0 to that"
        )


def _read_again(
    analyzer: Analyzer,
    media: MediaInfo,
    perceived: Perception,
    place: int,
    question: Question,
) -> dict[Modality, Window]:
    """The window by channel: that of the judged face has its crops, the other one the sound."""
    window = analyzer.perceiver.window(media, perceived.windows[: place + 1])
    found = {Modality.AUDIO: window} if window.samples is not None else {}
    judged = question.view.face
    tracks = [f.person for f in perceived.windows[place].faces if f.embedding is judged]
    for one in (window, *window.others):
        if judged is not None and one.faces is not None and one.track_id in tracks:
            found[Modality.VIDEO] = one
    return found
