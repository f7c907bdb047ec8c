"""From what the pipeline makes to what a person can look at: pixels without normalisation, originals, and truth.

In: views of a batch, data sets, keys of images. Out: uint8 pictures, and `Labels` in the order of the keys. The
kept-apart truth of unlabeled images is read here to draw with, and by no code that trains.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageOps

from pipeline.loaders.batch import View
from pipeline.settings import ViewSettings
from storage import files
from storage.dataset.dataset import Dataset, shard_stem
from storage.labels import Labels
from storage.tables.label_store import LabelStore
from storage.tables.label_table import table_labels
from storage.tables.row_index import RowIndex

Picture = npt.NDArray[np.uint8]


def view_pictures(view: View, settings: ViewSettings) -> list[Picture]:
    """Return the pixels of each image of a view, without normalisation and padding."""
    images_BHWC = view.images_BCHW.permute(0, 2, 3, 1).cpu().numpy()
    pictures = []
    for image_HWC, (height, width) in zip(images_BHWC, view.sizes_B2, strict=True):
        pixels = image_HWC[:height, :width] * np.array(settings.std) + np.array(settings.mean)
        pictures.append(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return pictures


def original_picture(dataset: Dataset, key: str) -> Picture:
    """Return an image as it was packed, upright by EXIF."""
    row = dataset.images().filter(pc.field("key") == key).to_pylist()[0]
    data = files.read_range(dataset.shard_path(row["shard"]), row["offset"], row["size"])
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def known_truth(dataset: Dataset, keys: Sequence[str]) -> Labels | None:
    """Return the truth of images in the pixels of the originals, hidden or not; None where it is not known."""
    store = dataset.ground_truth() if dataset.labeled else dataset.hidden_truth()
    return None if store is None else _labels_of(dataset, store, keys)


def _labels_of(dataset: Dataset, store: LabelStore, keys: Sequence[str]) -> Labels:
    """Read the tables of those shards only in which the images lie."""
    if not keys:
        return Labels.empty(0)
    shards = dataset.images()["shard"].take(pa.array(dataset.rows_of(keys)))
    tables = [
        store.read(shard_stem(shard)).replace_schema_metadata(None) for shard in shards.unique().to_pylist()
    ]
    table = pa.concat_tables(tables)
    return table_labels(table.take(pa.array(RowIndex(table["key"]).rows(keys))))
