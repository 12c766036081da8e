"""The commands under `facevoice data`: get corpora."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as ProgressDisplay
from rich.text import Text

from facevoice.cli.options import (
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
from facevoice.corpora.description import describe as describe_clips
from facevoice.corpora.description import draw
from facevoice.corpora.download import (
    DownloadReport,
    OnProgress,
    Progress,
    download_corpus,
)
from facevoice.corpora.gather import corpus_names, parse_place
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import PAIR_PLANS, pair_manifest, spoken_lengths, write_pairs
from facevoice.corpora.sources import HOSTS, SOURCES
from facevoice.corpora.splits import (
    DEFAULT_FOLDS,
    PROTOCOLS,
    Split,
    make_splits,
    read_splits,
    write_splits,
)
from facevoice.errors import ConfigError, FacevoiceError
from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from facevoice.corpora.prepare import Preparation


EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_NAME_WIDTH: Final = 34

data_app = typer.Typer(
    name="data",
    help="Get corpora and make them ready.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@data_app.callback()
def data() -> None:
    """Get corpora and make them ready."""


@data_app.command()
def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(sorted(SOURCES))}.")
    ],
    root: Annotated[Path, typer.Option(metavar="DIR", help="The corpus goes to DIR/NAME.")] = Path(
        "corpora"
    ),
    subset: Annotated[
        bool,
        typer.Option(
            "--subset", help="The small set for a CPU: 2 speakers of ravdess, 100 clips of cremad."
        ),
    ] = False,
    songs: Annotated[bool, typer.Option("--songs", help="Sung clips too (ravdess).")] = False,
    via: Annotated[
        str | None, typer.Option(metavar="WAY", help="Another way to get it (cremad: kaggle).")
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, max=32, help="Files at once.")] = 4,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST=URL",
            help="Take a mirror; may be given again. Hosts: " + ", ".join(HOSTS) + ". "
            "FACEVOICE_<HOST>_URL in the environment does the same.",
        ),
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep archives after unpacking.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and check all that is there once more.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
) -> None:
    """Download a corpus, going on where an earlier run stopped.

    Every file is checked against the published size and checksum before it counts as done. A
    finished download is known by its receipt: running the command again does nothing, also offline.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    console = Console(highlight=False)
    try:
        with _bars(console if console.is_terminal and not quiet else None) as on_progress:
            report = download_corpus(
                name,
                root,
                subset=subset,
                songs=songs,
                via=via,
                jobs=jobs,
                keep_archives=keep_archives,
                verify=verify,
                base_urls=_parse_bases(base_url or []),
                on_progress=on_progress,
            )
    except ConfigError as error:
        _complain(str(error))
        raise typer.Exit(EXIT_USAGE) from error
    except FacevoiceError as error:
        _complain(" ".join([str(error), *getattr(error, "__notes__", [])]))
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        _complain("Interrupted; what came is kept. Run the same command again to go on.")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    if not quiet:
        for line in describe_download(report):
            console.print(Text(line, overflow="fold"))


def describe_download(report: DownloadReport) -> list[str]:
    """What a download came to, in sentences."""
    amount = f"{report.num_files} files, {report.total_bytes / 1e6:.1f} MB"
    done = f"{report.num_fetched} files fetched now" if report.num_fetched else "nothing to do"
    lines = [f"{report.corpus} is complete in {report.folder} ({amount}); {done}."]
    if report.note:
        lines.append(report.note)
    return lines


def _complain(message: str) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(Text(message, style="bold red", overflow="fold"))


def _parse_bases(pairs: list[str]) -> dict[str, str]:
    bases = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not equals:
            raise ConfigError(f"--base-url {pair!r} is not allowed: write HOST=URL")
        bases[name] = url
    return bases


@contextmanager
def _bars(console: Console | None) -> Iterator[OnProgress]:
    """A bar over all bytes and one for every file under way; nothing without a console."""
    if console is None:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressDisplay(*columns, console=console, transient=True) as display:
        yield _Bars(display).show


class _Bars:
    """Keeps the display in step with what the downloading threads report."""

    def __init__(self, display: ProgressDisplay) -> None:
        self._display = display
        self._lock = threading.Lock()
        self._all = display.add_task("", total=None)
        self._tasks: dict[str, TaskID] = {}
        self._done_bytes: dict[str, int] = {}

    def show(self, progress: Progress) -> None:
        """Take one report; called from any thread."""
        name = progress.file
        with self._lock:
            if name and progress.done_bytes is not None:
                new_bytes = progress.done_bytes - self._done_bytes.get(name, 0)
                self._done_bytes[name] = progress.done_bytes
                self._display.advance(self._all, new_bytes)
            if progress.is_finished:
                if name in self._tasks:
                    self._display.remove_task(self._tasks.pop(name))
                return
            if name and name not in self._tasks:
                self._tasks[name] = self._display.add_task(name, total=None)
            label = name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"
            note = f" ({progress.note})" if name and progress.note else progress.note
            self._display.update(
                self._tasks.get(name, self._all),
                description=label + note,
                completed=progress.done_bytes,
                total=progress.total_bytes,
                refresh=bool(progress.note),
            )


