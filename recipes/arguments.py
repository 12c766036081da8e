"""Where corpora are read from and work is kept: the same arguments for every recipe and study."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def corpora_parser(told: str | None) -> argparse.ArgumentParser:
    """A parser with --corpora and --work, described by a module's docstring."""
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    return parser


def parse_with_corpora(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; SystemExit where nobody says where the corpora are."""
    arguments = parser.parse_args()
    if arguments.corpora is None:
        raise SystemExit("give --corpora DIR or set FACEVOICE_CORPORA: the folder of zip files")
    return arguments
