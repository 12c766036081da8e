"""A report as an audformat database: schemes, segmented tables, all probabilities.

audformat (audEERING) is what speech-emotion corpora are published in; `audformat.Database.load`
opens the folder.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Final

from facevoice.errors import MissingExtraError
from facevoice.files import whole_folder
from facevoice.records import EMOTIONS, NOTICE, Outcome, Report
from facevoice.report.table import window_rows
from facevoice.report.words import CHANNEL_WORDS
from facevoice.texts import shown

DATABASE_ENDING: Final = "audformat"
_EMOTIONS: Final = [emotion.value for emotion in EMOTIONS]


def write_database(report: Report, target: Path) -> Path:
    """Write the database as the folder `target`; what lay there before is replaced.

    Tables face, voice, fused: of each window that reads the channel, the likeliest emotion, the
    probability of each, and whose they are. Table outcome: of each window, the outcome, the
    probability of conflict, and how much of face and speech there was. Windows overlap. What
    further people say in a window stands in face_2, outcome_2 and so on: in one table, each
    stretch is once.

    Raises:
        MissingExtraError: audformat is not installed.
        OSError: it can't be written.
    """
    database = _build(report)
    with whole_folder(target) as part:
        # CSV: opens everywhere, and needs no pyarrow.
        database.save(str(part), storage_format="csv", verbose=False)
    return target


def require_database() -> Any:
    """The module audformat.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module("audformat")
    except ImportError as error:
        raise MissingExtraError("an audformat database", "exchange") from error


def _build(report: Report) -> Any:
    audformat, pandas = require_database(), import_module("pandas")
    made = audformat.Database(
        name=shown(PurePath(report.path).stem) or "report",
        source="facevoice",
        usage=audformat.define.Usage.RESEARCH,
        description=f"What facevoice {report.facevoice_version} reads in a file. {NOTICE}",
        license_url="",
    )
    made.schemes["emotion"] = audformat.Scheme(labels=_EMOTIONS)
    made.schemes["outcome"] = audformat.Scheme(labels=[outcome.value for outcome in Outcome])
    share = {"minimum": 0.0, "maximum": 1.0}
    made.schemes["probability"] = audformat.Scheme("float", **share)
    made.schemes["coverage"] = audformat.Scheme("float", **share)
    names = {person.number: shown(person.name) for person in report.people}
    labels = [*dict.fromkeys(names.values())]
    if labels:
        made.schemes["speaker"] = audformat.Scheme(labels=labels)
    for number, rows in enumerate(_one_each(list(window_rows(report))), start=1):
        _add_tables(audformat, pandas, made, rows, "" if number == 1 else f"_{number}")
    return made


def _one_each(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows such that no list has two of one stretch: first whoever is judged, then the others."""
    lists: list[list[dict[str, Any]]] = []
    seen: Counter[tuple[float, float]] = Counter()
    for row in rows:
        stretch = row["start_s"], row["end_s"]
        if seen[stretch] == len(lists):
            lists.append([])
        lists[seen[stretch]].append(row)
        seen[stretch] += 1
    return lists


def _add_tables(
    audformat: Any, pandas: Any, made: Any, rows: list[dict[str, Any]], ending: str
) -> None:
    for channel in CHANNEL_WORDS:
        own = [row for row in rows if row[channel] is not None]
        columns = {channel: "emotion"}
        columns |= {f"{channel}_{emotion}": "probability" for emotion in _EMOTIONS}
        _add_table(audformat, pandas, made, channel, own, columns, ending)
    columns = {
        **{"outcome": "outcome", "conflict": "probability"},
        **dict.fromkeys(("face_coverage", "speech_coverage"), "coverage"),
    }
    _add_table(audformat, pandas, made, "outcome", rows, columns, ending)


def _add_table(
    audformat: Any,
    pandas: Any,
    made: Any,
    name: str,
    rows: list[dict[str, Any]],
    columns: dict[str, str],
    ending: str,
) -> None:
    if not rows:
        return
    index = audformat.segmented_index(
        [row["file"] for row in rows],
        [pandas.Timedelta(round(row["start_s"] * 1000), unit="ms") for row in rows],
        [pandas.Timedelta(round(row["end_s"] * 1000), unit="ms") for row in rows],
    )
    table = made[f"{name}{ending}"] = audformat.Table(index)
    if "speaker" in made.schemes:
        columns = {**columns, "person": "speaker"}
    for column, scheme in columns.items():
        called = "emotion" if column == name and scheme == "emotion" else column
        called = called.removeprefix(f"{name}_")
        table[called] = audformat.Column(scheme_id=scheme)
        table[called].set([row[column] for row in rows])
