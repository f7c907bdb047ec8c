"""What sets the detectors of the DETR family apart: one entry each, plain values.

In: a detector's name. Out: `Family`: how its images come, how its boxes and classes are to be read, and the values
of its configuration in two sizes, where they are not the library's defaults. Guaranteed: nothing of transformers is
imported.

standard is the published architecture: RT-DETR R50 (arXiv 2304.08069), RT-DETRv2 R50 (2407.17140), D-FINE L
(2410.13842), DEIMv2 HGNetv2-N (2509.20787), Deformable DETR in two stages with refinement (2010.04159), DETR
(2005.12872), Conditional DETR (2108.06152) and DAB-DETR (2201.12329), all four R50, RF-DETR base (2511.09554),
LW-DETR small (2406.03459). compact has 128 channels, 100 queries, 3 decoder layers and a small backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from model.detector import InputSpec
from model.detectors.spec import HuggingFaceName, Norm
from model.errors import ModelError

COMPACT_BACKBONE = "tf_efficientnet_lite0"
"""Of timm; 3.0 M parameters as a pyramid."""

RGB_0_TO_1 = InputSpec(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0), resize="square")

Backbone = Literal["pyramid", "last", "own"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What is known of a detector of the family without building it."""

    input: InputSpec
    standard: Mapping[str, Any] = field(default_factory=dict)
    """Values of its configuration beside the library's defaults."""
    compact: Mapping[str, Any]
    backbone: Backbone
    """pyramid: strides 8, 16 and 32 of any timm backbone; last: its last map; own: a transformer of its own."""
    hub_id: str
    """Where its COCO weights are published."""
    reads_mask: bool = True
    """Whether it tells images from their padding: its boxes are then parts of the valid size, not of the padded."""
    squares_only: bool = False
    """Whether it mixes up rows and columns of images that are no squares."""
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    norm: Norm = "frozen"
    """How batch-norm of the backbone is kept in its published training."""


# Class biases start at -log 99, as in the published code; the library's default, 1 / (classes + 1), starts
# RT-DETRv2 on one class with a loss of 750 instead of 24.
_PRIOR = {"initializer_bias_prior_prob": 0.01}
_RT_COMPACT = _PRIOR | {
    "d_model": 128,
    "encoder_hidden_dim": 128,
    "encoder_ffn_dim": 256,
    "decoder_in_channels": [128, 128, 128],
    "decoder_ffn_dim": 256,
    "decoder_layers": 3,
    "num_queries": 100,
    "hidden_expansion": 0.5,
    # The library pairs all denoising queries of a batch with all of their boxes for the IoU: at 100 an image, eight
    # images cost 0.9 s of 1.5 s a step.
    "num_denoising": 20,
}
_FINE_COMPACT = _RT_COMPACT | {"depth_mult": 0.34}
_DETR = {"auxiliary_loss": True}
_DETR_COMPACT = _DETR | {
    "encoder_ffn_dim": 256,
    "decoder_ffn_dim": 256,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "num_queries": 100,
}
_TWO_STAGES = _DETR | {"two_stage": True, "with_box_refine": True}
_GROUP_COMPACT = {
    "d_model": 128,
    "decoder_ffn_dim": 256,
    "decoder_layers": 3,
    "num_queries": 100,
    "decoder_cross_attention_heads": 8,
    "group_detr": 3,
}
# A stride of 7: an image of 112 px, the least of two windows in both directions that is a multiple of 56, has 256
# locations; each query needs one.
_RF_COMPACT = _GROUP_COMPACT | {
    "backbone_config": {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 224,
        "patch_size": 7,
        "num_windows": 2,
        "out_indices": [2, 4],
    }
}
_LW_COMPACT = _GROUP_COMPACT | {
    "projector_scale_factors": [2.0],
    "backbone_config": {
        "model_type": "lw_detr_vit",
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 256,
        "num_windows": 4,
        "window_block_indices": [0, 2],
        "out_indices": [2, 4],
    },
}
# HGNetv2-B0 with its two deepest maps, as DEIMv2-N has it.
_DEIMV2_N = _PRIOR | {
    "backbone_config": {
        "model_type": "hgnet_v2",
        "depths": [3, 3, 3, 3],
        "hidden_sizes": [128, 256, 512, 1024],
        "stem_channels": [3, 16, 16],
        "stage_in_channels": [16, 64, 256, 512],
        "stage_mid_channels": [16, 32, 64, 128],
        "stage_out_channels": [64, 256, 512, 1024],
        "stage_num_blocks": [1, 1, 2, 1],
        "stage_numb_of_layers": [3, 3, 3, 3],
        "use_learnable_affine_block": True,
        "out_indices": [3, 4],
    },
    "encoder_in_channels": [512, 1024],
    "feat_strides": [16, 32],
    "encode_proj_layers": [1],
    "encoder_hidden_dim": 128,
    "encoder_ffn_dim": 512,
    "hidden_expansion": 0.34,
    "depth_mult": 0.5,
    "d_model": 128,
    "decoder_in_channels": [128, 128],
    "decoder_ffn_dim": 512,
    "decoder_layers": 3,
    "num_feature_levels": 2,
    "decoder_n_points": [6, 6],
    "decoder_activation_function": "silu",
}


