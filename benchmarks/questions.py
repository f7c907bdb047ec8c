"""A sweep over 100 score thresholds of a million boxes, by class and size, from files to the answer.

100,000 images of 80 classes with 400,000 true boxes, and a round of 1,000,000 boxes over them: read, matched to the
truth, registered with DuckDB and swept by `threshold-sweep.sql`. In a process of its own, after a warm-up on a
hundredth of it that compiles the matching, by two threads; wall time, as a person waits for it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator

import numpy as np

from analysis.judged import add_judged_tables
from analysis.questions import open_question
from benchmarks.measure import Result, at_most, in_child
from benchmarks.tables import random_labels, write_labeled, write_round
from storage.database.connect import connect
from storage.database.workspace import discover
from storage.labels import Labels

NUM_IMAGES, IMAGES_A_FILE, STEPS = 100_000, 1_500, 100
SIZE = "1 M boxes, 100 thresholds, 80 classes, 4 sizes"


def run() -> list[Result]:
    """Write the tables, sweep them in a child process, and show its time and its peak memory."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, num_images in (("small", NUM_IMAGES // 100), ("large", NUM_IMAGES)):
            write_labeled(f"{folder}/{name}/images", _shards(rng, num_images, boxes_an_image=4))
            # the data set of the round has the name, and so the hash, of the one with the truth
            write_round(
                f"{folder}/aside-{name}/images",
                f"{folder}/{name}/labels",
                _shards(rng, num_images, boxes_an_image=10),
            )
        (judged, swept), peak = in_child(sweep, folder)
    return [
        at_most(f"read and match, {SIZE}", judged, bar=10, unit="s"),
        at_most(f"threshold sweep, {SIZE}", swept, bar=2, unit="s"),
        at_most(f"peak memory of both, {SIZE}", peak, bar=2048, unit="MiB"),
    ]


def sweep(folder: str) -> tuple[float, float]:
    """Return the seconds until the boxes are judged, and those of the sweep."""
    _sweep(f"{folder}/small")
    return _sweep(f"{folder}/large")


def _sweep(root: str) -> tuple[float, float]:
    question, workspace = open_question("threshold-sweep"), discover(root)
    with connect(workspace, threads=2) as con:
        start = time.monotonic()
        add_judged_tables(con, workspace, question.sql)
        judged = time.monotonic()
        answer = con.sql(question.sql, params=question.bind({"steps": STEPS})).to_arrow_table()
        swept = time.monotonic()
    assert len(answer) > 80 * STEPS, "every class and size has its thresholds"
    return judged - start, swept - judged


def _shards(rng: np.random.Generator, num_images: int, *, boxes_an_image: int) -> Iterator[Labels]:
    for start in range(0, num_images, IMAGES_A_FILE):
        size = min(IMAGES_A_FILE, num_images - start)
        yield random_labels(rng, size, size * boxes_an_image)
