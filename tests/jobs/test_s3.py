"""Shards, label tables and questions on an S3 server of this machine, with a line that breaks now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

pytest.importorskip("s3fs")
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from jobs import cli
from jobs.label import LabelConfig, label
from jobs.labeling.label_round import choose_round
from jobs.shard import ShardConfig, shard
from pipeline.samples.reader import SampleReader
from storage import files, remote
from storage.database.connect import connect
from storage.dataset.dataset import Dataset
from storage.labels import Labels
from storage.remote import open_filesystem
from storage.rounds.compaction import compact
from storage.rounds.round import list_rounds, open_round
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table
from storage.verify.check_dataset import check_dataset
from tests.rounds import round_info

pytestmark = pytest.mark.timeout(120)


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None: ...  # noqa: A002


class Line:
    """What stands between client and server: it breaks, and refuses, when it is told to."""

    def __init__(self) -> None:
        self._server = DomainDispatcherApplication(create_backend_app)
        self.broken_answers = 0
        """GET answers yet to be cut in the middle."""
        self.refused_writes = 0
        """PUT requests yet to be cut off before the server has seen the whole of them."""
        self.num_cut = 0
        self.refuses_all = False
        """Whether the credentials are not the right ones."""
        self.failing = ""
        """Ending of the names whose GETs are answered with 503."""

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if self.refuses_all:
            start("403 Forbidden", [("Content-Type", "application/xml")])
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
        if (
            self.failing
            and environ["REQUEST_METHOD"] == "GET"
            and environ["PATH_INFO"].endswith(self.failing)
        ):
            start("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code><Message>come later</Message></Error>"]
        if environ["REQUEST_METHOD"] == "PUT" and self.refused_writes:
            self.refused_writes -= 1
            raise ConnectionResetError
        if environ["REQUEST_METHOD"] == "GET" and "?" not in environ["RAW_URI"] and self.broken_answers:
            self.broken_answers -= 1
            self.num_cut += 1
            return self._half(environ, start)
        answer: Iterable[bytes] = self._server(environ, start)
        return answer

    def _half(self, environ: WSGIEnvironment, start: StartResponse) -> Iterator[bytes]:
        whole = b"".join(self._server(environ, start))
        yield whole[: len(whole) // 2]
        raise ConnectionResetError


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    """A server on a free port of the loopback; it ends with the tests of this file."""
    line = Line()
    server = make_server("127.0.0.1", 0, line, threaded=True, request_handler=Quiet)
    server.log = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        filesystem, _ = open_filesystem("s3://labels")
        filesystem.mkdir("labels")
        yield line
        filesystem.clear_instance_cache()
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def test_a_data_set_is_written_to_s3_and_labeled_there_and_asked(
    line: Line, drawn: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = "s3://labels/all"
    parts = {"source": f"{drawn}/split/unlabeled.json", "images": f"{drawn}/images/images/train"}
    written = shard(ShardConfig(**parts, out=f"{root}/unlabeled", per_shard=190, workers=2))
    with SampleReader(Dataset.open(f"{drawn}/unlabeled")) as here, SampleReader(written) as there:
        assert [bytes(one) for one in there.read(range(8))] == [bytes(one) for one in here.read(range(8))]  # type: ignore[arg-type]
    for _ in range(2):
        config = LabelConfig(run=str(trained), data=f"{root}/unlabeled", out=f"{root}/labels", threads=1)
        assert label(config) == 0
    assert "is complete" in capsys.readouterr().out
    (round_,) = list_rounds(f"{root}/labels")
    assert round_.complete
    assert (
        cli.run(["sql", "select count(*) n from labels where latest", "--root", root, "--format", "csv"]) == 0
    )
    assert capsys.readouterr().out.split() == ['"n"', "380"]


def test_a_read_that_breaks_in_the_middle_is_read_again(line: Line, drawn: Path) -> None:
    source = Dataset.open(f"{drawn}/labeled")
    for name in files.walk_files(source.root):
        files.write_atomic(f"s3://labels/copy/{name}", files.read_bytes(f"{source.root}/{name}"))
    copy = Dataset.open("s3://labels/copy")
    query = "select sum(x1) from ground_truth"
    with SampleReader(source) as here, SampleReader(copy) as there, connect(source.root) as con:
        line.broken_answers, line.num_cut = 2, 0
        assert [bytes(one) for one in there.read([0, 1])] == [bytes(one) for one in here.read([0, 1])]  # type: ignore[arg-type]
        assert line.num_cut == 2
        with connect(copy.root) as far:
            line.broken_answers = 2
            assert far.sql(query).fetchall() == con.sql(query).fetchall()
        assert line.num_cut == 4


def test_sql_over_a_store_that_fails_ends_in_one_line(
    line: Line, drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "DEADLINE", 1.0)
    source = Dataset.open(f"{drawn}/labeled")
    for name in files.walk_files(source.root):
        if not name.endswith(".tar"):
            files.write_atomic(f"s3://labels/failing/{name}", files.read_bytes(f"{source.root}/{name}"))
    query = ["sql", "select count(*) n from ground_truth", "--root", "s3://labels/failing", "--format", "csv"]
    line.failing = ".parquet"
    try:
        code = cli.run(query)
    finally:
        line.failing = ""
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert "s3://labels/failing/" in error
    assert "come later (tried" in error
    assert cli.run(query) == 0


def test_a_write_that_is_cut_off_shows_no_file_and_the_next_one_is_whole(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "DEADLINE", 1.0)
    store = LabelStore("s3://labels/cut")
    table = label_table(["a"], [1], [(10, 10)], Labels.of_image([(0, 0, 1, 1)], [0], [0.5]))
    line.refused_writes = 1000
    with pytest.raises(OSError, match=r"expected pipe_file to work.*labels/cut/shard-000000\.parquet"):
        store.write("shard-000000", table, {})
    line.refused_writes = 0
    assert store.stems() == []
    assert not store.has("shard-000000")
    line.refused_writes = 1
    store.write("shard-000000", table, {})
    assert store.read("shard-000000").num_rows == 1


def test_files_of_other_writers_are_seen_by_a_process_that_has_looked_before(line: Line) -> None:
    store = LabelStore("s3://labels/shared")
    files.write_atomic(store.path("shard-000000"), b"")
    assert store.stems() == ["shard-000000"]
    filesystem, _ = open_filesystem("s3://labels")
    other = type(filesystem)(skip_instance_cache=True)
    other.pipe_file("labels/shared/shard-000001.parquet", b"")
    assert store.stems() == ["shard-000000", "shard-000001"]
    assert store.has("shard-000001")


def test_a_data_set_on_s3_is_verified_there(line: Line, drawn: Path) -> None:
    source = Dataset.open(f"{drawn}/labeled")
    root = "s3://labels/verified"
    for name in files.walk_files(source.root):
        files.write_atomic(f"{root}/{name}", files.read_bytes(f"{source.root}/{name}"))
    for quick in (False, True):
        assert not check_dataset(root, quick=quick, on_shard=lambda _: True).findings
    data = bytearray(files.read_bytes(source.shard_path(source.shards[0])))
    row = source.images().to_pylist()[7]
    data[row["offset"] + 200] ^= 1
    files.write_atomic(f"{root}/{source.shards[0]}", bytes(data))
    files.write_atomic(f"{root}/shard-000077.tar", b"")
    found = check_dataset(root, on_shard=lambda _: True).findings.kept
    assert [(kind, one.file, one.key) for kind, kept in found.items() for one in kept] == [
        ("stray shard", "shard-000077.tar", None),
        ("changed bytes", source.shards[0], row["key"]),
    ]


@pytest.mark.parametrize(
    "location", ["s3://labels/none.json", "s3://no-such-bucket/none.json", "s3://labels/refused.json"]
)
def test_what_s3_does_not_give_is_one_line_with_its_url(
    location: str, line: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line.refuses_all = "refused" in location
    try:
        code = cli.run(["split", location, "--out", str(tmp_path)])
    finally:
        line.refuses_all = False
    error = capsys.readouterr().err
    print(error)
    assert (code, error.count("\n")) == (2, 1)
    assert location in error
    if "refused" in location:
        assert "key 'refused.json" in error
        assert "of bucket 'labels'" in error
        assert "Forbidden; check the credentials (AWS_ACCESS_KEY_ID" in error


def at_once(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Do the same in two threads at the same moment."""
    barrier = threading.Barrier(2)

    def wait_and_work(_: int) -> Any:
        barrier.wait(10)
        return work(*arguments)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(wait_and_work, range(2)))


