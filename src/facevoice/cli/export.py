"""The command that makes a checkpoint run without torch: export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facevoice.cli.options import BackbonesOption, complain
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError

if TYPE_CHECKING:
    from facevoice.models.model import Parity


EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


def add_export_command(app: typer.Typer) -> None:
    """Register `export`."""
    app.command()(export)


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint folder made by `train`.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write, or to --check.")],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8/--fp32",
            help="Weights of the backbones in eight bits: a quarter of the size, faster, a little "
            "off. Default: fp32, the same as torch.",
        ),
    ] = False,
    clips: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A film whose windows torch and the export are compared on; may be given again. "
            "Default: synthesised windows.",
        ),
    ] = None,
    backbones: BackbonesOption = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing: hold the export in --out against the checkpoint."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that lies in --out.")
    ] = False,
    threads: Annotated[
        int, typer.Option(metavar="N", min=1, help="Threads that each network may use.")
    ] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
) -> None:
    """Export a checkpoint with its backbones as one folder of ONNX files that needs no torch.

    `facevoice analyze --checkpoint DIR` runs it. Its probabilities are compared with those of
    torch, and written beside it; an fp32 export that differs by more than 0.001 is refused.

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage.
    """
    console = Console(highlight=False, quiet=quiet)
    try:
        from facevoice.models.export import check_export, export_model, make_samples, read_samples

        samples = read_samples(clips) if clips else make_samples()
        if check:
            parity: tuple[Parity, ...] = (
                check_export(
                    checkpoint, out, samples, backbones=backbones or (), num_threads=threads
                ),
            )
        else:
            parity = export_model(
                checkpoint,
                out,
                samples,
                backbones=backbones or (),
                int8=int8,
                overwrite=overwrite,
                num_threads=threads,
                on_step=lambda step: console.print(Text(step, style="dim", overflow="fold")),
            ).parity
    except (ConfigError, MissingExtraError) as error:
        complain(f"Error: {error}")
        raise typer.Exit(EXIT_USAGE) from error
    except FacevoiceError as error:
        complain(str(error))
        raise typer.Exit(EXIT_FAILED) from error
    console.print(_parity_table(parity))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    done = "Checked" if check else "Written"
    console.print(Text(f"{done}: {out}, {size / 1e6:.1f} MB", overflow="fold"))


def _parity_table(parities: Sequence[Parity]) -> Table:
    """Differences to torch, by precision."""
    table = Table(box=None, pad_edge=False)
    for name in ("against torch", "windows", "largest difference", "mean", "other outcomes"):
        table.add_column(name, overflow="fold")
    for parity in parities:
        table.add_row(
            parity.precision,
            f"{parity.num_windows} ({parity.windows})",
            f"{parity.max_difference:.1e}",
            f"{parity.mean_difference:.1e}",
            str(parity.num_outcomes_changed),
        )
    return table
