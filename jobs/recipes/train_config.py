"""The configuration of a training run.

A value of frozen dataclasses; every field carries its meaning as the string under it, which is also the help of
the command line. Recipes (`coco.py`, `drawn.py` beside it) are functions that return one of these whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

import tyro

from analysis.thresholds import ThresholdPolicy
from jobs.recipes.ranges import require_at_least, require_share
from model.detectors.spec import DetectorName, Norm, Size
from model.method.gate import SemiSupervisedSettings
from model.method.schedule import ScheduleName
from pipeline.settings import MixSettings, Resize, ViewChoices
from storage.errors import ConfigError

Arm = Literal["mixpl", "mean-teacher", "supervised"]
LabelSource = Literal["teacher", "round", "round-then-teacher"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which images, and how many of them a step."""

    labeled: str = "data/labeled"
    """Folder of the labeled shards, as `mixpl shard` writes it."""
    unlabeled: str | None = "data/unlabeled"
    """Folder of the unlabeled shards; not opened by the supervised arm."""
    test: str | None = None
    """Folder of labeled shards that are scored while training and at the end."""
    batch_labeled: int = 1
    """Labeled images a step and process."""
    batch_unlabeled: int = 4
    """Unlabeled images a step and process."""
    min_side: int = 32
    """Labeled images with a side shorter than this many pixels are left out."""
    shuffle_window: int = 1024
    """Samples are shuffled within windows of this many."""
    decode_threads: int = 1
    """Threads of each DALI graph, which decodes and warps."""
    prefetch: int = 2
    """Batches made ahead of the training step."""
    check_bytes: bool = False
    """Hold every image against its sha256 when it is read (0.1 ms for 100 kB); changed ones are set aside."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive = ("batch_labeled", "batch_unlabeled", "shuffle_window", "decode_threads", "prefetch")
        require_at_least(1, self, *positive, prefix="data.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig(ViewChoices):
    """How one image becomes a weak, strong, labeled or test view."""

    mean: tuple[float, float, float] | None = None
    """Mean of red, green and blue that normalisation subtracts, 0-255 scale; None is the detector's."""
    std: tuple[float, float, float] | None = None
    """Standard deviation that normalisation divides by, 0-255 scale; None is the detector's."""
    pad_multiple: int | None = None
    """Batches are padded at the bottom and right to a multiple of this many pixels; None is the detector's."""
    resize: Resize | None = None
    """short_side: a view keeps the ratio of its image's sides. square: its sides are both what the short side is
    drawn as (at most the longest side), to the nearest multiple of pad_multiple. None is the detector's."""


