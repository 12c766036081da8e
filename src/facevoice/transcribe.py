"""Makes a transcript of a file's speech, by the optional part `transcribe` (faster-whisper)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.errors import MissingExtraError, WeightsError
from facevoice.media.sound import read_audio
from facevoice.records import SAMPLE_RATE_HZ
from facevoice.transcript import Line, Transcript, clean_words

DEFAULT_MODEL: Final = "small"
# Whisper hears half a minute at once; lines are shorter, so that they tell the moment.
_MAX_LINE_S: Final = 5.0
_PAUSE_S: Final = 0.6
_SENTENCE_ENDS: Final = tuple(".?!…。？！")


class Transcriber:
    """Writes down what is said. Build one, use it for many files.

    Args:
        model: a name that faster-whisper knows (tiny, base, small, medium, large-v3, turbo …) or a
            model's name on the Hugging Face hub, either of which is fetched once; or a folder
            with a Whisper model converted for CTranslate2, which needs no network.
        num_threads: of the processor; None for as many as faster-whisper takes.

    Raises:
        MissingExtraError: faster-whisper is not installed.
        WeightsError: there is no such model, or it can't be fetched or read.
    """

    def __init__(self, model: str = DEFAULT_MODEL, *, num_threads: int | None = None) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise MissingExtraError("a transcript of speech", "transcribe") from error
        try:
            self._model: Any = WhisperModel(
                model, compute_type="auto", cpu_threads=num_threads or 0
            )
        except Exception as error:  # The hub's client raises of all kinds.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise WeightsError(
                f"the speech recognition model {model} can't be loaded: {reason}. Name a model of "
                "faster-whisper, such as small, which is fetched from the Hugging Face hub once, "
                "or a folder that holds one"
            ) from error
        self.name = Path(model).name

    def transcribe(
        self, path: str | Path, *, on_progress: Callable[[float], None] | None = None
    ) -> Transcript:
        """The words of a file, in lines of a few seconds.

        Holds all of its sound at once: 64 kB a second. `on_progress` is called with the seconds of
        media that are done.

        Raises:
            MediaError: the file can't be read, or has no sound; see `read_audio`.
        """
        # Not by faster-whisper's own reader: that one knows nothing of the media clock.
        samples = np.concatenate([block.samples for block in read_audio(path)])
        segments, _ = self._model.transcribe(
            samples, word_timestamps=True, vad_filter=True, condition_on_previous_text=False
        )
        lines: list[Line] = []
        for segment in segments:
            lines += _lines(segment, len(samples) / SAMPLE_RATE_HZ)
            if on_progress is not None:
                on_progress(segment.end)
        lines.sort(key=lambda line: line.start_s)
        return Transcript(tuple(lines), f"faster-whisper {self.name}")


def _lines(segment: Any, duration_s: float) -> Iterator[Line]:
    """A segment cut at ends of sentences, at pauses, and where it grows long.

    Whisper hears half a minute even where the sound is shorter; nothing is said after its end.
    """
    for words in _groups(segment.words or [segment]):
        start_s, end_s = max(0.0, float(words[0].start)), min(float(words[-1].end), duration_s)
        text = clean_words("".join(map(_text, words)))
        if text and end_s > start_s:
            yield Line(start_s, end_s, text)


def _groups(words: Iterable[Any]) -> Iterator[Sequence[Any]]:
    group: list[Any] = []
    for word in words:
        if group and (
            _text(group[-1]).rstrip().endswith(_SENTENCE_ENDS)
            or word.start - group[-1].end >= _PAUSE_S
            or word.end - group[0].start > _MAX_LINE_S
        ):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _text(piece: Any) -> str:
    """Of a word, or of a segment without words."""
    return str(piece.word if hasattr(piece, "word") else piece.text)
