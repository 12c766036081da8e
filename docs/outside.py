"""Hooks of mkdocs: what pages link to outside docs/ becomes part of the site, below repo/.

So README.md, PRIVACY.md, NOTICE, the cards of the weights and configs are written once, read well
where they lie, and no link of the site leads out of it.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LOADED = re.compile(
    r"<(?:script|img|iframe|link rel=.?(?:stylesheet|preconnect))[^>]*https?://[^>]*>"
)
_BELOW = "repo"


def on_files(files: Any, config: Any) -> Any:
    """Add every file outside docs/ that a page links to, and what these link to in turn."""
    docs = Path(config.docs_dir)
    todo = [Path(file.abs_src_path) for file in files if file.is_documentation_page()]
    done = set(todo)
    while todo:
        page = todo.pop()
        for target in _targets(page):
            if target.is_relative_to(docs) or target in done:
                continue
            done.add(target)
            uri = f"{_BELOW}/{target.relative_to(docs.parent).as_posix()}"
            files.append(File.generated(config, uri, abs_src_path=str(target)))
            if target.suffix == ".md":
                todo.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links between docs/ and the rest, as they are on the site."""
    docs = Path(config.docs_dir)
    source = Path(page.file.abs_src_path)
    here = posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = _target(source, link[1])
        if target is None or (target.is_relative_to(docs) and source.is_relative_to(docs)):
            return link[0]
        there = target.relative_to(docs if target.is_relative_to(docs) else docs.parent).as_posix()
        uri = there if target.is_relative_to(docs) else f"{_BELOW}/{there}"
        return f"]({posixpath.relpath(uri, here or '.')}{link[2] or ''})"

    return _LINK.sub(moved, markdown)


def _targets(page: Path) -> Iterator[Path]:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.finditer(text):
        target = _target(page, link[1])
        if target is None:
            continue
        if not target.is_file():
            raise PluginError(f"{page}: {link[1]} is no file")
        yield target


def _target(page: Path, link: str) -> Path | None:
    """The file that a link names; None for addresses."""
    if re.match(r"[a-z]+:", link):
        return None
    return Path(os.path.normpath(page.parent / link))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that would load something from another host."""
    found = _LOADED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} loads {found[0]}; keep the site whole without it")
    return output