# `facevoice data prepare`, `describe` and `split`: tables of clips.

_NAME_WIDTH_TABLE: Final = 60  # folds of many speakers have long names; the file has them whole

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

    Clips whose files can't be read are listed and left out of the table.

    Exit codes: 0 done, 1 some files can't be read or nothing was written, 2 wrong usage,
    130 interrupted.
    """
    from facevoice.corpora.prepare import prepare_manifest

    console = Console(highlight=False)
    with told_errors():
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
            name = (
                one.name
                if len(one.name) <= _NAME_WIDTH_TABLE
                else f"{one.name[: _NAME_WIDTH_TABLE - 1]}…"
            )
            say(console, f"{name}: {sizes}")
        say(console, f"{count(len(splits.splits), 'split')} in {out}; no speaker crosses.")


def _show_preparation(console: Console, preparation: Preparation, probe: bool) -> None:
    probed = preparation.probed
    files = " and ".join(str(path) for path in preparation.paths)
    say(console, f"{count(len(preparation.clips), 'clip')} in {files}.")
    if probe:
        say(console, f"{count(probed.num_files, 'file')} probed.")
    if probed.num_silent:
        say(console, f"Without sound, so picture only: {count(probed.num_silent, 'film')}.")
    for note in preparation.notes:
        say(console, note)
    for kind in preparation.skipped:
        files = count(kind.num_files, "file")
        example = kind.example if kind.num_files == 1 else f"for example {kind.example}"
        say(console, f"Left out of {kind.corpus}: {files} ({kind.reason}): {example}")


# `facevoice data extract`: features of a table's clips.

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
_Jobs_features = Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Processes.")]
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
    jobs: _Jobs_features = 1,
    threads: _Threads = 1,
    quiet: Quiet = False,
) -> None:
    """Compute embeddings of all windows of a table's clips into a feature store, each once.

    What is stored is not computed again, so a run that was interrupted or killed goes on. One bad
    file never stops the others; all of them are listed at the end.

    Exit codes: 0 done, 1 some clips failed, 2 wrong usage, 130 interrupted.
    """
    from facevoice.corpora.extract import DEFAULT_BACKBONES, extract_clips

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
    limits_s: dict[str, float] = {}
    for corpus in sorted({clip.corpus for clip in clips}):
        if corpus not in PAIR_PLANS:
            raise ConfigError(
                f"--common-lengths: no pairs are made of {corpus}; take --corpus with one of "
                f"{', '.join(PAIR_PLANS)}"
            )
        own = [clip for clip in clips if clip.corpus == corpus]
        limits_s |= spoken_lengths(own, PAIR_PLANS[corpus], jobs)
    return limits_s


# `facevoice data pairs`: matches and conflicts, as a table.

_Out_pairs = Annotated[
    Path, typer.Option(metavar="DIR", help="pairs.parquet and pairs.jsonl go there.")
]
_Plan = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Which faces may meet which voices: {', '.join(PAIR_PLANS)} or default. By default "
        "each corpus' own.",
    ),
]
_SplitFile_pairs = Annotated[
    Path | None,
    typer.Option("--split", metavar="FILE", help="Pair within the parts of a split only."),
]
_Fold = Annotated[
    int | None, typer.Option(metavar="K", min=1, help="Which of the file's splits, from 1.")
]
_Clips = Annotated[
    str | None,
    typer.Option(
        metavar="N|all", help="Gone; says what makes clips of pairs instead.", hidden=True
    ),
]
_Seed_pairs = Annotated[int, typer.Option(metavar="N", help="Deals conflicts.")]
_Jobs_pairs = Annotated[
    int, typer.Option(metavar="N", min=1, max=64, help="Files worked on at once.")
]


def pairs(
    manifest: Manifest,
    out: _Out_pairs,
    plan: _Plan = None,
    split: _SplitFile_pairs = None,
    fold: _Fold = None,
    clips: _Clips = None,
    seed: _Seed_pairs = 0,
    jobs: _Jobs_pairs = 2,
    corpora: Corpora = None,
    quiet: Quiet = False,
) -> None:
    """Pair faces with voices: conflicts, matches (same emotion, another take), and originals.

    All pairs are made and cut by one rule, so that nothing but the emotions tells them apart.

    Exit codes: 0 done, 1 no pairs can be made or a file can't be read, 2 wrong usage,
    130 interrupted.
    """
    console = Console(highlight=False)
    with told_errors():
        if clips is not None:
            raise ConfigError(
                "--clips has left this command: in a clone, "
                "`python -m benchmarks.dubbing MANIFEST --out DIR --clips N` makes clips of pairs"
            )
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


def add_corpus_commands(app: typer.Typer) -> None:
    """Add the commands to `facevoice data`."""
    for command in (prepare, describe, split, pairs, extract):
        app.command()(command)
