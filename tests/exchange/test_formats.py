"""Each format, written by the product and opened by its own library."""

from __future__ import annotations

import html
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path, PurePath
from typing import Any

import audformat
import numpy as np
import pandas as pd
import parselmouth
import praatio.textgrid
import pympi
import pytest
import webvtt
from docs.invented_report import invent_interview, invent_report
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from typer.testing import CliRunner

from facevoice.cli.app import app
from facevoice.errors import MissingExtraError
from facevoice.exchange import Document, read_annotation, read_eaf, read_textgrid
from facevoice.records import EMOTIONS, Emotion, Outcome, Prediction, Reason, Report
from facevoice.report import (
    FILE_FORMATS,
    ReportFolder,
    file_names,
    read_report,
    to_document,
    to_json,
    write_format,
)
from facevoice.report.words import describe_moment
from facevoice.review import Answer, Verdict, empty_review, said_of, write_review
from facevoice.transcript import Line, Transcript, read_transcript
from made_reports import decided, make_window

OWN_SCHEMA = Path(__file__).with_name("eaf_by_facevoice.xsd")
# Who has ELAN's own schema may name it.
SCHEMA = etree.XMLSchema(file=os.environ.get("FACEVOICE_EAF_SCHEMA", str(OWN_SCHEMA)))
NEAR_S = 1e-3


