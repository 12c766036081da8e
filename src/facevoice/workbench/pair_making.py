"""Pairs of a manifest, with the lengths that their clips are cut to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from facevoice.data.clips import Clip
from facevoice.data.pair_table import TimedPair
from facevoice.data.pairs import (
    PAIR_PLANS,
    Pair,
    PairPlan,
    check_pairs,
    common_lengths,
    make_pairs,
    original_pairs,
    pairs_in_split,
)
from facevoice.data.splits import Split
from facevoice.errors import ConfigError, CorpusError
from facevoice.media.dub import read_sound
from facevoice.media.loudness import sounding_span_s
from facevoice.media.probe import probe
from facevoice.types import SAMPLE_RATE_HZ
from facevoice.workbench.threads import thread_pool

ProgressCallback = Callable[[int, int], None]

DEFAULT_PLAN: Final = "default"
"""Names the plan whose only restrictions are the same sentence and the same intensity."""

_PartedPair = tuple[Pair, str | None]


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs with their lengths; `notes` tells of corpora that allow none."""

    pairs: tuple[TimedPair, ...]
    notes: tuple[str, ...]


def pair_manifest(
    clips: Sequence[Clip],
    *,
    plan_name: str | None = None,
    split: Split | None = None,
    seed: int = 0,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> PairSet:
    """Matches, conflicts and originals of every corpus, checked, each with its length.

    Args:
        clips: of a manifest, with durations.
        plan_name: a name in `PAIR_PLANS`, or "default", for all corpora; by default each corpus'
            own.
        split: pairs are made within its parts only.
        seed: deals the conflicts.
        jobs: sounds read at once.
        on_progress: called with the number of sounds read and of all.

    Raises:
        ConfigError: no plan is called so.
        CorpusError: a duration is unknown, or no corpus allows pairs, or they break their rules.
        MediaError: a sound can't be read; named.
    """
    made: list[tuple[list[Clip], PairPlan, list[_PartedPair]]] = []
    notes: list[str] = []
    for corpus in sorted({clip.corpus for clip in clips}):
        plan = find_plan(corpus, plan_name)
        # Where nobody is named, nobody can be paired with himself.
        own = [clip for clip in clips if clip.corpus == corpus and clip.speaker is not None]
        try:
            made.append((own, plan, _make_pairs(own, plan, split, seed)))
        except CorpusError as error:
            notes.append(f"{corpus}: {error}")
    if not any(pairs for _, _, pairs in made):
        raise CorpusError("; ".join(notes) or "the table holds no clips that the split knows")
    ends_s = spoken_ends([clip for own, _, _ in made for clip in own], jobs, on_progress)
    timed: list[TimedPair] = []
    for own, plan, pairs in made:
        lengths_s = spoken_lengths(own, plan, ends_s)
        timed += [TimedPair(pair, lengths_s[pair.face_clip_id], part) for pair, part in pairs]
    return PairSet(tuple(timed), tuple(notes))


def find_plan(corpus: str, name: str | None = None) -> PairPlan:
    """The plan called `name`; without a name, the corpus' own, or the default one if it has none.

    Raises:
        ConfigError: no plan is called so.
    """
    if name is None:
        return PAIR_PLANS.get(corpus, PairPlan())
    plans = {**PAIR_PLANS, DEFAULT_PLAN: PairPlan()}
    if name not in plans:
        raise ConfigError(f"no plan of pairs is called {name!r}; known: {', '.join(plans)}")
    return plans[name]


def spoken_ends(
    clips: Sequence[Clip], jobs: int = 1, on_progress: ProgressCallback | None = None
) -> dict[str, float]:
    """Seconds from each clip's start to the end of its last sound, by clip id.

    The end is that of `sounding_span_s`. Clips without sound, and silent ones, are left out.

    Raises:
        MediaError: a sound can't be read; named.
    """
    heard = [clip for clip in clips if clip.audio_path is not None]
    ends_s: dict[str, float] = {}
    with thread_pool(jobs) as pool:
        for place, end_s in enumerate(pool.map(_spoken_end, heard)):
            if end_s is not None:
                ends_s[heard[place].clip_id] = end_s
            if on_progress is not None:
                on_progress(place + 1, len(heard))
    return ends_s


def spoken_lengths(
    clips: Sequence[Clip], plan: PairPlan, ends_s: Mapping[str, float]
) -> dict[str, float]:
    """`common_lengths`, but short enough that nobody has finished speaking.

    Cut to the shortest clip, a sentence that was spoken fast would end in silence where a slow one
    still goes on, and silences of like length would give the matches away. So everything ends
    before the earliest end of speech among all that may meet. By clip id.

    Raises:
        CorpusError: a clip names no speaker, or its duration is not known.
    """
    timed = [
        clip
        if clip.duration_s is None
        else replace(
            clip, duration_s=min(clip.duration_s, ends_s.get(clip.clip_id, clip.duration_s))
        )
        for clip in clips
    ]
    try:
        return common_lengths(timed, plan)
    except CorpusError as error:
        raise CorpusError(f"{error}, as `facevoice data prepare` does") from error


def voice_source(timed: TimedPair, voice: Clip) -> tuple[Path, float]:
    """The file to read the pair's voice from, and the second at which it begins there.

    An original sounds as in its film: a corpus' separate sound file may begin at another moment.

    Raises:
        CorpusError: the clip has no sound.
    """
    is_original = timed.pair.face_clip_id == timed.pair.voice_clip_id
    if voice.audio_path is None:
        raise CorpusError(f"clip {voice.clip_id!r} has no sound")
    if is_original and voice.video_path is not None and _has_sound(voice.video_path):
        return voice.video_path, voice.video_start_s
    inside = voice.audio_path == voice.video_path
    return voice.audio_path, voice.video_start_s if inside else 0.0


def _make_pairs(
    clips: Sequence[Clip], plan: PairPlan, split: Split | None, seed: int
) -> list[_PartedPair]:
    """Checked pairs with the part that each is in; originals too."""
    if split is None:
        parts: dict[str | None, tuple[Pair, ...]] = {None: make_pairs(clips, plan, seed)}
        members: dict[str | None, Sequence[Clip]] = {None: clips}
    else:
        in_split = pairs_in_split(clips, split, plan, seed)
        parts = {name: getattr(in_split, name) for name in split.parts()}
        ids = {name: frozenset(part) for name, part in split.parts().items()}
        members = {name: [c for c in clips if c.clip_id in ids[name]] for name in ids}
    made: list[_PartedPair] = []
    for name, pairs in parts.items():
        if not pairs:
            continue
        # A clip without its own sound is no original, though its picture may be in other pairs.
        whole = [clip for clip in members[name] if clip.video_path and clip.audio_path]
        originals = original_pairs(whole, plan) if whole else ()
        check_pairs((*pairs, *originals), clips, plan)
        made += [(pair, name) for pair in (*pairs, *originals)]
    return made


def _spoken_end(clip: Clip) -> float | None:
    if clip.audio_path is None:
        return None
    inside = clip.audio_path == clip.video_path
    start_s = clip.video_start_s if inside else 0.0
    length_s = math.inf if clip.duration_s is None else clip.duration_s
    span_s = sounding_span_s(read_sound(clip.audio_path, start_s, length_s), SAMPLE_RATE_HZ)
    return None if span_s is None else span_s[1]


def _has_sound(path: Path) -> bool:
    return probe(path).has_audio
