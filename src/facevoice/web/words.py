"""What the page says, as HTML; everything from outside is escaped."""

from __future__ import annotations

import json
import re
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from facevoice.labels import Reason
from facevoice.report.html import page_script, page_style
from facevoice.report.look import EMOTION_COLORS, OUTCOME_COLORS, OUTCOME_WORDS, ink_on
from facevoice.report.sentence import REASON_WORDS, describe_in_words
from facevoice.report.view import WINDOW_FIELDS, to_view
from facevoice.results import NOTICE, Report
from facevoice.trace import Trace
from facevoice.web.clip import ClipProgress
from facevoice.web.options import WebOptions

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


def live(ticket: str, options: WebOptions) -> str:
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
