"""Reader of a plain folder of images, and what the readers of other folders do with single files too.

In: a folder, local or remote. Out: `ImageSet` of unlabeled images, sorted by name and numbered from 1; the size of
one image file.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame, header_size
from storage.problems import Problems
from storage.readers.image_set import ImageSet
from storage.regular import open_regular

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif",
)  # fmt: skip
"""What counts as an image in a folder; each is checked when it is written."""


def read_folder(path: str) -> ImageSet:
    """Take all images below a folder as unlabeled, sorted by name, numbered from 1."""
    names = files.walk_files(path)
    images = tuple(name for name in names if name.lower().endswith(IMAGE_SUFFIXES))
    if not images:
        raise SourceError(
            f"expected a folder of images, got {len(names)} files and no image among them: {path}; "
            f"give one with files that end in {' '.join(IMAGE_SUFFIXES)}"
        )
    return ImageSet(
        path=path,
        sha256=hashlib.sha256("\n".join(images).encode()).hexdigest(),
        classes=(),
        category_ids=(),
        image_ids=tuple(range(1, len(images) + 1)),
        file_names=images,
        sizes=np.zeros((len(images), 2), np.int32),
        truth=None,
        split=None,
        problems=Problems(),
        num_ignored=len(names) - len(images),
    )


def size_of_file(location: str, *, frame: Frame = "upright") -> tuple[int, int]:
    """Return height and width of an image file in this frame, from its head; (0, 0) where it has none."""
    try:
        if files.is_local(location):
            with open_regular(files.local_path(location)) as file:
                return header_size(file, frame=frame)
        return header_size(io.BytesIO(files.read_bytes(location)), frame=frame)
    except OSError:
        return 0, 0
