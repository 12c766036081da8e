"""What commands share: options by name, the analyzer that these ask for, errors as exit codes."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from facevoice.batch import AnalyzerSetup
from facevoice.cli.screen import complain
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.interrupts import EXIT_INTERRUPTED, orderly
from facevoice.records import PeopleEdits
from facevoice.report import DEFAULT_FORMATS, FORMATS
from facevoice.settings import (
    SENSITIVITIES,
    AnalyzerConfig,
    DecisionConfig,
    SoundConfig,
    WindowConfig,
)
from facevoice.texts import shown

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

# Not the process's arguments: who calls the command from Python has others.
TYPED: Final = ContextVar("TYPED", default="facevoice")
_WINDOWS: Final = WindowConfig()
_PATHS: Final = ("CHECKPOINT", "DIR", "FILE", "MANIFEST", "PATH", "RUN")
# Formats that standard output can carry.
_PRINTED: Final = frozenset(["json", "csv", "jsonl"])
# Packages that whole modules need, and the extra that brings each.
_EXTRAS: Final = {
    "accelerate": "train",
    "pandas": "data",
    "peft": "train",
    "pyarrow": "data",
    "safetensors": "train",
    "scipy": "train",
    "sklearn": "data",
    "torch": "train",
}


def option(metavar: str, told: str, *names: str, **more: Any) -> Any:
    """An option with a value, and what is told of it; for a DIR no file may be named."""
    check = _check_folder if metavar == "DIR" else None
    return typer.Option(*names, metavar=metavar, help=told, callback=check, **more)


def flag(told: str, *names: str, **more: Any) -> Any:
    """An option without a value, or with one that speaks for itself."""
    return typer.Option(*names, help=told, **more)


def argument(metavar: str, told: str) -> Any:
    """An operand, and what is told of it; for a DIR no file may be named."""
    check = _check_folder if metavar == "DIR" else None
    return typer.Argument(metavar=metavar, help=told, callback=check)


def _check_folder(path: Path | None) -> Path | None:
    """Refuse a file, or a place below one, where a folder is to be."""
    for place in () if path is None else (path, *path.parents):
        if os.path.exists(place):  # noqa: PTH110 - a name may be long
            if not place.is_dir():
                raise typer.BadParameter(f"{shown(str(place))} is a file; name a folder")
            break
    return path


def check_named(command: Any, words: Sequence[str]) -> None:
    """Refuse empty paths, which would stand for the current folder.

    Args:
        command: of typer, or a group with a command by the first of the words.
        words: what follows it on the command line.

    Raises:
        BadParameter: an operand is empty, or an option that names a file or folder.
    """
    inner = getattr(command, "commands", {}).get(words[0] if words else "")
    if inner is not None:
        check_named(inner, words[1:])
        return
    options = {name: one for one in command.params for name in getattr(one, "opts", ())}
    for before, word in pairwise(["", *words]):
        name = before if word == "" else word.removesuffix("=") if word[-1:] == "=" else None
        metavar = str(getattr(options.get(name), "metavar", ""))
        is_operand = word == "" and name not in options
        if name is not None and (is_operand or metavar.partition(".")[0] in _PATHS):
            raise typer.BadParameter(
                f"{'' if is_operand else f'{name}: '}an empty path names nothing (an unset "
                "variable?); '.' is the current folder"
            )


Config = Annotated[Path | None, option("FILE", "Settings as TOML; see configs/default.toml.")]
Checkpoint = Annotated[
    Path | None,
    option(
        "DIR",
        "A checkpoint made by `train`, or a folder made by `export`, which needs no torch. "
        "Default: the compact model of the package.",
    ),
]
Backbones = Annotated[
    list[str] | None,
    option(
        "NAME",
        "In place of a backbone that the checkpoint names, such as a folder with the same "
        "weights; once per channel.",
        "--backbone",
    ),
]
Store = Annotated[
    Path | None, option("FILE", "Store of perceptions. Default: features.db beside MANIFEST.")
]
Sensitivity = Annotated[
    str | None,
    option(
        "LEVEL",
        f"How readily match and conflict are called: {', '.join(SENSITIVITIES)}, or a number "
        "above 0.5: the share of calls that shall be right at equal numbers of both. Default: "
        f"{DecisionConfig().sensitivity}.",
    ),
]
ExpectedConflicts = Annotated[
    float | None,
    option(
        "SHARE",
        "Share of windows that conflict where the files come from, from 0.0001 to 0.9999; "
        f"probabilities are shifted to it. Default: {DecisionConfig().expected_conflicts:g}.",
    ),
]
KnowPerson = Annotated[
    bool | None,
    flag(
        "Compare each window with what is usual for its person and setting, by the file's other "
        "windows and by recordings that are named. Default: know-person.",
        "--know-person/--no-know-person",
    ),
]
People = Annotated[
    str | None,
    option(
        "WHO",
        "Of several people, whose face is held against the voice: speaking, who speaks; leading, "
        "the most prominent one, whoever speaks; all, who speaks, and what everybody else shows. "
        f"Default: {DecisionConfig().people}.",
    ),
]
Names = Annotated[
    list[str] | None,
    option("N=NAME", "Call person N of the report so; may be given again.", "--name"),
]
Merges = Annotated[
    list[str] | None,
    option("N=M", "Person N is really person M; may be given again.", "--merge"),
]
LeftOut = Annotated[
    list[int] | None,
    option("N", "Judge nothing of person N; may be given again.", "--leave-out"),
]
Jobs = Annotated[
    int | None,
    option(
        "N",
        "Files worked on at once, each by a process. Default: as many as there are processors, or "
        "1 for few files.",
        min=1,
    ),
]
Overwrite = Annotated[bool, flag("Replace what lies in --out.", "--overwrite")]
Quiet = Annotated[bool, flag("Show nothing but errors.", "--quiet", "-q")]


def gone(name: str, instead: str) -> Any:
    """A hidden option of earlier versions, which says what took its place."""

    def refuse(value: str | None) -> None:
        if value is not None:
            raise typer.BadParameter(f"is gone: {instead}")

    return typer.Option(name, hidden=True, callback=refuse)


def takes_analyzer(command: Callable[..., None], **settled: Any) -> Callable[..., None]:
    """Give a command the options of every analysis; it gets what they ask for as `setup`.

    One that it has as a parameter of its own is handed on as well, as it was given. One that is
    settled for all who use the command is no option of it.
    """
    own = inspect.signature(command, eval_str=True)
    shared = dict(inspect.signature(_set_up, eval_str=True).parameters)
    for name in settled:
        del shared[name]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        asked = {name: given[name] for name in shared}
        own_ones = {name: value for name, value in given.items() if name in own.parameters}
        command(setup=_set_up(**asked, **settled), **own_ones)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in own.parameters.items()
        if name not in shared
        for parameter in (shared.values() if name == "setup" else (one,))
    ]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


takes_isolated_analyzer = functools.partial(takes_analyzer, isolated=True)
"""The same for a command that always reads files in isolation."""


def _set_up(
    config: Config = None,
    window: Annotated[
        float | None, option("SECONDS", f"Length of a window. Default: {_WINDOWS.length_s:g}.")
    ] = None,
    hop: Annotated[
        float | None,
        option(
            "SECONDS", f"Step between windows. Default: {_WINDOWS.hop_s:g}, or half of --window."
        ),
    ] = None,
    audio_track: Annotated[
        str | None,
        option(
            "TRACK",
            "Of several sound tracks, hear this one: its number, counted from 1 as players do, or "
            "its language (en, eng). Default: the default track, unless it is silent or a "
            "commentary.",
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    backbones: Backbones = None,
    threads: Annotated[
        int | None,
        option(
            "N",
            "Threads that one file may use. Default: as many as there are processors, shared "
            "among files analysed at once; with Ray, one.",
            min=1,
        ),
    ] = None,
    sensitivity: Sensitivity = None,
    expected_conflicts: ExpectedConflicts = None,
    know_person: KnowPerson = None,
    people: People = None,
    isolated: Annotated[
        bool,
        flag(
            "Read files in a process of its own that can do no harm: for files from strangers. "
            "See SECURITY.md.",
            "--isolated",
        ),
    ] = False,
) -> AnalyzerSetup:
    settings = read_config(config)
    length_s = settings.windows.length_s if window is None else window
    if hop is None:
        hop = settings.windows.hop_s if window is None else window / 2
    decision = decide_by(settings.decision, sensitivity, expected_conflicts)
    if know_person is not None:
        decision = dataclasses.replace(decision, know_person=know_person)
    if people is not None:
        decision = dataclasses.replace(decision, people=people)
    windows = WindowConfig(length_s=length_s, hop_s=hop)
    sound = settings.sound
    if audio_track is not None:
        is_number = audio_track.strip().isdecimal()
        sound = SoundConfig(int(audio_track) if is_number else audio_track)
    settings = dataclasses.replace(settings, sound=sound, windows=windows, decision=decision)
    return AnalyzerSetup(settings, checkpoint, tuple(backbones or ()), threads, isolated)


def decide_by(
    decision: DecisionConfig, sensitivity: str | None, expected_conflicts: float | None
) -> DecisionConfig:
    """With what the options of these names ask for, where they are given."""
    asked: dict[str, Any] = {}
    if sensitivity is not None:
        try:
            asked["sensitivity"] = float(sensitivity)
        except ValueError:
            asked["sensitivity"] = sensitivity
    if expected_conflicts is not None:
        asked["expected_conflicts"] = expected_conflicts
    return dataclasses.replace(decision, **asked)


def edits_of(
    names: Sequence[str] | None, merges: Sequence[str] | None, left_out: Sequence[int] | None
) -> PeopleEdits:
    """What `--name`, `--merge` and `--leave-out` say about people.

    Raises:
        ConfigError: one isn't written so.
    """
    called = dict(_pair("--name", text, "N=NAME, such as 1=Anna") for text in names or ())
    merged = {}
    for text in merges or ():
        number, into = _pair("--merge", text, "N=M, such as 3=1")
        if not into.isdecimal():
            raise ConfigError(f"--merge {text!r}: write N=M, such as 3=1")
        merged[number] = int(into)
    return PeopleEdits(called, merged, frozenset(left_out or ()))


def _pair(name: str, text: str, form: str) -> tuple[int, str]:
    number, equals, value = text.partition("=")
    if not equals or not number.strip().isdecimal() or not value.strip():
        raise ConfigError(f"{name} {text!r}: write {form}")
    return int(number), value.strip()


def formats_of(formats: Sequence[str], out: Path | None) -> tuple[str, ...]:
    """The formats that `--format` asks for, in its order.

    Raises:
        ConfigError: one is unknown, or standard output can't carry them.
    """
    if not formats:
        return DEFAULT_FORMATS if out is not None else ()
    parts = [part.strip().lower() for text in formats for part in text.split(",")]
    wanted = tuple(dict.fromkeys(parts))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown:
        raise ConfigError(f"--format: unknown {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if out is None and len(wanted) > 1:
        raise ConfigError("--format takes one format for standard output; several need --out DIR")
    if out is None and wanted[0] not in _PRINTED:
        raise ConfigError(f"--format {wanted[0]} needs --out DIR")
    return wanted


def channels_of(model_type: str) -> list[str]:
    """The channels that a kind of model reads, as `--model-type` names it."""
    known = {"multimodal": ["video", "audio"], "video": ["video"], "audio": ["audio"]}
    if model_type not in known:
        raise ConfigError(f"--model-type {model_type}: choose one of {', '.join(known)}")
    return known[model_type]


def read_config(path: Path | None) -> AnalyzerConfig:
    """The settings that `--config` names; raises as `AnalyzerConfig.from_toml` does."""
    return AnalyzerConfig() if path is None else AnalyzerConfig.from_toml(path)


def typed_command() -> str:
    """The command as it was typed, for the records of runs."""
    return TYPED.get()


def tells_errors(
    name: str, interrupted: str = "Nothing was changed."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """End a command by a message and an exit code in place of a traceback.

    Args:
        name: of the command, as it is typed.
        interrupted: what people should know when it was, unless the KeyboardInterrupt says more.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*arguments: Any, **options: Any) -> None:
            log = logging.getLogger("facevoice")
            before = log.handlers[:], log.level, log.propagate
            try:
                with orderly():
                    command(*arguments, **options)
            except (Exception, KeyboardInterrupt) as error:
                message, code = _explain(error, name, interrupted)
                if message:
                    complain(message)
                raise typer.Exit(code) from error
            finally:
                log.handlers[:], log.level, log.propagate = before

        return run

    return decorate


def _explain(error: BaseException, name: str, interrupted: str) -> tuple[str, int]:
    """What to say of an error, and the exit code; raises those that nobody foresaw."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package in _EXTRAS:
        error = MissingExtraError(f"facevoice {name}", _EXTRAS[package])
    if isinstance(error, MissingExtraError):
        return f"Error: {error}", EXIT_USAGE
    if isinstance(error, ConfigError):
        return f"Error: {error}\nTry 'facevoice {name} --help'.", EXIT_USAGE
    if isinstance(error, FacevoiceError):
        return " ".join([str(error), *getattr(error, "__notes__", [])]), EXIT_FAILED
    if isinstance(error, KeyboardInterrupt):
        return f"Interrupted. {str(error) or interrupted}", EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of standard output has seen enough; spare it the complaint at exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return "", EXIT_FAILED
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        remedy = "Check the path, its permissions, and that the disk has room."
        where = shown(str(error.filename or "A file"))
        return f"{where}: can't be read or written ({reason}). {remedy}", EXIT_FAILED
    raise error
