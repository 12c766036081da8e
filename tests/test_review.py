"""What people say of a report: read strictly, beside the answers, never in their place."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from facevoice.cli.app import app
from facevoice.errors import ReviewError
from facevoice.interpret import decide_again
from facevoice.records import DecisionCurve, Emotion, Outcome, Report
from facevoice.report import from_json, read_report, to_json, to_moments_csv
from facevoice.review import (
    Answer,
    Review,
    Verdict,
    empty_review,
    fingerprint_of,
    read_review,
    remarks,
    review_path,
    said_of,
    write_review,
)
from facevoice.review import to_json as review_json
from facevoice.settings import DecisionConfig
from made_reports import CONFLICT, FLAT, MATCH, UNDECIDED, decided, in_a_row, make_window

NOTE = "=1+1\u202e</script>"
REPORT = decided(*in_a_row([CONFLICT, CONFLICT, MATCH, MATCH, UNDECIDED, FLAT]))


def reviewed(report: Report = REPORT) -> Review:
    """The first moment is wrong, the second right."""
    first, second, *_ = report.moments
    wrong = Verdict(
        *(first.start_s, first.end_s, first.person, said_of(first)),
        is_right=False,
        corrected=Answer(Outcome.MATCH, None, Emotion.HAPPY),
        note=NOTE,
        reviewer="Dr Keller",
        when="2026-11-30T07:00:00.000Z",
    )
    right = Verdict(second.start_s, second.end_s, second.person, said_of(second), is_right=True)
    return replace(empty_review(report), verdicts=(wrong, right))


def written(folder: Path, report: Report = REPORT, name: str = "talk") -> Path:
    """A report with its review beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(to_json(report))
    write_review(review_path(path), reviewed(report))
    return path


def run(*words: str | Path, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if "--json" in words else result.output


def test_a_review_is_read_as_it_was_written_and_stands_beside_the_answers(tmp_path: Path) -> None:
    path = written(tmp_path)
    report = read_report(path)
    assert fingerprint_of(report) == fingerprint_of(REPORT)
    review = read_review(review_path(path), report)
    assert review == reviewed()
    seen = report.with_review(review)
    assert seen.moments == report.moments
    text = to_json(seen)
    assert to_json(from_json(text)) == text
    first, second, third, *_ = json.loads(text)["moments"]
    assert (first["outcome"], first["reviewed"]["outcome"]) == ("conflict", "match")
    assert (first["reviewed"]["is_right"], first["reviewed"]["note"]) == (False, NOTE)
    assert (second["outcome"], second["reviewed"]["outcome"]) == ("match", "match")
    assert third["reviewed"] is None
    first, second, third, *_ = csv.DictReader(to_moments_csv([seen]).splitlines())
    assert (first["outcome"], first["reviewed"], first["reviewed_outcome"]) == (
        *("conflict", "wrong", "match"),
    )
    assert (first["reviewed_face"], first["reviewed_voice"]) == ("", "happy")
    assert first["review_note"].startswith("'=1+1\\u202e")
    assert (second["reviewed"], second["reviewed_outcome"]) == ("right", "match")
    assert third["reviewed"] == third["reviewed_outcome"] == ""


def test_another_sensitivity_keeps_what_fits_and_tells_what_does_not() -> None:
    fainter = make_window(Emotion.HAPPY, Emotion.SAD, 0.72)
    report = decided(
        *in_a_row([CONFLICT, fainter, MATCH, MATCH]),
        curve=DecisionCurve(),  # A threshold is the wanted precision itself.
        decision=DecisionConfig(sensitivity=0.7),
    )
    sure = decide_again(report, DecisionConfig(sensitivity=0.8))
    review = reviewed(report)
    assert review.is_of(sure)
    kept = [verdict is not None for verdict in review.placed(sure)]
    assert sum(kept) + len(review.strays(sure)) == 2
    told = " ".join(remarks(review, sure))
    assert [v.start_s for v in review.strays(sure)] == [0.0]
    assert "1 verdict is on moments that are not in this report: 0:00–0:05." in told
    # The same moment, which was called otherwise then.
    other = replace(review.verdicts[1], said=Answer(Outcome.UNDECIDED, None, None))
    changed = replace(review, verdicts=(other,))
    assert "now says something else: 0:05–0:10" in " ".join(remarks(changed, report))
    rows = csv.DictReader(to_moments_csv([report.with_review(changed)]).splitlines())
    assert [row["reviewed"] for row in rows][1] == "outdated"


def test_a_review_of_another_file_or_analysis_is_told(tmp_path: Path) -> None:
    path = review_path(written(tmp_path))
    with pytest.raises(ReviewError, match=r"is a review of talk\.mp4, not of this other\.mp4"):
        read_review(path, replace(REPORT, path="other.mp4", sha256="cd" * 32))
    with pytest.raises(ReviewError, match="a review of another file of that name"):
        read_review(path, replace(REPORT, sha256="cd" * 32))
    again = replace(REPORT, models={})
    assert "another analysis of this file" in remarks(read_review(path, again), again)[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "facevoice.report"}, "is no review"),
        ({"schema_version": 2}, "schema version 2"),
        ({"verdicts": [{}]}, "breaks the schema"),
        ({"start_s": -1}, "start_s"),
        ({"person": 0.5}, "person"),
        ({"is_right": True}, "not marked as wrong"),
        ({"corrected": {"outcome": "sure"}}, "breaks the schema"),
        ({"note": "a" * 10_001}, "10,001 characters"),
        ({"when": "yesterday"}, "breaks the schema"),
        ({"start_s": 4.0, "end_s": 2.0}, "start_s"),
    ],
)
def test_what_no_page_saves_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    document = json.loads(review_json(reviewed()))
    if set(change) <= set(document):
        document |= change
    else:
        document["verdicts"][0] |= change
    path = tmp_path / "talk.review.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ReviewError, match=told):
        read_review(path, REPORT)
    for text in ("", "[" * 100_000, '{"schema": NaN}', '{"schema": "facevoice.review"'):
        path.write_text(text)
        with pytest.raises(ReviewError, match="is no review"):
            read_review(path, REPORT)


