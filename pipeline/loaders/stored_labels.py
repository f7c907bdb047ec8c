"""Labels of a stored round, by row of the image table: what training learns from in place of the teacher.

In: a data set and a round of label tables over its shards. Out: the labels of a batch's images in pixels of the
originals, boxes of every score, and the thresholds above which they count. Guaranteed: the round is one of these
images and these classes; `rows` are the images that have labels, the others are counted in `left_out`; an image
labeled as empty has labels, none of them a box. Tables are read when an image of theirs is drawn, and only
`memory` bytes of them are kept, so there may be many images, and the round may lie at a URL. Not safe to share
between threads, except `rows`, `left_out`, `hash` and `thresholds_C`, which never change.

Shapes: R rows of the image table, C classes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.samples.reader import OUT_OF_RESOURCES, rows_by_shard
from storage.dataset.dataset import Dataset, shard_stem
from storage.errors import InputError, StoreError
from storage.labels import Labels
from storage.rounds.fits_dataset import fitting_terms, require_tables, thresholds_of
from storage.rounds.round import Round, open_round
from storage.tables.label_table import check_labels, table_labels
from storage.tables.row_index import RowIndex

LOG = logging.getLogger(__name__)
Rows = npt.NDArray[np.int64]

MEMORY_BYTES = 256_000_000
"""Labels kept in memory: those of 700,000 images of 15 boxes."""


class LabelsLostError(StoreError):
    """Labels of a round that were there when it was opened cannot be had any more."""

    def __init__(self, reason: str, rows: Rows) -> None:
        """`rows` are the rows of the image table that have lost their labels."""
        self.rows: list[int] = rows.tolist()
        super().__init__(reason)


class StoredLabels:
    """The labels of one round, read shard by shard as training comes to them."""

    def __init__(
        self,
        dataset: Dataset,
        round_: Round,
        *,
        classes: tuple[str, ...],
        partial: bool = False,
        memory: int = MEMORY_BYTES,
    ) -> None:
        """Look at the round; read the tables' keys only where an image has no row.

        `partial` leaves images and shards without labels out, and takes a round that is still being labeled.
        Raises StoreError for a round of other images, classes or shards, for one that is not complete, for a
        shard without a label table, and when no image has labels.
        """
        terms = fitting_terms(round_, dataset, classes, partial=partial)
        images = dataset.images()
        coded = images["shard"].combine_chunks().dictionary_encode()
        self._shards = [shard_stem(shard) for shard in coded.dictionary.to_pylist()]
        self._shard_of_R = coded.indices.to_numpy()
        self._rows = dict(zip(self._shards, rows_by_shard(self._shard_of_R, len(self._shards)), strict=True))
        self._keys = images["key"].combine_chunks()
        self._num_classes, self._memory = len(classes), memory
        self._held: OrderedDict[str, _Table] = OrderedDict()
        self._follow(round_)
        require_tables(round_, self._shards, self._stems, partial=partial)
        self.name = round_.path
        self.thresholds_C = thresholds_of(round_, terms, len(classes))
        """Score threshold of each class, as the view `pseudo_labels` counts."""
        self.rows, self.left_out = self._labeled_rows()
        """Rows of the image table that have labels, and how many have none, by reason."""
        self.hash = _hash(terms, self.thresholds_C, self.rows)
        """Of whose labels they are, and of the rows that have some."""

    def labels_of(self, rows: Rows) -> Labels:
        """Return the labels of rows of the image table, in pixels of the original images.

        Raises LabelsLostError when a table has gone, or is damaged, since the round was opened.
        """
        return Labels.concatenate([self._image(row) for row in rows.tolist()])

    def position(self) -> dict[str, Any]:
        """Return what tells this round from another one, for a checkpoint."""
        return {"round": self.name, "hash": int(self.hash.hex()[:15], 16)}

    def _labeled_rows(self) -> tuple[Rows, dict[str, int]]:
        has_row_R = np.zeros(len(self._keys), bool)
        for shard in self._stems:
            has_row_R[self._rows[shard]] = True
        left_out = {"in shards without a label table": int((~has_row_R).sum())}
        info = self._round.info
        if not has_row_R.all() or info is None or info.num_images != len(has_row_R):
            for stem in self._shards_in:
                rows, label_rows = self._label_rows(stem, self._round.labels().read(stem, columns=["key"]))
                has_row_R[rows[label_rows < 0]] = False
        left_out["without a row in the round"] = int((~has_row_R).sum()) - sum(left_out.values())
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items() if count)
        if not has_row_R.any():
            raise StoreError(
                f"no image has labels in {self._round.path}: of {len(has_row_R)} images, {reasons}; "
                "label them with `mixpl label`"
            )
        if reasons:
            LOG.info("%s: %d images with labels, left out: %s", self._round.path, has_row_R.sum(), reasons)
        return np.flatnonzero(has_row_R), left_out

    def _image(self, row: int) -> Labels:
        table = self._table(self._shards[self._shard_of_R[row]])
        label_row = table.label_rows[np.searchsorted(table.rows, row)]
        if label_row < 0:
            raise LabelsLostError(f"it has no row in {self.name}", np.array([row]))
        return table.labels.image(int(label_row))

    def _table(self, shard: str) -> _Table:
        """Return the table that holds a shard's labels; the one used longest ago gives way to it."""
        stem = self._stems[shard]
        if stem not in self._held:
            try:
                table = self._read(stem)
            except InputError as error:
                if self._was_compacted():
                    return self._table(shard)
                if isinstance(error.__cause__, OSError) and error.__cause__.errno in OUT_OF_RESOURCES:
                    raise error.__cause__ from None
                lost = np.intersect1d(self._covered(stem), self.rows)  # the others are in `left_out` already
                raise LabelsLostError(f"its labels are lost ({error})", lost) from error
            self._held[stem] = table
            while len(self._held) > 1 and sum(held.num_bytes for held in self._held.values()) > self._memory:
                self._held.popitem(last=False)
        self._held.move_to_end(stem)
        return self._held[stem]

    def _read(self, stem: str) -> _Table:
        store = self._round.labels()
        table = store.read(stem, columns=["key", "boxes", "categories", "scores"])
        check_labels(table, num_classes=self._num_classes, where=store.path(stem))
        rows, label_rows = self._label_rows(stem, table)
        return _Table(rows=rows, label_rows=label_rows, labels=table_labels(table))

    def _label_rows(self, stem: str, table: pa.Table) -> tuple[Rows, Rows]:
        """Return the rows of the image table that a table covers, ascending, and of each its row in that, or -1."""
        rows = self._covered(stem)
        return rows, RowIndex(table["key"]).rows(self._keys.take(pa.array(rows)))

    def _covered(self, stem: str) -> Rows:
        return np.sort(np.concatenate([self._rows[shard] for shard in self._shards_in[stem]]))

    def _was_compacted(self) -> bool:
        """Return whether the tables were packed into others since the round was opened; follow them there."""
        try:
            current = open_round(self.name)
            moved = current.compacted != self._round.compacted
            if moved:
                self._follow(current)
        except (InputError, OSError):
            return False
        return moved

    def _follow(self, round_: Round) -> None:
        self._round, self._stems = round_, round_.tables()
        self._shards_in: dict[str, list[str]] = {}
        """The shards whose labels each table holds."""
        for shard, stem in self._stems.items():
            self._shards_in.setdefault(stem, []).append(shard)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Table:
    rows: Rows
    """Rows of the image table, ascending."""
    label_rows: Rows
    """The image of each in `labels`; -1: it has none."""
    labels: Labels

    @property
    def num_bytes(self) -> int:
        """Memory that the table takes."""
        labels = self.labels
        arrays = (labels.boxes_N4, labels.categories_N, labels.scores_N, labels.offsets_B1)
        return sum(array.nbytes for array in (*arrays, self.rows, self.label_rows))


def require_same_labels(labels: StoredLabels | None, position: Mapping[str, Any] | None) -> None:
    """Raise StoreError unless a loader's position was written with this round, or with none."""
    written = None if position is None else position.get("labels")
    current = None if labels is None else labels.position()
    if (written and written["hash"]) != (current and current["hash"]):
        raise StoreError(
            f"cannot resume: expected labels of {written['round'] if written else 'no round'}, as the checkpoint "
            f"was written with, got {current['round'] if current else 'none'}, with other labels; name that "
            "round, or start a new run"
        )


def _hash(terms: Mapping[str, Any], thresholds_C: npt.NDArray[np.float64], rows: Rows) -> bytes:
    digest = hashlib.sha256(json.dumps(terms, sort_keys=True).encode())
    digest.update(thresholds_C.tobytes())
    digest.update(rows.tobytes())
    return digest.digest()
