"""`facevoice agree` on real films with known labels, against scikit-learn.

    python -m benchmarks.agreement --corpora CORPORA --work WORK [--speakers 01 02]

All films of a javanese speaker are joined into one, each with its own length and its own sound, and
analysed as `facevoice analyze` does it. What the speaker was asked to express is written as a table
and as an ELAN file, and `facevoice agree --json` is run on both. Beside its figures stand those of
scikit-learn's `cohen_kappa_score` and of the package `krippendorff`, on labels that are found by
another way here: by the millisecond. The shipped model has met these speakers, so the figures say
that the arithmetic holds, not how well strangers are read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import krippendorff
import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from sklearn.metrics import cohen_kappa_score

from facevoice.exchange import Document, Span, Tier, to_eaf
from facevoice.records import EMOTIONS, SAMPLE_RATE_HZ, Report
from facevoice.report import end_of, label_of, read_report

RATE_HZ: Final = 30
EMOTION_CODES: Final = ("neutral", "sad", "happy", "surprised", "fearful", "angry")
PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Labelled:
    """A film in the joined one, and what it was to express."""

    start_s: float
    end_s: float
    label: str


def join(films: list[Path], target: Path) -> list[Labelled]:
    """The films one after the other; each begins on a whole picture."""
    labelled, begun = [], 0
    with av.open(str(target), "w") as output:
        video = output.add_stream("libx264", rate=RATE_HZ, options={"crf": "18"})
        audio = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for film in films:
            pictures, sound = _read(film)
            if begun == 0:
                height, width, _ = pictures[0].shape
                video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            for k, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = begun + k, Fraction(1, RATE_HZ)
                output.mux(video.encode(frame))
            size = len(pictures) * SAMPLE_RATE_HZ // RATE_HZ
            fitted = np.zeros(size, np.float32)
            fitted[: min(size, len(sound))] = sound[:size]
            part = av.AudioFrame.from_ndarray(fitted[None], format="fltp", layout="mono")
            part.rate, part.pts = SAMPLE_RATE_HZ, begun * SAMPLE_RATE_HZ // RATE_HZ
            output.mux(audio.encode(part))
            label = EMOTION_CODES[int(film.stem.split("-")[2][:2]) - 1]
            end = begun + len(pictures)
            labelled.append(Labelled(begun / RATE_HZ, end / RATE_HZ, label))
            begun = end
        output.mux([*video.encode(None), *audio.encode(None)])
    return labelled


def _read(film: Path) -> tuple[list[np.ndarray], np.ndarray]:
    pictures: list[np.ndarray] = []
    with av.open(str(film)) as source:
        for frame in source.decode(video=0):
            while len(pictures) <= float(frame.time or 0.0) * RATE_HZ:
                pictures.append(frame.to_ndarray(format="rgb24"))
    resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE_HZ)
    with av.open(str(film)) as source:
        parts = [p for f in source.decode(audio=0) for p in resampler.resample(f)]
    return pictures, np.concatenate([part.to_ndarray()[0] for part in parts])


def write_truth(labelled: list[Labelled], folder: Path) -> tuple[Path, Path]:
    """What is true, as a table and for ELAN: the same for face and voice."""
    table = folder / "truth.csv"
    rows = [f"{one.start_s:.3f},{one.end_s:.3f},{one.label},{one.label}" for one in labelled]
    table.write_text("\n".join(["start,end,face,voice", *rows]) + "\n", encoding="utf-8")
    spans = tuple(Span(one.start_s, one.end_s, one.label) for one in labelled)
    tiers = tuple(Tier(name, spans) for name in ("face", "voice"))
    eaf = folder / "truth.eaf"
    eaf.write_text(to_eaf(Document(tiers)), encoding="utf-8")
    return table, eaf


def by_millisecond(
    report: Report, labelled: list[Labelled], channel: str
) -> tuple[list[str], list[str]]:
    """True and read labels of the windows, each found by counting milliseconds."""
    times_s = (np.arange(round(end_of(report) * PER_S)) + 0.5) / PER_S
    truth = np.full(len(times_s), "", dtype="U16")
    for one in labelled:
        truth[(times_s >= one.start_s) & (times_s < one.end_s)] = one.label
    middles = np.array([(w.start_s + w.end_s) / 2 for w in report.windows])
    nearest = np.abs(times_s[:, None] - middles).argmin(axis=1)
    true, said = [], []
    for place, window in enumerate(report.windows):
        label = label_of(window, channel)
        found, counts = np.unique(truth[nearest == place], return_counts=True)
        marked = counts[found != ""]
        if label is not None and marked.sum() >= counts.sum() / 2:
            true.append(str(found[found != ""][marked.argmax()]))
            said.append(label)
    return true, said


def run(*arguments: str) -> str:
    """What `facevoice` prints."""
    command = [sys.executable, "-m", "facevoice", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rows(corpora: Path, work: Path, speaker: str) -> Iterator[str]:
    """A row for each channel and form of the truth."""
    folder = work / f"javanese-{speaker}"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(corpora / "javanese.zip") as archive:
        names = [n for n in archive.namelist() if n.startswith(f"video/{speaker}-")]
        films = [Path(archive.extract(name, folder)) for name in sorted(names)]
    rng = np.random.default_rng(int(speaker))
    film = folder / f"{speaker}.mp4"
    labelled = join([films[k] for k in rng.permutation(len(films))], film)
    truths = write_truth(labelled, folder)
    run("analyze", str(film), "--out", str(folder), "--format", "json", "-q")
    path = folder / f"{speaker}.json"
    report = read_report(path)
    for truth in truths:
        told = json.loads(run("agree", str(path), str(truth), "--json", "-q"))
        for one in told["comparisons"]:
            if one["unit"] == "window":
                yield _row(speaker, truth.suffix, one, report, labelled)


def _row(
    speaker: str, ending: str, one: dict[str, Any], report: Report, labelled: list[Labelled]
) -> str:
    true, said = by_millisecond(report, labelled, one["channel"])
    names = [emotion.value for emotion in EMOTIONS]
    oracle = cohen_kappa_score(true, said)
    numbers = [[names.index(label) for label in labels] for labels in (true, said)]
    alpha = krippendorff.alpha(numbers, level_of_measurement="nominal")
    told, wanted = (one["num_units"], one["kappa"], one["alpha"]), (len(true), oracle, alpha)
    if not np.allclose(told, wanted, rtol=0, atol=1e-6):
        raise SystemExit(f"facevoice says {told}, the packages {wanted}")
    limits = f"{one['low']:.2f} to {one['high']:.2f}" if one["low"] is not None else "none"
    return (
        f"| {speaker} | {ending} | {one['channel']} | {one['num_units']} | {one['agreed']:.1%} | "
        f"{one['kappa']:.6f} | {limits} | {oracle:.6f} | {one['alpha']:.6f} | {alpha:.6f} |"
    )


def main() -> None:
    """Print the table; fails where a figure isn't the oracle's."""
    parser = corpora_parser(__doc__)
    parser.add_argument("--speakers", nargs="+", default=["01"])
    arguments = parse_with_corpora(parser)
    print(
        "| speaker | truth as | channel | windows | same | kappa | 95 % | scikit-learn | alpha | "
        "krippendorff |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for speaker in arguments.speakers:
        for row in rows(arguments.corpora, arguments.work, speaker):
            print(row, flush=True)


if __name__ == "__main__":
    main()
