"""`mixpl label`: a teacher over unlabeled shards, one label table a shard.

In: a run or a checkpoint, and a data set. Out: `LABELS/round=0001/shard-000000.parquet …` and, last, `round.json`
with where the labels came from. A shard's labels exist completely or not at all; a killed job that is started
again skips what exists; any number of workers may share a round (`--worker 0 --workers 4`). A finished round is
never changed: other weights make the next one.
"""

from __future__ import annotations
