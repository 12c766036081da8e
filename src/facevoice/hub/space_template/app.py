"""A page to try facevoice on: upload a clip, read what face and voice express."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Nothing on how the page is used is sent anywhere; gradio reads this when it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr  # type: ignore[import-not-found,unused-ignore]

import facevoice
from facevoice.report import csv_rows, summarize_in_words
from facevoice.results import NOTICE

HERE = Path(__file__).resolve().parent
MODEL = None
REVISION = None
COLUMNS = ["from", "to", "face", "voice", "both", "outcome", "conflict"]
NO_ANSWER = "–"
ABOUT = f"""# Face and voice

Which emotion does the face show, which does the voice carry, and do both match? Upload a short clip
with one person who speaks.

{NOTICE}

Only upload clips of people who agreed to it. Clips are read on this server and deleted after
about an hour.
"""


@cache
def load_analyzer() -> facevoice.Analyzer:
    """The analyzer, built when it is first needed and kept."""
    if MODEL is None:
        return facevoice.Analyzer()
    folder = HERE / MODEL
    if folder.is_dir():
        return facevoice.from_pretrained(folder)
    return facevoice.from_pretrained(MODEL, revision=REVISION)


def analyze_clip(path: str | None) -> tuple[str, str, list[list[str]]]:
    """Outcome, sentence and table of a clip."""
    if not path:
        raise gr.Error("Choose a clip first.")
    try:
        report = load_analyzer().analyze(path)
    except facevoice.FacevoiceError as error:
        # Where the server keeps the clip is of no interest to anybody.
        raise gr.Error(str(error).replace(str(path), Path(path).name)) from error
    outcome = "insufficient" if report.summary is None else report.summary.outcome.value
    return outcome, summarize_in_words(report), [table_row(row) for row in csv_rows(report)]


def table_row(row: dict[str, str]) -> list[str]:
    """A line of the table, from a line of the CSV."""
    channels = [
        f"{row[name]} {float(row[f'{name}_{row[name]}']):.0%}" if row[name] else NO_ANSWER
        for name in ("face", "voice", "fused")
    ]
    conflict = f"{float(row['conflict']):.0%}" if row["conflict"] else NO_ANSWER
    times = [f"{float(row[name]):.1f} s" for name in ("start_s", "end_s")]
    return [*times, *channels, row["outcome"], conflict]


def build_page() -> Any:
    """The page, as gradio Blocks."""
    if find_spec("facevoice.web") is not None:
        from facevoice import web

        return web.build_app(load_analyzer())
    with gr.Blocks(title="facevoice", delete_cache=(600, 3600)) as page:
        gr.Markdown(ABOUT)
        with gr.Row():
            clip = gr.Video(label="Clip", sources=["upload", "webcam"])
            with gr.Column():
                outcome = gr.Textbox(label="Outcome")
                sentence = gr.Textbox(label="In words", lines=4)
        button = gr.Button("Analyse", variant="primary")
        table = gr.Dataframe(headers=COLUMNS, label="By window", interactive=False)
        button.click(
            analyze_clip, clip, [outcome, sentence, table], concurrency_limit=1, api_name="analyze"
        )
        samples = sorted(str(p) for p in (HERE / "samples").glob("*") if p.is_file())
        if samples:
            gr.Examples([[sample] for sample in samples], inputs=[clip], cache_examples=False)
    return page


demo = build_page()

if __name__ == "__main__":
    demo.launch(max_file_size="100mb")
