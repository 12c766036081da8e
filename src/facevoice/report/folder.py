"""A folder of reports that any number of runs may fill, at once or one after the other.

Each report is written whole or not at all, under its own name. Tables over all files are made anew
from what lies in the folder when a run ends, by one process at a time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, Self

from filelock import FileLock

from facevoice.errors import MissingExtraError
from facevoice.files import file_sha256, folder_sha256, whole_file, write_atomically
from facevoice.plain import open_regular, read_bounded
from facevoice.records import Outcome, Report, top_emotion
from facevoice.report.database import DATABASE_ENDING, require_database, write_database
from facevoice.report.exchange import (
    to_report_eaf,
    to_report_events,
    to_report_rttm,
    to_report_sidecar,
    to_report_srt,
    to_report_textgrid,
    to_report_vtt,
)
from facevoice.report.index import INDEX_NAME, ROW_KEYS, index_row, to_index
from facevoice.report.json import read_report, to_json, to_jsonl
from facevoice.report.page import GENERATOR_MARK, to_html
from facevoice.report.table import (
    CSV_COLUMNS,
    MOMENT_COLUMNS,
    REVIEW_COLUMNS,
    moment_rows,
    to_csv,
    to_moments_csv,
    window_rows,
)
from facevoice.report.words import CHANNEL_WORDS
from facevoice.review import find_review
from facevoice.texts import shown

_EXCHANGE: Final = ("eaf", "textgrid", "vtt", "srt", "events", "rttm", DATABASE_ENDING)
FORMATS: Final[tuple[str, ...]] = ("json", "csv", "jsonl", "html", "parquet", *_EXCHANGE)
FILE_FORMATS: Final = tuple(name for name in FORMATS if name != "parquet")
"""Those with files of their own for each report."""
DEFAULT_FORMATS: Final[tuple[str, ...]] = ("json", "csv")
_WINDOWS, _MOMENTS = "windows", "moments"
RESERVED_STEMS: Final = (_WINDOWS, _MOMENTS, "index")
"""`windows.csv`, `moments.csv` and `index.html` are over all files; no single report may take a
name."""

ENDINGS: Final[dict[str, tuple[str, ...]]] = {
    **{name: (f".{name}",) for name in FORMATS},
    "textgrid": (".TextGrid",),
    # Else another analysis would take them for the words of the film beside them.
    **{name: (f".facevoice.{name}",) for name in ("vtt", "srt")},
    "events": ("_events.tsv", "_events.json"),
}
"""What the files of a format are called, behind a report's name."""

# Hidden folder of a folder of reports: the lock, and what the dataset is made from.
_HIDDEN: Final = ".tables"
_DATASET: Final = "dataset"
_WRITTEN: Final = "written"
_TABLES: Final = tuple(f"{stem}.csv" for stem in (_WINDOWS, _MOMENTS))
RESERVED_NAMES: Final = (*_TABLES, INDEX_NAME, _DATASET, _HIDDEN)
"""Files and folders of the tables; no folder with reports of single files may be called so."""

# Formats that also give something over all files.
_GATHERED: Final = frozenset({"csv", "parquet", "html"})
_COPY_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 4096
# In the beginning of a report, of whatever version, and of no other file.
_OWN_MARKS: Final = {
    ".json": (b'"facevoice.report"',),
    ".jsonl": (b'{"file": ',),
    ".csv": (b"file,status,",),
    ".html": (GENERATOR_MARK.encode(),),
}
# Rows gathered before they are written; a row takes about 300 bytes.
_ROWS_HELD: Final = 20_000
# Rows in one file, so that readers can share the work.
_ROWS_PER_PART: Final = 2_000_000
_FILE_KEY: Final = b"facevoice.file"
_MOMENTS_KEY: Final = b"facevoice.moments"
# Columns and their types, by Arrow's names.
_WINDOW_TYPES: Final[dict[str, str]] = {
    **dict.fromkeys(CSV_COLUMNS, "double"),
    **dict.fromkeys(("file", "status", "outcome", *CHANNEL_WORDS, *REVIEW_COLUMNS), "string"),
    "moment": "int64",
    "reasons": "list",
    "person": "string",
    "text": "string",
}
_MOMENT_TYPES: Final[dict[str, str]] = {
    **dict.fromkeys(MOMENT_COLUMNS, "double"),
    **dict.fromkeys(("file", "status", "outcome", "face", "voice", "person", "text"), "string"),
    **dict.fromkeys(REVIEW_COLUMNS, "string"),
    **dict.fromkeys(("moment", "num_windows"), "int64"),
    "reasons": "list",
}
_FILE_TYPES: Final[dict[str, str]] = {
    **dict.fromkeys(("file", "sha256", "status", "error_kind", "error"), "string"),
    "duration_s": "double",
    "outcome": "string",
    "conflict": "double",
    **dict.fromkeys(CHANNEL_WORDS, "string"),
    **dict.fromkeys(("num_windows", *(f"num_{o.value}" for o in Outcome)), "int64"),
    "num_moments": "int64",
    "facevoice_version": "string",
}