def family_of(name: HuggingFaceName) -> Family:
    """Return what is known of a detector. Raises ModelError for a name that is not of the family."""
    match name:
        case "rtdetr" | "rtdetr-v2":
            return Family(
                input=RGB_0_TO_1,
                standard=_PRIOR,
                compact=_RT_COMPACT,
                backbone="pyramid",
                hub_id="PekingU/rtdetr_r50vd" if name == "rtdetr" else "PekingU/rtdetr_v2_r50vd",
                reads_mask=False,
            )
        case "dfine":
            return Family(
                input=RGB_0_TO_1,
                standard=_PRIOR | {"decoder_n_points": [3, 6, 3]},
                compact=_FINE_COMPACT,
                backbone="pyramid",
                norm="live",
                hub_id="ustc-community/dfine-large-coco",
                reads_mask=False,
            )
        case "deimv2":
            return Family(
                input=RGB_0_TO_1,
                standard=_DEIMV2_N,
                compact=_FINE_COMPACT,
                backbone="pyramid",
                norm="live",
                hub_id="Intellindust/DEIMv2_HGNetv2_N_COCO",
                reads_mask=False,
            )
        case "deformable-detr":
            return Family(
                input=InputSpec(),
                standard=_TWO_STAGES,
                compact=_DETR_COMPACT | _TWO_STAGES | {"d_model": 128, "two_stage_num_proposals": 100},
                backbone="pyramid",
                hub_id="SenseTime/deformable-detr-with-box-refine-two-stage",
            )
        case "detr":
            return Family(
                input=InputSpec(),
                standard=_DETR,
                compact=_DETR_COMPACT | {"d_model": 128},
                backbone="last",
                hub_id="facebook/detr-resnet-50",
                activation="softmax",
            )
        case "conditional-detr":
            return Family(
                input=InputSpec(),
                standard=_DETR,
                compact=_DETR_COMPACT | {"d_model": 128},
                backbone="last",
                hub_id="microsoft/conditional-detr-resnet-50",
            )
        case "dab-detr":
            return Family(
                input=InputSpec(),
                standard=_DETR | _PRIOR,
                compact=_DETR_COMPACT | _PRIOR | {"hidden_size": 128},
                backbone="last",
                hub_id="IDEA-Research/dab-detr-resnet-50",
            )
        case "rf-detr":
            return Family(
                input=InputSpec(pad_multiple=56, resize="square"),
                compact=_RF_COMPACT,
                backbone="own",
                squares_only=True,  # the library cuts windows as if height were width
                hub_id="Roboflow/rf-detr-base",
            )
        case "lw-detr":
            return Family(
                input=InputSpec(pad_multiple=64, resize="square"),
                standard={"projector_scale_factors": [1.0]},
                compact=_LW_COMPACT,
                backbone="own",
                hub_id="AnnaZhang/lwdetr_small_60e_coco",
            )
        case _:
            raise ModelError(f"expected a detector of {', '.join(get_args(HuggingFaceName))}, got {name!r}")
