"""A process of its own for work on files from strangers: it can read them, and do no harm.

The child loads what it needs, says that it is ready, and then gives up its rights for good, before
it opens the first file: on Linux it can reach no network, start no process, write no file (but
below a folder that is named), and read nothing but the interpreter, its packages and the folder of
the file. Memory, processor time and open files are bounded. What it answers are plain values in
MessagePack, never pickles, so that a child that was taken over can't take over who asked.

Where the system has no Landlock (Linux before 5.13), it may read all that its user may; elsewhere
than on Linux it is a process of its own with limits, and no more. See SECURITY.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import math
import os
import platform
import select
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import msgspec

from facevoice.errors import ConfigError, DecoderCrashedError, MediaError, OverLimitError

Message = Mapping[str, Any]
"""Plain values, which MessagePack can hold."""
Work = Callable[[Message, Callable[[Message], None]], None]
"""What a child does: `work(task, tell)` tells its answers one by one."""

_MIB: Final = 1 << 20
# A window with six faces takes some 60 kB, a picture of 8K 100 MB.
_MAX_MESSAGE_BYTES: Final = 256 * _MIB
_START_S: Final = 300.0
_END_S: Final = 5.0
_TICK_S: Final = 0.25
# What a child needs of its parent's environment; keys and tokens are none of it.
_KEPT: Final = frozenset(
    [
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH"),
        *("SYSTEMROOT", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "OMP_NUM_THREADS"),
    ]
)
_ADDED: Final = {
    "HF_HUB_OFFLINE": "1",  # Who asks has fetched what is needed.
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use.

    memory_bytes: beyond what it takes with all networks loaded; cpu_s: processor time of a task,
    and cpu_per_s more for each second of the file; wait_s, wait_per_s: likewise, how long to wait
    for all answers of a task together; stall_s: for the next one; num_files: open at once;
    written_bytes: size of a file that it may write.
    """

    memory_bytes: int = 1536 * _MIB
    cpu_s: float = 300.0
    cpu_per_s: float = 60.0
    # Four times the processor time, which is a hundred times what a fast machine takes.
    wait_s: float = 1200.0
    wait_per_s: float = 240.0
    stall_s: float = 120.0
    num_files: int = 64
    written_bytes: int = 0


