"""A folder of images: its images sorted and numbered, everything else counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.errors import SourceError
from storage.readers.folder import read_folder


def test_a_folder_gives_its_images_sorted_and_numbered(tmp_path: Path) -> None:
    for name in ("b.JPG", "sub/a.png", "a.jpeg", "readme.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    source = read_folder(str(tmp_path))
    assert source.file_names == ("a.jpeg", "b.JPG", "sub/a.png")
    assert source.image_ids == (1, 2, 3)
    assert source.truth is None
    assert source.num_ignored == 1
    np.testing.assert_array_equal(source.sizes, np.zeros((3, 2)))


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_bytes(b"")
    with pytest.raises(SourceError, match="got 1 files and no image among them"):
        read_folder(str(tmp_path))
