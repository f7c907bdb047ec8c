"""Records what the published implementation of DINO says of a small batch, for test_recorded.py to replay.

Not run by the tests. Needs, in an environment of its own beside this project's dependencies: onedl-mmdetection
3.5.1, onedl-mmcv 2.3.6, onedl-mmengine and their dependencies (no compiled operators, no GPU), then

    python -m tests.model.detectors.dino.record tests/model/detectors/dino/recorded.npz

That release differs from the published network in one place, which is put back here: it encodes each coordinate of
a box by as many sines as there are channels, where the paper's code, MMDetection 3.x and the published checkpoint
(`decoder.ref_point_head.layers.0.weight` of 256 x 512) take half as many.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from model.detectors.dino.denoising import Noise
from model.detectors.dino.published_names import our_name
from tests.model.detectors.dino.drawn_weights import draw_weights

CHANNELS, HIDDEN, NUM_QUERIES, NUM_CLASSES = 64, 128, 30, 5
NUM_ENCODER_LAYERS, NUM_DECODER_LAYERS = 2, 3
MAX_DETECTIONS = 100
SEED = 0
SIZES = ((96, 128), (80, 100), (96, 70))
PADDED = (96, 128)
BOXES = (
    ((4.0, 6.0, 40.0, 50.0), (60.5, 20.25, 120.0, 90.0), (10.0, 60.0, 22.0, 88.5), (70.0, 2.0, 84.0, 12.0)),
    (),
    ((8.0, 8.0, 60.0, 80.0), (30.0, 50.0, 66.0, 94.0)),
)
CLASSES = ((0, 3, 4, 1), (), (2, 2))
NUM_GROUPS = 100 // 4


class _NoOperators(types.ModuleType):
    """Stands in for the compiled operators, of which this network calls none on a CPU."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def main(path: Path) -> None:
    """Write the recording."""
    oracle = build_oracle()
    images = draw_images()
    noise = draw_noise()
    arrays: dict[str, Any] = {
        "images": images.numpy().astype(np.float16),
        **{f"noise_{name}": getattr(noise, name).numpy() for name in Noise.__dataclass_fields__},
        **record_losses(oracle, images, noise),
        **record_detections(oracle, images),
    }
    np.savez_compressed(path, **arrays)


