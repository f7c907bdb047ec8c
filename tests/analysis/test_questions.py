"""The questions with a name: answers beside slow plain counts in Python, and folders where much is missing."""

import itertools
import json
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.judged import JUDGED_SCHEMA, TRUTH_SCHEMA, add_judged_tables, changes_of_last_rounds, judge
from analysis.online_quality import online_precision
from analysis.quality import QUALITY_SCHEMA, pseudo_label_quality
from analysis.questions import list_questions, open_question
from storage.database.connect import connect
from storage.database.workspace import Workspace, discover
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.labels import Labels
from storage.rounds.round import open_round, round_path
from storage.tables.label_store import LabelStore
from storage.tables.label_table import label_table
from tests.rounds import round_info

NAMES = [question.name for question in list_questions()]
SIZES = ("tiny", "small", "medium", "large")


def answer(root, name, **given):
    workspace = discover(str(root)) if root is not None else Workspace()
    question = open_question(name)
    with connect(workspace, locked=True) as con:
        add_judged_tables(con, workspace, question.sql)
        return con.sql(question.sql, params=question.bind(given)).to_arrow_table()


def rows(root, name, **given):
    return answer(root, name, **given).to_pylist()


def boxes_of(root, query):
    with connect(str(root)) as con:
        return con.sql(query).to_arrow_table().to_pylist()


@pytest.mark.parametrize("name", NAMES)
def test_a_head_says_what_a_row_and_every_column_of_the_answer_are(two_rounds, name):
    question = open_question(name)
    assert question.question.endswith("?")
    assert question.row.startswith("One row is ")
    assert [column for column, _ in question.columns] == answer(two_rounds, name).column_names


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_with_nothing_in_it_gives_no_rows(tmp_path, name):
    assert rows(tmp_path, name) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_round_and_one_class_are_no_trouble(tmp_path, name):
    round_ = open_round(round_path(str(tmp_path), 1))
    round_.finish(round_info(classes=('"><script>\x1b[31m',)))
    assert isinstance(rows(tmp_path, name), list)


@pytest.mark.parametrize("name", NAMES)
def test_truth_without_labels_is_no_trouble(workspace, name):
    assert isinstance(rows(workspace / "labeled", name), list)


def test_a_name_and_a_parameter_that_are_not_there_are_named_with_those_that_are():
    with pytest.raises(ConfigError, match="did you mean calibration"):
        open_question("calibratoin")
    with pytest.raises(ConfigError, match=r"steps, dataset.*got 'step'"):
        open_question("threshold-sweep").bind({"step": 3})


def test_the_judged_boxes_are_every_box_of_the_latest_round_with_its_verdict(two_rounds):
    with connect(str(two_rounds)) as con:
        boxes, truth = judge(con)
    found = {
        (row["key"][-2:], row["class"], round(row["score"], 2)): row["correct"] for row in boxes.to_pylist()
    }
    assert found == {
        ("11", "disk", 0.95): True,
        ("11", "disk", 0.45): True,
        ("11", "square", 0.85): True,
        ("12", "tee", 0.8): True,
        ("12", "tee", 0.55): False,
        ("14", "square", 0.65): True,
        ("14", "disk", 0.58): False,
    }
    scores = {(row["key"][-2:], row["class"], row["area"]): row["found_score"] for row in truth.to_pylist()}
    assert scores["11", "disk", 1600.0] == pytest.approx(0.45)
    assert len(scores) == 5
    assert boxes.schema == JUDGED_SCHEMA
    assert truth.schema == TRUTH_SCHEMA


def test_the_sweep_of_a_workspace_has_the_figures_of_its_quality(two_rounds):
    with connect(str(two_rounds)) as con:
        quality = pseudo_label_quality(con, score_thresholds=[step / 10 for step in range(10)])
    swept = {
        (row["class"], row["size_bin"], row["score_threshold"]): {
            name: row[name] for name in QUALITY_SCHEMA.names
        }
        for row in rows(two_rounds, "threshold-sweep", steps=10)
    }
    for row in quality.table.to_pylist():
        cell = row["class"], row["size_bin"], row["score_threshold"]
        if cell in swept:
            assert swept[cell] == row
        else:  # the answer leaves a class and size out that has neither a box nor truth
            assert row["truth"] == row["pseudo_labels"] == 0
    assert len(swept) > 100


