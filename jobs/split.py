"""`mixpl split`: an annotated source into a labeled and an unlabeled part.

In: one COCO file or source of another tool, and percent, fold, family, or a published list of the labeled images.
Out, in one folder: `labeled.json`, `unlabeled.json` (no ground truth in it), `unlabeled-truth.json` (kept apart,
for analysis only), and last `split.json` with the ids and their hash. The same arguments give the same files; a
different split is not overwritten unasked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any, Literal

import tyro

from storage import files
from storage.claims import locked
from storage.errors import ConfigError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.coco import unique_images
from storage.readers.coco_document import read_document
from storage.readers.coco_folder import coco_file, images_folder
from storage.readers.open_source import Format, detect_format, open_source
from storage.readers.voc import VocOptions
from storage.readers.voc_corners import Corners
from storage.readers.voc_set import Unannotated
from storage.readers.yolo_columns import Columns
from storage.splits.coco_parts import coco_document
from storage.splits.draw_split import Split, annotated_image, draw_split, split_documents
from storage.splits.published_list import SPLIT_HEAD, import_split

SPLIT_FILE = "split.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Divide an annotated source into labeled and unlabeled images."""

    annotations: tyro.conf.Positional[str]
    """COCO annotation file with the truth of all images, or any other annotated source that `mixpl shard` reads;
    the parts are COCO files."""
    out: str
    """Folder for labeled.json, unlabeled.json, unlabeled-truth.json and split.json."""
    percent: float = 10.0
    """Percent of the images that keep their labels."""
    fold: int = 1
    """Which of several splits of the same percent; published figures are means over folds 1 to 5."""
    family: Literal["published", "exact"] = "exact"
    """published: the draw behind published figures, with replacement, so fewer images than the percent says.
    exact: without replacement."""
    seed: int = 0
    """Seed of the exact family, beside the fold; the published one knows only the fold."""
    ids: str | None = None
    """Published list of the labeled images, instead of a draw: ids or file names, one a line or as JSON, a COCO
    file of the labeled images, or another split.json."""
    hash: str | None = None
    """With --ids: the split's hash or that of the labeled ids must begin like this (8 digits or more)."""
    subset: str | None = None
    """Which part of a source in parts, as `mixpl shard` takes it."""
    images: str | None = None
    """Folder of the images where it lies apart from the annotations, as `mixpl shard` takes it."""
    corners: Corners = "auto"
    """How the corners of a VOC source count, as `mixpl shard` takes it."""
    unannotated: Unannotated = "left-out"
    """What an image of a VOC source without an annotation file is: left out, or empty."""
    columns: Columns = "auto"
    """What stands behind the class in YOLO's lines, as `mixpl shard` takes it."""
    boxes: Frame = "upright"
    """What the boxes of a VOC or YOLO source are of, as `mixpl shard` takes it; give it there for the parts too."""
    overwrite: bool = False
    """Replace a different split that lies in the folder."""


def split(config: SplitConfig) -> Split:
    """Write the parts of a split and return it.

    Raises ConfigError when the file is no COCO file with annotations, a part would be empty, or the folder
    holds a different split or other files of the same names.
    """
    document, sha256 = _document(config)
    if not isinstance(document.get("annotations"), list):
        raise ConfigError(
            f"expected a COCO file with annotations, got one without: {config.annotations}; "
            "images without labels need no split, give them to `mixpl shard`"
        )
    problems = Problems()
    suspects: set[int] = set()
    images = list(unique_images(document["images"], config.annotations, problems, suspects))
    images = [image for image in images if image["id"] not in suspects]
    drawn = _drawn(config, images)
    source = config.annotations.rsplit("/", 1)[-1]
    description = drawn.description(source=source, source_sha256=sha256)
    contents = {
        files.join(config.out, f"{part}.json"): _json(content)
        for part, content in split_documents(document, images, drawn).items()
    }
    image_ids = {image["id"] for image in images}
    for index, entry in enumerate(document["annotations"]):
        if annotated_image(entry) not in image_ids:
            problems.add("annotation of no image (dropped)", f"annotations[{index}]")
    _write(config, description, contents)
    _report(config, drawn, problems)
    return drawn


def _write(config: SplitConfig, description: dict[str, Any], contents: Mapping[str, bytes]) -> None:
    """Write the parts and last `split.json`, as the only process that does."""
    with locked(files.join(config.out, ".split.lock"), command="mixpl split"):
        _refuse_another(config, description)
        _refuse_foreign(config, contents)
        files.remove_leftovers(config.out)
        for location, content in contents.items():
            files.write_atomic(location, content)
        files.write_atomic(files.join(config.out, SPLIT_FILE), _json(description))


