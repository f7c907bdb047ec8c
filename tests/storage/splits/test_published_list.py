"""Published lists of labeled images: every form they come in, and each way in which one can be wrong."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputError
from storage.splits.draw_split import draw_split
from storage.splits.published_list import import_split

IMAGES = [{"id": number, "file_name": f"train/{number:06d}.jpg"} for number in range(1, 51)]
LABELED = (3, 14, 15, 41)


def imported(folder: Path, content: Any, **arguments: Any) -> Any:
    path = folder / "list"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return import_split(str(path), IMAGES, **arguments)


@pytest.mark.parametrize(
    "content",
    [
        "3\n14\n\n15\n41\n",
        "41\r\n15\r\n14\r\n3",
        [3, 14, 15, 41],
        ["3", "14", 15, 41, 3],
        "train/000003.jpg\n000014.jpg\n000015\n41\n",
        {"images": [{"id": one, "file_name": "x"} for one in LABELED], "annotations": []},
    ],
)
def test_every_form_of_a_list_gives_the_same_split(tmp_path: Path, content: Any) -> None:
    split = imported(tmp_path, content)
    assert split.labeled_ids == LABELED
    assert len(split.unlabeled_ids) == 46
    assert (split.family, split.percent, split.num_images) == ("imported", 8, 50)


def test_a_name_counts_before_a_number(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("000007\n")
    images = [{"id": 1, "file_name": "000007.jpg"}, {"id": 7, "file_name": "000001.jpg"}]
    assert import_split(str(path), images).labeled_ids == (1,)


def test_an_image_listed_twice_is_labeled_once_and_the_draws_are_counted(tmp_path: Path) -> None:
    split = imported(tmp_path, [3, 3, 14, 3])
    assert (split.labeled_ids, split.num_draws) == ((3, 14), 4)


def test_the_hash_of_the_ids_is_what_the_shell_says(tmp_path: Path) -> None:
    split = imported(tmp_path, [*LABELED])
    assert split.ids_hash == hashlib.sha256(b"3\n14\n15\n41\n").hexdigest()


def test_either_hash_or_its_beginning_is_accepted_and_no_other(tmp_path: Path) -> None:
    split = imported(tmp_path, [*LABELED])
    for wanted in (split.hash, split.ids_hash, split.ids_hash[:8].upper()):
        assert imported(tmp_path, [*LABELED], expected_hash=wanted) == split
    for wanted in (split.hash[:7], "0" * 64, split.ids_hash[:20] + "x"):
        with pytest.raises(InputError, match="expected the hash that --hash asks for"):
            imported(tmp_path, [*LABELED], expected_hash=wanted)
    with pytest.raises(InputError, match="expected the hash"):
        imported(tmp_path, [3, 14, 15, 42], expected_hash=split.ids_hash)


def test_a_description_of_ours_comes_back_with_its_family_and_is_checked(tmp_path: Path) -> None:
    drawn = draw_split([image["id"] for image in IMAGES], family="published", percent=20, fold=3)  # type: ignore[misc]
    description = {
        "family": drawn.family, "percent": drawn.percent, "fold": drawn.fold, "seed": drawn.seed,
        "num_draws": drawn.num_draws, "hash": drawn.hash, "labeled_ids": drawn.labeled_ids,
    }  # fmt: skip
    assert imported(tmp_path, description) == drawn
    with pytest.raises(InputError, match=r"expected the hash that .*list says"):
        imported(tmp_path, description | {"labeled_ids": drawn.labeled_ids[1:]})
    (tmp_path / "list").write_text(json.dumps(description))
    fewer = IMAGES[:-1] if 50 not in drawn.labeled_ids else IMAGES[1:]
    with pytest.raises(InputError, match="expected"):
        import_split(str(tmp_path / "list"), fewer)
    assert replace(drawn, fold=4).hash != drawn.hash


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("3\n99\n", "1 of 2 that it does not have, the first '99' as entry 2"),
        ([0], "the first 0 as entry 1: .*positions instead of ids"),
        ("cat.jpg\n", "the first 'cat.jpg'"),
        ("", "got none"),
        ([], "got none"),
        ({"10.0": {"1": [3]}}, "got none"),
        ([3.5], "got 3.5"),
        ([True], "got True"),
        ([[3]], r"got \[3\]"),
        ([*range(1, 51)], "got 50 labeled of 50"),
        (
            {"labeled_ids": [3], "family": "own"},
            r"the fields of a split, .*'own' - at `\$\.family`.*--overwrite",
        ),
        ({"labeled_ids": [3], "percent": "ten"}, r"`\$\.percent`"),
        ({"labeled_ids": [3], "fold": [1]}, r"`\$\.fold`"),
        ({"labeled_ids": [3], "num_draws": 1.5}, r"`\$\.num_draws`"),
        ({"labeled_ids": [3], "schema_version": 2}, "a newer mixpl wrote it"),
    ],
)
def test_a_list_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, content: Any, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        imported(tmp_path, content)
    assert "list" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.txt.*check the path"):
        import_split(str(tmp_path / "nope.txt"), IMAGES)
