"""facevoice against what is used in its stead: `fer` on every frame and librosa for the sound.

    python benchmarks/peers.py FILE --peer-python PEER/bin/python --runs 3     cost on a file
    python benchmarks/peers.py --peer-python PEER/bin/python                   on 10 s of 720p30
    python benchmarks/peers.py --peer-python PEER/bin/python --javanese FOLDER [--work WORK]

The peers run in an interpreter of their own; their weights are in the wheels:

    python3 -m venv PEER
    PEER/bin/pip install tensorflow-cpu==2.21.0 opencv-contrib-python==5.1.0.* librosa==0.11.0 \\
        "moviepy<2" ffmpeg-python matplotlib pandas requests tqdm "setuptools>=77.0.3,<81"
    PEER/bin/pip install torch==2.13.0 torchvision==0.28.0
    PEER/bin/pip install --no-deps fer==25.10.3 facenet-pytorch==2.6.0

A plain `pip install fer` brings the same with TensorFlow and torch for CUDA (facenet-pytorch asks
for torch < 2.3); any environment in which `fer` and `librosa` work will do. Take torch's CPU build
where there is no GPU; if torchvision does not fit it, see `peer_pipelines/compiled_nms.py`.

Cost: in each of `--runs` rounds, one after the other, facevoice and the peer with each of fer's two
detectors. “loaded” leaves out imports and loading of networks, and everything has been used once;
“whole” is the process from start to exit, so start-up weighs heavily where the file is short. CPU
seconds are user + system, all threads and children.

Accuracy: UAR on the Javanese films (FOLDER/video/*.mp4; see `peer_pipelines/baselines.py`), beside
facevoice's published figures. WORK keeps the peers' output, which is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyze_vs_decode import make_video, own_cpu_s
from facevoice.analyzer import Analyzer
from facevoice.evaluation.bootstrap import interval, uar_measure
from figures import keep

if TYPE_CHECKING:
    from peer_pipelines.baselines import Answer, PeerOutput

PIPELINE = Path(__file__).parent / "peer_pipelines" / "per_frame_fer.py"
PUBLISHED = Path(__file__).parents[1] / "docs" / "benchmarks" / "javanese" / "scores.json"
DETECTORS = ("mtcnn", "haar")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and the peak resident memory of a process of its own."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float | None = None


def run_process(command: Sequence[str]) -> tuple[Cost, str]:
    """Cost of a process with its children, and what it printed."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}\n{errors.read()[-2000:]}")
        return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), output.read()


def measure(action: Callable[[], object]) -> Cost:
    """Cost of an action in this process."""
    start, cpu_s = time.perf_counter(), own_cpu_s()
    action()
    return Cost(time.perf_counter() - start, own_cpu_s() - cpu_s)


def run_round(path: Path, python: Path) -> tuple[dict[str, Cost], dict[str, Cost], list[str]]:
    """What each pipeline takes once, loaded and as a whole; and a line on what each peer found."""
    command = [sys.executable, "-m", "facevoice", "analyze", str(path), "--no-progress"]
    analyzer = Analyzer()
    loaded = {"facevoice": measure(lambda: analyzer.analyze(path))}
    whole = {"facevoice": run_process(command)[0]}
    notes = []
    for detector in DETECTORS:
        name = f"fer {detector} + librosa"
        command = [str(python), str(PIPELINE), str(path), "--detector", detector]
        whole[name], printed = run_process(command)
        found = json.loads(printed)
        loaded[name] = Cost(found["wall_s"], found["cpu_s"])
        notes.append(
            f"{name}: a face in {found['num_faces']} of {found['num_frames']} frames, "
            f"{found['num_windows']} windows of sound; of {found['wall_s']:.1f} s wall, sound "
            f"{found['sound_wall_s']:.1f} s; loading {found['load_wall_s']:.1f} s; "
            f"NMS of {found['nms']}"
        )
    return loaded, whole, notes


def compare_cost(path: Path, python: Path, num_runs: int, kept: Path | None) -> None:
    """Time all pipelines in turn and print the figures."""
    report = Analyzer().analyze(path)
    if report.media is None or report.media.video is None:
        raise SystemExit(f"{path}: no video stream to compare with")
    info, duration_s = report.media.video, report.media.duration_s
    rounds = [run_round(path, python) for _ in range(num_runs)]
    loaded, whole = ([costs[place] for costs in rounds] for place in (0, 1))
    print(
        f"{path.name}: {info.width_px}x{info.height_px} {info.codec}, {duration_s:.1f} s, status "
        f"{report.status}, {len(report.windows)} windows of facevoice; {num_runs} runs, "
        f"{os.cpu_count()} cores. Medians per minute of video:"
    )
    print_costs("loaded", loaded, duration_s)
    a_minute = 60 / duration_s
    medians = {
        name: statistics.median(costs[name].wall_s for costs in loaded) * a_minute
        for name in loaded[0]
    }
    keep(kept, "peers", [{"name": n, "wall_s": round(s, 2)} for n, s in medians.items()])
    print_costs("whole", whole, duration_s)
    print("Last round:", *rounds[-1][2], sep="\n  ")


