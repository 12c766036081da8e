"""Commands in the documents exist, with the options that they are shown with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.results_table import FETCH

from command_lines import problems
from facevoice.backbones.huggingface import PRETRAINED
from facevoice.corpora.gather import corpus_names
from facevoice.hub import SpaceOptions, write_space
from facevoice.models.network import FUSIONS
from facevoice.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def commands_in(text: str) -> list[str]:
    """Inline code and lines of blocks that call facevoice."""
    blocks = re.findall(r"^```\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    blocks = [block.replace("\\\n", " ") for block in blocks]
    inline = re.findall(r"`((?:accelerate launch -m )?facevoice [^`]+)`", text)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [line for line in (*lines, *inline) if re.match(r"(accelerate.* )?facevoice ", line)]
    plain = [line.removeprefix("accelerate launch -m ").partition(" > ")[0] for line in found]
    # A command that is only mentioned needs no operands.
    return [f"{line} --help" if len(line.split()) == 2 else line for line in plain]


@pytest.mark.parametrize(
    ("page", "least"), [("parity.md", 40), ("hub.md", 6), ("person.md", 6), ("exchange.md", 14)]
)
def test_every_command_exists(page: str, least: int) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = commands_in(text)
    assert len(found) >= least
    assert [problem for line in found for problem in problems(line)] == []


def test_no_page_names_a_command_or_option_that_there_is_not() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    pages = [page for page in pages if page.name not in ("cli.md", "CHANGELOG.md")]
    unknown = [
        f"{page.name}: {problem}"
        for page in pages
        for line in commands_in(page.read_text(encoding="utf-8"))
        for problem in problems(line)
        if "no command" in problem or "No such option" in problem
    ]
    assert len(pages) > 40
    assert unknown == []


def test_results_of_published_weights_are_fetched_by_commands_that_exist() -> None:
    lines = [f"facevoice {step.format(work='WORK')}" for step in FETCH]
    assert [problem for line in lines for problem in problems(line)] == []


def test_every_row_says_its_state() -> None:
    text = (DOCS / "parity.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    states = [row.strip("|").split("|")[-1].strip() for row in rows]
    states = [state for state in states if state != "state"]
    assert len(states) > 40
    known = ("works", "comes later", "needs heads trained anew")
    assert [state for state in states if not state.startswith(known)] == []


def test_every_command_and_option_of_single_step_scripts_has_a_row() -> None:
    text = (DOCS / "parity.md").read_text(encoding="utf-8")
    there = re.findall(r"^\| ([^|]*)\|", text, flags=re.MULTILINE)
    words = " ".join(there)
    scripts = """download_datasets.py download_videos.py preprocess.py train_multimodal.py
    train_video_only.py train_audio_only.py evaluate.py compare_baselines.py inference_pipeline.py
    gradio_app.py video_backbone.py audio_backbone.py fusion_module.py full_model.py
    dataset_loaders.py"""
    options = """--dataset --gpu_mode --data_dir --checkpoint_dir --num_epochs --batch_size
    --learning_rate --checkpoint --model_type --video --output --samples --share"""
    missing = [word for word in (*scripts.split(), *options.split()) if word not in words]
    assert missing == []


def test_what_the_table_names_is_there() -> None:
    text = (DOCS / "parity.md").read_text(encoding="utf-8")
    for place in re.findall(r"`(facevoice/[\w/]+(?:\.py)?)/?`", text):
        assert (ROOT / "src" / place).exists(), place
    for place in re.findall(r"tests/\w+", text):
        assert (ROOT / place).is_dir(), place
    for place in re.findall(r"configs/[\w-]+\.toml", text):
        assert (ROOT / place).is_file(), place
    named = re.findall(r"--backbone ([\w-]+)(?!:)\b", text)
    assert {name for name in named if name != "hub"} <= set(PRETRAINED)
    for setting in re.findall(r"--set (\S+?)`", text):
        TrainConfig.load(None, [setting])
    for fusion in ("concat", "gated", "attention", "late"):
        assert fusion in FUSIONS
    assert len(corpus_names()) == 2 + 9  # "nine further corpora"


def test_the_spaces_parts_are_listed(tmp_path: Path) -> None:
    write_space(tmp_path / "demo", SpaceOptions())
    text = (DOCS / "hub.md").read_text(encoding="utf-8")
    for path in (tmp_path / "demo").iterdir():
        assert re.search(rf"`{re.escape(path.name)}/?`", text), path.name
