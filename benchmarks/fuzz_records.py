"""Structured files, mutated: each is read or refused by name, and what is read holds together.

python -m benchmarks.fuzz_records --examples 2000 [--kinds report store …] [--seed 0]

Of each kind a valid document is changed at random places (values left out, doubled, of other types,
extreme, spliced), or its bytes are; checksums inside are put right half of the time, so that what
lies behind them is reached. A `FacevoiceError` that names the file is a good answer. Any other
exception, 20 s or more, memory beyond 1 GB, and an answer that contradicts itself are failures.
"""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import io
import json
import random
import resource
import signal
import sqlite3
import sys
import tempfile
import time
import tomllib
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import numpy as np
import tomli_w
from PIL import Image

from facevoice.corpora.description import describe
from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip, Labels, read_manifest, write_manifest
from facevoice.corpora.splits import make_splits, read_splits, write_splits
from facevoice.errors import FacevoiceError
from facevoice.export import export_model, make_samples
from facevoice.hub.hub import plan_push
from facevoice.interpret import decide_again, edit_people, interpret
from facevoice.models.checkpoint import CheckpointInfo
from facevoice.models.heads import Model, load_compact
from facevoice.models.model import FUSION_FILE, CheckpointModel, ExportedModel, read_export
from facevoice.people.baseline import Usual
from facevoice.people.profile import load_profile, save_profile
from facevoice.records import (
    AudioInfo,
    Emotion,
    FaceView,
    MediaInfo,
    Modality,
    ModelId,
    PeopleEdits,
    Perception,
    Report,
    VideoInfo,
    WindowView,
)
from facevoice.report import from_json, read_report, to_json, to_jsonl
from facevoice.report.page import to_html
from facevoice.settings import AnalyzerConfig, DecisionConfig
from facevoice.store import PerceptionKey, Store
from facevoice.training.config import TrainConfig
from facevoice.transcript import Line, Transcript, read_transcript, to_srt

# The tests' builders are not part of the package.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from full_models import write_compact_model
from tiny_models import make_runnable_info, write_model

LIMIT_S: Final = 20
LIMIT_BYTES: Final = 1_000_000_000
Files = dict[str, bytes]

_EXTREMES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 0.5, 2.5, 2**31, 2**62, 2**64, 10**300, 10**4000),
    *(1e308, -1e308, 5e-324, -0.0, float("nan"), float("inf"), float("-inf")),
    *("", "x", "\0", "\ud800", "\udcff", "\x1b[31m", "../../../etc/passwd", "/etc/passwd"),
    *("1", "NaN", "<script>", "=1+1", "a" * 50_000, [], {}, [[]], [None], [1], {"a": 1}, b""),
)
_SNIPPETS: Final = (
    *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000, b"1e999", b"NaN", b"-Infinity", b"\xff"),
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b'"\\ud800"', b"a.b." * 20_000, b"\n", b'"', b",", b"{"),
    *(b"00:00:01,000 --> 00:00:00,000", b"-1", b"\r", b"<v", b"#" * 10_000, b"\x81\xa1a\xc0"),
)


class ContradictionError(Exception):
    """What was read contradicts itself, or what refuses it doesn't say what it should."""


