"""Views: what the teacher, the student and the supervised loss see of each image, made by DALI from a plan.

In: encoded images and the `ViewPlan` of the step. Out: normalised batches (float32 NCHW, channels last,
padded with zeros at the bottom and right) and, of unlabeled images, the strong views as they are mixed later
(uint8 HWC, each of its own size). Every output pixel is one bilinear sample of the decoded image at the place
that the plan's matrix names, so pixels and boxes follow the same numbers. No antialiasing, as in the
published recipes.

A strong view's colour operation comes before or after its geometric one. Before: on the decoded image, which
is then warped once (resize, flip and geometry fused); the published code resizes first. Operations of one
pixel are the same up to interpolation; sharpness acts at the scale of the source.

An image that cannot be decoded raises RuntimeError and leaves the object dead: make another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.colour import apply_colour
from pipeline.graph import (
    DataNode,
    Device,
    Graph,
    Image,
    batch_tensor,
    decode,
    encoded_input,
    floats_input,
    image_list,
    integers_input,
    inverse_maps,
    normalise,
    warp,
)
from pipeline.settings import ViewSettings
from pipeline.view_plans import ViewPlan

Encoded = bytes | npt.NDArray[np.uint8]
"""The bytes of one image file."""


class UnlabeledViews:
    """The weak and the strong view of each image, decoded once."""

    def __init__(
        self,
        settings: ViewSettings,
        *,
        batch_size: int,
        num_threads: int = 2,
        device: Device = "cpu",
        device_id: int = 0,
        weak: bool = True,
    ) -> None:
        """`batch_size` is the most images a call may bring; without `weak` there are strong views alone."""
        self._weak = weak
        self._graph = Graph(
            _unlabeled_graph if weak else _strong_graph,
            settings,
            device,
            batch_size=batch_size,
            num_threads=num_threads,
            device=device,
            device_id=device_id,
        )

    def run(
        self, encoded: Sequence[Encoded], weak: ViewPlan, strong: ViewPlan
    ) -> tuple[torch.Tensor | None, list[Image]]:
        """Return the weak batch (B, 3, H, W), where it is made, and the B strong views, uint8 (h, w, 3) each."""
        inputs = {
            "encoded": _as_arrays(encoded),
            **_geometry(strong, "strong"),
            **_colour(strong),
            "colour_first": strong.colour_first_B.astype(np.int32),
        }
        if not self._weak:
            return None, image_list(self._graph.run(inputs)[0])
        inputs |= {**_geometry(weak, "weak"), "weak_canvas": _canvas(weak)}
        weak_output, strong_output = self._graph.run(inputs)
        return batch_tensor(weak_output), image_list(strong_output)


class LabeledViews:
    """One resized and flipped view of each image, with its colour operation."""

    def __init__(
        self,
        settings: ViewSettings,
        *,
        batch_size: int,
        num_threads: int = 2,
        device: Device = "cpu",
        device_id: int = 0,
    ) -> None:
        """`batch_size` is the most images a call may bring."""
        self._graph = Graph(
            _labeled_graph,
            settings,
            device,
            batch_size=batch_size,
            num_threads=num_threads,
            device=device,
            device_id=device_id,
        )

    def run(self, encoded: Sequence[Encoded], plan: ViewPlan) -> torch.Tensor:
        """Return the batch (B, 3, H, W)."""
        inputs = {
            "encoded": _as_arrays(encoded),
            **_geometry(plan, "view"),
            "view_canvas": _canvas(plan),
            **_colour(plan),
        }
        return batch_tensor(self._graph.run(inputs)[0])


class TestViews:
    """One view of each image as planned, its colours untouched: for prediction."""

    __test__ = False  # not a test, whatever its name

    def __init__(
        self,
        settings: ViewSettings,
        *,
        batch_size: int,
        num_threads: int = 2,
        device: Device = "cpu",
        device_id: int = 0,
    ) -> None:
        """`batch_size` is the most images a call may bring."""
        self._graph = Graph(
            _test_graph,
            settings,
            device,
            batch_size=batch_size,
            num_threads=num_threads,
            device=device,
            device_id=device_id,
        )

    def run(self, encoded: Sequence[Encoded], plan: ViewPlan) -> torch.Tensor:
        """Return the batch (B, 3, H, W)."""
        inputs = {"encoded": _as_arrays(encoded), **_geometry(plan, "view"), "view_canvas": _canvas(plan)}
        return batch_tensor(self._graph.run(inputs)[0])


def _unlabeled_graph(settings: ViewSettings, device: Device) -> tuple[DataNode, DataNode]:
    image = decode(encoded_input("encoded"), device)
    weak_inverse, weak_size = _geometry_inputs("weak")
    weak = warp(image, weak_inverse, weak_size, device, border=None)
    return _normalised(weak, "weak", settings), _strong(image, settings, device)


def _strong_graph(settings: ViewSettings, device: Device) -> DataNode:
    return _strong(decode(encoded_input("encoded"), device), settings, device)


def _strong(image: DataNode, settings: ViewSettings, device: Device) -> DataNode:
    strong_inverse, strong_size = _geometry_inputs("strong")
    colour_first = integers_input("colour_first")
    strong = image
    if colour_first == 0:
        strong = warp(strong, strong_inverse, strong_size, device, border=settings.border_value)
    strong = _coloured(strong, device)
    if colour_first == 1:
        strong = warp(strong, strong_inverse, strong_size, device, border=settings.border_value)
    return strong


def _labeled_graph(settings: ViewSettings, device: Device) -> DataNode:
    inverse, size = _geometry_inputs("view")
    view = warp(decode(encoded_input("encoded"), device), inverse, size, device, border=None)
    return _normalised(_coloured(view, device), "view", settings)


def _test_graph(settings: ViewSettings, device: Device) -> DataNode:
    inverse, size = _geometry_inputs("view")
    view = warp(decode(encoded_input("encoded"), device), inverse, size, device, border=None)
    return _normalised(view, "view", settings)


def _geometry_inputs(name: str) -> tuple[DataNode, DataNode]:
    return floats_input(f"{name}_inverse", 2), floats_input(f"{name}_size", 1)


def _coloured(image: DataNode, device: Device) -> DataNode:
    return apply_colour(image, integers_input("colour_op"), floats_input("colour_value", 0), device)


def _normalised(image: DataNode, name: str, settings: ViewSettings) -> DataNode:
    canvas = floats_input(f"{name}_canvas", 1)
    return normalise(image, canvas, mean=list(settings.mean), std=list(settings.std))


def _geometry(plan: ViewPlan, name: str) -> dict[str, Any]:
    return {
        f"{name}_inverse": inverse_maps(plan.matrices_B33),
        f"{name}_size": plan.sizes_B2.astype(np.float32),
    }


def _canvas(plan: ViewPlan) -> npt.NDArray[np.float32]:
    return np.tile(np.array(plan.padded_size, np.float32), (len(plan), 1))


def _colour(plan: ViewPlan) -> dict[str, Any]:
    return {
        "colour_op": plan.colour_ops_B.astype(np.int32),
        "colour_value": plan.colour_values_B.astype(np.float32),
    }


def _as_arrays(encoded: Sequence[Encoded]) -> list[npt.NDArray[np.uint8]]:
    return [np.frombuffer(one, np.uint8) if isinstance(one, bytes) else one for one in encoded]
