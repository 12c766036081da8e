"""Names of files that file systems allow and programs stumble over."""

from __future__ import annotations

from typing import Final

ODD_NAMES: Final = (
    b"a" * 251 + b".mp4",
    b"a" * 250 + b"b.mp4",
    "語".encode() * 83 + b".mp4",
    b"caf\xe9.mp4",
    b"caf\xe8.mp4",
    b"X.mp4",
    b"x.mp4",
    "é.mp4".encode(),
    "e\u0301.mp4".encode(),
    b"-dash.mp4",
    b"100%s.mp4",
    b"=1+1.mp4",
    b"new\nline.mp4",
    b"new_line.mp4",
    b"esc\x1b[31m.mp4",
    "bidi\u202e4pm.mp4".encode(),
    "😀.mp4".encode(),
    b"CON.mp4",
    b"windows.mp4",
    b"<script>alert(1)<.mp4",
    b"[bold]x[-bold].mp4",
    b"data:,x.mp4",
)
"""Too long, no text, the same but for case or accents, and what shells, spreadsheets, terminals,
pages and Windows take for something else. All at once in one folder, where case and accents make
a difference."""
