"""`facevoice data extract`: features of a table's clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

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
from facevoice.config import AnalyzerConfig
from facevoice.data.clips import Clip
from facevoice.data.pairs import PAIR_PLANS
from facevoice.errors import ConfigError

_Store = Annotated[Path, typer.Option(metavar="FILE", help="Feature store; made when absent.")]
_Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="May be given again. Default: compact-face and compact-voice.",
    ),
]
_CommonLengths = Annotated[
    bool,
    typer.Option(
        "--common-lengths",
        help="Cut a speaker's clips of one sentence to one length, as `data pairs` does.",
    ),
]
_Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings as TOML; see configs/default.toml.")
]
_Jobs = Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Processes.")]
_Threads = Annotated[
    int, typer.Option(metavar="N", min=1, help="Threads that each network may use.")
]


def extract(
    manifest: Manifest,
    store: _Store,
    backbones: _Backbones = None,
    limited: _CommonLengths = False,
    corpora: Corpora = None,
    config: _Config = None,
    jobs: _Jobs = 1,
    threads: _Threads = 1,
    quiet: Quiet = False,
) -> None:
    """Compute embeddings of all windows of a table's clips into a feature store, each once.

    What is stored is not computed again, so a run that was interrupted or killed goes on. One bad
    file never stops the others; all of them are listed at the end.

    Exit codes: 0 done, 1 some clips failed, 2 wrong usage, 130 interrupted.
    """
    from facevoice.workbench.extraction import DEFAULT_BACKBONES, extract_clips

    console = Console(highlight=False)
    with told_errors("What came is stored. Run the same command again to go on."):
        clips = read_table(manifest, corpora)
        settings = AnalyzerConfig() if config is None else AnalyzerConfig.from_toml(config)
        with step_bar(console, quiet) as step:
            report = extract_clips(
                clips,
                store,
                backbones=backbones or DEFAULT_BACKBONES,
                limits_s=_limits_s(clips, jobs) if limited else None,
                config=settings,
                jobs=jobs,
                num_threads=threads,
                on_progress=lambda at: step(at.num_done, at.num_all, f"{at.stage} {at.name}"),
            )
    if not quiet:
        new = f"{count(report.num_records, 'new record')} in {store}"
        known = f"{report.num_known:,} known from an earlier run"
        say(console, f"{count(report.num_extracted, 'clip')} extracted, {known}; {new}.")
        say(console, f"Backbones: {', '.join(backbone.id for backbone in report.backbones)}")
    show_problems(report.damages, "Damaged, used as far as they go")
    show_problems(report.problems, "Failed")
    if report.problems:
        raise typer.Exit(EXIT_FAILED)


def _limits_s(clips: Sequence[Clip], jobs: int) -> dict[str, float]:
    """Lengths of each corpus' pairs.

    Raises:
        ConfigError: there is no plan of pairs for a corpus.
        CorpusError: a duration is not known.
        MediaError: a sound can't be read.
    """
    from facevoice.workbench.pair_making import spoken_ends, spoken_lengths

    limits_s: dict[str, float] = {}
    for corpus in sorted({clip.corpus for clip in clips}):
        if corpus not in PAIR_PLANS:
            raise ConfigError(
                f"--common-lengths: no pairs are made of {corpus}; take --corpus with one of "
                f"{', '.join(PAIR_PLANS)}"
            )
        own = [clip for clip in clips if clip.corpus == corpus]
        limits_s |= spoken_lengths(own, PAIR_PLANS[corpus], spoken_ends(own, jobs))
    return limits_s
