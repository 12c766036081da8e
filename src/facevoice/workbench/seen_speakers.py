"""Whether a trained model has heard or seen the speakers that it is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facevoice.data.clips import Clip
from facevoice.models.checkpoint_info import DataRecord


@dataclass(frozen=True, slots=True)
class SeenSpeakers:
    """What a model's training has to do with the clips that it is tested on, corpus by corpus.

    seen: corpora of which a tested speaker was trained or chosen on, or nobody can say;
    held_out: corpora that it was trained on, but on no tested speaker of theirs;
    others: corpora that it was trained on and is not tested on;
    words: for the protocol, what was found.
    """

    seen: tuple[str, ...]
    held_out: tuple[str, ...]
    others: tuple[str, ...]
    words: str

    @property
    def training_corpora(self) -> tuple[str, ...]:
        """Corpora whose figures the training makes void, or would, were they tested."""
        return (*self.seen, *self.others)


def known_speakers(data: DataRecord) -> frozenset[str]:
    """`corpus/speaker` of all that a checkpoint was trained on, or chosen on."""
    return frozenset((*data.train.speakers, *data.validation.speakers))


def held_out_clips(data: DataRecord, clips: Sequence[Clip]) -> list[Clip]:
    """Clips of speakers that are named and not known to a checkpoint; other corpora whole."""
    known = known_speakers(data)
    return [
        clip
        for clip in clips
        if clip.corpus not in data.corpora or clip.speaker_key not in {None, *known}
    ]


def find_seen_speakers(data: DataRecord, clips: Sequence[Clip]) -> SeenSpeakers:
    """Hold the speakers of tested clips against those that a checkpoint names.

    Speakers that it was validated on count as seen: epoch, temperatures and thresholds were chosen
    on them. A clip without a speaker counts as seen if its corpus was trained on.

    Args:
        data: of the checkpoint.
        clips: those that are tested.
    """
    known = known_speakers(data)
    parts: dict[str, list[str]] = {"seen": [], "held_out": [], "others": []}
    words = []
    for corpus in data.corpora:
        members = [clip for clip in clips if clip.corpus == corpus]
        speakers = {clip.speaker_key for clip in members}
        if not members:
            parts["others"].append(corpus)
            continue
        again = speakers & known
        if None in speakers:
            parts["seen"].append(corpus)
            words.append(f"{corpus}: clips name no speaker, so some may have been trained on")
        elif again:
            parts["seen"].append(corpus)
            words.append(
                f"{corpus}: trained or chosen on {len(again)} of {len(speakers)} tested speakers"
            )
        else:
            parts["held_out"].append(corpus)
            words.append(f"{corpus}: speakers held out of training ({len(speakers)} tested)")
    return SeenSpeakers(
        tuple(parts["seen"]), tuple(parts["held_out"]), tuple(parts["others"]), "; ".join(words)
    )
