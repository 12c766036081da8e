"""The compact family's heads, fitted to everybody and put into the package.

    python -m recipes.heads --corpora CORPORA --work WORK
    python -m recipes.heads --corpora CORPORA --work WORK --curve-only

`CORPORA` (or FACEVOICE_CORPORA) holds javanese.zip, ravdess_audio.zip, ravdess_av.zip, emodb.zip;
WORK/voice holds what `recipes.voice` wrote of every fold, of all, and untuned. Scored are the same
steps, without a speaker at a time, by `python -m benchmarks.congruence`.

`--curve-only` measures anew what calls are worth, and leaves all else as it is: by voices of the
untuned network, which has heard nobody, so that the hours of tuning are not needed.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import make_all_pairs, read_data
from recipes.crossfit import fit_joint
from recipes.decisions import Strangers, measure
from recipes.fitting import fit_voice_head, sharpen
from recipes.weights_index import store_weights

from facevoice.interpret import find_point
from facevoice.models.heads import CURVE, NUMBERS, CompactModel, load_model
from facevoice.records import Emotion, Modality
from facevoice.sessions import read_weights, weights_entry
from facevoice.settings import SENSITIVITIES, DecisionConfig

LICENSE = "CC BY-NC-SA 4.0 (fitted to RAVDESS, Javanese and EmoDB)"


def fit(corpora: Path, work: Path, jobs: int) -> tuple[CompactModel, tuple[str, ...]]:
    """The model and its training corpora; its curve comes from people left out."""
    data = read_data(corpora, work, jobs)
    pairs, _ = make_all_pairs(data)
    face, face_sharpness = data.faces.posteriors(frozenset())
    voice_sharpness = data.tuned.sharpness()
    voice = data.tuned.all_posteriors(voice_sharpness)
    fusion, conflict = fit_joint(data.faces, pairs, face, voice)
    heads = {
        Modality.VIDEO: sharpen(data.faces.head(frozenset()), face_sharpness),
        Modality.AUDIO: sharpen(fit_voice_head(data.shipped), voice_sharpness),
    }
    print(f"sharpness {face_sharpness:.2f} face, {voice_sharpness:.2f} voice; ", end="")
    print(f"fusion {fusion.face_weight:.2f} face, {fusion.voice_weight:.2f} voice")
    corpora_used = {*data.faces.samples.corpora, *data.shipped.corpora}
    curve = measure(Strangers.of(data), conflict)
    model = CompactModel(heads, fusion, conflict, curve)
    return model, tuple(sorted(str(c) for c in corpora_used))


def measure_again(corpora: Path, work: Path, jobs: int) -> tuple[CompactModel, tuple[str, ...]]:
    """The package's model with its curve measured anew, by the untuned voice network."""
    model = load_model(read_weights("heads"))
    strangers = Strangers.of(read_data(corpora, work, jobs, untuned=True))
    used = weights_entry("heads").training_corpora
    return replace(model, curve=measure(strangers, model.conflict)), used


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
        arrays |= {f"{modality}.{name}": getattr(head, name) for name in NUMBERS}
        arrays[f"{modality}.weight"] = head.weight.astype(np.float32)
    np.savez(file, allow_pickle=False, **arrays)


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--curve-only", action="store_true")
    arguments = parse_with_corpora(parser)
    make = measure_again if arguments.curve_only else fit
    model, used = make(arguments.corpora, arguments.work, arguments.jobs)
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