def build_oracle() -> Any:
    """Return the published network, small, with weights that the test can draw too."""
    sys.modules["mmcv._ext"] = _NoOperators("mmcv._ext")
    import mmdet.models
    from mmdet.models.layers.transformer import dino_layers
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    folder = Path(mmdet.__file__).parent / ".mim/configs/dino"
    model = Config.fromfile(folder / "dino-4scale_r50_8xb2-12e_coco.py").model
    make_small(model)
    oracle = MODELS.build(model)
    encode = dino_layers.coordinate_to_encoding
    dino_layers.coordinate_to_encoding = lambda boxes, num_feats: encode(boxes, num_feats=num_feats // 2)
    oracle.decoder.ref_point_head = dino_layers.MLP(CHANNELS * 2, CHANNELS, CHANNELS, 2)
    state = oracle.state_dict()
    names = {our_name(name, NUM_DECODER_LAYERS): name for name in state}
    # ours has frozen norms, which count no batches
    shapes = {ours: tuple(state[name].shape) for ours, name in names.items() if "num_batches" not in ours}
    drawn = draw_weights(shapes, SEED)
    oracle.load_state_dict({name: drawn.get(ours, state[name]) for ours, name in names.items()})
    return oracle


def make_small(model: Any) -> None:
    """Change the published configuration in nothing but its sizes and its backbone's depth."""
    model.num_queries = NUM_QUERIES
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.update(in_channels=[128, 256, 512], out_channels=CHANNELS)
    model.positional_encoding.num_feats = CHANNELS // 2
    model.bbox_head.update(num_classes=NUM_CLASSES, embed_dims=CHANNELS)
    model.test_cfg.max_per_img = MAX_DETECTIONS
    model.encoder.num_layers, model.decoder.num_layers = NUM_ENCODER_LAYERS, NUM_DECODER_LAYERS
    for coder in (model.encoder, model.decoder):
        for name, part in coder.layer_cfg.items():
            part.embed_dims = CHANNELS
            if name == "ffn_cfg":
                part.feedforward_channels = HIDDEN


def draw_images() -> Tensor:
    """Return normalised images, 0 in the padding, of values that float16 holds."""
    rng = np.random.default_rng(SEED)
    images = rng.standard_normal((len(SIZES), 3, *PADDED)).astype(np.float16)
    for image, (height, width) in zip(images, SIZES, strict=True):
        image[:, height:], image[:, :, width:] = 0, 0
    return torch.from_numpy(images.astype(np.float32))


def draw_noise() -> Noise:
    """Return the draws of the denoising."""
    rng = np.random.default_rng(SEED + 1)
    shape = (sum(len(boxes) for boxes in BOXES), NUM_GROUPS, 2)
    return Noise(
        chances_TG2=torch.from_numpy(rng.random(shape, dtype=np.float32)),
        classes_TG2=torch.from_numpy(rng.integers(NUM_CLASSES, size=shape)),
        shares_TG24=torch.from_numpy(rng.random((*shape, 4), dtype=np.float32)),
        signs_TG24=torch.from_numpy(rng.integers(2, size=(*shape, 4)).astype(np.float32) * 2 - 1),
    )


def make_samples() -> list[Any]:
    """Return the targets in the oracle's form."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    samples = []
    for size, boxes, classes in zip(SIZES, BOXES, CLASSES, strict=True):
        sample = DetDataSample(metainfo={"img_shape": size, "batch_input_shape": PADDED})
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes).reshape(-1, 4), labels=torch.tensor(classes, dtype=torch.int64)
        )
        samples.append(sample)
    return samples


def record_losses(oracle: Any, images: Tensor, noise: Noise) -> dict[str, Any]:
    """Return every part of the loss under this noise, and the predictions they are made of."""
    said: dict[str, Any] = {}
    loss_by_feat = oracle.bbox_head.loss_by_feat

    def listen(
        logits: Tensor, boxes: Tensor, selected_logits: Tensor, selected_boxes: Tensor, *rest: Any
    ) -> Any:
        said.update(
            logits=logits, boxes=boxes, selected_logits=selected_logits, selected_boxes=selected_boxes
        )
        return loss_by_feat(logits, boxes, selected_logits, selected_boxes, *rest)

    oracle.train()
    with (
        torch.no_grad(),
        mock.patch.object(oracle.bbox_head, "loss_by_feat", listen),
        mock.patch("torch.rand_like", side_effect=[by_group(noise.chances_TG2), by_group(noise.shares_TG24)]),
        mock.patch("torch.randint_like", side_effect=_integers(noise)),
    ):
        losses = oracle.loss(images, make_samples())
    arrays = {name: value.numpy() for name, value in said.items()}
    return arrays | {f"part_{name}": value.reshape(()).numpy() for name, value in losses.items()}


def _integers(noise: Noise) -> Any:
    """Return a stand-in for the two draws of integers: new classes where one is drawn, then signs from 0 and 1."""

    def draw(like: Tensor, *_bounds: int, **_options: Any) -> Tensor:
        if like.dim() == 1:
            return by_group(noise.classes_TG2)[like]
        return (by_group(noise.signs_TG24) + 1) / 2

    return draw


def by_group(draws: Tensor) -> Tensor:
    """Return draws (T, G, 2, ...) in the oracle's order: group by group, positive before negative, box by box."""
    return draws.movedim(0, 2).flatten(0, 2)


def record_detections(oracle: Any, images: Tensor) -> dict[str, Any]:
    """Return the detections of every image."""
    oracle.eval()
    with torch.no_grad():
        found = [sample.pred_instances for sample in oracle.predict(images, make_samples(), rescale=False)]
    return {
        f"detected_{name}": torch.stack([getattr(instances, name) for instances in found]).numpy()
        for name in ("bboxes", "labels", "scores")
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