def _check(condition: bool, words: str) -> None:
    if not condition:
        raise ContradictionError(words)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input.

    files: a valid example, by name in its folder; forms: which of them are documents ("json",
    "jsonl", "toml", "msgpack"), others are bytes; read: what reads a folder with such files and
    looks at the answer; mend: puts checksums right.
    """

    name: str
    files: Files
    read: Callable[[Path], object]
    forms: Mapping[str, str] = field(default_factory=dict)
    mend: Callable[[Files], None] | None = None


# Mutating


def mutated(kind: Kind, rng: random.Random) -> Files:
    """The files of a kind, one of them changed."""
    files = dict(kind.files)
    name = rng.choice(sorted(files))
    form = kind.forms.get(name)
    if form is not None and rng.random() < 0.75:
        document = _decode(files[name], form)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            document = _mutate_values(document, rng)
        try:
            files[name] = _encode(document, form)
        except (TypeError, ValueError, OverflowError, AttributeError, RecursionError):
            files[name] = _mutate_bytes(files[name], rng)
    else:
        files[name] = _mutate_bytes(files[name], rng)
    if kind.mend is not None and rng.random() < 0.75:
        kind.mend(files)
    return files


def _decode(content: bytes, form: str) -> Any:
    if form == "json":
        return json.loads(content)
    if form == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    if form == "toml":
        return tomllib.loads(content.decode())
    return msgspec.msgpack.decode(content)


def _encode(document: Any, form: str) -> bytes:
    if form == "json":
        return json.dumps(document).encode()
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in document).encode()
    if form == "toml":
        return tomli_w.dumps(document).encode()
    return msgspec.msgpack.encode(document)


def _places(value: Any, holder: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """All places in a document: what holds them, and the key there."""
    if holder is not None:
        yield holder, key
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for name, inner in items:
        yield from _places(inner, value, name)


def _changed(value: float) -> Sequence[object]:
    # As floats, the longest whole numbers would overflow.
    many, half = (10**9, value // 2) if isinstance(value, int) else (1e9, value / 2)
    return -value, value + 1, value * many, half, str(value), -1e-9


def _mutate_values(document: Any, rng: random.Random) -> Any:
    places = list(_places(document))
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(_EXTREMES))
    holder, key = rng.choice(places)
    value = holder[key]
    match rng.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(value))
        case 1:
            holder[f"{key}_"] = value
        case 2:
            other, place = rng.choice(places)
            holder[key] = copy.deepcopy(other[place])
        case 3 if isinstance(value, list):
            rng.shuffle(value)
        case 4 if isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = rng.choice(_changed(value))
        case 4 if isinstance(value, list):
            holder[key] = value * rng.choice((0, 2, 50))
        case 4 if isinstance(value, str | bytes):
            holder[key] = value[: rng.randrange(len(value) + 1)] * rng.choice((1, 2, 999))
        case 5:
            for _ in range(rng.choice((1, 3, 150))):
                value = rng.choice(([value], {"a": value}))
            holder[key] = value
        case _:
            holder[key] = copy.deepcopy(rng.choice(_EXTREMES))
    return document


def _mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start = rng.randrange(len(spoilt) + 1)
        end = min(len(spoilt), start + rng.choice((1, 1, 4, 60, 5000)))
        match rng.randrange(6):
            case 0:
                del spoilt[start:end]
            case 1:
                spoilt[start:start] = rng.choice(_SNIPPETS)
            case 2:
                spoilt[start:start] = spoilt[start:end]
            case 3:
                spoilt[start:end] = rng.randbytes(end - start)
            case 4:
                del spoilt[start:]
            case _ if start < len(spoilt):
                spoilt[start] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


# What is read


def _folder_of(write: Callable[[Path], object]) -> Files:
    """What a function writes into a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        return {name: path.read_bytes() for name, path in found.items()}


