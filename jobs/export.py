"""`mixpl export`: a round of labels in the format of another tool.

In: a round, or a folder above it. Out: a folder that pycocotools, YOLO trainers, VOC tools, Label Studio or
FiftyOne read. Boxes are the round's pseudo labels, or those that `--where` wants; scores, image ids and boxes
survive. Nothing that is stored is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from jobs.console.progress import Progress
from jobs.recipes.ranges import require_at_least
from storage.export.condition import Condition
from storage.export.export import Exported, Format, export_labels
from storage.export.source import find_source


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Which labels, in which format, and where to."""

    labels: tyro.conf.Positional[str]
    """A round's folder, a folder of rounds, or a folder above."""
    format: Format
    """Of which tool. fiftyone is a COCO folder with the image files in it."""
    out: str
    """Folder or URL to write; it must not exist."""
    where: str | None = None
    """Which boxes, as an SQL condition on the columns of the view boxes: "score > 0.7 and class = 'ring'".
    Left out: those above the round's score threshold. "true": all. An image stays when it loses its boxes."""
    round: int | None = None
    """Number of the round; the latest complete one by default."""
    data: str | None = None
    """Data set that was labeled, where it is not found by itself."""
    images: bool = False
    """Unpack the image files too; fiftyone always has them."""
    scores: bool = True
    """Scores in yolo; trainers want the five columns without."""
    image_url: str = ""
    """What stands before the file names in labelstudio: "https://host/images/"."""

    def __post_init__(self) -> None:
        """Check the range."""
        require_at_least(1, self, "round")


def export(config: ExportConfig) -> Exported:
    """Write the labels and return what was written. Raises InputError as `export_labels` does."""
    condition = None if config.where is None else Condition(config.where)
    source = find_source(config.labels, number=config.round, data=config.data)
    with Progress(config.format, total=source.info.num_images, unit="images", transient=True) as progress:
        written = export_labels(
            source,
            config.out,
            form=config.format,
            condition=condition,
            images=config.images or config.format == "fiftyone",
            scores=config.scores,
            image_url=config.image_url,
            on_images=progress.advance,
        )
    print(
        f"{written.path}: {written.num_boxes:,} boxes of {written.num_images:,} images with {written.selection} "
        f"({written.num_empty:,} images without a box), from {source.round.path}"
    )
    if written.num_renamed:
        print(f"{written.num_renamed:,} images have other file names here: see renamed in export.json")
    return written
