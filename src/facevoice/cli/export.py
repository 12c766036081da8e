"""`facevoice export`: a checkpoint as a folder that runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.table import Table

from facevoice.cli.options import Backbones, Overwrite, Quiet, argument, flag, option, tells_errors
from facevoice.cli.screen import Screen


@tells_errors("export")
def export(
    checkpoint: Annotated[Path, argument("CHECKPOINT", "A checkpoint folder made by `train`.")],
    out: Annotated[Path, option("DIR", "Folder to write, or to --check.")],
    int8: Annotated[
        bool,
        flag(
            "Weights of the backbones in eight bits: a quarter of the size, faster, a little "
            "off. Default: fp32, the same as torch.",
            "--int8/--fp32",
        ),
    ] = False,
    clips: Annotated[
        list[Path] | None,
        option(
            "PATH",
            "A film whose windows torch and the export are compared on; may be given again. "
            "Default: synthesised windows.",
        ),
    ] = None,
    backbones: Backbones = None,
    check: Annotated[
        bool, flag("Write nothing: hold the export in --out against the checkpoint.", "--check")
    ] = False,
    overwrite: Overwrite = False,
    threads: Annotated[int, option("N", "Threads that each network may use.", min=1)] = 1,
    quiet: Quiet = False,
) -> None:
    """Export a checkpoint with its backbones as one folder of ONNX files that needs no torch.

    `facevoice analyze --checkpoint DIR` runs it. Its probabilities are compared with those of
    torch, and written beside it; an fp32 export that differs by more than 0.001 is refused.
    """
    from facevoice.export import check_export, export_model, make_samples, read_samples

    screen = Screen(quiet=quiet)
    samples = read_samples(clips) if clips else make_samples()
    if check:
        parity = [
            check_export(checkpoint, out, samples, backbones=backbones or (), num_threads=threads)
        ]
    else:
        exported = export_model(
            checkpoint,
            out,
            samples,
            backbones=backbones or (),
            int8=int8,
            overwrite=overwrite,
            num_threads=threads,
            on_step=lambda step: screen.say(step, style="dim"),
        )
        parity = list(exported.parity)
    table = Table(box=None, pad_edge=False)
    for name in ("against torch", "windows", "largest difference", "mean", "other outcomes"):
        table.add_column(name, overflow="fold")
    for one in parity:
        table.add_row(
            one.precision,
            f"{one.num_windows} ({one.windows})",
            f"{one.max_difference:.1e}",
            f"{one.mean_difference:.1e}",
            str(one.num_outcomes_changed),
        )
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    done = "Checked" if check else "Written"
    screen.say(table, f"{done}: {out}, {size / 1e6:.1f} MB")
