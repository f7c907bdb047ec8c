"""`data.yaml` of a YOLO data set, in the dialects that tools and people write.

In: a `data.yaml` or the folder of one. Out: `YoloFile`: the class names by index, the folder that everything is
relative to, and the folders or lists of images of each subset; where the file names none, the folders in which
images usually lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from storage import files
from storage.errors import SourceError
from storage.readers.subsets import plain_subset
from storage.readers.text import decode

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
    except (yaml.YAMLError, RecursionError) as error:
        raise SourceError(f"expected YAML, got {' '.join(str(error).split())}: {path}; correct it") from None
    document = document if isinstance(document, dict) else {}
    names = _names(document.get("names"))
    if not names or len(set(names.values())) != len(names):
        raise SourceError(
            f"expected 'names', a list of different class names or a mapping from index to name, got "
            f"{document.get('names')!r}: {path}; is it a YOLO data.yaml?"
        )
    root = _root(path, str(document.get("path") or ""))
    written = {plain_subset(str(key)): value for key, value in document.items() if value}
    subsets = {name: written[name] for name in _PLACES if name in written} or usual_subsets(root)
    return YoloFile(
        path=path,
        root=root,
        num_key_values=_num_key_values(document.get("kpt_shape"), path),
        names=names,
        subsets={name: value if isinstance(value, list) else [value] for name, value in subsets.items()},
    )


def usual_subsets(root: str) -> dict[str, str]:
    """Return the folders, relative to the root, where the images of each subset usually lie and that are there."""
    there = {
        name: next((place for place in places if files.exists(files.join(root, place))), None)
        for name, places in _PLACES.items()
    }
    return {name: place for name, place in there.items() if place is not None}


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
