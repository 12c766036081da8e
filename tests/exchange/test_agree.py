"""`facevoice agree`: figures held against scikit-learn and published ones; what people do."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from docs.invented_report import invent_interview, invent_report
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from builders import make_failed_report
from facevoice.agreement import cohen_kappa, krippendorff_alpha
from facevoice.agreement.figures import confusion, kappa_interval
from facevoice.cli.app import app
from facevoice.records import EMOTIONS, Outcome, Report
from facevoice.report import label_of, stretches_by_person, to_json, write_format
from facevoice.review import Answer, Verdict, empty_review, review_path, said_of, write_review

ROOT = Path(__file__).parents[2]
# Krippendorff (2011), Computing Krippendorff's alpha-reliability, section C: nominal 0.743.
PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


def agree(*arguments: object, code: int = 0) -> str:
    """What was said, in one line."""
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["agree", *map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.output.split())


def figures(*arguments: object) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By annotator, channel and unit."""
    result = CliRunner().invoke(app, ["agree", *map(str, arguments), "--json", "-q"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    return {(c["annotator"], c["channel"], c["unit"]): c for c in told["comparisons"]}


def save(report: Report, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(report))
    return path


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return save(invent_report()[0], tmp_path / "talk.json")


def annotate(report: Report, path: Path, seed: int, share: float = 0.4) -> dict[str, list[str]]:
    """A table that says for each window the same but for a share; gives what it says."""
    rng = np.random.default_rng(seed)
    said: dict[str, list[str]] = {"face": [], "voice": []}
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["start", "end", *said])
        for own in stretches_by_person(report).values():
            for one in own:
                row = []
                for channel, labels in said.items():
                    label = label_of(one.window, channel)
                    if rng.random() < share:
                        label = EMOTIONS[int(rng.integers(len(EMOTIONS)))].value
                    row.append(label or "")
                    labels.append(label or "")
                table.writerow([f"{one.start_s:.3f}", f"{one.end_s:.3f}", *row])
    return said


def test_alpha_is_that_of_the_published_example() -> None:
    rows = [line.split() for line in PUBLISHED.split("\n") if line]
    ratings = np.array([[-1 if v == "." else int(v) - 1 for v in row] for row in rows])
    assert krippendorff_alpha(ratings, 5) == pytest.approx(0.743, abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.int64,
        st.tuples(st.integers(2, 4), st.integers(1, 30)),
        elements=st.integers(-1, 3),
    )
)
def test_figures_are_those_of_the_packages_for_them(ratings: np.ndarray) -> None:
    both = (ratings[:2] >= 0).all(axis=0)
    first, second = ratings[:2, both]
    mine = cohen_kappa(confusion(first, second, 4))
    if len({*first, *second}) < 2:
        assert mine is None
    else:
        assert mine == pytest.approx(cohen_kappa_score(first, second), abs=1e-9)
    alpha = krippendorff_alpha(ratings, 4)
    shared = ratings[:, (ratings >= 0).sum(axis=0) > 1]
    if len({*shared[shared >= 0].tolist()}) < 2:
        assert alpha is None
    else:
        values = np.where(ratings < 0, np.nan, ratings)
        wanted = krippendorff.alpha(values, level_of_measurement="nominal")
        assert alpha == pytest.approx(wanted, abs=1e-9)


def test_interval_covers_the_true_kappa_as_often_as_it_says() -> None:
    """Clusters of three equal units: who took units for independent would be far too sure."""
    rng, covered = np.random.default_rng(3), 0
    truth = 0.6
    for _ in range(100):
        first = np.repeat(rng.integers(2, size=60), 3)
        keeps = np.repeat(rng.random(60) < truth, 3)
        second = np.where(keeps, first, np.repeat(rng.integers(2, size=60), 3))
        limits = kappa_interval(first, second, np.repeat(np.arange(60), 3), 2)
        assert limits is not None
        covered += limits[0] <= truth <= limits[1]
    assert 88 <= covered <= 99
    few = np.arange(6)
    assert kappa_interval(few % 2, few % 2, few, 2) is None


