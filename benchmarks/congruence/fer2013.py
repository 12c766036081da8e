"""FER2013: the shipped face network on the published test part; pictures, so no congruence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from facevoice.backbones.compact import FACE_CLASSES
from facevoice.corpora.archive import corpus_root
from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip
from facevoice.evaluation.predictions import Run, RunInfo, Target, UsedBackbone, emotion_predictions
from facevoice.models.heads import softmax
from facevoice.records import NUM_EMOTIONS
from facevoice.sessions import load_session

BATCH = 64
TESTED_PART = "public_test"


def run(corpora: Path, work: Path, command: str) -> Run:
    root = corpus_root(corpora, "fer2013", work=work)
    scan = create_corpus("fer2013").scan(root)
    clips = [clip for clip in scan.clips if clip.split == TESTED_PART]
    session, model = load_session("face", num_threads=1)
    side_px = int(session.get_inputs()[0].shape[-1])
    name = session.get_inputs()[0].name
    logits = [
        session.run(["logits"], {name: read_pictures(clips[first : first + BATCH], side_px)})[0]
        for first in range(0, len(clips), BATCH)
    ]
    probs = np.zeros((len(clips), NUM_EMOTIONS))
    probs[:, [e.position for e in FACE_CLASSES]] = softmax(np.concatenate(logits).astype(float))
    info = RunInfo(
        name="fer2013-face",
        title="FER2013: the shipped face network on single pictures",
        model="compact-face alone, its own seven classes; one look, no flip",
        corpora=("fer2013",),
        emotion_target=Target.PERCEIVED_FACE,
        protocol="trained on the published training part, tested on the published public test "
        "part. The people are not named, so they can't be kept apart; pictures shown in both parts "
        "were left out of training",
        command=command,
        backbones=(UsedBackbone(f"compact-face@{model.sha256[:12]}", ("fer2013, training part",)),),
    )
    return Run(info, emotion_predictions(clips, face=probs))


def read_pictures(clips: list[Clip], side_px: int) -> np.ndarray:
    """Grey levels float32 (B, 1, side_px, side_px)."""
    pictures = np.empty((len(clips), 1, side_px, side_px), dtype=np.float32)
    for row, clip in enumerate(clips):
        if clip.video_path is None:
            raise SystemExit(f"{clip.clip_id}: has no picture")
        with Image.open(clip.video_path) as picture:
            grey = picture.convert("L").resize((side_px, side_px), Image.Resampling.BICUBIC)
        pictures[row, 0] = np.asarray(grey)
    return pictures
