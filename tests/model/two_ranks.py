"""Two processes train a detector for two steps, as under torchrun; one has boxes and the other has none.

Arguments: names of detectors, or `FILE.py:FUNCTION` that returns one. Each is printed once both ranks hold the same
weights, finite and changed. The two are forks of one that has imported everything, which is most of what starting
them costs.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from typing import cast

import torch
import torch.distributed as dist

from jobs.run.checkpoint import weights_hash
from jobs.run.ranks import Ranks, process_group
from jobs.training.gradients import GradientExchange
from model.detector import Detector
from model.detectors.spec import DetectorName
from model.method.optim import build_optimizer
from tests.model.conformance import NOTHING, batch_for, losses, total_of
from tests.model.small_detectors import build_small

WORLD = 2


def built(builder: str) -> Detector:
    path, colon, function = builder.rpartition(":")
    detector = runpy.run_path(path)[function]() if colon else build_small(cast("DetectorName", builder))
    assert isinstance(detector, Detector)
    return detector.train()


def train(detector: Detector, ranks: Ranks) -> None:
    """Take two steps; raise unless the weights have changed and are the same numbers on both ranks."""
    before = weights_hash(dict(detector.named_parameters()))
    batch = batch_for(detector)
    exchange = GradientExchange(detector.parameters(), ranks)
    optimizer = build_optimizer(detector, name="sgd", lr=1e-3, weight_decay=1e-4)
    for step in range(2):
        exchange.clear()
        targets = batch.targets if ranks.rank == 0 else [NOTHING] * 2
        parts = losses(detector, batch, targets, seed=step)
        total_of(parts).backward()  # type: ignore[no-untyped-call]
        said = exchange.exchange(None, [torch.stack(list(parts.values())).detach()], stop=False)
        assert not said.void
        optimizer.step()
    assert all(parameter.isfinite().all() for parameter in detector.parameters())
    mine = weights_hash(dict(detector.named_parameters()))
    assert mine != before
    assert ranks.gather(lambda: mine) == [mine] * WORLD


def meet(rank: int, port: int, builders: list[str]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    with process_group(torch.device("cpu"), timeout=120.0) as ranks:
        for builder in builders:
            train(built(builder), ranks)
            if ranks.rank == 0:
                print(builder, flush=True)


def main(builders: list[str]) -> int:
    fork = multiprocessing.get_context("fork")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = [
        fork.Process(target=meet, args=(rank, store.port, builders), daemon=True) for rank in range(WORLD)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(500)
    return max(process.exitcode if process.exitcode is not None else 1 for process in ranks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
