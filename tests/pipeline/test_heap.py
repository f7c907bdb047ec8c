"""Where the large buffers of a graph lie, asked of the C library in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # of struct mallinfo2

SCRIPT = f"""
import ctypes, json, sys
import numpy as np
from pipeline.graphs.graph import Graph, floats_input, normalise, pixels_input
from pipeline.heap import use_one_heap
from pipeline.timing import resident_mib

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in {NAMES.split()}]

def mib():
    info = ask()
    return {{"mapped": info.hblkhd / 2**20, "used": info.uordblks / 2**20, "resident": resident_mib()}}

def padded():
    image, canvas = pixels_input("image", "cpu"), floats_input("canvas", 1)
    return normalise(image, canvas, mean=[0.0] * 3, std=[1.0] * 3)

ask = ctypes.CDLL(None).mallinfo2
ask.restype = Info
if sys.argv[1] == "one":
    use_one_heap()
graph = Graph(padded, batch_size=1)
image = np.zeros((1, 8, 8, 3), np.uint8)
for side in (8, *(2400, 2000, 1500, 1000, 1700) * 6):  # up to 66 MiB
    outputs = graph.run({{"image": image, "canvas": np.full((1, 2), side, np.float32)}})
    held = mib()
    del outputs
    print(json.dumps([held, mib()]))
"""


def sizes(heaps: str) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return what the process had with each output, and once it was dropped, in MiB; the first output is tiny."""
    environment = {name: value for name, value in os.environ.items() if name != "DALI_MALLOC_POOL_THRESHOLD"}
    command = [sys.executable, "-c", SCRIPT, heaps]
    lines = subprocess.check_output(command, cwd=ROOT, env=environment, text=True, timeout=60)
    held, dropped = zip(*map(json.loads, lines.splitlines()), strict=True)
    return list(held), list(dropped)


def test_a_graph_takes_large_buffers_from_the_heap_and_puts_them_back() -> None:
    held, dropped = sizes("one")
    assert held[1]["used"] - held[0]["used"] > 60
    assert all(abs(one["used"] - dropped[0]["used"]) < 5 for one in dropped)
    assert all(one["mapped"] - held[0]["mapped"] < 5 for one in held)


def test_what_was_put_back_stays_with_the_process_and_is_taken_again() -> None:
    held, _ = sizes("one")
    settled = [one["resident"] for one in held[11:]]
    assert settled[0] - held[0]["resident"] > 60
    assert max(settled) - min(settled) < 5


def test_left_alone_large_buffers_are_mapped_and_kept_elsewhere() -> None:
    _, dropped = sizes("default")
    assert dropped[1]["mapped"] - dropped[0]["mapped"] > 60
