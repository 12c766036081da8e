"""`facevoice data pairs`: matches and conflicts, as a table and as clips to watch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from facevoice.cli_corpus.console import (
    Corpora,
    Manifest,
    Quiet,
    read_table,
    say,
    step_bar,
    told_errors,
)
from facevoice.data.clips import Clip
from facevoice.data.pair_table import TimedPair, write_pairs
from facevoice.data.pairs import PAIR_PLANS
from facevoice.data.split_file import read_splits
from facevoice.data.splits import Split
from facevoice.errors import ConfigError

_Out = Annotated[
    Path, typer.Option(metavar="DIR", help="pairs.parquet, pairs.jsonl, clips/ and key.csv.")
]
_Plan = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Which faces may meet which voices: {', '.join(PAIR_PLANS)} or default. By default "
        "each corpus' own.",
    ),
]
_SplitFile = Annotated[
    Path | None,
    typer.Option("--split", metavar="FILE", help="Pair within the parts of a split only."),
]
_Fold = Annotated[
    int | None, typer.Option(metavar="K", min=1, help="Which of the file's splits, from 1.")
]
_Clips = Annotated[
    str | None,
    typer.Option(
        metavar="N|all", help="Also make so many clips to watch, drawn at random and shuffled."
    ),
]
_Seed = Annotated[int, typer.Option(metavar="N", help="Deals conflicts and shuffles clips.")]
_Jobs = Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Files worked on at once.")]


def pairs(
    manifest: Manifest,
    out: _Out,
    plan: _Plan = None,
    split: _SplitFile = None,
    fold: _Fold = None,
    clips: _Clips = None,
    seed: _Seed = 0,
    jobs: _Jobs = 2,
    corpora: Corpora = None,
    quiet: Quiet = False,
) -> None:
    """Pair faces with voices: conflicts, matches (same emotion, another take), and originals.

    All pairs are made and cut by one rule, so that nothing but the emotions tells them apart.
    Clips bear neutral numbers: give viewers the folder clips and keep key.csv, which tells what
    is what. A run that was interrupted goes on.

    Exit codes: 0 done, 1 no pairs can be made or a file can't be read, 2 wrong usage,
    130 interrupted.
    """
    from facevoice.workbench.pair_making import pair_manifest

    console = Console(highlight=False)
    with told_errors("Clips that are made are kept. Run the same command again to go on."):
        limit = _parse_clips(clips)
        table = read_table(manifest, corpora)
        with step_bar(console, quiet) as step:
            made = pair_manifest(
                table,
                plan_name=plan,
                split=_read_split(split, fold, table),
                seed=seed,
                jobs=jobs,
                on_progress=lambda num_done, num_all: step(num_done, num_all, "listening"),
            )
        files = [out / f"pairs.{suffix}" for suffix in ("parquet", "jsonl")]
        for file in files:
            write_pairs(made.pairs, file)
        if not quiet:
            counts = Counter(timed.pair.kind.value for timed in made.pairs)
            told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counts.items()))
            say(console, f"{len(made.pairs):,} pairs ({told}) in {files[0]} and {files[1]}.")
            for note in made.notes:
                say(console, f"No pairs of {note}")
        if clips is not None:
            _write_clips(made.pairs, table, out, limit, seed, jobs, console, quiet)


def _write_clips(
    made: Sequence[TimedPair],
    table: Sequence[Clip],
    out: Path,
    limit: int | None,
    seed: int,
    jobs: int,
    console: Console,
    quiet: bool,
) -> None:
    from facevoice.workbench.dubbing import CLIPS_FOLDER, KEY_FILE, dub_pairs, number_pairs

    with step_bar(console, quiet) as step:
        report = dub_pairs(
            number_pairs(made, seed, limit),
            table,
            out,
            jobs=jobs,
            on_progress=lambda num_done, num_all: step(num_done, num_all, "dubbing"),
        )
    if quiet:
        return
    say(
        console,
        f"{report.num_clips:,} clips in {out / CLIPS_FOLDER} ({report.num_written:,} made now); "
        f"{out / KEY_FILE} tells what they are.",
    )
    if report.num_quieter:
        say(
            console,
            f"{report.num_quieter:,} of them are quieter, or they would be too loud at peaks.",
        )


def _parse_clips(clips: str | None) -> int | None:
    if clips is None or clips == "all":
        return None
    if not clips.isdecimal() or int(clips) < 1:
        raise ConfigError(f"--clips {clips} is not allowed: a number above 0, or all")
    return int(clips)


def _read_split(path: Path | None, fold: int | None, table: Sequence[Clip]) -> Split | None:
    if path is None:
        if fold is not None:
            raise ConfigError("--fold needs --split FILE")
        return None
    splits = read_splits(path, table).splits
    if fold is None and len(splits) > 1:
        raise ConfigError(
            f"{path} holds {len(splits)} splits: choose one by --fold 1 to {len(splits)}"
        )
    if fold is not None and fold > len(splits):
        raise ConfigError(f"--fold {fold}: {path} holds {len(splits)} splits")
    return splits[(fold or 1) - 1]
