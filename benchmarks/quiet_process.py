"""That nothing leaves the machine: watch facevoice, and every process that it starts.

    python -m benchmarks.quiet_process                  90 s of life for each way to use it
    python -m benchmarks.quiet_process web --seconds 300
    python -m benchmarks.quiet_process --page docs/benchmarks/quiet.md

Ways: `import facevoice`; `analyze` a clip; a batch of two by two processes; the web app, to which a
clip is uploaded and analysed; the service, which is sent one, asked for its report, and told to
delete it; the tools for assistants, which are asked about one. Each has an empty home, an empty
temporary folder and an empty folder for its output, and lives on for a while: telemetry of
onnxruntime 1.29 and later, for one, begins after most of a minute. strace notes every call that has
to do with networks, files and processes, of all processes and threads. For each way a table tells
what was called how often, and what it was for. The command ends with 1 where there was

- any socket, connection or message but, for web app and service, those of their own address,
  127.0.0.1;
- any look-up of a name: the files that the resolver reads, or a message to a name server;
- a file written outside the folder that was asked for and the temporary folder, or left there;
- a file read that is none of the interpreter's, the packages', the system's, or those named.

`watch(way, hook=True)` needs no strace: hooks of Python's own audit events note what Python code
does, in all its processes, but not what networks and decoders do by themselves. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import httpx
from benchmarks.load_page import Page

ROOT: Final = Path(__file__).parents[1]
CLIP: Final = ROOT / "examples" / "smile_glad_voice.mp4"
OTHER: Final = ROOT / "examples" / "smile_plain_voice.mp4"
START_WITHIN_S: Final = 300
# Runs the command, and lives on for a while as whatever it has become.
CHILD: Final = """
import sys, time
seconds = float(sys.argv.pop(1))
began_s = time.monotonic()
if sys.argv[1:]:
    from facevoice.__main__ import main
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
else:
    import facevoice
time.sleep(max(0.0, seconds - (time.monotonic() - began_s)))
"""
# What Python's audit events tell, as strace would: one line a call, by one write.
HOOK: Final = """
import os, sys
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_file = os.open(os.path.join(_root, "trace", "all"), os.O_WRONLY | os.O_APPEND)
def _see(event, given):
    if event == "open" and isinstance(given[0], (str, bytes)):
        made = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        kind = "O_WRONLY|O_CREAT" if given[2] & made else "O_RDONLY"
        line = 'openat(AT_FDCWD<%s>, "%s", %s) = 3' % (os.getcwd(), os.fsdecode(given[0]), kind)
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink"):
        names = [os.fsdecode(name) for name in given if isinstance(name, (str, bytes))]
        line = '%s(%s) = 0' % (event[3:], ", ".join('"%s"' % name for name in names))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        line = 'lookup("%s")' % (given[0],)
    elif event in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        line = '%s(3, {sa_family=?, %s}) = 0' % (event[7:], given[1])
    elif event == "subprocess.Popen":
        line = 'execve("%s") = 0' % (given[0],)
    else:
        return
    os.write(_file, (line.replace("\\n", " ") + "\\n").encode())
sys.addaudithook(_see)
"""

_UNASKED: Final = ("sockets", "lookups", "written", "read", "left")
_HEAD: Final = """# Nothing is sent: the system calls

```
python -m benchmarks.quiet_process {command}
```

