"""That nothing leaves the machine: watch a process that analyses a clip and then lives on.

    python benchmarks/quiet_process.py                     90 s of life, the example clip
    python benchmarks/quiet_process.py CLIP --seconds 300

A process with an empty home folder imports facevoice, builds an `Analyzer`, analyses the clip,
writes the report into an output folder, and stays alive. strace notes every socket, every look-up
of a name (the files that the resolver reads) and every file that is created or written. Telemetry
of onnxruntime 1.29 and later, for one, begins after most of a minute.

Prints what was found, and ends with 1 if it is anything but the report. Linux with strace only.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

CLIP: Final = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"
RESOLVER_FILES: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/run/nscd")
CHILD: Final = """
import sys, time
began = time.monotonic()
from facevoice import Analyzer
from facevoice.report import to_json
report = Analyzer().analyze(sys.argv[1])
with open(sys.argv[2], "w") as file:
    file.write(to_json(report))
time.sleep(max(0.0, float(sys.argv[3]) - (time.monotonic() - began)))
"""
_OPENED: Final = re.compile(r'(?:openat\([^,]*, |open\(|creat\()"([^"]+)"(.*)')
_MADE: Final = re.compile(r'(?:mkdir|mkdirat|rename|renameat2?|link|linkat|symlink)\(.*?"([^"]+)"')


@dataclass(slots=True)
class Seen:
    """What a process did besides writing its report.

    sockets: lines of strace; lookups: files of the name resolver; written: files made or written;
    in_home: what lies in the home folder at the end.
    """

    lived_s: float = 0.0
    sockets: list[str] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    in_home: list[str] = field(default_factory=list)

    @property
    def is_quiet(self) -> bool:
        """Nothing but the report."""
        return not (self.sockets or self.lookups or self.written or self.in_home)


def watch(clip: Path, seconds: float) -> Seen:
    """Run the process under strace.

    Raises:
        CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        home, out, trace = (Path(scratch) / name for name in ("home", "out", "trace"))
        home.mkdir()
        out.mkdir()
        keep = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        environment |= {"HOME": str(home), "TMPDIR": str(out), "PYTHONDONTWRITEBYTECODE": "1"}
        calls = (
            "network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink"
        )
        watcher = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}"]
        child = [sys.executable, "-c", CHILD, str(clip), str(out / "report.json"), str(seconds)]
        began_s = time.monotonic()
        subprocess.run([*watcher, *child], env=environment, cwd=out, check=True)
        seen = _read(trace.read_text(errors="replace"), out)
        seen.lived_s = time.monotonic() - began_s
        seen.in_home = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
        return seen


def _read(trace: str, out: Path) -> Seen:
    seen = Seen()
    for line in trace.splitlines():
        if re.search(r"\b(socket|connect|sendto|sendmsg|sendmmsg|bind)\(", line):
            seen.sockets.append(line)
        opened, made = _OPENED.search(line), _MADE.search(line)
        if opened:
            name, flags = opened.groups()
            if name.startswith(RESOLVER_FILES):
                seen.lookups.append(name)
            writes = re.search(r"O_(WRONLY|RDWR|CREAT)", flags) or "creat(" in line
            if writes and " = -1 " not in flags and not _is_allowed(name, out):
                seen.written.append(name)
        elif made and " = -1 " not in line and not _is_allowed(made[1], out):
            seen.written.append(made[1])
    return seen


def _is_allowed(name: str, out: Path) -> bool:
    """The output folder, which is the temporary folder too, and what is no file on a disk."""
    inside = not name.startswith("/") or Path(name).is_relative_to(out)
    return inside or name.startswith(("/dev/", "/proc/", "/sys/"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path, nargs="?", default=CLIP)
    parser.add_argument("--seconds", type=float, default=90.0)
    options = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    seen = watch(options.clip.resolve(), options.seconds)
    print(f"onnxruntime {version('onnxruntime')}, {options.clip.name}, lived {seen.lived_s:.0f} s")
    for what in ("sockets", "lookups", "written", "in_home"):
        found = getattr(seen, what)
        print(f"{what:8s} {len(found)}", *found[:20], sep="\n    ")
    sys.exit(0 if seen.is_quiet else 1)


if __name__ == "__main__":
    main()
