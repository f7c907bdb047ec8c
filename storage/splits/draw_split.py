"""Which images of a data set are labeled: the split families of the field.

In: the image ids of a COCO file, percent, fold. Out: `Split`: labeled and unlabeled ids, and a hash by
which two runs can prove that they used the same images; and the documents of its three parts. Pure
functions of their arguments.

published  the draw of the usual split tool (mmdetection's, behind the published MixPL figures): `int(percent
           / 100 * n)` draws WITH replacement over the images in file order, legacy generator seeded with the
           fold. "10 %" of COCO so holds about 9.52 % of the images.
exact      `round(percent / 100 * n)` images without replacement, over the sorted ids, from (seed, fold).
imported   the ids of a list that another project published; see `storage.splits.published_list`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from storage.errors import ConfigError
from storage.readers.coco_values import whole_number

Family = Literal["published", "exact"]
"""Families that are drawn."""
AnyFamily = Literal["published", "exact", "imported"]

UNLABELED_IMAGE_FIELDS = (
    "id", "file_name", "width", "height", "license", "coco_url", "flickr_url", "date_captured",
)  # fmt: skip
"""All that stays of an unlabeled image: some formats note its classes in the image record too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Which images are labeled."""

    family: AnyFamily
    percent: float
    fold: int
    seed: int
    num_images: int
    num_draws: int
    """Draws of the family; more than the labeled images where it draws with replacement."""
    labeled_ids: tuple[int, ...]
    """Ascending, each once."""
    unlabeled_ids: tuple[int, ...]
    """Ascending: all the others."""

    @property
    def hash(self) -> str:
        """Return the sha256 over family, percent, fold, seed and both lists of ids."""
        content = {**self._draw(), "labeled_ids": self.labeled_ids, "unlabeled_ids": self.unlabeled_ids}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def ids_hash(self) -> str:
        """Return the sha256 of the labeled ids, ascending, one a line: `sort -nu ids.txt | sha256sum`."""
        return hashlib.sha256("".join(f"{image_id}\n" for image_id in self.labeled_ids).encode()).hexdigest()

    def note(self, part: str) -> dict[str, Any]:
        """Return what a part of the split says of itself; it travels into `dataset.json`."""
        counts = {"num_images": self.num_images, "num_labeled": len(self.labeled_ids)}
        return {**self._draw(), "hash": self.hash, "part": part, **counts}

    def description(self, *, source: str, source_sha256: str) -> dict[str, Any]:
        """Return what `split.json` says of the split of an annotation file."""
        return {
            **self._draw(),
            "hash": self.hash,
            "ids_hash": self.ids_hash,
            "source": source,
            "source_sha256": source_sha256,
            "num_images": self.num_images,
            "num_draws": self.num_draws,
            "num_labeled": len(self.labeled_ids),
            "num_unlabeled": len(self.unlabeled_ids),
            "labeled_ids": self.labeled_ids,
            "unlabeled_ids": self.unlabeled_ids,
        }

    def _draw(self) -> dict[str, Any]:
        return {"family": self.family, "percent": float(self.percent), "fold": self.fold, "seed": self.seed}


def draw_split(
    image_ids: Sequence[int], *, family: Family, percent: float, fold: int, seed: int = 0
) -> Split:
    """Return the split of images given by id in file order.

    The published family knows no seed but the fold. Raises ConfigError when a part would be empty.
    """
    if not 0 < percent < 100:
        raise ConfigError(f"expected a percent between 0 and 100, got {percent}; all images need no split")
    if fold < 0 or seed < 0:
        raise ConfigError(f"expected a fold and a seed of 0 or more, got {fold} and {seed}")
    ids = np.array(image_ids, np.int64)
    assert len(np.unique(ids)) == len(ids), "image ids are unique"
    match family:
        case "published":
            draws, seed = _published(ids, percent, fold), fold
        case "exact":
            draws = _exact(np.sort(ids), percent, fold, seed)
    labeled = np.unique(draws)
    if not 0 < len(labeled) < len(ids):
        raise ConfigError(
            f"expected at least one labeled and one unlabeled image, got {len(labeled)} labeled of "
            f"{len(ids)}: {percent} % in the {family} family; choose another percent"
        )
    return Split(
        family=family,
        percent=percent,
        fold=fold,
        seed=seed,
        num_images=len(ids),
        num_draws=len(draws),
        labeled_ids=tuple(labeled.tolist()),
        unlabeled_ids=tuple(np.setdiff1d(ids, labeled).tolist()),
    )


def split_documents(
    document: Mapping[str, Any], images: Sequence[Mapping[str, Any]], split: Split
) -> dict[str, dict[str, Any]]:
    """Return the COCO documents of the parts: `labeled`, `unlabeled` and `unlabeled-truth`.

    `unlabeled` has no annotations and nothing else that tells what is in an image. Images keep their order.
    """
    labeled = set(split.labeled_ids)
    inside = [image for image in images if image["id"] in labeled]
    outside = [image for image in images if image["id"] not in labeled]
    bare = [{key: image[key] for key in UNLABELED_IMAGE_FIELDS if key in image} for image in outside]
    annotations = document.get("annotations", [])
    unlabeled = {image["id"] for image in outside}
    inside_annotations = [entry for entry in annotations if annotated_image(entry) in labeled]
    outside_annotations = [entry for entry in annotations if annotated_image(entry) in unlabeled]
    return {
        "labeled": _part(document, inside, split, "labeled") | {"annotations": inside_annotations},
        "unlabeled": _part(document, bare, split, "unlabeled"),
        "unlabeled-truth": _part(document, outside, split, "unlabeled-truth")
        | {"annotations": outside_annotations},
    }


def annotated_image(annotation: object) -> int | None:
    """Return the id of the image an annotation belongs to, or None where it names none."""
    return whole_number(annotation.get("image_id")) if isinstance(annotation, dict) else None


def _published(ids: npt.NDArray[np.int64], percent: float, fold: int) -> npt.NDArray[np.int64]:
    # The published lists come from numpy's legacy generator, so this draw needs it.
    generator = np.random.RandomState(fold)
    indices = generator.choice(len(ids), size=int(percent / 100.0 * len(ids)))
    return np.asarray(ids[indices])


def _exact(ids: npt.NDArray[np.int64], percent: float, fold: int, seed: int) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng([seed, fold])
    return generator.choice(ids, size=round(percent / 100.0 * len(ids)), replace=False)


def _part(
    document: Mapping[str, Any], images: Sequence[Mapping[str, Any]], split: Split, part: str
) -> dict[str, Any]:
    info = document.get("info")
    fields = dict(info) if isinstance(info, dict) else {}
    return {
        "info": fields | {"split": split.note(part)},
        "licenses": document.get("licenses", []),
        "categories": document.get("categories", []),
        "images": list(images),
    }
