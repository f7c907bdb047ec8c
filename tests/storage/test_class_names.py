"""Lists of classes held against each other: what differs is said in words."""

from __future__ import annotations

import pytest

from storage.class_names import difference, plain_class


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (("dog", "cat"), "the same in another order"),
        (("cat",), "others: without dog"),
        (("cat", "dog", "cow"), "others: with cow"),
        (("Cat", "dog"), "others: 'Cat' instead of 'cat'"),
        (("cat ", "cow"), "others: 'cat ' instead of 'cat'; without dog; with cow"),
        (tuple("abcdefg"), "others: without cat, dog; with a, b, c, d, e and 2 more"),
    ],
)
def test_a_difference_is_named(got: tuple[str, ...], words: str) -> None:
    assert difference(("cat", "dog"), got) == words


def test_spellings_of_one_name_are_one() -> None:
    names = ("traffic light", "Traffic_Light", " traffic-light ", "TRAFFIC  LIGHT")
    assert {plain_class(name) for name in names} == {"traffic light"}
    assert plain_class("cafe\u0301") == plain_class("caf\u00e9")
    assert plain_class("cat") != plain_class("cats")