class Sandbox:
    """A child process that does one task after the other, on files of one folder.

    Args:
        entry: "module:function"; `function(setup)` is called in the child before it gives up its
            rights, and gives a `Work`.
        setup: plain values.
        limits: see there.
    """

    def __init__(self, entry: str, setup: Message, limits: Limits) -> None:
        self.limits = limits
        self.folder: Path | None = None
        """Of the files that it may read; None until the first task."""
        self._is_ready = False
        if os.name != "posix":
            raise ConfigError("reading in isolation needs Linux or macOS")
        ours, theirs = socket.socketpair()
        with theirs:
            self._connection = Connection(ours.detach())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "facevoice.sandbox", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={k: v for k, v in os.environ.items() if k in _KEPT} | _ADDED,
                start_new_session=True,  # Ctrl-C is for who asks, and decides.
            )
            self._watch = _Watch(self._process)
        self._send({"entry": entry, "setup": setup})

    def work(
        self, task: Message, path: Path, *, length_s: float = 0.0, writable: Path | None = None
    ) -> Generator[Message, None, None]:
        """What the child answers to a task on the file at `path`.

        Closing the iterator before its end ends the child.

        Args:
            task: plain values.
            path: named in errors.
            length_s: of the file, as far as it is known.
            writable: a folder in which the child may write from now on; only of its first task.

        Raises:
            MediaError: what the work itself raised.
            DecoderCrashedError: the child died, or the work failed in a way that nobody foresaw.
            OverLimitError: it took more than it may.
            ConfigError: the child can't be started.
        """
        is_over = False
        try:
            self._begin(path, writable)
            limits = self.limits
            cpu_s = limits.cpu_s + limits.cpu_per_s * length_s
            self._watch.begin(cpu_s, limits.wait_s + limits.wait_per_s * length_s)
            self._send({"task": task, "cpu_s": cpu_s})
            while (message := self._receive(path, self.limits.stall_s)) != {"done": True}:
                if "error" in message:
                    error = _error_from(message["error"], path)
                    # Whatever surprised a child, it doesn't meet the next file.
                    is_over = not isinstance(error, DecoderCrashedError | OverLimitError)
                    raise error
                yield message
            is_over = True
        finally:
            if not is_over:
                self.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can take another task."""
        return self._process.poll() is None and not self._connection.closed

    def close(self) -> None:
        """End the child, in the midst of a task if need be."""
        self._connection.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)

    def _begin(self, path: Path, writable: Path | None) -> None:
        """Wait until the child is loaded, and let it give up its rights."""
        if self._is_ready:
            return
        self._await_ready(path)
        self.folder = Path(os.path.realpath(path)).parent
        rights = {
            "limits": asdict(self.limits),
            "readable": os.fsencode(self.folder),
            "writable": None if writable is None else os.fsencode(writable),
        }
        self._send(rights)
        self._await_ready(path)
        self._is_ready = True

    def _await_ready(self, path: Path) -> None:
        message = self._receive(path, _START_S)
        if "cannot" in message:
            raise ConfigError(f"files can't be read in isolation here: {message['cannot']}")

    def _send(self, message: Message) -> None:
        content = msgspec.msgpack.encode(message)
        with contextlib.suppress(OSError), self._watch.waiting(self.limits.stall_s):
            self._connection.send_bytes(content)  # Where it fails, `_receive` finds out why.

    def _receive(self, path: Path, patience_s: float) -> Message:
        try:
            with self._watch.waiting(patience_s):
                content = self._connection.recv_bytes(_MAX_MESSAGE_BYTES)
            return msgspec.msgpack.decode(content, type=dict[str, Any])
        except (EOFError, OSError, msgspec.DecodeError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            code = self._process.poll()
            self.close()
            if self._watch.fault:
                raise OverLimitError(path, self._watch.fault, _REMEDY) from error
            raise _explain_end(path, code) from error


class _Watch:
    """Ends a child that takes more processor time, or lets us wait longer, than it may.

    A thread of ours counts time, so that none passes while this process is stopped or the machine
    sleeps; nor does any count as waiting while the answers that came are used.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.fault = ""
        """What the child was ended for."""
        self._process = process
        self._now_s = 0.0
        self._max_cpu_s = math.inf
        self._left_s = math.inf
        self._deadline = math.inf, ""
        threading.Thread(target=self._run, daemon=True).start()

    def begin(self, cpu_s: float, wait_s: float) -> None:
        """From now on it may take so much processor time, and let us wait so long in all."""
        self._max_cpu_s = _cpu_used_s(self._process.pid) + cpu_s
        self._left_s = wait_s

    @contextlib.contextmanager
    def waiting(self, patience_s: float) -> Iterator[None]:
        """Wait for it no longer than this, nor than is left of the task's time."""
        begun_s = self._now_s
        self._deadline = min(
            (begun_s + patience_s, f"nothing came of reading it for {patience_s:g} s."),
            (begun_s + self._left_s, "reading it took longer than allowed."),
        )
        try:
            yield
        finally:
            self._deadline = math.inf, ""
            self._left_s -= self._now_s - begun_s

    def _run(self) -> None:
        while self._process.poll() is None:
            time.sleep(_TICK_S)
            self._now_s += _TICK_S
            if fault := self._find_fault():
                self.fault = fault
                self._process.kill()

    def _find_fault(self) -> str:
        if _cpu_used_s(self._process.pid) > self._max_cpu_s:
            return _TOO_MUCH_CPU
        deadline_s, told = self._deadline
        return told if self._now_s > deadline_s else ""


def _cpu_used_s(pid: int) -> float:
    """Of all threads of a process; 0 where that can't be asked, or it has ended."""
    if sys.platform != "linux":
        return 0.0
    with contextlib.suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)
    return 0.0


