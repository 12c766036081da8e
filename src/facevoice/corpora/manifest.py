"""What is known of one clip of a corpus: who, what, where, and the labels."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from facevoice.errors import CorpusError, MissingExtraError
from facevoice.records import EMOTIONS, Emotion, Outcome

FEMALE: Final[str] = "female"
MALE: Final[str] = "male"


@dataclass(frozen=True, slots=True)
class Labels:
    """What a clip is labelled with. The targets are kept apart, since they are not the same thing.

    intended: what the speaker was asked to express (acted corpora);
    face, voice: what people saw in the silent picture, or heard in the sound alone;
    both: what people perceived in picture and sound together;
    congruence: whether face and voice match, where that was judged or constructed.
    """

    intended: Emotion | None = None
    face: Emotion | None = None
    voice: Emotion | None = None
    congruence: Outcome | None = None
    both: Emotion | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One item of a corpus: an utterance with its picture, its sound, or both.

    clip_id: `corpus/stem`, unique over all corpora;
    speaker: the corpus' own name of the person, None where it names nobody;
    sentence: what is said, as a key that is equal for equal words, None for free speech;
    take: counts repetitions of the same speaker, sentence, emotion and intensity, from 1;
    language: ISO 639-1 code, None for pictures without speech;
    video_path: the film (or, for picture corpora, the still image);
    audio_path: the file to read the sound from: a separate sound file where the corpus has one,
    else the film itself; None where there is no sound;
    video_start_s: where the clip begins inside `video_path`, for corpora that ship whole dialogues;
    duration_s: None until somebody has probed the file, or the corpus says it;
    corpus_label: the corpus' own word or code for the emotion, also where it is none of the eight;
    intensity: the corpus' own word for how strongly the emotion was to be acted;
    split: the part of the corpus' published split that the clip belongs to.
    """

    clip_id: str
    corpus: str
    speaker: str | None
    sentence: str | None = None
    take: int | None = None
    language: str | None = None
    video_path: Path | None = None
    audio_path: Path | None = None
    duration_s: float | None = None
    labels: Labels = field(default_factory=Labels)
    video_start_s: float = 0.0
    corpus_label: str | None = None
    intensity: str | None = None
    sex: str | None = None
    age: int | None = None
    race: str | None = None
    ethnicity: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        if not self.clip_id.startswith(f"{self.corpus}/"):
            raise CorpusError(
                f"clip {self.clip_id!r}: the id must begin with the corpus, '{self.corpus}/'"
            )
        if self.sex not in (None, FEMALE, MALE):
            raise CorpusError(f"clip {self.clip_id!r}: sex {self.sex!r} is not female or male")
        if self.duration_s is not None and not self.duration_s > 0:
            raise CorpusError(
                f"clip {self.clip_id!r}: duration {self.duration_s} s is not positive"
            )

    @property
    def speaker_key(self) -> str | None:
        """The speaker's name over all corpora, `corpus/speaker`; None where nobody is named."""
        return None if self.speaker is None else f"{self.corpus}/{self.speaker}"


def require_speaker(clip: Clip) -> str:
    """The clip's speaker over all corpora.

    Raises:
        CorpusError: the corpus does not say who is in the clip.
    """
    key = clip.speaker_key
    if key is None:
        raise CorpusError(
            f"clip {clip.clip_id!r} names no speaker, so nothing can be split by speaker; "
            f"use the published split of {clip.corpus}"
        )
    return key


def clips_by_id(clips: tuple[Clip, ...] | list[Clip]) -> dict[str, Clip]:
    """Index clips by their id.

    Raises:
        CorpusError: an id occurs twice.
    """
    index: dict[str, Clip] = {}
    for clip in clips:
        if clip.clip_id in index:
            raise CorpusError(f"clip id {clip.clip_id!r} occurs twice")
        index[clip.clip_id] = clip
    return index


# One validated table of clips, as JSON Lines (no extra needed) or Parquet.

_LABEL_TYPES: Final[dict[str, type[Emotion] | type[Outcome]]] = {
    "intended": Emotion,
    "face": Emotion,
    "voice": Emotion,
    "congruence": Outcome,
    "both": Emotion,
}
_PATHS: Final = ("video_path", "audio_path")
_PLAIN: Final[dict[str, type]] = {
    "clip_id": str,
    "corpus": str,
    "speaker": str,
    "sentence": str,
    "take": int,
    "language": str,
    "video_path": str,
    "audio_path": str,
    "duration_s": float,
    "video_start_s": float,
    "corpus_label": str,
    "intensity": str,
    "sex": str,
    "age": int,
    "race": str,
    "ethnicity": str,
    "split": str,
}
_REQUIRED: Final = ("clip_id", "corpus")

COLUMNS: Final[tuple[str, ...]] = (*_PLAIN, *_LABEL_TYPES)
"""Names of the table's columns, in order."""


