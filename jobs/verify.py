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

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jobs.console.progress import Progress
from jobs.run.interrupt import INTERRUPTED, Interrupt
from storage import files
from storage.errors import ConfigError
from storage.verify.check_dataset import CheckResult, check_dataset, num_shards
from storage.verify.check_rounds import check_rounds, holds_rounds
from storage.verify.check_shard import ShardReport
from storage.verify.findings import REMEDIES

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
        if self.workers < 0 or self.named < 1:
            raise ConfigError(
                f"expected --workers of 0 or more and --named of 1 or more, got {self.workers} and {self.named}"
            )


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
    table = Table(show_lines=True)
    table.add_column("wrong")
    table.add_column("how often", justify="right")
    table.add_column("the first of them, and what to do", overflow="fold")
    for kind, count in result.findings.counts.items():
        named = [str(finding) for finding in result.findings.kept[kind][: config.named]]
        more = [f"and {count - len(named):,} more"] if count > len(named) else []
        table.add_row(kind, f"{count:,}", _lines([*named, *more], REMEDIES[kind]))
    Console().print(table)
    _show_set_apart(result)
    if result.origin:
        print(f"To write {result.root} again: delete it and run `mixpl shard` on {result.origin}")


def _show_set_apart(result: CheckResult) -> None:
    for line in result.set_apart:
        print(f"  not in it, or not trained on: {line}")


def _lines(named: Sequence[str], remedy: str) -> str:
    return "\n".join([*map(escape, named), f"[bold]What to do:[/bold] {escape(remedy)}."])


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
