"""Elements of an SVG as text, none of which needs an identifier or a style sheet."""

from __future__ import annotations

import html


class SvgParts:
    """Gathers elements; places and sizes are in units of the picture's own grid."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(
        self, x: float, y: float, text: str, color: str, *, size: int = 12, anchor: str = "start"
    ) -> None:
        """One line of text whose middle lies at `y`; escaped here."""
        # A third of its size below the middle is where a line of small letters stands.
        place = f'x="{number(x)}" y="{number(y + size * 0.35)}"'
        style = f'fill="{color}" font-size="{size}" text-anchor="{anchor}"'
        self.parts.append(f"<text {place} {style}>{html.escape(text)}</text>")

    def rect(self, x: float, y: float, w: float, h: float, color: str, title: str = "") -> None:
        """A filled rectangle; `title` is shown by browsers while the pointer rests on it."""
        place = f'x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}"'
        inner = f"<title>{html.escape(title)}</title></rect>" if title else ""
        self.parts.append(f'<rect {place} fill="{color}"' + (f">{inner}" if inner else "/>"))

    def paths(self, boxes: dict[str, list[str]]) -> None:
        """One element for all boxes of a colour; boxes are from `box`."""
        self.parts += [f'<path fill="{color}" d="{"".join(d)}"/>' for color, d in boxes.items()]


def box(x: float, y: float, width: float, height: float) -> str:
    """A rectangle as a piece of a path."""
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"


def number(value: float) -> str:
    """Two digits at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
