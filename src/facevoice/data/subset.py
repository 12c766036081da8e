"""Which clips of CREMA-D make the small set for a CPU."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from facevoice.data.clips import Clip
from facevoice.data.cremad import EMOTION_CODES, clip_of_stem

SUBSET_SIZE: Final = 100


def pick_cremad(stems: Iterable[str], count: int = SUBSET_SIZE) -> tuple[str, ...]:
    """Choose `count` clips: the same for the same names, balanced over emotions and speakers.

    Speakers spread over the whole list give one sentence each in all six emotions, the sentences
    in turn: so within a speaker conflict pairs (same sentence, other emotion) can be made. The last
    speaker may give fewer than six; with few speakers, more sentences of each are taken.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for stem in sorted(stems):
        clip = clip_of_stem(stem)
        if isinstance(clip, Clip) and clip.speaker and clip.sentence:
            emotions = cells.setdefault((clip.speaker, clip.sentence), {})
            emotions.setdefault(str(clip.corpus_label), stem)
    whole = {cell: found for cell, found in cells.items() if len(found) == len(EMOTION_CODES)}
    chosen: list[str] = []
    for cell in _in_order(sorted(whole), -(-count // len(EMOTION_CODES))):
        chosen.extend(whole[cell][code] for code in EMOTION_CODES)
    return tuple(chosen[:count])


def _in_order(cells: list[tuple[str, str]], wanted: int) -> list[tuple[str, str]]:
    """The first `wanted` cells, each from another speaker as long as there are speakers."""
    sentences_of: dict[str, list[str]] = {}
    for speaker, sentence in cells:
        sentences_of.setdefault(speaker, []).append(sentence)
    everybody = sorted(sentences_of)
    if wanted < len(everybody):
        last = len(everybody) - 1
        everybody = [everybody[round(k * last / max(1, wanted - 1))] for k in range(wanted)]
    order: list[tuple[str, str]] = []
    rounds = max(map(len, sentences_of.values()), default=0)
    for turn in range(rounds):
        for place, speaker in enumerate(everybody):
            sentences = sentences_of[speaker]
            if turn < len(sentences):
                order.append((speaker, sentences[(place + turn) % len(sentences)]))
    return order[:wanted]
