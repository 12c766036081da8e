"""Importing facevoice loads nothing heavy and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import facevoice

HEAVY = [
    "torch", "tensorflow", "transformers", "gradio", "ray", "cv2", "scipy", "sklearn", "pandas",
    "matplotlib",
]  # fmt: skip

PROBE = """
import json, locale, logging, os, signal, sys, threading, warnings
def state():
    root = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "root_handlers": len(root.handlers),
        "root_level": root.level,
        "own_handlers": len(logging.getLogger("facevoice").handlers),
        "own_level": logging.getLogger("facevoice").level,
        "hooks": [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
        "locale": locale.setlocale(locale.LC_ALL),
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "threads": threading.active_count(),
        "recursion": sys.getrecursionlimit(),
    }
before = state()
%s
print(json.dumps({"before": before, "after": state(), "modules": sorted(sys.modules)}))
"""

# These import torch at the top; whoever needs them imports them inside a function.
WITH_TORCH = {
    "facevoice.models.fusion",
    *(f"facevoice.training.{name}" for name in ("finetune", "loop", "losses", "run")),
}

# The page's own modules; `facevoice.web` imports them when a page is built.
WITH_GRADIO = {"facevoice.web.page", "facevoice.web.tab"}

IMPORT_ALL = f"""
import importlib, pkgutil, facevoice
for module in pkgutil.walk_packages(facevoice.__path__, "facevoice."):
    if not module.name.endswith("__main__") and module.name not in {WITH_TORCH | WITH_GRADIO}:
        importlib.import_module(module.name)
"""


def probe(code: str) -> dict[str, dict[str, object]]:
    run = subprocess.run(
        [sys.executable, "-c", PROBE % code], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return json.loads(run.stdout)


def test_importing_facevoice_changes_nothing() -> None:
    found = probe("import facevoice")
    assert found["after"] == found["before"]


def test_importing_every_module_changes_nothing_and_loads_nothing_heavy() -> None:
    found = probe(IMPORT_ALL)
    assert found["after"] == found["before"]
    top_level = {name.split(".")[0] for name in found["modules"]}
    assert top_level.isdisjoint(HEAVY)
    assert "facevoice.cli.app" in found["modules"]


def test_public_names_exist() -> None:
    assert [name for name in facevoice.__all__ if not hasattr(facevoice, name)] == []
    assert facevoice.__version__
