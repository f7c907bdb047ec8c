"""A loader in a process of its own: Ctrl-C and a plain exit end it promptly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.dataset.dataset import Dataset

ROOT = Path(__file__).resolve().parents[3]
DrawSet = Callable[..., Dataset]

SCRIPT = """
import signal, sys
from pipeline.loaders.train_loader import TrainLoader
from pipeline.loaders.unlabeled import UnlabeledData
from pipeline.settings import MixSettings, ViewSettings
from storage.dataset.dataset import Dataset

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background without
loader = TrainLoader(
    None,
    UnlabeledData(
        dataset=Dataset.open(sys.argv[1]), batch_size=2, mix=MixSettings(mosaic_range=(32, 48))
    ),
    view=ViewSettings(short_range=(32, 64), long_max=96),
)
print("step", next(loader).step, flush=True)
for batch in loader:
    if sys.argv[2] == "exit" and batch.step == 3:
        sys.exit(0)  # without closing
"""


@pytest.mark.parametrize("end", ["interrupt", "exit"])
def test_the_process_ends_promptly(draw_set: DrawSet, end: str) -> None:
    dataset = draw_set("unlabeled", 6)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, dataset.root, end],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "step 0\n"
            if end == "interrupt":
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    if end == "interrupt":
        assert process.returncode != 0
        assert "KeyboardInterrupt" in errors
    else:
        assert process.returncode == 0, errors
        assert errors == ""
