"""What is written beside the code agrees with it."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path

from benchmarks.results_table import BEGIN, END, tables

import facevoice
from command_lines import PAGES, steps_of
from facevoice.records import EMOTIONS, Outcome, Reason, Status
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


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert project["version"] == facevoice.__version__
    assert f"## {facevoice.__version__}" in changelog
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {facevoice.__version__}\n" in citation
    conda = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    assert f'version: "{facevoice.__version__}"' in conda
    assert [each for each in project["dependencies"] if _by_conda(each) not in conda] == []


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


def test_results_are_those_of_the_scores() -> None:
    for path, text in tables(ROOT / "docs").items():
        shown = path.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
        assert shown == text, "run: python -m benchmarks.results_table --docs docs"


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
