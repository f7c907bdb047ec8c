"""Grids as TOML: which runs they declare, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.ablation.grid import GRIDS, read_grid
from jobs.cli import parse
from jobs.recipes.train_config import TrainConfig
from storage.errors import ConfigError

TWO_BY_TWO = """
recipe = "tiny"
seeds = [0, 1]
[options]
steps = 8
"data.test" = "test"
[axes.mixing.off]
"mix.mixup" = false
[axes.mixing.on]
[axes]
"resampling.threshold" = [0, 0.3]
"""


def written(folder: Path, text: str) -> str:
    path = folder / "grid.toml"
    path.write_text(text)
    return str(path)


def test_a_grid_has_a_cell_for_every_pair_of_values(tmp_path: Path) -> None:
    grid = read_grid(written(tmp_path, TWO_BY_TWO))
    assert [cell.name for cell in grid.cells] == [
        "mixing=off,threshold=0",
        "mixing=off,threshold=0.3",
        "mixing=on,threshold=0",
        "mixing=on,threshold=0.3",
    ]
    assert {cell.reference for cell in grid.cells} == {"mixing=off,threshold=0"}
    arguments = grid.arguments(grid.cells[1], 1, "out")
    assert arguments == [
        "tiny", "--steps", "8", "--data.test", "test", "--mix.no-mixup", "--resampling.threshold", "0.3",
        "--out", "out/mixing=off,threshold=0.3,seed=1", "--seed", "1",
    ]  # fmt: skip
    _, config = parse("train", arguments)
    assert isinstance(config, TrainConfig)
    assert (config.steps, config.mix.mixup, config.resampling.threshold, config.seed) == (8, False, 0.3, 1)


def test_what_is_asked_on_the_command_line_stands_above_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, TWO_BY_TWO)
    grid = read_grid(
        path, recipe="small", options={"resampling.threshold": 0.5, "data.batch_labeled": 2}, seeds=[7]
    )
    assert (grid.recipe, grid.seeds) == ("small", (7,))
    assert all(cell.options["resampling.threshold"] == 0.5 for cell in grid.cells)
    assert grid.cells[0].options["data.batch-labeled"] == 2


def test_a_baseline_of_one_axis_compares_within_the_others(tmp_path: Path) -> None:
    text = TWO_BY_TWO.replace("seeds =", 'baseline = {mixing = "on"}\nseeds =')
    references = {cell.name: cell.reference for cell in read_grid(written(tmp_path, text)).cells}
    assert references["mixing=off,threshold=0.3"] == "mixing=on,threshold=0.3"
    assert references["mixing=on,threshold=0"] == "mixing=on,threshold=0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "unknown key 'x'"),
        ("recipe = ", "expected TOML"),
        ('recipe = "tiny"', "expected axes, got none"),
        ('recipe = "tiny"\n[axes]\nseed = [1]', "no column of the table"),
        ('recipe = "tiny"\n[axes]\nlr = 3', "a list of values"),
        ('recipe = "tiny"\n[axes]\nlr = ["a b", "a_b"]', "two cells of the same"),
        ('recipe = "tiny"\nbaseline = {lr = "3"}\n[axes]\nlr = [1]', "lr: 1"),
        ('recipe = "tiny"\nseeds = [-1]\n[axes]\nlr = [1]', "expected seeds"),
        ("[axes]\nlr = [1]", "expected recipe"),
    ],
)
def test_a_file_that_is_no_grid_is_named_with_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"grid\.toml: ") as error:
        read_grid(written(tmp_path, text))
    assert words in str(error.value)


def test_names_that_no_folder_can_have_are_made_safe(tmp_path: Path) -> None:
    grid = read_grid(written(tmp_path, 'recipe = "tiny"\n[axes.a."../../x y"]\n'))
    assert grid.cells[0].name == ".._.._x_y"


@pytest.mark.parametrize("name", sorted(path.stem for path in GRIDS.glob("*.toml")))
def test_every_run_of_a_grid_that_has_a_name_is_one_that_train_takes(name: str) -> None:
    grid = read_grid(name, options={"data.test": "test"})
    configs = [parse("train", grid.arguments(cell, 0, "out"))[1] for cell in grid.cells]
    assert len({repr(config) for config in configs}) == len(grid.cells)
    assert sum(cell.name == cell.reference for cell in grid.cells) >= 1
