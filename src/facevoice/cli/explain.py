"""`facevoice explain`: what of face and voice moved the answer at one moment."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

from rich.table import Table
from rich.text import Text

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import (
    LeftOut,
    Merges,
    Names,
    Overwrite,
    Quiet,
    argument,
    edits_of,
    flag,
    option,
    takes_analyzer,
    tells_errors,
)
from facevoice.cli.screen import Screen, passes
from facevoice.cli.stdin import refuse_stdin
from facevoice.errors import ConfigError
from facevoice.explain import (
    Explanation,
    check_time,
    draw_face,
    draw_voice,
    effect_words,
    explain_in_words,
    explain_moment,
    to_json,
    to_page,
)
from facevoice.explain.gradients import check_gradients
from facevoice.explain.hiding import Part
from facevoice.explain.words import CAVEAT
from facevoice.files import whole_folder
from facevoice.media.open import is_remote
from facevoice.media.remote import public_address
from facevoice.report.words import EMOTION_WORDS, percent
from facevoice.store import Store
from facevoice.texts import shown

_TIME: Final = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", re.ASCII)
_FILES: Final = ("explain.html", "explanation.json", "face.png", "voice.png")


@tells_errors("explain", interrupted="Nothing is written.")
@takes_analyzer
def explain(
    file: Annotated[str, argument("FILE", "A video or audio file.")],
    *,
    at: Annotated[str, option("TIME", "The moment: 0:34, 1:02:03 or seconds.")],
    out: Annotated[
        Path | None,
        option("DIR", "Where to put the page, the pictures and the numbers. Default: nowhere."),
    ] = None,
    setup: AnalyzerSetup,
    store: Annotated[
        Path | None,
        option(
            "FILE",
            "Take from here what was perceived of the file, such as results/.facevoice.db of "
            "`analyze`, and keep it here for the next time. Default: the file is read anew.",
        ),
    ] = None,
    names: Names = None,
    merges: Merges = None,
    left_out: LeftOut = None,
    gradients: Annotated[
        bool,
        flag(
            "Draw the maps by integrated gradients in place of hiding; for a checkpoint that torch "
            "runs (needs the extra explain).",
            "--gradients",
        ),
    ] = False,
    json: Annotated[
        bool, flag("Print the explanation as JSON in place of sentences and tables.", "--json")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show what in the face and in the voice moved the answer at one moment.

    Parts of the face, stretches and bands of the voice are hidden one by one, and the same networks
    are asked again. It tells what they go by, not whether they are right.
    """
    if is_remote(file):
        raise ConfigError(f"{public_address(file)}: fetch the file first, then name it")
    refuse_stdin(file, "explain")
    at_s = read_time(at)
    _check_folder(out, overwrite=overwrite)
    edits = edits_of(names, merges, left_out)
    screen = Screen(quiet=quiet, data_on_stdout=json)
    path = Path(file)
    analyzer = setup.build()
    if gradients:
        check_gradients(analyzer.assembly.model)
    info = analyzer.perceiver.probe(path)
    check_time(path, at_s, info.duration_s)
    with ExitStack() as stack:
        # A full disk must not cost the answer.
        kept = None if store is None else stack.enter_context(Store(store, is_strict=False))
        show = stack.enter_context(screen.bar())
        (reading,) = passes(show, (path.name,), info.duration_s)
        perception = analyzer.perceive(path, on_view=lambda view: reading(view.end_s), store=kept)
    explanation = explain_moment(
        analyzer,
        path,
        at_s,
        perception=perception,
        edits=edits,
        num_threads=setup.num_threads,
        gradients=gradients,
    )
    if out is not None:
        _write(explanation, out)
    if json:
        sys.stdout.write(to_json(explanation))
        return
    _show(explanation, screen)
    if out is not None:
        screen.say(f"Written to {shown(str(out))}")


def read_time(text: str) -> float:
    """Seconds of `0:34`, `1:02:03` or `34.5`.

    Raises:
        ConfigError: it isn't written so.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"--at {shown(text)}: write minutes and seconds, such as 0:34, or seconds"
        )
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def _check_folder(out: Path | None, *, overwrite: bool) -> None:
    """Make sure, before any work, that nothing of others is lost."""
    if out is None or not out.is_dir():
        return
    names = {path.name for path in out.iterdir()}
    if others := sorted(names.difference(_FILES)):
        raise ConfigError(
            f"--out {shown(str(out))}: holds other files, such as {shown(others[0])}; name a "
            "folder of its own"
        )
    if names and not overwrite:
        raise ConfigError(f"--out {shown(str(out))}: isn't empty; replace it with --overwrite")


def _write(explanation: Explanation, out: Path) -> None:
    with whole_folder(out) as folder:
        (folder / "explain.html").write_text(to_page([explanation]), encoding="utf-8")
        (folder / "explanation.json").write_text(to_json(explanation), encoding="utf-8")
        if explanation.face is not None:
            (folder / "face.png").write_bytes(draw_face(explanation.face))
        if explanation.voice is not None:
            (folder / "voice.png").write_bytes(draw_voice(explanation.voice))


def _show(explanation: Explanation, screen: Screen) -> None:
    said = explanation.prediction
    screen.say(
        f"{shown(explanation.path)}, {said.start_s:.1f} to {said.end_s:.1f} s: {said.outcome.value}"
    )
    screen.say(*explain_in_words(explanation))
    for title, one in (("Face", explanation.face), ("Voice", explanation.voice)):
        if one is not None:
            head = f"{title}: {EMOTION_WORDS[one.emotion]} {percent(one.before.emotion)}"
            screen.say(_table(head, one.parts))
    screen.say(CAVEAT, style="dim")


def _table(title: str, parts: tuple[Part, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for head in ("hidden", "then", "log-odds", "so it", "conflict then"):
        table.add_column(head)
    for part in parts:
        conflict = part.without.conflict
        cells = (
            part.name,
            percent(part.without.emotion),
            f"{part.effect:+.2f}",
            effect_words(part),
            "" if conflict is None else percent(conflict),
        )
        table.add_row(*map(Text, cells))
    return table
