"""Every layout that a tool exports is recognised and read: the same boxes, whichever tool wrote them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from storage.readers.open_source import detect_format, open_source
from tests.tool_sources import BOXES, CLASSES, LAYOUTS


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_as_a_tool_exports_it_is_read(tmp_path: Path, name: str) -> None:
    kind, write = LAYOUTS[name]
    write(tmp_path)
    assert detect_format(str(tmp_path)) == kind
    source = open_source(str(tmp_path))
    images = source.images
    assert {*CLASSES} <= {*images.classes}
    assert images.classes == CLASSES or kind == "voc"  # which may take VOC's own list
    assert len(images) == 2
    assert images.truth is not None
    assert images.truth.labels.counts().tolist() == [2, 0]
    first = images.truth.labels.image(0)
    tolerance = 0.25 if name == "cvat_voc" else 1e-4  # its corners have fractions
    np.testing.assert_allclose(first.boxes_N4, [*BOXES.values()], atol=tolerance)
    assert [images.classes[row] for row in first.categories_N] == [*CLASSES]
    assert not images.problems
    for file_name in images.file_names:
        assert (Path(source.images_root) / file_name).is_file()


ROW = re.compile(r"^\|(.*)\| `(\w+(?:`, `\w+)*)` \|$", re.MULTILINE)
README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_layout_and_what_lies_in_it(tmp_path: Path) -> None:
    rows = [(cells.split("|")[2], names.split("`, `")) for cells, names in ROW.findall(README)]
    assert sorted(name for _, names in rows for name in names) == sorted(LAYOUTS)
    for layout, names in rows:
        parts = re.findall(r"`([^`]+)`", layout)
        assert parts
        for name in names:
            LAYOUTS[name][1](tmp_path / name)
            missing = [part for part in parts if not [*(tmp_path / name).glob(part)]]
            assert not missing, f"{name} has no {', '.join(missing)}"