class ReportFolder:
    """Takes files of each report, called by `ENDINGS`, and tables over all of them.

    Use it in a `with` block: when it ends, also by an error or an interruption, windows.csv,
    moments.csv, dataset/ (Parquet) and index.html are made anew from the files of this and all
    earlier runs that lie there. Pages have no waveform and no face boxes.

        DIR/windows.csv                                 the rows of all NAME.csv below DIR
        DIR/moments.csv                                 the moments of the same files
        DIR/index.html                                  a page over all NAME.html below DIR
        DIR/dataset/windows/outcome=…/part-N.parquet    the windows with all digits
        DIR/dataset/moments.parquet                     the moments with all digits
        DIR/dataset/files.parquet                       a row a file, failed ones too
        DIR/.tables/moments/NAME.csv                    what moments.csv is made from
        DIR/.tables/rows/NAME.parquet                   what the dataset is made from
        DIR/.tables/index/NAME.json                     what index.html is made from
        DIR/.tables/written/NAME.eaf                    digests of files that people may correct
    """

    def __init__(self, root: Path, formats: Collection[str] = DEFAULT_FORMATS) -> None:
        """Create the folder where it is missing.

        Raises:
            ValueError: a format is not in `FORMATS`.
            MissingExtraError: Parquet or audformat is wanted and not installed.
            OSError: the folder can't be made or written, or a dataset would take the place of
                somebody else's folder.
        """
        unknown = set(formats) - set(FORMATS)
        if unknown:
            raise ValueError(f"unknown formats {sorted(unknown)}; known: {', '.join(FORMATS)}")
        self.root = root
        self._formats = frozenset(formats)
        self._rows = root / _HIDDEN / "rows"
        self._moments = root / _HIDDEN / _MOMENTS
        self._index = root / _HIDDEN / "index"
        self._lock = FileLock(root / _HIDDEN / "lock")
        if "parquet" in self._formats:
            _import_arrow()
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            reason = "no permission to write there, or the disk is read-only"
            raise PermissionError(errno.EACCES, reason, str(root))
        if "parquet" in self._formats:
            _check_dataset(root / _DATASET)
        if "html" in self._formats:
            _check_own(root / INDEX_NAME)
        if DATABASE_ENDING in self._formats:
            require_database()
        # Always: who converts a report there later tells by it where to note what they write.
        (root / _HIDDEN).mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gather()

    def gather(self) -> list[tuple[Path, str]]:
        """Make the tables anew; gives files that were passed over, and why they can't be read.

        Raises:
            OSError: they can't be written; those of before stay, and so do all reports.
        """
        if not self._formats & _GATHERED:
            return []
        passed_over: list[tuple[Path, str]] = []
        with self._lock:
            if "csv" in self._formats:
                passed_over = _gather_csv(self.root, self._moments)
            if "parquet" in self._formats:
                _gather_dataset(self._rows, self.root / _DATASET)
            if "html" in self._formats:
                _gather_index(self.root, self._index)
        return passed_over

    def write(self, report: Report, name: PurePath) -> list[Path]:
        """Write one report under `name`, a relative path without ending; gives the files made.

        Raises:
            OSError: a file can't be written, or would take the place of somebody else's.
        """
        base = self.root / name
        wanted = [form for form in FILE_FORMATS if form in self._formats]
        for path in file_names(base, wanted):
            self._check_own(path)
        if "parquet" in self._formats:
            _write_rows(report, _with_ending(self._rows / name, ".parquet"))
        if "csv" in self._formats:
            moments = _with_ending(self._moments / name, ".csv")
            moments.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(moments, to_moments_csv([report]))
        if "html" in self._formats:
            row = _with_ending(self._index / name, ".json")
            row.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(row, json.dumps(index_row(report, name)))
        note = partial(_note, self.root)
        return [path for form in wanted for path in write_format(report, base, form, note)]

    def _check_own(self, path: Path) -> None:
        """Make sure that nothing of anybody else's is replaced, nor what was corrected by hand."""
        if path.suffix in _OWN_MARKS and not path.name.endswith("_events.json"):
            _check_own(path)
        elif path.exists() and _sha256(path) not in _lines(_digests_of(self.root, path)):
            reason = (
                "it isn't as facevoice wrote it there: it was changed by hand since, or comes from "
                "elsewhere"
            )
            raise FileExistsError(errno.EEXIST, reason, str(path))