def _document(config: SplitConfig) -> tuple[dict[str, Any], str]:
    """Return the source as a COCO document, and its sha256."""
    kind = detect_format(config.annotations)
    if kind == "coco":
        if config.boxes != "upright" or config.columns != "auto":
            raise ConfigError(
                f"expected --boxes and --columns with a VOC or YOLO source only, got a COCO file: "
                f"{config.annotations}; give --boxes to `mixpl shard` with the parts"
            )
        location = coco_file(config.annotations, config.subset)
        document, sha256 = read_document(location)
        if location != config.annotations:
            names = [
                str(image.get("file_name")) for image in document["images"][:1] if isinstance(image, dict)
            ]
            _say_read(kind, images_folder(config.annotations, location, names))
        return document, sha256
    source = open_source(
        config.annotations,
        kind=kind,
        subset=config.subset,
        images=config.images,
        voc=VocOptions(corners=config.corners, unannotated=config.unannotated),
        columns=config.columns,
        frame=config.boxes,
    )
    _say_read(kind, source.images_root)
    for name, note in source.images.notes.items():
        if name != "format":
            print(f"  note       {name.replace('_', ' ')}: {note}")
    document = coco_document(source.images)
    for line in source.images.problems.lines():
        print(f"  note       {line}")
    return document, source.images.sha256


def _say_read(kind: Format, images_root: str) -> None:
    print(f"  read as {kind.upper()}: `mixpl shard PART.json --images {quote(images_root)}` packs its parts")


def _drawn(config: SplitConfig, images: list[dict[str, Any]]) -> Split:
    if config.ids is not None:
        return import_split(config.ids, images, expected_hash=config.hash)
    if config.hash is not None:
        raise ConfigError("expected --hash with --ids only: the hash of a draw follows from its arguments")
    return draw_split(
        [image["id"] for image in images],
        family=config.family,
        percent=config.percent,
        fold=config.fold,
        seed=config.seed,
    )


def _refuse_another(config: SplitConfig, description: dict[str, Any]) -> None:
    before = None if config.overwrite else SPLIT_HEAD.read(files.join(config.out, SPLIT_FILE))
    for field in ("source_sha256", "family", "percent", "fold", "seed", "hash") if before else ():
        value = getattr(before, field)
        if value != description[field]:
            raise ConfigError(
                f"expected no other split in {config.out}, got one whose {field} is {value!r} "
                f"instead of {description[field]!r}; write to another folder, or replace it with --overwrite"
            )


def _refuse_foreign(config: SplitConfig, contents: Mapping[str, bytes]) -> None:
    """Refuse to write over a file that is no part of this split, and over the source in any case."""
    for location, content in contents.items():
        if not files.exists(location):
            continue
        if files.is_same_file(location, config.annotations):
            raise ConfigError(
                f"expected a folder without the file that is split, got {location}; name another --out"
            )
        began_here = config.overwrite or files.exists(files.join(config.out, SPLIT_FILE))
        if not began_here and files.read_bytes(location) != content:
            raise ConfigError(
                f"expected no file of another origin, got {location}; write to another folder, or replace it "
                "with --overwrite"
            )


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _report(config: SplitConfig, drawn: Split, problems: Problems) -> None:
    labeled, unlabeled = len(drawn.labeled_ids), len(drawn.unlabeled_ids)
    share = 100 * labeled / drawn.num_images
    print(f"{config.annotations}: {drawn.num_images:,} images, {drawn.family} family, fold {drawn.fold}")
    for line in problems.lines():
        print(f"  note       {line}")
    repeated = drawn.num_draws - labeled
    extra = f", {drawn.num_draws:,} draws of which {repeated:,} hit an image again" if repeated else ""
    print(f"  labeled    {labeled:>9,}  {files.join(config.out, 'labeled.json')}  ({share:.2f} %{extra})")
    print(f"  unlabeled  {unlabeled:>9,}  {files.join(config.out, 'unlabeled.json')}")
    print(f"  truth of the unlabeled, for analysis only: {files.join(config.out, 'unlabeled-truth.json')}")
    print(f"  split hash {drawn.hash[:16]}, hash of the labeled ids {drawn.ids_hash[:16]}")
