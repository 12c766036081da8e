"""`facevoice`, which `python -m facevoice` does too: minds signals, then loads the command line."""

from __future__ import annotations

from facevoice import interrupts

_REMEDY = (
    "Something that it needs is missing or broken; install it again, with all that it needs: "
    "pip install --force-reinstall facevoice"
)


def main() -> None:
    """Entry point of the `facevoice` command."""
    interrupts.take_over()
    try:
        from facevoice.cli.app import app
        from facevoice.cli.completion import COMPLETE_VARIABLE
        from facevoice.cli.screen import let_print_anything
    except ImportError as error:  # Then `facevoice doctor` can't tell, either.
        raise SystemExit(f"facevoice can't start: {error}. {_REMEDY}") from error

    let_print_anything()
    app(complete_var=COMPLETE_VARIABLE)


if __name__ == "__main__":
    main()