_TOO_MUCH_CPU: Final = "reading it took more processor time than allowed."
_REMEDY: Final = "If you trust where it comes from, convert it to MP4 (H.264 and AAC) first."


def _explain_end(path: Path, code: int | None) -> MediaError:
    """Why a child ended, by its exit code."""
    if code == -getattr(signal, "SIGXCPU", 0) != 0:
        return OverLimitError(path, _TOO_MUCH_CPU, _REMEDY)
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        return DecoderCrashedError(path, f"a decoder crashed on it ({name}).", _REMEDY)
    return DecoderCrashedError(path, f"a decoder ended on it (exit code {code}).", _REMEDY)


def _error_from(values: Message, path: Path) -> MediaError:
    """The error that a child met, of a kind that files can have."""
    kind, problem, remedy = (str(values.get(name, "")) for name in ("kind", "problem", "remedy"))
    return _media_errors(MediaError).get(kind, DecoderCrashedError)(path, problem, remedy)


def _media_errors(kind: type[MediaError]) -> dict[str, type[MediaError]]:
    found = {kind.__name__: kind}
    for narrower in kind.__subclasses__():
        found |= _media_errors(narrower)
    return found


# In the child.


def _serve(connection: Connection) -> None:
    """Load, give up all rights, then do one task after the other until the pipe ends."""
    try:
        if (asked := _read(connection)) is None:
            return
        module, _, name = asked["entry"].partition(":")
        work: Work = getattr(importlib.import_module(module), name)(asked["setup"])
        _answer(connection, {"ready": True})
        if (rights := _read(connection)) is None:
            return
        writable = rights["writable"] and Path(os.fsdecode(rights["writable"]))
        readable = [*_own_places(), Path(os.fsdecode(rights["readable"]))]
        lock_down(Limits(**rights["limits"]), readable, writable)
        _answer(connection, {"ready": True})
    except Exception as error:  # noqa: BLE001 - told to the parent, who raises it
        _answer(connection, {"cannot": f"{type(error).__name__}: {error}"})
        return
    threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
    while (message := _read(connection)) is not None:
        if sys.platform != "linux":  # There, who asks sees to it: a bound of ours could be lifted.
            _bound_cpu(message["cpu_s"])
        _answer(connection, _do(work, message["task"], partial(_answer, connection)))


def _end_with(pipe: int) -> None:
    """End when who asks does, also in the midst of a task."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(pipe, 0)  # a hang-up is always told
        poll.poll()
        os._exit(0)


def _do(work: Work, task: Message, tell: Callable[[Message], None]) -> Message:
    """Do a task; gives the last answer."""
    try:
        work(task, tell)
        return {"done": True}
    except MediaError as error:
        kind, problem, remedy = type(error).__name__, error.problem, error.remedy
    except MemoryError:
        kind, problem = "OverLimitError", "reading it took more memory than allowed."
        remedy = _REMEDY
    except Exception as error:  # noqa: BLE001 - told to the parent, who raises it
        kind, remedy = "DecoderCrashedError", _REMEDY
        problem = f"reading it failed unexpectedly ({type(error).__name__}: {error})."
    return {"error": {"kind": kind, "problem": problem, "remedy": remedy}}


def _read(connection: Connection) -> dict[str, Any] | None:
    try:
        content = connection.recv_bytes()
    except (EOFError, OSError):
        return None  # The parent is gone or has had enough.
    values: dict[str, Any] = msgspec.msgpack.decode(content)
    return values


def _answer(connection: Connection, message: Message) -> None:
    try:
        connection.send_bytes(msgspec.msgpack.encode(message))
    except OSError:
        os._exit(0)  # Nobody listens any more.


def lock_down(limits: Limits, readable: Iterable[Path], writable: Path | None = None) -> None:
    """Give up all rights of this process but those that are named, for good.

    On systems other than Linux only what `resource` can bound is bound.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)  # What decoders print is nobody's message.
    _bound(limits)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        _restrict_paths(libc, readable, writable)
        _filter_calls(libc, may_write=writable is not None)


