"""Writes a folder that runs as a Space of the hub, or anywhere else with gradio.

DIR/
├── README.md           the Space's header: SDK and version, Python, app file, licence
├── app.py              the page; uses facevoice's public functions only
├── requirements.txt    what pip installs there
├── facevoice/          this package, unless another way to install it was named
├── LICENSE, NOTICE     of this package
├── checkpoint/         with --checkpoint
└── samples/            with --samples
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from facevoice.errors import ConfigError, WeightsError
from facevoice.files import whole_folder
from facevoice.hub.hub import (
    DEFAULT_REVISION,
    DEFAULT_TOKEN_VARIABLE,
    PATTERNS,
    License,
    SentCommit,
    Target,
    check_folder,
    check_hub_id,
    choose_license,
    corpus_source,
    find_token,
    pull_checkpoint,
    send_commit,
    sources_of,
)
from facevoice.models.checkpoint import CARD_FILE, CheckpointInfo
from facevoice.models.model import EXPORT_INDEX as EXPORT_FILE
from facevoice.models.model import is_export, read_export

DEFAULT_TITLE: Final = "Face and voice: match or conflict?"
GRADIO_VERSION: Final = "6.31.0"
PYTHON_VERSION: Final = "3.12"
CHECKPOINT_FOLDER: Final = "checkpoint"
PACKAGE_FOLDER: Final = "facevoice"
SAMPLES_FOLDER: Final = "samples"
MEDIA_SUFFIXES: Final = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"})
CPU_TORCH_INDEX: Final = "https://download.pytorch.org/whl/cpu"

# The weights in the package learnt from these; their card files and NOTICE say so too.
_PACKAGE_CORPORA: Final = ("ravdess", "javanese", "emodb", "fer2013")
_LICENSE_FILES: Final = ("LICENSE", "NOTICE")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


@dataclass(frozen=True, slots=True)
class SpaceOptions:
    """What a Space shows.

    checkpoint, hub_id: at most one of them; neither: the package's own compact model. A checkpoint
    may also be a folder of `facevoice export`, and then the Space needs no torch;
    revision: of hub_id, pinned to its commit; samples: a folder of clips to choose from;
    requirement: how pip gets facevoice there, in place of a copy of this package.
    """

    checkpoint: Path | None = None
    hub_id: str | None = None
    revision: str = DEFAULT_REVISION
    samples: Path | None = None
    requirement: str | None = None
    title: str = DEFAULT_TITLE
    endpoint: str | None = None

    def __post_init__(self) -> None:
        if self.checkpoint is not None and self.hub_id is not None:
            raise ConfigError("--checkpoint and --hub-id exclude each other")
        if self.hub_id is not None:
            check_hub_id(self.hub_id)


@dataclass(frozen=True, slots=True)
class _Model:
    """What app.py loads, what that says of itself, and whether torch must run it."""

    name: str | None
    revision: str | None
    info: CheckpointInfo | None
    needs_torch: bool


def write_space(folder: Path, options: SpaceOptions, *, overwrite: bool = False) -> None:
    """Write a Space's folder, whole or not at all.

    Raises:
        ConfigError: the folder holds something else, or a sample or option is wrong.
        WeightsError: the checkpoint is damaged or can't be had.
        MissingExtraError: a checkpoint needs the extra `full`.
    """
    _check_target(folder, overwrite)
    samples = find_samples(options.samples)
    with whole_folder(folder) as part:
        model = _place_model(part, options)
        _write_text(part / APP_FILE, _app(model))
        _write_text(part / CARD_FILE, "\n".join(_card(options, model)) + "\n")
        lines = _requirements(options.requirement, with_torch=model.needs_torch)
        _write_text(part / "requirements.txt", "\n".join(lines) + "\n")
        for name in _LICENSE_FILES:
            _write_text(part / name, _package_text(name))
        if options.requirement is None:
            _copy_package(part / PACKAGE_FOLDER)
        for sample in samples:
            (part / SAMPLES_FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(sample, part / SAMPLES_FOLDER / sample.name)


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not is_space(folder)):
        raise ConfigError(f"{folder}: holds something else than a Space; name another folder")
    if any(folder.iterdir()) and not overwrite:
        raise ConfigError(f"{folder}: holds a Space already; name another folder, or --overwrite")


def find_samples(folder: Path | None) -> list[Path]:
    """The clips in a folder of samples, in order; none where no folder is named.

    Raises:
        ConfigError: there is no such folder, or no clip in it.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise ConfigError(f"--samples {folder}: no such folder")
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in MEDIA_SUFFIXES]
    if not found:
        known = ", ".join(sorted(MEDIA_SUFFIXES))
        raise ConfigError(f"--samples {folder}: holds no clip ({known})")
    return found


def _place_model(part: Path, options: SpaceOptions) -> _Model:
    if options.checkpoint is not None:
        target = part / CHECKPOINT_FOLDER
        names = _model_files(options.checkpoint)
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(options.checkpoint / name, target / name)
        # The copy is checked, so that what was checked is what is there.
        if is_export(target):
            return _Model(CHECKPOINT_FOLDER, None, read_export(target)[1], needs_torch=False)
        return _Model(CHECKPOINT_FOLDER, None, check_folder(target), needs_torch=True)
    if options.hub_id is not None:
        pulled = pull_checkpoint(
            options.hub_id, revision=options.revision, endpoint=options.endpoint
        )
        return _Model(options.hub_id, pulled.commit, pulled.info, needs_torch=True)
    return _Model(None, None, None, needs_torch=False)


