"""A report as a pandas table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facevoice.errors import MissingExtraError
from facevoice.labels import EMOTIONS, Outcome, Status
from facevoice.report.table import CSV_COLUMNS
from facevoice.results import Prediction, Report, top_emotion

if TYPE_CHECKING:
    from pandas import DataFrame

_CHANNELS = ("face", "voice", "fused")


def to_pandas(report: Report) -> DataFrame:
    """One row per window; columns are those of the CSV, numbers with all their digits.

    file, reasons (joined by |): text; status, outcome, face, voice, fused: categories that list
    every value there is, so that groups of several files agree; all others: float64, times in
    seconds, NaN where a channel or the conflict is missing. A report without windows gives no rows
    and the same columns.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("a report as a pandas table", "plot") from error
    rows = [_row(report, window) for window in report.windows]
    emotions = pd.CategoricalDtype([emotion.value for emotion in EMOTIONS])
    dtypes: dict[str, Any] = {
        **dict.fromkeys(CSV_COLUMNS, "float64"),
        **dict.fromkeys(_CHANNELS, emotions),
        **dict.fromkeys(("file", "reasons"), "str"),
        "status": pd.CategoricalDtype([status.value for status in Status]),
        "outcome": pd.CategoricalDtype([outcome.value for outcome in Outcome]),
    }
    # Column by column: what is missing in all rows must still be NaN of the right type.
    columns = {n: pd.Series([r.get(n) for r in rows], dtype=dtypes[n]) for n in CSV_COLUMNS}
    return pd.DataFrame(columns)


def _row(report: Report, window: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        # Names that are no valid text, which file systems allow, can't be stored as text.
        "file": report.path.encode("utf-8", "replace").decode("utf-8"),
        "status": report.status.value,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "outcome": window.outcome.value,
        "conflict": window.conflict,
        "face_coverage": window.face_coverage,
        "speech_coverage": window.speech_coverage,
        "reasons": "|".join(reason.value for reason in window.reasons),
    }
    for channel in _CHANNELS:
        posterior = getattr(window, channel)
        if posterior is not None:
            row[channel] = top_emotion(posterior)[0].value
            for emotion, prob in zip(EMOTIONS, posterior.probs.tolist(), strict=True):
                row[f"{channel}_{emotion.value}"] = prob
    return row