def _with_thresholds(default: str) -> str:
    """Return what the help says after the choice of a detector: the default, and the score threshold of each."""
    from model.detectors.build import spec_of  # only the help needs it here

    thresholds = [f"{spec_of(name).score_threshold} for {name}" for name in get_args(DetectorName)]
    return f"(default: {default}; score threshold {', '.join(thresholds)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which detector."""

    name: Annotated[DetectorName, tyro.conf.arg(help_behavior_hint=_with_thresholds)] = "fasterrcnn-resnet50"
    """The detector."""
    weights: str = "imagenet"
    """Where it starts: none; imagenet (the backbone) or coco, where they are published; a file of a detector or of
    its backbone; a run, a checkpoint or what `mixpl weights` exported, whose classes of the same name keep their
    heads."""
    backbone: str | None = None
    """In place of the one that the name speaks of: a ResNet of torchvision, such as resnet18, or timm/NAME."""
    norm: Norm | None = None
    """Batch-norm of the backbone: frozen is a constant scale and shift, live learns and follows the batches; None
    is the detector's."""
    size: Size = "standard"
    """standard is as published; compact is narrower, for small data and CPUs."""
    checkpoint_activations: bool = False
    """Keep no activations of the student's backbone for the backward pass but compute them again: less memory, more
    time, the same losses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig:
    """The moving average that labels, is scored and is deployed (arXiv 2312.07006)."""

    momentum: float = 0.0002
    """Floor of the share that the student adds at an update."""
    warmup: float = 4.0
    """The share at iteration i is max(momentum, warmup / (warmup + i))."""
    interval: int = 3
    """Iterations between two updates."""
    reference_batch: int = 0
    """Labeled images a step, of all processes, for which momentum and warmup are meant (the paper: 8). With k times
    as many the teacher keeps the k-th power of its share (arXiv 2307.13813); 0 takes both as they are."""

    def __post_init__(self) -> None:
        """Check the range."""
        require_at_least(0, self, "reference_batch", prefix="teacher.")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """The optimiser."""

    name: Literal["sgd", "adamw"] = "sgd"
    """The optimiser."""
    lr: float = 0.01
    """Learning rate after warm-up; what it does then is the schedule's."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay."""
    backbone_lr: float = 1.0
    """Learning rate of the backbone, as a factor of lr."""
    warmup_steps: int = 500
    """Steps of linear warm-up."""
    warmup_start: float = 0.001
    """The first step's learning rate, as a factor of lr."""
    schedule: ScheduleName = "constant"
    """After the warm-up: constant; step: times `decay` at each of the milestones; cosine: half a wave down to
    `end`."""
    milestones: tuple[int, ...] = ()
    """Steps from which on the learning rate is lower, for the schedule step."""
    decay: float = 0.1
    """Factor on the learning rate at each milestone."""
    end: float = 0.0
    """The cosine's last learning rate, as a factor of lr."""
    cosine_steps: int | None = None
    """Step at which the cosine ends; None is the run's last, and config.json holds the number: a run that goes on
    for longer stays at the end."""
    clip: float = 20.0
    """Largest L2 norm of the gradient."""
    accumulate: int = 1
    """Batches a step, whose mean gradient changes the weights: what so many processes with one batch each do."""

    def __post_init__(self) -> None:
        """Check what the optimiser itself would take in silence."""
        require_at_least(1, self, "accumulate", prefix="optim.")
        if not self.clip > 0:
            raise ConfigError(f"--optim.clip must be above 0, got {self.clip}; a very large one never clips")


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdConfig:
    """Which threshold each class has; `pseudo.score_threshold` is the fixed one."""

    policy: ThresholdPolicy = "fixed"
    """fixed: one for all; prior: as many boxes of a class an image as in the labeled data; mixture: where the upper
    of two Gaussians over the class's scores becomes the likelier one."""
    every: int = 200
    """Steps between two computations, each from the teacher's labels since the last one."""

    def __post_init__(self) -> None:
        """Check the range."""
        require_at_least(1, self, "every", prefix="thresholds.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelsConfig:
    """Whose labels the unlabeled images have; not asked by the supervised arm."""

    source: LabelSource = "teacher"
    """teacher: this run's own, step by step; round: those that `mixpl label` stored; round-then-teacher: the stored
    ones for `until` steps, this run's teacher from then on."""
    round: str | None = None
    """Folder of rounds, of which the latest complete one on data.unlabeled is taken, or one round's own folder.
    Stored labels count above the round's threshold, the teacher's above pseudo.score_threshold."""
    until: int = 0
    """Steps, those of burn-in included, before the teacher takes over; for round-then-teacher."""
    partial: bool = False
    """Leave images and shards without stored labels out, in place of refusing the round; a round that is still
    being labeled is taken as it is when its own folder is named."""
    resample: float = 0.0
    """Images with pseudo labels of rare classes are repeated: the share of the round's images t below which a class
    is rare, as resampling.threshold is for labeled images; 0 turns it off."""

    def __post_init__(self) -> None:
        """Refuse what would be ignored, and ranges."""
        stored = self.source != "teacher"
        if stored and self.round is None:
            raise ConfigError(
                f"--labels.source {self.source} needs --labels.round: a folder of rounds, or a round"
            )
        if not stored and (self.round is not None or self.partial or self.resample):
            raise ConfigError(
                "--labels.round, --labels.partial and --labels.resample are for stored labels; add --labels.source "
                "round or round-then-teacher, or leave them out"
            )
        if (self.until > 0) != (self.source == "round-then-teacher"):
            raise ConfigError(
                "--labels.until is the number of steps, above 0, before the teacher takes over, with "
                f"--labels.source round-then-teacher and no other; got {self.until} with {self.source}"
            )
        require_share(self, "resample", prefix="labels.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResamplingConfig:
    """Labeled images of rare classes are repeated (LVIS, arXiv 1908.03195, section 4.3)."""

    threshold: float = 0.0
    """The share of images t below which a class is repeated; 0 turns resampling off."""
    rounding: Literal["bernoulli", "ceil"] = "bernoulli"
    """floor plus a Bernoulli of the fraction, redrawn each epoch; or the next integer."""
    every: int = 0
    """Steps after which the tables are asked again; 0 asks once."""
    rounds: str | None = None
    """Folder of label rounds: pseudo labels of the latest one on data.unlabeled count like true labels."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_share(self, "threshold", prefix="resampling.")
        require_at_least(0, self, "every", prefix="resampling.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """What a run writes, and how often, in steps; 0 is never."""

    metrics: int = 20
    """A line of metrics.jsonl."""
    checkpoint: int = 1000
    """A checkpoint, besides the last one."""
    keep: int = 2
    """Checkpoints kept."""
    evaluate: int = 0
    """A scoring of the teacher on data.test, besides the last one; the best one's weights are RUN/best.pt."""
    patience: int = 0
    """The run ends after so many scorings in a row without a gain in AP; 0 lets it go on."""
    online_labels: int = 100
    """A file of the teacher's pseudo labels."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_at_least(
            0, self, "metrics", "checkpoint", "evaluate", "patience", "online_labels", prefix="log."
        )
        require_at_least(1, self, "keep", prefix="log.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A training run."""

    out: str = "runs/mixpl"
    """Folder of the run; created."""
    arm: Arm = "mixpl"
    """The method, or one of the two arms it is compared with."""
    steps: int = 180_000
    """Training steps."""
    burn_in: int = 0
    """Supervised steps before the first unlabeled image."""
    seed: int = 0
    """Seed of weights, order and geometry."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    threads: int = 0
    """Threads of torch on the CPU; 0 leaves torch's choice."""
    bf16: bool = True
    """Mixed precision with bfloat16, on CUDA only."""
    timeout: float = 600.0
    """Seconds: of several processes that train, one that is silent for this long ends the run."""
    resume: bool = False
    """Continue the run in `out` from its last checkpoint."""
    data: DataConfig = field(default_factory=DataConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    mix: MixSettings = field(default_factory=MixSettings)
    model: ModelConfig = field(default_factory=ModelConfig)
    pseudo: SemiSupervisedSettings = field(default_factory=SemiSupervisedSettings)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    thresholds: ThresholdConfig = field(default_factory=ThresholdConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    resampling: ResamplingConfig = field(default_factory=ResamplingConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        """Check what no single part can see."""
        require_at_least(1, self, "steps")
        require_at_least(0, self, "burn_in", "seed", "threads")
        if not self.timeout > 0:
            raise ConfigError(f"--timeout must be above 0 seconds, got {self.timeout}")
        if self.arm != "supervised" and self.data.unlabeled is None:
            raise ConfigError(f"--arm {self.arm} needs --data.unlabeled; --arm supervised does without")
        if self.labels.source == "round" and self.thresholds.policy != "fixed":
            raise ConfigError(
                f"--thresholds.policy {self.thresholds.policy} follows the teacher, whom --labels.source round "
                "never asks; label with `mixpl label --threshold-policy`, or leave it out"
            )
        if self.log.patience and not (self.log.evaluate and self.data.test):
            raise ConfigError(
                f"--log.patience {self.log.patience} counts scorings without a gain: it needs --data.test, and "
                "--log.evaluate for the steps between two of them"
            )
        if 0 < self.labels.until <= self.burn_in:
            raise ConfigError(
                f"--labels.until must be above --burn-in {self.burn_in}, before which no unlabeled image is drawn; "
                f"got {self.labels.until}"
            )
