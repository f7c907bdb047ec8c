"""The documents: their Python runs and prints what stands below it, and what they link to is there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def run_blocks(text: str) -> list[tuple[str, str]]:
    """Run the Python blocks of a page in order, one after the other in one namespace.

    Return (printed, expected) of each block that has a block of text right behind it.
    """
    namespace: dict[str, object] = {}
    results = []
    blocks = [(match[1], match[2]) for match in BLOCK.finditer(text)]
    for (kind, code), (following, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, "page", "exec"), namespace)
            if following == "text":
                results.append((printed.getvalue(), expected))
    return results


def test_the_python_of_the_page_on_plans_prints_what_stands_below_it() -> None:
    results = run_blocks((ROOT / "docs/plans.md").read_text(encoding="utf-8"))
    assert len(results) == 4
    for printed, expected in results:
        assert printed == expected


def test_the_tour_has_a_place_for_every_folder_of_the_house_and_names_nothing_that_is_not_there() -> None:
    tour = (ROOT / "docs/tour.md").read_text(encoding="utf-8")
    houses = ("storage", "model", "pipeline", "analysis", "jobs")
    packages = {init.parent for house in houses for init in (ROOT / house).rglob("__init__.py")}
    named = set(re.findall(r"`((?:storage|model|pipeline|analysis|jobs|tests|docs)/[\w./*-]*)`", tour))
    folders = {str(package.relative_to(ROOT)) + "/" for package in packages}
    nested = {
        folder for folder in folders if folder.count("/") > 2
    }  # named by their last part, under their parent
    assert not folders - nested - named, "folders without a place in docs/tour.md"
    assert all(f"`{Path(folder).name}/`" in tour for folder in nested)
    assert all(any(ROOT.glob(path)) for path in named), "names of nothing"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