def test_windows_are_held_against_a_table_as_scikit_learn_does(talk: Path, tmp_path: Path) -> None:
    report = invent_report()[0]
    said = annotate(report, tmp_path / "anna.csv", 1)
    found = figures(talk, tmp_path / "anna.csv")
    for channel, labels in said.items():
        read = [label_of(w, channel) for w in report.windows]
        pairs = [(a, b) for a, b in zip(labels, read, strict=True) if a and b]
        people, own = zip(*pairs, strict=True)
        one = found["anna.csv", channel, "window"]
        assert one["kappa"] == pytest.approx(cohen_kappa_score(people, own), abs=1e-6)
        assert one["num_units"] == len(pairs)
        assert one["num_unread"] == sum(
            b is None and a != "" for a, b in zip(labels, read, strict=True)
        )
        assert one["agreed"] == pytest.approx(np.mean([a == b for a, b in pairs]), abs=1e-6)
        assert one["low"] < one["kappa"] < one["high"]
        names = one["labels"]
        assert one["counts"] == [
            [sum((a, b) == (row, column) for a, b in pairs) for column in names] for row in names
        ]
    assert ("anna.csv", "outcome", "window") not in found


def test_an_annotator_corrects_what_elan_shows_and_reads_it_back(talk: Path) -> None:
    report = invent_report()[0]
    (eaf,) = write_format(report, talk.parent / "anna", "eaf")
    untouched = figures(talk, eaf)
    assert {one["kappa"] for one in untouched.values()} == {1.0}
    assert {unit for *_, unit in untouched} == {"window", "moment", "interval"}
    assert "nobody has corrected, so this is no agreement with people" in agree(talk, eaf)
    text = eaf.read_text()
    eaf.write_text(text.replace(">happy<", ">Anger<", 1).replace(">sad<", ">Sadness<", 1))
    corrected = figures(talk, eaf)
    face = corrected["anna.eaf", "face", "interval"]
    row, column = face["labels"].index("angry"), face["labels"].index("happy")
    assert face["counts"][row][column] == 1
    off = np.array(face["counts"]) * ~np.eye(len(face["labels"]), dtype=bool)
    assert off.sum() == 1
    assert corrected["anna.eaf", "voice", "window"]["kappa"] == 1.0
    shown = agree(talk, eaf, "-v")
    assert "nobody has corrected" not in shown
    assert "Most often apart: people say angry, facevoice happy" in shown
    assert "people \\ facevoice" in shown


def test_labels_and_tiers_of_ones_own(talk: Path, tmp_path: Path) -> None:
    path = tmp_path / "anna.csv"
    path.write_text("start,end,Gesicht\n0,14,froh\n14,22,froh\n22,34,zornig\n60,70,unklar\n")
    assert "--tier NAME=face" in agree(talk, path, code=1)
    options = ["--tier", "gesicht=face"]
    refused = agree(talk, path, *options, code=1)
    assert "anna.csv: has labels that mean nothing here: face: 'froh' (2×)" in refused
    assert "--label 'froh=WORD'" in refused
    options += ["--label", "froh=happy", "--label", "zornig=angry", "--label", "unklar="]
    one = figures(talk, path, *options)["anna.csv", "face", "interval"]
    assert one["labels"] == ["happy", "angry"]
    assert one["counts"] == [[2, 0], [1, 0]]
    assert "no annotation has a tier of that name" in agree(
        talk, path, "--tier", "Stimme=voice", code=2
    )
    assert "choose one of neutral" in agree(talk, path, "--label", "froh=glad", code=2)
    # One word for two of ours, of people and report alike.
    path.write_text("start,end,face\n0,200,neutral\n")
    plain = figures(talk, path)["anna.csv", "face", "window"]
    both = figures(talk, path, "--label", "calm=neutral")["anna.csv", "face", "window"]
    assert "calm" in plain["labels"]
    assert "calm" not in both["labels"]


def test_a_word_for_one_channel_changes_no_other(talk: Path, tmp_path: Path) -> None:
    anna, ben = tmp_path / "anna.csv", tmp_path / "ben.csv"
    for path in (anna, ben):
        path.write_text("start,end,face\n0,20,flat\n20,40,sad\n")
    labels = ("--label", "flat=neutral", "--label", "conflict=sad")
    told = figures(talk, anna, ben, *labels)
    assert {channel for _, channel, _ in told} == {"face"}
    assert told["anna.csv", "face", "window"]["labels"][0] == "neutral"


def test_times_that_have_nothing_in_common_are_refused(talk: Path, tmp_path: Path) -> None:
    path = tmp_path / "anna.csv"
    path.write_text("start,end,face\n10000,20000,happy\n")
    assert "are its times in milliseconds?" in agree(talk, path, code=1)


