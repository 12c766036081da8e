"""The compact family's heads, fitted to everybody and put into the package.

    python -m recipes.heads --corpora CORPORA --work WORK

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip, ravdess_audio.zip, ravdess_av.zip,
emodb_full.zip, ased.zip and nemo.zip; networks are those of the package. Scored are the same steps,
leaving out a speaker or a corpus at a time, by `benchmarks.knowing`, `benchmarks.unheard` and
`benchmarks.congruence`; all of them keep fitted heads in WORK/heads.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import make_all_pairs, read_data
from recipes.crossfit import Family, make_channels
from recipes.decisions import Strangers, measure
from recipes.weights_index import store_weights

from facevoice.interpret import find_point
from facevoice.models.heads import CURVE, NUMBERS, CompactModel, head_arrays
from facevoice.records import Emotion, Modality
from facevoice.settings import SENSITIVITIES, DecisionConfig

LICENSE = "CC BY-NC-SA 4.0 (fitted to RAVDESS, Javanese, EmoDB, ASED and nEMO)"
NOBODY: frozenset[str] = frozenset()


def fit(corpora: Path, work: Path, jobs: int) -> tuple[CompactModel, tuple[str, ...]]:
    """The model and its training corpora; its curve comes from people left out."""
    data = read_data(corpora, work, jobs)
    pairs, _ = make_all_pairs(data)
    faces, voices = make_channels(data, work)
    joint = Family(faces, voices, pairs).fit_joint(NOBODY, NOBODY)
    print(f"face {faces.doubt(NOBODY)}; voice {voices.doubt(NOBODY)}")
    print(f"fusion {joint.fusion.face_weight:.2f} face, {joint.fusion.voice_weight:.2f} voice")
    heads = {
        Modality.VIDEO: faces.sure_head(NOBODY),
        Modality.AUDIO: voices.sure_head(NOBODY),
    }
    curve = measure(Strangers.of(faces, voices), joint.conflict)
    used = {*faces.samples.corpora.tolist(), *voices.samples.corpora.tolist()}
    return CompactModel(heads, joint.fusion, joint.conflict, curve), tuple(sorted(used))


def save_model(model: CompactModel, file: IO[bytes]) -> None:
    """Write a model as an npz of plain arrays, the same bytes for the same numbers."""
    arrays = {
        "fusion.weights": np.array([model.fusion.face_weight, model.fusion.voice_weight]),
        "fusion.bias": model.fusion.bias,
        **{f"conflict.{name}": np.array(getattr(model.conflict, name)) for name in NUMBERS},
        **{f"curve.{name}": np.array(getattr(model.curve, name)) for name in CURVE},
        "emotions": np.array([e.value for e in Emotion]),
    }
    for modality, head in model.channels.items():
        arrays |= head_arrays(head, f"{modality}.")
    np.savez(file, allow_pickle=False, **arrays)


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parse_with_corpora(parser)
    model, used = fit(arguments.corpora, arguments.work, arguments.jobs)
    for level in SENSITIVITIES:
        print(level, find_point(model.curve, DecisionConfig(sensitivity=level)))
    file = io.BytesIO()
    save_model(model, file)
    store_weights(
        "heads",
        "heads.npz",
        file.getvalue(),
        license=LICENSE,
        card="heads.md",
        training_corpora=used,
    )


if __name__ == "__main__":
    main()
