"""`mixpl train` under torchrun: two processes are stopped and resumed, become one, then three; one is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.inference.predictions import PredictSettings
from jobs.inference.score import score
from jobs.inference.trained import open_trained
from jobs.recipes import config_file
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.train_config import LogConfig, ThresholdConfig, TrainConfig
from jobs.run import checkpoint
from jobs.train import train
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.tables.label_store import LabelStore
from tests.same_states import assert_same

TorchRun = Callable[..., subprocess.Popen[bytes]]
STEPS = 14


def saved_steps(config: TrainConfig) -> list[int]:
    return checkpoint.steps(Path(config.out) / "checkpoints")


def saved(config: TrainConfig, step: int) -> dict[str, Any]:
    return checkpoint.load(Path(config.out) / "checkpoints" / f"step-{step:09d}.pt")


def metrics(config: TrainConfig) -> dict[int, dict[str, Any]]:
    lines = (Path(config.out) / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row for row in map(json.loads, lines) if "loss" in row}


def until(config: TrainConfig, process: subprocess.Popen[bytes], num_checkpoints: int) -> None:
    """Wait until a run has written so many checkpoints more than it has now."""
    deadline, before = time.monotonic() + 120, max(saved_steps(config), default=0)
    while max(saved_steps(config), default=0) < before + num_checkpoints:
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < deadline, "no checkpoint within 120 s"
        time.sleep(0.02)


def child_of(process: subprocess.Popen[bytes], rank: int) -> int:
    """Return the process id of a rank that torchrun started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in variables:
            return int(child)
    raise AssertionError(f"no rank {rank} among {children}")


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of this file, made once; `said` is what each process wrote to the screen."""

    whole: TrainConfig
    broken: TrainConfig
    said_whole: str
    said_stopped: str
    stopped_at: int


@pytest.fixture(scope="module")
def runs(
    drawn: Path,
    short_run: Callable[..., TrainConfig],
    torchrun: TorchRun,
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    root = tmp_path_factory.mktemp("ranks")

    def config_of(name: str, *, test: str | None) -> TrainConfig:
        base = short_run(drawn, root / name)
        return replace(
            base,
            steps=STEPS,
            data=replace(base.data, test=test),
            thresholds=ThresholdConfig(policy="prior", every=4),
            resampling=replace(base.resampling, every=6),
            log=LogConfig(metrics=1, checkpoint=1, keep=99, online_labels=6),
        )

    def start(config: TrainConfig, *flags: str) -> tuple[subprocess.Popen[bytes], Path]:
        folder = root / f"said-{len(list(root.iterdir()))}"
        folder.mkdir()
        (folder / "asked.json").write_text(config_file.to_json(config))
        command = ("-m", "jobs.cli", "train", str(folder / "asked.json"), *flags)
        return torchrun(2, folder, *command), folder / "said.txt"

    whole = config_of("whole", test=str(drawn / "test"))
    process, said_whole = start(whole)
    assert process.wait(timeout=200) == 0, said_whole.read_text()

    broken = config_of("broken", test=None)
    shutil.copytree(whole.out, broken.out)  # what a kill after step 4 leaves, and more to be taken anew
    for step in range(5, STEPS + 1):
        (Path(broken.out) / "checkpoints" / f"step-{step:09d}.pt").unlink()
    process, said_stopped = start(broken, "--resume")
    until(broken, process, 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=100) != 0
    return Runs(
        whole=whole,
        broken=broken,
        said_whole=said_whole.read_text(),
        said_stopped=said_stopped.read_text(),
        stopped_at=saved_steps(broken)[-1],
    )


def test_one_rank_writes_for_all(runs: Runs) -> None:
    rows = metrics(runs.whole)
    assert list(rows) == list(range(1, STEPS + 1))
    assert runs.said_whole.count("mixpl 14/14") == 1
    assert 0 <= rows[STEPS]["wait_share"] <= rows[STEPS]["wait_share_worst"] <= 1
    assert 0 <= rows[STEPS]["queue_depth"] <= 2
    assert sum(row.get("skipped_burn_in_steps", 0) for row in rows.values()) == 2 * 2
    assert rows[3]["threshold_0"] == 0.051 != rows[STEPS]["threshold_0"]
    table = LabelStore(str(Path(runs.whole.out) / "online_labels")).read("step-000000006")
    assert len(set(table["key"].to_pylist())) == len(table) == 2 * 4


def test_a_rank_has_its_own_images_and_cache_and_the_same_weights(runs: Runs) -> None:
    one, other = saved(runs.whole, 6)["ranks"]
    assert [state["loader"]["rank"] for state in (one, other)] == [0, 1]
    assert one["loader"]["unlabeled"]["refill"] != other["loader"]["unlabeled"]["refill"]
    assert torch.equal(one["thresholds"]["values"], other["thresholds"]["values"])
    assert not torch.equal(one["random"], other["random"])


def test_a_scoring_dealt_to_the_ranks_has_the_figures_of_one_process(runs: Runs) -> None:
    trained = open_trained(runs.whole.out, weights="teacher", device=torch.device("cpu"))
    test = Dataset.open(str(runs.whole.data.test))
    alone = score(trained.detector, test, settings=PredictSettings(view=view_settings(runs.whole)))
    lines = (Path(runs.whole.out) / "metrics.jsonl").read_text().splitlines()
    (scored,) = (row for row in map(json.loads, lines) if row.get("dataset") == test.name)
    assert scored["AP"] == round(alone.figures["AP"], 3)
    assert scored["AP50_tiny"] == round(alone.figures["AP50_tiny"], 3)


def test_a_run_that_is_stopped_says_how_it_goes_on(runs: Runs) -> None:
    assert 4 < runs.stopped_at < STEPS
    again = (
        f"under torchrun, with 2 processes as before: `mixpl train {runs.broken.out}/config.json --resume`"
    )
    assert f"stopped after step {runs.stopped_at}; continue {again}" in runs.said_stopped


def test_killed_stopped_and_resumed_the_ranks_are_where_they_would_have_been(runs: Runs) -> None:
    assert_same(saved(runs.whole, runs.stopped_at), saved(runs.broken, runs.stopped_at))
    whole, broken = metrics(runs.whole), metrics(runs.broken)
    assert list(broken) == list(range(1, runs.stopped_at + 1))
    assert all(broken[step]["loss"] == whole[step]["loss"] for step in broken)


def test_two_ranks_become_one_and_then_three_that_lose_most_of_their_shards_and_at_last_one_of_them(
    runs: Runs, drawn: Path, torchrun: TorchRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs.whole.out, tmp_path / "run")
    unlabeled = tmp_path / "unlabeled"
    shutil.copytree(drawn / "unlabeled", unlabeled)
    config = replace(
        runs.whole,
        out=str(tmp_path / "run"),
        resume=True,
        steps=STEPS + 2,
        data=replace(runs.whole.data, test=None, unlabeled=str(unlabeled)),
    )
    assert train(config) == 0
    said = capsys.readouterr().err
    assert f"step {STEPS} was reached by 2 processes and goes on with 1:" in said
    assert "images a step: 12 before, 6 now; the learning rate is unchanged" in said
    assert_same(
        saved(config, STEPS)["optimizer"]["param_groups"],
        saved(runs.whole, STEPS)["optimizer"]["param_groups"],
    )

    longer = replace(config, steps=2000)
    (tmp_path / "asked.json").write_text(config_file.to_json(longer))
    process = torchrun(3, tmp_path, "-m", "jobs.cli", "train", str(tmp_path / "asked.json"))
    until(longer, process, 1)
    for shard in sorted(unlabeled.glob("*.tar"))[1:]:
        os.truncate(shard, 0)  # a rank that has it open would read on in a file that is only unlinked
        shard.unlink()
    until(longer, process, STEPS + 8 - max(saved_steps(longer)))
    os.kill(child_of(process, 1), signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(timeout=100) != 0
    assert time.monotonic() - began < 60
    told = (tmp_path / "said.txt").read_text()
    assert "goes on with 3:" in told
    assert "mixpl train: rank 0: another rank is gone" in told
    assert metrics(longer)[STEPS + 8]["unreadable_unlabeled"] > 0
    states = [state["loader"]["labeled"] for state in saved(longer, STEPS + 8)["ranks"]]
    assert len(states) == 3
    assert len({(state["epoch"], state["offset"]) for state in states}) == 1  # equal steps, equal shares


def test_a_checkpoint_of_an_earlier_version_is_refused(
    run_config: Callable[..., TrainConfig],
) -> None:
    config = run_config(steps=2, burn_in=2)
    train(config)
    state = saved(config, 2)
    (own,) = state.pop("ranks")
    checkpoint.save(Path(config.out) / "checkpoints", 2, state | own, keep=1)
    with pytest.raises(ConfigError, match="expected a checkpoint with the state of every rank"):
        train(replace(config, resume=True, steps=4))
