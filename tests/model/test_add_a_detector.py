"""The page on adding a detector: the detector in its text is one, and keeps what detectors promise."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from model.detector import Detector
from tests.model.conformance import (
    CHECKS,
    Lesson,
    gradients_reach_every_learning_parameter,
    learn,
    padding_changes_little,
    two_ranks_agree,
)
from tests.test_docs import run_blocks

PAGE = (Path(__file__).resolve().parents[2] / "docs/add-a-detector.md").read_text(encoding="utf-8")
LESSON = Lesson(steps=100, lr=3e-3)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the first block of Python of the page."""
    match = re.search(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None
    path = tmp_path_factory.mktemp("page") / "grid_detector.py"
    path.write_text(match[1], encoding="utf-8")
    return path


@pytest.fixture
def detector(code: Path) -> Detector:
    built = runpy.run_path(str(code))["build"]()
    assert isinstance(built, Detector)
    return built.train()


def test_the_detector_of_the_page_is_at_most_sixty_lines_long(code: Path) -> None:
    match = re.search(r"^class .*?(?=^def )", code.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert match is not None
    assert len([line for line in match[0].splitlines() if line.strip()]) <= 60


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_detector_of_the_page_keeps_what_detectors_promise(
    detector: Detector, check: Callable[[Detector], None]
) -> None:
    check(detector)


def test_gradients_reach_all_of_it(detector: Detector) -> None:
    gradients_reach_every_learning_parameter(detector)


def test_it_learns_eight_images_and_padding_changes_little(detector: Detector) -> None:
    assert learn(detector, LESSON) > 90
    padding_changes_little(detector, LESSON)


def test_two_ranks_of_it_agree_when_one_has_no_box(code: Path) -> None:
    two_ranks_agree(f"{code}:build")


def test_the_page_prints_what_stands_below_its_code() -> None:
    results = run_blocks(PAGE)
    assert len(results) == 1
    for printed, expected in results:
        assert printed == expected
