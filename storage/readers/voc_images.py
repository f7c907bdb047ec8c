"""Which image an annotation file of Pascal VOC speaks of.

In: the images there are, and for each annotation file its place and the `<filename>` in it. Out: the image, or none
and those that come near. The name of the annotation file counts first: an image of its name in the same folder, or
in the folder of images that answers to its folder of annotations (`train/Annotations/a.xml` and
`train/JPEGImages/a.jpg`, `annotations/train/a.xml` and `images/train/a.jpg`). Only where there is none, the one
image that `<filename>` names is taken, with or without its suffix, or the one of this name anywhere; never one that
has an annotation file of its own name. Tools write `<filename>`, `<folder>` and `<path>` as they were on another
computer, so the latter two are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from storage.readers.find_file import MAX_NEAR, plain_name, plain_stem

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "jpgimages", "pngimages", "jpgs", "pictures")
ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml", "annots", "anno", "labels", "label")


@dataclass(frozen=True, kw_only=True, slots=True)
class VocEntry:
    """An image that is listed, or an annotation file that is there."""

    name: str
    """Of the image, without suffix."""
    annotation: str
    """Place of its annotation file below the folder that is read."""
    usual_image: str = ""
    """Where the image lies by VOC's own layout, without suffix; empty where only an image that is there counts."""

    @property
    def key(self) -> str:
        """Return what the places of this annotation file and of its image have in common."""
        return place_key(self.annotation)

    def usual_place(self, file_name: str | None) -> str:
        """Return where VOC's own layout has the image that is written `file_name`."""
        stem, _, suffix = (file_name or "").rpartition("/")[2].rpartition(".")
        return f"{self.usual_image}.{suffix if stem and suffix else 'jpg'}"


def place_key(path: str) -> str:
    """Return the place of a file without its suffix and without folders that say what kind of file it is."""
    folders, _, base = plain_name(path).rpartition("/")
    kinds = {*IMAGE_FOLDERS, *ANNOTATION_FOLDERS}
    kept = [folder for folder in folders.split("/") if folder and folder not in kinds]
    return "/".join([*kept, base.rpartition(".")[0] or base])


class VocImages:
    """Images, found for annotation files."""

    def __init__(self, names: Iterable[str], entries: Iterable[VocEntry]) -> None:
        """Take the images there are, and the entries that images are looked for."""
        self._names = frozenset(names)
        self._entries = tuple(entries)

    def find(self, entry: VocEntry, file_name: str | None) -> tuple[str | None, list[str]]:
        """Return the image of an entry, and the images that come near."""
        usual = entry.usual_place(file_name) if entry.usual_image else ""
        if usual in self._names:
            return usual, []
        written = plain_name((file_name or "").strip()).rpartition("/")[2]
        own = self._by_key.get(entry.key, [])
        if own:
            return _choose(own, entry.name, written), own[:MAX_NEAR]
        own_stem = plain_stem(entry.annotation)  # of a.jpg.xml the whole name of the image
        near: list[str] = []
        for candidates in (
            self._by_base.get(own_stem, []),
            self._by_base.get(written, []),
            self._by_stem.get(written, []),
            self._by_stem.get(plain_stem(written), []),
            self._by_stem.get(own_stem, []),
        ):
            free = [name for name in candidates if place_key(name) not in self._own_keys]
            beside = [name for name in free if _folder(place_key(name)) == _folder(entry.key)] or free
            if len(beside) == 1:
                return beside[0], beside
            near += beside
        return None, near[:MAX_NEAR]

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        return _index(self._names, place_key)

    @cached_property
    def _by_base(self) -> dict[str, list[str]]:
        return _index(self._names, lambda name: plain_name(name).rpartition("/")[2])

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _index(self._names, plain_stem)

    @cached_property
    def _own_keys(self) -> set[str]:
        return {entry.key for entry in self._entries}

    def other_named(self, image: str, file_name: str | None) -> str | None:
        """Return the other image that `<filename>` names, where there is one."""
        written = plain_name((file_name or "").strip()).rpartition("/")[2]
        if not written or written == plain_name(image).rpartition("/")[2]:
            return None
        others = self._by_base.get(written, [])
        return others[0] if others and image not in others else None


def _choose(images: Sequence[str], name: str, written: str) -> str | None:
    """Return the one of several images of a name that is meant."""
    rules: tuple[Callable[[str], bool], ...] = (
        lambda _: True,
        lambda image: image.rpartition("/")[2].rpartition(".")[0] == name.rpartition("/")[2],
        lambda image: plain_name(image).rpartition("/")[2] == written,
    )
    left = list(images)
    for fits in rules:
        left = [image for image in left if fits(image)] or left
        if len(left) == 1:
            return left[0]
    return None


def _index(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for name in sorted(names):
        index.setdefault(key(name), []).append(name)
    return index


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
