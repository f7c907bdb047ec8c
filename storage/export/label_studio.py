"""Label Studio: tasks with predictions, to look through and correct.

In: labeled images. Out: `tasks-000000.json`, ... with `TASKS_A_FILE` tasks each, to be imported one by one, and
`labeling_config.xml`, the interface that the predictions belong to. Boxes are percents of the image, every box
and every prediction has a score (a prediction's is the lowest of its boxes, so that sorting by it brings doubtful
images up). An image labeled as empty is a task with an empty prediction, one not labeled is no task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

from storage.export.header import ExportHeader, xml_text
from storage.export.labeled_images import LabeledImages
from storage.export.queries import copy_labels

TASKS_A_FILE = 8192
"""A multiple of the images that come at once."""


def write_label_studio(
    folder: Path, batches: Iterable[LabeledImages], header: ExportHeader, *, image_url: str
) -> None:
    """Write tasks whose images lie at `image_url` + file name."""
    (folder / "labeling_config.xml").write_text(_config(header), encoding="utf-8")
    for number, part in enumerate(_parts(batches)):
        copy_labels(
            "label_studio",
            part,
            folder / f"tasks-{number:06d}.json",
            image_url=image_url,
            model_version=header.model_version,
            classes=[xml_text(name) for name in header.classes],  # as in the configuration
        )


def _parts(batches: Iterable[LabeledImages]) -> Iterator[list[LabeledImages]]:
    """Yield the images of each file; there is at least one file."""
    part: list[LabeledImages] = []
    first = True
    for batch in batches:
        part.append(batch)
        if sum(map(len, part)) >= TASKS_A_FILE:
            yield part
            part, first = [], False
    if part or first:
        yield part


def _config(header: ExportHeader) -> str:
    labels = "".join(f"    <Label value={quoteattr(xml_text(name))}/>\n" for name in header.classes)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <RectangleLabels name="label" toName="image">\n{labels}  </RectangleLabels>\n</View>\n'
    )
