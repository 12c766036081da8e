"""The results table: both channels, the face alone, the voice alone, beside what is no model.

    python -m benchmarks.results_table --docs docs
    python -m benchmarks.results_table --docs docs --work WORK --features FILE
    python -m benchmarks.results_table --docs docs --work WORK --hub

The first makes the table from the scores in DOCS/benchmarks: the compact family on javanese films
(`python -m benchmarks.congruence`), and networks on embeddings of the full widths. The others train
and score such networks first, as `facevoice train` does with `configs/train-concat.toml`,
`train-video.toml` and `train-audio.toml`: on embeddings that others stored in FILE (see
docs/training.md), or, with --hub, on those of the published VideoMAE and Wav2Vec2; for that RAVDESS
and CREMA-D (30 GB) and the weights (2 GB) are fetched once, and a GPU is worth its while.

Fold k tests a fifth of the speakers, the next fold validates; what was tested in all folds together
is one run, so each speaker is tested once, by a network that has not met them. What is fetched,
extracted and trained is kept in WORK and not made again. The table goes into DOCS/results.md, and
in short into the README beside DOCS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facevoice.evaluation.page import evaluate
from facevoice.evaluation.predictions import read_run, write_run
from facevoice.training.config import TrainConfig

if TYPE_CHECKING:
    from facevoice.training.data import FeatureTable
    from facevoice.training.run import Source

CONFIGS = Path(__file__).parents[1] / "configs"
NETWORKS = {"multimodal": "concat", "video": "video", "audio": "audio"}
NUM_FOLDS = 5
COMMAND = "python -m benchmarks.results_table --docs docs --work WORK"
KINDS = {
    "full": ("Full widths, features stored by others", f"{COMMAND} --features FILE"),
    "real": ("VideoMAE-base and Wav2Vec2-large", f"{COMMAND} --hub"),
}
BACKBONES = ("videomae-base", "wav2vec2-xlsr-53-english")
FETCH = (
    "data download ravdess --root {work}/corpora",
    "data download cremad --root {work}/corpora",
    "data prepare ravdess cremad --root {work}/corpora --out {work}/manifest.parquet",
    "data extract {work}/manifest.parquet --store {work}/features.db"
    + "".join(f" --backbone {name}" for name in BACKBONES),
)
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
COLUMNS = ("accuracy %", "macro F1 %", "weighted F1 %", "conflict AUROC", "balanced accuracy %")
NONE = "needs both"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, required=True, help="folder of the documentation")
    parser.add_argument("--work", type=Path, help="folder for all that is made")
    parser.add_argument("--features", type=Path, help="stored embeddings: train on them first")
    parser.add_argument("--hub", action="store_true", help="fetch corpora and published weights")
    given = parser.parse_args()
    if given.work is None and (given.hub or given.features is not None):
        parser.error("--hub and --features need --work, a folder for all that is made")
    if given.features is not None:
        train_all(given.features, given.work, "full")
        score_all(given.work, given.docs, "full")
    if given.hub:
        fetch(given.work)
        train_all(given.work / "manifest.parquet", given.work, "real")
        score_all(given.work, given.docs, "real")
    for path, text in tables(given.docs).items():
        put(path, text)


# Networks on embeddings


def fetch(work: Path) -> None:
    """Corpora, their table, and the embeddings of the published backbones."""
    for step in FETCH:
        words = step.format(work=work).split()
        subprocess.run([sys.executable, "-m", "facevoice", *words], check=True)


def train_all(source: Path, work: Path, kind: str) -> None:
    """Every network on every fold; `source` is a file of embeddings or a table of clips."""
    # Loads torch, which the table alone doesn't need.
    from facevoice.training.data import read_feature_file, read_table  # noqa: PLC0415
    from facevoice.training.run import Source  # noqa: PLC0415

    if kind == "full":
        table = read_feature_file(source)
    else:
        table = read_table(source, work / "features.db", TrainConfig().network, BACKBONES)
    for fold in range(NUM_FOLDS):
        for name in NETWORKS:
            train_fold(table, Source.of(source, KINDS[kind][1]), work, (kind, name, fold))


def score_all(work: Path, docs: Path, kind: str) -> None:
    for name in NETWORKS:
        score(name, work, docs / "benchmarks", kind)


def place(work: Path, kind: str, name: str, fold: int) -> Path:
    return work / f"{kind}-{name}-{fold}"


def train_fold(
    table: FeatureTable, source: Source, work: Path, which: tuple[str, str, int]
) -> None:
    """Train one network and predict the speakers of one fold, unless that is there."""
    from facevoice.training.run import train  # noqa: PLC0415

    out, (_, name, fold) = place(work, *which), which
    if (out / "predictions").is_dir():
        return
    config = TrainConfig.load(
        CONFIGS / f"train-{NETWORKS[name]}.toml",
        [f"split.fold={fold}", f"run.seed={fold}", "run.trackers=[]"],
    )
    train(config, table, out, source, cpu=which[0] == "full")
    print(f"{out.name}: {len(read_run(out / 'predictions').emotions)} clips tested", flush=True)


def score(name: str, work: Path, benchmarks: Path, kind: str) -> None:
    """Put the tested folds together and score them."""
    import pandas as pd  # noqa: PLC0415

    folds = [place(work, kind, name, fold) / "predictions" for fold in range(NUM_FOLDS)]
    runs = [read_run(folder) for folder in folds if folder.is_dir()]
    title, command = KINDS[kind]
    info = replace(
        runs[0].info,
        name=f"{kind}-{name}",
        title=f"{title}: {name}",
        protocol=(
            f"{len(runs)} of {NUM_FOLDS} folds of speakers, each tested by a network trained on "
            "three others; epoch, temperatures and threshold from the one left"
        ),
        command=command,
    )
    emotions = pd.concat([run.emotions for run in runs], ignore_index=True)
    found = [run.conflicts for run in runs if run.conflicts is not None]
    conflicts = pd.concat(found, ignore_index=True) if found else None
    write_run(work / info.name, info, emotions, conflicts, overwrite=True)
    evaluate(work / info.name, benchmarks / info.name)


# The table


@dataclass(frozen=True)
class Part:
    """Rows of one corpus: title, data and command in words, and the scores of each row."""

    title: str
    data: str
    command: str
    rows: dict[str, dict[str, Any]]
    conflict: dict[str, Any]


def tables(docs: Path) -> dict[Path, str]:
    """The text between the marks of each page."""
    found = list(parts(docs / "benchmarks"))
    return {
        docs / "results.md": "\n\n".join(describe(part) for part in found),
        docs.parent / "README.md": brief(found),
    }


def parts(benchmarks: Path) -> Iterator[Part]:
    javanese = read(benchmarks, "javanese")
    yield part(
        "Compact model, real films: javanese",
        dict.fromkeys(("fused", "face", "voice"), javanese),
        "javanese",
    )
    names = {"fused": "multimodal", "face": "video", "voice": "audio"}
    for kind, (title, _) in KINDS.items():
        if not (benchmarks / f"{kind}-multimodal").is_dir():
            continue
        runs = {channel: read(benchmarks, f"{kind}-{name}") for channel, name in names.items()}
        for corpus, shown in (("ravdess", "RAVDESS"), ("cremad", "CREMA-D")):
            yield part(f"{title}: {shown}", runs, corpus)


def read(benchmarks: Path, run: str) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((benchmarks / run / "scores.json").read_text("utf-8"))
    return scores


def part(title: str, runs: dict[str, dict[str, Any]], corpus: str) -> Part:
    names = {"fused": "multimodal", "face": "video only", "voice": "audio only"}
    rows = {names[channel]: cell(run, corpus, channel) for channel, run in runs.items()}
    info, whole = runs["fused"]["info"], rows["multimodal"]
    conflict = next(c for c in runs["fused"]["conflicts"] if c["corpus"] == corpus)
    data = (
        f"{whole['num_clips']} clips of {whole['num_speakers']} speakers, "
        f"{len(whole['figures']['classes'])} emotions as intended; conflict: "
        f"{conflict['num_conflicts']} conflicts against {conflict['num_matches']} matches, "
        f"re-paired alike. Split: {info['protocol']}."
    )
    return Part(title, data, info["command"], rows, conflict)


def cell(run: dict[str, Any], corpus: str, channel: str) -> dict[str, Any]:
    """Scores of a channel; a network of one channel says the same as its fused head."""
    wanted = {"corpus": corpus, "target": "intended"}
    found = [c for c in run["emotions"] if all(c[key] == value for key, value in wanted.items())]
    by_channel = {c["channel"]: c for c in found}
    alone = len(run["conflicts"]) == 0
    return by_channel["fused"] if alone else by_channel[channel]


def describe(part: Part) -> str:
    lines = [f"### {part.title}", "", f"{part.data} Command: `{part.command}`.", ""]
    return "\n".join([*lines, *head(("model", *COLUMNS)), *map(row, cells(part))])


def brief(found: list[Part]) -> str:
    """Of each part the three models and the rows that are none, without intervals of F1."""
    lines = head(("data", "model", *COLUMNS))
    for one in found:
        for name, *figures in cells(one):
            short = [figure.partition(" [")[0] for figure in figures]
            lines.append(row((one.title, name, *short)))
    return "\n".join(lines)


def cells(part: Part) -> Iterator[tuple[str, ...]]:
    both = part.rows["multimodal"]["figures"]
    for name, scores in part.rows.items():
        figures = [scores["figures"][key] for key in ("war", "macro_f1", "weighted_f1")]
        conflict = [NONE, NONE]
        if name == "multimodal":
            auroc = part.conflict["ranking"]["auroc"]
            conflict = [number(auroc, 1), number(part.conflict["calls"]["balanced_accuracy"])]
        yield (name, *map(number, figures), *conflict)
    labels = part.conflict["calls"]["label_accuracy"]
    yield ("labels compared", "–", "–", "–", number(labels, 1), number(labels))
    counts = [sum(line) for line in both["confusion"]]
    yield ("the commonest class", *map(percent, always_commonest(counts)), "0.500", "50.0")
    yield ("chance", *map(percent, at_random(counts)), "0.500", "50.0")


def always_commonest(counts: list[int]) -> tuple[float, float, float]:
    """Accuracy, macro F1 and weighted F1 of naming the commonest class each time."""
    share = max(counts) / sum(counts)
    f1 = 2 * share / (1 + share)
    return share, f1 / len(counts), f1 * share


def at_random(counts: list[int]) -> tuple[float, float, float]:
    """The same of naming each class as often as any, over many clips."""
    even = 1 / len(counts)
    shares = [count / sum(counts) for count in counts]
    f1 = [2 * share * even / (share + even) for share in shares]
    return even, sum(f1) * even, sum(a * b for a, b in zip(shares, f1, strict=True))


def number(figure: dict[str, Any], scale: float = 100) -> str:
    """With its interval, where it has one; percent, or three digits at a scale of 1."""
    if "refused" in figure:
        return "refused"
    digits = 3 if scale == 1 else 1
    value, low, high = (
        None if figure[key] is None else f"{figure[key] * scale:.{digits}f}"
        for key in ("value", "low", "high")
    )
    return str(value) if low is None else f"{value} [{low}, {high}]"


def percent(share: float) -> str:
    return f"{share:.1%}".removesuffix("%")


def head(columns: tuple[str, ...]) -> list[str]:
    return [row(columns), "|" + "---|" * len(columns)]


def row(values: tuple[str, ...]) -> str:
    return "| " + " | ".join(values) + " |"


def put(path: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    page = path.read_text("utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
