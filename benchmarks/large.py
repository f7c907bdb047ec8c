"""Class frequencies and repeat factors at 2 million images and 30 million boxes, within 2 GB of memory.

100,000 labeled images with their truth and 1.9 million with a round of pseudo labels of any score, 15 boxes an
image of 80 classes, in some 1,300 Parquet files as labeling jobs leave them. Both questions count truth and the
pseudo labels above the round's threshold together. They are asked in a process of their own, by two threads, with
DuckDB's memory limit set; its peak counts all of it: interpreter, libraries and the answer of 2 million rows.

Theirs are the loops of `benchmarks.frequencies` over records in memory, boxes only, of one image in twenty, times
twenty: in full the records alone would fill the memory. They are shown and promise nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np

from analysis.frequencies import class_frequencies, repeat_factors
from benchmarks.frequencies import Records, count_images, loops, records_of
from benchmarks.measure import Result, at_most, cpu_seconds, in_child
from benchmarks.tables import random_labels, write_labeled, write_round
from storage.database.connect import connect
from storage.labels import Labels

NUM_LABELED, NUM_UNLABELED, BOXES_AN_IMAGE, IMAGES_A_FILE = 100_000, 1_900_000, 15, 1_500
MEMORY_LIMIT, THREADS = "1200MB", 2
SIZE = "2 M images, 30 M boxes"


def run() -> list[Result]:
    """Write the tables, ask both questions in a child process, and show its time and its peak memory."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        labeled = list(_shards(rng, NUM_LABELED))
        write_labeled(f"{folder}/labeled", iter(labeled))
        write_round(f"{folder}/unlabeled", f"{folder}/labels", _shards(rng, NUM_UNLABELED))
        (frequencies, factors), peak = in_child(ask, folder)
    records = Records(records_of(Labels.concatenate(labeled)))
    scale = (NUM_LABELED + NUM_UNLABELED) / NUM_LABELED
    their_frequencies = cpu_seconds(lambda: count_images(records)) * scale
    their_factors = cpu_seconds(lambda: loops(records)) * scale
    return [
        at_most(f"class frequencies, {SIZE}", frequencies, bar=5, unit="CPU s", theirs=their_frequencies),
        at_most(f"repeat factors, {SIZE}", factors, bar=10, unit="CPU s", theirs=their_factors),
        at_most(f"peak memory of both, {SIZE}", peak, bar=2048, unit="MiB"),
    ]


def ask(folder: str) -> tuple[float, float]:
    """Return the CPU seconds of both questions."""
    sources = {"datasets": ["labeled"], "pseudo_datasets": ["unlabeled"]}
    with connect(folder, memory_limit=MEMORY_LIMIT, threads=THREADS) as con:
        frequencies = cpu_seconds(lambda: class_frequencies(con, **sources))
        factors = cpu_seconds(lambda: repeat_factors(con, threshold=0.05, **sources))
    return frequencies, factors


def _shards(rng: np.random.Generator, num_images: int) -> Iterator[Labels]:
    for start in range(0, num_images, IMAGES_A_FILE):
        size = min(IMAGES_A_FILE, num_images - start)
        yield random_labels(rng, size, size * BOXES_AN_IMAGE)
