"""A report as one HTML file that needs nothing else: no address, no font, no picture.

The script and the style are also those of the web app, which mounts the same view in its own page.
"""

from __future__ import annotations

import html
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from facevoice.report.view import to_view
from facevoice.results import Report
from facevoice.trace import Trace

GENERATOR_MARK: Final = '<meta name="generator" content="facevoice '
"""Stands near the beginning of every page made here, and in no other file."""

# Joined in this order inside one function; later files use what earlier ones define.
_SCRIPTS: Final = (
    "data.js",
    "dom.js",
    "axis.js",
    "shares.js",
    "bands.js",
    "sound.js",
    "drawing.js",
    "detail.js",
    "results.js",
    "overlay.js",
    "watch.js",
    "timeline.js",
    "keys.js",
    "mount.js",
)
_HEAD_BYTES: Final = 4096


def to_html(report: Report, trace: Trace | None = None) -> str:
    """The report as a page that opens from disk; the same report and trace give the same text.

    `trace`: what was seen and heard, for face boxes over the video and the waveform. Everything
    that a file says of itself is shown as text, never read as markup.
    """
    view = to_view(report, trace)
    parts = {
        "version": html.escape(view["version"]),
        "title": _printable(html.escape(view["title"])),
        "style": page_style(),
        "view": _to_script_json(view),
        "script": page_script(),
    }
    # Split rather than replaced one after the other: a file may be called "{{script}}".
    pieces = _read("page.html").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


@cache
def page_script() -> str:
    """The script; it defines `window.facevoice.mount(element, view, options)`."""
    body = "\n".join(_read(name) for name in _SCRIPTS)
    return f"(function () {{\n'use strict';\n{body}\n}})();\n"


@cache
def page_style() -> str:
    """The style, all of it below the class `fv-root`."""
    return _read("page.css")


def is_report_page(path: Path) -> bool:
    """Whether the file is a page that `to_html` made.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return GENERATOR_MARK.encode() in file.read(_HEAD_BYTES)


def _read(name: str) -> str:
    folder = resources.files("facevoice.report") / "page"
    return (folder / name).read_text(encoding="utf-8")


def _to_script_json(view: dict[str, Any]) -> str:
    # ASCII, so that half characters in file names survive; without "<", nothing ends the script.
    text = json.dumps(view, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
