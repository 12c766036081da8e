"""Sends a Space's folder to the hub, all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from facevoice.errors import ConfigError
from facevoice.hub.commit import (
    DEFAULT_TOKEN_VARIABLE,
    SentCommit,
    Target,
    find_token,
    send_commit,
)

APP_FILE: Final = "app.py"
CARD_FILE: Final = "README.md"


def push_space(
    folder: Path,
    hub_id: str,
    *,
    private: bool = False,
    message: str | None = None,
    token_variable: str = DEFAULT_TOKEN_VARIABLE,
    endpoint: str | None = None,
) -> SentCommit:
    """Send a Space's folder in one commit.

    Raises:
        ConfigError: the folder is no Space, or the name no name.
        HubError: no token, or the hub did not accept it; the Space is as it was.
    """
    target = Target(hub_id, kind="space", private=private)
    if not is_space(folder):
        raise ConfigError(f"{folder}: is no Space; make one with `facevoice space`")
    return send_commit(
        target,
        {path.relative_to(folder).as_posix(): path for path in space_files(folder)},
        message or "Add a facevoice Space",
        token=find_token(token_variable),
        token_variable=token_variable,
        endpoint=endpoint,
    )


def is_space(folder: Path) -> bool:
    """Whether a folder holds a Space that runs on gradio."""
    card = folder / CARD_FILE
    return (folder / APP_FILE).is_file() and card.is_file() and "\nsdk: gradio\n" in _head(card)


def space_files(folder: Path) -> list[Path]:
    """What is sent of a Space's folder: everything but hidden files, caches and links."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            found.append(path)
    return found


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(4096)