def write_manifest(clips: Iterable[Clip], path: Path, root: Path | None = None) -> int:
    """Write clips to `path` (.jsonl or .parquet), whole or not at all; returns their number.

    Paths below `root` are written relative to it, so that the table can move with its corpora.

    Raises:
        CorpusError: a clip id occurs twice, or the suffix is neither of the two.
        MissingExtraError: Parquet is asked for without pyarrow.
    """
    rows = [_to_row(clip, root) for clip in clips_by_id(list(clips)).values()]
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        with part.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif path.suffix == ".parquet":
        arrow, parquet = _import_parquet()
        kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
        schema = arrow.schema([(name, kinds[_PLAIN.get(name, str)]) for name in COLUMNS])
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), part)
    else:
        raise CorpusError(f"{path}: a manifest ends in .jsonl or .parquet")
    part.replace(path)
    return len(rows)


def read_manifest(path: Path, root: Path | None = None) -> tuple[Clip, ...]:
    """Read and validate a manifest.

    Args:
        path: a .parquet file, or JSON Lines.
        root: relative paths are taken from here; by default from the manifest's own folder.

    Raises:
        CorpusError: the file is absent or damaged, or a row is wrong; names file and line (row).
        MissingExtraError: the file is Parquet and pyarrow is not installed.
    """
    root = path.parent if root is None else root
    clips: list[Clip] = []
    first_line: dict[str, int] = {}
    for line, row in _read_rows(path):
        try:
            clip = _from_row(row, root)
        except CorpusError as error:
            raise CorpusError(f"{path}:{line}: {error}") from error
        if clip.clip_id in first_line:
            raise CorpusError(
                f"{path}:{line}: clip {clip.clip_id!r} occurs already in line "
                f"{first_line[clip.clip_id]}"
            )
        first_line[clip.clip_id] = line
        clips.append(clip)
    return tuple(clips)


def check_files(clips: Iterable[Clip]) -> None:
    """Make sure that every clip's files exist.

    Raises:
        CorpusError: one does not, or a clip has none; named.
    """
    for clip in clips:
        paths = [path for path in (clip.video_path, clip.audio_path) if path is not None]
        if not paths:
            raise CorpusError(f"clip {clip.clip_id!r} has neither picture nor sound")
        for path in paths:
            if not path.is_file():
                raise CorpusError(f"clip {clip.clip_id!r}: {path} does not exist")


