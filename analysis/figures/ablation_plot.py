"""An ablation as a picture: every run a point, every cell its mean and standard deviation.

In: the results and the summary of `analysis.ablation`. Out: a PNG.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from matplotlib.figure import Figure

INK, MEAN = "#8a8d98", "#1f5fbf"


def draw_ablation(path: str, results: pa.Table, summary: pa.Table, *, metric: str) -> None:
    """Write a PNG of one metric, the first cell on top."""
    rows = [row for row in summary.to_pylist() if row["metric"] == metric]
    figure = Figure(figsize=(8, 1.4 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    points = [
        row
        for row in results.to_pylist()
        if row["metric"] == metric and row["class"] is None and row["value"] is not None
    ]
    for place, row in enumerate(rows):
        values = [point["value"] for point in points if point["cell"] == row["cell"]]
        axes.plot(values, [place] * len(values), "o", color=INK, markersize=5, alpha=0.7, zorder=2)
        if row["mean"] is not None:
            axes.errorbar(
                row["mean"], place, xerr=row["deviation"] or 0.0, fmt="D", color=MEAN, capsize=4, zorder=3
            )
            label = f"{row['mean']:.1f}" + ("" if row["deviation"] is None else f" ± {row['deviation']:.1f}")
            axes.annotate(
                label, (row["mean"], place), (0, 8), textcoords="offset points", ha="center", fontsize=8
            )
    axes.set_yticks(range(len(rows)), [_plain(row["cell"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.set_xlabel(f"{metric} (points: runs; diamond: mean ± standard deviation over seeds)")
    axes.grid(axis="x", alpha=0.3)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _plain(text: str) -> str:
    """Return a text without the sign that matplotlib takes for a formula."""
    return text.replace("$", r"\$")
