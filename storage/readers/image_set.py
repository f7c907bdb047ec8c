"""What a source holds before it is sharded: images in order, classes, boxes where they are known.

In: an annotated source (read by `storage.readers.coco`, `storage.readers.voc`, `storage.readers.yolo`) or a plain
folder of images. Out: `ImageSet`. One can rely on this: image ids are unique, every box is finite, inside its image
and has an area, every category is an index into `classes`. What was repaired or left out on the way is in
`problems`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from storage import files
from storage.errors import SourceError
from storage.image_check import header_size
from storage.labels import Labels
from storage.problems import Problems

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif",
)  # fmt: skip
"""What counts as an image in a folder; each is checked when it is written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Federated:
    """What is known of the classes without a box, image by image, as class indices (LVIS, arXiv 1908.03195).

    Of any other class nothing is known: a detection of it is neither right nor wrong.
    """

    absent: tuple[tuple[int, ...], ...]
    """Classes that were looked for and are not in the image (`neg_category_ids`)."""
    not_exhaustive: tuple[tuple[int, ...], ...]
    """Classes of which not every object has a box (`not_exhaustive_category_ids`)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """The known boxes of some images."""

    labels: Labels
    areas: npt.NDArray[np.float64]
    """Shape (N,): annotated area of each box of `labels`; its width x height where none is annotated."""
    crowds: Labels
    """Regions of many objects, which an evaluation ignores and training never sees."""
    difficult: Labels | None = None
    """Objects that Pascal VOC calls difficult: an evaluation ignores them and training does not see them. None
    where the format knows no such thing."""
    federated: Federated | None = None
    """None where every class was looked for in every image."""

    def image(self, index: int) -> Truth:
        """Return the truth of one image."""
        return self.images(index, index + 1)

    def images(self, start: int, stop: int) -> Truth:
        """Return the truth of images `start` to `stop` (exclusive, or the last)."""
        stop = min(stop, len(self.labels))
        first, last = self.labels.offsets_B1[start], self.labels.offsets_B1[stop]
        return Truth(
            labels=self.labels.images(start, stop),
            areas=self.areas[first:last],
            crowds=self.crowds.images(start, stop),
            difficult=self.difficult and self.difficult.images(start, stop),
            federated=self.federated
            and Federated(
                absent=self.federated.absent[start:stop],
                not_exhaustive=self.federated.not_exhaustive[start:stop],
            ),
        )

    @staticmethod
    def concatenate(parts: Sequence[Truth]) -> Truth:
        """Return the truth of all parts of one source, in order."""
        difficult = [part.difficult for part in parts if part.difficult is not None]
        federated = [part.federated for part in parts if part.federated is not None]
        assert {len(difficult), len(federated)} <= {0, len(parts)}, "parts of one source"
        return Truth(
            labels=Labels.concatenate([part.labels for part in parts]),
            areas=np.concatenate([part.areas for part in parts]) if parts else np.zeros(0),
            crowds=Labels.concatenate([part.crowds for part in parts]),
            difficult=Labels.concatenate(difficult) if difficult else None,
            federated=Federated(
                absent=tuple(chain.from_iterable(one.absent for one in federated)),
                not_exhaustive=tuple(chain.from_iterable(one.not_exhaustive for one in federated)),
            )
            if federated
            else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageSet:
    """B images with their N boxes, as read from one source."""

    path: str
    sha256: str
    """Of the annotation file, or of the list of file names of a folder."""
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    sizes: npt.NDArray[np.int32]
    """Shape (B, 2): height and width as the source says; 0 where it does not say."""
    truth: Truth | None
    """The boxes of every image; None when the source holds no annotations at all."""
    split: Mapping[str, Any] | None
    """What `mixpl split` noted in the file's info."""
    problems: Problems
    num_ignored: int = 0
    """Files of a folder that are no images by their names."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth keeping in `dataset.json`, as plain values: the format, where it is not COCO's or a
    folder, and what only that format knows."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)


def read_folder(path: str, *, classes: Sequence[str] = (), category_ids: Sequence[int] = ()) -> ImageSet:
    """Take all images below a folder as unlabeled, sorted by name, numbered from 1."""
    names = files.walk_files(path)
    images = tuple(name for name in names if name.lower().endswith(IMAGE_SUFFIXES))
    if not images:
        raise SourceError(
            f"expected a folder of images, got {len(names)} files and no image among them: {path}; "
            f"known are {' '.join(IMAGE_SUFFIXES)}"
        )
    return ImageSet(
        path=path,
        sha256=hashlib.sha256("\n".join(images).encode()).hexdigest(),
        classes=tuple(classes),
        category_ids=tuple(category_ids),
        image_ids=tuple(range(1, len(images) + 1)),
        file_names=images,
        sizes=np.zeros((len(images), 2), np.int32),
        truth=None,
        split=None,
        problems=Problems(),
        num_ignored=len(names) - len(images),
    )


def size_of_file(location: str) -> tuple[int, int]:
    """Return height and width of an image file after EXIF rotation, from its head; (0, 0) where it has none."""
    try:
        if files.is_local(location):
            with files.local_path(location).open("rb") as file:
                return header_size(file)
        return header_size(io.BytesIO(files.read_bytes(location)))
    except OSError:
        return 0, 0
