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
from collections.abc import Callable, Generator, Iterable, Mapping
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
    and cpu_per_s more for each second of the file; stall_s: how long to wait for the next answer;
    num_files: open at once; written_bytes: size of a file that it may write.
    """

    memory_bytes: int = 1536 * _MIB
    cpu_s: float = 300.0
    cpu_per_s: float = 60.0
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
            self._send(
                {"task": task, "cpu_s": self.limits.cpu_s + self.limits.cpu_per_s * length_s}
            )
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
        with contextlib.suppress(OSError):  # `_receive` finds out why.
            self._connection.send_bytes(msgspec.msgpack.encode(message))

    def _receive(self, path: Path, patience_s: float) -> Message:
        try:
            if not self._connection.poll(patience_s):
                self.close()
                problem = f"nothing came of reading it for {patience_s:g} s."
                raise OverLimitError(path, problem, _REMEDY)
            content = self._connection.recv_bytes(_MAX_MESSAGE_BYTES)
            return msgspec.msgpack.decode(content, type=dict[str, Any])
        except (EOFError, OSError, msgspec.DecodeError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            code = self._process.poll()
            self.close()
            raise _explain_end(path, code) from error


_REMEDY: Final = "If you trust where it comes from, convert it to MP4 (H.264 and AAC) first."


def _explain_end(path: Path, code: int | None) -> MediaError:
    """Why a child ended, by its exit code."""
    if code == -getattr(signal, "SIGXCPU", 0) != 0:
        return OverLimitError(path, "reading it took more processor time than allowed.", _REMEDY)
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
        has_landlock = _restrict_paths(libc, readable, writable)
        _filter_calls(libc, may_write=writable is not None, has_landlock=has_landlock)


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
    try:
        import resource
    except ImportError:  # Windows
        return
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


def _restrict_paths(libc: Any, readable: Iterable[Path], writable: Path | None) -> bool:
    """Whether the kernel has Landlock, which then holds for this thread and all that it starts."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
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
    return True


def _allow(libc: Any, rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What isn't there needs no rule.
    if not path.is_dir():
        rights &= _FS_EXECUTE | _FS_WRITE_FILE | _FS_READ_FILE
    _check(libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, place), 0), "landlock")
    os.close(place)


# Seccomp: which calls of the system are refused, by their numbers on x86-64 and on ARM64
# (https://docs.kernel.org/userspace-api/seccomp_filter.html); None where there is no such call.

_NETWORK: Final = {
    **{"socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201)},
    **{"accept": (43, 202), "accept4": (288, 242), "socketpair": (53, 199)},
    **{"sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269)},
}
_PROCESSES: Final = {
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424)},
    **{"rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "tkill": (200, 130)},
    **{"process_madvise": (440, 440), "process_mrelease": (448, 448)},
    **{"shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190)},
    **{"mq_open": (240, 180), "setns": (308, 268), "unshare": (272, 97)},
}
_SYSTEM: Final = {
    **{"mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51)},
    **{"open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430)},
    **{"fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433)},
    **{"mount_setattr": (442, 442), "bpf": (321, 280), "perf_event_open": (298, 241)},
    **{"keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218)},
    **{"userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426)},
    **{"io_uring_register": (427, 427), "kexec_load": (246, 104), "kexec_file_load": (320, 294)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    **{"reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89)},
    **{"sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170)},
    **{"clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266)},
    **{"quotactl": (179, 60), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265)},
    **{"setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145)},
    **{"setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149)},
    **{"setgroups": (116, 159), "capset": (126, 91), "personality": (135, 92)},
    **{"syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None)},
}
_CHANGES: Final = {
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)},
    **{"utime": (132, None), "utimes": (235, None), "futimesat": (261, None)},
    **{"utimensat": (280, 88), "link": (86, None), "linkat": (265, 37), "symlink": (88, None)},
    **{"symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33)},
}
_WRITES: Final = {
    **{"creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None)},
    **{"unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38)},
    **{"renameat2": (316, 276), "truncate": (76, 45), "ftruncate": (77, 46)},
    **{"fallocate": (285, 47)},
}
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_OPEN, _OPENAT, _OPENAT2 = (2, None), (257, 56), (437, 437)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_KILL, _TGKILL = (62, 129), (234, 131)
_SECCOMP: Final = (317, 277)
_X32_CALLS: Final = 0x4000_0000
_CLONE_THREAD: Final = 0x10000
_EPERM, _EACCES, _ENOSYS = 1, 13, 38

# Instructions of the filter: load a word, jump if equal, if at least, if any bit is set; return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _FAIL = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16


def _filter_calls(libc: Any, *, may_write: bool, has_landlock: bool) -> None:
    """Refuse calls in all threads of the process; on other machines than these two, none."""
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
    refused = {**_NETWORK, **_PROCESSES, **_SYSTEM, **_CHANGES, **({} if may_write else _WRITES)}
    parts = [
        _step(_LOAD, _MACHINE_AT),
        _step(_EQUAL, machine, skip_if=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER_AT),
    ]
    if machine == _MACHINES["x86_64"][1]:
        parts += [_step(_AT_LEAST, _X32_CALLS, skip_else=1), _fail(_EPERM)]
    for numbers in refused.values():
        parts += _on(numbers[column], [_fail(_EPERM)])
    # In a record in memory, a filter can't see what is asked; the C library has a way without.
    for numbers in (_CLONE3, _OPENAT2):
        parts += _on(numbers[column], [_fail(_ENOSYS)])
    if not may_write:
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        for numbers, argument in ((_OPEN, 1), (_OPENAT, 2)):
            parts += _on(numbers[column], _if_any_bit(argument, writes, _fail(_EACCES)))
    parts += _on(_CLONE[column], _unless_any_bit(0, _CLONE_THREAD, _fail(_EPERM)))
    for numbers in (_KILL, _TGKILL):
        parts += _on(numbers[column], _unless_equal(0, os.getpid(), _fail(_EPERM)))
    return b"".join([*parts, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, *, skip_if: int = 0, skip_else: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if, skip_else, value)


def _fail(error: int) -> bytes:
    return _step(_RETURN, _FAIL | error)


def _on(number: int | None, then: list[bytes]) -> list[bytes]:
    """`then`, which must end the filter, for the call of this number."""
    return [] if number is None else [_step(_EQUAL, number, skip_else=len(then)), *then]


def _if_any_bit(argument: int, bits: int, then: bytes) -> list[bytes]:
    test = _step(_ANY_BIT, bits, skip_else=1)
    return [_step(_LOAD, _ARGUMENTS_AT + 8 * argument), test, then, _step(_RETURN, _ALLOW)]


def _unless_any_bit(argument: int, bits: int, then: bytes) -> list[bytes]:
    test = _step(_ANY_BIT, bits, skip_if=1)
    return [_step(_LOAD, _ARGUMENTS_AT + 8 * argument), test, then, _step(_RETURN, _ALLOW)]


def _unless_equal(argument: int, value: int, then: bytes) -> list[bytes]:
    test = _step(_EQUAL, value, skip_if=1)
    return [_step(_LOAD, _ARGUMENTS_AT + 8 * argument), test, then, _step(_RETURN, _ALLOW)]


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
