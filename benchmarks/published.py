"""The published framework's own view pipeline, as a process of its own that is asked to work in turns with ours.

In: a folder of JPEG files. Out: the CPU seconds it takes for so many batches. Its packages are put into a folder of
their own (`.bench/`, 180 MB, once), beside which the process sees the packages of this environment: one torch, one
numpy for both. Versions are pinned.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

PACKAGES = (
    "mmdet==3.3.0",
    "mmcv-lite==2.1.0",
    "mmengine==0.10.7",
    "opencv-python-headless==4.11.0.86",
    "addict==2.4.0",
    "termcolor==2.5.0",
    "yapf==0.43.0",
    "platformdirs==4.3.6",
    "shapely==2.0.7",
    "terminaltables==3.1.10",
)
FOLDER = Path(__file__).resolve().parents[1] / ".bench" / "mmdet"
WITHIN = 300
"""Seconds that the installation may take."""


def prepare() -> str | None:
    """Put the packages into their folder, if they are not there; return why that failed, None where it did not."""
    ready = FOLDER / "packages.json"
    wanted = json.dumps(PACKAGES)
    if ready.exists() and ready.read_text() == wanted:
        return None
    shutil.rmtree(FOLDER, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        subprocess.run(
            [*command, "--target", str(FOLDER), *PACKAGES], check=True, timeout=WITHIN, capture_output=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"its packages cannot be installed ({type(error).__name__})"
    ready.write_text(wanted)
    return None


class PublishedViews:
    """The process; `seconds` asks it to work."""

    def __init__(self, images: Path, *, batch_size: int) -> None:
        """Start it and wait until it can work; RuntimeError with its words where it cannot."""
        script = Path(__file__).with_name("published_views.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(images), str(batch_size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(FOLDER)},
        )
        self.versions = self._answer()

    def seconds(self, seed: int, num_batches: int) -> float:
        """Return the CPU seconds for weak and strong views of so many batches."""
        assert self._process.stdin is not None, "opened as a pipe"
        self._process.stdin.write(f"{seed} {num_batches}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None, "opened as a pipe"
        line = self._process.stdout.readline()
        if not line:
            words = self._process.communicate()[1].strip().splitlines()
            raise RuntimeError(words[-1] if words else "it ended without a word")
        return line.strip()

    def __enter__(self) -> PublishedViews:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
