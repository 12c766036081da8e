"""How large the house is: what one has to read, and how its parts hang together.

    python benchmarks/house.py [ROOT ...]      # checkouts, side by side; by default this one

Lines and files of src and tests; public names (functions, classes and constants at the top of a
module without an underscore); import circles among modules, imports inside functions included; and
the files, with their lines, of which a function runs in `facevoice analyze FILE` (imports aside).
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

TRACE = """
import sys, threading
from pathlib import Path
seen = set()
def importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and "/facevoice/" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
def watch(frame, event, _):
    code = frame.f_code
    # Functions are optimised code; bodies of modules and classes are not. What a module calls
    # while it is imported (to register commands, say) belongs to no analysis.
    if event == "call" and code.co_flags & 1 and "/facevoice/" in code.co_filename:
        if code.co_filename not in seen and not importing(frame):
            seen.add(code.co_filename)
sys.setprofile(watch); threading.setprofile(watch)
sys.argv = ["facevoice", "analyze", sys.argv[1], "--no-progress"]
try:
    from facevoice.__main__ import main
    main()
except SystemExit:
    pass
finally:
    sys.setprofile(None)
    print("\\n".join(sorted(seen)), file=sys.stderr)
"""


def python_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def num_lines(files: list[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def public_names(files: list[Path]) -> int:
    count = 0
    for path in files:
        names: set[str] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Assign):
                names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
        count += sum(not name.startswith("_") for name in names)
    return count


def imports(src: Path) -> dict[str, set[str]]:
    """Which module imports which, wherever the statement stands; not those for types only."""
    modules = {}
    for path in python_files(src):
        parts = path.relative_to(src.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = defaultdict(set)
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or id(node) in typing_only or not node.module:
                continue
            for alias in node.names:
                for target in (f"{node.module}.{alias.name}", node.module):
                    if target in modules and target != name:
                        graph[name].add(target)
                        break
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def files_of_analyze(src: Path, clip: Path) -> list[Path]:
    run = subprocess.run(
        [sys.executable, "-c", TRACE, str(clip)],
        env={**os.environ, "PYTHONPATH": str(src)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stderr.splitlines()
    return [Path(line) for line in lines if line.endswith(".py") and Path(line).is_file()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("roots", nargs="*", type=Path, default=[HERE])
    parser.add_argument("--show", action="store_true", help="name files and circles")
    asked = parser.parse_args()
    for root in (path.resolve() for path in asked.roots):
        src = root / "src" / "facevoice"
        files, tests = python_files(src), python_files(root / "tests")
        graph = imports(src)
        rings = circles(graph)
        read = files_of_analyze(root / "src", root / "examples" / "smile_glad_voice.mp4")
        print(f"{root.name}:")
        print(f"  src: {len(files)} files, {num_lines(files):,} lines")
        print(f"  public names: {public_names(files):,}")
        print(f"  import circles: {len(rings)}")
        print(f"  facevoice analyze FILE: {len(read)} files, {num_lines(read):,} lines")
        print(f"  tests: {len(tests)} files, {num_lines(tests):,} lines")
        if asked.show:
            for ring in rings:
                print("  circle:", " ".join(ring))
            for path in read:
                print(f"  reads {path.relative_to(src)} {num_lines([path])}")


if __name__ == "__main__":
    main()
