"""`mixpl demo`: from nothing to a trained detector, pseudo labels in SQL, and pictures, on one command.

    synth ─▶ split ─▶ shard ─▶ supervised arm ┐
                          └──▶ MixPL arm ─────┴▶ eval ─▶ label ─▶ quality ─▶ sql ─▶ pictures

Each stage is the verb of the same name with its own configuration; the printed lines are commands that can be
repeated. Stopped at any moment and started again, the demo goes on where it was; the same seed gives the same
figures. `summary.json` holds what the last screen says.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import torch
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from analysis.coco_eval import Evaluation
from analysis.quality import Quality
from jobs.eval import EvalConfig, evaluate
from jobs.inference.trained import open_trained
from jobs.label import LabelConfig, label
from jobs.pictures import demo_pictures
from jobs.quality import QualityConfig, quality
from jobs.recipes import config_file
from jobs.recipes.choose_recipe import recipe_config
from jobs.recipes.score_threshold import score_threshold
from jobs.recipes.train_config import Arm, TrainConfig
from jobs.shard import ShardConfig, shard
from jobs.split import SplitConfig, split
from jobs.synth import SynthConfig, synth
from jobs.train import train
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
    label_unlabeled(root)
    heading(f"mixpl quality --root {root} --out {root}/quality.parquet")
    pseudo_labels = quality(QualityConfig(root=str(root), out=f"{root}/quality.parquet"))
    draw(config, root, pseudo_labels)
    summary = summarise(config, results, pseudo_labels, seconds=time.monotonic() - began)
    SUMMARY.write(str(root / "summary.json"), summary)
    show(summary, root)
    return summary


def claim(root: Path, config: DemoConfig) -> None:
    """Note in `demo.json` what runs here; raise ConfigError when the folder holds another demo or other files."""
    note, wanted = root / "demo.json", config_file.to_json(config)
    if note.exists():
        if note.read_text(encoding="utf-8") != wanted:
            raise ConfigError(
                f"{root} holds a demo of other settings ({note}); remove the folder or name another --out"
            )
    elif root.exists() and any(root.iterdir()):
        raise ConfigError(f"{root} holds other files; expected a new or empty folder, name another --out")
    else:
        files.write_atomic(str(note), wanted.encode())


def prepare(config: DemoConfig, root: Path) -> None:
    """Draw the images, split them, and pack the shards."""
    images = f"{root}/images"
    heading(f"mixpl synth {images} --preset {config.preset} --seed {config.seed}")
    synth(SynthConfig(out=images, preset=config.preset, seed=config.seed, workers=config.workers))
    parts = f"{root}/split"
    heading(
        f"mixpl split {images}/train.json --percent {config.percent:g} --fold {config.seed} "
        f"--family exact --out {parts}"
    )
    split(
        SplitConfig(
            annotations=f"{images}/train.json",
            out=parts,
            percent=config.percent,
            fold=config.seed,
            family="exact",
        )
    )
    sources = {
        "labeled": (f"{parts}/labeled.json", "train", None),
        "unlabeled": (f"{parts}/unlabeled.json", "train", f"{parts}/unlabeled-truth.json"),
        "test": (f"{images}/test.json", "test", None),
    }
    for name, (source, part, truth) in sources.items():
        kept_apart = f" --hidden-truth {truth}" if truth else ""
        heading(
            f"mixpl shard {source} --images {images}/images/{part} --out {root}/{name} --per-shard 100{kept_apart}"
        )
        shard(
            ShardConfig(
                source=source,
                images=f"{images}/images/{part}",
                out=f"{root}/{name}",
                name=name,
                per_shard=100,
                workers=config.workers,
                hidden_truth=truth,
            )
        )


def run_arm(config: DemoConfig, root: Path, arm: Arm) -> Evaluation:
    """Train one arm and score its teacher."""
    train_config = arm_config(config, root, arm)
    run = train_config.out
    heading(f"mixpl train {config.preset} --arm {arm} --out {run}  (whole: {run}/config.json)")
    if train(train_config):
        raise KeyboardInterrupt
    heading(f"mixpl eval {run} --data {root}/test")
    return evaluate(EvalConfig(run=run, data=f"{root}/test"))


def label_unlabeled(root: Path) -> None:
    """Let the MixPL arm's teacher label every unlabeled image."""
    config = LabelConfig(run=f"{root}/runs/mixpl", data=f"{root}/unlabeled", out=f"{root}/labels")
    heading(f"mixpl label {config.run} --data {config.data} --out {config.out}")
    if label(config):
        raise KeyboardInterrupt


def arm_config(config: DemoConfig, root: Path, arm: Arm) -> TrainConfig:
    """Return the recipe of the preset with the demo's folders; arms differ in nothing but `arm`."""
    recipe = recipe_config(config.preset)
    data = dataclasses.replace(
        recipe.data, labeled=str(root / "labeled"), unlabeled=str(root / "unlabeled"), test=str(root / "test")
    )
    return dataclasses.replace(
        recipe,
        out=str(root / "runs" / arm),
        arm=arm,
        steps=config.steps or recipe.steps,
        burn_in=recipe.burn_in if config.burn_in is None else config.burn_in,
        seed=config.seed,
        data=data,
        resume=True,
    )


def draw(config: DemoConfig, root: Path, pseudo_labels: Quality) -> None:
    """Draw the pictures."""
    recipe = arm_config(config, root, "mixpl")
    unlabeled, test = Dataset.open(str(root / "unlabeled")), Dataset.open(str(root / "test"))
    trained = open_trained(recipe.out, weights="teacher", device=torch.device("cpu"))
    pictures = f"{root}/pictures"
    threshold = score_threshold(trained.config)
    demo_pictures.draw_views(f"{pictures}/views.png", unlabeled, view=recipe.view, seed=config.seed)
    demo_pictures.draw_mixes(
        f"{pictures}/mixes.png", unlabeled, view=recipe.view, mix=recipe.mix, seed=config.seed
    )
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
        "steps": arm_config(config, Path(config.out), "mixpl").steps,
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
    console = Console()
    table = Table(title=f"Teacher on the test images after {summary['steps']} steps, in percent")
    table.add_column("arm")
    for name in FIGURES:
        table.add_column(name, justify="right")
    for arm in ARMS:
        table.add_row(arm, *(f"{summary[arm][name]:.1f}" for name in FIGURES))
    gains = {name: summary["mixpl"][name] - summary["supervised"][name] for name in FIGURES}
    table.add_section()
    table.add_row("gain", *(f"{gains[name]:+.1f}" for name in FIGURES))
    console.print(table)
    before, after = summary["supervised"]["AP50"], summary["mixpl"]["AP50"]
    verdict = "above" if after > before else "not above"
    print(
        f"MixPL is {verdict} supervised training at equal steps: AP50 {after:.1f} against {before:.1f} "
        f"({after - before:+.1f}), in {summary['seconds']:.0f} s all told.\n"
    )
    for name, meaning in OUTPUTS.items():
        print(f"  {root / name!s:<24} {meaning}")
    print(f'\nAsk the tables:  mixpl sql "{COUNTS_SQL}" --root {quote(str(root))}')


def heading(command: str) -> None:
    """Print the command of the stage that begins."""
    Console().print(Rule(f"[bold]{command}", align="left", style="dim"))