@cache
def _perception(num_windows: int = 5) -> Perception:
    """A film of two people, whose embeddings are noise of the widths that the heads want."""
    rng = np.random.default_rng(0)
    dims = {m: backbone.spec.dim for m, backbone in load_compact().backbones.items()}

    portrait = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (112, 112, 3), np.uint8)).save(portrait, "JPEG")

    def noise(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    def face(person: int, start_s: float) -> FaceView:
        times_s = start_s + np.arange(5) * 0.7
        boxes = np.sort(rng.random((5, 4)).astype(np.float32))
        picture = noise(128) if person else None
        vector = noise(dims[Modality.VIDEO])
        told = (times_s, boxes, portrait.getvalue(), picture, 0.7, 1.5, 0.3 * person)
        return FaceView(person, 0.9, vector, *told, np.array([0.8, 0.95], np.float32))

    def window(place: int) -> WindowView:
        start_s = 2.0 * place
        return WindowView(
            start_s,
            start_s + 4,
            tuple(face(person, start_s) for person in range(1 + place % 2)),
            noise(dims[Modality.AUDIO]),
            0.8,
            num_faces=1 + place % 2,
            speech_spans_s=np.array([[start_s + 0.1, start_s + 3.3]]),
            peaks=np.full(80, 0.3, np.float32),
            detected_s=start_s,
            detected=noise(2, 7),
        )

    video = VideoInfo(640, 360, 25.0, 0.0, 0, "h264")
    media = MediaInfo(Path("film.mp4"), 12.0, video, AudioInfo(44100, 2, 0.0, "aac"))
    windows = tuple(window(place) for place in range(num_windows))
    models = {role: ModelId(role, role[0] * 64) for role in ("detector", "face", "voice")}
    return Perception(media, "a" * 64, AnalyzerConfig(), models, windows, ("cut off",))


def _check_report(report: Report) -> None:
    """It is written, drawn and decided again like any other, and comes back the same."""
    text = to_json(report)
    _check(to_json(from_json(text)) == text, "comes back as another report")
    for again in (
        report,
        decide_again(report, DecisionConfig(sensitivity=0.6, expected_conflicts=0.3)),
        edit_people(report, PeopleEdits({p.number: "Anna" for p in report.people[:1]})),
    ):
        to_html(again)
        to_jsonl(again)
        from_json(to_json(again))


def _report_kind() -> Kind:
    perception, model = _perception(), load_compact().model
    made = replace(AnalyzerConfig().decision, people="all")
    report = interpret(perception, model, made)
    lines = (Line(0.5, 2.0, "Good morning.", "Anna"), Line(2.0, 5.0, "Is it?"))
    report = report.with_transcript(Transcript(lines, "film.srt"))

    def read(folder: Path) -> None:
        _check_report(read_report(folder / "report.json"))

    return Kind("report", {"report.json": to_json(report).encode()}, read, {"report.json": "json"})


_KEY: Final = PerceptionKey("b" * 64, "recipe", "f@1", "v@1")


def _write_store(path: Path) -> None:
    perception = _perception()
    with Store(path) as store, store.writer(_KEY, perception.media) as writer:
        for view in perception.windows:
            writer.add(view)
        writer.finish(perception.damage)


def _read_store(path: Path) -> None:
    with Store(path, timeout_s=1) as store:
        store.backbones()
        store.recall_source("name", "fingerprint")
        known = store.load(_KEY)
    if known is None or not known.windows:
        return
    made = replace(_perception(), media=known.media, windows=known.windows, damage=known.damage)
    _check_report(interpret(made, load_compact().model))
    _check(len(made.trace.face_times_s) == len(made.trace.boxes_xyxy_rel), "torn trace")


def _sealed(content: bytes, place: str) -> bytes:
    """As a store keeps it at a place."""
    return zlib.crc32(content, zlib.crc32(place.encode())).to_bytes(4, "little") + content


def _store_kind() -> Kind:
    """Perceptions whose checksums are right."""
    whole = _folder_of(lambda folder: _write_store(folder / "store.db"))["store.db"]
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(whole)
        rows = dict(db.execute("SELECT number, view FROM window"))
        (head,) = db.execute("SELECT head FROM perception").fetchone()
    files = {f"{number}": view[4:] for number, view in rows.items()} | {"head": head[4:]}

    def read(folder: Path) -> None:
        path = folder / "store.db"
        path.write_bytes(whole)
        with closing(sqlite3.connect(path)) as db, db:
            content = {name: (folder / name).read_bytes() for name in files}
            db.execute("UPDATE perception SET head = ?", (_sealed(content.pop("head"), "head"),))
            for name, view in content.items():
                values = _sealed(view, f"1 {name}"), int(name)
                db.execute("UPDATE window SET view = ? WHERE number = ?", values)
        _read_store(path)

    return Kind("store", files, read, dict.fromkeys(files, "msgpack"))


def _database_kind() -> Kind:
    files = _folder_of(lambda folder: _write_store(folder / "store.db"))
    return Kind("database", files, lambda folder: _read_store(folder / "store.db"))


def _profile_kind() -> Kind:
    models = {role: ModelId(role, role[0] * 64) for role in ("detector", "face", "voice")}
    usual = Usual(12.5, np.linspace(-1, 1, 9), np.full(8, 1 / 8))

    def read(folder: Path) -> None:
        for found in load_profile(folder / "anna.json", models).values():
            _check(bool(np.isfinite(found.mean).all()), "mean")
            _check(abs(found.probs.sum() - 1) < 1e-9, "probs")

    known = {Modality.VIDEO: usual, Modality.AUDIO: usual}
    files = _folder_of(lambda folder: save_profile(known, folder / "anna.json", models))
    return Kind("profile", files, read, {"anna.json": "json"})


def _settings_kind() -> Kind:
    def read(folder: Path) -> None:
        found = AnalyzerConfig.from_toml(folder / "settings.toml")
        _check(AnalyzerConfig.from_dict(found.to_dict()) == found, "other settings")

    content = tomli_w.dumps(AnalyzerConfig().to_dict()).encode()
    return Kind("settings", {"settings.toml": content}, read, {"settings.toml": "toml"})


def _training_kind() -> Kind:
    def read(folder: Path) -> None:
        TrainConfig.load(folder / "train.toml").to_toml()

    content = TrainConfig().to_toml().encode()
    return Kind("training settings", {"train.toml": content}, read, {"train.toml": "toml"})


@cache
def _clips() -> tuple[Clip, ...]:
    return tuple(
        Clip(
            f"cremad/{number}",
            "cremad",
            str(number % 3),
            sentence=str(number % 2),
            video_path=Path(f"{number}.mp4"),
            duration_s=2.0,
            labels=Labels(intended=Emotion.HAPPY),
            sex="female",
            age=30,
        )
        for number in range(9)
    )


def _manifest_kind() -> Kind:
    def read(folder: Path) -> None:
        describe(read_manifest(folder / "clips.jsonl"))

    files = _folder_of(lambda folder: write_manifest(_clips(), folder / "clips.jsonl"))
    return Kind("manifest", files, read, {"clips.jsonl": "jsonl"})


def _parquet_kind() -> Kind:
    def read(folder: Path) -> None:
        describe(read_manifest(folder / "clips.parquet"))

    return Kind(
        "manifest (Parquet)",
        _folder_of(lambda folder: write_manifest(_clips(), folder / "clips.parquet")),
        read,
    )


def _splits_kind() -> Kind:
    def read(folder: Path) -> None:
        found = read_splits(folder / "splits.json", _clips())
        write_splits(found, folder / "again.json")
        _check(read_splits(folder / "again.json") == found, "other splits")

    made = make_splits(_clips(), "speakers", num_folds=3)
    files = _folder_of(lambda folder: write_splits(made, folder / "splits.json"))
    return Kind("splits", files, read, {"splits.json": "json"})


def _table_kind() -> Kind:
    """Tables of corpora, as CSV."""
    text = io.StringIO()
    columns = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID"]
    writer = csv.writer(text)
    writer.writerow([*columns, "Utterance_ID", "Season", "Episode", "StartTime", "EndTime"])
    for number in range(4):
        said = [number, "“Hi, there”", "Joey", "neutral", "neutral", 0, number, 1, 2]
        writer.writerow([*said, f"00:00:0{number},000", f"00:00:0{number + 1},500"])
    files = {"meld/train_sent_emo.csv": text.getvalue().encode()}
    files |= {f"meld/train_splits/dia0_utt{number}.mp4": b"" for number in range(4)}

    def read(folder: Path) -> None:
        describe(create_corpus("meld").scan(folder / "meld").clips)

    return Kind("table (CSV)", files, read)


def _transcript_kind(suffix: str) -> Kind:
    lines = tuple(Line(float(k), k + 1.5, f"Line {k}, said.", "Anna") for k in range(6))
    text = to_srt(Transcript(lines, "x"))
    if suffix == ".vtt":
        text = "WEBVTT\n\n" + text.replace(",", ".").replace("[Anna]: ", "<v Anna>")
    if suffix == ".txt":
        text = "".join(f"[0:{k:02}] Anna: line {k}\n" for k in range(6))
    name = f"film{suffix}"

    def read(folder: Path) -> None:
        found = read_transcript(folder / name)
        _check(bool(found.lines or found.text), "no words")
        _check(all(0 <= line.start_s < line.end_s for line in found.lines), "times of a line")
        found.words_between(1, 3)
        to_srt(found).encode()

    return Kind(f"words ({suffix})", {name: text.encode()}, read)


def _checked_by(index: str) -> Callable[[Files], None]:
    """Puts the sums in an index right, if it still is one."""

    def mend(files: Files) -> None:
        try:
            document = json.loads(files[index])
            sums = document["sha256"]
            for name in sums:
                if name in files:
                    sums[name] = hashlib.sha256(files[name]).hexdigest()
            files[index] = json.dumps(document).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    return mend


def _forms(files: Files) -> dict[str, str]:
    known = {name: Path(name).suffix.removeprefix(".") for name in files}
    return {name: form for name, form in known.items() if form in ("json", "toml")}


def _check_model(model: Model, info: CheckpointInfo) -> None:
    rng = np.random.default_rng(0)
    window = {m: rng.standard_normal(u.dim).astype(np.float32) for m, u in info.backbones.items()}
    for said in model.predict([window]):
        probs = [p for p in (said.face, said.voice, said.fused) if p is not None]
        _check(all(abs(p.sum() - 1) < 1e-4 for p in probs), "probs")


def _read_checkpoint(folder: Path) -> None:
    model = CheckpointModel.load(folder)
    _check_model(model, model.info)


def _read_export(folder: Path) -> None:
    index, info = read_export(folder)
    path = folder / FUSION_FILE
    _check_model(ExportedModel(path, index.sha256s[FUSION_FILE], info), info)


def _checkpoint_kind() -> Kind:

    files = _folder_of(lambda folder: write_model(folder / "model", make_runnable_info()))
    index = "model/checkpoint.json"
    mend = _checked_by("checkpoint.json")

    def mend_all(files: Files) -> None:
        inner = {name.removeprefix("model/"): content for name, content in files.items()}
        mend(inner)
        files[index] = inner["checkpoint.json"]

    return Kind(
        "checkpoint",
        files,
        lambda folder: _read_checkpoint(folder / "model"),
        _forms(files),
        mend_all,
    )


def _card_kind() -> Kind:
    """The card of a checkpoint that goes to the hub."""

    whole = _folder_of(lambda folder: write_model(folder / "model", make_runnable_info()))
    name = "model/README.md"

    def read(folder: Path) -> None:
        for other, content in whole.items():
            if other != name:
                (folder / other).write_bytes(content)
        plan_push(folder / "model", "owner/name")

    return Kind("card", {name: whole[name]}, read)


def _export_kind() -> Kind:

    def write(folder: Path) -> None:
        checkpoint = write_compact_model(folder / "checkpoint")
        export_model(checkpoint, folder / "model", make_samples())

    files = {n: c for n, c in _folder_of(write).items() if n.startswith("model/")}
    mend = _checked_by("export.json")

    def mend_all(files: Files) -> None:
        inner = {name.removeprefix("model/"): content for name, content in files.items()}
        mend(inner)
        files["model/export.json"] = inner["export.json"]

    return Kind(
        "export", files, lambda folder: _read_export(folder / "model"), _forms(files), mend_all
    )


KINDS: Final[dict[str, Callable[[], Kind]]] = {
    "report": _report_kind,
    "store": _store_kind,
    "database": _database_kind,
    "profile": _profile_kind,
    "settings": _settings_kind,
    "training": _training_kind,
    "manifest": _manifest_kind,
    "parquet": _parquet_kind,
    "splits": _splits_kind,
    "table": _table_kind,
    "srt": lambda: _transcript_kind(".srt"),
    "vtt": lambda: _transcript_kind(".vtt"),
    "txt": lambda: _transcript_kind(".txt"),
    "checkpoint": _checkpoint_kind,
    "card": _card_kind,
    "export": _export_kind,
}


# Trying


def attempt(kind: Kind, files: Files, folder: Path) -> str:
    """ "read" or "refused"; whatever else is raised is a failure."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        kind.read(folder)
    except FacevoiceError as error:
        text = str(error)
        _check(str(folder) in text, f"names no file: {text[:300]}")
        _check(len(text) < 5000, f"a message of {len(text)} characters")
        return "refused"
    return "read"


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {LIMIT_S} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)


def fuzz(kind: Kind, examples: int, seed: int) -> dict[str, Any]:
    """Counts of what became of so many examples; "failed": a line for each failure."""
    found: dict[str, Any] = {"read": 0, "refused": 0, "slowest_s": 0.0, "failed": []}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        for number in range(examples):
            files = mutated(kind, random.Random(f"{seed} {kind.name} {number}"))
            started_s = time.perf_counter()
            try:
                with _in_time():
                    found[attempt(kind, files, Path(place))] += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
                last = traceback.extract_tb(error.__traceback__)[-1]
                told = f"{type(error).__name__}: {str(error)[:200]!r}"
                where = f"{last.filename[-40:]}:{last.lineno}"
                found["failed"].append(f"{kind.name} {number}: {told} at {where}")
                print(found["failed"][-1], flush=True)
            found["slowest_s"] = max(found["slowest_s"], time.perf_counter() - started_s)
    return found


def main() -> None:
    """Fuzz, and print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    # Networks reserve more than they use; what is left is for reading.
    built = {name: KINDS[name]() for name in asked.kinds}
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + LIMIT_BYTES,) * 2)
    print(f"{'kind':<20} {'tried':>6} {'read':>6} {'refused':>8} {'failed':>7} {'slowest':>9}")
    num_failed = 0
    for kind in built.values():
        found = fuzz(kind, asked.examples, asked.seed)
        num_failed += len(found["failed"])
        print(
            f"{kind.name:<20} {asked.examples:>6} {found['read']:>6} {found['refused']:>8} "
            f"{len(found['failed']):>7} {found['slowest_s']:>7.2f} s",
            flush=True,
        )
    raise SystemExit(num_failed > 0)


if __name__ == "__main__":
    main()
