"""One shard: a few hundred images into a tar, with the tables beside it.

In: a `ShardTask`: names and labels of the images of one shard. Out, in this order: the tar, its truth
tables, and last the part file, whose presence says that the shard is complete. Guarantees: the same task
gives the same bytes whatever happened before; image bytes are kept as they are; an image that does not
decode is left out with its reason. Readable by any webdataset user: `KEY.jpg` and `KEY.json` of a sample
stand next to each other.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage import files
from storage.dataset.dataset import IMAGE_SCHEMA, PARTS_FOLDER
from storage.errors import InputError, SourceError
from storage.image_check import CheckedImage, Frame, check_image
from storage.json_head import HeadFormat
from storage.readers.find_file import FileFinder
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table
from storage.tables.parquet import read_parquet, write_parquet
from storage.tables.truth_table import truth_table, with_truth_columns
from storage.truth import Truth

RENAMED_REMARK = "image under another spelling of its name (taken)"
TURNED_REMARK = (
    "image turned by its EXIF orientation (boxes taken as of the upright image; else --boxes stored)"
)
TURNED_WITH_REMARK = "image turned by its EXIF orientation (its boxes turned with it)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardTask:
    """All that a worker needs to write one shard."""

    root: str
    stem: str
    images_root: str
    image_ids: tuple[int, ...]
    file_names: tuple[str, ...]
    sizes: npt.NDArray[np.int32]
    """(B, 2) height and width as annotated, 0 where not."""
    truth: Truth | None
    """Ground truth of a labeled set; goes into the tar too."""
    hidden: Truth | None
    """Truth kept apart for analysis; goes nowhere else."""
    frame: Frame
    """What sizes and boxes are of."""
    num_classes: int
    split_part: str | None
    provenance: Mapping[str, Any]
    strict: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShardPart:
    """A finished shard: its rows of the image table, what was left out, and its number of boxes."""

    images: pa.Table
    skipped: list[dict[str, Any]]
    num_boxes: int
    remarks: dict[str, list[str]] = field(default_factory=dict)
    """Images of which something is worth knowing, by what that is."""


_PART = HeadFormat(
    kind=ShardPart, what="a finished shard", remedy="delete it and run the same `mixpl shard` again"
)


def write_shard(task: ShardTask, finder: FileFinder) -> ShardPart:
    """Write a shard and its part file, or return the part of one that is already complete.

    `finder` looks into the folder of the images. Raises SourceError on the first bad image when `task.strict`.
    """
    finished = read_part(task)
    if finished is not None and not (task.strict and finished.skipped):
        return finished
    tar = _Tar()
    rows: list[dict[str, Any]] = []
    kept: dict[int, CheckedImage] = {}
    skipped: list[dict[str, Any]] = []
    remarks: dict[str, list[str]] = {}
    for index, (image_id, name) in enumerate(zip(task.image_ids, task.file_names, strict=True)):
        try:
            found, data, checked = _load(task, finder, index)
        except InputError as error:
            if task.strict:
                raise SourceError(
                    f"expected only sound images (--strict), got {error}: {name}, image {image_id}; "
                    "repair it, or leave out --strict to skip it"
                ) from None
            skipped.append({"image_id": image_id, "file_name": name, "reason": str(error)})
            continue
        if found != name:
            remarks.setdefault(RENAMED_REMARK, []).append(f"{name} is {found}")
        remark = _turned_remark(task, checked, index)
        if remark is not None:
            remarks.setdefault(remark, []).append(f"{found} (orientation {checked.orientation})")
        rows.append(_add_sample(task, tar, index, found, data, checked))
        kept[index] = checked
    images = pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA)
    if rows:
        files.write_atomic(files.join(task.root, f"{task.stem}.tar"), tar.close())
    num_boxes = _write_truth(task, "ground_truth", task.truth, images, kept)
    _write_truth(task, "hidden_truth", task.hidden, images, kept)
    part = ShardPart(images=images, skipped=skipped, num_boxes=num_boxes, remarks=remarks)
    _write_part(task, part)
    return part


def read_part(task: ShardTask) -> ShardPart | None:
    """Return what a finished shard left behind, or None when it is not complete."""
    location = _part_location(task)
    if not files.exists(location):
        return None
    images = read_parquet(location)
    if len(images) and not files.exists(files.join(task.root, f"{task.stem}.tar")):
        return None
    metadata = images.schema.metadata[b"mixpl"]
    return _PART.parse(metadata, where=location, images=images.replace_schema_metadata(None))


def _load(task: ShardTask, finder: FileFinder, index: int) -> tuple[str, bytes, CheckedImage]:
    """Return the name under which the image lies below the folder, its bytes, and what is known of it."""
    name = task.file_names[index]
    try:
        if ".." in name.split("/"):
            raise SourceError("the file name leaves the image folder")
        if name.startswith("/"):
            name = _found(finder, name, "the file name leaves the image folder")
        try:
            data = files.read_bytes(files.join(task.images_root, name))
        except FileNotFoundError:
            name = _found(finder, name, "missing file")
            data = files.read_bytes(files.join(task.images_root, name))
    except OSError as error:
        raise SourceError(f"unreadable file: {error.strerror or error}") from None
    height, width = task.sizes[index].tolist()
    return name, data, check_image(data, width=width, height=height, frame=task.frame)


def _turned_remark(task: ShardTask, checked: CheckedImage, index: int) -> str | None:
    """Return what is worth knowing of an image with boxes that EXIF turns.

    Whether its boxes are of the upright image no size tells where both are alike, or none is annotated.
    """
    if (task.truth is None and task.hidden is None) or checked.orientation == 1:
        return None
    if task.frame == "stored":
        return TURNED_WITH_REMARK
    return TURNED_REMARK if checked.keeps_its_size or not task.sizes[index].all() else None


def _upright(task: ShardTask, truth: Truth, index: int, checked: CheckedImage) -> Truth:
    """Return the truth of one image, its boxes on the upright image."""
    own = truth.image(index)
    if task.frame == "upright" or checked.orientation == 1:
        return own
    width, height = checked.stored_size
    return own.upright(orientation=checked.orientation, width=width, height=height)


def _found(finder: FileFinder, name: str, reason: str) -> str:
    """Return the file that a name of another system means. Raises SourceError with the names that come near."""
    found, near = finder.find(name)
    if found is None:
        raise SourceError(f"{reason}; near it lie {', '.join(near)}" if near else reason)
    return found


def _add_sample(
    task: ShardTask, tar: _Tar, index: int, file_name: str, data: bytes, checked: CheckedImage
) -> dict[str, Any]:
    image_id = task.image_ids[index]
    key = f"{image_id:012d}"
    description: dict[str, Any] = {
        "image_id": image_id,
        "file_name": file_name,
        "width": checked.width,
        "height": checked.height,
    }
    if task.truth is not None:
        labels = _upright(task, task.truth, index, checked).labels
        # str() of a float32 is its shortest text: 10.1, not 10.100000381469727
        description["boxes"] = [[float(str(side)) for side in box] for box in labels.boxes_N4]
        description["categories"] = labels.categories_N.tolist()
    offset = tar.add(f"{key}.{checked.extension}", data)
    tar.add(f"{key}.json", json.dumps(description, ensure_ascii=False).encode())
    return {
        "key": key,
        "image_id": image_id,
        "file_name": file_name,
        "shard": f"{task.stem}.tar",
        "offset": offset,
        "size": len(data),
        "width": checked.width,
        "height": checked.height,
        "sha256": hashlib.sha256(data).hexdigest(),
        "split": task.split_part,
    }


def _write_truth(
    task: ShardTask, folder: str, truth: Truth | None, images: pa.Table, kept: Mapping[int, CheckedImage]
) -> int:
    if truth is None or not kept:
        return 0
    truths = Truth.concatenate([_upright(task, truth, index, checked) for index, checked in kept.items()])
    sizes_B2 = np.stack([images["height"].to_numpy(), images["width"].to_numpy()], axis=1)
    keys, image_ids = images["key"].to_pylist(), images["image_id"].to_pylist()
    table = truth_table(
        label_table(keys, image_ids, sizes_B2, truths.labels), areas_N=truths.areas, crowds=truths.crowds
    )
    store = LabelStore(files.join(task.root, folder), num_classes=task.num_classes)
    store.write(task.stem, with_truth_columns(table, truths), task.provenance)
    return len(truths.labels.boxes_N4)


def _part_location(task: ShardTask) -> str:
    return files.join(task.root, PARTS_FOLDER, f"{task.stem}.parquet")


def _write_part(task: ShardTask, part: ShardPart) -> None:
    fields = {"skipped": part.skipped, "num_boxes": part.num_boxes, "remarks": part.remarks}
    head = _PART.encode(fields, indent=None)
    write_parquet(_part_location(task), part.images.replace_schema_metadata({"mixpl": head}))


class _Tar:
    """A tar file in memory whose bytes depend on its members alone: no times, no owners."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._buffer, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, data: bytes) -> int:
        """Append a member; return where its bytes begin."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o644
        offset: int = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(member, io.BytesIO(data))
        return offset

    def close(self) -> bytes:
        """Return the finished file."""
        self._tar.close()
        return self._buffer.getvalue()
