"""Write explore_reports.ipynb from the cells below.

python notebooks/make_explore_notebook.py            writes it
python notebooks/make_explore_notebook.py --check    exits 1 if it is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from notebook_file import notebook_text, write_or_check

TARGET: Final = Path(__file__).with_name("explore_reports.ipynb")

TITLE: Final = """# Explore reports

What a report of facevoice says, as pictures and tables: one file, then a folder of files. Cells run
from top to bottom in a few seconds, without a GPU.

    pip install '.[plot,parquet]'  # in a clone

Emotions shown in a face or a voice are not feelings; read the README's limits and law before
drawing conclusions about people."""

IMPORTS: Final = """from pathlib import Path, PurePath

import pandas as pd

from facevoice import Analyzer, DecisionConfig, decide_again
from facevoice.report import ReportFolder, describe_point

EXAMPLES = Path("../examples")  # the folder of the repository; or a folder of your own
VIDEO = EXAMPLES / "smile_frightened_voice.mp4"  # or any video or audio file
OUT = Path("explored")"""

ANALYZE: Final = """analyzer = Analyzer()  # built once, used for many files
perception = analyzer.perceive(VIDEO)  # decodes the file, once
report = analyzer.interpret(perception)  # says what it means, at once
report"""

PLOT: Final = """figure = report.plot()
figure"""

SAVE: Final = """OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "timeline.png", dpi=200)
figure.savefig(OUT / "timeline.pdf")"""

TABLE: Final = """windows = report.to_pandas()
windows[["start_s", "end_s", "outcome", "conflict", "face", "voice", "fused", "reasons"]]"""

GROUPS: Final = """by_emotions = windows.groupby(["face", "voice"], observed=True)["conflict"]
by_emotions.agg(["count", "mean", "max"])"""

MEANS: Final = """emotions = list(windows["face"].cat.categories)
means = pd.DataFrame(
    {
        channel: [windows[f"{channel}_{emotion}"].mean() for emotion in emotions]
        for channel in ("face", "voice", "fused")
    },
    index=emotions,
)
means.round(2)"""

FOLDER: Final = """SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".wav", ".mp3", ".m4a"}
paths = sorted(path for path in EXAMPLES.iterdir() if path.suffix.lower() in SUFFIXES)
with ReportFolder(OUT, ["json", "csv", "parquet"]) as folder:
    for path in paths:
        folder.write(analyzer.analyze(path), PurePath(path.stem))
sorted(str(path.relative_to(OUT)) for path in OUT.rglob("*.*") if path.is_file())"""

READ: Final = """everything = pd.read_csv(OUT / "windows.csv")
everything["name"] = everything["file"].map(lambda file: PurePath(file).name)
pd.crosstab(everything["name"], everything["outcome"])"""

PARQUET: Final = """dataset = pd.read_parquet(OUT / "dataset" / "windows")
dataset.groupby("file")[["conflict", "face_coverage", "speech_coverage"]].mean()"""

REASONS: Final = (
    """everything["reasons"].fillna("").str.get_dummies("|").groupby(everything["name"]).sum()"""
)

THRESHOLDS: Final = """print(describe_point(report))
report.point"""

COMPARE: Final = """known = everything.dropna(subset=["conflict"])
above = {f"above {t:.0%}": known["conflict"] > t for t in (0.5, 0.6, 0.7, 0.8, 0.9)}
pd.DataFrame(above).groupby(known["name"]).mean()"""

OTHER: Final = """sensitive = decide_again(report, DecisionConfig(sensitivity="sensitive"))
sensitive.plot()"""

CELLS: Final[tuple[tuple[str, str], ...]] = (
    ("markdown", TITLE),
    ("code", IMPORTS),
    (
        "markdown",
        "## One file\n\nA report shows itself as its page: the outcome, what it means in words, "
        "the timeline, and every window.",
    ),
    ("code", ANALYZE),
    (
        "markdown",
        "## The timeline as a figure\n\nAn ordinary matplotlib figure. The height of a band is "
        "the probability of its emotion; between the two lines, face and voice are too close to "
        "call; the colours behind the curve are the outcomes.",
    ),
    ("code", PLOT),
    ("code", SAVE),
    (
        "markdown",
        "## Windows as a table\n\nOne row per window; windows overlap, by default by half. What "
        "is missing is NaN.",
    ),
    ("code", TABLE),
    ("markdown", "How likely a conflict is, by what face and voice show:"),
    ("code", GROUPS),
    ("markdown", "Mean probabilities over the file:"),
    ("code", MEANS),
    (
        "markdown",
        "## A folder of files\n\nThe same as `facevoice analyze FOLDER --out explored --format "
        "json --format csv --format parquet`, which also skips what is done and uses all cores.",
    ),
    ("code", FOLDER),
    ("markdown", "All windows of all files, from the CSV …"),
    ("code", READ),
    ("markdown", "… and from the Parquet dataset, which keeps all digits and suits millions:"),
    ("code", PARQUET),
    ("markdown", "Why windows are no match or conflict, in numbers of windows:"),
    ("code", REASONS),
    (
        "markdown",
        "## How readily something is called\n\nWhere outcomes change, and what calls are worth, as "
        "measured on people whom nothing was fitted to:",
    ),
    ("code", THRESHOLDS),
    (
        "markdown",
        "The share of windows whose probability of conflict is higher than other thresholds. A "
        "window whose face or voice is flat is never called a conflict, however likely: there is "
        "nothing to contradict.",
    ),
    ("code", COMPARE),
    (
        "markdown",
        "The same probabilities, decided again at another sensitivity; nothing is read again.",
    ),
    ("code", OTHER),
)


def make_notebook() -> str:
    """The notebook as JSON."""
    return notebook_text(CELLS)


if __name__ == "__main__":
    sys.exit(write_or_check(TARGET, make_notebook()))
