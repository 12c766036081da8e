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
    CHECKPOINT_FILES,
    MAIN_BRANCH,
    OTHER_LICENSE,
    PushPlan,
    check_checkpoint,
    check_hub_id,
    choose_license,
    find_sources,
    pull_checkpoint,
)
from facevoice.models.checkpoint import CARD_FILE, CheckpointInfo, check_target
from facevoice.models.model import EXPORT_INDEX, is_export, read_export

DEFAULT_TITLE: Final = "Face and voice: match or conflict?"
APP_FILE: Final = "app.py"

_GRADIO_VERSION: Final = "6.31.0"
_PYTHON_VERSION: Final = "3.12"
_CHECKPOINT_FOLDER: Final = "checkpoint"
_SAMPLES_FOLDER: Final = "samples"
_MEDIA_SUFFIXES: Final = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
_CPU_TORCH_INDEX: Final = "https://download.pytorch.org/whl/cpu"
# The weights in the package learnt from these; their card files and NOTICE say so too.
_PACKAGE_CORPORA: Final = ("ravdess", "javanese", "emodb", "fer2013")
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
    revision: str = MAIN_BRANCH
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
    """What app.py loads (None: the package's own), and whether torch must run it."""

    name: str | None = None
    revision: str | None = None
    info: CheckpointInfo | None = None
    needs_torch: bool = False


def write_space(folder: Path, options: SpaceOptions, *, overwrite: bool = False) -> None:
    """Write a Space's folder, whole or not at all.

    Raises:
        ConfigError: the folder holds something else, or a sample or option is wrong.
        WeightsError: the checkpoint is damaged or can't be had.
        MissingExtraError: a checkpoint needs the extra `full`.
    """
    check_target(folder, is_space(folder), "a Space", overwrite=overwrite)
    samples = find_samples(options.samples)
    with whole_folder(folder) as part:
        model = _place_model(part, options)
        texts = {
            APP_FILE: _app(model),
            CARD_FILE: "\n".join(_card(options, model)) + "\n",
            "requirements.txt": "\n".join(_requirements(options.requirement, model)) + "\n",
            "LICENSE": _package_text("LICENSE"),
            "NOTICE": _package_text("NOTICE"),
        }
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8", newline="\n")
        if options.requirement is None:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            with resources.as_file(resources.files("facevoice")) as package:
                shutil.copytree(package, part / "facevoice", ignore=ignored)
        for sample in samples:
            (part / _SAMPLES_FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(sample, part / _SAMPLES_FOLDER / sample.name)


def find_samples(folder: Path | None) -> list[Path]:
    """The clips in a folder of samples, in order; none where no folder is named.

    Raises:
        ConfigError: there is no such folder, or no clip in it.
    """
    if folder is None:
        return []
    if not folder.is_dir():
        raise ConfigError(f"--samples {folder}: no such folder")
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _MEDIA_SUFFIXES]
    if not found:
        raise ConfigError(f"--samples {folder}: holds no clip ({', '.join(_MEDIA_SUFFIXES)})")
    return found


def plan_space(folder: Path, hub_id: str, *, private: bool = False) -> PushPlan:
    """A Space's folder as it is: everything but hidden files, caches and links.

    Raises:
        ConfigError: the folder is no Space, or the name no name.
    """
    check_hub_id(hub_id)
    if not is_space(folder):
        raise ConfigError(f"{folder}: is no Space; make one with `facevoice space`")
    files: dict[str, bytes | Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not path.is_symlink() and not is_hidden:
            files[name.as_posix()] = path
    return PushPlan(hub_id, files, None, kind="space", private=private)


def is_space(folder: Path) -> bool:
    """Whether a folder holds a Space that runs on gradio."""
    card = folder / CARD_FILE
    if not ((folder / APP_FILE).is_file() and card.is_file()):
        return False
    return "\nsdk: gradio\n" in card.read_text(encoding="utf-8", errors="replace")


def package_requirements(extras: Iterable[str]) -> list[str]:
    """What this installed package needs, with some of its extras."""
    found, wanted = set(), set(extras)
    for line in metadata.requires("facevoice") or ():
        requirement, _, condition = line.partition(";")
        extra = _EXTRA.search(condition)
        if extra is None or extra[1] in wanted:
            found.add(requirement.strip())
    return sorted(found)


def _place_model(part: Path, options: SpaceOptions) -> _Model:
    source, hub_id = options.checkpoint, options.hub_id
    if hub_id is not None:
        pulled = pull_checkpoint(hub_id, revision=options.revision, endpoint=options.endpoint)
        return _Model(hub_id, pulled.commit, pulled.info, needs_torch=True)
    if source is None:
        return _Model()
    names: Iterable[str] = CHECKPOINT_FILES
    if is_export(source):
        index, info = read_export(source)
        names = (EXPORT_INDEX, CARD_FILE, *index.sha256s)
    else:
        info = check_checkpoint(source)
    target = part / _CHECKPOINT_FOLDER
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
    return _Model(_CHECKPOINT_FOLDER, None, info, needs_torch=not is_export(source))


def _app(model: _Model) -> str:
    text = (resources.files("facevoice.hub") / "space_template" / APP_FILE).read_text("utf-8")
    for name, value in (("MODEL", model.name), ("REVISION", model.revision)):
        if value is not None:
            text = text.replace(f"\n{name} = None\n", f"\n{name} = {json.dumps(value)}\n")
    return text


def _card(options: SpaceOptions, model: _Model) -> Iterator[str]:
    # The package's weights come along with any model.
    corpora = [*_PACKAGE_CORPORA, *(() if model.info is None else model.info.data.corpora)]
    used = () if model.info is None else model.info.backbones.values()
    license = choose_license(find_sources(corpora, (each.backbone for each in used)))
    yield from ("---", f"title: {json.dumps(options.title, ensure_ascii=False)}")
    yield from ('emoji: "🎭"', "colorFrom: blue", "colorTo: yellow", "sdk: gradio")
    yield from (f'sdk_version: "{_GRADIO_VERSION}"', f'python_version: "{_PYTHON_VERSION}"')
    yield from (f"app_file: {APP_FILE}", "pinned: false", f"license: {license}")
    if license == "other":
        yield from (f"license_name: {OTHER_LICENSE}", "license_link: NOTICE")
    yield "short_description: Does the face say what the voice says?"
    yield from ("tags:", "- facevoice", "- emotion-recognition", "- audio-visual")
    if options.hub_id is not None:
        yield from ("models:", f"- {options.hub_id}")
    yield from ("---", "", f"# {options.title}", "")
    yield "Upload a clip of people who speak: which emotion the face shows, how the voice"
    yield "sounds, and whether the two match or conflict, moment by moment, or why nobody can tell."
    yield ""
    if model.revision is not None:
        yield f"Model: `{options.hub_id}` at commit `{model.revision}`."
    elif model.name is not None:
        yield "Model: the folder `checkpoint`; its README.md says what it was trained on."
    else:
        yield "Model: the compact one that comes with facevoice; NOTICE says what it learnt from."
    yield from ("", "Run it yourself: `pip install -r requirements.txt && python app.py`")


def _requirements(requirement: str | None, model: _Model) -> Iterator[str]:
    if model.needs_torch:
        yield f"--extra-index-url {_CPU_TORCH_INDEX}"
    if requirement is not None:
        yield requirement
    yield from package_requirements({"web", "full"} if model.needs_torch else {"web"})


def _package_text(name: str) -> str:
    text = metadata.distribution("facevoice").read_text(f"licenses/{name}")
    if text is None:
        raise WeightsError(f"{name} is missing from the installed package; reinstall facevoice")
    return text
