"""Which file belongs to what: the tables by which views tell data sets, rounds and runs apart.

In: a `Workspace`. Out: `Catalog`: small Arrow tables (folders, their classes, their files), and for each
kind of file the list of locations. The SQL views join the rows of a file to its folder by the file's
name. Guaranteed: a complete round has all its tables as they were written (`storage.rounds.whole`); of other label
files only one a folder is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage import files
from storage.database.workspace import Workspace
from storage.dataset.dataset import IMAGE_SCHEMA, IMAGES_FILE, Dataset
from storage.errors import InputError
from storage.regular import require_regular
from storage.remote import open_filesystem
from storage.rounds.round import Round
from storage.rounds.round_thresholds import THRESHOLD_SCHEMA
from storage.rounds.whole import require_whole
from storage.tables.label_store import LabelStore

_FILENAME = pa.field("filename", pa.string())
_BOXES = pa.list_(pa.list_(pa.float32()))
_LABEL_ROWS = pa.schema([
    ("key", pa.string()), ("image_id", pa.int64()), ("width", pa.int32()), ("height", pa.int32()),
    ("boxes", _BOXES), ("categories", pa.list_(pa.int32())), ("scores", pa.list_(pa.float32())),
    ("step", pa.int64()), _FILENAME,
])  # fmt: skip
"""A label table as DuckDB reads it from Parquet."""

ROW_SCHEMAS = {
    "image_rows": pa.schema([*IMAGE_SCHEMA, _FILENAME]),
    "truth_rows": _LABEL_ROWS,
    "hidden_rows": _LABEL_ROWS,
    "latest_round_rows": _LABEL_ROWS,
    "other_round_rows": _LABEL_ROWS,
    "online_rows": _LABEL_ROWS,
    "metric_lines": pa.schema([("json", pa.string()), _FILENAME]),
    "evaluation_rows": pa.schema([
        ("step", pa.int64()), ("weights", pa.string()), ("dataset", pa.string()), ("class", pa.string()),
        ("metric", pa.string()), ("value", pa.float64()), _FILENAME,
    ]),
}  # fmt: skip
"""The kinds of files, and their columns where there are none."""

_FOLDERS = pa.schema([
    ("folder", pa.int64()), ("origin", pa.string()), ("dataset", pa.string()), ("labeled", pa.bool_()),
    ("round", pa.int32()), ("score_threshold", pa.float64()), ("class_thresholds", pa.list_(pa.float64())),
    ("run", pa.string()),
])  # fmt: skip
_CLASSES = pa.schema([
    ("folder", pa.int64()), ("category", pa.int32()), ("class", pa.string()), ("category_id", pa.int64()),
])  # fmt: skip
_FILES = pa.schema([_FILENAME, ("folder", pa.int64())])
_DATASETS = pa.schema([
    ("dataset", pa.string()), ("path", pa.string()), ("labeled", pa.bool_()), ("hidden_truth", pa.bool_()),
    ("num_images", pa.int64()), ("num_boxes", pa.int64()), ("num_classes", pa.int32()),
    ("num_shards", pa.int32()), ("split_part", pa.string()), ("split_family", pa.string()),
    ("split_percent", pa.float64()), ("split_fold", pa.int32()), ("split_hash", pa.string()),
    ("hash", pa.string()),
])  # fmt: skip
_THRESHOLDS = pa.schema([("folder", pa.int64()), *THRESHOLD_SCHEMA])
_ROUNDS = pa.schema([
    ("folder", pa.int64()), ("dataset", pa.string()), ("round", pa.int32()), ("complete", pa.bool_()),
    ("latest", pa.bool_()),
    ("score_threshold", pa.float64()), ("num_images", pa.int64()), ("num_boxes", pa.int64()),
    ("num_without_row", pa.int64()), ("seconds", pa.float64()), ("finished_at", pa.string()),
    ("provenance", pa.string()), ("path", pa.string()),
])  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """Arrow tables and file lists, by name."""

    tables: Mapping[str, pa.Table]
    """folders, classes, files, datasets, rounds, thresholds."""
    files: Mapping[str, list[str]]
    """Absolute locations of each kind of file; the kinds are those of ROW_SCHEMAS."""


def catalog_of(workspace: Workspace) -> Catalog:
    """Return the catalog of what is in a workspace."""
    gathered = _Gathered()
    names = {dataset.hash: name for dataset, name in _named(workspace)}
    _add_datasets(gathered, workspace)
    rounds = _add_rounds(gathered, workspace, names)
    _add_runs(gathered, workspace, names)
    rows = (
        ("folders", gathered.folders, _FOLDERS),
        ("classes", gathered.classes, _CLASSES),
        ("files", gathered.files, _FILES),
        ("datasets", [_describe(dataset, name) for dataset, name in _named(workspace)], _DATASETS),
        ("rounds", rounds, _ROUNDS),
        ("thresholds", gathered.thresholds, _THRESHOLDS),
    )
    return Catalog(
        tables={name: pa.Table.from_pylist(values, schema=schema) for name, values, schema in rows},
        files=gathered.locations,
    )


class _Gathered:
    def __init__(self) -> None:
        self.folders: list[dict[str, Any]] = []
        self.classes: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []
        self.thresholds: list[dict[str, Any]] = []
        self.locations: dict[str, list[str]] = {kind: [] for kind in ROW_SCHEMAS}

    def add(
        self,
        kind: str,
        locations: Sequence[str],
        *,
        classes: Sequence[tuple[str, int | None]] = (),
        **fields: object,
    ) -> int:
        """Add the files of one folder and return its number; classes come with their original ids."""
        folder = len(self.folders)
        self.folders.append({"folder": folder, **fields})
        self.classes += [
            {"folder": folder, "category": category, "class": name, "category_id": category_id}
            for category, (name, category_id) in enumerate(classes)
        ]
        absolute = [_absolute(location) for location in locations]
        for location in filter(files.is_local, absolute):  # DuckDB would wait for a fifo without end
            require_regular(Path(location))
        self.files += [{"filename": location, "folder": folder} for location in absolute]
        self.locations[kind] += absolute
        return folder


def _named(workspace: Workspace) -> list[tuple[Dataset, str]]:
    names = workspace.dataset_names()
    return [(dataset, names[dataset.root]) for dataset in workspace.datasets]


def _add_datasets(gathered: _Gathered, workspace: Workspace) -> None:
    for dataset, name in _named(workspace):
        classes = list(zip(dataset.classes, dataset.category_ids, strict=True))
        fields: dict[str, Any] = {"dataset": name, "labeled": dataset.labeled, "classes": classes}
        gathered.add("image_rows", [files.join(dataset.root, IMAGES_FILE)], origin="dataset", **fields)
        truth = dataset.ground_truth() if dataset.labeled else None
        for kind, store in (("truth_rows", truth), ("hidden_rows", dataset.hidden_truth())):
            if store is not None:
                gathered.add(kind, [store.path(stem) for stem in store.stems()], origin="truth", **fields)


def _add_rounds(gathered: _Gathered, workspace: Workspace, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of the table of rounds."""
    latest = workspace.latest_rounds()
    rows = []
    for round_ in workspace.rounds:
        if round_.complete:
            require_whole(round_, workspace.datasets)
        store = round_.labels()
        row = _describe_round(round_, store, names) | {"latest": round_.path in latest}
        kind = "latest_round_rows" if row["latest"] else "other_round_rows"
        classes = _classes_of(workspace, row["dataset"], round_)
        fields = {name: row[name] for name in ("dataset", "round", "score_threshold")}
        thresholds = _thresholds_of(round_)
        fields["class_thresholds"] = [row["score_threshold"] for row in thresholds] or None
        locations = [store.path(stem) for stem in store.stems()]
        folder = gathered.add(kind, locations, origin="round", classes=classes, **fields)
        gathered.thresholds += [{"folder": folder, **row} for row in thresholds]
        rows.append({"folder": folder, **row})
    return rows


