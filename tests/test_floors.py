"""The floors of the house: who may import whom, and that the five plain names are ours."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "storage": set(),
    "model": set(),
    "pipeline": {"storage"},
    "analysis": {"storage"},
    "jobs": {"storage", "model", "pipeline", "analysis"},
}
FOREIGN_TO = {
    "storage": {"torch", "torchvision", "nvidia"},
    "model": {"duckdb", "pyarrow", "webdataset", "nvidia"},
    "pipeline": {"duckdb"},
}


def imports_of(source: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno}: relative import; import by name from the folder"
            yield node.lineno, node.module or ""


def violations(folder: str, sources: list[Path]) -> list[str]:
    allowed = FLOORS[folder] | {folder}
    forbidden = (set(FLOORS) - allowed) | FOREIGN_TO.get(folder, set())
    return [
        f"{source}:{line}: {folder} must not import {name}"
        for source in sources
        for line, name in imports_of(source)
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize("folder", FLOORS)
def test_a_floor_imports_only_what_lies_below_it(folder: str) -> None:
    sources = sorted((ROOT / folder).rglob("*.py"))
    assert sources
    assert violations(folder, sources) == []


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("model", "import duckdb"),
        ("storage", "from pipeline.samples.stream import SampleStream"),
        ("analysis", "import jobs"),
    ],
)
def test_an_upward_import_is_found(folder: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(line)
    assert violations(folder, [tmp_path / "wrong.py"])


def verb_imports(source: Path) -> list[str]:
    verbs = {f"jobs.{verb.stem}" for verb in (ROOT / "jobs").glob("*.py")} - {"jobs.__init__"}
    return [f"{source}:{line}: {name}" for line, name in imports_of(source) if name in {"jobs", *verbs}]


def test_a_verb_is_imported_only_by_verbs_that_run_others() -> None:
    runs_others = {ROOT / "jobs" / name for name in ("ablate.py", "cli.py", "demo.py", "prepare.py")}
    sources = sorted(set((ROOT / "jobs").rglob("*.py")) - runs_others)
    assert sources
    assert [line for source in sources for line in verb_imports(source)] == []


@pytest.mark.parametrize(
    "line", ["from jobs import eval", "from jobs.train import train", "import jobs.label"]
)
def test_an_import_of_a_verb_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(line)
    assert verb_imports(tmp_path / "wrong.py")


@pytest.mark.parametrize("folder", FLOORS)
def test_the_plain_names_resolve_to_this_repository(folder: str) -> None:
    spec = importlib.util.find_spec(folder)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).parent == ROOT / folder


def test_package_files_hold_one_docstring_line_and_export_nothing() -> None:
    for folder in FLOORS:
        for package in (ROOT / folder).rglob("__init__.py"):
            body = ast.parse(package.read_text()).body
            assert len(body) == 1, package
            assert isinstance(body[0], ast.Expr), package
