"""Where eyes, nose and mouth lie in a FER2013 picture: the template that face crops are aligned to.

Faces of a video are warped so that their landmarks fall where those of FER2013's pictures do, so a
network trained on FER2013 sees the framing that it knows. The landmarks are measured with our own
detector, so its habits cancel out.

    python -m recipes.face_template --fer2013 FOLDER    # holds train/<emotion>/*.jpg

Prints the constant for `facevoice/people/detect.py`; `--out` writes it as JSON too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from facevoice.people.detect import FaceDetector
from facevoice.records import FloatArray

SIDE_PX = 48
UPSCALE = 4
# Faces fill the pictures; the detector wants some room around them.
MARGIN_PX = 48
MIRRORED = [1, 0, 2, 4, 3]


def measure(picture: Image.Image, detector: FaceDetector) -> FloatArray | None:
    """Landmarks (5, 2) of the largest face as fractions of the picture's side, or None."""
    side = SIDE_PX * UPSCALE
    big = np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    padded = np.pad(big, ((MARGIN_PX,) * 2, (MARGIN_PX,) * 2, (0, 0)), mode="edge")
    found = detector.detect(padded)
    if not len(found):
        return None
    widths = found.boxes_xyxy[:, 2] - found.boxes_xyxy[:, 0]
    landmarks: FloatArray = (found.landmarks_px[int(widths.argmax())] - MARGIN_PX) / side
    return landmarks


def symmetric(template: FloatArray) -> FloatArray:
    """Mean of a template and its mirror image."""
    mirror = template[MIRRORED] * [-1, 1] + [1, 0]
    mean: FloatArray = (template + mirror) / 2
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--per-emotion", type=int, default=215)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    detector = FaceDetector(min_face_px=64, min_score=0.5)
    rng = np.random.default_rng(0)
    num_seen, landmarks = 0, []
    for folder in sorted(p for p in (args.fer2013 / "train").iterdir() if p.is_dir()):
        paths = sorted(folder.glob("*.jpg"))
        chosen = rng.permutation(len(paths))[: args.per_emotion]
        num_seen += len(chosen)
        found = [measure(Image.open(paths[i]), detector) for i in chosen]
        landmarks += [points for points in found if points is not None]
        print(f"{folder.name}: {sum(f is not None for f in found)} of {len(chosen)}")
    points = np.stack(landmarks)
    template = symmetric(np.median(points, axis=0))
    spread = np.median(np.abs(points - np.median(points, axis=0)), axis=0)
    print(f"faces found in {len(points)} of {num_seen} pictures")
    print(f"median absolute deviation:\n{spread.round(3)}")
    print(f"mean − median:\n{(points.mean(axis=0) - np.median(points, axis=0)).round(3)}")
    print(f"FACE_TEMPLATE = {template.round(4).tolist()}")
    if args.out:
        result = {"template": template.round(4).tolist(), "num_faces": len(points)}
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
