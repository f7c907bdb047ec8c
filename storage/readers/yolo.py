"""Reader of YOLO data sets: `data.yaml`, images, and a text file of boxes beside each image.

In: a `data.yaml` (or the folder of one) and the name of one of its subsets (train, val, test). A subset is a
folder of images, a text file that lists them, or several of these. The labels of `…/images/a.jpg` lie in
`…/labels/a.txt`, one line a box: class index, centre, width and height as shares of the image, or the class and the
corners of a polygon; what else may stand there says `storage.readers.yolo_columns`. Out: `ImageSet`, images
sorted by name and numbered from 1, category ids as in the file, file names relative to `root`.

An image without a label file is one without objects, as YOLO's trainers take it; where no image has one the set is
unlabeled. What is wrong in single entries is counted and named in `problems`, beside what
`storage.readers.clean_annotations` decides:

    malformed line                    no class and numbers that mean a box, a score outside 0..1: dropped
    unknown class                     dropped
    line twice                        the first is kept
    image without a readable size     its boxes are dropped; writing shards leaves the image out too
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations, truth_of
from storage.readers.find_file import plain_stem
from storage.readers.folder import size_of_file
from storage.readers.image_set import ImageSet
from storage.readers.yolo_columns import Columns, read_boxes
from storage.readers.yolo_images import image_names
from storage.readers.yolo_labels import label_path, read_label_texts, text_files_below
from storage.readers.yolo_layouts import no_images, read_head
from storage.readers.yolo_lines import Line, parse_lines
from storage.readers.yolo_yaml import YoloFile


def read_yolo(
    path: str, *, subset: str = "train", columns: Columns = "auto", frame: Frame = "upright"
) -> tuple[ImageSet, str]:
    """Read one subset; return it and the folder that its file names are relative to.

    `columns` says what the numbers behind a class are, where the set does not tell; `frame` of what the boxes are
    shares. Raises SourceError when nothing names its classes, there is no such subset, or no image in it.
    """
    head = read_head(path)
    problems = Problems()
    names = image_names(head, subset, problems)
    texts = read_label_texts(head.root, names, problems)
    digest = hashlib.sha256(repr((names, sorted(head.names.items()))).encode())
    for text in texts:
        data = None if text is None else text.encode()
        digest.update(b"-" if data is None else b"%d " % len(data) + data)
    labeled = any(text is not None for text in texts)
    if not labeled:
        _refuse_lost_labels(head, names, problems)
    sizes_B2 = np.zeros((len(names), 2), np.int32)
    if labeled:
        sizes_B2[:] = [size_of_file(files.join(head.root, name), frame=frame) for name in names]
    missing = sum(text is None for text in texts)
    source = ImageSet(
        path=head.path,
        sha256=digest.hexdigest(),
        classes=tuple(head.names.values()),
        category_ids=tuple(head.names),
        image_ids=tuple(range(1, len(names) + 1)),
        file_names=tuple(names),
        sizes=sizes_B2,
        truth=truth_of(_annotations(head, names, texts, sizes_B2, columns, problems), sizes_B2, problems)
        if labeled
        else None,
        split=None,
        problems=problems,
        frame=frame,
        num_annotations=sum(len(text.split("\n")) for text in texts if text and text.strip()),
        notes={"format": "yolo", "subset": subset}
        | ({"images_without_label_file": missing} if labeled and missing else {}),
    )
    return source, head.root


def _refuse_lost_labels(head: YoloFile, names: list[str], problems: Problems) -> None:
    """Raise SourceError where no image has a label file, and yet files that may be such are there."""
    if not any(files.exists(files.join(head.root, name)) for name in names):
        raise no_images(head)
    looked = label_path(names[0])
    stems = {plain_stem(name) for name in names}
    others = [name for name in text_files_below(head.root) if plain_stem(name) in stems]
    if others:
        raise SourceError(
            f"expected label files of {len(names):,} images, got no label file found: {head.path}; looked for "
            f"{looked}; {len(others):,} *.txt of their names lie elsewhere, such as {others[0]}: move them beside, "
            "or use --format folder if the images are meant without labels"
        )
    problems.remark("no label file found (the images are taken as unlabeled); looked for", looked)


def _annotations(
    head: YoloFile,
    names: list[str],
    texts: list[str | None],
    sizes_B2: npt.NDArray[np.int32],
    columns: Columns,
    problems: Problems,
) -> Annotations:
    index = {number: row for row, number in enumerate(head.names)}
    paths = [label_path(name) for name in names]
    lines: list[Line] = []
    for image, text in enumerate(texts):
        lines += parse_lines(image, paths[image], text or "", index, problems)
        if text and not sizes_B2[image].all():
            problems.add("image without a readable size (its boxes dropped)", names[image])
    boxes = read_boxes(
        lines,
        where=lambda line: f"{paths[line.image]}:{line.row}",
        num_key_values=head.num_key_values,
        columns=columns,
        problems=problems,
    )
    images_N = np.array([line.image for line in lines], np.int64)
    categories_N = np.array([index[line.category] for line in lines], np.int32)
    rows_A = np.flatnonzero(boxes.sound_N & (sizes_B2[images_N] > 0).all(axis=1))
    images_A = images_N[rows_A]

    def describe(row: int) -> str:
        line, corners = lines[rows_A[row]], boxes.corners_N4[rows_A[row]].tolist()
        return f"{paths[line.image]}:{line.row}: class {line.category} at {corners}"

    return Annotations(
        images_A=images_A,
        categories_A=categories_N[rows_A],
        boxes_A4=boxes.corners_N4[rows_A] * np.tile(sizes_B2[images_A][:, ::-1], 2),
        areas_A=np.full(len(rows_A), np.nan),
        scores_A=boxes.scores_N[rows_A],
        crowd_A=np.zeros(len(rows_A), bool),
        describe=describe,
    )