def _add_runs(gathered: _Gathered, workspace: Workspace, names: Mapping[str, str]) -> None:
    for path, name in workspace.run_names().items():
        metrics = files.join(path, "metrics.jsonl")
        gathered.add("metric_lines", [metrics] if files.exists(metrics) else [], origin="run", run=name)
        evaluations = files.list_files(files.join(path, "evaluations"), ".parquet")
        gathered.add("evaluation_rows", evaluations, origin="run", run=name)
        online = LabelStore(files.join(path, "online_labels"))
        stems = online.stems()
        dataset = _dataset_of(_first_provenance(online), names)
        gathered.add(
            "online_rows",
            [online.path(stem) for stem in stems],
            origin="online",
            run=name,
            dataset=dataset,
            classes=_classes_of(workspace, dataset, None),
        )


def _describe(dataset: Dataset, name: str) -> dict[str, Any]:
    split = dataset.split or {}
    return {
        "dataset": name,
        "path": dataset.root,
        "labeled": dataset.labeled,
        "hidden_truth": dataset.has_hidden_truth,
        "num_images": dataset.num_images,
        "num_boxes": dataset.num_boxes,
        "num_classes": len(dataset.classes),
        "num_shards": len(dataset.shards),
        **{f"split_{field}": split.get(field) for field in ("part", "family", "percent", "fold", "hash")},
        "hash": dataset.hash,
    }


def _describe_round(round_: Round, store: LabelStore, names: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"round": round_.number, "complete": round_.complete, "path": round_.path}
    if round_.info is None:
        provenance = _first_provenance(store)
    else:
        info = round_.info
        provenance = {"dataset": info.dataset_name, "dataset_hash": info.dataset_hash, **info.provenance}
        for field in (
            "score_threshold",
            "num_images",
            "num_boxes",
            "num_without_row",
            "seconds",
            "finished_at",
        ):
            row[field] = getattr(info, field)
    row["dataset"] = _dataset_of(provenance, names)
    return {"score_threshold": None, **row, "provenance": json.dumps(provenance, sort_keys=True)}


def _thresholds_of(round_: Round) -> list[dict[str, Any]]:
    table = round_.thresholds() if round_.complete else None
    rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    return rows


def _first_provenance(store: LabelStore) -> dict[str, Any]:
    """Return what one file of a folder says, or nothing where it cannot be read; a query of it will say."""
    stems = store.stems()
    try:
        return store.provenance(stems[0]) if stems else {}
    except InputError:
        return {}


def _dataset_of(provenance: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    """Return the name of the labeled data set as it is known here, or as it was written down."""
    noted = provenance.get("dataset")
    return names.get(str(provenance.get("dataset_hash")), noted if isinstance(noted, str) else None)


def _classes_of(
    workspace: Workspace, dataset: str | None, round_: Round | None
) -> list[tuple[str, int | None]]:
    if round_ is not None and round_.info is not None:
        return [(name, None) for name in round_.info.classes]
    return [(name, None) for owner, label in _named(workspace) if label == dataset for name in owner.classes]


def _absolute(location: str) -> str:
    """Return the location as DuckDB reports it back."""
    if files.is_local(location):
        return str(Path(files.local_path(location)).absolute())
    filesystem, path = open_filesystem(location)
    return str(filesystem.unstrip_protocol(path))
