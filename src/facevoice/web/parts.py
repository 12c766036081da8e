"""What the page says, as HTML; everything from outside is escaped. Needs no gradio."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from facevoice.records import MediaInfo, Outcome, Person, Prediction, Report, Trace
from facevoice.report import describe_in_words, to_view, vocabulary
from facevoice.report.words import percent
from facevoice.settings import SENSITIVITIES, DecisionConfig
from facevoice.texts import clock
from facevoice.web.session import Session
from facevoice.web.work import WebOptions

MAX_PEOPLE: Final = 8
"""Of more people in a clip, those who are seen for longest can be named and told to be one."""

# How many windows are meant by a share of conflicts that a page offers: one in so many.
_ONE_IN: Final = (2, 3, 5, 10, 20, 100)
# Relative, so that it holds behind a proxy's path too.
_FILE_ADDRESS: Final = "gradio_api/file="

_Choices = list[tuple[str, float | str]]
"""Of a control: what is shown, and what it means."""


def picker(
    about: str, accepted: str, options: WebOptions, samples: Iterable[Path] = (), *, records: bool
) -> str:
    """Where files are chosen or dropped, for `pick.js`; samples, and a button to record oneself."""
    names = [
        f'<button type="button" data-do="sample" data-place="{place}">'
        f"{escape(path.stem.replace('_', ' '))}</button>"
        for place, path in enumerate(samples)
    ]
    recording = '<button type="button" data-do="record">Record yourself</button>' if records else ""
    more = f'<p class="fvw-more">{recording}</p>' if records else ""
    if names:
        more += f'<p class="fvw-more"><span>Samples</span>{"".join(names)}</p>'
    return (
        f'<div class="fvw-pick" data-max-mb="{options.max_size_mb}">'
        f'<label class="fvw-drop"><input type="file" multiple accept="{escape(accepted)}">'
        f"<span><b>Choose files</b> or drop them here</span><small>{escape(about)}</small></label>"
        f'{more}<ul class="fvw-arriving" aria-live="polite"></ul></div>'
    )


def clip_list(session: Session) -> str:
    """The clips of a page and what became of each, for `pick.js` to draw; nothing without any."""
    if not session.clips:
        return ""
    shown = session.shown
    view = {
        "rows": [clip.row() for clip in session.clips],
        "shown": session.clips.index(shown) if shown in session.clips else None,
        "outcomes": vocabulary()["outcomes"],
    }
    return f'<div class="fvw-clips" data-clips="{_in_attribute(view)}"></div>'


def chosen_list(paths: Sequence[Path]) -> str:
    """Files beside the clips, each to be taken away again."""
    rows = "".join(
        f"<li><span>{escape(path.name)}</span>"
        f'<button type="button" data-do="remove" data-place="{place}" '
        f'aria-label="Take {escape(path.name, quote=True)} away">×</button></li>'
        for place, path in enumerate(paths)
    )
    return f'<ul class="fvw-chosen">{rows}</ul>' if rows else ""


def limits(options: WebOptions, *, compares: bool) -> str:
    """What may be uploaded, and what becomes of it."""
    person = "<li>If you have other recordings of the person who speaks, add them.</li>"
    longest = length(options.max_length_s)
    too = f"; all other recordings together, {longest} too" if compares else ""
    return (
        '<ol class="fvw-steps"><li>Choose clips of people who speak, or record yourself. '
        "Of several people, who speaks is held against the voice.</li>"
        f"{person if compares else ''}<li>Press <b>Analyse</b>.</li>"
        "<li>Click on the timeline of the result: the video goes there.</li></ol>"
        f'<p class="fvw-small">At most {options.max_size_mb} MB a file and {longest}{too}. '
        "Only use clips of people who agreed to it. Files are read on this server, sent nowhere "
        "else, and deleted when you take them away or "
        f"leave, at the latest after {length(options.keep_s)}. Nothing is kept of the people in "
        "them.</p>"
    )


def levels(chosen: float | str) -> _Choices:
    """Sensitivities to choose from, with that of the server's settings."""
    known: list[float | str] = list(SENSITIVITIES)
    if chosen not in known:
        known.append(chosen)
    return [
        (level if isinstance(level, str) else f"{percent(level)} right", level) for level in known
    ]


def shares(chosen: float) -> _Choices:
    """Expected shares of conflicts to choose from, with that of the server's settings."""
    known = {1 / number: f"1 in {number}" for number in _ONE_IN}
    return [
        (known.get(share, f"{100 * share:g}%"), share)
        for share in sorted({*known, chosen}, reverse=True)
    ]


