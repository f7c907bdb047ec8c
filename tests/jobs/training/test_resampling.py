from __future__ import annotations

from pathlib import Path

from jobs.label import LabelConfig, label
from jobs.training.resampling import describe_repeats, labeled_repeat_factors
from storage.dataset.dataset import Dataset
from storage.tables.label_table import table_labels


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
    said = str(describe_repeats(labeled, factors))
    assert "labeled images are repeated" in said
    before, after = said.split("star ")[1].split(" -> ")
    assert float(after) > float(before)


def test_a_threshold_of_zero_turns_resampling_off(drawn: Path) -> None:
    labeled = Dataset.open(str(drawn / "labeled"))
    assert labeled_repeat_factors(labeled, threshold=0) is None
    assert describe_repeats(labeled, None) is None


def test_pseudo_labels_of_a_round_change_the_factors(drawn: Path, trained: Path, tmp_path: Path) -> None:
    labeled, unlabeled = (Dataset.open(str(drawn / name)) for name in ("labeled", "unlabeled"))
    alone = labeled_repeat_factors(labeled, threshold=0.5, unlabeled=unlabeled, rounds=str(tmp_path))
    assert alone == labeled_repeat_factors(labeled, threshold=0.5)
    config = LabelConfig(run=str(trained), data=unlabeled.root, out=str(tmp_path), score_threshold=0.06)
    assert label(config) == 0
    together = labeled_repeat_factors(labeled, threshold=0.5, unlabeled=unlabeled, rounds=str(tmp_path))
    assert together is not None
    assert alone is not None
    assert together.keys() == alone.keys()
    assert together != alone
