"""A person on the command line: recordings and profiles named, and `facevoice profile`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from facevoice.batch import AnalyzerSetup, BatchPlan, meet
from facevoice.cli.options import (
    EXIT_FAILED,
    Jobs,
    Overwrite,
    Quiet,
    argument,
    option,
    takes_analyzer,
    tells_errors,
)
from facevoice.cli.screen import Screen, media
from facevoice.errors import ConfigError
from facevoice.finding import find_media
from facevoice.media.open import is_remote
from facevoice.people.baseline import Others, pool
from facevoice.people.profile import is_profile, load_profile, save_profile
from facevoice.records import Modality
from facevoice.report import count_noun

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer

_PROFILE_SUFFIX: Final = ".json"

Neutral = Annotated[
    list[str] | None,
    option(
        "PATH",
        "Recordings of the person, or folders of them, that are known to be neutral; may be given "
        "again.",
    ),
]


@dataclass(frozen=True, slots=True)
class Person:
    """What was named of a person: profiles, recordings in any mood, and neutral ones."""

    profiles: tuple[Path, ...] = ()
    recordings: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.profiles or self.recordings or self.neutral)


def name_person(paths: Sequence[str], neutral: Sequence[str], option_name: str) -> Person:
    """Sort out what was named.

    Raises:
        ConfigError: something is not there; names the option or operand.
    """
    for name, given in ((option_name, paths), ("--neutral", neutral)):
        for path in given:
            if not is_remote(path) and not os.path.exists(path):  # noqa: PTH110 - a name may be long
                raise ConfigError(f"{name} {path}: no such file or folder")
    is_kept = [Path(path).suffix.lower() == _PROFILE_SUFFIX for path in paths]
    named = list(zip(paths, is_kept, strict=True))
    return Person(
        tuple(Path(path) for path, kept in named if kept),
        tuple(path for path, kept in named if not kept),
        tuple(neutral),
    )


def get_to_know(
    person: Person, plan: BatchPlan, analyzer: Analyzer, screen: Screen
) -> tuple[Others, int]:
    """What is known of a person, and how many recordings told nothing, which is said.

    Raises:
        ProfileError: a profile can't be read, or fits other networks.
    """
    profile = pool(load_profile(path, analyzer.models) for path in person.profiles)
    others = Others(profile)
    recordings, neutral = find_media(person.recordings), find_media(person.neutral)
    if not recordings and not neutral:
        return others, 0
    with screen.bar() as show:
        meeting = meet(
            recordings,
            replace(plan, others=others),
            neutral=neutral,
            on_progress=media(show),
            analyzer=analyzer,
        )
    for problem in meeting.problems:
        screen.complain(f"Left out of what is known of the person: {problem}")
    return meeting.others, len(meeting.problems)


@tells_errors("profile", interrupted="Nothing is written.")
@takes_analyzer
def profile(
    paths: Annotated[
        list[str] | None,
        argument(
            "PATH", "Recordings of one person in any mood, folders of them, or a profile to add to."
        ),
    ] = None,
    *,
    out: Annotated[Path, option("FILE.json", "The profile.")],
    neutral: Neutral = None,
    setup: AnalyzerSetup,
    jobs: Jobs = None,
    store: Annotated[
        Path | None, option("FILE", "Store of perceptions, as of `analyze`. Default: none.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Keep what is usual for a person, for `analyze --person FILE.json`.

    A profile holds statistics only: no name, no picture, no sound. It is personal data all the
    same: the person may be recognised by it. Keep it only with their consent; delete the file to
    forget them.
    """
    person = name_person(paths or (), neutral or (), "PATH")
    if not person:
        raise ConfigError("name recordings of the person: PATH… or --neutral PATH…")
    _check_target(out, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    plan = BatchPlan(setup, store=store, jobs=jobs)
    analyzer = setup.build()
    analyzer.check_compares()
    others, num_failed = get_to_know(person, plan, analyzer, screen)
    baseline = others.known_to(None).person
    save_profile(baseline, out, analyzer.models)
    names = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}
    told = [
        f"{name} {count_noun(round(baseline[modality].num_windows), 'window')}"
        for modality, name in names.items()
        if modality in baseline
    ]
    screen.say(f"Known by {', '.join(told)}. Written to {out}", "It is personal data: see --help.")
    if num_failed:
        raise typer.Exit(EXIT_FAILED)


def _check_target(out: Path, *, overwrite: bool) -> None:
    """Make sure, before any work, that a profile may be written there."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file, such as {out / 'anna.json'}")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.suffix.lower() != _PROFILE_SUFFIX:
        raise ConfigError(f"--out {out}: profiles are called *{_PROFILE_SUFFIX}")
    if out.exists() and not overwrite and not is_profile(out):
        raise ConfigError(f"--out {out}: is no profile; replace it with --overwrite")
