"""How often classes occur, and how often images are repeated for it: the two `.sql` files, from Python.

In: a connection to the label tables (`storage.database.connect.connect`). Out: Arrow tables. Guaranteed: repeat
factors are at least 1, never rise with a class's frequency, and stand there for every labeled image, also one
without boxes. The rule is LVIS's (arXiv 1908.03195, section 4.3): r(c) = max(1, sqrt(t / f(c))); an image
takes the greatest of its classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.queries import ask
from storage.errors import ConfigError
from storage.labels import Labels


def class_frequencies(
    con: duckdb.DuckDBPyConnection,
    *,
    datasets: Sequence[str] | None = None,
    pseudo_datasets: Sequence[str] = (),
) -> pa.Table:
    """Return class, images, boxes, frequency (share of the images), most frequent first.

    `datasets`: labeled data sets, all of them where None. `pseudo_datasets`: unlabeled ones whose pseudo
    labels count too. Raises ConfigError naming a data set that is not there.
    """
    return ask(con, "class_frequency", **_sources(con, datasets, pseudo_datasets))


def repeat_factors(
    con: duckdb.DuckDBPyConnection,
    *,
    threshold: float,
    datasets: Sequence[str] | None = None,
    pseudo_datasets: Sequence[str] = (),
) -> pa.Table:
    """Return dataset, key, repeat_factor of every labeled image, ordered by data set and key.

    `threshold` is t: a class in fewer than this share of the images is repeated; LVIS uses 0.001, COCO needs
    0.01 to 0.1. Sources as in `class_frequencies`; images of `pseudo_datasets` get a factor by the same rule.
    Raises ConfigError for a threshold outside 0 .. 1 and for a data set that is not there.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"expected a resampling threshold above 0 and at most 1, a share of the images, got {threshold}"
        )
    sources = _sources(con, datasets, pseudo_datasets)
    return ask(con, "repeat_factors", threshold=threshold, **sources)


def factors_by_key(table: pa.Table) -> dict[str, float]:
    """Return the answer of `repeat_factors` for one data set as a mapping from key to factor."""
    return dict(zip(table["key"].to_pylist(), table["repeat_factor"].to_pylist(), strict=True))


def rarest_classes(truth: Labels, *, share: float = 1 / 3) -> npt.NDArray[np.int64]:
    """Return the rarest `share` of the classes that the images have, at least one: the tail of an evaluation.

    Class indices, the rarest last, by the number of images with the class, then by the number of boxes.
    """
    images_N = truth.image_rows()
    class_of_pair = np.unique(np.stack([images_N, truth.categories_N]), axis=1)[1]
    images_C, boxes_C = np.bincount(class_of_pair), np.bincount(truth.categories_N)
    by_frequency = np.lexsort([-boxes_C, -images_C])
    occurring = by_frequency[: np.count_nonzero(boxes_C)]
    return occurring[-max(1, round(share * len(occurring))) :]


def _sources(
    con: duckdb.DuckDBPyConnection, datasets: Sequence[str] | None, pseudo_datasets: Sequence[str]
) -> dict[str, object]:
    is_labeled: dict[str, bool] = dict(con.execute("SELECT dataset, labeled FROM datasets").fetchall())
    for name in datasets or ():
        if not is_labeled.get(name):
            labeled = ", ".join(sorted(other for other, has_truth in is_labeled.items() if has_truth))
            raise ConfigError(f"expected a labeled data set ({labeled or 'there is none'}), got {name!r}")
    for name in pseudo_datasets:
        if name not in is_labeled:
            raise ConfigError(f"expected a data set ({', '.join(sorted(is_labeled))}), got {name!r}")
    return {
        "datasets": None if datasets is None else list(datasets),
        "pseudo_datasets": list(pseudo_datasets),
    }
