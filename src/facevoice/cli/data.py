"""`facevoice data …`: get corpora, and make tables, splits, pairs and embeddings of them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from facevoice.cli.options import (
    EXIT_FAILED,
    Config,
    Quiet,
    argument,
    flag,
    gone,
    option,
    read_config,
    tells_errors,
)
from facevoice.cli.screen import Screen, Show, steps
from facevoice.corpora.description import describe as describe_clips
from facevoice.corpora.description import draw
from facevoice.corpora.download import Progress, download_corpus
from facevoice.corpora.gather import corpus_names, parse_place
from facevoice.corpora.manifest import Clip, read_manifest
from facevoice.corpora.pairs import PAIR_PLANS, pair_manifest, spoken_lengths, write_pairs
from facevoice.corpora.prepare import ClipProblem, Preparation, prepare_manifest
from facevoice.corpora.sources import HOSTS, SOURCES
from facevoice.corpora.splits import (
    DEFAULT_FOLDS,
    PROTOCOLS,
    Split,
    make_splits,
    read_splits,
    write_splits,
)
from facevoice.errors import ConfigError
from facevoice.report import count_noun

_KNOWN: Final = ", ".join(corpus_names())
_ROOT: Final = Path("corpora")
_NAME_WIDTH: Final = 60  # folds of many speakers have long names; the file has them whole

Manifest = Annotated[Path, argument("MANIFEST", "A table made by `data prepare`.")]
Corpora = Annotated[
    list[str] | None, option("NAME", "Only this corpus; may be given again.", "--corpus")
]
_Jobs = Annotated[int, option("N", "Files worked on at once.", min=1, max=256)]
_Seed = Annotated[int, option("N", "Deals speakers, sentences and conflicts.")]


def read_table(manifest: Path, corpora: list[str] | None) -> tuple[Clip, ...]:
    """The clips of a table, perhaps of some corpora only; CorpusError names file and line."""
    clips = read_manifest(manifest)
    if not corpora:
        return clips
    known = sorted({clip.corpus for clip in clips})
    unknown = [name for name in corpora if name not in known]
    if unknown:
        raise ConfigError(f"--corpus {unknown[0]}: the table holds {', '.join(known)}")
    return tuple(clip for clip in clips if clip.corpus in corpora)


def show_problems(screen: Screen, problems: Sequence[ClipProblem], verdict: str) -> None:
    """Each problem on standard error, and on how many clips the verdict was passed."""
    for problem in problems:
        screen.complain(f"{problem.clip_id}: {problem.message} [{problem.kind}]")
    if problems:
        screen.complain(f"{verdict}: {count_noun(len({one.clip_id for one in problems}), 'clip')}.")


@tells_errors("data download", "What came is kept. Run the same command again to go on.")
def download(
    name: Annotated[str, argument("NAME", f"One of: {', '.join(sorted(SOURCES))}.")],
    root: Annotated[Path, option("DIR", "The corpus goes to DIR/NAME.")] = _ROOT,
    subset: Annotated[
        bool,
        flag("The small set for a CPU: 2 speakers of ravdess, 100 clips of cremad.", "--subset"),
    ] = False,
    songs: Annotated[bool, flag("Sung clips too (ravdess).", "--songs")] = False,
    via: Annotated[str | None, option("WAY", "Another way to get it (cremad: kaggle).")] = None,
    jobs: Annotated[int, option("N", "Files at once.", min=1, max=32)] = 4,
    base_url: Annotated[
        list[str] | None,
        option(
            "HOST=URL",
            "Take a mirror; may be given again. Hosts: " + ", ".join(HOSTS) + ". "
            "FACEVOICE_<HOST>_URL in the environment does the same.",
        ),
    ] = None,
    keep_archives: Annotated[
        bool, flag("Keep archives after unpacking.", "--keep-archives")
    ] = False,
    verify: Annotated[
        bool, flag("Read and check all that is there once more.", "--verify")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Download a corpus, going on where an earlier run stopped.

    Every file is checked against the published size and checksum before it counts as done. A
    finished download is known by its receipt: running the command again does nothing, also offline.
    """
    screen = Screen(quiet=quiet)
    with screen.bar() as show:
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
            on_progress=_Bytes(show).take,
        )
    amount = f"{report.num_files} files, {report.total_bytes / 1e6:.1f} MB"
    done = f"{report.num_fetched} files fetched now" if report.num_fetched else "nothing to do"
    screen.say(f"{report.corpus} is complete in {report.folder} ({amount}); {done}.")
    if report.note:
        screen.say(report.note)


def _parse_bases(pairs: list[str]) -> dict[str, str]:
    bases = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not equals:
            raise ConfigError(f"--base-url {pair!r} is not allowed: write HOST=URL")
        bases[name] = url
    return bases


