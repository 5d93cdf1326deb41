"""The rules of the house that no linter checks."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MEMBERS = sorted(
    path.parent for path in [*REPOSITORY.glob("packages/*/pyproject.toml"), *REPOSITORY.glob("apps/*/pyproject.toml")]
)
MODULES = sorted(module for member in MEMBERS for module in member.glob("src/**/*.py"))
MOST_LINES = 400
MOST_FUNCTION_LINES = 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def project(member: Path) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    return content


def test_there_are_five_packages_and_one_application() -> None:
    assert [name_of(member) for member in MEMBERS] == [
        "apps/cli",
        *(f"packages/fusion-{name}" for name in ("core", "encoders", "eval", "report", "train")),
    ]


def test_dependencies_point_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("member", MEMBERS, ids=name_of)
def test_a_package_is_typed_described_and_pinned_to_its_siblings(member: Path) -> None:
    declared = project(member)
    (package,) = (member / "src").iterdir()
    assert package.name == declared["name"].replace("-", "_")
    assert (package / "py.typed").is_file()
    assert len((member / "README.md").read_text().split()) >= 30
    assert declared["version"] == project(MEMBERS[0])["version"]
    assert declared["requires-python"] == ">=3.11,<3.13"
    extras = declared.get("optional-dependencies", {}).values()
    requirements = [*declared["dependencies"], *(requirement for extra in extras for requirement in extra)]
    siblings = [requirement for requirement in requirements if requirement.startswith("fusion-")]
    assert all(re.fullmatch(rf"fusion-\w+(\[[\w,]+\])?=={re.escape(declared['version'])}", pin) for pin in siblings)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_short_and_named_for_what_it_does(module: Path) -> None:
    lines = module.read_text().count("\n")
    assert lines <= MOST_LINES, f"{lines} lines"
    assert VAGUE_NAMES.isdisjoint([module.stem, *(parent.name for parent in module.parents)])


def functions(module: Path) -> Iterator[tuple[str, int]]:
    """Yield each function with the number of lines of its body, docstring left out."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1


def test_functions_are_short() -> None:
    long = {
        f"{name_of(module)}:{name}": lines
        for module in MODULES
        for name, lines in functions(module)
        if lines > MOST_FUNCTION_LINES
    }
    assert long == {}


def test_no_stub_is_left() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    assert [name_of(module) for module in MODULES if marks.search(module.read_text())] == []


def test_names_of_test_files_are_unique() -> None:
    names = Counter(path.name for path in (REPOSITORY / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_source_names_a_place_on_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    place = re.compile(r"(?<![\w.])/(?:root|home|tmp|work|Users)/\w")
    suffixes = {".py", ".toml", ".md", ".yaml", ".yml", ".cff", ".json", ".jsonl", ""}
    files = [REPOSITORY / name for name in tracked.stdout.splitlines() if Path(name).suffix in suffixes]
    named = [
        name_of(path)
        for path in files
        if path.is_file() and place.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert named == []


def test_the_runs_that_a_kept_study_calls_done_are_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files", "results"], cwd=REPOSITORY, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    files = set(tracked.stdout.splitlines())
    for card in (name for name in files if name.endswith("/study_card.json")):
        runs = json.loads((REPOSITORY / card).read_text(encoding="utf-8"))["runs"]
        kept = {f"{Path(card).parent}/runs/{run['name']}/study_run.json" for run in runs if run["status"] == "done"}
        assert kept - files == set()
