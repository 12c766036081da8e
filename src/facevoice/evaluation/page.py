"""A results page as one HTML file that needs nothing else: no script, no font, no picture."""

from __future__ import annotations

from typing import Any, Final

from facevoice.errors import MissingExtraError
from facevoice.evaluation.parts import VOID, Page

TEMPLATE: Final = "page.html.j2"


def to_html(page: Page) -> str:
    """The whole page with its pictures as inline SVG. What a run says of itself is escaped.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    text: str = _environment().get_template(TEMPLATE).render(page=page, void=VOID)
    return text


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("writing a results page", "data") from error
    return jinja2.Environment(
        loader=jinja2.PackageLoader("facevoice.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
