"""Reports as tables: CSV with one row per window, and one for the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from facevoice.labels import EMOTIONS, Outcome, Reason
from facevoice.report.json import round_probs
from facevoice.report.sentence import percent
from facevoice.results import Prediction, Report, top_emotion
from facevoice.types import ChannelPosterior

_CHANNELS: Final = ("face", "voice", "fused")

CSV_COLUMNS: Final[tuple[str, ...]] = (
    "file",
    "status",
    "start_s",
    "end_s",
    "outcome",
    "conflict",
    "face",
    "voice",
    "fused",
    "face_coverage",
    "speech_coverage",
    "reasons",
    *(f"{channel}_{emotion.value}" for channel in _CHANNELS for emotion in EMOTIONS),
)
"""Columns of every CSV; face, voice, fused name the likeliest emotion, `reasons` is joined by |."""

OUTCOME_STYLES: Final[dict[Outcome, str]] = {
    Outcome.MATCH: "bold blue",
    Outcome.CONFLICT: "bold yellow",
    Outcome.FLAT: "cyan",
    Outcome.INSUFFICIENT: "dim",
}
"""Console styles: told apart by colour-blind people too, and never without the word."""

# What stands where a channel gives no answer; the first reason found wins.
FACE_GAPS: Final[dict[Reason, str]] = {
    Reason.NO_VIDEO_STREAM: "no picture",
    Reason.NO_FACE: "no face",
    Reason.FACE_TOO_SELDOM: "seen seldom",
    Reason.TOO_SHORT: "too short",
}
VOICE_GAPS: Final[dict[Reason, str]] = {
    Reason.NO_AUDIO_STREAM: "no sound",
    Reason.NO_SPEECH: "no speech",
    Reason.SPEECH_TOO_SHORT: "little speech",
    Reason.TOO_SHORT: "too short",
}
GAP: Final = "–"
_HOUR_S: Final = 3600.0


def csv_rows(report: Report) -> Iterator[dict[str, str]]:
    """One row per window, keyed by `CSV_COLUMNS`; what is missing is empty. Six digits."""
    for window in report.windows:
        row = {
            "file": report.path,
            "status": report.status.value,
            "start_s": _number(window.start_s),
            "end_s": _number(window.end_s),
            "outcome": window.outcome.value,
            "conflict": "" if window.conflict is None else _number(window.conflict),
            "face_coverage": _number(window.face_coverage),
            "speech_coverage": _number(window.speech_coverage),
            "reasons": "|".join(reason.value for reason in window.reasons),
        }
        for channel in _CHANNELS:
            row.update(_posterior_cells(channel, getattr(window, channel)))
        yield row


def to_csv(reports: Iterable[Report], *, header: bool = True) -> str:
    """All windows of the reports as CSV text (RFC 4180, but lines end in a bare line feed)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    for report in reports:
        writer.writerows(csv_rows(report))
    return text.getvalue()


def build_table(report: Report, *, max_windows: int | None = None) -> Table:
    """The windows of a report as a console table that fits into 80 columns.

    `max_windows` cuts long tables; what was left out is said in the caption.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("time", no_wrap=True)
    for heading in ("face", "voice", "both"):
        table.add_column(heading, no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("conflict", justify="right", no_wrap=True)
    shown = report.windows[:max_windows]
    for window in shown:
        table.add_row(*_cells(window, _time_span(window)))
    if report.summary is not None and len(report.windows) > 1:
        table.add_section()
        table.add_row(*_cells(report.summary, "all of it"))
    hidden = len(report.windows) - len(shown)
    if hidden:
        table.caption = f"… and {hidden} more windows: --verbose shows and --out writes them all"
        table.caption_justify = "left"
    return table


def channel_words(
    posterior: ChannelPosterior | None, reasons: tuple[Reason, ...], gaps: dict[Reason, str]
) -> str:
    """What a channel says in two words: the likeliest emotion in per cent, or why there is none.

    `gaps` is `FACE_GAPS`, `VOICE_GAPS`, or empty where no reason is to be given.
    """
    if posterior is None:
        return next((text for reason, text in gaps.items() if reason in reasons), GAP)
    emotion, prob = top_emotion(posterior)
    return f"{emotion.value} {percent(prob)}"


def _number(value: float) -> str:
    return f"{value:.6f}"


def _posterior_cells(channel: str, posterior: ChannelPosterior | None) -> dict[str, str]:
    names = [f"{channel}_{emotion.value}" for emotion in EMOTIONS]
    if posterior is None:
        return {channel: "", **dict.fromkeys(names, "")}
    probs = (_number(prob) for prob in round_probs(posterior.probs))
    return {channel: top_emotion(posterior)[0].value, **dict(zip(names, probs, strict=True))}


def _cells(prediction: Prediction, time: str) -> tuple[str | Text, ...]:
    outcome = prediction.outcome
    return (
        time,
        _emotion_cell(prediction.face, prediction.reasons, FACE_GAPS),
        _emotion_cell(prediction.voice, prediction.reasons, VOICE_GAPS),
        _emotion_cell(prediction.fused, (), {}),
        Text(outcome.value, style=OUTCOME_STYLES[outcome]),
        GAP if prediction.conflict is None else percent(prediction.conflict),
    )


def _emotion_cell(
    posterior: ChannelPosterior | None, reasons: tuple[Reason, ...], gaps: dict[Reason, str]
) -> Text:
    words = channel_words(posterior, reasons, gaps)
    return Text(words, style="dim" if posterior is None else "")


def _time_span(window: Prediction) -> str:
    if window.end_s < _HOUR_S:
        return f"{_clock(window.start_s, 1)}–{_clock(window.end_s, 1)}"
    # Beyond an hour, tenths and the hour of the end would push the table past 80 columns.
    end_s = window.end_s % _HOUR_S
    return f"{_clock(window.start_s, 0)}–{_clock(end_s, 0, minute_digits=2)}"


def _clock(seconds: float, digits: int, *, minute_digits: int = 1) -> str:
    tenths = round(seconds, digits) * 10
    minutes, second = divmod(round(tenths) / 10, 60)
    hours, minute = divmod(int(minutes), 60)
    second_text = f"{second:0{3 + digits if digits else 2}.{digits}f}"
    if hours:
        return f"{hours}:{minute:02}:{second_text}"
    return f"{minute:0{minute_digits}}:{second_text}"