def file_names(base: Path, formats: Iterable[str]) -> list[Path]:
    """The files (of audformat, the folder) that a report has in these formats, beside each other.

    Args:
        base: where they lie, and the report's name.
        formats: of `FILE_FORMATS`.
    """
    return [_with_ending(base, end) for form in formats for end in ENDINGS[form]]


def write_format(
    report: Report,
    base: str | Path,
    form: str,
    note: Callable[[Path, str], None] | None = None,
    *,
    blank: bool = False,
) -> list[Path]:
    """Write one of `FILE_FORMATS`, replacing what is there; gives the files made.

    Args:
        report: what is written.
        base: where the files lie, and the report's name.
        form: the format.
        note: is told each file or folder for other tools, and its SHA-256, before it is there.
        blank: of `BLANK_FORMATS`, only what people need to annotate it themselves.

    Raises:
        OSError: a file can't be written.
        MissingExtraError: audformat is wanted and not installed.
    """
    base = Path(base)
    base.parent.mkdir(parents=True, exist_ok=True)
    if form == DATABASE_ENDING:
        return [write_database(report, path, note) for path in file_names(base, [form])]
    texts = to_texts(report, base, form, blank=blank)
    for path, text in texts.items():
        content = text.encode()
        if note is not None and form in _EXCHANGE:
            note(path, hashlib.sha256(content).hexdigest())
        write_atomically(path, content)
    return [*texts]


def to_texts(report: Report, base: Path, form: str, *, blank: bool = False) -> dict[Path, str]:
    """What stands in the files of one of `FILE_FORMATS` but audformat; see `write_format`."""
    makers = (_BLANKS if blank else _TEXTS)[form]
    return {
        path: make(report, path)
        for path, make in zip(file_names(base, [form]), makers, strict=True)
    }


def find_reports(root: Path) -> Iterator[Path]:
    """The reports as JSON below a folder, in order; hidden folders are passed over.

    Also what can't be read, and so may be one: whoever reads it says what is wrong.
    """
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix == ".json" and not name.startswith(".") and _may_be_report(path):
                yield path


def _may_be_report(path: Path) -> bool:
    try:
        # Whoever opens a pipe waits for its writer.
        return not path.is_file() or _has_mark(path)
    except OSError:
        return True


