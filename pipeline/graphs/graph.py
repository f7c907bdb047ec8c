"""What every DALI graph of this project shares: its making, its feeding, and the three fragments it is built
of.

In: a function that describes a graph. Out: a `Graph`, which runs one batch at a time. Nothing random and no
state lives inside DALI: every step's pixels and every step's plan are fed by name, so that a run can be
repeated from its inputs. The same text runs on "cpu" and "cuda": only the decoder's backend and the warp's
kernel differ.

Shapes: B images of a batch, HWC pixels.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import pipeline_def
from torch.utils.dlpack import from_dlpack

from storage.errors import ConfigError, names_location

Device = Literal["cpu", "cuda"]
DataNode = Any
"""A value of a DALI graph: one tensor of each image."""
Image = npt.NDArray[np.uint8] | torch.Tensor
"""uint8 HWC pixels: numpy on the CPU, a CUDA tensor on the GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphDevice:
    """Where a DALI graph works, and with how many threads."""

    kind: Device = "cpu"
    """Where pixels are decoded and kept; the views are tensors of this device."""
    index: int = 0
    """Which GPU."""
    num_threads: int = 1

    def __post_init__(self) -> None:
        """Refuse a device without a thread."""
        if self.num_threads < 1:
            raise ConfigError(f"num_threads of a graph: got {self.num_threads}, expected at least 1")

    @classmethod
    def from_torch(cls, device: torch.device, *, num_threads: int) -> GraphDevice:
        """Return the device on which DALI's tensors become torch's of `device` without a copy."""
        kind: Device = "cuda" if device.type == "cuda" else "cpu"
        return cls(kind=kind, index=device.index or 0, num_threads=num_threads)


CPU = GraphDevice()


