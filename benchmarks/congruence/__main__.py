"""The congruence benchmark on every corpus at hand; writes runs, their scores, and the pages.

    python -m benchmarks.congruence --corpora CORPORA --work WORK [--docs docs/benchmarks]

CORPORA (or FACEVOICE_CORPORA) holds javanese.zip, ravdess_audio.zip, ravdess_av.zip, emodb.zip,
fer2013.zip, ravdess_posteriors.zip and cremad_votes.zip; those that are absent are left out, and
said so. Runs go to WORK/runs and can be scored again by `facevoice evaluate`; what was extracted is
kept in WORK.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.congruence import compact, cremad_votes, fer2013, ravdess_posteriors
from benchmarks.congruence.overview import write_overview
from benchmarks.dub_audits import markdown, run_dub_audits
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import FILMED, make_all_pairs, read_data
from recipes.crossfit import Family, make_channels
from recipes.voice_data import ARCHIVES

from facevoice.corpora.archive import corpus_root
from facevoice.evaluation.page import evaluate
from facevoice.evaluation.predictions import Run, write_run
from facevoice.evaluation.score import Scores

COMMAND = "python -m benchmarks.congruence --corpora CORPORA --work WORK"
DUB_TABLE = "dub_audits.md"
COMPACT_ARCHIVES = (*ARCHIVES.values(), FILMED)


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--docs", type=Path, help="write the pages here too")
    parser.add_argument("--only", nargs="*", help="names of studies")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parse_with_corpora(parser)
    runs = collect(arguments)
    scores = [score(run, arguments) for run in runs]
    if arguments.docs is not None:
        write_pages(scores, arguments)


def collect(arguments: argparse.Namespace) -> list[Run]:
    """Every study whose corpora are there."""
    corpora, work = arguments.corpora, arguments.work
    studies: dict[str, tuple[tuple[str, ...], Callable[[], list[Run]]]] = {
        "compact": (COMPACT_ARCHIVES, lambda: run_compact(corpora, work, arguments.jobs)),
        "fer2013": (("fer2013",), lambda: [fer2013.run(corpora, work, COMMAND)]),
        "ravdess-posteriors": (
            (ravdess_posteriors.ARCHIVE,),
            lambda: [ravdess_posteriors.run(corpora, work, COMMAND)],
        ),
        "cremad-votes": (
            (cremad_votes.ARCHIVE,),
            lambda: [cremad_votes.run(corpora, work, COMMAND)],
        ),
    }
    runs: list[Run] = []
    for name, (archives, make) in studies.items():
        if arguments.only and name not in arguments.only:
            continue
        absent = [a for a in archives if not any((corpora / f).exists() for f in (a, f"{a}.zip"))]
        if absent:
            print(f"{name}: left out, {', '.join(absent)} not in {corpora}", flush=True)
            continue
        begun_s = time.monotonic()
        runs += make()
        print(f"{name}: predicted in {time.monotonic() - begun_s:.0f} s", flush=True)
    return runs


def run_compact(corpora: Path, work: Path, jobs: int) -> list[Run]:
    data = read_data(corpora, work, jobs)
    pairs, originals = make_all_pairs(data)
    family = Family(*make_channels(data, work), pairs)
    audits, num_pairs = run_dub_audits(corpora, work / "dubs", jobs=jobs)
    table = f"{num_pairs} pairs as dubbed clips:\n\n{markdown(audits)}\n"
    print(table, flush=True)
    (work / DUB_TABLE).write_text(table, encoding="utf-8")
    return [
        compact.run_javanese(data, family, originals, audits.after, COMMAND),
        compact.run_voice(data, family, COMMAND),
        compact.run_filmed(data, family, COMMAND),
    ]


def score(run: Run, arguments: argparse.Namespace) -> Scores:
    """Write the predictions once, and score them from the file."""
    folder = arguments.work / "runs" / run.info.name
    write_run(folder, run.info, run.emotions, run.conflicts, run.audits, overwrite=True)
    return evaluate(folder, folder / "scores", num_resamples=arguments.resamples)


def write_pages(scores: list[Scores], arguments: argparse.Namespace) -> None:
    votes = None
    if any("cremad" in part.info.corpora for part in scores):
        votes = corpus_root(arguments.corpora, cremad_votes.ARCHIVE, work=arguments.work)
    dubs = arguments.work / DUB_TABLE
    table = dubs.read_text(encoding="utf-8") if dubs.is_file() else ""
    write_overview(scores, arguments.work / "runs", arguments.docs, votes, table, COMMAND)


if __name__ == "__main__":
    main()
