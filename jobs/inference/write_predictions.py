"""What was found in images, in a form that others read: pictures, COCO, JSON lines, Label Studio.

In: images with their boxes as they are predicted, in order; the classes. Out: a file or a folder. Guaranteed: it
appears when it is complete and not before; nothing is replaced. The formats are those of `mixpl export`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, assert_never

from jobs.pictures.overlays import write_overlays
from pipeline.samples.image_files import ImageFiles
from storage.errors import ConfigError
from storage.export.appearing import appearing_file, appearing_folder
from storage.export.coco import write_annotations, write_results
from storage.export.header import ExportHeader
from storage.export.label_studio import write_label_studio
from storage.export.labeled_images import LabeledImages
from storage.export.queries import copy_labels

PredictionFormat = Literal["overlays", "coco", "coco-results", "jsonl", "labelstudio"]

_ENDINGS: dict[str, PredictionFormat] = {".json": "coco", ".jsonl": "jsonl"}
_LAST_FILES = {"coco-results": "images.json", "labelstudio": "labeling_config.xml"}
"""What an object store gets last."""


def format_of(out: str, asked: PredictionFormat | None) -> PredictionFormat:
    """Return the format asked for, or the one that the ending of the output says. Raises ConfigError."""
    suffix = Path(out).suffix.lower()
    by_ending = _ENDINGS.get(suffix)
    is_file = by_ending is not None
    if asked is None:
        if suffix and not is_file:
            raise ConfigError(
                f"expected an output that ends in .json (COCO), .jsonl (JSON lines) or nothing (a folder of "
                f"pictures), got {out}; say which with --format"
            )
        return by_ending or "overlays"
    if asked in _ENDINGS.values() and by_ending != asked:
        ending = next(ending for ending, form in _ENDINGS.items() if form == asked)
        raise ConfigError(f"expected an output that ends in {ending} with --format {asked}, got {out}")
    if asked not in _ENDINGS.values() and is_file:
        raise ConfigError(f"expected the name of a folder with --format {asked}, got {out}")
    return asked


def write_predictions(
    out: str,
    batches: Iterable[LabeledImages],
    header: ExportHeader,
    *,
    form: PredictionFormat,
    images: ImageFiles,
    image_url: str = "",
) -> None:
    """Write what is in `batches` to `out`.

    `images` are those that the rows of the batches speak of; `image_url` is for labelstudio.
    Raises OSError when a file cannot be written, and what the batches raise.
    """
    is_file = form in _ENDINGS.values()
    appearing = appearing_file(out) if is_file else appearing_folder(out, last=_LAST_FILES.get(form, ""))
    with appearing as path:
        match form:
            case "coco":
                write_annotations(path, batches, header)
            case "jsonl":
                copy_labels("json_lines", batches, path, classes=list(header.classes))
            case "overlays":
                write_overlays(path, batches, header.classes, images=images)
            case "coco-results":
                write_results(path, batches, header)
            case "labelstudio":
                write_label_studio(path, batches, header, image_url=image_url)
            case _:
                assert_never(form)
