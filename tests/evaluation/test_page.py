"""The pages: complete, self-contained, readable without eyes or network, and escaped."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import audit_scores
from facevoice.evaluation.page import compare, evaluate
from facevoice.evaluation.predictions import UsedBackbone, write_run
from run_builders import make_conflicts, make_emotions, make_info

FEW = 100
VOID_TAGS = {"meta", "link", "br", "img", "input", "hr", "base"}


class PageReader(HTMLParser):
    """Collects what a page has, and checks that every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())
            self.words.append(data.strip())

    def with_tag(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: a clean one, a better one, and one with a contaminated backbone and one class."""
    root = tmp_path_factory.mktemp("runs")
    noise = np.random.default_rng(0).normal(size=60)
    speakers = [f"s{i // 6}" for i in range(60)]
    audits = [
        audit_scores(name, [0, 1] * 30, scores, speakers, num_resamples=50)
        for name, scores in (("length only", noise), ("tells", [0, 1] * 30))
    ]
    write_run(root / "a", make_info(), make_emotions(8), make_conflicts(8), audits)
    better = make_emotions(8, skill=2.5, seed=4), make_conflicts(8, skill=2.0, seed=4)
    write_run(root / "b", make_info(name="better"), *better)
    info = make_info(
        name="dirty",
        title="<script>alert('x')</script> & |co",
        backbones=(UsedBackbone("big@1", ("CREMA-D",)),),
    )
    table = make_conflicts(8)
    write_run(root / "c", info, make_emotions(8), table[table["kind"] != "conflict"])
    for name in "ac":
        evaluate(root / name, num_resamples=FEW)
    compare([root / name for name in "abc"], root / "compared", num_resamples=FEW)
    return root


def read(folder: Path, name: str) -> str:
    return (folder / name / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a", "c", "compared"])
def test_pages_need_nothing_from_outside(folder: Path, name: str) -> None:
    text = read(folder, name)
    assert len(text.encode()) < 300_000
    assert re.findall(r"https?:|//\w|@import|url\((?!#)", text) == []
    page = PageReader(text)
    used = {tag for tag, _ in page.tags}
    assert used.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    for _, attrs in page.tags:
        assert (attrs.get("href") or "#").startswith("#") and "src" not in attrs
        assert not any(attribute.startswith("on") for attribute in attrs)


@pytest.mark.parametrize("name", ["a", "c", "compared"])
def test_pages_can_be_read_without_eyes(folder: Path, name: str) -> None:
    page = PageReader(read(folder, name))
    assert page.with_tag("html") == [{"lang": "en"}]
    assert any(attrs.get("name") == "viewport" for attrs in page.with_tag("meta"))
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1" and headings.count("h1") == 1 and set(headings[1:]) == {"h2", "h3"}
    pictures = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    drawings = page.with_tag("svg")
    assert len(pictures) == len(drawings) == (0 if name == "compared" else len(drawings))
    assert all(len(attrs["aria-label"] or "") > 40 for attrs in pictures)
    assert all(attrs["aria-hidden"] == "true" for attrs in drawings)
    titles = {attrs.get("id") for attrs in page.with_tag("h3")}
    assert titles == {attrs["aria-labelledby"] for attrs in page.with_tag("table")}
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.with_tag("th"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {f"#{each}" for each in ids} >= {attrs["href"] for attrs in page.with_tag("a")}


def test_target_data_command_and_split_stand_on_the_page(folder: Path) -> None:
    page = PageReader(read(folder, "a"))
    words = " ".join(page.words)
    markdown = (folder / "a" / "scores.md").read_text(encoding="utf-8").replace("\\_", "_")
    info = make_info()
    for text in (info.title, info.model, info.protocol, info.command, "sha256:" + "0" * 64):
        assert text in words and text in markdown
    for section in ("Emotions on cremad", "Conflicts on cremad", "Audits that must find nothing"):
        assert section in words and f"## {section}" in markdown
    assert "compact-face@1 (trained on fer2013)" in words
    assert "contamination can't be ruled out" in words
    assert "Some figures rest on 8 speakers" in words
    # Three reliability curves of emotions; ROC, reliability and risk of conflicts.
    figures = page.texts["figcaption"]
    named = [text for text in figures if re.search(r"intended emotion|constructed conflict", text)]
    assert named == figures and len(figures) == 6


def test_figures_on_the_page_are_those_of_the_scores(folder: Path) -> None:
    scores = json.loads((folder / "a" / "scores.json").read_text(encoding="utf-8"))
    text = read(folder, "a")
    markdown = (folder / "a" / "scores.md").read_text(encoding="utf-8")
    fused = next(
        c for c in scores["emotions"] if (c["channel"], c["target"]) == ("fused", "intended")
    )
    uar = fused["figures"]["uar"]
    low, high = 100 * uar["low"], 100 * uar["high"]
    assert f"{100 * uar['value']:.1f} %" in text
    assert f"{low:.1f}–{high:.1f}" in text and f"{low:.1f}–{high:.1f}" in markdown
    assert f"--low: {low:.1f}%; --at: {100 * uar['value']:.1f}%; --high: {high:.1f}%" in text
    counts = fused["figures"]["confusion"][0]
    row = [f"{100 * count / sum(counts):.0f}" for count in counts]
    assert f"| neutral | {' | '.join(row)} |" in markdown
    auroc = scores["conflicts"][0]["ranking"]["auroc"]
    assert f"{auroc['value']:.3f} ({auroc['low']:.3f}–{auroc['high']:.3f})" in markdown
    gain = scores["conflicts"][0]["calls"]["gain_over_labels"]["value"]
    assert f"{100 * gain:+.1f}".replace("-", "−") + " points" in markdown
    audits = {entry["name"]: entry["passed"] for entry in scores["audits"]}
    assert audits["tells"] is False
    for name, passed in audits.items():
        line = next(line for line in markdown.splitlines() if line.startswith(f"| {name}"))
        assert line.endswith("| passed |" if passed else "| **FAILED** |")


def test_contamination_is_loud_and_refusals_say_why(folder: Path) -> None:
    markdown = (folder / "c" / "scores.md").read_text(encoding="utf-8")
    page = PageReader(read(folder, "c"))
    assert sum(attrs.get("role") == "alert" for _, attrs in page.tags) == 1
    words = " ".join(page.words)
    assert "CONTAMINATED" in page.words
    assert "big@1 was itself trained on cremad" in words
    scores = json.loads((folder / "c" / "scores.json").read_text(encoding="utf-8"))
    marked = sum(attrs.get("class") == "contaminated" for attrs in page.with_tag("td"))
    assert marked >= 7 * len(scores["emotions"])
    assert "headline contaminated" in read(folder, "c")
    assert markdown.count("**contaminated**") == marked + 1  # and the headline
    assert "> **CONTAMINATED.**" in markdown
    assert "all 144 items are negative" in words
    assert "all 144 items are negative" in markdown
    assert "refused" in page.texts["td"]
    clean = read(folder, "a")
    assert 'class="contaminated"' not in clean and 'role="alert"' not in clean


def test_what_a_run_calls_itself_is_only_text(folder: Path) -> None:
    text = read(folder, "c")
    assert "<script" not in text
    assert PageReader(text).texts["h1"] == ["<script>alert('x')</script> & |co"]
    first = (folder / "c" / "scores.md").read_text(encoding="utf-8").splitlines()[0]
    assert first == r"# \<script\>alert('x')\</script\> & \|co"


def test_comparison_page_says_what_is_common(folder: Path) -> None:
    words = " ".join(PageReader(read(folder, "compared")).words)
    assert "144 clips of 8 speakers are in all runs" in words
    assert "after Holm's correction for 2 runs" in words
    assert "dirty: big@1 was itself trained on cremad" in words
    comparison = json.loads((folder / "compared" / "comparison.json").read_text(encoding="utf-8"))
    gap = comparison["cells"][0]["figures"][0]["differences"][0]
    assert f"{100 * gap['value']:+.1f} points".replace("-", "−") in words
    assert comparison["format"] == "facevoice-comparison/1"
    # The third run has no conflicts among its pairs, so only matches are common.
    pairs = comparison["cells"][-1]
    assert (pairs["num_common"], pairs["num_items"]) == (144, [288, 288, 144])
    assert "all 144 items are negative" in words


def test_every_table_of_the_markdown_is_whole(folder: Path) -> None:
    for name in ("a/scores.md", "c/scores.md", "compared/comparison.md"):
        width = 0
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            bars = len(re.findall(r"(?<!\\)\|", line))
            if line.startswith("|---"):
                assert bars == width
            if line.startswith("|"):
                assert width in (0, bars)
                width = bars
            else:
                width = 0


def test_pages_are_the_same_again(folder: Path, tmp_path: Path) -> None:
    evaluate(folder / "a", tmp_path / "again", num_resamples=FEW)
    for name in ("index.html", "scores.md", "scores.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / "a" / name).read_bytes()
    assert len(list((tmp_path / "again").iterdir())) == 3
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(EvaluationError, match="results can't be written"):
        evaluate(folder / "a", tmp_path / "file", num_resamples=FEW)
