"""`mixpl demo`: from nothing to a trained detector, pseudo labels in SQL, and pictures, on one command.

    synth ─▶ split ─▶ shard ─▶ supervised arm ┐
                          └──▶ MixPL arm ─────┴▶ eval ─▶ label ─▶ quality ─▶ sql ─▶ pictures

Each stage is the command that is printed: it is parsed and run as from the command line, and can be repeated.
Stopped at any moment and started again, the demo goes on where it was; the same seed gives the same figures.
`summary.json` holds what the last screen says.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import torch

from analysis.coco_eval import Evaluation
from analysis.quality import Quality
from jobs.cli import parse
from jobs.console.print_table import print_table, rounded
from jobs.inference.trained import open_trained
from jobs.pictures import demo_pictures
from jobs.quality import QualityConfig, quality
from jobs.recipes import config_file
from jobs.recipes.choose_recipe import recipe_config
from jobs.recipes.detector_defaults import score_threshold, view_settings
from jobs.recipes.train_config import Arm
from jobs.run.interrupt import INTERRUPTED
from storage import files
from storage.dataset.dataset import Dataset
from storage.errors import ConfigError
from storage.json_head import HeadFormat

ARMS: tuple[Arm, Arm] = ("supervised", "mixpl")
FIGURES = ("AP", "AP50", "AP50_tiny", "AP_tail")
OUTPUTS = {
    "pictures": "views, mixup and mosaic, teacher beside truth, curves, counts",
    "labels/round=0001": "the pseudo labels, one Parquet file a shard",
    "runs/mixpl": "checkpoints, metrics.jsonl, online labels, evaluations",
    "quality.parquet": "precision and recall at every score threshold",
    "summary.json": "the figures above",
}
SUMMARY = HeadFormat(
    kind=dict[str, Any], what="the summary of a demo", remedy="remove it and run the same `mixpl demo` again"
)
COUNTS_SQL = "select class, count(*) n from pseudo_labels group by 1 order by 2 desc"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """The whole system on drawn data."""

    out: str = "demo"
    """Folder of everything that the demo makes."""
    preset: Literal["tiny", "small"] = "tiny"
    """Which drawn data set and recipe."""
    seed: int = 0
    """Seed of images, split, weights and order."""
    percent: float = 5.0
    """Share of the training images that keeps its labels."""
    steps: int | None = None
    """Training steps of each arm; the recipe's by default."""
    burn_in: int | None = None
    """Supervised steps before the first unlabeled image; the recipe's by default."""
    workers: int = 2
    """Processes that draw and shard."""


def demo(config: DemoConfig) -> dict[str, Any]:
    """Run or continue the demo and return the summary, as written to `summary.json`."""
    root = Path(config.out)
    claim(root, config)
    summary = SUMMARY.read(str(root / "summary.json"))
    if summary is not None:
        print(f"{root} holds a finished demo; remove the folder to run it again.\n")
        quality(QualityConfig(root=str(root)))
        show(summary, root)
        return summary
    began = time.monotonic()
    torch.set_num_threads(1)
    prepare(config, root)
    results = {arm: run_arm(config, root, arm) for arm in ARMS}
    stage("label", f"{root}/runs/mixpl", "--data", f"{root}/unlabeled", "--out", f"{root}/labels")
    pseudo_labels: Quality = stage("quality", "--root", str(root), "--out", f"{root}/quality.parquet")
    draw(config, root, pseudo_labels)
    summary = summarise(config, results, pseudo_labels, seconds=time.monotonic() - began)
    SUMMARY.write(str(root / "summary.json"), summary)
    show(summary, root)
    return summary


def stage(verb: str, *arguments: str) -> Any:
    """Print the command of the stage that begins, run it, and return what its verb returns."""
    print(f"\n$ mixpl {verb} {shlex.join(arguments)}", flush=True)
    job, config = parse(verb, arguments)
    result = job(config)
    if result == INTERRUPTED:
        raise KeyboardInterrupt
    return result


def claim(root: Path, config: DemoConfig) -> None:
    """Note in `demo.json` what runs here; raise ConfigError when the folder holds another demo or other files."""
    note, wanted = root / "demo.json", config_file.to_json(config)
    if note.exists():
        if files.read_bytes(str(note)) != wanted.encode():
            raise ConfigError(
                f"{root} holds a demo of other settings ({note}); remove the folder or name another --out"
            )
    elif root.exists() and any(root.iterdir()):
        raise ConfigError(f"{root} holds other files; expected a new or empty folder, name another --out")
    else:
        files.write_atomic(str(note), wanted.encode())


