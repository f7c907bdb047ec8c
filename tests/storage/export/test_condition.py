"""`--where` chooses boxes as the view `boxes` would, and can do nothing else."""

from __future__ import annotations

import resource
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from storage.database.connect import connect
from storage.database.workspace import Workspace
from storage.errors import ConfigError
from storage.export.condition import LOCKED, Condition
from storage.export.read_round import LabelSource, labeled_images
from storage.tables.list_columns import flat


def label_rows(source: LabelSource) -> pa.Table:
    return source.round.labels().read_all()


def condition_on(source: LabelSource, where: str) -> Condition:
    condition = Condition(where)
    condition.use_round(source.info, source.round.class_thresholds())
    return condition


def test_a_condition_sees_the_columns_and_values_of_the_view_boxes(source: LabelSource) -> None:
    condition = condition_on(source, "true")
    condition.holds(label_rows(source))
    ours = condition.boxes().to_arrow_table()
    assert ours["box_number"].to_pylist() == list(range(source.info.num_boxes))
    ours = ours.drop_columns("box_number")
    names = ", ".join(f'"{name}"' for name in ours.column_names)
    with connect(Workspace(datasets=(source.dataset,), rounds=(source.round,))) as connection:
        query = f"SELECT {names} FROM boxes WHERE origin = 'round' ORDER BY key, score, x1"
        theirs = connection.sql(query).to_arrow_table()
    order = [("key", "ascending"), ("score", "ascending"), ("x1", "ascending")]
    assert ours.sort_by(order).to_pylist() == theirs.to_pylist()


@pytest.mark.parametrize(
    "where",
    [
        "score > 0.7 and class = 'ring & <b>'",
        "tiny or size_bin <> 'small'",
        "x2 - x1 > 2 * height",
        "score > score_threshold and round = 1",
        "key like '%1' -- a comment",
        "nullif(class, 'star: é') is not null",
    ],
)
def test_the_boxes_that_leave_are_those_of_the_same_query(where: str, source: LabelSource) -> None:
    found = [
        (image_id, score)
        for batch in labeled_images(source, Condition(where))
        for index, image_id in enumerate(batch.images["image_id"].to_pylist())
        for score in batch.labels.image(index).scores_N.tolist()
    ]
    with connect(Workspace(datasets=(source.dataset,), rounds=(source.round,))) as connection:
        query = f"SELECT image_id, score FROM boxes WHERE origin = 'round' AND ({where}\n)"
        assert sorted(found) == sorted(connection.sql(query).fetchall())
    assert 0 < len(found) < source.info.num_boxes


def test_null_is_no(source: LabelSource) -> None:
    rows = label_rows(source)
    assert not condition_on(source, "null").holds(rows).any()
    assert condition_on(source, "true").holds(rows).all()


@pytest.mark.parametrize(
    "where",
    [
        "(SELECT count(*) FROM read_text('{secret}')) > 0",
        "(SELECT count(*) FROM '{secret}') > 0",
        "EXISTS (FROM read_csv('{secret}'))",
        "EXISTS (FROM glob('{folder}/*'))",
        "score IN (SELECT 1 FROM read_blob('{secret}'))",
        "EXISTS (FROM duckdb_settings())",
        "EXISTS (FROM secret_variable)",
        "true; COPY (SELECT 1) TO '{folder}/new.csv'",
        "true) TO '{folder}/new.csv' --",
        "true; ATTACH '{folder}/new.duckdb'",
        "true; SET enable_external_access = true",
        "true; INSTALL httpfs; LOAD httpfs",
        "true; DELETE FROM boxes",
        "true UNION ALL SELECT true",
        "true) UNION ALL (SELECT true",
        "true ORDER BY 1 LIMIT 1",
        "score > 0.5, true",
        "sum(score) > 1",
        "row_number() OVER () = 1",
        "unnest([true, false])",
        "score > $limit",
        "scor > 0.5",
        "class = ring",
        "random() > 0.5",
        'score > main."random"()',
        "setseed(0.5) is null",
        "nextval('a') > 0",
        "write_log('x') is null",
        "sleep_ms(1) is null",
        "getenv('HOME') = ''",
        "COLUMNS(*) > 0",
        "*",
        "score > ?",
        "score >",
        "",
        "   ",
    ],
)
def test_what_is_no_condition_on_one_box_is_refused_in_one_line(where: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    secret_variable = pa.table({"x": [1]})  # must not be found by its name
    with pytest.raises(ConfigError, match="columns dataset, key, image_id, class") as caught:
        Condition(where.format(secret=secret, folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    assert secret.read_text() == "secret"
    assert secret_variable.num_rows == 1


def test_a_function_that_answers_differently_each_time_is_named() -> None:
    with pytest.raises(ConfigError, match=r"got setseed\(\), which changes something or answers differently"):
        Condition("score > 0.5 or setseed(0.1) is null")


def test_a_query_inside_is_refused_even_where_it_could_be_answered() -> None:
    with pytest.raises(ConfigError, match="expected a condition on a single box, got a query inside it"):
        Condition("score > (SELECT 0.5)")


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_text('{secret}')",
        "FROM '{secret}'",
        "FROM glob('{folder}/*')",
        "FROM secret_variable",
        "COPY (SELECT 1) TO '{folder}/new.csv'",
        "EXPORT DATABASE '{folder}/new'",
        "ATTACH '{folder}/new.duckdb'",
        "SET enable_external_access = true",
        "LOAD httpfs",
        "INSTALL httpfs",
    ],
)
def test_its_database_would_refuse_files_and_settings_even_without_the_check(
    statement: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    secret_variable = pa.table({"x": [1]})
    with duckdb.connect(config=dict(LOCKED)) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement.format(secret=secret, folder=tmp_path)).fetchall()
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]
    assert secret_variable.num_rows == 1


def test_a_condition_that_fails_on_a_row_says_so(source: LabelSource) -> None:
    condition = condition_on(source, "class::INTEGER > 3")
    with pytest.raises(ConfigError, match=r"Could not convert string .*--where 'class::INTEGER > 3'"):
        condition.holds(label_rows(source))


def test_boxes_keep_their_order(source: LabelSource) -> None:
    rows = label_rows(source)
    scores_N = flat(rows, "scores", np.float32)
    np.testing.assert_array_equal(condition_on(source, "score > 0.5").holds(rows), scores_N > 0.5)


@pytest.mark.parametrize(
    "where", ["len(repeat('a', 4000000000)) > 0", "len(repeat('abcd', 600000000 + image_id)) > 0"]
)
def test_a_condition_that_needs_more_memory_than_a_box_may_take_is_refused(
    source: LabelSource, where: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match="Out of Memory"):
        condition_on(source, where).holds(label_rows(source))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000, "KB"
