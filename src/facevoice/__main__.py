"""`facevoice`, which `python -m facevoice` does too: minds signals, then loads the command line."""

from __future__ import annotations

from facevoice import interrupts


def main() -> None:
    """Entry point of the `facevoice` command."""
    interrupts.take_over()
    from facevoice.cli.app import app
    from facevoice.cli.completion import COMPLETE_VARIABLE
    from facevoice.cli.screen import let_print_anything

    let_print_anything()
    app(complete_var=COMPLETE_VARIABLE)


if __name__ == "__main__":
    main()
