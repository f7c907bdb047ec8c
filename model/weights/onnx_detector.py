"""An exported ONNX graph in the place of a detector.

In: a file that `onnx_export` wrote; images that are padded but not normalised (the graph does that). Out:
`Detections`, as a detector gives them. Guaranteed: one image at a time, on the CPU; a missing onnxruntime is a
ModelError that names the extra, a file that it cannot read a TorchFileError.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.detector import Detections, Sizes
from model.errors import TorchFileError
from model.weights.onnx_export import INPUTS, OUTPUTS, require_packages
from model.weights.state_file import CARD_KEY


class OnnxDetector:
    """A graph that predicts."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Open the graph. `threads` of onnxruntime; 0 leaves its choice."""
        require_packages("onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session: Any = onnxruntime.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes, one a kind of fault
            reason = " ".join(str(error).split())[:200]
            raise TorchFileError(f"onnxruntime cannot load it: {reason}") from error
        names = [value.name for value in self._session.get_inputs()]
        self.card: str | None = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
        """The text beside the weights; None in a file of another program."""
        if self.card is not None and names != list(INPUTS):
            raise TorchFileError(f"expected the inputs {', '.join(INPUTS)}, got {', '.join(names)}")

    def predict(self, images_BCHW: Tensor, sizes_B2: Sizes) -> list[Detections]:
        """Return the detections of every image."""
        return [
            self._predict_one(images_BCHW[index : index + 1], size) for index, size in enumerate(sizes_B2)
        ]

    def _predict_one(self, images_1CHW: Tensor, size: tuple[int, int]) -> Detections:
        pixels = np.ascontiguousarray(images_1CHW.cpu().numpy())
        boxes, scores, labels = self._session.run(
            list(OUTPUTS), {"images": pixels, "size": np.array(size, np.int64)}
        )
        return Detections(
            boxes_N4=torch.from_numpy(boxes),
            categories_N=torch.from_numpy(labels),
            scores_N=torch.from_numpy(scores),
        )