def test_each_person_is_held_against_what_is_said_of_them(tmp_path: Path) -> None:
    report = invent_interview()[0]
    path = save(report, tmp_path / "interview.json")
    (eaf,) = write_format(report, tmp_path / "anna", "eaf")
    found = figures(path, eaf)
    assert {one["kappa"] for one in found.values()} == {1.0}
    # What is said of one of them is not held against the other.
    eaf.write_text(eaf.read_text().replace("@Guest", "@Interviewer2").replace(
        'PARTICIPANT="Guest"', 'PARTICIPANT="Karl"'))  # fmt: skip
    refused = agree(path, eaf, code=1)
    assert "is about 'Karl', but the report knows 'Interviewer', 'Guest'" in refused
    (only,) = write_format(report, tmp_path / "only", "eaf")
    lines = only.read_text().replace('TIER_ID="face@Interviewer"', 'TIER_ID="x"')
    only.write_text(lines)
    guest = figures(path, only)["only.eaf", "face", "window"]
    own = stretches_by_person(report)["Guest"]
    assert guest["num_units"] == sum(one.window.face is not None for one in own)


@pytest.mark.parametrize("form", ["csv", "events"])
def test_names_that_spreadsheets_take_for_formulas_come_back(tmp_path: Path, form: str) -> None:
    report = invent_interview()[0]
    people = zip(report.people, ("-Anna", "'=Ben"), strict=True)
    report = replace(report, people=tuple(replace(one, name=name) for one, name in people))
    path = save(report, tmp_path / "interview.json")
    table, *_ = write_format(report, tmp_path / "anna", form)
    assert "'-Anna" in table.read_text()
    assert "''=Ben" in table.read_text()
    # Windows overlap in a table of them.
    assert min(one["kappa"] for one in figures(path, table).values()) > 0.9


def test_of_several_people_one_is_chosen_where_the_report_knows_one(
    talk: Path, tmp_path: Path
) -> None:
    path = tmp_path / "two.csv"
    path.write_text("start,end,person,face\n0,9,Ann,happy\n0,9,Ben,sad\n")
    assert "tells of 'Ann', 'Ben' on face, but the report knows one" in agree(talk, path, code=1)
    path.write_text("tier,start,end,label\nface@Ann,0,9,happy\nface@Ben,0,9,sad\n")
    one = figures(talk, path, "--tier", "face@Ann=face")["two.csv", "face", "interval"]
    assert one["counts"] == [[1]]
    failed = save(make_failed_report(), tmp_path / "failed.json")
    assert "nothing was read" in agree(failed, path, "--tier", "face@Ann=face", code=1)


def test_annotators_are_compared_with_each_other(talk: Path, tmp_path: Path) -> None:
    report = invent_report()[0]
    said = [annotate(report, tmp_path / f"{k}.csv", k) for k in range(3)]
    paths = [tmp_path / f"{k}.csv" for k in range(3)]
    result = CliRunner().invoke(app, ["agree", str(talk), *map(str, paths), "--json", "-q"])
    (face, voice) = json.loads(result.stdout)["among"]
    assert (face["channel"], voice["channel"]) == ("face", "voice")
    places = {"": np.nan, **{e.value: e.position for e in EMOTIONS}}
    ratings = np.array([[places[label] for label in one["face"]] for one in said])
    wanted = krippendorff.alpha(ratings, level_of_measurement="nominal")
    assert face["alpha"] == pytest.approx(wanted, abs=1e-6)
    read = [places[label_of(w, "face") or ""] for w in report.windows]
    wanted = krippendorff.alpha(np.vstack([ratings, read]), level_of_measurement="nominal")
    assert face["alpha_with_report"] == pytest.approx(wanted, abs=1e-6)
    assert [pair[:2] for pair in face["kappas"]] == [
        ["0.csv", "1.csv"], ["0.csv", "2.csv"], ["1.csv", "2.csv"]]  # fmt: skip


def test_a_review_is_an_annotation_of_the_moments_that_were_judged(talk: Path) -> None:
    report, _ = invent_report()
    compared = [m for m in report.moments if m.outcome is not Outcome.INSUFFICIENT]
    right, wrong, untold, noted = (
        Verdict(m.start_s, m.end_s, m.person, said_of(m), judged)
        for m, judged in zip(compared, (True, False, False, None), strict=False)
    )
    other = next(o for o in Outcome if o not in (wrong.said.outcome, Outcome.INSUFFICIENT))
    wrong = replace(wrong, corrected=Answer(other))
    review = replace(empty_review(report), verdicts=(right, wrong, untold, noted))
    path = review_path(talk)
    write_review(path, review)
    found = figures(talk, path)
    moments = found[path.name, "outcome", "moment"]
    assert (moments["num_units"], moments["agreed"]) == (2, 0.5)
    assert found[path.name, "face", "moment"]["num_units"] == 1
    told = agree(talk, path)
    assert f"judges 3 of {len(report.moments)} moments" in told
    assert "agreement is flattered" in told
    assert "1 moment that is called wrong has no corrected outcome" in told
    # A folder of reports and their reviews is its own pair, whatever else facevoice wrote there.
    for form in ("csv", "eaf"):
        write_format(report, talk.with_suffix(""), form)
    assert figures(talk.parent, talk.parent) == {
        (talk.parent.name, *rest): {**one, "annotator": talk.parent.name}
        for (_, *rest), one in found.items()
    }
    write_review(path, replace(review, verdicts=(noted,)))
    assert "calls no moment of this report right or wrong" in agree(talk, path, code=1)
    write_review(path, replace(review, verdicts=(untold,)))
    refused = agree(talk, path, code=1)
    assert "calls 1 moment wrong without saying what is right; nothing can be compared" in refused
    path.unlink()
    assert "keep annotations in another" in agree(talk.parent, talk.parent, code=2)


