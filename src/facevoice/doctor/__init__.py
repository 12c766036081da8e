"""What an installation is able to do, and what to do about what it isn't: `facevoice doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from facevoice.errors import FacevoiceError, install_command
from facevoice.records import VERSION


class State(StrEnum):
    """Of a finding: well, missing (what needs it isn't for everybody), or broken."""

    WELL = "well"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing, in words; remedy: what to do about it, empty if well."""

    about: str
    name: str
    state: State
    words: str
    remedy: str = ""


EXTRAS: Final = {
    "data": "getting, preparing and scoring corpora",
    "full": "the large backbones VideoMAE and Wav2Vec2, and the hub; brings torch",
    "train": "training; brings torch",
    "plot": "plots by matplotlib",
    "web": "the web app",
    "ray": "many files on several machines",
    "remote": "files at addresses such as https:// and s3://",
    "parquet": "tables as Parquet files",
    "transcribe": "writing down what is said",
    "explain": "`facevoice explain --gradients` with the large backbones; brings torch",
    "exchange": "reports as audformat databases",
    "serve": "the service for other programs",
    "postgres": "a service of several processes",
    "mcp": "tools for assistants",
    "docs": "building the site of the documentation",
}
"""The optional parts that `facevoice doctor` tells of, and what each is for."""

_REINSTALL: Final = (
    f"pip install --force-reinstall --no-deps facevoice=={VERSION} (or the wheel or clone that it "
    "came from)"
)
_REINSTALL_ALL: Final = _REINSTALL.replace(" --no-deps", "")
_ROOM: Final = (
    "the web app, the service and all that reads files by strangers need it: free some space, or "
    "name another folder: TMPDIR=/some/folder"
)
_DECODERS: Final = {
    "h264": "most MP4 and MOV files",
    "hevc": "films of newer phones",
    "vp9": "WebM files",
    "av1": "newer WebM and MP4 files",
    "mpeg4": "older MP4 and AVI files",
    "aac": "the sound of most films",
    "mp3": "MP3 sound",
    "opus": "WebM sound and voice messages",
    "flac": "FLAC sound",
    "pcm_s16le": "WAV sound",
}
_NEEDED_DECODERS: Final = frozenset({"h264", "aac"})
# Any of these is enough to write what `facevoice render` writes.
_ENCODERS: Final = {"films": ("libx264", "h264", "libopenh264"), "their sound": ("aac",)}
_NEEDED_BYTES: Final = 200_000_000
_ISOLATION: Final = "isolation"
_TRIAL: Final = "trying it out"
# These write temporary files, and read nothing else by hand.
_WRITING: Final = (_ISOLATION, _TRIAL)


def examine(*, try_out: bool = True) -> list[Finding]:
    """Look at the installation, its surroundings, and, if asked, analyse a clip made from nothing.

    Nothing is left behind: what is tried lies in the folder for temporary files, and is removed.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("optional parts", _extras),
        ("weights", _weights),
        ("decoders", _codecs),
        ("drawing", _fonts),
        ("processors", _processors),
        (_ISOLATION, _isolation),
        ("writing", _places),
    ]
    found = [finding for about, check in checks for finding in _looked(about, check)]
    if try_out and not any(finding.state is State.BROKEN for finding in found):
        found += _looked(_TRIAL, _self_test)
    return found


def _looked(about: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; what it stumbles over is a finding too."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - a doctor tells of whatever is broken
        if isinstance(error, OSError) and about in _WRITING:
            words = f"can't be tried ({error.strerror or error})"
            yield Finding(about, about, State.MISSING, words, _ROOM)
        else:
            yield Finding(about, about, State.BROKEN, _told(error), _REINSTALL_ALL)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, FacevoiceError) else f"{type(error).__name__}: {error}"


