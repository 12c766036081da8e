"""Where networks run: onnxruntime sessions on checked weights, and torch one run at a time.

The package's own weights lie in `facevoice/weights`, beside `index.json`:
`{name: {"file": …, "sha256": …, "license": …, "card": …, "training_corpora": […]}}`.
A file whose name ends in `.z` is packed by zlib.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from mmap import ACCESS_READ, mmap
from pathlib import Path
from threading import RLock
from typing import Any, Final

from onnxruntime import InferenceSession, SessionOptions

from facevoice.errors import MissingExtraError, WeightsError
from facevoice.plain import parse_json, read_bounded
from facevoice.records import ModelId

PACKED: Final = ".z"
_REMEDY: Final = "Install facevoice again."
_MAX_WEIGHTS_BYTES: Final = 8 << 30
_TORCH_LOCK: Final = RLock()


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


def weights_entry(name: str) -> WeightsEntry:
    """What `weights/index.json` says of `name`.

    Raises:
        WeightsError: the index is absent or damaged, or does not know the name.
    """
    path = Path(str(resources.files("facevoice") / "weights" / "index.json"))
    index = read_json(path, _REMEDY)
    if name not in index:
        raise WeightsError(f"no weights named {name!r}; known: {', '.join(sorted(index))}")
    try:
        values = {"training_corpora": (), **index[name]}
        return WeightsEntry(name, **{**values, "training_corpora": (*values["training_corpora"],)})
    except TypeError as error:
        raise WeightsError(f"{path}: entry {name!r} is damaged ({error}). {_REMEDY}") from error


def weights_names() -> tuple[str, ...]:
    """All that `weights/index.json` lists, in order."""
    path = Path(str(resources.files("facevoice") / "weights" / "index.json"))
    return tuple(sorted(read_json(path, _REMEDY)))


def read_weights(name: str) -> bytes:
    """The file of `name` in `weights/index.json`, unpacked, whatever its format.

    Raises:
        WeightsError: the name is unknown, or the file is absent, damaged or not the one indexed.
    """
    entry = weights_entry(name)
    path = Path(str(resources.files("facevoice") / "weights" / entry.file))
    content = read_checked(path, entry.sha256, _REMEDY)
    return zlib.decompress(content) if path.suffix == PACKED else content


def read_checked(path: Path, sha256: str, remedy: str) -> bytes:
    """The bytes of a file, if they have this SHA-256.

    Raises:
        WeightsError: the file can't be read, or is another one; `remedy` says what to do.
    """
    try:
        content = read_bounded(path, _MAX_WEIGHTS_BYTES)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}). {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(f"{path}: SHA-256 is {found}, expected {sha256}. {remedy}")
    return content


def inside(folder: Path, name: str) -> Path:
    """The file of a model's folder that an index names, wherever links lead but not out of it.

    Links of the hub's cache lead to the bytes beside its folder, which is as well.

    Raises:
        WeightsError: it lies elsewhere.
    """
    path, home = folder / name, folder.resolve()
    found = path.resolve()
    # In the cache: models--owner--name/snapshots/COMMIT, and the bytes in models--…/blobs.
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    is_named = not (Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name)
    if not is_named or not (found.is_relative_to(home) or found.parent == blobs):
        raise WeightsError(f"{folder}: {name!r} lies outside this folder; get the folder again")
    return path


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file that lies beside weights.

    Raises:
        WeightsError: the file can't be read, or holds none; `remedy` says what to do.
    """
    try:
        values = parse_json(read_bounded(path))
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}). {remedy}") from error
    except ValueError as error:
        raise WeightsError(f"{path}: is damaged ({error}). {remedy}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: is damaged (it holds no JSON object). {remedy}")
    return values


def load_session(name: str, *, num_threads: int = 1) -> tuple[InferenceSession, ModelId]:
    """Open the network `name` of `weights/index.json` on the CPU.

    num_threads: threads inside one operator; one is best where files are worked on in parallel.

    Raises:
        WeightsError: the name is unknown, or the file is absent, damaged or not the one indexed.
    """
    entry = weights_entry(name)
    session = open_session(read_weights(name), entry.file, num_threads)
    return session, ModelId(name, entry.sha256)


def open_session(network: bytes | Path, origin: str, num_threads: int = 1) -> InferenceSession:
    """Open an ONNX network on the CPU; by path, so that a large one is not held twice.

    Raises:
        WeightsError: it is none; the message begins with `origin`.
    """
    _check_whole(network, origin)
    options = SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Spinning threads would eat the core that decoding needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    source = str(network) if isinstance(network, Path) else network
    try:
        return InferenceSession(source, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise WeightsError(f"{origin}: onnxruntime can't open it ({error}).") from error


# Of the messages of ONNX, those that hold tensors: which fields hold which others.
_MESSAGES: Final = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_FIXED_BYTES: Final = {1: 8, 5: 4}
_EXTERNAL_DATA: Final = 13


def _check_whole(network: bytes | Path, origin: str) -> None:
    """WeightsError if some of a network's weights lie in other files, whose hash nobody checks."""
    try:
        if isinstance(network, bytes):
            is_whole = _is_whole(network)
        else:
            with network.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                is_whole = _is_whole(content)
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(f"{origin}: onnxruntime can't open it ({error}).") from error
    if not is_whole:
        raise WeightsError(f"{origin}: its weights lie in other files; put them into this one.")


def _is_whole(content: bytes | mmap) -> bool:
    """Whether all tensors of an ONNX file hold their values; ValueError if it is none."""
    waiting = [("model", 0, len(content))]
    while waiting:
        kind, place, end = waiting.pop()
        while place < end:
            tag, place = _varint(content, place)
            field, form = tag >> 3, tag & 7
            if kind == "tensor" and field == _EXTERNAL_DATA:
                return False
            if form == 0:
                _, place = _varint(content, place)
            elif form == 2:
                size, place = _varint(content, place)
                inner = _MESSAGES[kind].get(field)
                if inner is not None:
                    waiting.append((inner, place, place + size))
                place += size
            elif form in _FIXED_BYTES:
                place += _FIXED_BYTES[form]
            else:
                raise ValueError(f"field {field} of form {form}")
        if place != end:
            raise ValueError("it is cut off")
    return True


def _varint(content: bytes | mmap, place: int) -> tuple[int, int]:
    """A number, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than ten bytes")


@contextmanager
def frozen_run(num_threads: int, *, gradients: bool = False) -> Iterator[None]:
    """Run torch with that many CPU threads, one run at a time, and without gradients unless asked.

    The thread count belongs to the process: overlapping runs would restore it in the wrong order,
    and would share the cores without gain. So every run of a frozen network waits for its turn.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch = import_torch("a pretrained backbone")
    with _TORCH_LOCK:
        before = torch.get_num_threads()
        torch.set_num_threads(num_threads)
        try:
            with torch.enable_grad() if gradients else torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)


def import_torch(feature: str) -> Any:
    """The module `torch`.

    Raises:
        MissingExtraError: it is not installed; says that `feature` needs it.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(feature, "full") from error
    return torch