def convert_report(
    path: Path,
    base: Path,
    formats: Sequence[str],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    blank: bool = False,
) -> tuple[Report, list[Path]]:
    """Write the report of a JSON file in other formats; gives it and the files made.

    Args:
        path: of the report.
        base: where the files shall lie, and their name without an ending.
        formats: of `FILE_FORMATS`.
        out: a folder that is to be one of reports, unless it lies in one: then a later run knows
            what was written here from what was changed since.
        overwrite: replace files that are there and say something else.
        blank: see `write_format`.

    Raises:
        ReportError: it can't be read.
        ReviewError: the review beside it can't be read.
        MissingExtraError: audformat is wanted and not installed.
        FileExistsError: something else is there; nothing is written.
        OSError: a file can't be written.
    """
    report = read_report(path)
    report = report.with_review(find_review(path, report) or report.review)
    if DATABASE_ENDING in formats:
        require_database()
        for target in file_names(base, [DATABASE_ENDING]) if overwrite else ():
            _check_database(target)
    root = _root_of(base.parent)
    for form in formats if not overwrite else ():
        _check_same(report, base, form, root, blank=blank)
    if root is None and out is not None:
        root = ReportFolder(out, ()).root
    # Else a later run would take what is written here for somebody's own.
    note = None if root is None else partial(_note, root)
    return report, [
        one for form in formats for one in write_format(report, base, form, note, blank=blank)
    ]


def _root_of(folder: Path) -> Path | None:
    """The folder of reports that a folder is, or lies in; None where there is none."""
    here = folder.absolute()
    return next((one for one in (here, *here.parents) if (one / _HIDDEN).is_dir()), None)


_Writer = Callable[[Report, Path], str]
_TEXTS: Final[dict[str, tuple[_Writer, ...]]] = {
    "json": (lambda report, _: to_json(report) + "\n",),
    "jsonl": (lambda report, _: to_jsonl(report),),
    "html": (lambda report, path: to_html(report, name=path.stem),),
    "csv": (lambda report, _: to_csv([report]),),
    "eaf": (to_report_eaf,),
    "textgrid": (lambda report, _: to_report_textgrid(report),),
    "vtt": (lambda report, _: to_report_vtt(report),),
    "srt": (lambda report, _: to_report_srt(report),),
    "events": (
        lambda report, _: to_report_events(report),
        lambda report, _: to_report_sidecar(report),
    ),
    "rttm": (lambda report, _: to_report_rttm(report),),
}


_BLANKS: Final[dict[str, tuple[_Writer, ...]]] = {
    "eaf": (lambda report, target: to_report_eaf(report, target, blank=True),),
    "textgrid": (lambda report, _: to_report_textgrid(report, blank=True),),
}
BLANK_FORMATS: Final = tuple(_BLANKS)
"""Those that people annotate in."""


def _note(root: Path, path: Path, sha256: str) -> None:
    """Keep in mind what is written, so that what is changed by hand later is told from it."""
    digests = _digests_of(root, path)
    digests.parent.mkdir(parents=True, exist_ok=True)
    # The one before too: this may be interrupted before the file is there.
    write_atomically(digests, "\n".join([*_lines(digests)[-1:], sha256]) + "\n")


def _digests_of(root: Path, path: Path) -> Path:
    return root / _HIDDEN / _WRITTEN / path.absolute().relative_to(root.absolute())


def _sha256(path: Path) -> str:
    """Of a file or a folder; "" of anything else, such as a pipe, which is never ours."""
    if path.is_dir():
        return folder_sha256(path)
    return file_sha256(path) if path.is_file() else ""


def _check_same(report: Report, base: Path, form: str, root: Path | None, *, blank: bool) -> None:
    """Make sure that nobody changed what lies where a format is to be written.

    That is so where it is noted in `root` or says the same.
    """
    for target in file_names(base, [form]):
        if not target.exists():
            continue
        if root is not None and _sha256(target) in _lines(_digests_of(root, target)):
            continue
        if form == DATABASE_ENDING:
            with TemporaryDirectory() as folder:
                made = write_database(report, Path(folder, target.name))
                is_same = _sha256(target) == folder_sha256(made)
        else:
            texts = to_texts(report, base, form, blank=blank)
            is_same = read_bounded(target) == texts[target].encode()
        if not is_same:
            reason = "there is a file of that name, which says something else"
            raise FileExistsError(errno.EEXIST, reason, str(target))


