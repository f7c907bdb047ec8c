"""Split families: the published draw to the letter, the exact one by its properties."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InputError
from storage.splits.draw_split import Family, Split, draw_split, split_documents

IDS = [7 * number % 1009 for number in range(1, 1001)]
FAMILIES: tuple[Family, ...] = ("published", "exact")


@pytest.mark.parametrize("fold", [1, 2, 5])
@pytest.mark.parametrize("percent", [1, 2, 5, 10])
def test_the_published_family_is_the_draw_of_the_usual_tool(percent: int, fold: int) -> None:
    np.random.seed(fold)  # noqa: NPY002  # the reference draw is defined by the global legacy generator
    total = int(percent / 100.0 * len(IDS))
    indices = set(np.random.choice(range(len(IDS)), size=total))  # noqa: NPY002
    split = draw_split(IDS, family="published", percent=percent, fold=fold)
    assert split.labeled_ids == tuple(sorted(IDS[index] for index in indices))
    assert split.num_draws == total


def test_ten_published_percent_of_coco_hold_fewer_images_than_the_percent_says() -> None:
    split = draw_split(range(118_287), family="published", percent=10, fold=1)
    assert 11_200 < len(split.labeled_ids) < 11_300
    assert split.num_draws == 11_828


@given(
    st.sets(st.integers(0, 10**9), min_size=10, max_size=60),
    st.floats(10, 90),
    st.integers(0, 20),
    st.sampled_from(FAMILIES),
)
def test_every_image_is_on_exactly_one_side(ids: set[int], percent: float, fold: int, family: Family) -> None:
    split = draw_split(sorted(ids), family=family, percent=percent, fold=fold)
    assert sorted(split.labeled_ids + split.unlabeled_ids) == sorted(ids)
    if family == "exact":
        assert len(split.labeled_ids) == round(percent / 100 * len(ids))


def test_the_exact_family_does_not_depend_on_the_order_of_the_file() -> None:
    shuffled = random.Random(0).sample(IDS, len(IDS))
    splits = [draw_split(ids, family="exact", percent=5, fold=1) for ids in (IDS, shuffled)]
    assert splits[0].hash == splits[1].hash


def test_any_other_argument_gives_another_hash() -> None:
    def drawn(family: Family = "exact", percent: float = 5, fold: int = 1, seed: int = 0) -> Split:
        return draw_split(IDS, family=family, percent=percent, fold=fold, seed=seed)

    others = [drawn(family="published"), drawn(percent=6), drawn(fold=2), drawn(seed=1)]
    assert drawn().hash == drawn().hash
    assert len({split.hash for split in (drawn(), *others)}) == 5
    assert len({split.labeled_ids for split in (drawn(), *others)}) == 5


@pytest.mark.parametrize(
    ("percent", "complaint"),
    [(0, "between 0 and 100"), (100, "between 0 and 100"), (0.01, "got 0 labeled of 1000")],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_side_is_refused(family: Family, percent: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        draw_split(IDS, family=family, percent=percent, fold=1)


def test_the_unlabeled_part_tells_nothing_of_what_is_in_an_image() -> None:
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": 5, "height": 5, "neg_category_ids": [987_654]}
        for number in range(10)
    ]
    annotations = [
        {"id": 100 + number, "image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1]}
        for number in range(10)
    ]
    document = {
        "info": {"year": 2017},
        "images": images,
        "annotations": annotations,
        "captions": ["987654"],
        "categories": [{"id": 1, "name": "a"}],
    }
    split = draw_split(range(10), family="exact", percent=30, fold=1)
    parts = split_documents(document, images, split)
    assert sorted(parts) == ["labeled", "unlabeled", "unlabeled-truth"]
    unlabeled = parts["unlabeled"]
    assert sorted(unlabeled) == ["categories", "images", "info", "licenses"]
    assert "987654" not in json.dumps(unlabeled)
    assert "bbox" not in json.dumps(unlabeled)
    assert {image["id"] for image in unlabeled["images"]} == set(split.unlabeled_ids)
    assert {entry["image_id"] for entry in parts["labeled"]["annotations"]} == set(split.labeled_ids)
    assert {entry["image_id"] for entry in parts["unlabeled-truth"]["annotations"]} == set(
        split.unlabeled_ids
    )
    for name, part in parts.items():
        assert part["info"]["year"] == 2017
        assert part["info"]["split"]["hash"] == split.hash
        assert part["info"]["split"]["part"] == name