def interview() -> Report:
    """Two people, words that overlap, names and words that no format takes as they are."""
    report, _ = invent_interview()
    people = [
        replace(p, name=name) for p, name in zip(report.people, ("Ann", 'B "b" <&>'), strict=True)
    ]
    # Of her, also what her face shows while he speaks.
    hers = tuple(
        replace(w, person=1, voice=None, fused=None, conflict=None,
                outcome=Outcome.INSUFFICIENT, reasons=(Reason.OTHER_SPEAKS,))
        for w in report.windows if w.person == 2 and w.face is not None
    )  # fmt: skip
    people[0] = replace(people[0], windows=hers)
    lines = (
        Line(0.5, 4.0, "Well -->\nso it is", "Ann"),
        Line(3.0, 6.0, "=1+1 & <b>more</b>", "Ann"),
        Line(7.0, 9.25, "Ja, grüß dich \u4f60\u597d", 'B "b" <&>'),
    )
    report = replace(report, people=tuple(people), path="films/talk one.mp4")
    return report.with_transcript(Transcript(lines, "talk.srt"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interview in all formats."""
    root = tmp_path_factory.mktemp("results")
    with ReportFolder(root, FILE_FORMATS) as made:
        made.write(interview(), PurePath("talk"))
    return root


def rows(document: Document) -> dict[str, list[tuple[float, float, str]]]:
    return {t.name: [(s.start_s, s.end_s, s.label) for s in t.spans] for t in document.tiers}


def same(found: Any, wanted: Any) -> None:
    """Times within 1 ms, labels as they are."""
    assert len(found) == len(wanted)
    for (a, b, label), (start_s, end_s, said) in zip(found, wanted, strict=True):
        assert a == pytest.approx(start_s, abs=NEAR_S)
        assert b == pytest.approx(end_s, abs=NEAR_S)
        assert label == said


def test_elan_holds_every_tier_and_keeps_to_the_schema(folder: Path) -> None:
    path = folder / "talk.eaf"
    SCHEMA.assertValid(etree.parse(path))
    opened, wanted = pympi.Eaf(str(path)), rows(to_document(interview()))
    for person in ("Ann", 'B "b" <&>'):
        for channel in ("face", "voice", "fused", "outcome"):
            name = f"{channel}@{person}"
            found = sorted(opened.get_annotation_data_for_tier(name))
            same([(a / 1000, b / 1000, label) for a, b, label, *_ in found], wanted[name])
            assert opened.tiers[name][2]["PARTICIPANT"] == person
    # While he speaks, she is looked at too, and no time is told twice.
    faces = wanted["face@Ann"]
    assert sum(b - a for a, b, _ in faces) > sum(b - a for a, b, _ in wanted["voice@Ann"]) + 20
    assert [name for name in opened.tiers if name.endswith(" 2")] == ["words@Ann 2"]
    told = opened.get_ref_annotation_data_for_tier("in words@Ann")
    assert sorted(one[2] for one in told) == sorted(s[2] for s in wanted["in words@Ann"])
    entries = opened.get_cv_entries("emotions").values()
    assert [values[0][0] for values, *_ in entries] == [emotion.value for emotion in EMOTIONS]
    assert opened.media_descriptors[0]["RELATIVE_MEDIA_URL"] == "./talk%20one.mp4"
    # Two lines of hers overlap, which a tier of ELAN can't hold.
    (second,) = opened.get_annotation_data_for_tier("words@Ann 2")
    assert second[2] == "=1+1 & <b>more</b>"


def test_a_review_stands_beside_what_facevoice_says(tmp_path: Path) -> None:
    report = interview()
    # Of her, the second of him: each person's word belongs to that person.
    places = [next(m for m in report.moments if m.person == number) for number in (1, 2)]
    hers, his = (Verdict(m.start_s, m.end_s, m.person, said_of(m), True) for m in places)
    corrected = Answer(Outcome.MATCH, None, Emotion.HAPPY)
    hers = replace(hers, is_right=False, corrected=corrected, note="a <b>", reviewer='K "k"')
    review = replace(empty_review(report), verdicts=(hers, his))
    seen = report.with_review(review)
    for form in ("eaf", "textgrid", "vtt", "events", "audformat"):
        write_format(seen, tmp_path / "talk", form)
    SCHEMA.assertValid(etree.parse(tmp_path / "talk.eaf"))
    before = rows(to_document(report))
    for path in (tmp_path / "talk.eaf", tmp_path / "talk.TextGrid"):
        told = rows(read_annotation(path))
        same(told["outcome@Ann"], before["outcome@Ann"])
        start_s, end_s = places[0].start_s, places[0].end_s
        same(told["reviewed@Ann"], [(start_s, end_s, "wrong")])
        same(told["reviewed outcome@Ann"], [(start_s, end_s, "match")])
        same(told["reviewed voice@Ann"], [(start_s, end_s, "happy")])
        same(told["review note@Ann"], [(start_s, end_s, "a <b>")])
        assert "reviewed face@Ann" not in told
        assert [label for *_, label in told['reviewed@B "b" <&>']] == ["right"]
    opened = pympi.Eaf(str(tmp_path / "talk.eaf"))
    assert opened.tiers["reviewed voice@Ann"][2]["ANNOTATOR"] == 'K "k"'
    captions = (tmp_path / "talk.facevoice.vtt").read_text()
    said = 'Review by K "k": wrong; outcome match, voice happy. Note: a &lt;b&gt;]'
    assert said in captions and "[Review: right]" in captions
    events = pd.read_csv(tmp_path / "talk_events.tsv", sep="\t", na_values="n/a")
    (row,) = events[events.reviewed == "wrong"].to_dict("records")
    assert row["trial_type"] == places[0].outcome.value
    assert (row["reviewed_outcome"], row["reviewed_voice"]) == ("match", "happy")
    assert events.reviewed.notna().sum() == 2
    table = audformat.Database.load(str(tmp_path / "talk.audformat"))["review"].get()
    assert sorted(table["reviewed"]) == ["right", "wrong"]
    assert set(table["reviewer"].dropna()) == {'K "k"'}


def test_elan_finds_the_film_from_where_its_file_lies(tmp_path: Path) -> None:
    film = tmp_path / "films" / "talk.mp4"
    film.parent.mkdir()
    film.write_bytes(b"film")
    report = replace(invent_report()[0], path=str(film))
    (tmp_path / "results").mkdir()
    (path,) = write_format(report, tmp_path / "results" / "talk", "eaf")
    media = etree.parse(path).find(".//MEDIA_DESCRIPTOR").attrib
    assert media["RELATIVE_MEDIA_URL"] == "../films/talk.mp4"
    assert media["MEDIA_URL"] == film.as_uri()
    assert media["MIME_TYPE"] == "video/mp4"


def test_praat_reads_every_tier(folder: Path) -> None:
    path = folder / "talk.TextGrid"
    wanted = rows(to_document(interview()))
    opened = praatio.textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    for name in ("face@Ann", "outcome@Ann", 'in words@B "b" <&>'):
        praat_name = name.replace('"', '""') if name not in opened.tierNames else name
        found = opened.getTier(praat_name).entries
        same([(e.start, e.end, e.label) for e in found], wanted[name])
    grid = parselmouth.read(str(path))
    named = {
        parselmouth.praat.call(grid, "Get tier name", k + 1): k + 1
        for k in range(parselmouth.praat.call(grid, "Get number of tiers"))
    }
    table = parselmouth.praat.call(grid, "Down to Table", False, 6, True, False)
    text = parselmouth.praat.call(table, "List", False)
    assert set(named) >= set(wanted) - {"words@Ann"}
    listed = pd.read_csv(StringIO(text), sep="\t", quoting=3)
    for name in ("face@Ann", 'voice@B "b" <&>'):
        own = listed[listed.tier == name]
        same([*zip(own.tmin, own.tmax, own.text, strict=True)], wanted[name])


@pytest.mark.parametrize("ending", ["vtt", "srt"])
def test_players_show_the_moments_in_plain_words(folder: Path, ending: str) -> None:
    path, report = folder / f"talk.facevoice.{ending}", interview()
    captions = webvtt.from_srt(str(path)) if ending == "srt" else webvtt.read(str(path))
    names = {person.number: person.name for person in report.people}
    wanted = [(m.start_s, m.end_s, describe_moment(m, names)) for m in report.moments]
    same([*_exact(captions, is_srt=ending == "srt")], wanted)
    lines = read_transcript(path).lines
    same([(li.start_s, li.end_s, li.text) for li in lines], wanted)


def _exact(captions: Any, *, is_srt: bool) -> Iterator[tuple[float, float, str]]:
    """webvtt-py gives whole seconds by its own; character references it leaves as they stand."""
    for one in captions:
        times_s = (
            sum(float(part) * 60**k for k, part in enumerate(reversed(clock.split(":"))))
            for clock in (one.start, one.end)
        )
        yield (*times_s, one.raw_text if is_srt else html.unescape(one.text))


def test_bids_table_and_what_its_columns_mean(folder: Path) -> None:
    table = pd.read_csv(folder / "talk_events.tsv", sep="\t", na_values="n/a", quoting=3)
    report = interview()
    wanted = [(m.start_s, m.end_s, m.outcome.value) for m in report.moments]
    same([*zip(table.onset, table.onset + table.duration, table.trial_type, strict=True)], wanted)
    assert [*table.columns[:2]] == ["onset", "duration"]
    assert table.conflict.tolist() == pytest.approx(
        [float("nan") if m.conflict is None else m.conflict for m in report.moments],
        abs=1e-6,
        nan_ok=True,
    )
    told = json.loads((folder / "talk_events.json").read_text())
    assert set(told) >= set(table.columns)
    assert set(table.trial_type) <= set(told["trial_type"]["Levels"])
    assert set(table.face.dropna()) <= set(told["face"]["Levels"])
    assert all(one["Description"] for name, one in told.items() if name in table)


# audformat's own, of a pandas yet to come.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_audformat_database_keeps_every_probability(folder: Path) -> None:
    database, report = audformat.Database.load(str(folder / "talk.audformat")), interview()
    for channel in ("face", "voice", "fused"):
        own = [w for w in report.windows if getattr(w, channel) is not None]
        table = database[channel].get()
        starts = table.index.get_level_values("start").total_seconds()
        ends = table.index.get_level_values("end").total_seconds()
        same(
            [*zip(starts, ends, table.emotion, strict=True)],
            [(w.start_s, w.end_s, EMOTIONS[getattr(w, channel).probs.argmax()]) for w in own],
        )
        probs = table[[emotion.value for emotion in EMOTIONS]].to_numpy()
        assert probs == pytest.approx(np.stack([getattr(w, channel).probs for w in own]), abs=1e-6)
    others = database["face_2"].get()
    assert set(others.person) == {"Ann"}
    assert len(others) == len(report.people[0].windows)
    outcomes = database["outcome"].get()
    assert outcomes.outcome.tolist() == [w.outcome.value for w in report.windows]
    assert set(outcomes.person.dropna()) == {"Ann", 'B "b" <&>'}
    assert [*database.schemes["emotion"].labels] == [emotion.value for emotion in EMOTIONS]


def test_without_audformat_the_extra_is_named_before_any_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "audformat", None)
    arguments = [str(folder / "talk.json"), "--to", "json,audformat", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["convert", *arguments])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "database needs an optional part" in said
    assert "pip install 'facevoice[exchange]'" in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingExtraError):
        ReportFolder(tmp_path, ["audformat"])


def test_rttm_says_who_speaks_when(folder: Path) -> None:
    turns = [line.split() for line in (folder / "talk.rttm").read_text().splitlines()]
    assert {len(turn) for turn in turns} == {10}
    assert {turn[7] for turn in turns} == {"Ann", 'B_"b"_<&>', "off_screen", "unclear"}
    assert [float(turn[3]) for turn in turns] == sorted(float(turn[3]) for turn in turns)
    report = interview()
    off = next(m for m in report.moments if Reason.VOICE_OFF_SCREEN in m.reasons)
    (turn,) = [turn for turn in turns if turn[7] == "off_screen"]
    assert (float(turn[3]), float(turn[4])) == (off.start_s, off.end_s - off.start_s)


def test_what_an_annotator_corrected_is_not_replaced(tmp_path: Path) -> None:
    report = interview()
    with ReportFolder(tmp_path, ["json", "eaf", "textgrid"]) as made:
        made.write(report, PurePath("talk"))
        made.write(report, PurePath("talk"))  # Of its own accord, as often as it likes.
        path = tmp_path / "talk.eaf"
        path.write_text(path.read_text().replace(">sad<", ">furious<"))
        with pytest.raises(FileExistsError, match="changed by hand"):
            made.write(report, PurePath("talk"))
    assert ">furious<" in path.read_text()
    runner = CliRunner(env={"COLUMNS": "300"})
    result = runner.invoke(app, ["convert", str(tmp_path), "--to", "eaf,textgrid"])
    assert result.exit_code == 1
    assert "talk.eaf: there is a file of that name, which says something else" in " ".join(
        result.output.split()
    )
    done = CliRunner().invoke(app, ["convert", str(tmp_path), "--to", "eaf", "--overwrite"])
    assert done.exit_code == 0
    assert ">furious<" not in path.read_text()


def test_a_review_is_put_into_files_that_nobody_changed(tmp_path: Path) -> None:
    with ReportFolder(tmp_path, ["json", "eaf", "events"]) as made:
        made.write(interview(), PurePath("talk"))
    convert = ["convert", str(tmp_path), "--to", "eaf,events"]
    report = read_report(tmp_path / "talk.json")
    moment = report.moments[0]
    said = Verdict(moment.start_s, moment.end_s, moment.person, said_of(moment), is_right=True)
    write_review(tmp_path / "talk.review.json", replace(empty_review(report), verdicts=(said,)))
    for _ in range(2):
        done = CliRunner().invoke(app, convert)
        assert done.exit_code == 0, done.output
    path = tmp_path / "talk.eaf"
    assert "reviewed" in path.read_text()
    path.write_text(path.read_text().replace(">sad<", ">furious<"))
    assert CliRunner().invoke(app, convert).exit_code == 1


# audformat's own, of a pandas yet to come.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_only_what_is_as_facevoice_wrote_it_is_replaced(tmp_path: Path) -> None:
    def convert(*options: str, code: int) -> str:
        words = ["convert", str(tmp_path / "talk.json"), "--to", "eaf,audformat", *options]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    def analyse(*formats: str) -> None:
        with ReportFolder(tmp_path, formats) as made:
            made.write(interview(), PurePath("talk"))

    analyse("json")
    convert(code=0)
    analyse("json", "eaf", "audformat")  # What convert wrote is facevoice's own too.
    database = tmp_path / "talk.audformat"
    audformat.Database.load(str(database))["face"].get()
    analyse("audformat")  # Nor does looking at it make it another's.
    convert(code=0)
    notes, faces = database / "notes.txt", database / "db.face.csv"
    for mine in (notes, faces):
        mine.write_text("mine")
        with pytest.raises(FileExistsError, match="changed by hand"):
            analyse("audformat")
        told = convert(code=1)
        assert "talk.audformat: there is a file of that name, which says something else" in told
        assert mine.read_text() == "mine"
        convert("--overwrite", code=0)
        assert not notes.exists()
        analyse("eaf", "audformat")
    (database / "db.yaml").write_text("name: a corpus of mine\n")
    told = convert("--overwrite", code=1)
    assert "no facevoice wrote. Move it away or choose another --out." in told


def test_convert_makes_what_analyze_makes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    told = ",".join(FILE_FORMATS)
    arguments = ["convert", str(folder / "talk.json"), "--to", told, "--out", str(again)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for path in file_names(again / "talk", FILE_FORMATS):
        if path.is_file() and path.suffix not in (".eaf",):
            assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    assert rows(read_eaf(again / "talk.eaf")) == rows(read_eaf(folder / "talk.eaf"))
    with ReportFolder(again, ["eaf"]) as made:
        made.write(interview(), PurePath("talk"))  # What convert wrote there is our own.
    unknown = CliRunner().invoke(app, ["convert", str(folder), "--to", "elan"])
    assert unknown.exit_code == 2
    assert "known: json, csv" in " ".join(unknown.output.split())


def test_a_blank_file_tells_nothing_of_what_facevoice_says(folder: Path, tmp_path: Path) -> None:
    report = str(folder / "talk.json")
    arguments = ["convert", report, "--to", "eaf,textgrid", "--blank", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    SCHEMA.assertValid(etree.parse(tmp_path / "talk.eaf"))
    opened = pympi.Eaf(str(tmp_path / "talk.eaf"))
    for document in (read_eaf(tmp_path / "talk.eaf"), read_textgrid(tmp_path / "talk.TextGrid")):
        found = rows(document)
        assert {"face@Ann", 'outcome@B "b" <&>', "words@Ann"} <= set(found)
        assert all(spans == [] for name, spans in found.items() if not name.startswith("words"))
    assert opened.linguistic_types["emotions"]["CONTROLLED_VOCABULARY_REF"] == "emotions"
    assert opened.media_descriptors
    refused = CliRunner().invoke(app, ["convert", report, "--to", "srt", "--blank"])
    assert refused.exit_code == 2


def windows() -> st.SearchStrategy[list[Prediction]]:
    """One hop after the other, each of any reading; none ends before the one before it."""
    emotions = st.one_of(st.none(), st.sampled_from([*Emotion]))
    one = st.tuples(emotions, emotions, st.floats(0, 1), st.floats(0.01, 5), st.floats(0.005, 3))

    def place(drawn: list[tuple[Any, ...]]) -> list[Prediction]:
        start_s, end_s, made = 0.0, 0.0, []
        for face, voice, conflict, length_s, hop_s in drawn:
            window = make_window(face, voice, conflict)
            end_s = max(end_s, start_s + length_s)
            made.append(replace(window, start_s=start_s, end_s=end_s))
            start_s += hop_s
        return made

    return st.lists(one, min_size=1, max_size=8).map(place)


@settings(max_examples=15, deadline=None)
@given(windows())
def test_any_report_comes_back_from_elan_praat_and_bids(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Prediction]
) -> None:
    report = decided(*drawn)
    base = tmp_path_factory.mktemp("any") / "talk"
    wanted = {
        name: [s for s in spans if round(s[0] * 1000) < round(s[1] * 1000)]
        for name, spans in rows(to_document(report)).items()
    }
    for form, read in (("eaf", read_eaf), ("textgrid", read_textgrid)):
        (path,) = write_format(report, base, form)
        found = rows(read(path))
        for name, spans in wanted.items():
            same(found.get(name, []), spans)
        if form == "eaf":
            SCHEMA.assertValid(etree.parse(path))
    events, _ = write_format(report, base, "events")
    read = rows(read_annotation(events))
    moments = [m for m in report.moments if round(m.start_s * 1000) < round(m.end_s * 1000)]
    same(read.get("trial_type", []), [(m.start_s, m.end_s, m.outcome.value) for m in moments])
    same(read.get("face", []), [(m.start_s, m.end_s, m.face.value) for m in moments if m.face])
    (base.parent / "talk.json").write_text(to_json(report))
    again = read_report(base.parent / "talk.json")
    same(rows(to_document(again)).get("outcome", []), rows(to_document(report)).get("outcome", []))
    assert {s[2] for s in wanted.get("outcome", [])} <= {outcome.value for outcome in Outcome}
