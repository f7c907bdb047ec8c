"""A user's query reads: it writes nothing, sees nothing outside the root and keeps to its memory."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from jobs.console.questions import run_query
from storage.database.connect import VIEWS, connect
from storage.errors import ConfigError
from storage.labels import Labels
from storage.memory_bound import bounded_memory
from storage.rounds.round import Round, open_round, round_path
from storage.tables.label_table import label_table
from storage.write_bound import forbid_writing
from tests.rounds import round_info


def write_round(folder: Path) -> Round:
    round_ = open_round(round_path(str(folder), 1))
    table = label_table(["k"], [1], [(20, 20)], Labels.of_image([(0, 0, 9, 9)], [0], [0.9]))
    round_.labels().write("shard-000000", table, {})
    return round_.finish(round_info(classes=("disk",), num_images=1, num_boxes=1))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a round, a table and a database of the user's own; beside it a folder that is not to be seen."""
    world = tmp_path_factory.mktemp("world")
    write_round(world / "root" / "labels")
    (world / "root" / "notes.csv").write_text("key,note\nk,blurred\n")
    (world / "root" / "table.parquet").write_bytes(
        (world / "root" / "labels" / "round=0001" / "shard-000000.parquet").read_bytes()
    )
    duckdb.connect(str(world / "root" / "own.duckdb")).execute("create table t as select 1 i").close()
    (world / "outside").mkdir()
    (world / "outside" / "secret.csv").write_text("a\n1\n")
    (world / "home").mkdir()
    return world


@pytest.fixture(scope="module")
def connection(world: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(world / "home"))
        patch.chdir(world / "root")
        with connect(".", memory_limit="500MB", locked=True) as connection:
            yield connection


