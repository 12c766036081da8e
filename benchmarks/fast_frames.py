"""What the cheaper sampling of frames changes in what is said, on real films.

    python benchmarks/fast_frames.py FOLDER             such as javanese/video of the corpora

Analyses every film in the folder twice with the shipped model: with the defaults (`exact_frames` =
false, `detect_rate_hz` = 0.625), and as the accuracy benchmarks of docs/benchmarks were measured
(true, 1.25). Prints how far the posteriors of windows are apart, how often the likeliest emotion or
the outcome differ, face coverage of both, and the CPU seconds of both. Where names are those of the
javanese corpus (AA-BB-CC_DD, CC the emotion), also how often the face and both together name the
intended emotion with each: the model has learnt from these films, so only the difference tells.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import time
from pathlib import Path

import numpy as np

from facevoice import Analyzer, AnalyzerConfig, Emotion, Prediction, Report
from facevoice.finding import find_media
from facevoice.settings import FacesConfig

JAVANESE = dict(
    zip(
        ("01", "02", "03", "04", "05", "06"),
        ("neutral", "sad", "happy", "surprised", "fearful", "angry"),
        strict=True,
    )
)


def analyze_all(paths: list[Path], config: AnalyzerConfig) -> tuple[list[Report], float]:
    analyzer = Analyzer(config)
    began = time.process_time()
    return [analyzer.analyze(path) for path in paths], time.process_time() - began


def distance(one: Prediction, other: Prediction, channel: str) -> float | None:
    """Half the sum of absolute differences, 0 to 1; None if neither has the channel."""
    a, b = getattr(one, channel), getattr(other, channel)
    if a is None or b is None:
        return None if a is b else 1.0
    return float(np.abs(a.probs - b.probs).sum() / 2)


def named_rate(reports: list[Report], channel: str) -> float | None:
    """Mean recall in per cent of the intended emotion among the corpus' six."""
    hits = collections.defaultdict(list)
    places = [Emotion(name).position for name in JAVANESE.values()]
    for report in reports:
        code = Path(report.path).stem.split("_")[0].split("-")[-1]
        posterior = None if report.summary is None else getattr(report.summary, channel)
        if code not in JAVANESE:
            return None
        intended = Emotion(JAVANESE[code]).position
        said = None if posterior is None else places[int(posterior.probs[places].argmax())]
        hits[code].append(said == intended)
    return 100 * statistics.mean(statistics.mean(values) for values in hits.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    paths = [path for path in find_media([options.folder]) if isinstance(path, Path)]
    fast, fast_s = analyze_all(paths, AnalyzerConfig())
    faces = FacesConfig(exact_frames=True, detect_rate_hz=1.25)
    exact, exact_s = analyze_all(paths, AnalyzerConfig(faces=faces))
    pairs = [
        (a, b)
        for one, other in zip(fast, exact, strict=True)
        for a, b in zip(one.windows, other.windows, strict=True)
    ]
    print(f"{len(paths)} films, {len(pairs)} windows; CPU-s {fast_s:.1f} against {exact_s:.1f}")
    for channel in ("face", "voice", "fused"):
        found = [distance(a, b, channel) for a, b in pairs]
        known = [d for d in found if d is not None]
        tops = [
            getattr(a, channel).probs.argmax() != getattr(b, channel).probs.argmax()
            for a, b in pairs
            if getattr(a, channel) is not None and getattr(b, channel) is not None
        ]
        print(
            f"  {channel:6} distance median {statistics.median(known):.3f}, "
            f"95 % below {np.quantile(known, 0.95):.3f}; another likeliest in {sum(tops)}"
        )
    print(f"  another outcome in {sum(a.outcome is not b.outcome for a, b in pairs)} windows")
    for name, reports in (("fast", fast), ("exact", exact)):
        coverage = statistics.mean(w.face_coverage for r in reports for w in r.windows)
        rates = {c: named_rate(reports, c) for c in ("face", "fused")}
        shown = ", ".join(f"{c} {rate:.1f} %" for c, rate in rates.items() if rate is not None)
        print(
            f"  {name:6} face coverage {coverage:.4f}; intended emotion named: {shown or 'unknown'}"
        )


if __name__ == "__main__":
    main()
