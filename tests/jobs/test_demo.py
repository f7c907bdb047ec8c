"""The whole system, end to end, at tiny size: every verb of the demo on real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.demo import COUNTS_SQL, DemoConfig, demo
from jobs.label import LabelConfig
from storage.database.connect import connect
from storage.errors import ConfigError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoConfig, dict[str, Any]]:
    out = tmp_path_factory.mktemp("demo") / "demo"
    config = DemoConfig(out=str(out), steps=14, burn_in=8)
    return config, demo(config)


def test_the_summary_on_disk_is_the_one_returned(finished: tuple[DemoConfig, dict[str, Any]]) -> None:
    config, summary = finished
    assert json.loads((Path(config.out) / "summary.json").read_text()) == {**summary, "schema_version": 1}
    assert summary.keys() == {"seed", "steps", "seconds", "supervised", "mixpl", "pseudo_labels"}
    assert summary["supervised"].keys() == summary["mixpl"].keys() == {"AP", "AP50", "AP50_tiny", "AP_tail"}
    assert summary["pseudo_labels"].keys() == {"images", "boxes", "precision", "recall"}
    assert (summary["steps"], summary["seed"], summary["pseudo_labels"]["images"]) == (14, 0, 380)


def test_every_picture_can_be_looked_at(finished: tuple[DemoConfig, dict[str, Any]]) -> None:
    pictures = sorted((Path(finished[0].out) / "pictures").glob("*.png"))
    assert [picture.stem for picture in pictures] == ["counts", "curves", "mixes", "teacher", "views"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) >= 300, picture
            assert np.asarray(image.convert("L")).std() > 10, f"{picture} is empty"


def test_the_tables_answer_sql(finished: tuple[DemoConfig, dict[str, Any]]) -> None:
    config, summary = finished
    with connect(config.out) as con:
        counts = con.sql(COUNTS_SQL).fetchall()
        assert sum(count for _, count in counts) == summary["pseudo_labels"]["boxes"]
        labeled = con.sql("select num_images from datasets where split_part = 'labeled'").fetchall()
        assert labeled == [(20,)]
        curve = con.sql(
            "select run, value from evaluations where metric = 'AP50' and class is null and step = 14"
        )
        figures = {run: round(value, 2) for run, value in curve.fetchall()}
        assert figures == {arm: summary[arm]["AP50"] for arm in ("supervised", "mixpl")}


def test_a_finished_demo_is_shown_again_and_not_run_again(
    finished: tuple[DemoConfig, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, summary = finished
    written = Path(config.out, "summary.json")
    written.write_text(written.read_text().replace('"schema_version": 1,', ""))  # as it was before it had one
    assert demo(config) == summary
    assert "holds a finished demo" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="holds a demo of other settings"):
        demo(DemoConfig(out=config.out, steps=15, burn_in=8))


def test_an_interrupted_demo_continues_and_the_same_seed_gives_the_same_figures(
    finished: tuple[DemoConfig, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = finished
    config = DemoConfig(out=str(tmp_path / "demo"), steps=14, burn_in=8)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.label.label", interrupt)
        with pytest.raises(KeyboardInterrupt):
            demo(config)
    second = demo(config)
    assert {**second, "seconds": 0} == {**first, "seconds": 0}


def interrupt(config: LabelConfig) -> int:
    raise KeyboardInterrupt


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="holds other files"):
        demo(DemoConfig(out=str(tmp_path)))
