"""The compact family's heads: score them speaker-independently, and fit the shipped ones.

    python -m recipes.heads score --corpora CORPORA --work WORK
    python -m recipes.heads fit   --corpora CORPORA --work WORK

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip and ravdess_av.zip; WORK/voices.npz comes from
`recipes.voice_encoder embed`. Face crops are made here, by the very steps that analysis takes.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path

import numpy as np
from recipes.collect import collect_crops, embed_crops
from recipes.crossfit import Channel, crossfit, fit_joint, make_channels
from recipes.fitting import Samples, sharpen
from recipes.scores import print_scores
from recipes.thresholds import choose_thresholds
from recipes.weights_index import store_weights

from facevoice.data.archive import corpus_root
from facevoice.data.clips import Clip
from facevoice.data.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs
from facevoice.data.registry import create_corpus
from facevoice.labels import EMOTIONS, Emotion, Modality
from facevoice.models.checkpoint import save_model
from facevoice.models.compact import CompactModel
from facevoice.sessions import weights_entry

AV_CORPUS = "javanese"
LICENSE = "CC BY-NC-SA 4.0 (fitted to RAVDESS, Javanese and EmoDB)"


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


def voice_samples(path: Path) -> tuple[Samples, tuple[str, ...]]:
    """Embeddings of all windows of the voice corpora, as `recipes.voice_encoder` wrote them.

    Raises:
        SystemExit: they were made with another network than the installed one.
    """
    table = np.load(path, allow_pickle=False)
    if str(table["network"]) != weights_entry("voice").sha256:
        raise SystemExit(
            f"{path}: made with another voice network; run recipes.voice_encoder embed"
        )
    samples = make_samples(
        table["embedding"].astype(np.float64),
        [Emotion(str(e)) for e in table["emotion"]],
        [str(c) for c in table["corpus"]],
        [str(s) for s in table["speaker"]],
    )
    return samples, tuple(str(i) for i in table["clip_id"])


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


def read_all(
    arguments: argparse.Namespace,
) -> tuple[Channel, Channel, tuple[Pair, ...], tuple[Pair, ...]]:
    """Both channels with all corpora, and pairs of the audio-visual one."""
    clips = {n: read_clips(arguments.corpora, arguments.work, n) for n in (AV_CORPUS, "ravdess")}
    faces, face_ids = face_samples(clips[AV_CORPUS] + clips["ravdess"], arguments.work)
    voices, voice_ids = voice_samples(arguments.work / "voices.npz")
    plan = PAIR_PLANS[AV_CORPUS]
    known = set(face_ids), set(voice_ids)

    def usable(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return tuple(p for p in pairs if p.face_clip_id in known[0] and p.voice_clip_id in known[1])

    pairs, originals = make_pairs(clips[AV_CORPUS], plan), original_pairs(clips[AV_CORPUS], plan)
    channels = make_channels(faces, face_ids, voices, voice_ids, AV_CORPUS)
    return *channels, usable(pairs), usable(originals)


def run_score(arguments: argparse.Namespace) -> None:
    faces, voices, pairs, originals = read_all(arguments)
    print(f"{len(pairs)} pairs, {len(originals)} originals; fitting once per speaker")
    print_scores(faces, voices, pairs, originals, crossfit(faces, voices, pairs, originals))


def run_fit(arguments: argparse.Namespace) -> None:
    """Print the figures, then fit on everybody; thresholds come from the scores."""
    faces, voices, pairs, originals = read_all(arguments)
    scored = crossfit(faces, voices, pairs, originals)
    print_scores(faces, voices, pairs, originals, scored)
    thresholds = choose_thresholds(scored, pairs)
    nobody: frozenset[str] = frozenset()
    face, face_sharpness = faces.posteriors(nobody)
    voice, voice_sharpness = voices.posteriors(nobody)
    fusion, conflict = fit_joint(faces, pairs, face, voice)
    heads = {
        Modality.VIDEO: sharpen(faces.head(nobody), face_sharpness),
        Modality.AUDIO: sharpen(voices.head(nobody), voice_sharpness),
    }
    file = io.BytesIO()
    save_model(CompactModel(heads, fusion, conflict, thresholds), file)
    print(f"\n{thresholds}")
    print(f"sharpness {face_sharpness:.2f} face, {voice_sharpness:.2f} voice; ", end="")
    print(f"fusion {fusion.face_weight:.2f} face, {fusion.voice_weight:.2f} voice")
    store_weights(
        "heads",
        "heads.npz",
        file.getvalue(),
        license=LICENSE,
        card="heads.md",
        training_corpora=tuple(sorted({*faces.samples.corpora, *voices.samples.corpora})),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["score", "fit"])
    corpora = os.environ.get("FACEVOICE_CORPORA")
    parser.add_argument("--corpora", type=Path, default=Path(corpora) if corpora else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    arguments = parser.parse_args()
    if arguments.corpora is None:
        raise SystemExit("give --corpora DIR or set FACEVOICE_CORPORA: the folder of zip files")
    {"score": run_score, "fit": run_fit}[arguments.command](arguments)


if __name__ == "__main__":
    main()
