"""A results page as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from facevoice.evaluation.parts import VOID, Cell, Page, Section, Table


def to_markdown(page: Page) -> str:
    """The whole page, tables included; pictures are in the HTML page only."""
    return "\n".join(_lines(page)).rstrip() + "\n"


def _lines(page: Page) -> Iterator[str]:
    yield f"# {_text(page.title)}"
    yield ""
    yield _text(page.subtitle)
    for alert in page.alerts:
        yield from ("", f"> **{VOID.upper()}.** {_text(alert)}")
    for hint in page.hints:
        yield from ("", f"> {_text(hint)}")
    if page.headlines:
        yield ""
    for each in page.headlines:
        void = f" **({VOID})**" if each.void else ""
        yield f"- **{_text(each.name)} {_text(each.value)}**{void} ({_text(each.interval)}): " + (
            _text(each.about)
        )
    yield ""
    for fact in page.facts:
        texts = [f"`{text}`" if fact.code else _text(text) for text in fact.texts]
        yield f"- {fact.name}: {'; '.join(texts)}"
    for section in page.sections:
        yield from _section(section)
    yield from ("", _text(page.footer))


def _section(section: Section) -> Iterator[str]:
    yield ""
    yield f"## {_text(section.title)}" + (f" ({VOID})" if section.void else "")
    if section.lead:
        yield from ("", _text(section.lead))
    for table in section.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield from ("", f"**{_text(table.caption)}**", "")
    yield "| " + " | ".join(_text(name) for name in table.columns) + " |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield "| " + " | ".join(_cell(cell) for cell in row) + " |"
    if table.notes:
        yield ""
    for number, note in enumerate(table.notes, start=1):
        yield f"[{number}] {_text(note)}  "


def _cell(cell: Cell) -> str:
    text = _text(cell.text) + (f" ({_text(cell.detail)})" if cell.detail else "")
    if cell.kind == VOID:
        text += f" **{VOID}**"
    if cell.kind == "bad":
        text = f"**{text}**"
    return text + (f" [{cell.note}]" if cell.note else "")


def _text(text: str) -> str:
    """Text that says the same in Markdown: no cell or tag is opened by what a run calls itself."""
    for char in "\\`*_<>|[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
