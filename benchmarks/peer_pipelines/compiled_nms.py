"""Non-maximum suppression for facenet-pytorch where torchvision's compiled part does not load.

The torchvision wheel on PyPI is built for CUDA; beside a CPU build of torch its compiled part is
missing and `import torchvision` fails. All that facenet-pytorch needs of it is `nms`. Here OpenCV's
compiled one is put in its place, so the detector does the same work. Where torchvision is whole
nothing is changed.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

_KEEP_ALIVE: list[Any] = []


def ensure_nms() -> str:
    """Make `import torchvision` work; return whose `nms` is used, torchvision's or OpenCV's."""
    # Here, since the Haar variant must not pay for loading it.
    torch: Any = importlib.import_module("torch")

    if _compiled_part_loads(torch):
        return "torchvision"
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    _KEEP_ALIVE.append(library)
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True
    return "OpenCV"


def _compiled_part_loads(torch: Any) -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("torchvision is missing: see the docstring of benchmarks/peers.py")
    for path in Path(spec.submodule_search_locations[0]).glob("_C*.so"):
        try:
            torch.ops.load_library(str(path))
        except OSError:
            continue
        return True
    return False


def _nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Indices of the boxes (n, 4: x1, y1, x2, y2) that are kept, by falling score."""
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    corners = boxes.detach().numpy().astype("float64")
    corners[:, 2:] -= corners[:, :2]
    # Scores are probabilities that the detector has thresholded: none is 0.
    kept = cv2.dnn.NMSBoxes(corners, scores.detach().numpy(), 0.0, iou_threshold)
    return torch.as_tensor(kept, dtype=torch.int64).reshape(-1)
