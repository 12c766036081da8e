"""Where the words come from: a file that is named, one beside each video, speech recognition."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

from facevoice.cli.options import flag, option
from facevoice.cli.screen import Screen
from facevoice.errors import ConfigError, MediaError, TranscriptError
from facevoice.files import write_atomically
from facevoice.media.open import is_remote
from facevoice.records import Report
from facevoice.texts import shown
from facevoice.transcript import Sidecars, Transcript, read_transcript, to_srt

if TYPE_CHECKING:
    from facevoice.transcribe import Transcriber

TranscriptFile = Annotated[
    Path | None,
    option(
        "FILE",
        "What is said: SubRip, WebVTT or plain text, shown with the moments. Default: the one "
        "beside each file, such as talk.srt, talk.en.vtt or talk.txt of talk.mp4.",
        "--transcript",
    ),
]
NoTranscript = Annotated[
    bool, flag("Pass over transcripts that lie beside the files.", "--no-transcript")
]
Transcribe = Annotated[
    bool,
    flag(
        "Write down what is said, by faster-whisper (needs the extra transcribe). With --out it "
        "is kept as NAME.srt; one that is there already is taken.",
        "--transcribe",
    ),
]
TranscribeModel = Annotated[
    str | None,
    option(
        "MODEL",
        "By which model: a name that faster-whisper knows, which is fetched from the Hugging Face "
        "hub once, or a folder with one. Turns --transcribe on. Default: small.",
        "--transcribe-model",
    ),
]


class Words:
    """Gives the transcript of one file after the other, and tells people what it is.

    Args:
        screen: where that is told.
        named: the transcript of the only file there is.
        uses_sidecars: whether those that lie beside the files are taken.
        transcriber: writes down what is said.
        out: where what it wrote is kept, None for nowhere.

    Raises:
        ConfigError: two sources exclude each other.
        TranscriptError: the named one can't be read.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        named: Path | None = None,
        uses_sidecars: bool = True,
        transcriber: Transcriber | None = None,
        out: Path | None = None,
    ) -> None:
        if named is not None and (transcriber is not None or not uses_sidecars):
            raise ConfigError("--transcript FILE excludes --no-transcript and --transcribe")
        self._screen = screen
        self._named = None if named is None else read_transcript(named)
        self._sidecars = Sidecars() if uses_sidecars else None
        self._transcriber = transcriber
        self._out = out
        self._last: tuple[str, Transcript | None] = ("", None)

    def add_to(self, report: Report, name: PurePath | None = None) -> Report:
        """A report with the words of its file; `name`: of its outputs."""
        if not report.windows:
            return report
        report = report.with_transcript(self.of(report.path, name))
        if report.transcript is not None:
            for remark in report.transcript.remarks:
                self._screen.say(f"{shown(report.transcript.source)}: {remark}.")
        return report

    def of(self, path: str, name: PurePath | None = None) -> Transcript | None:
        """The words of the file that reports call `path`; None if nothing tells them."""
        if self._named is not None:
            return self._named
        if self._last[0] != path:
            self._last = path, self._find(path, name)
        return self._last[1]

    def _find(self, path: str, name: PurePath | None) -> Transcript | None:
        if is_remote(path):
            if self._transcriber is not None:
                self._screen.complain(
                    f"{shown(path)}: fetch the file first to have it transcribed."
                )
            return None
        try:
            if self._transcriber is not None:
                return self._made(self._transcriber, Path(path), name)
            return None if self._sidecars is None else self._beside(self._sidecars, Path(path))
        except (TranscriptError, MediaError) as error:
            self._screen.complain(f"{error} Its words are left out.")
            return None

    def _beside(self, sidecars: Sidecars, path: Path) -> Transcript | None:
        found = sidecars.beside(path)
        if not found:
            return None
        if others := ", ".join(other.name for other in found[1:]):
            more = f"words from {found[0].name}, not from {others}: --transcript names another"
            self._screen.say(f"{shown(str(path))}: {shown(more)}", style="dim")
        return read_transcript(found[0])

    def _made(
        self, transcriber: Transcriber, path: Path, name: PurePath | None
    ) -> Transcript | None:
        kept = None
        if self._out is not None and name is not None:
            # Not `with_suffix`: a clip named "take.1" would lose its ".1".
            kept = self._out / name.with_name(f"{name.name}.srt")
        if kept is not None and kept.exists():
            self._screen.say(
                f"{shown(str(path))}: words from {shown(str(kept))}, which was there", style="dim"
            )
            return read_transcript(kept)
        made = transcriber.transcribe(path)
        if kept is not None and made.lines:
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(kept, to_srt(made))
            except OSError as error:
                self._screen.complain(f"{shown(str(kept))}: can't be written ({error.strerror}).")
        return made


def choose_words(
    screen: Screen,
    *,
    named: Path | None,
    without: bool,
    transcribe: bool = False,
    model: str | None = None,
    num_threads: int | None = None,
    out: Path | None = None,
) -> Words:
    """The source of words that options ask for; see `Words`, `Transcriber` for what is raised."""
    transcriber = None
    if transcribe or model is not None:
        if named is not None or without:
            raise ConfigError("--transcribe excludes --transcript and --no-transcript")
        # Here, since only those who ask for it need what reads sound.
        from facevoice.transcribe import DEFAULT_MODEL, Transcriber

        transcriber = Transcriber(model or DEFAULT_MODEL, num_threads=num_threads)
    return Words(screen, named=named, uses_sidecars=not without, transcriber=transcriber, out=out)
