"""Tiny checkpoints with random weights, in the form in which the real ones are published."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from facevoice.records import Window

SIDE_PX = 32
DIM = 32
NUM_LAYERS = 3

# As published with MCG-NJU/videomae-base, but for the size: the older form.
FACE_PREPROCESSOR = {
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
    "size": SIDE_PX,
    "crop_size": SIDE_PX,
}
VOICE_PREPROCESSOR = {
    "do_normalize": True,
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "sampling_rate": 16000,
}
_SPEECH: dict[str, Any] = {
    "hidden_size": DIM,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 12,
    "num_codevectors_per_group": 8,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    # Larger than usual, so that random weights do something.
    "initializer_range": 0.2,
}
_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
KINDS = ("videomae", "wav2vec2-base", "wav2vec2-large", "wavlm-large", "hubert-large")
SPEECH_KINDS = KINDS[1:]


def _network(kind: str) -> Any:
    """With the head that the real one is published with."""
    import transformers as t

    if kind == "videomae":
        config = t.VideoMAEConfig(
            image_size=SIDE_PX,
            hidden_size=DIM,
            num_hidden_layers=NUM_LAYERS,
            num_attention_heads=4,
            intermediate_size=64,
            decoder_num_attention_heads=2,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_intermediate_size=32,
            use_mean_pooling=False,
            initializer_range=0.2,
        )
        return t.VideoMAEForPreTraining(config)
    if kind == "wav2vec2-base":
        return t.Wav2Vec2ForPreTraining(t.Wav2Vec2Config(**_SPEECH))
    if kind == "wav2vec2-large":
        return t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**_SPEECH, **_LARGE))
    if kind == "wavlm-large":
        return t.WavLMModel(t.WavLMConfig(**_SPEECH, **_LARGE))
    return t.HubertForCTC(t.HubertConfig(**_SPEECH, **_LARGE))


@cache
def _saved(kind: str) -> dict[str, bytes]:
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(KINDS.index(kind))
    network = _network(kind)
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        files = {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    preprocessor = dict(FACE_PREPROCESSOR if kind == "videomae" else VOICE_PREPROCESSOR)
    if kind != "videomae":
        preprocessor["return_attention_mask"] = kind != "wav2vec2-base"
    files["preprocessor_config.json"] = json.dumps(preprocessor).encode()
    files["README.md"] = b"---\nlicense: apache-2.0\n---\n# A tiny network of random weights\n"
    return files


def checkpoint(kind: str) -> dict[str, bytes]:
    """Files of a checkpoint: config, preprocessor, card, model.safetensors."""
    return dict(_saved(kind))


def write_checkpoint(kind: str, folder: Path) -> Path:
    """`checkpoint` in a folder, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in checkpoint(kind).items():
        (folder / name).write_bytes(content)
    return folder


def edit_weights(files: dict[str, bytes], change: Any) -> None:
    """Let `change(tensors)` edit the weights, a dictionary of arrays, in place."""
    from safetensors.numpy import load, save

    tensors = load(files["model.safetensors"])
    change(tensors)
    files["model.safetensors"] = save(tensors, metadata={"format": "pt"})


def edit_json(files: dict[str, bytes], name: str, **values: Any) -> None:
    """Set values in a JSON file; None deletes one."""
    document = {**json.loads(files[name]), **values}
    kept = {key: value for key, value in document.items() if value is not None}
    files[name] = json.dumps(kept).encode()


def window(*, num_crops: int = 20, seconds: float = 2.0, seed: int = 0) -> Window:
    """Noise to look at and to hear."""
    rng = np.random.default_rng(seed)
    return Window(
        start_s=0.0,
        end_s=seconds,
        faces=rng.integers(0, 255, (num_crops, 40, 40, 3), dtype=np.uint8),
        samples=rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32),
        face_coverage=1.0,
        speech_coverage=1.0,
        num_faces=1,
    )
