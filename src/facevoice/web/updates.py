"""What events change of gradio's components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr


def on() -> Any:
    """Let it be pressed."""
    return gr.update(interactive=True)


def off() -> Any:
    """Let it not be pressed."""
    return gr.update(interactive=False)


def seen() -> Any:
    """Show it."""
    return gr.update(visible=True)


def offered() -> Any:
    """Show it, and let it be pressed."""
    return gr.update(visible=True, interactive=True)


def unseen() -> Any:
    """Hide it."""
    return gr.update(visible=False)


def download(path: Path) -> Any:
    """Show it with a file to download."""
    return gr.update(value=str(path), visible=True)