class Graph:
    """A DALI pipeline that is fed by name and run one batch at a time, synchronously.

    Not safe to share between threads. After an error (an image that cannot be decoded) it is dead: make
    another.
    """

    def __init__(
        self,
        define: Callable[..., Any],
        *arguments: object,
        batch_size: int,
        device: GraphDevice = CPU,
    ) -> None:
        assert batch_size >= 1, "a graph is made for at least one image"
        make = pipeline_def(enable_conditionals=True)(define)
        self._batch_size = batch_size
        with _names_temporary_folder():
            pipeline: Any = make(
                *arguments,
                batch_size=batch_size,
                num_threads=device.num_threads,
                device_id=None if device.kind == "cpu" else device.index,
                prefetch_queue_depth=1,
            )
            pipeline.build()
        self._pipeline = pipeline

    def run(self, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Run one batch of 1 to `batch_size` images and return one DALI tensor list an output.

        Each input is an array with one row an image, or a list with one array an image.
        """
        sizes = {name: len(value) for name, value in inputs.items()}
        size = next(iter(sizes.values()))
        if set(sizes.values()) != {size} or not 1 <= size <= self._batch_size:
            raise ValueError(
                f"rows of inputs: got {sizes}, expected the same, 1 to {self._batch_size}, of each"
            )
        for name, value in inputs.items():
            self._pipeline.feed_input(name, value)
        outputs: tuple[Any, ...] = self._pipeline.run()
        return outputs


@contextlib.contextmanager
def _names_temporary_folder() -> Iterator[None]:
    """Raise an OSError that names the folder for temporary files where that is why a graph cannot be made.

    DALI writes there what it makes of a graph's conditions; where it cannot, it takes the graph as it stands, and
    fails at the first condition.
    """
    try:
        yield
    except Exception as error:
        cause = error.__context__
        if isinstance(cause, OSError) and cause.errno is not None:
            with names_location(tempfile.gettempdir()):
                raise OSError(cause.errno, cause.strerror) from error
        raise


def encoded_input(name: str) -> DataNode:
    """Declare an input of encoded image files, uint8 of any length each."""
    return fn.external_source(name=name, ndim=1, dtype=types.DALIDataType.UINT8)


def pixels_input(name: str, device: Device) -> DataNode:
    """Declare an input of uint8 HWC images on the device."""
    return fn.external_source(
        name=name, device=_backend(device), layout="HWC", ndim=3, dtype=types.DALIDataType.UINT8
    )


def floats_input(name: str, ndim: int) -> DataNode:
    """Declare an input of float32 numbers: per image a scalar (0), vector (1) or matrix (2)."""
    return fn.external_source(name=name, ndim=ndim, dtype=types.DALIDataType.FLOAT)


def integers_input(name: str) -> DataNode:
    """Declare an input of one int32 an image."""
    return fn.external_source(name=name, ndim=0, dtype=types.DALIDataType.INT32)


def decode(encoded: DataNode, device: Device) -> DataNode:
    """Decode to RGB uint8 HWC, upright by EXIF; on the CPU equal to PIL bit for bit."""
    return fn.decoders.image(
        encoded, device="mixed" if device == "cuda" else "cpu", output_type=types.DALIImageType.RGB
    )


def warp(image: DataNode, inverse: DataNode, size: DataNode, device: Device, border: int | None) -> DataNode:
    """Resample bilinearly by one affine matrix, without antialiasing, into an image of `size` (height,
    width).

    `inverse` is 3x3, output to input, in edge coordinates. `border`: the grey level beyond the image, None
    for its nearest pixel. On the CPU the perspective kernel does it: 3.4 ms for 800x1067 on one core, where
    the affine kernel takes 37 and `resize` 13, and within 0.5 of the exact value (0.6). The GPU has the
    affine one.
    """
    if device == "cuda":
        return fn.warp_affine(image, matrix=inverse[:2], size=size, fill_value=border)
    return fn.experimental.warp_perspective(
        image,
        matrix=inverse,
        size=size,
        border_mode="replicate" if border is None else "constant",
        fill_value=None if border is None else [float(border)] * 3,
    )


def normalise(
    image: DataNode,
    canvas: DataNode,
    *,
    mean: DataNode | list[float],
    std: DataNode | list[float],
    top: DataNode | float = 0.0,
    left: DataNode | float = 0.0,
) -> DataNode:
    """Return (image - mean) / std as float32 HWC, placed on a canvas of zeros of size `canvas` (height,
    width).

    `top` and `left` are the image's offset as fractions of the canvas's free height and width, 0 to 1.
    """
    return fn.crop_mirror_normalize(
        image,
        crop=canvas,
        crop_pos_y=top,
        crop_pos_x=left,
        out_of_bounds_policy="pad",
        mean=mean,
        std=std,
        dtype=types.DALIDataType.FLOAT,
        output_layout="HWC",
    )


def batch_tensor(output: Any) -> torch.Tensor:
    """Return an output of equal HWC images as one NCHW tensor, channels last, without a copy.

    Its pixels are there, whatever stream reads them. On CUDA the memory goes back to DALI the moment the tensor is
    dropped, whatever torch has queued on it: be `finished` with it before.
    """
    images_BHWC: torch.Tensor = from_dlpack(output.as_tensor())
    return finished(images_BHWC).permute(0, 3, 1, 2)


def finished(images: torch.Tensor) -> torch.Tensor:
    """Return the tensor once all work is done on it and on what it was made of, by DALI or torch."""
    if images.is_cuda:
        torch.cuda.current_stream(images.device).synchronize()
    return images


def image_list(output: Any) -> list[Image]:
    """Return an output of images of any sizes one by one, without a copy; each keeps its memory alive.

    Their pixels are there, whatever stream reads them.
    """
    images: list[torch.Tensor] = [from_dlpack(image) for image in output]
    finished(images[-1])  # torch's stream waits for DALI at each image, and so for all of them
    return [image if image.is_cuda else image.numpy() for image in images]


def require_sizes(what: str, images: Sequence[Image], planned_B2: npt.NDArray[np.int64]) -> None:
    """Raise ValueError unless the images have the (height, width) that their plan was made for."""
    sizes = [list(image.shape[:2]) for image in images]
    if sizes != planned_B2.tolist():
        raise ValueError(
            f"{what}: got sizes (height, width) {sizes}, planned {planned_B2.tolist()}; make the plan from the "
            "sizes of these images, in their order"
        )


def inverse_maps(matrices_B33: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the matrices from output to input that `warp` takes."""
    return np.linalg.inv(matrices_B33).astype(np.float32)


def _backend(device: Device) -> str:
    return "gpu" if device == "cuda" else "cpu"
