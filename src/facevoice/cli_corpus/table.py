"""`facevoice data prepare`, `describe` and `split`: tables of clips."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from facevoice.cli_corpus.console import (
    EXIT_FAILED,
    Corpora,
    Manifest,
    Quiet,
    count,
    read_table,
    say,
    show_problems,
    step_bar,
    told_errors,
)
from facevoice.data.description import describe as describe_clips
from facevoice.data.gather import parse_place
from facevoice.data.registry import corpus_names
from facevoice.data.split_file import DEFAULT_FOLDS, PROTOCOLS, make_splits, write_splits
from facevoice.errors import ConfigError
from facevoice.workbench.describe import draw

if TYPE_CHECKING:
    from facevoice.workbench.prepare import Preparation

_NAME_WIDTH: Final = 60  # folds of many speakers have long names; the file has them whole

_Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help=f"Corpora: {', '.join(corpus_names())}. NAME=PATH names a folder or zip archive of "
        "its own; a NAME may come again for a corpus in several pieces.",
    ),
]
_Root = Annotated[
    Path, typer.Option(metavar="DIR", help="Corpora lie in DIR/NAME, or DIR/NAME.zip.")
]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Written as .parquet and .jsonl. Default: DIR/manifest.parquet."
    ),
]
_Work = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Unpack archives here. Default: unpacked, beside FILE."),
]
_Jobs = Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Files read at once.")]
_Probe = Annotated[bool, typer.Option("--probe/--no-probe", help="Read the length of every file.")]
_Format = Annotated[str, typer.Option("--format", metavar="FORMAT", help="table or json.")]
_Protocol = Annotated[
    str,
    typer.Option(
        metavar="PROTOCOL", help="; ".join(f"{k}: {what}" for k, what in PROTOCOLS.items()) + "."
    ),
]
_SplitFile = Annotated[Path, typer.Option(metavar="FILE", help="The splits, as JSON.")]
_Folds = Annotated[int, typer.Option(metavar="K", min=2, help="Folds of --protocol speakers.")]
_Sentences = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        min=2,
        help="Also cut the sentences in K groups; those tested are never trained on.",
    ),
]
_Seed = Annotated[int, typer.Option(metavar="N", help="Deals speakers and sentences.")]
_Validation = Annotated[
    bool, typer.Option("--validation/--no-validation", help="Keep speakers for validation.")
]


def prepare(
    names: _Names,
    root: _Root = Path("corpora"),
    out: _Out = None,
    work: _Work = None,
    jobs: _Jobs = 4,
    probe: _Probe = True,
    quiet: Quiet = False,
) -> None:
    """Make one validated table of one or several corpora.

    Clips whose files can't be read are listed and left out of the table. What was read is
    remembered beside the table: a second run reads only files that are new or changed.

    Exit codes: 0 done, 1 some files can't be read or nothing was written, 2 wrong usage,
    130 interrupted.
    """
    from facevoice.workbench.prepare import prepare_manifest

    console = Console(highlight=False)
    with told_errors("What was read is remembered. Run the same command again to go on."):
        places = [parse_place(name, root) for name in names]
        with step_bar(console, quiet) as step:
            preparation = prepare_manifest(
                places,
                out or root / "manifest.parquet",
                work=work,
                probe_files=probe,
                jobs=jobs,
                on_progress=lambda num_done, num_all: step(num_done, num_all, "probing"),
            )
    if not quiet:
        _show_preparation(console, preparation, probe)
    show_problems(preparation.probed.damages, "Ending early, in the table as they are")
    show_problems(preparation.probed.problems, "Unusable, left out of the table")
    if preparation.probed.problems:
        raise typer.Exit(EXIT_FAILED)


def describe(manifest: Manifest, corpora: Corpora = None, output: _Format = "table") -> None:
    """Show what a table holds: clips, durations, labels, balance, splits.

    Exit codes: 0 done, 1 the table can't be read, 2 wrong usage.
    """
    with told_errors():
        if output not in ("table", "json"):
            raise ConfigError(f"--format {output} is not allowed: table or json")
        description = describe_clips(read_table(manifest, corpora))
        if output == "json":
            typer.echo(json.dumps(asdict(description), ensure_ascii=False, indent=1))
        else:
            Console(highlight=False).print(draw(description))


def split(
    manifest: Manifest,
    protocol: _Protocol,
    out: _SplitFile,
    folds: _Folds = DEFAULT_FOLDS,
    sentences: _Sentences = None,
    seed: _Seed = 0,
    validation: _Validation = True,
    corpora: Corpora = None,
    quiet: Quiet = False,
) -> None:
    """Split a table so that no speaker is both trained and tested on.

    Exit codes: 0 done, 1 the table can't be split so, 2 wrong usage.
    """
    with told_errors():
        if protocol not in PROTOCOLS:
            raise ConfigError(f"--protocol {protocol} is not allowed: {', '.join(PROTOCOLS)}")
        splits = make_splits(
            read_table(manifest, corpora),
            protocol,
            num_folds=folds,
            num_sentence_folds=sentences,
            seed=seed,
            with_validation=validation,
        )
        write_splits(splits, out)
    if not quiet:
        console = Console(highlight=False)
        for one in splits.splits:
            sizes = ", ".join(f"{len(ids):,} {part}" for part, ids in one.parts().items())
            name = one.name if len(one.name) <= _NAME_WIDTH else f"{one.name[: _NAME_WIDTH - 1]}…"
            say(console, f"{name}: {sizes}")
        say(console, f"{count(len(splits.splits), 'split')} in {out}; no speaker crosses.")


def _show_preparation(console: Console, preparation: Preparation, probe: bool) -> None:
    probed = preparation.probed
    files = " and ".join(str(path) for path in preparation.paths)
    say(console, f"{count(len(preparation.clips), 'clip')} in {files}.")
    if probe:
        known = f"{probed.num_remembered:,} known from an earlier run"
        say(console, f"{count(probed.num_probed, 'file')} probed, {known}.")
    if probed.num_silent:
        say(console, f"Without sound, so picture only: {count(probed.num_silent, 'film')}.")
    for note in preparation.notes:
        say(console, note)
    for kind in preparation.skipped:
        files = count(kind.num_files, "file")
        example = kind.example if kind.num_files == 1 else f"for example {kind.example}"
        say(console, f"Left out of {kind.corpus}: {files} ({kind.reason}): {example}")
