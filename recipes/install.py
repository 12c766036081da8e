"""Put freshly made networks into the package.

    python -m recipes.install --face WORK/face.onnx --voice WORK/voice.onnx

The cards `face.md` and `voice.md` beside the weights tell data, recipe and figures: bring them up
to date whenever this is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.weights_index import store_weights

from facevoice.backbones.compact import CompactFace, CompactVoice

SPECS = {"face": CompactFace.spec, "voice": CompactVoice.spec}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in SPECS:
        parser.add_argument(f"--{name}", type=Path)
    arguments = vars(parser.parse_args())
    for name, spec in SPECS.items():
        path: Path | None = arguments[name]
        if path is not None:
            content = path.read_bytes()
            store_weights(
                name,
                f"{name}.onnx",
                content,
                license=spec.license,
                card=f"{name}.md",
                training_corpora=spec.training_corpora,
            )


if __name__ == "__main__":
    main()
