"""The images of one subset of a YOLO data set: those of its folders, and those that its lists name.

In: what `data.yaml` says, and the name of a subset. Out: the images relative to the root, sorted, each once. A list
is decoded as its names are there; an image that it names otherwise than the disk does is found by
`storage.readers.find_file`.
"""

from __future__ import annotations

from storage import files
from storage.errors import SourceError
from storage.problems import Problems
from storage.readers.find_file import FileFinder
from storage.readers.folder import IMAGE_SUFFIXES
from storage.readers.subsets import plain_subset
from storage.readers.text import read_lines
from storage.readers.yolo_yaml import YoloFile


def image_names(head: YoloFile, subset: str, problems: Problems) -> list[str]:
    """Return the images of a subset relative to the root, sorted, each once."""
    if not head.subsets:
        raise SourceError(
            f"expected train, val or test in a data.yaml, got none of them, and no folder images beside it: "
            f"{head.path}; add a line such as `train: images`"
        )
    subset = plain_subset(subset)
    if subset not in head.subsets:
        raise SourceError(
            f"expected one of the subsets {', '.join(head.subsets) or '(none)'}, got {subset!r}: {head.path}; "
            "name one with --subset"
        )
    names: set[str] = set()
    finder = FileFinder(head.root)
    for entry in head.subsets[subset]:
        relative = _below(head, str(entry))
        location = files.join(head.root, relative) if relative else head.root
        if relative.endswith(".txt"):
            folder = relative.rpartition("/")[0]

            def is_right(text: str, folder: str = folder) -> bool:
                lines = filter(None, map(str.strip, text.splitlines()))
                return all(files.exists(files.join(head.root, _listed(head, folder, line))) for line in lines)

            lines = map(str.strip, read_lines(location, is_right=is_right, problems=problems))
            names |= {_on_disk(head, finder, _listed(head, folder, line)) for line in lines if line}
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


def _on_disk(head: YoloFile, finder: FileFinder, name: str) -> str:
    """Return a listed image as the disk spells it, or as the list does where nothing fits."""
    if files.exists(files.join(head.root, name)):
        return name
    return finder.find(name)[0] or name
