"""`mixpl verify`: is everything that was written still there, and is it what was written?

In: data sets and folders of label rounds, paths or URLs. Out: one line for each that is well; else what is wrong,
grouped by kind, counted, the first of each named with place, image, what was expected, what came and what to do;
with `--json` every finding for machines. Exit code 1 when anything is wrong. Nothing is changed; Ctrl-C ends after
the shard at hand with what was found so far.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import tyro

from jobs.console.print_table import print_table
from jobs.console.progress import Progress
from jobs.recipes.ranges import require_at_least
from jobs.run.interrupt import INTERRUPTED, Interrupt
from storage import files
from storage.errors import ConfigError
from storage.verify.check_dataset import CheckResult, check_dataset, num_shards
from storage.verify.check_rounds import check_rounds, holds_rounds
from storage.verify.check_shard import ShardReport
from storage.verify.findings import REMEDIES, Finding

FOUND = 1
"""Exit code when anything is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyConfig:
    """What to check, and how thoroughly."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Data sets as `mixpl shard` writes them, and folders of label rounds; paths or URLs."""
    quick: bool = False
    """Headers, descriptions and tables only: no image is hashed or decoded."""
    workers: int = 0
    """Processes; 0 means one a core."""
    named: int = 3
    """Findings of each kind that are named on the screen."""
    json: str | None = None
    """File for every finding, for machines."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.data:
            raise ConfigError("expected a data set or a folder of label rounds, got none; name one")
        require_at_least(0, self, "workers")
        require_at_least(1, self, "named")


def verify(config: VerifyConfig) -> int:
    """Check everything and print what was found; return 0, 1 when anything is wrong, or 130 when interrupted.

    Raises ConfigError for a folder that is neither data set nor rounds.
    """
    entries = []
    with Interrupt() as interrupt:
        for root in config.data:
            began = time.monotonic()
            result = _check(config, root, interrupt)
            seconds = time.monotonic() - began
            entries.append(_as_json(result, seconds, quick=config.quick))
            _show(result, seconds, config)
            if result.stopped:
                break
    if config.json is not None:
        text = json.dumps({"version": 1, "checked": entries}, indent=2, ensure_ascii=False)
        files.write_atomic(config.json, text.encode() + b"\n")
    if interrupt.requested:
        return INTERRUPTED
    return FOUND if any(entry["findings"] for entry in entries) else 0


def _check(config: VerifyConfig, root: str, interrupt: Interrupt) -> CheckResult:
    if holds_rounds(root):
        return check_rounds(root, quick=config.quick, on_table=lambda: not interrupt.requested)
    with Progress("verify", total=num_shards(root), unit="shards") as progress:

        def done(_: ShardReport) -> bool:
            progress.advance()
            return not interrupt.requested

        return check_dataset(root, quick=config.quick, workers=_workers(config.workers, root), on_shard=done)


def _workers(asked: int, root: str) -> int:
    """Return the number of processes; what lies in this one's memory no other can read."""
    return 1 if root.startswith("memory://") else asked or os.cpu_count() or 1


def _show(result: CheckResult, seconds: float, config: VerifyConfig) -> None:
    scope = f"{result.num_images:,} images in {result.num_files:,} {result.what}"
    depth = "headers and tables" if config.quick else "bytes, images and tables"
    so_far = " so far; stopped, run the same command again to check everything" if result.stopped else ""
    if not result.findings:
        print(f"{result.root}: {scope}: all well{so_far} ({_details(result, depth, seconds)})")
        _show_set_apart(result)
        return
    total = result.findings.total()
    wrong = f"{total:,} {'thing' if total == 1 else 'things'} wrong{so_far}"
    print(f"{result.root}: {scope}: {wrong} ({_details(result, depth, seconds)})")
    counts = result.findings.counts
    texts = [_text(kind, count, result.findings.kept[kind][: config.named]) for kind, count in counts.items()]
    columns = {
        "wrong": list(counts),
        "how often": list(counts.values()),
        "the first of them, and what to do": texts,
    }
    print_table(pa.table(columns), lines=True)
    _show_set_apart(result)
    if result.origin:
        print(f"To write {result.root} again: delete it and run `mixpl shard` on {result.origin}")


def _show_set_apart(result: CheckResult) -> None:
    for line in result.set_apart:
        print(f"  not in it, or not trained on: {line}")


def _text(kind: str, count: int, named: Sequence[Finding]) -> str:
    more = [f"and {count - len(named):,} more"] if count > len(named) else []
    return "\n".join([*map(str, named), *more, f"What to do: {REMEDIES[kind]}."])


def _details(result: CheckResult, depth: str, seconds: float) -> str:
    size = f", {result.num_bytes / 1e6:,.1f} MB" if result.num_bytes else ""
    boxes = f", {result.num_boxes:,} boxes" if result.num_boxes else ""
    return f"{depth}{boxes}{size}, {seconds:.1f} s"


def _as_json(result: CheckResult, seconds: float, *, quick: bool) -> dict[str, Any]:
    return {
        "root": result.root,
        "name": result.name,
        "quick": quick,
        "stopped": result.stopped,
        result.what.replace(" ", "_"): result.num_files,
        "images": result.num_images,
        "boxes": result.num_boxes,
        "bytes": result.num_bytes,
        "seconds": round(seconds, 3),
        "findings": result.findings.as_json(),
        "set_apart": result.set_apart,
    }