def _model_files(folder: Path) -> list[str]:
    """Names of the files that belong to a checkpoint or an export, and no others."""
    if is_export(folder):
        index, _ = read_export(folder)
        names = [EXPORT_FILE, CARD_FILE, *index.sha256s]
    else:
        check_folder(folder)
        names = list(PATTERNS)
    return [name for name in names if (folder / name).is_file()]


def _app(model: _Model) -> str:
    text = (resources.files("facevoice.hub") / "space_template" / APP_FILE).read_text("utf-8")
    for name, value in (("MODEL", model.name), ("REVISION", model.revision)):
        line = f"\n{name} = None\n"
        if line not in text:
            raise WeightsError(f"{APP_FILE}: has no line {name} = None; reinstall facevoice")
        if value is not None:
            text = text.replace(line, f"\n{name} = {json.dumps(value)}\n")
    return text


def _card(options: SpaceOptions, model: _Model) -> Iterator[str]:
    license = _license(model)
    yield from ("---", f"title: {json.dumps(options.title, ensure_ascii=False)}")
    yield from ('emoji: "🎭"', "colorFrom: blue", "colorTo: yellow", "sdk: gradio")
    yield f'sdk_version: "{GRADIO_VERSION}"'
    yield f'python_version: "{PYTHON_VERSION}"'
    yield from (f"app_file: {APP_FILE}", "pinned: false", f"license: {license.id}")
    if license.name is not None:
        yield f"license_name: {license.name}"
        yield "license_link: NOTICE"
    yield "short_description: Does the face say what the voice says?"
    yield from ("tags:", "- facevoice", "- emotion-recognition", "- audio-visual")
    if options.hub_id is not None:
        yield from ("models:", f"- {options.hub_id}")
    yield from ("---", "", f"# {options.title}", "")
    yield "Upload a clip with one person who speaks: which emotion the face shows, which the voice"
    yield "carries, and whether they match, conflict, are flat, or can't be told, window by window."
    yield ""
    if model.revision is not None:
        yield f"Model: `{options.hub_id}` at commit `{model.revision}`."
    elif model.name is not None:
        yield "Model: the folder `checkpoint`; its README.md says what it was trained on."
    else:
        yield "Model: the compact one that comes with facevoice; NOTICE says what it learnt from."
    yield from ("", "Run it yourself: `pip install -r requirements.txt && python app.py`")


def _license(model: _Model) -> License:
    """Of the whole: the package's weights come along with any model."""
    sources = [corpus_source(name) for name in _PACKAGE_CORPORA]
    return choose_license([*sources, *(() if model.info is None else sources_of(model.info))])


def _requirements(requirement: str | None, *, with_torch: bool) -> Iterator[str]:
    extras = {"web", "full"} if with_torch else {"web"}
    if with_torch:
        yield f"--extra-index-url {CPU_TORCH_INDEX}"
    if requirement is not None:
        yield requirement
    yield from package_requirements(extras)


def package_requirements(extras: Iterable[str]) -> list[str]:
    """What this installed package needs, with some of its extras."""
    found = []
    for line in metadata.requires("facevoice") or ():
        wanted, _, condition = line.partition(";")
        extra = _EXTRA.search(condition)
        if extra is None or extra[1] in set(extras):
            found.append(wanted.strip())
    return sorted(set(found))


def _copy_package(target: Path) -> None:
    """The installed package without caches; its weights come along."""
    with resources.as_file(resources.files("facevoice")) as source:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _package_text(name: str) -> str:
    text = metadata.distribution("facevoice").read_text(f"licenses/{name}")
    if text is None:
        raise WeightsError(f"{name} is missing from the installed package; reinstall facevoice")
    return text


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


# Sends a Space's folder to the hub, all of it or nothing.

APP_FILE: Final = "app.py"


def push_space(
    folder: Path,
    hub_id: str,
    *,
    private: bool = False,
    message: str | None = None,
    token_variable: str = DEFAULT_TOKEN_VARIABLE,
    endpoint: str | None = None,
) -> SentCommit:
    """Send a Space's folder in one commit.

    Raises:
        ConfigError: the folder is no Space, or the name no name.
        HubError: no token, or the hub did not accept it; the Space is as it was.
    """
    target = Target(hub_id, kind="space", private=private)
    if not is_space(folder):
        raise ConfigError(f"{folder}: is no Space; make one with `facevoice space`")
    return send_commit(
        target,
        {path.relative_to(folder).as_posix(): path for path in space_files(folder)},
        message or "Add a facevoice Space",
        token=find_token(token_variable),
        token_variable=token_variable,
        endpoint=endpoint,
    )


def is_space(folder: Path) -> bool:
    """Whether a folder holds a Space that runs on gradio."""
    card = folder / CARD_FILE
    return (folder / APP_FILE).is_file() and card.is_file() and "\nsdk: gradio\n" in _head(card)


def space_files(folder: Path) -> list[Path]:
    """What is sent of a Space's folder: everything but hidden files, caches and links."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            found.append(path)
    return found


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(4096)
