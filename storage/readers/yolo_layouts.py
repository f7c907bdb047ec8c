"""YOLO data sets without a `data.yaml`: darknet's `obj.data`, or a list of class names beside the label files.

In: a folder as CVAT ("YOLO 1.1": `obj.data`), Label Studio (`classes.txt`, `notes.json`), labelImg (`classes.txt`
among images and label files) or Roboflow ("YOLO Darknet": `train/_darknet.labels`) writes it, or that `obj.data`
itself. Out: what a `data.yaml` would say.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from storage import files
from storage.errors import SourceError
from storage.readers.folder import IMAGE_SUFFIXES
from storage.readers.json_entries import read_json
from storage.readers.subsets import SUBSETS, plain_subset
from storage.readers.text import read_lines
from storage.readers.yolo_labels import text_files_below
from storage.readers.yolo_yaml import YAML_NAMES, YoloFile, find_yaml, read_yaml, usual_subsets

DATA_NAME = "obj.data"
LIST_NAMES = ("classes.txt", "labels/classes.txt", "obj.names", "_darknet.labels", "train/_darknet.labels")
_NOTES_NAME = "notes.json"
_ALL = "."
"""The folder itself, as a subset."""


class _Category(msgspec.Struct):
    id: int
    name: str


class _Notes(msgspec.Struct):
    """What Label Studio writes beside `classes.txt`: the lines of that are in order, but its ids may have gaps."""

    categories: list[_Category]


def find_darknet(path: str) -> str | None:
    """Return the `*.data` that this is or the `obj.data` in this folder; None where there is none."""
    location = path if path.lower().endswith(".data") else files.join(path, DATA_NAME)
    return location if files.exists(location) else None


def find_class_list(path: str) -> str | None:
    """Return the list of class names of a folder that holds label files too; None where there is none."""
    locations = (files.join(path, name) for name in LIST_NAMES)
    location = next(filter(files.exists, locations), None)
    return location if location is not None and text_files_below(path) else None


def read_head(path: str) -> YoloFile:
    """Read what says where images and classes are. Raises SourceError where there is no such file."""
    location = find_yaml(path)
    if location is not None:
        return read_yaml(location)
    location = find_darknet(path)
    if location is not None:
        return _with_images(_read_darknet(location))
    location = find_class_list(path)
    if location is not None:
        return _with_images(_read_class_list(location, path.rstrip("/")))
    raise SourceError(
        f"expected {YAML_NAMES[0]}, {DATA_NAME} or a list of class names beside label files, got none: {path}; "
        f"write the names to {LIST_NAMES[0]} there, a line each, in the order of their numbers"
    )


def _with_images(head: YoloFile) -> YoloFile:
    if not any(name.lower().endswith(IMAGE_SUFFIXES) for name in files.walk_files(head.root)):
        raise no_images(head)
    return head


def no_images(head: YoloFile) -> SourceError:
    """Return what to say of an export without its images."""
    return SourceError(
        f"expected images with the label files, got none below {head.root}: {head.path}; export them too (CVAT: "
        "'Save images', Label Studio: 'YOLO with Images'), or copy them there"
    )


def _read_darknet(location: str) -> YoloFile:
    """Read `key = value` lines; what they name may be there without the folder `data/` of the trainer's machine."""
    root = location.rpartition("/")[0] or "."
    pairs = (line.partition("=") for line in read_lines(location))
    values = {key.strip().lower(): value.strip() for key, equals, value in pairs if equals}
    subsets = {plain_subset(key): value for key, value in values.items() if plain_subset(key) in SUBSETS}
    return YoloFile(
        path=location,
        root=root,
        names=_names(_there(root, values.get("names", "obj.names"), location)),
        subsets={
            name: [_there(root, value, location).removeprefix(f"{root}/")] for name, value in subsets.items()
        },
    )


def _there(root: str, written: str, location: str) -> str:
    """Return a file that `obj.data` names: as it stands, or with fewer folders in front."""
    parts = written.replace("\\", "/").split("/")
    places = [files.join(root, *parts[first:]) for first in range(len(parts))]
    place = next(filter(files.exists, places), None)
    if place is None:
        raise SourceError(
            f"expected {places[-1]}, which {location} names, got nothing there; is the export complete?"
        )
    return place


def _read_class_list(location: str, root: str) -> YoloFile:
    return YoloFile(
        path=location,
        root=root,
        names=_names(location, _notes(files.join(root, _NOTES_NAME))),
        subsets={name: [folder] for name, folder in (usual_subsets(root) or {"train": _ALL}).items()},
    )


def _notes(location: str) -> Mapping[str, int]:
    """Return the ids of Label Studio's classes by name; none where there is no such file."""
    if not files.exists(location):
        return {}
    notes, _ = read_json(location, _Notes, "Label Studio")
    return {category.name: category.id for category in notes.categories}


def _names(location: str, ids: Mapping[str, int] = {}) -> dict[int, str]:  # never changed
    """Return class names by their number: that of the line from 0, or the one that Label Studio gave."""
    lines = [line.strip() for line in read_lines(location)]
    names = {ids.get(name, number): name for number, name in enumerate(lines) if name}
    if not names or len({*names.values()}) != sum(map(bool, lines)):
        raise SourceError(
            f"expected different class names, a line each, got {len(names)} of {len(lines)} lines: {location}; "
            "correct it"
        )
    return names