def _versions() -> Iterator[Finding]:
    about = "versions"
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Finding(about, "facevoice", State.WELL, f"{VERSION}, in {Path(__file__).parents[1]}")
    python = f"{platform.python_version()}, {sys.executable}, on {system}"
    yield Finding(about, "Python", State.WELL, python)
    for requirement in _requirements(""):
        yield _package(requirement)
    import av

    parts = sorted(av.library_versions.items())
    told = ", ".join(f"{name} {'.'.join(map(str, version))}" for name, version in parts)
    yield Finding(about, "FFmpeg", State.WELL, f"{told}, inside of PyAV")


def _package(needed: Requirement) -> Finding:
    problem = _problem(needed)
    if problem is not None:
        remedy = f"install it: pip install '{needed.name}{needed.specifier}'"
        return Finding("versions", needed.name, State.BROKEN, problem, remedy)
    return Finding("versions", needed.name, State.WELL, metadata.version(needed.name))


def _problem(needed: Requirement) -> str | None:
    """What is wrong with a package; None where it is there in a version that will do."""
    version = _version_of(needed.name)
    if version is None:
        return "isn't installed, and is needed"
    if not needed.specifier.contains(version, prereleases=True):
        return f"{version}, but {needed.specifier} is needed"
    return None


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> Iterator[Finding]:
    for extra, purpose in EXTRAS.items():
        needed = list(_requirements(extra))
        problems = [f"{one.name} {told}" for one in needed if (told := _problem(one)) is not None]
        if all(_version_of(one.name) is None for one in needed):
            problems = ["not installed"]
        state = State.MISSING if problems else State.WELL
        remedy = f"if you need it: {install_command(extra)}" if problems else ""
        words = f"{'; '.join(problems) or 'installed'} ({purpose})"
        yield Finding("optional parts", extra, state, words, remedy)


def _requirements(extra: str) -> Iterator[Requirement]:
    """Of an optional part, with the parts that it includes; "": what is needed without any."""
    for one in map(Requirement, metadata.requires("facevoice") or ()):
        if _is_for(extra, one) and (not extra or not _is_for("", one)):
            if one.name == "facevoice":
                for included in sorted(one.extras):
                    yield from _requirements(included)
            else:
                yield one


def _is_for(extra: str, one: Requirement) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": extra})


def _weights() -> Iterator[Finding]:
    from facevoice.errors import WeightsError
    from facevoice.sessions import read_weights, weights_names

    for name in weights_names():
        try:
            size = len(read_weights(name))
        except WeightsError as error:
            yield Finding("weights", name, State.BROKEN, str(error), _REINSTALL)
        else:
            words = f"{size / 1e6:.2f} MB, SHA-256 as published"
            yield Finding("weights", name, State.WELL, words)


def _codecs() -> Iterator[Finding]:
    import av

    remedy = "take PyAV's own wheel, which brings FFmpeg: pip install --force-reinstall av"
    for name, purpose in _DECODERS.items():
        if _has_codec(av, name, "r"):
            yield Finding("decoders", name, State.WELL, f"reads {purpose}")
        else:
            state = State.BROKEN if name in _NEEDED_DECODERS else State.MISSING
            yield Finding("decoders", name, state, f"{purpose} can't be read", remedy)
    for what, names in _ENCODERS.items():
        found = next((name for name in names if _has_codec(av, name, "w")), None)
        if found:
            yield Finding("decoders", found, State.WELL, f"writes {what}")
        else:
            words = f"{what} can't be written, which `facevoice render` does"
            yield Finding("decoders", names[0], State.MISSING, words, remedy)


def _has_codec(av: object, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)  # type: ignore[attr-defined]
    except ValueError:
        return False
    return True


def _fonts() -> Iterator[Finding]:
    from PIL import features

    if features.check("freetype2"):
        words = "Pillow's own font is there, so films and pages need none of the system's"
        yield Finding("drawing", "font", State.WELL, words)
    else:
        words = "Pillow has no FreeType, so nothing can be written on films"
        remedy = "take Pillow's own wheel: pip install --force-reinstall pillow"
        yield Finding("drawing", "font", State.MISSING, words, remedy)


