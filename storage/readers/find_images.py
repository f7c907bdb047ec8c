"""Image files that a user names: files, folders, patterns.

In: paths, folders, glob patterns, URLs of folders. Out: locations and names of the images, in the order of the
arguments; inside a folder or pattern by name, numbers in it by their value, so that frame 10 of a video comes after
frame 9. Guaranteed: no image comes twice; a name is the path below the folder that all of them lie in, so no two
have the same.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from storage import files
from storage.errors import SourceError
from storage.readers.folder import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundImages:
    """Images in order."""

    locations: tuple[str, ...]
    names: tuple[str, ...]
    """Their paths below the folder that all lie in."""

    def first(self, limit: int | None) -> FoundImages:
        """Return the first `limit` of them; all for None."""
        return FoundImages(locations=self.locations[:limit], names=self.names[:limit])


def find_images(arguments: Sequence[str]) -> FoundImages:
    """Return the images that the arguments name.

    Raises SourceError for an argument that names nothing, a folder without images, and a video in one file.
    """
    locations = tuple(dict.fromkeys(location for argument in arguments for location in _named_by(argument)))
    folders = [_root(argument) for argument in arguments]
    root = os.path.commonpath(folders) if len({files.is_local(folder) for folder in folders}) == 1 else ""
    return FoundImages(locations=locations, names=tuple(_name(location, root) for location in locations))


def _named_by(argument: str) -> Iterator[str]:
    if not files.is_local(argument) or files.local_path(argument).is_dir():
        yield from _images_in(argument)
    elif files.exists(argument):
        if argument.lower().endswith(VIDEO_SUFFIXES):
            raise SourceError(
                f"expected images, got a video: {argument}; write its frames into a folder (`ffmpeg -i "
                "VIDEO FOLDER/%06d.jpg`) and name that"
            )
        yield argument
    else:
        matches = glob.glob(argument, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
        found = [path for path in matches if _is_image(path)]
        if not found:
            raise SourceError(
                f"expected an image, a folder of images or a pattern, got {argument!r}, which names no image; "
                "patterns are written as 'photos/**/*.jpg'"
            )
        yield from sorted(found, key=by_number)


def _images_in(folder: str) -> Iterator[str]:
    names = [name for name in files.walk_files(folder) if _is_image(name)]
    if not names:
        raise SourceError(
            f"expected a folder of images, got one without: {folder}; images end in {' '.join(IMAGE_SUFFIXES)}"
        )
    for name in sorted(names, key=by_number):
        yield files.join(folder, name)


def by_number(name: str) -> list[tuple[bool, int, str]]:
    """Return what sorts names by the numbers in them: `frame_9` before `frame_10`."""
    return [
        (False, int(part), "") if part.isdecimal() else (True, 0, part)
        for part in re.split(r"([0-9]+)", name)
        if part
    ]


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _root(argument: str) -> str:
    """Return the folder that the images of one argument lie in."""
    if not files.is_local(argument):
        return argument.rstrip("/")
    path = files.local_path(argument)
    if path.is_dir():
        return str(path.absolute())
    parts = path.absolute().parts[:-1]
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return os.path.join(*parts[:fixed])  # noqa: PTH118 (parts of a path, "/" the first)


def _name(location: str, root: str) -> str:
    whole = str(files.local_path(location).absolute()) if files.is_local(location) else location
    return str(PurePosixPath(whole).relative_to(root)) if root else whole.lstrip("/")
