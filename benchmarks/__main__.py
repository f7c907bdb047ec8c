"""`make bench`: run every benchmark, print one table, write `benchmarks/results.json`.

Names on the command line keep only the benchmarks of those files: `python -m benchmarks matching`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow as pa

import benchmarks
from benchmarks.measure import Result
from jobs.console.print_table import print_table

PARTS = ("__main__", "measure", "tables", "photos", "published", "published_views")
"""Files that the benchmarks are made of."""
RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    chosen = sys.argv[1:]
    results: list[Result] = []
    for module in pkgutil.iter_modules(benchmarks.__path__, "benchmarks."):
        name = module.name.removeprefix("benchmarks.")
        if name not in PARTS and (not chosen or name in chosen):
            print(f"{name} …", file=sys.stderr, flush=True)
            results += importlib.import_module(module.name).run()
    _print(results)
    if not chosen:
        RESULTS.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=2) + "\n")


def _print(results: list[Result]) -> None:
    rows = [
        {name: _digits(value) for name, value in dataclasses.asdict(result).items()} for result in results
    ]
    print_table(pa.Table.from_pylist(rows), "ours beside the alternative, medians of interleaved runs")


def _digits(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
