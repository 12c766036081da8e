"""Pairs from a manifest, and the clips that people watch: one rule, blind numbers."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from facevoice.cli.app import app
from facevoice.corpora.dubs import (
    audit_dubs,
    dub_pairs,
    integrated_loudness_lufs,
    key_text,
    number_pairs,
    read_sound,
    trace_pairs,
)
from facevoice.corpora.manifest import Clip, Labels, write_manifest
from facevoice.corpora.pairs import PAIR_PLANS, PairKind, PairPlan, read_pairs
from facevoice.corpora.prepare import (
    find_plan,
    pair_manifest,
    spoken_ends,
    spoken_lengths,
    voice_source,
)
from facevoice.corpora.splits import make_splits, write_splits
from facevoice.errors import ConfigError, CorpusError, MediaError
from facevoice.records import Emotion

RATE_HZ = 16_000
SPEAKERS = ("01", "02", "03")
# Emotions differ in tempo and loudness, as they do among people.
SPOKEN_S = {Emotion.HAPPY: 0.9, Emotion.SAD: 1.3}
LEVEL = {Emotion.HAPPY: 0.5, Emotion.SAD: 0.05}


def speech(emotion: Emotion, seed: int) -> np.ndarray:
    """Noise as long and as loud as the emotion has it, and silence for the rest of 1.5 s."""
    noise = np.random.default_rng(seed).uniform(-1, 1, round(1.5 * RATE_HZ)) * LEVEL[emotion]
    noise[round(SPOKEN_S[emotion] * RATE_HZ) :] = 0
    return noise.astype(np.float32)


@pytest.fixture(scope="module")
def clips(make_shared_clip) -> tuple[Clip, ...]:
    made = []
    for place, speaker in enumerate(SPEAKERS):
        for emotion in SPOKEN_S:
            for take in (1, 2):
                stem = f"{speaker}-{emotion}-{take}"
                path = make_shared_clip(
                    f"{stem}.mp4",
                    width=64,
                    height=48,
                    duration_s=1.5,
                    samples=speech(emotion, 10 * place + take),
                    sample_rate_hz=RATE_HZ,
                )
                made.append(
                    Clip(
                        clip_id=f"ravdess/{stem}",
                        corpus="ravdess",
                        speaker=speaker,
                        sentence="dogs",
                        take=take,
                        video_path=path,
                        audio_path=path,
                        duration_s=1.5,
                        labels=Labels(intended=emotion),
                    )
                )
    return tuple(made)


@pytest.fixture(scope="module")
def manifest(clips, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("table") / "manifest.jsonl"
    write_manifest(clips, path)
    return path


@pytest.fixture(scope="module")
def dubbed(clips, tmp_path_factory):
    """All pairs as clips, made once."""
    folder = tmp_path_factory.mktemp("dubbed")
    pairs = number_pairs(pair_manifest(clips).pairs, seed=3)
    return folder, pairs, dub_pairs(pairs, clips, folder, jobs=2)


def run(*arguments: object):
    return CliRunner().invoke(app, ["data", "pairs", *map(str, arguments)])


def test_lengths_end_before_anybody_has_finished(clips):
    ends_s = spoken_ends(clips, jobs=2)
    for clip in clips:
        assert ends_s[clip.clip_id] == pytest.approx(SPOKEN_S[clip.labels.intended], abs=0.03)
    lengths_s = spoken_lengths(clips, PairPlan(), ends_s)
    for length_s in lengths_s.values():
        assert length_s == pytest.approx(0.9, abs=0.03)


def test_a_silent_clip_counts_with_its_duration(clips, make_clip):
    silent = make_clip("silent.mp4", duration_s=1.2, samples="silence")
    clip = replace(clips[0], video_path=silent, audio_path=silent, duration_s=1.2)
    assert spoken_ends([clip]) == {}
    assert spoken_lengths([clip], PairPlan(), {}) == {clip.clip_id: 1.2}


def test_unknown_durations_name_the_remedy(clips):
    with pytest.raises(CorpusError, match=r"data prepare"):
        pair_manifest([replace(clip, duration_s=None) for clip in clips])


def test_pairs_of_a_manifest(clips):
    made = pair_manifest(clips)
    kinds = Counter(timed.pair.kind for timed in made.pairs)
    assert kinds == {PairKind.MATCH: 12, PairKind.CONFLICT: 12, PairKind.ORIGINAL: 12}
    assert made.notes == ()
    # Each speaker's clips are cut alike.
    assert len({(timed.pair.speaker, timed.length_s) for timed in made.pairs}) == len(SPEAKERS)


def test_corpora_without_pairs_are_told_and_alone_are_refused(clips):
    other = [replace(c, clip_id=f"tess/{c.take}", corpus="tess") for c in clips[:2]]
    made = pair_manifest([*clips, *other])
    assert len(made.pairs) == 36
    assert made.notes[0].startswith("tess: no pair can be made")
    with pytest.raises(CorpusError, match="tess: no pair can be made"):
        pair_manifest(other)
    with pytest.raises(CorpusError, match="no clips"):
        pair_manifest([])


def test_plans_by_name():
    assert find_plan("javanese") == PAIR_PLANS["javanese"]
    assert find_plan("javanese", "default") == find_plan("emodb") == PairPlan()
    assert find_plan("javanese", "cremad") == PAIR_PLANS["cremad"]
    with pytest.raises(ConfigError, match="'nobody'"):
        find_plan("javanese", "nobody")


def test_voices_are_read_where_they_begin(clips, make_clip):
    timed = pair_manifest(clips).pairs
    match = next(t for t in timed if t.pair.kind is PairKind.MATCH)
    original = next(t for t in timed if t.pair.kind is PairKind.ORIGINAL)
    sound, mute = make_clip("s.wav", video=False), make_clip("mute.mp4", audio=False)
    film = clips[0].video_path
    inside = replace(clips[0], video_start_s=0.4)
    apart = replace(clips[0], video_start_s=0.4, audio_path=sound)
    assert voice_source(match, inside) == (film, 0.4)
    assert voice_source(match, apart) == (sound, 0.0)
    # A film's own sound is in time with it; a separate file need not be.
    assert voice_source(original, apart) == (film, 0.4)
    assert voice_source(original, replace(apart, video_path=mute)) == (sound, 0.0)
    with pytest.raises(CorpusError, match="has no sound"):
        voice_source(match, replace(apart, audio_path=None))


def test_numbers_are_blind_and_the_same_every_time(clips):
    pairs = pair_manifest(clips).pairs
    numbered = number_pairs(pairs, seed=1)
    assert [p.number for p in numbered] == list(range(1, 37))
    assert [p.file for p in numbered[:2]] == ["00001.mp4", "00002.mp4"]
    assert sorted(p.timed.pair.pair_id for p in numbered) == sorted(t.pair.pair_id for t in pairs)
    assert number_pairs(pairs, seed=1) == numbered != number_pairs(pairs, seed=2)
    assert number_pairs(pairs, seed=1, limit=5) == numbered[:5]
    kinds = [p.timed.pair.kind for p in numbered]
    assert kinds != sorted(kinds)


def test_dubs_of_all_kinds_are_made_alike(dubbed):
    folder, pairs, report = dubbed
    assert (report.num_clips, report.num_written, report.num_quieter) == (36, 36, 0)
    described = set()
    for pair in pairs:
        path = folder / "clips" / pair.file
        with av.open(str(path)) as container:
            described.add(
                tuple(
                    (s.codec_context.codec.name, s.codec_context.extradata)
                    for s in container.streams
                )
            )
        heard = read_sound(path)[: round(pair.timed.length_s * RATE_HZ)]
        assert integrated_loudness_lufs(heard, RATE_HZ) == pytest.approx(-23, abs=0.5)
    assert len(described) == 1


def test_the_key_lies_apart_and_tells_the_truth(dubbed):
    folder, pairs, _ = dubbed
    assert sorted(p.name for p in folder.iterdir()) == ["clips", "key.csv", "rule.json"]
    assert {p.suffix for p in (folder / "clips").iterdir()} == {".mp4"}
    rows = list(csv.DictReader((folder / "key.csv").read_text(encoding="utf-8").splitlines()))
    for row, pair in zip(rows, pairs, strict=True):
        assert row["file"] == pair.file
        assert row["pair_id"] == pair.timed.pair.pair_id
        assert row["kind"] == pair.timed.pair.kind.value
    assert json.loads((folder / "rule.json").read_text())["loudness_lufs"] == -23.0


def test_a_second_run_makes_only_what_is_missing(clips, tmp_path):
    pairs = number_pairs(pair_manifest(clips).pairs, limit=3)
    dub_pairs(pairs, clips, tmp_path)
    (tmp_path / "clips" / "00002.mp4").unlink()
    (tmp_path / "clips" / "00002.mp4.part").write_bytes(b"killed here")
    before = (tmp_path / "clips" / "00001.mp4").stat().st_mtime_ns
    report = dub_pairs(pairs, clips, tmp_path)
    assert report.num_written == 1
    assert (tmp_path / "clips" / "00001.mp4").stat().st_mtime_ns == before
    assert sorted(p.name for p in (tmp_path / "clips").iterdir()) == [p.file for p in pairs]


def test_clips_of_other_pairs_are_not_mixed_in(clips, tmp_path):
    made = pair_manifest(clips).pairs
    dub_pairs(number_pairs(made, limit=2), clips, tmp_path)
    with pytest.raises(CorpusError, match=r"key\.csv differs"):
        dub_pairs(number_pairs(made, seed=5, limit=2), clips, tmp_path)
    assert (tmp_path / "key.csv").read_text() == key_text(number_pairs(made, limit=2))


def test_errors_of_sources_name_them(clips, tmp_path, make_clip):
    pairs = number_pairs(pair_manifest(clips).pairs)
    short = make_clip("short.mp4", duration_s=0.5)
    broken = [replace(clip, video_path=short) for clip in clips]
    with pytest.raises(MediaError, match=r"short\.mp4"):
        dub_pairs(pairs, broken, tmp_path / "a")
    with pytest.raises(CorpusError, match="not in the manifest"):
        dub_pairs(pairs, clips[:1], tmp_path / "b")


def test_audits_see_through_raw_recordings_but_not_through_dubs(dubbed, clips):
    folder, pairs, _ = dubbed
    traces = trace_pairs(pairs, clips, folder, jobs=2)
    raw = {t.timed.pair.pair_id: t.voice_file.sound.loudness_lufs for t in traces}
    assert max(raw.values()) - min(raw.values()) > 15
    audits = audit_dubs(traces, num_resamples=50)
    before = {audit.name: audit.auroc.estimate for audit in audits.before}
    after = {audit.name: audit.auroc.estimate for audit in audits.after}
    # The pictures all are one, so only the recordings' own sound gives anything away.
    assert before["loudness of the recordings"] > 0.95
    assert before["silences of the recordings"] > 0.95
    assert after["lengths"] == after["loudness"] == after["silences"] == 0.5
    assert len(audits.parameters) == 1


def test_command_writes_table_clips_and_key(manifest, tmp_path):
    result = run(manifest, "--out", tmp_path, "--clips", 4, "--seed", 2)
    assert result.exit_code == 0, result.output
    assert "36 pairs (12 conflict, 12 match, 12 original)" in result.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["clips", "key.csv", "pairs.jsonl", "pairs.parquet", "rule.json"]
    pairs = read_pairs(tmp_path / "pairs.parquet")
    assert pairs == read_pairs(tmp_path / "pairs.jsonl")
    files = sorted(path.name for path in (tmp_path / "clips").iterdir())
    assert files == [f"{n:05d}.mp4" for n in range(1, 5)]
    for word in ("conflict", "match", "original", "happy", "sad"):
        assert not any(word.encode() in p.read_bytes() for p in (tmp_path / "clips").iterdir())
    again = run(manifest, "--out", tmp_path, "--clips", 4, "--seed", 2)
    assert "(0 made now)" in " ".join(again.stdout.split())


def test_command_pairs_within_the_parts_of_a_split(manifest, clips, tmp_path):
    splits = tmp_path / "splits.json"
    write_splits(make_splits(clips, "leave-one-out"), splits)
    result = run(manifest, "--out", tmp_path, "--split", splits, "--fold", 2, "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    parts = {(t.pair.speaker, t.part) for t in read_pairs(tmp_path / "pairs.jsonl")}
    assert parts == {
        ("ravdess/01", "train"),
        ("ravdess/02", "test"),
        ("ravdess/03", "validation"),
    }
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--clips", "some"], 2, "--clips some"),
        (["--clips", "0"], 2, "--clips 0"),
        (["--plan", "nobody"], 2, "'nobody'"),
        (["--fold", "1"], 2, "--fold needs --split"),
        (["--corpus", "tess"], 2, "--corpus tess"),
        (["--split", "none.json"], 1, "none.json"),
    ],
)
def test_command_explains_what_is_wrong(manifest, tmp_path, options, code, message):
    result = run(manifest, "--out", tmp_path / "out", *options)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_command_wants_a_fold_of_several(manifest, clips, tmp_path):
    splits = tmp_path / "splits.json"
    write_splits(make_splits(clips, "leave-one-out"), splits)
    result = run(manifest, "--out", tmp_path, "--split", splits)
    assert result.exit_code == 2
    assert "--fold 1 to 3" in " ".join(result.stderr.split())
    assert run(manifest, "--out", tmp_path, "--split", splits, "--fold", 4).exit_code == 2