def test_a_review_comes_before_a_table_of_its_name(talk: Path, tmp_path: Path) -> None:
    report, _ = invent_report()
    moment = report.moments[0]
    said = Verdict(moment.start_s, moment.end_s, moment.person, said_of(moment), is_right=True)
    anna = tmp_path / "anna"
    write_format(report, anna / "talk", "csv")
    write_review(anna / "talk.review.json", replace(empty_review(report), verdicts=(said,)))
    assert f"judges 1 of {len(report.moments)} moments" in agree(talk.parent, anna)


def test_a_review_that_calls_all_right_is_a_persons_word(talk: Path) -> None:
    report, _ = invent_report()
    said = (Verdict(m.start_s, m.end_s, m.person, said_of(m), True) for m in report.moments)
    path = review_path(talk)
    write_review(path, replace(empty_review(report), verdicts=tuple(said)))
    assert "nobody has corrected" not in agree(talk, path)


@pytest.mark.parametrize("form", ["csv", "events", "eaf", "textgrid"])
@pytest.mark.parametrize("invent", [invent_report, invent_interview])
def test_facevoices_own_file_is_known(
    tmp_path: Path, form: str, invent: Callable[[], tuple[Report, object]]
) -> None:
    report = invent()[0]
    path = save(report, tmp_path / "talk.json")
    own, *_ = write_format(report, tmp_path / "own", form)
    assert "it is facevoice's own file, which nobody has corrected" in agree(path, own)
    label = r"""(?<=[>,\t"])(neutral|happy|sad|angry)(?=[<,\t"])"""
    own.write_text(re.sub(label, "disgust", own.read_text(), count=1))
    assert "nobody has corrected" not in agree(path, own)


def test_folders_are_paired_by_name(tmp_path: Path) -> None:
    report = invent_report()[0]
    for name in ("a", "sub/b"):
        save(replace(report, path=f"{name}.mp4"), tmp_path / "reports" / f"{name}.json")
        (tmp_path / "anna" / name).parent.mkdir(parents=True, exist_ok=True)
        annotate(report, tmp_path / "anna" / f"{name}.csv", 1)
    save(report, tmp_path / "reports" / "unmarked.json")
    both = figures(tmp_path / "reports", tmp_path / "anna")["anna", "face", "window"]
    one = figures(tmp_path / "reports" / "a.json", tmp_path / "anna" / "a.csv")
    assert both["counts"] == [
        [2 * n for n in row] for row in one["a.csv", "face", "window"]["counts"]
    ]
    assert "is a folder of reports" in agree(
        tmp_path / "reports", tmp_path / "anna" / "a.csv", code=2
    )


def test_page_shows_both_on_one_timeline(talk: Path, tmp_path: Path) -> None:
    annotate(invent_report()[0], tmp_path / "<b>anna.csv", 1)
    page = tmp_path / "agreement.html"
    agree(talk, tmp_path / "<b>anna.csv", "--html", page)
    text = page.read_text()
    assert "Face, \\u003cb\\u003eanna.csv" in text
    assert "<b>" not in text
    agree(talk, tmp_path / "<b>anna.csv", "--html", page)
    page.write_text("mine")
    assert "another file of that name" in agree(
        talk, tmp_path / "<b>anna.csv", "--html", page, code=2
    )
    assert page.read_text() == "mine"
    agree(talk, tmp_path / "<b>anna.csv", "--html", page, "--overwrite")
    assert page.read_text() == text


@pytest.mark.corpora
def test_kappa_on_a_speakers_joined_films_is_scikit_learns(
    corpora_dir: Path, tmp_path: Path
) -> None:
    """The benchmark fails where a figure isn't the oracle's."""
    command = [sys.executable, "-m", "benchmarks.agreement", "--corpora", str(corpora_dir)]
    done = subprocess.run(
        [*command, "--work", str(tmp_path), "--speakers", "01"],
        cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 01")]
    assert len(rows) == 4
