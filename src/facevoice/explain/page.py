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
from facevoice.report.words import EMOTION_WORDS, percent
from facevoice.texts import clock, shown

# Colours are those of the report page, whose switch is an attribute of what stands beside.
_DARK: Final = "color-scheme: dark; --why-ink: #E4E8EB; --why-soft: #A7B1BA; --why-line: #3B454E;"
_STYLE: Final = f"""
.fv-why {{ --why-ink: #1F2933; --why-soft: #55616B; --why-line: #D5D9DD; color: var(--why-ink);
  font: 15px/1.5 system-ui, sans-serif; box-sizing: border-box; max-width: 1280px;
  margin: 0 auto; padding: 0 24px 32px; overflow-wrap: anywhere; }}
@media screen {{ [data-theme="dark"] .fv-why, [data-theme="dark"] ~ .fv-why {{ {_DARK} }} }}
.fv-why h2 {{ font-size: 17px; line-height: 1.3; margin: 0 0 8px; }}
.fv-why p {{ max-width: 75ch; margin: 0 0 8px; }}
.fv-why-channels {{ display: flex; flex-wrap: wrap; gap: 16px 40px; margin: 16px 0; }}
.fv-why-channels > div {{ flex: 1 1 360px; min-width: 0; max-width: 720px; }}
.fv-why img {{ display: block; max-width: 100%; height: auto; border-radius: 5px; }}
.fv-why figure {{ margin: 0 0 16px; }}
.fv-why figcaption, .fv-why .fv-why-small {{ color: var(--why-soft); font-size: 13px; }}
.fv-why figcaption {{ margin-top: 6px; }}
.fv-why table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
.fv-why caption {{ text-align: left; font-weight: 600; padding: 4px 0; }}
.fv-why th, .fv-why td {{ text-align: left; vertical-align: top; padding: 3px 12px 3px 0;
  border-bottom: 1px solid var(--why-line); font-weight: 400; overflow-wrap: normal; }}
@media (max-width: 600px) {{
  .fv-why {{ padding: 0 16px 24px; }}
  .fv-why table {{ font-size: 13px; }}
}}
.fv-why thead th {{ color: var(--why-soft); }}
@media print {{
  .fv-why {{ max-width: none; padding: 24px 0 0; }}
  .fv-why :is(h2, figure, tr) {{ break-inside: avoid; }}
  .fv-why h2 {{ break-after: avoid; }}
}}
"""
_PAGE_STYLE: Final = f"""
body {{ margin: 0; background: #FFFFFF; }}
h1 {{ font-size: 24px; line-height: 1.25; margin: 0; padding-top: 20px; }}
@media screen and (prefers-color-scheme: dark) {{
  body {{ background: #14181C; }} body .fv-why {{ {_DARK} }}
}}
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def to_section(explanation: Explanation) -> str:
    """HTML of one explanation: words, pictures and tables in a `section`, all it needs within.

    Its style holds only below the class `fv-why`; it is dark within or after anything that has
    `data-theme="dark"`. What a file says of itself is shown as text.
    """
    said = explanation.prediction
    span = f"{said.start_s:.1f} to {said.end_s:.1f} s"
    pieces = [
        f'<section class="fv-why" aria-label="Why, from {span}">',
        f"<style>{_STYLE}</style>",
        f"<h2>Why, at {clock(explanation.at_s)}</h2>",
        f'<p class="fv-why-small">The window from {span}: {said.outcome.value}.</p>',
        *(f"<p>{html.escape(sentence)}</p>" for sentence in explain_in_words(explanation)),
        '<div class="fv-why-channels">',
    ]
    if explanation.face is not None:
        pieces += ["<div>", *_face(explanation.face), "</div>"]
    if explanation.voice is not None:
        pieces += ["<div>", *_voice(explanation.voice), "</div>"]
    pieces += ["</div>", f'<p class="fv-why-small">{html.escape(CAVEAT)}</p>', "</section>"]
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
<meta name="color-scheme" content="light dark">
<title>Why: {name} · facevoice</title>
<style>{_PAGE_STYLE}</style>
</head>
<body>
<main>
<header class="fv-why"><h1>{name}</h1></header>
{sections}
<footer class="fv-why"><p class="fv-why-small">{html.escape(NOTICE)}</p></footer>
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
        for head in ("hidden", "then", "log-odds", "so it", "conflict")
    )
    return (
        f"<table><caption>{html.escape(title)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
