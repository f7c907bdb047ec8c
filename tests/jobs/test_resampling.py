from __future__ import annotations

from pathlib import Path

from jobs.resampling import describe_repeats, labeled_repeat_factors
from storage.dataset import Dataset
from storage.label_store import table_labels


def test_repeat_factors_follow_the_rarest_class_of_each_image(drawn: Path) -> None:
    labeled = Dataset.open(str(drawn / "labeled"))
    threshold = 0.5
    factors = labeled_repeat_factors(labeled, threshold=threshold)
    assert factors is not None
    table = labeled.ground_truth().read_all()
    labels = table_labels(table)
    classes_of = [set(labels.image(row).categories_N.tolist()) for row in range(len(labels))]
    share = [sum(c in classes for classes in classes_of) / len(labels) for c in range(len(labeled.classes))]
    for key, classes in zip(table["key"].to_pylist(), classes_of, strict=True):
        expected = max(max(1.0, (threshold / share[c]) ** 0.5) for c in classes)
        assert abs(factors[key] - expected) < 1e-6
    assert max(factors.values()) > 1.5
    assert "labeled images are repeated" in str(describe_repeats(factors))


def test_a_threshold_of_zero_turns_resampling_off(drawn: Path) -> None:
    assert labeled_repeat_factors(Dataset.open(str(drawn / "labeled")), threshold=0) is None
    assert describe_repeats(None) is None
