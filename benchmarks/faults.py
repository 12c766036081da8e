"""Run the fault corpus: how many cases of each family come out as they must, and which don't.

python -m benchmarks.faults                          prints a table
python -m benchmarks.faults --only 'names/*'         of some cases
python -m benchmarks.faults --isolated               reads files in isolation
python -m benchmarks.faults --page docs/benchmarks/faults.md    writes what came of each as well
python -m benchmarks.faults --list docs/faults.md    writes what the cases are, and runs none
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from facevoice.analyzer import Analyzer
from faults.case import Bench, Case, carry_out, run_here
from faults.corpus import CASES, FAMILIES, describe, describe_corpus
from faults.studio import Studio
from faults.verdict import got, unexpected

HEAD = """# What came of the fault corpus

```
python -m benchmarks.faults --page docs/benchmarks/faults.md
```

The cases, and what they are: [the fault corpus](../faults.md).
"""


@dataclass(frozen=True)
class Result:
    """What came of a case, what of it is not as it must be, and how long it took."""

    name: str
    got: str
    unexpected: tuple[str, ...]
    took_s: float

    @property
    def family(self) -> str:
        """The part of its name before the slash."""
        return self.name.partition("/")[0]


def run_cases(names: Sequence[str], folder: Path, analyzer: Analyzer) -> Iterator[Result]:
    """Carry out cases one after the other; a case that breaks is unexpected and stops nothing."""
    studio = Studio(folder / "studio")
    studio.folder.mkdir()
    bench = Bench(studio, analyzer)
    plain = run_here(bench, [str(studio.plain_file(folder / "plain-clip.mp4"))]).reports[0]
    bench = replace(bench, plain=plain)
    for number, name in enumerate(names):
        place = folder / str(number)
        place.mkdir()
        begun_s = time.monotonic()
        told, amiss = _carry_out(CASES[name], bench, place)
        yield Result(name, told, amiss, time.monotonic() - begun_s)


def _carry_out(case: Case, bench: Bench, place: Path) -> tuple[str, tuple[str, ...]]:
    try:
        run = carry_out(case, bench, place)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be run
        return "broke", (traceback.format_exception_only(error)[-1].strip(),)
    return got(run), tuple(unexpected(case, run, bench.plain))


def count(results: Sequence[Result]) -> Iterator[str]:
    """A table of the families."""
    yield "| family | cases | as expected | unexpected | seconds |"
    yield "|---|---|---|---|---|"
    for family in (*FAMILIES, None):
        own = [one for one in results if family in (one.family, None)]
        if not own:
            continue
        bad = sum(bool(one.unexpected) for one in own)
        took_s = sum(one.took_s for one in own)
        yield f"| {family or 'all'} | {len(own)} | {len(own) - bad} | {bad} | {took_s:.0f} |"


def describe_results(results: Sequence[Result]) -> str:
    """The page of what came of every case."""
    lines = [HEAD, *count(results), "", "| case | expected | got | |", "|---|---|---|---|"]
    for one in results:
        mark = "**unexpected**" if one.unexpected else ""
        lines.append(f"| `{one.name}` | {describe(CASES[one.name].expects)} | {one.got} | {mark} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the cases, print what is unexpected and the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="*", help="pattern of names, such as 'names/*'")
    parser.add_argument("--page", type=Path, help="write what came of each case here")
    parser.add_argument("--isolated", action="store_true", help="read files in isolation")
    parser.add_argument("--list", type=Path, help="write what the cases are here, and run none")
    arguments = parser.parse_args()
    if arguments.list is not None:
        arguments.list.write_text(describe_corpus(), encoding="utf-8", newline="\n")
        return 0
    analyzer = Analyzer().in_isolation() if arguments.isolated else Analyzer()
    names = [name for name in CASES if fnmatch(name, arguments.only)]
    results = []
    with tempfile.TemporaryDirectory(prefix="facevoice-faults-") as folder:
        for result in run_cases(names, Path(folder), analyzer):
            results.append(result)
            for amiss in result.unexpected:
                print(f"{result.name}: {amiss}", flush=True)
    print("\n".join(count(results)))
    if arguments.page is not None:
        arguments.page.write_text(describe_results(results), encoding="utf-8", newline="\n")
    return any(result.unexpected for result in results)


if __name__ == "__main__":
    sys.exit(main())
