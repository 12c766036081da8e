"""What is written beside the code agrees with it."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from benchmarks.results_table import BEGIN, END, main, tables

import facevoice
from command_lines import PAGES, steps_of
from facevoice.records import EMOTIONS, Outcome, Reason, Status
from facevoice.report.words import ERROR_WORDS
from facevoice.settings import AnalyzerConfig

ROOT = Path(__file__).parents[1]


def test_command_line_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == script["describe_commands"](), "run: python docs/make_cli.py"


def test_default_settings_file_holds_every_setting_with_its_default() -> None:
    path = ROOT / "configs" / "default.toml"
    assert tomllib.loads(path.read_text(encoding="utf-8")) == AnalyzerConfig().to_dict()
    assert AnalyzerConfig.from_toml(path) == AnalyzerConfig()


def test_every_setting_in_the_default_file_has_a_comment() -> None:
    lines = (ROOT / "configs" / "default.toml").read_text(encoding="utf-8").splitlines()
    settings = [i for i, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert len(settings) > 5
    assert [lines[i] for i in settings if not lines[i - 1].startswith("#")] == []


def test_schema_lists_the_words_of_the_code() -> None:
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    defs = schema["$defs"]
    assert list(defs["probs"]["properties"]) == [e.value for e in EMOTIONS]
    assert defs["emotion"]["enum"] == [*(e.value for e in EMOTIONS), None]
    assert defs["outcome"]["enum"] == [o.value for o in Outcome]
    assert defs["reasons"]["items"]["enum"] == [r.value for r in Reason]
    assert schema["properties"]["status"]["enum"] == [s.value for s in Status]


def test_schema_page_explains_every_outcome_reason_and_status() -> None:
    page = (ROOT / "docs" / "report-schema.md").read_text(encoding="utf-8")
    words = [member.value for kind in (Outcome, Reason, Status) for member in kind]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_schema_page_tells_every_kind_of_error_in_the_words_of_the_code() -> None:
    page = (ROOT / "docs" / "report-schema.md").read_text(encoding="utf-8")
    table = page.partition("| kind | words |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.M)) == ERROR_WORDS


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert project["version"] == facevoice.__version__
    assert f"## {facevoice.__version__}" in changelog
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {facevoice.__version__}\n" in citation
    bibtex = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    assert f"version = {{{facevoice.__version__}}}" in bibtex
    assert f"with facevoice {facevoice.__version__} (" in bibtex
    conda = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    assert f'version: "{facevoice.__version__}"' in conda
    assert [each for each in project["dependencies"] if _by_conda(each) not in conda] == []


def test_both_ways_to_cite_name_the_authors_and_the_repository() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    bibtex = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    (author,) = project["authors"]
    source = project["urls"]["Source"]
    assert f'name: "{author["name"]}"' in citation
    assert f"author  = {{{{{author['name']}}}}}" in bibtex
    assert f'repository-code: "{source}"' in citation
    assert f"url     = {{{source}}}" in bibtex
    assert "\nlicense: MIT" not in citation  # The weights are not.


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git what there is")
def test_the_source_distribution_holds_all_that_its_tests_and_scripts_read() -> None:
    builders = pytest.importorskip("hatchling.builders.sdist")
    builder = builders.SdistBuilder(str(ROOT))
    packed = {Path(one.relative_path).as_posix() for one in builder.recurse_included_files()}
    git = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if git.returncode:
        pytest.skip("no clone")
    missing = {name for name in git.stdout.split("\0") if name} - packed
    assert {name for name in missing if (ROOT / name).exists()} <= {
        *(".gitattributes", ".github/workflows/release.yml"),
        *(".gitignore", "pyproject.toml"),  # hatchling adds them
    }


def _by_conda(requirement: str) -> str:
    """As the recipe for conda writes it, where some packages are called otherwise."""
    name, versions = re.fullmatch(r"(\w+)(.*)", requirement).groups()  # type: ignore[union-attr]
    name = {"soxr": "soxr-python", "tomli_w": "tomli-w"}.get(name, name)
    return f"    - {name} {versions}\n"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert len(pages) >= 5
    assert broken == []


def test_tables_have_as_many_cells_in_every_row() -> None:
    # A bar separates cells on GitHub also within code; escaped there, the site shows the backslash.
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    wrong = []
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
            rows = table.splitlines()
            bars = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
            wrong += [(page.name, row) for row, n in zip(rows, bars, strict=True) if n != bars[0]]
            wrong += [(page.name, code) for code in re.findall(r"`[^`\n]*\\\|[^`\n]*`", table)]
    assert wrong == []


def test_results_are_those_of_the_scores() -> None:
    for path, text in tables(ROOT / "docs").items():
        shown = path.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
        assert shown == text, "run: python -m benchmarks.results_table --docs docs"


@pytest.mark.parametrize("words", [["--hub"], ["--features", "stored.npz"]])
def test_making_results_needs_a_folder_to_work_in(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["results_table", "--docs", "docs", *words])
    with pytest.raises(SystemExit):
        main()
    assert "--work" in capsys.readouterr().err.splitlines()[-1]


def test_the_page_on_python_has_all_that_scripts_of_other_pages_import() -> None:
    told = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    scripts = "\n".join(s.text for page in PAGES for s in steps_of(page) if s.kind == "python")
    lines = re.findall(r"^from (facevoice[\w.]*) import (.+)", scripts, re.M)
    used = {(module, name) for module, names in lines for name in names.split(", ")}
    assert len(used) > 20
    assert [
        one for one in used if one[0] not in told or not re.search(rf"\b{one[1]}\b", told)
    ] == []


def test_the_menu_of_the_site_leads_to_pages() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = set(re.findall(r"[\w/.-]+\.md", menu))
    assert len(named) > 40
    assert [page for page in sorted(named) if not (ROOT / "docs" / page).is_file()] == []
