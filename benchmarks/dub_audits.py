"""Audits of dubbed pairs: what lengths, loudness, silences, coding and lip synchrony give away.

    python -m benchmarks.dub_audits --corpora CORPORA --work WORK

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip, or the folder javanese. Prints a Markdown
table: AUROC of conflicts against matches (0.50: nothing is given away), 95 % intervals by bootstrap
over speakers. The dubs stay in WORK/dubs, to watch.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from facevoice.corpora.dubs import DubAudits, audit_dubs, dub_pairs, number_pairs, trace_pairs
from facevoice.corpora.gather import parse_place
from facevoice.corpora.prepare import pair_manifest, prepare_manifest
from facevoice.evaluation.audits import AuditResult


def run_dub_audits(
    corpora: Path, work: Path, *, corpus: str = "javanese", jobs: int = 2, seed: int = 0
) -> tuple[DubAudits, int]:
    """Make, dub, measure and audit all pairs of a corpus; the audits, and how many pairs."""
    place = parse_place(corpus, corpora)
    prepared = prepare_manifest(
        [place], work / "manifest.parquet", work=work / "unpacked", jobs=jobs
    )
    pairs = number_pairs(pair_manifest(prepared.clips, seed=seed, jobs=jobs).pairs, seed)
    report = dub_pairs(pairs, prepared.clips, work / "dubs", jobs=jobs)
    print(
        f"{report.num_clips} dubs, {report.num_written} made now, of these "
        f"{report.num_quieter} quieter for their peaks",
        file=sys.stderr,
    )
    traces = trace_pairs(pairs, prepared.clips, work / "dubs", jobs=jobs)
    return audit_dubs(traces), len(pairs)


def markdown(audits: DubAudits) -> str:
    """All audits as a table."""
    lines = ["| stage | audit | AUROC | 95 % | limit | |", "|---|---|---|---|---|---|"]
    for stage, results in (("recordings", audits.before), ("dubs", audits.after)):
        lines += [_row(stage, result, stage == "dubs") for result in results]
    lines += [_row("dubs and more", result, False) for result in audits.beyond]
    lines.append(_row("check of the score", audits.sync_check, False))
    return "\n".join(lines)


def _row(stage: str, result: AuditResult, must_pass: bool) -> str:
    auroc = result.auroc
    verdict = ("passed" if result.passed else "FAILED") if must_pass else ""
    limit = f"{result.limit:.2f}" if must_pass else ""
    return (
        f"| {stage} | {result.name} | {auroc.estimate:.3f} | {auroc.low:.3f} to {auroc.high:.3f} "
        f"| {limit} | {verdict} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--corpus", default="javanese")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.corpora is None:
        raise SystemExit("give --corpora DIR or set FACEVOICE_CORPORA")
    begun = time.monotonic()
    audits, num_pairs = run_dub_audits(
        arguments.corpora,
        arguments.work,
        corpus=arguments.corpus,
        jobs=arguments.jobs,
        seed=arguments.seed,
    )
    print(markdown(audits))
    print(
        f"\n{num_pairs} pairs of {arguments.corpus}, seed {arguments.seed}, "
        f"{time.monotonic() - begun:.0f} s. Coding of all dubs: {' / '.join(audits.parameters)}."
    )


if __name__ == "__main__":
    main()