All system calls of each way to use facevoice that have to do with networks, files and processes, of
all its processes and threads, as strace tells them ({packages}). *own address*:
127.0.0.1, where web app and service listen; *refused*: sockets that the process which reads files
isn't given; *asked for*: the files and folders that were named; *temporary*: among temporary files,
of which none is left. A row that says UNASKED, unasked or look-up would be a fault. What stands
where, and for how long: [privacy](../../PRIVACY.md)."""
_RESOLVER: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/run/nscd",
    "/var/run/nscd",
)
_SYSTEM: Final = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc",
    "/opt",
    "/var/cache/fontconfig",
)
_NO_FILES: Final = ("/dev", "/proc", "/sys")
_CALL: Final = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)", re.DOTALL)
_NAME: Final = re.compile(r'(?:<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_WRITES: Final = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
_MAKES: Final = re.compile(
    r"^(creat|mkdir|mkdirat|mknod|mknodat|rename|renameat|renameat2|link|linkat|symlink|symlinkat|"
    r"truncate|unlink|unlinkat|rmdir)$"
)
_SPEAKS: Final = ("socket", "connect", "bind", "sendto", "sendmsg", "sendmmsg", "lookup")
_LOOPBACK: Final = re.compile(r'"127\.0\.0\.1"|\'127\.0\.0\.1\'|"::1"|\(127\.0\.0\.1')


@dataclass(frozen=True, slots=True)
class Way:
    """A way to use facevoice: what is given to the command.

    inputs: what it may read; serves: it listens at an address until it is told to end; use: what is
    done with the running process, whose output goes to the file that is given.
    """

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...] = ()
    serves: bool = False
    use: Callable[[subprocess.Popen[bytes], Path], None] | None = None


@dataclass(slots=True)
class Seen:
    """What was done besides what was asked for; `calls`: all, counted by name and purpose.

    sockets, lookups: lines; written, read: files; left: what lies in the home and the temporary
    folder at the end; made: what lies in the folder that was asked for.
    """

    lived_s: float = 0.0
    processes: int = 0
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    sockets: list[str] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    @property
    def is_quiet(self) -> bool:
        """Nothing but what was asked for."""
        return not any(getattr(self, name) for name in _UNASKED)


def ways() -> dict[str, Way]:
    """All ways that are watched, by their names."""
    analyze = ("analyze", str(CLIP), "--out", "out")
    both = ("analyze", str(CLIP), str(OTHER), "--jobs", "2", "--out", "out")
    isolated = ("--isolated",) if _takes_isolated() else ()
    return {
        "import": Way("import", ()),
        "analyze": Way("analyze", analyze, (CLIP,)),
        "batch": Way("batch", (*both, *isolated), (CLIP, OTHER)),
        "web": Way("web", ("web", "--port", "0"), serves=True, use=_visit),
        "serve": Way(
            "serve", ("serve", "--port", "0", "--data", "data"), serves=True, use=_send_job
        ),
        "mcp": Way("mcp", ("mcp", str(CLIP.parent)), (CLIP.parent,), use=_ask_tool),
    }


def _takes_isolated() -> bool:
    from facevoice.batch import AnalyzerSetup  # noqa: PLC0415 - only this needs the package

    return "isolated" in AnalyzerSetup.__dataclass_fields__


def watch(way: Way, seconds: float = 0.0, *, hook: bool = False, child: str = CHILD) -> Seen:
    """Go this way under strace, or with hooks in Python.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("home", "tmp", "work", "trace", "hook"):
            (folder / name).mkdir()
        command = [sys.executable, "-c", child, str(seconds), *way.arguments]
        environment = _environment(folder)
        if hook:
            (folder / "hook" / "sitecustomize.py").write_text(HOOK, "utf-8")
            (folder / "trace" / "all").touch()
        else:
            traced = "trace=network,file,process"
            trace = str(folder / "trace" / "of")
            command = [
                "strace",
                "-ff",
                "-y",
                "-qq",
                "-s",
                "400",
                "-o",
                trace,
                "-e",
                traced,
                *command,
            ]
        began_s = time.monotonic()
        _go(way, command, environment, folder, seconds)
        seen = _read(folder, way)
        seen.lived_s = time.monotonic() - began_s
        for name in ("home", "tmp"):
            found = (folder / name).rglob("*")
            seen.left += sorted(str(path.relative_to(folder)) for path in found)
        made = (folder / "work").rglob("*")
        seen.made = sorted(str(p.relative_to(folder / "work")) for p in made if p.is_file())
        return seen


