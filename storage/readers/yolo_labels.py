"""The label files of YOLO images: where they lie, and the box in one line.

In: the images of a subset. Out: the text of each image's label file. The labels of `…/images/a.jpg` lie in
`…/labels/a.txt`; where there is no such file, the one label file is taken whose name differs as names do between
systems (`storage.readers.find_file`), in a folder called labels or label, or beside the image: a remark. A label
file that belongs to no image is a problem, as its boxes are lost.
"""

from __future__ import annotations

import math
from functools import lru_cache

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.find_file import plain_name, plain_stem
from storage.readers.text import decode

Line = tuple[int, tuple[float, float, float, float], float]
"""Class index; left, top, right, bottom as shares of the image; score."""
_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages"}
_LABEL_FOLDERS = {"labels", "label"}
_NO_LABELS = {"classes", "notes", "readme", "train", "val", "valid", "test", "obj", "predefined_classes"}
"""Text files without boxes that tools put there."""


def read_label_texts(root: str, names: list[str], problems: Problems) -> list[str | None]:
    """Return the text of each image's label file, None where there is none."""
    _label_files.cache_clear()
    _label_folders.cache_clear()
    paths = [label_path(files.join(root, name)) for name in names]
    texts = [_text(path) for path in paths]
    used = {path for path, text in zip(paths, texts, strict=True) if text is not None}
    for row, name in enumerate(names):
        path = _near_label(files.join(root, name)) if texts[row] is None else None
        if path is not None and path not in used:
            texts[row] = _text(path)
            used.add(path)
            problems.remark(
                "label file in another place or spelling (taken)", f"{name}: {_below(root, path)}"
            )
    stems = {plain_stem(name) for name in names}
    for folder in sorted({path.rpartition("/")[0] for path in paths}):
        for stem, several in _label_files(folder).items():
            for path in several:
                if path not in used and stem not in stems | _NO_LABELS:
                    problems.add("label file without an image (not read)", _below(root, path))
    return texts


def text_files_below(root: str) -> list[str]:
    """Return the text files below a folder that may hold labels, relative to it."""
    names = (name for name in files.walk_files(root) if name.lower().endswith(".txt"))
    return [name for name in names if plain_stem(name) not in _NO_LABELS]


def parse_line(line: str, *, num_key_values: int = 0) -> Line:
    """Return one line of a label file. Raises SourceError saying what is wrong with it.

    `num_key_values` numbers of key points follow a box (`kpt_shape` of data.yaml); they are passed over.
    """
    parts = line.split()
    try:
        number, values = int(float(parts[0])), [float(part) for part in parts[1:]]
    except (ValueError, OverflowError) as error:
        raise SourceError(f"expected a class index and numbers, got {error}") from None
    if float(parts[0]) != number or not all(map(math.isfinite, values)):
        raise SourceError(f"expected a class index and finite numbers, got {line.strip()}")
    if num_key_values and len(values) == 4 + num_key_values:
        values = values[:4]
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        score = values[4] if len(values) == 5 else 1.0
        if not 0 <= score <= 1:
            raise SourceError(
                f"expected a score within 0..1, got {score} (a tracker's id? take the column out)"
            )
        return number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), score
    if num_key_values or len(values) < 6 or len(values) % 2:
        points = f" and {num_key_values} of its key points (kpt_shape)" if num_key_values else ""
        raise SourceError(
            f"expected 4 numbers of a box{points}, with a score 5, or corners of a polygon, got {len(values)}"
        )
    return number, (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])), 1.0


def label_path(image: str) -> str:
    """Return where the labels of an image lie: its last folder `images` becomes `labels`, the suffix `.txt`."""
    *folders, name = image.split("/")
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return "/".join([*folders, f"{name.rpartition('.')[0]}.txt"])


def _text(path: str) -> str | None:
    try:
        return decode(files.read_bytes(path), path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _near_label(image: str) -> str | None:
    """Return the one label file whose name fits an image's, in the first folder that has any."""
    folder, _, name = image.rpartition("/")
    stem = plain_name(name).rpartition(".")[0]
    for place in (label_path(image).rpartition("/")[0], *_label_folders(folder), folder):
        fitting = _label_files(place).get(stem, [])
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


@lru_cache(maxsize=64)
def _label_folders(folder: str) -> tuple[str, ...]:
    """Return the folders of labels beside a folder of images."""
    parts = folder.split("/")
    found: list[str] = []
    for index in range(len(parts) - 1, 0, -1):
        if parts[index].lower() in _IMAGE_FOLDERS:
            above = "/".join(parts[:index]) or "/"
            beside = (name for name in files.list_folders(above) if name.lower() in _LABEL_FOLDERS)
            found += ["/".join([*parts[:index], name, *parts[index + 1 :]]) for name in beside]
    return tuple(found)


@lru_cache(maxsize=1024)
def _label_files(folder: str) -> dict[str, list[str]]:
    """Return the text files right in a folder by their plain stem."""
    index: dict[str, list[str]] = {}
    for path in files.list_files(folder, ""):
        plain = plain_name(path.rpartition("/")[2])
        if plain.endswith(".txt"):
            index.setdefault(plain.removesuffix(".txt"), []).append(path)
    return index


def _below(root: str, path: str) -> str:
    return path.removeprefix(f"{root}/")
