"""What is usually made of a peer's output: emotions of whole clips, leaving one speaker out.

Face: mean over the frames of the classifier's probabilities, without disgust, renormalised; taken
as it is, or with a logistic regression of their logarithms on the other speakers. Voice: an SVM
with RBF kernel, or a logistic regression, on standardised librosa features, with scikit-learn's
default settings. Both: mean of log probabilities, or an SVM on all features side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

# The last field of the corpus's file names, 01 to 06, by fer's names.
CLASSES = ("neutral", "sad", "happy", "surprise", "fear", "angry")
# fer rounds to hundredths.
_LEAST = 0.01
SVM = make_pipeline(StandardScaler(), SVC())
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))


@dataclass(frozen=True, slots=True, eq=False)
class PeerOutput:
    """Of n clips: truth, speakers (n,), face (n, 6; NaN without a face), sound (n, figures)."""

    truth: np.ndarray
    speakers: np.ndarray
    face: np.ndarray
    sound: np.ndarray

    @property
    def has_face(self) -> np.ndarray:
        return ~np.isnan(self.face[:, 0])

    @property
    def face_logs(self) -> np.ndarray:
        """Log probabilities (n, 6); a clip without a face shows all emotions alike."""
        filled = np.where(self.has_face[:, None], self.face, 1 / len(CLASSES))
        return np.log(np.maximum(filled, _LEAST))

    def crossed(self, model: BaseEstimator, features: np.ndarray, method: str) -> np.ndarray:
        """What the model, fitted to the other speakers, gives for each clip."""
        others = {"groups": self.speakers, "cv": LeaveOneGroupOut()}
        return cross_val_predict(model, features, self.truth, method=method, **others)


class Answer(NamedTuple):
    """Classes (n,) that a method says of a channel; `known`: clips (n,) for which it says one."""

    channel: str
    method: str
    said: np.ndarray
    known: np.ndarray


def read_output(files: Sequence[Path]) -> PeerOutput:
    """Read `per_frame_fer.py`'s files of clips named SPEAKER-SENTENCE-EMOTION_TAKE, one window."""
    fields = [path.stem.split("_")[0].split("-") for path in files]
    contents = [np.load(path) for path in files]
    sounds = [content["sound"] for content in contents]
    if any(len(sound) != 1 for sound in sounds):
        raise SystemExit("each clip needs one window of sound: run with --window-s 0")
    return PeerOutput(
        truth=np.array([int(emotion) - 1 for _, _, emotion in fields]),
        speakers=np.array([speaker for speaker, _, _ in fields]),
        face=np.stack([_clip_face(content["emotions"], content["labels"]) for content in contents]),
        sound=np.concatenate(sounds).astype(np.float64),
    )


def _clip_face(emotions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if not len(emotions):
        return np.full(len(CLASSES), np.nan)
    columns = [list(labels).index(name) for name in CLASSES]
    mean = emotions.mean(axis=0, dtype=np.float64)[columns]
    return mean / mean.sum()


def voice_answers(output: PeerOutput) -> Iterator[Answer]:
    """From the soundtrack alone."""
    known = np.ones(len(output.truth), bool)
    for method, model in (("SVM (RBF)", SVM), ("logistic regression", LOGISTIC)):
        yield Answer("voice", method, output.crossed(model, output.sound, "predict"), known)


def face_answers(output: PeerOutput) -> Iterator[Answer]:
    """From the pictures alone, without the clips in which no face was found."""
    logs, known = output.face_logs, output.has_face
    yield Answer("face", "as it is", logs.argmax(axis=1), known)
    yield Answer("face", "logistic regression", output.crossed(LOGISTIC, logs, "predict"), known)


def fused_answers(output: PeerOutput) -> Iterator[Answer]:
    """From both; a clip without a face counts as one that shows all emotions alike."""
    logs, known = output.face_logs, np.ones(len(output.truth), bool)
    calibrated = CalibratedClassifierCV(SVM, ensemble=False)
    voice = np.log(output.crossed(calibrated, output.sound, "predict_proba"))
    yield Answer("both", "mean log p: face as it is, SVM", (logs + voice).argmax(axis=1), known)
    pair = [np.log(output.crossed(LOGISTIC, x, "predict_proba")) for x in (logs, output.sound)]
    yield Answer("both", "mean log p: two regressions", sum(pair).argmax(axis=1), known)
    joined = np.concatenate([logs, output.sound], axis=1)
    yield Answer("both", "SVM on all features", output.crossed(SVM, joined, "predict"), known)
