"""Whether a file ends before its own structure does: a box, chunk, page or packet cut in two.

Only what states sizes is walked, from head to head; nothing is decoded. Where a file says nothing
of its end, or says something that programs are known to leave wrong, nothing is said of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

# A file of hours has some hundred thousand; of more, the end is not looked for.
_MAX_PIECES: Final = 2_000_000
# Sizes that programs write before they know better, and never mend where they can't seek.
_UNKNOWN_SIZE: Final = 0x7FFF0000
# Programs count padding, or a chunk's own head, in or not.
_SLACK_BYTES: Final = 16
_BOXES: Final = frozenset(
    b"ftyp moov mdat moof mfra free skip wide styp sidx ssix prft emsg uuid meta udta pnot".split()
)
_EBML: Final = b"\x1aE\xdf\xa3"
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_TOP_LEVEL: Final = frozenset(
    [_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367]
)
# Blocks, their groups, and what else lies in a cluster.
_IN_CLUSTER: Final = frozenset([0xE7, 0xA7, 0xAB, 0xA0, 0xA3, 0xAF, 0x5854, 0xEC, 0xBF])
_LAST_PAGES_BYTES: Final = 1 << 17
_TS_SYNC: Final = 0x47
_TS_PACKETS_BYTES: Final = (188, 192, 204)
_ASF_HEADER: Final = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
_ASF_FILE: Final = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")


def is_cut_short(path: Path) -> bool:
    """Whether the last piece of a file's structure ends beyond the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1024)
        walk = _walk_of(head)
        try:
            return walk is not None and walk(file, head, size)
        except (OSError, struct.error, IndexError):
            return False


_Walk = Callable[[BinaryIO, bytes, int], bool]


def _walk_of(head: bytes) -> _Walk | None:
    if head[4:8] in _BOXES:
        return _boxes
    if head[:4] == b"OggS":
        return _last_page
    walks: dict[bytes, _Walk] = {
        _EBML: _elements,
        b"RIFF": _chunks,
        b"FORM": _chunks,
        b"caff": _core_audio,
        b".snd": _sun_audio,
        b"FLV\x01": _tags,
        _ASF_HEADER[:4]: _asf,
    }
    return walks.get(head[:4]) or (_packets if _packet_bytes(head) else None)


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _boxes(file: BinaryIO, _: bytes, size: int) -> bool:
    """MP4, MOV: boxes from the first to the last."""
    place = 0
    for _piece in range(_MAX_PIECES):
        head = _read(file, place, 16)
        if len(head) < 8 or head[4:8] not in _BOXES:
            return False
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: the last box goes on to the end
            return False
        place += length
        if place >= size:
            return place > size
    return False


def _elements(file: BinaryIO, _: bytes, size: int) -> bool:
    """Matroska, WebM: elements of the segment, and blocks of clusters that state no size."""
    place = 0
    for _piece in range(_MAX_PIECES):
        head = _read(file, place, 12)
        if not head or not head[0]:
            return False
        id_bytes = 9 - head[0].bit_length()
        ident = int.from_bytes(head[:id_bytes], "big")
        is_known = ident in _TOP_LEVEL or ident in _IN_CLUSTER or ident in (_SEGMENT, 0x1A45DFA3)
        if id_bytes > 4 or not is_known:
            return False
        if len(head) <= id_bytes or not head[id_bytes]:
            return len(head) <= id_bytes
        size_bytes = 9 - head[id_bytes].bit_length()
        mask = (1 << (7 * size_bytes)) - 1
        length = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & mask
        place += id_bytes + size_bytes
        if length == mask and ident in (_SEGMENT, _CLUSTER):
            continue  # it goes on to the next of its kind, or to the end
        if place + length > size:
            return True
        place += 0 if ident == _SEGMENT else length
        if place == size:
            return False
    return False


def _chunks(file: BinaryIO, head: bytes, size: int) -> bool:
    """AVI, WAV, AIFF: what the file states of itself, and the chunk that holds the sound."""
    order: str = ">" if head[:4] == b"FORM" else "<"
    place = 0
    for _piece in range(_MAX_PIECES):
        chunk = _read(file, place, 12)
        if len(chunk) < 8:
            return False
        name, length = struct.unpack(f"{order}4sI", chunk[:8])
        if not all(32 <= sign < 127 for sign in name):
            return False
        if not 0 < length < _UNKNOWN_SIZE:
            return False
        if place + 8 + length > size + _SLACK_BYTES:
            return True
        # An AVI of several parts has each as a whole of its own.
        goes_in = name in (b"RIFF", b"FORM") and chunk[8:12] not in (b"AVI ", b"AVIX")
        place += 12 if goes_in else 8 + length + length % 2
    return False


def _core_audio(file: BinaryIO, _: bytes, size: int) -> bool:
    place = 8
    for _piece in range(_MAX_PIECES):
        chunk = _read(file, place, 12)
        if len(chunk) < 12:
            return False
        length = struct.unpack(">q", chunk[4:])[0]
        if length < 0:
            return False
        place += 12 + length
        if place > size:
            return True
    return False


def _sun_audio(_: BinaryIO, head: bytes, size: int) -> bool:
    offset, length = struct.unpack(">II", head[4:12])
    return 0 < length < _UNKNOWN_SIZE and bool(offset + length > size + _SLACK_BYTES)


def _tags(file: BinaryIO, head: bytes, size: int) -> bool:
    """FLV: each tag states its size, and behind it stands the size again."""
    place = int.from_bytes(head[5:9], "big") + 4
    for _piece in range(_MAX_PIECES):
        tag = _read(file, place, 11)
        if not tag or tag[0] & 0x1F not in (8, 9, 18):
            return False
        if len(tag) < 11:
            return True
        place += 11 + int.from_bytes(tag[1:4], "big")
        if place > size:
            return True
        place += 4
    return False


def _asf(_: BinaryIO, head: bytes, size: int) -> bool:
    """ASF, WMV: the size of the whole, but for broadcasts."""
    place = head.index(_ASF_FILE) if _ASF_FILE in head else len(head)
    stated, flags = struct.unpack_from("<Q", head, place + 40), head[place + 88]
    return not flags & 1 and size < stated[0] < 1 << 48


def _last_page(file: BinaryIO, _: bytes, size: int) -> bool:
    """Ogg: pages; only the last one is looked at."""
    tail = _read(file, max(0, size - _LAST_PAGES_BYTES), _LAST_PAGES_BYTES)
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27:
        return bool(page)
    table = page[27 : 27 + page[26]]
    return len(table) < page[26] or len(page) < 27 + len(table) + sum(table)


def _packets(_: BinaryIO, head: bytes, size: int) -> bool:
    """MPEG transport streams: packets of one size from the start."""
    packet_bytes = _packet_bytes(head)
    return packet_bytes > 0 and size % packet_bytes > 0


def _packet_bytes(head: bytes) -> int:
    """The size of a transport stream's packets, 0 where it is none, or begins within one."""
    for count in _TS_PACKETS_BYTES:
        first = 4 if count == 192 else 0
        places = range(first, len(head), count)
        if len(places) > 3 and all(head[place] == _TS_SYNC for place in places):
            return count
    return 0
