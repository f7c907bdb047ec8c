"""Annotation files of a Pascal VOC folder without lists, each with its image.

In: the places of annotation files and the images there are. Out: a `Pair` of each, and of these the sound ones, one
an image. What does not fit together is counted and named in `problems`:

    broken annotation file                 its image is left out
    annotation file without an image       not read; where several images fit none is taken
    file *.xml that is no annotation file  not read
    second annotation file of an image     not read; the one in the image's own folder comes first
    <filename> of another image            the image of the annotation file's own name is taken: a remark
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.voc_annotation import VocImage, parse_voc
from storage.readers.voc_images import VocEntry, VocImages
from storage.readers.voc_tree import subset_of

BROKEN = "broken annotation file (image left out)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An annotation file and its image."""

    entry: VocEntry
    data: bytes
    annotation: VocImage | None
    fault: str
    """Why there is no annotation."""
    image: str | None
    near: list[str]
    """Images that come near, where none is taken."""
    other_named: str | None
    """Another image, which the file names."""

    @property
    def is_sound(self) -> bool:
        """Return whether there is an image, and an annotation of it."""
        return self.image is not None and self.annotation is not None

    @property
    def is_beside(self) -> bool:
        """Return whether both files lie in one folder."""
        return (self.image or "").rpartition("/")[0] == self.entry.annotation.rpartition("/")[0]

    @property
    def subset(self) -> str | None:
        """Return the subset whose folder the files lie in."""
        return subset_of(self.entry.annotation) or (subset_of(self.image) if self.image else None)


def pair_up(path: str, entries: Sequence[VocEntry], images: Sequence[str]) -> list[Pair]:
    """Return each annotation file below a path with its image."""
    finder = VocImages(images, entries)
    return [_pair(path, entry, finder) for entry in entries]


def sound_pairs(pairs: Sequence[Pair], problems: Problems) -> list[Pair]:
    """Return the sound pairs, one an image; what is wrong with the others is a problem."""
    sound: list[Pair] = []
    used: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: not pair.is_beside):
        place, image = pair.entry.annotation, pair.image
        if image is None and pair.fault:
            problems.add("file *.xml that is no annotation file (not read)", f"{place}: {pair.fault}")
        elif image is None:
            near = f" (near: {', '.join(pair.near)})" if pair.near else ""
            problems.add("annotation file without an image (not read)", f"{place}{near}")
        elif image in used:
            problems.add("second annotation file of an image (not read)", f"{place}: {image}")
        elif pair.annotation is None:
            problems.add(BROKEN, f"{place}: {pair.fault}")
        else:
            _remark_other_name(pair, problems)
            sound.append(pair)
        used |= {image} if image else set()
    return sound


def _pair(path: str, entry: VocEntry, finder: VocImages) -> Pair:
    data = files.read_bytes(files.join(path, entry.annotation))
    annotation, fault = None, ""
    try:
        annotation = parse_voc(data)
    except SourceError as error:
        fault = str(error)
    written = annotation.file_name if annotation else None
    image, near = finder.find(entry, written)
    return Pair(
        entry=entry,
        data=data,
        annotation=annotation,
        fault=fault,
        image=image,
        near=near,
        other_named=finder.other_named(image, written) if image else None,
    )


def _remark_other_name(pair: Pair, problems: Problems) -> None:
    if pair.other_named is not None:
        kind = "<filename> of another image (that of the annotation file's own name taken)"
        problems.remark(kind, f"{pair.entry.annotation}: {pair.image}, not {pair.other_named}")
