"""onnxruntime sessions on weights that are checked by SHA-256 before they are opened.

The package's own weights lie in `facevoice/weights`, beside `index.json`:
`{name: {"file": …, "sha256": …, "license": …, "card": …, "training_corpora": […]}}`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from onnxruntime import InferenceSession, SessionOptions

from facevoice.errors import WeightsError
from facevoice.records import ModelId

_REMEDY = "Reinstall facevoice (pip install --force-reinstall facevoice)."


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One line of the index: file and card lie in the same folder as the index.

    training_corpora: those of facevoice's corpora that the weights learnt from.
    """

    name: str
    file: str
    sha256: str
    license: str
    card: str
    training_corpora: tuple[str, ...] = ()


def load_session(name: str, *, num_threads: int = 1) -> tuple[InferenceSession, ModelId]:
    """Open the network `name` of `weights/index.json` on the CPU.

    num_threads: threads inside one operator; one is best where files are worked on in parallel.

    Raises:
        WeightsError: the name is unknown, or the file is absent, damaged or not the one indexed.
    """
    entry = weights_entry(name)
    content = read_weights(name)
    return _open(content, entry.file, num_threads), ModelId(name=name, sha256=entry.sha256)


def load_session_file(
    path: Path, *, name: str, sha256: str, num_threads: int = 1
) -> tuple[InferenceSession, ModelId]:
    """Open an ONNX file from outside the package, if it is the one with this SHA-256.

    Raises:
        WeightsError: the file is absent, damaged, or another one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}).") from error
    _check_sha256(content, sha256, str(path), f"Reinstall the package that brings {name}.")
    return _open(content, str(path), num_threads), ModelId(name=name, sha256=sha256)


def read_weights(name: str) -> bytes:
    """The file of `name` in `weights/index.json`, whatever its format.

    Raises:
        WeightsError: the name is unknown, or the file is absent, damaged or not the one indexed.
    """
    entry = weights_entry(name)
    path = resources.files("facevoice") / "weights" / entry.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}). {_REMEDY}") from error
    _check_sha256(content, entry.sha256, str(path), _REMEDY)
    return content


def weights_entry(name: str) -> WeightsEntry:
    """What `weights/index.json` says of `name`.

    Raises:
        WeightsError: the index is absent or damaged, or does not know the name.
    """
    path = resources.files("facevoice") / "weights" / "index.json"
    try:
        index: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: can't be read ({error}). {_REMEDY}") from error
    if name not in index:
        raise WeightsError(f"no weights named {name!r}; known: {', '.join(sorted(index))}")
    values = index[name]
    try:
        return WeightsEntry(
            name=name,
            file=values["file"],
            sha256=values["sha256"],
            license=values["license"],
            card=values["card"],
            training_corpora=tuple(values.get("training_corpora", ())),
        )
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{path}: entry {name!r} lacks {error}. {_REMEDY}") from error


def _check_sha256(content: bytes, expected: str, origin: str, remedy: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsError(f"{origin}: SHA-256 is {found}, expected {expected}. {remedy}")


def _open(content: bytes, origin: str, num_threads: int) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Spinning threads would eat the core that decoding needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return InferenceSession(content, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise WeightsError(f"{origin}: onnxruntime can't open it ({error}).") from error
