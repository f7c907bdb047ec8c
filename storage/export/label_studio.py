"""Label Studio: tasks with predictions, to look through and correct.

In: labeled images. Out: `tasks-000000.json`, ... with `TASKS_A_FILE` tasks each, to be imported one by one, and
`labeling_config.xml`, the interface that the predictions belong to. Boxes are percents of the image, every box
and every prediction has a score (a prediction's is the lowest of its boxes, so that sorting by it brings doubtful
images up). An image labeled as empty is a task with an empty prediction, one not labeled is no task.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from storage.export.header import ExportHeader
from storage.export.labeled_images import LabeledImages
from storage.export.text import exact_decimals, joined, names, quoted, rounded, shortest

DIGITS = 9
TASKS_A_FILE = 8192
"""A multiple of the images that come at once."""
SIDES = ("x", "y", "width", "height")


def write_label_studio(
    folder: Path, batches: Iterable[LabeledImages], header: ExportHeader, *, image_url: str
) -> None:
    """Write tasks whose images lie at `image_url` + file name."""
    (folder / "labeling_config.xml").write_text(_config(header), encoding="utf-8")
    tasks: list[str] = []
    num_files = 0
    for batch in batches:
        tasks += _tasks(batch, header, image_url)
        if len(tasks) >= TASKS_A_FILE:
            _write(folder, num_files, tasks)
            tasks, num_files = [], num_files + 1
    if tasks or not num_files:
        _write(folder, num_files, tasks)


def _write(folder: Path, number: int, tasks: list[str]) -> None:
    text = "[\n" + ",\n".join(tasks) + "\n]\n"
    (folder / f"tasks-{number:06d}.json").write_text(text, encoding="utf-8")


def _tasks(batch: LabeledImages, header: ExportHeader, image_url: str) -> list[str]:
    results, labels = _results(batch, header), batch.labels
    version = quoted(header.model_version)
    tasks = []
    for index, (image_id, name) in enumerate(zip(batch.image_ids.tolist(), batch.file_names, strict=True)):
        first, last = labels.offsets_B1[index : index + 2].tolist()
        score = labels.scores_N[first:last].min(initial=1.0)
        tasks.append(
            f'{{"data": {{"image": {quoted(image_url + quote(name))}, "image_id": {image_id}, '
            f'"file_name": {quoted(name)}}}, "predictions": [{{"model_version": {version}, "score": {score!s}, '
            f'"result": [{", ".join(results[first:last])}]}}]}}'
        )
    return tasks


def _results(batch: LabeledImages, header: ExportHeader) -> list[str]:
    labels = batch.labels
    heights_N, widths_N = np.repeat(batch.sizes, labels.counts(), axis=0).T
    exact_N4 = exact_decimals(labels.boxes_N4)
    corners_N4 = exact_N4 / np.stack([widths_N, heights_N, widths_N, heights_N], axis=1) * 100
    percents_N4 = np.concatenate([corners_N4[:, :2], corners_N4[:, 2:] - corners_N4[:, :2]], axis=1)
    numbers_N = np.arange(len(labels.boxes_N4)) - np.repeat(labels.offsets_B1[:-1], labels.counts())
    sides = [
        part
        for side, name in enumerate(SIDES)
        for part in (f'"{name}": ', rounded(percents_N4[:, side], DIGITS), ", ")
    ]
    classes = names(tuple(quoted(name) for name in header.classes), labels.categories_N)
    return joined(
        *('{"id": "box-', shortest(numbers_N), '", "type": "rectanglelabels", "from_name": "label", '),
        *('"to_name": "image", "original_width": ', shortest(widths_N)),
        *(', "original_height": ', shortest(heights_N), ', "image_rotation": 0, "score": '),
        *(shortest(labels.scores_N), ', "value": {', *sides, '"rotation": 0, "rectanglelabels": ['),
        *(classes, "]}}"),
    )


def _config(header: ExportHeader) -> str:
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in header.classes)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <RectangleLabels name="label" toName="image">\n{labels}  </RectangleLabels>\n</View>\n'
    )
