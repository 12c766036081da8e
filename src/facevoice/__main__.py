"""`python -m facevoice` does what `facevoice` does."""

from __future__ import annotations

from facevoice.cli.app import main

if __name__ == "__main__":
    main()