class _Bytes:
    """Adds up what the downloading threads report, and moves the bar."""

    def __init__(self, show: Show | None) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._done_bytes: dict[str, int] = {}
        self._total_bytes: int | None = None

    def take(self, progress: Progress) -> None:
        """Take one report; called from any thread."""
        if self._show is None:
            return
        with self._lock:
            if progress.done_bytes is not None:
                self._done_bytes[progress.file] = progress.done_bytes
            if not progress.file and progress.total_bytes is not None:
                self._total_bytes = progress.total_bytes
            done_bytes = sum(self._done_bytes.values())
            note = f"{done_bytes / 1e6:.1f}/{(self._total_bytes or 0) / 1e6:.1f} MB"
            if progress.file and progress.note:
                note = f"{note} ({progress.note})"
            self._show(progress.file or progress.note, done_bytes, self._total_bytes, note)


@tells_errors("data prepare")
def prepare(
    names: Annotated[
        list[str],
        argument(
            "NAME",
            f"Corpora: {_KNOWN}. NAME=PATH names a folder or zip archive of its own; a NAME may "
            "come again for a corpus in several pieces.",
        ),
    ],
    root: Annotated[Path, option("DIR", "Corpora lie in DIR/NAME or DIR/NAME.zip.")] = _ROOT,
    out: Annotated[
        Path | None,
        option("FILE", "Written as .parquet and .jsonl. Default: DIR/manifest.parquet."),
    ] = None,
    work: Annotated[
        Path | None, option("DIR", "Unpack archives here. Default: unpacked, beside FILE.")
    ] = None,
    jobs: _Jobs = 4,
    probe: Annotated[bool, flag("Read the length of every file.", "--probe/--no-probe")] = True,
    quiet: Quiet = False,
) -> None:
    """Make one validated table of one or several corpora.

    Clips whose files can't be read are listed and left out of the table.
    """
    screen = Screen(quiet=quiet)
    places = [parse_place(name, root) for name in names]
    with screen.bar() as show:
        preparation = prepare_manifest(
            places,
            out or root / "manifest.parquet",
            work=work,
            probe_files=probe,
            jobs=jobs,
            on_progress=steps(show, "probing"),
        )
    _show_preparation(screen, preparation, probe)
    probed = preparation.probed
    show_problems(screen, probed.damages, "Ending early, in the table as they are")
    show_problems(screen, probed.problems, "Unusable, left out of the table")
    if probed.problems:
        raise typer.Exit(EXIT_FAILED)


def _show_preparation(screen: Screen, preparation: Preparation, probe: bool) -> None:
    probed = preparation.probed
    files = " and ".join(str(path) for path in preparation.paths)
    screen.say(f"{count_noun(len(preparation.clips), 'clip')} in {files}.")
    if probe:
        screen.say(f"{count_noun(probed.num_files, 'file')} probed.")
    if probed.num_silent:
        screen.say(f"Without sound, so picture only: {count_noun(probed.num_silent, 'film')}.")
    screen.say(*preparation.notes)
    for kind in preparation.skipped:
        files = count_noun(kind.num_files, "file")
        example = kind.example if kind.num_files == 1 else f"for example {kind.example}"
        screen.say(f"Left out of {kind.corpus}: {files} ({kind.reason}): {example}")


@tells_errors("data describe")
def describe(
    manifest: Manifest,
    corpora: Corpora = None,
    output: Annotated[str, option("FORMAT", "table or json.", "--format")] = "table",
) -> None:
    """Show what a table holds: clips, durations, labels, balance, splits."""
    if output not in ("table", "json"):
        raise ConfigError(f"--format {output} is not allowed: table or json")
    description = describe_clips(read_table(manifest, corpora))
    if output == "json":
        typer.echo(json.dumps(asdict(description), ensure_ascii=False, indent=1))
    else:
        Screen().say(draw(description))


@tells_errors("data split")
def split(
    manifest: Manifest,
    protocol: Annotated[
        str,
        option("PROTOCOL", "; ".join(f"{name}: {what}" for name, what in PROTOCOLS.items()) + "."),
    ],
    out: Annotated[Path, option("FILE", "The splits, as JSON.")],
    folds: Annotated[int, option("K", "Folds of --protocol speakers.", min=2)] = DEFAULT_FOLDS,
    sentences: Annotated[
        int | None,
        option(
            "K", "Also cut the sentences in K groups; those tested are never trained on.", min=2
        ),
    ] = None,
    seed: _Seed = 0,
    validation: Annotated[
        bool, flag("Keep speakers for validation.", "--validation/--no-validation")
    ] = True,
    corpora: Corpora = None,
    quiet: Quiet = False,
) -> None:
    """Split a table so that no speaker is both trained and tested on."""
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
    screen = Screen(quiet=quiet)
    for one in splits.splits:
        sizes = ", ".join(f"{len(ids):,} {part}" for part, ids in one.parts().items())
        is_short = len(one.name) <= _NAME_WIDTH
        name = one.name if is_short else f"{one.name[: _NAME_WIDTH - 1]}…"
        screen.say(f"{name}: {sizes}")
    screen.say(f"{count_noun(len(splits.splits), 'split')} in {out}; no speaker crosses.")


