"""Every layout that a tool exports is recognised and read: the same boxes, whichever tool wrote them."""

from __future__ import annotations

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
    assert images.classes == CLASSES
    assert len(images) == 2
    assert images.truth is not None
    assert images.truth.labels.counts().tolist() == [2, 0]
    np.testing.assert_allclose(images.truth.labels.image(0).boxes_N4, [*BOXES.values()], atol=1e-4)
    assert images.truth.labels.image(0).categories_N.tolist() == [0, 1]
    assert not images.problems
    for file_name in images.file_names:
        assert (Path(source.images_root) / file_name).is_file()
