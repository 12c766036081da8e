"""An explanation as a section for any page, and as a page of its own."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Final

from facevoice.explain.face import FaceExplanation
from facevoice.explain.hiding import Part
from facevoice.explain.moment import Explanation
from facevoice.explain.pictures import draw_face, draw_voice
from facevoice.explain.voice import VoiceExplanation
from facevoice.explain.words import CAVEAT, effect_words, explain_in_words
from facevoice.records import NOTICE, VERSION
from facevoice.report.words import EMOTION_WORDS, clock, percent
from facevoice.texts import shown

_STYLE: Final = """
.fv-why { font: 16px/1.5 system-ui, sans-serif; color: #1F2933; background: #FFFFFF;
  max-width: 60rem; margin: 0 auto; padding: 1rem; }
.fv-why img { max-width: 100%; height: auto; }
.fv-why figure { margin: 1rem 0; }
.fv-why figcaption, .fv-why .fv-why-small { color: #55616B; font-size: 0.875rem; }
.fv-why table { border-collapse: collapse; }
.fv-why caption { text-align: left; font-weight: 600; padding: 0.25rem 0; }
.fv-why th, .fv-why td { text-align: left; padding: 0.2rem 1rem 0.2rem 0;
  border-bottom: 1px solid #D5D9DD; font-weight: 400; }
.fv-why thead th { color: #55616B; }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_section(explanation: Explanation) -> str:
    """HTML of one explanation: words, pictures and tables in a `section`, all it needs within.

    Its style holds only below the class `fv-why`. What a file says of itself is shown as text.
    """
    said = explanation.prediction
    span = f"{said.start_s:.1f} to {said.end_s:.1f} s"
    pieces = [
        '<section class="fv-why">',
        f"<style>{_STYLE}</style>",
        f"<h2>Why, at {clock(explanation.at_s)}</h2>",
        f'<p class="fv-why-small">The window from {span}: {said.outcome.value}.</p>',
        *(f"<p>{html.escape(sentence)}</p>" for sentence in explain_in_words(explanation)),
    ]
    if explanation.face is not None:
        pieces += _face(explanation.face)
    if explanation.voice is not None:
        pieces += _voice(explanation.voice)
    pieces += [f'<p class="fv-why-small">{html.escape(CAVEAT)}</p>', "</section>"]
    return "\n".join(pieces) + "\n"


def to_page(explanations: Iterable[Explanation]) -> str:
    """A page that opens from disk and loads nothing from elsewhere."""
    told = list(explanations)
    name = html.escape(shown(PurePath(told[0].path).name)) if told else "nothing"
    sections = "\n".join(to_section(one) for one in told)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="facevoice {VERSION}">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>Why: {name} · facevoice</title>
</head>
<body>
<main class="fv-why">
<h1>{name}</h1>
{sections}
<p class="fv-why-small">{html.escape(NOTICE)}</p>
</main>
</body>
</html>
"""


def _face(face: FaceExplanation) -> Iterator[str]:
    emotion = EMOTION_WORDS[face.emotion]
    caption = (
        f"Orange parts speak for {emotion}, blue ones against it. Left and right are those of the "
        f"picture; the mean over the window's {face.num_crops} crops is explained."
    )
    yield _figure(draw_face(face), f"The face, by how much each part speaks for {emotion}", caption)
    yield _table(f"Face: {emotion} {percent(face.before.emotion)}", face.parts)


def _voice(voice: VoiceExplanation) -> Iterator[str]:
    emotion = EMOTION_WORDS[voice.emotion]
    caption = f"Orange stretches and bands speak for {emotion}, blue ones against it."
    alt = f"The voice's spectrogram, by how much each stretch and band speaks for {emotion}"
    yield _figure(draw_voice(voice), alt, caption)
    yield _table(f"Voice: {emotion} {percent(voice.before.emotion)}", voice.parts)


def _figure(png: bytes, alt: str, caption: str) -> str:
    source = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{source}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _table(title: str, parts: Iterable[Part]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(part.name)}</th><td>{percent(part.without.emotion)}</td>'
        f"<td>{part.effect:+.2f}</td><td>{effect_words(part)}</td>"
        f"<td>{'' if part.without.conflict is None else percent(part.without.conflict)}</td></tr>"
        for part in parts
    )
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("hidden", "then", "effect (log-odds)", "so it", "conflict then")
    )
    return (
        f"<table><caption>{html.escape(title)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
