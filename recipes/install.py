"""Put freshly made networks into the package.

    python -m recipes.install --face WORK/face.onnx --voice WORK/voice.onnx

The cards `face.md` and `voice.md` beside the weights tell data, recipe and figures: bring them up
to date whenever this is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.weights_index import store_weights

LICENSES = {
    "face": "research use (trained on FER2013)",
    "voice": "CC BY-NC-SA 4.0 (OpenAI Whisper, MIT; tuned on RAVDESS, Javanese and EmoDB)",
}
TRAINING_CORPORA: dict[str, tuple[str, ...]] = {
    "face": ("fer2013",),
    "voice": ("emodb", "javanese", "ravdess"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in LICENSES:
        parser.add_argument(f"--{name}", type=Path)
    arguments = vars(parser.parse_args())
    for name, license_text in LICENSES.items():
        path: Path | None = arguments[name]
        if path is not None:
            content = path.read_bytes()
            store_weights(
                name,
                f"{name}.onnx",
                content,
                license=license_text,
                card=f"{name}.md",
                training_corpora=TRAINING_CORPORA[name],
            )


if __name__ == "__main__":
    main()