def test_workers_that_begin_at_once_on_s3_share_one_round(line: Line) -> None:
    choose = partial(choose_round, provenance={"weights_hash": "w"}, score_threshold=0.5)
    for trial in range(4):
        rounds = at_once(choose, f"s3://labels/begun-{trial}")
        assert [round_.path for round_ in rounds] == [f"s3://labels/begun-{trial}/round=0001"] * 2


def test_a_file_is_created_on_s3_only_where_there_is_none_even_when_nobody_looks_before(line: Line) -> None:
    assert files.create_remote("s3://labels/claim", b"first")
    assert not files.create_remote("s3://labels/claim", b"second")
    assert files.create_remote("s3://labels/claim", b"first"), (
        "as when the answer to the first write was lost"
    )
    assert files.read_bytes("s3://labels/claim") == b"first"


def test_two_compactions_at_once_on_s3_lose_no_label(line: Line) -> None:
    round_ = open_round("s3://labels/compacted/round=0001")
    for number in range(4):
        labels = Labels.of_image([(0, 0, 1, 1)], [0], [0.5])
        table = label_table([f"k{number}"], [number], [(10, 10)], labels)
        round_.labels().write(f"shard-{number:06d}", table, {})
    round_ = round_.finish(round_info(classes=("disk",), num_images=4, num_boxes=4))
    rows = round_.labels().read_all()
    done = at_once(partial(compact, table_bytes=1), round_)
    assert [compaction.tables_after for compaction in done] == [4, 4]
    assert open_round(round_.path).labels().read_all().equals(rows)
    assert files.list_files(round_.path, ".parquet") == []
