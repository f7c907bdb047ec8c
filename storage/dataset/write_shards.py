"""Many shards, by this process or several workers.

In: the tasks of one data set. Out: what each finished shard holds, in their order. A dead worker is a StoreError;
what was finished before stays.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from storage.dataset.write_shard import ShardPart, ShardTask, write_shard
from storage.errors import StoreError
from storage.readers.find_file import FileFinder
from storage.worker_pool import spawn_pool

OnShard = Callable[[int], None]
"""Told the number of images of a shard when it is complete."""

_finder: FileFinder
"""Of a worker process, see `_begin_worker`."""


def write_shards(
    tasks: list[ShardTask], images_root: str, workers: int, on_shard: OnShard
) -> list[ShardPart]:
    """Write the shards of one data set; return their parts in order. Raises StoreError when a process died."""
    if workers == 1 or len(tasks) == 1:
        finder, parts = FileFinder(images_root), []
        for task in tasks:
            parts.append(write_shard(task, finder))
            on_shard(len(task.image_ids))
        return parts
    pool = spawn_pool(min(workers, len(tasks)), partial(_begin_worker, images_root))
    try:
        futures = {pool.submit(_write_in_worker, task): index for index, task in enumerate(tasks)}
        done: dict[int, ShardPart] = {}
        for future in as_completed(futures):
            index = futures[future]
            done[index] = future.result()
            on_shard(len(tasks[index].image_ids))
        return [done[index] for index in range(len(tasks))]
    except BrokenProcessPool:
        raise StoreError(
            "expected every worker process to live, got a dead one (out of memory?): run the same "
            "command again with fewer --workers, it continues; a smaller --per-shard needs another folder"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(images_root: str) -> None:
    """Give a worker process one finder for all its shards: it ends with this data set."""
    global _finder
    _finder = FileFinder(images_root)


def _write_in_worker(task: ShardTask) -> ShardPart:
    return write_shard(task, _finder)
