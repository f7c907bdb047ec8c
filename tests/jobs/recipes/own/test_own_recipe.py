"""`mixpl train own` looks at its data, says what it chose and why, and trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.cli import parse, run
from jobs.recipes import config_file
from jobs.recipes.own.data_summary import summarise
from jobs.recipes.own.hardware import can_be_had
from jobs.recipes.train_config import TrainConfig
from storage.dataset.dataset import Dataset
from storage.errors import StoreError
from storage.tables.label_table import table_labels


@pytest.fixture
def beside(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with data/labeled, data/unlabeled and data/test, and work there."""
    (tmp_path / "data").mkdir()
    for name in ("labeled", "unlabeled", "test"):
        (tmp_path / "data" / name).symlink_to(drawn / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fitted(*arguments: str) -> TrainConfig:
    """Return what `mixpl train own` would train."""
    _, config = parse("train", ["own", "--device", "cpu", *arguments])
    assert isinstance(config, TrainConfig)
    return config


def test_the_summary_is_that_of_the_tables(drawn: Path) -> None:
    labeled, test = Dataset.open(str(drawn / "labeled")), Dataset.open(str(drawn / "test"))
    data = summarise(labeled, Dataset.open(str(drawn / "unlabeled")), test)
    labels = table_labels(labeled.ground_truth().read_all())
    assert (data.num_labeled, data.num_unlabeled, data.num_test) == (20, 380, 150)
    assert data.num_boxes == len(labels.categories_N)
    assert (data.short_side, data.long_side) == (64, 64)
    sides = sorted(float(((b[2] - b[0]) * (b[3] - b[1])) ** 0.5) / 64 for b in labels.boxes_N4)
    assert sum(side < data.small_object for side in sides) / len(sides) == pytest.approx(0.1, abs=0.02)
    pairs = set(zip(labels.image_rows().tolist(), labels.categories_N.tolist(), strict=True))
    images_with = [sum(category == wanted for _, category in pairs) for wanted in range(6)]
    shares = sorted(count / 20 for count in images_with if count)
    assert data.rarest_class_share == shares[0]
    assert shares[0] <= data.median_class_share <= shares[-1]


def test_it_trains_without_a_further_option_and_says_why(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "own", "--steps", "3", "--burn-in", "1", "--device", "cpu", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "own: 20 labeled images of 64 x 64 px" in out
    assert "380 unlabeled, 150 to test on" in out
    assert "given on the command line" in out
    assert "the images are not larger" in out
    assert list((beside / "runs/own/evaluations").iterdir())
    text = (beside / "runs/own/config.json").read_text()
    config = config_file.from_json(TrainConfig, text, where="config.json")
    assert (config.steps, config.burn_in, config.data.test) == (3, 1, "data/test")


def test_its_arms_get_the_same_configuration(beside: Path) -> None:
    assert fitted("--arm", "supervised") == config_file.from_json(
        TrainConfig, config_file.to_json(fitted()).replace('"mixpl",', '"supervised",'), where="own"
    )


def test_the_printed_configuration_is_json_alone(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "own", "--device", "cpu", "--print-config"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["view"]["test_short"] == 64
    assert "because" in printed.err


def test_options_win_in_every_spelling(beside: Path) -> None:
    config = fitted(
        "--optim.lr=0.5", "--log.evaluate", "7", "--data.test", "None", "--mix.mosaic-range", "8", "9"
    )
    assert (config.optim.lr, config.data.test, config.mix.mosaic_range) == (0.5, None, (8, 9))
    assert config.log.evaluate == 7


def test_only_the_first_of_several_processes_speaks(
    beside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    fitted()
    assert capsys.readouterr().out == ""


def test_missing_data_and_data_without_boxes_are_named(beside: Path, drawn: Path) -> None:
    with pytest.raises(StoreError, match=r"expected a data set folder .* nowhere"):
        fitted("--data.labeled", "nowhere")
    with pytest.raises(StoreError, match="without ground truth"):
        fitted("--data.labeled", "data/unlabeled")
    (beside / "data/unlabeled").unlink()
    with pytest.raises(StoreError, match="data/unlabeled"):
        fitted()
    assert fitted("--arm", "supervised").steps == 300


def test_a_file_in_torchs_cache_can_be_had_and_no_server_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/here.pth").touch()
    assert can_be_had("http://127.0.0.1:9/here.pth")
    assert not can_be_had("http://127.0.0.1:9/nowhere.pth")
