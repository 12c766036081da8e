"""CREMA-D's ratings joined to its clips: what people saw, heard, and whether that agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from facevoice.data.clips import Clip
from facevoice.data.cremad import clip_of_stem
from facevoice.data.votes import add_votes, congruence_posterior, read_votes

VOTES_TABLE: Final = Path("processedResults", "tabulatedVotes.csv")
"""Where the published repository, and an archive of its tables, keep the votes."""


def add_ratings(clips: tuple[Clip, ...], table: Path) -> tuple[tuple[Clip, ...], str]:
    """Clips with the labels face, voice, both and congruence, and a sentence on what was joined.

    Where there are no clips at all, those that the table names are given, without files: their
    labels are worth a table of their own.

    Raises:
        CorpusError: the table is absent or damaged; names the line.
    """
    votes = read_votes(table)
    source = f"{table.name} ({len(votes)} rated clips)"
    if not clips:
        named = (clip_of_stem(stem) for stem in votes.stems)
        clips = tuple(clip for clip in named if isinstance(clip, Clip))
        note = f"CREMA-D: no film and no sound; {len(clips)} clips of {source} stand without files."
    else:
        rated = {f"cremad/{stem}" for stem in votes.stems}
        num_rated = sum(clip.clip_id in rated for clip in clips)
        note = f"CREMA-D: {num_rated} of {len(clips)} clips have ratings in {source}."
    return add_votes(clips, votes, congruence_posterior(votes)), note