def is_bounded() -> bool:
    """Return whether the system keeps threads from writing."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(forbid_writing).result()


def contents(world: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in world.rglob("*")
    }


WRITING = [
    "copy (select 1) to 'new.csv'",
    "copy (select 1) to 'labels/round=0001/shard-000000.parquet' (format parquet, use_tmp_file false)",
    "copy (select 1 a) to 'labels' (format parquet, partition_by (a), overwrite true)",
    "explain analyze copy (select 1) to 'new.csv'",
    "explain (analyze, format json) copy (select 1) to 'new.csv'",
    "EXPLAIN\tANALYZE COPY (select 1) TO 'table.parquet' (format parquet, use_tmp_file false)",
    "/* a query */ explain -- only\n analyze copy (select 1) to 'new.csv'",
    "/* /* */ explain select 1 -- */ */ explain analyze copy (select 1) to 'new.csv'",
    "/* /* */ explain select 1 -- */ copy (select 1) to 'new.csv'\n*/ explain analyze copy (select 1) to 'new.csv'",
    "with x as (copy (select 1) to 'new.csv') select * from x",
    "with x as (copy (select 1 a) to 'labels' (format parquet, partition_by (a), overwrite true)) from x",
    "with x as materialized (copy (select 1) to 'new.csv') select 1",
    "select * from (with x as (copy (select 1) to 'new.csv') select * from x)",
    "select (with x as (copy (select 1) to 'new.csv' (return_files)) select count(*) from x)",
    "select 1 where exists (with x as (copy (select 1) to 'new.csv') select * from x)",
    "with a as (with x as (copy (select 1) to 'new.csv') from x) select * from a union all select 1",
    "select 1 union all (with x as (copy (select 1) to 'new.csv') from x)",
    "with recursive r as (select 1 i union all (with x as (copy (select 1) to 'new.csv') select 2 from x)) from r",
    "explain analyze with x as (copy (select 1) to 'new.csv') select * from x",
    "with x as (insert into workspace.rounds select * from workspace.rounds returning *) from x",
    "with x as (delete from workspace.rounds returning *) from x",
    "with x as (update workspace.rounds set round = 2 returning *) from x",
    "pivot (with x as (copy (select 1) to 'new.csv') from x) on Count",
    "from (summarize (with x as (copy (select 1) to 'new.csv') from x))",
    "from query('copy (select 1) to ''new.csv''')",
    "from query('with x as (copy (select 1) to ''new.csv'') select * from x')",
    "from system.main.query('with x as (copy (select 1) to ''new.csv'') select * from x')",
    "from json_execute_serialized_sql(json_serialize_sql('with x as (copy (select 1) to ''new.csv'') from x'))",
    "copy (select 1) to '/dev/stdout'",
    "copy notes from 'notes.csv'",
    "attach 'written.db'",
    "attach 'own.duckdb' as own",
    "insert into own.t values (2)",
    "from read_duckdb('own.duckdb')",
    "create table t as select 1",
    "create view v as select 1",
    "create or replace macro m() as 1",
    "create persistent secret s (type http)",
    "drop view boxes",
    "export database 'written'",
    "import database 'written'",
    "install httpfs",
    "load 'x.duckdb_extension'",
    "set threads = 1",
    "set temp_directory = 'written'",
    "reset lock_configuration",
    "set enable_external_access = true",
    "set allowed_directories = ['/']",
    "set log_query_path = 'log'",
    "pragma database_list",
    "pragma enable_profiling = 'json'",
    "pragma profiling_output = 'profile.json'",
    "call enable_logging(storage = 'file', storage_path = 'log')",
    "from enable_logging(storage = 'file', storage_path = 'log')",
    "from enable_logging('QueryLog', storage = 'file', storage_config = {'path': 'log'})",
    "select * from range(3), enable_logging(storage = 'file', storage_path = 'log')",
    "explain analyze from Enable_Logging(storage = 'file', storage_path = 'log')",
    "from enable_profiling(save_location := 'profile.json')",
    "from force_checkpoint()",
    "from checkpoint()",
    "from truncate_duckdb_logs()",
    "vacuum",
    "checkpoint",
    "begin transaction",
    "prepare p as copy (select 1) to 'new.csv'",
    "execute p",
    "select 1; copy (select 1) to 'new.csv'",
]


@pytest.mark.parametrize("query", WRITING)
def test_whatever_writes_is_refused_and_changes_no_file(
    world: Path, connection: duckdb.DuckDBPyConnection, query: str
) -> None:
    before = contents(world)
    with pytest.raises(ConfigError, match=r"nothing is changed by `mixpl sql`|Parser Error"):
        run_query(connection, query)
    assert contents(world) == before


@pytest.mark.skipif(not is_bounded(), reason="the kernel has no Landlock")
def test_what_the_judgement_lets_through_cannot_write(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world / "root")
    monkeypatch.setattr("jobs.console.questions.reading_query", lambda _, query: query)
    before = contents(world)
    for query in (
        "copy (select 1) to 'new.csv'",
        "explain analyze copy (select 1) to 'table.parquet' (format parquet, use_tmp_file false)",
        "with x as (copy (select 1) to 'new.csv') select * from x",
        "copy (from range(9_999_999)) to 'many' (per_thread_output)",
        "select 1; copy (select 1) to 'new.csv'",
        "export database 'written'",
    ):
        with (
            connect(".", memory_limit="500MB", threads=2, locked=True) as connection,
            pytest.raises(ConfigError, match="Permission denied"),
        ):
            run_query(connection, query)
        assert contents(world) == before, query


def test_work_beyond_memory_is_still_written_to_the_spill(world: Path, tmp_path: Path) -> None:
    query = (
        "select max(h) h from (select i, hash(i) h from range(3_000_000) t(i) order by 2, 1 limit 2_900_000)"
    )
    with connect(str(world / "root"), memory_limit="30MB", spill=str(tmp_path), locked=True) as connection:
        assert run_query(connection, query)["h"][0].as_py()
    (tmp_path / "mine").write_text("only the threads of the query are bound")


LOOKING = [
    "from '{outside}/secret.csv'",
    "from '../outside/secret.csv'",
    "from './labels/../../outside/secret.csv'",
    "from read_csv('{outside}/*.csv')",
    "from read_csv(['notes.csv', '{outside}/secret.csv'])",
    "from read_text('{outside}/secret.csv')",
    "from read_blob('/etc/hostname')",
    "select content from read_text('/proc/self/environ')",
    "from glob('{outside}/*')",
    "from glob('../*')",
    "from sniff_csv('{outside}/secret.csv')",
    "from parquet_metadata('{outside}/secret.csv')",
    "from read_json('file://{outside}/secret.csv')",
    "from query_table('{outside}/secret.csv')",
    "from 'linked.csv'",
    "from read_csv('https://127.0.0.1:9/a.csv')",
    "from read_csv('s3://bucket/a.csv')",
]


@pytest.mark.parametrize("query", LOOKING)
def test_nothing_outside_the_root_is_seen(
    world: Path, connection: duckdb.DuckDBPyConnection, query: str
) -> None:
    if not (world / "root" / "linked.csv").is_symlink():
        (world / "root" / "linked.csv").symlink_to(world / "outside" / "secret.csv")
    with pytest.raises(ConfigError, match="disabled by configuration"):
        run_query(connection, query.format(outside=world / "outside"))


READING = [
    *(f"from {view}" for view in VIEWS),
    "describe boxes",
    "summarize boxes",
    "show tables",
    "show all tables",
    "table boxes",
    "values (1), (2)",
    "explain select count(*) from boxes",
    "explain analyze select count(*) from boxes",
    "EXPLAIN (FORMAT json) select 1",
    "-- how many\nexplain (analyze, format json)\nselect count(*) from boxes",
    "/* how many */ with x as (select 1 i) select * from x where i in (from range(3))",
    "with recursive r as (select 1 i union all select i + 1 from r where i < 3) select * from r",
    "select * from (pivot (select class, score from boxes) on class in ('disk') using avg(score))",
    "unpivot (select 1 a, 2 b) on a, b",
    "from workspace.counted_labels(null, [])",
    "select b.key, note from boxes b join 'notes.csv' n using (key)",
    "from read_parquet('labels/*/*.parquet', hive_partitioning = true)",
    "select file_name from parquet_metadata('table.parquet')",
    "from glob('**/*.parquet')",
    "from duckdb_settings() limit 1",
    "select unnest([1, 2]), 'COPY_QUERY_NODE' as text, {'type': 'COPY_NODE'} as struct",
    "select key from boxes where class = 'enable_logging()'",
]


@pytest.mark.parametrize("query", READING)
def test_whatever_reads_below_the_root_is_answered(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    assert isinstance(run_query(connection, query), pa.Table)


def test_a_linked_folder_of_labels_is_read_and_its_neighbours_are_not(world: Path, tmp_path: Path) -> None:
    write_round(tmp_path / "far" / "labels")
    (tmp_path / "far" / "secret.csv").write_text("a\n1\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "labels").symlink_to(tmp_path / "far" / "labels")
    with connect(f"{tmp_path}/root/../root", locked=True) as connection:
        assert run_query(connection, "select key from boxes").to_pylist() == [{"key": "k"}]
        with pytest.raises(ConfigError, match="disabled by configuration"):
            run_query(connection, f"from '{tmp_path}/far/secret.csv'")


def test_variables_of_python_are_no_tables(connection: duckdb.DuckDBPyConnection) -> None:
    hidden = pa.table({"a": [1]})
    with pytest.raises(ConfigError, match="hidden does not exist"):
        run_query(connection, "from hidden")
    assert len(hidden) == 1


@pytest.mark.parametrize(
    "query",
    [
        "select len(repeat('a', 4000000000))",
        "select len(range(400000000))",
        "select max(len(repeat('x', 1000000) || i)) from range(3000) t(i)",
        "select repeat('x', 1000) || i from range(3000000) t(i)",
    ],
)
def test_a_query_beyond_the_limit_ends_in_one_line(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match="raise --memory-limit"):
        run_query(connection, query)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_100_000, "KB; the limit is 500 MB"
    assert run_query(connection, "select 1 a").to_pylist() == [{"a": 1}]
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_a_bound_on_memory_holds_in_its_block_only() -> None:
    with bounded_memory(200_000_000), pytest.raises(MemoryError):
        bytearray(300_000_000)
    assert len(bytearray(300_000_000)) == 300_000_000


def test_work_beyond_memory_goes_to_a_hidden_folder_that_is_collected(world: Path, tmp_path: Path) -> None:
    (tmp_path / ".mixpl-spill.77-0123abcd.tmp").mkdir()
    (tmp_path / ".mixpl-spill.77-0123abcd.tmp" / "duckdb_temp_block-1.block").write_bytes(b"left")
    code = (
        "from storage.database.connect import connect\n"
        "from jobs.console.questions import run_query\n"
        f"options = dict(memory_limit='60MB', threads=1, spill={str(tmp_path)!r}, locked=True)\n"
        f"c = connect({str(world / 'root')!r}, **options)\n"
        "q = 'select sum(j) from (select i, row_number() over (order by hash(i)) j from range(4000000) t(i))'\n"
        "print(run_query(c, q).to_pylist())\n"
        f"import os; print(os.listdir({str(tmp_path)!r}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "8000002000000" in said.stdout, said.stderr
    assert said.stdout.count(".mixpl-spill.") == 1, "its own folder, and no longer that of the killed process"
    assert list(tmp_path.iterdir()) == []
