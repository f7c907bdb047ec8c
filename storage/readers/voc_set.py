"""The images of a Pascal VOC folder with what their annotation files say.

In: a folder, with lists (`voc_lists`) or without (`voc_tree`), the name of a subset, and where the images lie
elsewhere their folder. Out: `VocSet`: one `VocRecord` an image. What cannot be brought together is counted and
named in `problems`, beside what `voc_pairs` decides:

    no annotation file                the image is left out, unless the caller takes it as one without objects
    broken annotation file            the image is left out
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from storage import files
from storage.errors import SourceError
from storage.image_check import Frame
from storage.problems import Problems
from storage.readers.find_file import plain_stem
from storage.readers.folder import size_of_file
from storage.readers.voc_annotation import VocImage, parse_voc
from storage.readers.voc_images import VocImages
from storage.readers.voc_lists import ListFolder, find_subset, list_folders, listed
from storage.readers.voc_pairs import BROKEN, pair_up, sound_pairs
from storage.readers.voc_tree import ALL, VocTree, choose_subset, find_tree, images_in, subset_of

Unannotated = Literal["left-out", "empty"]
"""What an image without an annotation file is, in a set where others have one."""
UNANNOTATED = "no annotation file (image left out; --unannotated empty takes it as one without objects)"
_NO_OBJECTS = VocImage(file_name=None, height=0, width=0, objects=(), malformed=(), tool="")


@dataclass(frozen=True, kw_only=True, slots=True)
class VocRecord:
    """An image of the set."""

    name: str
    file_name: str
    """Relative to the folder of the images."""
    size: tuple[int, int]
    """Height and width."""
    annotation: VocImage | None


@dataclass(kw_only=True, slots=True)
class VocSet:
    """The images that are read, and what is known of the whole folder."""

    images_root: str
    subset: str | None
    other_subsets: tuple[str, ...] = ()
    """Those that are there beside one that nobody named."""
    has_lists: bool
    records: list[VocRecord] = field(default_factory=list)
    class_names: set[str] = field(default_factory=set)
    """Those of this subset where lists name it, else those of the whole folder."""
    class_files: tuple[str, ...] = ()
    """Locations of lists of classes."""
    num_taken_as_empty: int = 0
    """Images without an annotation file that are taken as images without objects."""
    problems: Problems = field(default_factory=Problems)
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, name: str, file_name: str, annotation: VocImage | None, data: bytes = b"") -> None:
        """Take an image."""
        size = (annotation.height, annotation.width) if annotation else (0, 0)
        self.digest.update(f"{file_name} {len(data)} ".encode() + data)
        self.records.append(VocRecord(name=name, file_name=file_name, size=size, annotation=annotation))


def is_voc(path: str) -> bool:
    """Return whether annotation files of VOC lie below a path, with lists of their images or without."""
    return bool(list_folders(path)) or find_tree(path) is not None


def read_set(
    path: str,
    *,
    subset: str | None,
    images: str | None = None,
    unannotated: Unannotated = "left-out",
    frame: Frame = "upright",
) -> VocSet:
    """Read the images of one subset. Raises SourceError when there is no set, or not this subset of it."""
    folders = list_folders(path)
    tree = None if folders else find_tree(path)
    if folders:
        read = _read_lists(path, folders, subset, images)
    elif tree is not None:
        read = _read_tree(path, tree, subset, images)
    else:
        raise SourceError(
            "expected a VOC folder with Annotations, ImageSets/Main and JPEGImages, or a folder of such, or "
            f"annotation files *.xml and their images, got neither: {path}; check the path"
        )
    _settle_unannotated(read, unannotated)
    read.records = [_with_size(record, read.images_root, frame) for record in read.records]
    return read


def _read_lists(path: str, folders: Sequence[ListFolder], subset: str | None, images: str | None) -> VocSet:
    read = VocSet(images_root=images or path, subset=find_subset(folders, subset), has_lists=True)
    assert read.subset is not None, "a list has a name"
    read.digest.update(read.subset.encode())
    locations = (files.join(path, *folder.folder, "labelmap.txt") for folder in folders)
    read.class_files = tuple(filter(files.exists, locations))
    entries = listed(path, folders, read.subset, read.problems)
    if images is not None:
        entries = [replace(entry, usual_image=entry.name) for entry in entries]
    finder = VocImages(_listed_images(path, folders, images), entries)
    for entry in entries:
        data, annotation = _bytes_or_none(files.join(path, entry.annotation)), None
        try:
            annotation = None if data is None else parse_voc(data)
        except SourceError as error:
            read.problems.add(BROKEN, f"{entry.annotation}: {error}")
            continue
        written = annotation.file_name if annotation else None
        image = finder.find(entry, written)[0] or entry.usual_place(written)
        read.add(entry.name, image, annotation, data or b"")
    read.class_names = _class_names(record.annotation for record in read.records)
    return read


def _listed_images(path: str, folders: Sequence[ListFolder], images: str | None) -> list[str]:
    if images is not None:
        return list(images_in(files.walk_files(images)))
    places = (files.join("", *folder.folder, folder.images) for folder in folders)
    return [
        files.join("", place, name)
        for place in places
        for name in files.walk_files(files.join(path, place))  # a list names images without a suffix too
    ]


def _read_tree(path: str, tree: VocTree, subset: str | None, images: str | None) -> VocSet:
    names = tree.images if images is None else images_in(files.walk_files(images))
    pairs = pair_up(path, tree.entries, names)
    there = [pair.subset for pair in pairs if pair.is_sound]
    if not there:
        faults = Problems()
        sound_pairs(pairs, faults)
        raise SourceError(
            f"expected the images of {len(pairs):,} annotation files, got {len(names):,} images and "
            f"{'; '.join(faults.lines())}: {path}; correct them, or name the folder of the images with --images"
        )
    chosen = choose_subset(path, there, subset)
    read = VocSet(images_root=images or path, subset=chosen, has_lists=False, class_files=tree.class_files)
    read.other_subsets = tuple(sorted({*filter(None, there)} - {chosen})) if subset is None else ()
    read.digest.update(f"{chosen}".encode())
    read.class_names = _class_names(pair.annotation for pair in pairs if pair.is_sound)
    of_subset = [pair for pair in pairs if chosen in {None, ALL, pair.subset}]
    for pair in sound_pairs(of_subset, read.problems):
        assert pair.image is not None, "sound"
        read.add(plain_stem(pair.image), pair.image, pair.annotation, pair.data)
    used = {pair.image for pair in of_subset}
    for image in names:
        if image not in used and chosen in {None, ALL, subset_of(image)}:
            read.add(plain_stem(image), image, None)
    read.records.sort(key=lambda record: record.file_name)
    return read


def _settle_unannotated(read: VocSet, unannotated: Unannotated) -> None:
    """Leave images without an annotation file out, or take them as empty; where none has one nothing is known."""
    bare = [record for record in read.records if record.annotation is None]
    if len(bare) == len(read.records):
        return
    if unannotated == "left-out":
        read.records = [record for record in read.records if record.annotation is not None]
        for record in bare:
            read.problems.add(UNANNOTATED, record.file_name)
        return
    read.num_taken_as_empty = len(bare)
    read.records = [
        replace(record, annotation=_NO_OBJECTS) if record.annotation is None else record
        for record in read.records
    ]


def _with_size(record: VocRecord, images_root: str, frame: Frame) -> VocRecord:
    if all(record.size):
        return record
    return replace(record, size=size_of_file(files.join(images_root, record.file_name), frame=frame))


def _class_names(annotations: Iterable[VocImage | None]) -> set[str]:
    return {object_.name for annotation in annotations if annotation for object_ in annotation.objects}


def _bytes_or_none(location: str) -> bytes | None:
    try:
        return files.read_bytes(location)
    except FileNotFoundError:
        return None
