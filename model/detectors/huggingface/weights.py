"""Pretrained weights for the DETR family: whole detectors by the library's own loader, or a backbone's.

In: a detector's name and where its weights lie (a folder, an id on the hub, `coco`, `imagenet`, a file). Out: the
network with them in it. Guaranteed: only safetensors are read, never a pickle that runs code; heads that go by
another number of classes are drawn anew, which the library reports; what cannot be had is a WeightsError that says
what was tried and what else can be passed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model.detectors.huggingface.family import family_of
from model.detectors.huggingface.network import (
    CLASS_HEADS,
    backbone_of,
    classes_of,
    start_class_biases,
    thaw_norms,
)
from model.detectors.spec import HuggingFaceName, Norm, Size
from model.detectors.timm_backbone import LITE0_PACKAGE, PREFIX, timm_state
from model.detectors.torchvision.weights import read
from model.errors import ModelError, WeightsError
from model.weights.state_file import NORM_COUNTER

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DETECTOR_KEY = "model"
"""First part of most names in the state dict of a whole network; no backbone of timm has it."""


def names_a_network(weights: str) -> bool:
    """Return whether weights bring the configuration of a whole network with them."""
    return (
        weights == "coco"
        or Path(weights).is_dir()
        or (bool(_HUB_ID.fullmatch(weights)) and not Path(weights).exists() and not Path(weights).suffix)
    )


def load_network(
    name: HuggingFaceName,
    weights: str,
    *,
    num_classes: int,
    size: Size,
    backbone: str | None,
    norm: Norm | None,
) -> Any:
    """Return the network of a folder or of the hub, with heads for `num_classes`.

    Its configuration says what it is: a size or a backbone beside it cannot be asked for.
    """
    if backbone is not None or (size == "compact" and not Path(weights).is_dir()):
        raise ModelError(
            f"the weights {weights!r} bring a whole {name} with them: leave --model.backbone and --model.size out"
        )
    _, network_class = classes_of(name)
    from transformers import AutoConfig

    family = family_of(name)
    source = family.hub_id if weights == "coco" else weights
    try:
        config = AutoConfig.from_pretrained(source)
        _require_kind(name, source, config, network_class)
        config.num_labels = num_classes
        network, info = network_class.from_pretrained(
            source,
            config=config,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:  # not there, no network, no safetensors in it
        raise WeightsError(
            f"could not get the weights {source!r} of {name} ({type(error).__name__}: {error}). Train from scratch "
            "with `--model.weights none`, or pass a folder with config.json and model.safetensors: "
            "`--model.weights FOLDER`"
        ) from error
    start_class_biases(network, family, only={key for key, *_ in info["mismatched_keys"]})
    if norm == "live":
        thaw_norms(network)
    return network.train()


def load_weights(network: Any, weights: str) -> None:
    """Load ImageNet weights by name, or a file with a state dict of a backbone or of the whole network."""
    body = backbone_of(network)
    body = getattr(body, "_backbone", body)  # what timm built, where the library wraps it
    if weights in ("imagenet", LITE0_PACKAGE):
        load_state(body, _published_backbone(network.config.backbone_config, weights, body), weights)
        return
    state = read(weights)
    whole = _DETECTOR_KEY in {key.split(".")[0] for key in state}
    load_state(network if whole else body, state, weights)


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load every weight of `module`; class heads only where they are of as many classes."""
    own = {key: value for key, value in module.state_dict().items() if not key.endswith(NORM_COUNTER)}
    if missing := sorted(own.keys() - state.keys()):
        raise WeightsError(
            f"{source}: expected weights of the same detector, or of its backbone, got no {missing[0]} (and "
            f"{len(missing) - 1} more)"
        )
    other = sorted(key for key, value in own.items() if value.shape != state[key].shape)
    if foreign := [key for key in other if not CLASS_HEADS.search(key)]:
        raise WeightsError(
            f"{source}: the weights do not fit this network: {foreign[0]} is {tuple(state[foreign[0]].shape)}, "
            f"expected {tuple(own[foreign[0]].shape)}"
        )
    module.load_state_dict({key: state[key] for key in own.keys() - set(other)}, strict=False)


def _published_backbone(config: Any, weights: str, body: nn.Module) -> dict[str, Tensor]:
    """Return ImageNet weights of a backbone of timm: its own, or those of the package."""
    if config.model_type != "timm_backbone":
        raise WeightsError(
            "timm has no ImageNet weights of this backbone: pass --model.backbone timm/resnet50d, say, or start "
            "from --model.weights coco"
        )
    return timm_state(f"{PREFIX}{config.backbone}", weights, body)


def _require_kind(name: HuggingFaceName, source: str, config: Any, network_class: Any) -> None:
    """Raise WeightsError where a configuration is of another kind of network."""
    expected = network_class.config_class.model_type
    if config.model_type != expected:
        raise WeightsError(
            f"{source}: expected the weights of a {name} (model_type {expected}), got {config.model_type}"
        )
