"""Settings of the whole suite."""

from __future__ import annotations

import os

# Two cores: every test process keeps to one thread, so that results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks a hub: weights that are not there are refused at once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
