"""The version, in a place that every layer may read."""

from typing import Final

VERSION: Final[str] = "0.1.0"
