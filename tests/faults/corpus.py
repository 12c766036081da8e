"""All cases by family, those that wait for mending, and the pages that list them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from faults import (
    colour,
    container,
    files,
    geometry,
    hostile,
    names,
    network,
    process,
    sound,
    stream,
    timing,
)
from faults.case import Case, Expect
from faults.studio import LENGTH_S

FAMILIES: Final[Mapping[str, Sequence[Case]]] = {
    "container": container.CASES,
    "stream": stream.CASES,
    "timing": timing.CASES,
    "geometry": geometry.CASES,
    "colour": colour.CASES,
    "sound": sound.CASES,
    "names": names.CASES,
    "files": files.CASES,
    "process": process.CASES,
    "network": network.CASES,
    "hostile": hostile.CASES,
}
CASES: Final = {f"{family}/{one.name}": one for family, all_ in FAMILIES.items() for one in all_}

HEAD: Final = f"""# The fault corpus

Made by `python -m benchmarks.faults --list docs/faults.md` from `tests/faults`; don't edit by hand.

Every case is a bad file or a bad moment, made from scratch by the tests: a portrait that talks for
{LENGTH_S:g} s, put into every container, cut off, turned, renamed, served by a broken server, or
written by a stranger. Each says what a user is to get. Where the content is the same as the plain
clip's, no probability may differ from its by more than the tolerance given.

What must hold in every case, beside what the table says: the report is valid by
[its schema](report.schema.json), and the same when it is read; windows are in order and within the
file; probabilities are finite and sum to one; no emotion comes from a window without picture or
sound; a message names the file; nothing is left behind; nothing but facevoice's own lines reaches
standard error.

`make test` runs those marked ▸, `make faults` all of them, and here is
[what came of each](benchmarks/faults.md). Names in the last column are public reports of the same
fault in other programs.
"""


def describe_corpus() -> str:
    """The page of all cases as Markdown."""
    lines = [HEAD, *_counts()]
    for family, cases in FAMILIES.items():
        lines += ["", f"## {family.capitalize()}", "", "| case | what it is | to come | seen in |"]
        lines.append("|---|---|---|---|")
        lines += [_row(case) for case in cases]
    return "\n".join(lines) + "\n"


def _counts() -> Iterator[str]:
    yield "| family | cases | always run |"
    yield "|---|---|---|"
    for family, cases in FAMILIES.items():
        yield f"| {family} | {len(cases)} | {sum(case.is_quick for case in cases)} |"
    num_quick = sum(case.is_quick for case in CASES.values())
    yield f"| all | {len(CASES)} | {num_quick} |"


def _row(case: Case) -> str:
    mark = " ▸" if case.is_quick else ""
    seen_in = re.sub(r"([\w.-]+/[\w.-]+)#(\d+)", _link, case.seen_in)
    return f"| `{case.name}`{mark} | {case.told} | {describe(case.expects)} | {seen_in} |"


def _link(found: re.Match[str]) -> str:
    return f"[{found[0]}](https://github.com/{found[1]}/issues/{found[2]})"


def describe(expects: Expect) -> str:
    """What is to come of a case, in words."""
    return "; ".join(_expected(expects))


def _expected(expects: Expect) -> Iterator[str]:
    if expects.exit_codes:
        yield f"exit code {_or(expects.exit_codes)}"
    if expects.reports != 1:
        yield f"{expects.reports or 'no'} reports"
    if expects.status:
        yield _or(f"`{word}`" for word in expects.status)
    if expects.kinds:
        yield f"error {_or(f'`{word}`' for word in expects.kinds)}"
    if expects.like_plain is not None:
        yield f"as the plain clip within {expects.like_plain:g}"
    if expects.outcomes:
        yield _or(f"`{word}`" for word in expects.outcomes)
    for channel, speaks in (("face", expects.face), ("voice", expects.voice)):
        if speaks is not None:
            yield f"the {channel} speaks" if speaks else f"no emotion of the {channel}"
    if expects.length_s is not None:
        yield f"{expects.length_s:.1f} s"
    if said := [f"“{words}”" for words in expects.says if words]:
        yield f"says {' and '.join(said)}"


def _or(words: object) -> str:
    return " or ".join(str(word) for word in words)  # type: ignore[attr-defined]