def _environment(folder: Path) -> dict[str, str]:
    keep = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {
        **{name: os.environ[name] for name in keep if name in os.environ},
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": os.pathsep.join((str(folder / "hook"), str(ROOT / "src"))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _go(
    way: Way, command: list[str], environment: dict[str, str], folder: Path, seconds: float
) -> None:
    log = folder / "trace" / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=environment,
            cwd=folder / "work",
        )
    try:
        if way.use is not None:
            way.use(process, log)
            time.sleep(seconds)
        if way.serves:
            _end(process)
        process.communicate()  # Ends what is told to it on standard input.
        code = process.returncode
    except httpx.HTTPError as error:
        raise RuntimeError(f"{way.name}: {error}\n{_end_of(log)}") from error
    finally:
        process.kill()
    if code not in ((0, 130, -signal.SIGTERM) if way.serves else (0,)):
        raise RuntimeError(f"{way.name} ended with {code}:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", errors="replace")[-3000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is watched, whether strace lies between or not.

    By SIGTERM, since a shell lets what it starts aside ignore Ctrl-C.
    """
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
    name = Path(f"/proc/{process.pid}/comm").read_text("utf-8").strip()
    os.kill(int(children[0]) if name == "strace" else process.pid, signal.SIGTERM)


def _said(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """What the process has said that matches, once it has.

    Raises:
        RuntimeError: it ended, or did not say it in time.
    """
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(pattern, log.read_text("utf-8")):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"never said {pattern}:\n{_end_of(log)}")


_ADDRESS: Final = r"http://127\.0\.0\.1:[1-9]\d*"


def _visit(process: subprocess.Popen[bytes], log: Path) -> None:
    asyncio.run(_use_page(_said(process, log, _ADDRESS)))


async def _use_page(address: str) -> None:
    """A user comes, uploads a clip, sees the result, takes it home, and goes."""
    page = Page(address)
    try:
        await page.open()
        await page.upload(CLIP)
        outcome = await page.analyze()
        if outcome.files is None:
            raise RuntimeError(f"no result: {outcome.problem}")
        json.loads(await page.download(outcome.files[".json"]))
    finally:
        await page.close()


def _send_job(process: subprocess.Popen[bytes], log: Path) -> None:
    """A program sends a clip, follows its windows, fetches the report, and deletes the job."""
    address = f"{_said(process, log, _ADDRESS)}/v1/jobs"
    with httpx.Client(timeout=START_WITHIN_S, trust_env=False) as client:
        headers = {"Content-Type": "video/mp4"}
        sent = client.post(
            f"{address}/file?name=clip.mp4", content=CLIP.read_bytes(), headers=headers
        )
        job = f"{address}/{sent.raise_for_status().json()['id']}"
        client.get(f"{job}/windows").raise_for_status()  # Ends as the job does.
        client.get(f"{job}/report").raise_for_status().json()
        client.delete(job).raise_for_status()


def _ask_tool(process: subprocess.Popen[bytes], log: Path) -> None:
    """An assistant asks about a clip."""
    client = {
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "clientInfo": {"name": "assistant", "version": "1"},
    }
    _tell(process, {"method": "initialize", "params": client, "id": 1})
    _said(process, log, r'"id": ?1\b')
    _tell(process, {"method": "notifications/initialized"})
    asked = {"name": "analyze", "arguments": {"path": CLIP.name}}
    _tell(process, {"method": "tools/call", "params": asked, "id": 2})
    answer = _said(process, log, r'.*"id": ?2\b.*\n')
    if "sentence" not in answer:
        raise RuntimeError(f"no result: {answer}")


def _tell(process: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    if process.stdin is None:
        raise ValueError("nothing can be told to it")
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


# What was called, and what for.


def _read(folder: Path, way: Way) -> Seen:
    seen = Seen()
    for trace in sorted((folder / "trace").iterdir()):
        if trace.name != "log":
            seen.processes += 1
            for line in trace.read_text(errors="replace").splitlines():
                _judge(line, folder, way, seen)
    return seen


def _judge(line: str, folder: Path, way: Way, seen: Seen) -> None:
    """Count one call, and note it if nobody asked for it."""
    called = _CALL.match(line) or re.match(r"^(\w+)\((.*)", line)
    if called is None:
        return
    call, given = called[1], called[2]
    has_failed = bool(re.search(r"\) += -1 ", line))
    if call == "socket" and has_failed:
        purpose = "refused"  # where files are read in isolation
    elif call in _SPEAKS:
        purpose = _speaks(call, given, way)
        {"unasked": seen.sockets, "look-up": seen.lookups}.get(purpose, []).append(line)
    else:
        purpose = "failed" if has_failed else _touches(call, given, folder, way, seen)
    seen.calls[call, purpose] += 1


def _speaks(call: str, given: str, way: Way) -> str:
    if "htons(53)" in given or (call == "lookup" and not _LOOPBACK.search(f'"{given}')):
        return "look-up"
    if way.serves and (("AF_INET" in given and call == "socket") or _LOOPBACK.search(given)):
        return "own address"
    has_address = call in ("socket", "connect", "bind") or "sa_family=" in given
    return "unasked" if has_address and call != "lookup" else "among its processes"


def _touches(call: str, given: str, folder: Path, way: Way, seen: Seen) -> str:
    """What a call that names files was for; those that nobody asked for come into `seen`."""
    paths = [
        Path(os.path.normpath(os.path.join(place or folder / "work", name)))  # noqa: PTH118
        for place, name in _NAME.findall(given)
    ]
    if call in ("open", "openat", "openat2", "creat") and not paths:
        return "no file"
    if _MAKES.match(call) or (call.startswith("open") and _WRITES.search(given)):
        kinds = [_kind_of_place(path, folder, way) for path in paths]
        wrong = [
            p
            for p, k in zip(paths, kinds, strict=True)
            if k not in ("asked for", "temporary", "no file")
        ]
        seen.written += map(str, wrong)
        return "to write: " + ("UNASKED" if wrong else kinds[-1] if kinds else "no file")
    if not call.startswith("open"):
        return "look at" if paths and not call.startswith("exec") else "processes"
    path = paths[-1]
    if str(path).startswith(_RESOLVER):
        seen.lookups.append(str(path))
        return "look-up"
    kind = _kind_of_place(path, folder, way)
    is_folder = "O_DIRECTORY" in given or path.is_dir()
    if kind == "other" and not is_folder:
        seen.read.append(str(path))
    return f"to read: {'a folder' if kind == 'other' else kind}"


def _kind_of_place(path: Path, folder: Path, way: Way) -> str:
    scheme = sysconfig.get_paths()
    places = {
        "asked for": (folder / "work", *way.inputs),
        "temporary": (folder / "tmp",),
        "interpreter and packages": (
            *(Path(p) for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)),
            *(Path(scheme[name]) for name in ("purelib", "platlib", "stdlib")),
            ROOT / "src",
            folder / "hook",
        ),
        "no file": tuple(map(Path, _NO_FILES)),
        "system": tuple(map(Path, _SYSTEM)),
    }
    for kind, roots in places.items():
        if any(path == root or root in path.parents for root in roots):
            return kind
    return "other"


def describe(way: Way, seen: Seen) -> Iterator[str]:
    """What came of a way, as lines of Markdown."""
    yield f"## {way.name}: {seen.processes} processes and threads, {seen.lived_s:.0f} s"
    yield ""
    command = " ".join(("facevoice", *way.arguments)).replace(f"{ROOT}/", "")
    yield f"`{command}`" if way.arguments else "`import facevoice`"
    yield ""
    yield "| call | what for | times |"
    yield "|---|---|---|"
    for (call, purpose), number in sorted(seen.calls.items()):
        yield f"| `{call}` | {purpose} | {number} |"
    yield ""
    yield f"Made, as asked for: {', '.join(seen.made) or 'nothing'}."
    unasked = {name: getattr(seen, name) for name in _UNASKED}
    yield "Unasked: " + ", ".join(f"{len(found)} {name}" for name, found in unasked.items()) + "."
    for found in unasked.values():
        yield from (f"    {one}" for one in found[:20])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ways()
    parser.add_argument("ways", nargs="*", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long each lives on")
    parser.add_argument("--page", type=Path, help="write what was seen there, too")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    packages = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "gradio"))
    lines = [_HEAD.format(command=shlex.join(sys.argv[1:]), packages=packages)]
    is_quiet = True
    for name in options.ways or known:
        seen = watch(known[name], options.seconds)
        found = list(describe(known[name], seen))
        print("", *found, sep="\n", flush=True)
        lines += ["", *found]
        is_quiet = is_quiet and seen.is_quiet
    if options.page is not None:
        options.page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(0 if is_quiet else 1)


if __name__ == "__main__":
    main()