@tells_errors("data pairs")
def pairs(
    manifest: Manifest,
    out: Annotated[Path, option("DIR", "pairs.parquet and pairs.jsonl go there.")],
    plan: Annotated[
        str | None,
        option(
            "NAME",
            f"Which faces may meet which voices: {', '.join(PAIR_PLANS)} or default. By "
            "default each corpus' own.",
        ),
    ] = None,
    split: Annotated[Path | None, option("FILE", "Pair within the parts of a split only.")] = None,
    fold: Annotated[int | None, option("K", "Which of the file's splits, from 1.", min=1)] = None,
    clips: Annotated[
        str | None,
        gone("--clips", "`python -m benchmarks.dubbing`, in a clone, makes clips of pairs"),
    ] = None,
    seed: _Seed = 0,
    jobs: _Jobs = 2,
    corpora: Corpora = None,
    quiet: Quiet = False,
) -> None:
    """Pair faces with voices: conflicts, matches (same emotion, another take), and originals.

    All pairs are made and cut by one rule, so that nothing but the emotions tells them apart.
    """
    screen = Screen(quiet=quiet)
    table = read_table(manifest, corpora)
    with screen.bar() as show:
        made = pair_manifest(
            table,
            plan_name=plan,
            split=_read_split(split, fold, table),
            seed=seed,
            jobs=jobs,
            on_progress=steps(show, "listening"),
        )
    files = [out / f"pairs.{suffix}" for suffix in ("parquet", "jsonl")]
    for file in files:
        write_pairs(made.pairs, file)
    counts = Counter(timed.pair.kind.value for timed in made.pairs)
    told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counts.items()))
    screen.say(f"{len(made.pairs):,} pairs ({told}) in {files[0]} and {files[1]}.")
    screen.say(*(f"No pairs of {note}" for note in made.notes))


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


@tells_errors("data extract", "What came is stored. Run the same command again to go on.")
def extract(
    manifest: Manifest,
    store: Annotated[Path, option("FILE", "Store of perceptions; made when absent.")],
    backbones: Annotated[
        list[str] | None,
        option(
            "NAME", "May be given again. Default: compact-face and compact-voice.", "--backbone"
        ),
    ] = None,
    common_lengths: Annotated[
        bool,
        flag(
            "Cut a speaker's clips of one sentence to one length, as `data pairs` does.",
            "--common-lengths",
        ),
    ] = False,
    corpora: Corpora = None,
    config: Config = None,
    jobs: Annotated[int, option("N", "Processes.", min=1, max=256)] = 1,
    threads: Annotated[int, option("N", "Threads that each network may use.", min=1)] = 1,
    quiet: Quiet = False,
) -> None:
    """Compute embeddings of all windows of a table's clips into a store, each once.

    What is stored is not computed again, so a run that was interrupted or killed goes on. One bad
    file never stops the others; all of them are listed at the end.
    """
    from facevoice.corpora.extract import DEFAULT_BACKBONES, extract_clips

    screen = Screen(quiet=quiet)
    clips = read_table(manifest, corpora)
    with screen.bar() as show:
        step = steps(show)
        report = extract_clips(
            clips,
            store,
            backbones=backbones or DEFAULT_BACKBONES,
            limits_s=_limits_s(clips, jobs) if common_lengths else None,
            config=read_config(config),
            jobs=jobs,
            num_threads=threads,
            on_progress=lambda at: step(at.num_done, at.num_all, f"{at.stage} {at.name}"),
        )
    screen.say(
        f"{count_noun(report.num_extracted, 'clip')} extracted, {report.num_known:,} known from an "
        f"earlier run; {count_noun(report.num_records, 'new record')} in {store}.",
        f"Backbones: {', '.join(backbone.id for backbone in report.backbones)}",
    )
    show_problems(screen, report.damages, "Damaged, used as far as they go")
    show_problems(screen, report.problems, "Failed")
    if report.problems:
        raise typer.Exit(EXIT_FAILED)


def _limits_s(clips: Sequence[Clip], jobs: int) -> dict[str, float]:
    """Lengths of each corpus' pairs."""
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
