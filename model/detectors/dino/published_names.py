"""The names of the published checkpoint's weights in ours.

In: a state dict with the names under which DINO's weights of MMDetection are published. Out: the same tensors under
the names of `DINONetwork`. The backbone's names are torchvision's in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_RENAMED = (
    (r"^backbone\.", "levels.backbone."),
    (r"^neck\.convs\.(\d+)\.conv\.", r"levels.projections.\1.0."),
    (r"^neck\.convs\.(\d+)\.gn\.", r"levels.projections.\1.1."),
    (r"^neck\.extra_convs\.(\d+)\.conv\.", r"levels.coarser.\1.0."),
    (r"^neck\.extra_convs\.(\d+)\.gn\.", r"levels.coarser.\1.1."),
    (r"^level_embed$", "levels.level_embedding"),
    (r"^(encoder\.layers\.\d+)\.self_attn\.", r"\1.attention."),
    (r"^(encoder\.layers\.\d+)\.norms\.0\.", r"\1.attention_norm."),
    (r"^(encoder\.layers\.\d+)\.norms\.1\.", r"\1.feed_forward.norm."),
    (r"^(decoder\.layers\.\d+)\.self_attn\.attn\.", r"\1.self_attention."),
    (r"^(decoder\.layers\.\d+)\.norms\.0\.", r"\1.self_norm."),
    (r"^(decoder\.layers\.\d+)\.cross_attn\.", r"\1.cross_attention."),
    (r"^(decoder\.layers\.\d+)\.norms\.1\.", r"\1.cross_norm."),
    (r"^(decoder\.layers\.\d+)\.norms\.2\.", r"\1.feed_forward.norm."),
    (r"^((?:en|de)coder\.layers\.\d+)\.ffn\.layers\.0\.0\.", r"\1.feed_forward.layers.0."),
    (r"^((?:en|de)coder\.layers\.\d+)\.ffn\.layers\.1\.", r"\1.feed_forward.layers.2."),
    (r"^decoder\.ref_point_head\.layers\.0\.", "decoder.position_layers.0."),
    (r"^decoder\.ref_point_head\.layers\.1\.", "decoder.position_layers.2."),
    (r"^memory_trans_fc\.", "selection.projection."),
    (r"^memory_trans_norm\.", "selection.norm."),
    (r"^query_embedding\.", "selection.contents."),
    (r"^dn_query_generator\.label_embedding\.", "denoising.class_embedding."),
    (r"^bbox_head\.cls_branches\.(\d+)\.", r"decoder.class_heads.\1."),
    (r"^bbox_head\.reg_branches\.(\d+)\.", r"decoder.box_heads.\1."),
)


def has_published_names(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict has the published names."""
    return "dn_query_generator.label_embedding.weight" in state


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under our names; names that are not of DINO stay as they are."""
    num_layers = 1 + max(
        (int(found[1]) for found in (re.match(r"decoder\.layers\.(\d+)\.", name) for name in state) if found),
        default=-1,
    )
    return {our_name(name, num_layers): tensor for name, tensor in state.items()}


def our_name(name: str, num_layers: int) -> str:
    """Return our name of a published one. The heads after those of the decoder's layers are the encoder's."""
    for pattern, replacement in _RENAMED:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed.replace(f"decoder.class_heads.{num_layers}.", "selection.class_head.").replace(
                f"decoder.box_heads.{num_layers}.", "selection.box_head."
            )
    return name
