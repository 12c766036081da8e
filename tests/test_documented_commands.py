"""Commands in the documents exist, with the options that they are shown with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from benchmarks.results_table import FETCH

from command_lines import PAGES, PLACEHOLDER, problems, steps_of
from facevoice.backbones.huggingface import PRETRAINED
from facevoice.corpora.gather import corpus_names
from facevoice.hub import SpaceOptions, write_space
from facevoice.models.network import FUSIONS
from facevoice.training.config import TrainConfig

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_command_of_a_page_exists_with_its_options() -> None:
    steps = [step for page in PAGES for step in steps_of(page)]
    commands = [step for step in steps if step.kind == "command"]
    mentions = [step for step in steps if step.kind == "mention"]
    assert len(commands) > 100
    assert len(mentions) > 90
    wrong = [(step.page, each) for step in commands for each in problems(step.text)]
    # What is only mentioned needs no operands.
    wrong += [
        (step.page, each)
        for step in mentions
        for each in problems(step.text)
        if "Missing argument" not in each and "requires an argument" not in each
        if "Invalid value" not in each or not re.search(PLACEHOLDER, step.text)
    ]
    assert wrong == []


def test_commands_that_always_isolate_have_no_option_for_it() -> None:
    for command in ("web", "mcp FOLDER"):
        assert list(problems(f"facevoice {command}")) == []
        (problem,) = problems(f"facevoice {command} --isolated")
        assert "--isolated" in problem


def test_usage_says_once_that_operands_may_come_again() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert "facevoice mcp [OPTIONS] FOLDER...\n" in text
    assert "...." not in text


def test_files_scripts_and_extras_that_pages_name_are_there() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wrong = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        files = re.findall(r"\b(?:examples|configs)/[\w/-]+\.\w+", text)
        wrong += [(page, name) for name in files if not (ROOT / name).is_file()]
        scripts = re.findall(
            r"\bpython (?:-m )?((?:benchmarks|recipes|docs)[\w./]++)(?!` at commit)", text
        )
        wrong += [(page, name) for name in scripts if not is_script(name)]
        named = re.findall(r"`make (\w[\w-]*)|^make (\w[\w-]*)", text, re.M)
        wrong += [(page, name) for name in map("".join, named) if name not in targets]
        extras = ",".join(re.findall(r"pip install (?:-e )?'(?:\.|facevoice)\[([\w,]+)\]'", text))
        known = project["optional-dependencies"]
        wrong += [(page, name) for name in extras.split(",") if name and name not in known]
    assert wrong == []


def test_every_extra_is_told_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"dev"}
    told = re.findall(r"^\| `(\w+)` \|", (DOCS / "install.md").read_text(encoding="utf-8"), re.M)
    assert set(told) == extras
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    brief = readme.partition("\nExtras are ")[2].partition("\n\n")[0]
    assert extras - set(re.findall(r"`(\w+)`", brief)) == {"docs"}


def is_script(name: str) -> bool:
    path = ROOT / name if name.endswith(".py") else ROOT / f"{name.replace('.', '/')}.py"
    return path.is_file() or (path.with_suffix("") / "__main__.py").is_file()


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
