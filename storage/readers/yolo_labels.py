"""The label files of YOLO images: where they lie.

In: the images of a subset. Out: the text of each image's label file. The labels of `…/images/a.jpg` lie in
`…/labels/a.txt`; where there is no such file, the one label file is taken whose name differs as names do between
systems (`storage.readers.find_file`), in a folder called labels or label, or beside the image: a remark. A label
file that belongs to no image is a problem, as its boxes are lost.
"""

from __future__ import annotations

import re

from storage import files
from storage.problems import Problems
from storage.readers.find_file import plain_name, plain_stem
from storage.readers.text import decode

_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages"}
_LABEL_FOLDERS = {"labels", "label"}
_HASH = re.compile(r"[0-9a-f]{8}-")
"""What Label Studio puts before the names of files."""
_NO_LABELS = {"classes", "notes", "readme", "train", "val", "valid", "test", "obj", "predefined_classes"}
"""Text files without boxes that tools put there."""


def read_label_texts(root: str, names: list[str], problems: Problems) -> list[str | None]:
    """Return the text of each image's label file, None where there is none."""
    folders = _LabelFolders()
    paths = [label_path(files.join(root, name)) for name in names]
    texts = [_text(path) for path in paths]
    used = {path for path, text in zip(paths, texts, strict=True) if text is not None}
    for row, name in enumerate(names):
        path = folders.near_label(files.join(root, name)) if texts[row] is None else None
        if path is not None and path not in used:
            texts[row] = _text(path)
            used.add(path)
            problems.remark(
                "label file in another place or spelling (taken)", f"{name}: {_below(root, path)}"
            )
    stems = {plain_stem(name) for name in names}
    for folder in sorted({path.rpartition("/")[0] for path in paths}):
        for stem, several in folders.label_files(folder).items():
            for path in several:
                if path not in used and stem not in stems | _NO_LABELS:
                    problems.add("label file without an image (not read)", _below(root, path))
    return texts


def text_files_below(root: str) -> list[str]:
    """Return the text files below a folder that may hold labels, relative to it."""
    names = (name for name in files.walk_files(root) if name.lower().endswith(".txt"))
    return [name for name in names if plain_stem(name) not in _NO_LABELS]


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


class _LabelFolders:
    """The folders of labels, each listed once."""

    def __init__(self) -> None:
        self._beside: dict[str, list[str]] = {}
        self._files: dict[str, dict[str, list[str]]] = {}
        self._unhashed: dict[str, dict[str, list[str]]] = {}

    def near_label(self, image: str) -> str | None:
        """Return the one label file whose name fits an image's, in the first folder that has any."""
        folder, _, name = image.rpartition("/")
        stem = plain_name(name).rpartition(".")[0]
        if folder not in self._beside:
            self._beside[folder] = _folders_beside(folder)
        for place in (label_path(image).rpartition("/")[0], *self._beside[folder], folder):
            fitting = self.label_files(place).get(stem, []) or self._without_hash(place).get(
                _unhashed(stem), []
            )
            if fitting:
                return fitting[0] if len(fitting) == 1 else None
        return None

    def label_files(self, folder: str) -> dict[str, list[str]]:
        """Return the text files right in a folder by their plain stem."""
        if folder not in self._files:
            index = self._files[folder] = {}
            for path in files.list_files(folder, ""):
                plain = plain_name(path.rpartition("/")[2])
                if plain.endswith(".txt"):
                    index.setdefault(plain.removesuffix(".txt"), []).append(path)
        return self._files[folder]

    def _without_hash(self, folder: str) -> dict[str, list[str]]:
        """Return the same by the stem without Label Studio's hash."""
        if folder not in self._unhashed:
            index = self._unhashed[folder] = {}
            for stem, paths in self.label_files(folder).items():
                index.setdefault(_unhashed(stem), []).extend(paths)
        return self._unhashed[folder]


def _unhashed(stem: str) -> str:
    return _HASH.sub("", stem, count=1) if _HASH.match(stem) else stem


def _folders_beside(folder: str) -> list[str]:
    """Return the folders of labels beside a folder of images."""
    parts = folder.split("/")
    beside: list[str] = []
    for index in range(len(parts) - 1, 0, -1):
        if parts[index].lower() in _IMAGE_FOLDERS:
            above = "/".join(parts[:index]) or "/"
            names = (name for name in files.list_folders(above) if name.lower() in _LABEL_FOLDERS)
            beside += ["/".join([*parts[:index], name, *parts[index + 1 :]]) for name in names]
    return beside


def _below(root: str, path: str) -> str:
    return path.removeprefix(f"{root}/")