def _lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _check_database(target: Path) -> None:
    """Make sure that a folder which is to be replaced is such a database of ours."""
    if not target.exists():
        return
    try:
        is_ours = b"source: facevoice" in (target / "db.yaml").read_bytes()[:_HEAD_BYTES]
    except OSError:
        is_ours = False
    if not is_ours:
        reason = "there is another folder of that name, which no facevoice wrote"
        raise FileExistsError(errno.EEXIST, reason, str(target))


def _with_ending(base: Path, ending: str) -> Path:
    # Not `with_suffix`: a clip named "take.1" would lose its ".1".
    return base.with_name(f"{base.name}{ending}")


def _check_own(path: Path) -> None:
    """Make sure that a file which is to be replaced is such a report, not its user's own."""
    if not path.exists():
        return
    is_odd = not (path.is_file() or path.is_dir())  # Whoever opens a pipe waits for its writer.
    if is_odd or (path.stat().st_size and not _has_mark(path)):
        reason = "there is another file of that name, which no facevoice wrote"
        raise FileExistsError(errno.EEXIST, reason, str(path))


def _has_mark(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return any(mark in head for mark in _OWN_MARKS[path.suffix])


def _files_below(root: Path, ending: str) -> Iterator[Path]:
    """Files of an ending in order, without those of another folder of reports further down."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if name != _HIDDEN and not (here / name / _HIDDEN).exists()
        )
        yield from (here / name for name in sorted(names) if name.endswith(ending))


def _gather_csv(root: Path, moments: Path) -> list[tuple[Path, str]]:
    """Write windows.csv and moments.csv from the rows of all tables of windows in the folder.

    Gives those that can't be read, and why.
    """
    unreadable: list[tuple[Path, str]] = []
    targets = [root / name for name in _TABLES]
    parts = [target.with_name(f".{target.name}.part") for target in targets]  # one writer: the lock
    columns = (CSV_COLUMNS, MOMENT_COLUMNS)
    headers = [(",".join(names) + "\n").encode() for names in columns]
    try:
        with parts[0].open("wb") as windows_file, parts[1].open("wb") as moments_file:
            windows_file.write(headers[0])
            moments_file.write(headers[1])
            for path in _files_below(root, ".csv"):
                if path in targets:
                    continue
                if _append_csv(path, windows_file, headers[0], unreadable):
                    of_moments = moments / path.relative_to(root)
                    _append_csv(of_moments, moments_file, headers[1], unreadable)
        for part, target in zip(parts, targets, strict=True):
            part.replace(target)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return unreadable


def _gather_index(root: Path, rows: Path) -> None:
    """Write index.html from what is known of all pages that lie in the folder."""
    _check_own(root / INDEX_NAME)
    found = (path.relative_to(rows) for path in _files_below(rows, ".json"))
    known = (
        json.loads((rows / name).read_bytes())
        for name in found
        if (root / name.with_name(f"{name.name.removesuffix('.json')}.html")).exists()
    )
    # Those of another version are left out.
    ours = [row for row in known if tuple(row) == ROW_KEYS]
    write_atomically(root / INDEX_NAME, to_index(ours, root.resolve().name))


def _append_csv(
    path: Path, gathered: BinaryIO, header: bytes, unreadable: list[tuple[Path, str]]
) -> bool:
    """Copy a table's rows if there is one with this header; others are somebody else's.

    What can't be read comes into `unreadable`.
    """
    with ExitStack() as stack:
        try:
            table = stack.enter_context(open_regular(path))
            is_ours = table.readline(len(header)) == header
        except FileNotFoundError:
            return False
        except OSError as error:
            unreadable.append((path, error.strerror or str(error)))
            return False
        if is_ours:
            shutil.copyfileobj(table, gathered, _COPY_BYTES)
        return is_ours


def _write_rows(report: Report, path: Path) -> None:
    """One report's rows of the dataset; what other tables say of it is the file's metadata."""
    arrow = _import_arrow()
    about = {_FILE_KEY: _file_row(report), _MOMENTS_KEY: list(moment_rows(report))}
    metadata = {key: json.dumps(value).encode() for key, value in about.items()}
    schema = _schema(arrow, _WINDOW_TYPES).with_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.Table.from_pylist(list(window_rows(report)), schema=schema)
    with whole_file(path) as part:
        arrow.parquet.write_table(table, part, compression="zstd")


def _gather_dataset(rows: Path, target: Path) -> None:
    """Put a dataset in place, made from the rows of one file after the other."""
    arrow = _import_arrow()
    part, old = (target.with_name(f".{target.name}.{ending}") for ending in ("part", "old"))
    for left in (part, old):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        part.mkdir()
        _write_dataset(arrow, rows, part)
        _check_dataset(target)
        if target.exists():
            target.replace(old)
        part.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_dataset(target: Path) -> None:
    """Make sure that what is to be replaced was made here, and holds nothing of anybody else's."""
    own = {_WINDOWS, f"{_MOMENTS}.parquet", "files.parquet"}
    if target.exists() and not {path.name for path in target.iterdir()} <= own:
        reason = f"{_DATASET}: there is another folder of that name, which no facevoice wrote"
        raise FileExistsError(errno.EEXIST, reason, str(target))


def _write_dataset(arrow: Any, rows: Path, part: Path) -> None:
    schema = _schema(arrow, _WINDOW_TYPES)
    files: list[dict[str, Any]] = []
    moments = _RowWriter(arrow, part / f"{_MOMENTS}.parquet", _MOMENT_TYPES)

    def batches() -> Iterator[Any]:
        for path in _files_below(rows, ".parquet"):
            table = arrow.parquet.read_table(path)
            if table.schema.equals(schema):  # those of another version are left out
                about = table.schema.metadata
                files.append(json.loads(about[_FILE_KEY]))
                moments.add(json.loads(about[_MOMENTS_KEY]))
                yield from table.replace_schema_metadata(None).to_batches()

    with moments:
        arrow.dataset.write_dataset(
            arrow.RecordBatchReader.from_batches(schema, batches()),
            part / _WINDOWS,
            format="parquet",
            basename_template="part-{i}.parquet",
            partitioning=["outcome"],
            partitioning_flavor="hive",
            file_options=arrow.dataset.ParquetFileFormat().make_write_options(compression="zstd"),
            use_threads=False,
            min_rows_per_group=_ROWS_HELD,
            max_rows_per_group=_ROWS_HELD,
            max_rows_per_file=_ROWS_PER_PART,
        )
    table = arrow.Table.from_pylist(files, schema=_schema(arrow, _FILE_TYPES))
    arrow.parquet.write_table(table, part / "files.parquet", compression="zstd")


class _RowWriter:
    """Writes rows to a Parquet file, many at once, so that few of them are held."""

    def __init__(self, arrow: Any, path: Path, types: dict[str, str]) -> None:
        self._arrow, self._schema = arrow, _schema(arrow, types)
        self._writer = arrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._held: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take rows, of which those too many to hold are written."""
        self._held.extend(rows)
        if len(self._held) >= _ROWS_HELD:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._held, schema=self._schema))
        self._held.clear()


def _file_row(report: Report) -> dict[str, Any]:
    summary, error = report.summary, report.error
    tops = {
        channel: None if (p := getattr(summary, channel, None)) is None else top_emotion(p)[0].value
        for channel in CHANNEL_WORDS
    }
    return {
        "file": shown(report.path),
        "sha256": report.sha256,
        "status": report.status.value,
        "error_kind": None if error is None else error.kind,
        "error": None if error is None else shown(error.message),
        "duration_s": None if report.media is None else report.media.duration_s,
        "outcome": None if summary is None else summary.outcome.value,
        "conflict": None if summary is None else summary.conflict,
        **tops,
        "num_windows": len(report.windows),
        **{f"num_{o.value}": report.outcome_counts.get(o, 0) for o in Outcome},
        "num_moments": len(report.moments),
        "facevoice_version": report.facevoice_version,
    }


def _schema(arrow: Any, types: dict[str, str]) -> Any:
    kinds = {"list": arrow.list_(arrow.string())}
    return arrow.schema([(n, kinds.get(t) or arrow.type_for_alias(t)) for n, t in types.items()])


def _import_arrow() -> Any:
    try:
        import pyarrow.dataset
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet output", "parquet") from error
    return pyarrow
