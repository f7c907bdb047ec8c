"""`mixpl rounds`: list rounds of labels, compare two, pack one's many files into few.

In: the folder below which rounds lie, or the paths of rounds. Out: tables on the screen, with `--output` every
appeared, vanished, moved or stayed box as a Parquet table. `compact` alone changes files, and never what they say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import duckdb
import pyarrow as pa
import tyro

from analysis.queries import ask
from analysis.round_changes import STAYED_IOU, RoundChanges, compare_rounds
from jobs.console.print_table import print_table, write_answer
from jobs.console.questions import report_left_out
from storage.database.connect import connect, one_line
from storage.database.find_round import find_named_round, last_two_rounds
from storage.database.workspace import discover
from storage.errors import ConfigError
from storage.rounds.compaction import TABLE_BYTES, Compaction, compact


@dataclass(frozen=True, kw_only=True, slots=True)
class ListConfig:
    """List the rounds: what labeled them, when, how many boxes."""

    root: str = "."
    """Folder below which rounds are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """What appeared, vanished and moved between two rounds, by class."""

    older: tyro.conf.Positional[str] = ""
    """A round's number below --root, or its folder; left out: the last but one."""
    newer: tyro.conf.Positional[str] = ""
    """The same of the round to compare with; left out: the last."""
    root: str = "."
    """Folder below which rounds are looked for."""
    dataset: str | None = None
    """Data set that was labeled; needed where there are rounds of several."""
    iou: float = 0.5
    """Boxes of one class that overlap at least so much are the same object."""
    stayed: float = STAYED_IOU
    """Such boxes that overlap less than this have moved."""
    output: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """Parquet file for the change of every box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactConfig:
    """Pack the many files of a finished round into few; safe against a crash at any moment."""

    round: tyro.conf.Positional[str]
    """The round's folder, such as labels/round=0003, or its number below --root."""
    root: str = "."
    """Folder below which rounds are looked for."""
    dataset: str | None = None
    """Data set that was labeled; needed where there are rounds of several."""
    megabytes: float = TABLE_BYTES / 1e6
    """Size of a new file."""

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.megabytes > 0:
            raise ConfigError(f"--megabytes must be above 0, got {self.megabytes}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundsConfig:
    """What to do with rounds of labels."""

    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[ListConfig, tyro.conf.subcommand("list")]
        | Annotated[CompareConfig, tyro.conf.subcommand("compare")]
        | Annotated[CompactConfig, tyro.conf.subcommand("compact")]
    ] = field(default_factory=ListConfig)
    """List, compare or compact."""


def rounds(config: RoundsConfig) -> None:
    """Do what was asked for."""
    match config.action:
        case ListConfig():
            list_rounds_below(config.action)
        case CompareConfig():
            compare(config.action)
        case CompactConfig():
            compact_round(config.action)


def list_rounds_below(config: ListConfig) -> pa.Table:
    """Print and return the rounds below a folder."""
    workspace = discover(config.root)
    report_left_out(workspace)
    with connect(workspace) as con:
        table = ask(con, "round_list")
    print_table(table)
    return table


def compare(config: CompareConfig) -> RoundChanges:
    """Print what changed between two rounds and return it."""
    if bool(config.older) != bool(config.newer):
        raise ConfigError("expected two rounds or none, got one; name the older and the newer")
    if config.older:
        names = (config.older, config.newer)
        older, newer = (find_named_round(name, root=config.root, dataset=config.dataset) for name in names)
    else:
        older, newer = last_two_rounds(config.root, config.dataset)
    try:
        changes = compare_rounds(older, newer, iou_threshold=config.iou, stayed_iou=config.stayed)
    except duckdb.Error as error:
        raise ConfigError(
            f"expected readable label tables, got {one_line(error)}; delete that file and the round.json beside "
            "it, and run the same `mixpl label` again"
        ) from None
    print(f"{older.path} -> {newer.path}: {changes.num_images:,} images that both labeled")
    for path, count in ((older.path, changes.only_older), (newer.path, changes.only_newer)):
        if count:
            print(f"{count:,} images only in {path} are not compared")
    print_table(_with_total(changes.by_class))
    if config.output is not None:
        write_answer(changes.table, "parquet", config.output)
    return changes


def compact_round(config: CompactConfig) -> Compaction:
    """Compact a round and say what was done."""
    round_ = find_named_round(config.round, root=config.root, dataset=config.dataset)
    done = compact(round_, table_bytes=round(config.megabytes * 1e6))
    was = "was compacted already" if round_.compacted is not None else "is compacted"
    print(f"{round_.path} {was}: {done.tables_after:,} tables; {done.removed:,} old ones removed")
    return done


def _with_total(by_class: pa.Table) -> pa.Table:
    names = ["all" if name is None else name for name in by_class["class"].to_pylist()]
    return by_class.set_column(0, "class", pa.array(names, pa.string()))