def settings(decision: DecisionConfig) -> str:
    """What clips are judged by at present, in one line."""
    level = next(n for n, value in levels(decision.sensitivity) if value == decision.sensitivity)
    share = next(
        name
        for name, value in shares(decision.expected_conflicts)
        if value == decision.expected_conflicts
    )
    return f"Settings: {level}; conflicts {share}"


def why_people() -> str:
    """What may be told of the people of a clip."""
    return (
        '<p class="fvw-small">Faces that look alike were taken for one person. If one person was '
        "taken for two, say who is the same; leave out whom you don't want to be judged. "
        f"Up to {MAX_PEOPLE} people are listed, those who are seen for longest.</p>"
    )


def why_recordings() -> str:
    """What other recordings are good for."""
    return (
        '<p class="fvw-small">Who somebody is sways a face and a voice more than what they '
        "express. With other recordings of the same person, in any mood, the clips are compared "
        "with what is usual for that person.</p>"
    )


def portrait(person: Person) -> str:
    """A face and what it is called so far, to tell people apart."""
    picture = ""
    if person.portrait is not None:
        content = b64encode(person.portrait).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{content}" alt="">'
    return f"{picture}<span>{escape(person.name)}</span>"


def which(place: int, count: int, path: Path) -> str:
    """Which of several clips it is that is worked on."""
    return f'<p class="fvw-which">Clip {place} of {count}: {escape(path.name)}</p>'


def progress(words: str, share: float | None = None, *below: str) -> str:
    """What goes on, how far it is, and what was found so far."""
    value = "" if share is None else f' value="{min(1.0, share):.3f}"'
    bar = f'<progress max="1"{value} aria-label="{escape(words, quote=True)}"></progress>'
    found = "".join(f'<p class="fvw-small">{escape(line)}</p>' for line in below)
    bar = "" if share is None else bar
    return f'<div class="fvw-progress">{bar}<p>{escape(words)}</p>{found}</div>'


def reading(windows: list[Prediction], media: MediaInfo, spent_s: float) -> str:
    """How far the reading is, what was found so far, and what the last window says."""
    window, duration_s = windows[-1], media.duration_s
    done_s = min(window.end_s, duration_s)
    left_s = spent_s / max(done_s, 0.1) * (duration_s - done_s)
    words = (
        f"Read {clock(done_s)} of {clock(duration_s)}: about {length(max(1, left_s))} left, "
        f"{done_s / max(spent_s, 1e-3):.1f} times as fast as it plays"
    )
    num_conflicts = sum(each.outcome is Outcome.CONFLICT for each in windows)
    so_far = f"Windows so far: {len(windows)}, with conflict: {num_conflicts}."
    last = f"{clock(window.start_s)}–{clock(window.end_s)}: {describe_in_words(window)}"
    return progress(words, done_s / duration_s, so_far, last)


def problem(message: str) -> str:
    """What went wrong, and what to do."""
    return f'<div class="fvw-problem" role="alert">{escape(message)}</div>'


def warnings(messages: Iterable[str]) -> str:
    """What of the user's files was of no use; the work went on."""
    found = "".join(f"<p>{escape(message)}</p>" for message in messages)
    return f'<div class="fvw-warning" role="status">{found}</div>' if found else ""


def result(report: Report, trace: Trace, media: Path) -> str:
    """The report for `web.js` to mount, and the file that the page plays."""
    view = _in_attribute(to_view(report, trace))
    return f'<div class="fvw-result" data-view="{view}" data-media="{_address(media)}"></div>'


def other_files(files: Iterable[tuple[str, Path]], num_said: int) -> str:
    """A menu of files to download: what to call each, and where it lies.

    num_said: what all downloads hold of a review, see `Clip`.
    """
    links = "".join(
        f'<li><a href="{_address(path)}" download>{escape(words)}</a></li>' for words, path in files
    )
    return (
        f'<button type="button" popovertarget="fvw-menu" data-said="{num_said}">'
        "Other formats</button>"
        f'<ul id="fvw-menu" class="fvw-menu" popover>{links}</ul>'
    )


def fetched(path: Path, num_said: int) -> str:
    """A file that was made to be downloaded, which `web.js` does at once.

    num_said: what it holds of reviews, see `Clip`.
    """
    return (
        f'<a class="fvw-fetched" href="{_address(path)}" data-said="{num_said}" download>'
        f"{escape(path.name)}</a>"
    )


def length(seconds: float) -> str:
    """`80 s`, `60 minutes`."""
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _address(path: Path) -> str:
    return escape(_FILE_ADDRESS + quote(str(path)), quote=True)


def _in_attribute(value: Any) -> str:
    return escape(json.dumps(value, ensure_ascii=False), quote=True)
