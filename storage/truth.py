"""Ground truth: the known boxes of some images, and what is known of the classes without one.

In: labels, areas and regions apart, as a reader or a truth table gives them. Out: `Truth`, which is sliced image by
image and joined shard by shard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from storage import boxes
from storage.labels import Labels


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

    def upright(self, *, orientation: int, width: int, height: int) -> Truth:
        """Return the truth of one stored image of this size, once it is turned as EXIF says."""

        def turned(labels: Labels) -> Labels:
            boxes_N4 = boxes.upright(labels.boxes_N4, orientation=orientation, width=width, height=height)
            return replace(labels, boxes_N4=boxes_N4)

        return replace(
            self,
            labels=turned(self.labels),
            crowds=turned(self.crowds),
            difficult=self.difficult and turned(self.difficult),
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
                absent=tuple(chain.from_iterable(part.absent for part in federated)),
                not_exhaustive=tuple(chain.from_iterable(part.not_exhaustive for part in federated)),
            )
            if federated
            else None,
        )
