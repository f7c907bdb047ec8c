"""The process behind `published.PublishedViews`: mmdetection's transforms on JPEG files.

In: a folder and a batch size as arguments; on standard input lines of a seed and a number of batches. Out: a line
with the versions, then for each request a line with the CPU seconds. A batch is what ours is: from the files, a
weak view (resize, flip), normalised and padded, and a strong view (resize, flip, one colour and one geometric
operation in random order), left as bytes. The transforms are the framework's, with the settings of its published
semi-supervised recipes. It imports nothing of this repository.
"""

from __future__ import annotations

import itertools
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

SCALES = [(1333, 400), (1333, 1200)]
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
COLOURS = (
    "ColorTransform", "AutoContrast", "Equalize", "Sharpness", "Posterize", "Solarize", "Color", "Contrast",
    "Brightness",
)  # fmt: skip
GEOMETRY = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


class CompiledOps(ModuleType):
    """Stands where the light edition has no compiled operators; transforms import their names and use none."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _refuse


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # the framework prints
    folder, batch_size = Path(sys.argv[1]), int(sys.argv[2])
    files = sorted(folder.glob("*.jpg"))
    views = Views()
    print(views.versions, file=answers, flush=True)
    for line in sys.stdin:
        seed, num_batches = map(int, line.split())
        views.seed(seed)
        order = itertools.cycle(files)
        began = time.process_time()
        for _ in range(num_batches):
            views.batch(list(itertools.islice(order, batch_size)))
        print(time.process_time() - began, file=answers, flush=True)


class Views:
    """Weak and strong views of files."""

    def __init__(self) -> None:
        for name in ("mmcv.ops", "mmcv.ops.roi_align", "mmcv.ops.nms"):
            sys.modules[name] = module = CompiledOps(name)
            module.__path__ = []
            module.__spec__ = ModuleSpec(name, None, is_package=True)
        import cv2
        import mmcv.transforms
        import mmdet
        from mmdet.datasets import transforms
        from mmengine.model import ImgDataPreprocessor
        from mmengine.registry import init_default_scope

        init_default_scope("mmdet")
        cv2.setNumThreads(0)  # as the framework's recipes set it
        self.versions = f"mmdet {mmdet.__version__}, OpenCV {cv2.__version__}"
        self._load = mmcv.transforms.LoadImageFromFile()
        self._branches = transforms.MultiBranch(
            ["weak", "strong"],
            weak=[*_resize_and_flip(), _pack()],
            strong=[*_resize_and_flip(), _random_order(), _pack()],
        )
        self._normalise = ImgDataPreprocessor(mean=MEAN, std=STD, bgr_to_rgb=True, pad_size_divisor=32)

    def seed(self, seed: int) -> None:
        import random

        import numpy as np

        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (the framework draws from the global generator)

    def batch(self, files: list[Path]) -> tuple[Any, list[Any]]:
        """Return the normalised weak batch and the strong views."""
        loaded = [self._load({"img_path": str(file), "img_id": index}) for index, file in enumerate(files)]
        packed = [self._branches(one)["inputs"] for one in loaded]
        weak = self._normalise({"inputs": [one["weak"] for one in packed]})
        return weak["inputs"], [one["strong"] for one in packed]


def _resize_and_flip() -> list[dict[str, Any]]:
    return [
        {"type": "RandomResize", "scale": SCALES, "keep_ratio": True},
        {"type": "RandomFlip", "prob": 0.5},
    ]


def _random_order() -> dict[str, Any]:
    spaces = [[[{"type": name}] for name in names] for names in (COLOURS, GEOMETRY)]
    return {
        "type": "RandomOrder",
        "transforms": [{"type": "RandAugment", "aug_space": space, "aug_num": 1} for space in spaces],
    }


def _pack() -> dict[str, Any]:
    return {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape")}


def _refuse(*arguments: object, **named: object) -> None:  # noqa: ARG001
    raise RuntimeError("a compiled operator was asked for")


if __name__ == "__main__":
    main()
