"""Mean, deviation and paired intervals beside scipy's own."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from analysis.ablation import summarise


def results(values):
    """Rows of cell -> seed -> value."""
    rows = [
        {"cell": cell, "seed": seed, "class": name, "metric": "AP", "value": value}
        for cell, by_seed in values.items()
        for seed, value in by_seed.items()
        for name in (None, "ring")
    ]
    return pa.Table.from_pylist(rows)


def test_differences_are_paired_by_seed_with_the_interval_of_students_t():
    rng = np.random.default_rng(3)
    base = {seed: 30 + rng.normal() for seed in range(5)}
    other = {seed: value + 1 + 0.1 * rng.normal() for seed, value in base.items()}
    other.pop(0)  # a run that is missing takes its pair with it
    first, second = summarise(
        results({"a": base, "b": other}), references={"a": "a", "b": "a"}, metrics=["AP"]
    ).to_pylist()
    assert first["mean"] == pytest.approx(np.mean(list(base.values())))
    assert first["deviation"] == pytest.approx(np.std(list(base.values()), ddof=1))
    assert first["difference"] is None
    paired = stats.ttest_rel([other[seed] for seed in other], [base[seed] for seed in other])
    interval = paired.confidence_interval(0.95)
    assert (second["runs"], second["pairs"]) == (4, 4)
    assert (second["low"], second["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_one_seed_has_a_mean_and_no_interval_and_none_has_nothing():
    table = results({"a": {0: 1.0}, "b": {0: 3.0}})
    rows = summarise(table, references={"a": "a", "b": "a", "c": "a"}, metrics=["AP"]).to_pylist()
    assert (rows[1]["mean"], rows[1]["deviation"], rows[1]["difference"], rows[1]["low"]) == (
        3,
        None,
        2,
        None,
    )
    assert (rows[2]["runs"], rows[2]["mean"], rows[2]["difference"]) == (0, None, None)
