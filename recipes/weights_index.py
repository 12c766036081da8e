"""Puts a network into the package: its file, and its line in `weights/index.json`."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

from facevoice.sessions import PACKED

WEIGHTS_DIR = Path(__file__).resolve().parent.parent / "src" / "facevoice" / "weights"


def store_weights(
    name: str,
    file: str,
    content: bytes,
    *,
    license: str,
    card: str,
    training_corpora: tuple[str, ...] = (),
) -> None:
    """Write `content` as `file` and index it as `name`; `card` is a file of the same folder.

    A file whose name ends in `.z` is packed by Huffman's codes alone: in small whole numbers
    without order, the search for repeats that wheels make finds some that cost more than they save.
    """
    if file.endswith(PACKED):
        packing = zlib.compressobj(9, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
        content = packing.compress(content) + packing.flush()
    WEIGHTS_DIR.mkdir(parents=True, exist_ok=True)
    (WEIGHTS_DIR / file).write_bytes(content)
    path = WEIGHTS_DIR / "index.json"
    index = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    digest = hashlib.sha256(content).hexdigest()
    index[name] = {"file": file, "sha256": digest, "license": license, "card": card}
    if training_corpora:
        index[name]["training_corpora"] = list(training_corpora)
    text = json.dumps(dict(sorted(index.items())), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{name}: {file}, {len(content)} bytes, SHA-256 {digest}")
