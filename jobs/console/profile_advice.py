"""What the figures of a pipeline say about its settings: a pure function from figures to sentences.

In: `Figures`, as `mixpl profile` measures them. Out: one to three sentences, the most useful first: what the model
waits for, which setting to change to what, and why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

READ_IS_LARGE = 0.25
"""Share of a batch's time from which reading is worth a word: bytes of a local, warm shard take 1 %."""
WAIT_IS_SMALL = 0.02
"""Share of a step's time up to which the model hardly waits."""
VIEWS = ("decode", "weak view", "strong view", "labeled view")
MIXING = ("mixup", "mosaic")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedSteps:
    """What was seen of training steps with the loader beside them."""

    step_ms: float
    """The step's own work, without waiting."""
    wait_ms: float
    """Waiting for the batch, a step."""
    depths: tuple[int, ...]
    """Batches that were ready when each step asked for its own."""

    @property
    def wait_share(self) -> float:
        """Return the share of a step that the model waits."""
        return self.wait_ms / (self.wait_ms + self.step_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What a pipeline costs, and with what settings."""

    parts_ms: dict[str, float]
    """Milliseconds of each part a batch; reading is "read"."""
    batch_ms: float
    """Milliseconds a batch of the loader alone."""
    images_a_batch: int
    """Labeled and unlabeled."""
    cpu_ms_an_image: float
    """CPU milliseconds an image, over all threads."""
    resident_mib: tuple[float, float]
    """Resident size of the process after the first measured batch of the loader and after the last."""
    device_mib: float | None
    """Memory of the GPU in use; None on a CPU."""
    threads: int
    prefetch: int
    short_range: tuple[int, int]
    cores: int
    """Cores that this process may use."""
    device: str
    trained: TrainedSteps | None = None
    """None when no model was trained."""


def advise(figures: Figures) -> list[str]:
    """Return one to three sentences that follow from the figures."""
    sentences = [_verdict(figures)]
    if figures.parts_ms.get("read", 0.0) >= READ_IS_LARGE * figures.batch_ms:
        sentences.append(_about_reading(figures))
    if figures.trained is not None and figures.trained.wait_share > WAIT_IS_SMALL:
        sentences.append(_remedy(figures, figures.trained))
    return sentences


def _verdict(figures: Figures) -> str:
    trained = figures.trained
    if trained is None:
        largest = max(figures.parts_ms, key=lambda name: figures.parts_ms[name])
        return (
            f"A batch takes {figures.batch_ms:.0f} ms, most of it {largest}: a training step that takes longer "
            "does not wait; add --model to measure the step."
        )
    said = f"The model waits {100 * trained.wait_share:.1f} % of a step"
    if trained.wait_share > WAIT_IS_SMALL:
        return f"{said}: {trained.wait_ms:.0f} ms beside {trained.step_ms:.0f} ms of work."
    return (
        f"{said}: --data.prefetch {figures.prefetch} and --data.decode-threads {figures.threads} are fine, a batch "
        f"takes {figures.batch_ms:.0f} ms, the step {trained.step_ms:.0f}."
    )


def _about_reading(figures: Figures) -> str:
    read_ms = figures.parts_ms["read"]
    return (
        f"Reading takes {100 * read_ms / figures.batch_ms:.0f} % ({read_ms:.0f} ms): the shards are remote or not "
        "in memory yet; run it again to see them warm, or copy them to a local disk."
    )


def _remedy(figures: Figures, trained: TrainedSteps) -> str:
    """Return which setting makes the loader as fast as the step."""
    graphs_ms = sum(figures.parts_ms.get(name, 0.0) for name in (*VIEWS, *MIXING))
    if figures.batch_ms <= trained.step_ms:
        return _uneven(figures, trained)
    if figures.device == "cuda":
        return _too_much(figures, trained)
    serial_ms = max(0.0, figures.batch_ms - graphs_ms)  # reading and Python, whatever the threads
    left_ms = trained.step_ms - serial_ms
    enough = math.ceil(graphs_ms * figures.threads / left_ms) if left_ms > 0 else figures.cores + 1
    if figures.threads < enough <= figures.cores:
        return (
            f"Raise --data.decode-threads to {enough}: decoder, views and mixing need {graphs_ms:.0f} ms with "
            f"{figures.threads}, the step takes {trained.step_ms:.0f}."
        )
    return _too_much(figures, trained)


def _uneven(figures: Figures, trained: TrainedSteps) -> str:
    """Return what helps a loader that is fast enough when it runs alone."""
    empty, steps = sum(depth == 0 for depth in trained.depths), len(trained.depths)
    alone = f"a batch takes {figures.batch_ms:.0f} ms alone, less than a step"
    if empty == 0:
        return (
            "A batch was ready at every step, so no setting of the data is at fault: the threads that hand it over "
            "wait for a busy core."
        )
    if figures.device == "cpu" and 2 * empty > steps and figures.cores > 1:
        return (
            f"Leave a core to the data with --threads {figures.cores - 1}: {alone}, but it shares "
            f"{figures.cores} cores with the model, and {empty} of {steps} steps found no batch ready."
        )
    return (
        f"Raise --data.prefetch to {2 * figures.prefetch}: {alone}, but batches come unevenly; {empty} of {steps} "
        "steps found none ready."
    )


def _too_much(figures: Figures, trained: TrainedSteps) -> str:
    """Return by how much smaller the views must be; the decoder and reading stay what they are."""
    views = {name: ms for name, ms in figures.parts_ms.items() if name in (*VIEWS, *MIXING)}
    largest = max(views, key=lambda name: views[name])
    fixed_ms = figures.parts_ms["read"] + figures.parts_ms["decode"]
    who = f"{figures.cores} cores" if figures.device == "cpu" else "One GPU for data and model"
    if fixed_ms >= trained.step_ms:
        return (
            f"{who} cannot keep up with this step: reading and decoding alone take {fixed_ms:.0f} ms, the step "
            f"{trained.step_ms:.0f}, whatever the size of the views; smaller original images or more cores can."
        )
    pixels = max(0.05, (trained.step_ms - fixed_ms) / (figures.batch_ms - fixed_ms))
    low, high = (math.sqrt(pixels) * side for side in figures.short_range)
    return (
        f"{who} cannot keep up with this step at this size, whatever the threads; {largest} costs most "
        f"({views[largest]:.0f} ms). Smaller views can: --view.short-range {low:.0f} {high:.0f} instead of "
        "{} {}.".format(*figures.short_range)
    )
