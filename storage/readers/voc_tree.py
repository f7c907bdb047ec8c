"""Images of a Pascal VOC set without lists: all that have an annotation file.

In: a folder with annotation files anywhere below it: beside the images as labelImg leaves them, in a folder of
annotations as Label Studio writes them, or by subset (`train/`, `valid/`, `test/`) as Roboflow does. Out: the
`VocEntry` of each annotation file with its subset, and the images that have none.

Where the annotated images lie in folders of subsets, one subset is read: the one that is named, else train, else
the only one. `all` reads every image of the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage import files
from storage.errors import SourceError
from storage.readers.find_file import plain_name, plain_stem
from storage.readers.folder import IMAGE_SUFFIXES
from storage.readers.subsets import SUBSETS, plain_subset
from storage.readers.voc_annotation import is_voc_annotation
from storage.readers.voc_images import ANNOTATION_FOLDERS, VocEntry

ALL = "all"
_MASKS = {"segmentationclass", "segmentationobject", "masks", "mask", "trimaps", *ANNOTATION_FOLDERS}
"""Folders whose images are no photographs."""
_CLASS_FILES = {"predefined_classes.txt", "classes.txt", "labelmap.txt"}
_LOOKS = 5
"""XML files that are looked into for one of VOC, those of an image's name first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VocTree:
    """The files of a folder without lists."""

    entries: tuple[VocEntry, ...]
    images: tuple[str, ...]
    class_files: tuple[str, ...]
    """Locations of lists of classes."""


def find_tree(path: str) -> VocTree | None:
    """Return the annotation files and images below a folder; None where its XML files are none of VOC.

    Raises SourceError where lists lie deeper, as they say which images are for training and which for a test.
    """
    names = files.walk_files(path)
    annotations = [name for name in names if name.lower().endswith(".xml")]
    images = images_in(names)
    stems = {*map(plain_stem, images)} if annotations else set()
    likely = sorted(annotations, key=lambda name: plain_stem(name) not in stems)[:_LOOKS]
    if not any(is_voc_annotation(files.read_bytes(files.join(path, name))) for name in likely):
        return None
    deeper = next((name for name in names if "imagesets/" in name.lower() and name.endswith(".txt")), None)
    if deeper is not None:
        raise SourceError(
            f"expected a VOC folder or the folder right above, got one whose lists lie deeper: {path}; give the "
            f"folder that holds ImageSets of {deeper}"
        )
    return VocTree(
        entries=tuple(VocEntry(name=name[:-4], annotation=name) for name in annotations),
        images=images,
        class_files=tuple(
            files.join(path, name) for name in names if name.rpartition("/")[2] in _CLASS_FILES
        ),
    )


def images_in(names: Sequence[str]) -> tuple[str, ...]:
    """Return those of all files that are photographs by their names."""
    return tuple(
        name
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES) and not _MASKS & {*plain_name(name).split("/")[:-1]}
    )


def subset_of(place: str) -> str | None:
    """Return the subset whose folder a file lies in."""
    folders = plain_name(place).split("/")[:-1]
    return next((plain_subset(folder) for folder in folders if plain_subset(folder) in SUBSETS), None)


def choose_subset(path: str, there: Sequence[str | None], subset: str | None) -> str | None:
    """Return which subset is read, by those of all annotated images; None where there are none.

    Raises SourceError when it is not plain, or is not there.
    """
    names = sorted({name for name in there if name is not None})
    wanted = subset and plain_subset(subset)
    if wanted == ALL or (wanted is None and not names):
        return wanted
    if wanted in names:
        return wanted
    if wanted is None and None not in there and ("train" in names or len(names) == 1):
        return "train" if "train" in names else names[0]
    choices = ", ".join([*names, ALL]) if names else f"none, or {ALL}"
    outside = (
        f" and {list(there).count(None):,} annotated images beside them" if None in there and names else ""
    )
    raise SourceError(
        f"expected --subset with one of the folders of subsets ({choices}), got {subset or 'none'}{outside}: "
        f"{path}; name one with --subset"
    )
