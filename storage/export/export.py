"""A round of labels as a folder in another format.

In: a `LabelSource`, a format, which boxes. Out: the folder, with `export.json` that says what it is: format, round,
condition, counts, provenance. Guarantees: the folder appears when it is complete and not before (a remote one is
complete when `export.json` is there); nothing is replaced; a name that cannot be a file's is written as in URLs,
which `export.json` says (`renamed`); the same labels give the same bytes; one label table
is in memory at a time; what cannot be written is an OSError that names it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from storage.errors import ConfigError
from storage.export.appearing import appearing_folder, require_new
from storage.export.coco import write_annotations, write_results
from storage.export.condition import Condition
from storage.export.header import ExportHeader
from storage.export.image_files import named, safe_names, unpacked
from storage.export.label_studio import write_label_studio
from storage.export.labeled_images import LabeledImages
from storage.export.read_round import LabelSource, labeled_images
from storage.export.voc import write_voc
from storage.export.yolo import write_yolo

Format = Literal["coco-results", "coco", "yolo", "voc", "labelstudio", "fiftyone"]

EXPORT_FILE = "export.json"
SCHEMA_VERSION = 1
IMAGE_FOLDERS = {"coco": "images", "yolo": "images", "voc": "JPEGImages", "fiftyone": "data"}
"""Where each format looks for image files."""
FILE_AN_IMAGE = ("yolo", "voc")
"""Formats that keep a label file an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    path: str
    num_images: int
    """Labeled images, those without a box too."""
    num_empty: int
    num_boxes: int
    num_renamed: int
    """Images of the data set whose name cannot be a file's; `export.json` says which."""
    selection: str


def export_labels(
    source: LabelSource,
    out: str,
    *,
    form: Format,
    condition: Condition | None = None,
    images: bool = False,
    scores: bool = True,
    image_url: str = "",
    on_images: Callable[[int], object] | None = None,
) -> Exported:
    """Write the labels of a round to the folder `out`, which must not exist.

    `condition` chooses boxes; left out, they are the round's pseudo labels. `images` unpacks the image files too;
    `scores` may be left out of yolo; `image_url` stands before file names in labelstudio; `on_images` hears of
    progress. Raises ConfigError when the folder exists, StoreError when two images would share a file or the round
    is damaged, OSError when a file cannot be written.
    """
    _check(form, out, images=images, scores=scores, image_url=image_url)
    own_names = names = source.dataset.images()["file_name"]
    if images or form in FILE_AN_IMAGE:
        names = safe_names(source.dataset, stems_differ=form in FILE_AN_IMAGE)
    changed = pc.not_equal(names, own_names)
    renamed = dict(zip(names.filter(changed).to_pylist(), own_names.filter(changed).to_pylist(), strict=True))
    selection = _selection(source, condition)
    header = _header(source, selection)
    counts = _Counts()
    with appearing_folder(out, last=EXPORT_FILE) as folder:
        batches = counts.counted(named(labeled_images(source, condition), names), on_images)
        if images:
            batches = unpacked(batches, folder / IMAGE_FOLDERS[form], source.dataset)
        _write(folder, batches, header, form=form, scores=scores, image_url=image_url)
        _describe(folder, source, header, counts, form, selection, renamed)
    return Exported(path=out, selection=selection, num_renamed=len(renamed), **counts.as_json())


def _check(form: Format, out: str, *, images: bool, scores: bool, image_url: str) -> None:
    if images and form not in IMAGE_FOLDERS:
        raise ConfigError(f"expected images with {', '.join(IMAGE_FOLDERS)} only, got format {form}")
    if not scores and form != "yolo":
        raise ConfigError(f"expected scores to be left out of yolo only, got format {form}")
    if image_url and form != "labelstudio":
        raise ConfigError(f"expected an image URL for labelstudio only, got format {form}")
    require_new(out)


def _selection(source: LabelSource, condition: Condition | None) -> str:
    """Return which boxes leave, in words: the condition, or the rule of the round."""
    if condition is not None:
        return condition.where
    if source.round.thresholds() is not None:
        return "score > the threshold of their class"
    return f"score > {source.info.score_threshold:g}"


def _header(source: LabelSource, selection: str) -> ExportHeader:
    info = source.info
    weights_hash = str(info.provenance.get("weights_hash") or "")
    return ExportHeader(
        classes=info.classes,
        category_ids=source.category_ids,
        dataset=info.dataset_name,
        description=f"Pseudo labels of {info.dataset_name}, round {info.number}: boxes with {selection}",
        model_version=f"round-{info.number}" + (f"-{weights_hash[:8]}" if weights_hash else ""),
    )


def _write(
    folder: Path,
    batches: Iterable[LabeledImages],
    header: ExportHeader,
    *,
    form: Format,
    scores: bool,
    image_url: str,
) -> None:
    match form:
        case "coco-results":
            write_results(folder, batches, header)
        case "coco":
            write_annotations(folder / "annotations.json", batches, header)
        case "fiftyone":
            write_annotations(folder / "labels.json", batches, header)
        case "yolo":
            write_yolo(folder, batches, header, scores=scores)
        case "voc":
            write_voc(folder, batches, header)
        case "labelstudio":
            write_label_studio(folder, batches, header, image_url=image_url)


class _Counts:
    """Counts what passes by."""

    def __init__(self) -> None:
        self._num_images = self._num_empty = self._num_boxes = 0

    def counted(
        self, batches: Iterable[LabeledImages], on_images: Callable[[int], object] | None
    ) -> Iterator[LabeledImages]:
        """Pass the images on."""
        for batch in batches:
            yield batch
            self._num_images += len(batch)
            self._num_empty += int((batch.labels.counts() == 0).sum())
            self._num_boxes += len(batch.labels.boxes_N4)
            if on_images is not None:
                on_images(len(batch))

    def as_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return {
            "num_images": self._num_images,
            "num_empty": self._num_empty,
            "num_boxes": self._num_boxes,
        }


def _describe(
    folder: Path,
    source: LabelSource,
    header: ExportHeader,
    counts: _Counts,
    form: Format,
    selection: str,
    renamed: dict[str, str],
) -> None:
    about: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "format": form,
        "round": source.info.number,
        "dataset": source.info.dataset_name,
        "dataset_hash": source.info.dataset_hash,
        "classes": header.classes,
        "category_ids": header.category_ids,
        "selection": selection,
        **counts.as_json(),
        **({"renamed": renamed} if renamed else {}),
        "provenance": dict(source.info.provenance),
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (folder / EXPORT_FILE).write_text(text, encoding="utf-8")
