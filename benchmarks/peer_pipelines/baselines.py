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

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

# The last field of the corpus's file names, 01 to 06, by fer's names.
CLASSES = ("neutral", "sad", "happy", "surprise", "fear", "angry")
# fer rounds to hundredths.
_LEAST = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PeerOutput:
    """Of n clips: truth (n,), speakers (n,), face (n, 6; NaN without a face), sound (n, figures).

    face_share: frames with a face, of all.
    """

    truth: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.str_]
    face: Floats
    sound: Floats

    @property
    def has_face(self) -> npt.NDArray[np.bool_]:
        return ~np.isnan(self.face[:, 0])


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Classes (n,) that a method says of a channel; `known`: clips (n,) for which it says one."""

    channel: str
    method: str
    said: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]


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


def _clip_face(emotions: npt.NDArray[np.float32], labels: npt.NDArray[np.str_]) -> Floats:
    if not len(emotions):
        return np.full(len(CLASSES), np.nan)
    columns = [list(labels).index(name) for name in CLASSES]
    mean = emotions.mean(axis=0, dtype=np.float64)[columns]
    return np.asarray(mean / mean.sum())


def voice_answers(output: PeerOutput) -> Iterator[Answer]:
    """From the soundtrack alone."""
    for method, model in (("SVM (RBF)", _svm()), ("logistic regression", _logistic())):
        said = _crossed(model, output.sound, output, "predict")
        yield Answer("voice", method, said.astype(np.int64), np.ones(len(said), bool))


def face_answers(output: PeerOutput) -> Iterator[Answer]:
    """From the pictures alone, without the clips in which no face was found."""
    logs, known = _face_logs(output), output.has_face
    yield Answer("face", "as it is", logs.argmax(axis=1), known)
    said = _crossed(_logistic(), logs, output, "predict")
    yield Answer("face", "logistic regression", said.astype(np.int64), known)


def fused_answers(output: PeerOutput) -> Iterator[Answer]:
    """From both; a clip without a face counts as one that shows all emotions alike."""
    logs, known = _face_logs(output), np.ones(len(output.truth), bool)
    calibrated = CalibratedClassifierCV(_svm(), ensemble=False)
    voice = np.log(_crossed(calibrated, output.sound, output, "predict_proba"))
    yield Answer("both", "mean log p: face as it is, SVM", (logs + voice).argmax(axis=1), known)
    pair = [
        np.log(_crossed(_logistic(), features, output, "predict_proba"))
        for features in (logs, output.sound)
    ]
    yield Answer("both", "mean log p: two regressions", (pair[0] + pair[1]).argmax(axis=1), known)
    joined = np.concatenate([logs, output.sound], axis=1)
    said = _crossed(_svm(), joined, output, "predict").astype(np.int64)
    yield Answer("both", "SVM on all features", said, known)


def _face_logs(output: PeerOutput) -> Floats:
    even = np.full(len(CLASSES), 1 / len(CLASSES))
    filled = np.where(output.has_face[:, None], output.face, even)
    return np.asarray(np.log(np.maximum(filled, _LEAST)))


def _crossed(model: BaseEstimator, features: Floats, output: PeerOutput, method: str) -> Floats:
    """What the model, fitted to the other speakers, gives for each clip."""
    given = cross_val_predict(
        model,
        features,
        output.truth,
        groups=output.speakers,
        cv=LeaveOneGroupOut(),
        method=method,
    )
    return np.asarray(given)


def _svm() -> Pipeline:
    return make_pipeline(StandardScaler(), SVC())


def _logistic() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