def print_costs(title: str, rounds: Sequence[dict[str, Cost]], duration_s: float) -> None:
    """One line a pipeline; ratios are to facevoice in the same round."""
    print(
        f"  {title:22} {'wall s':>8} {'x facevoice':>11} {'CPU s':>8} {'x facevoice':>11}  peak MB"
    )
    for name in rounds[0]:
        costs = [costs[name] for costs in rounds]
        own = [costs["facevoice"] for costs in rounds]
        wall_s, cpu_s = (
            statistics.median(seconds) * 60 / duration_s
            for seconds in ([c.wall_s for c in costs], [c.cpu_s for c in costs])
        )
        pairs = list(zip(costs, own, strict=True))
        wall_ratio = statistics.median(cost.wall_s / base.wall_s for cost, base in pairs)
        cpu_ratio = statistics.median(cost.cpu_s / base.cpu_s for cost, base in pairs)
        memory = [cost.peak_rss_mb for cost in costs if cost.peak_rss_mb is not None]
        peak = f"{statistics.median(memory):8.0f}" if memory else f"{'–':>8}"
        print(f"  {name:22} {wall_s:8.1f} {wall_ratio:11.1f} {cpu_s:8.1f} {cpu_ratio:11.1f} {peak}")


def peer_files(folder: Path, work: Path, python: Path, detector: str) -> list[Path]:
    """The peer's output for each clip, made where it is missing."""
    clips = sorted((folder / "video").glob("*.mp4"))
    if not clips:
        raise SystemExit(f"{folder}/video: no clips")
    target = work / detector
    missing = [str(clip) for clip in clips if not (target / f"{clip.stem}.npz").is_file()]
    if missing:
        options = ["--detector", detector, "--window-s", "0", "--output", str(target)]
        run_process([str(python), str(PIPELINE), *missing, *options])
    return [target / f"{clip.stem}.npz" for clip in clips]


def compare_accuracy(folder: Path, work: Path, python: Path) -> None:
    """Print the UAR of the peers on the Javanese films, and facevoice's published ones."""
    # Here, since it takes scikit-learn (facevoice's extra `train`), which the cost does without.
    from peer_pipelines import baselines  # noqa: PLC0415

    outputs = {
        detector: baselines.read_output(peer_files(folder, work, python, detector))
        for detector in DETECTORS
    }
    first = outputs[DETECTORS[0]]
    print(
        f"Javanese films: {len(first.truth)} clips of {len(set(first.speakers))} speakers, "
        f"{len(baselines.CLASSES)} classes; UAR %, 95 % interval by bootstrap over speakers"
    )
    print_answers("librosa", first, baselines.voice_answers(first))
    for detector, output in outputs.items():
        print_answers(f"fer {detector}", output, baselines.face_answers(output))
    for detector, output in outputs.items():
        print_answers(f"fer {detector}, librosa", output, baselines.fused_answers(output))
    print_published()


def print_answers(name: str, output: PeerOutput, answers: Iterable[Answer]) -> None:
    """One line a method: UAR over the clips for which it says something."""
    for answer in answers:
        known = answer.known
        measure = uar_measure(output.truth[known], answer.said[known])
        found = interval(measure, output.speakers[known])
        print_line(
            answer.channel,
            f"{name}: {answer.method}",
            (found.estimate, found.low, found.high),
            int((~known).sum()),
        )


def print_line(channel: str, name: str, figure: Sequence[float], num_missing: int) -> None:
    """One figure, given as a share with its interval."""
    value, low, high = (100 * part for part in figure)
    missing = f"  ({num_missing} clips without an answer left out)" if num_missing else ""
    print(f"  {channel:6} {name:54} {value:5.1f}  {low:5.1f}–{high:4.1f}{missing}")


def print_published() -> None:
    """facevoice's figures as they stand in the docs."""
    scores = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    for found in scores["emotions"]:
        figure = found["figures"]["uar"]
        channel = "both" if found["channel"] == "fused" else found["channel"]
        values = (figure["value"], figure["low"], figure["high"])
        print_line(channel, "facevoice, published", values, found["num_missing"])
    print(f"facevoice's are quoted from {PUBLISHED}, made by: {scores['info']['command']}")


def main() -> None:
    """Read the arguments; make the clip where none is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--peer-python", type=Path, required=True, help="the peers' interpreter")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--javanese", type=Path, help="accuracy on this corpus instead of cost")
    parser.add_argument("--work", type=Path, help="folder that keeps the peers' output")
    parser.add_argument("--json", type=Path, help="see figures.py")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.javanese:
            work = arguments.work or Path(folder)
            compare_accuracy(arguments.javanese, work, arguments.peer_python)
            return
        path = arguments.file or Path(folder) / "made_720p30.mp4"
        if not arguments.file:
            make_video(path)
        compare_cost(path, arguments.peer_python, arguments.runs, arguments.json)


if __name__ == "__main__":
    main()
