"""Images that a user names: files, folders, patterns, frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import SourceError
from storage.readers.find_images import find_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b/frame_10.jpg",
        "b/frame_9.jpg",
        "b/notes.txt",
        "a/x.png",
        "a/deep/y.JPG",
        "a/.hidden.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(folder: Path) -> None:
    found = find_images([f"{folder}/b"])
    assert found.names == ("frame_9.jpg", "frame_10.jpg")
    assert found.locations == (f"{folder}/b/frame_9.jpg", f"{folder}/b/frame_10.jpg")


def test_files_folders_and_patterns_keep_the_order_of_the_arguments_and_names_that_differ(
    folder: Path,
) -> None:
    found = find_images([f"{folder}/b/frame_9.jpg", f"{folder}/**/*.JPG", f"{folder}/a"])
    assert found.names == ("b/frame_9.jpg", "a/deep/y.JPG", "a/x.png")  # y.JPG once, though named twice
    assert found.first(2).names == ("b/frame_9.jpg", "a/deep/y.JPG")
    assert find_images([f"{folder}/a"]).names == ("deep/y.JPG", "x.png")


def test_a_path_relative_to_here_is_named_by_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "a")
    assert find_images(["x.png"]).names == ("x.png",)
    assert find_images(["*.png"]).names == ("x.png",)
    assert find_images(["."]).names == ("deep/y.JPG", "x.png")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nothing.jpg", "names no image; patterns"),
        ("b/*.png", "names no image"),
        ("empty", "folder of images, got one without"),
        ("film.mp4", r"got a video: .*film\.mp4; write its frames"),
    ],
)
def test_what_names_no_image_is_refused(argument: str, message: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "film.mp4").write_bytes(b"")
    with pytest.raises(SourceError, match=message):
        find_images([f"{folder}/{argument}"])
