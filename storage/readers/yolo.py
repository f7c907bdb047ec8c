"""Reader of YOLO data sets: `data.yaml`, images, and a text file of boxes beside each image.

In: a `data.yaml` (or the folder of one) and the name of one of its subsets (train, val, test). A subset is a
folder of images, a text file that lists them, or several of these. The labels of `…/images/a.jpg` lie in
`…/labels/a.txt`, one line a box: class index, centre, width and height as shares of the image, and where a tool
wrote it a score; or the class and the corners of a polygon, whose bounding box is taken. Out: `ImageSet`, images
sorted by name and numbered from 1, category ids as in the file, file names relative to `root`.

An image without a label file is one without objects, as YOLO's trainers take it; where no image has one the set is
unlabeled. What is wrong in single entries is counted and named in `problems`, beside what
`storage.readers.clean_annotations` decides:

    malformed line                    no class and 4, 5 or at least 6 finite numbers, a score outside 0..1: dropped
    unknown class                     dropped
    line twice                        the first is kept
    image without a readable size     its boxes are dropped; writing shards leaves the image out too
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import yaml

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.clean_annotations import Annotations, truth_of
from storage.readers.find_file import find_file, plain_stem
from storage.readers.folder import IMAGE_SUFFIXES, size_of_file
from storage.readers.image_set import ImageSet
from storage.readers.text import decode, read_lines
from storage.readers.yolo_labels import Line, label_path, parse_line, read_label_texts, text_files_below

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_PLACES = {
    "train": ("images/train", "train/images", "train", "images"),
    "val": ("images/val", "val/images", "valid/images", "valid", "val"),
    "test": ("images/test", "test/images", "test"),
}
"""Where images usually lie, for a file that names no subset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class YoloFile:
    """What `data.yaml` says."""

    path: str
    root: str
    """Folder that subsets are relative to."""
    names: dict[int, str]
    """Class names by index."""
    subsets: dict[str, list[str]]
    """Folders or lists of images of each subset, relative to the root."""
    num_key_values: int = 0
    """Numbers of key points after each box (`kpt_shape`)."""


def find_yaml(path: str) -> str | None:
    """Return the `data.yaml` that this is or that lies in this folder; None where there is none."""
    if path.lower().endswith((".yaml", ".yml")):
        return path
    return next((files.join(path, name) for name in YAML_NAMES if files.exists(files.join(path, name))), None)


def read_yaml(path: str) -> YoloFile:
    """Read a `data.yaml`. Raises SourceError when it is none."""
    try:
        document = yaml.safe_load(decode(files.read_bytes(path), path))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise SourceError(f"expected a YOLO data.yaml, got {error}; check the path") from None
    except yaml.YAMLError as error:
        raise SourceError(f"expected YAML, got {' '.join(str(error).split())}: {path}; correct it") from None
    document = document if isinstance(document, dict) else {}
    names = _names(document.get("names"))
    if not names or len(set(names.values())) != len(names):
        raise SourceError(
            f"expected 'names', a list of different class names or a mapping from index to name, got "
            f"{document.get('names')!r}: {path}; is it a YOLO data.yaml?"
        )
    subsets = {name: document[name] for name in ("train", "val", "test") if document.get(name)}
    root = _root(path, str(document.get("path") or ""))
    if not subsets:
        places = {name: [files.join(root, place) for place in _PLACES[name]] for name in _PLACES}
        there = {name: next(filter(files.exists, locations), "") for name, locations in places.items()}
        subsets = {name: location.removeprefix(f"{root}/") for name, location in there.items() if location}
    return YoloFile(
        path=path,
        root=root,
        num_key_values=_num_key_values(document.get("kpt_shape"), path),
        names=names,
        subsets={name: value if isinstance(value, list) else [value] for name, value in subsets.items()},
    )


def read_yolo(path: str, *, subset: str = "train") -> tuple[ImageSet, str]:
    """Read one subset; return it and the folder that its file names are relative to.

    Raises SourceError when there is no `data.yaml`, no such subset, or no image in it.
    """
    head = read_yaml(find_yaml(path) or files.join(path, YAML_NAMES[0]))
    problems = Problems()
    names = _image_names(head, subset, problems)
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
        sizes_B2[:] = [size_of_file(files.join(head.root, name)) for name in names]
    missing = sum(text is None for text in texts)
    source = ImageSet(
        path=head.path,
        sha256=digest.hexdigest(),
        classes=tuple(head.names.values()),
        category_ids=tuple(head.names),
        image_ids=tuple(range(1, len(names) + 1)),
        file_names=tuple(names),
        sizes=sizes_B2,
        truth=truth_of(_annotations(head, names, texts, sizes_B2, problems), sizes_B2, problems)
        if labeled
        else None,
        split=None,
        problems=problems,
        num_annotations=sum(len(text.split("\n")) for text in texts if text and text.strip()),
        notes={"format": "yolo", "subset": subset}
        | ({"images_without_label_file": missing} if labeled and missing else {}),
    )
    return source, head.root


def _num_key_values(kpt_shape: object, path: str) -> int:
    """Return how many numbers of key points follow each box."""
    if kpt_shape is None:
        return 0
    if isinstance(kpt_shape, list) and len(kpt_shape) == 2 and all(type(side) is int for side in kpt_shape):
        return int(kpt_shape[0] * kpt_shape[1])
    raise SourceError(f"expected kpt_shape: [points, numbers of each], got {kpt_shape!r}: {path}; correct it")


def _names(written: object) -> dict[int, str]:
    """Return class names by ascending index; none where it is something else."""
    pairs = dict(enumerate(written)) if isinstance(written, list) else written
    if not isinstance(pairs, dict) or not all(type(key) is int and key >= 0 for key in pairs):
        return {}
    return {key: str(pairs[key]) for key in sorted(pairs)}


