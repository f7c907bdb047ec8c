"""Views: what the teacher, the student and the supervised loss see of each image, made by DALI from a plan.

In: encoded images (or decoded ones, to replay a recorded plan) and the `ViewPlan` of the step. Out: normalised
batches (float32 NCHW, channels last, padded with zeros at the bottom and right) and, of unlabeled images, the
strong views as they are mixed later (uint8 HWC, each of its own size). Every output pixel is one bilinear
sample of the decoded image at the point that the plan's matrix names, so pixels and boxes follow the same
numbers. No antialiasing, as in the published recipes.

A strong view's colour operation comes before or after its geometric one. Before: on the decoded image, which
is then warped once (resize, flip and geometry fused); the published code resizes first. Operations of one
pixel are the same up to interpolation; sharpness acts at the scale of the source. In reference mode a strong
view is resized first, rounded to whole grey levels, and warped a second time, as in the published code.

An image that cannot be decoded raises RuntimeError and leaves the object dead: make another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pipeline.graphs.colour import apply_colour
from pipeline.graphs.graph import (
    CPU,
    DataNode,
    Device,
    Graph,
    GraphDevice,
    Image,
    batch_tensor,
    decode,
    encoded_input,
    floats_input,
    image_list,
    integers_input,
    inverse_maps,
    normalise,
    pixels_input,
    warp,
)
from pipeline.plans.geometry import Matrices, Sizes, resize_matrices
from pipeline.plans.view_plans import ViewPlan
from pipeline.settings import ViewSettings

Encoded = bytes | npt.NDArray[np.uint8]
"""The bytes of one image file."""


P = ParamSpec("P")
T = TypeVar("T")


class Views(ABC, Generic[P, T]):
    """A graph of views, made from the settings; `_define` describes it, `run` takes images and their plans."""

    _define: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        settings: ViewSettings,
        *,
        batch_size: int,
        device: GraphDevice = CPU,
        decoded: bool = False,
    ) -> None:
        """`batch_size` is the most images a call may bring.

        `decoded`: they come as pixels (uint8 HWC, on the device) in place of encoded files.
        """
        self._graph = Graph(
            type(self)._define,
            settings,
            device.kind,
            decoded,
            batch_size=batch_size,
            device=device,
        )
        self._interpolation = settings.interpolation

    def _strong_inputs(self, plan: ViewPlan) -> dict[str, Any]:
        if plan.interpolation != self._interpolation:
            raise ValueError(
                f"interpolation: got a plan made for {plan.interpolation!r}, expected one for "
                f"{self._interpolation!r}, as the graph; make both with the same ViewSettings"
            )
        return _strong_inputs(plan)

    @abstractmethod
    def run(self, images: Sequence[Encoded | Image], /, *plans: P.args, **named_plans: P.kwargs) -> T:
        """Return what the graph makes of these images by these plans."""


class UnlabeledViews(Views[[ViewPlan, ViewPlan], tuple[torch.Tensor | None, list[Image]]]):
    """The weak and the strong view of each image, decoded once."""

    def run(
        self, images: Sequence[Encoded | Image], weak: ViewPlan, strong: ViewPlan
    ) -> tuple[torch.Tensor, list[Image]]:
        """Return the weak batch (B, 3, H, W) and the B strong views, uint8 (h, w, 3) each."""
        inputs = {
            "image": _as_arrays(images),
            **_normalised_inputs("weak", weak),
            **self._strong_inputs(strong),
        }
        weak_output, strong_output = self._graph.run(inputs)
        return batch_tensor(weak_output), image_list(strong_output)

    @staticmethod
    def _define(settings: ViewSettings, device: Device, decoded: bool) -> tuple[DataNode, DataNode]:
        image = _source(device, decoded)
        return _normalised(image, "weak", settings, device), _strong(image, settings, device)


class StrongViews(Views[[ViewPlan, ViewPlan], tuple[torch.Tensor | None, list[Image]]]):
    """The strong view of each image alone, where no teacher asks for the weak one, though it is planned."""

    def run(
        self,
        images: Sequence[Encoded | Image],
        weak: ViewPlan,  # noqa: ARG002  (called as UnlabeledViews is)
        strong: ViewPlan,
    ) -> tuple[None, list[Image]]:
        """Return None, and the B strong views, uint8 (h, w, 3) each."""
        inputs = {"image": _as_arrays(images), **self._strong_inputs(strong)}
        return None, image_list(self._graph.run(inputs)[0])

    @staticmethod
    def _define(settings: ViewSettings, device: Device, decoded: bool) -> DataNode:
        return _strong(_source(device, decoded), settings, device)


class LabeledViews(Views[[ViewPlan], torch.Tensor]):
    """One resized and flipped view of each image, with its colour operation."""

    def run(self, images: Sequence[Encoded | Image], plan: ViewPlan) -> torch.Tensor:
        """Return the batch (B, 3, H, W)."""
        inputs = {"image": _as_arrays(images), **_normalised_inputs("view", plan), **_colour(plan)}
        return batch_tensor(self._graph.run(inputs)[0])

    @staticmethod
    def _define(settings: ViewSettings, device: Device, decoded: bool) -> DataNode:
        return _normalised(_source(device, decoded), "view", settings, device, coloured=True)


class PredictViews(Views[[ViewPlan], torch.Tensor]):
    """One view of each image as planned, its colours untouched: for prediction."""

    def run(self, images: Sequence[Encoded | Image], plan: ViewPlan) -> torch.Tensor:
        """Return the batch (B, 3, H, W)."""
        inputs = {"image": _as_arrays(images), **_normalised_inputs("view", plan)}
        return batch_tensor(self._graph.run(inputs)[0])

    @staticmethod
    def _define(settings: ViewSettings, device: Device, decoded: bool) -> DataNode:
        return _normalised(_source(device, decoded), "view", settings, device)


def _strong(image: DataNode, settings: ViewSettings, device: Device) -> DataNode:
    inverse, size = _geometry_inputs("strong")
    colour_first = integers_input("colour_first")
    if settings.interpolation == "reference":
        image = warp(image, floats_input("resize_inverse", 2), size, device, border=None)
    if colour_first == 0:
        image = warp(image, inverse, size, device, border=settings.border_value)
    image = _coloured(image, device)
    if colour_first == 1:
        image = warp(image, inverse, size, device, border=settings.border_value)
    return image


def _source(device: Device, decoded: bool) -> DataNode:
    if decoded:
        return pixels_input("image", device)
    return decode(encoded_input("image"), device)


def _geometry_inputs(name: str) -> tuple[DataNode, DataNode]:
    return floats_input(f"{name}_inverse", 2), floats_input(f"{name}_size", 1)


def _coloured(image: DataNode, device: Device) -> DataNode:
    return apply_colour(image, integers_input("colour_op"), floats_input("colour_value", 0), device)


def _normalised(
    image: DataNode, name: str, settings: ViewSettings, device: Device, *, coloured: bool = False
) -> DataNode:
    """Return the image resized and flipped, its colours changed if asked for, on its canvas."""
    inverse, size = _geometry_inputs(name)
    image = warp(image, inverse, size, device, border=None)
    if coloured:
        image = _coloured(image, device)
    canvas = floats_input(f"{name}_canvas", 1)
    return normalise(image, canvas, mean=list(settings.mean), std=list(settings.std))


def _geometry(name: str, matrices_B33: Matrices, sizes_B2: Sizes) -> dict[str, Any]:
    return {f"{name}_inverse": inverse_maps(matrices_B33), f"{name}_size": sizes_B2.astype(np.float32)}


def _strong_inputs(plan: ViewPlan) -> dict[str, Any]:
    colour = {**_colour(plan), "colour_first": plan.colour_first_B.astype(np.int32)}
    if plan.interpolation == "linear":
        return {**_geometry("strong", plan.matrices_B33, plan.sizes_B2), **colour}
    resize_B33 = resize_matrices(plan.source_sizes_B2, plan.sizes_B2, plan.flips_B)
    return {
        "resize_inverse": inverse_maps(resize_B33),
        **_geometry("strong", plan.geometry_B33, plan.sizes_B2),
        **colour,
    }


def _normalised_inputs(name: str, plan: ViewPlan) -> dict[str, Any]:
    canvas_B2 = np.tile(np.array(plan.padded_size, np.float32), (len(plan), 1))
    return {**_geometry(name, plan.matrices_B33, plan.sizes_B2), f"{name}_canvas": canvas_B2}


def _colour(plan: ViewPlan) -> dict[str, Any]:
    return {
        "colour_op": plan.colour_ops_B.astype(np.int32),
        "colour_value": plan.colour_values_B.astype(np.float32),
    }


def _as_arrays(images: Sequence[Encoded | Image]) -> list[Image]:
    return [np.frombuffer(image, np.uint8) if isinstance(image, bytes) else image for image in images]
