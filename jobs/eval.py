"""`mixpl eval`: COCO figures of a trained detector on labeled shards, printed and kept as a table.

In: a run or a checkpoint, and a labeled data set. Out: `RUN/evaluations/*.parquet`, which SQL sees as the view
`evaluations`, and the twelve figures with AP by class on the screen. Images that cannot be read count as images
without detections, and are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pyarrow as pa
import tyro

from analysis.coco_eval import Evaluation
from jobs.console.print_table import print_table, rounded
from jobs.console.progress import Progress
from jobs.inference.predictions import MAX_NAMED, PredictSettings
from jobs.inference.score import score, write_evaluation
from jobs.inference.trained import Weights, choose_device, open_trained
from jobs.recipes.detector_defaults import view_settings
from jobs.recipes.ranges import require_at_least
from storage.dataset.dataset import Dataset

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AP50_tiny", "AP_tail")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """What to score, and on what."""

    run: Annotated[str, tyro.conf.Positional]
    """A run's folder (its newest checkpoint) or one checkpoint file."""
    data: str
    """Folder of labeled shards."""
    weights: Weights = "teacher"
    """Whose weights."""
    batch: int = 8
    """Most images a batch; what is found in an image does not depend on it."""
    threads: int = 1
    """Threads of the DALI graph."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to predict."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_at_least(1, self, "batch", "threads")


def evaluate(config: EvalConfig) -> Evaluation:
    """Score the detector, keep the figures beside its run and print them."""
    device = choose_device(config.device)
    trained = open_trained(config.run, weights=config.weights, device=device)
    dataset = Dataset.open(config.data)
    dataset.require_same_classes(trained.classes, lender=trained.config.data.labeled)
    with Progress("eval", total=dataset.num_images, unit="images") as progress:
        settings = PredictSettings(
            view=view_settings(trained.config), batch=config.batch, threads=config.threads, device=device
        )
        result = score(trained.detector, dataset, settings=settings, progress=progress)
    write_evaluation(result, trained.run, dataset=dataset, weights=config.weights, step=trained.step)
    show(result, title=f"{trained.run.name} ({config.weights}, step {trained.step}) on {dataset.name}")
    return result


def show(result: Evaluation, *, title: str) -> None:
    """Print the figures: the twelve of COCO, tiny objects, the tail, and each class."""
    print(title)
    more = f" and {len(result.tail) - MAX_NAMED} more" if len(result.tail) > MAX_NAMED else ""
    print(f"the tail is the rarest third of the classes: {', '.join(result.tail[-MAX_NAMED:])}{more}")
    recalls = [name for name in result.figures if name.startswith("AR_")]
    for names in (FIGURES, recalls):
        print_table(pa.table({name: rounded([result.figures[name]]) for name in names}))
    classes = {"AP": rounded(result.ap_C), "AP50": rounded(result.ap50_C), "truth boxes": result.num_truth_C}
    print_table(pa.table({"class": result.classes} | classes))
