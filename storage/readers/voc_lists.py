"""Images of a Pascal VOC set that lists name: `ImageSets/Main/SUBSET.txt`.

In: a VOC folder or a folder of several (`VOCdevkit/VOC2007`, `VOC2012`), its folders in any case and usual
spelling, and the name of a list. Out: the `VocEntry` of each name. Without a name of a list it is trainval, or the
only one there is beside those of single classes, as CVAT writes `default`.

Lists of one class have a flag behind each name (` 1`, ` 0`, ` -1`), and names may end like one (`photo 1`). A list
has flags where each of its lines may have one and some line as it stands is no file's name. In it the name before
the flag is taken, in any other list the line as it stands; the other way only where that alone is the name of a
file. Where neither is, a line may be the name or path of an image with its suffix (`a.jpg`), as VoTT writes it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.find_file import plain_name
from storage.readers.folder import IMAGE_SUFFIXES
from storage.readers.text import read_lines
from storage.readers.voc_images import ANNOTATION_FOLDERS, IMAGE_FOLDERS, VocEntry

USUAL_SUBSET = "trainval"
_FLAG = re.compile(r"\s+-?[01]$")
_ODD = re.compile(r"^\s|\s$|\.\w+$|/")
"""What a list of bare names does not have, and whose meaning the files tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFolder:
    """A folder with lists: parts of paths relative to the folder that is read."""

    folder: tuple[str, ...]
    images: str
    annotations: str
    lists: dict[str, str]
    """Location of each list by its name."""

    def entry(self, name: str) -> VocEntry:
        """Return the entry of a name in a list."""
        return VocEntry(
            name=name,
            annotation=files.join("", *self.folder, self.annotations, f"{name}.xml"),
            usual_image=files.join("", *self.folder, self.images, name),
        )


def list_folders(path: str) -> list[ListFolder]:
    """Return the folders with lists at or right below a path."""
    candidates: list[tuple[str, ...]] = [(), *((name,) for name in files.list_folders(path))]
    found = (_list_folder(path, folder) for folder in candidates)
    return [folder for folder in found if folder is not None]


def find_subset(folders: Sequence[ListFolder], subset: str | None) -> str:
    """Return which list is meant. Raises SourceError when that is not plain, or it is not there."""
    names = sorted({name for folder in folders for name in folder.lists})
    of_all = [name for name in names if not any(name.endswith(f"_{other}") for other in names)]
    wanted = subset or (of_all[0] if len(of_all) == 1 else USUAL_SUBSET)
    if wanted in names:
        return wanted
    missing = files.join(next(iter(folders[0].lists.values())).rpartition("/")[0], f"{wanted}.txt")
    raise SourceError(
        f"expected a list of images, got no {missing}; name one of its lists with --subset: "
        f"{', '.join(of_all or names)}"
    )


def listed(path: str, folders: Sequence[ListFolder], subset: str, problems: Problems) -> list[VocEntry]:
    """Return the entries of a list in all folders that have it, each once."""
    entries: list[VocEntry] = []
    for folder in folders:
        names = _names(path, folder, subset) if subset in folder.lists else []
        for name, times in Counter(names).items():
            if times > 1:
                problems.add("image listed twice (first kept)", name)
            entries.append(folder.entry(name))
    return entries


def _names(path: str, folder: ListFolder, subset: str) -> list[str]:
    return names_of_list(read_lines(folder.lists[subset]), lambda: _there(path, folder))


def names_of_list(lines: Sequence[str], there: Callable[[], set[str]]) -> list[str]:
    """Return the names in a list; `there` says which are those of files, as `plain_name` writes them."""
    lines = [line for line in lines if line.strip()]
    if not any(_FLAG.search(line) or _ODD.search(line) for line in lines):
        return list(lines)
    known = there()

    def is_there(name: str) -> bool:
        return plain_name(f"{name}.") in known

    has_flags = all(_FLAG.search(line) for line in lines) and not all(map(is_there, lines))
    return [_name_in(line, is_there, has_flags=has_flags) for line in lines]


def _name_in(line: str, is_there: Callable[[str], bool], *, has_flags: bool) -> str:
    """Return the first reading of a line that is a file's name, else the plainest one."""
    whole = line.strip()
    without_flag = _FLAG.sub("", whole)
    readings = [without_flag, whole, line] if has_flags else [line, whole, without_flag]
    stems = [_without_suffix(name) for name in (*readings, *(name.rpartition("/")[2] for name in readings))]
    return next(filter(is_there, (*readings, *stems)), without_flag if has_flags else whole)


def _without_suffix(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(IMAGE_SUFFIXES) else name


def _there(path: str, folder: ListFolder) -> set[str]:
    """Return the names of all images and annotation files of a folder, as `NAME.`."""
    below = (files.join(path, *folder.folder, part) for part in (folder.annotations, folder.images))
    names = (name for location in below for name in files.walk_files(location))
    return {plain_name(f"{name.rpartition('.')[0] or name}.") for name in names}


def _list_folder(path: str, folder: tuple[str, ...]) -> ListFolder | None:
    location = files.join(path, *folder)
    names = _by_lower_case(location)
    images, annotations = (
        next((names[name] for name in usual if name in names), None)
        for usual in (IMAGE_FOLDERS, ANNOTATION_FOLDERS)
    )
    if "imagesets" not in names or (images is None and annotations is None):
        return None
    sets = files.join(location, names["imagesets"])
    main = _by_lower_case(sets).get("main")
    places = [files.join(sets, main)] if main else []
    lists = next(filter(None, (files.list_files(place, ".txt") for place in [*places, sets])), [])
    if not lists:
        return None
    return ListFolder(
        folder=folder,
        images=images or "JPEGImages",
        annotations=annotations or "Annotations",
        lists={name.rpartition("/")[2].removesuffix(".txt"): name for name in lists},
    )


def _by_lower_case(location: str) -> dict[str, str]:
    return {name.lower(): name for name in files.list_folders(location)}