def _root(path: str, written: str) -> str:
    """Return the folder that `path:` names: as it stands, or relative to the file, or else that of the file."""
    beside = path.rpartition("/")[0] or "."
    candidates = (written, files.join(beside, written)) if written else ()
    absolute = [root for root in candidates if root.startswith("/") or root != written or "://" in root]
    return next((root.rstrip("/") for root in absolute if files.exists(root)), beside)


def _image_names(head: YoloFile, subset: str, problems: Problems) -> list[str]:
    """Return the images of a subset relative to the root, sorted, each once."""
    if not head.subsets:
        raise SourceError(
            f"expected train, val or test in a data.yaml, got none of them, and no folder images beside it: "
            f"{head.path}; add a line such as `train: images`"
        )
    if subset not in head.subsets:
        raise SourceError(
            f"expected one of the subsets {', '.join(head.subsets) or '(none)'}, got {subset!r}: {head.path}; "
            "name one with --subset"
        )
    names: set[str] = set()
    for entry in head.subsets[subset]:
        relative = _below(head, str(entry))
        location = files.join(head.root, relative) if relative else head.root
        if relative.endswith(".txt"):
            folder = relative.rpartition("/")[0]

            def is_right(text: str, folder: str = folder) -> bool:
                lines = filter(None, map(str.strip, text.splitlines()))
                return all(files.exists(files.join(head.root, _listed(head, folder, line))) for line in lines)

            lines = map(str.strip, read_lines(location, is_right=is_right, problems=problems))
            names |= {_on_disk(head, _listed(head, folder, line)) for line in lines if line}
        else:
            images = (name for name in files.walk_files(location) if name.lower().endswith(IMAGE_SUFFIXES))
            names |= {files.join(relative, name) for name in images}
    for name in sorted(names):
        if name.lower().endswith(".jfif"):
            problems.remark("image with the suffix .jfif (a JPEG)", name)
    if not names:
        raise SourceError(
            f"expected images in {subset}: {', '.join(map(str, head.subsets[subset]))}, got none: {head.path}; "
            "check 'path' and the subset"
        )
    return sorted(names)


def _below(head: YoloFile, entry: str) -> str:
    """Return a subset's path relative to the root; `../train` where only `train` exists is a known slip."""
    prefix = f"{head.root}/"
    relative = entry.removeprefix(prefix).removeprefix("./").rstrip("/")
    slip = relative.removeprefix("../")
    if relative.startswith("../") and not files.exists(files.join(head.root, relative)):
        relative = slip
    if relative in {"", "."}:
        return ""
    if relative.startswith(("/", "../")) or not files.exists(files.join(head.root, relative)):
        raise SourceError(
            f"expected a folder or list of images below {head.root}, got {entry!r}: {head.path}; correct the "
            "subset or 'path' in it"
        )
    return relative


def _listed(head: YoloFile, folder: str, line: str) -> str:
    """Return an image of a list relative to the root; `./` in it means the folder of the list."""
    name = line.removeprefix(f"{head.root}/")
    name = files.join(folder, name[2:]) if name.startswith("./") else name
    if name.startswith("/") or ".." in name.split("/"):
        raise SourceError(
            f"expected images below {head.root}, got {line!r} in a list of {head.path}; move the list"
        )
    return name


def _on_disk(head: YoloFile, name: str) -> str:
    """Return a listed image as the disk spells it, or as the list does where nothing fits."""
    if files.exists(files.join(head.root, name)):
        return name
    return find_file(head.root, name)[0] or name


def _refuse_lost_labels(head: YoloFile, names: list[str], problems: Problems) -> None:
    """Raise SourceError where no image has a label file, and yet files that may be such are there."""
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
    problems: Problems,
) -> Annotations:
    index = {number: row for row, number in enumerate(head.names)}
    rows: list[tuple[int, int, Line]] = []
    for image, text in enumerate(texts):
        lines = _lines(label_path(names[image]), text or "", index, problems, head.num_key_values)
        rows += [(image, index[line[0]], line) for line in lines]
        if text and not sizes_B2[image].all():
            problems.add("image without a readable size (its boxes dropped)", names[image])
    rows = [row for row in rows if sizes_B2[row[0]].all()]
    images_A = np.array([row[0] for row in rows], np.int64)
    shares_A4 = np.array([row[2][1] for row in rows], np.float64).reshape(-1, 4)
    return Annotations(
        images_A=images_A,
        categories_A=np.array([row[1] for row in rows], np.int32),
        boxes_A4=shares_A4 * np.tile(sizes_B2[images_A][:, ::-1], 2),
        areas_A=np.full(len(rows), np.nan),
        scores_A=np.array([row[2][2] for row in rows], np.float32),
        crowd_A=np.zeros(len(rows), bool),
        describe=lambda row: (
            f"{label_path(names[rows[row][0]])}: class {rows[row][2][0]} at {[*rows[row][2][1]]}"
        ),
    )


def _lines(
    path: str, text: str, index: dict[int, int], problems: Problems, num_key_values: int
) -> list[Line]:
    kept: list[Line] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            parsed = parse_line(line, num_key_values=num_key_values)
        except SourceError as error:
            problems.add("malformed line (dropped)", f"{path}:{number}: {error}")
            continue
        if parsed[0] not in index:
            problems.add("unknown class (dropped)", f"{path}:{number}: class {parsed[0]}")
        elif line in seen:
            problems.add("line twice (first kept)", f"{path}:{number}")
        else:
            kept.append(parsed)
        seen.add(line)
    return kept
