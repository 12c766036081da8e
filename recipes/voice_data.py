"""Clips of the three training corpora: file names, labels, decoded sound, speaker folds."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soxr

from facevoice.features.mel import SAMPLE_RATE_HZ

CLASSES = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
NUM_FOLDS = 3
WINDOW_S = 4.0
HOP_S = 2.0

# RAVDESS 03-01-06-01-02-01-12: third field emotion, fifth sentence, sixth take, seventh speaker.
RAVDESS_CODES = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
# Javanese 04-02-06_03: speaker, sentence, emotion, take.
JAVANESE_CODES = {
    "01": "neutral",
    "02": "sad",
    "03": "happy",
    "04": "surprised",
    "05": "fearful",
    "06": "angry",
}
# EmoDB 03a01Fa: two digits speaker, sentence, letter of the emotion, take. Boredom (L) is left out.
EMODB_CODES = {
    "W": "angry",
    "E": "disgust",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
EMODB_MALE = ("03", "10", "11", "12", "15")

CORPUS_CODES: dict[str, Mapping[str, str]] = {
    "ravdess": RAVDESS_CODES,
    "javanese": JAVANESE_CODES,
    "emodb": EMODB_CODES,
}
CORPUS_FILES = {
    "ravdess": ("ravdess_audio", "Actor_*/*.*"),
    "javanese": ("javanese", "audio/*.*"),
    "emodb": ("emodb", "wav/*.*"),
}

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class VoiceClip:
    """One recording: where it comes from, who speaks, and the class that the speaker intended."""

    clip_id: str
    corpus: str
    speaker: str
    sentence: str
    take: str
    label: int
    path: Path

    @property
    def cell(self) -> tuple[str, str, str, int]:
        """What near-identical takes have in common."""
        return self.corpus, self.speaker, self.sentence, self.label


def corpus_classes(corpus: str) -> npt.NDArray[np.bool_]:
    """Which of the eight classes a corpus has: bool (8,)."""
    present = set(CORPUS_CODES[corpus].values())
    return np.array([name in present for name in CLASSES])


def unpack(corpora: Path, work: Path) -> Path:
    """Unpack the corpora's zip files into ``work/corpora`` where that isn't done yet."""
    target = work / "corpora"
    for name, _ in CORPUS_FILES.values():
        if not (target / name).is_dir():
            archive = corpora / f"{name}.zip"
            if not archive.is_file():
                raise FileNotFoundError(
                    f"{archive} is missing: set --corpora to the folder of zips"
                )
            with zipfile.ZipFile(archive) as packed:
                inside = all(entry.startswith(f"{name}/") for entry in packed.namelist())
                packed.extractall(target if inside else target / name)
    return target


def list_clips(root: Path, corpora: Iterable[str] = tuple(CORPUS_CODES)) -> list[VoiceClip]:
    """All labelled clips under ``root`` (the folder that :func:`unpack` returns), sorted."""
    clips = []
    for corpus in corpora:
        folder, pattern = CORPUS_FILES[corpus]
        found = [_parse(corpus, path) for path in sorted((root / folder).glob(pattern))]
        clips += [clip for clip in found if clip is not None]
        if not any(found):
            raise FileNotFoundError(f"no clips of {corpus} under {root / folder}")
    return clips


def _parse(corpus: str, path: Path) -> VoiceClip | None:
    if corpus == "ravdess":
        _, _, emotion, strength, sentence, take, speaker = path.stem.split("-")
        take = f"{strength}-{take}"
    elif corpus == "javanese":
        cell, take = path.stem.split("_")
        speaker, sentence, emotion = cell.split("-")
    else:
        speaker, sentence, emotion, take = (
            path.stem[:2],
            path.stem[2:5],
            path.stem[5],
            path.stem[6:],
        )
    name = CORPUS_CODES[corpus].get(emotion)
    if name is None:
        return None
    return VoiceClip(
        f"{corpus}/{path.stem}", corpus, speaker, sentence, take, CLASSES.index(name), path
    )


def decode(path: Path) -> Samples:
    """Mono float32 (N,) at 16 kHz: mean of the channels, then soxr."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp")
        blocks = [
            out.to_ndarray().mean(axis=0)
            for frame in container.decode(stream)
            for out in resampler.resample(frame)
        ]
        rate_hz = stream.rate
    mono = np.concatenate(blocks).astype(np.float32)
    return np.asarray(soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ), dtype=np.float32)


def load_sounds(clips: Sequence[VoiceClip], cache: Path) -> list[Samples]:
    """Decoded sound of each clip, from ``cache`` (an npz) where it is complete."""
    if cache.is_file():
        with np.load(cache) as stored:
            if set(stored["ids"]) == {clip.clip_id for clip in clips}:
                spans = dict(zip(stored["ids"], stored["spans"], strict=True))
                flat = stored["flat"]
                return [flat[slice(*spans[clip.clip_id])] for clip in clips]
    sounds = [decode(clip.path) for clip in clips]
    ends = np.cumsum([sound.size for sound in sounds])
    spans = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    np.savez(
        cache,
        ids=np.array([clip.clip_id for clip in clips]),
        spans=spans,
        flat=np.concatenate(sounds),
    )
    return sounds


def cut_windows(samples: Samples) -> list[Samples]:
    """Windows as the product cuts them: 4 s every 2 s; a shorter clip is one window."""
    size, hop = int(WINDOW_S * SAMPLE_RATE_HZ), int(HOP_S * SAMPLE_RATE_HZ)
    starts = [0, *range(hop, max(hop, samples.size - hop), hop)]
    return [samples[start : start + size] for start in starts]


def fold_of(clip: VoiceClip) -> int:
    """Fold in which the clip's speaker is unseen; folds hold speakers of all three corpora.

    Javanese speakers go in pairs; those of RAVDESS (odd number: male) and EmoDB are dealt out
    within each sex, women from the other end so that the folds stay of one size.
    """
    number = int(clip.speaker)
    if clip.corpus == "javanese":
        return (number - 1) // 2 % NUM_FOLDS
    if clip.corpus == "ravdess":
        rank, male = (number - 1) // 2, number % 2 == 1
    else:
        same_sex = [
            s
            for s in ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
            if (s in EMODB_MALE) == (clip.speaker in EMODB_MALE)
        ]
        rank, male = same_sex.index(clip.speaker), clip.speaker in EMODB_MALE
    return rank % NUM_FOLDS if male else (NUM_FOLDS - 1 - rank) % NUM_FOLDS