def _processors() -> Iterator[Finding]:
    import onnxruntime

    about = "processors"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(about, "cores", State.WELL, f"{cores} of this machine may be used")
    providers = [name.removesuffix("ExecutionProvider") for name in _providers(onnxruntime)]
    words = f"offers {', '.join(providers)}; the package's networks run on the CPU"
    yield Finding(about, "onnxruntime", State.WELL, words)
    if _version_of("torch") is None:
        words = "no torch, so no GPU is used; only the large backbones and training would"
        yield Finding(about, "GPU", State.WELL, words)
        return
    try:
        import torch

        name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    except Exception as error:  # noqa: BLE001 - libraries that it lacks end in errors of any kind
        words = f"torch can't be loaded ({_told(error)}): no large backbones, no training"
        remedy = "if you need it: pip install --force-reinstall torch"
        yield Finding(about, "GPU", State.MISSING, words, remedy)
        return
    if name is not None:
        yield Finding(about, "GPU", State.WELL, f"torch can use {name}")
    else:
        words = "torch finds none: large backbones and training run on the CPU, slowly"
        yield Finding(about, "GPU", State.WELL, words)


def _providers(onnxruntime: object) -> list[str]:
    return list(onnxruntime.get_available_providers())  # type: ignore[attr-defined]


def _isolation() -> Iterator[Finding]:
    from facevoice.doctor.isolation import try_isolation

    rights = try_isolation()
    name, about = "files by strangers", _ISOLATION
    if isinstance(rights, str):
        remedy = "read files of your own only, or run facevoice in a container (SECURITY.md)"
        yield Finding(about, name, State.MISSING, f"can't be read apart: {rights}", remedy)
        return
    if not rights.network and not rights.files:
        words = "are read by a process that reaches no network and no other file"
        yield Finding(about, name, State.WELL, words)
        return
    left = " and ".join(["the network"] * rights.network + ["your other files"] * rights.files)
    words = f"are read by a process of its own, which still reaches {left}"
    remedy = "Linux 5.13 or newer with Landlock forbids it; or use a container (SECURITY.md)"
    yield Finding(about, name, State.MISSING, words, remedy)


def _places() -> Iterator[Finding]:
    temporary = Path(tempfile.gettempdir())
    yield _place("temporary files", temporary, _ROOM)
    yield _place("current folder", Path.cwd(), "name a folder where you may write with --out")


def _place(name: str, folder: Path, remedy: str) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"facevoice")
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        words = f"{folder} can't be written to ({error.strerror})"
        return Finding("writing", name, State.MISSING, words, remedy)
    words = f"{folder}, {free_bytes / 1e9:.1f} GB free"
    if free_bytes < _NEEDED_BYTES:
        return Finding("writing", name, State.MISSING, f"{words}: little", remedy)
    return Finding("writing", name, State.WELL, words)


def _self_test() -> Iterator[Finding]:
    from facevoice.analyzer import Analyzer
    from facevoice.doctor.clip import CLIP_LENGTH_S, make_clip

    about, name = _TRIAL, "a clip of 5 s"
    with tempfile.TemporaryDirectory(prefix="facevoice-doctor-") as folder:
        path = Path(folder) / "clip.mp4"
        make_clip(path)
        begun_s = time.perf_counter()
        analyzer = Analyzer()
        opened_s = time.perf_counter()
        report = analyzer.analyze(path)
        took_s = time.perf_counter() - opened_s
    windows = report.windows
    if not windows or not all(w.face_coverage and w.speech_coverage for w in windows):
        words = "was analysed, but the drawn face or the made voice in it wasn't found"
        yield Finding(about, name, State.BROKEN, words, _REINSTALL)
        return
    speed = CLIP_LENGTH_S / took_s
    words = (
        f"a drawn face and a made voice, found and judged in {took_s:.1f} s, {speed:.1f} times "
        f"real time; opening the networks took {opened_s - begun_s:.1f} s"
    )
    yield Finding(about, name, State.WELL, words)