def test_no_other_file_is_replaced_by_a_review(tmp_path: Path) -> None:
    path = tmp_path / "talk.review.json"
    path.write_text(to_json(REPORT))
    with pytest.raises(ReviewError, match="another file of that name"):
        write_review(path, reviewed())


def test_the_command_sums_up_files_and_folders_and_writes_both_words(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    path = written(folder)
    other = replace(REPORT, path="clips/b.mp4", sha256="cd" * 32)
    written(folder / "sub", other, "b")
    (folder / "c.json").write_text(to_json(replace(REPORT, path="c.mp4", sha256="ef" * 32)))
    told = run("review", folder, path, "--out", tmp_path / "out", "--format", "json,csv,html")
    assert "2 of 4 moments reviewed (by Dr Keller): 1 right, 1 wrong, so 50% agreement." in told
    assert "In 2 reports with a review, 1 without: 4 of 8 moments reviewed" in told
    assert "Outcome corrected: conflict to match twice." in told
    counts = json.loads(run("review", folder, "--json"))
    assert (counts["all"]["num_right"], counts["all"]["num_without_review"]) == (2, 1)
    assert counts["all"]["corrections"]["voice"] == [
        {"said": "sad", "corrected": "happy", "count": 2}
    ]
    rows = list(csv.DictReader((tmp_path / "out" / "moments.csv").open(newline="")))
    words = [(row["outcome"], row["reviewed_outcome"]) for row in rows]
    assert words.count(("conflict", "match")) == 2
    assert len(rows) == 12
    assert "Dr Keller" in (tmp_path / "out" / "sub" / "b.html").read_text()


def test_reviews_among_downloads_go_to_their_reports(tmp_path: Path) -> None:
    path = written(tmp_path / "results" / "sub")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    first, second = reviewed().verdicts
    later = replace(first, note="No.", when="2026-11-30T06:30:00-01:00")  # 07:30 at Greenwich
    third = REPORT.moments[2]
    more = Verdict(third.start_s, third.end_s, None, said_of(third), None, note="Unclear.")
    write_review(downloads / "talk.review.json", replace(reviewed(), verdicts=(more,)))
    write_review(downloads / "talk.review (1).json", replace(reviewed(), verdicts=(later,)))
    write_review(downloads / "other.review.json", reviewed())
    told = run("review", tmp_path / "results", "--from", downloads)
    assert "2 reviews taken from" in told
    assert "3 of 4 moments reviewed" in told
    assert read_review(review_path(path), REPORT).verdicts == (later, second, more)


def test_a_verdict_that_was_taken_back_stays_so_whatever_older_file_has_it(tmp_path: Path) -> None:
    path = written(tmp_path / "results")
    first, second = reviewed().verdicts
    gone = replace(first, is_right=None, corrected=Answer(), note="", when="2026-11-30T08:00:00Z")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    write_review(downloads / "talk.review.json", replace(reviewed(), verdicts=(gone, second)))
    for _ in range(2):
        told = run("review", tmp_path / "results", "--from", downloads)
        assert "1 of 4 moments reviewed: 1 right" in told
        assert read_review(review_path(path), REPORT).placed(REPORT)[0] is None
        write_review(downloads / "talk.review.json", reviewed())


def test_what_is_wrong_with_one_review_costs_only_that_one(tmp_path: Path) -> None:
    written(tmp_path / "results", name="good")
    bad = written(tmp_path / "results", name="bad")
    review_path(bad).write_text("{}")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    write_review(downloads / "bad.review.json", reviewed())
    write_review(downloads / "good.review.json", replace(reviewed(), fingerprint="0" * 32))
    told = run("review", tmp_path / "results", "--from", downloads, code=1)
    assert "good.review.json: was made of another analysis. It is left there." in told
    assert "bad.review.json: is no review" in told
    assert "2 of 4 moments reviewed" in told


def test_a_page_shows_the_review_beside_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    run("report", path)
    assert '"reviewer":"Dr Keller"' in Path("talk.html").read_text()
    review_path(path).write_text("{}")
    told = run("report", path)
    assert "is no review" in told
    assert "The report is without it." in told
    assert "is no review" in run("report", path, "--review", review_path(path), code=1)
    assert "is no review" in run("review", path, code=1)
    assert "is no report" in run("review", "talk.mp4", code=2)


def test_a_file_that_can_not_be_read_costs_only_itself(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "gone.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "gone.review.json").write_text("{}")
    told = run("review", tmp_path, code=1)
    assert "gone.json: can't be read (No such file or directory)" in told
    assert "pipe.json: can't be read (it is no regular file)" in told
    assert "2 of 4 moments reviewed (by Dr Keller): 1 right, 1 wrong" in told
    told = run("convert", tmp_path, "--to", "srt", code=1)
    assert "1 report converted, 2 failed" in told
    told = run("agree", tmp_path, tmp_path, code=1)
    assert "gone.json: can't be read (No such file or directory)" in told
    assert "1 recording, 1 failed" in told
    assert "judges 2 of 4 moments" in " ".join(told.split())


def test_a_file_of_others_costs_only_the_report_that_would_replace_it(tmp_path: Path) -> None:
    written(tmp_path / "results", name="a")
    written(tmp_path / "results", name="b")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.html").write_text("mine")
    told = run("review", tmp_path / "results", "--out", out, "--format", "json,html", code=1)
    assert "a.html: can't be written (there is another file of that name" in told
    assert "Move that away or choose another --out, then run again." in told
    assert (out / "a.html").read_text() == "mine"
    assert "Dr Keller" in (out / "b.html").read_text()
    assert '"name":"b"' in (out / "index.html").read_text()
    assert '"name":"a"' not in (out / "index.html").read_text()
    assert "In 2 reports with a review" in told


def test_two_reports_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = decide_again(
        replace(REPORT, windows=(*REPORT.windows[:2], *in_a_row([MATCH] * 6)[2:]), models={}),
        DecisionConfig(sensitivity="cautious"),
    )
    Path("a.json").write_text(to_json(REPORT))
    Path("b.json").write_text(to_json(other))
    told = " ".join(run("compare-reports", "a.json", "b.json").split())
    assert "The outcomes are the same for 64% of 14 s" in told
    assert "0:09–0:11 undecided against match; 0:11–0:14 flat against match." in told
    assert "They differ in the setting decision.sensitivity: balanced against cautious." in told
    assert "Another model is used for face: f against none." in told
    assert Path("comparison.html").read_text().startswith("<!DOCTYPE html>")
    values = json.loads(run("compare-reports", "a.json", "b.json", "--json"))
    same = {one["channel"]: (one["same"], one["kappa"]) for one in values["agreement"]}
    # Seconds: 5 conflict, 4 match, 2 undecided and 3 flat against 5 conflict and 9 match.
    by_chance = (5 * 5 + 4 * 9) / 14**2
    assert same["outcome"] == (
        pytest.approx(9 / 14, abs=1e-6),
        pytest.approx((9 / 14 - by_chance) / (1 - by_chance), abs=1e-6),
    )
    assert [d["outcomes"] for d in values["differences"]] == [
        *(["undecided", "match"], ["flat", "match"]),
    ]
    refused = run("compare-reports", "a.json", "b.json", "--sensitivity", "cautious", code=2)
    assert "for videos, but both are reports" in " ".join(refused.split())
    Path("mine.html").write_text("mine")
    assert "no page of facevoice" in run(
        *("compare-reports", "a.json", "b.json", "--out", "mine.html"), code=2
    )
    assert "can't be read" in run("compare-reports", "a.json", "none.json", code=1)
