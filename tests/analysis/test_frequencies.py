"""Class frequencies and repeat factors from SQL, against the formulas in plain Python."""

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.frequencies import class_frequencies, rarest_classes, repeat_factors
from storage.database.connect import SQL_FOLDER
from storage.errors import ConfigError
from storage.labels import Labels
from tests.analysis.conftest import LABELED, labels_of

CLASSES = ("disk", "square", "tee", "star")


def factors_of(con, **arguments):
    table = repeat_factors(con, **arguments)
    return dict(zip(table["key"].to_pylist(), table["repeat_factor"].to_pylist(), strict=True))


def test_the_frequency_of_a_class_is_its_share_of_all_labeled_images(con):
    rows = class_frequencies(con, datasets=["labeled"]).to_pylist()
    assert rows == [
        {"class": "disk", "images": 3, "boxes": 4, "frequency": pytest.approx(3 / 5)},
        {"class": "square", "images": 2, "boxes": 2, "frequency": pytest.approx(2 / 5)},
        {"class": "tee", "images": 1, "boxes": 1, "frequency": pytest.approx(1 / 5)},
    ]


def test_pseudo_labels_above_the_threshold_count_where_asked_for(con):
    rows = class_frequencies(con, datasets=["labeled"], pseudo_datasets=["unlabeled"]).to_pylist()
    images = {row["class"]: row["images"] for row in rows}
    assert images == {"disk": 4, "square": 4, "tee": 1}
    assert rows[-1]["frequency"] == pytest.approx(1 / 9)


def test_hidden_truth_never_counts(con):
    assert class_frequencies(con).to_pylist() == class_frequencies(con, datasets=["labeled"]).to_pylist()


def test_an_image_takes_the_factor_of_its_rarest_class(con):
    factors = factors_of(con, threshold=0.5, datasets=["labeled"])
    square, tee = math.sqrt(0.5 / 0.4), math.sqrt(0.5 / 0.2)
    expected = {1: 1.0, 2: square, 3: 1.0, 4: tee, 5: 1.0}
    assert factors == pytest.approx({f"{image:012d}": factor for image, factor in expected.items()})


def test_pseudo_labeled_images_are_repeated_by_the_same_rule(con):
    table = repeat_factors(con, threshold=0.5, datasets=["labeled"], pseudo_datasets=["unlabeled"])
    assert table.num_rows == 9
    of_unlabeled = table.filter(pa.compute.equal(table["dataset"], "unlabeled"))["repeat_factor"].to_pylist()
    assert of_unlabeled == pytest.approx([math.sqrt(0.5 / (4 / 9))] * 2 + [1, 1])


def test_the_rarest_third_is_the_tail():
    truth = labels_of(LABELED)
    assert rarest_classes(truth).tolist() == [CLASSES.index("tee")]
    assert rarest_classes(truth, share=0.7).tolist() == [CLASSES.index("square"), CLASSES.index("tee")]


def test_the_tail_goes_by_images_then_by_boxes_and_has_no_class_that_never_occurs():
    box = [[0, 0, 10, 10]]
    truth = Labels.concatenate([Labels.of_image(box * 5, [0, 0, 0, 3, 3]), Labels.of_image(box * 2, [4, 3])])
    assert rarest_classes(truth, share=1).tolist() == [3, 0, 4]
    assert rarest_classes(truth).tolist() == [4]
    assert rarest_classes(Labels.empty(3)).tolist() == []


@pytest.mark.parametrize(
    "names", [{"datasets": ["coco"]}, {"datasets": ["unlabeled"]}, {"pseudo_datasets": ["x"]}]
)
def test_an_unknown_data_set_is_named(con, names):
    with pytest.raises(ConfigError, match=r"got '(coco|unlabeled|x)'"):
        class_frequencies(con, **names)


@pytest.mark.parametrize("threshold", [0, -0.1, 30])
def test_a_threshold_that_is_no_share_is_refused(con, threshold):
    with pytest.raises(ConfigError, match=f"got {threshold}"):
        repeat_factors(con, threshold=threshold)


def database(image_classes):
    """What the two queries ask, as tables of one labeled data set."""
    con = duckdb.connect()
    con.execute("CREATE SCHEMA workspace")
    con.execute("CREATE TABLE workspace.classes (folder BIGINT, category INT, class VARCHAR)")
    con.executemany("INSERT INTO workspace.classes VALUES (0, ?, ?)", list(enumerate(CLASSES)))
    con.execute(
        "CREATE TABLE categories AS SELECT 'drawn' AS dataset, category, class FROM workspace.classes"
    )
    con.execute("CREATE TABLE datasets AS SELECT 'drawn' AS dataset, true AS labeled")
    con.execute(
        "CREATE TABLE workspace.label_rows (key VARCHAR, categories INT[], folder BIGINT DEFAULT 0, "
        "dataset VARCHAR DEFAULT 'drawn', origin VARCHAR DEFAULT 'ground_truth', latest BOOL DEFAULT false, "
        "scores FLOAT[], score_threshold DOUBLE, class_thresholds DOUBLE[])"
    )
    rows = [
        (f"{number:03d}", [CLASSES.index(name) for name in names])
        for number, names in enumerate(image_classes)
    ]
    if rows:
        con.executemany("INSERT INTO workspace.label_rows (key, categories) VALUES (?, ?)", rows)
    for macro in ("class_threshold", "counted_labels", "class_counts"):
        con.execute((SQL_FOLDER / f"{macro}.sql").read_text(encoding="utf-8"))
    return con


@given(
    image_classes=st.lists(st.lists(st.sampled_from(CLASSES), max_size=5), min_size=1, max_size=12),
    threshold=st.floats(0.01, 1),
)
@settings(max_examples=40, deadline=None)
def test_repeat_factors_are_the_rule_and_fall_with_frequency(image_classes, threshold):
    with database(image_classes) as con:
        factors = list(factors_of(con, threshold=threshold).values())
        rows = {row["class"]: row for row in class_frequencies(con).to_pylist()}
    frequencies = {name: row["frequency"] for name, row in rows.items()}
    assert set(frequencies) == set(CLASSES)
    for name in CLASSES:
        share = np.mean([name in names for names in image_classes])
        assert frequencies[name] == pytest.approx(share)
        assert rows[name]["boxes"] == sum(names.count(name) for names in image_classes)
    for names, factor in zip(image_classes, factors, strict=True):
        rarest = min((frequencies[name] for name in names), default=1.0)
        assert factor == pytest.approx(max(1.0, math.sqrt(threshold / rarest)))
        assert factor >= 1


@pytest.mark.parametrize(("thresholds", "counted"), [(None, [1]), ([0.25, 0.75, 1, 1], [0])])
def test_a_pseudo_label_counts_strictly_above_the_threshold_of_its_class(thresholds, counted):
    with database([]) as con:
        con.execute(
            "INSERT INTO workspace.label_rows (key, categories, scores, score_threshold, class_thresholds, origin, "
            "latest) VALUES ('000', [0, 1, 1], [0.5, 0.5, 0.75], 0.5, ?, 'round', true)",
            [thresholds],
        )
        rows = con.sql("SELECT categories FROM workspace.counted_labels(NULL, ['drawn'])").fetchall()
    assert rows == [(counted,)]
