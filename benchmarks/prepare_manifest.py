"""How long the table of a large corpus takes: names read, checked, and written in both forms.

    python benchmarks/prepare_manifest.py --clips 100000 --runs 5

Makes empty files with valid names of CREMA-D (more speakers than it has), prepares their table
without probing, each time in a fresh process and into a fresh folder, and reads it back once.
Exits with 1 when a run takes a minute or more, or a clip is missing.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from facevoice.corpora.cremad import BROKEN_CLIPS, EMOTION_CODES
from facevoice.corpora.manifest import read_manifest

SENTENCES = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
LEVELS = ("XX", "LO", "MD", "HI")
ALLOWED_S = 60.0

_PREPARE = """
import sys, time
from pathlib import Path
start_s = time.perf_counter()
from facevoice.corpora.gather import CorpusPlace
from facevoice.corpora.prepare import prepare_manifest
place = CorpusPlace("cremad", Path(sys.argv[1]))
preparation = prepare_manifest([place], Path(sys.argv[2]), probe_files=False)
print(time.perf_counter() - start_s, len(preparation.clips))
"""


def clip_names() -> Iterator[str]:
    for level, speaker, sentence, emotion in itertools.product(
        LEVELS, range(1000, 2000), SENTENCES, EMOTION_CODES
    ):
        name = f"{speaker}_{sentence}_{emotion}_{level}"
        if name not in BROKEN_CLIPS:
            yield name


def make_files(folder: Path, num_clips: int) -> None:
    folder.mkdir()
    for name in itertools.islice(clip_names(), num_clips):
        (folder / f"{name}.wav").touch()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_files(work / "cremad", arguments.clips)
        took_s = []
        for run in range(arguments.runs):
            out = work / f"run{run}" / "manifest.parquet"
            command = [sys.executable, "-c", _PREPARE, str(work / "cremad"), str(out)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds, num_clips = printed.split()
            took_s.append(float(seconds))
            if int(num_clips) != arguments.clips:
                raise SystemExit(f"{num_clips} of {arguments.clips} clips in the table")
        median_s = statistics.median(took_s)
        runs = ", ".join(f"{seconds:.1f}" for seconds in took_s)
        print(f"{arguments.clips} clips prepared in {median_s:.1f} s (median of {runs})")
        for suffix in (".parquet", ".jsonl"):
            start_s = time.perf_counter()
            clips = read_manifest(out.with_suffix(suffix))
            size = out.with_suffix(suffix).stat().st_size / 2**20
            taken_s = time.perf_counter() - start_s
            print(f"{suffix}: {size:.1f} MiB, {len(clips)} clips read in {taken_s:.1f} s")
            if len(clips) != arguments.clips:
                raise SystemExit("clips are missing")
    if max(took_s) >= ALLOWED_S:
        raise SystemExit(f"a run took {ALLOWED_S:.0f} s or more")


if __name__ == "__main__":
    main()
