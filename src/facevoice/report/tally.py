"""What many files came to: counted as they come, none of them kept."""

from __future__ import annotations

from collections import Counter

from rich import box
from rich.table import Table

from facevoice.labels import Outcome, Status
from facevoice.results import Report


class Tally:
    """Counts of files, windows, seconds and failures."""

    def __init__(self) -> None:
        self.num_files = 0
        self.num_known = 0
        self.num_failed = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._windows: Counter[Outcome] = Counter()
        self._seconds: Counter[Outcome] = Counter()
        self._failures: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()

    def add(self, report: Report, *, known: bool = False) -> None:
        """Count a report; `known`: it was there before."""
        self.num_files += 1
        self.num_known += known
        if report.status is Status.FAILED:
            self.num_failed += 1
            self._failures["unknown" if report.error is None else report.error.kind] += 1
            return
        self._windows.update(report.outcome_counts)
        if report.status is not Status.OK:
            self._statuses[report.status.value] += 1
        if report.summary is not None:
            outcome = report.summary.outcome
            self._outcomes[outcome] += 1
            self._seconds[outcome] += 0 if report.media is None else round(report.media.duration_s)

    def line(self) -> str:
        """How many files came to which outcome, in a line."""
        counts = {outcome.value: self._outcomes[outcome] for outcome in Outcome}
        counts["failed"] = self.num_failed
        cells = [f"{number} {name}" for name, number in counts.items() if number]
        known = f" ({self.num_known} done before)" if self.num_known else ""
        return f"{count_noun(self.num_files, 'file')}{known}: {', '.join(cells)}"

    def table(self) -> Table:
        """Files, windows and minutes by outcome; then what is to be known of single files."""
        table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
        table.add_column("")
        for heading in ("files", "windows", "minutes"):
            table.add_column(heading, justify="right")
        for outcome in Outcome:
            minutes = f"{self._seconds[outcome] / 60:.1f}"
            files, windows = str(self._outcomes[outcome]), str(self._windows[outcome])
            table.add_row(outcome.value, files, windows, minutes)
        if self._statuses or self._failures:
            table.add_section()
        for status, number in self._statuses.most_common():
            table.add_row(f"of these {status}", str(number))
        for kind, number in self._failures.most_common():
            table.add_row(f"failed: {kind}", str(number))
        return table


def count_noun(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