def _read_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.suffix == ".parquet":
        _, parquet = _import_parquet()
        try:
            rows = parquet.read_table(path).to_pylist()
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path}: is no readable Parquet file ({error})") from error
        yield from enumerate(rows, start=1)
        return
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise CorpusError(f"{path}:{number}: expected an object, got {line.strip()!r}")
                yield number, row
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}:{number}: is not JSON ({error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: can't be read ({error})") from error


def _to_row(clip: Clip, root: Path | None) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(clip, name) for name in _PLAIN}
    for name in _PATHS:
        file: Path | None = row[name]
        if file is not None:
            inside = root is not None and file.is_relative_to(root)
            row[name] = (file.relative_to(root) if root and inside else file).as_posix()
    for name in _LABEL_TYPES:
        label = getattr(clip.labels, name)
        row[name] = None if label is None else str(label)
    return row


def _from_row(row: Mapping[str, Any], root: Path) -> Clip:
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise CorpusError(f"unknown column {unknown[0]!r}; known: {', '.join(COLUMNS)}")
    values: dict[str, Any] = {}
    for name, kind in _PLAIN.items():
        value: Any = row.get(name)
        if value is None:
            if name in _REQUIRED:
                raise CorpusError(f"{name} is missing")
            continue
        if not _is_of(value, kind):
            raise CorpusError(f"{name} = {value!r} is not of type {kind.__name__}")
        values[name] = root / str(value) if name in _PATHS else kind(value)
    return Clip(**{"speaker": None, **values}, labels=_labels(row))


def _is_of(value: object, kind: type) -> bool:
    # bool is an int to isinstance, and whole seconds come as int from JSON.
    return type(value) is kind or (kind is float and type(value) is int)


def _labels(row: Mapping[str, Any]) -> Labels:
    labels: dict[str, Emotion | Outcome] = {}
    for name, kind in _LABEL_TYPES.items():
        value = row.get(name)
        if value is None:
            continue
        try:
            labels[name] = kind(value)
        except ValueError as error:
            raise CorpusError(f"{name} = {value!r} is not one of {', '.join(kind)}") from error
    return Labels(**labels)  # type: ignore[arg-type]


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("reading and writing Parquet", "data") from error
    return pyarrow, pyarrow.parquet


# What a manifest holds, counted: how much of what, how it is balanced, who is in it.

TARGETS: Final = ("intended", "face", "voice", "both", "congruence")
"""The labels of a clip; never mixed."""
TRAITS: Final = ("sex", "age", "race", "ethnicity")
"""What corpora publish of their speakers; ages are counted by decade."""


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """One corpus in numbers.

    num_speakers, num_sentences: of those that the corpus names; max_takes: the highest take;
    num_film, num_sound: clips with a picture, with sound; num_both: with the two;
    num_timed: clips whose duration is known, to which total, least, median and greatest refer
    (None where there are none).
    """

    corpus: str
    num_clips: int
    num_speakers: int
    num_sentences: int
    max_takes: int
    num_film: int
    num_sound: int
    num_both: int
    num_timed: int
    total_s: float
    min_s: float | None
    median_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many clips (and speakers) of a corpus have `value` in `field`; None: not told."""

    field: str
    value: str | None
    corpus: str
    num_clips: int
    num_speakers: int


@dataclass(frozen=True, slots=True)
class Description:
    """A manifest in numbers.

    labels: counts per target (field) and corpus, of clips that have the label at all;
    people: per trait, of corpora that tell it of anybody;
    splits: per published part (field "split"), of corpora that publish one.
    """

    corpora: tuple[CorpusSummary, ...]
    labels: tuple[Tally, ...]
    people: tuple[Tally, ...]
    splits: tuple[Tally, ...]

    @property
    def num_clips(self) -> int:
        """All clips."""
        return sum(corpus.num_clips for corpus in self.corpora)


def describe(clips: Iterable[Clip]) -> Description:
    """Count what a manifest holds."""
    by_corpus: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_corpus[clip.corpus].append(clip)
    names = sorted(by_corpus)
    labels = [
        tally
        for target in TARGETS
        for name in names
        for tally in _tally(target, name, by_corpus[name], _label_of(target))
        if tally.value is not None
    ]
    people = [
        tally
        for trait in TRAITS
        for name in names
        for tally in _told(_tally(trait, name, by_corpus[name], _trait_of(trait)))
    ]
    splits = [
        tally
        for name in names
        for tally in _told(_tally("split", name, by_corpus[name], lambda clip: clip.split))
    ]
    return Description(
        corpora=tuple(_summarize(name, by_corpus[name]) for name in names),
        labels=tuple(labels),
        people=tuple(people),
        splits=tuple(splits),
    )


def _summarize(name: str, clips: Sequence[Clip]) -> CorpusSummary:
    lengths_s = [clip.duration_s for clip in clips if clip.duration_s is not None]
    return CorpusSummary(
        corpus=name,
        num_clips=len(clips),
        num_speakers=len({clip.speaker for clip in clips} - {None}),
        num_sentences=len({clip.sentence for clip in clips} - {None}),
        max_takes=max((clip.take or 0 for clip in clips), default=0),
        num_film=sum(clip.video_path is not None for clip in clips),
        num_sound=sum(clip.audio_path is not None for clip in clips),
        num_both=sum(None not in (clip.video_path, clip.audio_path) for clip in clips),
        num_timed=len(lengths_s),
        total_s=sum(lengths_s),
        min_s=min(lengths_s, default=None),
        median_s=median(lengths_s) if lengths_s else None,
        max_s=max(lengths_s, default=None),
    )


def _tally(
    field: str, corpus: str, clips: Sequence[Clip], value_of: Callable[[Clip], str | None]
) -> list[Tally]:
    counts: dict[str | None, int] = defaultdict(int)
    speakers: dict[str | None, set[str]] = defaultdict(set)
    for clip in clips:
        value = value_of(clip)
        counts[value] += 1
        if clip.speaker is not None:
            speakers[value].add(clip.speaker)
    order = sorted(counts, key=_rank)
    return [Tally(field, value, corpus, counts[value], len(speakers[value])) for value in order]


def _told(tallies: list[Tally]) -> list[Tally]:
    """Nothing where the corpus tells it of nobody."""
    return tallies if any(tally.value is not None for tally in tallies) else []


def _label_of(target: str) -> Callable[[Clip], str | None]:
    def label(clip: Clip) -> str | None:
        value = getattr(clip.labels, target)
        return None if value is None else str(value)

    return label


def _trait_of(trait: str) -> Callable[[Clip], str | None]:
    def decade(clip: Clip) -> str | None:
        if clip.age is None:
            return None
        first = clip.age // 10 * 10
        return f"{first}–{first + 9}"

    def value(clip: Clip) -> str | None:
        told: str | None = getattr(clip, trait)
        return told

    return decade if trait == "age" else value


_WORDS: Final = [*map(str, EMOTIONS), *map(str, Outcome)]


def _rank(value: str | None) -> tuple[bool, int, str]:
    """Emotions and outcomes in their own order, other words by the alphabet, None last."""
    text = value or ""
    return (value is None, _WORDS.index(text) if text in _WORDS else len(_WORDS), text)
