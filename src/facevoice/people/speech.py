"""Voice activity: how likely each 32 ms of sound is speech.

Silero VAD, a small recurrent network (Silero Team, "Silero VAD: pre-trained enterprise-grade Voice
Activity Detector", MIT), run by onnxruntime.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from onnxruntime import InferenceSession

from facevoice.records import SAMPLE_RATE_HZ, AudioBlock, FloatArray, ModelId, SpeechBlock
from facevoice.sessions import load_session, weights_entry

CHUNK_SAMPLES: Final[int] = 512

_WEIGHTS: Final[str] = "silero_vad"
# The network hears the end of the last chunk again, and keeps this much memory.
_CONTEXT_SAMPLES: Final[int] = 64
_STATE_SHAPE: Final[tuple[int, int, int]] = (2, 1, 128)


def vad_model_id() -> ModelId:
    """Name and SHA-256 of the voice activity network.

    Raises:
        WeightsError: the package's index of weights is damaged.
    """
    entry = weights_entry(_WEIGHTS)
    return ModelId(name=entry.name, sha256=entry.sha256)


def read_speech(blocks: Iterable[AudioBlock]) -> Iterator[SpeechBlock]:
    """Voice activity of consecutive blocks of one recording, each sample given once.

    The network's memory goes on across blocks. Blocks come out in whole chunks of 512 samples;
    samples left over wait for the next block. The last chunk of the recording may be shorter: the
    network hears it filled up with silence, but only real samples are handed on.

    Raises:
        WeightsError: the network is missing or damaged.
    """
    detector = _VoiceActivity()
    rest = np.zeros(0, np.float32)
    start_s = 0.0
    for block in blocks:
        if not len(rest):
            start_s = block.start_s
        samples = np.concatenate([rest, block.samples])
        whole = len(samples) - len(samples) % CHUNK_SAMPLES
        rest = samples[whole:]
        if whole:
            yield SpeechBlock(start_s, samples[:whole], detector(samples[:whole]))
            start_s += whole / SAMPLE_RATE_HZ
    if len(rest):
        filled = np.pad(rest, (0, CHUNK_SAMPLES - len(rest)))
        yield SpeechBlock(start_s, rest, detector(filled))


@functools.cache
def _network() -> InferenceSession:
    # Opening it costs as much as half a minute of sound; it keeps no memory between calls.
    session, _ = load_session(_WEIGHTS, num_threads=1)
    return session


class _VoiceActivity:
    """The network with its memory; feed it one recording in order."""

    def __init__(self) -> None:
        self._state = np.zeros(_STATE_SHAPE, np.float32)
        self._context = np.zeros((1, _CONTEXT_SAMPLES), np.float32)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Probabilities (n,) of samples (n·512,)."""
        chunks = samples.reshape(-1, 1, CHUNK_SAMPLES)
        probs = np.empty(len(chunks), np.float32)
        for i, chunk in enumerate(chunks):
            heard = np.concatenate([self._context, chunk], axis=1)
            prob, self._state = _network().run(
                ["output", "stateN"], {"input": heard, "state": self._state}
            )
            self._context = chunk[:, -_CONTEXT_SAMPLES:]
            probs[i] = prob[0, 0]
        return probs