def random_judged(rng, num, num_truth):
    """Boxes of three classes; a third of them is right, and found a true box of its own size or another."""
    areas = rng.choice([100.0, 500.0, 5000.0, 20000.0], num)
    true_areas = rng.choice([100.0, 500.0, 5000.0, 20000.0], num_truth)
    scores = np.round(rng.random(num), rng.choice([1, 2, 6])).astype(np.float32)
    correct = np.zeros(num, bool)
    correct[: min(num, num_truth) // 2] = True
    found = np.where(np.arange(num_truth) < correct.sum(), np.resize(scores, num_truth), np.nan)

    def described(areas):
        return {
            "dataset": ["d"] * len(areas),
            "key": ["k"] * len(areas),
            "class": rng.choice(["a", "b'", '"c"'], len(areas)).tolist(),
            "category": [0] * len(areas),
            "area": areas,
            "size_bin": [["small", "medium", "large"][int(a >= 1024) + int(a >= 9216)] for a in areas],
            "tiny": areas < 256,
        }

    boxes = {
        "score": scores,
        "score_threshold": [0.5] * num,
        "correct": correct,
        "iou": [None] * num,
    }
    truth = {"found_score": pa.array(found.astype(np.float32), mask=np.isnan(found))}
    return (
        pa.table(described(areas) | boxes, schema=JUDGED_SCHEMA),
        pa.table(described(true_areas) | truth, schema=TRUTH_SCHEMA),
    )


def asked_of(boxes, truth, name, **given):
    question = open_question(name)
    with connect(Workspace()) as con:
        con.register("judged_boxes", boxes)
        con.register("judged_truth", truth)
        return con.sql(question.sql, params=question.bind(given)).to_arrow_table().to_pylist()


@given(
    seed=st.integers(0, 2**32 - 1),
    num=st.integers(0, 60),
    num_truth=st.integers(0, 40),
    steps=st.integers(1, 33),
)
@settings(max_examples=12, deadline=None)
def test_the_sweep_is_that_of_counting_every_box_at_every_threshold(seed, num, num_truth, steps):
    boxes, truth = random_judged(np.random.default_rng(seed), num, num_truth)
    swept = asked_of(boxes, truth, "threshold-sweep", steps=steps)
    boxes, truth = boxes.to_pylist(), truth.to_pylist()
    classes = {row["class"] for row in boxes + truth}
    seen = 0
    for name, size, step in itertools.product([None, *classes], [None, *SIZES], range(steps)):

        def of_cell(row, name=name, size=size):
            right_size = size is None or (row["tiny"] if size == "tiny" else row["size_bin"] == size)
            return right_size and name in (None, row["class"])

        above = [row for row in boxes if of_cell(row) and row["score"] > step / steps]
        there = [row for row in truth if of_cell(row)]
        if not [row for row in boxes if of_cell(row)] and not there:
            continue
        seen += 1
        (row,) = [
            row
            for row in swept
            if (row["class"], row["size_bin"], row["score_threshold"]) == (name, size, step / steps)
        ]
        correct = sum(box["correct"] for box in above)
        found = sum(box["found_score"] is not None and box["found_score"] > step / steps for box in there)
        assert (row["truth"], row["found"]) == (len(there), found)
        assert (row["pseudo_labels"], row["correct"]) == (len(above), correct)
        precision = correct / len(above) if above else None
        recall = found / len(there) if there else None
        assert (row["precision"], row["recall"]) == (precision, recall)
        if precision and recall:
            assert row["f1"] == pytest.approx(2 / (1 / precision + 1 / recall))
    assert seen == len(swept)


@pytest.mark.parametrize("bins", [1, 7, 10])
def test_calibration_is_the_share_of_right_boxes_in_each_bin(bins):
    boxes, truth = random_judged(np.random.default_rng(5), 400, 300)
    found = asked_of(boxes, truth, "calibration", bins=bins)
    for row in found:
        inside = [
            box
            for box in boxes.to_pylist()
            if row["class"] in (None, box["class"])
            and row["low"] == min(int(float(box["score"]) * bins), bins - 1) / bins
        ]
        assert row["boxes"] == len(inside)
        assert row["precision"] == pytest.approx(np.mean([box["correct"] for box in inside]))
        assert row["mean_score"] == pytest.approx(np.mean([box["score"] for box in inside]))
        assert row["gap"] == pytest.approx(row["precision"] - row["mean_score"])
    assert sum(row["boxes"] for row in found if row["class"] is None) == 400
    assert sum(row["share"] for row in found if row["class"] is None) == pytest.approx(1)


def test_class_frequencies_are_counted_in_truth_and_pseudo_labels(two_rounds):
    found = {(row["dataset"], row["class"]): row for row in rows(two_rounds, "class-frequency")}
    assert len(found) == 6
    labeled = found["labeled", "disk"]
    assert (labeled["truth_images"], labeled["truth_boxes"], labeled["truth_frequency"]) == (3, 4, 3 / 5)
    assert labeled["pseudo_boxes"] is None
    disk = found["unlabeled", "disk"]
    assert (disk["truth_boxes"], disk["pseudo_boxes"], disk["ratio"]) == (2, 2, 1.0)
    assert disk["pseudo_frequency"] == 2 / 4
    only = rows(two_rounds, "class-frequency", dataset="unlabeled")
    assert {row["dataset"] for row in only} == {"unlabeled"}


def test_sizes_are_counted_with_tiny_as_a_part_of_small(two_rounds):
    every = boxes_of(
        two_rounds, "select dataset, class, size_bin, tiny, 't' kind from ground_truth"
    ) + boxes_of(two_rounds, "select dataset, class, size_bin, tiny, 'p' kind from pseudo_labels")
    counts = Counter()
    for box in every:
        for size in [box["size_bin"], *(["tiny"] if box["tiny"] else [])]:
            for name in (None, box["class"]):
                counts[box["dataset"], name, size, box["kind"]] += 1
    found = rows(two_rounds, "size-bins")
    for row in found:
        cell = row["dataset"], row["class"], row["size_bin"]
        assert (row["truth_boxes"], row["pseudo_boxes"]) == (counts[*cell, "t"], counts[*cell, "p"])
    assert sum(row["truth_boxes"] + row["pseudo_boxes"] for row in found) == sum(counts.values())


def test_the_histogram_holds_every_box_of_the_latest_round(two_rounds):
    found = rows(two_rounds, "score-histogram", bins=10)
    assert [(row["class"], row["low"], row["boxes"], row["correct"]) for row in found] == [
        ("disk", 0.4, 1, 1),
        ("disk", 0.5, 1, 0),
        ("disk", 0.9, 1, 1),
        ("square", 0.6, 1, 1),
        ("square", 0.8, 1, 1),
        ("tee", 0.5, 1, 0),
        ("tee", 0.8, 1, 1),
    ]
    assert all(row["judged"] == row["boxes"] for row in found)


def test_images_without_a_box_are_counted_among_the_boxes_an_image(two_rounds):
    found = {
        (row["dataset"], row["boxes"]): (row["truth_images"], row["pseudo_images"])
        for row in rows(two_rounds, "boxes-an-image")
    }
    assert found == {
        ("labeled", 0): (1, 0),
        ("labeled", 1): (1, 0),
        ("labeled", 2): (3, 0),
        ("unlabeled", 0): (1, 1),
        ("unlabeled", 1): (2, 0),
        ("unlabeled", 2): (0, 3),
        ("unlabeled", 3): (1, 0),
    }


def test_pairs_of_classes_come_with_how_much_more_often_than_by_chance(two_rounds):
    found = {(row["dataset"], row["class"], row["other"]): row for row in rows(two_rounds, "co-occurrence")}
    labeled = found["labeled", "disk", "square"]
    assert (labeled["truth_images"], labeled["pseudo_images"]) == (1, 0)
    assert labeled["truth_lift"] == pytest.approx(1 * 5 / (3 * 2))
    both = found["unlabeled", "disk", "square"]
    assert (both["truth_images"], both["pseudo_images"]) == (1, 2)
    assert both["pseudo_lift"] == pytest.approx(2 * 4 / (2 * 2))


def test_rounds_drift_by_class_and_in_all(two_rounds):
    found = {(row["class"], row["round"]): row for row in rows(two_rounds, "round-drift")}
    assert (found[None, 1]["boxes"], found[None, 1]["pseudo_labels"]) == (7, 4)
    assert (found[None, 2]["boxes"], found[None, 2]["pseudo_labels"]) == (7, 6)
    assert (found[None, 1]["change"], found[None, 2]["change"]) == (None, 1.5)
    assert found["tee", 1]["pseudo_labels"] == 0
    assert found["tee", 1]["mean_score"] is None
    assert found["tee", 2]["mean_score"] == pytest.approx((0.8 + 0.55) / 2)
    assert found["square", 2]["per_image"] == 2 / 4


def test_images_are_named_with_the_reason_why_they_are_worth_a_look(two_rounds):
    found = {}
    for row in rows(two_rounds, "images-to-look-at"):
        found.setdefault(row["reason"], []).append((row["file_name"], row["boxes"]))
    assert found["uncertain"] == [("11.jpg", 1), ("12.jpg", 1), ("14.jpg", 1)]
    assert found["crowded"] == [("11.jpg", 2), ("12.jpg", 2), ("14.jpg", 2)]
    assert found["against the truth"] == [("11.jpg", 1), ("12.jpg", 1), ("14.jpg", 1)]
    changes = changes_of_last_rounds(discover(str(two_rounds))).to_pylist()
    assert {(row["dataset"], row["older"], row["newer"]) for row in changes} == {("unlabeled", 1, 2)}
    unstable = Counter(row["key"] for row in changes if row["change"] in ("appeared", "vanished"))
    assert dict(found["rounds disagree"]) == {f"{int(key)}.jpg": count for key, count in unstable.items()}
    assert len(rows(two_rounds, "images-to-look-at", limit=1)) == 4


def test_the_rarest_and_worst_class_gains_most_from_more_labels(two_rounds):
    found = rows(two_rounds, "label-budget")
    assert {row["class"]: row["labels"] for row in found} == {"disk": 4, "square": 2, "tee": 1}
    by_name = {row["class"]: row for row in found}
    # of tee one of two pseudo labels is right and the only true box is found; of disk one of two, and one of two
    assert by_name["tee"]["error"] == pytest.approx(1 - 2 / 3)
    assert by_name["disk"]["error"] == pytest.approx(1 - 2 / 4)
    assert by_name["square"]["error"] == pytest.approx(0)
    assert all(row["measured_by"] == "F1" for row in found)
    for row in found:
        n = row["labels"]
        assert row["gain"] == pytest.approx(row["error"] * (1 - (n / (n + 100)) ** 0.5))
    assert [row["class"] for row in found] == ["disk", "tee", "square"]


@pytest.fixture
def run(tmp_path):
    lines = [
        {"step": step, "loss": 10.0 - step, "wait_share": 0.5, **({"AP": step} if step % 4 == 0 else {})}
        for step in range(1, 9)
    ]
    folder = tmp_path / "runs" / "mixpl"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_the_curves_of_a_run_are_means_over_stretches(run):
    found = rows(run, "training-curves", bins=2, metric="loss")
    assert [(row["first_step"], row["last_step"], row["mean"], row["least"]) for row in found] == [
        (1, 4, 7.5, 6.0),
        (5, 8, 3.5, 2.0),
    ]
    assert {row["metric"] for row in rows(run, "training-curves")} == {"loss", "wait_share", "AP"}
    assert rows(run, "training-curves", run="another") == []


def test_what_the_teacher_says_while_training_is_counted_in_stretches_of_steps(workspace, tmp_path):
    root = tmp_path / "all"
    shutil.copytree(workspace, root)
    provenance = {"dataset": "unlabeled", "dataset_hash": Dataset.open(str(root / "unlabeled")).hash}
    store = LabelStore(str(root / "runs" / "mixpl" / "online_labels"))
    for step, scores in ((10, [0.9, 0.2]), (20, [0.6, 0.7]), (90, [])):
        labels = Labels.of_image([(0, 0, 9, 9)] * len(scores), [1] * len(scores), scores)
        table = label_table([f"{11:012d}"], [11], [(160, 200)], labels, step=step)
        store.write(f"step-{step:09d}", table, provenance)
    found = {(row["class"], row["first_step"]): row for row in rows(root, "training-drift", bins=2)}
    assert set(found) == set(itertools.product([None, "disk", "square", "tee"], [10, 90]))
    square = found["square", 10]
    assert (square["images"], square["boxes"], square["pseudo_labels"], square["per_image"]) == (2, 4, 3, 1.5)
    assert square["mean_score"] == pytest.approx((0.9 + 0.6 + 0.7) / 3)
    assert found[None, 90]["images"] == 1
    assert found["tee", 10]["mean_score"] is None


def test_the_teachers_last_labels_are_judged_class_by_class(workspace, tmp_path):
    root = tmp_path / "all"
    shutil.copytree(workspace, root)
    provenance = {"dataset": "unlabeled", "dataset_hash": Dataset.open(str(root / "unlabeled")).hash}
    store = LabelStore(str(root / "runs" / "mixpl" / "online_labels"))
    right, wrong = (0, 0, 10, 10), (70, 0, 99, 99)  # image 11 has a disk at the first
    for step, boxes in ((1, [wrong] * 3), (2, [right, wrong]), (3, [right])):
        labels = Labels.of_image(boxes, [0] * len(boxes), [0.9] * len(boxes))
        store.write(
            f"step-{step:09d}", label_table([f"{11:012d}"], [11], [(160, 200)], labels, step=step), provenance
        )
    with connect(str(root)) as con:
        every = online_precision(con, score_threshold=0.5)
        last = online_precision(con, score_threshold=0.5, files=2)
        none = online_precision(con, score_threshold=0.95)
    assert [(one.name, one.pseudo_labels, one.correct) for one in every] == [
        ("disk", 6, 2),
        ("square", 0, 0),
        ("tee", 0, 0),
    ]
    assert (last[0].pseudo_labels, last[0].correct) == (3, 2)
    assert none[0].pseudo_labels == 0
    with connect(Workspace()) as con:
        assert online_precision(con, score_threshold=0.5) == []
