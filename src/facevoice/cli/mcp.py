"""`facevoice mcp`: tools for an assistant that runs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import argument, takes_isolated_analyzer, tells_errors
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError, MissingExtraError

_EXTRA = ("anyio", "mcp", "mcp_types", "pydantic")


@tells_errors("mcp", interrupted="The assistant has no tools of facevoice any more.")
@takes_isolated_analyzer
def mcp(
    folders: Annotated[list[Path], argument("FOLDER", "Whose files may be read.")],
    *,
    setup: AnalyzerSetup,
) -> None:
    """Let an assistant ask about video and audio files of the folders, over standard input.

    For programs that speak the Model Context Protocol: they start this command themselves. Files
    are read in isolation, on this machine; what is said of them goes to the assistant.
    """
    Screen(data_on_stdout=True)
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder; name those whose files may be read")
    _load().build_server(setup, folders).run("stdio")


def _load() -> Any:
    try:
        from facevoice.service import tools
    except ImportError as error:  # also of another version, which lacks a part
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise MissingExtraError("Serving assistants", "mcp") from error
    return tools