def _own_places() -> list[Path]:
    """Where the interpreter, its packages and the system's libraries lie."""
    paths = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent}
    paths |= {Path(path) for path in sysconfig.get_paths().values()}
    paths |= {Path(path) for path in sys.path if path and Path(path).name == "site-packages"}
    system = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
    devices = ("/dev/null", "/dev/urandom", "/proc/self", "/proc/cpuinfo", "/proc/meminfo")
    told = ("/sys/fs/cgroup", "/sys/devices/system/cpu", "/proc/sys/vm")
    return [*paths, *map(Path, (*system, *devices, *told))]


def _bound(limits: Limits) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    kinds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: limits.num_files,
        resource.RLIMIT_FSIZE: limits.written_bytes,
    }
    if sys.platform == "linux":
        # Of statm: data and stack, in pages; shared libraries and reserved addresses are no part.
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        kinds[resource.RLIMIT_DATA] = used * resource.getpagesize() + limits.memory_bytes
    for kind, most in kinds.items():
        resource.setrlimit(kind, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Writing too much fails, and is told.


def _bound_cpu(more_s: float) -> None:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + more_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


# Landlock: which files may be read and written (https://docs.kernel.org/userspace-api/landlock.html).

_PR_SET_NO_NEW_PRIVS: Final = 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
# Of each version of Landlock: how many rights on files there are.
_NUM_FS_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_NUM_FS_RIGHTS_LATEST: Final = 16
_NET_RIGHTS: Final = 0b11
_SCOPES: Final = 0b11
_FIRST_NET_VERSION, _FIRST_SCOPE_VERSION = 4, 6


def _restrict_paths(libc: Any, readable: Iterable[Path], writable: Path | None) -> None:
    """Where the kernel has Landlock, it holds from now on, here and in threads yet to start."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return
    rights = (1 << _NUM_FS_RIGHTS.get(version, _NUM_FS_RIGHTS_LATEST)) - 1
    handled = struct.pack(
        "QQQ",
        rights,
        _NET_RIGHTS if version >= _FIRST_NET_VERSION else 0,
        _SCOPES if version >= _FIRST_SCOPE_VERSION else 0,
    )
    known = 24 if version >= _FIRST_SCOPE_VERSION else 16 if version >= _FIRST_NET_VERSION else 8
    rules = libc.syscall(_LANDLOCK_CREATE, handled, known, 0)
    if rules < 0:
        _check(-1, "landlock")
    for path in readable:
        _allow(libc, rules, path, _FS_READ_FILE | _FS_READ_DIR | _FS_EXECUTE)
    if writable is not None:
        _allow(libc, rules, writable, rights & ~_FS_EXECUTE)
    _check(libc.syscall(_LANDLOCK_RESTRICT, rules, 0), "landlock")
    os.close(rules)


def _allow(libc: Any, rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What isn't there needs no rule.
    if not path.is_dir():
        rights &= _FS_EXECUTE | _FS_WRITE_FILE | _FS_READ_FILE
    _check(libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, place), 0), "landlock")
    os.close(place)


# Seccomp: which calls of the system are left, by their numbers on x86-64 and on ARM64
# (https://docs.kernel.org/userspace-api/seccomp_filter.html); None where there is no such call.

_FILES: Final = {
    **{"read": (0, 63), "pread64": (17, 67), "readv": (19, 65), "preadv": (295, 69)},
    **{"preadv2": (327, 286), "write": (1, 64), "pwrite64": (18, 68), "writev": (20, 66)},
    **{"pwritev": (296, 70), "close": (3, 57), "close_range": (436, 436), "lseek": (8, 62)},
    **{"stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79)},
    **{"statx": (332, 291), "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None)},
    **{"faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None)},
    **{"readlinkat": (267, 78), "getdents": (78, None), "getdents64": (217, 61)},
    **{"getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "dup": (32, 23)},
    **{"dup2": (33, None), "dup3": (292, 24), "pipe": (22, None), "pipe2": (293, 59)},
    **{"poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72)},
    **{"epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21)},
    **{"epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441)},
    **{"eventfd": (284, None), "eventfd2": (290, 19), "fadvise64": (221, 223)},
    **{"readahead": (187, 213)},
}
_MEMORY: Final = {
    **{"brk": (12, 214), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226)},
    **{"madvise": (28, 233), "mincore": (27, 232), "msync": (26, 227), "membarrier": (324, 283)},
}
_THREADS: Final = {
    **{"futex": (202, 98), "set_robust_list": (273, 99), "set_tid_address": (218, 96)},
    **{"rseq": (334, 293), "gettid": (186, 178), "exit": (60, 93), "exit_group": (231, 94)},
    **{"sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sched_getparam": (143, 121)},
    **{"sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125)},
    **{"sched_get_priority_min": (147, 126), "getcpu": (309, 168), "arch_prctl": (158, None)},
    **{"rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139)},
    **{"rt_sigpending": (127, 136), "rt_sigsuspend": (130, 133), "rt_sigtimedwait": (128, 137)},
    **{"sigaltstack": (131, 132), "restart_syscall": (219, 128), "pause": (34, None)},
}
_QUESTIONS: Final = {
    **{"clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115)},
    **{"nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153)},
    **{"getrusage": (98, 165), "getrlimit": (97, 163), "getpid": (39, 172), "getppid": (110, 173)},
    **{"getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177)},
    **{"getresuid": (118, 148), "getresgid": (120, 150), "getgroups": (115, 158)},
    **{"getpgid": (121, 155), "getpgrp": (111, None), "getsid": (124, 156)},
    **{"getpriority": (140, 141), "sysinfo": (99, 179), "uname": (63, 160)},
    **{"getrandom": (318, 278)},
}
_WRITES: Final = {
    **{"creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None)},
    **{"unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38)},
    **{"renameat2": (316, 276), "truncate": (76, 45), "ftruncate": (77, 46)},
    **{"fallocate": (285, 47), "fsync": (74, 82), "fdatasync": (75, 83)},
}
# Those that are left in some forms only: see `_rules`.
_OPEN, _OPENAT, _CLONE, _MMAP = (2, None), (257, 56), (56, 220), (9, 222)
_KILL, _TGKILL, _SETAFFINITY, _PRLIMIT = (62, 129), (234, 131), (203, 122), (302, 261)
_FCNTL, _IOCTL, _PRCTL = (72, 25), (16, 29), (157, 167)

_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_SECCOMP: Final = (317, 277)
_CLONE_THREAD: Final = 0x10000
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_GROWSDOWN = 0x01, 0x20, 0x100
# Copies of descriptors, and their flags; no locks, and no signals to others.
_FCNTL_COMMANDS: Final = (0, 1, 2, 3, 4, 1030)
# What every opening asks of a terminal; nothing is typed into one, which a shell would run.
_IOCTL_COMMANDS: Final = (0x5401, 0x802C_542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# All commands of what drives graphics cards.
_IOCTL_KINDS: Final = (ord("F") << 8, ord("K") << 8, ord("d") << 8, 0)
_IOCTL_KIND_BITS: Final = 0xFF00
_PRCTL_NAMES: Final = (15, 16)
_ALL_BITS: Final = 0xFFFF_FFFF
_EPERM, _EACCES, _ENOSYS = 1, 13, 38

# Instructions of the filter: load a word, mask it, jump if equal or if any bit is set; return.
_LOAD, _MASK, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x45, 0x06
_ALLOWED, _KILL_PROCESS, _FAIL = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16


def _filter_calls(libc: Any, *, may_write: bool) -> None:
    """Leave few calls to all threads of the process; on other machines than these two, all."""
    if platform.machine() not in _MACHINES:
        return
    column, _ = _MACHINES[platform.machine()]
    program = _program(may_write=may_write)
    content = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))

    described = Filter(len(program) // 8, ctypes.cast(content, ctypes.c_void_p))
    set_mode, all_threads = 1, 1
    number = _SECCOMP[column]
    _check(libc.syscall(number, set_mode, all_threads, ctypes.byref(described)), "seccomp")


def _program(*, may_write: bool) -> bytes:
    column, machine = _MACHINES[platform.machine()]
    left = {**_FILES, **_MEMORY, **_THREADS, **_QUESTIONS, **(_WRITES if may_write else {})}
    parts = [
        _step(_LOAD, _MACHINE_AT),
        _step(_EQUAL, machine, skip_if=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER_AT),
    ]
    for numbers, rule in _rules(may_write=may_write).items():
        parts += _on(numbers[column], rule)
    for numbers in left.values():
        parts += _on(numbers[column], [_allow_call()])
    # As if there were no such call: the libraries then know another way.
    return b"".join([*parts, _fail(_ENOSYS)])


def _rules(*, may_write: bool) -> dict[tuple[int, int | None], list[bytes]]:
    """Which forms of a call are left, by its numbers; each ends the filter."""
    writes = 0 if may_write else os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    shared = _MAP_SHARED | _MAP_ANONYMOUS
    return {
        _OPEN: [_load(1), *_if_any_bit(writes, _fail(_EACCES)), _allow_call()],
        _OPENAT: [_load(2), *_if_any_bit(writes, _fail(_EACCES)), _allow_call()],
        # RLIMIT_DATA doesn't count memory that is shared, nor stacks that grow.
        _MMAP: [
            _load(3),
            *_if_any_bit(_MAP_GROWSDOWN, _fail(_EPERM)),
            _step(_MASK, shared),
            *_if_equal(shared, _fail(_EPERM)),
            _allow_call(),
        ],
        _CLONE: [_load(0), *_if_any_bit(_CLONE_THREAD, _allow_call()), _fail(_EPERM)],
        _KILL: _one_of(0, os.getpid()),
        _TGKILL: _one_of(0, os.getpid()),
        _SETAFFINITY: _one_of(0, 0),
        _FCNTL: _one_of(1, *_FCNTL_COMMANDS),
        _PRCTL: _one_of(0, *_PRCTL_NAMES),
        _IOCTL: [
            *(_load(1), *_if_any_of(_IOCTL_COMMANDS, _allow_call())),
            *(_step(_MASK, _IOCTL_KIND_BITS), *_if_any_of(_IOCTL_KINDS, _allow_call())),
            _fail(_EPERM),
        ],
        # Limits are read, never set: no new ones are pointed at, in either half of the address.
        _PRLIMIT: [
            *(_load(2), *_if_any_bit(_ALL_BITS, _fail(_EPERM))),
            *(_load(2, half=1), *_if_any_bit(_ALL_BITS, _fail(_EPERM))),
            *_one_of(0, 0),
        ],
    }


def _step(code: int, value: int, *, skip_if: int = 0, skip_else: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_else, value)


def _fail(error: int) -> bytes:
    return _step(_RETURN, _FAIL | error)


def _allow_call() -> bytes:
    return _step(_RETURN, _ALLOWED)


def _load(argument: int, *, half: int = 0) -> bytes:
    return _step(_LOAD, _ARGUMENTS_AT + 8 * argument + 4 * half)


def _on(number: int | None, then: list[bytes]) -> list[bytes]:
    """`then`, which must end the filter, for the call of this number."""
    return [] if number is None else [_step(_EQUAL, number, skip_else=len(then)), *then]


def _if_any_bit(bits: int, then: bytes) -> list[bytes]:
    return [_step(_ANY_BIT, bits, skip_else=1), then]


def _if_equal(value: int, then: bytes) -> list[bytes]:
    return [_step(_EQUAL, value, skip_else=1), then]


def _if_any_of(values: Iterable[int], then: bytes) -> list[bytes]:
    return [step for value in values for step in _if_equal(value, then)]


def _one_of(argument: int, *values: int) -> list[bytes]:
    """Allowed if the argument is one of the values."""
    return [_load(argument), *_if_any_of(values, _allow_call()), _fail(_EPERM)]


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