def prepare(config: DemoConfig, root: Path) -> None:
    """Draw the images, split them, and pack the shards."""
    images, parts, seed, workers = f"{root}/images", f"{root}/split", str(config.seed), str(config.workers)
    stage("synth", images, "--preset", config.preset, "--seed", seed, "--workers", workers)
    share = ("--percent", str(config.percent), "--fold", seed, "--family", "exact")
    stage("split", f"{images}/train.json", *share, "--out", parts)
    truth = ("--hidden-truth", f"{parts}/unlabeled-truth.json")
    sources = {
        "labeled": (f"{parts}/labeled.json", "--images", f"{images}/images/train"),
        "unlabeled": (f"{parts}/unlabeled.json", "--images", f"{images}/images/train", *truth),
        "test": (f"{images}/test.json", "--images", f"{images}/images/test"),
    }
    for name, source in sources.items():
        stage("shard", *source, "--out", f"{root}/{name}", "--per-shard", "100", "--workers", workers)


def run_arm(config: DemoConfig, root: Path, arm: Arm) -> Evaluation:
    """Train one arm and score its teacher; the arms differ in nothing but `--arm`."""
    run = f"{root}/runs/{arm}"
    data = [f"--data.{name}={root}/{name}" for name in ("labeled", "unlabeled", "test")]
    lengths = {"--steps": config.steps, "--burn-in": config.burn_in}
    changes = [f"{flag}={value}" for flag, value in lengths.items() if value is not None]
    seed = f"--seed={config.seed}"
    stage("train", config.preset, f"--arm={arm}", f"--out={run}", *data, *changes, seed, "--resume")
    result: Evaluation = stage("eval", run, "--data", f"{root}/test")
    return result


def draw(config: DemoConfig, root: Path, pseudo_labels: Quality) -> None:
    """Draw the pictures."""
    unlabeled, test = Dataset.open(str(root / "unlabeled")), Dataset.open(str(root / "test"))
    trained = open_trained(f"{root}/runs/mixpl", weights="teacher", device=torch.device("cpu"))
    recipe, pictures = trained.config, f"{root}/pictures"
    threshold = score_threshold(recipe)
    view = view_settings(recipe)
    demo_pictures.draw_views(f"{pictures}/views.png", unlabeled, view=view, seed=config.seed)
    demo_pictures.draw_mixes(f"{pictures}/mixes.png", unlabeled, view=view, mix=recipe.mix, seed=config.seed)
    demo_pictures.draw_predictions(f"{pictures}/teacher.png", trained, test, threshold=threshold)
    demo_pictures.draw_curves(f"{pictures}/curves.png", [root / "runs" / arm for arm in ARMS])
    demo_pictures.draw_counts(f"{pictures}/counts.png", pseudo_labels)


def summarise(
    config: DemoConfig, results: Mapping[Arm, Evaluation], pseudo_labels: Quality, *, seconds: float
) -> dict[str, Any]:
    """Return the figures of the demo, AP in percent."""
    overall = pseudo_labels.overall()
    arms: dict[str, dict[str, float]] = {
        arm: {name: round(result.figures[name], 2) for name in FIGURES} for arm, result in results.items()
    }
    return {
        "seed": config.seed,
        "steps": config.steps or recipe_config(config.preset).steps,
        "seconds": round(seconds, 1),
        **arms,
        "pseudo_labels": {
            "images": pseudo_labels.num_images,
            "boxes": overall["pseudo_labels"],
            "precision": round(overall["precision"] or 0.0, 4),
            "recall": round(overall["recall"] or 0.0, 4),
        },
    }


def show(summary: Mapping[str, Any], root: Path) -> None:
    """Print the last screen: both arms, the labels by class, and where everything lies."""
    before, after = summary["supervised"], summary["mixpl"]
    columns = {name: rounded([before[name], after[name], after[name] - before[name]]) for name in FIGURES}
    title = f"Teacher on the test images after {summary['steps']} steps, in percent"
    print_table(pa.table({"arm": [*ARMS, "gain"], **columns}), title)
    gain = after["AP50"] - before["AP50"]
    print(
        f"MixPL is {'above' if gain > 0 else 'not above'} supervised training at equal steps: AP50 "
        f"{after['AP50']:.1f} against {before['AP50']:.1f} ({gain:+.1f}), in {summary['seconds']:.0f} s all told.\n"
    )
    for name, meaning in OUTPUTS.items():
        print(f"  {root / name!s:<24} {meaning}")
    print(f'\nAsk the tables:  mixpl sql "{COUNTS_SQL}" --root {shlex.quote(str(root))}')
