"""The compact family's heads: score them speaker-independently, and fit the shipped ones.

    python -m recipes.heads score --corpora CORPORA --work WORK --voice-oof WORK/oof.npz
    python -m recipes.heads fit   --corpora CORPORA --work WORK --voice-oof WORK/oof.npz \
        --out src/facevoice/weights/heads.npz

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip and ravdess_av.zip; `oof.npz` comes from
`recipes.voice`: embeddings of voices by networks that never heard their speaker.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from facevoice.data.archive import corpus_root
from facevoice.data.clips import Clip
from facevoice.data.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs
from facevoice.data.registry import create_corpus
from facevoice.features.compact import VOICE_FEATURES
from facevoice.labels import EMOTIONS, Emotion, Modality
from facevoice.models.checkpoint import save_model
from facevoice.models.compact import CompactModel, Thresholds
from recipes.collect import collect_crops, embed_crops
from recipes.crossfit import (
    CONFLICT_PENALTY,
    VOICE_PENALTY,
    Corpus,
    choose_penalties,
    crossfit,
    face_posteriors,
    fit_joint,
    voice_posteriors,
)
from recipes.fitting import Samples, fit_face_head, fit_voice_head
from recipes.scores import print_scores
from recipes.thresholds import choose_thresholds

AV_CORPUS = "javanese"


def emotions_of(corpus: str) -> np.ndarray:
    """The classes that a corpus has: bool (8,)."""
    emotions = create_corpus(corpus).info.emotions
    return np.array([e in emotions for e in EMOTIONS])


def read_clips(corpora: Path, work: Path, name: str) -> list[Clip]:
    archive = {"ravdess": "ravdess_av"}.get(name, name)
    return list(create_corpus(name).clips(corpus_root(corpora, archive, work=work)))


def face_samples(clips: list[Clip], work: Path) -> tuple[Samples, tuple[str, ...]]:
    """Embeddings of all clips with a picture in which a face was found."""
    paths = [(c.clip_id, c.video_path) for c in clips if c.video_path is not None]
    embedded = embed_crops(collect_crops(paths, work / "crops"))
    kept = [c for c in clips if c.clip_id in embedded and c.labels.intended is not None]
    return make_samples(
        np.array([embedded[c.clip_id] for c in kept], dtype=np.float64),
        [c.labels.intended for c in kept],
        [c.corpus for c in kept],
        [f"{c.corpus}/{c.speaker}" for c in kept],
    ), tuple(c.clip_id for c in kept)


def voice_samples(oof: Path) -> tuple[Samples, tuple[str, ...]]:
    """Out-of-fold voice embeddings, with the network's logits at their end."""
    table = np.load(oof, allow_pickle=False)
    embeddings = np.concatenate([table["embedding"], table["logits"]], axis=1)
    corpora = [str(c) for c in table["corpus"]]
    speakers = [f"{c}/{s}" for c, s in zip(corpora, table["speaker"], strict=True)]
    labels = [EMOTIONS[i] for i in table["label"]]
    ids = tuple(
        f"{c}/{str(i).removeprefix(f'{c}/')}"
        for c, i in zip(corpora, table["clip_id"], strict=True)
    )
    return make_samples(embeddings.astype(np.float64), labels, corpora, speakers), ids


def make_samples(
    embeddings: np.ndarray, labels: list[Emotion], corpora: list[str], speakers: list[str]
) -> Samples:
    return Samples(
        embeddings,
        np.array([e.position for e in labels]),
        np.array([emotions_of(c) for c in corpora]),
        np.array(speakers),
        np.array(corpora),
    )


def read_all(arguments: argparse.Namespace) -> tuple[Corpus, tuple[Pair, ...], tuple[Pair, ...]]:
    """Samples of all corpora, and pairs of the audio-visual one."""
    clips = {n: read_clips(arguments.corpora, arguments.work, n) for n in (AV_CORPUS, "ravdess")}
    faces, face_ids = face_samples(clips[AV_CORPUS] + clips["ravdess"], arguments.work)
    voices, voice_ids = voice_samples(arguments.voice_oof)
    plan = PAIR_PLANS[AV_CORPUS]
    known = set(face_ids), set(voice_ids)

    def usable(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple(p for p in pairs if p.face_clip_id in known[0] and p.voice_clip_id in known[1])

    pairs, originals = make_pairs(clips[AV_CORPUS], plan), original_pairs(clips[AV_CORPUS], plan)
    corpus = Corpus(faces, face_ids, voices, voice_ids, AV_CORPUS)
    return corpus, usable(pairs), usable(originals)


def run_score(arguments: argparse.Namespace) -> None:
    corpus, pairs, originals = read_all(arguments)
    print(f"{len(pairs)} pairs, {len(originals)} originals; fitting once per speaker")
    print_scores(corpus, pairs, originals, crossfit(corpus, pairs, originals))


def run_fit(arguments: argparse.Namespace) -> None:
    """Fit on everybody; thresholds come from the speaker-independent scores."""
    corpus, pairs, originals = read_all(arguments)
    scored = crossfit(corpus, pairs, originals)
    thresholds: Thresholds = choose_thresholds(scored, pairs)
    penalties = choose_penalties(corpus.faces, AV_CORPUS)
    face = face_posteriors(corpus, [], penalties)
    voice = voice_posteriors(corpus, [])
    fusion, conflict = fit_joint(corpus, pairs, face, voice)
    heads = {
        Modality.VIDEO: fit_face_head(corpus.faces, penalties),
        Modality.AUDIO: fit_voice_head(corpus.voices, VOICE_PENALTY),
    }
    model = CompactModel(heads, fusion, conflict, thresholds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("wb") as file:
        save_model(model, file)
    print(f"penalties {penalties}, conflict penalty {CONFLICT_PENALTY}, {thresholds}")
    print(
        f"{arguments.out}: {arguments.out.stat().st_size} bytes, voice embedding ends at "
        f"{VOICE_FEATURES}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["score", "fit"])
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--voice-oof", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("src/facevoice/weights/heads.npz"))
    arguments = parser.parse_args()
    if arguments.corpora is None:
        raise SystemExit("give --corpora DIR or set FACEVOICE_CORPORA: the folder of zip files")
    {"score": run_score, "fit": run_fit}[arguments.command](arguments)


if __name__ == "__main__":
    main()
