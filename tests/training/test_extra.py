"""`[train]` brings all that train, predict, and evaluate of their runs import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from training_builders import cremad_ids, make_table, ravdess_ids, write_feature_file

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
SCRIPT = """
import json, sys

blocked, commands = (json.loads(text) for text in sys.argv[1:])

class Finder:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in blocked
        return None if hidden else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Finder(finder) for finder in sys.meta_path]
from facevoice.__main__ import main
for command in commands:
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def closure(extra: str) -> set[str]:
    """Distributions that an installation with this extra brings."""
    found: set[tuple[str, str]] = set()
    own = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *own[extra]]
    todo = [(Requirement(text), "") for text in texts]
    while todo:
        requirement, parent = todo.pop()
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": parent}):
            continue
        name = plain(requirement.name)
        if name == "facevoice":
            todo += [(Requirement(text), "") for e in requirement.extras for text in own[e]]
            continue
        for asked in ("", *requirement.extras):
            if (name, asked) not in found:
                found.add((name, asked))
                todo += [(Requirement(text), asked) for text in needs(name)]
    return {name for name, _ in found}


def needs(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []  # not for this machine


def test_train_predict_and_evaluate_need_no_other_extra(tmp_path: Path) -> None:
    brought = {*closure("train"), "facevoice"}
    modules = metadata.packages_distributions()
    blocked = [m for m, dists in modules.items() if not {plain(d) for d in dists} & brought]
    assert {"gradio", "ray", "kagglehub"} <= set(blocked)
    features = write_feature_file(tmp_path / "a.npz", make_table(ravdess_ids(3) + cremad_ids(3)))
    others = write_feature_file(tmp_path / "b.npz", make_table(ravdess_ids(5)))
    settings = ("network.fused_dim=8", "split.num_folds=3", "network.input_norm=standardize")
    options = [word for setting in settings for word in ("--set", setting)]
    out, run = tmp_path / "out", tmp_path / "run"
    commands = [
        ["train", "--features", features, "--out", out, "--cpu", "--num-epochs", 1, *options],
        ["predict", out / "checkpoint", "--features", others, "--out", run],
        ["evaluate", run, "--resamples", 100],
    ]
    words = json.dumps([[str(word) for word in command] for command in commands])
    command = [sys.executable, "-c", SCRIPT, json.dumps(blocked), words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (run / "scores.json").is_file()
